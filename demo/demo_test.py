#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Goal: the demo measures what it says: the same for everybody, with the page open on ours, and ends by itself.

Method: small runs of scoot-demo, the program given as an argument; what it writes is read back, the page is asked while it
runs, and it is killed. Nothing is expected of the other allocators but that they end well or out of memory.
"""
import csv
import http.client
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree

PROGRAM = sys.argv.pop(1)
PATIENCE_S = 120
ALLOCATORS = {"scoot", "glibc", "jemalloc", "mimalloc", "tcmalloc"}
# Room for a cache of 32 MiB, but not for what it becomes.
TIGHT = ["--items-mib", "32", "--limit-mib", "48", "--requests", "600000", "--steps", "20", "--seconds", "0"]


def start(*options, **settings):
    return subprocess.Popen([PROGRAM, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings)


def page_of(demo):
    """Where its page is, as it says before it begins."""
    for line in demo.stdout:
        if found := re.search(r"http://(127\.0\.0\.1:\d+)/", line):
            return found.group(1)
    raise AssertionError("no page: " + demo.stderr.read())


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def is_there(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def figures(path):
    """The samples of each allocator, and the sizes that the first line names."""
    with open(path, encoding="ascii") as file:
        head = file.readline()
        rows = {}
        for row in csv.DictReader(file):
            name, state = row.pop("allocator"), row.pop("state")
            rows.setdefault(name, []).append((state, {key: int(value) for key, value in row.items()}))
    return rows, dict((name, int(value)) for name, value in re.findall(r"(items|budget)[a-z ]* (\d+) bytes", head))


class Demo(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.svg = os.path.join(folder.name, "demo.svg")
        self.csv = os.path.join(folder.name, "demo.csv")

    def run_demo(self, *options):
        demo = start(*options, "--svg", self.svg, "--csv", self.csv)
        self.addCleanup(demo.kill)
        out, err = demo.communicate(timeout=PATIENCE_S)
        self.assertEqual(demo.returncode, 0, out + err)
        return out + err

    def text_of_picture(self):
        root = xml.etree.ElementTree.parse(self.svg).getroot()
        self.assertEqual(root.tag, "{http://www.w3.org/2000/svg}svg")
        return " ".join(root.itertext())

    def test_all_get_the_same_and_ours_keeps_to_its_budget(self):
        out = self.run_demo("--smoke")
        self.assertNotIn("left out", out)
        rows, sizes = figures(self.csv)
        self.assertEqual(set(rows), ALLOCATORS)
        ours = rows["scoot"]
        by_requests = {row["requests"]: row for _, row in ours}
        self.assertEqual(ours[-1][1]["requests"], 600_000)
        for name, samples in rows.items():
            self.assertIn(samples[-1][0], ("working", "out_of_memory"), name)
            for state, row in samples:
                self.assertLessEqual(row["item_bytes"], sizes["items"])
                if state == "working":
                    for what in ("items", "item_bytes", "gets", "hits", "sets", "evictions"):
                        self.assertEqual(row[what], by_requests[row["requests"]][what], (name, row["requests"], what))
        self.assertEqual({state for state, _ in ours}, {"working"})
        self.assertEqual(ours[-1][1]["refusals"], 0)
        self.assertGreater(ours[-1][1]["item_bytes"], 0.99 * sizes["items"])
        program_bytes = 24 << 20  # code, threads and buffers of the page, and the cache's table
        self.assertLess(max(row["resident_bytes"] for _, row in ours), sizes["budget"] + program_bytes)
        self.assertIn("scoot", self.text_of_picture())

    def test_the_page_shows_the_heap_while_it_runs(self):
        demo = start("--smoke", "--seconds", "100")
        self.addCleanup(demo.communicate)
        self.addCleanup(demo.kill)
        page = page_of(demo)

        def get(path):
            connection = http.client.HTTPConnection(page, timeout=60)
            self.addCleanup(connection.close)
            connection.request("GET", path)
            return connection.getresponse()

        self.assertIn(b"<title>", get("/").read())
        self.assertEqual(get("/metrics").status, 404)
        events, seen = get("/events"), set()
        while not {"hello", "sample", "pages", "sizes"} <= seen:
            line = events.readline()
            self.assertNotEqual(line, b"", seen)
            if line.startswith(b"event: "):
                seen.add(line.split()[1].decode())
        self.assertIn(b'"item"', get("/heap.json").read())

    def test_out_of_memory_is_an_end_that_is_told(self):
        out = self.run_demo("--allocators", "glibc", *TIGHT)
        self.assertIn("out of memory", out)
        rows, _ = figures(self.csv)
        state, last = rows["glibc"][-1]
        self.assertEqual((state, last["refusals"]), ("out_of_memory", 1))
        self.assertIn("out of memory", self.text_of_picture())

    def test_who_survives_holds_less(self):
        self.run_demo("--allocators", "glibc", "--survive", *TIGHT)
        rows, sizes = figures(self.csv)
        state, last = rows["glibc"][-1]
        self.assertEqual((state, last["requests"]), ("working", 600_000))
        self.assertGreater(last["refusals"], 0)
        self.assertLess(min(row["item_bytes"] for _, row in rows["glibc"][10:]), 0.95 * sizes["items"])

    def test_the_contestants_end_with_it(self):
        demo = start("--smoke", "--seconds", "100")
        self.addCleanup(demo.communicate)
        self.addCleanup(demo.kill)
        page_of(demo)
        children = children_of(demo.pid)
        self.assertEqual(len(children), len(ALLOCATORS))
        demo.kill()
        until = time.monotonic() + 20
        while any(is_there(child) for child in children) and time.monotonic() < until:
            time.sleep(0.05)
        self.assertFalse([child for child in children if is_there(child)])

    def test_time_ends_it(self):
        out = self.run_demo("--allocators", "glibc", "--items-mib", "32", "--requests", "100000000", "--seconds-max", "1")
        self.assertIn("stopped after 1 s", out)

    def test_the_page_is_opened_where_there_is_a_display(self):
        opener, told = os.path.join(self.folder, "xdg-open"), os.path.join(self.folder, "told")
        with open(opener, "w", encoding="ascii") as file:
            file.write(f'#!/bin/sh\necho "$1" > {told}.new && mv {told}.new {told}\nexec sleep 100\n')
        os.chmod(opener, os.stat(opener).st_mode | stat.S_IXUSR)
        environment = {**os.environ, "DISPLAY": ":99", "PATH": self.folder + ":" + os.environ["PATH"]}
        options = ["--allocators", "scoot", "--items-mib", "32", "--limit-mib", "112", "--requests", "50000",
                   "--steps", "10", "--seconds", "1"]
        demo = start(*options, env=environment, start_new_session=True)
        self.addCleanup(os.killpg, demo.pid, signal.SIGKILL)  # the opener, which would go on
        out, err = demo.communicate(timeout=PATIENCE_S)
        self.assertEqual(demo.returncode, 0, out + err)
        until = time.monotonic() + 20
        while not os.path.exists(told) and time.monotonic() < until:
            time.sleep(0.05)
        with open(told, encoding="ascii") as file:
            self.assertIn(file.read().strip(), out)


if __name__ == "__main__":
    unittest.main(verbosity=2)
