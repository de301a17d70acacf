#!/usr/bin/env python3
"""Runs Debian's unmodified BCC tools (package bpfcc-tools) on our module, each with a small workload, and says which work.

  bcc_tools.py [--engine kernel|user] [--keep DIRECTORY] [--lines N] [--patience FACTOR] [TOOL...]

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

# What a tool is given, and what its output must hold of what the workload did.
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
CALLS = ("/usr/bin/python3 -c \"import ctypes,threading,time\nlibc=ctypes.CDLL(None)\nfor i in range(8):\n libc.getenv(b'HOME');libc.usleep(50000)\n"
         " t=threading.Thread(target=time.sleep,args=(0.1,));t.start();t.join()\"")
TYPED = "for i in 1 2 3; do (sleep 0.3; echo 'echo typed'; sleep 0.2; echo exit) | script -qec 'bash --norc -i' /dev/null; done"
TLS = ("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x -keyout $TMP/k -out $TMP/c -days 2;"
       "unshare -n sh -c 'ip link set lo up; sleep 9 | openssl s_server -accept 4433 -key $TMP/k -cert $TMP/c -quiet & sleep 1;"
       "for i in 1 2; do (sleep 0.5; echo who goes there; sleep 0.5) | openssl s_client -connect 127.0.0.1:4433 -quiet; done; kill $!'")
# A connection whose network is away for a while, four times.
LOSSY = ("unshare -n sh -c \"ip link set lo up; /usr/bin/python3 -c \\\"\nimport os,socket,time\n"
         "s=socket.socket();s.bind(('127.0.0.1',0));s.listen(1);c=socket.create_connection(s.getsockname());a,_=s.accept()\n"
         "for i in range(4):\n os.system('ip link set lo down')\n c.send(b'x');time.sleep(0.5)\n os.system('ip link set lo up')\n time.sleep(0.7)\\\"\"")
# A network of its own whose only way leads to nobody: what is sent is sent again.
NOWHERE = ("unshare -n sh -c 'ip link add v0 type veth peer name v1; ip link set v1 up; ip addr add 10.9.9.1/24 dev v0; ip link set v0 up; "
           "ip neigh add 10.9.9.2 lladdr 02:00:00:00:00:02 dev v0; timeout 4 /usr/bin/python3 -c \""
           "import socket;socket.create_connection((\\\"10.9.9.2\\\",80))\"'")
# An acknowledgement out of the window, written by hand, which the socket that it comes to throws away.
STRAY = ("/usr/bin/python3 -c \"import socket,struct,time\n"
         "def total(b): return sum(struct.unpack('!%dH'%(len(b)//2),b))\n"
         "s=socket.socket();s.bind(('127.0.0.1',0));s.listen(1);c=socket.create_connection(s.getsockname());a,_=s.accept()\n"
         "raw=socket.socket(socket.AF_INET,socket.SOCK_RAW,socket.IPPROTO_TCP);ip=socket.inet_aton('127.0.0.1')\n"
         "for i in range(4):\n"
         " def head(check): return struct.pack('!HHIIBBHHH',c.getsockname()[1],s.getsockname()[1],1,1,80,16,512,check,0)\n"
         " n=total(ip+ip+struct.pack('!HH',6,20)+head(0));n=(n>>16)+(n&65535);n=(n>>16)+(n&65535)\n"
         " raw.sendto(head(~n&65535),('127.0.0.1',0));time.sleep(0.4)\"")
# And a connection to an address that no neighbour has and nobody is asked for: the packet is dropped on its way out, while it
# still belongs to its socket, as tools on the tracepoint kfree_skb want it.
UNSENT = ("unshare -n sh -c 'ip link add v0 type veth peer name v1; ip link set v1 up; ip addr add 10.9.9.1/24 dev v0; ip link set v0 up; "
          "echo 0 > /proc/sys/net/ipv4/neigh/v0/mcast_solicit; for i in 1 2 3; do timeout 2 /usr/bin/python3 -c \""
          "import socket;socket.create_connection((\\\"10.9.9.2\\\",80))\"; done'")
# A file system of its own, in a mount namespace of its own (Debian package xfsprogs).
XFS = ("truncate -s 400M $TMP/image; mkfs.xfs -q $TMP/image; unshare -m sh -c 'mount -o loop $TMP/image /mnt; for i in 1 2 3 4; do "
       "dd if=/dev/zero of=/mnt/f bs=64k count=8 conv=fsync; cat /mnt/f; sleep 0.3; done; umount /mnt'")
# A control group with less memory than what runs in it wants.
OOM = ("G=$(ls -d /sys/fs/cgroup/memory 2> /dev/null || echo /sys/fs/cgroup)/skep-oom-$$; mkdir $G; "
       "echo 16M > $G/memory.limit_in_bytes || { echo 16M > $G/memory.max; echo 0 > $G/memory.swap.max; }; "
       "sh -c \"echo \\$\\$ > $G/cgroup.procs; exec /usr/bin/python3 -c 'x = bytearray(1 << 26)'\"; sleep 0.5; rmdir $G")
# A file system of its own, as XFS (Debian package btrfs-progs).
BTRFS = ("truncate -s 200M $TMP/image; mkfs.btrfs -q $TMP/image; unshare -m sh -c 'mount -o loop $TMP/image /mnt; for i in 1 2 3 4; do "
         "dd if=/dev/zero of=/mnt/f bs=64k count=8 conv=fsync; cat /mnt/f; sleep 0.3; done; umount /mnt'")
# A mirror of one disk, and writes that must reach it.
MIRROR = ("truncate -s 64M $TMP/image; L=$(losetup -f --show $TMP/image); echo md_skep > /sys/module/md_mod/parameters/new_array; "
          "M=/sys/block/md_skep/md; echo none > $M/metadata_version; echo raid1 > $M/level; echo 1 > $M/raid_disks; "
          "cat /sys/block/${L#/dev/}/dev > $M/new_dev; echo 0 > $M/dev-${L#/dev/}/slot; echo insync > $M/dev-${L#/dev/}/state; "
          "echo 60000 > $M/component_size; echo active > $M/array_state; "
          "for i in 1 2 3; do dd if=/dev/zero of=/dev/md_skep bs=4k count=4 conv=fsync; sleep 0.2; done; "
          "echo clear > $M/array_state; losetup -d $L")
# NFS from this machine to itself. The kernel's server is told what mountd would tell it: who asks, which path a handle means,
# and with which flags (fsid=0, insecure, asynchronous, no subtree checks) it is exported. Where this process is not alone
# on its machine, nothing is served.
NFS = ("[ -n \"$SKEP_ALONE\" ] || exit; mkdir $TMP/export; E=$(($(date +%s) + 3600)); N=/proc/net/rpc; mount -t nfsd nfsd /proc/fs/nfsd; "
       "echo 10 > /proc/fs/nfsd/nfsv4leasetime; echo 10 > /proc/fs/nfsd/nfsv4gracetime; echo '-2 -3 +4' > /proc/fs/nfsd/versions; "
       "echo 'tcp 2049' > /proc/fs/nfsd/portlist; echo 2 > /proc/fs/nfsd/threads; echo Y > /proc/fs/nfsd/v4_end_grace; "
       "echo \"nfsd 127.0.0.1 $E here\" > $N/auth.unix.ip/channel; echo \"here 1 \\\\x00000000 $E $TMP/export\" > $N/nfsd.fh/channel; "
       "echo \"here $TMP/export $E 9234 65534 65534 0\" > $N/nfsd.export/channel; mount -i -t nfs4 127.0.0.1:/ /mnt -o addr=127.0.0.1,"
       "clientaddr=127.0.0.1,vers=4.1; for i in 1 2 3 4; do dd if=/dev/zero of=/mnt/f bs=64k count=2 conv=fsync; "
       "echo 3 > /proc/sys/vm/drop_caches; cat /mnt/f; ls -l /mnt; sleep 0.2; done; umount /mnt; echo 0 > /proc/fs/nfsd/threads")
# Memory full of holes that are smaller than a huge page, and then huge pages, for which it must be compacted: where this
# process is alone on its machine.
COMPACTION = ("[ -n \"$SKEP_ALONE\" ] || exit; /usr/bin/python3 -c \"import mmap,os,re\n"
           "def free(): return 1024*int(re.search('MemFree: *([0-9]+)',open('/proc/meminfo').read())[1])\n"
           "size=free()*6//10>>21<<21;m=mmap.mmap(-1,size,flags=mmap.MAP_PRIVATE|mmap.MAP_ANONYMOUS);m.madvise(mmap.MADV_NOHUGEPAGE)\n"
           "m[::4096]=bytes(size//4096)\n"
           "for at in range(0,size,131072): m.madvise(mmap.MADV_DONTNEED,at,65536)\n"
           "os.system('echo %d > /proc/sys/vm/nr_hugepages'%(free()*8//10>>21))\nos.system('echo 0 > /proc/sys/vm/nr_hugepages')\"")
# So little memory left at once that whoever wants some must reclaim it himself, before the kernel's own thread has had a turn:
# the reserve is set above what is free, to what the page cache can give. Where this process is alone on its machine.
SHORTAGE = ("[ -n \"$SKEP_ALONE\" ] || exit; M=/proc/sys/vm/min_free_kbytes; B=$(cat $M); dd if=/dev/zero of=$TMP/big bs=1M count=250 conv=fsync; "
            "cat $TMP/big > /dev/null; for i in 1 2 3; do cat $TMP/big > /dev/null; "
            "echo $(awk '/^MemFree/{print $2 + 60000}' /proc/meminfo) > $M; for j in 1 2 3; do (:); done; echo $B > $M; sleep 0.3; done")
# Files that are handed over from socket to socket.
HANDING = ("/usr/bin/python3 -c \"import socket,time\na,b=socket.socketpair()\nfor i in range(5):\n"
           " with open('/etc/hostname') as f: socket.send_fds(a,[b'x'],[f.fileno()])\n socket.recv_fds(b,1,1);time.sleep(0.2)\"")
READ = ("dd if=/dev/zero of=$TMP/big bs=64k count=128 conv=fsync; for i in 1 2 3; do echo 3 > /proc/sys/vm/drop_caches; "
        "cat $TMP/big > /dev/null; cat $TMP/big > /dev/null; sleep 0.3; done")


def python(code):
    return ["/usr/bin/python3", "-c", code]


# Processes that a tool is told the number of. They say something when they are ready.
LEAKING = python("import ctypes,time\nlibc=ctypes.CDLL(None);print('ready',flush=True)\nwhile True: libc.malloc(4321);time.sleep(0.01)")
SPINNING = python("print('ready',flush=True)\nwhile True: pass")
# Two locks, taken in the one order by one thread and in the other by another, one after the other.
LOCKING = python(
    "import ctypes,threading,time\nlibc=ctypes.CDLL(None)\na,b=ctypes.create_string_buffer(64),ctypes.create_string_buffer(64)\n"
    "def take(x,y):\n libc.pthread_mutex_lock(x);libc.pthread_mutex_lock(y);libc.pthread_mutex_unlock(y);libc.pthread_mutex_unlock(x)\n"
    "print('ready',flush=True)\n"
    "while True:\n for pair in (a,b),(b,a):\n  t=threading.Thread(target=take,args=pair);t.start();t.join()\n time.sleep(0.1)")
# A process that has programs of its own.
OBSERVING = python("import os;os.execvp(os.environ['SKEP'],['skep','opensnoop'])")
# A data base and a language runtime, as far as their static probes go.
RUNTIME = ["sh", "-c", "cc -o $TMP/ruby %s && exec $TMP/ruby" % os.path.join(os.path.dirname(os.path.abspath(__file__)), "static_probes.c")]
# By write() and, since the tool takes no other in kernels where write() has an iterator of its own (6.0), by writev() of two pieces.
TERMINAL = ("for i in 1 2 3; do echo some words > $TTY; /usr/bin/python3 -c 'import os; os.writev(os.open(os.environ[\"TTY\"], 1), "
            "[b\"some words\\n\", b\"more\\n\"])'; sleep 0.3; done")
COUNTED = r"(?m)^ +\d+ (-> \d+ )? *: [1-9]"  # a line of a histogram

# `victim`: the command of $PID. `status`: what the tool leaves with.
Row = collections.namedtuple("Row", "arguments workload expects victim status", defaults=("", SHELL, r"\S", None, 0))
NEED_TERMINAL = {"cachetop"}  # full-screen: given a terminal of its own by script(1)
ROWS = {
    "argdist": Row("-i 1 -n 3 -C t:syscalls:sys_enter_openat()", SHELL, r"(?m)^\t[1-9]\d* +total calls"),
    "bashreadline": Row("", TYPED, r"(?m)^\S+ +\d+ +echo typed"),
    "bindsnoop": Row("", NET, r"(?m)^ *\d+ python3 +\S+ +127.0.0.1 +\d+ "),
    "biolatency": Row("1 20", DISK, COUNTED),
    "biolatpcts": Row("-i 1 /dev/vda", DISK, r"(?m)^write( +\S+){11} +[1-9]\d*(\.\d)?[mu]?s"),
    "biopattern": Row("1 20", DISK, r"(?m)^\S+ +vda +\d+ +\d+ +[1-9]\d* +[1-9]"),
    "biosnoop": Row("", DISK, r"(?m)^\d+\.\d+ +dd +\d+ +vda +W +\d+ +[1-9]"),
    "biotop": Row("-C 1 20", DISK, r"(?m)^\d+ +dd +W +\d+ +\d+ +vda +[1-9]"),
    "bitesize": Row("", DISK, r"(?s)Process Name = '?dd.*-> \d+ +: [1-9]"),
    "bpflist": Row("", SHELL, r"(?m)^\d+ +skep +prog +[1-9] *$", OBSERVING),
    "btrfsdist": Row("1 60", BTRFS, r"(?s)operation = '?write.*-> \d+ +: [1-9]"),
    "btrfsslower": Row("0", BTRFS, r"(?m) (b')?dd'? +\d+ +W +65536 .* (b')?f'?$"),
    "cachestat": Row("1 20", FILES, r"(?m)^ +[1-9]\d* +\d+ +[1-9]\d* +\d+\.\d\d%"),
    "cachetop": Row("1", FILES, r"READ_HIT[\s\S]*root +(cat|sh|rm|mv|sync)\b"),
    "capable": Row("", "for i in 1 2 3; do chroot / true; sleep 0.3; done", r"(?m) +chroot +18 +CAP_SYS_CHROOT"),
    "compactsnoop": Row("", COMPACTION, r"(?m)^sh +\d+ +\d+ +\S+ +9 +\S+ +\d+\.\d+ +\S+$"),
    "cpudist": Row("1 3", SHELL, COUNTED),
    "cpuunclaimed": Row("0.4 1", "sleep 1", r"%CPU +[1-9]\d*\.\d+%, unclaimed idle +\d", SPINNING),  # it ends at the first late sample
    "criticalstat": Row("", SHELL, r"\S"),
    "dbslower": Row("mysql -p $PID", SHELL, r"(?m)^\d+\.\d+ +\d+ +\d+\.\d+ .*SELECT six_times_nine", RUNTIME),
    "dbstat": Row("mysql -p $PID -i 2", SHELL, COUNTED, RUNTIME),
    "dcsnoop": Row("-a", FILES, r"(?s)\A(?=.*\d +cat +R f\d\n).*\w +M f\d\n"),
    "dcstat": Row("1 20", FILES, r"(?m)^\d\d:\d\d:\d\d: +[1-9]\d* +[1-9]\d* +[1-9]\d* +\d+\.\d\d$"),
    "deadlock": Row("--binary /lib/x86_64-linux-gnu/libc.so.6 $PID", SHELL, "Potential Deadlock Detected", LOCKING, 1),
    "dirtop": Row("-d /tmp/ 1 4", FILES, r"(?m)^[1-9]\d* +\d+ +\d+ +\d+ +/tmp"),
    "drsnoop": Row("", SHORTAGE, r"(?m)^sh +\d+ +\d+\.\d\d +\d+$"),
    "execsnoop": Row("", SHELL, r"(?m)^(ls|cat|sleep) +\d+ +\d+ +0 /"),
    "exitsnoop": Row("", SHELL, r"(?m)^(ls|cat|sleep) "),
    "ext4dist": Row("1 20", FILES, r"(?s)operation = fsync.*operation = read|operation = read.*operation = write"),
    "ext4slower": Row("0", FILES, r"(?m) cat +\d+ +R +\d+ +\d+ +\d+\.\d\d f\d$"),
    "filegone": Row("", FILES, r"(?s) mv +RENAME f\d > g\n.* rm +DELETE g\n"),
    "filelife": Row("", FILES, r"(?m)^\S+ +\d+ +rm +0\.\d\d +g$"),
    "fileslower": Row("0", FILES, r"(?m) cat +\d+ +R +\d+ +\d+\.\d\d f\d$"),
    "filetop": Row("-a -C -r 2000 1 3", FILES, r"(?m)^\d+ +(cat|sh) +\d+ +\d+ +\d+ +\d+ +R f\d$"),
    "funccount": Row("-d 3 t:syscalls:sys_enter_open*", SHELL, r"sys_enter_openat\S* +\d"),
    "funcinterval": Row("-d 3 t:syscalls:sys_enter_openat", SHELL, COUNTED),
    "funclatency": Row("-d 12 c:usleep", CALLS, r"(?m)^ +33554432 -> 67108863 +: [1-9]"),
    "funcslower": Row("-m 20 c:usleep", CALLS, r"(?m)^python3 +\d+ +[2-9]\d\.\d+ .* c:usleep"),
    "gethostlatency": Row("", "for i in 1 2 3; do getent hosts localhost; sleep 0.3; done", "localhost"),
    "hardirqs": Row("1 20", DISK, r"(?m)^(virtio|timer)\S* +[1-9]\d*$"),
    "inject": Row("kmalloc -I linux/mm.h -P 0.0001 'sys_openat()'", SHELL, r"\S"),
    "killsnoop": Row("", KILL, r"(?m) 15 "),
    "klockstat": Row("-d 3", SHELL, r"(?m)^ *(b')?[a-z_]\w*(\+0x\w+)?'? +\d+ +[1-9]\d* +\d+ +\d+$"),
    "kvmexit": Row("2", SHELL, "Display"),
    "llcstat": Row("2", SHELL, "PID"),
    "mdflush": Row("", MIRROR, r"(?m)^\d\d:\d\d:\d\d +\d+ +\S+ +md_skep"),
    "memleak": Row("-p $PID 1 3", SHELL, r"(?m)^\t\d*[1-9]\d* bytes in [1-9]\d* allocations from stack", LEAKING),
    "mountsnoop": Row("", "for i in 1 2 3; do unshare -m sh -c 'mount -t tmpfs none /mnt; umount /mnt'; sleep 0.3; done", r"mount\("),
    "mysqld_qslower": Row("$PID", SHELL, r"(?m)^\d+\.\d+ +\d+ +\d+\.\d+ .*SELECT six_times_nine", RUNTIME),
    "netqtop": Row("-n lo -i 1", NET, r"(?m)^ *0 +[1-9]\S* "),
    "nfsdist": Row("1 60", NFS, r"(?s)operation = '?write.*-> \d+ +: [1-9]"),
    "nfsslower": Row("0", NFS, r"(?m) (b')?dd'? +\d+ +W +65536 .* (b')?f'?$"),
    "offcputime": Row("-f --stack-storage-size 16384 6", SHELL, r"(?m)^sleep;.*nanosleep.* [1-9]\d*$"),
    "offwaketime": Row("-f --stack-storage-size 16384 6", SHELL, r"(?m)^sleep;.* [1-9]\d*$"),
    "oomkill": Row("", OOM, r'Triggered by PID \d+ \("python3"\), OOM kill of PID \d+ \("python3"\)'),
    "opensnoop": Row("", SHELL, r"(?m)^\d+ +cat +\d+ +\d+ +/etc/hostname"),
    "pidpersec": Row("", SHELL, r"PIDs/sec: [1-9]"),
    "ppchcalls": Row("-d 1", SHELL, r"\S"),
    "profile": Row("-f 12", BUSY, r"(?m)^sh;.* [1-9]\d*$"),
    "readahead": Row("-d 6", READ, COUNTED),
    "runqlat": Row("1 20", BUSY, COUNTED),
    "runqlen": Row("1 20", BUSY, COUNTED),
    "runqslower": Row("1", BUSY, r"(?m)^\d\d:\d\d:\d\d +\S.* +\d+ +[1-9]\d*$"),
    "shmsnoop": Row("", "for i in 1 2 3; do ipcrm -m $(ipcmk -M 4096 | sed 's/.*: //'); sleep 0.3; done", r"(?s)ipcmk +SHMGET .*size: 4096,.*ipcrm +SHMCTL"),
    "slabratetop": Row("-C 1 3", SHELL, r"(?m)^\S+ +[1-9]\d* +[1-9]\d*$"),
    "sofdsnoop": Row("", HANDING, r"(?m)^SEND +\d+ +python3 +\d+:socket\S+ +\d+ +/etc/hostname$"),
    "softirqs": Row("1 20", NET, r"(?m)^net_rx +[1-9]\d*$"),
    "solisten": Row("", NET, r"127.0.0.1"),
    "sslsniff": Row("", TLS, r"(?s)(?=.*WRITE/SEND[^/]*who goes there)(?=.*READ/RECV[^/]*who goes there)"),  # whose call ends first
    "stackcount": Row("-D 2 t:sched:sched_process_exec", SHELL, r"(?ms)^  \S*execve.*^    [1-9]\d*$"),
    "statsnoop": Row("", "for i in 1 2 3; do stat -f /etc; sleep 0.3; done", r"(?m)^\d+ +stat +0 +0 /etc$"),
    "syncsnoop": Row("", "for i in 1 2 3; do sync; sleep 0.3; done", r"(?i)sync"),
    "syscount": Row("-d 3", SHELL, r"(?m)^(openat|read|close|execve) +\d+"),
    "tcpaccept": Row("", NET, "127.0.0.1"),
    "tcpcong": Row("1 30", LOSSY, r"(?m)^127\.0\.0\.1/\d+ +127\.0\.0\.1/\d+ .*[1-9]"),
    "tcpconnect": Row("", NET, r"(?m)^\d+ +python3 +4 +127.0.0.1 +127.0.0.1 +\d+"),
    "tcpconnlat": Row("", NET, "127.0.0.1"),
    "tcpdrop": Row("", STRAY + "; " + UNSENT, r"(?m)^\d\d:\d\d:\d\d +\d+ +4 +(127\.0\.0\.1:\d+ +> 127\.0\.0\.1:\d+ +ESTABLISHED \(ACK\)"
                   r"|10\.9\.9\.1:\d+ +> 10\.9\.9\.2:80 +SYN_SENT \(SYN\))"),
    "tcplife": Row("", NET, r"127.0.0.1 +\d+ +127.0.0.1"),
    "tcpretrans": Row("", NOWHERE, r"10\.9\.9\.1:\d+ +R> +10\.9\.9\.2:80 +SYN_SENT"),
    "tcprtt": Row("-i 1 -d 30", NET, COUNTED),
    "tcpstates": Row("", NET, r"(?m)python3\S* +127\.0\.0\.1 +\d+ +127\.0\.0\.1 +\d+ +SYN_SENT +-> ESTABLISHED"),
    "tcpsubnet": Row("127.0.0.0/8 -i 1", NET, "127.0.0.0"),
    "tcpsynbl": Row("", NET, r"(?s)backlog_max = 1.* 0 -> 1 +: [1-9]"),
    "tcptop": Row("-C 1 4", NET, r"python3'? +127.0.0.1:\d+ +127.0.0.1:[1-9]\d* +0 +[1-9]"),
    "tcptracer": Row("", NET, r"(?ms)^C +\d+ +python3 .*^A +\d+ +python3 .*^X +\d+ +python3 "),
    "threadsnoop": Row("", CALLS, r"(?m)^\d+ +\d+ +(b')?python3'? "),
    "tplist": Row("syscalls:sys_enter_open*", SHELL, "sys_enter_openat"),
    "trace": Row("-M 5 t:syscalls:sys_enter_openat", SHELL, "sys_enter_openat"),
    "ttysnoop": Row("-C $TTY", TERMINAL, r"(?m)^some words"),
    "ucalls": Row("-l ruby $PID 1", SHELL, r"(?m)^(b')?Number\.factorial'? +[1-9]", RUNTIME),
    "uflow": Row("-l ruby $PID", SHELL, r"(?s)-> (b')?Number\.factorial.*<- (b')?Number\.factorial", RUNTIME),
    "ugc": Row("-l ruby $PID", SHELL, r"(?m)^\d+\.\d+ +[1-9]\d*\.\d+ +GC mark", RUNTIME),
    "uobjnew": Row("-l ruby $PID 1", SHELL, r"(?m)^ *(b')?Number'? +[1-9]", RUNTIME),
    "ustat": Row("-C -l ruby 1 3", SHELL, r"(?m)^\d+ +/\S+ +[1-9]\d* +[1-9]", RUNTIME),
    "uthreads": Row("-l none $PID", SHELL, r"(?m)^\d+\.\d+ +\S+ +\S*pthread", RUNTIME),
    "vfscount": Row("3", FILES, r"vfs_rename'? +[1-9]"),
    "vfsstat": Row("1 20", FILES, r"(?m)^\d\d:\d\d:\d\d: +[1-9]\d* +[1-9]\d* +[1-9]\d* +[1-9]"),
    "virtiostat": Row("1 20", DISK, r"(?m)^ *(b')?virtio_blk'? +(b')?virtio\d+'? +(b')?req\S* +[1-9]\d* +[1-9]"),
    "wakeuptime": Row("-f --stack-storage-size 16384 6", SHELL, r"(?m)^\S+;.*;(sh|sleep|cat|ls) [1-9]\d*$|^(sh|sleep|cat|ls)\S* \d+$"),
    "xfsdist": Row("1 60", XFS, r"(?s)operation = '?write.*-> \d+ +: [1-9]"),
    "xfsslower": Row("0", XFS, r"(?m) (b')?dd'? +\d+ +W +65536 .* (b')?f'?$"),
    "zfsdist": Row("1 2", FILES, "Tracing"),
    "zfsslower": Row("1", FILES, "TIME"),
}
PLACES = ("/usr/sbin/%s-bpfcc", "/usr/sbin/%s")
SECONDS_TO_START, SECONDS_TO_END, SECONDS_TO_WORK, SECONDS_OF_SILENCE = 20.0, 8.0, 30.0, 4.0
MEMORY = "/dev/shm"  # a file system in memory
SECONDS_AFTER_WORKLOAD, SECONDS_TO_LEAVE = 0.7, 6.0
SECONDS_TO_SETTLE, SECONDS_BETWEEN_LOOKS, QUIET_LOOKS = 8.0, 0.5, 3
BROKEN = re.compile(r"Traceback|Failed to|Exception:|ERROR|[Ee]rror:|not supported", re.M)


def program(name):
    """The file of a tool, or None."""
    return next((place % name for place in PLACES if os.path.isfile(place % name)), None)


def installed():
    """The tools that are Python programs; the others are shell scripts that start one of these."""
    found = []
    for name in sorted(ROWS):
        if program(name):
            with open(program(name), "rb") as file:
                if b"python" in file.readline():
                    found.append(name)
    return found


def has_attached(pid):
    """Whether a process holds probes. Tools that print no heading are seen to have started by these."""
    try:
        held = [os.readlink("/proc/%d/fd/%s" % (pid, number)) for number in os.listdir("/proc/%d/fd" % pid)]
    except OSError:
        return False
    return any(re.match(r"anon_inode:(\[perf_event\]|bpf_link|bpf-raw-tracepoint)", one) for one in held)


def wait_for_start(path, process, patience):
    """Until a tool has printed its heading or attached, or has had the time to start that a busy machine gives it."""
    deadline = time.monotonic() + SECONDS_TO_START * patience
    while (time.monotonic() < deadline and process.poll() is None and os.path.getsize(path) == 0
           and not has_attached(process.pid)):
        time.sleep(0.1)
    wait_until_idle(process.pid, patience)


def processor_seconds(pid):
    """What a process has used, or None when it has ended."""
    try:
        with open("/proc/%d/stat" % pid) as stat:
            fields = stat.read().rpartition(")")[2].split()
    except OSError:
        return None
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def wait_until_idle(pid, patience):
    """Until a tool waits for events: most attach several programs one by one, which takes an interpreted machine seconds each,
    and open their buffers after that. Not much longer than it takes: tools that count for some seconds have begun."""
    deadline, used = time.monotonic() + SECONDS_TO_SETTLE * patience, processor_seconds(pid)
    quiet = 0
    while used is not None and quiet < QUIET_LOOKS and time.monotonic() < deadline:
        time.sleep(SECONDS_BETWEEN_LOOKS)
        now = processor_seconds(pid)
        quiet = quiet + 1 if now is not None and now - used < SECONDS_BETWEEN_LOOKS / 10 else 0
        used = now


def wait_for_match(path, expected, process, patience):
    """Until what a tool has printed holds what is expected, or it has ended, or is silent, or time is up."""
    deadline = time.monotonic() + SECONDS_TO_END * patience
    heard, used = time.monotonic(), 0
    while time.monotonic() < deadline and process.poll() is None and time.monotonic() < heard + SECONDS_OF_SILENCE * patience:
        with open(path, errors="replace") as out:
            text = out.read()
        if re.search(expected, text):
            return
        if len(text) > used:
            heard, used = time.monotonic(), len(text)
        time.sleep(0.2)


def start_victim(row, environment, patience):
    """The process that $PID means, when it has said something."""
    said = environment["TMP"] + "/victim"
    with open(said, "w") as out:
        process = subprocess.Popen(row.victim or ["sleep", "60"], env=environment, stdout=out, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + SECONDS_TO_START * patience
    while row.victim and time.monotonic() < deadline and process.poll() is None and os.path.getsize(said) == 0:
        time.sleep(0.1)
    return process


def end(process, patience):
    """As Ctrl-C would, twice where once was not enough."""
    for sent in (signal.SIGINT, signal.SIGINT, signal.SIGKILL):
        if process.poll() is not None:
            break
        process.send_signal(sent)
        try:
            process.wait(timeout=SECONDS_TO_LEAVE * patience)
        except subprocess.TimeoutExpired:
            pass


def _with_debugfs(engine):
    """Some tools have the path of debugfs in them: where it is not mounted, it is in a mount namespace of their own."""
    if engine == "user" or os.path.isdir("/sys/kernel/debug/tracing") or os.geteuid() != 0:
        return []
    return ["unshare", "-m", "sh", "-c", 'mount -t debugfs none /sys/kernel/debug; exec "$@"', "sh"]


def run(name, engine, skep, patience=1):
    """(works, why not, output)"""
    row = ROWS[name]
    directory = tempfile.mkdtemp(prefix="bcc-tools-")
    # What a tool prints must not be what it sees: tools that watch ext4 would show every line that they write.
    said = tempfile.mkdtemp(prefix="bcc-tools-", dir=MEMORY if os.path.isdir(MEMORY) else None)
    terminal = os.openpty() if "$TTY" in row.arguments else ()  # its own end keeps what is written to the other
    tty = os.ttyname(terminal[1]) if terminal else ""
    environment = dict(os.environ, TMP=directory, TTY=tty, PYTHONUNBUFFERED="1", TERM="dumb", SKEP=skep)
    idle = start_victim(row, environment, patience)
    arguments = row.arguments.replace("$PID", str(idle.pid)).replace("$TTY", tty)
    words = [skep, "python", program(name)] + __import__("shlex").split(arguments)
    workload = None
    try:
        words = [*_with_debugfs(engine), *words]
        if name in NEED_TERMINAL:
            environment.update(TERM="xterm", COLUMNS="120", LINES="50")
            words = ["script", "-qefc", __import__("shlex").join(words), "/dev/null"]
        if engine == "user":
            words += ["--", "sh", "-c", row.workload]
        with open(said + "/out", "w+b") as out:
            process = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                       env=environment, start_new_session=True)
            if engine == "kernel":
                wait_for_start(out.name, process, patience)
                workload = subprocess.Popen(["sh", "-c", row.workload], env=environment, stdout=subprocess.DEVNULL,
                                            stderr=subprocess.DEVNULL, start_new_session=True)
                try:
                    workload.wait(timeout=SECONDS_TO_WORK * patience)
                except subprocess.TimeoutExpired:
                    pass  # what it has done will have to do
                time.sleep(SECONDS_AFTER_WORKLOAD)
                ended_early = process.poll() is not None
                wait_for_match(out.name, row.expects, process, patience)
            else:  # without root the tool ends with the command
                try:
                    process.wait(timeout=60)
                except subprocess.TimeoutExpired:
                    pass
                ended_early = process.poll() is not None
            end(process, patience)
            out.seek(0)
            text = out.read().decode(errors="replace")
    finally:
        for end_of_terminal in terminal:
            os.close(end_of_terminal)
        idle.kill()
        idle.wait()
        if workload and workload.poll() is None:
            os.killpg(workload.pid, signal.SIGKILL)
        subprocess.run(["rm", "-rf", directory, said])
    lines = [line for line in text.splitlines() if line.strip()]
    if BROKEN.search(text) or process.returncode not in (row.status, 130, -2, 1 if not ended_early else row.status):
        said = [line for line in lines if BROKEN.search(line)] or lines or ["status %s" % process.returncode]
        return False, said[-1][:300], text
    if not re.search(row.expects, text):
        return False, "nothing of the workload in its output: " + (lines[-1] if lines else "none")[:120], text
    return True, "", text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=("kernel", "user"), default="kernel")
    parser.add_argument("--keep", help="a directory for what the tools print")
    parser.add_argument("--lines", type=int, default=0, help="so many of the last lines of what does not work")
    parser.add_argument("--patience", type=float, default=1, help="how much slower than usual the machine is")
    parser.add_argument("tools", nargs="*")
    options = parser.parse_args()
    skep = os.environ.get("SKEP", "skep")
    names = options.tools or installed()
    if not names:
        print("no BCC tools are installed (Debian package bpfcc-tools)")
        return 77
    working = []
    for name in names:
        works, why, text = run(name, options.engine, skep, options.patience)
        if options.keep:
            os.makedirs(options.keep, exist_ok=True)
            with open(os.path.join(options.keep, name), "w") as file:
                file.write(text)
        if works:
            working.append(name)
        print("%-16s %s" % (name, "works" if works else "- " + why), flush=True)
        if not works and options.lines > 0:
            print("".join("    %s\n" % line[:200] for line in text.splitlines()[-options.lines:]), end="", flush=True)
    print("%d of %d tools work on the %s engine" % (len(working), len(names), options.engine))
    return 0 if options.tools and len(working) == len(names) or not options.tools else 1


if __name__ == "__main__":
    sys.exit(main())
