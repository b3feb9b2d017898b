#!/usr/bin/python3
"""./dev demo: real DTLS clients reach a plain CoAP server through the gateway.

Everything runs in a network namespace of the demo's own (lab.py draws it), so nothing on this machine is
touched. With --keep the namespace has a name, and clients of one's own can be started in it.
"""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is something to clean up

import argparse  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402
import shutil  # noqa: E402
import socket  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402

import clients  # noqa: E402
import lab  # noqa: E402
from clients import ECDHE_ECDSA, PSK, Credential  # noqa: E402
from wire import Wire, summary  # noqa: E402

SUITES = {0xC0A8: PSK, 0xC0AE: ECDHE_ECDSA}


def take_name():
    """sluice-demo, or the next that is free, with a namespace of that name; and what holds it, until it is closed.

    A socket in the abstract name space is the lock: it goes with us, however we end. A namespace whose lock is free
    is what a killed demo left behind.
    """
    for number in range(1, 100):
        name = "sluice-demo" + (f"-{number}" if number > 1 else "")
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            lock.bind("\0" + name)
        except OSError:
            lock.close()
            continue
        lab.run("ip", "netns", "delete", name, check=False)
        lab.run("ip", "netns", "add", name)
        return name, lock
    raise SystemExit("demo: 99 demos are running already")


def outside():
    """Makes the named namespace, runs the demo in it, and removes it, however the demo ends."""
    told = []  # to end, by these signals
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: told.append(number))
    try:
        (name, lock), folder = take_name(), tempfile.mkdtemp(prefix="sluice-demo-")
    except subprocess.CalledProcessError:
        if told:
            return 128 + told[0]  # so was ip
        raise
    try:
        status = 0 if told else run_inside(name, folder, told)
    finally:
        lab.run("ip", "netns", "delete", name, check=False)
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()
    return 128 + told[0] if told else status


def run_inside(name, folder, told):
    """The demo in its namespace. In a session of its own, so that the terminal's Ctrl-C comes to us alone; it dies with us.
    """
    command = ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", name,
               "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, *sys.argv]
    environment = {**os.environ, "SLUICE_DEMO": name, "SLUICE_DEMO_FOLDER": folder}
    child = subprocess.Popen(command, env=environment, start_new_session=True)
    while child.poll() is None:
        if told:
            tell(child.pid)
        try:
            child.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            pass
    return child.returncode


def tell(unshare):
    """The demo inside, unshare's child, is told again and again: as the first process of its namespace it gets no signal
    before it has a handler. unshare itself lets none through."""
    try:
        with open(f"/proc/{unshare}/task/{unshare}/children") as children:
            for child in children.read().split():
                os.kill(int(child), signal.SIGTERM)
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has ended


def leave(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    sys.exit(143)


def identity(log):
    """What the application was told of the session that came up in this part of sluice-forward's output."""
    found = re.findall(r"^up +\S+ (.*) peer ", log, re.MULTILINE)
    return found[-1] if found else "-"


def talk(network, name, credential):
    """One row: the client's whole conversation, seen on the wire and by the application."""
    with open(network.forward.log, errors="replace") as log:
        log.seek(0, os.SEEK_END)
        wire = Wire(lab.TAP, lab.PORT)
        result = clients.ALL[name](network.server, credential)
        seen = summary(wire.stop())
        who = identity(log.read())
    return result, [name, SUITES.get(seen["suite"], "-"), who, str(seen["up"]), str(seen["down"]),
                    milliseconds(seen["handshake_ms"]), milliseconds(seen["round_trip_ms"]),
                    "ok" if result.ok else "FAILED"]


def milliseconds(value):
    return "-" if value is None else f"{value:.1f} ms"


HEADER = ["client", "suite", "identity that the gateway proved", "up", "down", "handshake", "round trip", "verdict"]


def table(rows):
    """Rows appear as they are made, so the widths are those of the longest that can come."""
    widths = [19, 42, 34, 5, 5, 9, 10, 7]
    return "  ".join(text.rjust(w) if 3 <= i <= 6 else text.ljust(w) for i, (text, w) in enumerate(zip(rows, widths)))


def show(network):
    files = network.pki
    failures = []
    print(table(HEADER))
    for kind in (PSK, ECDHE_ECDSA):
        for name in clients.ALL:
            credential = Credential(psk=(lab.METER, lab.METER_KEY)) if kind == PSK else Credential(
                certificate=(files["device.pem"], files["device.key"]), ca=files["ca.pem"])
            result, row = talk(network, name, credential)
            print(table(row).rstrip(), flush=True)
            if not result.ok or row[1] != kind:
                failures.append(result)
    print("up, down: bytes of UDP payload, handshake included; round trip: request to answer, on the wire")
    return failures


def explain(network):
    """How to reach the gateway that stays."""
    files, inside = network.pki, "ip netns exec " + os.environ["SLUICE_DEMO"]
    host, port = network.server
    identity, key = lab.METER.decode(), lab.METER_KEY.decode()
    print(f"""
The gateway stays, until Ctrl-C, at {host} and {network.server6[0]}, UDP port {port}, in the network namespace
{os.environ["SLUICE_DEMO"]}; behind it is libcoap's coap-server without DTLS.

  pre-shared key   identity {identity}
                   key      {key}   (hex {lab.METER_KEY.hex()})
  certificates     {os.path.dirname(files["ca.pem"])}: ca.pem, device.pem, device.key
  logs             {network.folder}: sluice.log, sluice-forward.log

Try, as root, in another terminal:

  {inside} coap-client-openssl -u {identity} -k {key} coaps://{host}/
  {inside} coap-client-gnutls -c {files["device.pem"]} -j {files["device.key"]} -R {files["ca.pem"]} coaps://{host}/time
  {inside} openssl s_client -dtls1_2 -connect {host}:{port} -psk_identity {identity} \\
      -psk {lab.METER_KEY.hex()} -cipher PSK-AES128-CCM8:@SECLEVEL=0
""", flush=True)


def inside(arguments):
    signal.signal(signal.SIGTERM, leave)
    lab.run("ip", "link", "set", "lo", "up")
    network = lab.Lab(arguments.build, backend=False, folder=os.environ["SLUICE_DEMO_FOLDER"])
    try:
        network.start_coap_server()
        network.start()
        failures = show(network)
        for result in failures:
            print(f"\n{result}\n\nthe gateway's log:\n{network.gateway.output()}")
        if arguments.keep and not failures:
            explain(network)
            network.gateway.process.wait()
            print(f"the gateway ended by itself:\n{network.gateway.output()}")
            return 1
        return 1 if failures else 0
    except RuntimeError as error:
        print(f"demo: {error}")
        return 1
    finally:
        network.stop()


def main():
    parser = argparse.ArgumentParser(prog="./dev demo")
    parser.add_argument("--keep", action="store_true", help="leave it running until Ctrl-C")
    parser.add_argument("--build", default="build", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    return inside(arguments) if "SLUICE_DEMO" in os.environ else outside()


if __name__ == "__main__":
    sys.exit(main())
