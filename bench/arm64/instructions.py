"""How many AArch64 instructions a run of each program of bench/programs takes, in code of each kind.

There is no AArch64 machine here, and times under an emulator say nothing; how many instructions run is exact. A process
that runs the program 1000 times is compared with one that runs it 200 times, so what starts and ends it does not count.
The maps' own functions count as what they are.

    bench/arm64/instructions.py [--build build/release] [PROGRAM ...]

Needs the tree that `make test-arm64` builds (BUILD/arm64/run_engine), qemu-aarch64 from 4.2 to 8.1, cc and
clang.
"""
import argparse
import math
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PROGRAMS = HERE.parent / "programs"
ENGINES = ["interp", "baseline", "checked", "opt"]
HEADLINE = ("beload bsearch calls chacha csum dispatch filter fnv log2 matmul murmur parse popcnt primes siphash "
            "sortnet strops").split()
FEW, MANY = 200, 1000


def output(words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}: {done.stderr.strip() or done.returncode}")
    return done


def instructions(run_engine, counter, program, engine, times):
    done = output(["qemu-aarch64", "-plugin", counter, run_engine, program, engine, times])
    found = re.search(r"instructions (\d+)", done.stderr)
    if not found:
        sys.exit(f"qemu-aarch64 -plugin {counter}: found no count in {done.stderr!r}")
    return int(found.group(1)), done.stdout


def mean(numbers):
    return math.exp(sum(map(math.log, numbers)) / len(numbers))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build/release"))
    parser.add_argument("programs", nargs="*", metavar="PROGRAM")
    arguments = parser.parse_args()
    names = arguments.programs or sorted(path.stem for path in PROGRAMS.glob("*.c") if "." not in path.stem)
    run_engine = arguments.build / "arm64/run_engine"
    over = {}
    print(f"{'instructions of a run':<22}" + "".join(f"{engine:>10}" for engine in ENGINES) + "   checked / baseline")
    with tempfile.TemporaryDirectory() as scratch:
        counter = pathlib.Path(scratch) / "counter.so"
        output(["cc", "-shared", "-fPIC", "-O2", "-o", counter, HERE / "count_instructions.c"])
        for name in names:
            program = pathlib.Path(scratch) / f"{name}.o"
            output(["clang", "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-fno-stack-protector", "-fno-jump-tables",
                    "-fno-strict-aliasing", "-isystem", HERE.parents[1] / "bpf/include", "-idirafter", "/usr/include/x86_64-linux-gnu", "-c", PROGRAMS / f"{name}.c",
                    "-o", program])
            counts, results = {}, set()
            for engine in ENGINES:
                few, _ = instructions(run_engine, counter, program, engine, FEW)
                many, result = instructions(run_engine, counter, program, engine, MANY)
                counts[engine] = (many - few) / (MANY - FEW)
                results.add(result)
            if len(results) != 1:
                sys.exit(f"{name}: the engines disagree: {results}")
            over[name] = counts["checked"] / counts["baseline"]
            print(f"{name:<22}" + "".join(f"{counts[engine]:>10.0f}" for engine in ENGINES) + f"{over[name]:>12.2f}",
                  flush=True)
    compute = [over[name] for name in over if name in HEADLINE]
    if compute:
        print(f"checked / baseline, geometric mean of {len(compute)} compute programs: {mean(compute):.2f}")
    print(f"checked / baseline, geometric mean of {len(over)} programs: {mean(list(over.values())):.2f}")


main()
