#!/usr/bin/python3
"""A hundred thousand devices at once, and a table that is too small: nothing lost, nothing twice, the right ones go."""

import json
import os
import re
import signal
import subprocess
import tempfile
import time

import lab

DEVICES_NET, OTHER_NET, DEVICES_ROUTE = "10.64.0.1", "10.67.0.1", "10.64.0.0/14"
PREFIX = "urn:swarm:"
HUGE_PAGES = 4 << 20  # what rounding to them may add


class Audited(lab.Case):
    """A gateway whose application is the auditor."""

    backend = False
    prefix = None
    settings = {}

    @classmethod
    def setUpClass(cls):
        build = os.path.abspath(os.environ.get("SLUICE_BUILD", "build"))
        cls.swarm = os.path.join(build, "bench", "sluice-swarm")
        cls.folder = tempfile.mkdtemp(prefix="scale-")
        cls.lab = lab.Lab(build, cls.settings, backend=False)
        cls.prepare()
        try:
            cls.lab.start_gateway()
            cls.start_auditor(build)
        except BaseException:
            cls.lab.stop()
            raise

    @classmethod
    def prepare(cls):
        """Before the gateway starts."""

    @classmethod
    def add_credentials(cls, devices):
        subprocess.run([cls.swarm, "--write-psk", cls.lab.psk_path + ".swarm", "--devices", str(devices),
                        "--psk-prefix", PREFIX], check=True)
        with open(cls.lab.psk_path, "a") as all_of_them, open(cls.lab.psk_path + ".swarm") as swarm:
            all_of_them.write(swarm.read())
        lab.run("ip", "route", "replace", "local", DEVICES_ROUTE, "dev", "lo")

    @classmethod
    def start_auditor(cls, build):
        cls.report_path = os.path.join(cls.folder, "audit.json")
        environment = {"SLUICE_LIBRARY": os.path.join(build, "ring", "libsluice.so.0"),
                       "PYTHONPATH": os.path.join(os.path.dirname(__file__), "..", "..", "ring", "python")}
        command = ["/usr/bin/python3", os.path.join(os.path.dirname(__file__), "auditor.py"), cls.lab.socket_path,
                   cls.report_path]
        cls.auditor = lab.Process("auditor", command + ([cls.prefix] if cls.prefix else []), cls.folder, environment)
        cls.lab.wait(cls.lab.attached, "the auditor to attach", processes=[cls.lab.gateway, cls.auditor])

    @classmethod
    def tearDownClass(cls):
        cls.auditor.stop()
        cls.lab.stop()

    def audit(self):
        if os.path.exists(self.report_path):
            os.unlink(self.report_path)
        self.auditor.process.send_signal(signal.SIGUSR1)
        self.assertTrue(self.wait_until(lambda: os.path.exists(self.report_path)), self.auditor.output())
        with open(self.report_path) as file:
            return json.load(file)


class HundredThousand(Audited):
    prefix = PREFIX
    devices, workers = 100000, 1

    @classmethod
    def setUpClass(cls):
        cls.settings = {"workers": {"count": cls.workers}, "sessions": {"max": 1 << 17},
                        "handshakes": {"max": 1024, "rate": 100000, "rate_prefix": 100000}}
        super().setUpClass()

    @classmethod
    def prepare(cls):
        cls.add_credentials(cls.devices)

    def test_I07_every_session_used_from_a_new_port(self):
        """All have their handshake first; then each makes a request, moves to another port, and makes another."""
        path = os.path.join(self.folder, "swarm.json")
        command = [self.swarm, "--socket", "--server", f"{lab.GATEWAY4}:{lab.PORT}", "--devices-net", DEVICES_NET,
                   "--devices", str(self.devices), "--psk-prefix", PREFIX, "--cid", "--handshakes-first", "--records", "2",
                   "--rebind-every", "1", "--no-close", "--answer-timeout", "60000", "--json", path]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=400)
        self.assertEqual(done.returncode, 0, done.stdout)
        with open(path) as file:
            swarm = json.load(file)
        audit = self.audit()
        self.assertEqual(swarm["handshakes_done"], self.devices)
        self.assertEqual(swarm["rebinds"], self.devices)
        self.assertEqual(swarm["answers"], 2 * self.devices)
        self.assertEqual(swarm["duplicated_answers"] + swarm["unexpected"], 0)
        self.assertEqual(audit["up"], self.devices)
        self.assertEqual(audit["live"], self.devices)
        self.assertEqual(audit["requests"], 2 * self.devices)
        self.assertEqual(audit["data"], 2 * self.devices)
        self.assertEqual(audit["moved"], self.devices)
        for wrong in ("twice", "misattributed", "nameless", "send failed"):
            self.assertEqual(audit[wrong], 0, wrong)
        # A stop says goodbye to all of them, and does not hang however long that takes.
        self.lab.gateway.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.lab.gateway.process.wait(60), 0, self.lab.gateway.output())


class TwoWorkers(HundredThousand):
    """The TAP has no RSS: frames are steered by hash, and by CID once their sender has moved."""

    devices, workers = 20000, 2


class Preinstalled(Audited):
    """Sessions of known keys, without handshakes: a door that only the benchmarks' gateway has."""

    prefix = PREFIX
    sessions = 200000
    settings = {"sessions": {"max": 1 << 18}}

    @classmethod
    def prepare(cls):
        lab.run("ip", "route", "replace", "local", DEVICES_ROUTE, "dev", "lo")
        cls.cids = os.path.join(cls.folder, "cids")
        cls.lab.command = [cls.lab.program("bench/sluice-bench-gateway"), "--test-sessions",
                           f"{cls.sessions},seed,{DEVICES_NET},{cls.cids}"]

    def test_every_session_serves(self):
        self.assertTrue(self.wait_until(lambda: self.audit()["up"] == self.sessions), "all are announced")
        done = self.run_swarm("seed")
        self.assertEqual(done.returncode, 0, done.stdout)
        audit = self.audit()
        self.assertEqual(audit["up"], self.sessions)
        self.assertEqual(audit["data"], self.sessions)
        for wrong in ("twice", "misattributed", "nameless", "send failed", "moved"):
            self.assertEqual(audit[wrong], 0, wrong)
        done = self.run_swarm("another seed", "--seconds", "2", "--answer-timeout", "500")
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertEqual(self.audit()["data"], self.sessions)

    def test_the_gateway_itself_has_no_such_door(self):
        done = subprocess.run([self.lab.program("sluice"), *self.lab.command[1:], "--config", self.lab.config_path],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=20)
        self.assertEqual(done.returncode, 2)
        self.assertIn("unrecognized option '--test-sessions'", done.stderr)
        with open(self.lab.program("sluice"), "rb") as program:
            self.assertNotIn(b"TEST SESSIONS", program.read())

    def run_swarm(self, seed, *options):
        command = [self.swarm, "--socket", "--server", f"{lab.GATEWAY4}:{lab.PORT}", "--devices-net", DEVICES_NET,
                   "--devices", str(self.sessions), "--preinstalled", seed, "--cid-file", self.cids, "--records", "1",
                   "--answer-timeout", "60000", *options]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=200)


class Memory(lab.Case):
    """What --memory-plan says before the start is what the kernel says after it, empty and with a million sessions."""

    backend = False
    sessions = 1000000

    @classmethod
    def setUpClass(cls):
        cls.lab = lab.Lab(os.path.abspath(os.environ.get("SLUICE_BUILD", "build")),
                          {"sessions": {"max": cls.sessions}}, backend=False)
        cls.lab.start_gateway()

    def test_the_plan_is_the_mapping(self):
        plan = self.plan()
        at_once = plan["total"] - plan["large keys"]
        self.assertLessEqual(at_once, 256 * self.sessions)
        empty = self.resident(plan["total"])
        self.assertAlmostEqual(empty, at_once, delta=HUGE_PAGES)
        self.lab.gateway.stop()
        self.lab.command = [self.lab.program("bench/sluice-bench-gateway"), "--test-sessions",
                            f"{self.sessions},seed,{DEVICES_NET}"]
        self.lab.start_gateway()
        self.assertEqual(self.resident(plan["total"]), empty, "all of it is taken at the start")
        self.lab.gateway.process.kill()  # it would send a million close_notifies through a TAP
        self.lab.gateway.process.wait()
        self.lab.command = [self.lab.program("sluice")]

    def plan(self):
        """Bytes by name."""
        text = lab.run(self.lab.program("sluice"), "--config", self.lab.config_path, "--memory-plan")
        found = {name: int(number) for name, number in re.findall(r"^  ([a-z ]+?) +(\d+) bytes", text, re.MULTILINE)}
        self.assertEqual(found["total"], sum(found.values()) - found["total"], text)
        return found

    def resident(self, size):
        """Bytes of the one mapping of that size."""
        with open(f"/proc/{self.lab.gateway.pid}/smaps") as file:
            blocks = re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", file.read())
        found = [block for block in blocks if abs(self.bytes_of("Size", block) - size) < HUGE_PAGES]
        self.assertEqual(len(found), 1, f"mappings of {size} bytes: {found}")
        return sum(self.bytes_of(name, found[0]) for name in ("Rss", "Shared_Hugetlb", "Private_Hugetlb"))

    @staticmethod
    def bytes_of(name, block):
        return int(re.search(name + r": +(\d+) kB", block)[1]) * 1024


class DeafApplication(Audited):
    """O05. An application that stands still with a full ring cannot keep the gateway from stopping."""

    settings = {"ring": {"uplink_kib": 256, "downlink_kib": 256}}
    devices = 3000

    @classmethod
    def prepare(cls):
        cls.add_credentials(cls.devices)

    def test_the_gateway_stops(self):
        self.come(DEVICES_NET, "1")
        self.assertEqual(self.audit()["live"], self.devices)
        self.auditor.process.send_signal(signal.SIGSTOP)
        try:
            self.come(OTHER_NET, "0")  # they fill the ring
            self.lab.gateway.process.send_signal(signal.SIGTERM)
            self.assertEqual(self.lab.gateway.process.wait(20), 0, self.lab.gateway.output())
        finally:
            self.auditor.process.send_signal(signal.SIGCONT)

    def come(self, net, records):
        command = [self.swarm, "--socket", "--server", f"{lab.GATEWAY4}:{lab.PORT}", "--devices-net", net, "--devices",
                   str(self.devices), "--psk-prefix", PREFIX, "--records", records, "--no-close"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout)


class TableFull(Audited):
    """O03. The least recently used session makes room, and the application is told."""

    settings = {"sessions": {"max": 50}}

    def test_O03_the_least_recently_used_goes(self):
        clients = [self.connected(i) for i in range(50)]
        self.assertEqual(self.audit()["live"], 50)
        time.sleep(2.1)  # use is noted by the second
        for i in range(10):
            self.assertEqual(clients[i].exchange(b"still here"), b"still here")
        time.sleep(2.1)
        newcomers = [self.connected(50 + i) for i in range(10)]
        audit = self.audit()
        self.assertEqual(audit["live"], 50)
        self.assertEqual([reason for _, _, reason in audit["ended"]], ["evicted, session table full"] * 10, audit)
        ports = {peer[1] for _, peer, _ in audit["ended"]}
        self.assertTrue(ports <= {c.socket.getsockname()[1] for c in clients[10:]}, "one in use had to go")
        self.assertEqual(len(ports), 10)
        for client in clients[:10] + newcomers:
            self.assertEqual(client.exchange(b"and I"), b"and I")
        for client in clients + newcomers:
            client.close()

    def connected(self, i):
        client = self.lab.client()
        client.connect()
        payload = b"device %d" % i
        self.assertEqual(client.exchange(payload), payload)
        return client


if __name__ == "__main__":
    lab.main()
