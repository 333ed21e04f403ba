# SPDX-License-Identifier: MIT
"""The second tier in purgeable memory, and memory given back under pressure, from outside: what is beyond -m is still
served, what is not offered stays within -m, and a shortage lowers what is held."""

import os
import re
import tempfile
import unittest

import harness

MIB = 1 << 20


def lazy_free_bytes(pid):
    """What the process has offered to the kernel, which counts it as resident until it takes it."""
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return int(re.search(r"LazyFree:\s+(\d+) kB", rollup.read()).group(1)) << 10


class PurgeableTest(harness.ServerTest):
    def setUp(self):
        harness.skip_unless(not harness.is_reference(), "memcached has no such tier")

    def fill(self, client, count, size=1000, start=0):
        for first in range(start, start + count, 500):
            batch = bytearray()
            for i in range(first, min(first + 500, start + count)):
                batch += b"set key:%d %d 0 %d noreply\r\n%s\r\n" % (i, i % 7, size, self.value(i, size))
            client.send(bytes(batch) + b"version\r\n")
            self.assertTrue(client.line().startswith(b"VERSION "))

    @staticmethod
    def value(i, size):
        return (b"%d." % i * size)[:size]

    def test_what_is_evicted_is_served_from_offered_memory(self):
        server = self.server("-m", 8, "--purgeable", 64)
        with server.connect() as client:
            harness.skip_unless(client.stats()["purgeable_support"] != "refused", "no purgeable memory here")
            count = 30_000
            self.fill(client, count)
            stats = client.stats()
            self.assertEqual(stats["evictions"], "0")
            self.assertGreater(int(stats["cold_demotions"]), 20_000)
            self.assertLessEqual(int(stats["bytes_held"]), 8 * MIB)
            self.assertEqual(stats["purgeable_limit"], str(64 * MIB))
            self.assertGreater(int(stats["purgeable_offered"]), 18 * MIB)
            if not harness.is_sanitized():
                self.assertLess(server.rss_bytes() - lazy_free_bytes(server.pid), 24 * MIB)
            hits = 0
            for i in range(0, count, 7):
                found = client.get(b"key:%d" % i)
                if found is None:
                    continue  # the kernel may have taken it
                hits += 1
                self.assertEqual(found, self.value(i, 1000))
            print(f"{hits} of {len(range(0, count, 7))} read back; {lazy_free_bytes(server.pid) / MIB:.0f} MiB offered")
            if int(client.stats()["cold_lost"]) == 0:
                self.assertGreaterEqual(hits, count // 7 * 99 // 100)
            self.assertGreater(int(client.stats()["cold_hits"]), 1000)
            self.assertEqual(client.request("flush_all"), b"OK")
            self.assertEqual(client.stats()["cold_items"], "0")
            self.assertIsNone(client.get(b"key:0"))

    def test_options_that_make_no_sense_are_refused(self):
        for options, word in (
            (("--purgeable", "some"), "--purgeable"),
            (("--purgeable", "1k"), "--purgeable"),
            (("-m", "1024", "--purgeable", "8"), "sixteenth"),
            (("-M", "--purgeable", "auto"), "-M"),
            (("--pressure", "loud"), "--pressure"),
        ):
            run = harness.run_briefly("-p", "-1", *options)
            self.assertEqual(run.returncode, 64, options)
            self.assertIn(word.encode(), run.stderr, options)

    def test_auto_follows_what_the_machine_can_spare(self):
        server = self.server("-m", 8, "--purgeable", "auto")
        with server.connect() as client:
            harness.skip_unless(client.stats()["purgeable_support"] != "refused", "no purgeable memory here")
            with open("/proc/meminfo") as meminfo:
                total = int(re.search(r"MemTotal:\s+(\d+) kB", meminfo.read()).group(1)) << 10
            self.assertLessEqual(int(client.stats()["purgeable_limit"]), total // 2)
            self.fill(client, 2000)

    def test_a_shortage_lowers_what_is_held(self):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o777)
            fifo = f"{folder}/fifo"
            server = self.server("-m", 16, "--pressure", f"fifo:{fifo},plain")
            with server.connect() as client:
                self.fill(client, 20_000)
                before = int(client.stats()["bytes_held"])
                self.assertGreater(before, 15 * MIB)
                with open(fifo, "w") as to:
                    to.write(f"{8 * MIB}\n")
                harness.poll(lambda: int(client.stats()["bytes_held"]) < before - 3 * MIB, 20, "memory given back")
                # Counted once it was heeded.
                harness.poll(lambda: int(client.stats()["pressure_notices"]) >= 1, 10, "the notice")
                stats = client.stats()
                self.assertEqual(stats["limit_maxbytes"], str(16 * MIB))
                self.assertLess(int(stats["pressure_target"]), 16 * MIB)
                self.assertEqual(stats["pressure_scheduling"], "plain")


if __name__ == "__main__":
    unittest.main()
