# SPDX-License-Identifier: MIT
"""A real server process for a test, and a raw client for its text protocol.

`Server` starts the daemon under test on a free loopback port or a unix socket, waits until it answers, and always
stops it: by its own pid, with SIGTERM, within a bounded time. A test fails if the server died by itself, ended with a
status other than 0, or printed a sanitizer report or a failed check.

Which daemon: the environment variable SCOOT_SERVER (run.py --server). Debian's memcached works as well; it is the
reference that the transcripts were checked against, and `Server.is_reference` says when it is the one being run.
"""

import contextlib
import functools
import glob
import itertools
import os
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

REPORT = re.compile(
    rb"AddressSanitizer|ThreadSanitizer|LeakSanitizer|UndefinedBehaviorSanitizer|MemorySanitizer|runtime error:"
    rb"|check failed|terminate called|Assertion .* failed|stack smashing|corrupted"
)


def server_path():
    """The daemon under test; raises if there is none, since a suite that tests nothing must not pass."""
    path = os.environ.get("SCOOT_SERVER", "")
    if not path:
        raise RuntimeError("set SCOOT_SERVER, or use tests/clients/run.py --server PATH")
    if not os.access(path, os.X_OK):
        raise RuntimeError(f"{path} is not a program")
    return path


@functools.lru_cache(maxsize=None)
def version_line():
    return subprocess.run([server_path(), "-V"], capture_output=True, text=True, timeout=20).stdout.strip()


@functools.lru_cache(maxsize=None)
def is_reference():
    """True if the server is memcached itself."""
    return version_line().startswith("memcached") and "scoot" not in version_line()


@functools.lru_cache(maxsize=None)
def is_sanitized():
    """True if the server is an instrumented build: its memory and speed say nothing then."""
    with open(server_path(), "rb") as program:
        image = program.read()
    return b"__asan_init" in image or b"__tsan_init" in image


def patience(seconds):
    """A deadline in seconds, longer where the server is instrumented. No test waits that long when all is well."""
    return seconds * (4 if is_sanitized() else 1)


def poll(condition, seconds=10, message="the condition"):
    """Waits until condition() is true and returns its value; fails after `seconds`."""
    deadline = time.monotonic() + patience(seconds)
    pause = 0.002
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{message} did not come true within {patience(seconds)} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def free_port(host="127.0.0.1"):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def as_root_options():
    """memcached refuses to run as root without -u."""
    return ["-u", "root"] if os.geteuid() == 0 and is_reference() else []


class Server:
    """One server process. Use it as a context manager, or through ServerTest.server()."""

    def __init__(self, *options, transport="tcp", nofile=None, bind=True, text=True, tls=None, environment=None, port=None, program=None):
        self.program = program  # another than the one under test: the reference beside it
        self.text = text  # False: it closes on clients that speak the text protocol
        self.options = [str(option) for option in options]
        self.transport = transport
        self.nofile = nofile
        self.tls = tls  # an ssl.SSLContext to connect with
        self.environment = environment  # added to ours
        self.bind = bind  # False: leave the addresses to the options
        self.process = None
        self.fixed_port = port  # None: a free one at every start
        self.port = None
        self.path = None
        self.status = None
        self.directory = tempfile.mkdtemp(prefix="scoot-clients-")
        os.chmod(self.directory, 0o755)
        self.stderr_path = os.path.join(self.directory, "stderr")

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.stop()
        else:
            self.abandon()

    def start(self):
        for attempt in range(5):
            self._spawn()
            try:
                poll(self._ready, 15, "the server's first answer")
                return self
            except AssertionError:
                text = self.stderr()
                self.abandon(remove=False)
                # Somebody else took the port between our look and the server's.
                if self.transport != "tcp" or self.fixed_port or b"in use" not in text or attempt == 4:
                    raise AssertionError(f"{self.command} does not serve; it said: {text!r}") from None
        return self

    def _spawn(self):
        listen = []
        if self.transport == "unix":
            self.path = os.path.join(self.directory, "socket")
            listen = ["-s", self.path]
        elif self.bind:
            self.port = self.fixed_port or free_port()
            listen = ["-l", "127.0.0.1", "-p", str(self.port)]
        if self.program:
            before = [self.program, *listen, *(["-u", "root"] if os.geteuid() == 0 else [])]
        else:
            before = [server_path(), *listen, *as_root_options(), *os.environ.get("SCOOT_SERVER_OPTIONS", "").split()]
        self.command = [*before, *self.options]
        limit = self.nofile

        def lower_limits():
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

        with open(self.stderr_path, "wb") as stderr:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                env={**os.environ, **self.environment} if self.environment else None,
                preexec_fn=lower_limits if limit is not None else None,
            )

    def _ready(self):
        if self.process.poll() is not None:
            raise AssertionError("the server ended")
        try:
            with contextlib.closing(self.connect(timeout=5)) as client:
                if not self.text:
                    client.send(b"version\r\n")
                    return client.closed()
                return client.request("version").startswith((b"VERSION ", b"CLIENT_ERROR unauthenticated"))
        except OSError:
            return False

    @property
    def pid(self):
        return self.process.pid

    def address(self):
        return self.path if self.transport == "unix" else ("127.0.0.1", self.port)

    def connect(self, timeout=None, receive_bytes=None):
        return Connection(self.address(), timeout or patience(20), receive_bytes, self.tls)

    def stderr(self):
        with open(self.stderr_path, "rb") as file:
            return file.read()

    # What the kernel says of the process.

    def status_kib(self, field):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return int(re.search(rf"^{field}:\s+(\d+) kB", file.read(), re.M).group(1))

    def rss_bytes(self):
        return self.status_kib("VmRSS") << 10

    def rss_peak_bytes(self):
        return self.status_kib("VmHWM") << 10

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kept_waiting_seconds(self):
        """How long its threads, together, were ready to run and had no processor; 0 where the kernel does not tell."""
        waited_ns = 0
        for path in glob.glob(f"/proc/{self.pid}/task/*/schedstat"):
            with contextlib.suppress(OSError), open(path, encoding="ascii") as file:  # or the thread has ended
                waited_ns += int(file.read().split()[1])
        return waited_ns / 1e9

    def open_files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def set_open_files_limit(self, count):
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (count, count))

    # The end.

    def terminate(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM):
        """Ends the server in its clean way and checks that it went in peace."""
        if self.process is None:
            return
        died = self.process.poll()
        if died is None:
            self.terminate(number)
        self.reap(died)

    def reap(self, died=None):
        process, self.process = self.process, None
        try:
            self.status = process.wait(patience(15))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            text = self.stderr()
            self._remove()
            raise AssertionError(f"the server did not end within {patience(15)} s of its signal: {text!r}") from None
        text = self.stderr()
        self._remove()
        if died is not None:
            raise AssertionError(f"the server died with status {died}: {text!r}")
        if REPORT.search(text):
            raise AssertionError(f"the server reported a fault:\n{text.decode(errors='replace')}")
        if self.status != 0:
            raise AssertionError(f"the server ended with status {self.status}: {text!r}")

    def abandon(self, remove=True):
        """Ends the server at once, whatever its state: the test has failed already."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        if remove:
            self._remove()

    def _remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)


class Connection:
    """A client that speaks the protocol byte by byte, and trusts nothing that the server says."""

    def __init__(self, address, timeout=20, receive_bytes=None, tls=None):
        self.socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else family_of(address[0]))
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(address)
            if tls:
                self.socket = tls.wrap_socket(self.socket, server_hostname=address[0])
        except BaseException:
            self.socket.close()
            raise
        if not isinstance(address, str):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.close()

    def close(self):
        self.socket.close()

    def fileno(self):
        return self.socket.fileno()

    def send(self, data):
        self.socket.sendall(data)

    def _fill(self):
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        self.buffer += data

    def line(self):
        """One line without its CRLF, which must be there."""
        start = 0
        while True:
            end = self.buffer.find(b"\n", start)
            if end >= 0:
                break
            start = len(self.buffer)
            self._fill()
        if end == 0 or self.buffer[end - 1] != 13:
            raise AssertionError(f"a line that does not end in CRLF: {bytes(self.buffer[: end + 1])!r}")
        line = bytes(self.buffer[: end - 1])
        del self.buffer[: end + 1]
        return line

    def exactly(self, count):
        while len(self.buffer) < count:
            self._fill()
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def closed(self):
        """True when the server has closed the connection, False if it sends something or stays silent."""
        if self.buffer:
            return False
        try:
            self.buffer += self.socket.recv(1 << 16)
            return not self.buffer
        except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
            return True
        except TimeoutError:
            return False

    def request(self, command):
        self.send(command.encode() + b"\r\n" if isinstance(command, str) else command + b"\r\n")
        return self.line()

    def store(self, key, value, flags=0, exptime=0, mode="set", cas=None):
        tail = b"" if cas is None else b" %d" % cas
        self.send(b"%s %s %d %d %d%s\r\n%s\r\n" % (mode.encode(), key, flags, exptime, len(value), tail, value))
        return self.line()

    def values(self, cas=False):
        """The answer to a get or gets: {key: (flags, value)} or {key: (flags, value, cas)}."""
        found = {}
        while True:
            line = self.line()
            if line == b"END":
                return found
            words = line.split(b" ")
            if words[0] != b"VALUE" or len(words) != (5 if cas else 4):
                raise AssertionError(f"not an answer to get: {line!r}")
            value = self.exactly(int(words[3]) + 2)
            if value[-2:] != b"\r\n":
                raise AssertionError(f"the value of {words[1]!r} does not end in CRLF")
            found[words[1]] = (int(words[2]), value[:-2]) + ((int(words[4]),) if cas else ())

    def get_many(self, keys, cas=False):
        self.send((b"gets " if cas else b"get ") + b" ".join(keys) + b"\r\n")
        return self.values(cas)

    def get(self, key):
        found = self.get_many([key])
        return found[key][1] if key in found else None

    def stats(self, group=""):
        self.send(b"stats" + (b" " + group.encode() if group else b"") + b"\r\n")
        found = {}
        while True:
            line = self.line()
            if line == b"END":
                return found
            words = line.decode().split(" ", 2)
            if words[0] != "STAT":
                raise AssertionError(f"not an answer to stats: {line!r}")
            found[words[1]] = words[2] if len(words) > 2 else ""


def family_of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def raise_open_files_limit():
    """As many descriptors as we may have; returns how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def run_briefly(*options, seconds=15):
    """Runs the server with options that make it end by itself; returns the completed process."""
    try:
        return subprocess.run(
            [server_path(), *map(str, options)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=patience(seconds),
        )
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{options} should end the server at once; it ran on") from None


POLITE = itertools.count()


class ServerTest(unittest.TestCase):
    """A test with servers of its own."""

    def server(self, *options, **settings):
        """A started server, stopped and checked when the test ends."""
        server = Server(*options, **settings)
        server.start()
        self.addCleanup(self._end, server)
        return server

    def _end(self, server):
        # unittest reports what a cleanup raises as this test's error.
        server.stop()

    def check_service(self, server, seconds=5):
        """A polite client gets its answers, and soon."""
        number = next(POLITE)
        key, value = b"polite%d" % number, b"please %d " % number * 40
        started = time.monotonic()
        with server.connect(timeout=patience(seconds)) as client:
            self.assertEqual(client.store(key, value), b"STORED")
            self.assertEqual(client.get(key), value)
        self.assertLess(time.monotonic() - started, patience(seconds))

    def check_calm(self, server):
        """Once it has done what it was asked, the server rests: a loop that spins never would."""

        def rests():
            before = server.cpu_seconds()
            time.sleep(0.5)
            return server.cpu_seconds() - before < 0.1

        poll(rests, 10, "a server at rest")

    def connect(self, server, **settings):
        client = server.connect(**settings)
        self.addCleanup(client.close)
        return client


def need_reference():
    """The path of memcached itself, to run beside the server under test."""
    found = shutil.which("memcached")
    unpacked = os.path.join(ROOT, "build", "peers", "usr", "bin", "memcached")
    if not found and os.access(unpacked, os.X_OK):
        found = unpacked
    need_client(found, "memcached is missing (./dev test unpacks it)")
    skip_unless(not is_reference(), "memcached is the server under test")
    return found


def npm_modules(npm):
    """The node_modules of tests/npm, installed under build/npm as its package-lock.json says."""
    wanted, folder = os.path.join(ROOT, "tests", "npm"), os.path.join(ROOT, "build", "npm")
    modules = os.path.join(folder, "node_modules")
    names = ["package.json", "package-lock.json"]

    def texts(where):
        return [open(os.path.join(where, name), "rb").read() if os.path.exists(os.path.join(where, name)) else None for name in names]

    if not os.path.isdir(modules) or texts(folder) != texts(wanted):
        os.makedirs(folder, exist_ok=True)
        for name in names:
            shutil.copy(os.path.join(wanted, name), folder)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180)
        if run.returncode != 0:
            shutil.rmtree(folder, ignore_errors=True)
            skip_unless(False, "npm cannot install tests/npm: " + run.stderr.strip()[-200:])
    return modules


def need_client(condition, reason):
    """Skips the test with a message, or fails it where SCOOT_REQUIRE_CLIENTS asks for every client to be there."""
    if condition:
        return
    if os.environ.get("SCOOT_REQUIRE_CLIENTS", "") not in ("", "0"):
        raise AssertionError(f"needed, and missing: {reason}")
    raise unittest.SkipTest(reason)


def skip_unless(condition, reason):
    if not condition:
        raise unittest.SkipTest(reason)
