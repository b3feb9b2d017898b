"""A bad network between clients and the gateway, in user space: it needs no kernel module, and what happens
to which datagram is decided by the test, so that a run can be repeated exactly."""

import heapq
import random
import select
import socket
import threading
import time


class Proxy(threading.Thread):
    """Listens on self.server. fate(up, count, payload) says for each datagram when its copies leave: a list of
    delays in seconds; [] loses it, [0, 0.01] doubles it. count numbers the datagrams of one client and one
    direction from 0."""

    def __init__(self, upstream, fate, host="127.0.0.1"):
        super().__init__(daemon=True)
        self.upstream, self.fate = upstream, fate
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.server = self.socket.getsockname()
        self.clients = {}  # address -> socket towards the gateway
        self.addresses = {}  # that socket -> address
        self.counts = {}
        self.queue, self.order = [], 0
        self.lost = 0
        self.stopping = False
        self.start()

    def run(self):
        while not self.stopping:
            timeout = max(0.0, self.queue[0][0] - time.monotonic()) if self.queue else 0.05
            for ready in select.select([self.socket, *self.addresses], [], [], timeout)[0]:
                try:
                    self.take(ready)
                except ConnectionRefusedError:
                    pass
            while self.queue and self.queue[0][0] <= time.monotonic():
                _, _, send = heapq.heappop(self.queue)
                send()
        for s in [self.socket, *self.addresses]:
            s.close()

    def take(self, ready):
        payload, address = ready.recvfrom(65536)
        up = ready is self.socket
        if up:
            if address not in self.clients:
                upstream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                upstream.connect(self.upstream)
                self.clients[address], self.addresses[upstream] = upstream, address
            target = self.clients[address]
        else:
            address = self.addresses[ready]
        count = self.counts.get((address, up), 0)
        self.counts[address, up] = count + 1
        delays = self.fate(up, count, payload)
        self.lost += not delays
        for delay in delays:
            send = (lambda s=target: s.send(payload)) if up else (lambda a=address: self.socket.sendto(payload, a))
            self.order += 1
            heapq.heappush(self.queue, (time.monotonic() + delay, self.order, send))

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.stopping = True
        self.join()


def bad_network(seed, loss=0.15, doubled=0.1, late=0.2):
    """Random fates: late ones arrive 30 ms after those that were sent behind them."""
    source = random.Random(seed)

    def fate(up, count, payload):
        if source.random() < loss:
            return []
        delays = [0.03 if source.random() < late else 0.0]
        return delays + [0.01] if source.random() < doubled else delays
    return fate


def lose_one(direction_up, number):
    """Exactly one datagram of each client is lost, if it is of the handshake."""
    def fate(up, count, payload):
        lost = up == direction_up and count == number and payload[:1] != b"\x17"
        return [] if lost else [0]
    return fate
