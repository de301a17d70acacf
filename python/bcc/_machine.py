# What is asked of the machine: kernel functions, tracepoints, libraries, places in binaries.
import os

TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")


def tracefs():
    """Where tracefs is mounted, the first place where nothing is."""
    for place in TRACEFS:
        if os.path.isdir(place + "/events"):
            return place
    return TRACEFS[0]


_kallsyms = None


def kallsyms():
    """/proc/kallsyms, read once: the kernel takes 40 ms to print it."""
    global _kallsyms
    if _kallsyms is None:
        with open("/proc/kallsyms", "rb") as file:
            _kallsyms = file.read()
    return _kallsyms


_FUNCTION_TYPES = (b"t", b"T", b"w", b"W")
# Names that are text and yet no functions to probe.
_NOT_PROBEABLE = rb"_kbl_addr_|__perf|perf_|__SCT__|.*\.cold(\.\d+)?$"


def _blacklist():
    try:
        with open(os.path.dirname(tracefs()) + "/debug/kprobes/blacklist", "rb") as file:
            return {line.split()[1] for line in file if len(line.split()) > 1}
    except OSError:
        return set()


def _symbols_beginning(beginning):
    """(type, name, place in the text) of the symbols that begin so: found as bytes, which takes a millisecond where a
    regular expression takes a tenth of a second."""
    text, wanted = kallsyms(), b" " + beginning
    at = text.find(wanted)
    while at >= 0:
        if text[at - 2:at - 1] == b" ":  # ADDRESS TYPE NAME [MODULE]
            yield text[at - 1:at], text[at + 1:text.find(b"\n", at)].split(None, 1)[0], at
        at = text.find(wanted, at + 1)


def _symbols_named(name):
    return (one for one in _symbols_beginning(name) if one[1] == name)


def kernel_functions(event_re):
    """Names of kernel functions that match from their beginning; each once."""
    import re
    wanted = re.compile(event_re)
    plain = re.fullmatch(rb"\^?([\w.]+)\$", event_re)
    beginning = re.fullmatch(rb"\^?(\w+)", event_re)
    if plain:
        found = {name: at for kind, name, at in _symbols_named(plain.group(1)) if kind in _FUNCTION_TYPES}
    elif beginning:
        found = {name: at for kind, name, at in _symbols_beginning(beginning.group(1)) if kind in _FUNCTION_TYPES}
    else:
        found = {match.group(1): match.start(1) for match in re.finditer(rb"^[0-9a-f]+ [tTwW] (\S+)", kallsyms(), re.M)
                 if wanted.match(match.group(1))}
    found = {name: at for name, at in found.items() if not re.match(_NOT_PROBEABLE, name)}
    stand_ins = {one for one in _stand_ins() if wanted.match(one)}
    if plain or not found:
        return found.keys() | stand_ins
    closed = (_places_between(b"__init_begin", b"__init_end"),
              _places_between(b"__irqentry_text_start", b"__irqentry_text_end"))
    possible = {name for name, at in found.items() if not any(begin < at < end for begin, end in closed)}
    return (possible | stand_ins) - _blacklist()


def _stand_ins():
    """Functions that are inlined or cannot be probed here, and that the engine has a tracepoint for."""
    from itertools import count, takewhile

    from skep import _session
    from skep._library import call
    if _session.plan.backend != "kernel" or _session.engine().has("kprobe") or _session.engine().has("fentry"):
        return ()
    return takewhile(lambda name: name is not None, (call.kernel_stand_in(index) for index in count()))


def _places_between(first, last):
    """Where in the text of the kernel's symbols, which is in the order of addresses, those between two marks stand."""
    text = kallsyms()
    begin, end = text.find(b" " + first + b"\n"), text.find(b" " + last + b"\n")
    return (begin, end) if 0 <= begin < end else (0, 0)


def address_of_kernel_symbol(name):
    """The address, or -1."""
    for _, _, at in _symbols_named(name):
        text = kallsyms()
        return int(text[text.rfind(b"\n", 0, at) + 1:at - 2], 16)
    return -1


def has_kernel_symbol(name):
    return next(_symbols_named(name), None) is not None


def tracepoints(tp_re):
    """"category:event" of every tracepoint that matches."""
    import re
    wanted, found = re.compile(tp_re), []
    events = os.fsencode(tracefs() + "/events")
    for category in sorted(os.listdir(events)):
        folder = os.path.join(events, category)
        if not os.path.isdir(folder):
            continue
        for event in sorted(os.listdir(folder)):
            name = category + b":" + event
            if wanted.match(name) and os.path.isdir(os.path.join(folder, event)):
                found.append(name)
    return found


def tracepoint_exists(category, event):
    return os.path.isdir(os.path.join(os.fsencode(tracefs()), b"events", category, event))


def syscall_prefix():
    """What the functions of system calls begin with: since 4.17 the architecture's own word."""
    return {"x86_64": b"__x64_sys_", "aarch64": b"__arm64_sys_", "s390x": b"__s390x_sys_",
            "riscv64": b"__riscv_sys_"}.get(os.uname().machine, b"sys_")


SYSCALL_PREFIXES = [b"sys_", b"__x64_sys_", b"__x32_compat_sys_", b"__ia32_compat_sys_", b"__arm64_sys_",
                    b"__s390x_sys_", b"__s390_sys_", b"__riscv_sys_"]


def _library_folders():
    yield from (folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder)
    machine = os.uname().machine
    for folder in ("/lib/%s-linux-gnu" % machine, "/usr/lib/%s-linux-gnu" % machine, "/lib64", "/usr/lib64", "/lib",
                   "/usr/lib", "/usr/local/lib"):
        yield folder


def find_library(name, pid=None):
    """The file of a library that is called `c` or `libc` or `libc.so.6`, as bytes; None where there is none. With a
    process, the one that it has mapped comes first."""
    import re
    name = os.fsdecode(name)
    if "/" in name:
        return os.fsencode(name) if os.path.exists(name) else None
    stem = name if name.startswith("lib") else "lib" + name
    pattern = re.compile(re.escape(stem) + (r"(\.so)?" if ".so" not in stem else "") +
                         (r"(-[\d.]+)?\.so(\.[\d.]+)?$" if ".so" not in stem else r"(\.[\d.]+)?$"))
    if pid and pid > 0:
        try:
            with open("/proc/%d/maps" % pid) as maps:
                for line in maps:
                    path = line.rstrip("\n").split(maxsplit=5)[-1]
                    if path.startswith("/") and pattern.match(os.path.basename(path)):
                        return os.fsencode(path)
        except OSError:
            pass
    for folder in _library_folders():
        try:
            fitting = sorted((one for one in os.listdir(folder) if pattern.match(one)), key=lambda one: (len(one), one))
        except OSError:
            continue
        # The name that programs are linked with has a number; a file without one may be a linker script.
        for one in sorted(fitting, key=lambda one: one.endswith(".so")):
            path = os.path.join(folder, one)
            with open(path, "rb") as file:
                if file.read(4) == b"\x7fELF":
                    return os.fsencode(os.path.realpath(path))
    return None


def find_exe(bin_path):
    """The file that a command of this name runs, or None."""
    bin_path = os.fsencode(bin_path)
    if b"/" in bin_path:
        return bin_path if os.access(bin_path, os.X_OK) else None
    for folder in os.environ.get("PATH", "/usr/bin:/bin").split(os.pathsep):
        path = os.path.join(os.fsencode(folder), bin_path)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def binary_of(name, pid):
    """The file that uprobes mean by a name: a path, a library, a command."""
    if not name and pid and pid > 0:
        name = b"/proc/%d/exe" % pid
    if b"/" in name:
        return name
    return find_library(name, pid) or find_exe(name) or name


def file_offset(path, address):
    """Where an address of a linked program is in its file (ELF64 program headers); the address itself in others."""
    import struct
    with open(path, "rb") as file:
        header = file.read(64)
        if len(header) < 64 or header[:5] != b"\x7fELF\x02":
            return address
        table, = struct.unpack_from("<Q", header, 32)
        entry_size, count = struct.unpack_from("<HH", header, 54)
        for index in range(min(count, 4096)):
            file.seek(table + index * entry_size)
            entry = file.read(56)
            if len(entry) < 56:
                break
            kind, _, offset, begin, _, size = struct.unpack_from("<IIQQQQ", entry)
            if kind == 1 and begin <= address < begin + size:
                return address - begin + offset
    return address


def id_behind(fd, what):
    """The number of the map or program behind a descriptor ("map_id", "prog_id"), or None."""
    try:
        with open("/proc/self/fdinfo/%d" % fd) as file:
            for line in file:
                name, _, value = line.partition(":")
                if name == what:
                    return int(value)
    except OSError:
        pass
    return None
