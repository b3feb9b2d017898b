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


class Check(lab.Case):
    """--check-config beside a gateway that runs, with good clients before and after."""

    def check(self, **changes):
        self.lab.check_good()
        path = os.path.join(self.lab.folder, "checked.yaml")
        with open(path, "w") as file:
            json.dump({**self.lab.config, "tls": {**self.lab.config["tls"], **changes}}, file)
        done = subprocess.run([self.lab.program("sluice"), "--config", path, "--check-config"], text=True, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.lab.check_good()
        self.assertIn(path, done.stdout)
        return done.returncode, done.stdout

    def test_what_runs_is_good(self):
        status, said = self.check()
        self.assertEqual(status, 0, said)
        self.assertIn(": good", said)

    def test_a_key_that_is_not_of_the_certificate(self):
        status, said = self.check(key=self.lab.pki["device.key"])
        self.assertEqual(status, 1, said)
        self.assertIn(f'tls.key: {self.lab.pki["device.key"]} does not belong to the certificate in', said)

    def test_a_key_that_is_garbage(self):
        path = os.path.join(self.lab.folder, "garbage.key")
        with open(path, "w") as file:
            os.chmod(path, 0o600)
            file.write("-----BEGIN PRIVATE KEY-----\nR2FyYmFnZSwgYnV0IGluIGJhc2U2NC4=\n-----END PRIVATE KEY-----\n")
        status, said = self.check(key=path)
        self.assertEqual(status, 1, said)
        self.assertIn(f"tls.key: {path} cannot be used as a private key in PEM", said)


if __name__ == "__main__":
    lab.main()
