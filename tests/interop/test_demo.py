#!/usr/bin/python3
"""./dev demo --keep ends when it is told to, whatever it is doing, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("SLUICE_BUILD", "build")
PATIENCE_S = 120


def can_name_a_namespace():
    name = f"sluice-test-{os.getpid()}"
    made = os.geteuid() == 0 and os.path.exists("/dev/net/tun") and subprocess.run(
        ["ip", "netns", "add", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    return made and subprocess.run(["ip", "netns", "delete", name]).returncode == 0


class Demo(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="sluice-test-")
        self.addCleanup(self.folder.cleanup)
        # In a session of its own: a group of processes to which a terminal would send its Ctrl-C.
        self.demo = subprocess.Popen([sys.executable, os.path.join(HERE, "demo.py"), "--keep", "--build", BUILD],
                                     env={**os.environ, "TMPDIR": self.folder.name}, stdin=subprocess.DEVNULL,
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        self.addCleanup(self.demo.stdout.close)
        self.addCleanup(self.demo.wait)
        self.addCleanup(self.demo.kill)

    def end(self, number):
        os.killpg(self.demo.pid, number)
        try:
            output, _ = self.demo.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.fail(f"it goes on after {signal.Signals(number).name}")
        self.assertEqual(self.demo.returncode, 128 + number, output)
        self.assertNotIn("Traceback", output)
        self.assertEqual(os.listdir(self.folder.name), [])

    def test_interrupted_while_it_starts(self):
        while not os.listdir(self.folder.name):
            self.assertIsNone(self.demo.poll())
            time.sleep(0.01)
        self.end(signal.SIGINT)

    def test_terminated_while_it_stays(self):
        for line in self.demo.stdout:
            if line.startswith("The gateway stays"):
                break
        self.end(signal.SIGTERM)


if __name__ == "__main__":
    if not can_name_a_namespace():
        print("skipped: this needs root, /dev/net/tun and 'ip netns add'")
        sys.exit(77)
    unittest.main()
