#!/usr/bin/python3
"""The file of pre-shared keys that changes while the gateway runs: keys that are added, removed and replaced, and files
that cannot be used."""

import os
import signal

import admin
import dtls
import lab
import store

KEY, OTHER_KEY = b"the key of one", b"the key of other"


class PreSharedKeys(store.Case):
    """credentials.psk_file, before a store that has other keys."""

    @classmethod
    def prepare(cls):
        cls.admin = admin.Admin(cls.lab.admin_path)
        cls.store.add("in-the-store", KEY)
        cls.put({"leaver": KEY, "changer": KEY})
        return []

    @classmethod
    def put(cls, keys, text=""):
        """By rename. The lab's own stay."""
        path = cls.lab.psk_path + ".new"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            for identity, key in [*((i.decode(), k) for i, k in lab.PSKS.items()), *keys.items()]:
                file.write(f"{identity}:{key.hex()}\n")
            file.write(text)
        os.replace(path, cls.lab.psk_path)

    def setUp(self):
        super().setUp()
        self.put({"leaver": KEY, "changer": KEY})
        self.assertTakes("leaver", KEY)
        self.steady = [self.connected(lab.METER.decode(), lab.METER_KEY), self.connected("in-the-store", KEY)]

    def tearDown(self):
        """Nobody else's session has ended."""
        for client in self.steady:
            self.assertWorks(client)
            client.close()

    def takes(self, identity, key):
        try:
            self.connected(identity, key, timeout=4.0).close()
        except dtls.HandshakeError:
            return False
        return True

    def assertTakes(self, identity, key):
        self.assertTrue(self.wait_until(lambda: self.takes(identity, key)), self.lab.gateway.output())

    def assertEnds(self, client):
        with self.assertRaises(dtls.HandshakeError) as caught:
            client.receive()
        self.assertEqual(caught.exception.alert, "close_notify")

    def test_A07_one_more_one_gone_and_another_key(self):
        with self.connected("leaver", KEY) as leaver, self.connected("changer", KEY) as changer:
            self.put({"changer": OTHER_KEY, "newcomer": KEY})
            self.assertEnds(leaver)
            self.assertEnds(changer)
        for identity, key in (("newcomer", KEY), ("changer", OTHER_KEY)):
            self.assertTakes(identity, key)
        self.assertRefused(lambda: self.connected("leaver", KEY, timeout=4.0).close())
        self.assertRefused(lambda: self.connected("changer", KEY, timeout=4.0).close())
        self.assertLogged("5 pre-shared keys from ")
        self.assertEqual(self.admin.get("/status")[1]["psk_file_keys"], len(lab.PSKS) + 2)

    def test_what_cannot_be_used_leaves_all_as_it_was(self):
        for spoil, why in ((lambda: self.put({}, "leaver:abc\n"), "the key has an odd number of hexadecimal digits"),
                           (lambda: os.chmod(self.lab.psk_path, 0o644), "has mode 0644"),
                           (lambda: os.remove(self.lab.psk_path), "cannot be read: No such file")):
            with self.connected("leaver", KEY) as leaver:
                spoil()
                self.assertTrue(self.wait_until(lambda: why in self.status().get("psk_file_fault", "")),
                                self.lab.gateway.output())
                self.assertEqual(self.metric("sluice_psk_file_fault"), 1)
                self.assertTakes("changer", KEY)
                self.assertWorks(leaver)
            self.put({"leaver": KEY, "changer": KEY})
            self.assertTrue(self.wait_until(lambda: "psk_file_fault" not in self.status()),
                            self.lab.gateway.output())
            self.assertEqual(self.metric("sluice_psk_file_fault"), 0)

    def test_SIGHUP_reads_it_too(self):
        before = self.metric("sluice_psk_file_renewals_total", outcome="refused")
        self.put({}, "leaver:abc\n")
        self.assertTrue(self.wait_until(lambda: "psk_file_fault" in self.status()))
        os.kill(self.lab.gateway.pid, signal.SIGHUP)  # what has not changed is tried again, and told again
        self.assertTrue(self.wait_until(
            lambda: self.metric("sluice_psk_file_renewals_total", outcome="refused") >= before + 2))

    def status(self):
        return self.admin.get("/status")[1]

    def metric(self, name, **labels):
        return self.admin.metrics()[(name, tuple(sorted(labels.items())))]


if __name__ == "__main__":
    lab.main()
