#!/usr/bin/python3
"""Real clients, through the gateway and sluice-forward, to libcoap's plain CoAP server and back."""

import functools
import subprocess

import clients
import lab
from clients import ECDHE_ECDSA, PSK, Credential
from wire import Wire, summary


class Clients(lab.Case):
    backend = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.lab.start_coap_server()

    def credential(self, kind, certificate="device"):
        files = self.lab.pki
        if kind == PSK:
            return Credential(psk=(lab.METER, lab.METER_KEY))
        own = (files[certificate + ".pem"], files[certificate + ".key"]) if certificate else None
        return Credential(certificate=own, ca=files["ca.pem"])

    def assertAnswered(self, name, credential, server=None, **options):
        result = clients.ALL[name](server or self.lab.server, credential, **options)
        self.assertTrue(result.ok, f"{result}\n{self.lab.gateway.output()}")

    def assertTurnedAway(self, name, credential, good, **options):
        """No answer, between two runs of the same client with what it should have used."""
        self.assertAnswered(name, good)
        result = clients.ALL[name](self.lab.server, credential, seconds=3, **options)
        self.assertFalse(result.ok, str(result))
        self.assertAnswered(name, good)

    def good(self, name, kind, certificate="device"):
        wire = Wire(lab.TAP, lab.PORT)
        try:
            self.assertAnswered(name, self.credential(kind, certificate))
        finally:
            datagrams = wire.stop()
        self.assertEqual(summary(datagrams)["suite"], {PSK: 0xC0A8, ECDHE_ECDSA: 0xC0AE}[kind])

    def wrong_key(self, name):
        good = self.credential(PSK)
        self.assertTurnedAway(name, Credential(psk=(lab.METER, b"not the secret !")), good)

    def unknown_identity(self, name):
        good = self.credential(PSK)
        self.assertTurnedAway(name, Credential(psk=(b"urn:dev:nobody", lab.METER_KEY)), good)

    def untrusted(self, name):
        good = self.credential(ECDHE_ECDSA)
        self.assertTurnedAway(name, self.credential(ECDHE_ECDSA, "untrusted"), good)

    def test_over_ipv6(self):
        for name in ("coap-client-openssl", "coap-client-gnutls", "openssl s_client"):
            with self.subTest(client=name):
                self.assertAnswered(name, self.credential(PSK), self.lab.server6)

    def test_gateway_certificate_is_checked_by_the_client(self):
        """The other direction: a client that trusts another CA turns away."""
        wrong = Credential(ca=self.lab.pki["other-ca.pem"])
        for name in ("openssl s_client", "gnutls-cli"):
            with self.subTest(client=name):
                self.assertTurnedAway(name, wrong, self.credential(ECDHE_ECDSA, None))

    def openssl(self, *options):
        command = ["openssl", "s_client", "-connect", f"{lab.GATEWAY4}:{lab.PORT}", "-psk_identity",
                   lab.METER.decode(), "-psk", lab.METER_KEY.hex(), *options]
        return subprocess.run(command, input=b"", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=lab.PATIENCE_S).stdout

    def test_H14_suites_that_are_never_taken(self):
        self.lab_is_good()
        for cipher in ("AES128-SHA256", "AES128-SHA", "NULL-SHA256", "AECDH-AES128-SHA", "PSK-NULL-SHA256",
                       "PSK-AES128-CBC-SHA", "RSA-PSK-AES128-CBC-SHA256", "DHE-RSA-AES128-SHA"):
            with self.subTest(cipher=cipher):
                output = self.openssl("-dtls1_2", "-cipher", cipher + ":@SECLEVEL=0")
                self.assertIn(b"handshake failure", output)
        self.lab_is_good()

    def test_H12_dtls_1_0(self):
        self.lab_is_good()
        output = self.openssl("-dtls1", "-cipher", "ALL:@SECLEVEL=0")
        self.assertRegex(output, b"alert protocol version|unsupported protocol|wrong version|version too low")
        self.lab_is_good()

    def test_R18_small_mtu(self):
        """The client's own flights come in fragments."""
        self.assertAnswered("openssl s_client", self.credential(ECDHE_ECDSA), options=["-mtu", "300"])
        self.assertAnswered("gnutls-cli", self.credential(ECDHE_ECDSA), options=["--mtu", "300"])

    def lab_is_good(self):
        self.assertAnswered("openssl s_client", self.credential(PSK))


def define(name, function, *arguments):
    def test(self):
        function(self, *arguments)
    functools.update_wrapper(test, function)
    setattr(Clients, "test_" + name, test)


for client in clients.ALL:
    label = client.replace(" ", "_").replace("-", "_")
    define(f"R14_{label}_psk", Clients.good, client, PSK)
    define(f"R14_{label}_ecdhe_ecdsa", Clients.good, client, ECDHE_ECDSA, None)
    define(f"A03_{label}_with_certificate", Clients.good, client, ECDHE_ECDSA, "device")
    define(f"A01_{label}_wrong_key", Clients.wrong_key, client)
    define(f"A01_{label}_unknown_identity", Clients.unknown_identity, client)
    define(f"A03_{label}_untrusted_certificate", Clients.untrusted, client)


if __name__ == "__main__":
    lab.main()
