#!/usr/bin/python3
"""Certificates, keys and trust anchors that change while the gateway runs: by rename, in place, one after the other, and
wrong in every way. Real clients: openssl s_client, which sees the certificate, and gnutls-cli."""

import contextlib
import os
import re
import select
import signal
import subprocess
import threading
import time

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

import admin
import authority
import clients
import dtls
import lab
import pki
import store

HEAT = "heat.example"
KEPT = "What was read before stays in use"


class Case(store.Case):
    """Every test ends with certificates that are good and in use."""

    @classmethod
    def prepare(cls):
        cls.files = authority.Folder(os.path.join(cls.lab.folder, "own"))
        cls.root = cls.files.keep("root", authority.issue("Server root", ca=True))
        cls.admin = admin.Admin(cls.lab.admin_path)
        cls.now = {"server": cls.put("server", cls.new_pair()), "heat": cls.put("heat", cls.new_pair())}
        cls.anchors = cls.files.write("anchors.pem", cls.read(cls.lab.pki["ca.pem"]))
        tls = {"certificate": cls.files("server.pem"), "key": cls.files("server.key"), "trust_anchors": cls.anchors,
               "client_certificate": "optional"}
        cls.lab.config["tls"].update(tls)
        return [{**tls, "name": "heat", "server_names": [HEAT], "certificate": cls.files("heat.pem"),
                 "key": cls.files("heat.key")}]

    @staticmethod
    def read(path):
        with open(path, "rb") as file:
            return file.read()

    @classmethod
    def new_pair(cls, **options):
        return authority.issue("gateway.example", cls.root, extended=ExtendedKeyUsageOID.SERVER_AUTH,
                               names=[x509.DNSName("gateway.example")], **options)

    @classmethod
    def put_certificate(cls, name, pair):
        cls.files.write(name + ".pem", authority.pem(pair[0]) + authority.pem(cls.root[0]))

    @classmethod
    def put_key(cls, name, pair):
        cls.files.write(name + ".key", pki.key_pem(pair[1]))

    @classmethod
    def put(cls, name, pair):
        """By rename, certificate first."""
        cls.put_certificate(name, pair)
        cls.put_key(name, pair)
        return pair

    # -- what clients see

    def shown(self, name=None, options=()):
        """(certificate or None, output)"""
        command = ["openssl", "s_client", "-dtls1_2", "-connect", "%s:%d" % self.lab.server, "-cipher",
                   "ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0", "-showcerts", "-CAfile", self.files("root.pem"),
                   "-verify_return_error", *options, *(["-servername", name] if name else ["-noservername"])]
        # s_client takes its time to close a connection: it is killed when it has told what it sees.
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT) as client:
            output, end = b"", time.monotonic() + lab.PATIENCE_S
            while b"Verify return code:" not in output and (left := end - time.monotonic()) > 0:
                if select.select([client.stdout], [], [], left)[0]:
                    chunk = os.read(client.stdout.fileno(), 65536)
                    output += chunk
                    if not chunk:
                        break
            client.kill()
        found = re.search(b"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", output, re.S)
        good = found and b"Verify return code: 0 (ok)" in output
        return x509.load_pem_x509_certificate(found.group(0)) if good else None, output.decode(errors="replace")

    def assertShows(self, pair, name=None, seconds=lab.PATIENCE_S):
        found, end = self.shown(name), time.monotonic() + seconds
        while found[0] != pair[0] and time.monotonic() < end:
            time.sleep(0.1)
            found = self.shown(name)
        self.assertEqual(found[0], pair[0], found[1] + self.lab.gateway.output())

    def connects(self, device, name=None):
        credential = clients.Credential(certificate=(device + ".pem", device + ".key"), ca=self.files("root.pem"))
        return clients.openssl_client(self.lab.server, credential,
                                      options=["-servername", name] if name else ["-noservername"])

    def assertGood(self):
        """A device with a certificate, and one with a key."""
        result = self.connects(self.lab.pki["device.pem"][:-4])
        self.assertTrue(result.ok, str(result))
        self.lab.check_good()

    def assertGoodWithGnutls(self):
        device = self.lab.pki
        credential = clients.Credential(certificate=(device["device.pem"], device["device.key"]), ca=self.files("root.pem"))
        result = clients.gnutls_client(self.lab.server, credential, options=["--disable-sni"])
        self.assertTrue(result.ok, str(result))

    # -- what the operator sees

    def status(self, tenant=""):
        return next(c for c in self.admin.get("/status")[1]["certificates"] if c["tenant"] == tenant)

    def metric(self, name, tenant="", **labels):
        return self.admin.metrics()[(name, tuple(sorted({"tenant": tenant, **labels}.items())))]

    def assertFault(self, *words, tenant=""):
        self.assertTrue(self.wait_until(lambda: all(w in self.status(tenant).get("fault", "") for w in words)),
                        f"{words}: {self.status(tenant)}\n{self.lab.gateway.output()}")
        self.assertEqual(self.metric("sluice_certificate_fault", tenant), 1)

    def assertNoFault(self, tenant=""):
        self.assertTrue(self.wait_until(lambda: "fault" not in self.status(tenant)), str(self.status(tenant)))
        self.assertEqual(self.metric("sluice_certificate_fault", tenant), 0)

    def setUp(self):
        super().setUp()
        self.assertShows(self.now["server"])
        self.assertGood()
        self.session = self.lab.client(suites=[dtls.ECDHE_ECDSA_CCM_8]).connect()
        self.assertWorks(self.session)

    def tearDown(self):
        """The session that was opened before works on after, whatever has happened."""
        self.assertWorks(self.session)
        self.session.close()
        self.assertNoFault()
        self.assertGood()

    def renew(self, name="server"):
        self.now[name] = self.put(name, self.new_pair())


class Renewal(Case):
    # -- what is good

    def test_renewed_by_rename(self):
        before = self.metric("sluice_certificate_renewals_total", outcome="taken")
        for _ in range(2):
            self.renew()
            self.assertShows(self.now["server"])
            self.assertGoodWithGnutls()
        self.assertGreaterEqual(self.metric("sluice_certificate_renewals_total", outcome="taken"), before + 2)

    def test_renewed_in_place(self):
        for key_first in (False, True):
            pair = self.now["server"] = self.new_pair()
            steps = [("server.pem", authority.pem(pair[0]) + authority.pem(self.root[0])),
                     ("server.key", pki.key_pem(pair[1]))]
            for file, text in reversed(steps) if key_first else steps:
                with open(self.files(file), "r+b") as out:
                    out.truncate(0)
                    out.write(text)
            self.assertShows(pair)
            self.assertGood()

    def test_renewed_behind_a_symbolic_link(self):
        """As certbot and Kubernetes do it: the name stays, what it leads to is another file."""
        for ending in (".pem", ".key"):
            os.rename(self.files("server" + ending), self.files("first" + ending))
            os.symlink("first" + ending, self.files("server" + ending))
        pair = self.now["server"] = self.put("second", self.new_pair())
        for ending in (".pem", ".key"):
            os.symlink("second" + ending, self.files("link"))
            os.replace(self.files("link"), self.files("server" + ending))
        self.assertShows(pair)

    def test_until_when_is_told(self):
        pair = self.now["server"] = self.put("server", self.new_pair(days=77))
        self.assertShows(pair)
        until = pair[0].not_valid_after
        self.assertEqual(self.status()["not_after"], until.strftime("%Y-%m-%dT%H:%M:%S.000Z"))
        self.assertEqual(time.gmtime(self.metric("sluice_certificate_not_after_seconds"))[:6], until.timetuple()[:6])
        self.assertIn("until " + until.strftime("%Y-%m-%d"), self.sluicectl("status"))

    def look(self):
        os.kill(self.lab.gateway.pid, signal.SIGHUP)

    def sluicectl(self, *arguments):
        return subprocess.run([self.store.program, *arguments, "--socket", self.lab.admin_path], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout

    def test_each_tenant_has_its_own(self):
        self.assertShows(self.now["heat"], HEAT)
        self.renew("heat")
        self.assertShows(self.now["heat"], HEAT)
        self.assertShows(self.now["server"])
        self.files.write("heat.pem", b"nothing")
        self.assertFault("tenants.heat.certificate: ", tenant="heat")
        self.assertShows(self.now["heat"], HEAT)
        self.renew()  # what is wrong with one keeps no other back
        self.assertShows(self.now["server"])
        self.assertNoFault()
        self.put_certificate("heat", self.now["heat"])
        self.assertNoFault("heat")
        self.assertShows(self.now["heat"], HEAT)

    def test_SIGHUP_at_once(self):
        """Files that never come to rest are not read, but for somebody who asks."""
        pair, stop = self.new_pair(), threading.Event()

        def keep_writing():
            with contextlib.suppress(PermissionError):  # on time, on a machine that is busy, too
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -15)
            while not stop.wait(0.2):
                self.put("server", pair)
        writer = threading.Thread(target=keep_writing)
        writer.start()
        try:
            time.sleep(3)
            self.assertEqual(self.shown()[0], self.now["server"][0])
            stop.set()
            writer.join()
            asked = time.monotonic()
            self.look()
            self.assertShows(pair)
            took = time.monotonic() - asked
        finally:
            stop.set()
            writer.join()
        self.now["server"] = pair
        self.assertLogged("SIGHUP: looking at certificates, keys, trust anchors and pre-shared keys")
        print(f"# after SIGHUP a client saw the new certificate within {1000 * took:.0f} ms", flush=True)

    # -- what is not

    def assertKept(self, *words):
        """The old one stays in use; the log has one line about the new one however often it is looked at."""
        self.assertFault(*words)
        lines = self.log_count(KEPT)
        for _ in range(2):
            self.assertShows(self.now["server"], seconds=0)
            self.lab.check_good()
            time.sleep(1)
        self.assertEqual(self.log_count(KEPT), lines)
        self.assertIn(words[0], self.sluicectl("status"))

    def test_a_key_that_lags_behind(self):
        pair = self.new_pair()
        self.put_certificate("server", pair)
        self.assertKept("tls.key: ", "does not belong to the certificate in", "server.pem")
        self.put_key("server", pair)
        self.now["server"] = pair
        self.assertShows(pair)

    def test_a_certificate_that_lags_behind(self):
        pair = self.new_pair()
        self.put_key("server", pair)
        self.assertKept("tls.key: ", "does not belong to the certificate in")
        self.put_certificate("server", pair)
        self.now["server"] = pair
        self.assertShows(pair)

    def test_files_that_cannot_be_used(self):
        pair = self.now["server"]
        whole = self.read(self.files("server.pem"))
        for text, words in ((b"", "tls.certificate: "), (whole[:300], "tls.certificate: "),
                            (os.urandom(4000), "tls.certificate: "), (pki.key_pem(pair[1]), "tls.certificate: ")):
            self.files.write("server.pem", text)
            self.look()
            self.assertFault(words)
            self.assertShows(pair, seconds=0)
            self.put_certificate("server", pair)
            self.look()
            self.assertNoFault()
        os.unlink(self.files("server.key"))
        self.assertKept("tls.key: ", "server.key cannot be read: No such file")
        self.put_key("server", pair)
        self.look()
        self.assertNoFault()
        os.chmod(self.files("server.key"), 0o644)
        self.assertKept("tls.key: ", "others must have no access")
        os.chmod(self.files("server.key"), 0o600)
        self.assertNoFault()

    def test_certificates_that_are_not_valid(self):
        until = self.metric("sluice_certificate_not_after_seconds")
        for options, words in (({"start": -40 * authority.DAY}, "has expired"),
                               ({"start": 2 * authority.DAY}, "is not valid yet")):
            self.put("server", self.new_pair(**options))
            self.assertKept("tls.certificate: ", words)
            self.assertEqual(self.metric("sluice_certificate_not_after_seconds"), until)
        self.renew()
        self.assertShows(self.now["server"])

    def test_a_certificate_that_becomes_valid(self):
        """Without that any file changes."""
        pair = self.new_pair(start=authority.datetime.timedelta(seconds=9))
        self.put("server", pair)
        self.assertFault("is not valid yet")
        self.assertShows(self.now["server"], seconds=0)
        self.now["server"] = pair
        self.assertShows(pair)

    def test_a_signature_with_sha1(self):
        key = pki.key_pem(self.root[1])
        subject = "-subj /CN=gateway.example -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256".split()
        run = lambda *c: subprocess.run(["openssl", *c], check=True, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        self.files.write("root.key", key)
        run("req", "-new", *subject, "-keyout", self.files("sha1.key"), "-out", self.files("sha1.csr"))
        run("x509", "-req", "-sha1", "-in", self.files("sha1.csr"), "-CA", self.files("root.pem"), "-CAkey",
            self.files("root.key"), "-set_serial", "7", "-out", self.files("sha1.pem"))
        self.files.write("server.pem", self.read(self.files("sha1.pem")))
        self.files.write("server.key", self.read(self.files("sha1.key")))
        self.assertKept("tls.certificate: ", "signed with a hash that is not enabled")
        self.renew()
        self.assertShows(self.now["server"])

    # -- whom clients are held against

    def test_trust_anchors(self):
        ours, theirs = self.lab.pki["device.pem"][:-4], self.lab.pki["untrusted.pem"][:-4]
        certificate = pki.pair(self.lab.pki, "device")
        live = self.lab.client(certificate=certificate).connect()
        self.assertFalse(self.connects(theirs).ok)
        self.files.write("anchors.pem", self.read(self.lab.pki["other-ca.pem"]))
        self.assertTrue(self.wait_until(lambda: self.connects(theirs).ok))
        self.assertFalse(self.connects(ours).ok)
        self.assertTrue(self.connects(theirs).ok)
        with self.assertRaises(dtls.HandshakeError) as caught:  # its anchor is gone
            live.receive(lab.PATIENCE_S)
        self.assertEqual(caught.exception.alert, "close_notify")
        live.close()
        self.files.write("anchors.pem", b"nothing")
        self.assertFault("tls.trust_anchors: ")
        self.assertTrue(self.connects(theirs).ok)
        self.assertFalse(self.connects(ours).ok)
        self.files.write("anchors.pem", self.read(self.lab.pki["ca.pem"]))
        self.assertNoFault()
        self.assertNoFault("heat")  # it has the same anchors
        self.assertTrue(self.connects(ours).ok)
        self.assertFalse(self.connects(theirs).ok)

    # -- while much goes on

    def test_handshakes_meanwhile(self):
        """Renewed again and again, no handshake fails, with one or the other certificate."""
        failures, count, stop = [], [0], threading.Event()

        def devices():
            while not stop.is_set():
                try:
                    with self.lab.client(suites=[dtls.ECDHE_ECDSA_CCM_8]) as client:
                        client.connect()
                        self.assertWorks(client)
                    count[0] += 1
                except Exception as error:  # pylint: disable=broad-except
                    failures.append(error)
        threads = [threading.Thread(target=devices) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(15):
                self.renew()
                self.look()
                time.sleep(0.2)
            self.assertShows(self.now["server"])
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(failures, [])
        self.assertGreater(count[0], 10)


class Stapling(Case):
    """The status that is stapled is that of the certificate that is shown."""

    port = 8894

    @classmethod
    def new_pair(cls, **options):
        return super().new_pair(ocsp=f"http://127.0.0.1:{cls.port}/", **options)

    @classmethod
    def prepare(cls):
        tenants = super().prepare()
        cls.pairs = [cls.now["server"], cls.new_pair(), cls.new_pair()]
        cls.responder = authority.Responder(cls.files, "root", {pair[0]: True for pair in cls.pairs}, cls.port)
        cls.lab.config["tls"].update(ocsp_stapling=True)
        return tenants

    @classmethod
    def tearDownClass(cls):
        cls.responder.stop()
        super().tearDownClass()

    def test_the_status_follows_the_certificate(self):
        for pair in self.pairs:
            self.now["server"] = self.put("server", pair)
            self.assertShows(pair)
            serial = f"{pair[0].serial_number:X}"

            def stapled():
                output = self.shown(options=["-status"])[1]
                return "Cert Status: good" in output and serial in output.replace("Serial Number: 0", "Serial Number: ")
            self.assertTrue(self.wait_until(stapled), self.shown(options=["-status"])[1])


if __name__ == "__main__":
    lab.main()
