# class BPF: a source compiled, its programs attached, its tables and events read.
#
# Maps are made when the object is opened, a program is loaded when it is first attached (or asked for by load_func), for
# only then its type is known. What BCC keeps as descriptors are skep's own handles here; where a tool wants a number,
# the descriptor is opened.
import collections
import ctypes as ct
import os
import sys

from skep import _library, _session
from skep._library import Error, call
from skep._object import Link, Object, close_links

from . import _machine
from ._attach import Attaching, Machine
from ._enums import BPFProgType, XDPAction, XDPFlags
from .utils import ArgString, _assert_is_bytes

DEBUG_LLVM_IR, DEBUG_BPF, DEBUG_PREPROCESSOR, DEBUG_SOURCE, DEBUG_BPF_REGISTER_STATE, DEBUG_BTF = (
    1, 2, 4, 8, 16, 32)
LOG_BUFFER_SIZE = 256 * 1024

_probe_limit_default = 1000


def _text(name):
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


class SymbolCache(object):
    """Symbols of a process, or of the kernel for pid -1."""

    def __init__(self, pid):
        from . import _symbols
        self._symbols = _symbols.of(pid)

    def resolve(self, addr, demangle):
        """(name, offset, module); without a name where none is known."""
        return self._symbols.resolve(addr, demangle)

    def resolve_name(self, module, name):
        return self._symbols.address(module, name)


class BPF(Attaching, Machine):
    # From here on names that programs use as BPF.NAME.
    SOCKET_FILTER = BPFProgType.SOCKET_FILTER
    KPROBE = BPFProgType.KPROBE
    SCHED_CLS = BPFProgType.SCHED_CLS
    SCHED_ACT = BPFProgType.SCHED_ACT
    TRACEPOINT = BPFProgType.TRACEPOINT
    XDP = BPFProgType.XDP
    PERF_EVENT = BPFProgType.PERF_EVENT
    CGROUP_SKB = BPFProgType.CGROUP_SKB
    CGROUP_SOCK = BPFProgType.CGROUP_SOCK
    LWT_IN = BPFProgType.LWT_IN
    LWT_OUT = BPFProgType.LWT_OUT
    LWT_XMIT = BPFProgType.LWT_XMIT
    SOCK_OPS = BPFProgType.SOCK_OPS
    SK_SKB = BPFProgType.SK_SKB
    CGROUP_DEVICE = BPFProgType.CGROUP_DEVICE
    SK_MSG = BPFProgType.SK_MSG
    RAW_TRACEPOINT = BPFProgType.RAW_TRACEPOINT
    CGROUP_SOCK_ADDR = BPFProgType.CGROUP_SOCK_ADDR
    CGROUP_SOCKOPT = BPFProgType.CGROUP_SOCKOPT
    TRACING = BPFProgType.TRACING
    LSM = BPFProgType.LSM

    XDP_ABORTED = XDPAction.XDP_ABORTED
    XDP_DROP = XDPAction.XDP_DROP
    XDP_PASS = XDPAction.XDP_PASS
    XDP_TX = XDPAction.XDP_TX
    XDP_REDIRECT = XDPAction.XDP_REDIRECT

    XDP_FLAGS_UPDATE_IF_NOEXIST = XDPFlags.UPDATE_IF_NOEXIST
    XDP_FLAGS_SKB_MODE = XDPFlags.SKB_MODE
    XDP_FLAGS_DRV_MODE = XDPFlags.DRV_MODE
    XDP_FLAGS_HW_MODE = XDPFlags.HW_MODE
    XDP_FLAGS_REPLACE = XDPFlags.REPLACE

    CLOCK_MONOTONIC = 1

    class timespec(ct.Structure):
        _fields_ = [("tv_sec", ct.c_long), ("tv_nsec", ct.c_long)]

    str2ctype = {
        "_Bool": ct.c_bool, "char": ct.c_char, "wchar_t": ct.c_wchar, "unsigned char": ct.c_ubyte,
        "short": ct.c_short, "unsigned short": ct.c_ushort, "int": ct.c_int, "unsigned int": ct.c_uint,
        "long": ct.c_long, "unsigned long": ct.c_ulong, "long long": ct.c_longlong,
        "unsigned long long": ct.c_ulonglong, "float": ct.c_float, "double": ct.c_double,
        "long double": ct.c_longdouble, "__int128": ct.c_int64 * 2, "unsigned __int128": ct.c_uint64 * 2,
    }

    _syscall_prefixes = _machine.SYSCALL_PREFIXES
    _sym_caches = {}
    _xdp_links = {}
    _func_links = {}

    class Function(object):
        """A loaded program."""

        def __init__(self, bpf, name, loaded):
            self.bpf = bpf
            self.name = name
            self._loaded = loaded
            self._descriptor = None

        @property
        def fd(self):
            """A descriptor (kernel engine), or its number in this process (user engine)."""
            if self._descriptor is None:
                self._descriptor = (call.function_descriptor(self._loaded.handle)
                                    if self.bpf._engine.name == "kernel" else self._loaded.describe().id)
            return self._descriptor

    def __init__(self, src_file=b"", hdr_file=b"", text=None, debug=0, cflags=[], usdt_contexts=[], allow_rlimit=True,
                 device=None, attach_usdt_ignore_pid=False):
        """Compiles a source, makes its maps, and attaches the programs whose names say where (kprobe__NAME, ...).

        src_file   a file; a relative one is looked for here and beside the program
        text       the source itself; one of both
        debug      DEBUG_SOURCE prints the compiled programs, DEBUG_PREPROCESSOR the source
        cflags     more arguments for the compiler
        """
        src_file, hdr_file, text = _assert_is_bytes(src_file), _assert_is_bytes(hdr_file), _assert_is_bytes(text)
        if text and src_file:
            raise AssertionError("a BPF object is made from src_file or from text, not from both")
        self.debug = debug
        self.funcs = {}
        self.tables = {}
        self.kprobe_fds, self.uprobe_fds, self.tracepoint_fds = {}, {}, {}
        self.raw_tracepoint_fds, self.kfunc_entry_fds, self.kfunc_exit_fds, self.lsm_fds = {}, {}, {}, {}
        self.open_perf_events, self._read_counters = {}, {}
        self.perf_buffers, self._rings = {}, {}
        self.tracefile = None
        self._trace_reader, self._trace_lines = None, collections.deque()
        self._usdt_contexts = list(usdt_contexts)
        self._engine = _session.engine()
        self._object = self._open(src_file, hdr_file, text, cflags)
        if self._object.warnings and debug:
            print(self._object.warnings, file=sys.stderr)
        for context in usdt_contexts:
            context.attach_uprobes(self, attach_usdt_ignore_pid)
        self._trace_autoload()
        if debug & (DEBUG_BPF | DEBUG_SOURCE):
            for name in self.funcs:
                print(self.disassemble_func(name), file=sys.stderr)

    def _open(self, src_file, hdr_file, text, cflags):
        text = text or b"\n"
        flags = [bytes(ArgString(flag)) if isinstance(flag, str) else bytes(flag) for flag in cflags]
        if hdr_file:
            flags += [b"-include", self._find_file(hdr_file)]
        name = b"program.c"
        try:
            if src_file:
                src_file = self._find_file(src_file)
                if not self._usdt_contexts:
                    return Object(self._engine, path=src_file, cflags=flags)
                with open(src_file, "rb") as file:
                    text, name = file.read(), os.path.basename(src_file)
            for context in self._usdt_contexts:
                text = context._source(self._engine) + text
            if self.debug & (DEBUG_PREPROCESSOR | DEBUG_SOURCE):
                print(_text(text), file=sys.stderr)
            return Object(self._engine, text=text, name=name, cflags=flags)
        except Error as error:
            raise Exception("Failed to compile BPF module %s: %s" % (_text(src_file or b"<text>"), error)) from None

    @staticmethod
    def _find_file(filename):
        """A file as it is named, or beside the program that runs."""
        if filename and not os.path.isfile(filename):
            beside = os.path.join(os.path.dirname(os.fsencode(sys.argv[0])), filename)
            if os.path.isfile(beside):
                return beside
            raise Exception("Could not find file %s (looked here and in %s)" %
                            (_text(filename), os.path.dirname(sys.argv[0]) or "."))
        return filename

    # --- functions ---

    def load_funcs(self, prog_type=KPROBE):
        """Loads every program as this type."""
        return [self.load_func(spec.name, prog_type) for spec in self._object.specs() if spec.autoload]

    def load_func(self, func_name, prog_type, device=None, attach_type=-1):
        """Verifies and loads one program; a second call gives the same."""
        return self._load(_assert_is_bytes(func_name), prog_type, None)

    def _load(self, name, prog_type, target):
        if name in self.funcs:
            return self.funcs[name]
        self._check_known(name)
        try:
            loaded = self._object.load(name, prog_type, target)
        except Error as error:
            if error.code == _library.PERMISSION:
                raise Exception("Need super-user privileges to run: %s" % error) from None
            raise Exception("Failed to load BPF program %s: %s" % (_text(name), error)) from None
        self.funcs[name] = BPF.Function(self, name, loaded)
        return self.funcs[name]

    def _check_known(self, name):
        names = [spec.name for spec in self._object.specs()]
        if name not in names:
            raise Exception("Unknown program %s; there are: %s" %
                            (_text(name), ", ".join(_text(one) for one in names) or "none"))

    def _attach(self, fn_name, target, prog_type, what, pid=-1):
        """Loads the program for this target unless it is loaded, and attaches it."""
        fn = self._load(fn_name, prog_type, target)
        try:
            return fn._loaded.attach(target, pid if pid and pid > 0 else 0)
        except Error as error:
            failure = Exception("Failed to attach BPF program %s to %s: %s" % (_text(fn_name), what, error))
            failure.code = error.code
            raise failure from None

    def dump_func(self, func_name):
        """The program's instructions, 8 bytes each."""
        return self._loaded_or_any(func_name).code()

    def disassemble_func(self, func_name):
        """The program's instructions as text."""
        return self._loaded_or_any(func_name).text()

    def _loaded_or_any(self, func_name):
        name = _assert_is_bytes(func_name)
        if name not in self.funcs:
            spec = next((spec for spec in self._object.specs() if spec.name == name), None)
            self._load(name, spec.type if spec and spec.type else BPF.KPROBE, None)
        return self.funcs[name]._loaded

    # --- tables ---

    def get_table(self, name, keytype=None, leaftype=None, reducer=None):
        from .table import Table
        name = _assert_is_bytes(name)
        try:
            handle = self._object.table(name)
        except Error as error:
            raise KeyError(str(error)) from None
        return Table(self, handle, keytype, leaftype, name, reducer=reducer)

    def __getitem__(self, key):
        key = _assert_is_bytes(key)
        if key not in self.tables:
            self.tables[key] = self.get_table(key)
        return self.tables[key]

    def __setitem__(self, key, leaf):
        self.tables[_assert_is_bytes(key)] = leaf

    def __delitem__(self, key):
        del self.tables[_assert_is_bytes(key)]

    def __len__(self):
        return len(self.tables)

    def __iter__(self):
        return iter(self.tables)

    def decode_table(self, table_name, sizeinfo=False):
        from .disassembler import decode_map
        table = self[table_name]
        return decode_map(_assert_is_bytes(table_name), table, table.ttype, sizeinfo=sizeinfo)

    @property
    def module(self):
        """What the functions of `lib` that ask for a module are given."""
        return self

    def _descriptor_of_table(self, handle):
        return call.table_descriptor(handle.handle) if self._engine.name == "kernel" else handle.id

    def _id_of(self, leaf, what):
        """Program arrays and maps of maps hold numbers; programs and descriptors that stand for them are translated."""
        if isinstance(leaf, BPF.Function):
            return leaf._loaded.describe().id
        if hasattr(leaf, "map_id"):
            return leaf.map_id
        number = getattr(leaf, "value", leaf)
        if self._engine.name != "kernel":
            return number & 0xffffffff
        found = _machine.id_behind(number, what)
        if found is None:
            raise Exception("%d is no descriptor of a %s" % (number, "program" if what == "prog_id" else "map"))
        return found

    def _id_of_program(self, leaf):
        return self._id_of(leaf, "prog_id")

    def _id_of_map(self, leaf):
        return self._id_of(leaf, "map_id")

    # --- events ---

    class _OpenReader(object):
        def __init__(self, table, reader, deliver, lost_cb):
            self.table, self.reader, self.deliver, self.lost_cb = table, reader, deliver, lost_cb
            self.waiting = collections.deque()

    def _open_reader(self, table, handle, deliver, lost_cb, ring=False):
        opened = self._rings if ring else self.perf_buffers
        if handle.name in opened:
            raise Exception("the buffer of table %s is open already" % _text(handle.name))
        try:
            reader = handle.reader()
        except Error as error:
            raise Exception("Could not open the buffer of table %s: %s" % (_text(handle.name), error)) from None
        opened[handle.name] = BPF._OpenReader(table, reader, deliver, lost_cb)

    @staticmethod
    def _poll(opened, timeout):
        opened = list(opened.values())
        if not any(one.waiting for one in opened):
            _session.poll([one.reader for one in opened], -1 if timeout is None else int(timeout))
            for one in opened:
                one.waiting.extend(one.reader.records())
        count = sum(len(one.waiting) for one in opened)
        for one in opened:
            one.table._hand_out(one, one.deliver)
            lost = one.reader.newly_lost()
            if lost:
                if one.lost_cb:
                    one.lost_cb(lost)
                elif one.lost_cb is None and hasattr(one.table, "open_perf_buffer"):
                    print("Possibly lost %d samples" % lost, file=sys.stderr)
        return count

    def perf_buffer_poll(self, timeout=-1):
        """Waits up to `timeout` milliseconds (-1: without end) and hands out the records of every open perf buffer."""
        self._poll(self.perf_buffers, timeout)

    def perf_buffer_consume(self):
        """What there is, without waiting."""
        self._poll(self.perf_buffers, 0)

    def kprobe_poll(self, timeout=-1):
        """The old name of perf_buffer_poll()."""
        self.perf_buffer_poll(timeout)

    def ring_buffer_poll(self, timeout=-1):
        if not self._rings:
            raise Exception("No ring buffers to poll")
        return self._poll(self._rings, timeout)

    def ring_buffer_consume(self):
        if not self._rings:
            raise Exception("No ring buffers to poll")
        return self._poll(self._rings, 0)

    # --- the trace pipe ---

    def trace_open(self, nonblocking=False):
        """Opens the trace pipe; an object whose readline() gives lines."""
        if self._trace_reader is None:
            try:
                self._trace_reader = _session.trace_reader()
            except Error as error:
                raise Exception("Could not open the trace pipe: %s" % error) from None
        return self

    def readline(self, size=-1):
        return (self.trace_readline() or b"") + b"\n"

    def trace_readline(self, nonblocking=False):
        """The next line of bpf_trace_printk() as bytes, None where none is there and nobody shall wait."""
        self.trace_open(nonblocking)
        while not self._trace_lines:
            _session.poll([self._trace_reader], 0 if nonblocking else -1)
            for data, size, _ in self._trace_reader.records():
                self._trace_lines.append(ct.string_at(data, size) if data else b"")
            lost = self._trace_reader.newly_lost()
            if lost:
                print("skep: %d lines of the trace pipe were lost" % lost, file=sys.stderr)
            if nonblocking and not self._trace_lines:
                return None
        return self._trace_lines.popleft()

    # "            bash-1234    [001] d..31   123.456789: bpf_trace_printk: text"; the command may hold anything.
    _TRACE_LINE = rb"(?s)^(.{16})-(\d+)\s+(?:\([\s\d-]+\)\s+)?\[(\d+)\]\s+(\S+)\s+([\d.]+): [^:]*: ?(.*)$"

    def trace_fields(self, nonblocking=False):
        """The next line as (task, pid, cpu, flags, timestamp, message)."""
        import re
        while True:
            line = self.trace_readline(nonblocking)
            if line is None:
                return (None,) * 6
            fields = re.match(self._TRACE_LINE, line)
            if fields:
                task, pid, cpu, flags, timestamp, message = fields.groups()
                return (task.lstrip(), int(pid), int(cpu), flags, float(timestamp), message)

    def trace_print(self, fmt=None):
        """Prints lines without end, each as it comes, or the fields that `fmt` names: "{1} {5}"."""
        while True:
            if fmt:
                line = fmt.format(*self.trace_fields(nonblocking=False))
            else:
                line = self.trace_readline(nonblocking=False)
            print(line)
            sys.stdout.flush()

    # --- symbols ---

    @staticmethod
    def _sym_cache(pid):
        if pid < 0 and pid != -1:
            pid = -1
        if pid not in BPF._sym_caches:
            BPF._sym_caches[pid] = SymbolCache(pid)
        return BPF._sym_caches[pid]

    @staticmethod
    def sym(addr, pid, show_module=False, show_offset=False, demangle=True):
        """The name of an address of a process (-1: of the kernel): "name+0x12 [module]" as asked; b"[unknown]"."""
        name, offset, module = BPF._sym_cache(pid).resolve(addr, demangle)
        offset = b"+0x%x" % offset if show_offset and name is not None else b""
        name = (name or b"[unknown]") + offset
        module = b" [%s]" % os.path.basename(module) if show_module and module is not None else b""
        return name + module

    @staticmethod
    def ksym(addr, show_module=False, show_offset=False):
        return BPF.sym(addr, -1, show_module, show_offset, False)

    @staticmethod
    def ksymname(name):
        """The address of a kernel symbol, -1 where there is none."""
        return _machine.address_of_kernel_symbol(_assert_is_bytes(name))

    # --- numbers of things ---

    def num_open_kprobes(self):
        return len(self.kprobe_fds)

    def num_open_uprobes(self):
        return len(self.uprobe_fds)

    def num_open_tracepoints(self):
        return len(self.tracepoint_fds)

    @staticmethod
    def get_probe_limit():
        limit = os.environ.get("BCC_PROBE_LIMIT", "")
        return int(limit) if limit.isdigit() else _probe_limit_default

    # --- leaving ---

    def donothing(self):
        """An action that does nothing."""

    def free_bcc_memory(self):
        """No compiler's memory is kept: it is a process of its own. 0, as where there was nothing to free."""
        return 0

    @staticmethod
    def add_module(modname):
        """Modules of a process are found when they are asked for."""

    def close(self):
        """Gives up the source; attached programs stay."""

    def cleanup(self):
        """Detaches everything and gives back programs and maps: the object is of no use afterwards."""
        links, counters = [], []
        for attached in (self.kprobe_fds, self.uprobe_fds, self.tracepoint_fds, self.raw_tracepoint_fds,
                         self.kfunc_entry_fds, self.kfunc_exit_fds, self.lsm_fds, self.open_perf_events,
                         self._read_counters):
            for one in attached.values():
                for held in one.values() if isinstance(one, dict) else (one,):
                    (links if isinstance(held, Link) else counters).append(held)
            attached.clear()
        close_links(links)
        for one in counters:
            one.close()
        for opened in (self.perf_buffers, self._rings):
            for one in opened.values():
                one.reader.close()
            opened.clear()
        if self._trace_reader:
            self._trace_reader.close()
            self._trace_reader = None
        self.funcs.clear()
        self._object.close()

    def __enter__(self):
        return self

    def __exit__(self, exc_type, exc_val, exc_tb):
        self.cleanup()
