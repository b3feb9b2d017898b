#!/usr/bin/python3
"""Tenants by server name (checklist H17): each with its certificate, roots, suites, space of keys and rules. Real
clients: openssl s_client and gnutls-cli."""

import contextlib
import os
import re
import subprocess

import clients
import dtls
import lab
import pki
import store

CCM_8, CCM = "TLS_PSK_WITH_AES_128_CCM_8", "TLS_PSK_WITH_AES_128_CCM"
WATER_KEY, HEAT_KEY = b"the key of water", b"the heat's own k"
IDENTITY = "urn:dev:meter-1"  # the same one in each tenant


class Tenants(store.Case):
    settings = {"tls": {"unknown_server_name": "refuse"}}

    @classmethod
    def prepare(cls):
        cls.store.add(IDENTITY, WATER_KEY, "water")
        cls.store.add(IDENTITY, HEAT_KEY, "heat")
        cls.store.add("only-water", WATER_KEY, "water")
        cls.heat = pki.make(os.path.join(cls.lab.folder, "heat"))
        return [
            {"name": "water", "server_names": ["water.example", "*.water.example"], "suites": [CCM_8],
             "reveal_unknown_psk": True, "require_ems": False},
            {"name": "heat", "server_names": ["heat.example"], "certificate": cls.heat["server.pem"],
             "key": cls.heat["server.key"], "trust_anchors": cls.heat["ca.pem"], "client_certificate": "required",
             "suites": ["TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8", CCM]},
        ]

    def psk(self, key, name, identity=IDENTITY):
        return clients.Credential(psk=(identity.encode(), key)), (["-servername", name] if name else ["-noservername"])

    def openssl(self, key, name, identity=IDENTITY, options=()):
        credential, more = self.psk(key, name, identity)
        return clients.openssl_client(self.lab.server, credential, options=[*more, *options])

    def gnutls(self, key, name, identity=IDENTITY):
        credential, _ = self.psk(key, name, identity)
        return clients.gnutls_client(self.lab.server, credential, seconds=10,
                                     options=["--sni-hostname", name] if name else ["--disable-sni"])

    def assertGood(self, result):
        self.assertTrue(result.ok, str(result))

    def assertBad(self, result, *alerts):
        self.assertFalse(result.ok, str(result))
        text = result.output.decode(errors="replace").replace(" ", "_").lower()
        self.assertTrue(not alerts or any(alert in text for alert in alerts), str(result))

    def setUp(self):
        super().setUp()
        self.lab.check_good()

    def tearDown(self):
        self.lab.check_good()

    # -- keys

    def test_H17_each_tenant_has_its_own_keys(self):
        for client in (self.openssl, self.gnutls):
            self.assertGood(client(lab.METER_KEY, None))
            self.assertGood(client(WATER_KEY, "water.example"))
            self.assertGood(client(WATER_KEY, "a.b.Water.example"))

    def test_H17_the_key_of_another_tenant_is_a_wrong_one(self):
        self.assertBad(self.openssl(WATER_KEY, None), "decrypt_error")
        self.assertBad(self.openssl(lab.METER_KEY, "water.example"), "decrypt_error")
        self.assertBad(self.gnutls(HEAT_KEY, "water.example"))
        self.assertGood(self.openssl(WATER_KEY, "water.example"))

    def test_A01_only_the_tenant_that_wants_it_tells_unknown_identities(self):
        self.assertBad(self.openssl(WATER_KEY, None, "only-water"), "decrypt_error")
        self.assertBad(self.openssl(WATER_KEY, "water.example", "nobody"), "unknown_psk_identity")
        self.assertGood(self.openssl(WATER_KEY, "water.example", "only-water"))

    def test_H17_a_name_of_no_tenant_is_refused(self):
        self.assertBad(self.openssl(lab.METER_KEY, "elsewhere.example"), "unrecognized_name")
        self.assertBad(self.gnutls(lab.METER_KEY, "xwater.example"), "not_recognized", "unrecognized_name")
        self.assertGood(self.openssl(lab.METER_KEY, None))
        for name in ("water.example.", "x" * 250, "a..b"):
            def attempt():
                with self.lab.client(extensions=store.sni(name)) as client:
                    client.connect()
            with self.subTest(name=name[:20]):
                self.assertRefused(attempt, "unrecognized_name")

    def test_H17_the_name_is_acknowledged_when_it_was_used(self):
        """RFC 6066 3: an empty extension in the ServerHello."""
        for name, wanted in (("water.example", True), (None, False)):
            with self.lab.client(extensions=store.sni(name) if name else b"",
                                 psk=(IDENTITY.encode(), WATER_KEY if name else lab.METER_KEY)) as client:
                client.start()
                hello = next(m for m in messages(client.transcript) if m[0] == dtls.SERVER_HELLO)
                self.assertEqual(0 in extensions_of(hello[12:]), wanted)

    # -- certificates

    def certificate_of(self, name):
        command = ["openssl", "s_client", "-dtls1_2", "-connect", "%s:%d" % self.lab.server, "-cipher",
                   "ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0", "-showcerts",
                   *(["-servername", name] if name else ["-noservername"])]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=lab.PATIENCE_S)
        found = re.search(b"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", done.stdout, re.S)
        return found.group(0) if found else None

    def test_H17_each_tenant_shows_its_certificate(self):
        ours, theirs = pki.pair(self.lab.pki, "server")[0], pki.pair(self.heat, "server")[0]
        self.assertEqual(self.certificate_of(None), ours)
        self.assertEqual(self.certificate_of("heat.example"), theirs)
        self.assertIsNone(self.certificate_of("water.example"), "a tenant with keys only")

    def test_H17_each_tenant_has_its_roots(self):
        def connect(device, ca, name):
            credential = clients.Credential(certificate=(device["device.pem"], device["device.key"]), ca=ca["ca.pem"])
            return clients.openssl_client(self.lab.server, credential, options=[
                *(["-servername", name] if name else ["-noservername"])])
        self.assertGood(connect(self.lab.pki, self.lab.pki, None))
        self.assertGood(connect(self.heat, self.heat, "heat.example"))
        self.assertBad(connect(self.lab.pki, self.heat, "heat.example"), "alert")
        self.assertBad(connect(self.heat, self.lab.pki, None), "alert")

    def test_H17_each_tenant_has_its_rule_about_client_certificates(self):
        credential = clients.Credential(ca=self.heat["ca.pem"])
        self.assertBad(clients.openssl_client(self.lab.server, credential, seconds=10,
                                              options=["-servername", "heat.example"]), "handshake_failure")
        credential = clients.Credential(ca=self.lab.pki["ca.pem"])
        self.assertGood(clients.openssl_client(self.lab.server, credential, options=["-noservername"]))

    # -- suites and rules

    def test_A06_each_tenant_has_its_suites(self):
        """-cipher at the end takes the place of the one before."""
        ccm = ["-cipher", "PSK-AES128-CCM:@SECLEVEL=0"]
        self.assertGood(self.openssl(HEAT_KEY, "heat.example", options=ccm))
        self.assertBad(self.openssl(HEAT_KEY, "heat.example"), "handshake_failure")
        self.assertBad(self.openssl(WATER_KEY, "water.example", options=ccm), "handshake_failure")
        self.assertGood(self.openssl(WATER_KEY, "water.example"))

    def test_each_tenant_has_its_rule_about_the_extended_master_secret(self):
        with self.lab.client(extensions=store.sni("water.example"), psk=(IDENTITY.encode(), WATER_KEY),
                             ems=False) as client:
            client.connect()
            self.assertWorks(client)

        def attempt():
            with self.lab.client(ems=False) as client:
                client.connect()
        self.assertRefused(attempt, "handshake_failure")


class UnknownNames(store.Case):
    """The default: whoever asks for a name of nobody is one of the default tenant's."""

    @classmethod
    def prepare(cls):
        cls.store.add(IDENTITY, WATER_KEY, "water")
        return [{"name": "water", "server_names": ["water.example"], "handshake_rate": 3, "sessions_max": 2}]

    def test_H17_they_are_of_the_default_tenant(self):
        self.lab.check_good(extensions=store.sni("elsewhere.example"))

    def test_a_tenants_rate_is_its_own(self):
        with contextlib.ExitStack() as stack:
            crowd = [stack.enter_context(self.lab.client(psk=(IDENTITY.encode(), WATER_KEY),
                                                         extensions=store.sni("water.example"))) for _ in range(60)]
            for client in crowd:
                client.first_hello()
            for client in crowd:  # all within a moment
                client.send(client.hello())
            self.lab.check_good()
            begun = [client for client in crowd if client.datagram(0.02)]
        self.assertGreaterEqual(len(begun), 3)
        self.assertLess(len(begun), 60)
        self.assertGreater(self.log_count("handshake_rate"), 0)
        self.assertTrue(self.wait_until(self.gets_in))

    def gets_in(self):
        try:
            self.connected(IDENTITY, WATER_KEY, "water.example", timeout=4.0).close()
            return True
        except dtls.HandshakeError:
            return False

    def test_a_tenants_sessions_are_bounded_and_the_oldest_makes_room(self):
        other = self.lab.client().connect()
        sessions = []
        while len(sessions) < 4:
            try:
                sessions.append(self.connected(IDENTITY, WATER_KEY, "water.example", timeout=4.0))
            except dtls.HandshakeError:
                pass  # its rate
        for old in sessions[:2]:
            with self.assertRaises(dtls.HandshakeError) as caught:
                old.receive()
            self.assertEqual(caught.exception.alert, "close_notify")
        for session in [*sessions[2:], other]:
            self.assertWorks(session)
        for session in [*sessions, other]:
            session.close()


def messages(transcript):
    """The handshake messages of a transcript, each with its header of 12 bytes."""
    while transcript:
        length = 12 + int.from_bytes(transcript[1:4], "big")
        yield transcript[:length]
        transcript = transcript[length:]


def extensions_of(hello):
    """Of a ServerHello's body."""
    at = 35 + hello[34] + 3 + 2
    out = {}
    while at + 4 <= len(hello):
        number, length = int.from_bytes(hello[at:at + 2], "big"), int.from_bytes(hello[at + 2:at + 4], "big")
        out[number] = hello[at + 4:at + 4 + length]
        at += 4 + length
    return out


if __name__ == "__main__":
    lab.main()
