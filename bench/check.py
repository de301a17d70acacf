"""Measures the promises of docs/PROMISES.md again; fails when one is broken by more than noise (`make bench-check`).

The promises are the rows of the table under the heading "What bench-check measures again" in that file, and stand
nowhere else: the command that measures, the figure it reports, the bound, the noise a shared machine adds. Nearly all
figures are ratios to a neighbour that the command measures in the same run, taking turns with it. With --json a
command prints

    {"figures": {"NAME": NUMBER, ...}, "left_out": {"NAME": "why it could not be measured here", ...}}

A row that falls is measured twice more and the median of the three counts, so a burst of other load breaks nothing and
a lucky run saves nothing. A row whose figure is left out is listed with the reason; a row whose figure is missing
without one counts as broken.

    check.py [--promises FILE] [--build DIRECTORY] [--only TEXT] [--recorded DIRECTORY] [--list]

--recorded takes outputs from files instead of commands: NAME.json, NAME.2.json, NAME.3.json for bench_NAME's first,
second and third run (tests/promises). Exit status: 0 all kept, 1 something fell, 2 the table or the call is wrong.
"""
import argparse
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADING = "What bench-check measures again"
COLUMNS = ["measured by", "figure", "promise", "noise"]
ATTEMPTS = 3
TIMEOUT_S = 1200


class Malformed(Exception):
    """The table, or a command's output, is not what is expected."""


@dataclass
class Promise:
    command: str
    figure: str
    at_least: bool
    bound: float
    noise: float  # a share: 0.1 is 10 %
    line: int
    measured: list = field(default_factory=list)
    left_out: str = ""
    broken: str = ""

    def value(self):
        return statistics.median(self.measured)

    def limit(self):
        """Where noise ends."""
        return self.bound * (1 - self.noise) if self.at_least else self.bound * (1 + self.noise)

    def within(self, limit):
        return self.value() >= limit if self.at_least else self.value() <= limit

    def fell(self):
        return bool(self.broken) or (bool(self.measured) and not self.within(self.limit()))

    def verdict(self):
        if self.broken:
            return "BROKEN: " + self.broken
        if not self.measured:
            return "left out: " + self.left_out
        if self.fell():
            return f"FELL, in {len(self.measured)} runs"
        return "kept" if self.within(self.bound) else "within noise"


def code(cell, line):
    """The text of `such a cell`."""
    if len(cell) < 3 or cell[0] != "`" or cell[-1] != "`":
        raise Malformed(f"line {line}: found {cell!r}, expected text in `backticks`")
    return cell[1:-1]


def number(text, line):
    try:
        return float(text.replace(",", ""))
    except ValueError:
        raise Malformed(f"line {line}: found {text!r}, expected a number") from None


def promise_of(cells, line):
    if len(cells) != len(COLUMNS):
        raise Malformed(f"line {line}: found {len(cells)} cells, expected {len(COLUMNS)}: {' | '.join(COLUMNS)}")
    sign, _, bound = cells[2].partition(" ")
    if sign not in ("≤", "≥"):
        raise Malformed(f"line {line}: found {cells[2]!r}, expected ≤ or ≥ and a number")
    if not cells[3].endswith("%"):
        raise Malformed(f"line {line}: found {cells[3]!r}, expected per cent, as in 10 %")
    noise = number(cells[3].rstrip("% "), line) / 100
    if not 0 <= noise < 1:
        raise Malformed(f"line {line}: noise of {cells[3]}: expected 0 to 99 %")
    return Promise(code(cells[0], line), code(cells[1], line), sign == "≥", number(bound, line), noise, line)


def read_promises(path):
    """The rows under the heading."""
    found, rows, inside, seen = False, [], False, set()
    for at, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if text.startswith("## "):
            inside = HEADING in text.replace("`", "").replace("make ", "")
            found |= inside
        if not inside or not text.startswith("|"):
            continue
        cells = [cell.strip() for cell in text.strip().strip("|").split("|")]
        if cells == COLUMNS or set("".join(cells)) <= set("-: "):
            continue
        row = promise_of(cells, at)
        if (row.command, row.figure) in seen:
            raise Malformed(f"line {at}: {row.figure!r} stands here twice")
        seen.add((row.command, row.figure))
        rows.append(row)
    if not found:
        raise Malformed(f"no heading '## {HEADING}'")
    if not rows:
        raise Malformed(f"no rows under '## {HEADING}'")
    return rows


def checked_output(text):
    """What a command printed, as two dictionaries."""
    try:
        output = json.loads(text)
    except ValueError as error:
        raise Malformed(f"its output is not JSON ({error})") from None
    figures, left_out = (output.get(key, {}) if isinstance(output, dict) else None for key in ("figures", "left_out"))
    if not isinstance(figures, dict) or not isinstance(left_out, dict):
        raise Malformed('its output is not {"figures": {...}, "left_out": {...}}')
    for name, value in figures.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
            raise Malformed(f"figure {name!r} is {value!r}, not a number")
    return figures, left_out


class Commands:
    """Runs what the rows say, from the source directory."""

    def __init__(self, build):
        self.build = build

    def output(self, command, attempt):
        words = [word.replace("build/release/", f"{self.build}/", 1) for word in shlex.split(command)] + ["--json"]
        print(f"measuring: {command}" + (f" (run {attempt})" if attempt > 1 else ""), file=sys.stderr, flush=True)
        try:
            ran = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, timeout=TIMEOUT_S, check=False)
        except OSError as error:
            raise Malformed(f"it does not start: {error.strerror}; build it first") from None
        except subprocess.TimeoutExpired:
            raise Malformed(f"it did not end within {TIMEOUT_S} s") from None
        if ran.returncode != 0:
            raise Malformed(f"it ended with status {ran.returncode}")
        return checked_output(ran.stdout.decode(errors="replace"))


class Recorded:
    """Reads what commands printed earlier."""

    def __init__(self, directory):
        self.directory = directory

    def output(self, command, attempt):
        name = pathlib.Path(shlex.split(command)[0]).name.removeprefix("bench_")
        files = [self.directory / f"{name}{'' if run == 1 else f'.{run}'}.json" for run in range(attempt, 0, -1)]
        for file in files:  # without a record of a later run, it went like the one before
            if file.exists():
                return checked_output(file.read_text(encoding="utf-8"))
        raise Malformed(f"no record {files[-1].name}")


def measure(rows, source, attempt):
    """Runs each command once and gives its rows their figures."""
    for command in dict.fromkeys(row.command for row in rows):
        mine = [row for row in rows if row.command == command]
        try:
            figures, left_out = source.output(command, attempt)
        except Malformed as error:
            for row in mine:
                row.broken = str(error)
            continue
        for row in mine:
            if row.figure in figures:
                row.measured.append(float(figures[row.figure]))
            elif row.figure in left_out and not row.measured:
                row.left_out = str(left_out[row.figure])
            else:
                row.broken = "the command reports no such figure"


def shown(value):
    if value >= 10000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}" if value >= 0.1 or value == 0 else f"{value:.3f}"


def table(rows):
    width = max(len(row.figure) for row in rows)
    lines, command = [], None
    for row in rows:
        if row.command != command:
            command = row.command
            lines.append(f"\n{command}\n  {'':<{width}}  {'promise':>10}  {'noise':>6}  {'measured':>9}  verdict")
        promise = ("≥ " if row.at_least else "≤ ") + shown(row.bound)
        measured = shown(row.value()) if row.measured else "-"
        lines.append(f"  {row.figure:<{width}}  {promise:>10}  {row.noise * 100:>4.0f} %  {measured:>9}  {row.verdict()}")
    return "\n".join(lines).lstrip("\n")


def summary(rows):
    fell = [row for row in rows if row.fell()]
    left_out = [row for row in rows if not row.measured and not row.broken]
    kept = len(rows) - len(fell) - len(left_out)
    text = f"{len(rows)} promises: {kept} kept, {len(left_out)} left out, {len(fell)} fell"
    return text + "".join(f"\n  fell: {row.figure} ({row.command})" for row in fell)


def main(arguments):
    parser = argparse.ArgumentParser(description="measures the promises of docs/PROMISES.md again")
    parser.add_argument("--promises", type=pathlib.Path, default=ROOT / "docs/PROMISES.md")
    parser.add_argument("--build", default=os.path.join(ROOT, "build/release"), help="where the benchmarks are")
    parser.add_argument("--only", default="", help="only the rows whose command or figure has this text in it")
    parser.add_argument("--recorded", type=pathlib.Path, help="outputs in files instead of commands")
    parser.add_argument("--list", action="store_true", help="print the rows, measure nothing")
    options = parser.parse_args(arguments)
    try:
        rows = [row for row in read_promises(options.promises) if options.only in f"{row.command} {row.figure}"]
        if not rows:
            raise Malformed(f"no row has {options.only!r} in it")
    except (Malformed, OSError) as error:
        print(f"bench-check: {options.promises}: {error}", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(f"{row.command}\t{row.figure}\t{'>=' if row.at_least else '<='} {row.bound:g}\t{row.noise:g}" for row in rows))
        return 0
    source = Recorded(options.recorded) if options.recorded else Commands(os.path.abspath(options.build))
    measure(rows, source, 1)
    suspects = [row for row in rows if row.fell() and not row.broken]
    for attempt in range(2, ATTEMPTS + 1):
        measure(suspects, source, attempt)
    print(table(rows) + "\n\n" + summary(rows))
    return 1 if any(row.fell() for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
