# SPDX-License-Identifier: MIT
"""Transcripts: what a client sends and what the server must answer, as plain text.

    # comment                          the first ones say what behaviour is shown
    options: -I 2k                     the server's options, before anything is sent
    not pipelined: memcached 1.6.18: reason    this server is not asked so
    > text                             send the text and CRLF
    >> text                            send the text as it is
    < text                             the answer must go on with exactly this text and CRLF
    << text                            ... exactly this text
    <~ regex                           ... one line that matches whole; (?P<name>..) keeps a part for ${name} further on
    <* regex                           ... any lines up to and with one that matches whole
    <| text || text                    ... one line that is one of these: versions of memcached 1.6 differ, see the comment
    <closed                            ... the server closes the connection
    new                                close the connection and go on with a new one
    within N:                          repeat the exchange up to the next blank line until it comes true, N s at most
    = memcached 1.6.18: reason         the lines down to the next "= all" are for this server only
    = scootd: reason                   ... for our own only
    = all

In texts \\r \\n \\t \\0 \\\\ \\xNN are bytes and {text*count} is a repeat. Three ways to play one: step by step, split (the
bytes of a request arrive one by one, or in random pieces when it is large) and pipelined (all that can be is sent in a
single write before the first answer is read). The stream of answers must be the same, byte for byte.
"""

import os
import random
import re
import socket
import time

MODES = ("steps", "split", "pipelined")

_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)")
_REPEAT = re.compile(r"\{([^{}]+)\*(\d+)\}")
_NAMED = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\", "{": "{"}


class Mismatch(AssertionError):
    pass


class Step:
    """One send (data) or one expectation (kind, text); `line` is where it stands in the file."""

    def __init__(self, kind, text, line):
        self.kind = kind
        self.text = text
        self.line = line


class Transcript:
    def __init__(self, path, server_name):
        self.path = path
        self.name = os.path.splitext(os.path.basename(path))[0]
        self.options = []
        self.modes = MODES
        self.groups = []  # (seconds or None, [steps]): a group with seconds is repeated until it comes true
        self._parse(server_name)

    def _parse(self, server_name):
        group = []
        seconds = None
        ours = True
        with open(self.path, encoding="latin-1", newline="\n") as file:
            lines = file.read().split("\n")
        for number, line in enumerate(lines, 1):
            if line.startswith("= "):
                ours = line == "= all" or server_name.startswith(line[2:].split(":")[0].strip())
                if line != "= all" and not line.partition(":")[2].strip():
                    raise ValueError(f"{self.path}:{number}: no reason given")
            elif line.startswith("#") or not ours:
                continue
            elif line == "":
                if group and seconds is not None:
                    self.groups.append((seconds, group))
                    group, seconds = [], None
            elif line.startswith("options:"):
                self.options = line[len("options:") :].split()
            elif line.startswith("not pipelined:"):
                if server_name.startswith(line.split(":")[1].strip()):
                    self.modes = tuple(mode for mode in MODES if mode != "pipelined")
            elif line.startswith("within "):
                if group:
                    self.groups.append((None, group))
                group, seconds = [], float(line[len("within ") :].rstrip(":"))
            else:
                group.append(self._step(line, number))
        if group:
            self.groups.append((seconds, group))
        if not any(step.kind not in (">", ">>", "new") for _, steps in self.groups for step in steps):
            raise ValueError(f"{self.path}: nothing is expected of the server")

    def _step(self, line, number):
        if line in ("new", "<closed"):
            return Step(line, "", number)
        kind, _, text = line.partition(" ")
        if kind not in (">", ">>", "<", "<<", "<~", "<*", "<|"):
            raise ValueError(f"{self.path}:{number}: not a line of a transcript: {line!r}")
        return Step(kind, text, number)


def expand(text, names):
    """The bytes that a text stands for."""
    text = re.sub(r"\$\{(\w+)\}", lambda match: names[match.group(1)], text)
    text = _REPEAT.sub(lambda match: match.group(1) * int(match.group(2)), text)
    text = _ESCAPE.sub(lambda match: chr(int(match.group(1)[1:], 16)) if len(match.group(1)) > 1 else _NAMED[match.group(1)], text)
    return text.encode("latin-1")


class Player:
    """Plays a transcript against a server in one of the modes."""

    def __init__(self, server, transcript, mode, seed=1):
        self.server = server
        self.transcript = transcript
        self.mode = mode
        self.random = random.Random(seed)
        self.names = {}
        self.client = None

    def play(self):
        self.client = self.server.connect()
        try:
            for seconds, steps in self.transcript.groups:
                if seconds is None:
                    self._play_steps(steps)
                else:
                    self._play_until_true(steps, seconds)
            self._nothing_more()
        finally:
            self.client.close()

    def _play_until_true(self, steps, seconds):
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._play_steps(steps)
                return
            except Mismatch:
                if time.monotonic() > deadline:
                    raise
            # What is left of the failed exchange must not be taken for the next one's answer.
            self.client.close()
            self.client = self.server.connect()
            time.sleep(0.05)

    def _play_steps(self, steps):
        index = 0
        while index < len(steps):
            end = self._batch_end(steps, index) if self.mode == "pipelined" else self._step_end(steps, index)
            batch = steps[index:end]
            data = b"".join(
                expand(step.text, self.names) + (b"\r\n" if step.kind == ">" else b"")
                for step in batch
                if step.kind in (">", ">>")
            )
            self._send(data, batch)
            for step in batch:
                if step.kind == "new":
                    self._nothing_more()
                    self.client.close()
                    self.client = self.server.connect()
                elif step.kind not in (">", ">>"):
                    self._expect(step)
            index = end

    @staticmethod
    def _step_end(steps, index):
        """Sends, then what is expected of them."""
        end = index
        while end < len(steps) and steps[end].kind in (">", ">>"):
            end += 1
        while end < len(steps) and steps[end].kind not in (">", ">>", "new"):
            end += 1
        return max(end, index + 1)

    @staticmethod
    def _batch_end(steps, index):
        """As far as no answer is needed to know what to send."""
        known = index
        captured = False
        while known < len(steps):
            step = steps[known]
            if step.kind in ("new", "<closed"):
                return known + 1
            if step.kind in (">", ">>") and captured and "${" in step.text:
                return known
            captured = captured or (step.kind == "<~" and "(?P<" in step.text)
            known += 1
        return known

    def _send(self, data, batch):
        try:
            if self.mode != "split":
                self._send_without_deadlock(data)
                return
            position = 0
            while position < len(data):
                size = 1 if len(data) <= 2048 else self.random.choice((1, 2, 3, 100, 1447, 4096, 40000))
                self._send_without_deadlock(data[position : position + size])
                position += size
        except (BrokenPipeError, ConnectionResetError):
            if not any(step.kind == "<closed" for step in batch):
                raise Mismatch(f"{self._where(batch[0])}: the server closed the connection") from None

    def _send_without_deadlock(self, data):
        """A client that pipelines megabytes has to read while it sends."""
        view = memoryview(data)
        self.client.socket.setblocking(False)
        try:
            idle = time.monotonic()
            while view:
                progress = False
                try:
                    view = view[self.client.socket.send(view) :]
                    progress = True
                except BlockingIOError:
                    pass
                try:
                    received = self.client.socket.recv(1 << 18)
                    if not received:
                        raise BrokenPipeError
                    self.client.buffer += received
                    progress = True
                except BlockingIOError:
                    pass
                if progress:
                    idle = time.monotonic()
                elif time.monotonic() - idle > 20:
                    raise Mismatch("the server takes no more and answers no more")
                else:
                    time.sleep(0.0005)
        finally:
            self.client.socket.settimeout(20)

    def _expect(self, step):
        try:
            if step.kind == "<":
                self._literal(step, expand(step.text, self.names) + b"\r\n")
            elif step.kind == "<<":
                self._literal(step, expand(step.text, self.names))
            elif step.kind == "<~":
                self._pattern(step)
            elif step.kind == "<*":
                pattern = re.compile(step.text.encode("latin-1"))
                while not pattern.fullmatch(self.client.line()):
                    pass
            elif step.kind == "<|":
                line = self.client.line()
                allowed = [expand(text.strip(), self.names) for text in step.text.split("||")]
                if line not in allowed:
                    raise Mismatch(f"{self._where(step)}: expected one of {allowed}, got {line!r}")
            elif not self.client.closed():
                raise Mismatch(f"{self._where(step)}: the connection is still open, or says {bytes(self.client.buffer[:200])!r}")
        except (ConnectionResetError, BrokenPipeError):
            raise Mismatch(f"{self._where(step)}: expected {step.text!r}, the server closed the connection") from None
        except socket.timeout:
            raise Mismatch(
                f"{self._where(step)}: expected {step.text!r}, got nothing beyond {bytes(self.client.buffer[:200])!r}"
            ) from None

    def _literal(self, step, expected):
        got = bytearray()
        while len(got) < len(expected):
            if not self.client.buffer:
                if expected[: len(got)] != got:
                    break
                self.client._fill()
            take = min(len(expected) - len(got), len(self.client.buffer))
            got += self.client.buffer[:take]
            del self.client.buffer[:take]
            if expected[: len(got)] != got:
                break
        if got != expected:
            # Show the whole of a short wrong answer, whatever its length.
            rest = bytes(got) + bytes(self.client.buffer)
            raise Mismatch(f"{self._where(step)}: expected {expected[:300]!r}, got {rest[:300]!r}")

    def _pattern(self, step):
        line = self.client.line()
        text = re.sub(r"\$\{(\w+)\}", lambda match: re.escape(self.names[match.group(1)]), step.text)
        match = re.fullmatch(text.encode("latin-1"), line)
        if not match:
            raise Mismatch(f"{self._where(step)}: expected {step.text}, got {line!r}")
        self.names.update({name: value.decode("latin-1") for name, value in match.groupdict().items()})

    def _nothing_more(self):
        """After the last answer there must be none: one more round trip would find it in between."""
        try:
            self.client.send(b"version\r\n")
            line = self.client.line()
        except (OSError, ConnectionError):
            return  # the transcript ended with the connection
        if not line.startswith(b"VERSION "):
            raise Mismatch(f"{self.transcript.path}: an answer nobody asked for at its end: {line!r}")

    def _where(self, step):
        return f"{self.transcript.path}:{step.line} ({self.mode})"
