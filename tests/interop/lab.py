"""A gateway, its application and its clients in a network namespace of their own.

    this namespace, 198.18.0.1/16, fd00:511c::1/64          the gateway, 198.18.0.2, fd00:511c::2
    +-------------------------------+   TAP "sluice0"   +---------------------------------+
    | clients; sources 198.18.x.y   | <---------------> | sluice (net_tap, --no-huge)     |
    | backend on 127.0.0.1          | <---------------- | ring -> sluice-forward          |
    +-------------------------------+   127.x.y.z       +---------------------------------+

enter() moves the calling program into fresh network, process and mount namespaces. They end with it, and so
does everything that it started, even when it is killed: nothing can stay behind or clash with another run.
"""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import dtls
import pki

CLIENT4, GATEWAY4 = "198.18.0.1", "198.18.0.2"
CLIENT6, GATEWAY6 = "fd00:511c::1", "fd00:511c::2"
PORT = 5684
BACKEND_PORT = 5683
TAP = "sluice0"
# How long a test waits for what must come: on a machine that is busy, too. Only a failure takes that long.
PATIENCE_S = 60.0
# What freed memory a sanitizer keeps back to notice its use.
QUARANTINE_KIB = 0 if os.environ.get("SLUICE_SANITIZE", "none") == "none" else 65536

# Printable keys, because libcoap's clients take no others; identity -> key.
PSKS = {b"urn:dev:meter-1": b"a-secret-of-16-b", b"urn:dev:meter-2": b"another-secret-b", b"x" * 128: b"k" * 64}
METER, METER_KEY = b"urn:dev:meter-1", PSKS[b"urn:dev:meter-1"]


def enter():
    """Call first. Returns inside the namespaces; as an ordinary user through a user namespace."""
    if os.environ.get("SLUICE_LAB") != "inside":
        os.environ["SLUICE_LAB"] = "inside"
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        command = ["unshare", *user, "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
                   sys.executable, *sys.argv]
        os.execvp(command[0], command)
    run("ip", "link", "set", "lo", "up")
    # Files go with the namespaces, too. The place only has to exist and not to hide the programs.
    here = os.path.realpath(".") + "/"
    tempfile.tempdir = next(place for place in ("/mnt", "/media", "/srv") if not here.startswith(place + "/"))
    run("mount", "-t", "tmpfs", "-o", "mode=755", "sluice-lab", tempfile.tempdir)


def run(*command, check=True):
    return subprocess.run(command, check=check, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout


def has_interface(name):
    return name in (known for _, known in socket.if_nameindex())


class Backend(threading.Thread):
    """The application behind sluice-forward: keeps what arrives as (source, payload) and sends it back."""

    def __init__(self, port=BACKEND_PORT):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, dtls.SO_RCVBUFFORCE, 1 << 26)
        self.socket.bind(("127.0.0.1", port))
        self.received = []
        self.echo, self.stopping = True, False
        self.start()

    def run(self):
        while not self.stopping:
            if not select.select([self.socket], [], [], 0.1)[0]:
                continue
            payload, source = self.socket.recvfrom(65536)
            self.received.append((source, payload))
            if self.echo:
                self.socket.sendto(payload, source)

    def stop(self):
        self.stopping = True
        self.join()
        self.socket.close()

    def payloads(self):
        return [payload for _, payload in self.received]


class Process:
    """A program of the lab; its output goes to a file."""

    def __init__(self, name, command, folder, environment=None):
        self.name, self.log = name, os.path.join(folder, name + ".log")
        with open(self.log, "ab") as log:
            # A session of its own: Ctrl-C reaches the lab alone, which then ends everything in order.
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True, env={**os.environ, **(environment or {})})
        self.pid = self.process.pid

    def alive(self):
        return self.process.poll() is None

    def stop(self, number=signal.SIGTERM):
        """Returns the exit status; a program that does not end in time is killed, and that raises."""
        if self.alive():
            self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"{self.name} did not end within {PATIENCE_S:.0f} s of signal {number}:\n{self.output()}")

    def output(self, lines=40):
        with open(self.log, errors="replace") as log:
            return "".join(log.readlines()[-lines:])

    def memory_kib(self):
        """Resident memory."""
        with open(f"/proc/{self.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


class Lab:
    """settings: sections of the gateway's configuration that differ from base_config(). folder: for its files;
    removed by stop()."""

    def __init__(self, build="build", settings=None, backend=True, folder=None):
        self.build = os.path.abspath(build)
        self.folder = folder or tempfile.mkdtemp(prefix="sluice-lab-")
        os.chmod(self.folder, 0o755)
        self.command = [self.program("sluice")]  # of the gateway, without its configuration
        self.pki = pki.make(os.path.join(self.folder, "pki"))
        self.socket_path = os.path.join(self.folder, "app.sock")
        self.admin_path = os.path.join(self.folder, "admin.sock")
        self.config_path = os.path.join(self.folder, "sluice.yaml")
        self.psk_path = os.path.join(self.folder, "psk.txt")
        self.server, self.server6 = (GATEWAY4, PORT), (GATEWAY6, PORT)
        self.gateway = self.forward = self.coap_server = None
        with open(self.psk_path, "w") as file:
            os.chmod(self.psk_path, 0o600)
            file.write("".join(f"{i.decode()}:{k.hex()}\n" for i, k in PSKS.items()))
        self.config = self.base_config()
        for section, values in (settings or {}).items():
            self.config[section] = {**self.config.get(section, {}), **values}
        self.backend = Backend() if backend else None

    def base_config(self):
        return {
            "workers": {"count": 1, "idle": "sleep"},
            "port": {
                "eal": ["--no-huge", "-m", "256", "--no-pci", "--vdev", f"net_tap0,iface={TAP}"],
                "ipv4": GATEWAY4 + "/16", "ipv6": GATEWAY6 + "/64", "udp_port": PORT,
            },
            "sessions": {"max": 16384},
            "handshakes": {"max": 1024, "rate": 20000, "rate_prefix": 20000},
            "tls": {
                "certificate": self.pki["server.pem"], "key": self.pki["server.key"],
                "trust_anchors": self.pki["ca.pem"], "client_certificate": "optional",
            },
            "credentials": {"psk_file": self.psk_path},
            "ring": {"socket": self.socket_path, "uplink_kib": 32768, "downlink_kib": 32768},
            "admin": {"socket": self.admin_path},
            "log_level": "info",
        }

    def program(self, name):
        path = os.path.join(self.build, name)
        if not os.access(path, os.X_OK):
            raise RuntimeError(f"{path} is not built")
        return path

    # -- starting and stopping

    def start(self):
        self.start_gateway()
        self.start_forward()
        return self

    def start_gateway(self):
        with open(self.config_path, "w") as file:
            json.dump(self.config, file, indent=1)  # JSON is YAML
            file.write("\n")
        # DPDK keeps its run-time files there: a folder of our own leaves nothing behind.
        environment = {"RUNTIME_DIRECTORY": self.folder}
        self.gateway = Process("sluice", [*self.command, "--config", self.config_path],
                               self.folder, environment)
        self.wait(self.tap_ready, "the TAP interface " + TAP)
        self.wait(self.answers, "an answer to a ClientHello")

    def start_forward(self):
        command = [self.program("ring/sluice-forward"), "--ring", self.socket_path, "--backend",
                   f"127.0.0.1:{BACKEND_PORT}", "--verbose"]
        self.forward = Process("sluice-forward", command, self.folder)
        self.wait(self.attached, "sluice-forward to attach", processes=[self.gateway, self.forward])

    def revive_forward(self):
        """After the gateway's death: sluice-forward attaches again, or ends and is started again."""
        self.wait(lambda: self.attached() or not self.forward.alive(), "sluice-forward to notice", processes=())
        if not self.forward.alive():
            self.start_forward()

    def start_coap_server(self):
        """libcoap's server without DTLS, as the application behind sluice-forward."""
        command = ["coap-server-notls", "-A", "127.0.0.1", "-p", str(BACKEND_PORT), "-e"]
        self.coap_server = Process("coap-server", command, self.folder)

    def tap_ready(self):
        if not has_interface(TAP):
            return False
        run("ip", "address", "replace", CLIENT4 + "/16", "dev", TAP)
        run("ip", "address", "replace", CLIENT6 + "/64", "dev", TAP, "nodad", check=False)
        # Nothing is to be lost because the machine is busy: what a flood sends waits in this queue.
        run("ip", "link", "set", TAP, "txqueuelen", "100000", "up")
        return True

    def answers(self):
        with dtls.Client(self.server, psk=(METER, METER_KEY), timeout=0.2) as client:
            try:
                client.first_hello()
                return True
            except (dtls.HandshakeError, OSError):
                return False

    def attached(self):
        with open("/proc/net/unix") as sockets:
            return sum(line.rstrip().endswith(self.socket_path) for line in sockets) >= 2

    def wait(self, condition, what, processes=None):
        end = time.monotonic() + PATIENCE_S
        while not condition():
            for process in [self.gateway] if processes is None else processes:
                if not process.alive():
                    raise RuntimeError(f"{process.name} ended while waiting for {what}:\n{process.output()}")
            if time.monotonic() > end:
                raise RuntimeError(f"no {what} within {PATIENCE_S:.0f} s:\n{self.gateway.output()}")
            time.sleep(0.02)

    def stop(self):
        """Ends both as an operator would; raises when they do not obey or end badly."""
        try:
            for process in (self.forward, self.gateway):
                if process and process.alive():
                    status = process.stop()
                    if status not in (0, -signal.SIGTERM):
                        raise RuntimeError(f"{process.name} ended with {status}:\n{process.output()}")
        finally:
            for process in (self.forward, self.gateway):
                if process and process.alive():
                    process.process.kill()
                    process.process.wait()
            if self.backend:
                self.backend.stop()
            if self.coap_server:
                self.coap_server.stop()
            shutil.rmtree(self.folder, ignore_errors=True)

    # -- clients

    def client(self, **options):
        """A hand-made client with the first PSK, unless options say otherwise."""
        if "psk" not in options and "certificate" not in options and "suites" not in options:
            options["psk"] = (METER, METER_KEY)
        return dtls.Client(options.pop("server", self.server), **options)

    def check_good(self, **options):
        """A good client must succeed: brackets every refusal, because a dead gateway refuses, too."""
        payload = os.urandom(24)
        with self.client(**options) as client:
            client.connect()
            answer = client.exchange(payload)
            if answer != payload:
                raise AssertionError(f"the good client's echo came back as {answer!r}")


class Case(unittest.TestCase):
    """Tests that share one running gateway. A test's name carries its number in the list of requirements."""

    settings = None
    backend = True
    lab = None

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(os.environ.get("SLUICE_BUILD", "build"), cls.settings, cls.backend)
        try:
            cls.lab.start()
        except BaseException:
            cls.lab.stop()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.lab.stop()

    def setUp(self):
        if not self.lab.gateway.alive():
            self.fail("the gateway is gone:\n" + self.lab.gateway.output())

    def assertRefused(self, attempt, alert=None):
        """attempt() must end in HandshakeError (with that alert), between two good clients."""
        self.lab.check_good()
        with self.assertRaises(dtls.HandshakeError) as caught:
            attempt()
        if alert is not None:
            self.assertIn(caught.exception.alert, [alert] if isinstance(alert, (str, type(None))) else alert,
                          str(caught.exception))
        self.lab.check_good()

    def wait_until(self, condition):
        end = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def assertSoon(self, seconds, attempt):
        """attempt() returns how long it took, in seconds. A busy machine spoils some of ten, a slow gateway all."""
        took = []
        while not took or took[-1] >= seconds:
            self.assertLess(len(took), 10, f"{took}: never within {seconds} s")
            took.append(attempt())


class TapResult(unittest.TestResult):
    """Test Anything Protocol, which meson reads test by test."""

    def __init__(self, stream):
        super().__init__()
        self.stream, self.count, self.started = stream, 0, 0.0

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()

    def line(self, ok, test, note="", detail=""):
        self.count += 1
        name = getattr(test, "_testMethodName", str(test)).replace("test_", "", 1).replace("_", " ")
        for text in detail.splitlines():
            print(text, file=sys.stderr, flush=True)  # meson shows that of a test that failed
        print(f"{'ok' if ok else 'not ok'} {self.count} - {name}{note}", file=self.stream, flush=True)

    def addSuccess(self, test):
        self.line(True, test)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.line(False, test, detail=self.failures[-1][1])

    def addError(self, test, error):
        super().addError(test, error)
        self.line(False, test, detail=self.errors[-1][1])

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.line(True, test, " # SKIP " + reason)

    def addSubTest(self, test, subtest, error):
        if error:
            super().addSubTest(test, subtest, error)
            self.line(False, test, f" {subtest._subDescription()}", self._exc_info_to_string(error, test))


def main():
    """Runs the calling file's tests; arguments choose some by a part of their name."""
    enter()
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    chosen = [a for a in sys.argv[1:] if not a.startswith("-")]
    if chosen:
        flat = [t for group in suite for t in group if any(c in t.id() for c in chosen)]
        suite = unittest.TestSuite(flat)
    result = TapResult(sys.stdout)
    suite.run(result)
    print(f"1..{result.count}", flush=True)
    sys.stdout.flush()
    os._exit(0 if result.wasSuccessful() and result.count else 1)
