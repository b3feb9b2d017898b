#!/usr/bin/python3
"""Many devices at once, simulated by sluice-swarm: handshakes, moves, reboots, loss, forgery; nothing lost, nothing twice."""

import json
import os
import subprocess
import tempfile

import lab

DEVICES_NET, DEVICES_ROUTE = "198.18.64.1", "198.18.64.0/18"
DEVICES_MAX = 16000


class Swarm(lab.Case):
    backend = False

    @classmethod
    def setUpClass(cls):
        build = os.environ.get("SLUICE_BUILD", "build")
        cls.program = os.path.abspath(os.path.join(build, "bench", "sluice-swarm"))
        cls.folder = tempfile.mkdtemp(prefix="swarm-")
        psk = os.path.join(cls.folder, "psk.txt")
        subprocess.run([cls.program, "--write-psk", psk, "--devices", str(DEVICES_MAX)], check=True)
        with open(psk, "a") as file:
            file.write("".join(f"{i.decode()}:{k.hex()}\n" for i, k in lab.PSKS.items()))
        cls.settings = {"credentials": {"psk_file": psk}, "workers": cls.workers(),
                        "ring": {"socket": os.path.join(cls.folder, "app.sock")}}
        cls.lab = lab.Lab(build, cls.settings, backend=False)
        cls.lab.socket_path = cls.settings["ring"]["socket"]
        cls.lab.start_gateway()
        lab.run("ip", "route", "replace", "local", DEVICES_ROUTE, "dev", "lo")
        cls.echo = lab.Process("echo", [os.path.join(build, "ring", "sluice-print"), cls.lab.socket_path, "--echo"],
                               cls.folder)
        cls.lab.wait(cls.lab.attached, "the echo to attach", processes=[cls.lab.gateway, cls.echo])

    @classmethod
    def tearDownClass(cls):
        cls.echo.stop()
        cls.lab.stop()

    @staticmethod
    def workers():
        return {"count": 1, "idle": "sleep"}

    def swarm(self, *options, good=True):
        report = os.path.join(self.folder, "report.json")
        command = [self.program, "--socket", "--server", f"{lab.GATEWAY4}:{lab.PORT}", "--devices-net", DEVICES_NET,
                   "--answer-timeout", "60000", "--json", report, *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240)
        if good:
            self.assertEqual(done.returncode, 0, done.stdout)
        with open(report) as file:
            return json.load(file)

    def test_psk_handshakes_and_requests(self):
        report = self.swarm("--devices", "2000", "--records", "20")
        self.assertEqual(report["handshakes_done"], 2000)
        self.assertEqual(report["answers"], 40000)
        self.assertEqual(report["duplicated_answers"], 0)

    def test_ecdsa_handshakes_and_requests(self):
        report = self.swarm("--devices", "500", "--records", "4", "--suite", "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8",
                            "--cid", "--ca", self.lab.pki["ca.pem"])
        self.assertEqual(report["handshakes_done"], 500)
        self.assertEqual(report["answers"], 2000)

    def test_I07_every_request_from_another_port(self):
        """NAT rebinding keeps all CID sessions."""
        report = self.swarm("--devices", "3000", "--records", "8", "--cid", "--rebind-every", "1")
        self.assertEqual(report["handshakes_done"], 3000)
        self.assertEqual(report["answers"], 24000)
        self.assertEqual(report["rebinds"], 21000)

    def test_H06_devices_that_reboot_get_a_new_session(self):
        report = self.swarm("--devices", "500", "--records", "9", "--reboot-every", "3")
        self.assertEqual(report["answers"], 4500)
        self.assertEqual(report["handshakes_done"], 1500)

    def test_R01_R03_replays_and_forgeries_have_no_effect(self):
        report = self.swarm("--devices", "500", "--records", "40", "--replay", "0.3", "--forge", "0.3")
        self.assertEqual(report["answers"], 20000)
        self.assertEqual(report["duplicated_answers"], 0)
        self.assertGreater(report["replays_sent"], 4000)
        self.assertGreater(report["forgeries_sent"], 4000)

    def test_R01_reordering_and_duplicates_lose_nothing(self):
        report = self.swarm("--devices", "200", "--records", "30", "--reorder", "0.3", "--duplicate", "0.3",
                            "--handshakes-first", "--handshake-timeout", "60", "--cid")
        self.assertEqual(report["answers"], 6000)
        self.assertEqual(report["duplicated_answers"], 0)

    def test_H03_handshakes_survive_loss(self):
        report = self.swarm("--devices", "300", "--records", "0", "--loss", "0.1", "--duplicate", "0.1", "--reorder",
                            "0.1", "--handshake-flight", "300", "--handshake-timeout", "60")
        self.assertEqual(report["handshakes_done"], 300)

    def test_A01_unknown_devices_are_refused(self):
        self.swarm("--devices", "50", "--records", "1")
        report = self.swarm("--devices", "50", "--records", "1", "--psk-prefix", "urn:stranger:",
                            "--handshake-timeout", "5", good=False)
        self.assertEqual(report["handshakes_done"], 0)
        self.swarm("--devices", "50", "--records", "1")


class SwarmOnTwoWorkers(Swarm):
    """The same with two workers: the TAP has no RSS that could be told, frames are steered by hash and by CID."""

    @staticmethod
    def workers():
        return {"count": 2, "idle": "sleep"}


if __name__ == "__main__":
    lab.main()
