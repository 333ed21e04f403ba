# SPDX-License-Identifier: MIT
"""HTTP: health, metrics, snapshots and the stream of the live page are true, only readable, and nobody can wear them out.

Method: requests by Python's own HTTP client, and by hand where they are meant to be bad; what /metrics and /heap.json
say is compared with what `stats` says and what docs/metrics.md promises.
"""

import base64
import http.client
import json
import os
import re
import socket
import struct
import tempfile
import time
import unittest

import harness
import test_options

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VIEWERS_MAX = 16
TOKEN = "a-token-of-more-than-sixteen"


class HttpServer(harness.Server):
    """A server with --http, and where that is."""

    def _spawn(self):
        self.http_port = harness.free_port()
        self.options = [*self.plain_options, "--http", f"127.0.0.1:{self.http_port}"]
        super()._spawn()

    def __init__(self, *options, **settings):
        self.plain_options = options
        super().__init__(*options, **settings)


class Stream:
    """A viewer of /events: an iterator over (event, data)."""

    def __init__(self, server, receive_bytes=None, headers=""):
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(harness.patience(20))
        self.socket.connect(("127.0.0.1", server.http_port))
        self.socket.sendall(f"GET /events HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode())
        self.file = self.socket.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        while self.file.readline().strip():
            pass

    def __iter__(self):
        return self

    def __next__(self):
        name = self.file.readline()
        if not name:
            raise StopIteration
        data = self.file.readline()
        if self.file.readline() != b"\n" or not name.startswith(b"event: ") or not data.startswith(b"data: "):
            raise AssertionError(f"not an event: {name[:80]!r} {data[:80]!r}")
        return name[7:-1].decode(), data[6:-1].decode()

    def until(self, *names):
        """The data of the next events of these names, each once."""
        found = {}
        for name, data in self:
            found[name] = data
            if all(one in found for one in names):
                return found
        raise AssertionError(f"the stream ended before {names}")

    def close(self):
        self.file.close()
        self.socket.close()


def cells_of(data):
    """{page number: (content, kind, live, resident, size, pins, arrivals, departures)}"""
    raw = base64.b64decode(data)
    return {record[0]: record[1:] for record in struct.iter_unpack("<IBBBBHHHH", raw)}


class HttpTest(harness.ServerTest):
    def http_server(self, *options, **settings):
        server = HttpServer(*options, **settings)
        server.start()
        self.addCleanup(self._end, server)
        return server

    def fetch(self, server, path, method="GET", headers=None, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=harness.patience(20))
        self.addCleanup(connection.close)
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer

    def stream(self, server, **settings):
        stream = Stream(server, **settings)
        self.addCleanup(stream.close)
        return stream

    def raw(self, server, request, seconds=10):
        """What comes back until the server closes the connection."""
        with socket.create_connection(("127.0.0.1", server.http_port), harness.patience(seconds)) as client:
            client.sendall(request)
            answer = b""
            while data := client.recv(1 << 16):
                answer += data
            return answer

    def fill(self, server, items=3000, sizes=(40, 200, 900, 20000)):
        with server.connect() as client:
            for i in range(items):
                client.store(b"key%d" % i, b"v" * sizes[i % len(sizes)])


def metrics_of(text):
    """{name: (type, {labels: value})} of Prometheus' text format, which must be well formed."""
    found = {}
    for line in text.decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in found, f"{name} comes twice"
            found[name] = (kind, {})
        elif not line.startswith("# HELP "):
            match = re.fullmatch(r'([a-z_]+)(?:\{((?:[a-z]+="[^"]*",?)*)\})? ([-+.0-9eInf]+)', line)
            assert match, f"not a metric: {line!r}"
            name = next(n for n in (match[1], re.sub("_(bucket|sum|count)$", "", match[1])) if n in found)
            found[name][1][(match[1][len(name) :], match[2] or "")] = float(match[3])
    return found


def documented_metrics():
    """{name: (type, labels)} as the tables of docs/metrics.md have them."""
    found = {}
    with open(os.path.join(ROOT, "docs", "metrics.md"), encoding="utf-8") as file:
        for line in file:
            if match := re.match(r"\| `([a-z_]+)(?:\{([a-z, ]+)\})?` \| (\w+) \| (\S+) \| (.+) \|$", line):
                found[match[1]] = (match[3], set((match[2] or "").split(", ")) - {""})
    return found


class Health(HttpTest):
    def test_says_that_the_process_answers_and_that_clients_are_accepted(self):
        server = self.http_server()
        for path, text in (("/healthz", b"ok\n"), ("/readyz", b"ready\n")):
            status, body, _ = self.fetch(server, path)
            self.assertEqual((status, body), (200, text))

    def test_is_off_unless_asked_for(self):
        server = self.server()
        self.assertEqual(test_options.listening_addresses(server.pid), [("127.0.0.1", server.port)])

    def test_tells_where_the_page_is_and_ends_when_the_place_is_taken(self):
        server = self.http_server()
        self.assertIn(f"live page at http://127.0.0.1:{server.http_port}/".encode(), server.stderr())
        other = harness.run_briefly("-p", "-1", "--http", f"127.0.0.1:{server.http_port}", *harness.as_root_options())
        self.assertEqual(other.returncode, 71)
        self.assertIn(b"--http: cannot listen", other.stderr)


class Metrics(HttpTest):
    def test_are_those_of_the_documentation_and_no_others(self):
        server = self.http_server()
        status, body, answer = self.fetch(server, "/metrics")
        self.assertEqual(status, 200)
        self.assertTrue(answer.headers["Content-Type"].startswith("text/plain; version=0.0.4"))
        served = {}
        for name, (kind, values) in metrics_of(body).items():
            labels = {label.split("=")[0] for _, each in values for label in each.split(",") if label}
            served[name] = (kind, labels - {"le"})
        self.assertEqual(served, documented_metrics())

    def test_are_those_that_the_dashboard_asks_for(self):
        with open(os.path.join(ROOT, "docs", "grafana", "scootd.json"), encoding="utf-8") as file:
            dashboard = json.load(file)
        asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
        asked += [each["expr"] for each in dashboard["annotations"]["list"]]
        asked += [each["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
        known = documented_metrics()
        self.assertGreater(len(asked), 20)
        for expression in asked:
            names = set(re.findall(r"\b(?:scootd|process)_[a-z_]+", expression))
            self.assertTrue(names, expression)
            for name in names:
                name = name if name in known else re.sub("_bucket$", "", name)
                self.assertIn(name, known, expression)
                if "rate(" in expression and known[name][0] == "gauge":
                    self.fail(f"the rate of a gauge: {expression}")

    def test_are_what_stats_says(self):
        server = self.http_server()
        self.fill(server)
        with server.connect() as client:
            client.get(b"key1")
            client.get(b"nothing")
            client.request("delete nothing")
            stats, heap = client.stats(), client.stats("heap")
        found = metrics_of(self.fetch(server, "/metrics")[1])

        def value(name, labels=""):
            return found[name][1][("", labels)]

        self.assertEqual(value("scootd_items"), int(stats["curr_items"]))
        self.assertEqual(value("scootd_item_bytes"), int(stats["bytes"]))
        self.assertEqual(value("scootd_stores_total"), int(stats["cmd_set"]))
        self.assertEqual(value("scootd_lookups_total", 'command="get",result="hit"'), int(stats["get_hits"]))
        self.assertEqual(value("scootd_lookups_total", 'command="get",result="miss"'), int(stats["get_misses"]))
        self.assertEqual(value("scootd_lookups_total", 'command="delete",result="miss"'), 1)
        self.assertEqual(value("scootd_budget_bytes"), int(stats["limit_maxbytes"]))
        self.assertEqual(value("scootd_held_bytes"), int(heap["held_bytes"]))
        self.assertEqual(value("scootd_live_bytes"), int(heap["live_bytes"]))
        self.assertEqual(value("scootd_pages"), int(heap["pages"]))

    def test_count_pauses_when_sizes_shift_in_a_full_cache(self):
        server = self.http_server("-m", "2", "-t", "1")
        with server.connect() as client:
            for size in (60, 700, 120, 2000):
                for i in range(4 * (2 << 20) // size):
                    client.send(b"set k%d 0 0 %d noreply\r\n%s\r\n" % (i, size, b"v" * size))
            client.request("version")
        kind, values = metrics_of(self.fetch(server, "/metrics")[1])["scootd_pause_seconds"]
        self.assertEqual(kind, "histogram")
        self.assertGreater(values["_count", ""], 0)
        self.assertEqual(values["_bucket", 'le="+Inf"'], values["_count", ""])
        self.assertGreater(values["_sum", ""], 0)


class Snapshot(HttpTest):
    def test_has_every_page_and_adds_up(self):
        server = self.http_server("-m", "64")
        self.fill(server)
        status, body, _ = self.fetch(server, "/heap.json")
        self.assertEqual(status, 200)
        snapshot = json.loads(body)
        pages = snapshot["pages"]
        self.assertEqual(snapshot["scoot_snapshot"], 1)
        self.assertEqual(len(pages), snapshot["heap"]["pages"])
        self.assertEqual(len({page["number"] for page in pages}), len(pages))
        self.assertEqual(len({page["address"] for page in pages}), len(pages))
        self.assertEqual({page["use"] for page in pages}, {"shelf", "large"})
        self.assertEqual(sum(page["live_bytes"] for page in pages), snapshot["heap"]["live_bytes"])
        resident = sum(page["resident_end"] - page["resident_begin"] for page in pages)
        self.assertEqual(resident, snapshot["heap"]["held_bytes"])
        for page in pages:
            self.assertRegex(page["fill"], r"^[.0-9]{32}$")
            if page["use"] == "shelf":
                shelf = snapshot["shelves"][page["shelf"]]
                self.assertEqual((shelf["heap"], shelf["slot_bytes"]), (page["heap"], page["slot_bytes"]))
        names = [kind["name"] for kind in snapshot["kinds"]]
        self.assertEqual(names, ["cache item", "cache queue", "cache index"])
        self.assertEqual(sum(kind["blocks"] for kind in snapshot["kinds"]), snapshot["heap"]["blocks"])

    def test_ends_early_when_the_reader_goes(self):
        server = self.http_server("-m", "64")
        self.fill(server)
        for _ in range(30):
            with socket.create_connection(("127.0.0.1", server.http_port)) as client:
                client.sendall(b"GET /heap.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
                client.recv(100)
        self.check_service(server)
        self.assertEqual(self.fetch(server, "/healthz")[0], 200)


class Cold(HttpTest):
    def cold_server(self):
        harness.skip_unless(not harness.is_reference(), "memcached has no such tier")
        server = self.http_server("-m", "8", "--purgeable", "64")
        with server.connect() as client:
            harness.skip_unless(client.stats()["purgeable_support"] != "refused", "no purgeable memory here")
            for first in range(0, 20_000, 500):
                client.send(b"".join(b"set key%d 0 0 1000 noreply\r\n%s\r\n" % (i, b"v" * 1000) for i in range(first, first + 500)))
            client.request("version")
        return server

    def test_chunks_are_in_the_snapshot_and_add_up(self):
        server = self.cold_server()
        snapshot = json.loads(self.fetch(server, "/heap.json")[1])
        with server.connect() as client:
            stats = client.stats()
        cold = snapshot["cold"]
        self.assertEqual(snapshot["revision"], 2)
        held = [chunk for chunk in cold["chunks"] if chunk["state"] in ("offered", "partly_purged")]
        self.assertGreater(len(held), 10)
        self.assertEqual(len({chunk["number"] for chunk in cold["chunks"]}), len(cold["chunks"]))
        items = sum(chunk["items"] for chunk in held)
        self.assertLessEqual(items, int(stats["cold_items"]))
        self.assertGreater(items, int(stats["cold_items"]) * 9 // 10)  # less those that still wait for their chunk
        for chunk in held:
            self.assertRegex(chunk["fill"], r"^[9x]+\.*$")
            self.assertLessEqual(chunk["purged_bytes"], chunk["used_bytes"])
            self.assertLessEqual(chunk["used_bytes"], cold["chunk_bytes"])

    def test_chunks_are_cells_of_the_stream_and_can_be_asked_about(self):
        server = self.cold_server()
        self.assertEqual(self.fetch(server, "/chunk.json?number=0")[0], 404)
        stream = self.stream(server)
        first = stream.until("cold_cells", "cold")
        cells = cells_of(first["cold"])
        self.assertEqual(len(cells), int(first["cold_cells"]))
        offered = {number: cell for number, cell in cells.items() if cell[0] == 16}
        self.assertGreater(len(offered), 10)
        for number in list(offered)[:20]:
            status, body, _ = self.fetch(server, f"/chunk.json?number={number}")
            self.assertEqual(status, 200)
            self.assertEqual(json.loads(body)["number"], number)
        with server.connect() as client:
            client.request("flush_all")
        gone = set()
        while len(gone) < len(offered) // 2:
            gone |= {number for number, cell in cells_of(stream.until("cold")["cold"]).items() if cell[0] == 0}
        self.assertEqual(self.fetch(server, "/chunk.json?number=18446744073709551615")[0], 404)
        self.assertEqual(self.fetch(server, "/chunk.json?number=x")[0], 400)


class Pins(HttpTest):
    def test_are_told_by_holder_in_the_snapshot_and_to_viewers(self):
        server = self.http_server("-m", "64")
        stream = self.stream(server)
        self.assertEqual(json.loads(stream.until("pins")["pins"]), [])
        with server.connect() as client:
            client.send(b"set big 0 0 100000\r\nhalf")
            harness.poll(lambda: json.loads(self.fetch(server, "/heap.json")[1])["pins"] != [], 10, "a pin")
            snapshot = json.loads(self.fetch(server, "/heap.json")[1])
            (pin,) = snapshot["pins"]
            self.assertEqual((pin["holder"], pin["pins"], snapshot["pins_left_out"]), ("writer", 1, 0))
            self.assertGreaterEqual(pin["bytes"], 100000)
            (line,) = json.loads(stream.until("pins")["pins"])
            self.assertEqual((line[0], line[1]), ("writer", 1))
        harness.poll(lambda: json.loads(self.fetch(server, "/heap.json")[1])["pins"] == [], 10, "no pin")


class Events(HttpTest):
    def test_tell_of_all_pages_first_and_then_of_those_that_change(self):
        server = self.http_server("-m", "64")
        self.fill(server)
        stream = self.stream(server)
        first = stream.until("hello", "history", "cells", "pages")
        hello = json.loads(first["hello"])
        snapshot = json.loads(self.fetch(server, "/heap.json")[1])
        self.assertEqual(hello["page_bytes"], snapshot["page_bytes"])
        cells = cells_of(first["pages"])
        self.assertEqual({page["number"] for page in snapshot["pages"]}, {n for n, c in cells.items() if c[0] > 2})
        self.assertLess(max(cells), int(first["cells"]))
        for row in json.loads(first["history"]):
            self.assertEqual(len(row), len(hello["fields"]))
        with server.connect() as client:
            for i in range(200):
                client.store(b"other%d" % i, b"v" * 5000)
        changed = cells_of(stream.until("pages")["pages"])
        self.assertLess(len(changed), len(cells))
        later = stream.until("sample", "kinds", "sizes")
        self.assertEqual(len(json.loads(later["sample"])), len(hello["fields"]))
        self.assertEqual(json.loads(later["kinds"])[0], "cache item")
        # A page of the large space counts for the kind that has most of it, and may have blocks of others besides.
        blocks = json.loads(self.fetch(server, "/heap.json")[1])["heap"]["blocks"]
        rows = json.loads(later["sizes"])
        deadline = time.monotonic() + harness.patience(20)
        while sum(row[5] for row in rows) != blocks and time.monotonic() < deadline:
            rows = json.loads(stream.until("sizes")["sizes"])
        self.assertEqual(sum(row[5] for row in rows), blocks)
        self.assertGreaterEqual(sum(row[5] for row in rows if row[0] == 0), 3200)

    def test_tell_that_pages_were_given_back(self):
        server = self.http_server("-m", "64", "-t", "1")
        self.fill(server, 2000, (9000,))
        stream = self.stream(server)
        first = cells_of(stream.until("pages")["pages"])
        used = {number for number, cell in first.items() if cell[0] > 2}
        with server.connect() as client:
            client.request("flush_all")
        free = set()
        deadline = time.monotonic() + harness.patience(20)
        while len(free) < len(used) // 2 and time.monotonic() < deadline:
            for number, cell in cells_of(stream.until("pages")["pages"]).items():
                (free.add if cell[0] <= 1 else free.discard)(number)
        self.assertGreaterEqual(len(free), len(used) // 2)

    def test_go_on_for_others_while_one_viewer_takes_nothing(self):
        server = self.http_server("-m", "64")
        self.fill(server)
        slow = self.stream(server, receive_bytes=2048)
        quick = self.stream(server)
        quick.until("hello")
        with server.connect() as client:
            for round_ in range(5):
                for i in range(500):
                    client.store(b"key%d" % i, b"w" * (100 + 77 * round_))
                quick.until("sample")
        self.assertEqual(slow.until("hello", "history", "pages").keys() >= {"pages"}, True)

    def test_are_for_so_many_viewers_and_health_is_answered_beside_them(self):
        server = self.http_server()
        viewers = [self.stream(server) for _ in range(VIEWERS_MAX)]
        for viewer in viewers:
            viewer.until("hello")
        status, _, answer = self.fetch(server, "/events")
        self.assertEqual(status, 503)
        self.assertTrue(answer.headers["Retry-After"])
        self.assertEqual(self.fetch(server, "/healthz")[0], 200)
        self.assertEqual(metrics_of(self.fetch(server, "/metrics")[1])["scootd_viewers"][1]["", ""], VIEWERS_MAX)
        viewers.pop().close()
        harness.poll(lambda: self.fetch(server, "/events", "HEAD")[0] == 200, 10, "room for a viewer")

    def test_end_with_the_server_and_it_ends_soon(self):
        server = HttpServer()
        server.start()
        streams = [self.stream(server) for _ in range(3)]
        for stream in streams:
            stream.until("hello")
        started = time.monotonic()
        server.stop()
        self.assertLess(time.monotonic() - started, harness.patience(1.5))
        for stream in streams:
            for _ in stream:
                pass  # to the end, without an error

    def test_cost_the_server_little(self):
        server = self.http_server("-m", "64")
        self.fill(server, 6000)
        streams = [self.stream(server) for _ in range(4)]
        for stream in streams:
            stream.until("sample")
        before, began = server.cpu_seconds(), time.monotonic()
        while time.monotonic() - began < 4:
            for stream in streams:
                stream.until("sample")
        share = (server.cpu_seconds() - before) / (time.monotonic() - began)
        self.assertLess(share, 0.01 * len(streams))


class Page(HttpTest):
    def test_of_memory_is_described_while_somebody_looks(self):
        server = self.http_server("-m", "64")
        self.fill(server)
        self.assertEqual(self.fetch(server, "/page.json?number=0")[0], 404)
        stream = self.stream(server)
        cells = cells_of(stream.until("pages")["pages"])
        for number, cell in cells.items():
            if cell[0] != 3:
                continue
            status, body, _ = self.fetch(server, f"/page.json?number={number}")
            self.assertEqual(status, 200)
            page = json.loads(body)
            self.assertEqual((page["number"], page["use"], page["slot_bytes"]), (number, "shelf", cell[4]))
            self.assertRegex(page["fill"], r"^[.0-9]{32}$")
        for bad in ("", "?", "?number", "?number=", "?number=x", "?number=1x", "?number=-1", "?number=99999999999999999999"):
            self.assertEqual(self.fetch(server, "/page.json" + bad)[0], 400, bad)
        self.assertEqual(self.fetch(server, "/page.json?number=18446744073709551615")[0], 404)


class Guard(HttpTest):
    def token_server(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        os.chmod(self.folder.name, 0o755)
        path = os.path.join(self.folder.name, "token")
        with open(path, "w", encoding="ascii") as file:
            file.write(TOKEN + "\n")
        return self.http_server("--http-token-file", path)

    def test_lets_only_those_with_the_token_see_data(self):
        server = self.token_server()
        good = {"Authorization": "Bearer " + TOKEN}
        for path in ("/metrics", "/heap.json", "/page.json?number=0", "/events"):
            bad_headers = (None, {"Authorization": "Bearer " + TOKEN[:-1]}, {"Authorization": "Bearer " + TOKEN + "x"},
                           {"Authorization": TOKEN}, {"Authorization": "Basic " + TOKEN}, {"Authorization": ""})
            for bad in bad_headers:
                status, body, answer = self.fetch(server, path, headers=bad)
                self.assertEqual(status, 401, (path, bad))
                self.assertEqual(answer.headers["WWW-Authenticate"], "Bearer")
        self.assertEqual(self.fetch(server, "/metrics", headers=good)[0], 200)
        self.assertEqual(self.fetch(server, "/heap.json", headers=good)[0], 200)
        self.stream(server, headers=f"Authorization: Bearer {TOKEN}\r\n").until("hello")
        for path in ("/healthz", "/readyz"):
            self.assertEqual(self.fetch(server, path)[0], 200)

    def test_wants_a_good_token_file(self):
        with tempfile.NamedTemporaryFile("w") as file:
            for text, why in (("", "cannot read a line"), ("short\n", "must have 16 to"),
                              ("x" * 600, "must have 16 to"), ("sixteen or more, but spaces\n", "no header may")):
                file.seek(0)
                file.truncate()
                file.write(text)
                file.flush()
                os.chmod(file.name, 0o644)
                ended = harness.run_briefly("-p", "-1", "--http", "127.0.0.1:0", "--http-token-file", file.name,
                                            *harness.as_root_options())
                self.assertEqual(ended.returncode, 71, text)
                self.assertIn(why, ended.stderr.decode())
        ended = harness.run_briefly("-p", "-1", "--http-token-file", "/nothing")
        self.assertEqual(ended.returncode, 64)

    def test_keeps_foreign_names_away_from_loopback(self):
        server = self.http_server()
        for host, status in (("localhost", 200), (f"localhost:{server.http_port}", 200), ("127.0.0.1", 200),
                             ("127.0.0.2:80", 200), ("evil.example", 421), ("localhost.evil.example", 421),
                             ("127.evil.example", 421), ("", 421)):
            self.assertEqual(self.fetch(server, "/metrics", headers={"Host": host})[0], status, host)

    def test_changes_nothing_whatever_the_method(self):
        server = self.http_server()
        self.fill(server, 10)
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            status, _, answer = self.fetch(server, "/metrics", method)
            self.assertEqual(status, 405, method)
            self.assertEqual(answer.headers["Allow"], "GET, HEAD")
        self.assertEqual(self.fetch(server, "/metrics", "POST", body=b"x" * 100000)[0], 413)
        status, body, answer = self.fetch(server, "/metrics", "HEAD")
        self.assertEqual((status, body), (200, b""))
        self.assertGreater(int(answer.headers["Content-Length"]), 1000)
        with server.connect() as client:
            self.assertEqual(client.stats()["curr_items"], "10")


class Hostile(HttpTest):
    def test_bad_requests_are_refused_and_hurt_nobody(self):
        server = self.http_server()
        bad = [
            b"\r\n\r\n", b"GET\r\n\r\n", b"GET /metrics\r\n\r\n", b"BREW /metrics HTTP/1.1\r\n\r\n",
            b"GET /metrics HTTP/9.9\r\n\r\n", b"GET metrics HTTP/1.1\r\n\r\n", b"\x00\xff" * 50 + b"\r\n\r\n",
            b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n", b"GET /metrics HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
            b"GET /metrics HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"GET /metrics HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            b"GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"GET /../../etc/passwd HTTP/1.1\r\nConnection: close\r\n\r\n",
        ]
        for request in bad:
            try:
                answer = self.raw(server, request)
            except ConnectionResetError:
                answer = b""
            if answer:
                self.assertRegex(answer, rb"^HTTP/\d\.\d [45]\d\d ", request[:60])
            self.assertNotIn(b"root:", answer)
        # A path ends at a zero byte, so this is the page.
        answer = self.raw(server, b"GET /%00/%2e%2e/etc/passwd HTTP/1.1\r\nConnection: close\r\n\r\n")
        self.assertRegex(answer, rb"^HTTP/1.1 200 .*\r\n(.*\r\n)*\r\n<!doctype html>")
        self.assertEqual(self.fetch(server, "/healthz")[0], 200)
        self.check_service(server)

    def test_slow_requests_are_cut_off_and_others_served_then(self):
        server = self.http_server()
        slow = []
        for _ in range(25):  # more than there are threads
            client = socket.create_connection(("127.0.0.1", server.http_port))
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: loc")
            self.addCleanup(client.close)
            slow.append(client)
        harness.poll(lambda: self.fetch(server, "/healthz")[0] == 200, 30, "an answer beside slow requests")
        self.check_service(server)


if __name__ == "__main__":
    unittest.main()
