# SPDX-License-Identifier: MIT
"""Clients that speak the binary protocol, and what only they can do: libmemcached's memccapable, pylibmc, bmemcached, Dalli."""

import os
import random
import re
import shutil
import subprocess
import tempfile
import unittest

import harness

try:
    import bmemcached
except ImportError:
    bmemcached = None
try:
    import pylibmc
except ImportError:
    pylibmc = None

HERE = os.path.dirname(os.path.abspath(__file__))

CAPABILITIES = [
    "noop", "quit", "quitq", "set", "setq", "flush", "flushq", "add", "addq", "replace", "replaceq", "delete", "deleteq",
    "get", "getq", "getk", "getkq", "incr", "incrq", "decr", "decrq", "version", "append", "appendq", "prepend", "prependq",
    "stat",
]  # fmt: skip


def need_bmemcached():
    harness.need_client(bmemcached, "bmemcached (Debian python3-binary-memcached) is not installed")


class MemccapableTest(harness.ServerTest):
    def test_all_27_binary(self):
        harness.need_client(shutil.which("memccapable"), "memccapable (Debian libmemcached-tools) is not installed")
        server = self.server()
        run = subprocess.run(
            ["memccapable", "-h", "127.0.0.1", "-p", str(server.port), "-b", "-t", "10"],
            capture_output=True,
            text=True,
            timeout=harness.patience(60),
        )
        results = dict(re.findall(r"^binary (.*?)\s+\[(\w+)\]", run.stdout, re.M))
        for name in CAPABILITIES:
            with self.subTest(memccapable=name):
                self.assertEqual(results.get(name), "pass", run.stdout + run.stderr)
        self.assertEqual(sorted(results), sorted(CAPABILITIES))
        self.assertEqual(run.returncode, 0, run.stderr)


class PylibmcTest(harness.ServerTest):
    def test_conversation(self):
        harness.need_client(pylibmc, "pylibmc (Debian python3-pylibmc) is not installed")
        servers = [self.server() for _ in range(2)]
        names = [f"127.0.0.1:{server.port}" for server in servers]
        client = pylibmc.Client(names, binary=True, behaviors={"cas": True, "tcp_nodelay": True, "receive_timeout": 20_000_000})
        self.addCleanup(client.disconnect_all)
        values = {f"key{number}": random.Random(number).randbytes(number * 7) for number in range(400)}
        self.assertEqual(client.set_multi(values), [])
        self.assertEqual(client.get_multi(list(values) + ["none"]), values)
        big = random.Random(1).randbytes(900_000)
        self.assertTrue(client.set("big", big))
        self.assertEqual(client.get("big"), big)
        value, unique = client.gets("key1")
        self.assertTrue(client.cas("key1", b"new", unique))
        self.assertFalse(client.cas("key1", b"newer", unique))
        self.assertTrue(client.set("n", 7))
        self.assertEqual(client.incr("n", 5), 12)
        self.assertEqual(client.decr("n", 20), 0)
        self.assertTrue(client.add("a", b"1"))
        self.assertFalse(client.add("a", b"2"))
        with self.assertRaises(pylibmc.NotFound):
            client.replace("none", b"2")
        self.assertTrue(client.append("a", b"2"))
        self.assertTrue(client.prepend("a", b"0"))
        self.assertEqual(client.get("a"), b"012")
        self.assertTrue(client.touch("a", 100))
        self.assertTrue(client.delete("a"))
        self.assertIsNone(client.get("a"))
        self.assertEqual(len(client.get_stats()), 2)
        self.assertTrue(client.flush_all())
        self.assertEqual(client.get_multi(list(values)), {})


class BmemcachedTest(harness.ServerTest):
    def converse(self, client):
        value = {"a": [1, "é"], "b": None}
        self.assertTrue(client.set("key", value, time=100))
        self.assertEqual(client.get("key"), value)
        client.set_multi({f"k{n}": "v" * n for n in range(100)})
        self.assertEqual(client.get_multi([f"k{n}" for n in range(100)]), {f"k{n}": "v" * n for n in range(100)})
        found, unique = client.gets("key")
        self.assertEqual(found, value)
        self.assertTrue(client.cas("key", "other", unique))
        self.assertFalse(client.cas("key", "third", unique))
        self.assertTrue(client.add("new", 1))
        self.assertFalse(client.add("new", 2))
        self.assertTrue(client.replace("new", 3))
        self.assertTrue(client.delete("new"))
        self.assertEqual(client.incr("count", 5), 0)  # the first makes it
        self.assertEqual(client.incr("count", 5), 5)
        self.assertEqual(client.decr("count", 50), 0)
        self.assertTrue(client.set("raw", b"\0" * 200_000, compress_level=0))
        self.assertEqual(client.get("raw"), b"\0" * 200_000)
        self.assertTrue(client.flush_all())
        self.assertIsNone(client.get("key"))
        (stats,) = client.stats().values()
        self.assertIn(b"1.6.", stats["version"])

    def test_over_tcp(self):
        need_bmemcached()
        client = bmemcached.Client([f"127.0.0.1:{self.server().port}"])
        self.addCleanup(client.disconnect_all)
        self.converse(client)

    def test_over_a_unix_socket(self):
        need_bmemcached()
        client = bmemcached.Client([self.server(transport="unix").path])
        self.addCleanup(client.disconnect_all)
        self.converse(client)

    def test_says_who_it_is_by_sasl_plain(self):
        need_bmemcached()
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        path = os.path.join(directory, "users")
        with open(path, "w", encoding="ascii") as file:
            file.write("ann:secret\nbob:other\n")
        os.environ["MEMCACHED_SASL_PWDB"] = path
        self.addCleanup(os.environ.pop, "MEMCACHED_SASL_PWDB")
        server = self.server("-S", text=False)
        client = bmemcached.Client([f"127.0.0.1:{server.port}"], "ann", "secret")
        self.addCleanup(client.disconnect_all)
        self.converse(client)
        stranger = bmemcached.Client([f"127.0.0.1:{server.port}"], "ann", "wrong")
        with self.assertRaises(bmemcached.exceptions.MemcachedException):
            stranger.get("key")


class DalliTest(harness.ServerTest):
    def test_conversation(self):
        ruby = shutil.which("ruby")
        works = ruby and subprocess.run([ruby, "-rdalli", "-e", "1"], capture_output=True, timeout=60).returncode == 0
        harness.need_client(works, "Dalli (Debian ruby-dalli) is not installed")
        servers = [self.server() for _ in range(2)]
        run = subprocess.run(
            [ruby, f"{HERE}/dalli.rb", *(f"127.0.0.1:{server.port}" for server in servers)],
            capture_output=True,
            text=True,
            timeout=harness.patience(60),
        )
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        self.assertRegex(run.stdout, r"(?m)^\d\d checks$")

    def test_memjs(self):
        node, npm = shutil.which("node"), shutil.which("npm")
        harness.skip_unless(node and npm, "node or npm is missing: on Debian 12 they bring hundreds of packages")
        modules = harness.npm_modules(npm)
        servers = [self.server() for _ in range(2)]
        run = subprocess.run(
            [node, f"{HERE}/memjs.js", modules, *(f"127.0.0.1:{server.port}" for server in servers)],
            capture_output=True,
            text=True,
            timeout=harness.patience(60),
        )
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        self.assertRegex(run.stdout, r"(?m)^\d\d checks$")


if __name__ == "__main__":
    unittest.main()
