# SPDX-License-Identifier: MIT
"""Clients that mean ill or are broken. The server must live, answer the others, stay in its memory, and lose nothing."""

import contextlib
import os
import random
import select
import signal
import socket
import time
import unittest

import harness
import values


def child(work):
    """Runs work() in a process of its own; returns its pid."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    except BaseException as error:
        os.write(2, f"client process: {error!r}\n".encode())
    finally:
        os._exit(status)


def reap(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def push(client, data):
    """Sends what the socket takes at once; returns how much that was, None when the connection is gone."""
    client.socket.setblocking(False)
    try:
        return client.socket.send(data)
    except BlockingIOError:
        return 0
    except OSError:
        return None


class HostileTest(harness.ServerTest):
    def test_random_bytes(self):
        server = self.server()
        chance = random.Random(11)
        for _ in range(150):
            with server.connect() as client:
                for _ in range(chance.randrange(1, 8)):
                    if push(client, chance.randbytes(chance.choice((1, 10, 300, 5000, 60_000)))) is None:
                        break
        self.check_service(server)

    def test_flood_of_bad_bytes(self):
        # From several processes on many connections, as fast as they can; those who mean well are served meanwhile.
        server = self.server("-m", "64", "-t", "2")
        self.check_service(server)
        before = server.rss_bytes()
        deadline = time.monotonic() + harness.patience(1.5)
        heads = (b"", b"\x80", b"\x80\x01\x00\x05\x08\0\0\0\xff\xff\xff\xff", b"set a 0 0 -1\r\n", b"ms a S9999999999 c\r\n", b"mg ", b"get ")

        def flood():
            chance = random.Random(os.getpid())
            while time.monotonic() < deadline:
                with contextlib.ExitStack() as all_of_them:
                    clients = [all_of_them.enter_context(server.connect()) for _ in range(20)]
                    for client in clients * 10:
                        push(client, chance.choice(heads) + chance.randbytes(chance.choice((3, 200, 9000))) + chance.choice((b"", b"\r\n")))

        children = [child(flood) for _ in range(3)]
        served = 0
        while time.monotonic() < deadline:
            self.check_service(server)
            served += 1
        self.assertEqual([reap(pid) for pid in children], [0] * 3)
        self.assertGreater(served, 10)
        with server.connect() as client:
            harness.poll(lambda: int(client.stats()["curr_connections"]) < 10, 10, "the end of the connections")
        if not harness.is_sanitized():
            self.assertLess(server.rss_peak_bytes() - before, 16 << 20)
        self.check_calm(server)

    def test_broken_commands(self):
        # Real commands with bytes changed, dropped, doubled and cut.
        server = self.server()
        chance = random.Random(12)
        good = [b"set key 1 0 10\r\n0123456789\r\n", b"get key key2 key3\r\n", b"incr key 1\r\n", b"cas key 0 0 1 5\r\nx\r\n",
                b"append key 0 0 3\r\nabc\r\n", b"touch key 100\r\n", b"gat 0 key key\r\n", b"delete key\r\n", b"stats\r\n",
                b"verbosity 0\r\n", b"set key 0 0 1 noreply\r\n1\r\n", b"gets key\r\n", b"version\r\n"]  # fmt: skip
        for _ in range(150):
            stream = bytearray(b"".join(chance.choice(good) for _ in range(30)))
            for _ in range(chance.randrange(1, 10)):
                at = chance.randrange(len(stream))
                match chance.randrange(4):
                    case 0:
                        stream[at] = chance.randrange(256)
                    case 1:
                        del stream[at : at + chance.randrange(1, 5)]
                    case 2:
                        stream[at:at] = stream[at : at + chance.randrange(1, 20)]
                    case 3:
                        stream[at:at] = chance.choice((b"\0", b"\r\n", b"\n", b" ", b"99999999999999999999", b"-1"))
            with server.connect() as client:
                push(client, bytes(stream))
                with contextlib.suppress(OSError):
                    client.socket.shutdown(socket.SHUT_WR)
                client.socket.settimeout(harness.patience(10))
                with contextlib.suppress(ConnectionResetError):
                    # All that was understood is answered, and then the server closes its side too.
                    while client.socket.recv(1 << 16):
                        pass
        self.check_service(server)

    def test_endless_line(self):
        server = self.server()
        before = server.rss_bytes()
        for start in (b"x", b"set ", b"stats ", b" ", b"incr key ", b"\0", b"set key 0 0 "):
            with self.subTest(start=start), server.connect() as client:
                client.send(start)
                sent = 0
                deadline = time.monotonic() + harness.patience(10)
                while sent < 64 << 20 and time.monotonic() < deadline:
                    done = push(client, b"y" * 65536)
                    if done is None:
                        break
                    sent += done
                    if done == 0:
                        select.select([], [client.socket], [], 0.05)
                else:
                    self.fail(f"the connection is still open after a line of {sent} bytes")
        if not harness.is_sanitized():
            self.assertLess(server.rss_bytes() - before, 8 << 20)
        self.check_service(server)

    def test_endless_multiget(self):
        # A multiget has no bound to its keys, yet the server's memory has one: keep the line or close the connection.
        server = self.server()
        before = server.rss_bytes()
        with server.connect() as client:
            client.send(b"get")
            sent = 0
            deadline = time.monotonic() + harness.patience(10)
            while sent < 64 << 20 and time.monotonic() < deadline:
                done = push(client, b" some_key_or_other" * 4000)
                if done is None:
                    break
                sent += done
                if done == 0:
                    select.select([], [client.socket], [], 0.05)
        if not harness.is_sanitized() and not harness.is_reference():
            self.assertLess(server.rss_peak_bytes() - before, 16 << 20)
        self.check_service(server)

    def test_half_sent_commands_change_nothing(self):
        server = self.server()
        chance = random.Random(13)
        with server.connect() as client:
            for number in range(50):
                self.assertEqual(client.store(b"key%d" % number, values.make(b"key%d" % number, 1, 2000)), b"STORED")
        for _ in range(200):
            key = b"key%d" % chance.randrange(50)
            command = b"set %s 0 0 20000\r\n%s\r\n" % (key, b"!" * 20000)
            with server.connect() as client:
                client.send(command[: chance.randrange(1, len(command) - 1)])
        with server.connect() as client:
            for number in range(50):
                key = b"key%d" % number
                self.assertEqual(values.check(key, client.get(key)), 1)

    def test_half_sent_large_values_are_given_back(self):
        # The room reserved for values that never arrive is free again.
        server = self.server("-m", "64")
        for _ in range(300):
            with server.connect() as client:
                client.send(b"set big 0 0 1000000\r\n" + b"x" * 5000)
        with server.connect() as client:
            # Until the server has noticed that they are gone, there may be no room for others.
            harness.poll(lambda: int(client.stats()["curr_connections"]) < 10, 10, "the end of the connections")
            harness.poll(lambda: client.store(b"first", values.make(b"first", 0, 1_000_000)) == b"STORED", 10, "room")
            for number in range(40):
                key = b"key%d" % number
                self.assertEqual(client.store(key, values.make(key, number, 1_000_000)), b"STORED")
            found = client.get_many([b"key%d" % number for number in range(40)])
            for key, (_, value) in found.items():
                values.check(key, value)
            self.assertGreater(len(found), 30)
            self.assertIsNone(client.get(b"big"))

    def test_many_large_values_half_sent_at_once(self):
        # More of them than the memory limit holds: each is refused or waits, and all else goes on.
        server = self.server("-m", "64")
        clients = [self.connect(server) for _ in range(200)]
        for number, client in enumerate(clients):
            client.send(b"set big%d 0 0 1000000\r\n%s" % (number, b"x" * 1000))

        def served():
            # While the last of them come in, they may evict what the polite client has just stored; not for long.
            try:
                for _ in range(20):
                    self.check_service(server)
                return True
            except AssertionError:
                return False

        harness.poll(served, 10, "room for others")
        if not harness.is_sanitized():
            self.assertLess(server.rss_bytes(), (64 + 40) << 20)
        for client in clients:
            client.close()
        self.check_service(server)

    def test_client_that_never_reads(self):
        # Its answers pile up in its own socket and nowhere else: the server stops reading from it.
        server = self.server("-m", "64")
        with server.connect() as client:
            for size in (100, 10_000, 250_000):
                self.assertEqual(client.store(b"size%d" % size, b"v" * size), b"STORED")
        before = server.rss_bytes()
        deaf = [self.connect(server, receive_bytes=4096) for _ in range(60)]
        for index, client in enumerate(deaf):
            size = (100, 10_000, 250_000)[index % 3]
            request = b"get size%d\r\n" % size * 2000
            taken = 0
            quiet = 0
            while taken < 4 << 20 and quiet < 5:
                done = push(client, request)
                if done is None:
                    break
                taken += done
                if done == 0:
                    quiet += 1
                    select.select([], [client.socket], [], 0.02)
        self.check_service(server)
        if not harness.is_sanitized():
            self.assertLess((server.rss_peak_bytes() - before) >> 20, 60 if harness.is_reference() else 32)
        # It costs no processor time either to have them.
        self.check_calm(server)
        # Those that others did not need the room of are there still. One that reads after all gets all that it is owed.
        # (What had come before a reset can be read all the same, so only poll says which these are.)
        ended = select.poll()
        for client in deaf:
            ended.register(client.socket, 0)
        gone = {descriptor for descriptor, _ in ended.poll(0)}
        left = [client for index, client in enumerate(deaf) if index % 3 == 1 and client.socket.fileno() not in gone]
        self.assertNotEqual(left, [], "who is owed little is closed last")
        late = left[-1]
        late.socket.settimeout(harness.patience(20))
        for _ in range(300):
            self.assertEqual(late.values()[b"size10000"][1], b"v" * 10_000)
        for client in deaf:
            client.close()
        self.check_service(server)

    def test_answers_of_an_item_that_changes_meanwhile(self):
        # A slow reader of a large value is sent the value as it was when it asked, whatever happens to the item.
        server = self.server("-m", "64")
        slow = self.connect(server, receive_bytes=4096)
        with server.connect() as client:
            old = values.make(b"big", 1, 900_000)
            self.assertEqual(client.store(b"big", old), b"STORED")
            slow.send(b"get big\r\n" * 3)
            select.select([slow.socket], [], [], harness.patience(10))
            for serial in range(2, 120):  # replaces it and evicts all around it
                self.assertEqual(client.store(b"big", values.make(b"big", serial, 900_000)), b"STORED")
                key = b"other%d" % serial
                self.assertEqual(client.store(key, values.make(key, serial, 800_000)), b"STORED")
            serials = [values.check(b"big", slow.values()[b"big"][1]) for _ in range(3)]
            self.assertEqual(serials[0], 1)
            self.assertEqual(serials, sorted(serials))

    def test_slow_senders(self):
        # Hundreds that send a byte now and then hold up nobody.
        server = self.server()
        command = b"set slow 0 0 10\r\n0123456789\r\n"
        clients = [self.connect(server) for _ in range(300)]
        for at in range(len(command)):
            for client in clients:
                client.send(command[at : at + 1])
            if at % 8 == 0:
                self.check_service(server)
        for client in clients:
            self.assertEqual(client.line(), b"STORED")

    def test_thousands_of_connections(self):
        wanted = 2000
        spare = harness.raise_open_files_limit()
        harness.skip_unless(spare >= 2 * 1024, f"no more than {spare} open files are allowed here")
        wanted = min(wanted, spare - 200)
        server = self.server("-c", wanted + 100)
        clients = []
        with contextlib.ExitStack() as stack:
            for _ in range(wanted):
                clients.append(stack.enter_context(server.connect()))
            for number, client in enumerate(clients):
                client.send(b"set key%d 0 0 %d\r\n%d\r\nget key%d\r\n" % (number, len(str(number)), number, number))
            for number, client in enumerate(clients):
                self.assertEqual(client.line(), b"STORED")
                self.assertEqual(client.values()[b"key%d" % number][1], b"%d" % number)
            self.assertGreaterEqual(int(clients[0].stats()["curr_connections"]), wanted)
            self.check_service(server)
            if not harness.is_sanitized():
                # No fixed buffer of tens of KiB for each idle connection.
                self.assertLess(server.rss_bytes() / wanted, 24 << 10)
            self.check_calm(server)
        with server.connect() as client:
            harness.poll(lambda: int(client.stats()["curr_connections"]) < 20, 10, "the end of the connections")
        print(f"{wanted} connections")

    def test_ten_thousand_connections(self):
        # At most 1 KiB each of the server's own memory, and they slow nobody down.
        wanted = 10_000
        spare = harness.raise_open_files_limit()
        harness.skip_unless(spare >= wanted + 200, f"no more than {spare} open files are allowed here")
        harness.skip_unless(not harness.is_reference(), "memcached keeps more for a connection")
        server = self.server("-c", wanted + 100)
        self.check_service(server)
        before = server.rss_bytes()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(server.connect()) for _ in range(wanted)]
            harness.poll(lambda: server.open_files() > wanted, 20, "the acceptance of all")
            self.check_service(server)
            each = (server.rss_bytes() - before) / wanted
            print(f"{wanted} idle connections, {each:.0f} B each")
            if not harness.is_sanitized():
                self.assertLessEqual(each, 1024)
            self.check_calm(server)
            # Then all of them speak at once, and all are answered.
            for number, client in enumerate(clients):
                client.send(b"set key%d 0 0 4\r\nabcd\r\nget key%d\r\n" % (number, number))
            for number, client in enumerate(clients):
                self.assertEqual(client.line(), b"STORED")
                self.assertEqual(client.values(), {b"key%d" % number: (0, b"abcd")})
            if not harness.is_sanitized():
                self.assertLessEqual(server.rss_bytes() - before, wanted * 1024 + (4 << 20))
        harness.poll(lambda: server.open_files() < 200, 20, "the end of the connections")
        self.check_service(server)

    def test_clients_that_close_while_they_are_answered(self):
        # EPIPE and ECONNRESET in the middle of sends, of copied and of held values.
        server = self.server("-m", "64")
        with server.connect() as client:
            client.store(b"big", b"x" * 800_000)
            client.store(b"small", b"x" * 5_000)
        for number in range(100):
            client = server.connect(receive_bytes=4096)
            client.send(b"get big\r\n" * 4 if number % 2 else b"get small\r\n" * 400)
            if number % 3:
                client.line()
            client.close()
        self.check_service(server)
        with server.connect() as client:
            harness.poll(lambda: int(client.stats()["curr_connections"]) < 10, 10, "the end of the connections")
            if not harness.is_reference():
                self.assertEqual(client.stats("heap")["pinned_items"], "0")

    def test_connections_that_come_and_go(self):
        server = self.server()
        with server.connect() as client:
            client.request("version")
            before = server.open_files()
        for number in range(3000):
            with server.connect() as client:
                if number % 3 == 0:
                    client.send(b"version\r\n")
                    if number % 2 == 0:
                        client.line()
        harness.poll(lambda: server.open_files() <= before, 10, "the closing of descriptors")
        self.check_service(server)

    def test_out_of_descriptors(self):
        # It must not spin while it can accept nobody, and must accept again as soon as it can.
        server = self.server()
        with server.connect() as client:
            client.request("version")
            server.set_open_files_limit(server.open_files() + 10)
            waiting = []
            for _ in range(60):
                try:
                    waiting.append(server.connect(timeout=2))
                except OSError:
                    break
            self.assertGreaterEqual(len(waiting), 10)
            self.check_calm(server)
            # Those who are in are served.
            self.assertRegex(client.request("version"), b"^VERSION ")
            for other in waiting:
                other.close()

        def served():
            try:
                with server.connect(timeout=2) as again:
                    return again.request("version").startswith(b"VERSION ")
            except OSError:
                return False

        harness.poll(served, 10, "service after the shortage")
        self.check_service(server)

    def test_few_descriptors_from_the_start(self):
        # It takes what it can get, or says clearly why it does not start.
        port = harness.free_port()
        server = harness.Server("-t", "2", nofile=64)
        self.addCleanup(server.abandon)
        try:
            server.start()
        except AssertionError as error:
            self.assertRegex(str(error), "(?i)file")
            return
        clients = []
        try:
            for _ in range(100):
                with contextlib.suppress(OSError):
                    clients.append(server.connect(timeout=2))
        finally:
            for client in clients:
                client.close()

        def served():
            try:
                with server.connect(timeout=2) as again:
                    return again.request("version").startswith(b"VERSION ")
            except OSError:
                return False

        harness.poll(served, 10, "service after the shortage")
        self.assertNotEqual(port, 0)
        server.stop()

    def test_killed_clients(self):
        # Processes killed at any moment of their commands leave whole values or none.
        server = self.server("-m", "64")
        chance = random.Random(14)

        def write_for_ever():
            own = random.Random(os.getpid())
            client = server.connect()
            serial = 0
            while True:
                serial += 1
                key = b"key%d" % own.randrange(40)
                client.store(key, values.make(key, serial, own.choice((50, 3000, 200_000))))
                client.get(b"key%d" % own.randrange(40))

        for _ in range(10):
            children = [child(write_for_ever) for _ in range(3)]
            time.sleep(chance.uniform(0.02, 0.15))  # the moment is the point
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            for pid in children:
                self.assertEqual(reap(pid), -signal.SIGKILL)
            with server.connect() as client:
                for key, (_, value) in client.get_many([b"key%d" % number for number in range(40)]).items():
                    values.check(key, value)
        with server.connect() as client:
            self.assertGreater(int(client.stats()["curr_items"]), 0)
            harness.poll(lambda: int(client.stats()["curr_connections"]) < 10, 10, "the end of the connections")

    def test_stopped_client(self):
        # A client stopped in the middle of its answers holds up nobody, and gets the rest when it goes on.
        server = self.server("-m", "64", "-t", "1")
        with server.connect() as client:
            self.assertEqual(client.store(b"big", values.make(b"big", 7, 900_000)), b"STORED")

        ready_end, ready = os.pipe()

        def read_much():
            reader = server.connect()
            reader.send(b"get big\r\n" * 40)
            for number in range(40):
                values.check(b"big", reader.values()[b"big"][1])
                if number == 2:
                    os.write(ready, b"!")

        pid = child(read_much)
        os.close(ready)
        try:
            self.assertEqual(os.read(ready_end, 1), b"!")
            os.kill(pid, signal.SIGSTOP)
            for _ in range(20):
                self.check_service(server)
        finally:
            os.close(ready_end)
            os.kill(pid, signal.SIGCONT)
        self.assertEqual(reap(pid), 0)

    def test_connection_resets(self):
        # SO_LINGER of zero turns close into RST, at every stage of a command.
        server = self.server()
        chance = random.Random(15)
        with server.connect() as client:
            client.store(b"big", b"x" * 800_000)
        for _ in range(200):
            with server.connect() as client:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                client.send(chance.choice((b"", b"get big\r\n" * 5, b"set a 0 0 100000\r\nabc", b"get bi", b"stats\r\n" * 50)))
        self.check_service(server)

    def test_shutdown_of_the_sending_side(self):
        # A client may close its half and still gets all its answers: nc does so.
        server = self.server()
        with server.connect() as client:
            client.send(b"set a 0 0 100000\r\n" + b"x" * 100_000 + b"\r\n" + b"get a\r\n" * 20)
            client.socket.shutdown(socket.SHUT_WR)
            self.assertEqual(client.line(), b"STORED")
            for _ in range(20):
                self.assertEqual(client.values()[b"a"][1], b"x" * 100_000)
            self.assertTrue(client.closed())


if __name__ == "__main__":
    unittest.main()
