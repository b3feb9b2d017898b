#!/usr/bin/python3
"""check_python.py FOLDER: what the Python binding in that folder hands to libsluice, by a stand-in for the library."""

import array
import ctypes
import errno
import sys

sys.path.insert(0, sys.argv[1])
import sluice  # noqa: E402


class Library:
    """Takes what a ring would take."""

    def __init__(self):
        self.sent, self.waited, self.full = [], [], False

    def sluice_attach(self, path):
        return 1

    def sluice_detach(self, handle):
        pass

    def sluice_flush(self, handle):
        pass

    def sluice_wait(self, handle, timeout_ms):
        self.waited.append(timeout_ms)
        return 0

    def sluice_send(self, handle, ref, payload, length, cookie):
        if self.full:
            ctypes.set_errno(errno.EAGAIN)
            return -1
        self.sent.append((payload, length))
        return 0


def main():
    library = sluice._library = Library()
    ref = sluice.Ref(worker=0, index=1, generation=1)
    words = array.array("H", [1, 2, 3])
    with sluice.attach("/nowhere") as ring:
        for payload in (b"four", bytearray(b"four"), memoryview(b"four"), words):
            ring.send(ref, payload)
        for timeout in (None, 0, 0.0001, 2):
            ring.wait(timeout)
        library.full = True
        try:
            ring.send(ref, b"x")
            refused = False
        except BlockingIOError:
            refused = True
    assert library.sent == [(b"four", 4)] * 3 + [(words.tobytes(), 6)], library.sent
    assert library.waited == [-1, 0, 1, 2000], library.waited
    assert refused, "a full ring is told"


main()
