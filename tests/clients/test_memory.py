# SPDX-License-Identifier: MIT
"""What the process holds, as the kernel counts it: at most -m and 16 MiB, whatever is stored in whatever order of sizes."""

import contextlib
import random
import threading
import time
import unittest

import harness
import values

MIB = 1 << 20


class Loader:
    """Stores many checked values fast: noreply sets in large writes."""

    def __init__(self, client):
        self.client = client
        self.batch = bytearray()
        self.stored = {}  # key: value's (serial, size); how many serials there were tells the order

    def store(self, key, serial, size):
        value = values.make(key, serial, size) if size >= values.HEADER_BYTES else small(key, serial, size)
        self.batch += b"set %s 0 0 %d noreply\r\n%s\r\n" % (key, len(value), value)
        if len(self.batch) > 1 << 18:
            self.flush()

    def flush(self):
        self.client.send(bytes(self.batch) + b"version\r\n")
        self.batch.clear()
        line = self.client.line()
        if not line.startswith(b"VERSION "):
            raise AssertionError(f"noreply was answered: {line!r}")


def small(key, serial, size):
    """A value too short for a header, that follows from its key and serial all the same."""
    return (b"%s/%d." % (key, serial) * 8)[:size]


class MemoryTest(harness.ServerTest):
    def setUp(self):
        harness.skip_unless(not harness.is_sanitized(), "an instrumented server's memory says nothing")

    def check_bound(self, server, limit_mib, when):
        """Never in its life was the process larger than its limit and 16 MiB."""
        allowed = limit_mib + (64 if harness.is_reference() else 16)
        peak = server.rss_peak_bytes() / MIB
        print(f"{when}: RSS {server.rss_bytes() / MIB:.1f} MiB, peak {peak:.1f} MiB at -m {limit_mib}")
        self.assertLessEqual(peak, allowed, when)

    def test_empty_server_is_small(self):
        server = self.server("-m", "1024")
        with server.connect() as client:
            client.request("version")
        self.assertLess(server.rss_bytes() / MIB, 64 if harness.is_reference() else 16)

    def test_overfilled_with_mixed_sizes(self):
        chance = random.Random(21)
        for limit in (64, 16):
            server = self.server("-m", limit)
            with server.connect() as client:
                loader = Loader(client)
                sizes = []
                total = 0
                while total < 3 * limit * MIB:
                    size = min(900_000, max(values.HEADER_BYTES, int(chance.lognormvariate(7, 1.5))))
                    loader.store(b"mixed:%d" % len(sizes), 1, size)
                    sizes.append(size)
                    total += size
                loader.flush()
                self.check_bound(server, limit, f"mixed sizes, {len(sizes)} items of {total // MIB} MiB")
                self.assertGreater(int(client.stats()["evictions"]), 0)
                # Each value that is still there is right, and the memory is put to use.
                resident = 0
                for at in range(0, len(sizes), 50):
                    keys = [b"mixed:%d" % number for number in range(at, min(at + 50, len(sizes)))]
                    for key, (_, value) in client.get_many(keys).items():
                        values.check(key, value)
                        self.assertEqual(len(value), sizes[int(key[6:])])
                        resident += len(value)
                print(f"payload resident: {resident / MIB:.1f} MiB")
                if not harness.is_reference():
                    self.assertGreater(resident / MIB / limit, 0.8)

    def test_sizes_that_shift(self):
        # 20 B, then 1 KiB, then 100 B: the memory follows.
        limit = 64
        server = self.server("-m", limit)
        with server.connect() as client:
            loader = Loader(client)
            for phase, (size, overhead) in enumerate([(20, 60), (1024, 80), (100, 80)]):
                count = int(1.8 * limit * MIB / (size + overhead))
                prefix = b"p%d:" % phase
                for number in range(count):
                    loader.store(b"%s%d" % (prefix, number), phase, size)
                loader.flush()
                self.check_bound(server, limit, f"{count} values of {size} B")
                found = checked = 0
                recent = range(count - count // 4, count)
                for at in range(recent.start, recent.stop, 400):
                    keys = [b"%s%d" % (prefix, number) for number in range(at, min(at + 400, count))]
                    answer = client.get_many(keys)
                    found += len(answer)
                    checked += len(keys)
                    for key, (_, value) in answer.items():
                        expected = small(key, phase, size) if size < values.HEADER_BYTES else values.make(key, phase, size)
                        if value != expected:
                            self.fail(f"{key!r}: {value[:80]!r}")
                print(f"of the last quarter stored, {found / checked:.2f} is there")
                if not harness.is_reference():
                    self.assertGreater(found / checked, 0.5)

    def test_room_that_was_freed_is_used_again(self):
        # A cache that was full once and is empty again evicts nothing until it is full again.
        harness.skip_unless(not harness.is_reference(), "memcached's pages stay with their sizes")
        server = self.server("-m", "64")
        with server.connect() as client:
            for size, count in ((1_000_000, 100), (100_000, 1000), (10_000, 8000)):
                with self.subTest(size=size):
                    value = b"x" * size
                    for number in range(count):
                        self.assertEqual(client.store(b"a%d" % number, value), b"STORED")
                    self.assertGreater(int(client.stats()["evictions"]), 0)
                    for number in range(count):
                        client.request(b"delete a%d" % number)
                    self.assertEqual(client.stats()["curr_items"], "0")
                    evictions = client.stats()["evictions"]
                    for number in range(count * 3 // 10):
                        self.assertEqual(client.store(b"b%d" % number, value), b"STORED")
                    self.assertEqual(client.stats()["evictions"], evictions)
                    self.assertEqual(client.stats()["curr_items"], str(count * 3 // 10))
                    for number in range(count * 3 // 10):
                        client.request(b"delete b%d" % number)

    def test_memory_follows_a_new_limit(self):
        # cache_memlimit: a full cache halved gives the memory back in seconds, and doubled again uses it.
        harness.skip_unless(not harness.is_reference(), "memcached gives nothing back")
        server = self.server("-m", "128")
        with server.connect() as client:
            def fill():
                for number in range(40_000):
                    client.send(b"set k%d 0 0 4000 noreply\r\n%s\r\n" % (number, values.make(b"k%d" % number, 1, 4000)))
                client.request("version")

            fill()
            self.assertGreater(server.rss_bytes(), 110 * MIB)
            self.assertEqual(client.request("cache_memlimit 64"), b"OK")
            harness.poll(lambda: server.rss_bytes() <= (64 + 16) * MIB, 5, "the memory's return")
            self.assertEqual(client.stats()["limit_maxbytes"], str(64 * MIB))
            for at in range(0, 40_000, 100):
                for key, (_, value) in client.get_many([b"k%d" % number for number in range(at, at + 100)]).items():
                    values.check(key, value)
            self.assertGreater(int(client.stats()["bytes"]), 45 * MIB)
            self.assertEqual(client.request("cache_memlimit 128"), b"OK")
            fill()
            self.assertGreater(server.rss_bytes(), 110 * MIB)
            self.check_bound(server, 128, "after a cut and a rise")

    def test_expiry_storm_gives_its_memory_back(self):
        # Full of items that expire in the same second: two seconds later their bytes are back.
        harness.skip_unless(not harness.is_reference(), "memcached's pages stay")
        limit = 64
        server = self.server("-m", limit)
        with server.connect() as client:
            client.request("version")
            empty = server.rss_bytes()
            for term in (6, 24):  # more for a machine that is busy with other things
                expires = int(time.time()) + term
                for at in range(0, 150_000, 1000):
                    client.send(b"".join(b"set e%d 0 %d 200 noreply\r\n%s\r\n" % (n, expires, b"x" * 200) for n in range(at, at + 1000)))
                client.request("version")
                if time.time() < expires:
                    break
            self.assertLess(time.time(), expires, "too slow to fill it in time")
            self.assertGreater(server.rss_bytes() - empty, 30 * MIB)
            time.sleep(max(0, expires - time.time()))
            started, waited = time.monotonic(), server.kept_waiting_seconds()
            harness.poll(
                lambda: server.rss_bytes() - empty < 8 * MIB and client.stats()["curr_items"] == "0", 15, "the memory's return"
            )
            took, waited = time.monotonic() - started, server.kept_waiting_seconds() - waited
            print(f"expired bytes are back after {took:.2f} s, {waited:.2f} s of it without a processor")
            # The second they expire in, and 2 s at most, less what is gone of the first; others' load is not its fault.
            self.assertLess(took - waited, 2.5)
            moves = client.stats("moves")
            self.assertGreaterEqual(int(moves["bytes_moved"]), int(moves["idle_bytes_moved"]))
            self.check_bound(server, limit, "after an expiry storm")

    def test_flush_gives_memory_back(self):
        harness.skip_unless(not harness.is_reference(), "memcached's pages stay")
        server = self.server("-m", "64")
        with server.connect() as client:
            client.request("version")
            empty = server.rss_bytes()
            loader = Loader(client)
            for number in range(60_000):
                loader.store(b"f%d" % number, 1, 900)
            loader.flush()
            self.assertGreater(server.rss_bytes() - empty, 45 * MIB)
            self.assertEqual(client.request("flush_all"), b"OK")
            harness.poll(lambda: server.rss_bytes() - empty < 8 * MIB, 5, "the return of the memory")

    def test_budget_changes_under_load(self):
        # The limit goes up and down while two clients store; what is answered is right, and RSS follows each cut.
        harness.skip_unless(not harness.is_reference(), "memcached gives nothing back")
        server = self.server("-m", "96")
        stop = threading.Event()
        faults = []

        def load(seed):
            chance = random.Random(seed)
            try:
                with server.connect() as client:
                    serial = 0
                    while not stop.is_set():
                        keys = [b"l%d:%d" % (seed, chance.randrange(40_000)) for _ in range(50)]
                        serial += 1
                        for key in keys:
                            value = values.make(key, serial, chance.choice((80, 700, 5000)))
                            client.send(b"set %s 0 0 %d noreply\r\n%s\r\n" % (key, len(value), value))
                        for key, (_, value) in client.get_many(keys).items():
                            values.check(key, value)
            except Exception as error:  # what a thread raises nobody sees
                faults.append(error)

        threads = [threading.Thread(target=load, args=(seed,)) for seed in (1, 2)]
        for thread in threads:
            thread.start()
        try:
            with server.connect() as client:
                harness.poll(lambda: server.rss_bytes() > 60 * MIB, 30, "a full server")
                for limit in (24, 96, 16, 64, 32):
                    self.assertEqual(client.request(b"cache_memlimit %d" % limit), b"OK")
                    harness.poll(lambda: server.rss_bytes() <= (limit + 16) * MIB, 5, f"the way down to {limit} MiB")
                    time.sleep(0.5)
                    self.assertLessEqual(server.rss_bytes(), (limit + 16) * MIB)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(faults, [])
        self.check_bound(server, 96, "after cuts and rises under load")

    def test_connection_storm_costs_a_kibibyte_each(self):
        # Waves of connections on a full server: never above the limit, 16 MiB, and 1 KiB for each.
        limit, wave = 32, 3000
        harness.skip_unless(harness.raise_open_files_limit() >= wave + 200, "too few open files are allowed here")
        harness.skip_unless(not harness.is_reference(), "memcached's connections are larger")
        server = self.server("-m", limit, "-c", 3 * wave + 100)
        with server.connect() as client:
            loader = Loader(client)
            for number in range(50_000):
                loader.store(b"c%d" % number, 1, 900)
            loader.flush()
            before = server.rss_bytes()
            for _ in range(3):
                with contextlib.ExitStack() as stack:
                    others = [stack.enter_context(server.connect()) for _ in range(wave)]
                    for other in others:
                        other.send(b"get c49999\r\n")
                    for other in others:
                        self.assertIn(b"c49999", other.values())
                    each = (server.rss_bytes() - before) / wave
                harness.poll(lambda: int(client.stats()["curr_connections"]) < 10, 10, "the end of the wave")
            print(f"{each:.0f} B for each connection")
            self.assertLessEqual(each, 1024)
            self.assertLessEqual(server.rss_peak_bytes() - wave * 1024, (limit + 16) * MIB)

    def test_expired_items_leave(self):
        # By themselves: nobody asks for them.
        harness.skip_unless(not harness.is_reference(), "memcached's crawler takes a minute")
        server = self.server("-m", "64")
        with server.connect() as client:
            batch = bytearray()
            for number in range(100_000):
                batch += b"set e%d 0 2 100 noreply\r\n%s\r\n" % (number, b"x" * 100)
            client.send(bytes(batch))
            self.assertEqual(client.store(b"stays", b"x"), b"STORED")
            self.assertGreater(int(client.stats()["curr_items"]), 50_000)
            started = time.monotonic()
            harness.poll(lambda: client.stats()["curr_items"] == "1", 8, "the expiry of all")
            self.assertLess(time.monotonic() - started, 6)
            self.assertLess(int(client.stats()["bytes"]), 1000)

    def test_deleted_and_flushed_items_leave(self):
        server = self.server("-m", "64")
        with server.connect() as client:
            batch = bytearray()
            for number in range(100_000):
                batch += b"set d%d 0 0 100 noreply\r\n%s\r\n" % (number, b"x" * 100)
            client.send(bytes(batch))
            client.request("version")
            self.assertEqual(client.stats()["curr_items"], "100000")
            client.send(b"".join(b"delete d%d noreply\r\n" % number for number in range(50_000)))
            client.request("version")
            self.assertEqual(client.stats()["curr_items"], "50000")
            self.assertEqual(client.request("flush_all"), b"OK")
            if not harness.is_reference():
                harness.poll(lambda: client.stats()["curr_items"] == "0", 10, "the flushed items' end")


if __name__ == "__main__":
    unittest.main()
