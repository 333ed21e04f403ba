# SPDX-License-Identifier: MIT
"""The same commands to the server and to memcached itself: the answers must be the same.

Streams of random commands in all three protocols, with values that are large, small, wrong and missing, keys that
collide, uniques that are right, stale and invented, one after another or many at once, cut into pieces at random, to
servers with and without -C and -M. Uniques differ between servers, so each is replaced by its number in the
order of first appearance before answers are compared, and commands name them by that number; seconds to live are
rounded, since the two do not read the clock at the same moment.

KNOWN lists every difference that is taken, and LEFT_OUT what no stream has, both with the reason; docs/protocol.md tells
of those that are ours. A stream that is answered differently is cut down until no command can be left out, and printed
with its seed. SCOOT_DIFFERENTIAL_SECONDS (default 6) is how long streams are tried, SCOOT_DIFFERENTIAL_SEED where they
begin.
"""

import base64
import os
import random
import re
import select
import struct
import time
import unittest
from typing import NamedTuple

import harness

KEYS = 6
STREAM = 60
LARGE = 20000  # that is not too large
SERVERS = [[], [], ["-C"], ["-M"]]


class Known(NamedTuple):
    why: str
    command: bytes  # in answer to what commands
    ours: list  # (pattern, replacement): these make equal what is equal but for this
    theirs: list


KNOWN = [
    Known("me: sizes are of key and value, there are no slab classes, la is known of few items, and an item has a unique only "
          "once one was asked for; memcached 1.6.18 tells exp with its sign changed",
          rb"^me ", [(rb"( la=)\d+( cas=)\S+( .* cls=)\d+( size=)\d+", rb"\1*\2*\3*\4*")],
          [(rb"( exp=)-(\d{2,})", rb"\1\2"), (rb"( la=)\d+( cas=)\S+( .* cls=)\d+( size=)\d+", rb"\1*\2*\3*\4*")]),
    Known("l begins when it is first asked for, and is exact; memcached's clock of uses is coarse",
          rb"^mg .* l\b", [(rb"^((?:HD|VA).*? l)\d+", rb"\1*")], [(rb"^((?:HD|VA).*? l)\d+", rb"\1*")]),
    Known("an item that mg or ma made under a base64 key answers k as base64, as one of ms does",
          rb"^m[gae] \{b\d\}", [(rb"( k|^ME )[A-Za-z0-9+/=]{8,}( b\b)?", rb"\1*")],
          [(rb"( k|^ME )(?:[A-Za-z0-9+/=]{8,}( b\b)?|key\x01 \d)", rb"\1*")]),
    Known("s of ms, which memcached answers since 1.6.21",
          rb"^ms .* s\b", [(rb"^((?:HD|NS|EX|NF).*?) s\d+", rb"\1")], []),
    Known("the data of a store that is refused for its line are swallowed, also with noreply, as later versions do",
          rb"^(set|cas|add) (.* x .*|y{251} .*)noreply", [], [(rb"^ERROR\r\n", b"")]),
    Known("of an item past its time memcached tells seconds to live that went round below 0",
          rb"^m[ga] ", [], [(rb"( t)42949\d{5}\b", rb"\g<1>0")]),
]

LEFT_OUT = {
    "E of any meta command, x of md, N of ms": "memcached 1.6.18 does not know them yet; tests/server/meta_test.cpp has them",
    "t and q of ma that makes the number, T of ma where the number gets longer": "mistakes of 1.6.18: -1, an answer, and forgotten",
    "flush_all with a delay after one without": "memcached then forgets the former, and what was flushed is back",
    "a value too large of a store with a condition (ms with M or C, binary set with a unique)":
        "memcached removes the item that is there, as for a plain set; here it stays",
    "flushing with -C": "memcached then takes what is stored within the same second, too",
    "I of ms with a unique of another key": "an item without a unique counts as newer than any that was given",
    "a retrieval with a key too long behind other commands": "memcached loses the answers to those",
    "verbosity of the binary protocol, unknown commands": "memcached 1.6.18 takes what comes behind them for part of them",
    "the line of a retrieval above 2 KiB": "where it has no limit here but 1 MiB",
}


def text_command(rng):
    key = rng.randrange(KEYS)
    value = value_of(rng)
    flags, expiry = rng.choice([0, 0, 7, 4294967295]), rng.choice([0, 0, 0, 1000, -1, 2000000])
    tail = " noreply" if rng.random() < 0.1 else ""
    kind = rng.randrange(21)
    if kind < 5:
        verb = rng.choice(["set", "set", "set", "add", "replace", "append", "prepend"])
        return f"{verb} {{k{key}}} {flags} {expiry} {len(value)}{tail}\r\n{value}\r\n"
    if kind < 7:
        return f"cas {{k{key}}} {flags} {expiry} {len(value)} {{u{rng.randrange(4)}}}{tail}\r\n{value}\r\n"
    if kind < 11:
        verb = rng.choice(["get", "gets", "gets", f"gat {expiry}", f"gats {expiry}"])
        return f"{verb} {' '.join('{k%d}' % rng.randrange(KEYS) for _ in range(rng.choice([1, 1, 2, 5, 40])))}\r\n"
    if kind < 12:
        return f"delete {{k{key}}}{rng.choice(['', ' 0', ' 5', ' noreply', ' 0 noreply', ' x y'])}\r\n"
    if kind < 15:
        number = rng.choice(["1", "10", "0", "18446744073709551615", "99999999999999999999", "-1", "x"])
        return f"{rng.choice(['incr', 'decr'])} {{k{key}}} {number}{tail}\r\n"
    if kind < 16:
        return f"touch {{k{key}}} {rng.choice([0, 1000, -1, 'x'])}{tail}\r\n"
    if kind < 17:
        number = str(rng.choice([1, 2, 12345678901234567890]))
        return f"set {{k{key}}} 0 0 {len(number)}\r\n{number}\r\n"
    if kind < 18 and rng.random() < 0.2:
        return f"flush_all{rng.choice(['', ' 0', ' noreply', ' x'])}\r\n"
    if kind == 18:
        return rng.choice([
            f"set {{k{key}}} x 0 3 noreply\r\nabc\r\n", f"cas {{k{key}}} 0 0 3 x noreply\r\nabc\r\n", "incr noreply\r\n",
            f"incr {{k{key}}} x noreply\r\n", f"touch {{k{key}}} x noreply\r\n", f"set {{k{key}}} 0 0 3 noreply\r\nabcde\r\n",
            f"append {{k{key}}} 0 0 2 noreply\r\nxy\r\n", "delete\r\n", "verbosity noreply\r\n", "gets noreply\r\n",
            f"cas {{k{key}}} 0 0 1 {{v{key}}} noreply\r\nc\r\n", f"add {'y' * 251} 0 0 2 noreply\r\nab\r\n",
        ])  # fmt: skip
    return rng.choice([
        "get\r\n", "set\r\n", "incr\r\n", f"incr {{k{key}}}\r\n", "nonsense\r\n", "\r\n", "gat\r\n", "gat x {k1}\r\n", "delete\r\n",
        f"set {{k{key}}} 0 0\r\n", f"set {{k{key}}} 0 0 -1\r\n", f"touch {{k{key}}}\r\n", "verbosity\r\n", "verbosity 0\r\n",
        "cache_memlimit 1\r\n", "flush_all 0 noreply\r\n", f"set {{k{key}}} 0 0 3\r\nabcde\r\n", "gets " + "x" * 251 + "\r\n",
        f"delete {'y' * 251}\r\n", "get {k0}  {k1} \r\n", f"cas {{k{key}}} 1 0 1 {{v{key}}}\r\nc\r\n", f"me {{k{key}}}\r\n",
    ])  # fmt: skip


def meta_command(rng):
    key, value = rng.randrange(KEYS), value_of(rng)
    name = f"{{b{key}}}" if rng.random() < 0.15 else f"{{k{key}}}"

    def flags(of):
        chosen = rng.sample(of, rng.randrange(min(len(of), 6)))
        return "".join(" " + flag for flag in chosen + (["b"] if name[1] == "b" else []))

    unique, ttl = f"{{u{rng.randrange(4)}}}", rng.choice(["0", "1000", "-1", "30"])
    kind = rng.randrange(11)
    if kind < 4:
        return f"mg {name}{flags(['v', 's', 'f', 'c', 't', 'k', 'h', 'Oabc', 'q', 'l', 'u', f'N{ttl}', 'R2000', f'T{ttl}'])}\r\n"
    if kind < 7:
        mode = rng.choice(["MS", "ME", "MA", "MP", "MR", "Mset", "Mx", "M"])
        chosen = flags(["c", "k", "s", "Oxyz", "q", "F5", f"T{ttl}", mode, f"C{unique}"])
        if re.search(" [MC]", chosen):
            value = value[:LARGE]
        return f"ms {name} {len(value)}{chosen}\r\n{value}\r\n"
    if kind < 8:
        return f"md {name}{flags(['q', 'Oq', 'k', 'I', f'T{ttl}', f'C{unique}'])}\r\n"
    if kind < 9:
        making = [rng.choice(["N0", "N1000"])] if rng.random() < 0.5 else ["t", "q"]
        of = ["v", "c", "k", "Oz", *making, "J13", "D7", "MD", "MI", "M+", "M-", f"C{unique}"]
        return f"ma {name}{flags(of)}\r\n"
    if kind < 10:
        return rng.choice([
            f"gets {{k{key}}}\r\n", f"gets {{k{key}}}\r\n", f"me {{k{key}}}\r\n", f"me {{b{key}}} b\r\n", "me none\r\n",
            f"ms {{k{key}}} 2 I C{{v{key}}} T30\r\nst\r\n", f"ms {{k{key}}} 2 C{{v{key}}} c\r\nst\r\n", f"md {{k{key}}} C{{v{key}}}\r\n",
            f"md {{k{key}}} I T30\r\n", f"ma {{k{key}}} C{{v{key}}} v\r\n",
        ])  # fmt: skip
    return rng.choice([
        "mg\r\n", f"mg {name} v v\r\n", f"ms {name}\r\n", f"ms {name} x\r\n", f"md {name} !\r\n", "ma\r\n", "me\r\n",
        f"mg {'z' * 251}\r\n", f"mg none O{'o' * 40}\r\n", f"ma {name} Dx\r\n", f"ms {name} 2 q\r\nabc\r\n",
    ])  # fmt: skip


def binary_command(rng):
    """(opcode, key number or None, value, extras, unique number or None)."""
    key, value = rng.randrange(KEYS), value_of(rng)
    quiet = rng.random() < 0.2
    unique = rng.randrange(4) if rng.random() < 0.2 else None
    expiry = rng.choice([0, 0, 1000])
    kind = rng.randrange(9)
    if kind < 3:
        store = rng.choice([0x01, 0x01, 0x02, 0x03])
        if unique is not None:
            value = value[:LARGE]
        return (store + 0x10 * quiet, key, value, struct.pack(">II", rng.choice([0, 9]), expiry), unique)
    if kind < 4:
        return (rng.choice([0x0E, 0x0F]) + 0x0B * quiet, key, value, b"", unique)
    if kind < 6:
        return (rng.choice([0x00, 0x0C, 0x09, 0x0D]), key, "", b"", None)
    if kind < 7:
        extras = struct.pack(">QQI", rng.choice([1, 5, 2**64 - 1]), 13, rng.choice([0, 0xFFFFFFFF]))
        return (rng.choice([0x05, 0x06]) + 0x10 * quiet, key, "", extras, unique)
    if kind < 8:
        return (0x04 + 0x10 * quiet, key, "", b"", unique)
    return rng.choice([
        (0x0A, None, "", b"", None), (0x1C, key, "", struct.pack(">I", expiry), None),
        (0x1D, key, "", struct.pack(">I", expiry), None), (0x1E, key, "", struct.pack(">I", expiry), None),
        (0x23, key, "", struct.pack(">I", expiry), None), (0x24, key, "", struct.pack(">I", expiry), None),
        (0x08, None, "", b"", None), (0x18, None, "", struct.pack(">I", 0), None), (0x0B, None, "", b"", None),
    ])  # fmt: skip


def value_of(rng):
    length = rng.choice([0, 1, 3, 5, 100, 100, 5000, LARGE]) if rng.random() < 0.99 else 1100000
    return rng.choice("abcdefgh") * length if rng.random() < 0.8 else str(rng.choice([0, 1, 9, 99, 10**19]))


GENERATORS = {"text": text_command, "meta": meta_command, "binary": binary_command}


class Side:
    """One server's part in a stream: sends commands, and tells what is answered to them."""

    def __init__(self, server, protocol, prefix):
        self.client = server.connect(timeout=harness.patience(10))
        self.protocol, self.prefix = protocol, prefix
        self.uniques = []
        self.latest = {}  # by key, as gets tells them

    def unique(self, number):
        return self.uniques[-1 - number] if number < len(self.uniques) else 999999999 + number

    def token(self, digits):
        value = int(digits)
        if value == 0:
            return b"0"
        if value not in self.uniques:
            self.uniques.append(value)
        return b"U%d" % self.uniques.index(value)

    def exchange(self, groups, cuts):
        """The answers to each group of commands. All are sent together, in pieces that end at `cuts` (parts of the whole)."""
        binary = self.protocol == "binary"
        mark = struct.pack(">BBHBBHIIQ", 0x80, 0x0A, 0, 0, 0, 0, 0, 0xFFFF, 0) if binary else b"mn\r\n"
        data = b"".join(b"".join(map(self.encode_binary if binary else self.encode_text, group)) + mark for group in groups)
        at = 0
        for end in [*sorted(int(cut * len(data)) for cut in cuts), len(data)]:
            self.send(data[at:end])
            at = end
            if cuts:
                time.sleep(0.0003)
        return [self.hear_binary() if binary else self.hear_text() for _ in groups]

    def send(self, data):
        """Takes what is answered meanwhile: who reads nothing is not listened to."""
        one, left = self.client.socket, memoryview(data)
        while left:
            readable, writable, _ = select.select([one], [one], [], harness.patience(10))
            if not readable and not writable:
                raise TimeoutError("neither takes nor says anything")
            if readable:
                self.client._fill()
            if writable:
                left = left[one.send(left[:65536]) :]

    def encode_text(self, command):
        keys = {f"k{i}": f"{self.prefix}{i}" for i in range(KEYS)}
        keys.update({f"b{i}": base64.b64encode(f"{self.prefix}\x01 {i}".encode()).decode() for i in range(KEYS)})
        keys.update({f"u{i}": str(self.unique(i)) for i in range(4)})
        keys.update({f"v{i}": str(self.latest.get(b"%d" % i, 999999999)) for i in range(KEYS)})
        return re.sub(r"\{(\w+)\}", lambda m: keys[m[1]], command).encode()

    def hear_text(self):
        answer = b""
        while not answer.endswith(b"MN\r\n"):
            answer += self.client.line() + b"\r\n"
        for key, value in re.findall(rb"^VALUE %s(\d) \d+ \d+ (\d+)\r$" % self.prefix.encode(), answer, re.M):
            self.latest[key] = int(value)
        answer = re.sub(rb"^(VALUE \S+ \d+ \d+ )(\d+)", lambda m: m[1] + self.token(m[2]), answer, flags=re.M)
        answer = re.sub(rb"^((?:HD|VA|EX|NS|NF).*? c)(\d+)", lambda m: m[1] + self.token(m[2]), answer, flags=re.M)
        answer = re.sub(rb"(?:^(?:HD|VA).*? t|^ME .* exp=-?)\d{2,}", round_last, answer, flags=re.M)
        return answer.replace(self.prefix.encode(), b"key")

    def encode_binary(self, command):
        opcode, key, value, extras, unique = command
        name = b"" if key is None else f"{self.prefix}{key}".encode()
        body = extras + name + value.encode()
        cas = 0 if unique is None else self.unique(unique)
        return struct.pack(">BBHBBHIIQ", 0x80, opcode, len(name), len(extras), 0, 0, len(body), 0x1234, cas) + body

    def hear_binary(self):
        answer = b""
        while True:
            _, op, key_bytes, extra_bytes, _, status, body_bytes, opaque, cas = struct.unpack(
                ">BBHBBHIIQ", self.client.exactly(24))
            rest = self.client.exactly(body_bytes)
            if opaque == 0xFFFF:
                return answer
            if op == 0x0B:
                rest = b"version"
            answer += b"[%d %d %d %d %s %r]" % (op, status, key_bytes, extra_bytes, self.token(cas),
                                                rest.replace(self.prefix.encode(), b"key"))

    def tidy(self):
        """Nothing of a stream stays, so that memory is never short: where that ends the two differ."""
        try:
            if self.protocol == "binary":
                self.exchange([[(0x14, key, "", b"", None) for key in range(KEYS)]], [])
            else:
                self.exchange([[f"md {{k{key}}} q\r\nmd {{b{key}}} b q\r\n" for key in range(KEYS)]], [])
        except (OSError, TimeoutError):
            pass
        self.client.close()


def round_last(match):
    """Seconds to live, to ten."""
    head, number = re.fullmatch(rb"(.*?)(\d+)", match[0], re.S).groups()
    return head + (number if int(number) > 2**31 else b"%d" % round(int(number), -1))


def text_of(command):
    return command.encode() if isinstance(command, str) else b"binary"


def groups_of(batch):
    """Answers that may differ are told apart from others."""
    groups = []
    for command in batch:
        alone = any(re.search(known.command, text_of(command)) for known in KNOWN)
        if alone or not groups or groups[-1][1]:
            groups.append(([command], alone))
        else:
            groups[-1][0].append(command)
    return [commands for commands, _ in groups]


def changes_numbers(command):
    if isinstance(command, str):
        return command.startswith(("incr ", "decr ", "ma "))
    return command[0] & 0x0F in (0x05, 0x06) and command[0] < 0x20


def brief(command):
    return re.sub(r"(.)\1{50,}", lambda m: f"{m[1]}*{len(m[0])}", repr(command))


def flushes(command):
    return command.startswith("flush_all") if isinstance(command, str) else command[0] in (0x08, 0x18)


def as_new_numbers(answer):
    """Now and then, when another thread looks at it, memcached makes a new item of a number instead of writing into the old
    one: it is not padded with blanks, and not marked as read, stale or won."""
    answer = re.sub(rb"^(VALUE \S+ \d+|VA) \d+((?: [^\r]*)?\r\n)", rb"\1 *\2", answer, flags=re.M)
    answer = re.sub(rb"(?<= [sh])\d+(?=[ \r])", b"*", answer)
    answer = re.sub(rb"( [ZXW])+\r\n| fetch=\w+", b"\r\n", answer)
    return re.sub(rb"(\d) +(\D)", rb"\1\2", answer)


class DifferentialTest(harness.ServerTest):
    attempt = 0
    made_anew = 0

    def difference(self, servers, protocol, stream):
        """The first answers that differ, behind how many commands; None if there are none."""
        DifferentialTest.attempt += 1
        sides = [Side(server, protocol, f"d{self.attempt}-") for server in servers]
        done = []
        try:
            for batch, cuts in stream:
                groups, answers = groups_of(batch), []
                for side in sides:
                    try:
                        answers.append(side.exchange(groups, cuts))
                    except (OSError, TimeoutError) as error:
                        answers.append([repr(error).encode()])
                if any(a[0].startswith((b"Connection", b"Timeout")) for a in answers):
                    return None if answers[0] == answers[1] else (batch, [a[0] for a in answers])
                for group, *both in zip(groups, *answers):
                    done += group
                    if both[0] != both[1] and not self.taken(group, done, both):
                        return group, both
        finally:
            for side in sides:
                side.tidy()
        return None

    def taken(self, group, done, answers):
        """The answers differ by what is known only."""
        ours, theirs = answers
        for known in KNOWN:
            if re.search(known.command, text_of(group[0])):
                for pattern, replacement in known.ours:
                    ours = re.sub(pattern, replacement, ours, flags=re.M)
                for pattern, replacement in known.theirs:
                    theirs = re.sub(pattern, replacement, theirs, flags=re.M)
        if ours == theirs:
            return True
        if any(map(changes_numbers, done)) and as_new_numbers(ours) == as_new_numbers(theirs):
            DifferentialTest.made_anew += 1
            return True
        return False

    def shrink(self, servers, protocol, stream, deadline):
        """One by one, if that differs too; then fewer commands."""
        single = [([command], []) for batch, _ in stream for command in batch]
        if self.difference(servers, protocol, single):
            stream = single
        piece = max(1, sum(len(batch) for batch, _ in stream) // 2)
        while piece:
            at = 0
            while at < sum(len(batch) for batch, _ in stream) and time.monotonic() < deadline:
                fewer, seen = [], 0
                for batch, cuts in stream:
                    kept = [c for number, c in enumerate(batch, seen) if not at <= number < at + piece]
                    seen += len(batch)
                    if kept:
                        fewer.append((kept, cuts))
                if fewer and self.difference(servers, protocol, fewer):
                    stream = fewer
                else:
                    at += piece
            piece //= 2
        return stream

    def stream(self, rng, protocol, options):
        commands = [GENERATORS[protocol](rng) for _ in range(STREAM)]
        if options == "-C":
            commands = [command for command in commands if not flushes(command)]
        how = rng.randrange(3)  # one by one; many at once; in pieces
        batches = []
        while commands:
            count = 1 if how == 0 else rng.choice([1, 5, 30])
            long = [at for at, command in enumerate(commands[:count]) if "x" * 251 in command]
            count = max(1, min([count, *long]))
            batches.append((commands[:count], [rng.random() for _ in range(rng.choice([1, 3, 8]))] if how == 2 else []))
            commands = commands[count:]
        return batches

    def run_protocol(self, protocol):
        reference = harness.need_reference()
        pairs = {}
        for options in SERVERS:
            name = " ".join(options)
            if name not in pairs:
                pairs[name] = [self.server("-m", 64, *options), self.server("-m", 64, *options, program=reference)]
        seconds = float(os.environ.get("SCOOT_DIFFERENTIAL_SECONDS", "6")) / len(GENERATORS)
        seed = int(os.environ.get("SCOOT_DIFFERENTIAL_SEED", "1"))
        until, streams = time.monotonic() + seconds, 0
        DifferentialTest.made_anew = 0
        while streams < 9 or time.monotonic() < until:
            rng = random.Random(f"{protocol} {seed + streams}")
            options = " ".join(rng.choice(SERVERS))
            stream = self.stream(rng, protocol, options)
            found = self.difference(pairs[options], protocol, stream)
            if found:
                short = self.shrink(pairs[options], protocol, stream, time.monotonic() + 20)
                batch, answers = self.difference(pairs[options], protocol, short) or found
                shown = "\n".join(f"{[brief(c) for c in one]} cut at {cuts}" for one, cuts in short)
                same = len(os.path.commonprefix([*answers]))
                ours, theirs = (answer[max(0, same - 60) : same + 400] for answer in answers)
                self.fail(f"seed {seed + streams}, options {options!r}: after\n{shown}\nthe answers to the last differ:\n"
                          f"ours      ...{ours!r}\nmemcached ...{theirs!r}")
            streams += 1
        print(f"differential, {protocol}: {streams} streams of {STREAM} commands from seed {seed}, {self.made_anew} numbers made anew")

    def test_text(self):
        self.run_protocol("text")

    def test_meta(self):
        self.run_protocol("meta")

    def test_binary(self):
        self.run_protocol("binary")

    def test_a_flush_to_come_takes_what_is_there_by_then(self):
        for server in (self.server(), self.server(program=harness.need_reference())):
            with server.connect() as client:
                client.store(b"before", b"1")
                self.assertEqual(client.request("flush_all 2"), b"OK")
                client.store(b"between", b"2")
                self.assertEqual(len(client.get_many([b"before", b"between"])), 2)
                harness.poll(lambda: client.get_many([b"before", b"between"]) == {}, 6, "the flush")
                if server.program:
                    time.sleep(1.1)  # memcached takes what is stored within the same second, too
                client.store(b"after", b"3")
                self.assertEqual(client.get(b"after"), b"3")

    def test_values_above_the_largest_item_are_refused_alike(self):
        for size in (1048576, 1100000):
            answers = []
            for server in (self.server(), self.server(program=harness.need_reference())):
                with server.connect() as client:
                    client.store(b"a", b"old")
                    answers.append([client.store(b"a", b"x" * size), client.get(b"a"), client.store(b"a", b"x", mode="append"),
                                    client.request("ms a %d q\r\n%s" % (size, "y" * size)), client.request("mn")])
            self.assertEqual(*answers)


if __name__ == "__main__":
    unittest.main()
