# SPDX-License-Identifier: MIT
#
# report.py - shows results: tables on a terminal, in markdown, and as a plot

import os
import statistics
import subprocess
import sys


class Figures:
    """The samples of one machine at one placement, by row and platform."""

    def __init__(self, machine, placement):
        self.machine = machine
        self.placement = placement
        self.samples = {}
        for sample in machine["samples"]:
            if sample["placement"] == placement:
                key = (sample["row"], sample["platform"])
                self.samples.setdefault(key, []).append(sample)

    def values(self, row, platform):
        return [s["value"] for s in self.samples.get((row, platform), []) if "value" in s]

    def failure(self, row, platform):
        """Why there is no value, None if there is one or nothing was tried."""
        reasons = [s["fails"] for s in self.samples.get((row, platform), []) if "fails" in s]
        return reasons[0] if reasons and not self.values(row, platform) else None

    def ratios(self, row, platform, base="native"):
        """To @base, in each round that has both."""
        under = {s["round"]: s["value"] for s in self.samples.get((row, base), [])
                 if s.get("value", 0) > 0}
        return [s["value"] / under[s["round"]] for s in self.samples.get((row, platform), [])
                if "value" in s and s["round"] in under]

    def has(self, row):
        return any(key[0] == row for key in self.samples)


# ------------------------------------------------------------------ numbers --

UNITS = (("s", 1e9), ("ms", 1e6), ("us", 1e3), ("ns", 1))


def three_digits(value):
    if value >= 100 or value == 0:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def scale(value, unit, instructions):
    """A divisor and its name, which make @value easy to read."""
    if unit != "time":
        return (1, unit)
    if instructions:
        return next(((n, f"{s}i") for s, n in (("G", 1e9), ("M", 1e6), ("k", 1e3))
                     if value >= n), (1, "i"))
    return next(((n, name) for name, n in UNITS if value >= n), (1, "ns"))


def show_value(values, unit, instructions):
    """The median, and the spread if there is one."""
    middle = statistics.median(values)
    divisor, name = scale(middle, unit, instructions)
    text = f"{three_digits(middle / divisor)} {name}"
    if len(values) > 1:
        low, high = (three_digits(v / divisor) for v in (min(values), max(values)))
        text += f" [{low}..{high}]"
    return text


def show_ratio(ratios):
    middle = statistics.median(ratios)
    return f"x{three_digits(middle)}"


def cell(figures, row, platform, spread=True):
    """What the table says about a row on a platform."""
    failure = figures.failure(row["key"], platform)
    if failure:
        return failure
    values = figures.values(row["key"], platform)
    if not values:
        return "-"
    instructions = figures.machine["unit"] == "instructions"
    text = show_value(values if spread else [statistics.median(values)], row["unit"], instructions)
    ratios = figures.ratios(row["key"], platform)
    if platform != "native" and ratios and row["unit"] == "time":
        text += f" {show_ratio(ratios)}" if spread else f" ({show_ratio(ratios)[1:]}x)"
    return text


# ------------------------------------------------------------------- tables --


def placements(machine):
    return list(dict.fromkeys(sample["placement"] for sample in machine["samples"]))


def title(results, machine, placement):
    if machine["name"] == "vm":
        return (f"Emulated machine, 1 CPU, kernel {machine['kernel']}: executed instructions "
                "(i, thousands ki, ...)")
    where = "everything on CPU 0" if placement == "pinned" else "threads unpinned"
    return (f"This machine: {results['cpu']}, {results['cpus']} CPUs, kernel {machine['kernel']}; "
            f"{where}; {results['rounds']} rounds")


def make_table(results, figures, spread=True):
    """Rows of texts, the first one the head."""
    names = figures.machine["platforms"]
    table = [[""] + names]
    for row in results["rows"]:
        if figures.has(row["key"]):
            table.append([row["title"]] + [cell(figures, row, n, spread) for n in names])
    return table


def print_columns(table, limit=44):
    clipped = [[text if len(text) <= limit else text[:limit - 3] + "..." for text in line]
               for line in table]
    widths = [max(len(line[i]) for line in clipped) for i in range(len(table[0]))]
    for line in clipped:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip())


def print_failures(table, limit=44):
    for line in table[1:]:
        for name, text in zip(table[0][1:], line[1:]):
            if len(text) > limit:
                print(f"  {line[0]}, {name}: {text}")


def print_tables(results):
    print("Median [lowest..highest] of all rounds; xN: the median of the ratios to native in")
    print("the same round.")
    for machine in results["machines"]:
        for placement in placements(machine):
            table = make_table(results, Figures(machine, placement))
            print(f"\n{title(results, machine, placement)}")
            print_columns(table)
            print_failures(table)
        for name, reason in machine["unusable"].items():
            print(f"  {name} is not measured: {reason}")


def print_markdown(results):
    print(f"`{results['command']}`, commit {results['commit']}, {results['date'][:10]}"
          + (f", {results['runsc']}" if results.get("runsc") else "")
          + ". Medians, and ratios to native in the same round.")
    for machine in results["machines"]:
        for placement in placements(machine):
            table = make_table(results, Figures(machine, placement), spread=False)
            print(f"\n{title(results, machine, placement)}\n")
            print("| " + " | ".join(table[0]) + " |")
            print("|---" * len(table[0]) + "|")
            for line in table[1:]:
                print("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |")


# --------------------------------------------------------------------- plot --


def plot_lines(results, figures, names):
    """gnuplot's data: a row's title, then low, median and high ratio of each platform."""
    for row in results["rows"]:
        if row["unit"] != "time" or not figures.has(row["key"]):
            continue
        fields = [f'"{row["title"]}"']
        for name in names:
            ratios = figures.ratios(row["key"], name)
            if ratios:
                fields += [f"{v:.4g}" for v in
                           (statistics.median(ratios), min(ratios), max(ratios))]
            else:
                fields += ["NaN"] * 3
        yield " ".join(fields)


def plot_script(heading, data, names, count, path):
    curves = ", ".join(
        f"'{data}' using {2 + 3 * i}:($0+{(i - len(names) / 2 + 0.5) * 0.15:.3f})"
        f":{3 + 3 * i}:{4 + 3 * i}"
        f"{':ytic(1)' if i == 0 else ''} with xerrorbars pt 7 ps 0.5 title '{name}'"
        for i, name in enumerate(names))
    return f"""set terminal svg noenhanced size 900,{140 + 26 * count} font 'sans,12' background '#ffffff'
set output '{path}'
set label 1 "{heading}" at screen 0.5,screen 0.98 center font ',10'
set tmargin 3
set bmargin 6
set xlabel 'times native (median, lowest, highest)'
set logscale x
set grid x
set yrange [{count - 0.5}:-0.5]
set key at screen 0.5,screen 0.01 center bottom horizontal width 2
plot {curves}
"""


def plot_one(results, machine, placement, directory):
    figures = Figures(machine, placement)
    names = [name for name in machine["platforms"] if name != "native"]
    lines = list(plot_lines(results, figures, names))
    if not lines or not names:
        return None
    base = os.path.join(directory, f"{machine['name']}-{placement}")
    with open(base + ".dat", "w", encoding="utf-8") as data:
        data.write("\n".join(lines) + "\n")
    heading = title(results, machine, placement).replace('"', "'")
    script = plot_script(heading, base + ".dat", names, len(lines), base + ".svg")
    done = subprocess.run(["gnuplot"], input=script, text=True, stderr=subprocess.PIPE)
    if done.returncode:
        print(f"bench: gnuplot: {done.stderr.strip()}", file=sys.stderr)
        return None
    return base + ".svg"


def plot(results, directory):
    """Draws every table; returns the files."""
    try:
        return [path for machine in results["machines"] for placement in placements(machine)
                if (path := plot_one(results, machine, placement, directory))]
    except FileNotFoundError:
        print("bench: no gnuplot here, so no plots: run 'make deps'", file=sys.stderr)
        return []
