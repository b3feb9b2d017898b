#!/usr/bin/python3
"""Registrees in a real redis-server: found, changed while sessions stand on them, away, slow, and back again."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time
import unittest

import clients
import dtls
import lab

COLD_S = 1.3  # answers are remembered for a second here


class Server:
    """redis-server on a Unix socket of the lab's, with a file for what it knows between its runs."""

    def __init__(self, folder):
        self.folder, self.process = folder, None
        self.socket = os.path.join(folder, "redis.sock")
        self.address = "unix:" + self.socket
        self.start()

    def start(self):
        command = ["redis-server", "--port", "0", "--unixsocket", self.socket, "--save", "", "--dir", self.folder]
        self.process = lab.Process("redis-server", command, self.folder)
        end = time.monotonic() + 20
        while self.do("PING") != "PONG":
            if time.monotonic() > end or not self.process.alive():
                raise RuntimeError("redis-server does not start:\n" + self.process.output())
            time.sleep(0.02)

    def do(self, *words):
        done = subprocess.run(["redis-cli", "-s", self.socket, *words], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        return done.stdout.strip()

    def stop(self):
        """As an operator does: what it knows is kept in its file."""
        if self.process.alive():
            self.do("SHUTDOWN", "SAVE")
            self.process.stop()

    @contextlib.contextmanager
    def frozen(self):
        """It keeps its connections and answers nothing."""
        self.process.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.process.process.kill()
        self.process.process.wait()


class Case(lab.Case):
    """One Redis for all; identities of the lab are in it, and in no file."""

    psk_file = None
    tls = {}

    @classmethod
    def setUpClass(cls):
        if not shutil.which("redis-server"):
            raise unittest.SkipTest("redis-server is not installed")
        cls.folder = tempfile.mkdtemp(prefix="redis-")
        cls.redis = Server(cls.folder)
        cls.sluicectl = os.path.abspath(os.path.join(os.environ.get("SLUICE_BUILD", "build"), "controlplane",
                                                     "sluicectl"))
        rows = os.path.join(cls.folder, "rows.jsonl")
        with open(rows, "w") as file:
            os.chmod(rows, 0o600)
            file.writelines(json.dumps({"identity": i.decode(), "key": k.hex()}) + "\n" for i, k in lab.PSKS.items())
        cls.ctl("psk", "import", rows)
        cls.settings = {"credentials": {"psk_file": cls.psk_file, "redis": cls.redis.address, "redis_cache_s": 1,
                                        "redis_timeout_ms": 500}, "tls": cls.tls}
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.redis.stop()

    @classmethod
    def ctl(cls, *arguments, text=None, good=True):
        done = subprocess.run([cls.sluicectl, *arguments, "--redis", cls.redis.address], input=text, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if good and done.returncode:
            raise AssertionError(f"sluicectl {' '.join(arguments)}: {done.stdout}")
        return done.stdout

    def add(self, identity, key, *options):
        self.ctl("psk", "add", identity, *options, text=key.hex() + "\n")

    def connect_with(self, identity, key, **options):
        with self.lab.client(psk=(identity, key), **options) as client:
            client.connect()
            return client.exchange(b"ping")

    def gets_in(self, identity, key):
        try:
            return self.connect_with(identity, key, timeout=4.0) == b"ping"
        except dtls.HandshakeError:
            return False

    def alert_of(self, identity, key):
        with self.assertRaises(dtls.HandshakeError) as caught:
            self.connect_with(identity, key)
        return caught.exception.alert

    def ask_gateway(self, path):
        """What the admin socket answers: (status, text)."""
        connection = http.client.HTTPConnection("localhost", timeout=lab.PATIENCE_S)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(self.lab.admin_path)
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def counted(self, name):
        _, text = self.ask_gateway("/metrics")
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    def logged(self, text):
        with open(self.lab.gateway.log, errors="replace") as log:
            return text in log.read()


class Redis(Case):
    def test_A02_real_clients(self):
        self.lab.backend.stop()
        self.lab.start_coap_server()
        try:
            credential = clients.Credential(psk=(lab.METER, lab.METER_KEY))
            for client in (clients.coap_client_openssl, clients.coap_client_gnutls, clients.openssl_client,
                           clients.gnutls_client):
                with self.subTest(client=client.__name__):
                    result = client(self.lab.server, credential)
                    self.assertTrue(result.ok, str(result))
        finally:
            self.lab.coap_server.stop()
            self.lab.coap_server = None
            type(self).lab.backend = lab.Backend()

    def test_A01_unknown_identities_look_like_wrong_keys(self):
        """First asked for, and asked for again: what comes back is the same."""
        def answers(identity, key):
            with self.lab.client(psk=(identity, key)) as client:
                client.start()
                client.send(*client.last_flight())
                datagrams = client.datagrams(4)
            return [[(r.type, r.epoch, len(r.body)) for r in dtls.parse_records(d)] for d in datagrams]

        self.lab.check_good()
        first = [answers(b"urn:dev:meter-9", lab.METER_KEY), answers(lab.METER, b"?" * 16)]
        self.assertEqual(first[0], first[1])
        self.lab.check_good()

    def test_A07_a_new_registree_is_let_in(self):
        """Refused as unknown, which is remembered, but not for long."""
        key = b"sixteen bytes ok"
        self.lab.check_good()
        self.assertFalse(self.gets_in(b"newcomer", key))
        self.add("newcomer", key)
        self.assertTrue(self.wait_until(lambda: self.gets_in(b"newcomer", key)))
        self.ctl("psk", "del", "newcomer")
        self.lab.check_good()

    def test_identity_of_the_registree(self):
        self.add("named", lab.METER_KEY, "--kind", "ae-id", "--id", "C-named")
        self.connect_with(b"named", lab.METER_KEY)
        self.assertTrue(self.wait_until(lambda: "C-named" in self.lab.forward.output(200)),
                        self.lab.forward.output())
        self.ctl("psk", "del", "named")

    def session_on(self, identity, key):
        client = self.lab.client(psk=(identity, key))
        client.connect()
        self.assertEqual(client.exchange(b"before"), b"before")
        return client

    @staticmethod
    def ends(client):
        while record := client.record():
            if record.type == dtls.ALERT:
                return True
        return False

    def test_A07_sessions_of_a_removed_credential_end(self):
        self.add("leaver", lab.METER_KEY)
        with self.session_on(b"leaver", lab.METER_KEY) as client, self.session_on(*self.meter()) as other:
            self.ctl("psk", "del", "leaver")
            self.assertTrue(self.ends(client))
            self.assertEqual(other.exchange(b"still"), b"still")
        self.assertFalse(self.gets_in(b"leaver", lab.METER_KEY))
        self.lab.check_good()

    def test_A07_they_end_soon(self):
        """Within a second, and another one for what lies between."""
        def attempt():
            self.add("hasty", lab.METER_KEY)
            with self.session_on(b"hasty", lab.METER_KEY) as client:
                self.ctl("psk", "del", "hasty")
                start = time.monotonic()
                self.assertTrue(self.ends(client))
                return time.monotonic() - start
        self.assertSoon(2.0, attempt)

    def test_A07_sessions_of_a_replaced_credential_end(self):
        self.add("changer", lab.METER_KEY)
        with self.session_on(b"changer", lab.METER_KEY) as client:
            self.add("changer", b"another key, new", "--replace")
            self.assertTrue(self.ends(client))
        with self.session_on(b"changer", b"another key, new") as client:
            time.sleep(1.0)  # the change that it came after does not concern it
            self.assertEqual(client.exchange(b"new"), b"new")
        self.assertFalse(self.gets_in(b"changer", lab.METER_KEY))
        self.ctl("psk", "del", "changer")

    def test_A07_changes_made_while_the_connection_was_broken(self):
        self.add("missed", lab.METER_KEY)
        with self.session_on(b"missed", lab.METER_KEY) as client:
            self.redis.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            self.ctl("psk", "del", "missed")
            self.assertTrue(self.ends(client))

    def test_a_store_that_was_made_anew(self):
        """Every session is looked at again: what is there as before stays, under a new version it ends."""
        self.add("kept", lab.METER_KEY)
        with self.session_on(b"kept", lab.METER_KEY) as client:
            self.redis.do("FLUSHALL")
            time.sleep(0.5)
            self.assertEqual(client.exchange(b"nobody knows"), b"nobody knows")
            self.assertEqual(self.alert_of(*self.meter()), "internal_error")
            self.assertTrue(self.logged("there is no credential store in it"))
            self.ctl("psk", "import", os.path.join(self.folder, "rows.jsonl"))
            self.assertTrue(self.ends(client))
        self.assertTrue(self.wait_until(lambda: self.gets_in(*self.meter())))

    def test_damaged_rows_are_told(self):
        self.lab.check_good()
        key = "\\1\\0\\0damaged"  # kind, no tenant, no digest, name
        script = f'return redis.call("HSET", "sluice:rows", "{key}", "\\1nothing of the kind")'
        self.redis.do("EVAL", script, "0")
        self.assertEqual(self.alert_of(b"damaged", lab.METER_KEY), "internal_error")
        self.assertIn("1 are damaged", self.ctl("store", "check", good=False))
        self.ctl("psk", "del", "damaged")
        self.lab.check_good()

    @staticmethod
    def meter():
        return lab.METER, lab.METER_KEY


class Outages(Case):
    """The server goes away under load and comes back; nobody who is in notices."""

    def hammer(self, results, stop):
        """Handshakes one after the other: (began, ended, how)."""
        while not stop.is_set():
            began = time.monotonic()
            try:
                ok = self.connect_with(lab.METER, lab.METER_KEY) == b"ping"
                results.append((began, time.monotonic(), "ok" if ok else "no answer"))
            except dtls.HandshakeError as error:
                results.append((began, time.monotonic(), str(error.alert)))

    def under_load(self, body):
        """Runs body(session) while three clients connect again and again; every handshake's end is returned."""
        results, stop = [], threading.Event()
        threads = [threading.Thread(target=self.hammer, args=(results, stop)) for _ in range(3)]
        with self.lab.client() as session:
            session.connect()
            for thread in threads:
                thread.start()
            try:
                body(session)
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
        return results

    def talks(self, session, seconds, usual=None):
        """Returns how long an answer takes; with `usual`, what it took before, most must not take much longer."""
        end, took = time.monotonic() + seconds, []
        while time.monotonic() < end:
            before = time.monotonic()
            self.assertEqual(session.exchange(b"still here"), b"still here")
            took.append(time.monotonic() - before)
            time.sleep(0.05)
        if usual is not None:
            self.assertLess(statistics.median(took), 0.3 + 5 * usual)
        return statistics.median(took)

    def comes_back(self, times):
        self.assertTrue(self.wait_until(lambda: self.ask_gateway("/ready")[0] == 200))
        times["back"] = time.monotonic()

    def outage(self, stop, log):
        times = {}

        def body(session):
            usual = self.talks(session, 0.5)
            stop()
            times["down"] = time.monotonic()
            self.talks(session, COLD_S + 1.5, usual)
            self.assertEqual(self.ask_gateway("/ready")[0], 503)
            times["up"] = time.monotonic()
            self.redis.start()
            self.comes_back(times)
            self.talks(session, 1.0, usual)

        self.lab.check_good()
        before = self.counted("sluice_store_lost_total"), self.counted("sluice_store_failed_total")
        results = self.under_load(body)
        self.lab.check_good()
        self.assertEqual(self.ask_gateway("/ready")[0], 200)
        self.assertEqual(self.counted("sluice_store_lost_total"), before[0] + 1)
        self.assertGreater(self.counted("sluice_store_failed_total"), before[1])
        away = [how for began, ended, how in results if times["down"] + COLD_S < began and ended < times["up"]]
        back = [how for began, _, how in results if began > times["back"]]
        self.assertTrue(away and set(away) == {"internal_error"}, away)
        self.assertTrue(back and set(back) == {"ok"}, back)
        self.assertTrue(self.logged(log), self.lab.gateway.output())
        self.assertTrue(self.logged("can be used"))

    def test_stopped_and_started(self):
        self.outage(self.redis.stop, "cannot be used: ")

    def test_killed_and_started(self):
        self.redis.do("SAVE")
        self.outage(self.redis.kill, "cannot be used: ")

    def test_restarted_at_once(self):
        """As a package's upgrade does it."""
        times = {}

        def body(session):
            usual = self.talks(session, 0.3)
            self.redis.stop()
            self.redis.start()
            self.comes_back(times)
            self.talks(session, 1.0, usual)

        results = self.under_load(body)
        self.assertEqual({how for began, _, how in results if began > times["back"]}, {"ok"})

    def refusal(self):
        start = time.monotonic()
        self.assertEqual(self.alert_of(lab.METER, lab.METER_KEY), "internal_error")
        return time.monotonic() - start

    def test_slow(self):
        """Questions time out, each for itself; sessions do not stall, and afterwards all is well."""
        with self.lab.client() as session:
            session.connect()
            usual = self.talks(session, COLD_S)
            with self.redis.frozen():
                self.assertSoon(2.0, self.refusal)
                self.talks(session, 1.0, usual)
        self.assertTrue(self.logged("does not answer in time"), self.lab.gateway.output())
        self.assertTrue(self.wait_until(lambda: self.gets_in(lab.METER, lab.METER_KEY)))
        self.lab.check_good()

    def test_another_password(self):
        self.lab.check_good()
        self.redis.do("CONFIG", "SET", "requirepass", "secret")
        self.redis.do("-a", "secret", "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        time.sleep(COLD_S)
        self.assertEqual(self.alert_of(lab.METER, lab.METER_KEY), "internal_error")
        self.assertTrue(self.logged("NOAUTH"))
        self.redis.do("-a", "secret", "CONFIG", "SET", "requirepass", "")
        self.assertTrue(self.wait_until(lambda: self.gets_in(lab.METER, lab.METER_KEY)))
        self.lab.check_good()


class Swarm(Case):
    """Thousands of devices, all of them in Redis."""

    DEVICES = 4000

    @classmethod
    def setUpClass(cls):
        cls.program = os.path.abspath(os.path.join(os.environ.get("SLUICE_BUILD", "build"), "bench", "sluice-swarm"))
        if not os.access(cls.program, os.X_OK):
            raise unittest.SkipTest("sluice-swarm is not built")
        super().setUpClass()
        keys, rows = os.path.join(cls.folder, "swarm.txt"), os.path.join(cls.folder, "swarm.csv")
        subprocess.run([cls.program, "--write-psk", keys, "--devices", str(cls.DEVICES)], check=True)
        with open(keys) as source, open(rows, "w") as file:
            os.chmod(rows, 0o600)
            file.write("identity,key\n" + "".join(",".join(line.rsplit(":", 1)) for line in source))
        cls.ctl("psk", "import", rows)
        lab.run("ip", "route", "replace", "local", "198.18.64.0/18", "dev", "lo")

    def swarm(self, *options):
        report = os.path.join(self.folder, "report.json")
        subprocess.run([self.program, "--socket", "--server", f"{lab.GATEWAY4}:{lab.PORT}", "--devices-net",
                        "198.18.64.1", "--answer-timeout", "60000", "--json", report, *options],
                       stdout=subprocess.DEVNULL, timeout=240)
        with open(report) as file:
            return json.load(file)

    def test_all_get_in(self):
        report = self.swarm("--devices", str(self.DEVICES), "--records", "2", "--handshake-flight", "256")
        self.assertEqual(report["handshakes_done"], self.DEVICES)
        self.assertEqual(report["answers"], 2 * self.DEVICES)

    def test_restart_under_load(self):
        """Those who come while it is away are refused, or wait; whoever is in stays, and all get in afterwards."""
        with self.lab.client() as session:
            session.connect()
            timer = threading.Timer(1.0, lambda: (self.redis.stop(), time.sleep(1), self.redis.start()))
            timer.start()
            report = self.swarm("--devices", "2000", "--handshake-rate", "400", "--handshake-timeout", "5",
                                "--records", "0")
            timer.join()
            self.assertEqual(session.exchange(b"still here"), b"still here")
        self.assertGreater(report["handshakes_done"], 200)
        report = self.swarm("--devices", "2000", "--records", "1")
        self.assertEqual(report["handshakes_done"], 2000)


class FileBeforeRedis(Case):
    """Keys in a file go before those in Redis, and need it for nothing."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.mkdtemp(prefix="file-")
        cls.psk_file = os.path.join(folder, "psk.txt")
        with open(cls.psk_file, "w") as file:
            os.chmod(cls.psk_file, 0o600)
            file.write("filed:" + lab.METER_KEY.hex() + "\n")
        super().setUpClass()

    def test_both_are_asked(self):
        self.assertEqual(self.connect_with(b"filed", lab.METER_KEY), b"ping")
        self.lab.check_good()
        self.assertFalse(self.gets_in(b"neither", lab.METER_KEY))

    def filed(self):
        start = time.monotonic()
        self.assertEqual(self.connect_with(b"filed", lab.METER_KEY), b"ping")
        return time.monotonic() - start

    def test_the_file_does_not_need_redis(self):
        """Slow: later by the time-out at most; away: as ever. Those in Redis are refused meanwhile."""
        time.sleep(COLD_S)
        with self.redis.frozen():
            self.assertSoon(4.0, self.filed)
        self.redis.stop()
        time.sleep(COLD_S)
        self.assertSoon(4.0, self.filed)
        self.assertEqual(self.alert_of(lab.METER, lab.METER_KEY), "internal_error")
        self.redis.start()
        self.assertTrue(self.wait_until(lambda: self.gets_in(lab.METER, lab.METER_KEY)))


if __name__ == "__main__":
    lab.main()
