# SPDX-License-Identifier: MIT
"""python3-pymemcache: its plain, pooled and hashing clients, over TCP and a unix socket, values checked byte for byte."""

import hashlib
import json
import random
import threading
import unittest

import harness

try:
    import pymemcache
    from pymemcache import serde
    from pymemcache.client.base import Client, PooledClient
    from pymemcache.client.hash import HashClient
except ImportError:
    pymemcache = None


def blob(seed, size):
    return random.Random(seed).randbytes(size)


class PymemcacheTests:
    """Run once for each transport."""

    transport = "tcp"

    def setUp(self):
        harness.need_client(pymemcache, "pymemcache (Debian python3-pymemcache) is not installed")
        self.running = self.server(transport=self.transport)
        self.client = self.make_client()

    def address(self, server=None):
        return (server or self.running).address()

    def make_client(self, **settings):
        client = Client(self.address(), connect_timeout=harness.patience(10), timeout=harness.patience(20), **settings)
        self.addCleanup(client.close)
        return client

    def test_set_get_delete(self):
        self.assertIsNone(self.client.get("a"))
        self.assertTrue(self.client.set("a", b"value", noreply=False))
        self.assertEqual(self.client.get("a"), b"value")
        self.assertTrue(self.client.delete("a", noreply=False))
        self.assertFalse(self.client.delete("a", noreply=False))
        self.assertIsNone(self.client.get("a"))

    def test_store_modes(self):
        self.assertTrue(self.client.add("a", b"1", noreply=False))
        self.assertFalse(self.client.add("a", b"2", noreply=False))
        self.assertTrue(self.client.replace("a", b"3", noreply=False))
        self.assertFalse(self.client.replace("none", b"3", noreply=False))
        self.assertTrue(self.client.append("a", b"-end", noreply=False))
        self.assertTrue(self.client.prepend("a", b"begin-", noreply=False))
        self.assertEqual(self.client.get("a"), b"begin-3-end")

    def test_noreply_keeps_the_stream_in_step(self):
        for number in range(500):
            self.client.set(f"key{number}", b"%d" % number, noreply=True)
        for number in range(0, 500, 7):
            self.assertEqual(self.client.get(f"key{number}"), b"%d" % number)

    def test_arithmetic(self):
        self.assertIsNone(self.client.incr("n", 1))
        self.client.set("n", b"41", noreply=False)
        self.assertEqual(self.client.incr("n", 1), 42)
        self.assertEqual(self.client.decr("n", 100), 0)
        self.client.set("n", b"x", noreply=False)
        with self.assertRaises(pymemcache.exceptions.MemcacheClientError):
            self.client.incr("n", 1)
        self.assertEqual(self.client.get("n"), b"x")

    def test_cas(self):
        self.client.set("a", b"one", noreply=False)
        value, unique = self.client.gets("a")
        self.assertEqual(value, b"one")
        self.assertTrue(self.client.cas("a", b"two", unique))
        self.assertFalse(self.client.cas("a", b"three", unique))
        self.assertIsNone(self.client.cas("none", b"three", unique))
        self.assertEqual(self.client.get("a"), b"two")

    def test_cas_under_contention_loses_no_update(self):
        self.client.set("counter", b"0", noreply=False)
        errors = []

        def count():
            try:
                client = self.make_client()
                done = 0
                while done < 50:
                    value, unique = client.gets("counter")
                    done += client.cas("counter", b"%d" % (int(value) + 1), unique)
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(harness.patience(60))
        self.assertEqual(errors, [])
        self.assertEqual(self.client.get("counter"), b"200")

    def test_gets_many(self):
        self.client.set_many({"a": b"1", "b": b"2"}, noreply=False)
        found = self.client.gets_many(["a", "b", "c"])
        self.assertEqual({key: value for key, (value, _) in found.items()}, {"a": b"1", "b": b"2"})
        self.assertNotEqual(found["a"][1], found["b"][1])

    def test_touch(self):
        self.client.set("a", b"x", expire=1, noreply=False)
        self.assertTrue(self.client.touch("a", 0, noreply=False))
        self.assertFalse(self.client.touch("none", 0, noreply=False))
        self.assertEqual(self.client.get("a"), b"x")
        self.assertTrue(self.client.touch("a", -1, noreply=False))
        self.assertIsNone(self.client.get("a"))

    def test_expiry(self):
        self.client.set("a", b"x", expire=1, noreply=False)
        harness.poll(lambda: self.client.get("a") is None, 5, "the expiry")

    def test_many_keys(self):
        values = {f"key:{number:04}": blob(number, number % 300) for number in range(700)}
        self.assertEqual(self.client.set_many(values, noreply=False), [])
        self.assertEqual(self.client.get_many(list(values) + ["none"]), values)
        self.assertTrue(self.client.delete_many(list(values)[:350], noreply=False))
        self.assertEqual(self.client.get_many(values), dict(list(values.items())[350:]))

    def test_values_of_every_size(self):
        for size in [0, 1, 7, 8, 9, 511, 512, 1023, 1024, 4096, 8191, 8192, 8193, 65536, 200_000, 524_288, 1_047_000]:
            with self.subTest(size=size):
                value = blob(size, size)
                self.assertTrue(self.client.set("big", value, noreply=False))
                self.assertEqual(hashlib.sha256(self.client.get("big")).digest(), hashlib.sha256(value).digest())

    def test_values_of_every_byte(self):
        value = bytes(range(256)) * 3 + b"\r\nEND\r\nVALUE x 0 1\r\n"
        self.client.set("bytes", value, noreply=False)
        self.assertEqual(self.client.get("bytes"), value)

    def test_too_large_a_value(self):
        self.client.set("a", b"old", noreply=False)
        with self.assertRaises(pymemcache.exceptions.MemcacheServerError):
            self.client.set("a", b"x" * (1 << 20), noreply=False)
        self.assertIsNone(self.client.get("a"))
        self.assertTrue(self.client.set("a", b"new", noreply=False))
        self.assertEqual(self.client.get("a"), b"new")

    def test_pickled_objects(self):
        client = self.make_client(serde=serde.pickle_serde)
        for value in [b"bytes", "text é", 12345, {"a": [1, 2, 3]}, ("tuple", None), 2.5]:
            self.assertTrue(client.set("object", value, noreply=False))
            self.assertEqual(client.get("object"), value)

    def test_flags_reach_the_serializer(self):
        class Json:
            def serialize(self, key, value):
                return (value, 1) if isinstance(value, str) else (json.dumps(value), 0xFFFFFFFF)

            def deserialize(self, key, value, flags):
                return value.decode() if flags == 1 else json.loads(value)

        client = self.make_client(serde=Json())
        client.set("text", "plain", noreply=False)
        client.set("list", [1, {"b": 2}], noreply=False)
        self.assertEqual(client.get_many(["text", "list"]), {"text": "plain", "list": [1, {"b": 2}]})

    def test_unicode_keys(self):
        client = self.make_client(allow_unicode_keys=True)
        client.set("schlüssel→", b"x", noreply=False)
        self.assertEqual(client.get("schlüssel→"), b"x")

    def test_version_stats_and_verbosity(self):
        self.assertRegex(self.client.version(), rb"^1\.6\.\d+")
        self.client.set("a", b"x", noreply=False)
        self.client.get("a")
        self.client.get("none")
        stats = self.client.stats()
        self.assertEqual(stats[b"cmd_get"], 2)
        self.assertEqual(stats[b"get_hits"], 1)
        self.assertEqual(stats[b"get_misses"], 1)
        self.assertEqual(stats[b"cmd_set"], 1)
        self.assertEqual(stats[b"curr_items"], 1)
        self.assertEqual(stats[b"limit_maxbytes"], 64 << 20)
        self.assertGreaterEqual(stats[b"curr_connections"], 1)
        self.assertEqual(self.client.stats("settings")[b"item_size_max"], 1 << 20)
        self.assertIsInstance(self.client.stats("items"), dict)
        self.assertIsInstance(self.client.stats("slabs"), dict)

    def test_flush_all(self):
        self.client.set("a", b"x", noreply=False)
        self.assertTrue(self.client.flush_all(noreply=False))
        self.assertIsNone(self.client.get("a"))

    def test_pooled_client(self):
        client = PooledClient(self.address(), max_pool_size=8, timeout=harness.patience(20))
        self.addCleanup(client.close)
        for number in range(100):
            client.set(f"key{number}", b"%d" % number, noreply=False)
        self.assertEqual(client.get_many([f"key{number}" for number in range(100)])["key77"], b"77")
        client.quit()

    def test_hash_client_over_three_servers(self):
        servers = [self.running] + [self.server(transport=self.transport) for _ in range(2)]
        client = HashClient([self.address(server) for server in servers], timeout=harness.patience(20), use_pooling=True)
        self.addCleanup(client.close)
        values = {f"key:{number}": blob(number, 50 + number) for number in range(300)}
        self.assertEqual(client.set_many(values, noreply=False), [])
        self.assertEqual(client.get_many(values), values)
        counts = []
        for server in servers:
            with server.connect() as raw:
                counts.append(int(raw.stats()["curr_items"]))
        self.assertEqual(sum(counts), len(values))
        self.assertTrue(all(counts), f"one server has nothing: {counts}")


class PymemcacheOverTcp(PymemcacheTests, harness.ServerTest):
    transport = "tcp"


class PymemcacheOverUnixSocket(PymemcacheTests, harness.ServerTest):
    transport = "unix"


if __name__ == "__main__":
    unittest.main()
