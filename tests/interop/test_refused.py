#!/usr/bin/python3
"""What is refused on purpose stays refused: with the right alert, counted under its cause, between good clients.

Hand-made ClientHellos say what no client of today does any more; openssl and gnutls-cli say what they still can.
"""

import contextlib
import os
import struct
import subprocess
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import admin
import dtls
import lab
import pki

SUITES = {  # cause -> offers, each of which is all that the client has
    "suite_null": [[0x0001], [0x0002, 0x003B], [0x002C], [0xC006], [0xC010, 0x00FF]],
    "suite_anonymous": [[0x0018], [0x0034, 0x003A], [0xC018, 0x0001], [0x00A6], [0xC017]],
    "suite_des_export": [[0x0009], [0x0003, 0x0006], [0x0015], [0x0062]],
    "suite_rc4": [[0x0005], [0x0004, 0x0005], [0xC007], [0x008A], [0x0066]],
    "suite_3des": [[0x000A], [0x000A, 0x0005], [0x008B], [0xC008], [0x0016, 0x0018, 0x0001]],
    "suite_static_rsa": [[0x002F], [0x0035, 0x000A], [0x003C], [0xC09C], [0x009C, 0x0005, 0x0001]],
    "suite_not_enabled": [[0xC02F], [0x009E, 0x002F, 0x000A]],
}


class Refused(lab.Case):
    def setUp(self):
        super().setUp()
        self.admin = admin.Admin(self.lab.admin_path)

    def assertCounted(self, cause, attempt, alert=None, count=1):
        """attempt() is refused, and counted so often under this cause and under no other."""
        before = self.causes()
        self.assertRefused(attempt, alert)
        after = self.causes()
        grown = {name: after[name] - before[name] for name in after if after[name] != before[name]}
        self.assertEqual(grown, {cause: count})

    def assertTold(self, cause, address):
        """What sluicectl why says about this address begins with that refusal, once; which is returned."""
        status, answer = self.admin.get("/why", address=address)
        self.assertEqual((status, [a["cause"] for a in answer["attempts"] if a["outcome"] == "refused"]), (200, [cause]))
        return answer["attempts"][0]

    def causes(self):
        return {dict(labels)["cause"]: value for (name, labels), value in self.admin.metrics().items()
                if name == "sluice_refusals_total"}

    def hello(self, extensions=None, **changes):
        """One hand-made ClientHello, the cookie obtained; whatever follows is awaited."""
        def attempt():
            with self.lab.client() as client:
                self.address = "%s:%d" % client.socket.getsockname()[:2]
                if extensions is not None:
                    changes["extensions"] = extensions
                client.first_hello(**changes)
                client.send(client.hello(**changes))
                client.server_flight()
        return attempt

    @staticmethod
    def offers(signatures=b"\x04\x03", curves=b"\x00\x17", ems=True):
        out = dtls.extension(10, dtls.vector(2, curves)) + dtls.extension(11, b"\x01\x00")
        if signatures:
            out += dtls.extension(13, dtls.vector(2, signatures))
        return out + (dtls.extension(23, b"") if ems else b"")

    # -- hand-made

    def test_H12_ssl_3_0_and_tls_in_a_dtls_record(self):
        for version in (0x0300, 0x0301, 0x0303):
            with self.subTest(version=f"{version:04x}"):
                self.assertCounted("ssl_or_tls", self.hello(version=version), "protocol_version")
                self.assertTold("ssl_or_tls", self.address)

    def test_H12_a_record_of_ssl_3_0_is_dropped(self):
        """It has no epoch and no sequence number: there is nothing of DTLS in it that could be answered."""
        self.lab.check_good()
        before = self.dropped()
        with self.lab.client() as client:
            hello = client.hello_body(cookie=b"", version=0x0300)
            client.send(struct.pack("!BHH", 22, 0x0300, len(hello) + 4) + b"\x01" + len(hello).to_bytes(3, "big") + hello)
            self.assertEqual(client.datagrams(0.5), [])
        self.assertEqual(self.dropped(), before + 1)
        self.lab.check_good()

    def dropped(self):
        """Its length stands elsewhere than a DTLS record's: read as one, it is of another version or too long."""
        return sum(self.admin.total("sluice_records_total", verdict=v)
                   for v in ("drop_version", "drop_truncated", "drop_too_long"))

    def test_H12_dtls_1_0(self):
        self.assertCounted("dtls_1_0", self.hello(version=dtls.DTLS_1_0), "protocol_version")
        attempt = self.assertTold("dtls_1_0", self.address)
        self.assertEqual((attempt["alert"], attempt["why"]), ("protocol_version", "speaks DTLS 1.0 only"))

    def test_H12_nobody_is_told_before_its_address_is_proved(self):
        """No alert goes to whom a forged ClientHello names as its sender, and nothing is counted or remembered."""
        before, remembered = self.causes(), self.admin.get("/why", address="192.0.2.1")[1]["remembered"]
        with self.lab.client() as client:
            for version in (dtls.DTLS_1_0, 0x0300, 0x0303, 0xFEFC):
                client.send(client.hello(cookie=b"", version=version))
                answer = client.record()
                self.assertEqual((answer.type, answer.body[0]), (dtls.HANDSHAKE, dtls.HELLO_VERIFY_REQUEST))
        self.assertEqual(self.causes(), before)
        self.assertEqual(self.admin.get("/why", address="192.0.2.1")[1]["remembered"], remembered)

    def test_H12_dtls_1_3_alone(self):
        only = dtls.extension(43, dtls.vector(1, b"\xfe\xfc"))
        self.assertCounted("version", self.hello(self.offers() + only), "protocol_version")

    def test_H14_suites_of_the_past(self):
        for cause, offers in SUITES.items():
            for suites in offers:
                with self.subTest(cause=cause, suites=[f"{s:04x}" for s in suites]):
                    self.assertCounted(cause, self.hello(suites=suites), "handshake_failure")

    def test_H14_suites_of_the_past_without_ems_tell_of_the_suites(self):
        self.assertCounted("suite_rc4", self.hello(self.offers(ems=False), suites=[0x0005]), "handshake_failure")

    def test_H10_no_extended_master_secret(self):
        self.assertCounted("no_extended_master_secret", self.hello(self.offers(ems=False)), "handshake_failure")

    def test_compression(self):
        self.assertCounted("compression", self.hello(compression=b"\x01"), "illegal_parameter")

    def test_H13_sha1_and_md5_signatures(self):
        for signatures in (b"\x02\x03", b"\x02\x03\x02\x01\x01\x01", None):
            with self.subTest(signatures=signatures):
                self.assertCounted("signature_sha1", self.hello(self.offers(signatures), suites=[dtls.ECDHE_ECDSA_CCM_8]),
                                   "handshake_failure")

    def test_H13_signatures_that_we_have_not(self):
        self.assertCounted("signature", self.hello(self.offers(b"\x04\x01\x08\x04"), suites=[dtls.ECDHE_ECDSA_CCM_8]),
                           "handshake_failure")

    def test_H13_a_certificate_verify_with_sha1(self):
        def attempt():
            with self.lab.client(certificate=pki.pair(self.lab.pki, "device"), psk=None) as client:
                client.start()
                client.send(client.plain(dtls.HANDSHAKE, client.certificate_message()),
                            client.plain(dtls.HANDSHAKE, client.key_exchange_message()))
                client.derive()
                key = serialization.load_pem_private_key(client.certificate[1], None)
                signature = key.sign(client.transcript, ec.ECDSA(hashes.SHA1()))
                verify = client.message(dtls.CERTIFICATE_VERIFY, b"\x02\x03" + dtls.vector(2, signature))
                client.send(client.plain(dtls.HANDSHAKE, verify), client.change_cipher_spec(),
                            client.sealed(dtls.HANDSHAKE, client.finished_message()))
                client.finish()
        self.assertCounted("signature_sha1", attempt, "illegal_parameter")

    def test_H15_short_curves(self):
        for curves in (b"\x00\x15", b"\x00\x13\x00\x01\x00\x0f"):
            with self.subTest(curves=curves.hex()):
                self.assertCounted("curve_short", self.hello(self.offers(curves=curves), suites=[dtls.ECDHE_ECDSA_CCM_8]),
                                   "handshake_failure")

    def test_H15_curves_that_we_have_not(self):
        self.assertCounted("curve", self.hello(self.offers(curves=b"\x00\x16"), suites=[dtls.ECDHE_ECDSA_CCM_8]),
                           "handshake_failure")

    # -- renegotiation

    def test_H11_a_first_handshake_that_renegotiates(self):
        renegotiates = dtls.extension(0xFF01, b"\x0c" + bytes(12))
        self.assertCounted("renegotiation", self.hello(self.offers() + renegotiates), "handshake_failure")

    def test_H11_S08_renegotiation_inside_a_session(self):
        """Whole, in fragments, and again: each is answered with a warning, and the session goes on. The operator is told
        once."""
        before = self.admin.refusals("renegotiation")
        with self.lab.client() as client:
            client.connect()
            body = client.hello_body(cookie=b"", random=os.urandom(32))
            for part in (dtls.fragment(dtls.CLIENT_HELLO, 0, body), dtls.fragment(dtls.CLIENT_HELLO, 0, body, 0, 30),
                         dtls.fragment(dtls.CLIENT_HELLO, 5, body)):
                client.send(client.sealed(dtls.HANDSHAKE, part))
                self.assertEqual(self.warning(client), (dtls.ALERT, b"\x01\x64"), "warning no_renegotiation")
                self.assertEqual(client.exchange(b"still here"), b"still here")
            self.assertTrue(self.wait_until(lambda: self.admin.refusals("renegotiation") == before + 3))
            attempt = self.assertTold("renegotiation", "%s:%d" % client.socket.getsockname()[:2])
        self.assertEqual((attempt["alert"], attempt["identity"]), ("no_renegotiation", lab.METER.decode()))
        self.lab.check_good()

    @staticmethod
    def warning(client):
        record = client.record()
        return client.rx.open(record) if record else None

    def test_H11_openssl_renegotiates(self):
        """Its R command: the alert makes it give up; the gateway and the others do not mind."""
        self.lab.check_good()
        before = self.admin.refusals("renegotiation")
        command = ["openssl", "s_client", "-dtls1_2", "-connect", "%s:%d" % self.lab.server, "-cipher",
                   "PSK-AES128-CCM8:@SECLEVEL=0", "-psk_identity", lab.METER.decode(), "-psk", lab.METER_KEY.hex()]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
            def asked():
                time.sleep(0.5)  # what it reads during the handshake does nothing
                with contextlib.suppress(BrokenPipeError):  # when the alert has made it give up
                    os.write(client.stdin.fileno(), b"R\n")
                return self.admin.refusals("renegotiation") > before
            self.assertTrue(self.wait_until(asked), "the ClientHello inside the session is counted")
            client.stdin.close()
            try:
                client.wait(5)
            except subprocess.TimeoutExpired:
                client.terminate()
            client.stdout.read()
        self.lab.check_good()

    # -- the programs

    def refuses_program(self, cause, command, says):
        """The program ends in failure and tells of the alert, which is counted."""
        self.lab.check_good()
        before = self.admin.refusals(cause)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
            counted = self.wait_until(lambda: self.admin.refusals(cause) > before)
            try:
                output = client.communicate(b"", 20)[0].decode(errors="replace")
            except subprocess.TimeoutExpired:
                client.kill()
                output = client.communicate()[0].decode(errors="replace")
        self.assertTrue(counted, f"{cause}: {' '.join(command)}\n{output}")
        self.assertIn(says, output.lower(), " ".join(command))
        self.lab.check_good()

    def openssl(self, cause, says, *options):
        with self.subTest(openssl=options):
            self.refuses_program(cause, ["openssl", "s_client", "-connect", "%s:%d" % self.lab.server, *options], says)

    def test_openssl(self):
        self.openssl("dtls_1_0", "protocol version", "-dtls1", "-cipher", "ALL:@SECLEVEL=0")
        for cause, cipher in (("suite_static_rsa", "AES128-SHA:AES256-GCM-SHA384"), ("suite_null", "NULL-SHA256:NULL-SHA"),
                              ("suite_null", "PSK-NULL-SHA256"), ("suite_anonymous", "AECDH-AES128-SHA:ADH-AES128-SHA"),
                              ("suite_anonymous", "ADH-AES256-GCM-SHA384")):
            self.openssl(cause, "handshake failure", "-dtls1_2", "-cipher", cipher + ":@SECLEVEL=0", "-psk", "00112233")
        ecdsa = ("-dtls1_2", "-cipher", "ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0")
        self.openssl("signature_sha1", "handshake failure", *ecdsa, "-sigalgs", "ECDSA+SHA1")
        self.openssl("curve_short", "handshake failure", *ecdsa, "-groups", "P-224")

    def gnutls(self, cause, priority):
        with self.subTest(gnutls=priority):
            command = ["gnutls-cli", "--udp", "--port", str(self.lab.server[1]), "--insecure", "--priority", priority,
                       "--pskusername", lab.METER.decode(), "--pskkey", lab.METER_KEY.hex(), self.lab.server[0]]
            self.refuses_program(cause, command, "fatal alert")

    def test_gnutls(self):
        rest = ":+AEAD:+SHA1:+SHA256:+COMP-NULL:+SIGN-ALL:+GROUP-ALL:+CTYPE-X.509"
        self.gnutls("dtls_1_0", "NONE:+VERS-DTLS1.0:+ECDHE-ECDSA:+AES-128-CBC" + rest)
        self.gnutls("suite_static_rsa", "NONE:+VERS-DTLS1.2:+RSA:+AES-128-CBC:+AES-128-GCM" + rest)
        self.gnutls("suite_3des", "NONE:+VERS-DTLS1.2:+RSA:+ECDHE-ECDSA:+PSK:+3DES-CBC" + rest)
        self.gnutls("suite_anonymous", "NONE:+VERS-DTLS1.2:+ANON-ECDH:+ANON-DH:+AES-128-CBC" + rest)
        self.gnutls("no_extended_master_secret", "NONE:+VERS-DTLS1.2:+PSK:+AES-128-CCM-8:%NO_SESSION_HASH" + rest)


if __name__ == "__main__":
    lab.main()
