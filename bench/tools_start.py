#!/usr/bin/env python3
"""What it costs to start a built-in tool: from the start of its process until it says that it is attached, and the largest
memory of the process until then; and to end it: from the signal until it is gone.

A tool prints its heading, or what it stands on, when its programs are attached; that moment is measured. Every tool of
`skep tools` takes part, in each engine that it has; what this machine cannot attach, and what prints nothing before its first
interval, is left out with the tool's own words. The neighbour in the same run is a process that does nothing, and strace's
first line where it is installed. --realtime: with chrt -f 10, on a machine that does other things beside.

    tools_start.py [--json] [--runs N] [--engine user|kernel] [--realtime] [TOOL...]

Needs SKEP or build/release/tools/skep/skep; root for the kernel engine.
"""
import argparse
import json
import os
import pathlib
import select
import shutil
import signal
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SECONDS_TO_ATTACH, SECONDS_TO_END = 0.9, 5.0
# What a tool needs to be told. `trace` and `argdist` compile their probes: with them the compiler's cache is measured.
ARGUMENTS = {
    "argdist": ["-C", "t:syscalls:sys_enter_openat():int:args->flags"],
    "bashreadline": ["-s", "/bin/bash"],
    "funccount": ["c:getenv"],
    "funclatency": ["c:getenv"],
    "funcslower": ["c:getenv"],
    "llcstat": ["1"],
    "stackcount": ["c:getenv"],
    "trace": ["t:syscalls:sys_enter_openat"],
    "ttysnoop": ["-C", "/dev/tty"],
    "ucalls": [],
}
NEED_PID = {"memleak", "uthreads", "ucalls"}


def peak_kib(pid):
    with open("/proc/%d/status" % pid) as status:
        for line in status:
            if line.startswith("VmHWM"):
                return int(line.split()[1])
    return 0


def cpu_ms(pid):
    """What its threads have spent on a CPU: other load of the machine does not count."""
    spent = 0
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/schedstat" % (pid, task)) as stat:
            spent += int(stat.read().split()[0])
    return spent / 1e6


def once(words):
    """(milliseconds until the first line, of them on a CPU, peak KiB then, milliseconds until it was gone), or the tool's last
    words where there was no line."""
    begin = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                               start_new_session=True)
    said, result = b"", None
    try:
        ready, _, _ = select.select([process.stdout], [], [], SECONDS_TO_ATTACH)
        spent = (time.perf_counter() - begin) * 1000
        if ready:
            said = os.read(process.stdout.fileno(), 65536)
            busy, kib = cpu_ms(process.pid), peak_kib(process.pid)
            time.sleep(0.05)
            if process.poll() is None or process.returncode == 0:  # it stays, or the command was over
                result = spent, busy, kib
    finally:
        begin = time.perf_counter()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            said += process.communicate(timeout=SECONDS_TO_END)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said += process.communicate()[0]
    if result:
        return *result, (time.perf_counter() - begin) * 1000
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:160] if lines else "it prints nothing before its first interval"


def measure(words, runs, rest):
    """Medians, the first run apart: it fills the file cache. `rest`: seconds before each start. The kernel takes apart what
    the one before had loaded when that is gone, and a start meanwhile waits 10 ms for it."""
    first = once(words)
    if isinstance(first, str):
        return first
    results = []
    for _ in range(runs):
        time.sleep(rest)
        results.append(once(words))
    failed = [result for result in results if isinstance(result, str)]
    return failed[0] if failed else tuple(statistics.median(column) for column in zip(*results))


def bare(runs):
    spent = []
    for _ in range(runs):
        begin = time.perf_counter()
        subprocess.run(["/bin/true"], check=True)
        spent.append((time.perf_counter() - begin) * 1000)
    return statistics.median(spent)


def report(engine, rows, left_out, figures):
    if not rows:
        return
    columns = {"ms": [row[1] for row in rows], "CPU ms": [row[2] for row in rows], "MiB": [row[3] / 1024 for row in rows],
               "exit ms": [row[4] for row in rows]}
    for unit, values in columns.items():
        figures["tools, %s, median %s" % (engine, unit)] = round(statistics.median(values), 2)
        figures["tools, %s, most %s" % (engine, unit)] = round(max(values), 2)
    print("%s engine, start to attached, %d tools; " % (engine, len(rows)) +
          "; ".join("%s: median %.1f, most %.1f" % (unit, statistics.median(values), max(values))
                    for unit, values in columns.items()) +
          "; within 10 ms: %d, within 8 MiB: %d" % (sum(ms <= 10 for ms in columns["ms"]), sum(mib <= 8 for mib in columns["MiB"])),
          file=sys.stderr)
    for name, spent, busy, kib, gone in sorted(rows, key=lambda row: -row[1]):
        print("  %-16s %7.2f ms %7.2f ms on a CPU %6.1f MiB, gone after %7.2f ms" % (name, spent, busy, kib / 1024, gone), file=sys.stderr)
    for name, why in left_out:
        print("  left out: %s: %s" % (name, why), file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--engine", choices=("user", "kernel"))
    parser.add_argument("--realtime", action="store_true")
    parser.add_argument("tools", nargs="*")
    options = parser.parse_args()
    skep = os.environ.get("SKEP", str(ROOT / "build/release/tools/skep/skep"))
    known = json.loads(subprocess.run([skep, "tools", "-j"], check=True, capture_output=True).stdout)
    names = options.tools or [tool["name"] for tool in known]
    figures, left_out = {}, {}
    for engine in [options.engine] if options.engine else ["kernel", "user"]:
        rows, missing = [], []
        for name in names:
            words = [*(["chrt", "-f", "10"] if options.realtime else []), skep, name, *ARGUMENTS.get(name, []), "--backend", engine]
            victim = None
            if engine == "user" and name not in NEED_PID:
                words += ["--", "sleep", "0.3"]
            if name in NEED_PID:
                victim = subprocess.Popen(["/usr/bin/python3", "-c", "import time; time.sleep(60)"])
                time.sleep(0.1)
                words += ([str(victim.pid)] if name in ("ucalls", "uthreads") else ["-p", str(victim.pid)])
            try:
                result = measure(words, options.runs, 0.4 if engine == "kernel" else 0.05)
            finally:
                if victim:
                    victim.kill()
                    victim.wait()
            if isinstance(result, str):
                missing.append((name, result))
            else:
                rows.append((name, *result))
        if not rows:
            left_out["tools, %s, median ms" % engine] = missing[0][1] if missing else "no tools"
        report(engine, rows, missing, figures)
    figures["a process that does nothing, ms"] = round(bare(21), 2)
    if shutil.which("strace"):
        strace = measure(["strace", "-f", "-e", "trace=execve", "-o", "/dev/stdout", "sleep", "0.3"], options.runs, 0.05)
        if not isinstance(strace, str):
            figures["strace, first line, ms"] = round(strace[0], 2)
    print(json.dumps({"figures": figures, "left_out": left_out}) if options.json else
          "a process that does nothing: %.2f ms; strace's first line: %s ms" %
          (figures["a process that does nothing, ms"], figures.get("strace, first line, ms", "-")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
