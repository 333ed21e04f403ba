# SPDX-License-Identifier: MIT
"""Statistics have memcached's names, for the dashboards and scripts that read them.

memcached itself runs beside the server, with the same options, and is asked for the same statistics after the same
commands. A name that it has and we have not must be in docs/protocol.md, in the table "Names that are left out", with the
reason. The tools that come with memcached read ours.
"""

import fnmatch
import os
import pty
import re
import select
import struct
import subprocess
import tempfile
import termios
import time
import unittest

import harness
import test_tls

GROUPS = ["", "settings", "items", "slabs", "sizes", "conns", "extstore"]


def omissions():
    """Of docs/protocol.md: {group: [patterns of names]}."""
    with open(os.path.join(harness.ROOT, "docs", "protocol.md"), encoding="utf-8") as file:
        section = file.read().split("### Names that are left out", 1)[1].split("\n#", 1)[0]
    found = {}
    for command, names in re.findall(r"^\| `stats ?(\w*)` \| (.*?) \|", section, re.M):
        found.setdefault(command, []).extend(re.findall(r"`([^`]+)`", names))
    return found


def plain(name):
    """Without the class or descriptor that it begins with."""
    return re.sub(r"^items:\d+:|^\d+:", "", name)


def speak_binary(client, opcode, key, extras=b"", value=b""):
    body = extras + key + value
    client.send(struct.pack(">BBHBBHIIQ", 0x80, opcode, len(key), len(extras), 0, 0, len(body), 0, 0) + body)
    return hear_binary(client)


def hear_binary(client):
    _, _, key_bytes, _, _, _, body_bytes, _, _ = struct.unpack(">BBHBBHIIQ", client.exactly(24))
    body = client.exactly(body_bytes)
    return body[:key_bytes], body[key_bytes:]


def binary_stats(client, group):
    """{name: value} by the binary protocol."""
    found = {}
    name, value = speak_binary(client, 0x10, group.encode())
    while name:
        found[name.decode()] = value.decode()
        name, value = hear_binary(client)
    return found


class StatsTest(harness.ServerTest):
    def names(self, server, group):
        with server.connect() as client:
            if not server.text:
                speak_binary(client, 0x21, b"PLAIN", b"", b"\0somebody\0secret")
                speak_binary(client, 0x01, b"a:1", bytes(8), b"x" * 50)
                speak_binary(client, 0x00, b"a:1")
                return {plain(name) for name in binary_stats(client, group)}
            client.store(b"a:1", b"x" * 50)
            client.store(b"a:2", b"y" * 50, exptime=100)
            client.get(b"a:1")
            return {plain(name) for name in client.stats(group)}

    def test_no_name_of_memcached_is_missing_without_a_reason(self):
        reference = self.server(program=harness.need_reference())
        server = self.server()
        self.assertGreater(sum(map(len, omissions().values())), 10)
        self.assertGreater(self.compare_names(reference, server), 10)

    def test_nor_with_options_that_add_names(self):
        program = harness.need_reference()
        with tempfile.TemporaryDirectory() as folder:
            certificate, key = test_tls.make_certificate(folder, "stats")
            tls = {"tls": test_tls.client_context(certificate)}
            files = f"ssl_chain_cert={certificate},ssl_key={key},ssl_session_cache"
            with open(f"{folder}/users", "w", encoding="ascii") as file:
                file.write("somebody:secret\n")
            users = {"text": False, "environment": {"MEMCACHED_SASL_PWDB": f"{folder}/users"}}
            for theirs, ours, settings, expected in (
                (("-Z", "-o", files), ("-Z", "-o", files), tls, "ssl_*"),
                (("-e", f"{folder}/items"), ("-e", f"{folder}/ours"), {}, "memory_file"),
                (("-D", "/"), ("-D", "/"), {}, ""),
                (("-C", "-M"), ("-C", "-M"), {}, ""),
                ((), ("-S",), users, ""),  # of memcached that needs more than a file
            ):
                with self.subTest(options=ours):
                    reference = self.server(*theirs, program=program, tls=settings.get("tls"))
                    reference.text = settings.get("text", True)
                    self.compare_names(reference, self.server(*ours, **settings), expected)

    def compare_names(self, reference, server, expected=""):
        """How many names were excused. `expected`: of those left out, what is there with these options."""
        excused = omissions()
        used = 0
        for group in GROUPS:
            theirs, ours = self.names(reference, group), self.names(server, group)
            if group in ("", "settings", "items", "slabs", "conns" if reference.text else ""):
                self.assertGreater(len(theirs), 3, group)
            for name in sorted(theirs - ours):
                reasons = [p for p in excused.get(group, []) if fnmatch.fnmatchcase(name, p)]
                used += len(reasons)
                with self.subTest(group=group, name=name):
                    self.assertTrue(reasons, "memcached has it, we do not, and docs/protocol.md does not say why")
            for pattern in excused.get(group, []):
                with self.subTest(group=group, pattern=pattern):
                    told = {name for name in fnmatch.filter(ours, pattern) if not fnmatch.fnmatchcase(name, expected)}
                    self.assertFalse(told, "docs/protocol.md says that it is left out")
        return used

    def test_connections_are_told(self):
        server = self.server()
        idle = self.connect(server)
        self.assertEqual(idle.request("version")[:7], b"VERSION")
        with server.connect() as client:
            told = client.stats("conns")
            mine = str(client.socket.getsockname()[1])
        states = {}
        for name, value in told.items():
            descriptor, field = name.split(":", 1)
            states.setdefault(descriptor, {})[field] = value
        ports = {one["addr"].rsplit(":", 1)[1]: one for one in states.values() if "listen_addr" in one}
        self.assertEqual(ports[mine]["state"], "conn_parse_cmd")
        self.assertEqual(ports[mine]["listen_addr"], f"tcp:127.0.0.1:{server.port}")
        self.assertEqual(ports[str(idle.socket.getsockname()[1])]["state"], "conn_read")
        listening = [one for one in states.values() if one["state"] == "conn_listening"]
        self.assertEqual([one["addr"] for one in listening], [f"tcp:127.0.0.1:{server.port}"])

    def test_connections_tell_how_long_they_are_silent(self):
        server = self.server()
        idle = self.connect(server)
        idle.request("version")
        port = str(idle.socket.getsockname()[1])
        time.sleep(2.2)
        with server.connect() as client:
            told = client.stats("conns")
        descriptor = next(n.split(":")[0] for n, v in told.items() if n.endswith(":addr") and v.endswith(":" + port))
        self.assertIn(int(told[descriptor + ":secs_since_last_cmd"]), range(1, 20))

    def test_numbers_of_classes_and_queues_are_true(self):
        server = self.server("-m", "8", "-t", "1")
        with server.connect() as client:
            for number in range(2000):
                client.store(b"a%05d" % number, b"x" * 1000)
            for number in range(1000):
                client.get(b"a%05d" % number)
            for number in range(4000, 12000):  # those that were used go to the other queue, the rest
                client.store(b"a%05d" % number, b"x" * 1000)
            time.sleep(1.6)
            for number in range(12000, 12100):
                client.store(b"a%05d" % number, b"x" * 1000)
            slabs, items = client.stats("slabs"), {plain(name): int(value) for name, value in client.stats("items").items()}
            stats = client.stats()
        slot, used, free = (int(slabs["1:" + name]) for name in ("chunk_size", "used_chunks", "free_chunks"))
        self.assertIn(slot, range(1006, 1030))
        self.assertEqual(used, int(stats["curr_items"]))
        self.assertEqual(int(slabs["1:total_chunks"]), used + free)
        self.assertLess(abs(free * slot - int(stats["bytes_in_holes"])), 2 * slot)
        self.assertGreater(int(slabs["1:chunks_per_page"]), 60)
        self.assertEqual(items["number_hot"] + items["number_warm"] + items["number_cold"], items["number"])
        self.assertGreater(items["number_cold"], 500)
        self.assertIn(items["age"], range(1, 60))
        self.assertIn(items["evicted_time"], range(1, 60))
        self.assertLessEqual(items["age_hot"], items["age"])

    def test_sessions_of_tls_are_counted(self):
        with tempfile.TemporaryDirectory() as folder:
            certificate, key = test_tls.make_certificate(folder, "sessions")
            files = f"ssl_chain_cert={certificate},ssl_key={key}"
            for more, counts in (("", False), (",ssl_session_cache", True)):
                server = self.server("-Z", "-o", files + more, tls=test_tls.client_context(certificate))
                with server.connect() as client:
                    before = client.stats().get("ssl_new_sessions")
                    self.assertEqual(before is not None, counts)
                    if not counts:
                        continue
                    with server.connect() as other:
                        other.request("version")
                    self.assertGreater(int(client.stats()["ssl_new_sessions"]), int(before))

    def prefixes(self, client):
        client.send(b"stats detail dump\r\n")
        found = {}
        for words in iter(lambda: client.line().split(), [b"END"]):
            self.assertEqual(words[0], b"PREFIX")
            found[words[1]] = dict(zip(words[2::2], map(int, words[3::2])))
        return found

    def test_detail_counts_by_prefix(self):
        for options, delimiter in (((), b":"), (("-D", "/"), b"/")):
            server = self.server(*options)
            with server.connect() as client:
                self.assertEqual(client.stats("settings")["detail_enabled"], "yes" if options else "no")
                self.assertEqual(client.request("stats detail"), b"CLIENT_ERROR usage: stats detail on|off|dump")
                if not options:
                    client.store(b"a:0", b"not counted yet")
                    self.assertEqual(client.request("stats detail on"), b"OK")
                a1, a2, b1, plain_key = b"a" + delimiter + b"1", b"a" + delimiter + b"2", b"b" + delimiter, b"alone"
                client.store(a1, b"1")
                client.store(plain_key, b"1")
                client.get_many([a1, a2, b1, plain_key])
                client.request(b"mg " + a1)
                client.request(b"delete " + a2)
                client.request(b"delete " + a1)
                expected = {
                    b"a": {b"get": 3, b"hit": 2, b"set": 1, b"del": 2},
                    b"b": {b"get": 1, b"hit": 0, b"set": 0, b"del": 0},
                }
                self.assertEqual(self.prefixes(client), expected)
                self.assertEqual(client.request("stats detail off"), b"OK")
                client.get(a1)
                self.assertEqual(self.prefixes(client), expected)
                self.assertEqual(client.request("stats reset"), b"RESET")
                self.assertEqual(self.prefixes(client), {})


class ToolsTest(harness.ServerTest):
    """memcached-tool and damemtop, as they come with memcached."""

    def script(self, name):
        path = os.path.join(os.path.dirname(os.path.dirname(harness.need_reference())), "share", "memcached", "scripts", name)
        harness.need_client(os.access(path, os.R_OK), f"{path} is missing")
        return path

    def filled(self):
        server = self.server("-m", "8")
        with server.connect() as client:
            for first in range(0, 30000, 1000):
                client.send(b"".join(b"set key%d 5 0 300 noreply\r\n%s\r\n" % (number, b"v" * 300) for number in range(first, first + 1000)))
            client.request("mn")
            self.assertGreater(int(client.stats()["evictions"]), 0)
        return server

    def tool(self, server, *mode):
        run = subprocess.run(["perl", self.script("memcached-tool"), f"127.0.0.1:{server.port}", *mode], capture_output=True, text=True,
                             timeout=harness.patience(20))
        self.assertEqual((run.returncode, "rror" in run.stderr), (0, False), run.stderr)
        return run.stdout

    def test_memcached_tool_reads_ours(self):
        server = self.filled()
        with server.connect() as client:
            evicted, items = client.stats()["evictions"], client.stats()["curr_items"]
        row = self.tool(server, "display").splitlines()[-1].split()
        self.assertEqual(len(row), 9, row)
        self.assertIn(int(row[1].rstrip("B")), range(307, 330))
        self.assertEqual([row[0], row[4], row[6], row[8]], ["1", items, evicted, "0"])
        self.assertIn(f"curr_items {items:>13}".split(), [line.split() for line in self.tool(server, "stats").splitlines()])
        self.assertIn(["maxbytes", str(8 << 20)], [line.split() for line in self.tool(server, "settings").splitlines()])
        self.assertIn(["320", items], [line.split() for line in self.tool(server, "sizes").splitlines()])
        self.assertRegex(self.tool(server, "dump", "2"), r"(?m)\A(add key\d+ 5 0 300\r?\nv{300}\r?\n){2}\Z")
        self.assertEqual(len(re.findall(r"(?m)^key=key\d+ exp=-1 ", self.tool(server, "keys", "3"))), 3)

    def test_damemtop_shows_ours(self):
        modules = ["-MAnyEvent", "-MYAML", "-MTerm::ReadKey"]
        has = subprocess.run(["perl", *modules, "-e1"], capture_output=True, timeout=60).returncode == 0
        harness.need_client(has, "libanyevent-perl, libyaml-perl or libterm-readkey-perl is missing")
        server, script = self.filled(), self.script("damemtop")
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(f"{folder}/.damemtop")  # it looks nowhere else, whatever --config says
            with open(f"{folder}/.damemtop/damemtop.yaml", "w", encoding="ascii") as file:
                columns = ["hostname", "all_version", "all_fill_rate", "hit_rate", "evictions", "all_curr_items", '"1:chunk_size"', '"items:1:age"']
                file.write("delay: 1\nmode: t\ntop_mode:\n    sort_column: hostname\n    sort_order: asc\n    columns:\n"
                           + "".join(f"        - {column}\n" for column in columns) + f"servers:\n    - 127.0.0.1:{server.port}\n")
            ours, theirs = pty.openpty()
            termios.tcsetwinsize(ours, (40, 200))
            process = subprocess.Popen(["perl", script], stdin=theirs, stdout=theirs, stderr=theirs,
                                       env={**os.environ, "TERM": "vt100", "HOME": folder}, start_new_session=True)
            os.close(theirs)
            shown = b""
            try:
                until = time.monotonic() + harness.patience(15)
                row = rb"127\.0\.0\.1:%d\s.*\d+\.\d+%%" % server.port
                while time.monotonic() < until and not re.search(row, shown):
                    if select.select([ours], [], [], 0.5)[0]:
                        shown += os.read(ours, 65536)
            except OSError:
                pass  # it ended
            finally:
                process.kill()
                process.wait()
                os.close(ours)
            self.assertRegex(shown, row)


if __name__ == "__main__":
    unittest.main()
