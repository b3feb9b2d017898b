#!/usr/bin/python3
"""Handshakes that go another way than RFC 6347 and RFC 5246 have it: fragments, order, timers, states."""

import itertools
import os
import struct
import time

import dtls
import lab
import pki


class Handshake(lab.Case):
    def device(self, **options):
        """A client with a certificate."""
        return self.lab.client(certificate=pki.pair(self.lab.pki, "device"), psk=None, **options)

    def assertUseful(self, client):
        payload = os.urandom(20).hex().encode()
        self.assertEqual(client.exchange(payload), payload)

    # -- fragments

    def test_H01_fragmented_second_hello(self):
        """The first fragment reaches to behind the cookie, or the gateway could not tell whose memory to spend."""
        with self.lab.client() as client:
            client.first_hello()
            client.transcript = b""
            body = client.hello_body()
            client.message(dtls.CLIENT_HELLO, body)
            for offset in range(0, len(body), 80):
                client.send(client.plain(dtls.HANDSHAKE, dtls.fragment(dtls.CLIENT_HELLO, 1, body, offset, 80)))
            client.server_flight()
            client.send(*client.last_flight())
            client.finish()
            self.assertUseful(client)

    def split_flight(self, client, pieces):
        """The last flight with its ClientKeyExchange in the pieces [(offset, length)]."""
        body = dtls.vector(2, client.psk[0])
        seq = client.message_seq
        client.key_exchange_message()
        client.derive()
        parts = [client.plain(dtls.HANDSHAKE, dtls.fragment(dtls.CLIENT_KEY_EXCHANGE, seq, body, o, n)) for o, n in pieces]
        return parts + [client.change_cipher_spec(), client.sealed(dtls.HANDSHAKE, client.finished_message())]

    def test_H01_S09_fragments_overlapping_repeated_and_out_of_order(self):
        for pieces in ([(0, 5), (5, 12)], [(5, 12), (0, 5)], [(0, 10), (3, 14)], [(0, 5), (0, 5), (5, 12), (5, 12)],
                       [(i, 1) for i in reversed(range(17))], [(0, 0), (0, 17)]):
            with self.lab.client(psk=(b"urn:dev:meter-1", lab.METER_KEY)) as client:
                client.start()
                for record in self.split_flight(client, pieces):
                    client.send(record)
                client.finish()
                self.assertUseful(client)

    def test_H01_fragments_that_contradict_each_other(self):
        def attempt():
            with self.lab.client(timeout=4.0) as client:
                client.start()
                body = dtls.vector(2, client.psk[0])
                seq = client.message_seq
                for total, offset, length in ((40, 0, 5), (17, 5, 12), (3, 0, 17), (17, 10, 200), (0xFFFFFF, 16, 1)):
                    part = dtls.fragment(dtls.CLIENT_KEY_EXCHANGE, seq, body, offset, length, total)
                    client.send(client.plain(dtls.HANDSHAKE, part))
                client.finish()
        self.assertRefused(attempt)

    def test_H02_S10_messages_far_ahead_take_bounded_memory(self):
        self.lab.check_good()
        before = self.lab.gateway.memory_kib()
        with self.lab.client() as client:
            client.start()
            for seq in itertools.chain(range(3, 2000), range(63536, 65536)):
                lie = dtls.fragment(dtls.CLIENT_KEY_EXCHANGE, seq, bytes(60), 16000000, 60, 0xFFFFFF)
                client.send(client.plain(dtls.HANDSHAKE, lie))
                if seq % 100 == 99:
                    time.sleep(0.002)
            time.sleep(0.3)
            self.assertLess(self.lab.gateway.memory_kib() - before, 4096 + lab.QUARANTINE_KIB, "KiB for one handshake's lies")
        self.lab.check_good()

    # -- timers and repetitions

    def test_H03_H04_the_flight_is_repeated_with_new_record_numbers(self):
        with self.lab.client(timeout=4) as client:
            client.first_hello()
            client.send(client.hello())
            start, first, again, at = time.monotonic(), [], [], 0
            while time.monotonic() < start + 4 and len(again) < len(first) or not first:
                record = client.record(3)
                if record is None:
                    break
                if time.monotonic() < start + 0.4:
                    first.append(record)
                else:
                    at = at or time.monotonic() - start
                    again.append(record)
            self.assertTrue(0.5 < at < 2.5, f"repeated after {at:.2f} s")
            self.assertEqual([r.body for r in first], [r.body for r in again], "the same messages")
            self.assertFalse({r.seq for r in first} & {r.seq for r in again}, "under new record numbers")

    def test_S10_the_repetitions_end(self):
        """Not a packet more once the handshake is given up, however long the client stays silent."""
        with self.lab.client() as client:
            client.first_hello()
            client.send(client.hello())
            count = len(client.datagrams(8))
            self.assertLessEqual(count, 5 * 4, "datagrams in 8 s: at 0, 1, 3 and 7 s")

    def test_H05_lost_last_flight_is_sent_again(self):
        with self.lab.client() as client:
            client.start()
            flight = client.last_flight()
            transcript = client.transcript
            client.send(*flight)
            finished = dtls.fragment(dtls.FINISHED, client.message_seq - 1, client.transcript[-12:])
            for attempt in range(3):  # as if the server's answer got lost so often
                self.assertTrue(client.datagrams(0.3), f"answer {attempt}")
                client.pending = []
                client.send(client.change_cipher_spec(), client.sealed(dtls.HANDSHAKE, finished))
            client.transcript = transcript
            client.finish()
            self.assertUseful(client)

    def test_H05_a_forged_repetition_is_not_answered(self):
        with self.lab.client() as client:
            client.connect()
            forged = bytearray(client.sealed(dtls.HANDSHAKE, dtls.fragment(dtls.FINISHED, 3, bytes(12))))
            forged[-1] ^= 1
            client.send(client.change_cipher_spec(), bytes(forged))
            self.assertEqual(client.datagrams(0.3), [])
            self.assertUseful(client)

    def test_H06_a_hello_without_an_answer_leaves_the_session_alone(self):
        with self.lab.client() as client:
            client.connect()
            spoofed = client.hello_body(cookie=b"", random=os.urandom(32))  # from the same address and port
            client.send(client.plain(dtls.HANDSHAKE, dtls.fragment(dtls.CLIENT_HELLO, 0, spoofed)))
            client.datagrams(0.3)
            self.assertUseful(client)

    def test_H06_an_unfinished_handshake_leaves_the_session_alone(self):
        with self.lab.client() as client:
            client.connect()
            again = self.lab.client()
            again.socket.close()
            again.socket = client.socket
            again.start()
            payload = b"the old session works"
            client.send(client.data(payload))
            self.assertEqual(self.epoch_one(client), payload)

    def epoch_one(self, client):
        """The next payload, past the records of another handshake on the same socket."""
        while (record := client.record(2)) is not None:
            if record.type == dtls.APPLICATION_DATA:
                return client.rx.open(record)[1]
        return None

    def test_H06_a_rebooted_device_replaces_its_session(self):
        with self.lab.client() as client:
            client.connect()
            self.assertUseful(client)
            old_keys, seen = client.tx, len(self.lab.backend.received)
            client.forget()
            client.connect()
            self.assertUseful(client)
            client.send(old_keys.seal(dtls.APPLICATION_DATA, 1, 40, b"of the abandoned session"))
            time.sleep(0.2)
            self.assertNotIn(b"of the abandoned session", self.lab.backend.payloads()[seen:])
            self.assertUseful(client)

    def test_I07_others_at_the_address_of_one_that_sleeps(self):
        """A NAT gives its port to the next device; the one before is still found by its CID."""
        identity = next(name for name in lab.PSKS if name != lab.METER)
        with self.lab.client(cid=b"") as sleeper:
            sleeper.connect()
            self.assertUseful(sleeper)
            port = sleeper.socket.getsockname()
            sleeper.socket.close()
            with self.lab.client(cid=b"", psk=(identity, lab.PSKS[identity]), source=port) as other:
                other.connect()
                self.assertUseful(other)
                sleeper.socket = sleeper.open_socket()
                self.assertUseful(sleeper)
                self.assertUseful(other)
            sleeper.socket.close()
            sleeper.socket = sleeper.open_socket(port)
            self.assertUseful(sleeper)

    def test_H18_an_unknown_session_id_or_ticket_means_a_full_handshake(self):
        for options in (dict(session_id=os.urandom(32)), dict(extensions=dtls.extension(35, os.urandom(100)))):
            with self.lab.client(extensions=options.get("extensions", b"")) as client:
                client.session_id = options.get("session_id", b"")
                client.connect()
                self.assertUseful(client)

    # -- what must never reach "connected"

    def assertNeverConnects(self, name, *, certificate=False):
        """Runs SCENARIOS[name] up to where an honest server has nothing to answer; sends data as if it had."""
        seen = len(self.lab.backend.received)
        marker = f"{name} {os.urandom(6).hex()}".encode()

        def attempt():
            with self.device(timeout=4.0) if certificate else self.lab.client(timeout=4.0) as client:
                client.start()
                client.send(*SCENARIOS[name](client))
                if client.tx:
                    client.send(client.data(marker))
                client.finish()
        self.assertRefused(attempt)
        self.assertNotIn(marker, self.lab.backend.payloads()[seen:])

    def test_S02_finished_in_the_clear(self):
        self.assertNeverConnects("finished in the clear")

    def test_S02_H08_without_change_cipher_spec_in_the_clear(self):
        self.assertNeverConnects("no change cipher spec and a clear finished")

    def test_S02_wrong_finished(self):
        self.assertNeverConnects("wrong finished")

    def test_H08_change_cipher_spec_before_the_key_exchange(self):
        self.assertNeverConnects("change cipher spec and finished without a key exchange")

    def test_S04_two_key_exchanges(self):
        self.assertNeverConnects("two key exchanges")

    def test_S03_data_before_finished(self):
        self.assertNeverConnects("data instead of finished")

    def test_S06_fatal_alert_and_then_the_rest(self):
        self.assertNeverConnects("fatal alert first")

    def test_S06_close_notify_and_then_the_rest(self):
        self.assertNeverConnects("close notify first")

    def test_S01_A04_certificate_without_its_verify(self):
        self.assertNeverConnects("no certificate verify", certificate=True)

    def test_A04_verify_over_another_transcript(self):
        self.assertNeverConnects("verify over another transcript", certificate=True)

    def test_A04_verify_with_another_key(self):
        self.assertNeverConnects("verify with another key", certificate=True)

    def test_S04_verify_before_the_key_exchange(self):
        self.assertNeverConnects("verify before the key exchange", certificate=True)

    def test_S04_certificate_after_the_key_exchange(self):
        self.assertNeverConnects("certificate after the key exchange", certificate=True)

    def test_S05_an_early_change_cipher_spec_does_not_lock_the_address_out(self):
        with self.lab.client() as client:
            client.start()
            client.send(client.change_cipher_spec(), client.plain(dtls.HANDSHAKE, dtls.fragment(dtls.FINISHED, 7, bytes(12))))
            client.datagrams(0.2)
            client.forget()
            client.connect()
            self.assertUseful(client)

    def test_S03_epoch_one_records_before_any_handshake(self):
        seen = len(self.lab.backend.received)
        with self.lab.client(timeout=0.3) as client:
            client.tx = dtls.Protection(bytes(16), bytes(4))
            client.send(client.data(b"from nowhere"))
            client.start()
            client.send(client.data(b"in the middle"), client.plain(dtls.APPLICATION_DATA, b"in the clear"))
            client.datagrams(0.2)
        self.assertEqual(self.lab.backend.payloads()[seen:], [])
        self.lab.check_good()

    # -- what is negotiated

    def hello_ends(self, alert, **changes):
        """The second ClientHello, changed so (and the first alike), is refused."""
        def attempt():
            with self.lab.client(timeout=4.0) as client:
                client.first_hello(**changes)
                client.send(client.hello(**changes))
                client.server_flight()
        self.assertRefused(attempt, alert)

    def test_H10_without_extended_master_secret(self):
        def attempt():
            with self.lab.client(ems=False, timeout=4.0) as client:
                client.connect()
        self.assertRefused(attempt, ["handshake_failure", None])

    def test_H11_initial_renegotiation_info_is_not_empty(self):
        def attempt():
            with self.lab.client(extensions=dtls.extension(0xFF01, b"\x0c" + bytes(12)), timeout=4.0) as client:
                client.connect()
        self.assertRefused(attempt, ["handshake_failure", None])

    def test_H12_dtls_1_0_is_refused(self):
        self.hello_ends(["protocol_version", None], version=dtls.DTLS_1_0)

    def test_H12_a_client_that_knows_1_3_gets_1_2(self):
        versions = dtls.extension(43, dtls.vector(1, b"\xfe\xfc\xfe\xfd"))
        share = dtls.extension(51, dtls.vector(2, b"\x00\x17" + dtls.vector(2, b"\x04" + os.urandom(64))))
        with self.lab.client(extensions=versions + share) as client:
            client.connect()
            self.assertUseful(client)

    def test_H13_only_sha1_signatures(self):
        extensions = (dtls.extension(10, dtls.vector(2, b"\x00\x17")) + dtls.extension(11, b"\x01\x00")
                      + dtls.extension(13, dtls.vector(2, b"\x02\x03\x02\x01")) + dtls.extension(23, b""))
        self.hello_ends(["handshake_failure", None], extensions=extensions, suites=[dtls.ECDHE_ECDSA_CCM_8])

    def test_H14_only_suites_of_the_past(self):
        for suite in (0x0000, 0x0001, 0x0002, 0x0005, 0x000A, 0x002F, 0x003C, 0x008B, 0x008C, 0xC017, 0xC006, 0x0018):
            with self.subTest(suite=f"{suite:04x}"):
                self.hello_ends(["handshake_failure", None], suites=[suite])

    def test_H15_only_short_curves(self):
        for curve in (19, 21, 16, 0xFF01):
            extensions = (dtls.extension(10, dtls.vector(2, struct.pack("!H", curve))) + dtls.extension(11, b"\x01\x00")
                          + dtls.extension(13, dtls.vector(2, b"\x04\x03")) + dtls.extension(23, b""))
            with self.subTest(curve=curve):
                self.hello_ends(["handshake_failure", "illegal_parameter", None], extensions=extensions,
                                suites=[dtls.ECDHE_ECDSA_CCM_8])

    def test_H15_points_that_are_none(self):
        points = {"not on the curve": b"\x04" + bytes(63) + b"\x01", "infinity": b"\x00", "empty": b"",
                  "compressed": b"\x02" + bytes(31) + b"\x05", "too long": b"\x04" + bytes(100),
                  "beyond the field": b"\x04" + b"\xff" * 64}
        for what, point in points.items():
            def attempt():
                with self.lab.client(psk=None, suites=[dtls.ECDHE_ECDSA_CCM_8], timeout=4.0) as client:
                    client.start()
                    if client.certificate_requested:
                        client.send(client.plain(dtls.HANDSHAKE, client.certificate_message([])))
                    client.send(client.plain(dtls.HANDSHAKE,
                                             client.message(dtls.CLIENT_KEY_EXCHANGE, dtls.vector(1, point))))
                    client.send(client.change_cipher_spec(), dtls.record_bytes(dtls.HANDSHAKE, 1, 0, os.urandom(40)))
                    client.finish()
            with self.subTest(point=what):
                self.assertRefused(attempt)

    def test_H16_unknown_extensions_and_values_are_ignored(self):
        grease = dtls.extension(0x1A1A, b"") + dtls.extension(0xFAFA, os.urandom(30)) + dtls.extension(0x7777, b"x" * 500)
        with self.lab.client(extensions=grease, suites=[0x0A0A, dtls.PSK_CCM_8, 0xEAEA],
                             psk=(lab.METER, lab.METER_KEY)) as client:
            client.connect()
            self.assertUseful(client)

    def test_H16_extensions_that_lie_about_their_length(self):
        for block in (b"\x00\x17\x00", b"\x00\x17\xff\xff", b"\x00\x17\x00\x00\x00", b"\x00\x0a\x00\x02\x00\x09",
                      b"\x00\x0d\x00\x01\x00", b"\x00\x36\x00\x01\x20"):
            with self.subTest(block=block.hex()):
                self.hello_ends(["decode_error", "illegal_parameter", "handshake_failure", None], extensions=block)

    def test_H16_a_doubled_extension(self):
        double = dtls.extension(0x000A, dtls.vector(2, b"\x00\x17"))

        def attempt():
            with self.lab.client(extensions=double, timeout=4.0) as client:
                client.connect()
        self.assertRefused(attempt)

    def test_H17_a_server_name_of_ours_another_and_a_malformed_one(self):
        for name in (b"gateway.example", b"elsewhere.example"):
            sni = dtls.extension(0, dtls.vector(2, b"\x00" + dtls.vector(2, name)))
            with self.lab.client(extensions=sni) as client:
                client.connect()
                self.assertUseful(client)
        for sni in (b"\x00", b"\x00\x09\x00\xff\xff", dtls.vector(2, b"\x00" + dtls.vector(2, b"a\x00b"))):
            with self.lab.client(extensions=dtls.extension(0, sni), timeout=4.0) as client:
                try:
                    client.connect()
                except dtls.HandshakeError:
                    pass
        self.lab.check_good()


def clear_finished(client):
    exchange = client.plain(dtls.HANDSHAKE, client.key_exchange_message())
    client.derive()
    return [exchange, client.change_cipher_spec(), client.plain(dtls.HANDSHAKE, client.finished_message())]


def no_change_cipher_spec(client):
    flight = clear_finished(client)
    return [flight[0], flight[2]]


def wrong_finished(client):
    exchange = client.plain(dtls.HANDSHAKE, client.key_exchange_message())
    client.derive()
    return [exchange, client.change_cipher_spec(), client.sealed(dtls.HANDSHAKE, client.finished_message(os.urandom(12)))]


def no_key_exchange(client):
    kept = client.transcript
    client.key_exchange_message()
    client.derive()
    client.transcript, client.message_seq = kept, client.message_seq - 1
    return [client.change_cipher_spec(), client.sealed(dtls.HANDSHAKE, client.finished_message())]


def two_key_exchanges(client):
    first = client.plain(dtls.HANDSHAKE, client.key_exchange_message())
    second = client.plain(dtls.HANDSHAKE, client.key_exchange_message())
    client.derive()
    return [first, second, client.change_cipher_spec(), client.sealed(dtls.HANDSHAKE, client.finished_message())]


def data_instead_of_finished(client):
    flight = client.last_flight()
    return flight[:-1]


def after_alert(level, description):
    def scenario(client):
        return [client.alert(level, description)] + client.last_flight()
    return scenario


def certificate_flight(order, **verify):
    """The certificate client's flight with these messages in this order."""
    def scenario(client):
        make = {
            "certificate": client.certificate_message,
            "exchange": client.key_exchange_message,
            "verify": lambda: client.verify_message(verify.get("over")),
        }
        if "key" in verify:
            client.certificate = (client.certificate[0], pki.key_pem(pki.issue("another")[1]))
        records = []
        for name in order:
            records.append(client.plain(dtls.HANDSHAKE, make[name]()))
            if name == "exchange":
                client.derive()
        return records + [client.change_cipher_spec(), client.sealed(dtls.HANDSHAKE, client.finished_message())]
    return scenario


SCENARIOS = {
    "finished in the clear": clear_finished,
    "no change cipher spec and a clear finished": no_change_cipher_spec,
    "wrong finished": wrong_finished,
    "change cipher spec and finished without a key exchange": no_key_exchange,
    "two key exchanges": two_key_exchanges,
    "data instead of finished": data_instead_of_finished,
    "fatal alert first": after_alert(2, 40),
    "close notify first": after_alert(1, 0),
    "no certificate verify": certificate_flight(["certificate", "exchange"]),
    "verify over another transcript": certificate_flight(["certificate", "exchange", "verify"], over=b"another"),
    "verify with another key": certificate_flight(["certificate", "exchange", "verify"], key="another"),
    "verify before the key exchange": certificate_flight(["certificate", "verify", "exchange"]),
    "certificate after the key exchange": certificate_flight(["exchange", "certificate", "verify"]),
}


class HalfOpen(lab.Case):
    settings = {"handshakes": {"max": 32, "timeout_s": 5, "rate": 20000, "rate_prefix": 20000}}

    def test_H09_half_open_handshakes_are_bounded_and_do_not_lock_others_out(self):
        with self.lab.client() as established:
            established.connect()
            opened = []
            for _ in range(100):
                client = self.lab.client(timeout=0.3)
                opened.append(client)
                try:
                    client.start()
                except dtls.HandshakeError:
                    pass  # refused or unanswered when there are too many
            self.assertEqual(established.exchange(b"unaffected"), b"unaffected")
            for client in opened:
                client.close()
            time.sleep(6)
            self.lab.check_good()


if __name__ == "__main__":
    lab.main()
