"""A DTLS 1.2 client in small pieces, for what no well-behaved client does.

Each step of a handshake is a method of its own and every record is built as bytes, so that a test can leave
steps out, repeat, reorder, forge or replay them. It speaks TLS_PSK_WITH_AES_128_CCM_8 and
TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8 (secp256r1), with or without the extended master secret, and RFC 9146
connection IDs. It checks what the server proves: Finished, and the signature over the key exchange.

It never retransmits: tests run where nothing is lost (lab.py sees to the queues), or send again themselves.
"""

import hashlib
import hmac
import os
import select
import socket
import struct
import time

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

SO_RCVBUFFORCE = 33

DTLS_1_0 = 0xFEFF
DTLS_1_2 = 0xFEFD

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA, TLS12_CID = 20, 21, 22, 23, 25

HELLO_REQUEST, CLIENT_HELLO, SERVER_HELLO, HELLO_VERIFY_REQUEST = 0, 1, 2, 3
NEW_SESSION_TICKET, CERTIFICATE, SERVER_KEY_EXCHANGE, CERTIFICATE_REQUEST = 4, 11, 12, 13
SERVER_HELLO_DONE, CERTIFICATE_VERIFY, CLIENT_KEY_EXCHANGE, FINISHED = 14, 15, 16, 20

PSK_CCM_8 = 0xC0A8
ECDHE_ECDSA_CCM_8 = 0xC0AE
EMPTY_RENEGOTIATION_INFO = 0x00FF

ALERTS = {
    0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 22: "record_overflow",
    40: "handshake_failure", 42: "bad_certificate", 43: "unsupported_certificate", 44: "certificate_revoked",
    45: "certificate_expired", 46: "certificate_unknown", 47: "illegal_parameter", 48: "unknown_ca",
    49: "access_denied", 50: "decode_error", 51: "decrypt_error", 70: "protocol_version",
    71: "insufficient_security", 80: "internal_error", 86: "inappropriate_fallback", 90: "user_canceled",
    100: "no_renegotiation", 109: "missing_extension", 110: "unsupported_extension",
    112: "unrecognized_name", 115: "unknown_psk_identity", 116: "certificate_required",
}


class HandshakeError(Exception):
    """The server did something else than the next step; .alert is its fatal alert, if it sent one."""

    def __init__(self, what, alert=None):
        super().__init__(what)
        self.alert = alert


class Record:
    """One record as it stood on the wire; raw is all of it."""

    def __init__(self, type, version, epoch, seq, body, raw=b"", cid=b""):
        self.type, self.version, self.epoch, self.seq = type, version, epoch, seq
        self.body, self.raw, self.cid = body, raw, cid

    def __repr__(self):
        return f"<record type {self.type} epoch {self.epoch} seq {self.seq} {len(self.body)} bytes>"


def vector(size_bytes, data):
    return len(data).to_bytes(size_bytes, "big") + data


def record_bytes(type, epoch, seq, body, version=DTLS_1_2, cid=b""):
    return struct.pack("!BHHHI", type, version, epoch, seq >> 32, seq & 0xFFFFFFFF) + cid + vector(2, body)


def parse_records(datagram, cid_len=0):
    records, at = [], 0
    while at < len(datagram):
        header = datagram[at:at + 11]
        if len(header) < 11:
            raise HandshakeError(f"{len(header)} bytes left after the last record")
        type, version, epoch, high, low = struct.unpack("!BHHHI", header)
        start = at + 11 + (cid_len if type == TLS12_CID else 0)
        cid = datagram[at + 11:start]
        length = int.from_bytes(datagram[start:start + 2], "big")
        body = datagram[start + 2:start + 2 + length]
        if len(body) != length:
            raise HandshakeError("a record is longer than its datagram")
        end = start + 2 + length
        records.append(Record(type, version, epoch, high << 32 | low, body, datagram[at:end], cid))
        at = end
    return records


def fragment(type, message_seq, body, offset=0, length=None, total=None):
    """One handshake fragment, header included. total: the length field, when it is to lie."""
    part = body[offset:] if length is None else body[offset:offset + length]
    total = len(body) if total is None else total
    return (bytes([type]) + total.to_bytes(3, "big") + message_seq.to_bytes(2, "big") + offset.to_bytes(3, "big")
            + len(part).to_bytes(3, "big") + part)


def extension(number, body):
    return number.to_bytes(2, "big") + vector(2, body)


def prf(secret, label, seed, length):
    """RFC 5246 5, with SHA-256."""
    seed = label.encode() + seed
    a, out = seed, b""
    while len(out) < length:
        a = hmac.digest(secret, a, "sha256")
        out += hmac.digest(secret, a + seed, "sha256")
    return out[:length]


class Protection:
    """AES-128-CCM_8 in one direction, RFC 6655; with a connection ID, RFC 9146 5.3."""

    def __init__(self, key, salt, cid=None):
        self.aead, self.salt, self.cid = AESCCM(key, tag_length=8), salt, cid

    def additional(self, type, version, epoch, seq, length):
        place = struct.pack("!HHI", epoch, seq >> 32, seq & 0xFFFFFFFF)
        if not self.cid:
            return place + struct.pack("!BHH", type, version, length)
        return (b"\xff" * 8 + bytes([TLS12_CID, len(self.cid), TLS12_CID]) + version.to_bytes(2, "big") + place
                + self.cid + length.to_bytes(2, "big"))

    def seal(self, type, epoch, seq, plaintext, version=DTLS_1_2, explicit=None, padding=0):
        explicit = explicit or struct.pack("!HHI", epoch, seq >> 32, seq & 0xFFFFFFFF)
        if self.cid:
            plaintext, type = plaintext + bytes([type]) + bytes(padding), TLS12_CID
        sealed = self.aead.encrypt(self.salt + explicit, plaintext,
                                   self.additional(type, version, epoch, seq, len(plaintext)))
        return record_bytes(type, epoch, seq, explicit + sealed, version, self.cid or b"")

    def open(self, record):
        """The plaintext and its true type; InvalidTag when it is not authentic."""
        plaintext = self.aead.decrypt(
            self.salt + record.body[:8], record.body[8:],
            self.additional(record.type, record.version, record.epoch, record.seq, len(record.body) - 16))
        if record.type != TLS12_CID:
            return record.type, plaintext
        plaintext = plaintext.rstrip(b"\0")
        return plaintext[-1], plaintext[:-1]


class Client:
    """One association with a server. server: (host, port).

    psk: (identity, key), both bytes. certificate: (PEM chain, PEM key), both bytes, of an EC key; used when
    the server asks. cid: the connection ID that the server shall put into its records (b"" for none of its
    own); None leaves the extension out.
    """

    def __init__(self, server, psk=None, certificate=None, suites=None, extensions=b"", ems=True, cid=None,
                 source=None, timeout=30.0, verify_hello_version=True):
        self.server, self.psk, self.certificate = server, psk, certificate
        self.suites = suites or [PSK_CCM_8 if psk else ECDHE_ECDSA_CCM_8]
        self.extra_extensions, self.offer_ems, self.cid = extensions, ems, cid
        self.timeout, self.strict = timeout, verify_hello_version
        self.socket = self.open_socket(source)
        self.forget()

    def open_socket(self, source=None):
        family = socket.AF_INET6 if ":" in self.server[0] else socket.AF_INET
        s = socket.socket(family, socket.SOCK_DGRAM)
        try:
            s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        except PermissionError:
            pass  # as an ordinary user: what the system gives
        if source:
            s.bind(source)
        s.connect(self.server)
        return s

    def forget(self):
        """Back to before the first ClientHello, on the same socket."""
        self.random, self.session_id, self.cookie = os.urandom(32), b"", b""
        self.next_seq = {0: 0, 1: 0}
        self.message_seq = 0
        self.transcript = b""
        self.messages = []  # (type, body) of the server, in order
        self.pending = []  # records received and not looked at
        self.parts, self.next_receive_seq = {}, 0
        self.tx = self.rx = self.master = None
        self.suite = self.ems = self.peer_cid = self.server_random = None
        self.server_public = self.ephemeral = None
        self.certificate_requested = False

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    # -- the wire

    def send(self, *records):
        """All in one datagram."""
        self.socket.send(b"".join(records))

    def datagram(self, timeout=None):
        """The next datagram, or None when none comes in time (seconds)."""
        ready, _, _ = select.select([self.socket], [], [], self.timeout if timeout is None else timeout)
        if not ready:
            return None
        try:
            return self.socket.recv(65536)
        except ConnectionRefusedError:
            return None

    def datagrams(self, seconds):
        """All that come within so many seconds."""
        end, found = time.monotonic() + seconds, []
        while (left := end - time.monotonic()) > 0:
            datagram = self.datagram(left)
            if datagram is not None:
                found.append(datagram)
        return found

    def record(self, timeout=None):
        if not self.pending:
            datagram = self.datagram(timeout)
            if datagram is None:
                return None
            self.pending = parse_records(datagram, len(self.cid or b""))
        return self.pending.pop(0)

    def take_seq(self, epoch):
        seq = self.next_seq[epoch]
        self.next_seq[epoch] = seq + 1
        return seq

    def plain(self, type, body, seq=None, version=DTLS_1_2, epoch=0):
        return record_bytes(type, epoch, self.take_seq(0) if seq is None else seq, body, version)

    def sealed(self, type, body, seq=None, **changes):
        return self.tx.seal(type, 1, self.take_seq(1) if seq is None else seq, body, **changes)

    def data(self, payload, seq=None, **changes):
        """A protected record of application data; not sent."""
        return self.sealed(APPLICATION_DATA, payload, seq, **changes)

    # -- the client's messages

    def message(self, type, body, message_seq=None, transcript=True):
        """A whole handshake message in one fragment; joins the transcript."""
        if message_seq is None:
            message_seq, self.message_seq = self.message_seq, self.message_seq + 1
        whole = fragment(type, message_seq, body)
        if transcript:
            self.transcript += whole
        return whole

    def default_extensions(self):
        out = extension(0x000A, vector(2, b"\x00\x17")) + extension(0x000B, b"\x01\x00")
        out += extension(0x000D, vector(2, b"\x04\x03"))
        if self.offer_ems:
            out += extension(0x0017, b"")
        if self.cid is not None:
            out += extension(0x0036, vector(1, self.cid))
        return out + self.extra_extensions

    def hello_body(self, cookie=None, random=None, suites=None, extensions=None, version=DTLS_1_2, session_id=None,
                   compression=b"\x00"):
        cookie = self.cookie if cookie is None else cookie
        session_id = self.session_id if session_id is None else session_id
        suites = b"".join(s.to_bytes(2, "big") for s in (suites or self.suites + [EMPTY_RENEGOTIATION_INFO]))
        extensions = self.default_extensions() if extensions is None else extensions
        body = (version.to_bytes(2, "big") + (random or self.random) + vector(1, session_id) + vector(1, cookie)
                + vector(2, suites) + vector(1, compression))
        return body + (vector(2, extensions) if extensions else b"")

    def hello(self, **changes):
        """The record of a ClientHello. The transcript begins with the one that carries a cookie."""
        self.transcript = b""
        return self.plain(HANDSHAKE, self.message(CLIENT_HELLO, self.hello_body(**changes)))

    def first_hello(self, **changes):
        """Sends a ClientHello without a cookie and takes the cookie from the answer; returns that record."""
        self.send(self.hello(cookie=b"", **changes))
        answer = self.record()
        while answer is not None and answer.epoch != 0:  # for a session that had our port before
            answer = self.record()
        if answer is None:
            raise HandshakeError("no answer to a ClientHello")
        self.raise_alert(answer)
        if answer.type != HANDSHAKE or answer.body[0] != HELLO_VERIFY_REQUEST:
            raise HandshakeError(f"no HelloVerifyRequest but {answer!r}")
        if self.strict and answer.body[12:14] != b"\xfe\xff":
            raise HandshakeError("RFC 6347 4.2.1: a HelloVerifyRequest says DTLS 1.0")
        self.cookie = answer.body[15:15 + answer.body[14]]
        self.next_receive_seq = 1
        return answer

    def certificate_message(self, chain=None):
        if chain is None:
            chain = self.certificate_chain()
        return self.message(CERTIFICATE, vector(3, b"".join(vector(3, der) for der in chain)))

    def certificate_chain(self):
        if not self.certificate:
            return []
        blocks = self.certificate[0].split(b"-----END CERTIFICATE-----")
        return [x509.load_pem_x509_certificate(b + b"-----END CERTIFICATE-----\n").public_bytes(
            serialization.Encoding.DER) for b in blocks if b"BEGIN CERTIFICATE" in b]

    def key_exchange_message(self, identity=None):
        if self.suite == PSK_CCM_8:
            return self.message(CLIENT_KEY_EXCHANGE, vector(2, self.psk[0] if identity is None else identity))
        self.ephemeral = ec.generate_private_key(ec.SECP256R1())
        point = self.ephemeral.public_key().public_bytes(serialization.Encoding.X962,
                                                         serialization.PublicFormat.UncompressedPoint)
        return self.message(CLIENT_KEY_EXCHANGE, vector(1, point))

    def verify_message(self, over=None):
        key = serialization.load_pem_private_key(self.certificate[1], None)
        signature = key.sign(self.transcript if over is None else over, ec.ECDSA(hashes.SHA256()))
        return self.message(CERTIFICATE_VERIFY, b"\x04\x03" + vector(2, signature))

    def finished_message(self, verify_data=None):
        return self.message(FINISHED, verify_data or self.verify_data("client finished"))

    def verify_data(self, label):
        return prf(self.master, label, hashlib.sha256(self.transcript).digest(), 12)

    def change_cipher_spec(self, seq=None):
        return self.plain(CHANGE_CIPHER_SPEC, b"\x01", seq)

    def alert(self, level, description):
        """Protected as soon as there are keys."""
        body = bytes([level, description])
        return self.sealed(ALERT, body) if self.tx else self.plain(ALERT, body)

    # -- keys

    def derive(self):
        """After ClientKeyExchange is in the transcript."""
        if self.suite == PSK_CCM_8:
            premaster = vector(2, bytes(len(self.psk[1]))) + vector(2, self.psk[1])
        else:
            premaster = self.ephemeral.exchange(ec.ECDH(), self.server_public)
        if self.ems:
            self.master = prf(premaster, "extended master secret", hashlib.sha256(self.transcript).digest(), 48)
        else:
            self.master = prf(premaster, "master secret", self.random + self.server_random, 48)
        block = prf(self.master, "key expansion", self.server_random + self.random, 40)
        self.tx = Protection(block[0:16], block[32:36], self.peer_cid)
        self.rx = Protection(block[16:32], block[36:40], self.cid if self.peer_cid is not None else None)

    def export(self, label, length):
        """RFC 5705, without a context."""
        return prf(self.master, label, self.random + self.server_random, length)

    # -- the server's messages

    def raise_alert(self, record):
        if record.type != ALERT or (record.epoch == 1 and not self.rx):
            return  # the last word of an earlier session from the same port
        body = record.body
        if record.epoch == 1:
            _, body = self.rx.open(record)
        if len(body) == 2 and (body[0] == 2 or body[1] == 0):
            name = ALERTS.get(body[1], str(body[1]))
            raise HandshakeError(f"alert {name}", name)

    def receive_message(self, timeout=None):
        """The next whole handshake message, in order; None when none comes."""
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            done = self.parts.get(self.next_receive_seq)
            if done and done[2] >= done[1]:
                del self.parts[self.next_receive_seq]
                self.next_receive_seq += 1
                return self.take_message(done[0], bytes(done[3]), self.next_receive_seq - 1)
            record = self.record(max(0.0, end - time.monotonic()))
            if record is None:
                return None
            self.raise_alert(record)
            body = record.body
            if record.epoch == 1 and record.type in (HANDSHAKE, TLS12_CID) and self.rx:
                _, body = self.rx.open(record)
            elif record.type != HANDSHAKE:
                continue
            self.take_fragments(body)

    def take_fragments(self, body):
        while body:
            type, total = body[0], int.from_bytes(body[1:4], "big")
            seq, offset = int.from_bytes(body[4:6], "big"), int.from_bytes(body[6:9], "big")
            length = int.from_bytes(body[9:12], "big")
            part, body = body[12:12 + length], body[12 + length:]
            if seq < self.next_receive_seq:
                continue
            have = self.parts.setdefault(seq, [type, total, 0, bytearray(total)])
            if have[2] == offset:  # fragments come in order where nothing is lost
                have[3][offset:offset + length] = part
                have[2] += length

    def take_message(self, type, body, seq):
        if type == FINISHED:
            expected = self.verify_data("server finished")
            if body != expected:
                raise HandshakeError("the server's Finished is wrong")
        if type != HELLO_VERIFY_REQUEST:
            self.transcript += fragment(type, seq, body)
        self.messages.append((type, body))
        if type == SERVER_HELLO:
            self.take_server_hello(body)
        elif type == SERVER_KEY_EXCHANGE and self.suite == ECDHE_ECDSA_CCM_8:
            self.take_key_exchange(body)
        elif type == CERTIFICATE_REQUEST:
            self.certificate_requested = True
        return type, body

    def take_server_hello(self, body):
        self.server_random = body[2:34]
        at = 35 + body[34]
        self.suite = int.from_bytes(body[at:at + 2], "big")
        self.server_extensions, rest = {}, body[at + 5:]
        while rest:
            number, length = struct.unpack("!HH", rest[:4])
            self.server_extensions[number], rest = rest[4:4 + length], rest[4 + length:]
        self.ems = 0x0017 in self.server_extensions
        if 0x0036 in self.server_extensions:
            self.peer_cid = self.server_extensions[0x0036][1:]

    def take_key_exchange(self, body):
        end = 4 + body[3]
        self.server_public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), body[4:end])
        chain = next(b for t, b in self.messages if t == CERTIFICATE)
        leaf = x509.load_der_x509_certificate(chain[6:6 + int.from_bytes(chain[3:6], "big")])
        try:
            leaf.public_key().verify(body[end + 4:], self.random + self.server_random + body[:end],
                                     ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise HandshakeError("the server's signature is wrong") from None

    def server_flight(self):
        """Reads up to ServerHelloDone."""
        while (message := self.receive_message()) is not None:
            if message[0] == SERVER_HELLO_DONE:
                return
        raise HandshakeError("no ServerHelloDone")

    # -- whole handshakes

    def start(self):
        """Up to the server's ServerHelloDone."""
        self.first_hello()
        self.send(self.hello())
        self.server_flight()

    def last_flight(self):
        """The client's second flight as records, in order; not sent. Derives the keys."""
        out = []
        if self.certificate_requested:
            out.append(self.plain(HANDSHAKE, self.certificate_message()))
        out.append(self.plain(HANDSHAKE, self.key_exchange_message()))
        self.derive()
        if self.certificate_requested and self.certificate:
            out.append(self.plain(HANDSHAKE, self.verify_message()))
        out.append(self.change_cipher_spec())
        out.append(self.sealed(HANDSHAKE, self.finished_message()))
        return out

    def finish(self, timeout=None):
        """Waits for the server's Finished and checks it."""
        while (message := self.receive_message(timeout)) is not None:
            if message[0] == FINISHED:
                return
        raise HandshakeError("no Finished from the server")

    def connect(self):
        self.start()
        self.send(*self.last_flight())
        self.finish()
        return self

    # -- application data

    def receive(self, timeout=None):
        """The next authentic application payload, or None. Alerts end in HandshakeError."""
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            record = self.record(max(0.0, end - time.monotonic()))
            if record is None:
                return None
            if record.epoch != 1:
                continue
            try:
                type, plaintext = self.rx.open(record)
            except InvalidTag:
                raise HandshakeError("a record from the server is not authentic") from None
            if type == APPLICATION_DATA:
                return plaintext
            if type == ALERT and (plaintext[0] == 2 or plaintext[1] == 0):
                name = ALERTS.get(plaintext[1], str(plaintext[1]))
                raise HandshakeError(f"alert {name}", name)

    def exchange(self, payload, timeout=None):
        self.send(self.data(payload))
        return self.receive(timeout)
