#!/usr/bin/python3
"""An application that answers everything and keeps account: auditor.py RING-SOCKET REPORT [PREFIX].

Each payload goes back to its sender. On SIGUSR1 the report is written as JSON: sessions up and down by reason,
payloads, how many of them came a second time, and how many came under an identity other than their device's. The
last two go by what sluice-swarm writes: a CoAP token of the device's number and the request's."""

import collections
import json
import os
import signal
import struct
import sys

import sluice


class Auditor:
    def __init__(self, report, prefix):
        self.report, self.prefix = report, prefix
        self.counts = collections.Counter()
        self.down, self.ended = collections.Counter(), []
        self.sessions = {}  # ref: (identity, peer)
        self.seen = set()
        self.asked = False
        signal.signal(signal.SIGUSR1, self.ask)

    def ask(self, *_):
        self.asked = True

    def take(self, ring, message):
        if isinstance(message, sluice.Data):
            self.take_data(message)
            ring.send(message.ref, message.payload, flush=False)
        elif isinstance(message, sluice.SessionUp):
            self.counts["up"] += not message.again
            self.sessions[message.ref] = message.name, message.peer
        elif isinstance(message, sluice.SessionDown):
            self.down[message.reason] += 1
            self.ended.append((*self.sessions.pop(message.ref, ("unknown", None)), message.reason))
        elif isinstance(message, sluice.PeerMoved):
            self.counts["moved"] += 1
        else:
            self.counts["send failed"] += 1

    def take_data(self, message):
        name = self.sessions.get(message.ref, ("unknown", None))[0]
        self.counts["data"] += 1
        self.counts["nameless"] += name == "unknown"
        if self.prefix:
            device, request = struct.unpack("!II", message.payload[4:12])
            self.counts["twice"] += (device, request) in self.seen
            self.counts["misattributed"] += name != f"{self.prefix}{device}"
            self.seen.add((device, request))

    def write(self):
        names = ("up", "data", "nameless", "twice", "misattributed", "moved", "send failed")
        report = {name: self.counts[name] for name in names}
        report.update(down=self.down, ended=self.ended, live=len(self.sessions), requests=len(self.seen))
        with open(self.report + ".new", "w") as file:
            json.dump(report, file)
        os.replace(self.report + ".new", self.report)
        self.asked = False

    def run(self, ring):
        while True:
            messages = ring.receive()
            for message in messages:
                self.take(ring, message)
            if messages:
                ring.flush()
                continue
            if self.asked:
                self.write()
            ring.wait(0.1)


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    auditor = Auditor(sys.argv[2], sys.argv[3] if len(sys.argv) == 4 else None)
    with sluice.attach(sys.argv[1]) as ring:
        try:
            auditor.run(ring)
        except BrokenPipeError:  # the gateway is gone
            pass


if __name__ == "__main__":
    main()
