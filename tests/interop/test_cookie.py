#!/usr/bin/python3
"""Before a client has shown that it owns its address: RFC 6347 4.2.1."""

import os
import random
import socket
import time

import dtls
import lab
from wire import Wire


def is_hello_verify(datagram):
    return len(datagram) > 15 and datagram[0] == dtls.HANDSHAKE and datagram[13] == dtls.HELLO_VERIFY_REQUEST


def is_refused_version(datagram):
    """The fatal alert protocol_version to a ClientHello of another version."""
    return len(datagram) == 15 and datagram[0] == 21 and datagram[13:] == b"\x02\x46"


class Cookie(lab.Case):
    def answer_to(self, client, record):
        """"hello verify", "server hello", "silence", or what else came."""
        client.send(record)
        datagram = client.datagram(0.5)
        if datagram is None:
            return "silence"
        if is_hello_verify(datagram):
            return "hello verify"
        if datagram[0] == dtls.HANDSHAKE and datagram[13] == dtls.SERVER_HELLO:
            return "server hello"
        return f"type {datagram[0]}: {datagram.hex()}"

    def test_C01_flood_of_first_hellos_leaves_no_state(self):
        # All of them are addresses of this host.
        lab.run("ip", "route", "add", "local", "198.18.96.0/19", "dev", "lo")
        self.lab.check_good()
        with self.lab.client() as client:
            hello = client.hello(cookie=b"")
        for i in range(2000):  # the first ones may touch memory that was only reserved
            self.throw(hello, i)
        before = self.lab.gateway.memory_kib()
        wire = Wire(lab.TAP, lab.PORT)
        for i in range(30000):
            self.throw(hello, i)
        with self.lab.client() as client:
            client.first_hello()  # the flood has been seen to
        datagrams = wire.stop()
        self.assertLess(self.lab.gateway.memory_kib() - before, 512 + lab.QUARANTINE_KIB, "KiB grown by a flood")
        answers = [d.payload for d in datagrams if not d.up]
        self.assertGreater(len(answers), 30000)
        self.assertTrue(all(map(is_hello_verify, answers)))
        self.lab.check_good()

    def throw(self, hello, i):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind((f"198.18.{96 + i // 200 % 32}.{1 + i % 200}", 0))
            s.sendto(hello, self.lab.server)

    def test_C02_answer_is_never_longer_than_the_hello(self):
        self.lab.check_good()
        shortest = dict(suites=[dtls.PSK_CCM_8], extensions=b"", cookie=b"")
        with self.lab.client() as client:
            hellos = [client.hello(**shortest)]
            body = client.hello_body(**shortest)
            for length in (0, 1, 12, 20):  # fragments of it
                hellos.append(client.plain(dtls.HANDSHAKE, dtls.fragment(dtls.CLIENT_HELLO, 0, body, 0, length)))
            whole = client.hello(cookie=b"")
            hellos += [whole[:length] for length in range(13, len(whole), 5)]
            for hello in hellos:
                client.send(hello)
                answer = client.datagram(0.05)
                if answer is not None:
                    self.assertLessEqual(len(answer), len(hello))
        self.lab.check_good()

    def test_C03_cookie_belongs_to_one_port_and_address(self):
        with self.lab.client() as owner:
            owner.first_hello()
            for source in (None, ("198.18.0.1", 0), ("198.18.77.7", owner.socket.getsockname()[1])):
                if source and source[0] != lab.CLIENT4:
                    lab.run("ip", "address", "replace", source[0] + "/32", "dev", "lo")
                with self.lab.client(source=source) as thief:
                    thief.random, thief.cookie = owner.random, owner.cookie
                    thief.message_seq = 1
                    self.assertIn(self.answer_to(thief, thief.hello()), ("hello verify", "silence"))
            self.assertEqual(self.answer_to(owner, owner.hello()), "server hello")

    def test_C03_S07_cookie_belongs_to_one_hello(self):
        changes = {
            "random": dict(random=os.urandom(32)),
            "session id": dict(session_id=os.urandom(32)),
            "suites": dict(suites=[dtls.PSK_CCM_8, 0xC0A4, 0x00AE]),
            "compression": dict(compression=b"\x00\x01"),
        }
        for what, change in changes.items():
            with self.lab.client() as client:
                client.first_hello()
                self.assertIn(self.answer_to(client, client.hello(**change)), ("hello verify", "silence"), what)
        self.lab.check_good()

    def test_C05_hello_verify_repeats_sequence_number_and_says_1_0(self):
        with self.lab.client() as client:
            client.next_seq[0] = 7
            answer = client.first_hello()
            self.assertEqual((answer.seq, answer.epoch), (7, 0))
            self.assertEqual(answer.body[12:14], b"\xfe\xff")
            client.next_seq[0] = 19
            client.send(client.hello())
            self.assertEqual(client.record().seq, 19, "the first ServerHello record")

    def test_C06_first_fragments_only_cost_nothing(self):
        self.lab.check_good()
        before = self.lab.gateway.memory_kib()
        with self.lab.client() as client:
            body = client.hello_body(cookie=b"")
            for i in range(5000):
                client.send(client.plain(dtls.HANDSHAKE, dtls.fragment(dtls.CLIENT_HELLO, 0, body, 0, 40)))
                if i % 50 == 49:
                    time.sleep(0.001)
            client.datagrams(0.2)
        self.assertLess(self.lab.gateway.memory_kib() - before, 512 + lab.QUARANTINE_KIB)
        self.lab.check_good()

    def test_C07_wrong_cookie_is_no_cookie(self):
        with self.lab.client() as client:
            client.first_hello()
            good = client.cookie
            for bit in (0, 77, len(good) * 8 - 1):
                wrong = bytearray(good)
                wrong[bit // 8] ^= 1 << bit % 8
                self.assertEqual(self.answer_to(client, client.hello(cookie=bytes(wrong))), "hello verify")
            for wrong in (good[:-1], good + b"\0", b"x" * 255):
                self.assertIn(self.answer_to(client, client.hello(cookie=wrong)), ("hello verify", "silence"))
        self.lab.check_good()

    def test_C08_noise_is_not_answered(self):
        self.lab.check_good()
        source = random.Random(6347)
        with self.lab.client() as client:
            for length in [*range(0, 64), *(source.randrange(64, 1400) for i in range(600))]:
                noise = bytearray(source.randbytes(length))
                if noise and noise[0] == dtls.HANDSHAKE:
                    noise[0] = 0
                client.send(bytes(noise))
            for type in (0, 19, 20, 21, 23, 24, 25, 26, 255):
                for epoch in (0, 1, 2, 65535):
                    client.send(dtls.record_bytes(type, epoch, 3, source.randbytes(48)))
            for epoch in (1, 2, 65535):  # a ClientHello is of epoch 0
                client.send(dtls.record_bytes(dtls.HANDSHAKE, epoch, 0,
                                              dtls.fragment(dtls.CLIENT_HELLO, 0, client.hello_body(cookie=b""))))
            for type in range(0, 25):
                if type != dtls.CLIENT_HELLO:
                    client.send(client.plain(dtls.HANDSHAKE, dtls.fragment(type, 0, source.randbytes(60))))
            self.assertEqual(client.datagrams(0.5), [])
        self.lab.check_good()

    def test_C08_mutated_hellos_get_a_hello_verify_or_nothing(self):
        self.lab.check_good()
        source = random.Random(4279)
        with self.lab.client() as client:
            hello = client.hello(cookie=b"")
            for i in range(1500):
                mutant = bytearray(hello)
                for _ in range(source.randrange(1, 4)):
                    mutant[source.randrange(len(mutant))] = source.randrange(256)
                client.send(bytes(mutant[:source.choice((len(mutant), source.randrange(len(mutant))))]))
                if i % 50 == 49:
                    for answer in client.datagrams(0.01):
                        self.assertTrue(is_hello_verify(answer) or is_refused_version(answer), answer.hex())
        self.lab.check_good()


class Rotation(lab.Case):
    settings = {"handshakes": {"cookie_rotation_s": 2}}

    def old_cookie(self, age_s):
        """What a ClientHello gets whose cookie is so old."""
        with self.lab.client() as client:
            client.first_hello()
            time.sleep(age_s)
            client.send(client.hello())
            answer = client.record()
            return answer.body[0]

    def test_C04_cookie_lives_through_one_rotation_and_not_through_three(self):
        self.assertEqual(self.old_cookie(0), dtls.SERVER_HELLO)
        self.assertEqual(self.old_cookie(1.9), dtls.SERVER_HELLO)
        self.assertEqual(self.old_cookie(6.5), dtls.HELLO_VERIFY_REQUEST)
        self.lab.check_good()


if __name__ == "__main__":
    lab.main()
