# SPDX-License-Identifier: MIT
"""Clients that know what they must be answered: one for each protocol, what they do all the time, and one that disturbs.

A `Worker` owns some keys, of which it knows what they must hold and until when, and shares others, whose values prove
themselves. A key may be gone where the server may evict; it may never be anything but what was stored last.
"""

import contextlib
import random
import signal
import struct
import time

import values

ITEM_MAX = (1 << 20) - 512  # of the value, with any key of ours, at the default -I
SIZES = (1, 7, 31, 32, 40, 100, 100, 600, 1000, 1024, 5000, 9000, 30_000, 150_000)
CLOCK_S = 1.6  # what a server's clock of whole seconds, and a busy machine, may be late


class Text:
    """The text protocol."""

    def __init__(self, connection):
        self.connection = connection

    def store(self, mode, key, value, ttl=0, cas=None):
        answer = self.connection.store(key, value, exptime=ttl, mode="cas" if cas else mode, cas=cas)
        return answer.decode().lower()

    def get_many(self, keys):
        return {key: found[1] for key, found in self.connection.get_many(keys).items()}

    def get_unique(self, key):
        found = self.connection.get_many([key], cas=True).get(key)
        return found and found[1:]

    def delete(self, key):
        return {b"DELETED": True, b"NOT_FOUND": False}[self.connection.request(b"delete " + key)]

    def increment(self, key, delta):
        answer = self.connection.request(b"incr %s %d" % (key, delta))
        return None if answer == b"NOT_FOUND" else int(answer)

    def touch(self, key, ttl):
        return {b"TOUCHED": True, b"NOT_FOUND": False}[self.connection.request(b"touch %s %d" % (key, ttl))]


class Meta(Text):
    """The meta commands."""

    ANSWERS = {b"HD": "stored", b"NS": "not_stored", b"EX": "exists", b"NF": "not_found"}

    def store(self, mode, key, value, ttl=0, cas=None):
        flags = b"T%d M%s" % (ttl, {"set": b"S", "add": b"E", "append": b"A", "prepend": b"P", "replace": b"R"}[mode])
        flags += b" C%d" % cas if cas else b""
        self.connection.send(b"ms %s %d %s\r\n%s\r\n" % (key, len(value), flags, value))
        answer = self.connection.line()
        return self.ANSWERS.get(answer, answer.decode().lower())

    def _values(self, request):
        self.connection.send(request + b"mn\r\n")
        while (line := self.connection.line()) != b"MN":
            words = line.split(b" ")
            if words[0] != b"VA":
                raise AssertionError(f"not an answer to mg: {line!r}")
            value = self.connection.exactly(int(words[1]) + 2)[:-2]
            yield {word[:1]: word[1:] for word in words[2:]}, value

    def get_many(self, keys):
        request = b"".join(b"mg %s k v q\r\n" % key for key in keys)
        return {flags[b"k"]: value for flags, value in self._values(request)}

    def get_unique(self, key):
        found = list(self._values(b"mg %s c v q\r\n" % key))
        return (found[0][1], int(found[0][0][b"c"])) if found else None

    def delete(self, key):
        return {b"HD": True, b"NF": False}[self.connection.request(b"md " + key)]

    def increment(self, key, delta):
        line = self.connection.request(b"ma %s D%d v" % (key, delta))
        return None if line == b"NF" else int(self.connection.exactly(int(line.split(b" ")[1]) + 2))

    def touch(self, key, ttl):
        return {b"HD": True, b"EN": False, b"NF": False}[self.connection.request(b"mg %s T%d" % (key, ttl))]


class Binary:
    """The binary protocol."""

    ANSWERS = {0: "stored", 1: "not_found", 2: "exists", 5: "not_stored"}
    STORES = {"set": 0x01, "add": 0x02, "replace": 0x03, "append": 0x0E, "prepend": 0x0F}

    def __init__(self, connection):
        self.connection = connection

    def _send(self, opcode, key=b"", extras=b"", value=b"", cas=0):
        head = struct.pack(">BBHBBHIIQ", 0x80, opcode, len(key), len(extras), 0, 0, len(key) + len(extras) + len(value), 7, cas)
        self.connection.send(head + extras + key + value)

    def _receive(self):
        magic, opcode, key_bytes, extras_bytes, _, status, bytes_in_all, opaque, cas = struct.unpack(
            ">BBHBBHIIQ", self.connection.exactly(24)
        )
        if magic != 0x81 or opaque != 7:
            raise AssertionError(f"not a binary answer: magic {magic:#x}, opaque {opaque}")
        body = self.connection.exactly(bytes_in_all)
        key = body[extras_bytes : extras_bytes + key_bytes]
        return opcode, status, key, body[extras_bytes + key_bytes :], cas

    def _ask(self, opcode, *what, **more):
        self._send(opcode, *what, **more)
        got, status, _, value, cas = self._receive()
        if got != opcode:
            raise AssertionError(f"an answer to {got:#x}, not to {opcode:#x}")
        return status, value, cas

    def store(self, mode, key, value, ttl=0, cas=None):
        extras = b"" if mode in ("append", "prepend") else struct.pack(">II", 0, ttl)
        status, text, _ = self._ask(self.STORES[mode], key, extras, value, cas or 0)
        answer = self.ANSWERS.get(status, f"status {status:#x}: {text!r}")
        # What it says of an append to nothing and of a store with a unique of what is gone.
        return "not_stored" if mode in ("append", "prepend") and answer == "not_found" else answer

    def get_many(self, keys):
        found = {}
        for key in keys:
            self._send(0x0D, key)  # quiet, with its key
        self._send(0x0A)
        while True:
            opcode, status, key, value, _ = self._receive()
            if opcode == 0x0A:
                return found
            if (opcode, status) != (0x0D, 0):
                raise AssertionError(f"an answer to {opcode:#x} with status {status}")
            found[key] = value

    def get_unique(self, key):
        status, value, cas = self._ask(0x00, key)
        return (value, cas) if status == 0 else None

    def delete(self, key):
        return {0: True, 1: False}[self._ask(0x04, key)[0]]

    def increment(self, key, delta):
        status, value, _ = self._ask(0x05, key, struct.pack(">QQI", delta, 0, 0xFFFFFFFF))
        return {0: lambda: struct.unpack(">Q", value)[0], 1: lambda: None}[status]()

    def touch(self, key, ttl):
        return {0: True, 1: False}[self._ask(0x1C, key, struct.pack(">I", ttl))[0]]


PROTOCOLS = (Text, Meta, Binary)


class Known:
    """What a key of ours holds, and when it may and when it must be gone."""

    def __init__(self, value, ttl, asked_at):
        self.value = value
        self.lives(ttl, asked_at)

    def lives(self, ttl, asked_at):
        self.until = asked_at + ttl - CLOCK_S if ttl else float("inf")
        self.not_after = time.monotonic() + ttl + CLOCK_S if ttl else float("inf")


class Worker:
    def __init__(self, server, index, deadline, keys, may_lose):
        self.connection = server.connect()
        self.protocol = PROTOCOLS[index % len(PROTOCOLS)](self.connection)
        self.chance = random.Random(1000 + index)
        self.index = index
        self.deadline = deadline
        self.keys = keys
        self.may_lose = may_lose
        self.known = {}
        self.serial = 0
        self.operations = 0
        self.hits = 0
        self.losses = 0
        self.expiries = 0

    def run(self):
        actions = [self.set, self.set, self.set, self.get_many, self.get_many, self.get_many, self.append, self.increment,
                   self.delete, self.touch, self.add, self.compare_and_swap, self.pipeline, self.shared_set, self.shared_get]  # fmt: skip
        while time.monotonic() < self.deadline:
            self.chance.choice(actions)()
            self.operations += 1
        if self.hits == 0:
            raise AssertionError("nothing was ever found")

    def key(self):
        return b"w%d:%d" % (self.index, self.chance.randrange(self.keys))

    def size(self):
        return ITEM_MAX if self.chance.randrange(80) == 0 else self.chance.choice(SIZES)

    def ttl(self):
        return self.chance.choice((0, 0, 0, 1, 2, 4, 300))

    def value(self, key):
        self.serial += 1
        return values.make(key, self.serial, self.size())

    def gone(self, key, asked_at):
        """The server says that it has no such key, which it was asked for not before `asked_at`."""
        was = self.known.pop(key, None)
        if was is None:
            return
        if asked_at > was.until:
            self.expiries += 1
            return
        self.losses += 1
        if not self.may_lose:
            raise AssertionError(f"{key!r} is lost: {len(was.value)} bytes, {was.until - asked_at:.1f} s before its time")

    def there(self, key, value, asked_at):
        was = self.known.get(key)
        if was is None:
            raise AssertionError(f"{key!r} must not be there: {value and value[:90]!r}, {value and len(value)} bytes")
        if asked_at > was.not_after:
            raise AssertionError(f"{key!r} is there {asked_at - was.not_after:.1f} s after its time")
        if value is not None and value != was.value:
            raise AssertionError(
                f"{key!r}: expected {was.value[:90]!r} ({len(was.value)} bytes), got {value[:90]!r} ({len(value)} bytes)"
            )
        self.hits += 1

    def store(self, mode, key, value, ttl=0, cas=None):
        asked_at = time.monotonic()
        answer = self.protocol.store(mode, key, value, ttl, cas)
        if answer == "stored" and mode in ("set", "add", "replace"):
            self.known[key] = Known(value, ttl, asked_at)
        return answer, asked_at

    def expect(self, answer, *allowed):
        if answer not in allowed:
            raise AssertionError(f"{self.protocol.__class__.__name__}: {answer!r}")

    def set(self):
        key = self.key()
        self.expect(self.store("set", key, self.value(key), self.ttl())[0], "stored")

    def add(self):
        key = self.key()
        was = self.known.get(key)
        answer, asked_at = self.store("add", key, self.value(key), self.ttl())
        self.expect(answer, "stored", "not_stored", "exists")
        if answer != "stored":
            self.there(key, None, asked_at)
        elif was is not None and not self.may_lose and asked_at < was.until:
            raise AssertionError(f"{key!r} is lost: something else could be added")

    def get_many(self):
        keys = [self.key() for _ in range(self.chance.randrange(1, 60))]
        asked_at = time.monotonic()
        found = self.protocol.get_many(keys)
        if not set(found) <= set(keys):
            raise AssertionError("an answer for a key that nobody asked for")
        for key in set(keys):
            if key in found:
                self.there(key, found[key], asked_at)
            else:
                self.gone(key, time.monotonic())

    def append(self):
        key = self.key()
        tail = b"+%d" % self.serial
        if key in self.known and len(self.known[key].value) > ITEM_MAX - 100:
            return
        mode = self.chance.choice(("append", "prepend"))
        answer, asked_at = self.store(mode, key, tail)
        self.expect(answer, "stored", "not_stored")
        if answer == "not_stored":
            return self.gone(key, time.monotonic())
        was = self.known.get(key)
        self.there(key, was and was.value, asked_at)
        was.value = was.value + tail if mode == "append" else tail + was.value

    def increment(self):
        key = b"n%d:%d" % (self.index, self.chance.randrange(50))
        delta = self.chance.randrange(1 << 40)
        found = self.protocol.increment(key, delta)
        if found is None:
            self.gone(key, time.monotonic())
            return self.expect(self.store("set", key, b"1")[0], "stored")
        expected = (int(self.known[key].value) + delta) % (1 << 64)
        self.known[key].value = b"%d" % expected
        if found != expected:
            raise AssertionError(f"{key!r}: expected {expected}, got {found}")

    def delete(self):
        key = self.key()
        asked_at = time.monotonic()
        if not self.protocol.delete(key):
            return self.gone(key, time.monotonic())
        was = self.known.get(key)
        self.there(key, was and was.value, asked_at)
        del self.known[key]

    def touch(self):
        key = self.key()
        ttl = self.ttl()
        asked_at = time.monotonic()
        if not self.protocol.touch(key, ttl):
            return self.gone(key, time.monotonic())
        was = self.known.get(key)
        self.there(key, was and was.value, asked_at)
        was.lives(ttl, asked_at)

    def compare_and_swap(self):
        key = self.key()
        asked_at = time.monotonic()
        found = self.protocol.get_unique(key)
        if found is None:
            return self.gone(key, time.monotonic())
        self.there(key, found[0], asked_at)
        answer, _ = self.store("set", key, self.value(key), self.ttl(), found[1])
        self.expect(answer, "stored", "not_found")
        if answer == "not_found":
            self.gone(key, time.monotonic())

    def pipeline(self):
        """A set and a get of the same key, many times, of which no answer is read before all is sent."""
        if type(self.protocol) is not Text:
            return
        keys = [self.key() for _ in range(20)]
        stream = bytearray()
        stored = []
        for key in keys:
            self.serial += 1
            stored.append(values.make(key, self.serial, 400))
            stream += b"set %s 5 0 400\r\n%s\r\nget %s\r\n" % (key, stored[-1], key)
        asked_at = time.monotonic()
        self.connection.send(bytes(stream))
        for key, value in zip(keys, stored):
            if self.connection.line() != b"STORED":
                raise AssertionError("a set in a pipeline")
            self.known[key] = Known(value, 0, asked_at)
            found = self.connection.values()
            if key in found:
                self.there(key, found[key][1], asked_at)
            else:
                self.gone(key, asked_at)

    def shared_set(self):
        key = b"shared:%d" % self.chance.randrange(200)
        self.serial += 1
        value = values.make(key, self.serial, max(self.size(), values.HEADER_BYTES))
        self.expect(self.protocol.store("set", key, value), "stored")

    def shared_get(self):
        keys = [b"shared:%d" % self.chance.randrange(200) for _ in range(30)]
        for key, value in self.protocol.get_many(keys).items():
            values.check(key, value)


class Disturber:
    """Whatever else goes on at a server: operators, tools, clients that come and go. `budgets`, in MiB, are set in turn."""

    def __init__(self, server, deadline, budgets=(), flushes=False, signals=True):
        self.server = server
        self.deadline = deadline
        self.budgets = budgets
        self.flushes = flushes
        self.signals = signals
        self.chance = random.Random(7)
        self.client = server.connect()
        self.rounds = 0

    def run(self):
        actions = [self.statistics, self.dump, self.watch, self.storm, self.leave_in_the_middle]
        actions += [self.reload] if self.signals else []
        actions += [self.budget, self.budget] if self.budgets else []
        actions += [self.flush] if self.flushes else []
        while time.monotonic() < self.deadline:
            actions[self.rounds % len(actions)]()
            self.rounds += 1
            time.sleep(0.01)  # it is not meant to take the machine from those who check
        if self.rounds < len(actions):
            raise AssertionError("too few disturbances")

    def budget(self):
        answer = self.client.request("cache_memlimit %d" % self.chance.choice(self.budgets))
        if answer != b"OK":
            raise AssertionError(f"cache_memlimit: {answer!r}")

    def flush(self):
        if self.rounds % 5 == 0 and self.client.request("flush_all") != b"OK":
            raise AssertionError("flush_all")

    def statistics(self):
        for group in ("", "items", "slabs", "sizes", "settings", "conns"):
            self.client.stats(group)

    def dump(self):
        command, end, start = self.chance.choice(((b"metadump", b"END\r\n", b"key="), (b"mgdump", b"EN\r\n", b"mg ")))
        self.client.send(b"lru_crawler %s all\r\n" % command)
        dump = bytearray()
        while not (dump == end or dump.endswith(b"\n" + end)):
            dump += self.client.exactly(max(1, len(self.client.buffer)))
        for line in dump[: -len(end)].splitlines():
            if not line.startswith(start):
                raise AssertionError(f"not a line of a dump: {line!r}")

    def watch(self):
        with self.server.connect() as watcher:
            if watcher.request("watch fetchers mutations evictions connevents deletions") != b"OK":
                raise AssertionError("watch")
            watcher.socket.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                watcher.exactly(self.chance.choice((0, 3000)))

    def storm(self):
        with contextlib.ExitStack() as all_of_them:
            clients = [all_of_them.enter_context(self.server.connect()) for _ in range(20)]
            for client in clients:
                client.send(b"version\r\nget shared:1")
            for client in clients[::2]:
                if not client.line().startswith(b"VERSION"):
                    raise AssertionError("version")

    def leave_in_the_middle(self):
        for request in (b"set shared:1 0 0 100000\r\nabc", b"ms shared:2 9000\r\nabc", b"get " + b"shared:3 " * 100 + b"\r\n"):
            with self.server.connect() as client:
                client.send(request)

    def reload(self):
        self.server.process.send_signal(signal.SIGHUP)
