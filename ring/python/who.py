#!/usr/bin/env python3
"""Prints who sent what: who.py RING-SOCKET [--echo]. With --echo each payload goes back to its sender.

Of each session it tells the tenant, the identity, the credential that proves it, and where the device is:

    up    urn:dev:meter-1 (credential), PSK "urn:dev:meter-1", tenant default, from 198.51.100.7:40001
    data  urn:dev:meter-1 (credential), PSK "urn:dev:meter-1", tenant default: volume=1234.5m3
    down  urn:dev:meter-1 (credential), PSK "urn:dev:meter-1", tenant default: closed by the peer

It needs nothing but sluice.py beside it or installed, and libsluice; in a checkout that is not installed:

    SLUICE_LIBRARY=build/ring/libsluice.so.0 python3 ring/python/who.py /run/sluice/ring.sock
"""

import argparse
import signal
import sys

import sluice

KINDS = {
    sluice.Identity.NONE: "nothing proven",
    sluice.Identity.CREDENTIAL: "credential",
    sluice.Identity.CSE_ID: "CSE-ID",
    sluice.Identity.AE_ID: "AE-ID",
    sluice.Identity.LWM2M_ENDPOINT: "LwM2M endpoint",
}
CREDENTIALS = {sluice.Credential.PSK: "PSK", sluice.Credential.X509: "X509", sluice.Credential.RPK: "RPK"}


def printable(text):
    """Names and payloads are a device's: what could play with a terminal is escaped."""
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if 0x20 <= byte < 0x7F and byte != 0x5C else f"\\x{byte:02x}" for byte in raw)


def describe(up):
    credential = CREDENTIALS.get(up.credential)
    proof = f'{credential} "{printable(up.credential_id)}"' if credential else "no credential"
    tenant = printable(up.tenant) or "default"
    return f"{printable(up.name)} ({KINDS.get(up.identity_kind, 'identity')}), {proof}, tenant {tenant}"


def main():
    parser = argparse.ArgumentParser(description="Prints who sent what through a Sluice gateway.")
    parser.add_argument("ring", help="the gateway's ring socket")
    parser.add_argument("--echo", action="store_true", help="send each payload back to its sender")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sessions = {}
    with sluice.attach(arguments.ring) as ring:
        for message in ring:
            if isinstance(message, sluice.SessionUp):
                sessions[message.ref] = describe(message)
                print(f"up    {sessions[message.ref]}, from %s:%u" % message.peer, flush=True)
            elif isinstance(message, sluice.SessionDown):
                print(f"down  {sessions.pop(message.ref, '?')}: {message.reason}", flush=True)
            elif isinstance(message, sluice.Data):
                print(f"data  {sessions.get(message.ref, '?')}: {printable(message.payload)}", flush=True)
                if arguments.echo:
                    try:
                        ring.send(message.ref, message.payload)
                    except BlockingIOError:
                        print("echo dropped: the ring is full", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
    except OSError as fault:
        sys.exit(f"who.py: {fault}")
