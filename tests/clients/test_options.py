# SPDX-License-Identifier: MIT
"""The command line: every option does what memcached's does, and a bad one ends with a clear message and a status."""

import ctypes
import os
import pwd
import re
import signal
import socket
import stat
import struct
import subprocess
import tempfile
import time
import unittest

import harness


def listening_addresses(pid):
    """The addresses on which a process listens by TCP, as the kernel has them."""
    inodes = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            continue
        if match := re.fullmatch(r"socket:\[(\d+)\]", target):
            inodes.add(match.group(1))
    found = []
    for path, width in (("/proc/net/tcp", 8), ("/proc/net/tcp6", 32)):
        with open(path, encoding="ascii") as table:
            for row in table.readlines()[1:]:
                fields = row.split()
                if fields[3] == "0A" and fields[9] in inodes:
                    address, port = fields[1].split(":")
                    words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, width, 8)]
                    family = socket.AF_INET if width == 8 else socket.AF_INET6
                    found.append((socket.inet_ntop(family, b"".join(words)), int(port, 16)))
    return sorted(found)


def udp_inodes(pid):
    with open("/proc/net/udp", encoding="ascii") as table:
        rows = {row.split()[9] for row in table.readlines()[1:]}
    links = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            links.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:
            pass
    return [link for link in links if link.startswith("socket:[") and link[8:-1] in rows]


def refuse_system_call(number):
    """Makes a system call fail with EPERM in this process and all it becomes, as container runtimes do it."""
    libc = ctypes.CDLL(None, use_errno=True)
    # Load the number; if it is this one, EPERM; else allow.
    program = struct.pack("HBBI" * 4, 0x20, 0, 0, 0, 0x15, 0, 1, number, 0x06, 0, 0, 0x00050001, 0x06, 0, 0, 0x7FFF0000)
    steps = ctypes.create_string_buffer(program)
    filter_ = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(steps)))
    if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.prctl(22, 2, filter_, 0, 0) != 0:
        os._exit(99)


IO_URING_SETUP = 425


class IoTest(harness.ServerTest):
    """--io: both ways of waiting serve, and a kernel that refuses io_uring is no reason to fail."""

    def start_refused(self, *options):
        port = harness.free_port()
        stderr = tempfile.TemporaryFile()
        self.addCleanup(stderr.close)
        process = subprocess.Popen(
            [harness.server_path(), "-l", "127.0.0.1", "-p", str(port), *options],
            stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, preexec_fn=lambda: refuse_system_call(IO_URING_SETUP),
        )  # fmt: skip

        def end():
            process.kill()
            process.wait()

        self.addCleanup(end)
        return process, port, stderr

    def test_both_serve(self):
        harness.skip_unless(not harness.is_reference(), "memcached has one way only")
        for how in ("epoll", "uring", "auto"):
            with self.subTest(how=how):
                server = harness.Server("--io", how)
                try:
                    server.start()
                except AssertionError as error:
                    if how == "uring" and "io_uring" in str(error):
                        self.skipTest("no io_uring here")
                    raise
                with server.connect() as client:
                    client.store(b"a", b"x" * 100_000)
                    self.assertEqual(client.get(b"a"), b"x" * 100_000)
                server.stop()

    def test_refused_io_uring_means_epoll(self):
        harness.skip_unless(not harness.is_reference(), "memcached has one way only")
        harness.skip_unless(os.uname().machine == "x86_64", "the number of the system call is x86's")
        process, port, _ = self.start_refused()

        def answers():
            self.assertIsNone(process.poll(), "the server ended")
            try:
                with harness.Connection(("127.0.0.1", port)) as client:
                    return client.request("version").startswith(b"VERSION")
            except OSError:
                return False

        harness.poll(answers, 10, "an answer")

    def test_refused_io_uring_that_was_asked_for_is_an_error(self):
        harness.skip_unless(not harness.is_reference(), "memcached has one way only")
        harness.skip_unless(os.uname().machine == "x86_64", "the number of the system call is x86's")
        process, _, stderr = self.start_refused("--io=uring")
        self.assertEqual(process.wait(harness.patience(15)), 71)
        stderr.seek(0)
        self.assertIn(b"io_uring", stderr.read())


class StarterTest(harness.ServerTest):
    """What systemd does with a service that it starts, without systemd."""

    def test_listens_on_inherited_sockets_and_says_when_it_is_ready(self):
        harness.skip_unless(not harness.is_reference(), "memcached knows nothing of this")
        with tempfile.TemporaryDirectory() as folder, socket.socket() as door, socket.socket(socket.AF_UNIX) as local, \
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:  # fmt: skip
            door.bind(("127.0.0.1", 0))
            door.listen()
            local.bind(f"{folder}/local")
            local.listen()
            told.bind(f"{folder}/notify")
            told.settimeout(harness.patience(10))

            # What systemd does between fork and exec; in a program of its own, for it must know its own process id.
            starter = (
                "import os,sys;a,b=int(sys.argv[1]),int(sys.argv[2]);a=os.dup2(a,a+10);b=os.dup2(b,b+20);os.dup2(a,3);os.dup2(b,4);"
                "os.environ.update(LISTEN_PID=str(os.getpid()),LISTEN_FDS='2',NOTIFY_SOCKET=sys.argv[3]);"
                "os.execv(sys.argv[4],sys.argv[4:])"
            )
            process = subprocess.Popen(
                ["/usr/bin/python3", "-c", starter, str(door.fileno()), str(local.fileno()), f"{folder}/notify",
                 harness.server_path(), "-t", "1"],
                pass_fds=(door.fileno(), local.fileno()), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                self.assertEqual(told.recv(200).split(b"\n"), [b"READY=1", b"MAINPID=%d" % process.pid])
                self.assertEqual(len(listening_addresses(process.pid)), 1)
                for address in (door.getsockname(), f"{folder}/local"):
                    with harness.Connection(address) as client:
                        self.assertRegex(client.request("version"), b"^VERSION ")
                process.terminate()
                self.assertTrue(told.recv(200).startswith(b"STOPPING=1"))
                self.assertEqual(process.wait(harness.patience(15)), 0)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()


class ListeningTest(harness.ServerTest):
    def test_default_is_loopback_only(self):
        harness.skip_unless(not harness.is_reference(), "memcached listens on all addresses by default")
        port = harness.free_port()
        server = harness.Server("-p", port, bind=False)
        server.port = port
        server.start()
        self.addCleanup(server.stop)
        addresses = listening_addresses(server.pid)
        self.assertTrue(addresses)
        for host, _ in addresses:
            self.assertIn(host, ("127.0.0.1", "::1"))

    def test_several_addresses(self):
        port = harness.free_port()
        for form in (["-l", "127.0.0.1,127.0.0.2"], ["-l", "127.0.0.1", "-l", "127.0.0.2"]):
            with self.subTest(options=form):
                server = harness.Server("-p", port, *form, bind=False)
                server.port = port
                with server:
                    for host in ("127.0.0.1", "127.0.0.2"):
                        with harness.Connection((host, port)) as client:
                            self.assertRegex(client.request("version"), b"^VERSION ")
                    hosts = [host for host, _ in listening_addresses(server.pid)]
                    self.assertEqual(hosts, ["127.0.0.1", "127.0.0.2"])

    def test_address_with_port(self):
        first, second = harness.free_port(), harness.free_port()
        server = harness.Server("-l", f"127.0.0.1:{first},127.0.0.2:{second}", bind=False)
        server.port = first
        with server:
            self.assertEqual(listening_addresses(server.pid), [("127.0.0.1", first), ("127.0.0.2", second)])

    def test_ipv6(self):
        try:
            port = harness.free_port("::1")
        except OSError:
            self.skipTest("no IPv6 loopback here")
        server = harness.Server("-l", "127.0.0.1,[::1]" if harness.is_reference() else "127.0.0.1,::1", "-p", port, bind=False)
        server.port = port
        with server, harness.Connection(("::1", port)) as client:
            self.assertRegex(client.request("version"), b"^VERSION ")

    def test_unix_socket_has_its_mode(self):
        for mode in ("700", "777", "660", None):
            with self.subTest(mode=mode):
                with harness.Server(*(["-a", mode] if mode else []), transport="unix") as server:
                    bits = stat.S_IMODE(os.stat(server.path).st_mode)
                    self.assertEqual(oct(bits), oct(int(mode or "700", 8)))
                    self.assertEqual(listening_addresses(server.pid), [])

    def test_stale_unix_socket_is_replaced(self):
        server = harness.Server(transport="unix")
        path = os.path.join(server.directory, "socket")
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(path)
        with server, server.connect() as client:
            self.assertEqual(client.store(b"a", b"x"), b"STORED")

    def test_unix_socket_is_removed(self):
        harness.skip_unless(not harness.is_reference(), "memcached leaves its socket behind")
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/socket"
            server = harness.Server("-s", path, bind=False, transport="tcp")
            server._spawn()
            harness.poll(lambda: os.path.exists(path), 10, "the socket")
            harness.poll(lambda: self._answers(path), 10, "an answer")
            server.stop()
            self.assertFalse(os.path.exists(path))

    @staticmethod
    def _answers(path):
        try:
            with harness.Connection(path) as client:
                return client.request("version").startswith(b"VERSION")
        except OSError:
            return False

    def test_no_udp(self):
        server = self.server("-U", "0")
        self.assertEqual(udp_inodes(server.pid), [])

    def test_port_in_use(self):
        server = self.server()
        run = harness.run_briefly("-l", "127.0.0.1", "-p", server.port, *harness.as_root_options())
        self.assertNotEqual(run.returncode, 0)
        self.assertIn(b"in use", run.stderr)
        with server.connect() as client:
            self.assertRegex(client.request("version"), b"^VERSION ")

    def test_backlog(self):
        server = self.server("-b", "64")
        with server.connect() as client:
            self.assertEqual(client.stats("settings")["tcp_backlog"], "64")


class LimitsTest(harness.ServerTest):
    def test_memory_limit(self):
        server = self.server("-m", "32")
        with server.connect() as client:
            self.assertEqual(client.stats()["limit_maxbytes"], str(32 << 20))
            self.assertEqual(client.stats("settings")["maxbytes"], str(32 << 20))

    def test_full_cache_evicts(self):
        server = self.server("-m", "8")
        with server.connect() as client:
            for number in range(4000):
                self.assertEqual(client.store(b"key%d" % number, b"%05d" % number * 1000), b"STORED")
            self.assertGreater(int(client.stats()["evictions"]), 0)
            self.assertEqual(client.get(b"key3999"), b"03999" * 1000)

    def test_full_cache_refuses_with_M(self):
        server = self.server("-m", "8", "-M")
        with server.connect() as client:
            self.assertEqual(client.stats("settings")["evictions"], "off")
            answers = set()
            stored = []
            for number in range(4000):
                answer = client.store(b"key%d" % number, b"%05d" % number * 1000)
                answers.add(answer)
                if answer == b"STORED":
                    stored.append(number)
            self.assertEqual(answers, {b"STORED", b"SERVER_ERROR out of memory storing object"})
            # Nothing that was stored is lost.
            for number in stored:
                self.assertEqual(client.get(b"key%d" % number), b"%05d" % number * 1000)
            self.assertEqual(client.stats()["evictions"], "0")
            # What is deleted makes room.
            for number in stored[: len(stored) // 2]:
                self.assertEqual(client.request(b"delete key%d" % number), b"DELETED")
            self.assertEqual(client.store(b"again", b"x" * 5000), b"STORED")

    def test_item_limit(self):
        for option, limit in (("2m", 2 << 20), ("4m", 4 << 20), ("1048576", 1 << 20)):
            with self.subTest(option=option):
                server = self.server("-I", option, "-m", "64")
                with server.connect() as client:
                    self.assertEqual(client.stats("settings")["item_size_max"], str(limit))
                    value = os.urandom(limit - 4096)
                    self.assertEqual(client.store(b"a", value), b"STORED")
                    self.assertEqual(client.get(b"a"), value)
                    self.assertEqual(client.store(b"a", b"x" * limit), b"SERVER_ERROR object too large for cache")

    def test_idle_connections_are_closed_when_told_so(self):
        server = self.server("-o", "idle_timeout=2")
        idle, busy = self.connect(server), self.connect(server)
        self.assertRegex(idle.request("version"), b"^VERSION ")
        started = time.monotonic()
        idle.socket.settimeout(0.2)
        ended = None
        while ended is None and time.monotonic() < started + harness.patience(10):
            busy.request("version")
            try:
                ended = idle.socket.recv(10)
            except TimeoutError:
                pass
        self.assertEqual(ended, b"")
        self.assertGreater(time.monotonic() - started, 1)
        self.assertEqual(busy.stats()["idle_kicks"], "1")
        self.assertEqual(busy.stats("settings")["idle_timeout"], "2")

    def test_connections_beyond_the_limit_wait_when_told_so(self):
        harness.skip_unless(not harness.is_reference(), "memcached counts its own descriptors")
        server = self.server("-c", "5", "-o", "no_maxconns_fast")
        clients = [self.connect(server) for _ in range(8)]
        for client in clients[:5]:
            self.assertRegex(client.request("version"), b"^VERSION ")
        waiting = clients[5:]
        for client in waiting:
            client.send(b"version\r\n")
            client.socket.settimeout(0.1)
            with self.assertRaises(TimeoutError):
                client.line()
        self.assertEqual(clients[0].stats()["accepting_conns"], "0")
        for client in clients[:3]:
            client.close()
        for client in waiting:
            client.socket.settimeout(harness.patience(10))
            self.assertRegex(client.line(), b"^VERSION ")

    def test_connection_limit(self):
        server = self.server("-c", "60")
        with server.connect() as client:
            self.assertEqual(client.stats()["max_connections"], "60")
        clients = []
        refused = 0
        for _ in range(100):
            client = self.connect(server, timeout=harness.patience(10))
            try:
                answer = client.request("version")
            except OSError:
                answer = b""
            if answer.startswith(b"VERSION"):
                clients.append(client)
            else:
                # Turned away with a word, if it got that far, and not kept waiting.
                self.assertIn(answer, (b"", b"ERROR Too many open connections"))
                refused += 1
                client.close()
        self.assertGreaterEqual(len(clients), 30 if harness.is_reference() else 50)
        self.assertLessEqual(len(clients), 60)
        self.assertGreater(refused, 0)
        clients[0].close()

        def served_again():
            try:
                with server.connect(timeout=2) as client:
                    return client.request("version").startswith(b"VERSION")
            except OSError:
                return False

        harness.poll(served_again, 10, "service after a connection was closed")

    def test_threads(self):
        for count in (1, 2, 7):
            server = self.server("-t", count)
            clients = [self.connect(server) for _ in range(16)]
            self.assertEqual(clients[0].stats()["threads"], str(count))
            for number, client in enumerate(clients):
                self.assertEqual(client.store(b"key%d" % number, b"x"), b"STORED")
            for number, client in enumerate(reversed(clients)):
                self.assertEqual(client.get(b"key%d" % number), b"x")

    def test_requests_per_event(self):
        # One client's pipeline of thousands must not keep another one waiting, and loses nothing by the turns it takes.
        server = self.server("-R", "5", "-t", "1")
        with server.connect() as busy, server.connect() as other:
            self.assertEqual(busy.stats("settings")["reqs_per_event"], "5")
            self.assertEqual(busy.store(b"n", b"0"), b"STORED")
            busy.send(b"incr n 1\r\n" * 5000)
            self.assertRegex(other.request("version"), b"^VERSION ")
            for number in range(1, 5001):
                self.assertEqual(busy.line(), b"%d" % number)


class ProcessTest(harness.ServerTest):
    def test_help(self):
        run = harness.run_briefly("-h")
        self.assertEqual(run.returncode, 0)
        for option in ("-p", "-s", "-a", "-l", "-m", "-c", "-t", "-I", "-M", "-R", "-b", "-v", "-u", "-P", "-d", "-U", "-V"):
            self.assertIn(option.encode(), run.stdout)

    def test_version(self):
        run = harness.run_briefly("-V")
        self.assertEqual(run.returncode, 0)
        self.assertRegex(run.stdout, rb"\d+\.\d+\.\d+")

    def test_bad_options_end_with_status_and_message(self):
        user = harness.as_root_options()
        bad = [["-o", "nonsense"], ["-o", "idle_timeout=x"], ["-Q"], ["--nonsense"], ["-p", "nonsense"], ["-p", "70000"], ["-t", "0"], ["-m", "nonsense"], ["-c", "0"],
               ["-I", "nonsense"], ["-I", "1"], ["-l", "999.1.1.1"], ["-u", "no-such-user"], ["-p"], ["-a", "99"],
               ["-s", "/nonexistent/folder/socket"], ["-R", "0"]]  # fmt: skip
        if harness.is_reference():  # it takes these
            bad = [options for options in bad if options[0] not in ("-p", "-m", "-a", "-R")]
        for options in bad:
            with self.subTest(options=options):
                listen = [] if options[0] in ("-l", "-s") else ["-l", "127.0.0.1"]
                port = [] if options[0] in ("-p", "-s") else ["-p", str(harness.free_port())]
                run = harness.run_briefly(*listen, *port, *([] if options[0] == "-u" else user), *options)
                self.assertNotEqual(run.returncode, 0)
                self.assertGreater(run.returncode, 0, "killed by a signal")
                self.assertTrue(run.stderr.strip() or run.stdout.strip(), "no message")
                self.assertNotRegex(run.stderr, harness.REPORT)

    def test_signals_end_it_cleanly_with_clients_connected(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            for transport in ("tcp", "unix"):
                with self.subTest(signal=number.name, transport=transport):
                    server = harness.Server(transport=transport).start()
                    idle = [server.connect() for _ in range(20)]
                    half = server.connect()
                    half.send(b"set a 0 0 1000\r\nhalf of")
                    started = time.monotonic()
                    server.stop(number)  # checks the status
                    self.assertLess(time.monotonic() - started, harness.patience(5))
                    for client in [*idle, half]:
                        self.assertTrue(client.closed())
                        client.close()

    def test_verbose_says_what_it_does(self):
        quiet = self.server()
        with quiet.connect() as client:
            client.request("get nothing")
        server = self.server("-vv")
        with server.connect() as client:
            client.request("get a_key_to_look_for")
        harness.poll(lambda: b"get a_key_to_look_for" in server.stderr(), 5, "the command in the log")
        self.assertNotIn(b"get nothing", quiet.stderr())

    def test_extended_options_without_effect_are_taken(self):
        server = self.server(
            "-o", "hashpower=20,modern,no_lru_crawler,slab_reassign,slab_automove=1,maxconns_fast,track_sizes",
            "-o", "hash_algorithm=murmur3", "-f", "1.25", "-n", "48",
        )  # fmt: skip
        with server.connect() as client:
            self.assertEqual(client.store(b"a", b"x"), b"STORED")

    def test_what_would_be_a_lie_is_refused_with_a_reason(self):
        harness.skip_unless(not harness.is_reference(), "memcached has what is refused here")
        for options in (["-k"], ["-L"], ["-U", "11211"], ["-o", "ext_path=/tmp/x:1g"], ["-o", "proxy_config=x"]):
            with self.subTest(options=options):
                run = harness.run_briefly("-p", "-1", *options)
                self.assertEqual(run.returncode, 64)
                self.assertIn(options[-1].split("=")[0].encode() if options[0] == "-o" else options[0].encode(), run.stderr)

    def test_one_v_is_taken(self):
        server = self.server("-v")
        with server.connect() as client:
            self.assertEqual(client.stats("settings")["verbosity"], "1")

    def test_pid_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/scootd.pid"
            extra = ["-d"] if harness.is_reference() else []
            if extra:
                self.skipTest("memcached writes it with -d only")
            server = harness.Server("-P", path).start()
            with open(path, encoding="ascii") as file:
                self.assertEqual(int(file.read()), server.pid)
            server.stop()
            self.assertFalse(os.path.exists(path))

    def test_daemon(self):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o777)
            path = f"{folder}/scootd.pid"
            port = harness.free_port()
            run = harness.run_briefly("-d", "-P", path, "-l", "127.0.0.1", "-p", port, *harness.as_root_options())
            self.assertEqual(run.returncode, 0, run.stderr)
            pid = int(harness.poll(lambda: self._content(path), 10, "the pid file"))
            try:
                def answers():
                    try:
                        with harness.Connection(("127.0.0.1", port)) as client:
                            return client.request("version").startswith(b"VERSION")
                    except OSError:
                        return False

                harness.poll(answers, 10, "an answer")
                self.assertEqual(os.getsid(pid), pid, "it is no session of its own")
                with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                    self.assertNotEqual(int(file.read().rsplit(")", 1)[1].split()[1]), os.getpid())
                for number in (0, 1, 2):
                    self.assertEqual(os.readlink(f"/proc/{pid}/fd/{number}"), "/dev/null")
            finally:
                os.kill(pid, signal.SIGTERM)
                harness.poll(lambda: not os.path.exists(f"/proc/{pid}") or self._zombie(pid), 15, "its end")
            self.assertFalse(os.path.exists(path), "the pid file is left")

    @staticmethod
    def _content(path):
        try:
            with open(path, encoding="ascii") as file:
                return file.read().strip()
        except FileNotFoundError:
            return ""

    @staticmethod
    def _zombie(pid):
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                return file.read().rsplit(")", 1)[1].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    def test_user_drops_root(self):
        harness.skip_unless(os.geteuid() == 0, "not root, so there is nothing to drop")
        nobody = pwd.getpwnam("nobody")
        port = harness.free_port()
        with tempfile.TemporaryFile() as stderr:
            process = subprocess.Popen(
                [harness.server_path(), "-l", "127.0.0.1", "-p", str(port), "-u", "nobody"],
                stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr,
            )  # fmt: skip
            try:
                def answers():
                    self.assertIsNone(process.poll(), "the server ended")
                    try:
                        with harness.Connection(("127.0.0.1", port)) as client:
                            return client.request("version").startswith(b"VERSION")
                    except OSError:
                        return False

                harness.poll(answers, 10, "an answer")
                with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
                    status = file.read()
                self.assertEqual(re.search(r"^Uid:\s+(.*)$", status, re.M).group(1).split(), [str(nobody.pw_uid)] * 4)
                self.assertEqual(re.search(r"^Gid:\s+(.*)$", status, re.M).group(1).split(), [str(nobody.pw_gid)] * 4)
                groups = re.search(r"^Groups:(.*)$", status, re.M).group(1).split()
                self.assertNotIn("0", groups, "root's group is kept")
            finally:
                process.terminate()
                self.assertEqual(process.wait(harness.patience(15)), 0)


if __name__ == "__main__":
    unittest.main()
