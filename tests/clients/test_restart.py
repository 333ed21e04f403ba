# SPDX-License-Identifier: MIT
"""--restart-file: what a server has when it is stopped the next one has when it starts, and a server that is killed, at
whatever moment, loses its items and never brings back one that was changed or deleted since."""

import os
import random
import re
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.request
import zlib

import harness


def in_memory():
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def valued(number, size):
    """A value that says whether it is whole."""
    body = b"%d:" % number + b"v" * size
    return b"%08x" % zlib.crc32(body) + body


def is_whole(value):
    return value[:8] == b"%08x" % zlib.crc32(value[8:])


class RestartTest(harness.ServerTest):
    def setUp(self):
        harness.skip_unless(not harness.is_reference(), "memcached's -e is another")
        folder = tempfile.TemporaryDirectory(prefix="scoot-restart-", dir=in_memory())
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.path = f"{folder.name}/items"

    def start(self, *options, **settings):
        server = harness.Server("--restart-file", self.path, *options, **settings)
        self.addCleanup(server.abandon)
        return server.start()

    def fill(self, client, numbers, size=300):
        """Stores values under these numbers, each with its own; all are acknowledged when this returns."""
        batch = bytearray()
        for i in numbers:
            value = valued(i, size)
            batch += b"set key:%d %d 0 %d noreply\r\n%s\r\n" % (i, i % 7, len(value), value)
        client.send(bytes(batch) + b"version\r\n")
        self.assertTrue(client.line().startswith(b"VERSION "))

    def present(self, client, numbers):
        """Which of these are there, all of them checked."""
        found = set()
        numbers = list(numbers)
        for first in range(0, len(numbers), 200):
            keys = [b"key:%d" % i for i in numbers[first : first + 200]]
            for key, (flags, value) in client.get_many(keys).items():
                number = int(key[4:])
                self.assertTrue(is_whole(value), key)
                self.assertTrue(value[8:].startswith(b"%d:" % number), key)
                self.assertEqual(flags, number % 7)
                found.add(number)
        return found

    def test_every_way_to_end_keeps_the_items_for_the_next_server(self):
        count = 5000
        server = self.start("-A")
        with server.connect() as client:
            self.fill(client, range(count))
            self.assertEqual(client.store(b"lasting", b"x", exptime=5000), b"STORED")
            unique = client.get_many([b"lasting"], cas=True)[b"lasting"][2]
            self.assertEqual(client.request("ms marked 2 T5000\r\nhi"), b"HD")
            self.assertEqual(client.request("md marked I T5000"), b"HD")
        for way in ("SIGTERM", "SIGINT", "SIGUSR1", "shutdown"):
            with self.subTest(way=way):
                if way == "shutdown":
                    with server.connect() as client:
                        client.send(b"shutdown\r\n")
                    server.reap()
                else:
                    server.stop(getattr(signal, way))
                self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)
                server = self.start("-A", "-t", 2)
                self.assertFalse(os.path.exists(self.path))
                with server.connect() as client:
                    self.assertEqual(self.present(client, range(count)), set(range(count)))
                    self.assertEqual(client.get_many([b"lasting"], cas=True)[b"lasting"], (0, b"x", unique))
                    left = int(client.request("mg lasting t").split(b"t")[1])
                    self.assertTrue(4900 < left <= 5002, left)  # clocks that are read to the second
                    stats = client.stats()
                    self.assertEqual(stats["restart_outcome"], "done")
                    self.assertEqual(int(stats["restart_items"]), count + 2)
                    self.assertEqual(int(stats["restart_dropped"]), 0)
                self.assertRegex(server.stderr(), rb"restart: %d items, \d+ MiB, are back from " % (count + 2))
        with server.connect() as client:
            client.send(b"mg marked v\r\n")
            self.assertRegex(client.line(), rb"^VA 2 X W$")  # stale, and its first reader is to store it anew

    def test_killed_at_any_moment_it_loses_items_and_never_brings_back_older_ones(self):
        choices = random.Random(4711)
        newest = {}  # of each key, the last number that was acknowledged, or None once it was deleted
        kept = rounds = 0
        server = self.start("-m", 32)
        for turn in range(14):
            with server.connect() as client:
                found = client.get_many([b"item:%d" % i for i in range(300)])
                for key, (_, value) in found.items():
                    self.assertTrue(is_whole(value), key)
                    self.assertIsNotNone(newest.get(key), f"{key} was deleted")
                    self.assertTrue(value[8:].startswith(b"%d:" % newest[key]), f"{key} is an older one")
                kept += bool(found)
                for i in range(300):
                    key = b"item:%d" % i
                    if choices.random() < 0.2:
                        client.request(b"delete " + key)
                        newest[key] = None
                    else:
                        newest[key] = turn * 1000 + i
                        self.assertEqual(client.store(key, valued(newest[key], 20000)), b"STORED")
            moment = ("running", "saving", "saving", "loading", "none")[turn % 5]
            if moment == "running":
                server.abandon()
            elif moment == "saving":
                server.terminate()
                time.sleep(choices.random() * 0.02)
                server.abandon()
            else:
                server.stop()
                rounds += 1
            if moment == "loading":
                loading = harness.Server("--restart-file", self.path, "-m", 32)
                loading._spawn()
                time.sleep(choices.random() * 0.05)
                loading.abandon()
            server = self.start("-m", 32)
        server.stop()
        self.assertGreaterEqual(kept, 2)
        self.assertEqual([name for name in os.listdir(self.folder) if name != "items"], [])
        print(f"{kept} of 14 starts found items")

    def test_a_file_that_does_not_fit_is_refused_with_its_reason_and_nothing_else(self):
        server = self.start()
        with server.connect() as client:
            self.fill(client, range(100))
        server.stop()
        with open(self.path, "r+b") as file:
            file.seek(20)
            byte = file.read(1)[0]
            file.seek(20)
            file.write(bytes([byte ^ 1]))
        server = self.start()
        with server.connect() as client:
            stats = client.stats()
            self.assertEqual((stats["restart_outcome"], stats["curr_items"]), ("refused", "0"))
            self.assertEqual(stats["restart_reason"], "its_head_is_damaged")
            self.fill(client, range(10))
        self.assertRegex(server.stderr(), rb"warning: restart: .*/items is not used, and the cache begins empty: its head is damaged")
        server.stop()
        server = self.start()
        with server.connect() as client:
            self.assertEqual(len(self.present(client, range(100))), 10)

    def test_a_path_that_cannot_be_written_costs_the_warm_start_only(self):
        kept = f"{self.folder}/mine"
        with open(kept, "w", encoding="ascii") as file:
            file.write("my notes\n")
        for path, reason in ((kept, "is no restart file"), ("/nowhere/items", "No such file"), ("/proc/items", "cannot create the file")):
            with self.subTest(path=path):
                server = harness.Server("-e", path)
                self.addCleanup(server.abandon)
                server.start()
                with server.connect() as client:
                    self.fill(client, range(10))
                    self.assertEqual(client.stats("settings")["memory_file"], path)
                log = server.stderr_path
                server.terminate()
                self.assertEqual(server.process.wait(harness.patience(15)), 0)
                with open(log, "rb") as file:
                    self.assertRegex(file.read(), f"error: restart: nothing is kept in {path}.*{reason}".encode())
        with open(kept, encoding="ascii") as file:
            self.assertEqual(file.read(), "my notes\n")

    def test_another_size_of_memory_and_number_of_threads_take_what_they_can(self):
        server = self.start("-m", 64, "-t", 1)
        with server.connect() as client:
            for first in range(0, 60000, 1000):
                self.fill(client, range(first, first + 1000), 600)
        server.stop()
        server = self.start("-m", 16, "-t", 3)
        with server.connect() as client:
            stats = client.stats()
            self.assertLessEqual(int(stats["bytes_held"]), 16 << 20)
            self.assertGreater(int(stats["restart_items"]), 20000)
            self.assertEqual(int(stats["restart_items"]) + int(stats["restart_dropped"]), 60000)
            self.assertGreater(len(self.present(client, range(59000, 60000))), 950)  # the newest
        server.stop()
        with self.start("-m", 128).connect() as client:
            self.assertEqual(client.stats()["restart_dropped"], "0")

    def test_relative_paths_the_file_of_options_another_user_and_the_filter_of_system_calls(self):
        os.chmod(self.folder, 0o777)
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        with open(f"{self.folder}/conf", "w", encoding="ascii") as file:
            file.write(f'memory-file = "{self.path}"\nseccomp = on\n')
        for _ in range(2):
            server = harness.Server(f"--config={self.folder}/conf", *user)
            self.addCleanup(server.abandon)
            server.start()
            with server.connect() as client:
                before = len(self.present(client, range(500)))
                self.fill(client, range(500))
            server.stop()
        self.assertEqual(before, 500)

    def test_clients_wait_and_ready_is_said_once_the_items_are_there(self):
        server = self.start("-m", 64)
        with server.connect() as client:
            for first in range(0, 40000, 1000):
                self.fill(client, range(first, first + 1000), 600)
        server.stop()
        with socket.socket() as door, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            door.bind(("127.0.0.1", 0))
            door.listen()
            told.bind(f"{self.folder}/notify")
            told.settimeout(harness.patience(10))
            http = harness.free_port()
            starter = (
                "import os,sys;a=int(sys.argv[1]);a=os.dup2(a,a+10);os.dup2(a,3);"
                "os.environ.update(LISTEN_PID=str(os.getpid()),LISTEN_FDS='1',NOTIFY_SOCKET=sys.argv[2]);"
                "os.execv(sys.argv[3],sys.argv[3:])"
            )
            client = harness.Connection(door.getsockname())  # before anybody serves
            client.send(b"stats\r\n")
            process = subprocess.Popen(
                ["/usr/bin/python3", "-c", starter, str(door.fileno()), f"{self.folder}/notify", harness.server_path(),
                 "-m", "64", "-e", self.path, "--http", str(http)],
                pass_fds=(door.fileno(),), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                self.assertTrue(told.recv(200).startswith(b"EXTEND_TIMEOUT_USEC="))
                self.assertTrue(told.recv(200).startswith(b"READY=1"))
                found = {}
                while (line := client.line()) != b"END":
                    found[line.split()[1]] = line.split()[2]
                self.assertEqual(found[b"curr_items"], b"40000")
                with urllib.request.urlopen(f"http://127.0.0.1:{http}/readyz", timeout=harness.patience(10)) as answer:
                    self.assertEqual(answer.status, 200)
                with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=harness.patience(10)) as answer:
                    text = answer.read().decode()
                self.assertRegex(text, r'scootd_restart_info\{outcome="done"\} 1')
                self.assertEqual(float(re.search(r"^scootd_restart_items (\S+)$", text, re.M).group(1)), 40000)
                client.close()
                process.terminate()
                self.assertTrue(told.recv(200).startswith(b"STOPPING=1"))
                self.assertTrue(told.recv(200).startswith(b"EXTEND_TIMEOUT_USEC="))
                self.assertEqual(process.wait(harness.patience(15)), 0)
                self.assertTrue(os.path.exists(self.path))
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()


if __name__ == "__main__":
    unittest.main()
