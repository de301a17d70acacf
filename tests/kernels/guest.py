"""A Debian kernel under QEMU that sees this machine's files, does what it is told, and has its C compiled outside.

What the guest needs (Python, bpfcc-tools, the build) it reads over 9p from this machine's root, which it cannot write. A second
share, the folder `exchange`, has the same path on both sides and can be written by both:

  job, job.said   a script that the guest runs, and what it prints, which `Guest.lines` follows as it comes
  output/         whole outputs of tools
  snapshot/       skep and its Python packages as they were at the start, so that a build meanwhile does no harm
  cache/          skep's compile cache, which outlives a boot
  compile/        questions for the compiler. QEMU interprets, which makes clang 25 times slower (a quarter of a minute for a
                  tool); since clang's inputs and outputs all lie in the cache, a script that stands for clang in the guest
                  writes down its arguments, and the real one runs here with them. The rest of skep's compile (the types of
                  the running kernel, the rewriting, the check of the result) is done in the guest.

/tmp is an ext4 disk image, new for each boot. Modules come from the kernel's package by modprobe.
"""
import glob
import os
import re
import shutil
import subprocess
import threading
import time

import matrix

# What it takes to see the shares and the disk; all else is loaded from there.
FIRST_MODULES = ["virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk", "crc16",
                 "crc32c-cryptoapi", "crc32c_generic", "libcrc32c", "mbcache", "jbd2", "ext4", "netfs", "fscache", "9pnet",
                 "9pnet_virtio", "9p"]
MODULES = ["loop", "xfs", "btrfs", "veth", "raid1", "kvm-amd", "nfs", "nfsd", "nfsv4"]
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/sbin:/usr/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in /modules/*.ko; do [ -e "$module" ] && insmod "$module" 2>/dev/null; done
mkdir -p /host
share() { mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,$3 "$1" "$2" || echo "SKEP share $1 is not there"; }
share host /host ro,cache=loose
share exchange /host@EXCHANGE@ cache=none
mount -t ext4 /dev/vda /host/tmp || echo "SKEP no disk"
mount -t tmpfs run /host/run; mount -t tmpfs mnt /host/mnt
mount -t tracefs trace /sys/kernel/tracing; mount -t debugfs debug /sys/kernel/debug; mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup /sys/fs/cgroup; echo +memory > /sys/fs/cgroup/cgroup.subtree_control
mkdir -p /dev/pts /dev/shm; mount -t devpts pts /dev/pts; mount -t tmpfs shm /dev/shm
for place in proc sys dev; do mount --rbind /$place /host/$place; done
ip link set lo up; hostname guest
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp TMPDIR=/tmp
export XDG_CACHE_HOME=@EXCHANGE@/cache SKEP_CLANG=@EXCHANGE@/clang
mkdir -p /lib; ln -s /host@ROOT@/lib/modules /lib/modules
for module in @MODULES@; do /bin/modprobe $module 2>&1 | sed "s,^,SKEP module $module: ,"; done
echo "SKEP kernel $(uname -r)"
cd /host@EXCHANGE@
uname -r > up.tmp; mv up.tmp up
while [ ! -e stop ]; do
  if [ -e job ]; then
    echo 3 > /proc/sys/vm/drop_caches  # files may have changed outside
    mv job job.running; chroot /host /bin/sh @EXCHANGE@/job.running > job.said 2>&1 < /dev/null; echo $? > job.status
  fi
  sleep 0.3
done
poweroff -f
"""
CLANG = """#!/bin/sh
# Stands for clang in the guest: tests/kernels/guest.py runs the real one outside.
cd "${0%/*}/compile"
if [ "$1" = --version ]; then cat version; exit; fi
printf '%s\\0' "$@" > $$.new
mv $$.new $$.ask
while [ ! -e $$.status ]; do sleep 0.05; done
cat $$.said
read -r status < $$.status
rm -f $$.said $$.status
exit "$status"
"""


class FullKernels(matrix.Archive):
    """Debian's full kernels: those for clouds, which matrix.py boots, have no 9p."""

    def image_packages(self):
        text = matrix.run(["apt-cache", *self.options, "depends", "--recurse", "--important", "linux-image-amd64"])
        return sorted(set(re.findall(r"^(linux-(?:image|binary|modules|base)-\d\S+)$", text, re.M)))


class Kernel:
    """The files of a suite's kernel, fetched if they are not there, and the initramfs made of them."""

    def __init__(self, suite, folder):
        self.suite, self.folder = suite, folder
        roots = glob.glob(os.path.join(folder, "root/boot/vmlinuz-*"))
        self.root = os.path.join(folder, "root") if roots else FullKernels(suite, folder).unpacked()
        self.image = matrix.newest(f"{self.root}/boot/vmlinuz-*") or matrix.newest(f"{self.root}/usr/lib/modules/*/vmlinuz")
        if not os.path.exists(f"{self.root}/lib"):
            os.symlink("usr/lib", f"{self.root}/lib")
        modules = matrix.newest(f"{self.root}/lib/modules/*")
        if not os.path.exists(f"{modules}/modules.dep"):
            matrix.run(["busybox", "depmod", "-b", self.root, os.path.basename(modules)])
        self.exchange = os.path.join(folder, "exchange")

    def initramfs(self):
        root = os.path.join(self.folder, "initramfs")
        shutil.rmtree(root, ignore_errors=True)
        for name in ("bin", "dev", "proc", "sys", "modules", "host"):
            os.makedirs(os.path.join(root, name))
        shutil.copy(shutil.which("busybox"), os.path.join(root, "bin/busybox"))
        for number, module in enumerate(FIRST_MODULES):
            matrix.copy_module(self.root, module, os.path.join(root, "modules"), f"{number:02}-")
        text = INIT
        for word, value in (("EXCHANGE", self.exchange), ("ROOT", self.root), ("MODULES", " ".join(MODULES))):
            text = text.replace(f"@{word}@", value)
        write(os.path.join(root, "init"), text, 0o755)
        out = os.path.join(self.folder, "initramfs.cpio")
        subprocess.run(f"find . | cpio -o -H newc --quiet > {out}", shell=True, check=True, cwd=root)
        return out


def environment():
    return dict(os.environ, PATH=os.environ["PATH"] + ":/sbin:/usr/sbin")


def write(path, text, mode=0o644):
    """At once, since the other side may be looking; left alone when it says so already (skep knows a compiler by its times)."""
    if os.path.exists(path):
        with open(path) as old:
            if old.read() == text:
                return
    with open(path + ".tmp", "w") as out:
        out.write(text)
    os.chmod(path + ".tmp", mode)
    os.rename(path + ".tmp", path)


def remove(*paths):
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass


def take_snapshot(build, scripts, where):
    """skep, its library and its Python packages, laid out as in a build; and the scripts that use them."""
    shutil.rmtree(where, ignore_errors=True)
    os.makedirs(os.path.join(where, "tools/skep"))
    shutil.copy(os.path.join(build, matrix.SKEP), os.path.join(where, matrix.SKEP))
    for library in glob.glob(os.path.join(build, "libskep.so*")):
        shutil.copy(library, where, follow_symlinks=False)
    shutil.copytree(os.path.join(build, "share"), os.path.join(where, "share"))
    shutil.copytree(scripts, os.path.join(where, "scripts"))


class Compiler(threading.Thread):
    """Answers the questions of the script CLANG."""

    def __init__(self, exchange):
        super().__init__(daemon=True)
        self.exchange, self.folder, self.ended = exchange, os.path.join(exchange, "compile"), False
        self.clang = next((found for found in map(shutil.which, ("clang-19", "clang-16", "clang-14", "clang")) if found), None)
        if self.clang is None:
            raise RuntimeError("clang is not installed, which compiles the tools' programs")
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        write(os.path.join(self.folder, "version"), matrix.run([self.clang, "--version"]))
        write(os.path.join(exchange, "clang"), CLANG, 0o755)

    def run(self):
        while not self.ended:
            for name in os.listdir(self.folder):
                if name.endswith(".ask"):
                    self.answer(os.path.join(self.folder, name[:-4]))
            time.sleep(0.03)

    def answer(self, path):
        with open(path + ".ask", "rb") as asked:
            arguments = asked.read().split(b"\0")[:-1]
        done = subprocess.run([self.clang.encode(), *arguments], cwd=self.exchange, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(os.environ, LC_ALL="C"), timeout=120)
        os.unlink(path + ".ask")
        write(path + ".said", done.stdout.decode(errors="replace"))
        write(path + ".status", f"{done.returncode}\n")


class Guest:
    """A kernel that runs. Ends with `with`."""

    def __init__(self, kernel, seconds_to_boot=180):
        self.kernel, self.exchange = kernel, kernel.exchange
        self.console = os.path.join(kernel.folder, "console.log")
        os.makedirs(os.path.join(self.exchange, "cache"), exist_ok=True)
        self._clear("up", "stop", "job", "job.running", "job.said", "job.status")
        self.compiler = Compiler(self.exchange)
        disk = os.path.join(kernel.folder, "disk.img")
        remove(disk)
        with open(disk, "wb") as image:
            image.truncate(3 << 30)
        matrix.run(["mke2fs", "-q", "-t", "ext4", disk], env=environment())
        initramfs = kernel.initramfs()
        # nosoftlockup: an interpreted machine clears memory, or waits for its turn, longer than a kernel finds normal.
        # One CPU: where two take turns, whoever waits for the other (at each change of the kernel's code, so at each probe) spins
        # until its turn ends, a tenth of a second; with a thread for each, kernels died now and then.
        # icount: the guest's time goes with its instructions, 2 ns each. Where it goes with ours, a machine that does other
        # things beside makes timers late, and tools that sample give up (cpuunclaimed) or count too little.
        command = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-icount", "shift=1", "-cpu", matrix.CPUS.get(kernel.suite, "max"),
                   "-smp", "1", "-m", "2048", "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", kernel.image,
                   "-initrd", initramfs, "-drive", f"file={disk},if=virtio,format=raw"]
        for name, path, more in (("host", "/", ",readonly=on,multidevs=remap"), ("exchange", self.exchange, "")):
            command += ["-fsdev", f"local,id={name},path={path},security_model=none{more}",
                        "-device", f"virtio-9p-pci,fsdev={name},mount_tag={name}"]
        command += ["-append", "console=ttyS0 loglevel=5 panic=-1 mitigations=off no_timer_check nosoftlockup"]
        self.out = open(self.console, "w")
        self.process = subprocess.Popen(command, stdout=self.out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        self.compiler.start()
        self.up = self._wait_for("up", seconds_to_boot)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.is_running() and self.up:
            write(self._path("stop"), "")
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                pass
        if self.is_running():
            self.process.kill()
        self.process.wait()
        self.compiler.ended = True
        self.out.close()

    def _path(self, name):
        return os.path.join(self.exchange, name)

    def _clear(self, *names):
        remove(*map(self._path, names))

    def _wait_for(self, name, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.is_running():
            if os.path.exists(self._path(name)):
                return True
            time.sleep(0.2)
        return False

    def is_running(self):
        return self.process.poll() is None

    def lines(self, script, patience):
        """The lines that a script prints, as they come. Ends early when the guest ends, or is silent for `patience` seconds."""
        self._clear("job.said", "job.status")
        write(self._path("job"), script)
        used, rest, heard = 0, "", time.monotonic()
        while True:
            finished = os.path.exists(self._path("job.status"))
            try:
                with open(self._path("job.said"), errors="replace") as said:
                    said.seek(used)
                    fresh = said.read()
                    used = said.tell()
            except FileNotFoundError:
                fresh = ""
            if fresh:
                heard = time.monotonic()
            *whole, rest = (rest + fresh).split("\n")
            yield from whole
            if finished or not self.is_running() or time.monotonic() - heard > patience:
                return
            time.sleep(0.2)

    def complaints(self):
        """Of the kernel, about itself. exc_debug_kernel: the interpreter sometimes carries the single step of a user probe
        into the kernel, which warns."""
        with open(self.console, errors="replace") as text:
            return [line.strip() for line in text
                    if re.search(r"BUG:|Oops|WARNING:|general protection|Kernel panic", line) and "exc_debug_kernel" not in line]

    def console_end(self, count=25):
        with open(self.console, errors="replace") as text:
            return "".join(text.readlines()[-count:])
