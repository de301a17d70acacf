#!/usr/bin/env python3
"""Runs Debian's unmodified BCC tools (package bpfcc-tools) on our module, each with a small workload, and says which work.

  bcc_tools.py [--engine kernel|user] [--jobs N] [TOOL...]

A tool works when it has attached, has printed what its row expects about the workload, and has left without an error.
What does not work is listed with the last line that it said. Needs SKEP (the binary); root for the kernel engine.
"""
import argparse
import collections
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

# What a tool is given, and what its output must hold: a heading where the workload shows nothing.
SHELL = "for i in 1 2 3 4 5 6; do ls / > /dev/null; cat /etc/hostname > /dev/null; sleep 0.2; done"
FILES = "for i in 1 2 3 4 5 6; do echo x > $TMP/f$i; cat $TMP/f$i > /dev/null; mv $TMP/f$i $TMP/g; rm $TMP/g; sync $TMP; sleep 0.2; done"
DISK = "for i in 1 2 3 4; do dd if=/dev/zero of=$TMP/big bs=64k count=64 conv=fsync 2> /dev/null; sleep 0.3; done"
NET = ("python3 -c \"import socket,time\nfor i in range(5):\n s=socket.socket();s.bind(('127.0.0.1',0));s.listen(1)\n"
       " c=socket.create_connection(s.getsockname());a,_=s.accept();c.send(b'x'*2000);a.recv(4000);a.send(b'y'*500);c.recv(900)\n"
       " time.sleep(0.3);c.close();a.close();s.close()\"")
REFUSED = ("python3 -c \"import socket,time\nfor i in range(5):\n s=socket.socket()\n try: s.connect(('127.0.0.1',1))\n"
           " except OSError: pass\n time.sleep(0.3)\"")
KILL = "for i in 1 2 3 4; do sleep 5 & kill -TERM $!; wait; sleep 0.2; done"
BUSY = "for i in 1 2; do timeout 1 sh -c 'while :; do :; done'; done"

Row = collections.namedtuple("Row", "arguments workload expects", defaults=("", SHELL, r"\S"))
NEED_TERMINAL = {"cachetop"}  # full-screen: given a terminal of its own by script(1)
ROWS = {
    "argdist": Row("-i 1 -n 3 -C t:syscalls:sys_enter_openat()", SHELL, r"COUNT|t:syscalls"),
    "bashreadline": Row("", SHELL, "TIME"),
    "bindsnoop": Row("", NET, r"(?m)^ *\d+ python3 +\S+ +127.0.0.1 +\d+ "),
    "biolatency": Row("1 3", DISK, "distribution"),
    "biolatpcts": Row("-i 1 /dev/vda", DISK, r"\d"),
    "biopattern": Row("1 3", DISK, "DISK"),
    "biosnoop": Row("", DISK, r"TIME"),
    "biotop": Row("1 3", DISK, "PID"),
    "bitesize": Row("", DISK, r"Process Name|Tracing"),
    "bpflist": Row("", SHELL, "PID"),
    "btrfsdist": Row("1 2", FILES, "Tracing"),
    "btrfsslower": Row("1", FILES, "TIME"),
    "cachestat": Row("1 3", FILES, r"(?m)^ +[1-9]\d* +\d+ +[1-9]\d* +\d+\.\d\d%"),
    "cachetop": Row("1", FILES, r"READ_HIT"),
    "capable": Row("", SHELL, "CAP"),
    "compactsnoop": Row("", SHELL, "COMM"),
    "cpudist": Row("1 3", SHELL, r"-> \d+ +: [1-9]"),
    "cpuunclaimed": Row("1 3", BUSY, "unclaimed"),
    "criticalstat": Row("", SHELL, r"\S"),
    "dbslower": Row("mysql", SHELL, r"\S"),
    "dbstat": Row("mysql", SHELL, r"\S"),
    "dcsnoop": Row("-a", SHELL, "TIME"),
    "dcstat": Row("1 3", SHELL, "REFS"),
    "deadlock": Row("--binary /lib/x86_64-linux-gnu/libc.so.6 $PID", SHELL, "Tracing"),
    "dirtop": Row("-d /tmp/ 1 4", FILES, r"(?m)^[1-9]\d* +\d+ +\d+ +\d+ +/tmp"),
    "drsnoop": Row("", SHELL, "COMM"),
    "execsnoop": Row("", SHELL, r"(?m)^(ls|cat|sleep) +\d+ +\d+ +0 /"),
    "exitsnoop": Row("", SHELL, r"(?m)^(ls|cat|sleep) "),
    "ext4dist": Row("1 3", FILES, r"(?s)operation = fsync.*operation = read|operation = read.*operation = write"),
    "ext4slower": Row("1", FILES, "TIME"),
    "filegone": Row("", FILES, r"f1|g"),
    "filelife": Row("", FILES, r"(?m) (f\d|g)$"),
    "fileslower": Row("0", FILES, r"(?m) cat +\d+ +R +\d+ +\d+\.\d\d f\d$"),
    "filetop": Row("-a -C -r 2000 1 3", FILES, r"(?m)^\d+ +(cat|sh) +\d+ +\d+ +\d+ +\d+ +R f\d$"),
    "funccount": Row("-d 3 t:syscalls:sys_enter_open*", SHELL, r"sys_enter_openat\S* +\d"),
    "funcinterval": Row("-d 3 t:syscalls:sys_enter_openat", SHELL, "distribution"),
    "funclatency": Row("-d 3 c:getenv", SHELL, r"Tracing|distribution"),
    "funcslower": Row("-u 1 c:getenv", SHELL, "Tracing"),
    "gethostlatency": Row("", "for i in 1 2 3; do getent hosts localhost; sleep 0.3; done", "localhost"),
    "hardirqs": Row("1 3", DISK, "HARDIRQ"),
    "inject": Row("kmalloc -I linux/mm.h -P 0.0001 'sys_openat()'", SHELL, r"\S"),
    "killsnoop": Row("", KILL, r"(?m) 15 "),
    "klockstat": Row("-d 3", SHELL, "Caller"),
    "kvmexit": Row("2", SHELL, "Display"),
    "llcstat": Row("2", SHELL, "PID"),
    "mdflush": Row("", SHELL, "TIME"),
    "memleak": Row("-p $PID 1 2", SHELL, "allocations"),
    "mountsnoop": Row("", "for i in 1 2 3; do unshare -m sh -c 'mount -t tmpfs none /mnt; umount /mnt'; sleep 0.3; done", r"mount\("),
    "mysqld_qslower": Row("$PID", SHELL, r"\S"),
    "netqtop": Row("-n lo -i 1", NET, "QueueID"),
    "nfsdist": Row("1 2", SHELL, "Tracing"),
    "nfsslower": Row("1", SHELL, "TIME"),
    "offcputime": Row("-f 2", SHELL, r" \d+"),
    "offwaketime": Row("-f 2", SHELL, r" \d+"),
    "oomkill": Row("", SHELL, "Tracing"),
    "opensnoop": Row("", SHELL, r"(?m)^\d+ +cat +\d+ +\d+ +/etc/hostname"),
    "pidpersec": Row("", SHELL, "PIDs"),
    "ppchcalls": Row("-d 1", SHELL, r"\S"),
    "profile": Row("-f 2", BUSY, r" \d+"),
    "readahead": Row("-d 2", FILES, "Read-ahead"),
    "runqlat": Row("1 3", BUSY, "distribution"),
    "runqlen": Row("1 3", BUSY, "distribution"),
    "runqslower": Row("1", BUSY, "TIME"),
    "shmsnoop": Row("", SHELL, "PID"),
    "slabratetop": Row("-C 1 3", SHELL, "CACHE"),
    "sofdsnoop": Row("", SHELL, "ACTION"),
    "softirqs": Row("1 3", NET, "SOFTIRQ"),
    "solisten": Row("", NET, r"127.0.0.1"),
    "sslsniff": Row("", SHELL, "FUNC"),
    "stackcount": Row("-D 2 t:sched:sched_process_exec", SHELL, r"\d"),
    "statsnoop": Row("", SHELL, r"(?m)/\S*$"),
    "syncsnoop": Row("", "for i in 1 2 3; do sync; sleep 0.3; done", r"(?i)sync"),
    "syscount": Row("-d 3", SHELL, r"(?m)^(openat|read|close|execve) +\d+"),
    "tcpaccept": Row("", NET, "127.0.0.1"),
    "tcpcong": Row("1 2", NET, "Tracing"),
    "tcpconnect": Row("", NET, r"(?m)^\d+ +python3 +4 +127.0.0.1 +127.0.0.1 +\d+"),
    "tcpconnlat": Row("", NET, "127.0.0.1"),
    "tcpdrop": Row("", REFUSED, "STATE"),
    "tcplife": Row("", NET, r"127.0.0.1 +\d+ +127.0.0.1"),
    "tcpretrans": Row("", NET, "Tracing"),
    "tcprtt": Row("-i 1 -d 3", NET, "distribution"),
    "tcpstates": Row("", NET, r"SYN_SENT|ESTABLISHED"),
    "tcpsubnet": Row("127.0.0.0/8 -i 1", NET, "127.0.0.0"),
    "tcpsynbl": Row("", NET, r"(?s)backlog_max = 1.* 0 -> 1 +: [1-9]"),
    "tcptop": Row("-C 1 4", NET, r"python3'? +127.0.0.1:\d+ +127.0.0.1:[1-9]\d* +0 +[1-9]"),
    "tcptracer": Row("", NET, r"(?ms)^C +\d+ +python3 .*^A +\d+ +python3 .*^X +\d+ +python3 "),
    "threadsnoop": Row("", SHELL, "TIME"),
    "tplist": Row("syscalls:sys_enter_open*", SHELL, "sys_enter_openat"),
    "trace": Row("-M 5 t:syscalls:sys_enter_openat", SHELL, "sys_enter_openat"),
    "ttysnoop": Row("$TTY", SHELL, r""),
    "vfscount": Row("3", FILES, r"vfs_rename'? +[1-9]"),
    "vfsstat": Row("1 3", FILES, r"(?m)^\d\d:\d\d:\d\d: +[1-9]\d* +[1-9]\d* +[1-9]\d* +[1-9]"),
    "virtiostat": Row("1 3", DISK, "Driver"),
    "wakeuptime": Row("-f 2", SHELL, r" \d+"),
    "xfsdist": Row("1 2", FILES, "Tracing"),
    "xfsslower": Row("1", FILES, "TIME"),
    "zfsdist": Row("1 2", FILES, "Tracing"),
    "zfsslower": Row("1", FILES, "TIME"),
}
PLACE = "/usr/sbin/%s-bpfcc"
SECONDS_TO_START, SECONDS_TO_END = 8.0, 14.0
BROKEN = re.compile(r"Traceback|Failed to|Exception:|ERROR|[Ee]rror:|not supported", re.M)


def installed():
    """The tools that are Python programs; the others are shell scripts that start one of these."""
    found = []
    for name in sorted(ROWS):
        try:
            with open(PLACE % name, "rb") as file:
                if b"python" in file.readline():
                    found.append(name)
        except OSError:
            pass
    return found


def wait_for_output(path, process):
    """Until a tool has printed its heading, or has had the time to start that a busy machine gives it."""
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and process.poll() is None and os.path.getsize(path) == 0:
        time.sleep(0.1)
    time.sleep(1.5)


def end(process):
    """As Ctrl-C would, twice where once was not enough."""
    for sent in (signal.SIGINT, signal.SIGINT, signal.SIGKILL):
        if process.poll() is not None:
            break
        process.send_signal(sent)
        try:
            process.wait(timeout=6)
        except subprocess.TimeoutExpired:
            pass


def _with_debugfs(engine):
    """Some tools have the path of debugfs in them: where it is not mounted, it is in a mount namespace of their own."""
    if engine == "user" or os.path.isdir("/sys/kernel/debug/tracing") or os.geteuid() != 0:
        return []
    return ["unshare", "-m", "sh", "-c", 'mount -t debugfs none /sys/kernel/debug; exec "$@"', "sh"]


def run(name, engine, skep):
    """(works, why not, output)"""
    row = ROWS[name]
    directory = tempfile.mkdtemp(prefix="bcc-tools-")
    environment = dict(os.environ, TMP=directory, PYTHONUNBUFFERED="1", TERM="dumb")
    idle = subprocess.Popen(["sleep", "60"])
    arguments = row.arguments.replace("$PID", str(idle.pid)).replace("$TTY", "/dev/tty1")
    words = [skep, "python", PLACE % name] + __import__("shlex").split(arguments)
    workload = None
    try:
        words = [*_with_debugfs(engine), *words]
        if name in NEED_TERMINAL:
            environment.update(TERM="xterm", COLUMNS="120", LINES="50")
            words = ["script", "-qefc", __import__("shlex").join(words), "/dev/null"]
        if engine == "user":
            words += ["--", "sh", "-c", row.workload]
        with open(directory + "/out", "w+b") as out:
            process = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                       env=environment, start_new_session=True)
            deadline = time.monotonic() + 60  # without root the tool ends with the command
            if engine == "kernel":
                wait_for_output(out.name, process)
                deadline = time.monotonic() + SECONDS_TO_END
                workload = subprocess.Popen(["sh", "-c", row.workload], env=environment, stdout=subprocess.DEVNULL,
                                            stderr=subprocess.DEVNULL, start_new_session=True)
                workload.wait(timeout=30)
                time.sleep(0.7)
            ended_early = process.poll() is not None
            while process.poll() is None and time.monotonic() < deadline - 6:
                time.sleep(0.1)
            end(process)
            out.seek(0)
            text = out.read().decode(errors="replace")
    finally:
        idle.kill()
        idle.wait()
        if workload and workload.poll() is None:
            os.killpg(workload.pid, signal.SIGKILL)
        subprocess.run(["rm", "-rf", directory])
    lines = [line for line in text.splitlines() if line.strip()]
    if BROKEN.search(text) or process.returncode not in (0, 130, -2, 1 if not ended_early else 0):
        said = [line for line in lines if BROKEN.search(line)] or lines or ["status %s" % process.returncode]
        return False, said[-1][:300], text
    if not re.search(row.expects, text):
        return False, "nothing of the workload in its output: " + (lines[-1] if lines else "none")[:120], text
    return True, "", text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=("kernel", "user"), default="kernel")
    parser.add_argument("--keep", help="a directory for what the tools print")
    parser.add_argument("tools", nargs="*")
    options = parser.parse_args()
    skep = os.environ.get("SKEP", "skep")
    names = options.tools or installed()
    if not names:
        print("no BCC tools are installed (Debian package bpfcc-tools)")
        return 77
    working = []
    for name in names:
        works, why, text = run(name, options.engine, skep)
        if options.keep:
            os.makedirs(options.keep, exist_ok=True)
            with open(os.path.join(options.keep, name), "w") as file:
                file.write(text)
        if works:
            working.append(name)
        print("%-16s %s" % (name, "works" if works else "- " + why), flush=True)
    print("%d of %d tools work on the %s engine" % (len(working), len(names), options.engine))
    return 0 if options.tools and len(working) == len(names) or not options.tools else 1


if __name__ == "__main__":
    sys.exit(main())
