#!/usr/bin/python3
"""Requests under somebody else's name, stopped by sluice-forward; and who is behind a source address. The
clients are libcoap's and a hand-made one, the backend answers any CoAP request with 2.04."""

import json
import os
import re
import socket
import struct
import subprocess

import dtls
import lab

OTHER, OTHER_KEY = b"urn:dev:meter-2", lab.PSKS[b"urn:dev:meter-2"]
CON, NON, ACK, RST = 0, 1, 2, 3
GET, POST = 1, 2
CHANGED, BAD_REQUEST, FORBIDDEN, NO_PROXYING = "2.04", "4.00", "4.03", "5.05"
URI_PATH, URI_QUERY, PROXY_URI, FR, RQI, RSC = 11, 15, 35, 256, 257, 265


def nibble(value):
    if value < 13:
        return value, b""
    return (13, bytes([value - 13])) if value < 269 else (14, struct.pack("!H", value - 269))


def coap(kind, code, message_id, token=b"", options=(), payload=b""):
    """RFC 7252 3; options in rising order."""
    message, before = struct.pack("!BBH", 1 << 6 | kind << 4 | len(token), code, message_id) + token, 0
    for number, value in options:
        delta, more = nibble(number - before)
        length, most = nibble(len(value))
        message += bytes([delta << 4 | length]) + more + most + value
        before = number
    return message + (b"\xff" + payload if payload else b"")


class CoapBackend(lab.Backend):
    """Answers every request with 2.04 and keeps what came as (source, payload)."""

    def run(self):
        self.echo = False
        while not self.stopping:
            try:
                self.socket.settimeout(0.1)
                message, source = self.socket.recvfrom(65536)
            except socket.timeout:
                continue
            self.received.append((source, message))
            kind, token_len, code = message[0] >> 4 & 3, message[0] & 15, message[1]
            if 0 < code < 32:
                head = bytes([0x40 | (ACK if kind == CON else NON) << 4 | token_len, 2 << 5 | 4])
                self.socket.sendto(head + message[2:4 + token_len], source)


class Edge(lab.Case):
    """checks: the options of sluice-forward."""

    backend = False
    checks = ()

    @classmethod
    def setUpClass(cls):
        cls.lab = lab.Lab(os.environ.get("SLUICE_BUILD", "build"), cls.settings, False)
        cls.lab.backend = CoapBackend()
        cls.door = os.path.join(cls.lab.folder, "door.sock")
        try:
            cls.lab.start_gateway()
            cls.start_forward()
        except BaseException:
            cls.lab.stop()
            raise

    @classmethod
    def start_forward(cls):
        command = [cls.lab.program("ring/sluice-forward"), "--ring", cls.lab.socket_path, "--backend",
                   f"127.0.0.1:{lab.BACKEND_PORT}", "--verbose", "--door", cls.door, *cls.checks]
        cls.lab.forward = lab.Process("sluice-forward", command, cls.lab.folder)
        cls.lab.wait(cls.lab.attached, "sluice-forward to attach", processes=[cls.lab.gateway, cls.lab.forward])

    def libcoap(self, method, path, *options, flavour="openssl", psk=(lab.METER, lab.METER_KEY)):
        """What coap-client reports: the code of the answer."""
        command = [f"coap-client-{flavour}", "-v", "7", "-B", f"{lab.PATIENCE_S:.0f}", "-m", method, "-u",
                   psk[0].decode(), "-k", psk[1].decode(), *options, f"coaps://{lab.GATEWAY4}:{lab.PORT}/{path}"]
        output = ""
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True) as client:
            for line in client.stdout:
                output += line
                if found := re.search(r"t:(?:ACK|NON) c:([245]\.\d\d)", line):
                    client.kill()  # some wait for more
                    return found.group(1)
        self.fail(output)

    def ask(self, client, message, seconds=None):
        """The answer to a message: (type, code as text, message ID, token, options and payload); None: none came."""
        client.send(client.data(message))
        answer = client.receive(seconds)
        if answer is None:
            return None
        kind, token_len, code, number = answer[0] >> 4 & 3, answer[0] & 15, answer[1], answer[2] << 8 | answer[3]
        return kind, f"{code >> 5}.{code & 31:02}", number, answer[4:4 + token_len], answer[4 + token_len:]

    def counted(self, text):
        """The counter behind these words, as SIGUSR1 prints it."""
        before = self.lab.forward.output(10000).count("source addresses")
        self.lab.forward.process.send_signal(lab.signal.SIGUSR1)
        self.assertTrue(self.wait_until(
            lambda: self.lab.forward.output(10000).count("source addresses") > before
            and text in self.lab.forward.output(10000).rsplit("source addresses")[-1]))
        line = [line for line in self.lab.forward.output(10000).splitlines() if line.endswith(text)][-1]
        return int(line.split()[0])

    def look_up(self, question):
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(lab.PATIENCE_S)
            door.connect(self.door)
            door.sendall(question.encode() + b"\n")
            return json.loads(door.makefile().readline())


class Lwm2m(Edge):
    checks = ("--check", "lwm2m")
    REFUSED = "refused: ep= is not the session's endpoint name, or may hide in the query or the path"

    def register(self, path, endpoint, **options):
        return self.libcoap("post", f"{path}?lt=60&ep={endpoint}", **options)

    def test_real_clients_register_their_own_endpoint_alone(self):
        for flavour in ("openssl", "gnutls"):
            for path in ("rd", "bs"):
                with self.subTest(flavour=flavour, path=path):
                    before, refused = len(self.lab.backend.received), self.counted(self.REFUSED)
                    self.assertEqual(self.register(path, lab.METER.decode(), flavour=flavour), CHANGED)
                    self.assertEqual(self.register(path, OTHER.decode(), flavour=flavour), BAD_REQUEST)
                    self.assertEqual(self.register(path, OTHER.decode(), flavour=flavour, psk=(OTHER, OTHER_KEY)),
                                     CHANGED)
                    self.assertEqual(self.register(path, lab.METER.decode(), flavour=flavour), CHANGED)
                    self.assertEqual(len(self.lab.backend.received), before + 3)
                    self.assertEqual(self.counted(self.REFUSED), refused + 1)

    def test_the_answer_belongs_to_the_request(self):
        with self.lab.client() as client:
            client.connect()
            good = [(URI_PATH, b"rd"), (URI_QUERY, b"ep=" + lab.METER)]
            bad = [(URI_PATH, b"rd"), (URI_QUERY, b"lt=60"), (URI_QUERY, b"ep=" + OTHER)]
            self.assertEqual(self.ask(client, coap(CON, POST, 1, b"a", good))[:4], (ACK, CHANGED, 1, b"a"))
            self.assertEqual(self.ask(client, coap(CON, POST, 2, b"12345678", bad))[:4],
                             (ACK, BAD_REQUEST, 2, b"12345678"))
            kind, code, number, token, _ = self.ask(client, coap(NON, POST, 3, b"xyz", bad))
            self.assertEqual((kind, code, token), (NON, BAD_REQUEST, b"xyz"))
            again = self.ask(client, coap(NON, POST, 4, b"", bad))
            self.assertEqual((again[0], again[1], again[3]), (NON, BAD_REQUEST, b""))
            self.assertNotEqual(again[2], number)
            self.assertEqual(self.ask(client, coap(CON, POST, 5, b"a", good))[:4], (ACK, CHANGED, 5, b"a"))

    def test_a_proxy_uri(self):
        with self.lab.client() as client:
            client.connect()
            hidden = [(PROXY_URI, b"coap://127.0.0.1/rd?ep=" + OTHER)]
            self.assertEqual(self.ask(client, coap(CON, POST, 1, b"a", hidden))[1], NO_PROXYING)
            self.assertEqual(self.ask(client, coap(CON, POST, 2, b"a", [(URI_PATH, b"rd")]))[1], CHANGED)

    def test_malformed_messages_do_not_reach_the_backend(self):
        with self.lab.client() as client:
            client.connect()
            self.assertEqual(self.ask(client, coap(CON, GET, 1))[1], CHANGED)
            before = len(self.lab.backend.received)
            for message in (b"\x40\x01\xbe\xef\xff", b"\x49\x01\xbe\xef" + bytes(9), b"\x40\x01\xbe\xef\xf0",
                            b"\x40\x01\xbe\xef\xb5ab", b"\x40\xe1\xbe\xef"):
                with self.subTest(message=message):
                    self.assertEqual(self.ask(client, message)[:4], (RST, "0.00", 0xBEEF, b""))
            for message in (b"", b"\x16", b"\x50\x01\xbe\xef\xff", b"\x60\x01\xbe\xef", b"\x80\x01\xbe\xef", b"hello"):
                with self.subTest(message=message):
                    self.assertIsNone(self.ask(client, message, 0.3))
            self.assertEqual(len(self.lab.backend.received), before)
            self.assertEqual(self.ask(client, coap(CON, GET, 2))[1], CHANGED)

    def test_a_session_that_has_proven_nothing(self):
        self.assertEqual(self.register("rd", lab.METER.decode()), CHANGED)
        before = len(self.lab.backend.received)
        with self.lab.client(psk=None, suites=[dtls.ECDHE_ECDSA_CCM_8]) as client:
            client.connect()
            for options in ([(URI_QUERY, b"ep=" + lab.METER)], [(URI_QUERY, b"ep=")], []):
                self.assertEqual(self.ask(client, coap(CON, POST, 7, b"t", options))[1], FORBIDDEN)
            self.assertIsNone(self.ask(client, coap(CON, 0, 8), 0.3))
        self.assertEqual(len(self.lab.backend.received), before)
        self.assertEqual(self.register("rd", lab.METER.decode()), CHANGED)


class OneM2m(Edge):
    checks = ("--check", "onem2m", "--check", "elsewhere=none")
    REFUSED = "refused: oneM2M-FR is not an identity of the session"

    def retrieve(self, originator, **options):
        named = ["-O", f"{FR},{originator}"] if originator is not None else []
        return self.libcoap("get", "cse", *named, "-O", f"{RQI},request-1", **options)

    def test_real_clients_ask_under_their_own_name_alone(self):
        before, refused = len(self.lab.backend.received), self.counted(self.REFUSED)
        self.assertEqual(self.retrieve(lab.METER.decode()), CHANGED)
        for originator in (OTHER.decode(), lab.METER.decode() + "0", "/" + lab.METER.decode(), None):
            self.assertEqual(self.retrieve(originator), FORBIDDEN)
        self.assertEqual(self.retrieve(OTHER.decode(), psk=(OTHER, OTHER_KEY), flavour="gnutls"), CHANGED)
        self.assertEqual(self.retrieve(lab.METER.decode()), CHANGED)
        self.assertEqual(len(self.lab.backend.received), before + 3)
        self.assertEqual(self.counted(self.REFUSED), refused + 4)

    def test_the_refusal_speaks_onem2m(self):
        with self.lab.client() as client:
            client.connect()
            bad = [(URI_PATH, b"cse"), (FR, OTHER), (RQI, b"request-9")]
            kind, code, number, token, rest = self.ask(client, coap(CON, GET, 77, b"tk", bad))
            self.assertEqual((kind, code, number, token), (ACK, FORBIDDEN, 77, b"tk"))
            told = coap(ACK, 4 << 5 | 3, 77, b"tk", [(RQI, b"request-9"), (RSC, struct.pack("!H", 4103))])
            self.assertEqual(rest[:len(told) - 6], told[6:])
            twice = [(FR, lab.METER), (FR, OTHER)]
            self.assertEqual(self.ask(client, coap(CON, GET, 78, b"tk", twice))[1], FORBIDDEN)
            self.assertEqual(self.ask(client, coap(CON, GET, 79, b"tk", twice[:1]))[1], CHANGED)


class Door(Edge):
    def test_who_is_behind_a_source_address(self):
        with self.lab.client() as client, self.lab.client(psk=(OTHER, OTHER_KEY)) as other:
            sources = []
            for one in (client, other):
                one.connect()
                self.assertEqual(self.ask(one, coap(CON, GET, 5, b"t"))[1], CHANGED)
                sources.append(self.lab.backend.received[-1][0])
            for (address, port), name, one in zip(sources, (lab.METER, OTHER), (client, other)):
                for question in (address, f"{address}:{port}"):
                    answer = self.look_up(question)
                    self.assertTrue(answer["found"])
                    self.assertEqual((answer["identity_kind"], answer["credential"], answer["credential_id"]),
                                     ("credential", "psk", name.decode()))
                    self.assertEqual(answer["peer"], "%s:%u" % one.socket.getsockname()[:2])
            client.send(client.sealed(dtls.ALERT, bytes([1, 0])))  # close_notify
            self.assertTrue(self.wait_until(lambda: not self.look_up(sources[0][0])["found"]))
            self.assertTrue(self.look_up(sources[1][0])["found"])
        self.assertFalse(self.look_up("127.64.0.9")["found"])
        self.assertFalse(self.look_up("nonsense")["found"])

    def test_it_answers_while_the_gateway_is_away(self):
        with self.lab.client() as client:
            client.connect()
            self.assertEqual(self.ask(client, coap(CON, GET, 5, b"t"))[1], CHANGED)
            source = self.lab.backend.received[-1][0][0]
            self.assertTrue(self.look_up(source)["found"])
            self.lab.forward.stop()
            self.start_forward()  # announced again, at the same address
            self.assertTrue(self.wait_until(lambda: self.look_up(source)["found"]))
        self.lab.gateway.stop()
        self.assertTrue(self.wait_until(lambda: not self.look_up(source)["found"]))
        self.lab.start_gateway()
        self.lab.wait(self.lab.attached, "sluice-forward to attach again")


if __name__ == "__main__":
    lab.main()
