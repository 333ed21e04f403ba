# SPDX-License-Identifier: MIT
"""libmemcached's memccapable: its 27 tests of the text protocol, each of which must pass by name."""

import re
import shutil
import subprocess
import unittest

import harness

EXPECTED = [
    "version", "quit", "verbosity", "set", "set noreply", "get", "gets", "mget", "flush", "flush noreply", "add",
    "add noreply", "replace", "replace noreply", "cas", "cas noreply", "delete", "delete noreply", "incr",
    "incr noreply", "decr", "decr noreply", "append", "append noreply", "prepend", "prepend noreply", "stat",
]  # fmt: skip


class MemccapableTest(harness.ServerTest):
    def test_all_27_over_tcp(self):
        harness.need_client(shutil.which("memccapable"), "memccapable (Debian libmemcached-tools) is not installed")
        server = self.server()
        # It closes and opens connections under a test's feet, so give it the server alone and a bounded time.
        run = subprocess.run(
            ["memccapable", "-h", "127.0.0.1", "-p", str(server.port), "-a", "-t", "10"],
            capture_output=True,
            text=True,
            timeout=harness.patience(60),
        )
        results = dict(re.findall(r"^ascii (.*?)\s+\[(\w+)\]", run.stdout, re.M))
        for name in EXPECTED:
            with self.subTest(memccapable=name):
                self.assertEqual(results.get(name), "pass", run.stdout + run.stderr)
        self.assertEqual(sorted(results), sorted(EXPECTED))
        self.assertEqual(len(results), 27)
        self.assertEqual(run.returncode, 0, run.stderr)
        print(f"memccapable: {len(results)} of 27 passed")


if __name__ == "__main__":
    unittest.main()
