#!/usr/bin/env python3
"""Does the oracle bite? Breaks the verifier on purpose, one place at a time, and asks the embedding test to notice.

    tests/embedding/seeded_bugs.py [--count N] [--only TEXT] [--jobs N] [--check] [DIRECTORY]

Each row is a mistake of a kind that verifiers have had: a text of one file and what stands there instead. The sources
are copied to DIRECTORY (build/seeded), changed there, built, and embedded_programs runs N programs (20000); these
sources are only read, so that nothing broken is left in them whatever ends this. A mistake is found when the run
reports violations; one about the ends of loops is looked for in programs that are loops. Ends with 1 when one was not.
Takes minutes: the verifier is compiled for each; --check only looks whether the texts are still there, once each. The
copy's build lies where this tree's does, which lets ccache (with a base_dir above both) give it what is compiled
already.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys

BUGS = [
    ("known bits: a sum forgets what its carries reach", "domain/tnum.hpp",
     "U unknown_bits = static_cast<U>((all ^ sum_values) | a.mask | b.mask);\n"
     "    return {static_cast<U>(sum_values",
     "U unknown_bits = static_cast<U>(a.mask | b.mask);\n    return {static_cast<U>(sum_values"),
    ("ranges: a sum that wraps at one end keeps its bounds", "domain/interval.hpp",
     "if (low != high) r.umin = 0, r.umax = u_max;  // one", "if (false) r.umin = 0, r.umax = u_max;  // one"),
    ("ranges: a difference takes the wrong ends", "domain/interval.hpp",
     "__builtin_sub_overflow(a.umin, b.umax, &r.umin)", "__builtin_sub_overflow(a.umin, b.umin, &r.umin)"),
    ("comparisons: `<` is refined as if it were one stricter", "domain/scalar_compare.hpp",
     "return order(a.umax, b.umin, a.umin, b.umax, c == isa::Compare::lt);",
     "return order(a.umax, b.umin, a.umin, b.umax, true);"),
    ("comparisons: 32 bits compared tell about 64", "domain/scalar_compare.hpp",
     "is_wide ? refine_order(c, a.wide, b.wide) : refine_order(c, a.narrow, b.narrow);",
     "refine_order(c, a.wide, b.wide);"),
    ("shifts: an arithmetic shift is taken for a logical one", "domain/scalar_ops.hpp",
     "r.range = a.range.shifted_right_signed(low, high);", "r.range = a.range.shifted_right(low, high);"),
    ("signs: of 0 and -1 only -1 is followed", "alu.cpp",
     "settle(pending_.back().state, 0);", "settle(pending_.back().state, ~u64{0});"),
    ("registers in step: one that is loaded anew is still in step", "linear.cpp",
     "case Form::load:\n    case Form::load_acquire:\n      return set({});",
     "case Form::load_acquire:\n      return set({});\n    case Form::load:\n      return;"),
    ("precision: a sum does not need its second operand", "precision.cpp",
     "if (is_move) wanted.drop(i.dst);\n      wanted.add(i.src);",
     "if (is_move) wanted.drop(i.dst), wanted.add(i.src);"),
    ("precision: what a covering state rested on is not handed on", "prune.cpp",
     "return need_precise_at_start(old, everything);", "return true;"),
    ("pruning: numbers that decided are compared loosely", "prune.cpp",
     "if (!precise && !is_unprivileged() && match == Match::covers) return true;",
     "if (!is_unprivileged() && match == Match::covers) return true;"),
    ("equal registers: a number keeps its id when it changes", "alu.cpp",
     "dst = Register::scalar(result);\n  if (distance)",
     "dst = Register::scalar(result);\n  dst.id = id;\n  if (distance)"),
    ("spills: a narrow store keeps the whole number", "stack.cpp",
     "if (value.is_scalar() && size < slot_bytes && width_of(value.number) > size * 8)", "if (false)"),
    ("spills: bytes written over a spilled number leave it", "stack.cpp",
     "  forget_spill(slot);\n  bool zero", "  bool zero"),
    ("joined paths: the numbers of one of two", "join.cpp",
     "Scalar joined = a.join(b);", "Scalar joined = a;"),
    ("joined paths: a slot that one of two wrote is zero", "join.cpp",
     "else if (x != y || x == Byte::spilled)\n      a.bytes[k] = Byte::number;",
     "else if (x != y || x == Byte::spilled)\n      a.bytes[k] = Byte::zero;"),
    ("joined paths: what was equal on one stays equal", "join.cpp",
     "a.id != 0 && b.id != 0 ? common_id(a.id, b.id, 0) : 0;", "a.id != 0 ? a.id : 0;"),
    ("registers: the frame pointer may be fetched into", "analysis.cpp",
     "(isa::registers_written(insn, form(i)) >> isa::frame_pointer & 1) != 0;",
     "(isa::registers_written(insn, form(i)) >> isa::frame_pointer & 1) != 0 && form(i) != Form::atomic_fetch;"),
    ("ends: half a slot is taken for a whole number", "second_gear_notes.cpp",
     "is_whole = slot.bytes[7] == Byte::spilled;", "is_whole = true;"),
    ("ends: a number that leaves its 32 bits goes on counting", "ranking.cpp",
     "if (high + d.high > highest || low + d.low < lowest) return;", "if (false) return;"),
    ("ends: what shrinks in one round may grow in another", "movement.cpp",
     "if (!never_grows || count == 0) continue;", "if (count == 0) continue;"),
    ("ends: half the rounds are promised", "movement.cpp",
     "rounds *= best_values;", "rounds *= (best_values + 1) / 2;"),
    ("ends: a function is taken for called once", "longest_run.cpp",
     "longest = sum(longest, product((*times)[i], calls[analysis_.insns[i].function]));",
     "longest = sum(longest, (*times)[i]);"),
    ("distances: `<=` is learnt as `<`", "gaps.cpp",
     "possible = note(have_no_sign, at_most, more);", "possible = note(have_no_sign, less, more);"),
    ("distances: those of one of two paths", "gaps.cpp",
     "a.between(view, x, n, a_frame).join(b.between(view, x, n, b_frame));", "a.between(view, x, n, a_frame);"),
    ("distances: a register that is written keeps its own", "gaps.cpp",
     "for (const Reading view : readings) set_row(view, reg, {});", ""),
    ("distances: a covering state may know more", "gaps.cpp",
     "if (!d.includes(now.between(view, a, n, now_frame))) return false;", ""),
    ("distances: a bound that follows from one is one too low", "gaps.cpp",
     "__builtin_add_overflow(other.high, s64{d.high}, &end)", "__builtin_add_overflow(other.high, s64{d.high} - 1, &end)"),
]


def run(*command, **options):
    return subprocess.run(command, text=True, capture_output=True, **options)


def stale(root):
    """What cannot be broken any more, because the sources have changed."""
    for description, name, text, _ in BUGS:
        count = open(os.path.join(root, "src/verify", name)).read().count(text)
        if count != 1:
            yield f"{description}: {name} holds this text {count} times, not once:\n{text}"


def copy_sources(root, place):
    files = run("git", "-C", root, "ls-files", "-z").stdout.split("\0")
    for name in filter(None, files):
        target = os.path.join(place, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        source = os.path.join(root, name)
        if not os.path.exists(target) or open(source, "rb").read() != open(target, "rb").read():
            shutil.copyfile(source, target)
            shutil.copymode(source, target)


def build(directory, jobs):
    done = run("cmake", "--build", directory, "--target", "embedded_programs", *(["-j", jobs] if jobs else []))
    if done.returncode != 0:
        sys.exit("the copy does not build:\n" + done.stdout[-2000:] + done.stderr)


def violations(directory, description, count, root):
    source = ["--source", "loops"] if description.startswith("ends:") else []
    done = run(os.path.join(directory, "tests/embedding/embedded_programs"), "--count", str(count), *source, cwd=root)
    found = re.search(r"(\d+) violations", done.stdout)
    return int(found.group(1)) if found else None, done.returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20000, help="programs for each mistake")
    parser.add_argument("--only", default="", help="mistakes whose description contains this")
    parser.add_argument("--jobs", help="compilers at a time")
    parser.add_argument("--check", action="store_true", help="only look whether the texts are there")
    parser.add_argument("directory", nargs="?")
    arguments = parser.parse_args()
    root = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
    if changed := list(stale(root)):
        sys.exit("\n".join(changed))
    if arguments.check:
        return 0
    place = os.path.abspath(arguments.directory or os.path.join(root, "build/seeded"))
    directory = os.path.join(place, "build/release")
    copy_sources(root, place)
    configured = run("cmake", "-S", place, "-B", directory, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release")
    if configured.returncode != 0:
        sys.exit(configured.stderr)
    missed = 0
    for description, name, text, wrong in [("no mistake", "verify.cpp", "", "")] + BUGS:
        if arguments.only not in description:
            continue
        path = os.path.join(place, "src/verify", name)
        whole = open(path).read()
        try:
            with open(path, "w") as out:
                out.write(whole.replace(text, wrong) if text else whole)
            build(directory, arguments.jobs)
            found, code = violations(directory, description, arguments.count, root)
        finally:
            with open(path, "w") as out:
                out.write(whole)
        noticed = code != 0
        missed += noticed != bool(text)
        print(f"{'found' if noticed else 'not found'}: {description}: {found} violations", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
