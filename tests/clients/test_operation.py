# SPDX-License-Identifier: MIT
"""What an operator does: a configuration file, changes while running, logs for people and for programs."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest
import urllib.request

import harness
import test_http


class OperationTest(harness.ServerTest):
    @classmethod
    def setUpClass(cls):
        if harness.is_reference():
            raise unittest.SkipTest("memcached has no configuration file")

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="scoot-operation-")
        os.chmod(self.folder, 0o755)
        self.addCleanup(shutil.rmtree, self.folder)
        self.conf = f"{self.folder}/scootd.conf"

    def write(self, text, name="scootd.conf"):
        with open(f"{self.folder}/{name}", "w", encoding="utf-8") as file:
            file.write(text)

    def configured(self, text, *options, **settings):
        self.write(text)
        return self.server("--config", self.conf, *options, **settings)

    def reload(self, server, text=None):
        """Returns what the log says of it."""
        if text is not None:
            self.write(text)
        before = server.stderr()
        ends = rb"reload: (done|nothing is changed).*\n"
        server.process.send_signal(signal.SIGHUP)
        harness.poll(lambda: re.search(ends, server.stderr()[len(before) :]), 10, "the end of the reload")
        return server.stderr()[len(before) :].decode()

    def settings(self, server):
        with server.connect() as client:
            return client.stats("settings")


class ReloadTest(OperationTest):
    def test_what_may_change_changes_and_what_may_not_is_named(self):
        server = self.configured("memory-limit = 64\nconn-limit = 50\nthreads = 2\n", "-t", "3")
        with server.connect() as client:
            for number in range(40):
                client.store(b"key%d" % number, b"v" * 1000)
        said = self.reload(
            server,
            "memory-limit = 32\nconn-limit = 60\nthreads = 5\nmax-reqs-per-event = 7\ndisable-flush-all = true\n"
            "disable-dumping = true\nmax-item-size = 2m\nidle_timeout = 600\nno_maxconns_fast = true\n",
        )
        now = self.settings(server)
        for name, value in (("maxbytes", str(32 << 20)), ("maxconns", "60"), ("reqs_per_event", "7"), ("flush_enabled", "no"),
                            ("dump_enabled", "no"), ("idle_timeout", "600"), ("maxconns_fast", "no"),
                            ("num_threads", "3"), ("item_size_max", str(1 << 20))):  # fmt: skip
            self.assertEqual(now[name], value, name)
        self.assertIn("reload: memory-limit is 32, was 64", said)
        self.assertIn("reload: idle_timeout is 600, was (unset)", said)
        self.assertIn("reload: max-item-size stays 1m: 2m needs a restart", said)
        self.assertNotIn("threads", said)  # the command line says what it said
        self.assertIn("done, 7 changed, 1 need a restart", said)
        with server.connect() as client:
            self.assertEqual(client.get(b"key7"), b"v" * 1000)
            self.assertEqual(client.request("flush_all"), b"CLIENT_ERROR flush_all not allowed")
        # The same again changes nothing, and the need for a restart is told again.
        said = self.reload(server)
        self.assertIn("done, 0 changed, 1 need a restart", said)
        self.assertIn("max-item-size stays", said)
        # What a command changed stays, until the file says something new.
        with server.connect() as client:
            self.assertEqual(client.request("cache_memlimit 40"), b"OK")
        self.reload(server)
        self.assertEqual(self.settings(server)["maxbytes"], str(40 << 20))
        self.reload(server, "memory-limit = 48\n")
        now = self.settings(server)
        self.assertEqual(now["maxbytes"], str(48 << 20))
        self.assertEqual((now["flush_enabled"], now["maxconns"], now["idle_timeout"]), ("yes", "1024", "0"))

    def test_a_bad_file_changes_nothing(self):
        self.write("ann:secret\n", "users")
        good = f"memory-limit = 64\nconn-limit = 50\nauth-file = {self.folder}/users\n"
        server = self.configured(good)

        def settings():
            with server.connect() as client:
                self.assertEqual(client.store(b"x", b"ann secret"), b"STORED")
                return client.stats("settings")

        before = settings()
        for bad, reason in (
            ("memory-limit = 32\nconn-limit = 60\nnonsense = 1\n", "nonsense"),
            ("memory-limit = 32\nconn-limit = none\n", "-c"),
            ("memory-limit = 32\n[section]\nconn-limit = 60\n", "section"),
            (f"memory-limit = 32\nauth-file = {self.folder}/nobody\n", "nobody"),
            ("memory-limit = 1\nmax-item-size = 1k\n" + f"conn-limit = 60\nauth-file = {self.folder}/empty\n", "empty"),
        ):
            with self.subTest(bad=bad):
                said = self.reload(server, bad)
                self.assertIn("nothing is changed", said)
                self.assertIn(reason, said)
                self.assertEqual(settings(), before)
        os.unlink(self.conf)
        self.assertIn("nothing is changed", self.reload(server))
        self.assertEqual(settings(), before)
        self.assertIn("done, 1 changed", self.reload(server, good.replace("64", "65")))

    def test_passwords_are_read_again(self):
        self.write("ann:secret\n", "users")
        server = self.configured(f"auth-file = {self.folder}/users\n")
        inside = self.connect(server)
        self.assertEqual(inside.store(b"x", b"ann secret"), b"STORED")

        def enters(words):
            with server.connect() as client:
                return client.store(b"x", words) == b"STORED"

        self.assertFalse(enters(b"bob other"))
        self.write("bob:other\n", "users")
        self.assertIn("done", self.reload(server))
        self.assertTrue(enters(b"bob other"))
        self.assertFalse(enters(b"ann secret"))
        self.assertRegex(inside.request("version"), b"^VERSION ")
        # Another file, by the option.
        self.write("eve:third\n", "others")
        self.assertIn("auth-file is", self.reload(server, f"auth-file = {self.folder}/others\n"))
        self.assertTrue(enters(b"eve third"))
        # Whether there are passwords at all is settled at the start.
        self.assertIn("auth-file stays", self.reload(server, "memory-limit = 64\n"))
        self.assertTrue(enters(b"eve third"))
        self.assertFalse(enters(b"bob other"))

    def test_idle_connections_get_their_time_from_when_the_timeout_is_new(self):
        server = self.configured("idle_timeout = 0\n", "-t", "1")
        idle = self.connect(server)
        self.assertRegex(idle.request("version"), b"^VERSION ")
        self.reload(server, "idle_timeout = 2\n")
        idle.socket.settimeout(0.6)
        with self.assertRaises(TimeoutError):
            idle.socket.recv(1)
        idle.socket.settimeout(harness.patience(10))
        self.assertEqual(idle.socket.recv(1), b"")
        # And none when it is gone.
        self.reload(server, "idle_timeout = 0\n")
        kept = self.connect(server)
        kept.socket.settimeout(2.5)
        with self.assertRaises(TimeoutError):
            kept.socket.recv(1)

    def test_relative_paths_are_those_of_the_start_also_in_the_background(self):
        self.write(f"memory-limit = 64\npidfile = {self.folder}/pid\nlog-to = stderr\n")
        port = harness.free_port()
        run = subprocess.run(
            [harness.server_path(), "-d", "--config", "scootd.conf", "-l", "127.0.0.1", "-p", str(port), "-u", "root"],
            cwd=self.folder, capture_output=True, timeout=harness.patience(15),
        )  # fmt: skip
        self.assertEqual(run.returncode, 0, run.stderr)
        with open(f"{self.folder}/pid", encoding="ascii") as file:
            pid = int(file.read())
        try:
            self.write("memory-limit = 32\n")
            os.kill(pid, signal.SIGHUP)

            def is_changed():
                with harness.Connection(("127.0.0.1", port)) as client:
                    return client.stats("settings")["maxbytes"] == str(32 << 20)

            harness.poll(is_changed, 10, "the new limit")
        finally:
            os.kill(pid, signal.SIGTERM)
            harness.poll(lambda: not os.path.exists(f"{self.folder}/pid"), 15, "its end")

    def test_reloads_under_load_lose_nothing(self):
        server = self.configured("conn-limit = 100\n", "-t", "2")
        with server.connect() as client:
            for number in range(100):
                self.assertEqual(client.store(b"n%d" % number, b"%d" % number), b"STORED")
                if number % 10 == 0:
                    self.write(f"conn-limit = {100 + number}\nmax-reqs-per-event = {1 + number}\nidle_timeout = {number * 10}\n")
                    server.process.send_signal(signal.SIGHUP)
            for number in range(100):
                self.assertEqual(client.get(b"n%d" % number), b"%d" % number)
        self.assertIn("done", self.reload(server))


class LogTest(OperationTest):
    def test_json_has_an_object_in_each_line(self):
        server = self.server("--log-format=json", "-vv")
        with server.connect() as client:
            client.request(b'get "quoted\\\x01key"')
        harness.poll(lambda: b"quoted" in server.stderr(), 5, "the command in the log")
        lines = server.stderr().decode().splitlines()
        self.assertGreater(len(lines), 3)
        for line in lines:
            entry = json.loads(line)
            self.assertEqual(list(entry), ["time", "level", "pid", "message"])
            self.assertRegex(entry["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
            self.assertIn(entry["level"], ("trace", "debug", "info", "warn", "error"))
            self.assertEqual(entry["pid"], server.pid)
        self.assertTrue(any("listens on" in json.loads(line)["message"] for line in lines))

    def test_levels_leave_out_what_is_below(self):
        for level, listens in (("info", True), ("warn", False), ("error", False)):
            with self.subTest(level=level):
                self.assertEqual(b"listens on" in self.server("--log-level", level).stderr(), listens)
        server = self.configured("log-level = error\n")
        self.write("log-level = trace\n")
        server.process.send_signal(signal.SIGHUP)
        harness.poll(lambda: b"reload: log-level is trace, was error" in server.stderr(), 5, "the new level")
        with server.connect() as client:
            client.request("get look_for_me")
        harness.poll(lambda: b"look_for_me" in server.stderr(), 5, "the command in the log")

    def test_connections_that_are_turned_away_are_warned_of_once_a_minute(self):
        server = self.server("-c", "3")
        clients = [self.connect(server) for _ in range(12)]
        for client in clients[5:]:
            self.assertEqual(client.line(), b"ERROR Too many open connections")
        warnings = [line for line in server.stderr().splitlines() if b" warning: connections are turned away" in line]
        self.assertEqual(len(warnings), 1)

    def test_the_journal_is_told_levels(self):
        server = self.server("--log-to=journal")
        self.assertRegex(server.stderr(), rb"^<6>scootd .* listens on")
        # Which is found out by the stream that systemd names.
        ours, its = socket.socketpair()
        with ours, its:
            about = os.fstat(its.fileno())
            process = subprocess.Popen(
                [harness.server_path(), "-p", "-1"], stderr=its, stdin=subprocess.DEVNULL,
                env={**os.environ, "JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}"},
            )  # fmt: skip
            try:
                ours.settimeout(harness.patience(10))
                self.assertTrue(ours.recv(4).startswith(b"<"))
            finally:
                process.terminate()
                self.assertEqual(process.wait(harness.patience(15)), 0)

    def test_syslog_is_told_in_the_background(self):
        if os.path.exists("/dev/log") or os.geteuid() != 0:
            self.skipTest("needs /dev/log for itself")
        try:
            log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            log.bind("/dev/log")
        except OSError as error:
            self.skipTest(f"no /dev/log can be made: {error}")
        try:
            log.settimeout(harness.patience(10))
            run = harness.run_briefly("-d", "-P", f"{self.folder}/pid", "-p", "-1", "--log-format=json")
            self.assertEqual(run.returncode, 0, run.stderr)
            with open(f"{self.folder}/pid", encoding="ascii") as file:
                pid = int(file.read())
            os.kill(pid, signal.SIGTERM)
            said = log.recv(2000).decode()
            self.assertRegex(said, rf"^<30>.* scootd\[{pid}\]: \{{")
            self.assertEqual(json.loads(said[said.index("{") :].rstrip("\0"))["message"], "scootd ends on SIGTERM")
        finally:
            log.close()
            os.unlink("/dev/log")


class PrivilegesTest(OperationTest):
    @staticmethod
    def status(pid):
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            return dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)

    def test_filter_is_on_for_all_threads_and_service_goes_on(self):
        for options in (["--seccomp=on"], ["--seccomp=on", "--io=epoll"], ["-o", "drop_privileges"]):
            with self.subTest(options=options):
                server = self.configured("memory-limit = 64\n", *options)
                for thread in os.listdir(f"/proc/{server.pid}/task"):
                    with open(f"/proc/{server.pid}/task/{thread}/status", encoding="ascii") as file:
                        self.assertRegex(file.read(), r"Seccomp:\t2\n")
                self.check_service(server)
                self.assertIn("done, 1 changed", self.reload(server, "memory-limit = 65\n"))
                self.check_service(server)

    def test_all_that_tells_of_the_server_goes_on_under_the_filter(self):
        server = test_http.HttpServer("-m", "64", "--seccomp=on")
        server.start()
        self.addCleanup(self._end, server)
        watcher = self.connect(server)
        self.assertEqual(watcher.request(b"watch mutations evictions"), b"OK")
        with server.connect() as client:
            for number in range(100):
                client.store(b"key%d" % number, b"v" * 30_000)
            client.send(b"lru_crawler metadump all\r\n")
            while not client.buffer.endswith(b"END\r\n"):
                client._fill()
            self.assertEqual(len(set(re.findall(rb"^key=key\d+ ", bytes(client.buffer), re.MULTILINE))), 100)
            client.buffer.clear()
            for group in ("", "settings", "conns", "heap", "moves", "items", "slabs", "sizes"):
                self.assertTrue(client.stats(group), group)
            self.assertEqual(client.request(b"cache_memlimit 32"), b"OK")
            self.assertEqual(client.request(b"flush_all"), b"OK")
        while b" key=key99 " not in watcher.buffer:
            watcher._fill()
        for path, wanted in (("/metrics", b"scootd_"), ("/heap.json", b'"pages"'), ("/", b"<html")):
            with urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}{path}", timeout=harness.patience(20)) as answer:
                self.assertIn(wanted, answer.read())
        self.check_service(server)

    def test_capabilities_go_once_the_ports_are_open(self):
        harness.skip_unless(os.geteuid() == 0 and shutil.which("setpriv"), "needs root and setpriv")
        port = next(p for p in range(700, 1000) if self.is_free(p))
        command = ["setpriv", "--reuid=nobody", "--clear-groups", "--inh-caps=+net_bind_service,+chown",
                   "--ambient-caps=+net_bind_service,+chown", harness.server_path(), "-p", str(port)]  # fmt: skip
        if subprocess.run([*command[:5], "true"], capture_output=True, timeout=20).returncode != 0:
            self.skipTest("no ambient capabilities here")
        if subprocess.run([*command[:5], "test", "-x", harness.server_path()], timeout=20).returncode != 0:
            self.skipTest("the server is where others may not look")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            harness.poll(lambda: not self.is_free(port), 10, "the port below 1024")
            now = harness.poll(lambda: self.dropped(process.pid), 10, "the end of the capabilities")
            self.assertEqual(int(now["CapPrm"], 16), 0)
            self.assertEqual(int(now["CapAmb"], 16), 0)
            self.assertEqual(now["NoNewPrivs"], "1")
        finally:
            process.terminate()
            self.assertEqual(process.wait(harness.patience(15)), 0)

    def dropped(self, pid):
        now = self.status(pid)
        return now if int(now["CapEff"], 16) == 0 and now["NoNewPrivs"] == "1" else None

    @staticmethod
    def is_free(port):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return True
            except OSError:
                return False


class DocumentationTest(OperationTest):
    def test_statistics_that_the_operations_guide_names_are_there(self):
        with open(f"{harness.ROOT}/docs/operations.md", encoding="utf-8") as file:
            guide = file.read()
        alerts = guide[guide.index("## Alerts") : guide.index("## Changing things")]
        named = {name for name in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", alerts)}
        self.assertGreater(len(named), 15)
        server = self.server("--pressure=headroom")
        with server.connect() as client:
            known = {*client.stats(), *client.stats("heap"), *client.stats("moves"), *client.stats("settings")}
        self.assertEqual(named - known, set())

    def test_debian_s_configuration_of_memcached_can_be_given_as_the_guide_says(self):
        with open(f"{harness.ROOT}/docs/operations.md", encoding="utf-8") as file:
            command = re.search(r"^ +scootd (\$\(.*/etc/memcached.conf\))$", file.read(), re.M).group(1)
        # Debian's file, but for the port, the user and going to the background.
        port = harness.free_port()
        self.write(
            "# memcached default config file\n# Run memcached as a daemon.\n#-d\nlogfile /var/log/memcached.log\n# -v\n"
            f"-m 64\n-p {port}\n-u root\n-l 127.0.0.1\n# -c 1024\n# -k\n# -M\n# -r\n-P {self.folder}/memcached.pid\n",
            "memcached.conf",
        )
        command = command.replace("/etc/memcached.conf", f"{self.folder}/memcached.conf")
        options = subprocess.run(["sh", "-c", f"echo {command}"], capture_output=True, text=True, check=True).stdout.split()
        server = harness.Server(*options, bind=False)
        server.port = port
        with server:
            self.check_service(server)
            self.assertEqual(self.settings(server)["maxbytes"], str(64 << 20))

    def test_every_option_is_documented_and_the_other_way_round(self):
        text = harness.run_briefly("-h").stdout.decode()
        with open(f"{harness.ROOT}/docs/options.md", encoding="utf-8") as file:
            documented = file.read()
        options = re.findall(r"^  (?:(-\w), |    )(--[\w-]+)", text, re.M)
        self.assertGreater(len(options), 25)
        known = set()
        for short, long in options:
            known |= {short, long}
            here = [name for name in (short, long) if name and re.search(rf"(?<![\w-]){name}(?![\w-])", documented)]
            self.assertTrue(here, f"docs/options.md says nothing of {short or long}")
        # Accepted or refused for memcached's sake, and so not in the help text.
        known |= {"-f", "-n", "-N", "-k", "-L", "--memory-file", "-vv"}
        for name in re.findall(r"(?<![\w-])(--?[A-Za-z][\w-]*)(?==| \||,|`)", documented):
            if name not in known and not name.startswith("-H"):
                self.fail(f"docs/options.md speaks of {name}, which is not in the help text")


if __name__ == "__main__":
    unittest.main()
