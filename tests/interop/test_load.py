#!/usr/bin/python3
"""Many sessions one after the other, many records through one: nothing lost, memory flat."""

import time

import lab


class Load(lab.Case):
    # Small tables, so that all of their memory is in use before it is measured.
    settings = {"sessions": {"max": 256}, "handshakes": {"max": 64, "rate": 20000, "rate_prefix": 20000}}

    def test_O04_a_thousand_sessions_leave_nothing(self):
        self.sessions(1500)  # what is taken once is taken then: tables, rings, the pool of flights
        before = self.lab.gateway.memory_kib(), self.lab.forward.memory_kib()
        self.sessions(1000)
        grown = self.lab.gateway.memory_kib() - before[0], self.lab.forward.memory_kib() - before[1]
        self.assertLess(grown[0], 128, "KiB grown by the gateway")
        # It spreads its source addresses, so that each session may touch one more page of a table of fixed size.
        self.assertLess(grown[1], 1000 * 5, "KiB grown by sluice-forward")

    def sessions(self, count):
        for i in range(count):
            with self.lab.client() as client:
                client.connect()
                payload = b"session %d" % i
                self.assertEqual(client.exchange(payload), payload)
                client.send(client.alert(1, 0))

    def test_ten_thousand_records_through_one_session(self):
        with self.lab.client() as client:
            client.connect()
            client.exchange(b"first")
            before, seen = self.lab.gateway.memory_kib(), len(self.lab.backend.received)
            wanted = [b"record %d" % i for i in range(10000)]
            answers = []
            for start in range(0, len(wanted), 20):
                for payload in wanted[start:start + 20]:
                    client.send(client.data(payload))
                for _ in range(20):
                    answers.append(client.receive())
            self.assertEqual(answers, wanted)
            self.assertEqual(self.lab.backend.payloads()[seen:], wanted)
            self.assertLess(self.lab.gateway.memory_kib() - before, 512, "KiB grown")

    def test_idle_gateway_sleeps(self):
        """One client connected and silent: less than a tenth of a core."""
        with self.lab.client() as client:
            client.connect()
            time.sleep(0.5)
            before, start = self.cpu_seconds(), time.monotonic()
            time.sleep(3)
            share = (self.cpu_seconds() - before) / (time.monotonic() - start)
            self.assertLess(share, 0.1, "of a core")
            self.assertEqual(client.exchange(b"awake"), b"awake")

    def cpu_seconds(self):
        with open(f"/proc/{self.lab.gateway.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100


if __name__ == "__main__":
    lab.main()
