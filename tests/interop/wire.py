"""What really crossed the TAP interface: every DTLS record with its time, for what no client reports."""

import errno
import socket
import struct
import threading

import dtls

SO_TIMESTAMPNS = 35


class Datagram:
    """up: towards the gateway. peer: the client's (address, port). records: [] when it is not DTLS."""

    def __init__(self, when, up, peer, payload):
        self.when, self.up, self.peer, self.payload = when, up, peer, payload
        try:
            self.records = dtls.parse_records(payload)
        except dtls.HandshakeError:
            self.records = []


class Wire(threading.Thread):
    """Listens on the interface from when it is made until stop(); datagrams is what it saw."""

    def __init__(self, interface, port):
        super().__init__(daemon=True)
        self.port, self.datagrams, self.stopping = port, [], False
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, dtls.SO_RCVBUFFORCE, 1 << 28)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.bind((interface, 0))
        self.socket.settimeout(0.05)
        self.start()

    def run(self):
        while True:
            try:
                frame, extra, _, _ = self.socket.recvmsg(65536, 64)
            except socket.timeout:
                if self.stopping:
                    return
                continue
            except OSError as error:
                if error.errno == errno.ENETDOWN:
                    return  # the interface has gone before us
                raise
            seconds, nanoseconds = struct.unpack("qq", extra[0][2])  # the kernel's time, not ours of looking
            datagram = self.datagram(frame, seconds + nanoseconds / 1e9)
            if datagram:
                self.datagrams.append(datagram)

    def datagram(self, frame, now):
        ethertype, packet = frame[12:14], frame[14:]
        if ethertype == b"\x08\x00" and packet[9] == 17:
            header = (packet[0] & 15) * 4
            source, target = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
        elif ethertype == b"\x86\xdd" and packet[6] == 17:
            header = 40
            source, target = (socket.inet_ntop(socket.AF_INET6, packet[a:a + 16]) for a in (8, 24))
        else:
            return None
        source_port, target_port, length = struct.unpack("!HHH", packet[header:header + 6])
        payload = packet[header + 8:header + length]
        if target_port == self.port:
            return Datagram(now, True, (source, source_port), payload)
        if source_port == self.port:
            return Datagram(now, False, (target, target_port), payload)
        return None

    def stop(self):
        """Waits until what is on its way has been seen."""
        self.stopping = True
        self.join()
        self.socket.close()
        return self.datagrams


def summary(datagrams):
    """Of one client's whole conversation: suite (id or None), bytes up and down, the time of the handshake
    and of the first application record's round trip in ms (None where there was none)."""
    out = {"suite": None, "up": 0, "down": 0, "handshake_ms": None, "round_trip_ms": None}
    first = sent = finished = None
    alive = {d.peer for d in datagrams if d.up}  # others get what the gateway repeats for a client that is gone
    for d in datagrams:
        if d.peer not in alive:
            continue
        out["up" if d.up else "down"] += len(d.payload)
        first = first or d.when
        for r in d.records:
            if r.type == dtls.HANDSHAKE and r.epoch == 0 and not d.up and r.body[:1] == b"\x02":
                at = 12 + 35 + r.body[46]
                out["suite"] = int.from_bytes(r.body[at:at + 2], "big")
            elif r.type == dtls.HANDSHAKE and r.epoch == 1 and not d.up:
                finished = finished or d.when
            elif r.type == dtls.APPLICATION_DATA and d.up:
                sent = sent or d.when
            elif r.type == dtls.APPLICATION_DATA and sent and out["round_trip_ms"] is None:
                out["round_trip_ms"] = (d.when - sent) * 1000
    if finished:
        out["handshake_ms"] = (finished - first) * 1000
    return out
