#!/usr/bin/python3
"""Loss, reordering, and programs that die: nothing of it may stop what comes next."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import clients
import lab
from clients import Credential
from proxy import Proxy, bad_network, lose_one


class Network(lab.Case):
    backend = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.lab.start_coap_server()

    def credentials(self):
        files = self.lab.pki
        return [Credential(psk=(lab.METER, lab.METER_KEY)),
                Credential(certificate=(files["device.pem"], files["device.key"]), ca=files["ca.pem"])]

    def run_all(self, runs):
        """runs: (label, fate, client name, credential, seconds); four at a time. Returns the failures' labels."""
        def one(run):
            label, fate, name, credential, seconds = run
            with Proxy(self.lab.server, fate) as proxy:
                result = clients.ALL[name](proxy.server, credential, seconds=seconds)
            return None if result.ok else f"{label}: {name}: {result}"
        with ThreadPoolExecutor(4) as pool:
            return [failure for failure in pool.map(one, runs) if failure]

    def test_H03_each_handshake_datagram_lost_once(self):
        """Both directions; a client whose timer is slow has the time for two repetitions. libcoap on GnuTLS stays
        out with certificates: once it waits for our ChangeCipherSpec it never repeats its own flight."""
        runs = [(f"{'up' if up else 'down'} {number}", lose_one(up, number), name, credential, 12)
                for up in (True, False) for number in range(5) for name in clients.ALL
                for credential in self.credentials() if credential.psk or name != "coap-client-gnutls"]
        self.assertEqual(self.run_all(runs), [])

    def test_H01_loss_doubling_and_reordering(self):
        """libcoap's clients only: they repeat their requests. Each may try three times, as a device would: they
        give up after some five seconds. With certificates that on GnuTLS is left out: once it waits for our
        ChangeCipherSpec it never repeats its own flight."""
        def patient(run):
            failures = []
            for attempt in range(3):
                failures = self.run_all([run])
                if not failures:
                    break
            return failures
        psk, certificate = self.credentials()
        runs = [(f"seed {seed}", bad_network(seed), name, credential, 30) for seed in range(4)
                for name, credential in (("coap-client-openssl", psk), ("coap-client-openssl", certificate),
                                         ("coap-client-gnutls", psk))]
        with ThreadPoolExecutor(4) as pool:
            self.assertEqual([failure for failures in pool.map(patient, runs) for failure in failures], [])
        self.assertAnsweredNow()

    def assertAnsweredNow(self):
        for credential in self.credentials():
            result = clients.openssl_client(self.lab.server, credential)
            self.assertTrue(result.ok, str(result))


class Death(lab.Case):
    def test_O06_consumer_killed_and_restarted_under_traffic(self):
        with self.lab.client() as client:
            client.connect()
            self.assertEqual(client.exchange(b"before"), b"before")
            for round in range(5):
                for i in range(20):
                    client.send(client.data(b"into the void %d" % i))
                self.lab.forward.stop(signal.SIGKILL)
                for i in range(20):
                    client.send(client.data(b"nobody listens %d" % i))
                self.lab.start_forward()
                self.drain(client)
                payload = b"round %d" % round
                self.assertEqual(client.exchange(payload), payload, "the session outlives its application")
        self.lab.check_good()

    def drain(self, client):
        while client.receive(0.2) is not None:
            pass

    def test_O05_a_stopped_consumer_blocks_nobody(self):
        with self.lab.client() as client:
            client.connect()
            os.kill(self.lab.forward.pid, signal.SIGSTOP)
            try:
                for i in range(3000):
                    client.send(client.data(b"x" * 1000))
                    if i % 50 == 49:
                        time.sleep(0.001)
                with self.lab.client() as other:
                    other.connect()  # handshakes need no application
            finally:
                os.kill(self.lab.forward.pid, signal.SIGCONT)
            self.drain(client)
            self.assertEqual(client.exchange(b"after"), b"after")

    def test_client_killed_and_back_from_the_same_port(self):
        source = ("198.18.0.1", 40123)
        for i in range(5):
            client = self.lab.client(source=source)
            client.connect()
            self.assertEqual(client.exchange(b"%d" % i), b"%d" % i)
            client.close()  # without a close_notify

    def test_O07_gateway_killed_and_started_again(self):
        for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGSEGV):
            with self.lab.client() as client:
                client.connect()
                self.lab.gateway.stop(number)
                self.assertTrue(self.wait_until(lambda: not lab.has_interface(lab.TAP)))
                self.lab.start_gateway()
                self.lab.revive_forward()
                self.lab.check_good()

    def test_gateway_stopped_in_order_leaves_nothing(self):
        self.assertEqual(self.lab.forward.stop(), 0)
        self.assertEqual(self.lab.gateway.stop(), 0)
        self.assertFalse(os.path.exists(self.lab.socket_path), "the application socket")
        self.lab.start()
        self.lab.check_good()


if __name__ == "__main__":
    lab.main()
