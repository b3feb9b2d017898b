#!/usr/bin/python3
"""Every cipher suite that the record layer carries, with real clients; CBC as encrypt-then-MAC and as MAC-then-encrypt."""

import functools

import clients
import lab
from clients import Credential
from wire import Wire, summary

# IANA name: number, OpenSSL's name, GnuTLS's key exchange, cipher and MAC.
SUITES = {
    "TLS_PSK_WITH_AES_128_CCM_8": (0xC0A8, "PSK-AES128-CCM8", "PSK", "AES-128-CCM-8", "AEAD"),
    "TLS_PSK_WITH_AES_128_CCM": (0xC0A4, "PSK-AES128-CCM", "PSK", "AES-128-CCM", "AEAD"),
    "TLS_PSK_WITH_AES_256_CCM_8": (0xC0A9, "PSK-AES256-CCM8", "PSK", "AES-256-CCM-8", "AEAD"),
    "TLS_PSK_WITH_AES_128_CBC_SHA256": (0x00AE, "PSK-AES128-CBC-SHA256", "PSK", "AES-128-CBC", "SHA256"),
    "TLS_PSK_WITH_AES_128_GCM_SHA256": (0x00A8, "PSK-AES128-GCM-SHA256", "PSK", "AES-128-GCM", "AEAD"),
    "TLS_DHE_PSK_WITH_AES_128_CBC_SHA256": (0x00B2, "DHE-PSK-AES128-CBC-SHA256", "DHE-PSK", "AES-128-CBC", "SHA256"),
    "TLS_DHE_PSK_WITH_AES_128_GCM_SHA256": (0x00AA, "DHE-PSK-AES128-GCM-SHA256", "DHE-PSK", "AES-128-GCM", "AEAD"),
    "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256": (0xC037, "ECDHE-PSK-AES128-CBC-SHA256", "ECDHE-PSK", "AES-128-CBC",
                                              "SHA256"),
    "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8": (0xC0AE, "ECDHE-ECDSA-AES128-CCM8", "ECDHE-ECDSA", "AES-128-CCM-8", "AEAD"),
    "TLS_ECDHE_ECDSA_WITH_AES_128_CCM": (0xC0AC, "ECDHE-ECDSA-AES128-CCM", "ECDHE-ECDSA", "AES-128-CCM", "AEAD"),
    "TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8": (0xC0AF, "ECDHE-ECDSA-AES256-CCM8", "ECDHE-ECDSA", "AES-256-CCM-8", "AEAD"),
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256": (0xC023, "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA", "AES-128-CBC",
                                                "SHA256"),
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": (0xC02B, "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA",
                                                "AES-128-GCM", "AEAD"),
}
NAMES = {"openssl": "openssl s_client", "gnutls": "gnutls-cli"}

for suite, (_, openssl, exchange, cipher, mac) in SUITES.items():
    clients.OPENSSL_SUITES[suite] = openssl
    for etm in (True, False):
        clients.GNUTLS_PRIORITIES[suite if etm else suite + " no etm"] = (
            f"NONE:+VERS-DTLS1.2:+{exchange}:+{cipher}:+{mac}:+COMP-NULL:+SIGN-ALL:+GROUP-ALL:+CTYPE-X.509"
            + ("" if etm else ":%NO_ETM"))


class Suites(lab.Case):
    backend = False
    settings = {"tls": None}

    @classmethod
    def setUpClass(cls):
        cls.settings = {"tls": {"suites": list(SUITES)}}
        super().setUpClass()
        cls.lab.start_coap_server()

    def talk(self, client, suite, etm):
        credential = Credential(psk=(lab.METER, lab.METER_KEY))
        if "ECDSA" in suite:
            files = self.lab.pki
            credential = Credential(certificate=(files["device.pem"], files["device.key"]), ca=files["ca.pem"])
        credential.suite = suite if etm or client == "openssl" else suite + " no etm"
        options = ["-no_etm"] if client == "openssl" and not etm else []
        wire = Wire(lab.TAP, lab.PORT)
        try:
            result = clients.ALL[NAMES[client]](self.lab.server, credential, options=options)
        finally:
            datagrams = wire.stop()
        self.assertTrue(result.ok, f"{result}\n{self.lab.gateway.output()}")
        self.assertEqual(summary(datagrams)["suite"], SUITES[suite][0])


def clients_of(suite):
    """Debian 12's gnutls-cli ends in a segmentation fault of its own after an (EC)DHE_PSK handshake."""
    return ["openssl"] if "DHE_PSK" in suite else list(NAMES)


def add_tests():
    for suite in SUITES:
        for client in clients_of(suite):
            for etm in (True, False) if "CBC" in suite else (True,):
                name = f"test_R15_{client}_{suite}_{'etm' if etm else 'mte'}" if "CBC" in suite else \
                    f"test_R14_{client}_{suite}"
                setattr(Suites, name, functools.partialmethod(Suites.talk, client, suite, etm))


add_tests()

if __name__ == "__main__":
    lab.main()
