# SPDX-License-Identifier: MIT
"""Three servers as one cache, by engines that exist: Debian's nutcracker, libmemcached's ketama, pymemcache's HashClient.

Each is configured as docs/cluster.md says: the test takes the configuration from that page and changes only addresses and
how long a dead server is left alone. 10,000 keys are spread; one server is killed; the others keep their keys, which are
still found, and the lost keys can be stored and read again; the server comes back empty and takes its part again.
"""

import os
import random
import re
import shutil
import socket
import subprocess
import tempfile
import unittest

import harness

try:
    import pylibmc
except ImportError:
    pylibmc = None
try:
    import pymemcache
    import pymemcache.client.hash
except ImportError:
    pymemcache = None

KEYS = 10_000
PAGE = os.path.join(harness.ROOT, "docs", "cluster.md")


def batches(keys, size=500):
    return (keys[at : at + size] for at in range(0, len(keys), size))


def value_of(key):
    return b"value of " + key.encode() + b"." * (len(key) % 7 + int(key[4:]) % 50)


def quiet_port():
    """A free port below those the kernel gives to clients: nobody takes it while its server is away, and no client that
    tries to reach the dead server is connected to itself."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        end = int(file.read().split()[0])
    while True:
        port = random.randrange(10_000, end)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def block_of(language, word):
    """The page's code block of that language in which the word stands."""
    with open(PAGE, encoding="utf-8") as file:
        blocks = re.findall(rf"^```{language}\n(.*?)^```$", file.read(), re.M | re.S)
    (block,) = [block for block in blocks if word in block]
    return block


def change(text, old, new):
    assert old in text, f"{old!r} is not in docs/cluster.md"
    return text.replace(old, new)


class ClusterTest(harness.ServerTest):
    def setUp(self):
        self.servers = [self.server("-m", 64, "-t", 1, port=quiet_port()) for _ in range(3)]

    def at_our_addresses(self, text):
        for number, server in enumerate(self.servers, 1):
            text = change(text, f"10.0.0.{number}:11211", f"127.0.0.1:{server.port}")
        return text

    def keys_at(self, server, keys):
        with server.connect() as raw:
            found = set()
            for batch in batches(keys):
                found.update(map(bytes.decode, raw.get_many([key.encode() for key in batch])))
            return found

    def spread_kill_and_rejoin(self, store, fetch):
        """store(keys) and fetch(keys) -> {key: value} through the engine; an error counts as not stored and not found."""
        keys = [f"key:{number}" for number in range(KEYS)]
        store(keys)
        self.assertEqual(fetch(keys), {key: value_of(key) for key in keys})
        places = [self.keys_at(server, keys) for server in self.servers]
        self.assertEqual(sum(map(len, places)), KEYS, "each key is in one place")
        self.assertGreater(min(map(len, places)), KEYS // 6, "every server has its part")

        lost = self.servers[1]
        lost.abandon(remove=False)
        kept = places[0] | places[2]

        # The engine finds out by failing, a few times at the most; then whatever is kept is found where it was.
        harness.poll(lambda: kept <= fetch(keys).keys(), 20, "all keys of the living servers")
        self.assertEqual(fetch(keys), {key: value_of(key) for key in kept})
        for which in (0, 2):
            self.assertEqual(self.keys_at(self.servers[which], keys), places[which])

        # The keys of the dead one are misses that can be filled, elsewhere.
        def refilled():
            store(sorted(places[1]))
            return fetch(keys).keys() == set(keys)

        harness.poll(refilled, 20, "all keys, from two servers")
        for which in (0, 2):
            self.assertEqual(self.keys_at(self.servers[which], sorted(places[which])), places[which])

        # It comes back empty, and the engine goes to it again with the same keys as before.
        lost.start()

        def rejoined():
            store(keys)
            return self.keys_at(lost, keys) == places[1]

        harness.poll(rejoined, 20, "the lost server's part")
        self.assertEqual(fetch(keys), {key: value_of(key) for key in keys})


class Nutcracker(ClusterTest):
    """Clients speak to the proxy by the text protocol, as to one memcached."""

    def setUp(self):
        harness.need_client(shutil.which("nutcracker"), "nutcracker (Debian nutcracker) is not on PATH")
        super().setUp()
        self.port = quiet_port()
        text = self.at_our_addresses(block_of("yaml", "distribution: ketama"))
        text = change(text, "127.0.0.1:22121", f"127.0.0.1:{self.port}")
        text = change(text, "server_retry_timeout: 30000", "server_retry_timeout: 1000")
        self.folder = tempfile.mkdtemp(prefix="scoot-cluster-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        configuration = os.path.join(self.folder, "nutcracker.yml")
        with open(configuration, "w", encoding="ascii") as file:
            file.write(text)
        files = ["-c", configuration, "-p", f"{self.folder}/pid", "-o", f"{self.folder}/log"]
        check = subprocess.run(["nutcracker", "-t", *files], capture_output=True, text=True, timeout=20)
        self.assertEqual(check.returncode, 0, check.stderr)
        proxy = subprocess.Popen(["nutcracker", *files, "-a", "127.0.0.1", "-s", str(quiet_port())], stderr=subprocess.DEVNULL)

        self.addCleanup(self.end, proxy)
        self.client = None
        harness.poll(self.reachable, 15, "nutcracker's port")

    def end(self, proxy):
        self.assertIsNone(proxy.poll(), "nutcracker ended by itself")
        proxy.terminate()
        proxy.wait(harness.patience(15))

    def reachable(self):
        try:
            self.client = harness.Connection(("127.0.0.1", self.port))
            self.addCleanup(self.client.close)
            return True
        except OSError:
            return False

    def store(self, keys):
        for batch in batches(keys):
            self.client.send(b"".join(b"set %s 0 0 %d\r\n%s\r\n" % (key.encode(), len(value_of(key)), value_of(key)) for key in batch))
            for _ in batch:
                line = self.client.line()
                self.assertTrue(line == b"STORED" or line.startswith(b"SERVER_ERROR"), line)

    def fetch(self, keys):
        found = {}
        for batch in batches(keys):
            self.client.send(b"".join(b"get %s\r\n" % key.encode() for key in batch))
            for key in batch:
                line = self.client.line()
                if line.startswith(b"VALUE "):
                    words = line.split(b" ")
                    self.assertEqual(words[1], key.encode())
                    found[key] = self.client.exactly(int(words[3]))
                    self.assertEqual(self.client.line() + self.client.line(), b"END")
                else:
                    self.assertTrue(line == b"END" or line.startswith(b"SERVER_ERROR"), line)
        return found

    def test_three_servers_behind_nutcracker(self):
        self.spread_kill_and_rejoin(self.store, self.fetch)


class Libmemcached(ClusterTest):
    def test_three_servers_by_ketama(self):
        harness.need_client(pylibmc, "pylibmc (Debian python3-pylibmc) is not installed")
        text = self.at_our_addresses(block_of("python", "pylibmc"))
        names = {}
        exec(change(text, '"dead_timeout": 30', '"dead_timeout": 1'), names)
        client = names["client"]
        self.addCleanup(client.disconnect_all)

        def one_by_one(call, keys):
            for key in keys:
                try:
                    yield key, call(key)
                except pylibmc.Error:
                    pass

        def store(keys):
            for _ in one_by_one(lambda key: client.set(key, value_of(key)), keys):
                pass

        def fetch(keys):
            return {key: value for key, value in one_by_one(client.get, keys) if value is not None}

        self.spread_kill_and_rejoin(store, fetch)


class PymemcacheHashClient(ClusterTest):
    def test_three_servers_by_rendezvous(self):
        harness.need_client(pymemcache, "pymemcache (Debian python3-pymemcache) is not installed")
        text = block_of("python", "HashClient")
        for number, server in enumerate(self.servers, 1):
            text = change(text, f'("10.0.0.{number}", 11211)', f'("127.0.0.1", {server.port})')
        names = {}
        exec(change(text, "dead_timeout=30", "dead_timeout=1"), names)
        client = names["client"]
        self.addCleanup(client.close)

        def store(keys):
            for batch in batches(keys):
                client.set_many({key: value_of(key) for key in batch}, noreply=False)

        def fetch(keys):
            return {key: value for batch in batches(keys) for key, value in client.get_many(batch).items()}

        self.spread_kill_and_rejoin(store, fetch)


if __name__ == "__main__":
    unittest.main()
