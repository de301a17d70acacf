# System calls by number and by name, from skep's own table (x86-64; other machines have their own, see unistd.h).
from skep._library import call

_HIGHEST = 600


def _names():
    return {number: name for number in range(_HIGHEST) if (name := call.syscall_name(number)) is not None}


syscalls = _names()


def syscall_name(syscall_num):
    """The name of a system call as bytes."""
    return syscalls.get(syscall_num, b"[unknown: %d]" % syscall_num)
