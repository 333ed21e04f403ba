# SPDX-License-Identifier: MIT
"""python3-pylibmc, that is libmemcached, by the text protocol: one server and several, over TCP and a unix socket."""

import random
import unittest

import harness

try:
    import pylibmc
except ImportError:
    pylibmc = None


def blob(seed, size):
    return random.Random(seed).randbytes(size)


class PylibmcTests:
    transport = "tcp"

    def setUp(self):
        harness.need_client(pylibmc, "pylibmc (Debian python3-pylibmc) is not installed")
        self.running = self.server(transport=self.transport)
        self.client = self.make_client([self.running])

    def make_client(self, servers, **behaviors):
        names = [server.path if self.transport == "unix" else f"127.0.0.1:{server.port}" for server in servers]
        behaviors = {"cas": True, "tcp_nodelay": True, "receive_timeout": 20_000_000, **behaviors}
        client = pylibmc.Client(names, binary=False, behaviors=behaviors)
        self.addCleanup(client.disconnect_all)
        return client

    def test_values_keep_their_types(self):
        for value in [b"bytes", "text é", 12345, -1, 1 << 70, 2.5, {"a": [1, None]}, ("t",)]:
            self.assertTrue(self.client.set("a", value))
            self.assertEqual(self.client.get("a"), value)
            self.assertIs(type(self.client.get("a")), type(value))

    def test_store_modes_and_delete(self):
        self.assertIsNone(self.client.get("a"))
        self.assertTrue(self.client.add("a", b"1"))
        self.assertFalse(self.client.add("a", b"2"))
        self.assertTrue(self.client.replace("a", b"3"))
        self.assertFalse(self.client.replace("none", b"3"))
        self.assertTrue(self.client.append("a", b"4"))
        self.assertTrue(self.client.prepend("a", b"2"))
        self.assertEqual(self.client.get("a"), b"234")
        self.assertTrue(self.client.delete("a"))
        self.assertFalse(self.client.delete("a"))

    def test_multi(self):
        values = {f"key{number}": blob(number, number * 3) for number in range(500)}
        self.assertEqual(self.client.set_multi(values), [])
        self.assertEqual(self.client.get_multi(list(values) + ["none"]), values)
        self.assertEqual(self.client.get_multi([str(n) for n in range(500)], key_prefix="key"),
                         {str(n): values[f"key{n}"] for n in range(500)})
        self.assertTrue(self.client.delete_multi(list(values)[:250]))
        self.assertEqual(len(self.client.get_multi(list(values))), 250)

    def test_arithmetic(self):
        with self.assertRaises(pylibmc.NotFound):
            self.client.incr("n")
        self.client.set("n", 40)
        self.assertEqual(self.client.incr("n"), 41)
        self.assertEqual(self.client.incr("n", 9), 50)
        self.assertEqual(self.client.decr("n", 8), 42)
        self.assertEqual(self.client.decr("n", 100), 0)
        self.assertEqual(self.client.get("n"), 0)

    def test_incr_multi(self):
        self.client.set_multi({"a": 1, "b": 2})
        self.client.incr_multi(["a", "b"], delta=10)
        self.assertEqual(self.client.get_multi(["a", "b"]), {"a": 11, "b": 12})

    def test_cas_of_an_unchanged_item_only(self):
        self.client.set("a", 1)
        value, unique = self.client.gets("a")
        self.assertEqual(value, 1)
        self.assertTrue(self.client.cas("a", 2, unique))
        self.assertFalse(self.client.cas("a", 3, unique))
        self.assertEqual(self.client.get("a"), 2)

    def test_touch_and_expiry(self):
        self.client.set("a", b"x", time=100)
        self.assertTrue(self.client.touch("a", 1))
        self.assertFalse(self.client.touch("none", 1))
        harness.poll(lambda: self.client.get("a") is None, 5, "the expiry")

    def test_large_and_binary_values(self):
        for size in [1000, 8192, 100_000, 1_000_000, 1_047_000]:
            value = blob(size, size)
            self.assertTrue(self.client.set("big", value))
            self.assertEqual(self.client.get("big"), value)

    def test_compressed_values(self):
        value = b"scoot " * 300_000  # above the item limit until it is compressed
        self.assertTrue(self.client.set("long", value, min_compress_len=1000))
        self.assertEqual(self.client.get("long"), value)

    def test_too_large_a_value(self):
        with self.assertRaises((pylibmc.TooBig, pylibmc.ServerError, pylibmc.Error)):
            self.client.set("big", blob(1, 1 << 20))
        self.assertTrue(self.client.set("big", b"small"))
        self.assertEqual(self.client.get("big"), b"small")

    def test_keys_to_250_bytes(self):
        self.assertTrue(self.client.set("k" * 250, b"x"))
        self.assertEqual(self.client.get("k" * 250), b"x")

    def test_stats_and_flush(self):
        self.client.set("a", b"x")
        ((_, stats),) = self.client.get_stats()
        self.assertEqual(int(stats["curr_items"]), 1)
        self.assertTrue(self.client.flush_all())
        self.assertIsNone(self.client.get("a"))

    def test_hash_over_several_servers(self):
        servers = [self.running] + [self.server(transport=self.transport) for _ in range(3)]
        for behaviors in ({"ketama": True}, {"hash": "md5", "distribution": "modula"}):
            client = self.make_client(servers, **behaviors)
            client.flush_all()
            values = {f"key:{number}": blob(number, 64) for number in range(400)}
            self.assertEqual(client.set_multi(values), [])
            self.assertEqual(client.get_multi(list(values)), values)
            counts = [int(stats["curr_items"]) for _, stats in client.get_stats()]
            self.assertEqual(len(counts), 4)
            self.assertTrue(all(counts), f"one server has nothing: {counts}")


class PylibmcOverTcp(PylibmcTests, harness.ServerTest):
    transport = "tcp"


class PylibmcOverUnixSocket(PylibmcTests, harness.ServerTest):
    transport = "unix"


if __name__ == "__main__":
    unittest.main()
