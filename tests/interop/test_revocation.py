#!/usr/bin/python3
"""Revocation lists and trust anchors that change while the gateway runs: new handshakes go by them, and so do live
sessions of openssl s_client and gnutls-cli."""

import contextlib
import os
import time

import admin
import authority
import lab
from authority import DAY, issue
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from test_certificates import ALERTS, Fleet, uri


class Lists(Fleet):
    """Files that change while the gateway runs."""

    @classmethod
    def prepare(cls):
        keep, f = cls.files.keep, cls.files
        cls.root = keep("root", issue("Root", ca=True))
        cls.middle = issue("Issuing CA", cls.root, ca=True)
        cls.pairs = {"good": keep("good", issue("good", cls.root, names=[uri("urn:good")]))}
        cls.pairs["device"] = keep("device", issue("device", cls.root, names=[uri("urn:device")]))
        cls.pairs["below"] = keep("below", issue("below", cls.middle, names=[uri("urn:below")]), [cls.middle])
        cls.revoke()
        cls.revoke(issuer=cls.middle, name="middle.crl", der=True)
        cls.tls = {"trust_anchors": f("root.pem"), "crls": [f("root.crl"), f("middle.crl")]}

    @classmethod
    def revoke(cls, *names, issuer=None, name="root.crl", der=False, **options):
        issued = authority.crl(issuer or cls.root, [cls.pairs.get(n, cls.middle)[0] for n in names], **options)
        encoding = serialization.Encoding.DER if der else serialization.Encoding.PEM
        cls.files.write(name, issued.public_bytes(encoding))

    def check_good(self):
        self.assertComesIn(lambda: self.openssl("good"), "urn:good")

    def read_anew(self, change, words="was read anew"):
        """Without a restart."""
        log = len(self.lab.gateway.output(100000))
        change()
        self.assertTrue(self.wait_until(lambda: words in self.lab.gateway.output(100000)[log:]))

    def tearDown(self):
        self.read_anew(self.revoke)
        self.read_anew(lambda: self.revoke(issuer=self.middle, name="middle.crl", der=True))
        super().tearDown()

    def ended(self):
        """As the counters have it."""
        return admin.Admin(self.lab.admin_path).total("sluice_sessions_down_total", reason="revoked")


class RevocationLists(Lists):
    def test_A07_live_sessions_of_a_revoked_certificate_end(self):
        for command in (self.openssl_command, self.gnutls_command):
            with self.subTest(client=command.__name__), self.live(command("good")) as good, \
                    self.live(command("device")) as device, self.live(command("device")) as another:
                for process in (good, device, another):
                    self.assertLives(process)
                ended, log = self.ended(), len(self.lab.gateway.output(100000))
                self.read_anew(lambda: self.revoke("device"))
                self.assertEnds(device)
                self.assertEnds(another)
                self.assertLives(good)
                self.assertEqual(self.ended(), ended + 2)
                said = self.lab.gateway.output(100000)[log:]
                self.assertIn("2 live sessions came in with certificates that are revoked", said)
                self.assertIn('down: certificate "urn:device", certificate revoked', said)
                self.assertTurnedAway(lambda: self.openssl("device"), "certificate_revoked", "has been revoked")
                self.read_anew(self.revoke)
                self.assertComesIn(lambda: self.openssl("device"), "urn:device")
                self.assertLives(good)

    def test_A07_live_sessions_end_soon(self):
        """Within two seconds of the new file, and another one for what lies between."""
        def attempt():
            with self.live(self.openssl_command("device")) as device:
                start = time.monotonic()
                self.revoke("device")
                self.assertTrue(self.wait_until(lambda: self.reason_of(device)))
                took = time.monotonic() - start
            self.read_anew(self.revoke)
            return took
        self.assertSoon(3.0, attempt)

    def test_A07_live_sessions_below_a_revoked_ca_end(self):
        with self.live(self.openssl_command("good")) as good, self.live(self.openssl_command("below")) as below:
            self.read_anew(lambda: self.revoke("device"))
            self.read_anew(lambda: self.revoke("the CA"))
            self.assertEnds(below)
            self.assertLives(good)
        self.read_anew(self.revoke)
        with self.live(self.openssl_command("below")) as below:
            self.read_anew(lambda: self.revoke("below", issuer=self.middle, name="middle.crl", der=True))
            self.assertEnds(below)
        self.check_good()

    def test_A07_live_sessions_from_before_the_anchors_were_replaced_end(self):
        stranger = issue("New root", ca=True)
        with self.live(self.openssl_command("below")) as below, self.live(self.openssl_command("device")) as device:
            self.read_anew(lambda: self.files.write("root.pem", authority.pem(self.root[0]) + authority.pem(stranger[0])),
                           "trust anchors have been read anew")
            self.check_good()
            time.sleep(2.0)  # the old ones are gone
            self.read_anew(lambda: self.revoke("below", issuer=self.middle, name="middle.crl", der=True))
            self.assertEnds(below)
            self.read_anew(lambda: self.revoke("device"))
            self.assertEnds(device)
        self.check_good()

    def test_A07_live_sessions_outlive_lists_that_are_forged_or_gone_or_expired(self):
        stranger = ec.generate_private_key(ec.SECP256R1())
        with self.live(self.openssl_command("below")) as below, self.live(self.openssl_command("device")) as device:
            for change, words in (
                    (lambda: self.revoke("below", issuer=self.middle, name="middle.crl", signer=stranger),
                     "was read anew"),  # whose key it should be is known below the anchors alone
                    (lambda: self.revoke("device", signer=stranger), "cannot be used"),
                    (lambda: os.unlink(self.files("root.crl")), "cannot be used"),
                    (lambda: self.revoke(start=-10 * DAY), "has expired")):
                self.read_anew(change, words)
                time.sleep(1.0)
                self.assertLives(below)
                self.assertLives(device)
            self.read_anew(lambda: self.revoke("device", start=-10 * DAY))  # it still names whom it names
            self.assertEnds(device)
            self.assertLives(below)
        self.read_anew(self.revoke)
        self.check_good()

    def test_A07_revoked_and_back(self):
        for attempt in (self.openssl, self.gnutls):
            with self.subTest(client=attempt.__name__):
                self.assertComesIn(lambda: attempt("device"), "urn:device")
                self.read_anew(lambda: self.revoke("device"))
                self.assertTurnedAway(lambda: attempt("device"), "certificate_revoked",
                                      "the client's certificate has been revoked")
                self.read_anew(self.revoke)
                self.assertComesIn(lambda: attempt("device"), "urn:device")

    def test_A07_by_a_ca_below_and_the_ca_itself(self):
        self.assertComesIn(lambda: self.openssl("below"), "urn:below")
        self.read_anew(lambda: self.revoke("below", issuer=self.middle, name="middle.crl", der=True))
        self.assertTurnedAway(lambda: self.openssl("below"), "certificate_revoked", "has been revoked")
        self.read_anew(lambda: self.revoke(issuer=self.middle, name="middle.crl", der=True))
        self.assertComesIn(lambda: self.openssl("below"), "urn:below")
        self.read_anew(lambda: self.revoke("the CA"))
        self.assertTurnedAway(lambda: self.openssl("below"), "certificate_revoked",
                              "a CA in the client's certificate chain has been revoked")
        self.read_anew(self.revoke)

    def test_A07_a_broken_list_keeps_the_one_before(self):
        self.read_anew(lambda: self.revoke("device"))
        for change in (lambda: self.files.write("root.crl", b"no list"),
                       lambda: os.unlink(self.files("root.crl")),
                       lambda: self.revoke(signer=ec.generate_private_key(ec.SECP256R1()))):
            self.read_anew(change, "cannot be used")
            self.assertTurnedAway(lambda: self.openssl("device"), "certificate_revoked", "has been revoked")
        self.read_anew(self.revoke)
        self.assertComesIn(lambda: self.openssl("device"), "urn:device")

    def test_A07_an_expired_list_refuses_all_that_it_speaks_about(self):
        self.check_good()
        self.read_anew(lambda: self.revoke(start=-10 * DAY), "has expired; devices that it speaks about are refused")
        output = self.openssl("device")
        self.assertIn(f"alert number {ALERTS['certificate_unknown']}", output)
        self.read_anew(self.revoke)
        self.check_good()


class AnchorsReplaced(Fleet):
    """Without any list: who came in under a trust anchor that is taken away goes with it."""

    policy = {}

    @classmethod
    def prepare(cls):
        keep = cls.files.keep
        cls.root, cls.stranger = keep("root", issue("Root", ca=True)), keep("stranger", issue("Stranger", ca=True))
        cls.middle = issue("Issuing CA", cls.root, ca=True)
        keep("good", issue("good", cls.stranger, names=[uri("urn:good")]))
        keep("device", issue("device", cls.root, names=[uri("urn:device")]))
        keep("below", issue("below", cls.middle, names=[uri("urn:below")]), [cls.middle])
        cls.anchors("root", "stranger")
        cls.tls = {"trust_anchors": cls.files("anchors.pem"), **cls.policy}

    @classmethod
    def anchors(cls, *names):
        cls.files.write("anchors.pem", b"".join(authority.pem(getattr(cls, n)[0]) for n in names))

    def check_good(self):
        self.assertComesIn(lambda: self.openssl("good"), "urn:good")

    def replace(self, *names):
        log = len(self.lab.gateway.output(100000))
        self.anchors(*names)
        self.assertTrue(self.wait_until(
            lambda: "trust anchors have been read anew" in self.lab.gateway.output(100000)[log:]))

    def tearDown(self):
        self.replace("stranger", "root")
        super().tearDown()

    def test_A07_live_sessions_below_an_anchor_that_is_taken_away(self):
        with self.live(self.openssl_command("good")) as good, self.live(self.openssl_command("device")) as device, \
                self.live(self.gnutls_command("below")) as below:
            self.replace("root", "stranger")
            for process in (good, device, below):
                self.assertLives(process)
            self.replace("stranger")
            self.assertEnds(device)
            self.assertEnds(below)
            self.assertLives(good)
            self.assertTurnedAway(lambda: self.openssl("device"), "unknown_ca", "ends at an unknown root")


class AnchorsReplacedKept(AnchorsReplaced):
    policy = {"credential_removed": "keep"}

    def test_A07_live_sessions_below_an_anchor_that_is_taken_away(self):
        with self.live(self.openssl_command("device")) as device:
            self.replace("stranger")
            self.assertTurnedAway(lambda: self.openssl("device"), "unknown_ca", "ends at an unknown root")
            self.assertLives(device)


class RevokedSessionsKept(Lists):
    policy = {"credential_removed": "keep"}

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.tls.update(cls.policy)

    def test_A07_live_sessions_stay(self):
        with self.live(self.openssl_command("device")) as device:
            self.read_anew(lambda: self.revoke("device"))
            self.assertTurnedAway(lambda: self.openssl("device"), "certificate_revoked", "has been revoked")
            time.sleep(1.0)
            self.assertLives(device)


class RevokedSessionsSpread(RevokedSessionsKept):
    policy = {"credential_removed": "rehandshake", "rehandshake_s": 4}

    def test_A07_live_sessions_stay(self):
        """For a while, and end one after the other."""
        with contextlib.ExitStack() as stack:
            all = [stack.enter_context(self.live(self.openssl_command("device"))) for _ in range(4)]
            start = time.monotonic()
            self.read_anew(lambda: self.revoke("device"))
            for process in all:
                self.assertEnds(process)
            self.assertGreater(time.monotonic() - start, 2.0)
        self.check_good()


class ExpiredListsUsed(Lists):
    """The other policy. Only what differs."""

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.tls["expired_crl"] = "use"

    def test_A07_an_expired_list_refuses_all_that_it_speaks_about(self):
        self.read_anew(lambda: self.revoke("device", start=-10 * DAY), "has expired; it is used all the same")
        self.assertTurnedAway(lambda: self.openssl("device"), "certificate_revoked", "has been revoked")
        self.read_anew(self.revoke)
        self.assertComesIn(lambda: self.openssl("device"), "urn:device")


if __name__ == "__main__":
    lab.main()
