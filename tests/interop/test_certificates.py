#!/usr/bin/python3
"""Registrees with certificates and raw public keys: who is let in under which name and root, who is turned away, with
which alert and in which words; with openssl s_client, gnutls-cli and libcoap's clients."""

import contextlib
import ipaddress
import os
import subprocess
import threading
import time

import authority
import clients
import lab
from authority import DAY, issue, usage
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from test_application import BUILD, Application, Attached, sluice

ALERTS = {"bad_certificate": 42, "unsupported_certificate": 43, "certificate_revoked": 44, "certificate_expired": 45,
          "certificate_unknown": 46, "unknown_ca": 48, "access_denied": 49, "internal_error": 80}
OCSP_TIMEOUT_S = 3  # as in controlplane/ocsp_fetch.h
SUITE = "ECDHE-ECDSA-AES128-CCM8"
GNUTLS = "NONE:+VERS-DTLS1.2:+ECDHE-ECDSA:+AES-128-CCM-8:+AEAD:+COMP-NULL:+SIGN-ALL:+GROUP-ALL"


def uri(text):
    return x509.UniformResourceIdentifier(text)


class Fleet(Attached):
    """A gateway with a credential store, an application in this process, and a folder of certificates."""

    tls, tenants = {}, None

    @classmethod
    def setUpClass(cls):
        cls.lab = lab.Lab(BUILD, {"tls": {"client_certificate": "required"}}, False)
        cls.files = authority.Folder(os.path.join(cls.lab.folder, "fleet"))
        cls.store = os.path.join(cls.lab.folder, "store")
        cls.application = None
        try:
            cls.sluicectl("store", "init")
            cls.prepare()
            cls.lab.config["tls"].update(cls.tls)
            cls.lab.config["credentials"]["store"] = cls.store
            cls.lab.start_gateway()
            cls.application = Application(cls.lab.socket_path)
        except BaseException:
            cls.lab.stop()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.application.stop()
        cls.lab.stop()

    @classmethod
    def prepare(cls):
        raise NotImplementedError

    @classmethod
    def sluicectl(cls, *arguments):
        lab.run(os.path.join(BUILD, "controlplane", "sluicectl"), *arguments, "--store", cls.store)

    @classmethod
    def register(cls, name, root, kind, identity, *more):
        cls.sluicectl("registree", "add", "--certificate-name", name, "--root-file", cls.files(root + ".pem"),
                      "--kind", kind, "--id", identity, *more)

    # -- clients: each returns what it printed

    def openssl_command(self, name, *options):
        own = ("-cert", self.files(name + ".pem"), "-key", self.files(name + ".key"), "-cert_chain",
               self.files(name + ".pem")) if name else ()
        return ["openssl", "s_client", "-dtls1_2", "-connect", f"{lab.GATEWAY4}:{lab.PORT}", "-cipher",
                SUITE + ":@SECLEVEL=0", *own, *options]

    def openssl(self, name, *options):
        return self.output_of(self.openssl_command(name, *options))

    def gnutls_command(self, name, *options, own="X.509", server="X.509"):
        command = ["gnutls-cli", "--udp", "--port", str(lab.PORT), "--no-ca-verification", "--priority",
                   f"{GNUTLS}:+CTYPE-CLI-{own}:+CTYPE-SRV-{server}", *options]
        if name and own == "X.509":
            command += ["--x509certfile", self.files(name + ".pem"), "--x509keyfile", self.files(name + ".key")]
        elif name:
            command += ["--rawpkfile", self.files(name + ".pub"), "--rawpkkeyfile", self.files(name + ".key")]
        return [*command, lab.GATEWAY4]

    def gnutls(self, name, *options, **types):
        return self.output_of(self.gnutls_command(name, *options, **types))

    def coap(self, flavour, name):
        own = (self.files(name + ".pem"), self.files(name + ".key"))
        return str(clients.coap_client(flavour, self.lab.server, clients.Credential(certificate=own,
                                       ca=self.lab.pki["ca.pem"]), seconds=2))

    @staticmethod
    def output_of(command):
        done = subprocess.run(command, input=b"", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=lab.PATIENCE_S)
        return done.stdout.decode(errors="replace")

    # -- sessions that stay

    @contextlib.contextmanager
    def live(self, command):
        """A client that keeps its session: its ref, process and output."""
        before = len(self.application.ups)
        with open(self.files("live.log"), "w+b") as log, \
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT) as process:
            os.unlink(self.files("live.log"))
            try:
                self.assertTrue(self.wait_until(lambda: len(self.application.ups) > before))
                process.ref, process.log = self.application.ups[-1].ref, log
                yield process
            finally:
                process.kill()

    def reason_of(self, process):
        """Why its session ended; None: it has not."""
        return next((down.reason for down in self.application.downs if down.ref == process.ref), None)

    def assertLives(self, process):
        self.assertIsNone(self.reason_of(process))
        self.assertIsNone(process.poll())
        mark = os.urandom(8).hex().encode()
        process.stdin.write(mark + b"\n")
        process.stdin.flush()

        def echoed():
            process.log.seek(0)
            return mark in process.log.read()
        self.assertTrue(self.wait_until(echoed))

    def assertEnds(self, process, reason="certificate revoked"):
        """By close_notify, whereupon both clients leave of themselves."""
        self.assertTrue(self.wait_until(lambda: self.reason_of(process)))
        self.assertEqual(self.reason_of(process), reason)
        self.assertEqual(process.wait(lab.PATIENCE_S), 0)
        self.assertNotIn("alert", process.log.seek(0) or process.log.read().decode(errors="replace").lower())

    # -- what must come of it

    def assertComesIn(self, attempt, identity, **fields):
        before = len(self.application.ups)
        output = attempt()
        self.assertTrue(self.wait_until(lambda: len(self.application.ups) > before),
                        output + self.lab.gateway.output())
        up = self.application.ups[-1]
        self.assertEqual(up.name, identity)
        for field, value in fields.items():
            self.assertEqual(getattr(up, field), value)
        return output

    def assertTurnedAway(self, attempt, alert, words):
        self.check_good()
        before, log = len(self.application.ups), len(self.lab.gateway.output(100000))
        output = attempt()
        self.assertTrue(self.wait_until(lambda: words in self.lab.gateway.output(100000)[log:]),
                        f"no {words!r} in the log:\n{self.lab.gateway.output(6)}\n{output}")
        if alert:
            self.assertRegex(output, rf"alert number {ALERTS[alert]}\b|alert \[{ALERTS[alert]}\]")
        self.assertEqual(len(self.application.ups), before)
        self.check_good()

    def check_good(self):
        raise NotImplementedError


class Registrees(Fleet):
    """TS-0003 8.2.2.2: a registree is a name and the root that it is under."""

    @classmethod
    def prepare(cls):
        keep, f = cls.files.keep, cls.files
        root, other = keep("root", issue("Root", ca=True)), keep("other", issue("Other root", ca=True))
        nobody = keep("nobody", issue("Root of nobody", ca=True))
        middle = issue("Issuing CA", root, ca=True)
        limited = issue("Limited CA", root, ca=True, constraints=x509.NameConstraints([x509.DNSName("fleet.example")],
                                                                                      None))
        last = issue("Last CA", root, ca=True, path_length=0)
        beyond = issue("CA beyond", last, ca=True)
        leaf = lambda name, issuer, chain=(), **options: keep(name, issue(name, issuer, **options), chain)
        cse = [uri("//sp.example/cse-1")]
        leaf("cse", middle, [middle], names=cse)
        leaf("ae", root, names=[x509.DNSName("a.example"), uri("urn:ae:7")])
        leaf("fqdn", root, names=[x509.DNSName("meter.fleet.example")])
        leaf("module", root, names=[authority.hardware_module(bytes.fromhex("06062a864886f70d"), b"\1\2\3")])
        leaf("m2m", root, names=[x509.RegisteredID(x509.ObjectIdentifier("2.999.7.1"))])
        leaf("subject", root)
        leaf("within", limited, [limited], names=[x509.DNSName("meter.fleet.example")])
        pinned = keep("pinned", issue("pinned", names=[uri("urn:pinned")]))
        # and who must stay out
        leaf("wrong-name", middle, [middle], names=[uri("//sp.example/cse-2")])
        leaf("wrong-root", other, names=cse)
        leaf("unknown-root", nobody, names=cse)
        leaf("no-chain", middle, names=cse)
        leaf("expired", root, names=cse, start=-40 * DAY)
        leaf("not-yet", root, names=cse, start=2 * DAY)
        leaf("sha1", root, names=cse, hash=hashes.SHA1())
        leaf("short", root, names=cse, curve=ec.SECP224R1())
        leaf("for-servers", root, names=cse, extended=ExtendedKeyUsageOID.SERVER_AUTH)
        leaf("agreement", root, names=cse, key_usage=usage(key_agreement=True))
        keep("a-ca", issue("a CA", root, ca=True, names=cse, key_usage=usage(key_cert_sign=True,
                                                                            digital_signature=True)))
        leaf("outside", limited, [limited], names=[x509.DNSName("meter.fleet.example"), x509.DNSName("x.example")])
        leaf("too-deep", beyond, [beyond, last], names=cse)
        leaf("by-a-device", pinned, [pinned], names=cse)
        keep("self-signed", issue("self-signed", names=cse))
        leaf("nameless", root, names=[x509.IPAddress(ipaddress.ip_address("192.0.2.1"))])
        authority.version_1(f, "version-1", "root")
        f.write("anchors.pem", b"".join(authority.pem(c) for c, _ in (root, other, pinned)))
        cls.tls = {"trust_anchors": f("anchors.pem"), "registrees": "required"}
        cls.register("//sp.example/cse-1", "root", "cse-id", "/cse-1")
        cls.register("urn:ae:7", "root", "ae-id", "C-ae-7")
        cls.register("meter.fleet.example", "root", "lwm2m-endpoint", "urn:ep:meter")
        cls.register("1.2.840.113549:010203", "root", "ae-id", "C-module")
        cls.register("2.999.7.1", "root", "ae-id", "C-m2m")
        cls.register("subject", "root", "ae-id", "C-subject")
        cls.register("urn:pinned", "pinned", "ae-id", "C-pinned")

    def check_good(self):
        self.assertComesIn(lambda: self.openssl("cse"), "/cse-1", credential=sluice.Credential.X509,
                           identity_kind=sluice.Identity.CSE_ID, credential_id="//sp.example/cse-1", tenant="")

    def test_A03_every_kind_of_name(self):
        for name, identity, credential in (
                ("cse", "/cse-1", "//sp.example/cse-1"), ("ae", "C-ae-7", "urn:ae:7"),
                ("fqdn", "urn:ep:meter", "meter.fleet.example"), ("module", "C-module", "1.2.840.113549:010203"),
                ("m2m", "C-m2m", "2.999.7.1"), ("subject", "C-subject", "subject"),
                ("within", "urn:ep:meter", "meter.fleet.example"), ("pinned", "C-pinned", "urn:pinned")):
            for attempt in (self.openssl, self.gnutls):
                with self.subTest(certificate=name, client=attempt.__name__):
                    self.assertComesIn(lambda: attempt(name), identity, credential_id=credential,
                                       credential=sluice.Credential.X509)

    def test_A03_libcoap(self):
        """They send no chain."""
        for flavour in ("openssl", "gnutls"):
            with self.subTest(flavour=flavour):
                self.assertComesIn(lambda: self.coap(flavour, "ae"), "C-ae-7")
                self.assertTurnedAway(lambda: self.coap(flavour, "wrong-root"), None, "no registree has the name")
                self.assertComesIn(lambda: self.coap(flavour, "ae"), "C-ae-7")

    def test_A03_everybody_else_is_turned_away(self):
        for name, alert, words in (
                ("wrong-name", "access_denied", 'no registree has the name "//sp.example/cse-2"'),
                ("wrong-root", "access_denied", 'no registree has the name "//sp.example/cse-1"'),
                ("unknown-root", "unknown_ca", "ends at an unknown root: CN=Root of nobody"),
                ("no-chain", "unknown_ca", "ends at an unknown root: CN=Issuing CA"),
                ("self-signed", "unknown_ca", "is self-signed and not trusted"),
                ("expired", "certificate_expired", "the client's certificate has expired"),
                ("not-yet", "certificate_expired", "the client's certificate is not valid yet"),
                ("version-1", "unsupported_certificate", "not of version 3"),
                ("sha1", "unsupported_certificate", "signed with a hash that is not enabled"),
                ("short", "unsupported_certificate", "shorter than 256 bits"),
                ("for-servers", "unsupported_certificate", "is not meant for clients"),
                ("agreement", "unsupported_certificate", "is not meant for signatures"),
                ("a-ca", "bad_certificate", "shows the certificate of a CA"),
                ("outside", "bad_certificate", "name constraints"),
                ("too-deep", "bad_certificate", "path length"),
                ("by-a-device", "bad_certificate", "not a CA's"),
                ("nameless", None, "refused: ")):
            with self.subTest(certificate=name):
                self.assertTurnedAway(lambda: self.openssl(name, "-sigalgs", "ECDSA+SHA256"), alert, words)

    def test_A03_who_is_turned_away_is_found_by_its_name(self):
        """By the name that its certificate bears: it has proved nothing, but it is what the operator asks for."""
        for name, claimed, words in (("wrong-name", "//sp.example/cse-2", "no registree has the name"),
                                     ("self-signed", "//sp.example/cse-1", "the client's certificate is self")):
            with self.subTest(certificate=name):
                self.assertTurnedAway(lambda: self.openssl(name), None, f'refused: certificate "{claimed}", {words}')
                self.assertIn(words, lab.run(os.path.join(BUILD, "controlplane", "sluicectl"), "why", claimed,
                                             "--socket", self.lab.admin_path))

    def test_A03_gnutls_is_turned_away_with_the_same_alerts(self):
        for name, alert, words in (("wrong-root", "access_denied", "no registree has the name"),
                                   ("unknown-root", "unknown_ca", "unknown root"),
                                   ("expired", "certificate_expired", "has expired")):
            with self.subTest(certificate=name):
                self.assertTurnedAway(lambda: self.gnutls(name), alert, words)

    def test_A04_no_certificate(self):
        self.assertTurnedAway(lambda: self.openssl(None), None, "sent no certificate")

    def test_A07_a_registree_that_is_removed_and_added_while_the_gateway_runs(self):
        arguments = ("--certificate-name", "urn:ae:7", "--root-file", self.files("root.pem"))
        self.assertComesIn(lambda: self.openssl("ae"), "C-ae-7")
        self.sluicectl("registree", "del", *arguments)
        self.assertTurnedAway(lambda: self.openssl("ae"), "access_denied", "no registree has the name")
        self.register("urn:ae:7", "root", "ae-id", "C-ae-8")
        self.assertComesIn(lambda: self.openssl("ae"), "C-ae-8")
        self.register("urn:ae:7", "root", "ae-id", "C-ae-7", "--replace")


class RawKeys(Fleet):
    """RFC 7250, for each direction on its own."""

    @classmethod
    def prepare(cls):
        keep = cls.files.keep
        root = keep("root", issue("Root", ca=True))
        for name in ("device", "stranger", "other-tenant", "short-128", "short-120", "gateway"):
            keep(name, issue(name, root, names=[uri("urn:" + name)]))
        cls.tls = {"trust_anchors": cls.files("root.pem"), "raw_key": cls.files("gateway.key"),
                   "registrees": "optional"}
        cls.lab.config["tenants"] = [{
            "name": "water", "server_names": ["water.example"], "raw_key": cls.files("gateway.key"),
            "client_certificate": "required"}]
        add = lambda identity, *more: cls.sluicectl("registree", "add", "--kind", "lwm2m-endpoint", "--id", identity,
                                                    *more)
        add("urn:ep:device", "--public-key-file", cls.files("device.pub"))
        add("urn:ep:other", "--public-key-file", cls.files("other-tenant.pub"), "--tenant", "water")
        for bits in (128, 120):
            add(f"urn:ep:{bits}", "--public-key", cls.identifier(f"short-{bits}", bits))

    @classmethod
    def identifier(cls, name, bits=256):
        """RFC 6920 9.4."""
        import base64
        import hashlib
        der = subprocess.run(["openssl", "pkey", "-pubin", "-in", cls.files(name + ".pub"), "-outform", "DER"],
                             check=True, stdout=subprocess.PIPE).stdout
        digest = base64.urlsafe_b64encode(hashlib.sha256(der).digest()[:bits // 8]).decode().rstrip("=")
        return f"ni:///sha-256{'' if bits == 256 else f'-{bits}'};{digest}"

    def raw(self, name, *options, **types):
        return self.gnutls(name, *options, **{"own": "RAWPK", "server": "RAWPK", **types})

    def check_good(self):
        self.assertComesIn(lambda: self.raw("device"), "urn:ep:device", credential=sluice.Credential.RPK,
                           credential_id=self.identifier("device"), tenant="",
                           identity_kind=sluice.Identity.LWM2M_ENDPOINT)

    def test_A05_each_direction_on_its_own(self):
        for own, server in (("RAWPK", "RAWPK"), ("RAWPK", "X.509"), ("X.509", "RAWPK"), ("X.509", "X.509")):
            with self.subTest(client=own, server=server):
                identity = "urn:ep:device" if own == "RAWPK" else "urn:device"
                output = self.assertComesIn(lambda: self.gnutls("device", own=own, server=server), identity)
                self.assertIn("Certificate type: Raw Public Key" if server == "RAWPK" else "Certificate type: X.509",
                              output)

    def test_A05_the_log_names_our_own_key(self):
        self.assertIn(self.identifier("gateway"), self.lab.gateway.output(1000))

    def test_A05_shorter_identifiers(self):
        for bits in (128, 120):
            with self.subTest(bits=bits):
                self.assertComesIn(lambda: self.raw(f"short-{bits}"), f"urn:ep:{bits}",
                                   credential_id=self.identifier(f"short-{bits}"))

    def test_A05_unpinned_keys(self):
        words = "no registree has the raw public key " + self.identifier("stranger")
        self.assertTurnedAway(lambda: self.raw("stranger"), "bad_certificate", words)
        self.assertTurnedAway(lambda: self.raw("stranger", server="X.509"), "bad_certificate", words)

    def test_A05_the_key_of_another_tenant(self):
        water = ("--sni-hostname", "water.example")
        self.assertComesIn(lambda: self.raw("other-tenant", *water), "urn:ep:other", tenant="water")
        self.assertTurnedAway(lambda: self.raw("other-tenant"), "bad_certificate", "no registree has the raw public key")
        self.assertTurnedAway(lambda: self.raw("device", *water), "bad_certificate",
                              "no registree has the raw public key")

    def test_A05_a_type_that_is_not_there(self):
        """The tenant has no X.509 certificate to show, and takes none."""
        water = ("--sni-hostname", "water.example")
        self.assertTurnedAway(lambda: self.raw("other-tenant", *water, server="X.509"), "unsupported_certificate",
                              "takes an X.509 certificate from us only")

    def test_A05_removed_while_the_gateway_runs(self):
        arguments = ("--public-key-file", self.files("short-128.pub"))
        self.sluicectl("registree", "del", "--public-key", self.identifier("short-128", 128))
        self.assertTurnedAway(lambda: self.raw("short-128"), "bad_certificate", "no registree has the raw public key")
        self.sluicectl("registree", "add", *arguments, "--kind", "lwm2m-endpoint", "--id", "urn:ep:128")
        self.assertComesIn(lambda: self.raw("short-128"), "urn:ep:128")
        self.sluicectl("registree", "del", *arguments)
        self.sluicectl("registree", "add", "--kind", "lwm2m-endpoint", "--id", "urn:ep:128", "--public-key",
                       self.identifier("short-128", 128))


class OnlineStatus(Fleet):
    """OCSP (RFC 6960): devices' certificates checked without anybody else waiting, our own stapled."""

    port, policy = 8888, "required"

    @classmethod
    def prepare(cls):
        keep = cls.files.keep
        url = f"http://127.0.0.1:{cls.port}/"
        cls.root = keep("root", issue("Root", ca=True))
        cls.pairs = {name: keep(name, issue(name, cls.root, names=[uri("urn:" + name)], ocsp=url))
                     for name in ("good", "revoked", "unknown", *(f"late-{i}" for i in range(6)))}
        keep("silent", issue("silent", cls.root, names=[uri("urn:silent")]))
        keep("signer", issue("OCSP signer", cls.root, extended=ExtendedKeyUsageOID.OCSP_SIGNING))
        keep("impostor", issue("OCSP signer", cls.root))
        server_ca = keep("server-ca", issue("Server CA", ca=True))
        cls.server = keep("server", issue("gateway.example", server_ca, extended=ExtendedKeyUsageOID.SERVER_AUTH,
                                          names=[x509.DNSName("gateway.example")], ocsp=url), [server_ca])
        cls.tls = {"trust_anchors": cls.files("root.pem"), "ocsp_clients": cls.policy}
        cls.responder = cls.start_responder()

    @classmethod
    def start_responder(cls, revoked=("revoked",), **options):
        statuses = {cls.pairs[name][0]: name not in revoked for name in cls.pairs if name != "unknown"}
        return authority.Responder(cls.files, "root", statuses, cls.port, **options)

    @classmethod
    def tearDownClass(cls):
        cls.responder.stop()
        super().tearDownClass()

    @classmethod
    def replace(cls, start):
        cls.responder.stop()
        cls.responder = start()

    def check_good(self):
        self.assertComesIn(lambda: self.openssl("good"), "urn:good")


class RequiredStatus(OnlineStatus):
    def test_A03_what_the_responder_says(self):
        for attempt in (self.openssl, self.gnutls):
            with self.subTest(client=attempt.__name__):
                self.assertTurnedAway(lambda: attempt("revoked"), "certificate_revoked",
                                      "has been revoked, says its OCSP responder")
                self.assertTurnedAway(lambda: attempt("unknown"), "certificate_unknown", "does not know it")
                self.assertTurnedAway(lambda: attempt("silent"), "certificate_unknown", "names no OCSP responder")

    def test_A03_a_responder_that_is_delegated_and_one_that_is_not(self):
        self.addCleanup(lambda: self.replace(self.start_responder))
        self.check_good()  # its answer is remembered
        self.replace(lambda: self.start_responder(signer="signer"))
        self.assertComesIn(lambda: self.openssl("late-0"), "urn:late-0")
        self.replace(lambda: self.start_responder(signer="impostor"))
        self.assertTurnedAway(lambda: self.openssl("late-1"), "certificate_unknown", "the OCSP responder did not answer")
        self.assertIn("is not believed: its answer is not signed by the certificate's issuer",
                      self.lab.gateway.output(1000))

    def test_A03_a_responder_that_is_silent_keeps_nobody_else_waiting(self):
        self.addCleanup(lambda: self.replace(self.start_responder))
        self.check_good()  # its answer is remembered
        self.replace(lambda: authority.Silent(self.port))
        waiting = [threading.Thread(target=self.openssl, args=(f"late-{i}",)) for i in (2, 3)]
        for thread in waiting:
            thread.start()
        self.assertTrue(self.wait_until(self.responder.asked))
        asked, count = time.monotonic(), 0
        while any(thread.is_alive() for thread in waiting):
            self.lab.check_good()
            count += time.monotonic() - asked < OCSP_TIMEOUT_S - 0.2
        self.assertGreater(count, 0)
        log = self.lab.gateway.output(1000)
        self.assertIn("cannot be asked", log)
        self.assertIn("whether the client's certificate has been revoked is not known", log)
        self.check_good()
        # while it is known to be silent, nobody waits for it
        start = time.monotonic()
        self.assertIn(f"alert number {ALERTS['certificate_unknown']}", self.openssl("late-4"))
        self.assertLess(time.monotonic() - start, OCSP_TIMEOUT_S)
        self.replace(self.start_responder)
        self.assertTrue(self.wait_until(lambda: "alert" not in self.openssl("late-5")))


class OptionalStatus(OnlineStatus):
    port, policy = 8889, "optional"

    def test_A03_revoked_is_refused_and_unknown_is_not(self):
        self.assertTurnedAway(lambda: self.openssl("revoked"), "certificate_revoked",
                              "has been revoked, says its OCSP responder")
        for name in ("unknown", "silent"):
            self.assertComesIn(lambda: self.openssl(name), "urn:" + name)
        self.responder.stop()
        self.assertComesIn(lambda: self.openssl("late-0"), "urn:late-0")
        self.replace(self.start_responder)

    def test_A07_live_sessions_of_what_the_responder_says_later(self):
        """They end with the handshake for which it was asked."""
        self.assertTrue(self.wait_until(lambda: "alert" not in self.openssl("good")))
        self.responder.stop()
        with self.live(self.openssl_command("late-1")) as late, self.live(self.openssl_command("late-2")) as other:
            self.replace(lambda: self.start_responder(revoked=("revoked", "late-1")))
            self.assertLives(late)
            revoked = f"alert number {ALERTS['certificate_revoked']}"
            self.assertTrue(self.wait_until(lambda: revoked in self.openssl("late-1")))
            self.assertEnds(late)
            self.assertLives(other)
        self.replace(self.start_responder)
        self.check_good()


class Stapling(OnlineStatus):
    port, policy = 8890, "none"

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.tls.update(certificate=cls.files("server.pem"), key=cls.files("server.key"), ocsp_stapling=True)

    @classmethod
    def start_responder(cls, good=True):
        return authority.Responder(cls.files, "server-ca", {cls.server[0]: good}, cls.port)

    def status(self):
        return self.openssl("good", "-status", "-CAfile", self.files("server-ca.pem"), "-verify_return_error")

    def test_stapled_to_those_who_ask(self):
        self.assertTrue(self.wait_until(lambda: "OCSP Response Status: successful" in self.status()), self.status())
        output = self.status()
        self.assertIn("Cert Status: good", output)
        self.assertIn("Next Update", output)
        self.assertIn("Verify return code: 0", output)
        self.assertNotIn("OCSP response", self.openssl("good"))
        # gnutls verifies the response itself
        output = self.gnutls("good", "--x509cafile", self.files("server-ca.pem"), "--verify-hostname",
                             "gateway.example")
        self.assertIn("OCSP", output)
        # and it is kept while the responder is away
        self.responder.stop()
        self.assertIn("Cert Status: good", self.status())
        self.replace(self.start_responder)


class NothingToStaple(Stapling):
    port = 8891

    @classmethod
    def start_responder(cls, good=False):
        return super().start_responder(good)

    def told_of_revocation(self):
        """By the last line about it."""
        told = [line for line in self.lab.gateway.output(1000).splitlines() if "nothing good of our certificate: " in line]
        return bool(told) and told[-1].endswith("it has been revoked")

    def test_stapled_to_those_who_ask(self):
        """A status that is not good is not shown, and the log says what it is, and what becomes of it."""
        self.assertTrue(self.wait_until(self.told_of_revocation))
        self.responder.stop()
        self.assertTrue(self.wait_until(lambda: not self.told_of_revocation()))
        self.replace(self.start_responder)
        self.assertTrue(self.wait_until(self.told_of_revocation))
        self.assertIn("OCSP response: no response sent", self.status())
        self.check_good()


if __name__ == "__main__":
    lab.main()
