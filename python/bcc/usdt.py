# Static probes of user programs (USDT): found in a file or in a process, and given to the programs of a BPF object.
import ctypes as ct
import os
import re
import sys

from skep import _library
from skep._library import Error

from . import _machine
from .utils import _assert_is_bytes

# One argument as a note has it: "-4@%edi", "8@16(%rbp)", "8@$5".
_ARGUMENT = re.compile(rb"(-?\d+)@(\S+)")
_SIGNED = {1: ct.c_int8, 2: ct.c_int16, 4: ct.c_int32, 8: ct.c_int64}
_UNSIGNED = {1: ct.c_uint8, 2: ct.c_uint16, 4: ct.c_uint32, 8: ct.c_uint64}


class USDTException(Exception):
    pass


class USDTProbeArgument(object):
    """Where an argument is when the probe is hit."""

    def __init__(self, size, place):
        self.signed = size < 0
        self.size = abs(size)
        self.place = place

    def ctype(self):
        return (_SIGNED if self.signed else _UNSIGNED).get(self.size, ct.c_uint64)

    def __str__(self):
        return "%d %s bytes @ %s" % (self.size, "signed" if self.signed else "unsigned", self.place.decode())


class USDTProbeLocation(object):
    """One place of a probe."""

    def __init__(self, probe, index, address, offset, arguments):
        self.probe = probe
        self.index = index
        self.num_arguments = probe.num_arguments
        self.address = address
        self.file_offset = offset
        self.bin_path = probe.bin_path
        self._arguments = arguments

    def __str__(self):
        return "%s 0x%x" % (self.bin_path.decode(), self.address)

    def get_argument(self, index):
        return self._arguments[index]


class USDTProbe(object):
    """A probe of one file: provider, name, places."""

    def __init__(self, context, path, provider, name, arguments, semaphore):
        self.context = context
        self.bin_path, self.provider, self.name, self.semaphore = path, provider, name, semaphore
        self.num_arguments = len(_ARGUMENT.findall(arguments))
        self._locations = []

    @property
    def num_locations(self):
        return len(self._locations)

    def _add(self, address, offset, arguments):
        read = [USDTProbeArgument(int(size), place) for size, place in _ARGUMENT.findall(arguments)]
        self._locations.append(USDTProbeLocation(self, len(self._locations), address, offset, read))

    def __str__(self):
        return "%s:%s [sema 0x%x]" % (self.provider.decode(), self.name.decode(), self.semaphore)

    def short_name(self):
        return "%s:%s" % (self.provider.decode(), self.name.decode())

    def get_location(self, index):
        return self._locations[index]


class USDT(object):
    """The probes of a file, or of everything that a process has mapped."""

    def __init__(self, pid=None, path=None):
        self.pid = pid if pid and pid > 0 else -1
        self.path = _assert_is_bytes(path)
        if self.pid == -1 and not self.path:
            raise USDTException("either a pid or a binary path must be specified")
        self._probes = {}
        self._enabled = []
        for one in self._files():
            self._read(one)

    def _files(self):
        if self.path:
            path = _machine.binary_of(self.path, self.pid)
            if not os.path.exists(path):
                raise USDTException("USDT failed to instrument PATH: no file or library %s" %
                                    self.path.decode(errors="replace"))
            return [path]
        found = {}
        try:
            with open("/proc/%d/maps" % self.pid, "rb") as maps:
                for line in maps:
                    words = line.rstrip(b"\n").split(None, 5)
                    if len(words) == 6 and b"x" in words[1] and words[5].startswith(b"/"):
                        found[words[5]] = None
        except OSError as error:
            raise USDTException("USDT failed to instrument process %d: %s" % (self.pid, error.strerror)) from None
        return list(found)

    def _read(self, path):
        seen = path if self.pid == -1 else b"/proc/%d/root%s" % (self.pid, path)
        try:
            notes = _library.binary_probes(seen if os.path.exists(seen) else path)
        except Error:
            if self.path:
                raise USDTException("%s is no program or library" % path.decode(errors="replace")) from None
            return
        for provider, name, arguments, address, offset, semaphore in notes:
            key = (path, provider, name)
            if key not in self._probes:
                self._probes[key] = USDTProbe(self, path, provider, name, arguments, semaphore)
            self._probes[key]._add(address, offset, arguments)

    def enumerate_probes(self):
        return list(self._probes.values())

    def _find(self, probe):
        """A probe by "name" or "provider:name"."""
        provider, _, name = probe.rpartition(b":")
        return [one for one in self._probes.values() if one.name == name and (not provider or one.provider == provider)]

    def enable_probe(self, probe, fn_name):
        """fn_name is attached to the probe when this context is given to BPF(usdt_contexts=[...])."""
        probe, fn_name = _assert_is_bytes(probe), _assert_is_bytes(fn_name)
        found = self._find(probe)
        if not found:
            raise USDTException(
                "Failed to enable USDT probe '%s': there is none of this name in %s. Are you trying to enable a probe "
                "that the program was built without (--enable-dtrace and the like)?" %
                (probe.decode(errors="replace"), (self.path or b"process %d" % self.pid).decode(errors="replace")))
        self._enabled.append((found[0], fn_name))

    def enable_probe_or_bail(self, probe, fn_name):
        try:
            self.enable_probe(probe, fn_name)
        except USDTException as error:
            print(error, file=sys.stderr)
            sys.exit(1)

    def get_context(self):
        return self

    def get_text(self):
        """What is put in front of a source that uses this context."""
        return self._source(None).decode()

    def _source(self, engine):
        return b""

    def get_probe_arg_ctype(self, probe_name, arg_index):
        """The C type of an argument, as text."""
        found = self._find(_assert_is_bytes(probe_name))
        if not found or arg_index >= found[0].num_arguments:
            return None
        argument = found[0].get_location(0).get_argument(arg_index)
        return "%sint%d_t" % ("" if argument.signed else "u", argument.size * 8)

    def attach_uprobes(self, bpf, attach_usdt_ignore_pid=False):
        """Attaches what was enabled."""
        pid = -1 if attach_usdt_ignore_pid else self.pid
        for probe, fn_name in self._enabled:
            target = b"usdt:%s:%s:%s" % (probe.bin_path, probe.provider, probe.name)
            link = bpf._attach(fn_name, target, bpf.KPROBE, "probe " + probe.short_name(), pid)
            for index in range(probe.num_locations):
                location = probe.get_location(index)
                bpf._add_uprobe(bpf._get_uprobe_evname(b"p", probe.bin_path, location.address, pid), link)

    def enumerate_active_probes(self):
        """(file, function, address, pid) of every place that is used."""
        return [(probe.bin_path, fn_name, probe.get_location(index).address, self.pid)
                for probe, fn_name in self._enabled for index in range(probe.num_locations)]
