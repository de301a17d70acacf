"""Runs every vector of bpf_conformance through the plugin and compares r0.

    run_vectors.py PLUGIN FLAG PROJECT_ROOT

A positive vector has assembly, maybe memory, and the 64-bit result. A negative one has raw bytes that must be
refused, or assembly that no assembler should take. The archive lies in ../shared/corpus beside the project
(SKEP_CORPUS overrides the folder); without it the test says so and is left out (exit code 77). With --elf every
program is given as an ELF object, to the checked interpreter.
"""
import os
import pathlib
import subprocess
import sys
import tarfile

import assembler
import elf_object

plugin, flag, root = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]).resolve()
corpus = pathlib.Path(os.environ.get("SKEP_CORPUS", root.parent / "shared/corpus"))
archive = corpus / "bpf_conformance-vectors.tar.xz"
if not archive.exists():
    print(f"left out: the bpf_conformance vectors ({archive} is absent; set SKEP_CORPUS)")
    sys.exit(77)


def sections(text):
    found, name = {}, None
    for line in text.splitlines():
        if line.startswith("-- "):
            name = line[3:].strip()
            found[name] = []
        elif name is not None:
            found[name].append(line)
    return {name: "\n".join(lines) for name, lines in found.items()}


def hex_of(text):
    return "".join(line.partition("#")[0] for line in text.splitlines())


def run(program, memory=""):
    return subprocess.run([plugin, memory, flag], input=program, text=True, capture_output=True, timeout=60)


def positive(vector):
    program = assembler.assemble(vector["asm"])
    if flag == "--elf":
        program = elf_object.around(program)
    done = run(program.hex(), hex_of(vector.get("mem", "")))
    if done.returncode:
        return f"the plugin failed: {done.stderr.strip()}"
    got, wanted = int(done.stdout, 16), int(vector["result"].strip(), 0)
    return None if got == wanted else f"got {got:#x}, expected {wanted:#x}"


def negative(vector):
    if "raw" in vector:
        done = run(hex_of(vector["raw"]))
        return None if done.returncode == 1 else f"accepted a program that must be refused (exit {done.returncode})"
    try:
        program = assembler.assemble(vector.get("asm", ""))
    except assembler.AssemblyError:
        return None
    done = run(program.hex(), hex_of(vector.get("mem", "")))
    if done.returncode == 1:
        return None
    if vector.get("error", "").strip():
        left_out.append(f"{vector['name']} (needs a verifier; this runs unverified instructions)")
        return None
    wanted = vector.get("result")
    if wanted and int(done.stdout, 16) != int(wanted.strip(), 0):
        return None  # the vector states a result that is wrong on purpose
    return f"ran and returned {done.stdout.strip()}"


counts, wrong, left_out = {"positive": 0, "negative": 0}, [], []
with tarfile.open(archive) as tar:
    for member in sorted(tar.getmembers(), key=lambda m: m.name):
        if not member.name.endswith(".data"):
            continue
        vector = sections(tar.extractfile(member).read().decode())
        vector["name"] = member.name
        kind = "negative" if "negative/" in member.name else "positive"
        if kind == "negative" and flag == "--elf":
            continue  # broken instructions in a sound object: the other tiers saw them
        if kind == "negative" and flag != "--interp" and "raw" not in vector:
            continue  # such programs may read anywhere: only the checked loop is safe for them
        counts[kind] += 1
        try:
            problem = (negative if kind == "negative" else positive)(vector)
        except Exception as error:  # a vector we cannot read is a failure of ours
            problem = f"{type(error).__name__}: {error}"
        if problem:
            wrong.append(f"{member.name}: {problem}")

print("\n".join(wrong + [f"left out: {name}" for name in left_out]))
print(f"conformance {flag}: {counts['positive']} vectors and {counts['negative']} negative ones, {len(wrong)} wrong")
sys.exit(bool(wrong) or counts["positive"] == 0)
