#!/usr/bin/python3
"""The admin socket and sluicectl against a running gateway with real clients."""

import grp
import json
import os
import shutil
import socket
import stat
import statistics
import subprocess
import threading
import time
import urllib.request

import admin
import clients
import dtls
import lab
import pki


def water(folder):
    """A second tenant, with certificates of its own."""
    paths = pki.make(os.path.join(folder, "water"))
    return {"name": "water", "server_names": ["water.example"], "certificate": paths["server.pem"],
            "key": paths["server.key"], "suites": ["TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"]}


class Case(lab.Case):
    def setUp(self):
        super().setUp()
        self.admin = admin.Admin(self.lab.admin_path)

    def ctl(self, *arguments, status=0):
        done = subprocess.run([self.lab.program("controlplane/sluicectl"), *arguments, "--socket", self.lab.admin_path],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=lab.PATIENCE_S)
        self.assertEqual(done.returncode, status, done.stdout)
        return done.stdout

    @staticmethod
    def address(client):
        return "%s:%d" % client.socket.getsockname()[:2]

    def refused(self, **options):
        with self.lab.client(timeout=4, **options) as client:
            with self.assertRaises(dtls.HandshakeError):
                client.connect()
            return self.address(client)


class Door(Case):
    """HTTP itself."""

    def test_mode_and_group(self):
        status = os.stat(self.lab.admin_path)
        self.assertTrue(stat.S_ISSOCK(status.st_mode))
        self.assertEqual(stat.S_IMODE(status.st_mode), 0o660)

    def test_others_may_not_connect(self):
        nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        program = shutil.copy(self.lab.program("controlplane/sluicectl"), "/tmp/sluicectl-%d" % os.getpid())
        try:
            done = subprocess.run([*nobody, program, "status", "--socket", self.lab.admin_path],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=lab.PATIENCE_S)
        finally:
            os.unlink(program)
        self.assertEqual(done.returncode, 1)
        self.assertIn("a member of the socket's group", done.stdout)

    def test_health_and_readiness(self):
        self.assertEqual(self.admin.get("/health"), (200, {"status": "live"}))
        self.assertEqual(self.admin.get("/ready"), (200, {"ready": True}))

    def test_readiness_follows_the_link(self):
        lab.run("ip", "link", "set", lab.TAP, "down")
        try:
            self.assertTrue(self.wait_until(lambda: self.admin.get("/ready")[0] == 503))
            self.assertIn("no link", self.admin.get("/ready")[1]["why"])
            self.assertEqual(self.admin.get("/health")[0], 200)
            self.assertIn("no link", self.ctl("status", status=1))
        finally:
            self.lab.tap_ready()
        self.assertTrue(self.wait_until(lambda: self.admin.get("/ready")[0] == 200))
        self.lab.check_good()

    def test_what_is_asked_wrongly(self):
        before = self.admin.total("sluice_admin_requests_total", outcome="refused")
        wrong = [("GET", "/nothing", 404, "/sessions"), ("GET", "/", 404, "/health"), ("POST", "/health", 405, "GET"),
                 ("DELETE", "/sessions", 405, "GET"), ("GET", "/sessions?colour=red", 400, "identity, address"),
                 ("GET", "/sessions?limit=0", 400, "1 to 1000"), ("GET", "/sessions?worker=9", 400, "1 workers"),
                 ("GET", "/why", 400, "identity"), ("GET", "/why?identity=x&address=1.2.3.4", 400, "only one"),
                 ("GET", "/sessions/1", 400, "three decimal numbers"), ("DELETE", "/sessions/0.0.0", 404, "no such session"),
                 ("GET", "/identity?address=192.0.2.1:1", 404, "No session"),
                 ("GET", "/sessions?identity=" + "x" * 3000, 414, "2048")]
        for method, target, status, says in wrong:
            with self.subTest(target=target[:40]):
                got, headers, body = self.admin.request(method, target)
                self.assertEqual(got, status, body)
                self.assertEqual(headers["Content-Type"], "application/json")
                self.assertIn(says, json.loads(body)["error"])
                self.assertEqual("Allow" in headers, status == 405)
        self.assertEqual(self.admin.total("sluice_admin_requests_total", outcome="refused"), before + len(wrong))

    def test_a_body_is_refused_unread(self):
        for headers in ({"Content-Length": "1000000000"}, {"Transfer-Encoding": "chunked"}):
            with self.subTest(headers=headers):
                connection = admin.Connection(self.lab.admin_path)
                connection.putrequest("POST", "/sessions")
                for name, value in headers.items():
                    connection.putheader(name, value)
                connection.endheaders()
                self.assertEqual(connection.getresponse().status, 413)
                connection.close()

    def raw(self, data, wait=2.0):
        """What comes back to these bytes until the gateway closes or `wait` has passed."""
        with admin.connect(self.lab.admin_path, 30) as s:
            s.settimeout(wait)
            out = b""
            try:
                s.sendall(data)
                while chunk := s.recv(65536):
                    out += chunk
            except OSError:
                pass
            return out

    def test_garbage(self):
        before = self.lab.gateway.memory_kib()
        for data in (b"\0" * 100, b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"GET /health HTTP/9.9\r\n\r\n", b"x" * 100000,
                     b"GET /" + b"a" * 100000, b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
                     b"GET /health HTTP/1.1\r\n\r\n", b"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", os.urandom(5000)):
            with self.subTest(data=data[:20]):
                self.raw(data, 0.3)
                self.assertEqual(self.admin.get("/health")[0], 200)
        for _ in range(300):  # what is broken off in the middle leaves nothing behind
            self.raw(b"GET /sessions?identity=x HTTP/1.1\r\nHo", 0.001)
        self.assertLess(self.lab.gateway.memory_kib() - before, 2048 + lab.QUARANTINE_KIB)
        self.lab.check_good()

    def test_many_idle_connections_lock_nobody_out_for_long(self):
        held = []
        for _ in range(60):  # more than there are places
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(0.5)
            try:
                s.connect(self.lab.admin_path)
            except OSError:
                pass
            held.append(s)
        self.lab.check_good()  # devices do not notice
        self.assertTrue(self.wait_until(self.answers), "idle connections were not closed")
        for s in held:
            s.close()

    def answers(self):
        try:
            return self.admin.get("/health")[0] == 200
        except OSError:
            return False

    def test_a_reader_that_stops_reading_holds_nobody_up(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            s.connect(self.lab.admin_path)
            s.sendall(b"GET /counters HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
            for _ in range(5):
                self.lab.check_good()
                self.assertEqual(self.admin.get("/health")[0], 200)

    def test_pipelined_and_kept_alive(self):
        connection = admin.Connection(self.lab.admin_path)
        for target in ("/health", "/counters", "/sessions", "/health") * 5:
            connection.request("GET", target)
            answer = connection.getresponse()
            self.assertEqual(answer.status, 200)
            json.loads(answer.read())
        connection.request("HEAD", "/metrics")
        answer = connection.getresponse()
        self.assertEqual((answer.status, answer.read()), (200, b""))
        connection.close()


class Sessions(Case):
    settings = {"sessions": {"max": 4096}, "workers": {"count": 1}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        try:
            cls.lab.stop()
            cls.lab = lab.Lab(os.environ.get("SLUICE_BUILD", "build"), cls.settings)
            cls.lab.config["tenants"] = [water(cls.lab.folder)]
            cls.lab.start()
        except BaseException:
            cls.lab.stop()
            raise

    def water_client(self, **options):
        name = dtls.extension(0, dtls.vector(2, b"\x00" + dtls.vector(2, b"water.example")))
        return self.lab.client(psk=None, suites=[dtls.ECDHE_ECDSA_CCM_8], extensions=name, **options)

    def names(self, **filters):
        status, answer = self.admin.get("/sessions", **filters)
        self.assertEqual(status, 200)
        return {s["session"] for s in answer["sessions"]}

    def test_filters(self):
        with self.lab.client() as one, self.lab.client(psk=(b"urn:dev:meter-2", b"another-secret-b")) as two, \
                self.water_client() as three, self.lab.client(server=self.lab.server6) as four:
            for client in (one, two, three, four):
                client.connect()
            listed = {s["address"]: s for s in self.admin.get("/sessions")[1]["sessions"]}
            mine = listed[self.address(one)]
            self.assertEqual((mine["credential"], mine["credential_id"], mine["identities"], mine["tenant"], mine["suite"]),
                             ("psk", "urn:dev:meter-1", ["urn:dev:meter-1"], "", "TLS_PSK_WITH_AES_128_CCM_8"))
            of = {client: listed["[%s]:%d" % client.socket.getsockname()[:2] if client is four else self.address(client)]
                  ["session"] for client in (one, two, three, four)}
            self.assertEqual(self.names(identity="urn:dev:meter-2"), {of[two]})
            self.assertEqual(self.names(tenant="water"), {of[three]})
            self.assertNotIn(of[three], self.names(tenant=""))
            self.assertEqual(self.names(address=self.address(two)), {of[two]})
            self.assertEqual(self.names(address="198.18.0.1") & set(of.values()), {of[one], of[two], of[three]})
            self.assertEqual(self.names(address=lab.CLIENT6), {of[four]})
            self.assertEqual(self.names(identity="urn:dev:meter"), set())
            self.assertEqual(self.names(worker=0) & set(of.values()), set(of.values()))
            self.assertEqual(self.admin.get("/sessions/" + of[one])[1]["address"], self.address(one))
            self.assertEqual(self.admin.get("/sessions/" + of[one] + "1")[0], 404, "another generation")
            self.assertEqual(self.admin.get("/identity", address=self.address(three))[1]["sessions"][0]["tenant"], "water")
            self.assertEqual(self.admin.get("/identity", address=f"[{lab.CLIENT6}]:{four.socket.getsockname()[1]}")[1]
                             ["sessions"][0]["identities"], ["urn:dev:meter-1"])

    def test_pages(self):
        opened = [self.lab.client() for _ in range(25)]
        try:
            for client in opened:
                client.connect()
            wanted = {self.address(client) for client in opened}
            for limit in (1, 7, 24, 25, 26, 1000):
                found, cursor, pages = [], {}, 0
                while True:
                    status, page = self.admin.get("/sessions", limit=limit, **cursor)
                    self.assertEqual(status, 200)
                    self.assertLessEqual(len(page["sessions"]), limit)
                    found += [s["address"] for s in page["sessions"]]
                    pages += 1
                    if "next" not in page:
                        break
                    self.assertEqual(len(page["sessions"]), limit)
                    cursor = {"cursor": page["next"]}
                self.assertEqual(len(found), len(set(found)), "none twice")
                self.assertLessEqual(wanted, set(found))
                self.assertEqual(pages, -(-len(found) // limit))
            self.assertEqual(len(self.ctl("sessions", "list", "--json", "--limit", "5").splitlines()), 5)
        finally:
            for client in opened:
                client.close()

    def test_close_tells_device_and_application(self):
        before = self.admin.total("sluice_sessions_down_total", reason="admin")
        with self.lab.client() as client, self.lab.client() as other:
            client.connect()
            other.connect()
            name = self.admin.get("/identity", address=self.address(client))[1]["sessions"][0]["session"]
            self.assertEqual(self.admin.delete("/sessions/" + name), (200, {"closing": name}))
            with self.assertRaises(dtls.HandshakeError) as caught:
                client.receive(3)
            self.assertEqual(caught.exception.alert, "close_notify")
            self.assertTrue(self.wait_until(lambda: self.admin.delete("/sessions/" + name)[0] == 404))
            self.assertEqual(self.admin.get("/identity", address=self.address(client))[0], 404)
            self.assertEqual(other.exchange(b"not me"), b"not me")
            client.forget()
            client.connect()  # nothing keeps it from coming back
        self.assertEqual(self.admin.total("sluice_sessions_down_total", reason="admin"), before + 1)

    def test_sluicectl_closes_by_identity(self):
        with self.lab.client(psk=(b"urn:dev:meter-2", b"another-secret-b")) as client, self.lab.client() as other:
            client.connect()
            other.connect()
            self.assertIn("closed", self.ctl("sessions", "close", "--identity", "urn:dev:meter-2"))
            with self.assertRaises(dtls.HandshakeError):
                client.receive(3)
            self.assertEqual(other.exchange(b"not me"), b"not me")
            self.assertTrue(self.wait_until(lambda: not self.names(identity="urn:dev:meter-2")))
            self.assertIn("No session fits", self.ctl("sessions", "close", "--identity", "urn:dev:meter-2", status=1))

    def test_I07_a_device_that_moves_is_found_at_its_new_address(self):
        with self.lab.client(cid=b"") as client:
            client.connect()
            old = self.address(client)
            name = self.admin.get("/identity", address=old)[1]["sessions"][0]["session"]
            client.socket.close()
            client.socket = client.open_socket()
            self.assertEqual(client.exchange(b"moved"), b"moved")
            self.assertTrue(self.wait_until(lambda: self.admin.get("/identity", address=self.address(client))[0] == 200))
            self.assertEqual(self.admin.get("/identity", address=self.address(client))[1]["sessions"][0]["session"], name)
            self.assertEqual(self.admin.get("/identity", address=old)[0], 404)

    def test_identity_of_real_clients(self):
        credential = clients.Credential(psk=(lab.METER, lab.METER_KEY))
        result = clients.openssl_client(self.lab.server, credential)
        attempt = self.admin.get("/why", identity=lab.METER.decode(), limit=1)[1]["attempts"][0]
        self.assertEqual((attempt["outcome"], attempt["credential"], attempt["suite"]),
                         ("established", "psk", "TLS_PSK_WITH_AES_128_CCM_8"), str(result))

    def test_dtls_1_0_of_a_tenant(self):
        """Also a ClientHello that is refused before it is read to its end is its tenant's."""
        before = self.admin.refusals("dtls_1_0", "water"), self.admin.refusals("dtls_1_0")
        with self.water_client() as client:
            with self.assertRaises(dtls.HandshakeError) as caught:
                client.first_hello(version=dtls.DTLS_1_0)
                client.send(client.hello(version=dtls.DTLS_1_0))
                client.server_flight()
            self.assertEqual(caught.exception.alert, "protocol_version")
            attempt = self.admin.get("/why", address=self.address(client))[1]["attempts"][0]
        self.assertEqual((attempt["tenant"], attempt["server_name"], attempt["cause"]), ("water", "water.example", "dtls_1_0"))
        self.assertEqual((self.admin.refusals("dtls_1_0", "water"), self.admin.refusals("dtls_1_0")),
                         (before[0] + 1, before[1]))

    def test_counters_by_tenant(self):
        before = self.admin.refusals("suite_rc4", "water"), self.admin.refusals("suite_rc4")
        with self.water_client() as client:
            with self.assertRaises(dtls.HandshakeError):
                client.first_hello(suites=[5])
                client.send(client.hello(suites=[5]))
                client.server_flight()
        self.assertEqual((self.admin.refusals("suite_rc4", "water"), self.admin.refusals("suite_rc4")),
                         (before[0] + 1, before[1]))
        self.assertIn("refusals.suite_rc4@water", self.ctl("counters"))


class Why(Case):
    """Each failure is told in words; nothing that a device sends does harm where it is read."""

    settings = {"handshakes": {"timeout_s": 5}}

    def attempts(self, **query):
        status, answer = self.admin.get("/why", **query)
        self.assertEqual(status, 200)
        return answer["attempts"]

    def test_success_wrong_key_and_unknown_identity(self):
        with self.lab.client() as client:
            client.connect()
            newest = self.attempts(address=self.address(client))
            self.assertEqual([(a["outcome"], a["identity"]) for a in newest], [("established", "urn:dev:meter-1")])
        address = self.refused(psk=(lab.METER, b"not the secret !"))
        with self.lab.client(psk=(b"urn:dev:stranger", b"?" * 16), timeout=4) as client:
            with self.assertRaises(dtls.HandshakeError):
                client.connect()
        self.assertTrue(self.wait_until(lambda: self.attempts(identity="urn:dev:stranger")))
        wrong = self.attempts(address=address)[0]
        self.assertEqual((wrong["cause"], wrong["credential_id"], wrong["alert"]),
                         ("wrong_key", "urn:dev:meter-1", "decrypt_error"))
        self.assertIn("another key", wrong["why"])
        unknown = self.attempts(identity="urn:dev:stranger")[0]
        self.assertEqual((unknown["cause"], unknown["alert"]), ("psk_unknown", "decrypt_error"))
        self.assertIn("unknown PSK identity", unknown["why"])
        self.assertIn("unknown PSK identity", self.ctl("why", "urn:dev:stranger"))
        self.assertIn("another key", self.ctl("why", address))

    def test_suites_and_certificates(self):
        with self.lab.client(timeout=4) as client:
            with self.assertRaises(dtls.HandshakeError):
                client.first_hello(suites=[0x000A, 0x00A9])
                client.send(client.hello(suites=[0x000A, 0x00A9]))
                client.server_flight()
            why = self.attempts(address=self.address(client))[0]["why"]
        self.assertIn("offers only cipher suites that are not enabled: 0x000a", why)
        for name, cause, says in (("untrusted", "unknown_root", "unknown root"), ("expired", "certificate_expired", "expired")):
            address = self.refused(psk=None, certificate=pki.pair(self.lab.pki, name), suites=[dtls.ECDHE_ECDSA_CCM_8])
            self.assertTrue(self.wait_until(lambda: self.attempts(address=address)))
            attempt = self.attempts(address=address)[0]
            self.assertEqual(attempt["cause"], cause)
            self.assertIn(says, attempt["why"])

    def test_hostile_identities(self):
        """Terminal commands, quotes, markup, broken UTF-8: told, but harmless."""
        for identity in (b'"}],"x":["\x1b[2J\x1b]0;owned\x07', b"\xff\xfe\xc3", b"\xc2\x9b31m", b"a\nb\r\n", b"</script>" * 10):
            with self.subTest(identity=identity):
                with self.lab.client(psk=(identity, b"?" * 16), timeout=4) as client:
                    with self.assertRaises(dtls.HandshakeError):
                        client.connect()
                    client_address = self.address(client)
                self.assertTrue(self.wait_until(lambda: self.attempts(address=client_address)))
                attempt = self.attempts(address=client_address)[0]
                whole = bytes.fromhex(attempt["credential_id_hex"]) if "credential_id_hex" in attempt \
                    else attempt["credential_id"].encode()
                self.assertEqual(whole, identity)
                raw = self.admin.request("GET", "/why?address=" + client_address)[2]
                shown = self.ctl("why", client_address)
                for text in (raw, shown):
                    self.assertFalse([c for c in text if (ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160], text)

    def test_keys_never_show(self):
        self.refused(psk=(lab.METER, b"the wrong secret"))
        self.lab.check_good()
        for target in ("/status", "/counters", "/metrics", "/sessions", "/why?identity=urn%3Adev%3Ameter-1"):
            body = self.admin.request("GET", target)[2]
            for key in list(lab.PSKS.values()) + [b"the wrong secret"]:
                self.assertNotIn(key.decode(), body)
                self.assertNotIn(key.hex(), body)

    def test_a_noisy_device_keeps_a_few(self):
        with self.lab.client(psk=(b"urn:dev:meter-2", b"another-secret-b")) as client:
            client.connect()
        for _ in range(40):
            with self.lab.client(timeout=4) as client:
                try:
                    client.first_hello(suites=[5])
                    client.send(client.hello(suites=[5]))
                    client.server_flight()
                except dtls.HandshakeError:
                    pass
        self.assertLessEqual(len([a for a in self.attempts(address="198.18.0.1", limit=1000) if a.get("cause") == "suite_rc4"]),
                             16)
        self.assertTrue(self.attempts(identity="urn:dev:meter-2"))


class BehindForward(Case):
    """Whose a source address is that a server sees: sluicectl asks the door of sluice-forward."""

    def test_identity_by_source_address(self):
        door = os.path.join(self.lab.folder, "door.sock")
        self.assertIn("Is sluice-forward running", self.ctl("identity", "127.64.0.1", "--door", door, status=1))
        self.lab.forward.stop()
        command = [self.lab.program("ring/sluice-forward"), "--ring", self.lab.socket_path, "--backend",
                   f"127.0.0.1:{lab.BACKEND_PORT}", "--door", door]
        self.lab.forward = lab.Process("sluice-forward", command, self.lab.folder)
        self.lab.wait(self.lab.attached, "sluice-forward to attach")
        with self.lab.client() as client:
            client.connect()
            self.assertEqual(client.exchange(b"who am I"), b"who am I")
            source = next(source for source, payload in self.lab.backend.received if payload == b"who am I")
            listed = self.admin.get("/identity", address=self.address(client))[1]["sessions"][0]
            for address in (source[0], "%s:%d" % source):
                shown = self.ctl("identity", address, "--door", door)
                for text in (listed["session"], "urn:dev:meter-1", "TLS_PSK_WITH_AES_128_CCM_8", self.address(client)):
                    self.assertIn(text, shown)
                self.assertEqual(json.loads(self.ctl("identity", address, "--door", door, "--json"))["credential_id"],
                                 "urn:dev:meter-1")
        self.ctl("identity", "127.255.255.3", "--door", door, status=1)
        self.assertIn("no door", self.ctl("identity", "127.64.0.1", "--door", self.lab.admin_path, status=1))


class Store(Case):
    """Readiness follows the credential store; sessions that are up do not notice."""

    @classmethod
    def setUpClass(cls):
        cls.lab = lab.Lab(os.environ.get("SLUICE_BUILD", "build"))
        cls.store = os.path.join(cls.lab.folder, "credentials")
        try:
            subprocess.run([cls.lab.program("controlplane/sluicectl"), "psk", "add", "urn:dev:stored", "--store", cls.store,
                            "--kind", "ae-id", "--id", "C-stored"], input=b"00" * 16, check=True,
                           stdout=subprocess.DEVNULL)
            cls.lab.config["credentials"]["store"] = cls.store
            cls.lab.start()
        except BaseException:
            cls.lab.stop()
            raise

    def test_a_store_that_goes_and_comes_back(self):
        self.assertEqual(self.admin.total("sluice_store_rows"), 1)
        with self.lab.client(psk=(b"urn:dev:stored", bytes(16))) as client:
            client.connect()
            self.assertEqual(self.names("C-stored"), ["urn:dev:stored"])
            self.assertEqual(self.names("urn:dev:stored"), ["urn:dev:stored"])
            os.rename(self.store, self.store + ".away")
            self.assertTrue(self.wait_until(lambda: self.admin.get("/ready")[0] == 503))
            self.assertIn("cannot be reached", self.admin.get("/ready")[1]["why"])
            self.assertEqual(self.admin.total("sluice_store_reachable"), 0)
            self.assertEqual(client.exchange(b"still up"), b"still up")
            address = self.refused(psk=(b"urn:dev:stored", bytes(16)))
            self.assertIn("cannot be reached", self.ctl("why", address))
            os.rename(self.store + ".away", self.store)
            self.assertTrue(self.wait_until(lambda: self.admin.get("/ready")[0] == 200))
            self.assertEqual(client.exchange(b"still up"), b"still up")
        self.assertEqual(self.admin.total("sluice_store_lost_total"), 1)
        with self.lab.client(psk=(b"urn:dev:stored", bytes(16))) as client:
            client.connect()

    def names(self, identity):
        return [s["credential_id"] for s in self.admin.get("/sessions", identity=identity)[1]["sessions"]]


class Metrics(Case):
    settings = {"workers": {"count": 2}}

    def test_promtool(self):
        """Prometheus's own judgement of the format, where it is installed; otherwise what the format demands."""
        status, headers, text = self.admin.request("GET", "/metrics")
        self.assertEqual(status, 200)
        self.assertTrue(headers["Content-Type"].startswith("text/plain; version=0.0.4"))
        typed, seen = set(), set()
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                name = line.split()[2]
                self.assertNotIn(name, typed)
                typed.add(name)
            elif not line.startswith("#"):
                sample, value = line.rsplit(" ", 1)
                self.assertNotIn(sample, seen, "twice")
                seen.add(sample)
                name = sample.split("{")[0]
                base = name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
                self.assertTrue(name in typed or base in typed, name)
                self.assertGreaterEqual(float(value), 0)
        self.assertIn('sluice_records_total{worker="1",verdict="app"} ', text)
        if shutil.which("promtool"):
            done = subprocess.run(["promtool", "check", "metrics"], input=text, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
            self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_prometheus_scrapes(self):
        if not shutil.which("prometheus"):
            self.skipTest("prometheus is not installed")
        proxy = socket.create_server(("127.0.0.1", 0))
        stop = threading.Event()
        threading.Thread(target=self.relay, args=(proxy, stop), daemon=True).start()
        folder = os.path.join(self.lab.folder, "prometheus")
        os.mkdir(folder)
        with open(os.path.join(folder, "prometheus.yml"), "w") as file:
            json.dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [
                {"job_name": "sluice", "static_configs": [{"targets": ["127.0.0.1:%d" % proxy.getsockname()[1]]}]}]}, file)
        port = 19090
        server = lab.Process("prometheus", ["prometheus", "--config.file", os.path.join(folder, "prometheus.yml"),
                                            "--storage.tsdb.path", os.path.join(folder, "data"),
                                            "--web.listen-address", f"127.0.0.1:{port}"], self.lab.folder)
        try:
            self.lab.check_good()
            self.assertTrue(self.wait_until(lambda: self.query(port, "sum(sluice_handshakes_established_total)") >= 1),
                            server.output())
            self.assertEqual(self.query(port, 'up{job="sluice"}'), 1)
            self.assertEqual(self.query(port, "count(sluice_records_total{verdict='app'})"), 2, "one per worker")
        finally:
            stop.set()
            server.stop()
            proxy.close()

    @staticmethod
    def query(port, expression):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?query="
                                        + urllib.parse.quote(expression), timeout=lab.PATIENCE_S) as answer:
                result = json.load(answer)["data"]["result"]
                return float(result[0]["value"][1]) if result else 0
        except OSError:
            return 0

    def relay(self, proxy, stop):
        """What socat does in an operator's set-up: one request at a time will do here."""
        proxy.settimeout(0.2)
        while not stop.is_set():
            try:
                client, _ = proxy.accept()
            except OSError:
                continue
            with client, socket.socket(socket.AF_UNIX) as gateway:
                client.settimeout(lab.PATIENCE_S)
                gateway.connect(self.lab.admin_path)
                gateway.sendall(client.recv(65536).replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                while chunk := gateway.recv(65536):
                    client.sendall(chunk)

    def test_O13_counters_close_and_status_agrees(self):
        with self.lab.client() as client:
            client.connect()
            client.exchange(b"counted")
            samples = self.admin.metrics()
            frames = sum(v for (n, _), v in samples.items() if n == "sluice_frames_total")
            self.assertEqual(frames, sum(v for (n, _), v in samples.items() if n == "sluice_frames_in_total"))
            status = self.admin.get("/status")[1]
            self.assertEqual(status["workers"], 2)
            self.assertEqual(status["sessions"], self.admin.total("sluice_sessions"))
            self.assertGreaterEqual(status["handshakes_established"], 1)
            self.assertTrue(status["application_attached"])
            self.assertIn("sessions_installed", self.ctl("counters"))
            self.assertIn("sluice", self.admin.request("GET", "/metrics")[2])
            self.assertIn("uptime s", self.ctl("status"))

    def test_handshakes_do_not_wait_for_listings(self):
        """Four readers ask for everything all the time; most handshakes take no longer than they may."""
        stop = threading.Event()
        errors = []

        def read():
            while not stop.is_set():
                try:
                    for target in ("/sessions?limit=1000", "/counters", "/metrics", "/why?address=198.18.0.1&limit=1000"):
                        self.admin.request("GET", target)
                except OSError as error:
                    errors.append(error)
        readers = [threading.Thread(target=read) for _ in range(4)]
        for reader in readers:
            reader.start()
        try:
            took = []
            for _ in range(30):
                start = time.monotonic()
                self.lab.check_good()
                took.append(time.monotonic() - start)
            self.assertLess(statistics.median(took), 2)
        finally:
            stop.set()
            for reader in readers:
                reader.join()
        self.assertEqual(errors, [])


class Group(Case):
    settings = {"admin": {"mode": "0600", "group": grp.getgrgid(0).gr_name}}

    def test_mode_as_configured_and_gone_at_the_end(self):
        self.assertEqual(stat.S_IMODE(os.stat(self.lab.admin_path).st_mode), 0o600)
        self.lab.forward.stop()
        self.lab.gateway.stop()
        self.assertFalse(os.path.exists(self.lab.admin_path))
        self.assertIn("Is the gateway running?", self.ctl("status", status=1))
        self.lab.start()
        self.assertEqual(self.admin.get("/health")[0], 200)

    def test_a_socket_left_by_a_dead_gateway(self):
        self.lab.gateway.process.kill()
        self.lab.gateway.process.wait()
        self.assertTrue(os.path.exists(self.lab.admin_path))
        self.assertIn("Nobody listens", self.ctl("status", status=1))
        self.lab.start_gateway()
        self.lab.revive_forward()
        self.assertEqual(self.admin.get("/health")[0], 200)
        self.lab.check_good()


if __name__ == "__main__":
    lab.main()
