#!/usr/bin/python3
"""What an application learns of a session, through the Python binding and its example: the identity, the
credential, the tenant and what RFC 5705 exports; with real clients."""

import os
import re
import signal
import subprocess
import sys
import threading

import clients
import dtls
import lab
import pki

BUILD = os.path.abspath(os.environ.get("SLUICE_BUILD", "build"))
LIBRARY = os.environ.get("SLUICE_LIBRARY", os.path.join(BUILD, "ring", "libsluice.so.0"))
BINDING = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "ring", "python")
CONNECTION, BOOTSTRAP, ENROLMENT = ("EXPORTER-oneM2M-" + name for name in ("Connection", "Bootstrap", "ESCertKE"))

os.environ["SLUICE_LIBRARY"] = LIBRARY
sys.path.insert(0, BINDING)
import sluice  # noqa: E402: found through the line above


class Application(threading.Thread):
    """Attached to the ring in this process: keeps what it is told of sessions and echoes what it gets."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.ring, self.ups, self.downs, self.stopping = sluice.attach(path), [], [], False
        self.start()

    def run(self):
        while not self.stopping:
            for message in self.ring.receive():
                if isinstance(message, sluice.SessionUp):
                    self.ups.append(message)
                elif isinstance(message, sluice.SessionDown):
                    self.downs.append(message)
                elif isinstance(message, sluice.Data):
                    self.ring.send(message.ref, message.payload)
            self.ring.wait(0.05)

    def stop(self):
        self.stopping = True
        self.join()
        self.ring.detach()


class Attached(lab.Case):
    """No sluice-forward: the application is ours."""

    backend = False

    @classmethod
    def setUpClass(cls):
        cls.lab = lab.Lab(BUILD, cls.settings, False)
        try:
            cls.lab.start_gateway()
        except BaseException:
            cls.lab.stop()
            raise


class Exporters(Attached):
    settings = {"tls": {"exporters": [CONNECTION, BOOTSTRAP, ENROLMENT], "client_certificate": "optional"}}

    def setUp(self):
        super().setUp()
        self.application = Application(self.lab.socket_path)

    def tearDown(self):
        self.application.stop()

    def openssl_exports(self, label, *options):
        """What s_client says that it exports. It prints that when it ends, so it is given the end of its input."""
        command = ["openssl", "s_client", "-dtls1_2", "-connect", f"{lab.GATEWAY4}:{lab.PORT}", "-keymatexport", label,
                   "-keymatexportlen", "48", *options]
        done = subprocess.run(command, input=b"", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=lab.PATIENCE_S)
        found = re.search(r"Keying material: ([0-9A-F]{96})", done.stdout.decode(errors="replace"))
        self.assertTrue(found, done.stdout.decode(errors="replace"))
        return bytes.fromhex(found.group(1))

    def announced(self, client):
        """The announcement of this client's session; those of earlier tests are repeated at any time."""
        peer = client.socket.getsockname()[:2]
        self.assertTrue(self.wait_until(lambda: any(up.peer == peer for up in self.application.ups)))
        return next(up for up in self.application.ups if up.peer == peer)

    def test_the_client_exports_the_same(self):
        psk = ("-psk_identity", lab.METER.decode(), "-psk", lab.METER_KEY.hex(), "-cipher")
        ecdsa = ("-CAfile", self.lab.pki["ca.pem"], "-cipher")
        seen = set()
        for suite, options in (("PSK-AES128-CCM8:@SECLEVEL=0", psk), ("PSK-AES128-CBC-SHA256:@SECLEVEL=0", psk),
                               ("ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0", ecdsa),
                               ("ECDHE-ECDSA-AES128-GCM-SHA256:@SECLEVEL=0", ecdsa)):
            for label in (CONNECTION, BOOTSTRAP, ENROLMENT):
                with self.subTest(suite=suite, label=label):
                    value = self.openssl_exports(label, *options, suite)
                    self.assertTrue(self.wait_until(
                        lambda: any(up.exporters.get(label) == value for up in self.application.ups)))
                    up = next(up for up in self.application.ups if up.exporters.get(label) == value)
                    self.assertEqual(set(up.exporters), {CONNECTION, BOOTSTRAP, ENROLMENT})
                    self.assertEqual(sluice.onem2m_key(value), (value[:16], value[16:]))
                    seen |= set(up.exporters.values())
        self.assertEqual(len(seen), 4 * 3 * 3)  # another one for each label and each session

    def test_a_hand_made_client_exports_the_same(self):
        with self.lab.client() as client:
            client.connect()
            self.assertEqual(client.exchange(b"hello"), b"hello")
            up = self.announced(client)
            self.assertEqual(up.exporters[CONNECTION], client.export(CONNECTION, 48))

    def test_values_are_shown_nowhere(self):
        with self.lab.client() as client:
            client.connect()
            up = self.announced(client)
            for value in up.exporters.values():
                for text in (value.hex(), repr(value)[2:-1]):
                    self.assertNotIn(text, repr(up))
                    self.assertNotIn(text, self.lab.gateway.output(10000).lower())

    def test_an_application_that_attaches_soon_gets_them_too(self):
        with self.lab.client() as client:
            client.connect()
            first = self.announced(client)
            self.assertFalse(first.again)
            self.application.stop()
            self.application = Application(self.lab.socket_path)
            self.assertTrue(self.wait_until(lambda: any(up.ref == first.ref for up in self.application.ups)))
            again = next(up for up in self.application.ups if up.ref == first.ref)
            self.assertTrue(again.again)
            self.assertEqual(again.exporters, first.exporters)


class NoExporters(Attached):
    def test_none_are_computed_unless_asked_for(self):
        application = Application(self.lab.socket_path)
        try:
            with self.lab.client() as client:
                client.connect()
                self.assertTrue(self.wait_until(lambda: application.ups))
                self.assertEqual(application.ups[0].exporters, {})
        finally:
            application.stop()


class Example(Attached):
    """who.py, as its documentation tells to run it."""

    def start_who(self, *options):
        environment = {"SLUICE_LIBRARY": LIBRARY, "PYTHONUNBUFFERED": "1"}
        who = lab.Process("who", [sys.executable, os.path.join(BINDING, "who.py"), self.lab.socket_path, *options],
                          self.lab.folder, environment)
        self.lab.wait(self.lab.attached, "who.py to attach", processes=[self.lab.gateway, who])
        return who

    def is_told_after(self, payload, who):
        """What comes back is the request itself, which is no CoAP answer: the client is not waited for."""
        clients.openssl_client(self.lab.server, clients.Credential(psk=(lab.METER, lab.METER_KEY)),
                               payload=payload.encode() + b"3", seconds=2)
        return payload in who.output(1000)

    def test_it_prints_who_sent_what(self):
        who = self.start_who("--echo")
        try:
            self.assertTrue(self.wait_until(lambda: self.is_told_after("volume=1234.5m", who)))
            with self.lab.client() as client:
                client.connect()
                self.assertEqual(client.exchange(b"temperature=21\x1b"), b"temperature=21\x1b")
            certificate = dtls.Client(self.lab.server, certificate=pki.pair(self.lab.pki, "device"),
                                      suites=[dtls.ECDHE_ECDSA_CCM_8])
            with certificate as client:
                client.connect()
                self.assertEqual(client.exchange(b"from a certificate"), b"from a certificate")
            self.assertTrue(self.wait_until(lambda: "from a certificate" in who.output(1000)))
        finally:
            who.stop(signal.SIGINT)
        lines = who.output(1000).splitlines()
        meter = lab.METER.decode()
        self.assertTrue(any(line.startswith("data") and "volume=1234.5m" in line and meter in line for line in lines),
                        lines)
        told = next(line for line in lines if "temperature=21" in line)
        self.assertIn(f'PSK "{meter}"', told)
        self.assertIn("temperature=21\\x1b", told)
        self.assertNotIn("\x1b", told)
        self.assertTrue(any('X509 "' in line and "from a certificate" in line for line in lines), lines)


if __name__ == "__main__":
    lab.main()
