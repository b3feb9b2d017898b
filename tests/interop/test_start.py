#!/usr/bin/python3
"""A gateway that cannot start says why, and what to do; so does one that is only asked to check."""

import json
import os
import subprocess

import lab


class Start(lab.Case):
    """Between two good clients of a gateway that runs meanwhile."""

    def refused(self, eal):
        self.lab.check_good()
        path = os.path.join(self.lab.folder, "refused.yaml")
        port = {**self.lab.config["port"], "eal": [*eal, "--no-pci", "--no-telemetry", "--no-shconf"]}
        config = {**self.lab.config, "port": port, "ring": {"socket": os.path.join(self.lab.folder, "refused.sock")}}
        with open(path, "w") as file:
            json.dump(config, file)
        done = subprocess.run([self.lab.program("sluice"), "--config", path], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=lab.PATIENCE_S)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.lab.check_good()
        return done.stdout

    def test_without_a_port(self):
        said = self.refused(["--no-huge", "-m", "128"])
        self.assertIn("DPDK found no Ethernet port: port.eal must name one", said)

    def test_with_more_hugepages_than_there_are(self):
        said = self.refused(["-m", "1000000", "--vdev", "net_null0"])
        self.assertIn('without hugepages port.eal needs "--no-huge"', said)


class ManyWorkers(lab.Case):
    """More of them than a TAP can have queues: its driver takes four, whatever it tells."""

    settings = {"workers": {"count": 6}}

    def test_serves(self):
        self.lab.check_good()
        self.assertIn("6 workers", self.lab.gateway.output())


class Check(lab.Case):
    """--check-config beside a gateway that runs, with good clients before and after."""

    def file(self, name, content):
        path = os.path.join(self.lab.folder, name)
        with open(path, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
        return path

    def check(self, credentials=None, handshakes=None, **changes):
        self.lab.check_good()
        path = os.path.join(self.lab.folder, "checked.yaml")
        with open(path, "w") as file:
            json.dump({**self.lab.config, "tls": {**self.lab.config["tls"], **changes},
                       "credentials": {**self.lab.config["credentials"], **(credentials or {})},
                       "handshakes": {**self.lab.config["handshakes"], **(handshakes or {})}}, file)
        done = subprocess.run([self.lab.program("sluice"), "--config", path, "--check-config"], text=True, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.lab.check_good()
        return done.returncode, done.stdout

    def refused(self, sentence, **changes):
        status, said = self.check(**changes)
        self.assertIn(sentence, said)
        self.assertEqual(status, 1, said)

    def test_what_runs_is_good(self):
        status, said = self.check()
        self.assertEqual(status, 0, said)
        self.assertIn(": good", said)

    def test_a_key_that_is_not_of_the_certificate(self):
        status, said = self.check(key=self.lab.pki["device.key"])
        self.assertEqual(status, 1, said)
        self.assertIn(f'tls.key: {self.lab.pki["device.key"]} does not belong to the certificate in', said)

    def test_a_key_that_is_garbage(self):
        path = self.file("garbage.key", b"-----BEGIN PRIVATE KEY-----\nR2FyYmFnZQ==\n-----END PRIVATE KEY-----\n")
        self.refused(f"tls.key: {path} cannot be used as a private key in PEM: it is damaged, or of an unknown kind; "
                     f"'openssl pkey -in {path} -noout' has details", key=path)

    def test_a_key_that_is_encrypted(self):
        path = self.file("encrypted.key", subprocess.run(
            ["openssl", "pkey", "-in", self.lab.pki["server.key"], "-aes128", "-passout", "pass:x"],
            stdout=subprocess.PIPE, check=True).stdout)
        self.refused("it is encrypted, and nobody is asked for its password", key=path)

    def test_what_is_no_certificate(self):
        path = self.file("bad.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        self.refused("it is damaged, or of an unknown kind; 'openssl x509 -in", certificate=path)
        self.refused("tls.trust_anchors: ", trust_anchors=path)
        self.refused("it holds no revocation list in PEM or DER", crls=[path])

    def test_secrets(self):
        bad, weak = self.file("bad.txt", b"meter:zz\n"), self.file("weak.txt", b"meter:0011\n")
        self.refused("bad.txt, line 1: the key holds something else", credentials={"psk_file": bad})
        self.refused("must hold one to 4 lines of 64", handshakes={"ticket_keys": bad}, tickets=True)
        status, said = self.check(credentials={"psk_file": weak})
        self.assertEqual(status, 0, said)
        self.assertIn(f"1 of the pre-shared keys in {weak} can be guessed", said)


if __name__ == "__main__":
    lab.main()
