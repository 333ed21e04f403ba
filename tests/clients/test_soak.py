# SPDX-License-Identifier: MIT
"""Several client processes of all protocols, while all else goes on that goes on at a server: nothing wrong is ever
answered, nothing stays after its time, and nothing is lost within budget and time.

SCOOT_TEST_SECONDS is how long each test goes on, else a few seconds; `./dev test --long` sets it to minutes.
"""

import os
import time
import unittest

import harness
from soak_clients import Disturber, Worker
from test_hostile import child, reap

SECONDS = float(os.environ.get("SCOOT_TEST_SECONDS", "4"))
PROCESSES = 4


class SoakTest(harness.ServerTest):
    def soak(self, *options, transport="tcp", keys, budgets=(), may_lose=True):
        server = self.server(*options, transport=transport)
        deadline = time.monotonic() + SECONDS
        report_end, report = os.pipe()

        def work(index):
            worker = Worker(server, index, deadline, keys, may_lose)
            worker.run()
            os.write(report, b"%d %d %d %d\n" % (worker.operations, worker.hits, worker.losses, worker.expiries))

        def disturb():
            Disturber(server, deadline, budgets, flushes=may_lose, signals=not harness.is_reference()).run()

        pids = [child(lambda index=index: work(index)) for index in range(PROCESSES)]
        pids.append(child(disturb))
        os.close(report)
        with os.fdopen(report_end, "rb") as file:
            lines = file.read().split(b"\n")[:-1]
        self.assertEqual([reap(pid) for pid in pids], [0] * len(pids), "a client saw something wrong: see its message")
        operations, hits, losses, expiries = (sum(int(line.split()[at]) for line in lines) for at in range(4))
        with server.connect() as client:
            stats = client.stats()
        print(
            f"{transport} {' '.join(options)}: {operations} operations, {hits} hits checked, {losses} lost, {expiries} expired,"
            f" {stats['evictions']} evictions"
        )
        self.assertGreater(hits, operations // 10)
        self.assertGreater(expiries, 0)
        return int(stats["evictions"]), losses

    def io(self, kind):
        return [] if harness.is_reference() else [f"--io={kind}"]

    def check_eviction(self, *options, **settings):
        evictions, losses = self.soak("-m", "32", *options, keys=3000, budgets=(32, 24, 16), **settings)
        self.assertGreater(evictions, 0 if harness.is_sanitized() else 100, "the budget was too large for this test")
        self.assertGreater(losses, 0)

    def test_under_eviction(self):
        self.check_eviction("-t", "4", *self.io("auto"))

    def test_under_eviction_over_epoll_with_one_thread(self):
        self.check_eviction("-t", "1", *self.io("epoll"), transport="unix")

    def test_nothing_is_lost_within_budget_and_time(self):
        budgets = (512, 400, 300)  # more than all of it takes
        evictions, losses = self.soak("-m", "512", "-t", "4", keys=400, budgets=budgets, may_lose=False)
        self.assertEqual((evictions, losses), (0, 0))


if __name__ == "__main__":
    unittest.main()
