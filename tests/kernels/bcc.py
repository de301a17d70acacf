#!/usr/bin/env python3
"""BCC's tools, unmodified, on skep's module in another kernel: boots a Debian kernel under QEMU and runs
tests/python/bcc_tools.py there.

  tests/kernels/bcc.py --build build/release --suite bookworm-backports
  ... opensnoop execsnoop     only these   --patience 4   --seconds 3600   --keep

The guest sees this machine's own files over 9p, for reading only: Python, clang, Debian's bpfcc-tools and the build need
no image of their own. What is written lands on a disk image (ext4, mounted over /tmp) and in memory. The kernels are
Debian's full ones, since those for clouds, which matrix.py boots, have no 9p. QEMU interprets, so a tool takes ten to thirty seconds: `--patience` stretches the times that
bcc_tools.py gives a tool to start and to end.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

import matrix

MODULES = ["virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk", "crc16",
           "crc32c-cryptoapi", "crc32c_generic", "libcrc32c", "mbcache", "jbd2", "ext4", "fscache", "netfs", "9pnet", "9pnet_virtio",
           "9p", "xfs", "loop", "veth"]
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/sbin:/usr/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in /modules/*.ko; do [ -e "$module" ] && { insmod "$module" 2>&1 | sed "s,^,SKEP module $module ,"; }; done
echo "SKEP kernel $(uname -r)"
mkdir -p /host
echo SKEP modules; mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 host /host || echo "SKEP no 9p"
mount -t ext4 /dev/vda /host/tmp || echo "SKEP no disk"
mount -t tmpfs run /host/run; mount -t tmpfs mnt /host/mnt
echo SKEP mounted; mount --rbind /proc /host/proc; mount --rbind /sys /host/sys; mount --rbind /dev /host/dev
mkdir -p /host/dev/pts /host/dev/shm; mount -t devpts pts /host/dev/pts; mount -t tmpfs shm /host/dev/shm
mount -t tracefs trace /sys/kernel/tracing; mount -t debugfs debug /sys/kernel/debug; mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup /sys/fs/cgroup; echo +memory > /sys/fs/cgroup/cgroup.subtree_control
ip link set lo up; hostname guest
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp XDG_CACHE_HOME=/tmp/cache TMPDIR=/tmp
echo SKEP chroot; chroot /host /usr/bin/env SKEP=@SKEP@ python3 @SCRIPT@ --patience @PATIENCE@ --lines 12 @TOOLS@ 2>&1 | sed 's/^/SKEP tool /'
echo "SKEP tools done"
dmesg | grep -E 'BUG:|Oops|WARNING:|general protection' | grep -v exc_debug_kernel | sed 's/^/SKEP complaint /'
poweroff -f
"""


class FullKernels(matrix.Archive):
    def image_packages(self):
        text = matrix.run(["apt-cache", *self.options, "depends", "--recurse", "--important", "linux-image-amd64"])
        return sorted(set(re.findall(r"^(linux-(?:image|binary|modules|base)-\d\S+)$", text, re.M)))


def make_initramfs(kernel_root, where, options):
    root = os.path.join(where, "initramfs")
    for folder in ("bin", "dev", "proc", "sys", "modules", "host"):
        os.makedirs(os.path.join(root, folder))
    shutil.copy(shutil.which("busybox"), os.path.join(root, "bin/busybox"))
    for number, module in enumerate(MODULES):
        matrix.copy_module(kernel_root, module, os.path.join(root, "modules"), f"{number:02}-")
    text = INIT
    for word, value in (("SKEP", os.path.join(options.build, matrix.SKEP)), ("PATIENCE", str(options.patience)),
                        ("SCRIPT", os.path.join(matrix.ROOT, "tests/python/bcc_tools.py")), ("TOOLS", " ".join(options.tools))):
        text = text.replace(f"@{word}@", value)
    with open(os.path.join(root, "init"), "w") as init:
        init.write(text)
    os.chmod(os.path.join(root, "init"), 0o755)
    out = os.path.join(where, "initramfs.cpio")
    subprocess.run(f"find . | cpio -o -H newc --quiet > {out}", shell=True, check=True, cwd=root)
    return out


def boot(kernel, initramfs, disk, seconds, console):
    """As matrix.boot, with this machine's files."""
    command = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=single", "-cpu", "max", "-smp", "2",
               "-m", "2048", "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", kernel,
               "-initrd", initramfs, "-drive", f"file={disk},if=virtio,format=raw",
               "-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
               "-device", "virtio-9p-pci,fsdev=host,mount_tag=host",
               "-append", "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check"]
    with open(console, "w") as out:
        try:
            subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, timeout=seconds, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            out.write(f"\nSKEP timeout after {seconds} s\n")
    return open(console, errors="replace").read().replace("\r", "")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(matrix.ROOT, "build/release"))
    parser.add_argument("--suite", default="bookworm-backports")
    parser.add_argument("--seconds", type=int, default=5400)
    parser.add_argument("--patience", type=float, default=5)
    parser.add_argument("--keep", action="store_true", help="print the whole console")
    parser.add_argument("tools", nargs="*")
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    for tool in ("qemu-system-x86_64", "cpio", "busybox"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is not installed (packages qemu-system-x86, cpio, busybox-static)")
    folder = os.path.join(options.build, "kernels", options.suite + "-full")
    root = FullKernels(options.suite, folder).unpacked()
    kernel = matrix.newest(f"{root}/boot/vmlinuz-*") or matrix.newest(f"{root}/usr/lib/modules/*/vmlinuz")
    with tempfile.TemporaryDirectory(prefix="skep-kernels-") as where:
        disk = os.path.join(where, "disk.img")
        with open(disk, "wb") as image:
            image.truncate(2 << 30)
        matrix.run(["mke2fs", "-q", "-t", "ext4", disk], env=dict(os.environ, PATH=os.environ["PATH"] + ":/sbin:/usr/sbin"))
        initramfs = make_initramfs(root, where, options)
        text = boot(kernel, initramfs, disk, options.seconds, os.path.join(folder, "bcc.log"))
    release = (re.search(r"SKEP kernel (\S+)", text) or [None, "?"])[1]
    outcomes = dict(re.findall(r"^SKEP tool (\S+) +(works|- .*)$", text, re.M))
    for name, outcome in sorted(outcomes.items()):
        print(f"{name:16} {outcome}")
    works = [name for name, outcome in outcomes.items() if outcome == "works"]
    complaints = re.findall(r"SKEP complaint (.*)", text)
    print(f"Linux {release}: {len(works)} of {len(outcomes)} tools work")
    for complaint in complaints:
        print("the kernel complained: " + complaint)
    if options.keep or "SKEP tools done" not in text:
        print(text)
    sys.exit(0 if outcomes and "SKEP tools done" in text and not complaints else 1)


if __name__ == "__main__":
    main()
