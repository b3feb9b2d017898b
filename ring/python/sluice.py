"""Cleartext and proven identities from a Sluice DTLS gateway, and answers to it.

    import sluice
    with sluice.attach("/run/sluice/ring.sock") as ring:
        for message in ring:
            if isinstance(message, sluice.Data):
                ring.send(message.ref, b"answer")

A binding of libsluice with ctypes: nothing to build. The library is found by the dynamic linker, or named by
the environment variable SLUICE_LIBRARY. One thread per Ring. sluice.h is the reference.
"""

import ctypes
import enum
import errno
import ipaddress
import math
import os
import socket
from dataclasses import dataclass, field

_BATCH = 64


class _Ref(ctypes.Structure):
    _fields_ = [("index", ctypes.c_uint32), ("generation", ctypes.c_uint32), ("worker", ctypes.c_uint16),
                ("reserved", ctypes.c_uint16)]


class _Address(ctypes.Structure):
    _fields_ = [("ip", ctypes.c_uint8 * 16), ("port", ctypes.c_uint16), ("reserved", ctypes.c_uint16)]


class _SessionUp(ctypes.Structure):
    _fields_ = [("ref", _Ref), ("suite", ctypes.c_uint16), ("credential", ctypes.c_uint8), ("identity", ctypes.c_uint8),
                ("peer", _Address), ("has_cid", ctypes.c_uint8), ("again", ctypes.c_uint8),
                ("fields_len", ctypes.c_uint16)]


class _Data(ctypes.Structure):
    _fields_ = [("ref", _Ref), ("epoch", ctypes.c_uint16), ("payload_len", ctypes.c_uint16), ("seq", ctypes.c_uint64),
                ("received_ns", ctypes.c_uint64), ("peer", _Address), ("reserved", ctypes.c_uint32)]


class _SessionDown(ctypes.Structure):
    _fields_ = [("ref", _Ref), ("reason", ctypes.c_uint16), ("reserved", ctypes.c_uint16)]


class _SendFailed(ctypes.Structure):
    _fields_ = [("ref", _Ref), ("reason", ctypes.c_uint16), ("arg", ctypes.c_uint16), ("cookie", ctypes.c_uint64)]


class _PeerMoved(ctypes.Structure):
    _fields_ = [("ref", _Ref), ("peer", _Address)]


class _Message(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("body", ctypes.c_void_p)]


class _Field(ctypes.Structure):
    _fields_ = [("type", ctypes.c_uint16), ("len", ctypes.c_uint16), ("bytes", ctypes.c_void_p)]


class Credential(enum.IntEnum):
    """What the peer authenticated with."""
    NONE = 0
    PSK = 1
    X509 = 2
    RPK = 3


class Identity(enum.IntEnum):
    """What kind of identity that proves."""
    NONE = 0
    CREDENTIAL = 1
    CSE_ID = 2
    AE_ID = 3
    LWM2M_ENDPOINT = 4


@dataclass(frozen=True)
class Ref:
    """Names a session."""
    worker: int
    index: int
    generation: int


@dataclass(frozen=True)
class SessionUp:
    """A peer has proven who it is. With `again` the session is older than this program's attachment."""
    ref: Ref
    suite: int
    credential: int  # Credential
    identity_kind: int  # Identity
    identities: tuple  # of str; for an AE-ID several mean any of these
    credential_id: str
    tenant: str
    sni: str
    exporters: dict = field(hash=False, repr=False)  # label: 48 secret bytes, see onem2m_key()
    peer: tuple  # (address, port)
    has_cid: bool
    again: bool

    @property
    def name(self):
        """For a person: the identities, or the credential's own name where it stands for them."""
        if self.identity_kind == Identity.CREDENTIAL and not self.identities:
            return self.credential_id
        return " or ".join(self.identities) or "anonymous"


def onem2m_key(value):
    """(identifier, key) of an exporter value under one of oneM2M's labels: TS-0003 10.3.1."""
    return value[:16], value[16:]


@dataclass(frozen=True)
class Data:
    """One payload of a session."""
    ref: Ref
    payload: bytes
    epoch: int
    seq: int
    received_ns: int  # CLOCK_MONOTONIC
    peer: tuple


@dataclass(frozen=True)
class SessionDown:
    """The session is over."""
    ref: Ref
    reason: str


@dataclass(frozen=True)
class SendFailed:
    """A payload could not be sent; arg is the largest payload where that is why."""
    ref: Ref
    reason: str
    arg: int
    cookie: int


@dataclass(frozen=True)
class PeerMoved:
    """The session goes on from another address."""
    ref: Ref
    peer: tuple


def _load():
    try:
        library = ctypes.CDLL(os.environ.get("SLUICE_LIBRARY") or "libsluice.so.0", use_errno=True)
    except OSError as fault:
        raise OSError(f"{fault} (the environment variable SLUICE_LIBRARY may name the file of libsluice)") from fault
    signatures = {
        "sluice_attach": (ctypes.c_void_p, [ctypes.c_char_p]),
        "sluice_detach": (None, [ctypes.c_void_p]),
        "sluice_fd": (ctypes.c_int, [ctypes.c_void_p]),
        "sluice_sleep": (ctypes.c_bool, [ctypes.c_void_p]),
        "sluice_wait": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int]),
        "sluice_receive": (ctypes.c_int, [ctypes.c_void_p, ctypes.POINTER(_Message), ctypes.c_uint]),
        "sluice_field_next": (ctypes.c_bool, [ctypes.c_void_p, ctypes.POINTER(_Field)]),
        "sluice_send": (ctypes.c_int, [ctypes.c_void_p, _Ref, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]),
        "sluice_close_session": (ctypes.c_int, [ctypes.c_void_p, _Ref]),
        "sluice_flush": (None, [ctypes.c_void_p]),
        "sluice_workers": (ctypes.c_uint, [ctypes.c_void_p]),
        "sluice_reason_text": (ctypes.c_char_p, [ctypes.c_int]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


_library = None


def _lib():
    global _library
    if _library is None:
        _library = _load()
    return _library


def _error(what=None):
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), what)


def _ref(raw):
    return Ref(raw.worker, raw.index, raw.generation)


def _raw_ref(ref):
    return _Ref(index=ref.index, generation=ref.generation, worker=ref.worker)


def _peer(raw):
    address = ipaddress.IPv6Address(bytes(raw.ip))
    return str(address.ipv4_mapped or address), socket.ntohs(raw.port)


def _reason(number):
    return _lib().sluice_reason_text(number).decode()


def _text(raw):
    """Identities are UTF-8; what a peer made of it must not stop the program."""
    return raw.decode("utf-8", "backslashreplace")


def _session_up(at):
    raw = _SessionUp.from_address(at)
    identities, single, exporters, label = [], {}, {}, ""
    walked = _Field()
    while _lib().sluice_field_next(at, ctypes.byref(walked)):
        value = ctypes.string_at(walked.bytes, walked.len)
        if walked.type == 1:
            identities.append(_text(value))
        elif walked.type == 5:
            label = _text(value)
        elif walked.type == 6:
            exporters[label] = value
        else:
            single[walked.type] = _text(value)
    return SessionUp(_ref(raw.ref), raw.suite, raw.credential, raw.identity, tuple(identities), single.get(2, ""),
                     single.get(3, ""), single.get(4, ""), exporters, _peer(raw.peer), bool(raw.has_cid),
                     bool(raw.again))


def _data(at):
    raw = _Data.from_address(at)
    payload = ctypes.string_at(at + ctypes.sizeof(_Data), raw.payload_len)
    return Data(_ref(raw.ref), payload, raw.epoch, raw.seq, raw.received_ns, _peer(raw.peer))


def _session_down(at):
    raw = _SessionDown.from_address(at)
    return SessionDown(_ref(raw.ref), _reason(raw.reason))


def _send_failed(at):
    raw = _SendFailed.from_address(at)
    return SendFailed(_ref(raw.ref), _reason(raw.reason), raw.arg, raw.cookie)


def _peer_moved(at):
    raw = _PeerMoved.from_address(at)
    return PeerMoved(_ref(raw.ref), _peer(raw.peer))


_READERS = {1: _session_up, 2: _data, 3: _session_down, 4: _send_failed, 5: _peer_moved}


class Ring:
    """An attachment to a gateway. Iterating over it waits for messages until the gateway is gone."""

    def __init__(self, path):
        self._handle = None
        self._messages = (_Message * _BATCH)()
        self._handle = _lib().sluice_attach(os.fsencode(path))
        if not self._handle:
            raise _error(path)

    def detach(self):
        """Gives everything back; the gateway keeps its sessions."""
        if self._handle:
            _lib().sluice_detach(self._handle)
        self._handle = None

    __del__ = detach

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.detach()

    @property
    def workers(self):
        return _lib().sluice_workers(self._attached())

    def fileno(self):
        """For select, poll or asyncio: call sleep() before, receive() after."""
        return _lib().sluice_fd(self._attached())

    def sleep(self):
        """False when there are messages already."""
        return _lib().sluice_sleep(self._attached())

    def wait(self, timeout=None):
        """Waits so many seconds. True: receive() now. BrokenPipeError: the gateway is gone."""
        ready = _lib().sluice_wait(self._attached(), -1 if timeout is None else math.ceil(timeout * 1000))
        if ready < 0 and ctypes.get_errno() != errno.EINTR:
            raise _error()
        return ready > 0

    def receive(self):
        """The messages that are there, as copies: possibly none."""
        count = _lib().sluice_receive(self._attached(), self._messages, _BATCH)
        if count < 0:
            raise _error()
        return [_READERS[m.type](m.body) for m in self._messages[:count]]

    def __iter__(self):
        try:
            while True:
                yield from self.receive()
                self.wait()
        except BrokenPipeError:
            return

    def send(self, ref, payload, cookie=0, flush=True):
        """Sends a payload to a session. BlockingIOError when the ring is full. Batches: flush=False, then flush()."""
        raw = memoryview(payload).tobytes()
        if _lib().sluice_send(self._attached(), _raw_ref(ref), raw, len(raw), cookie) != 0:
            raise _error()
        if flush:
            self.flush()

    def close(self, ref):
        """Ends a session."""
        if _lib().sluice_close_session(self._attached(), _raw_ref(ref)) != 0:
            raise _error()
        self.flush()

    def flush(self):
        _lib().sluice_flush(self._attached())

    def _attached(self):
        if not self._handle:
            raise ValueError("detached")
        return self._handle


def attach(path):
    """Attaches to the gateway's ring socket; OSError says why not (EBUSY: another application is attached)."""
    return Ring(path)
