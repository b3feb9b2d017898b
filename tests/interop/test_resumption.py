#!/usr/bin/python3
"""Session tickets (RFC 5077): real clients that come back with theirs, and tickets that are worth nothing."""

import os
import re
import socket
import subprocess
import time

import clients
import dtls
import lab

METER, KEY = lab.METER, lab.METER_KEY
OTHER, OTHER_KEY = b"urn:dev:meter-2", lab.PSKS[b"urn:dev:meter-2"]
SUITES = {"PSK-AES128-CCM8": True, "PSK-AES128-CBC-SHA256": True, "ECDHE-ECDSA-AES128-CCM8": False,
          "ECDHE-ECDSA-AES128-GCM-SHA256": False}


class Resuming(lab.Case):
    settings = {"tls": {"tickets": True}}

    def s_client(self, session, resume, suite="PSK-AES128-CCM8", identity=METER, key=KEY, options=(), payload=None,
                 seconds=lab.PATIENCE_S):
        """openssl s_client that keeps its ticket in a file, or shows the one in it; exchanges one message."""
        command = ["openssl", "s_client", "-dtls1_2", "-connect", f"{lab.GATEWAY4}:{lab.PORT}", "-cipher",
                   suite + ":@SECLEVEL=0", "-sess_in" if resume else "-sess_out", session, *options]
        if SUITES[suite]:
            command += ["-psk_identity", identity.decode(), "-psk", key.hex()]
        else:
            command += ["-CAfile", self.lab.pki["ca.pem"]]
        payload = payload or os.urandom(8).hex().encode()
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT) as client:
            os.set_blocking(client.stdout.fileno(), False)
            output, end, sent = b"", time.monotonic() + seconds, False
            while time.monotonic() < end and client.poll() is None:
                output += client.stdout.read() or b""
                if not sent and re.search(rb"(New|Reused), ", output):
                    client.stdin.write(payload + b"\n")
                    client.stdin.flush()
                    sent = True
                if sent and output.count(payload) > 0:
                    break
                time.sleep(0.02)
            client.stdin.close()
            try:
                client.wait(2)
            except subprocess.TimeoutExpired:
                client.terminate()
            output += client.stdout.read() or b""
        found = re.search(rb"(New|Reused), TLSv1.\d, Cipher is (\S+)", output)
        self.assertTrue(found, output.decode(errors="replace"))
        return found.group(1) == b"Reused", payload in output, output

    def file(self, name):
        return os.path.join(self.lab.folder, name)

    def check_full(self, session, **options):
        """Such a ticket leads to a full handshake, which is as good as any."""
        resumed, echoed, output = self.s_client(session, True, **options)
        self.assertFalse(resumed, output.decode(errors="replace"))
        self.assertTrue(echoed, output.decode(errors="replace"))

    def check_resumes(self, session, **options):
        resumed, echoed, output = self.s_client(session, True, **options)
        self.assertTrue(resumed, output.decode(errors="replace"))
        self.assertTrue(echoed, output.decode(errors="replace"))

    def issue(self, session, **options):
        resumed, echoed, output = self.s_client(session, False, **options)
        self.assertFalse(resumed)
        self.assertTrue(echoed, output.decode(errors="replace"))
        self.assertIn(b"TLS session ticket:", output)
        return session

    def identities(self):
        """Of the sessions so far, as sluice-forward prints them."""
        lines = [line.split() for line in self.lab.forward.output(10000).splitlines() if line.startswith("up ")]
        return [(line[2] + " " + line[3]) for line in lines]


class Tickets(Resuming):
    def test_H18_every_suite_resumes_with_openssl(self):
        for suite, psk in SUITES.items():
            with self.subTest(suite=suite):
                session = self.issue(self.file(suite), suite=suite)
                before = len(self.identities())
                for _ in range(3):  # a ticket is good more than once
                    self.check_resumes(session, suite=suite)
                self.assertEqual(self.identities()[before:],
                                 [f"credential {METER.decode()}" if psk else "nothing proven"] * 3)

    def test_H18_gnutls_resumes(self):
        """gnutls-cli connects twice in one run, the second time with what it got the first time."""
        before = len(self.identities())
        command = ["gnutls-cli", "--udp", "--port", str(lab.PORT), "--priority",
                   clients.GNUTLS_PRIORITIES[clients.PSK], "--pskusername", METER.decode(), "--pskkey", KEY.hex(),
                   "--resume", "--waitresumption", lab.GATEWAY4]
        done = subprocess.run(command, input=b"hello\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=lab.PATIENCE_S)
        self.assertIn(b"This is a resumed session", done.stdout, done.stdout.decode(errors="replace"))
        self.assertTrue(self.wait_until(lambda: len(self.identities()) >= before + 2),
                        self.lab.forward.output() + self.lab.gateway.output())
        self.assertEqual(self.identities()[-2:], [f"credential {METER.decode()}"] * 2)
        self.assertIn(", resumed", self.lab.gateway.output(1000))

    def test_R13_keys_and_nonces_are_new(self):
        """The same ticket twice: no record of one connection is a record of the other."""
        session, seen = self.issue(self.file("nonces")), []
        for _ in range(2):
            with Capture() as capture:
                self.check_resumes(session, payload=b"the same text")
            seen.append(capture.protected())
        self.assertTrue(seen[0] and seen[1])
        self.assertFalse(set(seen[0]) & set(seen[1]))

    def test_H18_a_ticket_that_was_tampered_with(self):
        session = self.issue(self.file("tampered"))
        with open(session) as file:
            text = file.read()
        der = bytearray(subprocess.run(["openssl", "sess_id", "-in", session, "-outform", "DER"], check=True,
                                       stdout=subprocess.PIPE).stdout)
        self.check_resumes(session)
        for offset in (0, 8, 20, 40, 100, 150):
            with self.subTest(offset=offset):
                self.check_full(self.changed(text, der, offset))
        self.check_resumes(session)

    def changed(self, text, der, offset):
        """The session with one bit of its ticket turned over."""
        printed = subprocess.run(["openssl", "sess_id", "-text", "-noout"], input=text.encode(), check=True,
                                 stdout=subprocess.PIPE).stdout.decode()
        lines = printed[printed.index("TLS session ticket:"):].splitlines()[1:]
        ticket = b"".join(bytes.fromhex(re.sub(r"[ -]", "", line.split(" - ")[1][:50]))
                          for line in lines[:lines.index("")] if " - " in line)
        at = bytes(der).index(ticket[:32])
        other = bytearray(der)
        other[at + offset] ^= 1
        name = self.file("changed")
        with open(name + ".der", "wb") as file:
            file.write(other)
        subprocess.run(["openssl", "sess_id", "-inform", "DER", "-in", name + ".der", "-out", name], check=True)
        return name

    def test_H18_a_suite_that_is_not_offered_any_more(self):
        session = self.issue(self.file("suite"))
        self.check_full(session, suite="PSK-AES128-CBC-SHA256")
        self.check_resumes(session)

    def test_tickets_that_are_not_ours(self):
        """Of any length: an extension that we cannot read is as good as an empty one."""
        for length in (1, 50, 100, 150, 200, 300, 500, 700, 900):
            with self.subTest(length=length):
                ticket = dtls.extension(35, os.urandom(length))
                with self.lab.client(extensions=ticket) as client:
                    client.connect()
                    self.assertEqual(client.exchange(b"full"), b"full")
        self.lab.check_good()

    def test_data_right_behind_finished(self):
        """The client is ready first: what it sends in the same breath must arrive."""
        session = self.issue(self.file("early"))
        for _ in range(5):
            self.check_resumes(session)
        before = len(self.lab.backend.received)
        with ResumingClient(self.lab) as client:
            client.full()
            client.resume(early=[b"one", b"two", b"three"])
            self.assertEqual(sorted(client.receive(3) for _ in range(3)), [b"one", b"three", b"two"])
        self.assertGreaterEqual(len(self.lab.backend.received), before + 3)

    def test_lost_flights(self):
        with ResumingClient(self.lab) as client:
            client.full()
            client.resume(lose_server_flight=True)
            self.assertEqual(client.exchange(b"after a loss"), b"after a loss")
            client.resume(lose_finished=True)
            self.assertEqual(client.exchange(b"and another"), b"and another")

    def test_S04_no_other_message_between_hello_and_finished(self):
        """What could make somebody else of a client that resumes is not looked at."""
        with ResumingClient(self.lab) as client:
            client.full()
            client.resume(extra=True)
            self.assertEqual(client.exchange(b"still me"), b"still me")
        self.assertEqual(self.identities()[-1], f"credential {METER.decode()}")

    def test_I01_a_resumed_session_with_a_connection_id(self):
        with ResumingClient(self.lab, cid=b"") as client:
            client.full()
            client.resume()
            self.assertEqual(client.exchange(b"with a CID"), b"with a CID")


class SharedKeys(Resuming):
    """Restarts, changed keys and changed credentials between a ticket and its use."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keys = os.path.join(cls.lab.folder, "ticket-keys")
        cls.write_keys("aa" * 32)
        cls.lab.config["handshakes"]["ticket_keys"] = cls.keys
        cls.restart()

    @classmethod
    def write_keys(cls, *lines):
        with open(cls.keys, "w") as file:
            os.chmod(cls.keys, 0o600)
            file.write("# secrets of session tickets\n" + "".join(line + "\n" for line in lines))

    @classmethod
    def restart(cls):
        cls.lab.gateway.stop()
        cls.lab.start_gateway()
        cls.lab.revive_forward()

    def write_psks(self, psks):
        with open(self.lab.psk_path, "w") as file:
            file.write("".join(f"{i.decode()}:{k.hex()}\n" for i, k in psks.items()))

    def test_a_ticket_outlives_the_gateway(self):
        session = self.issue(self.file("restart"))
        self.restart()
        before = len(self.identities())
        self.check_resumes(session)
        self.assertEqual(self.identities()[before:], [f"credential {METER.decode()}"])

    def test_a_credential_that_is_gone_or_replaced(self):
        session = self.issue(self.file("gone"))
        other = self.issue(self.file("kept"), identity=OTHER, key=OTHER_KEY)
        new_key = b"a newer secret.."
        try:
            self.write_psks({METER: new_key, OTHER: OTHER_KEY})
            self.restart()
            self.check_full(session, key=new_key)  # never under the old key
            self.check_resumes(other, identity=OTHER, key=OTHER_KEY)
            self.write_psks({OTHER: OTHER_KEY})
            self.restart()
            resumed, echoed, _ = self.s_client(session, True, seconds=4)
            self.assertFalse(resumed or echoed)  # a full handshake, which fails
            self.check_resumes(other, identity=OTHER, key=OTHER_KEY)
        finally:
            self.write_psks(lab.PSKS)
            self.restart()
        self.check_resumes(session)  # the same credential as when the ticket was made

    def test_other_secrets(self):
        session = self.issue(self.file("secrets"))
        self.write_keys("bb" * 32, "aa" * 32)
        self.restart()
        self.check_resumes(session)  # the second line still opens
        newer = self.issue(self.file("newer"))
        self.write_keys("cc" * 32)
        self.restart()
        self.check_full(session)
        self.check_full(newer)
        self.write_keys("aa" * 32)
        self.restart()
        self.check_resumes(session)

    def test_secrets_that_change_while_it_runs(self):
        session = self.issue(self.file("running"))
        self.write_keys("not a secret")
        time.sleep(11)
        self.check_resumes(session)  # what cannot be read changes nothing
        self.assertIn("the ticket keys stay as they are", self.lab.gateway.output(1000))
        self.write_keys("dd" * 32)
        self.assertTrue(self.wait_until(lambda: not self.s_client(session, True)[0]))
        self.write_keys("aa" * 32)
        self.assertTrue(self.wait_until(lambda: self.s_client(session, True)[0]))


class Expiring(Resuming):
    settings = {"tls": {"tickets": True}, "handshakes": {"max": 1024, "ticket_lifetime_s": 10}}

    def test_an_expired_ticket(self):
        session = self.issue(self.file("old"))
        self.check_resumes(session)
        with open(session) as file:
            self.assertTrue(file.read())
        time.sleep(13)
        self.check_full(session)


class OfTenants(Resuming):
    settings = {"tls": {"tickets": True},
                "tenants": None}

    @classmethod
    def setUpClass(cls):
        cls.lab = lab.Lab(os.environ.get("SLUICE_BUILD", "build"), None, cls.backend)
        cls.lab.config["tls"]["tickets"] = True
        options = {key: cls.lab.config["tls"][key] for key in ("certificate", "key")}
        cls.lab.config["tenants"] = [{"name": "water", "server_names": ["water.example", "w.example"], "tickets": True,
                                      **options},
                                     {"name": "dry", "server_names": ["dry.example"], **options}]
        try:
            cls.lab.start()
        except BaseException:
            cls.lab.stop()
            raise

    def test_a_ticket_is_of_one_tenant(self):
        suite = "ECDHE-ECDSA-AES128-CCM8"
        water = ("-servername", "water.example")
        session = self.issue(self.file("water"), suite=suite, options=water)
        self.check_resumes(session, suite=suite, options=water)
        for name in ("w.example", "dry.example", "elsewhere.example"):
            with self.subTest(name=name):
                self.check_full(session, suite=suite, options=("-servername", name))
        self.check_full(session, suite=suite, options=("-noservername",))
        self.check_resumes(session, suite=suite, options=water)

    def test_a_tenant_without_tickets_gives_none(self):
        _, echoed, output = self.s_client(self.file("dry"), False, suite="ECDHE-ECDSA-AES128-CCM8",
                                          options=("-servername", "dry.example"))
        self.assertTrue(echoed)
        self.assertNotIn(b"TLS session ticket:", output)


class Off(Resuming):
    settings = None

    def test_without_the_option_nobody_gets_a_ticket(self):
        _, echoed, output = self.s_client(self.file("off"), False)
        self.assertTrue(echoed)
        self.assertNotIn(b"TLS session ticket:", output)

    def test_tickets_of_other_servers_do_no_harm(self):
        for length in (1, 100, 240, 300, 700, 900):
            with self.subTest(length=length):
                with self.lab.client(extensions=dtls.extension(35, os.urandom(length))) as client:
                    client.connect()
                    self.assertEqual(client.exchange(b"full"), b"full")


class Capture:
    """The datagrams on the TAP while it is open."""

    def __enter__(self):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))  # both directions
        self.socket.bind((lab.TAP, 3))
        return self

    def __exit__(self, *unused):
        self.socket.setblocking(False)
        self.packets = []
        try:
            while True:
                self.packets.append(self.socket.recv(65536))
        except BlockingIOError:
            self.socket.close()

    def protected(self):
        """The bodies of all records of epoch 1, Finished and data alike."""
        records = [r for p in self.packets if p[0] == 0x45 and p[9] == 17 for r in dtls.parse_records(p[28:])]
        return [r.body for r in records if r.epoch == 1]


class ResumingClient:
    """A hand-made client that gets a ticket and comes back with it; speaks TLS_PSK_WITH_AES_128_CCM_8."""

    def __init__(self, with_lab, **options):
        self.lab, self.options, self.client, self.ticket, self.master = with_lab, options, None, b"", b""

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.client:
            self.client.close()

    def full(self):
        self.client = self.lab.client(extensions=dtls.extension(35, b""), **self.options)
        client = self.client
        client.start()
        client.send(*client.last_flight())
        type, body = client.receive_message()[:2]
        if type != dtls.NEW_SESSION_TICKET:
            raise AssertionError(f"message {type} in the place of a ticket")
        self.ticket, self.master = body[6:], client.master
        client.finish()
        return self

    def resume(self, early=(), lose_server_flight=False, lose_finished=False, extra=False):
        """An abbreviated handshake: RFC 5077 3.1."""
        self.client.close()
        self.client = client = self.lab.client(extensions=dtls.extension(35, self.ticket), **self.options)
        client.first_hello()
        client.send(client.hello())
        if lose_server_flight:
            client.datagrams(0.5)  # it says them again after a second
        self.take_server_flight(client)
        last = [client.change_cipher_spec(), client.sealed(dtls.HANDSHAKE, client.finished_message())]
        if lose_finished:
            client.datagrams(1.5)
            client.pending.clear()
        if extra:
            identity = len(OTHER).to_bytes(2, "big") + OTHER
            client.send(client.plain(dtls.HANDSHAKE, client.message(dtls.CLIENT_KEY_EXCHANGE, identity,
                                                                    client.message_seq - 1, transcript=False)))
        client.send(*last)
        for payload in early:
            client.send(client.data(payload))

    def take_server_flight(self, client):
        """ServerHello, ChangeCipherSpec, Finished; the keys come of the old secret and the new randoms."""
        message = client.receive_message()
        if not message or message[0] != dtls.SERVER_HELLO:
            raise AssertionError(f"{message} in the place of a ServerHello")
        client.master = self.master
        block = dtls.prf(self.master, "key expansion", client.server_random + client.random, 40)
        client.tx = dtls.Protection(block[0:16], block[32:36], client.peer_cid)
        client.rx = dtls.Protection(block[16:32], block[36:40], client.cid if client.peer_cid is not None else None)
        client.finish()

    def exchange(self, payload):
        return self.client.exchange(payload)

    def receive(self, seconds):
        return self.client.receive(seconds)


if __name__ == "__main__":
    lab.main()
