# SPDX-License-Identifier: MIT
"""TLS: values come through whole, bad and slow clients harm nobody, and a new certificate is taken while running.

The certificates are made by the openssl command for each test run, and signed by themselves.
"""

import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import unittest

import harness
import values


def make_certificate(folder, name):
    """Writes name.crt and name.key; returns their paths."""
    certificate, key = f"{folder}/{name}.crt", f"{folder}/{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    return certificate, key


def client_context(certificate, identity=None):
    context = ssl.create_default_context(cafile=certificate)
    if identity:
        context.load_cert_chain(*identity)
    return context


class TlsTest(harness.ServerTest):
    @classmethod
    def setUpClass(cls):
        if harness.is_reference():
            raise unittest.SkipTest("Debian's memcached is built without TLS")
        cls.folder = tempfile.mkdtemp(prefix="scoot-tls-")
        cls.certificate, cls.key = make_certificate(cls.folder, "first")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def tls_server(self, *options, extended="", tls=None, certificate=None, key=None):
        files = f"ssl_chain_cert={certificate or self.certificate},ssl_key={key or self.key}"
        server = harness.Server(
            "-Z", "-o", files + (f",{extended}" if extended else ""), *options,
            tls=tls or client_context(self.certificate),
        ).start()  # fmt: skip
        self.addCleanup(server.stop)
        return server

    def test_values_of_all_sizes_come_through(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with self.subTest(version=version.name):
                context = client_context(self.certificate)
                context.minimum_version = context.maximum_version = version
                server = self.tls_server("-m", "64", tls=context)
                with server.connect() as client:
                    self.assertEqual(client.socket.version().replace(".", "_"), version.name)
                    sizes = (60, 1000, 8191, 8192, 16_383, 16_384, 16_385, 70_000, 300_000, 1_000_000)
                    for size in sizes:
                        key = b"size%d" % size
                        self.assertEqual(client.store(key, values.make(key, 1, size)), b"STORED")
                    for size in sizes:
                        key = b"size%d" % size
                        values.check(key, client.get(key))
                    for key, (_, value) in client.get_many([b"size%d" % size for size in sizes] * 3).items():
                        values.check(key, value)
                    self.assertEqual(client.stats("settings")["ssl_enabled"], "yes")

    def test_pipelines_and_pieces(self):
        server = self.tls_server("-R", "5")
        chance = random.Random(5)
        with server.connect() as client:
            said = b"".join(b"set k%d 0 0 %d\r\n%s\r\nget k%d\r\n" % (n, 3000, b"v" * 3000, n) for n in range(300))
            at = 0
            received = 0
            while at < len(said):
                step = chance.choice((1, 7, 500, 20_000))
                client.send(said[at : at + step])
                at += step
            for n in range(300):
                self.assertEqual(client.line(), b"STORED")
                self.assertEqual(client.values()[b"k%d" % n][1], b"v" * 3000)
                received += 1
            self.assertEqual(received, 300)
            client.send(b"quit\r\n")
            self.assertTrue(client.closed())

    def test_clients_that_do_not_speak_it(self):
        server = self.tls_server()
        for said in (b"get a\r\n", b"\x80\x01" + bytes(22), b"\x16\x03\x01\xff\xff" + os.urandom(300), b"\x16", b""):
            with harness.Connection(server.address()) as plain:
                plain.send(said)
                if len(said) > 4:
                    # An alert may come before the end; nothing else does.
                    plain.socket.settimeout(harness.patience(10))
                    answer = b""
                    try:
                        while data := plain.socket.recv(1000):
                            answer += data
                    except ConnectionResetError:
                        pass
                    self.assertLess(len(answer), 100)
                    self.assertNotIn(b"END", answer)
        self.check_service(server)
        with server.connect() as client:
            harness.poll(lambda: int(client.stats()["ssl_handshake_errors"]) >= 3, 5, "the count of bad handshakes")

    def test_handshakes_that_stall_hold_up_nobody(self):
        server = self.tls_server("-t", "1", "-o", "idle_timeout=2")
        stalled = [socket.create_connection(server.address()) for _ in range(50)]
        for client in stalled:
            client.send(b"\x16\x03\x01\x02\x00\x01")
        for _ in range(20):
            self.check_service(server)
        self.check_calm(server)
        # And they do not stay for ever.
        for client in stalled:
            client.settimeout(harness.patience(10))
            try:
                self.assertEqual(client.recv(10), b"")
            except ConnectionResetError:
                pass
            client.close()

    def test_slow_readers_cost_little_and_get_everything(self):
        server = self.tls_server("-m", "64", "-t", "1")
        with server.connect() as client:
            client.store(b"big", values.make(b"big", 3, 900_000))
            client.store(b"small", values.make(b"small", 3, 9_000))
        before = server.rss_bytes()
        slow = [server.connect(receive_bytes=4096) for _ in range(20)]
        for number, client in enumerate(slow):
            client.send(b"get big\r\n" * 5 if number % 2 else b"get small\r\n" * 500)
        for _ in range(10):
            self.check_service(server)
        if not harness.is_sanitized():
            self.assertLess((server.rss_peak_bytes() - before) >> 20, 20)
        for _ in range(5):
            values.check(b"big", slow[1].values()[b"big"][1])
        for _ in range(500):
            values.check(b"small", slow[2].values()[b"small"][1])
        for client in slow:
            client.close()
        self.check_service(server)

    def test_new_certificate_is_taken_while_running(self):
        certificate, key = f"{self.folder}/live.crt", f"{self.folder}/live.key"
        shutil.copy(self.certificate, certificate)
        shutil.copy(self.key, key)
        server = self.tls_server(certificate=certificate, key=key)
        old = server.connect()
        self.addCleanup(old.close)
        second = make_certificate(self.folder, "second")
        shutil.copy(second[0], certificate)
        shutil.copy(second[1], key)
        server.process.send_signal(signal.SIGHUP)

        def serves(trusted):
            try:
                with harness.Connection(server.address(), tls=client_context(trusted)) as client:
                    return client.request("version").startswith(b"VERSION")
            except ssl.SSLError:
                return False

        harness.poll(lambda: serves(second[0]), 10, "the new certificate")
        self.assertFalse(serves(self.certificate))
        self.assertEqual(old.store(b"a", b"from before"), b"STORED")
        # The command does the same.
        shutil.copy(self.certificate, certificate)
        shutil.copy(self.key, key)
        self.assertEqual(old.request("refresh_certs"), b"OK")
        self.assertTrue(serves(self.certificate))
        shutil.copy(second[0], certificate)
        self.assertEqual(old.request("refresh_certs"), b"ERROR")  # the key is not that of the certificate
        self.assertTrue(serves(self.certificate))
        # One that is not good changes nothing.
        with open(certificate, "w", encoding="ascii") as file:
            file.write("this is no certificate\n")
        server.process.send_signal(signal.SIGHUP)
        harness.poll(lambda: b"reload: nothing is changed: -Z: ssl_chain_cert" in server.stderr(), 10, "the complaint")
        self.assertTrue(serves(self.certificate))

    def test_clients_must_show_a_certificate_where_it_is_required(self):
        identity = make_certificate(self.folder, "client")
        stranger = make_certificate(self.folder, "stranger")
        known = client_context(self.certificate, identity)
        server = self.tls_server(extended=f"ssl_verify_mode=2,ssl_ca_cert={identity[0]}", tls=known)
        self.check_service(server)
        for context in (client_context(self.certificate), client_context(self.certificate, stranger)):
            with self.assertRaises((ssl.SSLError, ConnectionError)):
                with harness.Connection(server.address(), tls=context) as client:
                    client.request("version")
        self.check_service(server)

    def test_versions_below_the_least_are_refused(self):
        server = self.tls_server(extended="ssl_min_version=tlsv1.3")
        old = client_context(self.certificate)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with self.assertRaises(ssl.SSLError):
            harness.Connection(server.address(), tls=old)
        self.check_service(server)

    def test_addresses_without_it(self):
        secret, plain = harness.free_port(), harness.free_port()
        server = harness.Server(
            "-Z", "-o", f"ssl_chain_cert={self.certificate},ssl_key={self.key}",
            "-l", f"127.0.0.1:{secret},notls:127.0.0.1:{plain}", bind=False, tls=client_context(self.certificate),
        )  # fmt: skip
        server.port = secret
        with server:
            with server.connect() as client:
                self.assertEqual(client.store(b"secret", b"yes"), b"STORED")
            with harness.Connection(("127.0.0.1", plain)) as client:
                self.assertEqual(client.get(b"secret"), b"yes")

    def test_bad_options_end_with_a_reason(self):
        nothing = f"{self.folder}/nothing"
        other = make_certificate(self.folder, "other")
        for options, culprit in (
            (["-Z"], b"ssl_chain_cert"),
            (["-Z", "-o", f"ssl_chain_cert={self.certificate}"], b"ssl_key"),
            (["-Z", "-o", f"ssl_chain_cert={nothing},ssl_key={self.key}"], nothing.encode()),
            (["-Z", "-o", f"ssl_chain_cert={self.certificate},ssl_key={other[1]}"], b"ssl_key"),
            (["-Z", "-o", f"ssl_chain_cert={self.certificate},ssl_key={self.key},ssl_ciphers=ROT13"], b"ROT13"),
            (["-o", f"ssl_chain_cert={self.certificate}"], b"-Z"),
            (["-Z", "-o", "ssl_kernel_tls"], b"ssl_kernel_tls"),
        ):
            with self.subTest(options=options):
                run = harness.run_briefly("-p", "-1", *options)
                self.assertGreater(run.returncode, 0)
                self.assertIn(culprit, run.stderr)


if __name__ == "__main__":
    unittest.main()
