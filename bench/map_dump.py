#!/usr/bin/env python3
"""`skep map dump` of a hash of a million entries in the kernel, beside bpftool: seconds and peak memory, interleaved rounds.

    bench/map_dump.py build/release/tools/skep/skep [entries] [rounds]

What is timed goes to /dev/null, since a file or a pipe costs both the same; before that one dump of each goes to a file, and the
two must be equal. Needs root (or CAP_BPF).
"""
import argparse
import ctypes
import filecmp
import os
import pathlib
import statistics
import struct
import tempfile
import time

MAP_CREATE, MAP_UPDATE_BATCH, OBJ_GET_INFO_BY_FD = 0, 26, 15
libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, 128)
    status = libc.syscall(321 if os.uname().machine == "x86_64" else 280, command, buffer, 128)
    if status < 0:
        raise OSError(ctypes.get_errno(), f"bpf({command}): {os.strerror(ctypes.get_errno())}")
    return status


def make_map(entries):
    """A hash of 8 to 8 bytes, filled; the descriptor keeps it."""
    map_fd = bpf(MAP_CREATE, struct.pack("5I", 1, 8, 8, entries, 0) + bytes(8) + b"skep_bench".ljust(16, b"\0"))
    step = 100_000
    for start in range(0, entries, step):
        count = min(step, entries - start)
        keys = ctypes.create_string_buffer(struct.pack(f"{count}Q", *range(start, start + count)))
        values = ctypes.create_string_buffer(struct.pack(f"{count}Q", *(n * 7 for n in range(start, start + count))))
        bpf(MAP_UPDATE_BATCH, struct.pack("4Q2I2Q", 0, 0, ctypes.addressof(keys), ctypes.addressof(values), count, map_fd, 0, 0))
    info = ctypes.create_string_buffer(88)
    bpf(OBJ_GET_INFO_BY_FD, struct.pack("2IQ", map_fd, len(info), ctypes.addressof(info)))
    return map_fd, struct.unpack_from("2I", info.raw)[1]


def measure(command, path, watch=False):
    """Seconds of one run, and with `watch`, which disturbs it, its peak memory in KiB."""
    with open(path, "wb") as out:
        begin = time.monotonic()
        pid = os.fork()
        if pid == 0:
            os.dup2(out.fileno(), 1)
            os.execvp(command[0], command)
        # The peak that wait4 reports counts this interpreter before the exec; the new image's own is in /proc.
        peak, done = 0, 0
        if not watch:
            done, status = os.waitpid(pid, 0)
        while not done:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                break
            try:
                text = pathlib.Path(f"/proc/{pid}/status").read_text()
                if command[0].endswith(text.split()[1]):
                    peak = max(peak, int(text.split("VmHWM:")[1].split()[0]))
            except (OSError, IndexError):
                pass
            time.sleep(0.002)
        seconds = time.monotonic() - begin
    if status != 0:
        raise SystemExit(f"{' '.join(command)} failed: {status}")
    return seconds, peak


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("skep", type=pathlib.Path, help="the binary, e.g. build/release/tools/skep/skep")
    parser.add_argument("entries", type=int, nargs="?", default=1_000_000)
    parser.add_argument("rounds", type=int, nargs="?", default=5)
    arguments = parser.parse_args()
    skep, entries, rounds = str(arguments.skep), arguments.entries, arguments.rounds
    if not os.access(skep, os.X_OK):
        parser.error(f"there is no program {skep}; build it with make")
    map_fd, map_id = make_map(entries)
    directory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        for form in ([], ["-j"]):
            commands = {"skep": [skep, "map", "dump", "id", str(map_id), *form], "bpftool": ["/usr/sbin/bpftool", *form, "map", "dump", "id", str(map_id)]}
            if not os.path.exists("/usr/sbin/bpftool"):
                del commands["bpftool"]
            samples, outputs, peaks = {name: [] for name in commands}, {}, {}
            for name, command in commands.items():
                path = pathlib.Path(scratch) / name
                peaks[name] = measure(command, path, watch=True)[1]
                outputs[name] = path.stat().st_size
            if len(commands) == 2 and not filecmp.cmp(*(pathlib.Path(scratch) / name for name in commands), shallow=False):
                raise SystemExit("the two dumps differ")
            for _ in range(rounds):
                for name, command in commands.items():
                    samples[name].append(measure(command, "/dev/null")[0])
            for name, seconds in samples.items():
                print(f"{'json' if form else 'text':<5} {name:<8} {entries} entries  min {min(seconds):.3f} s  median {statistics.median(seconds):.3f} s  "
                      f"peak {peaks[name] / 1024:.1f} MiB  {outputs[name]} bytes")
            if len(samples) == 2:
                ratio = min(samples["bpftool"]) / min(samples["skep"])
                print(f"{'json' if form else 'text':<5} skep is {ratio:.1f} times as fast")
    os.close(map_fd)


if __name__ == "__main__":
    main()
