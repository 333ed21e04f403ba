# SPDX-License-Identifier: MIT
"""Statistics have memcached's names, for the dashboards and scripts that read them.

memcached itself runs beside the server and is asked for the same statistics after the same commands. A name that it has
and we have not must be in docs/protocol.md, in the table "Names that are left out", with the reason.
"""

import fnmatch
import os
import re
import time
import unittest

import harness

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


class StatsTest(harness.ServerTest):
    def names(self, server, group):
        with server.connect() as client:
            client.store(b"a:1", b"x" * 50)
            client.store(b"a:2", b"y" * 50, exptime=100)
            client.get(b"a:1")
            return {plain(name) for name in client.stats(group)}

    def test_no_name_of_memcached_is_missing_without_a_reason(self):
        reference = self.server(program=harness.need_reference())
        server = self.server()
        excused = omissions()
        self.assertGreater(sum(map(len, excused.values())), 10)
        used = 0
        for group in GROUPS:
            theirs, ours = self.names(reference, group), self.names(server, group)
            if group in ("", "settings", "items", "slabs", "conns"):
                self.assertGreater(len(theirs), 3, group)
            for name in sorted(theirs - ours):
                reasons = [p for p in excused.get(group, []) if fnmatch.fnmatchcase(name, p)]
                used += len(reasons)
                with self.subTest(group=group, name=name):
                    self.assertTrue(reasons, "memcached has it, we do not, and docs/protocol.md does not say why")
            for pattern in excused.get(group, []):
                with self.subTest(group=group, pattern=pattern):
                    self.assertFalse(fnmatch.filter(ours, pattern), "docs/protocol.md says that it is left out")
        self.assertGreater(used, 10)

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


if __name__ == "__main__":
    unittest.main()
