#!/usr/bin/env python3
"""Draws what bench_record measured, as SVG: cycles per record over the payload, one line per engine.

    bench_record --benchmark_out=record.json --benchmark_out_format=json
    bench/plot.py record.json open aes-128-ccm-8 > record.svg

Needs nothing but Python's standard library.
"""
import json
import math
import sys
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 50, 50
COLOURS = ["#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf", "#7f7f7f", "#bcbd22"]


def read(path, direction, protection, batch=64, sessions=64):
    """{engine: {payload: median cycles}} out of Google Benchmark's JSON."""
    with open(path, encoding="utf-8") as file:
        benchmarks = json.load(file)["benchmarks"]
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


def draw(lines, title):
    payloads = sorted({payload for line in lines.values() for payload in line})
    values = [cycles for line in lines.values() for cycles in line.values()]
    x = scale(payloads[0], payloads[-1], LEFT, WIDTH - RIGHT)
    y = scale(min(values) * 0.8, max(values) * 1.2, HEIGHT - BOTTOM, TOP)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="15">{escape(title)}</text>',
    ]
    for payload in payloads:
        out.append(f'<line x1="{x(payload):.1f}" y1="{TOP}" x2="{x(payload):.1f}" y2="{HEIGHT - BOTTOM}" '
                   f'stroke="#eee"/>')
        out.append(f'<text x="{x(payload):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{payload}</text>')
    for tick in ticks(min(values) * 0.8, max(values) * 1.2):
        out.append(f'<line x1="{LEFT}" y1="{y(tick):.1f}" x2="{WIDTH - RIGHT}" y2="{y(tick):.1f}" stroke="#eee"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">'
               f'payload in bytes</text>')
    out.append(f'<text x="16" y="{HEIGHT / 2}" text-anchor="middle" '
               f'transform="rotate(-90 16 {HEIGHT / 2})">TSC cycles per record</text>')
    label_y = TOP
    for (engine, line), colour in zip(sorted(lines.items(), key=lambda item: -max(item[1].values())),
                                      COLOURS * 3):
        points = " ".join(f"{x(payload):.1f},{y(cycles):.1f}" for payload, cycles in sorted(line.items()))
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out.append(f'<rect x="{WIDTH - RIGHT + 14}" y="{label_y}" width="12" height="12" fill="{colour}"/>')
        out.append(f'<text x="{WIDTH - RIGHT + 32}" y="{label_y + 11}">{escape(engine)}</text>')
        label_y += 20
    out.append("</svg>")
    return "\n".join(out)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    path, direction, protection = sys.argv[1:]
    lines = read(path, direction, protection)
    if not lines:
        sys.exit(f"plot.py: nothing measured for {direction}/{protection} in {path}")
    print(draw(lines, f"{protection}, {direction}, bursts of 64, 64 sessions"))


if __name__ == "__main__":
    main()
