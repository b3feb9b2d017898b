#!/usr/bin/python3
"""The credential store while the gateway runs: rows come, go and change; the store itself is removed, damaged,
replaced and put back. Sessions that are up are unharmed by the loss of the store, and end when their credential
does, as their tenant's policy has it (checklist A07)."""

import contextlib
import os
import shutil
import time

import clients
import dtls
import lab
import pki
import store

KEY, OTHER_KEY = b"sixteen bytes ok", b"another sixteen!"
POLICIES = {"": "drop.example", "keep": "keep.example", "spread": "spread.example"}


class Changes(store.Case):
    @classmethod
    def prepare(cls):
        cls.store.add("steady", KEY)
        return [
            {"name": "keep", "server_names": ["keep.example"], "credential_removed": "keep"},
            {"name": "spread", "server_names": ["spread.example"], "credential_removed": "rehandshake",
             "rehandshake_s": 4},
        ]

    def setUp(self):
        super().setUp()
        self.steady = self.connected("steady", KEY)

    def tearDown(self):
        self.assertWorks(self.steady)
        self.steady.close()

    def assertEnds(self, client):
        with self.assertRaises(dtls.HandshakeError) as caught:
            client.receive()
        self.assertEqual(caught.exception.alert, "close_notify")

    def assertStranger(self, identity, key, server_name=None):
        self.assertRefused(lambda: self.connected(identity, key, server_name, timeout=4.0).close())

    def test_a_credential_that_is_added_works_at_once(self):
        """With real clients."""
        credential = clients.Credential(psk=(b"newcomer", KEY))
        self.assertFalse(clients.openssl_client(self.lab.server, credential, seconds=3).ok)
        self.store.add("newcomer", KEY)
        for name in ("openssl s_client", "gnutls-cli"):
            result = clients.ALL[name](self.lab.server, credential)
            self.assertTrue(result.ok, str(result))
        self.store.delete("newcomer")
        self.assertFalse(clients.openssl_client(self.lab.server, credential, seconds=3).ok)

    def test_A07_removed_drop(self):
        self.store.add("leaver", KEY)
        with self.connected("leaver", KEY) as client, self.connected("leaver", KEY) as another:
            self.assertWorks(client)
            self.store.delete("leaver")
            self.assertEnds(client)
            self.assertEnds(another)
        self.assertLogged("credential")
        self.assertTrue(self.wait_until(lambda: "credential" in self.lab.forward.output()),
                        "the application is told: " + self.lab.forward.output())
        self.assertStranger("leaver", KEY)

    def test_A07_removed_drop_within_a_second(self):
        def attempt():
            self.store.add("hasty", KEY)
            with self.connected("hasty", KEY) as client:
                self.store.delete("hasty")
                start = time.monotonic()
                self.assertEnds(client)
                return time.monotonic() - start
        self.assertSoon(1.0, attempt)

    def test_A07_replaced_drop(self):
        self.store.add("changer", KEY)
        with self.connected("changer", KEY) as client:
            self.store.add("changer", OTHER_KEY, replace=True)
            self.assertEnds(client)
        with self.connected("changer", OTHER_KEY) as client:
            self.assertWorks(client)
            self.store.add("changer", OTHER_KEY, replace=True)  # nothing changes
            self.store.add("changer-2", OTHER_KEY)
            time.sleep(1.0)
            self.assertWorks(client)
        self.assertStranger("changer", KEY)

    def test_A07_two_hundred_replaced_at_once(self):
        """By one import, and within the second."""
        listing = os.path.join(self.lab.folder, "many.csv")

        def replace(key):
            with open(os.open(listing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write("identity,key\n" + "".join(f"many-{n},{key.hex()}\n" for n in range(200)))
            self.store.run("psk", "import", listing, "--replace")

        def attempt():
            replace(KEY)
            with contextlib.ExitStack() as stack:
                sessions = [stack.enter_context(self.connected(f"many-{n}", KEY)) for n in range(200)]
                replace(OTHER_KEY)
                start = time.monotonic()
                for client in sessions:
                    self.assertEnds(client)
                return time.monotonic() - start
        self.assertSoon(1.5, attempt)

    def test_A07_removed_keep(self):
        self.store.add("keeper", KEY, "keep")
        with self.connected("keeper", KEY, "keep.example") as client:
            self.store.delete("keeper", "keep")
            time.sleep(1.5)
            self.assertWorks(client)
            self.assertStranger("keeper", KEY, "keep.example")
            self.assertWorks(client)

    def test_A07_replaced_rehandshake(self):
        """The sessions of all go on, and end one by one within the while."""
        sessions = []
        for number in range(8):
            self.store.add(f"spread-{number}", KEY, "spread")
            sessions.append(self.connected(f"spread-{number}", KEY, "spread.example"))
        for number in range(8):
            self.store.add(f"spread-{number}", OTHER_KEY, "spread", replace=True)
        time.sleep(1.0)
        alive, ends, end = list(sessions), [], time.monotonic() + lab.PATIENCE_S
        self.assertWorks(sessions[-1])
        while alive and time.monotonic() < end:
            for client in list(alive):
                try:
                    client.receive(0.02)
                except dtls.HandshakeError as error:
                    self.assertEqual(error.alert, "close_notify")
                    alive.remove(client)
                    ends.append(time.monotonic())
        self.assertEqual(len(ends), 8)
        self.assertGreater(ends[-1] - ends[0], 1.0, "spread")
        for number, client in enumerate(sessions):
            client.close()
            with self.connected(f"spread-{number}", OTHER_KEY, "spread.example") as again:
                self.assertWorks(again)

    def test_A07_removed_while_the_handshake_is_under_way(self):
        """The last flight comes after the removal was noticed: no session may live on."""
        self.store.add("racer", KEY)
        with self.lab.client(psk=(b"racer", KEY)) as client:
            client.start()
            flight = client.last_flight()
            client.send(flight[0])  # ClientKeyExchange: now the key is looked up
            time.sleep(0.1)
            self.store.delete("racer")
            time.sleep(0.6)
            client.send(*flight[1:])
            with self.assertRaises(dtls.HandshakeError):
                client.finish()
                client.receive()
                self.fail("the session lives on")

    def test_A07_a_certificates_registree_removed(self):
        """Without a record the certificate stands for itself, and no change of the store concerns it."""
        names = ["--certificate-name", "device-1.example", "--root-file", self.lab.pki["ca.pem"]]
        own = {"certificate": pki.pair(self.lab.pki, "device"), "psk": None}
        self.store.run("registree", "add", *names, "--kind", "cse-id", "--id", "/cse-1")
        with self.lab.client(**own) as client:
            client.connect()
            self.assertWorks(client)
            self.store.run("registree", "del", *names)
            self.assertEnds(client)
        with self.lab.client(**own) as client:
            client.connect()
            self.store.run("registree", "add", *names, "--kind", "cse-id", "--id", "/cse-2")
            self.store.run("registree", "del", *names)
            time.sleep(1.0)
            self.assertWorks(client)

    def test_the_same_name_in_another_tenant_is_another_credential(self):
        self.store.add("twin", KEY)
        self.store.add("twin", KEY, "keep")
        with self.connected("twin", KEY) as client:
            self.store.delete("twin", "keep")
            time.sleep(1.0)
            self.assertWorks(client)
            self.store.delete("twin")
            self.assertEnds(client)

    def test_a_file_goes_before_the_store(self):
        """lab.METER is in the file: what the store says about it does not matter."""
        with self.lab.client() as client:
            client.connect()
            self.store.add(lab.METER.decode(), OTHER_KEY)
            self.store.delete(lab.METER.decode())
            time.sleep(1.0)
            self.assertWorks(client)
        self.lab.check_good()


class Loss(store.Case):
    """The first line tells what is wrong, sessions go on, and when a sound store is back all is as before."""

    @classmethod
    def prepare(cls):
        for number in range(3):
            cls.store.add(f"device-{number}", KEY)
        rows = "".join(f"filler-{n},{KEY.hex()}\n" for n in range(2000))
        listing = os.path.join(cls.lab.folder, "rows.csv")
        with open(os.open(listing, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write("identity,key\n" + rows)
        cls.store.run("psk", "import", listing)
        return []

    def setUp(self):
        super().setUp()
        self.session = self.connected("device-1", KEY)
        self.spare = self.store.path + ".spare"
        shutil.copytree(self.store.path, self.spare)
        open(self.lab.gateway.log, "w").close()  # opened for appending

    def tearDown(self):
        self.session.close()
        shutil.rmtree(self.spare, ignore_errors=True)

    def lose(self, how, sentence):
        """Between two good clients: one of the file, which needs no store, and one of the store."""
        self.lab.check_good()
        how()
        self.assertLogged(sentence)
        for _ in range(5):
            with self.assertRaises(dtls.HandshakeError) as caught:
                self.connected("device-2", KEY).close()
            self.assertEqual(caught.exception.alert, "internal_error")
        self.assertWorks(self.session)
        self.lab.check_good()
        self.assertLogged("the credential store")
        with open(self.lab.gateway.log) as log:
            self.assertLess(len(log.readlines()), 60, "lines")

    def back(self):
        def good():
            try:
                self.connected("device-2", KEY).close()
                return True
            except dtls.HandshakeError:
                return False
        self.assertTrue(self.wait_until(good), self.lab.gateway.output())
        self.assertLogged("is back")
        time.sleep(0.5)
        self.assertWorks(self.session)
        self.lab.check_good()

    def put_spare_in_place(self):
        shutil.rmtree(self.store.path, ignore_errors=True)
        shutil.copytree(self.spare, self.store.path)

    def test_removed_and_put_back(self):
        aside = self.store.path + ".aside"
        self.lose(lambda: os.rename(self.store.path, aside), "was removed or replaced")
        os.rename(aside, self.store.path)
        self.back()

    def test_deleted(self):
        self.lose(lambda: shutil.rmtree(self.store.path), "was removed or replaced")
        self.put_spare_in_place()
        self.back()

    def test_cut(self):
        self.lose(lambda: os.truncate(self.store.data(), 0), "is damaged")
        self.put_spare_in_place()
        self.back()

    def test_overwritten(self):
        def overwrite():
            with open(self.store.data(), "r+b") as file:
                file.write(os.urandom(os.path.getsize(self.store.data())))
        self.lose(overwrite, "damaged")
        self.put_spare_in_place()
        self.back()

    def test_readable_by_others(self):
        """Put in its place with a wrong mode: refused until that is put right."""
        def swap():
            self.put_spare_in_place()
            os.chmod(self.store.data(), 0o644)
        self.lose(swap, "must be closed to others")
        os.chmod(self.store.data(), 0o640)
        self.back()

    def test_put_back_without_the_sessions_credential(self):
        aside = self.store.path + ".aside"
        self.lose(lambda: os.rename(self.store.path, aside), "was removed or replaced")
        other = store.Store(aside)
        other.delete("device-1")
        os.rename(aside, self.store.path)
        with self.assertRaises(dtls.HandshakeError) as caught:
            self.session.receive(5.0)
        self.assertEqual(caught.exception.alert, "close_notify")
        self.store.add("device-1", KEY)
        self.connected("device-2", KEY).close()


if __name__ == "__main__":
    lab.main()
