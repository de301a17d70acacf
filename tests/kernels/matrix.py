#!/usr/bin/env python3
"""The kernel engine's tests in other kernels: boots Debian's packaged kernels under QEMU and runs them there.

  tests/kernels/matrix.py --build build/release                all suites
  tests/kernels/matrix.py --build build/release bookworm       one of them
  tests/kernels/matrix.py --build build/release bookworm:hidden-types    the same kernel as one without BTF
  ... --filter 'Attach*'   --only tools   --cpus 2   --write docs/reference/kernels.md   --keep

Each kernel comes from the machine's own Debian mirror (apt, in folders of its own below BUILD/kernels; nothing is
installed). The initramfs holds busybox, the test binary with its libraries, and the test programs compiled here, since
there is no compiler in the guest. QEMU interprets (TCG): no KVM is needed, no network is made, and what runs there
cannot touch this machine. A suite that cannot be fetched is left out and named; a test that fails or a kernel that
complains makes the run fail. --write replaces the columns of what was run (with --filter or --only the fields), and leaves those of other kernels.

Debian builds no kernel without BTF. With hidden types an empty file system lies over /sys/kernel/btf, where skep, as everybody, reads
the kernel's types: that is what a program sees of a kernel that has none. The kernel itself still knows them, so what it would do by
itself without them (refuse typed hooks) is not tested. There a test passes, or fails with the sentence that names the file.
"""

import argparse
import collections
import glob
import lzma
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import tools

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SUITES = ["bullseye", "bookworm", "bookworm-backports", "sid"]
WITHOUT_TYPES = ["bookworm:hidden-types"]
HIDE_TYPES = "mount -t tmpfs none /sys/kernel/btf"
# What those who need the kernel's types say where there are none.
NAMES_MISSING_TYPES = r"/sys/kernel/btf/vmlinux(: No such file or directory| and)|no BTF|this kernel does not tell its types"
# Linux 6.12 dies in its allocator of small pieces (most often before the tests), which uses cmpxchg16b: the interpreter's
# does not suit it. The arenas of 7.2 cannot do without.
CPUS = {"bookworm-backports": "max,-cx16"}
# Loaded before the tests where the kernel has them as modules: traffic control of older kernels, netkit.
MODULES = ["sch_ingress", "cls_bpf", "netkit"]
TESTS = "tests/kernel/kernel_engine_test"
SKEP = "tools/skep/skep"
# exc_debug_kernel: the interpreter sometimes carries the single step of a user probe into the kernel, which warns.
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mount -t tracefs trace /sys/kernel/tracing; mount -t bpf bpf /sys/fs/bpf; mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t securityfs security /sys/kernel/security; mount -t tmpfs tmp /tmp; mount -t tmpfs run /run
@HIDE@
for module in /modules/*.ko; do [ -e "$module" ] && insmod "$module" 2>/dev/null; done
ip link set lo up
export PATH=/bin SKEP_TEST_OBJECTS=/objects
echo "SKEP kernel $(uname -r)"
@ENGINE@
@TOOLS@
dmesg | grep -E 'BUG:|Oops|WARNING:|general protection' | grep -v exc_debug_kernel | sed 's/^/SKEP complaint /'
poweroff -f
"""


RUN_ENGINE = """/tests/kernel_engine_test --gtest_color=no --gtest_filter='@FILTER@' 2>&1
echo "SKEP status $?\""""
# Where the tools' objects are in the binary, so is all that they need.
RUN_TOOLS = "sh /tests/tools.sh; echo SKEP tools done"


def run(command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


def own_mirror():
    """The address of this machine's Debian archive, as its own apt configuration has it."""
    for line in run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(SUITE)"]).splitlines():
        address, suite = line.split(" ", 1)
        if "security" not in address and "debian" in address and suite:
            return address
    raise RuntimeError("this machine's apt knows no Debian archive")


class Archive:
    """apt with configuration, lists and cache of its own."""

    def __init__(self, suite, folder):
        self.folder = folder
        for name in ("lists/partial", "cache/archives/partial", "packages"):
            os.makedirs(os.path.join(folder, name), exist_ok=True)
        with open(os.path.join(folder, "sources.list"), "w") as sources:
            sources.write(f"deb {own_mirror()} {suite} main\n")
        self.options = []
        for key, value in (
            ("Dir::Etc::sourcelist", os.path.join(folder, "sources.list")),
            ("Dir::Etc::sourceparts", "-"),
            ("Dir::State::lists", os.path.join(folder, "lists")),
            ("Dir::Cache", os.path.join(folder, "cache")),
            ("Acquire::Languages", "none"),
            ("APT::Sandbox::User", "root"),
        ):
            self.options += ["-o", f"{key}={value}"]
        run(["apt-get", *self.options, "update"])

    def image_packages(self):
        """The packages that hold the newest cloud kernel: the meta package's dependencies, followed down."""
        found, queue = [], ["linux-image-cloud-amd64"]
        while queue:
            package = queue.pop()
            for line in run(["apt-cache", *self.options, "depends", package]).splitlines():
                match = re.match(r"\s+Depends: (linux-(?:image|binary|modules|base-\d)\S+)", line)
                if match and match.group(1) not in found:
                    found.append(match.group(1))
                    queue.append(match.group(1))
        return found

    def unpacked(self):
        """The folder with the kernel's files."""
        root = os.path.join(self.folder, "root")
        packages = self.image_packages()
        for package in packages:
            if not glob.glob(os.path.join(self.folder, "packages", f"{package}_*.deb")):
                run(["apt-get", *self.options, "download", package], cwd=os.path.join(self.folder, "packages"))
                for deb in glob.glob(os.path.join(self.folder, "packages", f"{package}_*.deb")):
                    run(["dpkg-deb", "-x", deb, root])
        return root


def newest(pattern):
    found = sorted(glob.glob(pattern), key=lambda path: [int(n) for n in re.findall(r"\d+", os.path.basename(path))])
    return found[-1] if found else None


def copy_module(root, name, where, prefix):
    for path in glob.glob(f"{root}/**/{name}.ko*", recursive=True):
        target = os.path.join(where, prefix + name + ".ko")
        if path.endswith(".xz"):
            with lzma.open(path) as packed, open(target, "wb") as out:
                shutil.copyfileobj(packed, out)
        else:
            shutil.copy(path, target)
        return


def copy_program(program, root, name):
    """A dynamically linked program and everything it loads."""
    shutil.copy(program, os.path.join(root, "tests", name))
    for library in re.findall(r"(/\S+) \(0x", run(["ldd", program])):
        target = root + library
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(library, target)


def compile_programs(where):
    clang = next((c for c in ("clang-19", "clang-16", "clang-14", "clang") if shutil.which(c)), None)
    if clang is None:
        raise RuntimeError("clang is not installed, which compiles the test programs")
    for source in glob.glob(os.path.join(ROOT, "tests/kernel/programs/*.bpf.c")):
        out = os.path.join(where, os.path.basename(source).replace(".bpf.c", ".o"))
        run([clang, "-target", "bpf", "-O2", "-g", "-D__TARGET_ARCH_x86", "-I/usr/include/x86_64-linux-gnu", "-c", source,
             "-o", out])


def make_initramfs(build, kernel_root, where, options, hides_types):
    root = os.path.join(where, "initramfs")
    for folder in ("bin", "dev", "proc", "sys", "tmp", "run", "tests", "modules", "objects", "lib64", "etc", "boot"):
        os.makedirs(os.path.join(root, folder))
    busybox = shutil.which("busybox")
    if busybox is None:
        raise RuntimeError("busybox-static is not installed")
    shutil.copy(busybox, os.path.join(root, "bin/busybox"))
    if options.only != "tools":
        copy_program(os.path.join(build, TESTS), root, "kernel_engine_test")
        compile_programs(os.path.join(root, "objects"))
    if options.only != "engine":
        copy_program(os.path.join(build, SKEP), root, "skep")
    for number, module in enumerate(MODULES + tools.MODULES):
        copy_module(kernel_root, module, os.path.join(root, "modules"), f"{number:02}-")
    for config in glob.glob(f"{kernel_root}/boot/config-*") + glob.glob(f"{kernel_root}/usr/lib/modules/*/config"):
        target = root + config[len(kernel_root) :].replace("/usr/lib/", "/lib/")
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(config, target)
    with open(os.path.join(root, "init"), "w") as init:
        init.write(INIT.replace("@HIDE@", HIDE_TYPES if hides_types else "").replace("@ENGINE@", RUN_ENGINE if options.only != "tools" else "")
                   .replace("@TOOLS@", RUN_TOOLS if options.only != "engine" else "").replace("@FILTER@", options.filter))
    with open(os.path.join(root, "tests/tools.sh"), "w") as out:
        out.write(tools.script(sorted(tools.TOOLS)))
    os.chmod(os.path.join(root, "init"), 0o755)
    out = os.path.join(where, "initramfs.cpio")
    subprocess.run(f"find . | cpio -o -H newc --quiet > {out}", shell=True, check=True, cwd=root)
    return out


def make_disk(where):
    """A small ext4 file system with one file in it."""
    folder = os.path.join(where, "disk")
    os.makedirs(folder)
    with open(os.path.join(folder, "file"), "wb") as out:
        out.write(os.urandom(8 << 20))
    image = os.path.join(where, "disk.img")
    run(["mke2fs", "-q", "-t", "ext4", "-d", folder, image, "32M"], env=dict(os.environ, PATH=os.environ["PATH"] + ":/sbin:/usr/sbin"))
    return image


def boot(kernel, initramfs, disk, seconds, console, cpu, cpus):
    """Runs the guest until it powers off; its console stands in the file `console` meanwhile and afterwards."""
    # One CPU, unless more are asked for: each waits for the others at every change of the kernel's code, so at each probe,
    # which takes an interpreter a tenth of a second. And one thread for all of them: with one for each, kernels died now
    # and then in places that have nothing to do with BPF.
    command = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=single", "-cpu", cpu, "-smp", str(cpus),
               "-m", "1536", "-nodefaults",
               "-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", kernel, "-initrd", initramfs,
               "-drive", f"file={disk},if=virtio,format=raw", "-append",
               "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check"]
    with open(console, "w") as out:
        try:
            subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, timeout=seconds, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            out.write(f"\nSKEP timeout after {seconds} s\n")
    return open(console, errors="replace").read()


Outcome = collections.namedtuple("Outcome", "release tests complaints finished text")


def tool_tests(text, options):
    return {f"tool {name}": state for name, state in tools.outcomes(text).items()} if options.only != "engine" else {}


def told_by(text, name, end):
    return text.partition(f"[ RUN      ] {name}\n")[2].partition(f"[  {end} ] {name}")[0]


def read_output(text, options, hides_types=False):
    text = text.replace("\r", "")
    release = (re.search(r"SKEP kernel (\S+)", text) or [None, "?"])[1]
    tests = {}
    for state, word in (("passed", "      OK"), ("left out", " SKIPPED"), ("FAILED", " FAILED ")):
        for name in re.findall(rf"^\[ {word} \] ([\w./]+) \(\d+ ms\)", text, re.M):
            tests[name] = state
    finished = re.search(r"^SKEP status [01]$", text, re.M) is not None  # 1: a test failed; others: the binary crashed
    if options.only == "tools":
        finished = "SKEP tools done" in text
    tests.update(tool_tests(text, options))
    if hides_types:
        release += ", types hidden"
        for name, state in tests.items():
            told = told_by(text, name, "FAILED ") if state == "FAILED" else state  # of a tool: its output
            if is_failure(state) and re.search(NAMES_MISSING_TYPES, told):
                tests[name] = "names the missing types"
    return Outcome(release, tests, re.findall(r"SKEP complaint (.*)", text), finished, text)


def is_failure(state):
    return state not in ("passed", "left out", "names the missing hook", "names the missing types")


def why_left_out(outcome, name):
    return told_by(outcome.text, name, "SKIPPED").partition("Skipped\n")[2].strip().replace("\n", " ")


def read_table(text):
    """The columns of a table that was written before: {release: {test: state}}."""
    rows = [[field.strip() for field in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")]
    columns = {release: {} for release in rows[0][1:]} if rows else {}
    for name, *states in rows[1:]:
        for release, state in zip(columns, states):
            if state:
                columns[release][name] = state
    return columns


def table(outcomes, before, in_part):
    columns = dict(before)
    for outcome in outcomes:
        kept = before.get(outcome.release, {}) if in_part else {}
        columns[outcome.release] = kept | {name: state.partition(":")[0] for name, state in outcome.tests.items()}
    lines = ["| test | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for name in sorted({name for tests in columns.values() for name in tests}):
        lines.append(f"| {name} | " + " | ".join(tests.get(name, "") for tests in columns.values()) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", default=SUITES + WITHOUT_TYPES)
    parser.add_argument("--build", default=os.path.join(ROOT, "build/release"))
    parser.add_argument("--filter", default="*")
    parser.add_argument("--only", choices=["engine", "tools"], help="one of the two parts")
    parser.add_argument("--seconds", type=int, default=1500)
    parser.add_argument("--cpus", type=int, default=1, help="of the guest")
    parser.add_argument("--write", help="a file whose table is to be replaced")
    parser.add_argument("--keep", action="store_true", help="print the whole console")
    options = parser.parse_args()
    for tool in ("qemu-system-x86_64", "cpio"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is not installed (packages qemu-system-x86, cpio, busybox-static)")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the guest and its files go, too
    build = os.path.abspath(options.build)
    outcomes, failed = [], False
    for name in options.suites:
        suite, _, mode = name.partition(":")
        hides_types = mode == "hidden-types"
        if mode and not hides_types:
            sys.exit(f"{name}: expected a suite of Debian, or one with :hidden-types")
        try:
            root = Archive(suite, os.path.join(build, "kernels", suite)).unpacked()
        except (subprocess.CalledProcessError, RuntimeError) as error:
            print(f"{name}: left out: {getattr(error, 'stderr', None) or error}")
            continue
        kernel = newest(f"{root}/boot/vmlinuz-*") or newest(f"{root}/usr/lib/modules/*/vmlinuz")
        with tempfile.TemporaryDirectory(prefix="skep-kernels-") as where:
            initramfs = make_initramfs(build, root, where, options, hides_types)
            disk = make_disk(where)
            console = os.path.join(build, "kernels", suite, "console.log")
            # An interpreted machine sometimes dies before it reaches our first line, which says nothing about skep.
            for attempt in range(3):
                outcome = read_output(boot(kernel, initramfs, disk, options.seconds, console, CPUS.get(suite, "max"), options.cpus),
                                      options, hides_types)
                if outcome.release != "?":
                    break
                print(f"{name}: boot {attempt + 1} did not reach the tests")
        outcomes.append(outcome)
        counts = collections.Counter("FAILED" if is_failure(state) else state for state in outcome.tests.values())
        print(f"{name}: Linux {outcome.release}: " + ", ".join(f"{count} {state}" for state, count in sorted(counts.items())))
        for test, state in sorted(outcome.tests.items()):
            if state == "left out":
                print(f"  left out: {test}: {why_left_out(outcome, test)}")
        bad = [test if state == "FAILED" else f"{test}: {state}" for test, state in outcome.tests.items() if is_failure(state)]
        suite_failed = bool(bad or outcome.complaints or not outcome.finished or not outcome.tests)
        if suite_failed:
            failed = True
            print("  FAILED: " + ", ".join(bad + outcome.complaints + ([] if outcome.finished else ["it did not finish"])))
        if options.keep or suite_failed:
            print(outcome.text)
    if not outcomes:
        sys.exit("no kernel could be fetched")
    if options.write:
        text = open(options.write).read()
        head, line, rest = text.partition("| test |")
        with open(options.write, "w") as out:
            in_part = options.filter != "*" or options.only is not None
            out.write(head + table(outcomes, read_table(line + rest), in_part))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
