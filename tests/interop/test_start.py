#!/usr/bin/python3
"""A gateway that cannot start says why, and what to do."""

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
                              stderr=subprocess.STDOUT, text=True, timeout=30)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.lab.check_good()
        return done.stdout

    def test_without_a_port(self):
        said = self.refused(["--no-huge", "-m", "128"])
        self.assertIn("DPDK found no Ethernet port: port.eal must name one", said)

    def test_with_more_hugepages_than_there_are(self):
        said = self.refused(["-m", "1000000", "--vdev", "net_null0"])
        self.assertIn('without hugepages port.eal needs "--no-huge"', said)


if __name__ == "__main__":
    lab.main()
