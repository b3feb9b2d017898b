"""A credential store in a folder, changed by sluicectl while the gateway runs, and labs that use one."""

import os
import select
import shutil
import subprocess
import tempfile

import dtls
import lab


def sni(name):
    """The extension server_name."""
    return dtls.extension(0, dtls.vector(2, b"\x00" + dtls.vector(2, name.encode())))


class Store:
    def __init__(self, path=None, key_file=None, build=None):
        self.path = path or os.path.join(tempfile.mkdtemp(prefix="store-"), "credentials")
        self.program = os.path.join(build or os.environ.get("SLUICE_BUILD", "build"), "controlplane", "sluicectl")
        self.options = ["--store", self.path] + (["--key-file", key_file] if key_file else [])

    def run(self, *arguments, text=None, check=True):
        return subprocess.run([self.program, *arguments, *self.options], input=text, text=True, check=check,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout

    def init(self):
        self.run("store", "init")
        return self

    def add(self, identity, key, tenant="", replace=False):
        more = (["--tenant", tenant] if tenant else []) + (["--replace"] if replace else [])
        self.run("psk", "add", identity, *more, text=key.hex() + "\n")

    def delete(self, identity, tenant=""):
        self.run("psk", "del", identity, *(["--tenant", tenant] if tenant else []))

    def data(self):
        return os.path.join(self.path, "data.mdb")


class Backend(lab.Backend):
    """Answers what clients.coap_put() makes with 2.01 and its payload, and sends everything else back."""

    def run(self):
        while not self.stopping:
            if not select.select([self.socket], [], [], 0.1)[0]:
                continue
            payload, source = self.socket.recvfrom(65536)
            self.received.append((source, payload))
            if payload.startswith(b"\x42\x03") and b"\xff" in payload:
                payload = b"bA" + payload[2:6] + payload[payload.index(b"\xff"):]
            self.socket.sendto(payload, source)


class Case(lab.Case):
    """prepare() fills cls.store before the gateway starts, and may return tenants."""

    key_file = None

    @classmethod
    def prepare(cls):
        return []

    @classmethod
    def setUpClass(cls):
        build = os.environ.get("SLUICE_BUILD", "build")
        cls.lab = lab.Lab(build, cls.settings, False)
        cls.lab.backend = Backend()
        try:
            cls.store = Store(os.path.join(cls.lab.folder, "credentials"), cls.key_file, build).init()
            cls.lab.config["credentials"]["store"] = cls.store.path
            cls.lab.config["tenants"] = cls.prepare()
            cls.lab.start()
        except BaseException:
            cls.lab.stop()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.lab.stop()
        shutil.rmtree(cls.store.path, ignore_errors=True)

    def connected(self, identity, key, server_name=None, **options):
        """A client with a session; the caller closes it."""
        options.setdefault("extensions", sni(server_name) if server_name else b"")
        client = self.lab.client(psk=(identity.encode(), key), **options)
        try:
            return client.connect()
        except BaseException:
            client.close()
            raise

    def assertWorks(self, client):
        payload = os.urandom(16)
        self.assertEqual(client.exchange(payload), payload)

    def log_count(self, text):
        with open(self.lab.gateway.log, errors="replace") as log:
            return log.read().count(text)

    def assertLogged(self, text):
        self.assertTrue(self.wait_until(lambda: self.log_count(text) > 0),
                        f"no \"{text}\" in\n{self.lab.gateway.output()}")
