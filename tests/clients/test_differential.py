# SPDX-License-Identifier: MIT
"""The same commands to the server and to memcached itself: the answers must be the same.

Streams of random commands in all three protocols, with values that are large, small, wrong and missing, keys that
collide, uniques that are right, stale and invented. Uniques differ between servers, so each is replaced by its number in
the order of first appearance before answers are compared, and commands name them by that number; seconds to live are
rounded. Where the two may differ, KNOWN says why.

Left out of the streams, because what follows would differ as well: appending that makes the item (ms with N, later than
memcached 1.6.18); delayed flushes (memcached forgets a flush that was before a later one that is yet to come, so that
flushed items are back); I of ms (an item without a unique counts as newer than any that was given, also to another key).

A stream that is answered differently is cut down until no command can be left out, and printed with its seed.
SCOOT_DIFFERENTIAL_SECONDS (default 6) is how long streams are tried, SCOOT_DIFFERENTIAL_SEED where they begin.
"""

import base64
import os
import random
import re
import struct
import time
import unittest

import harness

KEYS = 6
STREAM = 60

# Patterns of what the two may answer differently: (command, our answer, memcached's, why).
KNOWN = [
    (rb"^me ", rb".*", rb".*", "exp is told as seconds to go, la and cls are of other mechanisms"),
]


def text_command(rng):
    key = rng.randrange(KEYS)
    value = value_of(rng)
    flags, expiry = rng.choice([0, 0, 7, 4294967295]), rng.choice([0, 0, 0, 1000, -1, 2000000])
    tail = " noreply" if rng.random() < 0.1 else ""
    kind = rng.randrange(20)
    if kind < 5:
        verb = rng.choice(["set", "set", "set", "add", "replace", "append", "prepend"])
        return f"{verb} {{k{key}}} {flags} {expiry} {len(value)}{tail}\r\n{value}\r\n"
    if kind < 7:
        return f"cas {{k{key}}} {flags} {expiry} {len(value)} {{u{rng.randrange(4)}}}{tail}\r\n{value}\r\n"
    if kind < 11:
        verb = rng.choice(["get", "gets", "gets", f"gat {expiry}", f"gats {expiry}"])
        return f"{verb} {' '.join('{k%d}' % rng.randrange(KEYS) for _ in range(rng.choice([1, 1, 2, 5])))}\r\n"
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
    return rng.choice([
        "get\r\n", "set\r\n", "incr\r\n", f"incr {{k{key}}}\r\n", "nonsense\r\n", "\r\n", "gat\r\n", "gat x {k1}\r\n", "delete\r\n",
        f"set {{k{key}}} 0 0\r\n", f"set {{k{key}}} 0 0 -1\r\n", f"touch {{k{key}}}\r\n", "verbosity\r\n", "verbosity 0\r\n", "mn\r\n",
        "cache_memlimit 1\r\n", "flush_all 0 noreply\r\n", f"set {{k{key}}} 0 0 3\r\nabcde\r\n", "gets " + "x" * 251 + "\r\n",
        f"delete {'y' * 251}\r\n", "get {k0}  {k1} \r\n",
    ])  # fmt: skip


def meta_command(rng):
    key, value = rng.randrange(KEYS), value_of(rng)
    name = f"{{b{key}}}" if rng.random() < 0.15 else f"{{k{key}}}"

    def flags(of):
        chosen = rng.sample(of, rng.randrange(min(len(of), 6)))
        return "".join(" " + flag for flag in chosen + (["b"] if name[1] == "b" else []))

    unique, ttl = f"{{u{rng.randrange(4)}}}", rng.choice(["0", "1000", "-1", "30"])
    kind = rng.randrange(10)
    if kind < 4:
        return f"mg {name}{flags(['v', 's', 'f', 'c', 't', 'k', 'h', 'Oabc', 'q', f'N{ttl}', 'R2000', f'T{ttl}'])}\r\n"
    if kind < 7:
        mode = rng.choice(["MS", "ME", "MA", "MP", "MR", "Mset", "Mx", "M"])
        of = ["c", "k", "Oxyz", "q", "F5", f"T{ttl}", mode, f"C{unique}"]
        return f"ms {name} {len(value)}{flags(of)}\r\n{value}\r\n"
    if kind < 8:
        return f"md {name}{flags(['q', 'Oq', 'k', 'I', f'T{ttl}', f'C{unique}'])}\r\n"
    if kind < 9:
        # Where ma makes the number memcached 1.6.18 answers with -1 for t and in spite of q; where the
        # number gets longer it forgets T.
        making = [rng.choice(["N0", "N1000"])] if rng.random() < 0.5 else ["t", "q"]
        of = ["v", "c", "k", "Oz", *making, "J13", "D7", "MD", "MI", "M+", "M-", f"C{unique}"]
        return f"ma {name}{flags(of)}\r\n"
    return rng.choice([
        "mg\r\n", f"mg {name} v v\r\n", f"ms {name}\r\n", f"ms {name} x\r\n", f"md {name} !\r\n", "ma\r\n", "mn\r\n", "me\r\n",
        f"mg {'z' * 251}\r\n", f"mg none O{'o' * 40}\r\n", f"ma {name} Dx\r\n",
    ])  # fmt: skip


def binary_command(rng):
    """(opcode, key number or None, value, extras, unique number or None). Without verbosity: memcached 1.6.18 takes what
    comes behind it for part of it."""
    key, value = rng.randrange(KEYS), value_of(rng)
    quiet = rng.random() < 0.2
    unique = rng.randrange(4) if rng.random() < 0.2 else None
    expiry = rng.choice([0, 0, 1000])
    kind = rng.randrange(9)
    if kind < 3:
        store = rng.choice([0x01, 0x01, 0x02, 0x03])
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
        (0x08, None, "", b"", None),
    ])  # fmt: skip


def value_of(rng):
    length = rng.choice([0, 1, 3, 5, 100, 100, 5000, 20000])
    return rng.choice("abcdefgh") * length if rng.random() < 0.8 else str(rng.choice([0, 1, 9, 99, 10**19]))


def left(seconds):
    """Rounded; of an item that is past its time memcached tells a number that went round below 0."""
    return b"0" if int(seconds) > 2**31 else b"%d" % round(int(seconds), -1)


GENERATORS = {"text": text_command, "meta": meta_command, "binary": binary_command}


class Side:
    """One server's part in a stream: sends a command, and reads all that is answered until a mark."""

    def __init__(self, server, protocol, prefix):
        self.client = server.connect(timeout=harness.patience(10))
        self.protocol, self.prefix = protocol, prefix
        self.uniques = []

    def unique(self, number):
        return self.uniques[-1 - number] if number < len(self.uniques) else 999999999 + number

    def token(self, digits):
        value = int(digits)
        if value == 0:
            return b"0"
        if value not in self.uniques:
            self.uniques.append(value)
        return b"U%d" % self.uniques.index(value)

    def exchange(self, command):
        if self.protocol == "binary":
            return self.exchange_binary(command)
        keys = {f"k{i}": f"{self.prefix}{i}" for i in range(KEYS)}
        keys.update({f"b{i}": base64.b64encode(f"{self.prefix}\x01 {i}".encode()).decode() for i in range(KEYS)})
        keys.update({f"u{i}": str(self.unique(i)) for i in range(4)})
        self.client.send(re.sub(r"\{(\w+)\}", lambda m: keys[m[1]], command).encode() + b"mn\r\n")
        answer = b""
        while not answer.endswith(b"MN\r\n"):
            answer += self.client.line() + b"\r\n"
        # Now and then memcached makes a new item of a shorter number instead of padding the old one.
        answer = re.sub(rb"^(VALUE \S+ \d+|VA) \d+(.*\r\n)(\d+) *\r\n", rb"\1 *\2\3\r\n", answer, flags=re.M)
        answer = re.sub(rb"(VALUE \S+ \d+ [\d*]+ )(\d+)", lambda m: m[1] + self.token(m[2]), answer)
        answer = re.sub(rb"^((?:HD|VA|EX|NS|NF).*? c)(\d+)", lambda m: m[1] + self.token(m[2]), answer, flags=re.M)
        answer = re.sub(rb"^((?:HD|VA).*? t)(\d+)", lambda m: m[1] + left(m[2]), answer, flags=re.M)
        # An item that mg or ma made under a base64 key answers k with its plain bytes in memcached, else as base64.
        for i in range(KEYS):
            raw = f"{self.prefix}\x01 {i}".encode()
            answer = answer.replace(b" k" + base64.b64encode(raw) + b" b", b" kB%d" % i).replace(b" k" + raw, b" kB%d" % i)
        return answer.replace(self.prefix.encode(), b"key")

    def exchange_binary(self, command):
        opcode, key, value, extras, unique = command
        name = b"" if key is None else f"{self.prefix}{key}".encode()
        body = extras + name + value.encode()
        cas = 0 if unique is None else self.unique(unique)
        head = struct.pack(">BBHBBHIIQ", 0x80, opcode, len(name), len(extras), 0, 0, len(body), 0x1234, cas)
        noop = struct.pack(">BBHBBHIIQ", 0x80, 0x0A, 0, 0, 0, 0, 0, 0xFFFF, 0)
        self.client.send(head + body + noop)
        answer = b""
        while True:
            _, op, key_bytes, extra_bytes, _, status, body_bytes, opaque, cas = struct.unpack(
                ">BBHBBHIIQ", self.client.exactly(24))
            rest = self.client.exactly(body_bytes)
            if opaque == 0xFFFF:
                return answer
            answer += b"[%d %d %d %d %s %r]" % (op, status, key_bytes, extra_bytes, self.token(cas),
                                                rest.rstrip(b" ").replace(self.prefix.encode(), b"key"))


class DifferentialTest(harness.ServerTest):
    attempt = 0

    def difference(self, servers, protocol, stream):
        """The first command that is answered differently, and the answers; None if there is none."""
        DifferentialTest.attempt += 1
        sides = [Side(server, protocol, f"d{self.attempt}-") for server in servers]
        try:
            for at, command in enumerate(stream):
                answers = []
                for side in sides:
                    try:
                        answers.append(side.exchange(command))
                    except (OSError, TimeoutError) as error:
                        answers.append(repr(error).encode())
                if answers[0] != answers[1] and not self.known(command, answers):
                    return at, command, answers
                if any(a.startswith((b"Connection", b"Timeout")) for a in answers):
                    return None  # both ended
        finally:
            for side in sides:
                side.client.close()
        return None

    @staticmethod
    def known(command, answers):
        if not isinstance(command, str):
            return False
        return any(
            re.search(pattern, command.encode()) and re.fullmatch(ours, answers[0], re.S) and re.fullmatch(theirs, answers[1], re.S)
            for pattern, ours, theirs, _ in KNOWN
        )

    def shrink(self, servers, protocol, stream, deadline):
        piece = max(1, len(stream) // 2)
        while piece:
            at = 0
            while at < len(stream) and time.monotonic() < deadline:
                fewer = stream[:at] + stream[at + piece :]
                found = self.difference(servers, protocol, fewer)
                if found:
                    stream = fewer[: found[0] + 1]
                else:
                    at += piece
            piece //= 2
        return stream

    def run_protocol(self, protocol):
        servers = [self.server("-m", 64), self.server("-m", 64, program=harness.need_reference())]
        seconds = float(os.environ.get("SCOOT_DIFFERENTIAL_SECONDS", "6")) / len(GENERATORS)
        seed = int(os.environ.get("SCOOT_DIFFERENTIAL_SEED", "1"))
        until, streams = time.monotonic() + seconds, 0
        while streams < 3 or time.monotonic() < until:
            rng = random.Random(f"{protocol} {seed + streams}")
            stream = [GENERATORS[protocol](rng) for _ in range(STREAM)]
            found = self.difference(servers, protocol, stream)
            if found:
                short = self.shrink(servers, protocol, stream[: found[0] + 1], time.monotonic() + 20)
                at, command, answers = self.difference(servers, protocol, short) or found
                shown = "\n".join(repr(c)[:200] for c in short)
                self.fail(f"seed {seed + streams}: after\n{shown}\nthe answers to the last differ:\n"
                          f"ours     {answers[0][:400]!r}\nmemcached {answers[1][:400]!r}")
            streams += 1
        print(f"differential, {protocol}: {streams} streams of {STREAM} commands from seed {seed}")

    def test_text(self):
        self.run_protocol("text")

    def test_meta(self):
        self.run_protocol("meta")

    def test_binary(self):
        self.run_protocol("binary")


if __name__ == "__main__":
    unittest.main()
