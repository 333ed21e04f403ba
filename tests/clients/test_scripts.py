# SPDX-License-Identifier: MIT
"""Clients of other languages: Perl's Cache::Memcached and PHP's memcached. Their scripts print TAP, read here."""

import os
import re
import shutil
import subprocess
import unittest

import harness

HERE = os.path.dirname(os.path.abspath(__file__))


def works(*command):
    return shutil.which(command[0]) and subprocess.run(command, capture_output=True, timeout=60).returncode == 0


class ScriptTest(harness.ServerTest):
    def run_script(self, command, names):
        run = subprocess.run([*command, *names], capture_output=True, text=True, timeout=harness.patience(60))
        said = f"{run.stdout[-3000:]}\n{run.stderr[-3000:]}"
        results = re.findall(r"^(not )?ok (\d+)(?: - (.*))?$", run.stdout, re.M)
        plan = re.search(r"^1\.\.(\d+)$", run.stdout, re.M)
        self.assertTrue(plan, f"the script did not come to its end: {said}")
        self.assertEqual(len(results), int(plan.group(1)), said)
        self.assertGreater(len(results), 40, said)
        for wrong, number, name in results:
            if wrong:
                with self.subTest(number=number, check=name):
                    self.fail(said)
        self.assertEqual(run.returncode, 0, said)
        print(f"{os.path.basename(command[-1])}: {len(results)} checks")

    def perl(self, transport):
        harness.need_client(works("perl", "-MCache::Memcached", "-e1"), "Cache::Memcached (libcache-memcached-perl) is missing")
        servers = [self.server(transport=transport) for _ in range(3)]
        names = [server.path or f"127.0.0.1:{server.port}" for server in servers]
        self.run_script(["perl", f"{HERE}/cache_memcached.pl"], names)

    def php(self, transport):
        harness.need_client(works("php", "-r", "exit(extension_loaded('memcached') ? 0 : 1);"), "php-memcached is missing")
        servers = [self.server(transport=transport) for _ in range(3)]
        names = [server.path or str(server.port) for server in servers]
        self.run_script(["php", f"{HERE}/php_memcached.php"], names)

    def test_perl_over_tcp(self):
        self.perl("tcp")

    def test_perl_over_unix_socket(self):
        self.perl("unix")

    def test_php_over_tcp(self):
        self.php("tcp")

    def test_php_over_unix_socket(self):
        self.php("unix")


if __name__ == "__main__":
    unittest.main()
