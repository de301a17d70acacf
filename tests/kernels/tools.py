"""The built-in tools in other kernels: what matrix.py runs in a guest for each, and what its output must hold.

A tool runs for about two seconds beside a small workload of busybox commands; it must attach, end by itself at SIGTERM,
and print the lines that the workload makes. What a guest cannot offer (a swap, an array, a CPU with
counters) leaves a tool with its heading, or with the hook that it names as missing.
"""

import re

# Needed by workloads, where the kernel has them as modules; in the order of loading.
MODULES = ["virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk", "crc16", "crc32c-cryptoapi",
           "crc32c_generic", "libcrc32c", "mbcache", "jbd2", "ext4", "md-mod"]

READ = "echo 3 > /proc/sys/vm/drop_caches; cat /disk/file > /dev/null; dd if=/disk/file of=/dev/null bs=64k"
WRITE = "dd if=/dev/zero of=/disk/out bs=64k count=16; sync"
SWITCH = "for i in 1 2 3 4 5 6 7 8; do usleep 20000; ls / > /dev/null; done"
SPIN = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
# Several times: a kernel that is interrupted in a program runs it for nobody else on that CPU (and counts what is missed).
TALK = "for i in 1 2 3; do nc -l -p 7777 > /dev/null & usleep 300000; echo words | nc 127.0.0.1 7777; usleep 300000; done"
OOM = "(echo $$ > /sys/fs/cgroup/small/cgroup.procs; dd if=/dev/zero of=/dev/null bs=100M count=1)"
HISTOGRAM = r"^ +\d+ -> \d+ +: [1-9]\d* +\|"

# tool: (options, workload, patterns that must each be found in the output)
TOOLS = {
    "bindsnoop": ("", TALK, [r" 7777 "]),
    "biolatency": ("", WRITE, [HISTOGRAM]),
    "biosnoop": ("-Q", WRITE, [r"^TIME\(s\) ", r"^\d+\.\d+ +\S+ +\d+ +vda +W \d+ +\d+ +\d+\.\d\d +\d+\.\d\d$"]),
    "biotop": ("-C", WRITE + "; usleep 1200000", [r"^PID +COMM", r"^\d+ +\S+ +W \d+ +\d+ +vda "]),
    "cachestat": ("", READ + "; usleep 1200000", [r"HITS +MISSES +DIRTIES", r"^ +[1-9]\d* +\d+ "]),
    "capable": ("-v -x", "chroot / true", [r"^TIME +UID", r"CAP_SYS_CHROOT +\S+ +\S+$"]),
    "cpudist": ("", SWITCH, [HISTOGRAM]),
    "drsnoop": ("-T -v", SPIN, [r"^TIME\(s\) +COMM"]),
    "execsnoop": ("", "ls /", [r" sh -c ls /$"]),
    "exitsnoop": ("", "ls /", [r"^ls +\d+ "]),
    "ext4dist": ("", READ + "; " + WRITE, [r"^operation = read$", r"^operation = write$", HISTOGRAM]),
    "ext4slower": ("0", READ, [r"^TIME +COMM", r" R \d+ +\d+ +\d+\.\d\d file$"]),
    "fileslower": ("0", READ, [r" file$"]),
    "filetop": ("-C", READ + "; usleep 1200000", [r" file$"]),
    "funccount": ("vfs_*", READ, [r"^ *vfs_read +[1-9]"]),
    "funclatency": ("vfs_read", READ, [HISTOGRAM]),
    "funcslower": ("-u 1 vfs_read", READ, [r" vfs_read"]),
    "hardirqs": ("", WRITE, [r"^HARDIRQ +TOTAL_usecs$", r"^\S+ +\d+$"]),
    "killsnoop": ("", "kill -0 1", [r" sh +0 +1 +0$"]),
    "klockstat": ("", SWITCH, [r"Caller +Avg Spin", r"Caller +Avg Hold", r"\+0x[0-9a-f]+ +\d+ +\d+ +\d+ +\d+$"]),
    "llcstat": ("2", SPIN, [r"^Running for 2 seconds|cache-references"]),
    "mdflush": ("", "sync", [r"^TIME +PID +COMM +DEVICE$|md_flush_request"]),
    "mountsnoop": ("", "mkdir -p /mnt; mount -t tmpfs x /mnt; umount /mnt", [r"mount\(.*/mnt"]),
    "numamove": ("", SPIN, [r"NUMA_migrations_ms$|migrate_misplaced"]),
    "offcputime": ("", SWITCH, [r"^Tracing off-CPU time", r"schedule", r"^    - +\S+ \(\d+\)$"]),
    "oomkill": ("", OOM, [r"OOM kill of PID \d+ \(\"dd\"\), \d+ pages"]),
    "opensnoop": ("", "cat /etc/nothing", [r" /etc/nothing$"]),
    "profile": ("-F 99", SPIN, [r"^Sampling at 99 Hertz", r"^    - +\S+ \(\d+\)$"]),
    "readahead": ("", READ, [r"^Read-ahead unused pages: \d+$", HISTOGRAM]),
    "runqlat": ("", SWITCH, [HISTOGRAM]),
    "runqlen": ("", SPIN, [r"^ +\d+ +: [1-9]"]),
    "slabratetop": ("-C", SWITCH + "; usleep 1200000", [r"^CACHE +ALLOCS +BYTES$", r"^\S+ +[1-9]\d* +\d+$"]),
    "sigsnoop": ("", SPIN, [r" sh +15 +\d+ +0$"]),
    "softirqs": ("", SPIN, [r"^timer +\d+$"]),
    "solisten": ("", TALK, [r" 7777"]),
    "stackcount": ("vfs_read", READ, [r"vfs_read"]),
    "statsnoop": ("", "ls -l /etc/nothing", [r" /etc/nothing$"]),
    "swapin": ("", SPIN, [r"^Counting swap ins"]),
    "syscount": ("", READ, [r"^SYSCALL +COUNT", r"^close +[1-9]"]),
    "tcpaccept": ("", TALK, [r" 127\.0\.0\.1 +7777$"]),
    "tcpconnect": ("", TALK, [r" 127\.0\.0\.1 +7777$"]),
    "tcplife": ("", TALK, [r" 7777 "]),
    "tcpstates": ("", TALK, [r" 7777 "]),
    "tcptracer": ("", TALK, [r" 7777"]),
    "threadsnoop": ("", SWITCH, [r"^TIME"]),
    "ttysnoop": ("-C /dev/ttyS0", "echo words for the terminal > /dev/ttyS0", [r"^words for the terminal"]),
    "vfscount": ("", READ, [r"^ADDR +FUNC", r" vfs_read +[1-9]"]),
    "vfsstat": ("", READ + "; usleep 1200000", [r"READ/s", r": +[1-9]"]),
    "wakeuptime": ("", SWITCH, [r"^    target: ", r"try_to_wake_up|wake"]),
}

SCRIPT = """#!/bin/busybox sh
mkdir -p /disk /sys/fs/cgroup/small
mount -t ext4 /dev/vda /disk
echo +memory > /sys/fs/cgroup/cgroup.subtree_control
echo 24M > /sys/fs/cgroup/small/memory.max
run() {  # name, options, workload
  rm -f /tmp/out
  /tests/skep $1 $2 > /tmp/out 2> /tmp/errors &
  tool=$!
  waited=0
  # The first line says that everything is attached; tools without one are given time. An interpreted machine is slow.
  while [ ! -s /tmp/out ] && [ $waited -lt 300 ] && kill -0 $tool 2> /dev/null; do usleep 100000; waited=$((waited+1)); done
  sh -c "$3" > /dev/null 2>&1
  usleep 300000
  kill -TERM $tool 2> /dev/null  # a shell's background has SIGINT ignored
  wait $tool
  echo "SKEP tool $1 $?"
  head -n 3000 /tmp/out | sed 's/^/SKEP out /'
  head -n 20 /tmp/errors | sed 's/^/SKEP err /'
  echo "SKEP end $1"
}
"""


def script(names):
    quoted = "".join(f"run {name} '{TOOLS[name][0]}' '{TOOLS[name][1]}'\n" for name in names)
    return SCRIPT + quoted


def outcomes(console):
    """By tool: "passed", or what was missing."""
    found = {}
    for name, (_, _, patterns) in TOOLS.items():
        match = re.search(rf"^SKEP tool {name} (\d+)$(.*?)^SKEP end {name}$", console, re.M | re.S)
        if not match:
            found[name] = "did not run"
            continue
        output = "\n".join(line[len("SKEP out ") :] for line in match[2].splitlines() if line.startswith(("SKEP out ", "SKEP err ")))
        missing = [pattern for pattern in patterns if not re.search(pattern, output, re.M)]
        names_its_hook = match[1] == "1" and not missing  # a pattern above allows that
        ended = match[1] in ("0", "143")  # by itself; at SIGTERM
        if missing or not (ended or names_its_hook):
            found[name] = f"status {match[1]}, without {missing}: {output[-1500:]}"
        else:
            found[name] = "passed" if ended else "names the missing hook"
    return found
