#!/usr/bin/env python3
"""Draws what was measured, as SVG. Needs nothing but Python's standard library.

    bench_record --benchmark_out=record.json --benchmark_out_format=json
    bench/plot.py record.json open aes-128-ccm-8 > record.svg    cycles per record over the payload, by engine
    bench_worker ... --json worker.json
    bench/plot.py worker.json sessions > sessions.svg            records per second over the number of sessions
    bench/plot.py worker.json stages > stages.svg                where a record's cycles go, over the same
"""
import json
import math
import sys
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 50, 50
COLOURS = ["#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf", "#7f7f7f", "#bcbd22"]


def read_engines(benchmarks, direction, protection, batch=64, sessions=64):
    """{engine: {payload: median cycles}} out of Google Benchmark's JSON."""
    lines = {}
    for benchmark in benchmarks:
        parts = benchmark["name"].split("/")
        if parts[:2] != [direction, protection] or "cycles_median" not in benchmark:
            continue
        if benchmark["run_type"] != "iteration":
            continue
        if (int(parts[4]), int(parts[5])) != (batch, sessions):
            continue
        # Each visit's figures are those of all visits so far: the last is the one.
        lines.setdefault(parts[2], {})[int(parts[3])] = benchmark["cycles_median"]
    return lines


def scale(low, high, begin, end):
    """A logarithmic scale from [low, high] to [begin, end]."""
    span = math.log(high / low) or 1.0
    return lambda value: begin + (end - begin) * math.log(value / low) / span


def ticks(low, high):
    """1, 2 and 5 times the powers of ten between the two."""
    power = 10 ** math.floor(math.log10(low))
    while power <= high:
        for factor in (1, 2, 5):
            if low <= factor * power <= high:
                yield factor * power
        power *= 10


def linear(high):
    """From zero at the bottom."""
    return lambda value: HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / high


def linear_ticks(high):
    """At most nine."""
    step = next(factor * 10 ** power for power in range(-3, 9) for factor in (1, 2, 5)
                if high / (factor * 10 ** power) <= 8)
    return [number * step for number in range(int(high / step) + 1)]


def svg_head(title):
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="15">{escape(title)}</text>',
    ]


def svg_axes(x_label, y_label):
    return [
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text x="16" y="{HEIGHT / 2}" text-anchor="middle" '
        f'transform="rotate(-90 16 {HEIGHT / 2})">{escape(y_label)}</text>',
    ]


def svg_tick(y, text):
    return [
        f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#eee"/>',
        f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>',
    ]


def svg_legend(number, colour, name):
    y = TOP + 20 * number
    return [
        f'<rect x="{WIDTH - RIGHT + 14}" y="{y}" width="12" height="12" fill="{colour}"/>',
        f'<text x="{WIDTH - RIGHT + 32}" y="{y + 11}">{escape(name)}</text>',
    ]


def short(number):
    """1000 -> 1 k, 10000000 -> 10 M."""
    for factor, letter in ((1000000, " M"), (1000, " k")):
        if number >= factor and number % factor == 0:
            return f"{number // factor}{letter}"
    return str(number)


def draw_lines(lines, title, x_label, y_label, x_text=str, from_zero=False):
    """lines: {name: {x: y}}, the highest first; x is logarithmic, and so is y unless it begins at zero."""
    xs = sorted({x for line in lines.values() for x in line})
    values = [y for line in lines.values() for y in line.values()]
    low, high = min(values) * 0.8, max(values) * 1.2
    x_at = scale(xs[0], xs[-1], LEFT, WIDTH - RIGHT)
    y_at, y_ticks = scale(low, high, HEIGHT - BOTTOM, TOP), list(ticks(low, high))
    if from_zero:
        y_at, y_ticks = linear(high), linear_ticks(high)
    out = svg_head(title)
    for x in xs:
        out.append(f'<line x1="{x_at(x):.1f}" y1="{TOP}" x2="{x_at(x):.1f}" y2="{HEIGHT - BOTTOM}" stroke="#eee"/>')
        out.append(f'<text x="{x_at(x):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{x_text(x)}</text>')
    for tick in y_ticks:
        out += svg_tick(y_at(tick), f"{tick:g}")
    out += svg_axes(x_label, y_label)
    by_height = sorted(lines.items(), key=lambda item: -max(item[1].values()))
    for number, ((name, line), colour) in enumerate(zip(by_height, COLOURS * 3)):
        points = " ".join(f"{x_at(x):.1f},{y_at(y):.1f}" for x, y in sorted(line.items()))
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += svg_legend(number, colour, name)
    return "\n".join([*out, "</svg>"])


def draw_stacks(stacks, title, x_label, y_label, x_text=str):
    """stacks: {x: {name: height}}, one bar for each x, the first name at the bottom."""
    names = list(next(iter(stacks.values())))
    top = max(sum(parts.values()) for parts in stacks.values()) * 1.1
    y_at = linear(top)
    out = svg_head(title)
    for tick in linear_ticks(top):
        out += svg_tick(y_at(tick), f"{tick:g}")
    out += svg_axes(x_label, y_label)
    room = (WIDTH - RIGHT - LEFT) / len(stacks)
    for number, (x, parts) in enumerate(sorted(stacks.items())):
        left, base = LEFT + room * (number + 0.2), 0
        for name, colour in zip(names, COLOURS):
            out.append(f'<rect x="{left:.1f}" y="{y_at(base + parts[name]):.1f}" width="{room * 0.6:.1f}" '
                       f'height="{y_at(base) - y_at(base + parts[name]):.1f}" fill="{colour}"/>')
            base += parts[name]
        middle = left + room * 0.3
        out.append(f'<text x="{middle:.1f}" y="{y_at(base) - 6:.1f}" text-anchor="middle">{base:.0f}</text>')
        out.append(f'<text x="{middle:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{x_text(x)}</text>')
    for number, (name, colour) in enumerate(reversed(list(zip(names, COLOURS)))):
        out += svg_legend(number, colour, name)
    return "\n".join([*out, "</svg>"])


def plot_record(report, direction, protection):
    lines = read_engines(report["benchmarks"], direction, protection)
    return lines and draw_lines(lines, f"{protection}, {direction}, bursts of 64, 64 sessions", "payload in bytes",
                                "TSC cycles per record")


def plot_sessions(report, payload=64):
    lines = {}
    for result in report["results"]:
        if result["payload"] == payload:
            name = f"{result['job']}, by {'CID' if result['by'] == 'cid' else 'address'}"
            lines.setdefault(name, {})[result["sessions"]] = result["records_per_s"] / 1e6
    return lines and draw_lines(lines, f"one worker, {payload} bytes, random sessions", "sessions",
                                "million records per second", short, from_zero=True)


def plot_stages(report, payload=64):
    stacks = {result["sessions"]: {stage: result["stages"][stage]["median"] for stage in report["stages"]}
              for result in report["results"]
              if (result["by"], result["job"], result["payload"]) == ("cid", "uplink", payload)}
    return stacks and draw_stacks(stacks, f"one record in a worker by stage, {payload} bytes, by CID", "sessions",
                                  "TSC cycles per record, medians of the stages", short)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    path, kind, *rest = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    plots = {"sessions": plot_sessions, "stages": plot_stages}
    drawn = plots[kind](report) if kind in plots and not rest else plot_record(report, kind, *rest)
    if not drawn:
        sys.exit(f"plot.py: nothing measured for {' '.join(sys.argv[2:])} in {path}")
    print(drawn)


if __name__ == "__main__":
    main()
