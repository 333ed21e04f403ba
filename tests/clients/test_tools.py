# SPDX-License-Identifier: MIT
"""The command `scoot` against real servers: top in a terminal of its own, replay beside an oracle of what must hit."""

import contextlib
import fcntl
import http.server
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import threading
import time
import unittest
import xml.etree.ElementTree

import harness
import test_tls

SAMPLES = os.path.join(harness.ROOT, "bench", "samples")
BLOCKS = os.path.join(SAMPLES, "blocks.oracleGeneral.bin")
TWITTER = os.path.join(SAMPLES, "requests.twitter.csv")


def scoot_path():
    path = os.environ.get("SCOOT_COMMAND")
    if not path:  # build/PRESET/src/server/scootd and build/PRESET/tools/scoot
        build = os.path.dirname(os.path.dirname(os.path.dirname(harness.server_path())))
        path = os.path.join(build, "tools", "scoot")
    return path


def scoot(*arguments, seconds=60, status=0):
    """Runs it to its end and checks the status; returns the completed process."""
    run = subprocess.run(
        [scoot_path(), *map(str, arguments)], capture_output=True, text=True, timeout=harness.patience(seconds), stdin=subprocess.DEVNULL
    )
    if run.returncode != status:
        raise AssertionError(f"{arguments} ended with {run.returncode}:\n{run.stdout}\n{run.stderr}")
    return run


class ToolTest(harness.ServerTest):
    def setUp(self):
        harness.need_client(os.access(scoot_path(), os.X_OK), f"the command scoot is not at {scoot_path()}")


class Screen:
    """A program in a terminal of its own."""

    def __init__(self, *arguments, rows=24, columns=80, term="xterm"):
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.text = ""
        self.process = subprocess.Popen(
            [scoot_path(), *map(str, arguments)], stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "TERM": term}, start_new_session=True
        )

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds=0.0):
        while select.select([self.master], [], [], seconds)[0]:
            self.text += os.read(self.master, 65536).decode()
            seconds = 0.0
        return self.text

    def wait_for(self, pattern):
        return harness.poll(lambda: re.search(pattern, self.read(0.05), re.S), 20, f"{pattern!r} on the screen")

    def frames(self):
        """The lines of each whole screen that was drawn."""
        return [[line.removesuffix("\x1b[K") for line in frame.split("\r\n")] for frame in re.findall(r"\x1b\[H(.*?)\x1b\[J", self.text, re.S)]

    def type(self, keys):
        os.write(self.master, keys)

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


class Top(ToolTest):
    def screen(self, *arguments, **settings):
        screen = Screen("top", *arguments, **settings)
        self.addCleanup(screen.end)
        return screen

    def fill(self, server):
        with server.connect() as client:
            for number in range(200):
                client.store(b"small%d" % number, b"x" * 20)
            for number in range(50):
                client.store(b"large%d" % number, b"x" * 5000)
            for number in range(30):
                client.get(b"small%d" % number)
            for number in range(10):
                client.get(b"none%d" % number)

    def test_once_as_json(self):
        server = self.server("-m", 64, "-c", 77)
        self.fill(server)
        view = json.loads(scoot("top", f"127.0.0.1:{server.port}", "--once", "--json", "-i", 0.2).stdout)
        self.assertEqual(view["items"], 250)
        self.assertEqual(view["budget_bytes"], 64 << 20)
        self.assertEqual(view["connections_max"], 77)
        self.assertEqual(view["hit_ratio_ever"], 0.75)
        self.assertIsNone(view["hit_ratio"], "nothing was asked for meanwhile")
        self.assertEqual(view["sets_per_s"], 0)
        if not harness.is_reference():
            self.assertEqual(sum(one["items"] for one in view["sizes"]), 250)
            self.assertEqual([one["bytes_max"] for one in view["sizes"]], [64, 8192])
            self.assertGreater(view["utilisation"], 0.01)
            self.assertLessEqual(view["held_bytes"], view["budget_bytes"])

    def test_rates_are_those_of_the_interval(self):
        server = self.server()
        stop = threading.Event()
        sent = 0
        with server.connect() as client:
            client.store(b"key", b"value")

        def load():
            nonlocal sent
            with server.connect() as client:
                while not stop.is_set():
                    client.get(b"key")
                    client.get(b"none")
                    sent += 2
                    time.sleep(0.001)

        thread = threading.Thread(target=load)
        thread.start()
        try:
            started, before = time.monotonic(), sent
            run = subprocess.Popen([scoot_path(), "top", str(server.port), "--json", "-i", "0.5"], stdout=subprocess.PIPE, text=True)
            views = [json.loads(run.stdout.readline()) for _ in range(3)]
            rate = (sent - before) / (time.monotonic() - started)
            run.terminate()
            self.assertEqual(run.wait(20), 0)
            run.stdout.close()
        finally:
            stop.set()
            thread.join()
        for view in views:
            self.assertAlmostEqual(view["hit_ratio"], 0.5, delta=0.05)
            self.assertEqual(view["operations_per_s"], view["gets_per_s"])
        self.assertAlmostEqual(sum(view["gets_per_s"] for view in views) / 3 / rate, 1, delta=0.7)

    def test_a_screen_that_q_leaves_as_it_was(self):
        server = self.server()
        self.fill(server)
        screen = self.screen(server.port, "-i", "0.2")
        screen.wait_for(r"operations   \d+/s.*item sizes.*up to")
        screen.type(b"q")
        self.assertEqual(screen.process.wait(20), 0)
        text = screen.read(0.1)
        self.assertTrue(text.startswith("\x1b[?1049h") and text.endswith("\x1b[?25h\x1b[?1049l"), text[-100:])
        self.assertEqual(termios.tcgetattr(screen.slave), screen.before)

    def test_interrupt_leaves_the_terminal_as_it_was(self):
        screen = self.screen(self.server().port, "-i", "0.2")
        screen.wait_for(r"operations")
        screen.process.send_signal(signal.SIGINT)
        self.assertEqual(screen.process.wait(20), 0)
        self.assertTrue(screen.read(0.1).endswith("\x1b[?25h\x1b[?1049l"))
        self.assertEqual(termios.tcgetattr(screen.slave), screen.before)

    def test_the_screen_fits_after_a_resize(self):
        server = self.server()
        self.fill(server)
        screen = self.screen(server.port, "-i", "0.2", rows=40, columns=120)
        screen.wait_for(r"\x1b\[J")
        for rows, columns in ((6, 30), (1, 10), (50, 200)):
            screen.text = ""
            screen.resize(rows, columns)
            screen.process.send_signal(signal.SIGWINCH)
            harness.poll(lambda: screen.read(0.05) and len(screen.frames()) >= 3, 20, "three frames")
            frame = screen.frames()[-1]
            self.assertLessEqual(len(frame), rows)
            self.assertLessEqual(max(map(len, frame)), columns)
        self.assertIsNone(screen.process.poll())

    def test_a_dumb_terminal_gets_plain_lines(self):
        screen = self.screen(self.server().port, "-i", "0.1", term="dumb")
        screen.wait_for(r"operations.*operations.*operations")
        self.assertNotIn("\x1b", screen.text)

    def test_a_server_that_comes_back(self):
        server = self.server()
        server.fixed_port = server.port
        screen = self.screen(server.port, "-i", "0.1")
        screen.wait_for(r"operations")
        server.abandon(remove=False)
        screen.wait_for(r"no answer, trying again: 127\.0\.0\.1:\d+: ")
        server.start()
        screen.text = ""
        screen.wait_for(r"operations.*q quits")
        self.assertIsNone(screen.process.poll())

    def test_no_server(self):
        run = scoot("top", harness.free_port(), "--once", status=1)
        self.assertRegex(run.stderr, r"scoot top: 127\.0\.0\.1:\d+: Connection refused")

    def test_memcached_is_shown_too(self):
        memcached = shutil.which("memcached")
        harness.need_client(memcached, "memcached is not on PATH")
        with tempfile.TemporaryDirectory() as folder, other_server(memcached, folder) as path:
            view = json.loads(scoot("top", path, "--once", "--json", "-i", 0.1).stdout)
            self.assertEqual(view["items"], 0)
            self.assertIsNone(view["utilisation"])
            self.assertIn("items        0", scoot("top", path, "--once", "-i", 0.1).stdout)


@contextlib.contextmanager
def other_server(program, folder, *options):
    """memcached on a unix socket."""
    path = os.path.join(folder, "socket")
    user = ["-u", "root"] if os.geteuid() == 0 else []
    process = subprocess.Popen([program, *user, "-s", path, *map(str, options)], stderr=subprocess.DEVNULL)
    try:
        harness.poll(lambda: os.path.exists(path), 10, "memcached's socket")
        yield path
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def scripted_server(script):
    """A server that runs script(socket) for every connection, and ends with them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = []

        def serve():
            while True:
                try:
                    one, _ = listener.accept()
                except OSError:
                    return

                def run():
                    with one, contextlib.suppress(OSError):
                        script(one)

                threads.append(threading.Thread(target=run))
                threads[-1].start()

        acceptor = threading.Thread(target=serve)
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            for thread in threads:
                thread.join()


def expected_of_twitter(path):
    """What a cache that loses nothing answers to the trace: (gets, hits, stored)."""
    there, gets, hits, stored = set(), 0, 0, 0
    with open(path, encoding="utf-8") as file:
        for line in file:
            words = line.strip().split(",")
            key, operation = ",".join(words[1:-5]), words[-2]
            if operation in ("get", "gets"):
                gets += 1
                hits += key in there
                stored += key not in there
                there.add(key)
            elif operation == "set" or (operation == "add") != (key in there) and operation not in ("delete", "incr", "decr"):
                stored += 1
                there.add(key)
            elif operation == "delete":
                there.discard(key)
    return gets, hits, stored


def objects_of_oracle(path):
    with open(path, "rb") as file:
        return [struct.unpack_from("<Q", record, 4)[0] for record in iter(lambda: file.read(24), b"")]


class Guarded(ToolTest):
    """Servers that want TLS, a certificate, a name and a password."""

    def setUp(self):
        super().setUp()
        harness.skip_unless(not harness.is_reference(), "Debian's memcached is built without TLS")
        harness.need_client(shutil.which("openssl"), "openssl is not on PATH")
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = holder.name
        os.chmod(self.folder, 0o755)

    def file(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(path, 0o644)
        return path

    def certificate(self, name):
        certificate, key = test_tls.make_certificate(self.folder, name)
        os.chmod(key, 0o644)
        return certificate, key

    def tls_server(self, identity, *options, extended="", trusted=None):
        certificate, key = identity
        context = test_tls.client_context(certificate, trusted)
        return self.server("-m", 1024, "-Z", "-o", f"ssl_chain_cert={certificate},ssl_key={key}{extended}", *options, tls=context)

    def look(self, server, *options, status=0):
        return scoot("top", f"127.0.0.1:{server.port}", "--once", "--json", "-i", 0.1, *options, status=status)

    def test_top_and_replay_speak_tls(self):
        identity = self.certificate("first")
        server = self.tls_server(identity)
        self.assertEqual(json.loads(self.look(server, "--tls", "--cafile", identity[0]).stdout)["items"], 0)
        objects = objects_of_oracle(BLOCKS)
        for depth in (1, 64):
            replayed = scoot("replay", BLOCKS, server.port, "--json", "--quiet", "-c", 3, "-d", depth, "--prefix", f"{depth}:", "--tls", "--cafile", identity[0])
            result = json.loads(replayed.stdout)
            self.assertEqual((result["gets"], result["hits"]), (len(objects), len(objects) - len(set(objects))))
        self.assertGreater(json.loads(self.look(server, "--tls", "--no-verify").stdout)["items"], 0)

    def test_whom_the_server_is_not_is_told(self):
        identity, other = self.certificate("first"), self.certificate("other")
        server = self.tls_server(identity)
        for options, word in (
            (("--tls",), "certificate"), (("--tls", "--cafile", other[0]), "certificate"), (("--tls", "--cafile", "/nowhere"), "--cafile"),
            (("--tls", "--cafile", other[1]), "--cafile"), ((), "")):
            self.assertIn(word, self.look(server, *options, status=1).stderr, options)
        # The certificate is of 127.0.0.1 and of no name.
        run = scoot("top", f"localhost:{server.port}", "--once", "--tls", "--cafile", identity[0], status=1)
        self.assertIn("certificate", run.stderr)
        plain = self.server()
        self.assertIn("TLS", self.look(plain, "--tls", "--no-verify", status=1).stderr)
        self.assertNotEqual(subprocess.run([scoot_path(), "top", "--cafile", identity[0]], capture_output=True, timeout=30).returncode, 0)

    def test_a_server_that_asks_for_a_certificate_gets_one(self):
        identity, mine, other = self.certificate("first"), self.certificate("mine"), self.certificate("other")
        server = self.tls_server(identity, extended=f",ssl_ca_cert={mine[0]},ssl_verify_mode=2", trusted=mine)
        known = ("--tls", "--cafile", identity[0])
        self.look(server, *known, "--cert", mine[0], "--key", mine[1])
        both = self.file("both", open(mine[0]).read() + open(mine[1]).read())
        self.look(server, *known, "--cert", both)
        self.look(server, *known, status=1)
        self.look(server, *known, "--cert", other[0], "--key", other[1], status=1)
        self.assertIn("--key", self.look(server, *known, "--cert", mine[0], "--key", other[1], status=1).stderr)

    def test_a_name_and_a_password_are_given(self):
        users = self.file("users", "ann:secret-of-ann\nbob:secret\n")
        server = self.server("-m", 1024, "-Y", users)
        self.look(server, "--auth-file", users)
        self.look(server, "--auth-file", self.file("bob", "bob:secret\r\n"))
        replayed = scoot("replay", BLOCKS, server.port, "--json", "--quiet", "--auth-file", users)
        self.assertGreater(json.loads(replayed.stdout)["hits"], 0)
        self.assertIn("--auth-file", self.look(server, status=1).stderr)
        for text, word in (("bob:wrong\n", "does not take"), ("bob\n", "name:password"), ("", "is empty"), (":x\n", "name:password")):
            self.assertIn(word, self.look(server, "--auth-file", self.file("bad", text), status=1).stderr, text)
        identity = self.certificate("first")
        guarded = self.tls_server(identity, "-Y", users)
        self.look(guarded, "--tls", "--cafile", identity[0], "--auth-file", users)


class Replay(ToolTest):
    def replay(self, trace, address, *options, status=0):
        return json.loads(scoot("replay", trace, address, "--json", "--quiet", *options, status=status).stdout)

    def check_blocks(self, address):
        objects = objects_of_oracle(BLOCKS)
        for number, (connections, depth) in enumerate(((1, 1), (1, 64), (7, 13))):
            with self.subTest(connections=connections, depth=depth):
                result = self.replay(BLOCKS, address, "-c", connections, "-d", depth, "--prefix", f"run{number}:")
                self.assertEqual(result["requests"], len(objects))
                self.assertEqual(result["gets"], len(objects))
                self.assertEqual(result["hits"], len(objects) - len(set(objects)))
                self.assertEqual(result["stored"], len(set(objects)))
                self.assertEqual(result["get_latency"]["count"], len(objects))
                latency = result["get_latency"]
                self.assertLessEqual(0 < latency["p50_us"], latency["p99_us"] <= latency["p999_us"] <= latency["max_us"])

    def test_a_block_trace_hits_what_was_there_before(self):
        self.check_blocks(self.server("-m", 1024).port)

    def test_memcached_as_well(self):
        memcached = shutil.which("memcached")
        harness.need_client(memcached, "memcached is not on PATH")
        with tempfile.TemporaryDirectory() as folder, other_server(memcached, folder, "-m", 1024) as path:
            self.check_blocks(path)

    def test_all_operations_of_a_twitter_trace(self):
        gets, hits, stored = expected_of_twitter(TWITTER)
        result = self.replay(TWITTER, self.server("-m", 256).port, "-c", 3, "-d", 10)
        self.assertEqual((result["gets"], result["hits"], result["stored"]), (gets, hits, stored))
        self.assertEqual(result["errors"], 0)

    def test_a_small_cache_misses_more(self):
        large = self.replay(BLOCKS, self.server("-m", 1024).port)
        server = self.server("-m", 8)
        small = self.replay(BLOCKS, server.port)
        self.assertLess(small["hits"], large["hits"])
        with server.connect() as client:
            stats = client.stats()
        self.assertEqual(int(stats["get_hits"]), small["hits"])
        self.assertEqual(int(stats["get_misses"]), small["gets"] - small["hits"])

    def test_the_report_for_people(self):
        text = scoot("replay", BLOCKS, self.server("-m", 1024).port, "-q").stdout
        for word in ("trace ", "throughput ", "hit ratio ", "p50", "p99.9", "get ", "store "):
            self.assertIn(word, text)

    def test_values_that_the_server_refuses_are_counted(self):
        server = self.server("-m", 64, "-I", "1k")
        result = self.replay(BLOCKS, server.port)
        self.assertEqual(result["refused"] + result["stored"], result["fills"])
        self.assertGreater(result["refused"], 0)
        self.assertIn("SERVER_ERROR", result["first_error"])

    def test_values_can_be_cut(self):
        server = self.server("-m", 64, "-I", "1k")
        self.assertEqual(self.replay(BLOCKS, server.port, "--value-max", 500)["refused"], 0)

    def test_a_damaged_trace_is_told_of_before_anything_is_sent(self):
        server = self.server()
        for trace, complaint, options in (
            ("truncated.oracleGeneral.bin", "ends with 16 bytes of a record of 24", ()),
            ("unknown_operation.twitter.csv", "line 4: no operation: fetch", ("--format", "twitter")),
            ("clusters.csv", "no trace of a known format", ()),
            ("missing.csv", "No such file", ()),
            ("columns.csv", "--csv: cannot use obj-id-col=x", ("--csv", "obj-id-col=x")),
        ):
            with self.subTest(trace=trace):
                run = scoot("replay", os.path.join(SAMPLES, trace), server.port, *options, status=1)
                self.assertIn(complaint, run.stderr)
        with server.connect() as client:
            self.assertEqual(client.stats()["cmd_get"], "0")

    def test_bad_options_are_refused(self):
        for options in (["-c", "0"], ["-c", "257"], ["-d", "1025"], ["--prefix", "a b"], ["--prefix", "x" * 101], ["--value-max", "0"]):
            with self.subTest(options=options):
                run = subprocess.run([scoot_path(), "replay", BLOCKS, "1", *options], capture_output=True, timeout=20)
                self.assertGreater(run.returncode, 1)

    def test_a_lost_connection_is_told_of(self):
        def some_answers(one):
            for _ in range(5):
                one.recv(1)
                one.sendall(b"END\r\n")

        def reset(one):
            one.recv(1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        for script in (some_answers, reset):
            with self.subTest(script=script.__name__), scripted_server(script) as port:
                run = scoot("replay", BLOCKS, port, "-c", 2, "-d", 4, status=1)
                self.assertRegex(run.stderr, r"the server closed the connection|lost the connection|not an answer")
                self.assertRegex(run.stderr, r"after \d+ of \d+ requests")

    def test_a_silent_server_is_given_up(self):
        done = threading.Event()
        with scripted_server(lambda one: done.wait(30)) as port:
            run = scoot("replay", BLOCKS, port, "--timeout", 1, status=1)
            done.set()
        self.assertIn("no answer for 1 s", run.stderr)

    def test_what_is_no_cache_is_noticed(self):
        for answer in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"ERROR\r\n", b"x" * 10_000, b"VALUE other 0 1\r\nx\r\nEND\r\n"):
            with self.subTest(answer=answer[:20]), scripted_server(lambda one, text=answer: (one.recv(1), one.sendall(text), one.recv(1 << 20))) as port:
                run = scoot("replay", BLOCKS, port, "-c", 1, status=1)
                self.assertRegex(run.stderr, r"not an answer|does not take|does not end")

    def test_interrupted_it_tells_what_it_did(self):
        server = self.server("-m", 64)
        with tempfile.TemporaryDirectory() as folder:
            trace = os.path.join(folder, "long.oracleGeneral.bin")
            with open(trace, "wb") as file:
                file.write(struct.pack("<IQIq", 0, 1, 100, -1) * 1_000_000)
            run = subprocess.Popen(
                [scoot_path(), "replay", trace, str(server.port), "--json", "-c", "1", "-d", "1"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            harness.poll(lambda: int(self.gets(server)) > 100, 20, "the first gets")
            run.send_signal(signal.SIGINT)
            text, _ = run.communicate(timeout=harness.patience(20))
        self.assertEqual(run.returncode, 130)
        result = json.loads(text)
        self.assertTrue(result["interrupted"])
        self.assertLess(result["requests"], 1_000_000)
        self.assertEqual(int(self.gets(server)), result["gets"])

    def gets(self, server):
        with server.connect() as client:
            return client.stats()["cmd_get"]


SNAPSHOT = {
    "scoot_snapshot": 1,
    "page_bytes": 65536,
    "pool": {"budget_bytes": 1 << 20, "held_bytes": 40960},
    "heap": {"live_bytes": 9000, "hole_bytes": 64},
    "kinds": [{"name": "a <kind> & \"more\" \u00e9 \u0001"}, {"name": "other"}],
    "shelves": [{"kind": 0, "slot_bytes": 64}],
    "pages": [
        {"address": "0x10000", "use": "shelf", "shelf": 0, "resident_begin": 0, "resident_end": 4096, "slots": 9, "holes": 1, "pins": 1, "fill": "91" + "." * 30},
        {"address": "0x20000", "use": "large", "resident_begin": 0, "resident_end": 65536, "blocks": 2, "fill": "0123456789" + "9" * 22},
        {"address": "0x30000", "use": "run", "kind": 1, "run_bytes": 70000, "resident_begin": 0, "resident_end": 65536, "fill": "9" * 32},
        {"address": "0x40000", "use": "run_body", "resident_begin": 0, "resident_end": 8192, "fill": "9" + "." * 31},
        {"address": "0x50000", "use": "something new", "resident_begin": 0, "resident_end": 0},
    ],
}


class Map(ToolTest):
    def drawing(self, text):
        root = xml.etree.ElementTree.fromstring(text)
        self.assertEqual(root.tag, "{http://www.w3.org/2000/svg}svg")
        return root

    def titles(self, root):
        return [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]

    def check_the_sample(self, text):
        titles = self.titles(self.drawing(text))
        self.assertEqual(len(titles), 5)
        self.assertEqual(titles[0], '0x10000 shelf of a <kind> & "more" é ?: slots of 64 bytes, 9 in use or holes, 1 holes, 1 pinned; 4.00 KiB resident')

    def test_a_snapshot_from_a_file_or_standard_input(self):
        with tempfile.TemporaryDirectory() as folder:
            path, out = os.path.join(folder, "heap.json"), os.path.join(folder, "heap.svg")
            with open(path, "w", encoding="utf-8") as file:
                json.dump(SNAPSHOT, file)
            self.check_the_sample(scoot("map", path).stdout)
            scoot("map", path, "-o", out)
            with open(out, encoding="utf-8") as file:
                self.check_the_sample(file.read())
            with open(path, encoding="utf-8") as file:
                run = subprocess.run([scoot_path(), "map", "-"], stdin=file, capture_output=True, text=True, timeout=20)
            self.check_the_sample(run.stdout)
            run = scoot("map", path, "-o", os.path.join(folder, "none", "heap.svg"), status=1)
            self.assertIn("No such file or directory", run.stderr)

    def serve(self, status, body, chunked=False):
        """A web server with one answer; returns its port, and the requests that it gets."""
        requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                requests.append((self.path, dict(self.headers)))
                self.send_response(status)
                if chunked:
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for at in range(0, len(body), 100):
                        piece = body[at : at + 100]
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    self.wfile.write(b"0\r\n\r\n")
                else:
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        self.addCleanup(lambda: (server.shutdown(), thread.join(), server.server_close()))
        return server.server_port, requests

    def test_a_snapshot_by_http(self):
        body = json.dumps(SNAPSHOT).encode()
        for chunked in (False, True):
            port, requests = self.serve(200, body, chunked)
            self.check_the_sample(scoot("map", f"127.0.0.1:{port}").stdout)
            self.check_the_sample(scoot("map", f"http://127.0.0.1:{port}/").stdout)
            self.assertEqual(requests[0][0], "/heap.json")
            self.assertEqual(requests[0][1]["Host"], f"127.0.0.1:{port}")

    def test_a_token_is_sent(self):
        port, requests = self.serve(200, json.dumps(SNAPSHOT).encode())
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("secret-token\n")
            file.flush()
            scoot("map", f"127.0.0.1:{port}", "--token-file", file.name)
        self.assertEqual(requests[0][1]["Authorization"], "Bearer secret-token")

    def test_what_is_no_snapshot_is_told_of(self):
        refused, _ = self.serve(401, b"a token is needed\n")
        other, _ = self.serve(200, b"{}")
        for source, complaint in (
            (f"127.0.0.1:{refused}", "answers 401 to /heap.json: a token is needed"),
            (f"127.0.0.1:{other}", "is no heap snapshot"),
            (f"127.0.0.1:{harness.free_port()}", "refused"),
            ("nowhere", "there is no such file, and for an address it lacks the port"),
            ("/no/where", "No such file or directory"),
            (SAMPLES, "is a directory"),
            (BLOCKS, "is no JSON"),
            (os.path.join(harness.ROOT, "CMakePresets.json"), "is no heap snapshot"),
        ):
            with self.subTest(source=source):
                self.assertIn(complaint, scoot("map", source, status=1).stderr)

    def test_a_running_server(self):
        said = harness.run_briefly("-h").stdout
        harness.skip_unless(b"--http=" in said, "the server has no --http")
        port = harness.free_port()
        server = self.server("-m", 64, f"--http=127.0.0.1:{port}")
        with server.connect() as client:
            for number in range(2000):
                client.store(b"key%d" % number, b"x" * (number % 900))
            client.store(b"large", b"x" * 300_000)
        titles = self.titles(self.drawing(scoot("map", f"127.0.0.1:{port}").stdout))
        self.assertGreater(len([title for title in titles if " shelf of " in title]), 5)
        self.assertTrue([title for title in titles if "a block of " in title])


class Command(ToolTest):
    def test_help_and_version(self):
        self.assertIn("replay", scoot("--help").stdout)
        self.assertRegex(scoot("--version").stdout, r"^scoot \d+\.\d+\.\d+$")

    def test_no_command(self):
        run = subprocess.run([scoot_path()], capture_output=True, text=True, timeout=20)
        self.assertGreater(run.returncode, 0)
        self.assertIn("subcommand", run.stderr + run.stdout)


if __name__ == "__main__":
    unittest.main()
