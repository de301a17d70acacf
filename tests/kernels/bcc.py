#!/usr/bin/env python3
"""BCC's tools, unmodified, on skep's module in other kernels: boots a Debian kernel under QEMU and runs tests/python/bcc_tools.py
there, which gives each tool a workload and looks for it in what the tool prints.

  tests/kernels/bcc.py --build build/release bookworm bookworm-backports
  ... bookworm --only opensnoop,execsnoop     only these      --again   also those that worked already
  ... here                                    without a guest, on this machine's own kernel
  ... --table docs/reference/bcc-tools.md     puts the results of the suites into a page, a row for each tool, a column for each
                                              suite; what was not measured stays as it is there
  ... bookworm --stay                         keeps the guest: BUILD/kernels/bookworm-full/exchange/job is a script to run there

All tools run in one boot. What each printed lies in BUILD/kernels/SUITE-full/exchange/output. Results are kept as they come
(results.json): the next run takes those that have not worked. A guest that dies or falls silent costs the tool that it was
running; the rest go on in a new one. QEMU interprets: `--patience` stretches the times that a tool has to start and to end.
Needs root, qemu-system-x86, busybox-static, cpio, clang and bpfcc-tools. guest.py says how the guest sees this machine.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time

import guest as guests
import matrix

sys.path.insert(0, os.path.join(matrix.ROOT, "tests/python"))
import bcc_tools  # noqa: E402

HERE = "here"  # in the place of a suite: this machine's own kernel
SILENCE_SECONDS = 400  # of a guest; the slowest tools take a third of that
MOST_BOOTS = 6
NEEDED = {"qemu-system-x86_64": "qemu-system-x86", "cpio": "cpio", "busybox": "busybox-static"}
# What is started often is copied: on the share, which nothing caches, each of its pages would be fetched at each start.
JOB = """cp -a {exchange}/snapshot /tmp/skep
cd {exchange}
export SKEP_ALONE=yes SKEP=/tmp/skep/tools/skep/skep PYTHONPYCACHEPREFIX=/tmp/python
exec /usr/bin/python3 -u /tmp/skep/scripts/bcc_tools.py --patience {patience} --keep output --lines 10 {tools}
"""
NOT_TRIED = "not tried"
TABLE_START, TABLE_END = "<!-- tests/kernels/bcc.py --table: begin -->\n", "<!-- end -->\n"


class Results:
    """{"release": ..., "tools": {name: "works" or why not}} in a file."""

    def __init__(self, path):
        self.path, self.release, self.tools = path, "", {}
        if os.path.exists(path):
            with open(path) as file:
                known = json.load(file)
            self.release, self.tools = known["release"], known["tools"]

    def note(self, release, name, outcome):
        self.release = release
        self.tools[name] = outcome
        guests.write(self.path, json.dumps({"release": release, "tools": self.tools}, indent=1, sort_keys=True) + "\n")

    def working(self):
        return sorted(name for name, outcome in self.tools.items() if outcome == "works")


def kernel_folder(options, suite):
    return os.path.join(options.build, "kernels", suite if suite == HERE else suite + "-full")


def names_of(options, results):
    """The tools to run: of those asked for, those that have not worked yet; first those that have not been tried."""
    names = options.only.split(",") if options.only else bcc_tools.installed()
    return sorted((name for name in names if options.again or results.tools.get(name) != "works"), key=results.tools.__contains__)


def note_outcomes(lines, names, release, results):
    """Follows what bcc_tools.py prints. The tools that it has not come to."""
    left, began = list(names), time.monotonic()
    for line in lines:
        found = re.match(r"(\S+) +(works$|- .*)", line)
        if found and found[1] in left:
            left.remove(found[1])
            results.note(release, found[1], found[2].removeprefix("- "))
            print(f"{release} {found[1]:16} {found[2]}  ({time.monotonic() - began:.0f} s)", flush=True)
            began = time.monotonic()
        elif line.startswith("    "):
            print(line.rstrip(), flush=True)
    return left


def run_in(guest, names, options, results):
    """Runs tools in a guest until one ends it. The names that are left, without the one that ended it."""
    release = open(os.path.join(guest.exchange, "up")).read().strip()
    script = JOB.format(exchange=guest.exchange, patience=options.patience, tools=" ".join(names))
    left = note_outcomes(guest.lines(script, SILENCE_SECONDS), names, release, results)
    if left:
        results.note(release, left[0], "the guest ended or fell silent")
        print(f"{release} {left[0]:16} - the guest ended or fell silent:\n{guest.console_end()}", flush=True)
    return left[1:]


def run_here(options):
    """The same tools on this machine's kernel."""
    folder = kernel_folder(options, HERE)
    os.makedirs(folder, exist_ok=True)
    results, release = Results(os.path.join(folder, "results.json")), os.uname().release
    names = names_of(options, results)
    command = [sys.executable, "-u", os.path.join(matrix.ROOT, "tests/python/bcc_tools.py"), "--patience", str(options.patience),
               "--keep", os.path.join(folder, "output"), *names]
    environment = dict(os.environ, SKEP=os.path.join(options.build, matrix.SKEP))
    with subprocess.Popen(command if names else ["true"], stdout=subprocess.PIPE, text=True, env=environment) as tools:
        note_outcomes(tools.stdout, names, release, results)
    print(f"{release}: {len(results.working())} of {len(results.tools)} tools work")
    return []


def run_suite(suite, options):
    """The complaints of its kernel."""
    kernel = guests.Kernel(suite, kernel_folder(options, suite))
    results = Results(os.path.join(kernel.folder, "results.json"))
    names = names_of(options, results)
    guests.take_snapshot(options.build, os.path.join(matrix.ROOT, "tests/python"), os.path.join(kernel.exchange, "snapshot"))
    complaints = []
    for _ in range(MOST_BOOTS):
        if not names and not options.stay:
            break
        with guests.Guest(kernel) as guest:
            if not guest.up:
                print(f"{suite}: the kernel did not come up:\n{guest.console_end()}")
                continue
            if names:
                names = run_in(guest, names, options, results)
            complaints += guest.complaints()
            while options.stay and guest.is_running():
                time.sleep(1)
        if options.stay:
            break
    print(f"{suite}: Linux {results.release}: {len(results.working())} of {len(results.tools)} tools work")
    for complaint in complaints:
        print("the kernel complained: " + complaint)
    return complaints


def read_table(page):
    """The results in a page, by suite: the release and the outcomes, as Results has them."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines()]
    columns = {}
    for place, head in enumerate(rows[0][1:], 1) if rows else ():
        release, _, suite = head.rstrip(")").partition(" (")
        columns[suite] = release, {row[0]: row[place] for row in rows[2:] if row[0] != "all" and row[place] != NOT_TRIED}
    return columns


def table(options, page):
    """A row for each tool, a column for each suite. What was not measured now is as it was in the page."""
    known = read_table(page.partition(TABLE_START)[2].partition(TABLE_END)[0])
    columns = []
    for suite in options.suites:
        column = Results(os.path.join(kernel_folder(options, suite), "results.json"))
        release, tools = known.get(suite, ("", {}))
        if column.release in ("", release):
            column.release, column.tools = release, {**tools, **column.tools}
        columns.append(column)
    names = sorted({name for column in columns for name in column.tools})
    heads = [f"{column.release} ({suite})" for suite, column in zip(options.suites, columns)]
    lines = ["| tool | " + " | ".join(heads) + " |", "|---|" + "---|" * len(columns)]
    for name in names:
        cells = [{"works": "works", None: NOT_TRIED}.get(column.tools.get(name), "no") for column in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines.append("| all | " + " | ".join(f"{len(column.working())} of {len(column.tools)}" for column in columns) + " |")
    return "\n".join(lines) + "\n"


def put_table(path, options):
    page = open(path).read()
    text = table(options, page)
    head, _, rest = page.partition(TABLE_START)
    tail = rest.partition(TABLE_END)[2]
    if not rest:
        sys.exit(f"{path} has no line {TABLE_START.strip()}")
    guests.write(path, head + TABLE_START + text + TABLE_END + tail)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", default=matrix.SUITES)
    parser.add_argument("--build", default=os.path.join(matrix.ROOT, "build/release"))
    parser.add_argument("--patience", type=float, default=4)
    parser.add_argument("--only", help="names of tools, with commas between")
    parser.add_argument("--again", action="store_true", help="also tools that worked already")
    parser.add_argument("--stay", action="store_true", help="keep the guest after the tools, until a file `stop` is in the exchange")
    parser.add_argument("--table", help="a page to put the results into, instead of a run")
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    if options.table:
        put_table(options.table, options)
        return
    if os.geteuid() != 0:
        sys.exit("needs root: the guest's skep trusts a compile cache of root's only, and it lies here")
    if options.build.startswith(("/tmp/", "/run/", "/mnt/", "/dev/")):
        sys.exit(f"{options.build} is hidden in the guest, which has a disk of its own there: build elsewhere")
    for tool, package in NEEDED.items():
        if shutil.which(tool, path=guests.environment()["PATH"]) is None:
            sys.exit(f"{tool} is not installed (Debian package {package})")
    complaints = [complaint for suite in options.suites for complaint in (run_here(options) if suite == HERE else run_suite(suite, options))]
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
