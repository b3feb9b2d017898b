#!/usr/bin/env python3
"""Gateway and swarm in two processes, joined by virtio (net_vhost and net_virtio_user): end to end, no kernel between.

    bench/virtio.py --build build [--quick] [--json FILE]

Handshakes per second, echo of records (device, gateway, ring, application, and back) with few sessions and with a million,
and their latency. Needs no root, no hugepages. On two cores the worker has one, and swarm, application and control thread
share the other: the figures are those of all of them together, and a lower bound for the gateway.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

SERVER, NET, DEVICES_NET = "10.200.0.1", "/8", "10.201.0.1"
MEMORY = ["--no-huge", "--no-pci", "--no-telemetry", "--no-shconf", "--log-level=error"]
FIRST_CPU, LAST_CPU = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))


class Testbed:
    """A gateway with its echo. command: of the gateway, without its configuration."""

    def __init__(self, build, folder, command, sessions, devices):
        self.build, self.folder = build, folder
        self.vhost, self.ring = os.path.join(folder, "vhost.sock"), os.path.join(folder, "ring.sock")
        self.log = os.path.join(folder, "log")
        psk = os.path.join(folder, "psk.txt")
        subprocess.run([self.program("sluice-swarm"), "--write-psk", psk, "--devices", str(devices)], check=True)
        config = os.path.join(folder, "sluice.yaml")
        with open(config, "w", encoding="utf-8") as file:
            json.dump({
                "workers": {"count": 1, "idle": "sleep", "cores": f"0@{FIRST_CPU},1@{LAST_CPU}"},
                "port": {"eal": [*MEMORY, "-m", "256", "--vdev", f"net_vhost0,iface={self.vhost}"],
                         "ipv4": SERVER + NET, "udp_port": 5684, "mbufs": 16383},
                "sessions": {"max": sessions},
                "handshakes": {"max": 4096, "rate": 1000000, "rate_prefix": 1000000},
                "credentials": {"psk_file": psk}, "admin": {"socket": os.path.join(folder, "admin.sock")},
                "ring": {"socket": self.ring, "uplink_kib": 32768,
                                                           "downlink_kib": 32768}, "log_level": "warning"}, file)
        environment = {**os.environ, "RUNTIME_DIRECTORY": folder}
        with open(self.log, "wb") as log:
            self.gateway = subprocess.Popen([*command, "--config", config], stdout=log, stderr=log, env=environment)
        self.echo = None
        try:
            self.wait(self.vhost)
            self.wait(self.ring)
            self.echo = subprocess.Popen([self.program("bench_echo"), self.ring])
            os.sched_setaffinity(self.echo.pid, {FIRST_CPU})
        except BaseException:
            self.stop()
            raise

    def program(self, name):
        return os.path.join(self.build, "bench", name)

    def wait(self, path, seconds=60):
        """For a socket that the gateway makes."""
        end = time.monotonic() + seconds
        while not os.path.exists(path):
            if self.gateway.poll() is not None or time.monotonic() > end:
                with open(self.log, errors="replace", encoding="utf-8") as log:
                    sys.exit(f"virtio.py: the gateway does not start:\n{log.read()}")
            time.sleep(0.05)

    def swarm(self, *options):
        """Runs it; its report."""
        path = os.path.join(self.folder, "report.json")
        command = [self.program("sluice-swarm"), "--dpdk", *MEMORY, "-m", "256", "-l", str(FIRST_CPU), "--vdev",
                   f"net_virtio_user0,path={self.vhost},queue_size=1024", "--", "--server", SERVER, "--devices-net",
                   DEVICES_NET, "--json", path, *options]
        print("#", " ".join(command[command.index("--dpdk") + 1:]), flush=True)
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
        if done.returncode != 0:
            sys.exit(f"{done.stdout}\nvirtio.py: the swarm ended with {done.returncode}")
        with open(path, encoding="utf-8") as file:
            return json.load(file)

    def stop(self):
        for process in (self.gateway, self.echo):
            if process and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def measure_shaken(options, folder):
    """With real handshakes: {name of a row: report}."""
    devices = 1000 if options.quick else 20000
    bed = Testbed(options.build, folder, [os.path.join(options.build, "sluice")], 1 << 17, devices)
    try:
        common = ["--cid", "--no-close"]
        rows = {"handshakes, PSK": bed.swarm(*common, "--devices", str(devices), "--records", "0")}
        few = str(min(devices, 1000))
        rows["echo, 1,000 sessions"] = bed.swarm(*common, "--handshakes-first", "--devices", few, "--records",
                                                 "20" if options.quick else "500", "--outstanding", "512")
        rows["echo, one at a time"] = bed.swarm(*common, "--handshakes-first", "--devices", "100", "--records",
                                                "20" if options.quick else "200", "--outstanding", "1")
    finally:
        bed.stop()
    return rows


def measure_preinstalled(options, folder):
    sessions = 20000 if options.quick else 1000000
    cids = os.path.join(folder, "cids")
    command = [os.path.join(options.build, "bench", "sluice-bench-gateway"), "--test-sessions",
               f"{sessions},bench,{DEVICES_NET},{cids}"]
    bed = Testbed(options.build, folder, command, sessions, 1)
    try:
        time.sleep(1 if options.quick else 5)  # every session has been announced to the echo
        return {f"echo, {sessions:,} sessions": bed.swarm(
            "--preinstalled", "bench", "--cid-file", cids, "--devices", str(sessions), "--records", "1000000",
            "--outstanding", "512", "--no-close", "--seconds", "2" if options.quick else "10")}
    finally:
        bed.stop()


def print_rows(rows):
    print(f"\n{'virtio, two processes':28} {'per second':>12} {'p50 us':>9} {'p99 us':>9} {'p99.9 us':>9} {'lost':>6}")
    for name, report in rows.items():
        kind = "handshake" if name.startswith("handshakes") else "answer"
        rate = report["handshakes_per_second" if kind == "handshake" else "requests_per_second"]
        times = report[kind + "_ms"]
        print(f"{name:28} {rate:12,.0f} " +
              " ".join(f"{1000 * times[p]:9.1f}" for p in ("p50", "p99", "p99.9")) + f" {report['lost']:6}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--quick", action="store_true", help="few and short: shows that it works, no more")
    parser.add_argument("--json", help="the reports for other programs")
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    rows = {}
    for measure in (measure_shaken, measure_preinstalled):
        with tempfile.TemporaryDirectory(prefix="sluice-virtio-") as folder:
            rows.update(measure(options, folder))
    print_rows(rows)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"bench": "virtio", "version": 1, "rows": rows}, file, indent=1)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
