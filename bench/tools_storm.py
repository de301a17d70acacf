#!/usr/bin/env python3
"""How many events a second a tool prints without losing any, under a storm of opens.

A process opens a file that is not there, at a given rate, for a second; the tool prints a line for each into a file. The
rate grows by a quarter until lines are missing: the last one without loss is the figure. Tools that make the traced process
wait (strace, skep without root) lose nothing; of them it is the rate that the process reaches. The contenders take turns,
round by round.

    tools_storm.py [--json] [--rounds N]

Contenders: `skep opensnoop` in both engines; Debian's opensnoop-bpfcc, unmodified, on skep's Python module (BCC itself needs
kernel headers, and kprobes); BCC itself where it runs; bpftrace and strace where they are installed. Needs root, cc and SKEP
or build/release/tools/skep/skep.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# rate (0: as fast as it can), seconds. Prints how many opens it did and in how many seconds.
STORM = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec * 1e-9; }
int main(int argc, char **argv) {
  double rate = atof(argv[1]), seconds = atof(argv[2]), begin = now(), spent;
  long done = 0;
  while ((spent = now() - begin) < seconds) {
    long due = rate > 0 ? (long)(spent * rate) : done + 64;
    for (; done < due; ++done) open("/skep-storm", O_RDONLY);
    if (rate > 0) nanosleep(&(struct timespec){0, 200000}, 0);
  }
  printf("%ld %f\n", done, now() - begin);
  return 0;
}
"""
MARK = b"/skep-storm"
FIRST_RATE, GROWTH, MOST_RATE = 20000, 1.25, 2000000


def count(path):
    with open(path, "rb") as file:
        return sum(MARK in line for line in file)


class Observer:
    """A tool that runs beside the storm."""

    def __init__(self, words, directory, environment=None):
        self.words, self.directory, self.environment = words, directory, environment

    def start(self):
        self.out = os.path.join(self.directory, "out")
        with open(self.out, "wb") as out:
            self.process = subprocess.Popen(self.words, stdout=out, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                                            env=self.environment, start_new_session=True)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and os.path.getsize(self.out) == 0 and self.process.poll() is None:
            time.sleep(0.05)
        time.sleep(0.3)
        return self.process.poll() is None

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def sustained(self, storm):
        """The last rate of which every event was printed; 0 when it does not run. The tool is started anew for each: what
        stays in its buffers is written when it ends."""
        best, rate = 0, FIRST_RATE
        while rate < MOST_RATE and self.start():
            done, seconds = map(float, subprocess.run([storm, str(rate), "1"], check=True, capture_output=True).stdout.split())
            size = -1
            while size != (size := os.path.getsize(self.out)):  # until it has written what it has
                time.sleep(0.5)
            self.stop()
            if count(self.out) < done or done < 0.9 * rate * seconds:  # lost; or the machine does not open faster
                break
            best, rate = done / seconds, rate * GROWTH
        self.stop()
        return best


def traced(words, storm, directory):
    """The rate that the storm reaches as the tool's command; 0 when it does not run or lines are missing."""
    out = os.path.join(directory, "traced")
    with open(out, "wb") as file:
        subprocess.run([word.replace("OUT", out + ".trace") for word in words] + [storm, "0", "1"], stdout=file,
                       stderr=subprocess.DEVNULL)
    trace = out + ".trace" if "OUT" in words else out
    with open(out, "rb") as file:
        numbers = [line.split() for line in file if len(line.split()) == 2 and line.split()[0].isdigit()]
    if not numbers or not os.path.exists(trace):
        return 0
    done, seconds = int(numbers[-1][0]), float(numbers[-1][1])
    return done / seconds if count(trace) == done else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    skep = os.environ.get("SKEP", str(ROOT / "build/release/tools/skep/skep"))
    left_out, rates = {}, {}
    with tempfile.TemporaryDirectory() as directory:
        storm = os.path.join(directory, "storm")
        source = storm + ".c"
        pathlib.Path(source).write_text(STORM)
        subprocess.run(["cc", "-O2", "-o", storm, source], check=True)
        bcc_tool = "/usr/sbin/opensnoop-bpfcc"
        contenders = {"skep opensnoop, kernel": Observer([skep, "opensnoop", "--backend", "kernel"], directory)}
        if os.path.exists(bcc_tool):
            contenders["opensnoop-bpfcc on skep's module, kernel"] = Observer([skep, "python", bcc_tool], directory)
            contenders["opensnoop-bpfcc on BCC"] = Observer([bcc_tool], directory)
        if shutil.which("bpftrace"):
            contenders["bpftrace"] = Observer(["bpftrace", "-e", "BEGIN { printf(\"x\\n\"); } tracepoint:syscalls:sys_enter_openat "
                                               "{ printf(\"%d %s %s\\n\", pid, comm, str(args->filename)); }"], directory)
        commands = {"skep opensnoop, user": [skep, "opensnoop", "--"]}
        if shutil.which("strace"):
            commands["strace"] = ["strace", "-f", "--seccomp-bpf", "-e", "trace=openat", "-o", "OUT"]
        for _ in range(options.rounds):
            for name, observer in contenders.items():
                rates.setdefault(name, []).append(observer.sustained(storm) if os.geteuid() == 0 else 0)
            for name, words in commands.items():
                rates.setdefault(name, []).append(traced(words, storm, directory))
    figures = {}
    for name, found in rates.items():
        if max(found) == 0:
            left_out["%s, events a second" % name] = "it does not run here, or loses events from the first rate on"
        else:
            figures["%s, events a second" % name] = round(statistics.median(found))
    def ratio(name, over):
        a, b = (figures.get("%s, events a second" % one) for one in (name, over))
        if a and b:
            figures["%s / %s" % (name, over)] = round(a / b, 2)
    ratio("skep opensnoop, kernel", "opensnoop-bpfcc on skep's module, kernel")
    ratio("skep opensnoop, kernel", "bpftrace")
    ratio("skep opensnoop, user", "strace")
    if options.json:
        print(json.dumps({"figures": figures, "left_out": left_out}))
        return 0
    for name, value in figures.items():
        print("%-60s %s" % (name, value))
    for name, why in left_out.items():
        print("left out: %s: %s" % (name, why))
    return 0


if __name__ == "__main__":
    sys.exit(main())
