#!/usr/bin/env python3
"""Prints who sent what: who.py RING-SOCKET [--echo]. With --echo each payload goes back to its sender."""

import argparse

import sluice


def main():
    parser = argparse.ArgumentParser(description="Prints who sent what through a Sluice gateway.")
    parser.add_argument("ring", help="the gateway's ring socket")
    parser.add_argument("--echo", action="store_true", help="send each payload back to its sender")
    arguments = parser.parse_args()
    names = {}
    with sluice.attach(arguments.ring) as ring:
        for message in ring:
            if isinstance(message, sluice.SessionUp):
                names[message.ref] = message.name
                print("up  ", names[message.ref], "from %s:%u" % message.peer, flush=True)
            elif isinstance(message, sluice.SessionDown):
                print("down", names.pop(message.ref, "?"), message.reason, flush=True)
            elif isinstance(message, sluice.Data):
                print("data", names.get(message.ref, "?"), message.payload, flush=True)
                if arguments.echo:
                    ring.send(message.ref, message.payload)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
