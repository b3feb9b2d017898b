#!/usr/bin/env python3
"""Runs the benchmarks one after the other, keeps what they print, and draws the plots.

    bench/run.py [--build build] [--out FOLDER] [--quick] [NAME...]

With --quick each is as short as can be: that shows that it works, and its figures mean nothing.
"""
import argparse
import fcntl
import os
import platform
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
EAL = "--no-huge -m 256 --no-pci --no-shconf --no-telemetry --log-level 4".split()
ONCE = "--benchmark_repetitions=1"

# name: what it is about, arguments, arguments of a quick run. {out} is the folder for its files, {cpu} the worker's.
BENCHES = {
    "record": ("the record layer's engines beside other libraries",
               ["bench_record", "--benchmark_out={out}/record.json", "--benchmark_out_format=json"],
               ["bench_record", "--benchmark_out={out}/record.json", "--benchmark_out_format=json", ONCE,
                "--benchmark_filter=open/aes-128-ccm-8/(vaes|aesni|openssl-evp)/(64|256)/64/64/"]),
    "constant_time": ("no Lucky 13 channel", ["bench_constant_time", "1000000"], ["bench_constant_time", "2000"]),
    "cryptodev": ("the record layer beside DPDK's cryptodev", ["bench_cryptodev"], ["bench_cryptodev"]),
    "session": ("to find a session, by the number of sessions", ["bench_session"],
                ["bench_session", "--benchmark_filter=/1000/"]),
    "hello": ("a ClientHello that proves nothing yet", ["bench_hello"], ["bench_hello", ONCE]),
    "handshake": ("handshakes of the control thread", ["bench_handshake"],
                  ["bench_handshake", ONCE, "--benchmark_filter=psk"]),
    "ring": ("messages to the application", ["bench_ring"], ["bench_ring", "--benchmark_filter=batch:32", ONCE]),
    "worker": ("a record in a worker, by the number of sessions",
               ["bench_worker", *EAL, "-l", "{cpu}", "--", "--sessions", "1000,100000,1000000,4000000,10000000",
                "--payload", "64,256,1024", "--by", "cid,address", "--job", "uplink,echo", "--samples", "200", "--json",
                "{out}/worker.json"],
               ["bench_worker", *EAL, "-l", "{cpu}", "--", "--sessions", "1000,10000", "--by", "cid,address", "--job",
                "uplink,echo", "--samples", "5", "--json", "{out}/worker.json"]),
    "sockets": ("a million sessions here, a thousand in socket servers", ["compare.py", "--json", "{out}/sockets.json"],
                ["compare.py", "--json", "{out}/sockets.json", "--sessions", "10000", "--samples", "1", "--rounds", "1"]),
    "virtio": ("gateway and swarm in two processes", ["virtio.py", "--json", "{out}/virtio.json"],
               ["virtio.py", "--json", "{out}/virtio.json", "--quick"]),
}
# file: from which benchmark, arguments of plot.py
PLOTS = {
    "record.svg": ("record", ["record.json", "open", "aes-128-ccm-8"]),
    "sessions.svg": ("worker", ["worker.json", "sessions"]),
    "stages.svg": ("worker", ["worker.json", "stages"]),
}


def cpu_name():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown CPU")


def print_machine(options):
    print(f"machine: {cpu_name()}, {len(os.sched_getaffinity(0))} CPUs, {platform.system()} {platform.release()}, "
          f"load {os.getloadavg()[0]:.1f} before")
    print(f"build: {options.build}; what is printed and measured: {options.out}", flush=True)


def command_of(options, arguments):
    program, *rest = [part.format(out=options.out, cpu=max(os.sched_getaffinity(0))) for part in arguments]
    if program.endswith(".py"):
        return [sys.executable, os.path.join(HERE, program), "--build", options.build, *rest]
    return [os.path.join(options.build, "bench", program), *rest]


def run(options, name, arguments):
    """True when it went well. What it prints is shown as it comes, and kept."""
    command = command_of(options, arguments)
    with open(os.path.join(options.out, name + ".txt"), "w", encoding="utf-8") as log:
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace") as process:
            measured = True
            for line in process.stdout:
                print("   ", line, end="", flush=True)
                log.write(line)
                measured &= not line.startswith("Failed to match any benchmarks")
            return process.wait() == 0 and measured


def alone(options):
    """Two runs at once would write the same files, and disturb each other. Returns what holds the place."""
    lock = open(os.path.join(options.out, "lock"), "w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"run.py: another run writes to {options.out}; wait for its end")
    return lock


def plot(options, file, arguments):
    path = os.path.join(options.out, file)
    report, *rest = arguments
    command = [sys.executable, os.path.join(HERE, "plot.py"), os.path.join(options.out, report), *rest]
    with open(path, "w", encoding="utf-8") as out:
        good = subprocess.run(command, stdout=out).returncode == 0
    print(f"  {'ok    ' if good else 'FAILED'}  {path}", flush=True)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--out", default="build/bench-results", help="folder for what is printed, JSON and plots")
    parser.add_argument("--quick", action="store_true", help="as short as can be: that it works, not how fast")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHES))
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHES]
    if unknown:
        parser.error(f"no benchmark '{unknown[0]}': {', '.join(BENCHES)}")
    options.build, options.out = os.path.abspath(options.build), os.path.abspath(options.out)
    os.makedirs(options.out, exist_ok=True)
    lock = alone(options)
    print_machine(options)
    names, results = options.names or list(BENCHES), {}
    for number, name in enumerate(names, 1):
        about, full, quick = BENCHES[name]
        print(f"\n[{number}/{len(names)}] {name}: {about}", flush=True)
        start = time.monotonic()
        results[name] = run(options, name, quick if options.quick else full)
        print(f"  {'ok    ' if results[name] else 'FAILED'}  {name} {time.monotonic() - start:.0f} s", flush=True)
    print()
    for file, (name, arguments) in PLOTS.items():
        if name in results:
            results[file] = plot(options, file, arguments)
    failed = [name for name, good in results.items() if not good]
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed{': ' if failed else ''}{', '.join(failed)}")
    lock.close()
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as fault:  # a full disk, most of all
        sys.exit(f"run.py: {fault}")
