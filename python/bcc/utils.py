# Small things that tools import: bytes on terminals, CPUs, languages.
import ctypes as ct
import os
import sys

FILESYSTEMENCODING = sys.getfilesystemencoding()


def _read_cpu_range(path):
    """The CPUs of a list such as "0-3,8"."""
    cpus = []
    with open(path) as file:
        for part in file.read().strip().split(","):
            if part:
                first, _, last = part.partition("-")
                cpus.extend(range(int(first), int(last or first) + 1))
    return cpus


def get_online_cpus():
    return _read_cpu_range("/sys/devices/system/cpu/online")


def get_possible_cpus():
    return _read_cpu_range("/sys/devices/system/cpu/possible")


# What a process runs, told from its executable's name and from the libraries it has mapped.
_LANGUAGES = ["java", "node", "perl", "php", "python", "ruby", "tcl"]


def detect_language(candidates, pid):
    """The first of `candidates` that the process is written in, or None."""
    try:
        executable = os.path.basename(os.readlink("/proc/%d/exe" % pid))
    except OSError:
        return None
    for language in candidates:
        if executable.startswith(language):
            return language
    try:
        with open("/proc/%d/maps" % pid) as maps:
            mapped = {os.path.basename(line.split()[-1]) for line in maps if "/" in line}
    except OSError:
        return None
    for language in candidates:
        if any(name.startswith("lib" + language) for name in mapped):
            return language
    return None


def printb(s, file=sys.stdout, nl=1):
    """Prints bytes as they are: command and file names need not be UTF-8."""
    buf = file.buffer if hasattr(file, "buffer") else file
    # A file of text that has no bytes below it, such as io.StringIO.
    if buf is file and not hasattr(file, "mode"):
        file.write(s.decode(FILESYSTEMENCODING, "replace") + ("\n" if nl else ""))
        file.flush()
        return
    if hasattr(file, "flush"):
        file.flush()  # what print() holds back comes first
    buf.write(s + b"\n" if nl else s)
    file.flush()


class ArgString(object):
    """An argument of the command line that works as bytes and as text."""

    def __init__(self, arg):
        self.s = arg if isinstance(arg, bytes) else os.fsencode(arg)

    def __bytes__(self):
        return self.s

    def __str__(self):
        return self.s.decode(FILESYSTEMENCODING, "surrogateescape")


def warn_with_traceback(message, category, filename, lineno, file=None, line=None):
    import traceback
    import warnings
    log = file if hasattr(file, "write") else sys.stderr
    traceback.print_stack(f=sys._getframe(2), file=log)
    log.write(warnings.formatwarning(message, category, filename, lineno, line))


def _assert_is_bytes(arg):
    """Names and sources are bytes inside; text is taken too."""
    if arg is None or isinstance(arg, bytes):
        return arg
    return bytes(ArgString(arg)) if isinstance(arg, str) else bytes(arg)


class StrcmpRewrite(object):
    """STRCMP("constant", value) in the expressions of trace and argdist: a call of a function made for the constant."""

    _FUNCTION = """
static inline bool %(name)s(char const *ignored, unsigned long string) {
        const char wanted[] = %(constant)s;
        char found[sizeof(wanted)] = {};
        %(read)s(found, sizeof(found), (void *)string);
        for (int at = 0; at < (int)sizeof(wanted) - 1; ++at)
                if (wanted[at] != found[at])
                        return false;
        return true;
}
"""

    @classmethod
    def rewrite_expr(cls, expr, bin_cmp, is_user, probe_user_list, streq_functions, probeid):
        """`bin_cmp`: the constant is an initializer list, not a string. `is_user`: values are user pointers; else only
        those that `probe_user_list` names are."""
        import re
        constant = r'"([^"]+)"' if bin_cmp else r'("[^"]+")'
        for match in re.finditer(r"STRCMP\(%s,(.+?)\)" % constant, expr):
            user = is_user or match.group(2).strip() in probe_user_list
            name = "streq_%d" % probeid
            streq_functions += cls._FUNCTION % {"name": name, "constant": match.group(1),
                                                "read": "bpf_probe_read_user" if user else "bpf_probe_read_kernel"}
            expr = expr.replace("STRCMP", name, 1)
            probeid += 1
        return {"expr": expr, "streq_functions": streq_functions, "probeid": probeid}
