#!/usr/bin/env python3
"""What a record costs a worker with a million sessions, beside socket servers with a thousand, in one run.

    bench/compare.py --build build

Rounds of both programs take turns, so that what disturbs the machine disturbs both. Left out of the socket servers'
figures is the kernel's receive path, which runs on the sender's CPU here and costs them about as much again.
Exit status: 0 when the bars hold, 1 otherwise, also when a program fails.
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
EAL = ["--no-huge", "-m", "256", "--no-pci", "--no-shconf", "--no-telemetry", "-l", "1", "--log-level", "4", "--"]


def run(command, path):
    """Runs a benchmark that writes JSON to path; returns that."""
    print("#", " ".join(command), flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\ncompare.py: {command[0]} ended with {done.returncode}")
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def collect(options, folder):
    """{name: [(least, median) of each round]}, and which of the names are those of TLS libraries."""
    path = os.path.join(folder, "round.json")
    figures, libraries = {}, set()
    for _ in range(options.rounds):
        report = run([os.path.join(options.build, "bench", "bench_sockets"), "--rounds", "1", "--samples",
                      str(options.samples), "--payload", str(options.payload), "--json", path], path)
        for result in report["results"]:
            figures.setdefault(result["server"], []).append((result["cycles"]["min"], result["cycles"]["median"]))
            if result["library"]:
                libraries.add(result["server"])
        report = run([os.path.join(options.build, "bench", "bench_worker"), *EAL, "--sessions", str(options.sessions),
                      "--payload", str(options.payload), "--samples", str(25 * options.samples), "--json", path], path)
        for result in report["results"]:
            name = f"Sluice, {result['sessions']} sessions, by {result['by']}"
            figures.setdefault(name, []).append((result["cycles"]["min"], result["cycles"]["median"]))
    return figures, libraries


def judge(figures, libraries):
    """Prints the table and the ratios; True when both bars hold."""
    ours = next(name for name in figures if name.startswith("Sluice"))
    least = {name: min(low for low, _ in rounds) for name, rounds in figures.items()}
    median = {name: statistics.median(middle for _, middle in rounds) for name, rounds in figures.items()}
    print(f"\n{'CPU time per record, TSC cycles':42} {'least':>8} {'median':>8}   times ours, by the median (least)")
    for name in sorted(figures, key=median.get):
        times = "" if name == ours else f"{median[name] / median[ours]:9.1f} ({least[name] / least[ours]:.1f})"
        print(f"{name:42} {least[name]:8.0f} {median[name]:8.0f}{times}")
    best = min(libraries, key=median.get)
    bare = next(name for name in figures if name not in libraries and name != ours)
    good = True
    for name, bar in ((best, BAR_BEST), (bare, BAR_BARE)):
        times = median[name] / median[ours]
        good &= times >= bar
        print(f"bar: {bar} times less than {name}: {'held' if times >= bar else 'MISSED'} ({times:.1f})")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--sessions", type=int, default=1000000, help="of the worker")
    parser.add_argument("--payload", type=int, default=64)
    parser.add_argument("--samples", type=int, default=8, help="of each socket server in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-bars", action="store_true", help="measure, hold no bar")
    parser.add_argument("--json", help="the table for other programs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-compare-") as folder:
        figures, libraries = collect(options, folder)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"bench": "compare", "version": 1, "payload": options.payload, "libraries": sorted(libraries),
                       "rounds": {name: [{"min": low, "median": middle} for low, middle in rounds]
                                  for name, rounds in figures.items()}}, file, indent=1)
    return 0 if judge(figures, libraries) or options.no_bars else 1


if __name__ == "__main__":
    sys.exit(main())
