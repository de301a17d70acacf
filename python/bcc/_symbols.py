# Names of addresses, through skep's own tables.
import ctypes as ct

from skep import _library
from skep._library import Error, call

_symbolizer = None


def _handle():
    global _symbolizer
    if _symbolizer is None:
        _symbolizer = call.symbolizer_open()
    return _symbolizer


class _Symbols(object):
    """Of one process, or of the kernel for pid -1."""

    def __init__(self, pid):
        self.pid = pid
        if pid >= 0:
            call.symbolizer_remember(_handle(), pid)

    def resolve(self, address, demangle):
        """(name or None, offset, module or None), as bytes."""
        frame = _library.Frame()
        known = call.symbolizer_find(_handle(), self.pid, address & 0xffffffffffffffff, ct.byref(frame))
        module = frame.module or (b"kernel" if self.pid < 0 else None)
        if not known:
            return None, frame.module_offset if self.pid >= 0 else address, module if self.pid >= 0 else None
        return frame.demangled if demangle else frame.name, frame.offset, module

    def address(self, module, name):
        """Of a name: in the kernel, or in a file as it is linked. -1 where there is none."""
        if self.pid < 0:
            found = ct.c_uint64()
            try:
                call.symbolizer_kernel_address(_handle(), name, ct.byref(found))
            except Error:
                return -1
            return found.value
        for function, offset in _library.binary_functions(module):
            if function == name:
                return offset
        return -1


def of(pid):
    return _Symbols(pid)
