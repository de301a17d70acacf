#!/usr/bin/env python3
"""What it costs to start a driver of BCC's Python interface: hello, from the start of the process until it is attached.

The driver compiles a program from its text, attaches it to execve and says so; that moment is measured from outside, with
Python's own start and import in it, and so is the largest memory of the process (the compiler, which runs in a process of
its own when the cache has no answer, is reported apart). The neighbour is the same Python that only starts.

    python_start.py [--json] [--runs N] [--engine user|kernel]

Needs SKEP or build/release/tools/skep/skep. Where BCC is installed and can compile here (kernel headers), it is measured
in the same run.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PYTHON = "/usr/bin/python3"
HELLO = """from bcc import BPF
b = BPF(text='int hello(void *ctx) { bpf_trace_printk("Hello World!"); return 0; } /* %s */')
b.attach_kprobe(event=b.get_syscall_fnname("execve"), fn_name="hello")
import os
os.write(1, b"attached\\n")
import resource
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def once(words, environment):
    """(milliseconds until it says `attached`, KiB of the process, KiB of its largest child), or why not."""
    begin = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, env=environment, text=True)
        line = process.stdout.readline()
        spent = (time.perf_counter() - begin) * 1000
        rest = process.stdout.read()
        process.wait()
        errors.seek(0)
        said = errors.read()
    if line != "attached\n":
        return said.strip().splitlines()[-1:] or ["it said nothing"]
    own, children = map(int, rest.split())
    return spent, own, children


def measure(words, environment, runs):
    results = [once(words(number), environment) for number in range(runs)]
    failed = [result for result in results if isinstance(result, list)]
    return failed[0][0] if failed else [statistics.median(column) for column in zip(*results)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--engine", choices=("user", "kernel"), default="user")
    options = parser.parse_args()
    skep = os.environ.get("SKEP", str(ROOT / "build/release/tools/skep/skep"))
    figures, left_out, rows = {}, {}, []
    with tempfile.TemporaryDirectory() as directory:
        environment = dict(os.environ, XDG_CACHE_HOME=directory)
        environment.pop("PYTHONPATH", None)
        after = ["--", "/bin/true"] if options.engine == "user" else []

        def driver(words, mark):
            path = pathlib.Path(directory) / ("hello_%s.py" % mark)
            path.write_text(HELLO % mark)
            return [*words, str(path), *after]

        start = [skep, "python", "--python", PYTHON, "--backend", options.engine]
        once(driver(start, "cached"), environment)  # fills the cache
        cached = measure(lambda _: driver(start, "cached"), environment, options.runs)
        uncached = measure(lambda number: driver(start, "new%d" % number), environment, max(3, options.runs // 3))
        bare = statistics.median(_bare() for _ in range(options.runs))
        bcc = "BCC is not installed (Debian package python3-bpfcc)"
        if os.path.exists("/usr/lib/python3/dist-packages/bcc"):
            bcc = measure(lambda _: [PYTHON, driver([], "bcc")[0]], environment, 3)
    for name, result in (("cached", cached), ("uncached", uncached), ("BCC", bcc)):
        if isinstance(result, str):
            left_out["python hello, %s, ms" % name] = result
            continue
        figures["python hello, %s, ms" % name] = round(result[0], 1)
        figures["python hello, %s, MiB" % name] = round(result[1] / 1024, 1)
        rows.append((name, result))
    figures["python alone, ms"] = round(bare, 1)
    if options.json:
        print(json.dumps({"figures": figures, "left_out": left_out}))
        return 0
    print("hello, start to attached (%s engine; Python alone: %.1f ms)" % (options.engine, bare))
    for name, (spent, own, children) in rows:
        print("  %-9s %7.1f ms   %5.1f MiB   largest child %.1f MiB" % (name, spent, own / 1024, children / 1024))
    for name, why in left_out.items():
        print("  left out: %s: %s" % (name, why))
    return 0


def _bare():
    begin = time.perf_counter()
    subprocess.run([PYTHON, "-c", "pass"], check=True)
    return (time.perf_counter() - begin) * 1000


if __name__ == "__main__":
    sys.exit(main())
