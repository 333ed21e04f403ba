# SPDX-License-Identifier: MIT
"""Several client processes, a small budget, constant eviction: nothing wrong is ever answered.

Each process owns some keys, of which it knows what they must hold if they are there at all, and shares others, whose
values prove themselves. A key may always be gone (evicted); it may never be anything but what was stored last.
"""

import os
import random
import time
import unittest

import harness
import values
from test_hostile import child, reap

SECONDS = 6
PROCESSES = 4


class Worker:
    def __init__(self, server, index, deadline):
        self.client = server.connect()
        self.chance = random.Random(1000 + index)
        self.index = index
        self.deadline = deadline
        self.model = {}  # our own keys: the value as last stored, None after a delete
        self.serial = 0
        self.operations = 0
        self.hits = 0

    def run(self):
        actions = [self.set, self.set, self.get_many, self.get_many, self.append, self.increment, self.delete,
                   self.compare_and_swap, self.pipeline, self.shared_set, self.shared_get]  # fmt: skip
        while time.monotonic() < self.deadline:
            self.chance.choice(actions)()
            self.operations += 1
        if self.hits == 0:
            raise AssertionError("nothing was ever found")

    def key(self):
        return b"w%d:%d" % (self.index, self.chance.randrange(3000))

    def size(self):
        return self.chance.choice((32, 40, 100, 100, 1000, 1024, 5000, 9000, 30_000, 150_000))

    def verify(self, key, value):
        """What was answered for a key of ours: gone, or exactly the last that was stored."""
        if value is None:
            self.model.pop(key, None)
            return
        expected = self.model.get(key)
        if value != expected:
            raise AssertionError(f"{key!r}: expected {expected and expected[:90]!r}, got {value[:90]!r} ({len(value)} bytes)")
        self.hits += 1

    def set(self):
        key = self.key()
        self.serial += 1
        value = values.make(key, self.serial, self.size())
        answer = self.client.store(key, value)
        if answer != b"STORED":
            raise AssertionError(f"set: {answer!r}")
        self.model[key] = value

    def get_many(self):
        keys = [self.key() for _ in range(self.chance.randrange(1, 60))]
        found = self.client.get_many(keys)
        if not set(found) <= set(keys):
            raise AssertionError("an answer for a key that nobody asked for")
        for key in keys:
            self.verify(key, found[key][1] if key in found else None)

    def append(self):
        key = self.key()
        tail = b"+%d" % self.serial
        mode = self.chance.choice(("append", "prepend"))
        answer = self.client.store(key, tail, mode=mode)
        if answer == b"STORED":
            old = self.model.get(key)
            if old is None:
                raise AssertionError(f"{mode} to {key!r}, which must not be there")
            self.model[key] = old + tail if mode == "append" else tail + old
        elif answer == b"NOT_STORED":
            self.model.pop(key, None)
        else:
            raise AssertionError(f"{mode}: {answer!r}")

    def increment(self):
        key = b"n%d:%d" % (self.index, self.chance.randrange(50))
        delta = self.chance.randrange(1 << 40)
        answer = self.client.request(b"incr %s %d" % (key, delta))
        if answer == b"NOT_FOUND":
            if self.client.store(key, b"1") != b"STORED":
                raise AssertionError("set of a number")
            self.model[key] = 1
            return
        expected = (self.model[key] + delta) % (1 << 64)
        if int(answer) != expected:
            raise AssertionError(f"{key!r}: expected {expected}, got {answer!r}")
        self.model[key] = expected

    def delete(self):
        key = self.key()
        answer = self.client.request(b"delete " + key)
        if answer == b"DELETED" and self.model.get(key) is None:
            raise AssertionError(f"{key!r} was there and must not")
        if answer not in (b"DELETED", b"NOT_FOUND"):
            raise AssertionError(f"delete: {answer!r}")
        self.model.pop(key, None)

    def compare_and_swap(self):
        key = self.key()
        found = self.client.get_many([key], cas=True)
        self.verify(key, found[key][1] if key in found else None)
        if key not in found:
            return
        self.serial += 1
        value = values.make(key, self.serial, self.size())
        answer = self.client.store(key, value, mode="cas", cas=found[key][2])
        if answer == b"STORED":
            self.model[key] = value
        elif answer == b"NOT_FOUND":
            self.model.pop(key, None)
        else:
            raise AssertionError(f"cas of a key of our own: {answer!r}")

    def pipeline(self):
        keys = [self.key() for _ in range(20)]
        stream = bytearray()
        for key in keys:
            self.serial += 1
            self.model[key] = values.make(key, self.serial, 400)
            stream += b"set %s 5 0 400\r\n%s\r\nget %s\r\n" % (key, self.model[key], key)
        last = dict(self.model)
        self.client.send(bytes(stream))
        serial = self.serial - len(keys)
        for key in keys:
            serial += 1
            if self.client.line() != b"STORED":
                raise AssertionError("a set in a pipeline")
            found = self.client.values()
            if key in found and found[key] != (5, values.make(key, serial, 400)):
                raise AssertionError(f"{key!r}: not what this pipeline stored just before")
        self.model = last

    def shared_set(self):
        key = b"shared:%d" % self.chance.randrange(200)
        self.serial += 1
        value = values.make(key, self.serial, self.size())
        if self.client.store(key, value) != b"STORED":
            raise AssertionError("set of a shared key")

    def shared_get(self):
        keys = [b"shared:%d" % self.chance.randrange(200) for _ in range(30)]
        for key, (_, value) in self.client.get_many(keys).items():
            values.check(key, value)


class SoakTest(harness.ServerTest):
    def soak(self, transport, *options):
        server = self.server(*options, transport=transport)
        deadline = time.monotonic() + SECONDS
        report_end, report = os.pipe()

        def work(index):
            worker = Worker(server, index, deadline)
            worker.run()
            os.write(report, b"%d %d\n" % (worker.operations, worker.hits))

        pids = [child(lambda index=index: work(index)) for index in range(PROCESSES)]
        os.close(report)
        with os.fdopen(report_end, "rb") as file:
            lines = file.read().split(b"\n")[:-1]
        self.assertEqual([reap(pid) for pid in pids], [0] * PROCESSES, "a client saw something wrong: see its message")
        operations, hits = (sum(int(line.split()[at]) for line in lines) for at in (0, 1))
        with server.connect() as client:
            stats = client.stats()
        self.assertGreater(int(stats["evictions"]), 100, "the budget was too large for this test")
        print(f"{transport} {' '.join(options)}: {operations} operations, {hits} hits checked, {stats['evictions']} evictions")

    def test_over_tcp(self):
        self.soak("tcp", "-m", "16", "-t", "4")

    def test_over_a_unix_socket_with_one_thread(self):
        self.soak("unix", "-m", "16", "-t", "1")


if __name__ == "__main__":
    unittest.main()
