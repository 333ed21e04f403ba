# SPDX-License-Identifier: MIT
"""`watch`: clients that are told what others do. Lines have memcached 1.6's form."""

import re
import time
import unittest

import harness

HEAD = re.compile(rb"^ts=(\d+)\.(\d+) gid=(\d+) (.*)$")


class WatchTest(harness.ServerTest):
    def watch(self, server, topics, **settings):
        watcher = self.connect(server, **settings)
        self.assertEqual(watcher.request(b"watch " + topics), b"OK")
        return watcher

    def lines(self, watcher, count, wanted=lambda line: True):
        """So many lines that are wanted, without their heads; the numbers of all must rise."""
        found, last = [], 0
        while len(found) < count:
            while b"\n" not in watcher.buffer:
                watcher._fill()
            line, _, rest = bytes(watcher.buffer).partition(b"\n")
            watcher.buffer[:] = rest
            said = HEAD.match(line)
            self.assertTrue(said, line)
            self.assertGreater(int(said[3]), last)
            last = int(said[3])
            self.assertLess(abs(int(said[1]) - time.time()), 30)
            if wanted(said[4]):
                found.append(re.sub(rb"cfd=\d+", b"cfd=*", said[4]))
        return found

    def test_fetchers_and_mutations(self):
        server = self.server()
        watcher = self.watch(server, b"fetchers mutations")
        with server.connect() as client:
            client.store(b"a", b"123")
            client.get_many([b"a", b"no%t"])
            client.request("incr a 2")
            client.request("append a 0 0 1\r\n4")
            client.request("touch a 0")
            client.request("add a 0 0 1\r\nx")
            client.request("ms m 2 T1000\r\nhi")
            client.request("mg m")
            client.store(b"big", b"z" * 200000)
            client.get(b"big")
            client.store(b"huge", b"z" * 2000000)
        self.assertEqual(
            self.lines(watcher, 12),
            [
                b"type=item_store key=a status=stored cmd=set ttl=0 clsid=1 cfd=* size=3",
                b"type=item_get key=a status=found clsid=1 cfd=* size=3",
                b"type=item_get key=no%25t status=not_found clsid=0 cfd=* size=0",
                b"type=item_get key=a status=found clsid=1 cfd=* size=0",
                b"type=item_store key=a status=stored cmd=append ttl=0 clsid=1 cfd=* size=1",
                b"type=item_get key=a status=found clsid=1 cfd=* size=0",
                b"type=item_store key=a status=not_stored cmd=add ttl=0 clsid=1 cfd=* size=1",
                b"type=item_store key=m status=stored cmd=set ttl=1000 clsid=1 cfd=* size=2",
                b"type=item_get key=m status=found clsid=1 cfd=* size=2",
                b"type=item_store key=big status=stored cmd=set ttl=0 clsid=1 cfd=* size=200000",
                b"type=item_get key=big status=found clsid=1 cfd=* size=200000",
                b"type=item_store key=huge status=too_large cmd=set ttl=0 clsid=1 cfd=* size=2000000",
            ],
        )

    def test_deletions_and_connections_and_commands(self):
        server = self.server()
        watcher = self.watch(server, b"deletions connevents rawcmds")
        with server.connect() as client:
            port = client.socket.getsockname()[1]
            client.store(b"a", b"123")
            client.request("delete a")
            client.request("delete a")
            client.store(b"b", b"12345")
            client.request("md b")
        where = b"rip=127.0.0.1 rport=%d transport=tcp" % port
        # The server may notice only now that whoever asked whether it is up has gone.
        said = self.lines(watcher, 9, lambda line: b" rport=" not in line or where in line)
        self.assertEqual(said[0], b"type=conn_new " + where + b" cfd=*")
        self.assertRegex(said[1], rb"^<\d+ set a 0 0 3$")
        self.assertEqual([s for s in said if b"deleted" in s], [
            b"type=deleted key=a cmd=delete clsid=1 size=3", b"type=deleted key=b cmd=md clsid=1 size=5"])
        self.assertEqual(said[-1], b"type=conn_close " + where + b" reason=normal cfd=*")

    def test_evictions(self):
        server = self.server("-m", 4)
        watcher = self.watch(server, b"evictions")
        with server.connect() as client:
            for i in range(60):
                self.assertEqual(client.store(b"k%d" % i, b"e" * 100000, exptime=1000), b"STORED")
            evicted = int(client.stats()["evictions"])
            self.assertGreater(evicted, 10)
        for line in self.lines(watcher, evicted):
            self.assertRegex(line, rb"^type=eviction key=k\d+ fetch=no ttl=(9\d\d|1000) la=\d+ clsid=1 size=100000$")

    def test_what_is_wrong_is_refused(self):
        server = self.server()
        with server.connect() as client:
            self.assertEqual(client.request("watch fetchers nonsense"), b"ERROR")
            self.assertEqual(client.request("version")[:7], b"VERSION")
        with self.server("-W").connect() as client:
            self.assertEqual(client.request("watch"), b"CLIENT_ERROR watch commands not allowed")
            self.assertEqual(client.request("version")[:7], b"VERSION")

    def test_without_topics_fetchers_are_told_and_the_watcher_is_not_heard(self):
        server = self.server()
        watcher = self.connect(server)
        watcher.send(b"watch\r\nget ignored\r\nset ignored 0 0 1\r\nx\r\n")
        self.assertEqual(watcher.line(), b"OK")
        with server.connect() as client:
            self.assertIsNone(client.get(b"ignored"))
            self.assertEqual(client.stats()["log_watchers"], "1")
            self.assertEqual(client.stats("conns")["%s" % self.descriptor_of(client, watcher)], "conn_watch")
        self.assertEqual(self.lines(watcher, 1), [b"type=item_get key=ignored status=not_found clsid=0 cfd=* size=0"])

    def descriptor_of(self, client, watcher):
        port = ":%d" % watcher.socket.getsockname()[1]
        names = [n for n, v in client.stats("conns").items() if n.endswith(":addr") and v.endswith(port)]
        return names[0].split(":")[0] + ":state"

    def test_a_watcher_that_does_not_read_costs_nobody_but_itself(self):
        server = self.server("-o", "watcher_logbuf_size=16")
        slow = self.watch(server, b"fetchers", receive_bytes=4096)
        before = server.rss_bytes()
        with server.connect() as client:
            for _ in range(300):
                client.send(b"get " + b" ".join(b"%0200d" % i for i in range(100)) + b"\r\n")
                self.assertEqual(client.line(), b"END")
            skipped = int(client.stats()["log_watcher_skipped"])
        self.assertGreater(skipped, 1000)
        if not harness.is_sanitized():
            self.assertLess(server.rss_bytes() - before, 4 << 20)
        self.check_service(server)
        # It is told how many it missed once it reads again.
        told = b""
        deadline = time.monotonic() + harness.patience(20)
        with server.connect() as client:
            while b"skipped=" not in told and time.monotonic() < deadline:
                told += slow.socket.recv(1 << 16)
                client.get(b"one-more")
        self.assertRegex(told, rb"\nskipped=\d+\nts=")

    def test_watchers_are_limited_and_leave(self):
        server = self.server()
        watchers = [self.watch(server, b"fetchers") for _ in range(20)]
        with server.connect() as client:
            harness.poll(lambda: client.stats()["log_watchers"] == "20")
            self.assertEqual(client.request("watch"), b"WATCHER_TOO_MANY log watcher limit reached")
            for watcher in watchers:
                watcher.close()
            harness.poll(lambda: client.stats()["log_watchers"] == "0")
            self.assertEqual(client.stats()["curr_connections"], "1")
        self.check_calm(server)


if __name__ == "__main__":
    unittest.main()
