#!/usr/bin/env python3
"""What a record costs a worker with a million sessions, beside socket servers with a thousand, in one run.

    bench/compare.py --build build

Rounds of both programs take turns, so that what disturbs the machine disturbs both. The servers' figures are those of
their thread, the kernel's share included, with every recvmmsg() full: their best case. What the kernel does before that,
from IP to the socket, is measured apart and given as "receive path"; a server pays it as well, on that CPU or another.
Compared are the medians of each one's quietest round. Exit status: 0 when all was measured, bars held or not.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

# At least so many times less CPU than the best socket server, and than recvmmsg() alone.
BAR_BEST, BAR_BARE = 20, 7
EAL = ["--no-huge", "-m", "256", "--no-pci", "--no-shconf", "--no-telemetry", "--log-level", "4"]


def run(command, path):
    """Runs a benchmark that writes JSON to path; returns that."""
    print("#", " ".join(command), flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\ncompare.py: {command[0]} ended with {done.returncode}")
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def collect(options, folder):
    """{name: [(least, median) of each round]}, which of the names are TLS libraries, and the least receive path."""
    path = os.path.join(folder, "round.json")
    figures, libraries, receive_path = {}, set(), []
    for _ in range(options.rounds):
        report = run([os.path.join(options.build, "bench", "bench_sockets"), "--rounds", "1", "--samples",
                      str(options.samples), "--payload", str(options.payload), "--json", path], path)
        receive_path.append(report["receive_path"])
        for result in report["results"]:
            figures.setdefault(result["server"], []).append((result["cycles"]["min"], result["cycles"]["median"]))
            if result["library"]:
                libraries.add(result["server"])
        report = run([os.path.join(options.build, "bench", "bench_worker"), *EAL, "-l", str(max(os.sched_getaffinity(0))),
                      "--", "--sessions", str(options.sessions), "--payload", str(options.payload),
                      "--samples", str(25 * options.samples), "--json", path], path)
        for result in report["results"]:
            name = f"Sluice, {result['sessions']:,} sessions, by {result['by']}"
            figures.setdefault(name, []).append((result["cycles"]["min"], result["cycles"]["median"]))
    return figures, libraries, min(receive_path)


def print_table(figures, libraries, receive_path):
    ours = next(name for name in figures if name.startswith("Sluice"))
    bare = next(name for name in figures if name not in libraries and name != ours)
    least = {name: min(low for low, _ in rounds) for name, rounds in figures.items()}
    quiet = {name: min(middle for _, middle in rounds) for name, rounds in figures.items()}
    usual = {name: statistics.median(middle for _, middle in rounds) for name, rounds in figures.items()}
    print(f"\n{'CPU time per record, TSC cycles':36} {'least':>7} {'median,':>8} {'median':>7} {'times':>7} "
          f"{'with receive':>13}\n{'':44} {'quietest':>8} {'':>7} {'ours':>7} {'path':>13}")
    for name in sorted(figures, key=quiet.get):
        times = f" {quiet[name] / quiet[ours]:7.1f} {(quiet[name] + receive_path) / quiet[ours]:13.1f}"
        print(f"{name:36} {least[name]:7.0f} {quiet[name]:8.0f} {usual[name]:7.0f}{'' if name == ours else times}")
    print(f"the kernel's receive path: {f'at least {receive_path:.0f} cycles a datagram' if receive_path else 'unknown'}")
    best = min(libraries, key=quiet.get)
    for name, bar in ((best, BAR_BEST), (bare, BAR_BARE)):
        for what, more in (("its thread alone", 0), ("with the kernel's receive path", receive_path)):
            times = (quiet[name] + more) / quiet[ours]
            print(f"bar, {bar} times less than {name}, {what}: {times:.1f}, {'held' if times >= bar else 'missed'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--sessions", type=int, default=1000000, help="of the worker")
    parser.add_argument("--payload", type=int, default=64)
    parser.add_argument("--samples", type=int, default=8, help="of each socket server in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="the table for other programs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-compare-") as folder:
        figures, libraries, receive_path = collect(options, folder)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"bench": "compare", "version": 1, "payload": options.payload, "libraries": sorted(libraries),
                       "receive_path": receive_path,
                       "rounds": {name: [{"min": low, "median": middle} for low, middle in rounds]
                                  for name, rounds in figures.items()}}, file, indent=1)
    print_table(figures, libraries, receive_path)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
