#!/usr/bin/env python3
"""Draws what `cargo bench --bench curves` has measured: an SVG beside each CSV file of the folder that is named."""

import csv
import pathlib
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

# The same bytes from the same figures; text stays text.
plt.rcParams.update({"svg.hashsalt": "attache", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9})
STYLE = {
    "attaché": {"color": "#c0392b", "marker": "o", "linewidth": 2, "zorder": 3},
    "no-op on tonic": {"color": "#2471a3", "marker": "s"},
    "no-op on h2": {"color": "#7d8c93", "marker": "^"},
    "plain Envoy": {"color": "#1e8449", "marker": "D"},
}


def read(file):
    curves = {}
    with open(file, encoding="utf-8") as text:
        for row in csv.DictReader(text):
            point = {key: float(value) for key, value in row.items() if key != "variant"}
            curves.setdefault(row["variant"], []).append(point)
    return curves


def panel(axes, curves, value, label, ticks, only=None):
    for name, style in STYLE.items():
        if name in curves and (only is None or name in only):
            points = curves[name]
            axes.plot([p["x"] for p in points], [value(p) for p in points], label=name, markersize=4, **style)
    axes.set_ylabel(label)
    axes.set_xscale("log")
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.minorticks_off()
    axes.grid(alpha=0.3)


def draw(folder, name, title, x, panels, ticks, log=False):
    curves = read(folder / f"{name}.csv")
    figure, axes = plt.subplots(1, len(panels), figsize=(4.4 * len(panels), 3.4), layout="constrained")
    for place, (label, value, only) in zip(axes, panels, strict=True):
        panel(place, curves, value, label, ticks, only)
        place.set_xlabel(x)
        if log:
            place.set_yscale("log")
        else:
            place.set_ylim(bottom=0)
    axes[0].legend(frameon=False)
    figure.suptitle(title)
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


SERVICES = {"attaché", "no-op on tonic", "no-op on h2"}


def main(folder):
    latency = ("p50 of a request (µs)", lambda p: p["p50_us"], None)
    service = ("CPU time of the service (µs a request)", lambda p: p["service_cpu_us"], SERVICES)
    draw(folder, "rules", "Cost as policy grows: one connection, no body, one CPU", "entries, and as many rules",
         [latency, service], {10: "10", 100: "100", 1000: "1,000", 10000: "10,000"})
    draw(folder, "bodies", "Cost as bodies grow: chat JSON, one connection, one CPU; attaché looks at all of it",
         "body", [latency, service], {1 << 10: "1 KiB", 4 << 10: "4 KiB", 16 << 10: "16 KiB", 64 << 10: "64 KiB",
         256 << 10: "256 KiB", 1 << 20: "1 MiB"}, log=True)
    draw(folder, "connections", "Cost as more clients ask at once: clients, upstream and proxy share one CPU", "connections",
         [("requests a second", lambda p: p["requests_per_second"], None), ("p99 of a request (ms)",
         lambda p: p["p99_us"] / 1000, None), service], {1: "1", 4: "4", 16: "16", 64: "64", 256: "256"})


main(pathlib.Path(sys.argv[1]))
