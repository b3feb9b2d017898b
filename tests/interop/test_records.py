#!/usr/bin/python3
"""The record layer of an established session, with records that are repeated, late, forged or malformed."""

import os
import struct
import time

import dtls
import lab
from wire import Wire

WINDOW = 64  # at least so many records behind the newest are still taken, RFC 6347 4.1.2.6


class Records(lab.Case):
    def setUp(self):
        super().setUp()
        self.client = self.lab.client()
        self.client.connect()
        self.addCleanup(self.client.close)
        self.seen = len(self.lab.backend.received)

    def payload(self, text):
        """Unique, so that a late delivery of another test is not taken for ours."""
        return f"{self.id()} {text} ".encode() + os.urandom(4).hex().encode()

    def delivered(self):
        return self.lab.backend.payloads()[self.seen:]

    def assertDelivered(self, *payloads):
        """These and no others have reached the application since the test began, each once."""
        wanted = sorted(payloads)
        self.wait_until(lambda: len(self.delivered()) >= len(wanted))
        time.sleep(0.1)
        self.assertEqual(sorted(self.delivered()), wanted)

    def assertAlive(self):
        payload = self.payload("still alive")
        self.client.send(self.client.data(payload))
        while (answer := self.client.receive()) is not None:  # echoes of what the test sent come first
            if answer == payload:
                return
        self.fail("the session is dead")

    def assertSilence(self, seconds=0.3):
        self.assertEqual([d.hex() for d in self.client.datagrams(seconds)], [])

    def test_R01_duplicates_are_delivered_once(self):
        payloads = [self.payload(i) for i in range(50)]
        for payload in payloads:
            record = self.client.data(payload)
            self.client.send(record)
            self.client.send(record)
        self.client.send(record)
        self.assertDelivered(*payloads)
        self.assertAlive()

    def test_R01_reordered_inside_the_window_is_delivered(self):
        payloads = [self.payload(i) for i in range(WINDOW - 1)]
        records = [self.client.data(payload) for payload in payloads]
        for record in reversed(records):
            self.client.send(record)
        self.assertDelivered(*payloads)

    def test_R01_older_than_the_window_is_dropped(self):
        first, old = self.client.take_seq(1), self.client.take_seq(1)
        self.client.next_seq[1] += 5000
        new = self.payload("new")
        self.client.send(self.client.data(new))
        for seq in (first, old):
            self.client.send(self.client.data(self.payload("old"), seq))
        self.assertDelivered(new)
        self.assertAlive()

    def test_R02_a_forged_record_does_not_move_the_window(self):
        forged = bytearray(self.client.data(self.payload("forged"), self.client.next_seq[1] + 1000))
        forged[-1] ^= 1
        self.client.send(bytes(forged))
        genuine = self.payload("genuine")
        self.client.send(self.client.data(genuine))
        self.assertDelivered(genuine)

    def test_R03_a_record_changed_in_any_byte_is_dropped_in_silence(self):
        genuine = self.payload("to be changed")
        record = self.client.data(genuine)
        for place in range(len(record)):
            for flip in (0x01, 0x80):
                changed = bytearray(record)
                changed[place] ^= flip
                self.client.send(bytes(changed))
        self.assertSilence()
        self.assertEqual(self.delivered(), [])
        self.client.send(record)
        self.assertDelivered(genuine)

    def test_R04_ten_thousand_forgeries_do_not_end_a_session(self):
        forged = bytearray(self.client.data(self.payload("forged")))
        for i in range(10000):
            forged[5:11] = struct.pack("!HI", 0, 100 + i)
            forged[-1] = i & 255
            self.client.send(bytes(forged))
            if i % 100 == 99:
                time.sleep(0.001)
        self.assertSilence()
        self.assertAlive()

    def test_R05_S03_nothing_of_another_epoch_has_an_effect(self):
        client, text = self.client, self.payload("of no epoch of ours")
        for epoch in (0, 2, 65535):
            for seq in (0, 1, 100000):
                client.send(dtls.record_bytes(dtls.APPLICATION_DATA, epoch, seq, text))
                client.send(dtls.record_bytes(dtls.APPLICATION_DATA, epoch, seq, bytes(8) + text))
                client.send(dtls.record_bytes(dtls.ALERT, epoch, seq, b"\x02\x28"))
                client.send(dtls.record_bytes(dtls.ALERT, epoch, seq, b"\x01\x00"))
                client.send(dtls.record_bytes(dtls.CHANGE_CIPHER_SPEC, epoch, seq, b"\x01"))
                client.send(dtls.record_bytes(dtls.HANDSHAKE, epoch, seq, dtls.fragment(dtls.FINISHED, 9, bytes(12))))
                client.send(client.tx.seal(dtls.APPLICATION_DATA, epoch, seq, text))
        self.assertSilence()
        self.assertEqual(self.delivered(), [])
        self.assertAlive()

    def test_R06_every_good_record_of_a_datagram_counts(self):
        a, b, c = (self.payload(x) for x in "abc")
        bad = bytearray(self.client.data(self.payload("bad")))
        bad[-1] ^= 1
        unknown = dtls.record_bytes(99, 1, 5, bytes(20))
        self.client.send(self.client.data(a), bytes(bad), self.client.data(b), unknown, self.client.data(c))
        self.assertDelivered(a, b, c)

    def test_R07_truncated_records_are_dropped_in_silence(self):
        text = self.payload("whole")
        record = self.client.data(text)
        for length in range(len(record)):
            self.client.send(record[:length])
        for claimed in (len(record) - 12, 16384 + 2048, 65535):
            self.client.send(record[:11] + claimed.to_bytes(2, "big") + record[13:])
        self.assertSilence()
        self.assertEqual(self.delivered(), [])
        good = self.payload("before the cut")
        self.client.send(self.client.data(good), record[:-1])
        self.assertDelivered(good)
        self.client.send(record)
        self.assertDelivered(good, text)

    def test_R08_too_short_to_hold_a_nonce_and_a_tag(self):
        for length in range(16):
            self.client.send(dtls.record_bytes(dtls.APPLICATION_DATA, 1, 100 + length, bytes(length)))
        self.assertSilence()
        self.assertAlive()

    def test_R09_empty_records_are_legal(self):
        for i in range(2000):
            self.client.send(self.client.data(b""))
            if i % 100 == 99:
                time.sleep(0.002)
        self.assertAlive()

    def test_R10_unknown_content_types_are_dropped_in_silence(self):
        for type in (0, 19, 24, 26, 127, 255):
            self.client.send(self.client.sealed(type, self.payload("of an unknown type")))
            self.client.send(dtls.record_bytes(type, 0, 9, b"x" * 40))
        self.assertSilence()
        self.assertEqual(self.delivered(), [])
        self.assertAlive()

    def test_R11_another_version_in_the_header_is_dropped(self):
        for version in (dtls.DTLS_1_0, 0xFEFC, 0x0303, 0x0000, 0xFFFF):
            self.client.send(self.client.data(self.payload("of another version"), version=version))
        self.assertSilence()
        self.assertEqual(self.delivered(), [])
        self.assertAlive()

    def test_R13_no_nonce_is_used_twice(self):
        wire = Wire(lab.TAP, lab.PORT)
        with self.lab.client() as client:
            client.connect()
            for i in range(300):
                self.assertEqual(client.exchange(b"%d" % i), b"%d" % i)
        records = [r for d in wire.stop() if not d.up for r in d.records if r.epoch == 1]
        self.assertGreaterEqual(len(records), 301)
        self.assertEqual(len({r.body[:8] for r in records}), len(records), "explicit nonces")
        self.assertEqual(len({(r.epoch, r.seq) for r in records}), len(records), "sequence numbers")

    def test_R14_sizes_from_one_byte_to_the_mtu(self):
        for size in (1, 15, 16, 17, 31, 32, 33, 255, 256, 1024, 1400, 1500 - 28 - 29):
            payload = os.urandom(size)
            self.assertEqual(self.client.exchange(payload), payload, f"{size} bytes")

    def test_H11_renegotiation_is_refused_and_the_session_lives(self):
        hello = dtls.fragment(dtls.CLIENT_HELLO, self.client.message_seq, self.client.hello_body(cookie=b""))
        self.client.send(self.client.sealed(dtls.HANDSHAKE, hello))
        record = self.client.record(1.0)
        if record is not None:
            type, body = self.client.rx.open(record)
            self.assertEqual((type, body), (dtls.ALERT, b"\x01\x64"), "a warning, no_renegotiation")
        self.assertAlive()

    def test_H19_nothing_is_delivered_after_close_notify(self):
        self.client.send(self.client.alert(1, 0))
        time.sleep(0.2)
        self.client.send(self.client.data(self.payload("too late")))
        self.client.datagrams(0.3)
        self.assertEqual(self.delivered(), [])
        self.lab.check_good()

    def test_H20_a_fatal_alert_ends_this_session_alone(self):
        with self.lab.client() as other:
            other.connect()
            self.client.send(self.client.alert(2, 80))
            time.sleep(0.2)
            self.client.send(self.client.data(self.payload("too late")))
            self.client.datagrams(0.3)
            self.assertEqual(self.delivered(), [])
            self.assertEqual(other.exchange(b"not me"), b"not me")

    def test_H20_warnings_do_not_end_a_session(self):
        for _ in range(200):
            self.client.send(self.client.alert(1, 90))
        self.assertLessEqual(len(self.client.datagrams(0.3)), 1)
        self.assertAlive()

    def test_S08_a_plaintext_hello_on_a_live_session_changes_nothing(self):
        self.client.send(self.client.plain(dtls.HANDSHAKE, dtls.fragment(
            dtls.CLIENT_HELLO, 5, self.client.hello_body(cookie=b"", suites=[0x0005, 0x003C]))))
        self.client.datagrams(0.2)
        self.assertAlive()


if __name__ == "__main__":
    lab.main()
