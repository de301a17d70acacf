# The package's own interface: typed, small, in Python's own terms.
from __future__ import annotations

import ctypes
import itertools
import os
import typing
from collections.abc import Iterator, MutableMapping, Sequence

from . import _library, _object, _session
from ._library import Error, call
from ._types import for_size

Name = typing.Union[str, bytes]
Value = typing.Any  # an int, bytes, or an instance of the map's key or value class


class Engine:
    """"user": this process, without privileges, observes one command or process. "kernel": Linux itself."""

    def __init__(self, name: str = "user") -> None:
        self._engine = _session.Engine.named(name)
        self.name = name

    def has(self, feature: str) -> bool:
        """"kprobe", "fentry", "lsm", "raw_tracepoint" or "kernel_types", found by trying."""
        return self._engine.has(feature)


class Link:
    """An attachment. Ends with close() or `with`; also when it is forgotten."""

    def __init__(self, link: _object.Link) -> None:
        self._link = link

    @property
    def carried_by(self) -> str:
        """One line where another hook carries the one that was asked for, or ""."""
        return self._link.carried_by

    def close(self) -> None:
        self._link.close()

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Frame(typing.NamedTuple):
    """One function of a stack."""
    address: int
    name: str  # as the source has it; "" where it is not known
    offset: int  # from the beginning of the function
    module: str  # the file, or the kernel's module
    source: str  # the file of the line, "" where debug information does not say
    line: int
    inlined: bool  # has no code of its own: the next frame that is not inlined has


class Symbolizer:
    """Names of the addresses in stacks. What it reads it keeps; one thread at a time."""

    def __init__(self) -> None:
        self._handle = call.symbolizer_open()

    def stack(self, addresses: Sequence[int], pid: int | None = None) -> list[Frame]:
        """Of a process, or of the kernel without one; the innermost first, as stack maps have them, up to the first 0.
        Functions that the compiler inlined are frames of their own where there is debug information (and libdw)."""
        wanted = list(itertools.takewhile(bool, addresses))
        array = (ctypes.c_uint64 * len(wanted))(*wanted)
        count = call.symbolizer_stack(self._handle, -1 if pid is None else pid, array, len(wanted))
        return [self._frame(index) for index in range(count)]

    def _frame(self, index: int) -> Frame:
        frame = _library.Frame()
        call.symbolizer_frame(self._handle, index, ctypes.byref(frame))
        return Frame(frame.address, frame.demangled.decode(errors="replace"), frame.offset,
                     os.fsdecode(frame.module), os.fsdecode(frame.source), frame.line, bool(frame.inlined))

    def remember(self, pid: int) -> bool:
        """Looks at a process now, for stacks that are asked when it may be gone. False: it is gone already."""
        return bool(call.symbolizer_remember(self._handle, pid))

    def follow(self, children: bool = False) -> None:
        """The kernel tells what every process maps from now on (`children`: those that this thread starts), so that
        those have names that have ended. Call it again a few times in a second."""
        call.symbolizer_follow(self._handle, children)

    def close(self) -> None:
        if self._handle:
            call.symbolizer_close(self._handle)
            self._handle = None

    def __enter__(self) -> Symbolizer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    __del__ = close


class TestResult(typing.NamedTuple):
    """What a program did when it was run on a given input."""
    value: int
    data: bytes
    context: bytes
    duration_ns: int


class Program:
    """A program of an object. It is loaded when it is attached, run or asked about."""

    def __init__(self, owner: Object, name: bytes, target: bytes, type: int) -> None:
        self._owner, self._name, self._type = owner, name, type
        self.name = name.decode()
        self.target = target.decode()  # where its section or its name wants it; "" where nothing does

    def attach(self, target: str | None = None, *, pid: int = 0, cookie: int = 0) -> Link:
        """`target` as on the command line: "syscall:execve", "tracepoint:sched:sched_switch", "uprobe:libc.so.6:malloc".
        The object keeps the link until it is closed."""
        where = target or self.target
        if not where:
            raise Error("program %s: nothing says where to attach it; give a target" % self.name,
                        _library.INVALID_ARGUMENT)
        loaded = self._owner._object.load(self._name, 0, where)
        link = Link(loaded.attach(where, pid, cookie))
        self._owner._links.append(link)
        return link

    def load(self, type: int = 0) -> Program:
        """Verifies and loads it now. `type`: a BPF_PROG_TYPE_* for programs that do not say theirs."""
        self._owner._object.load(self._name, type or self._type, self.target or None)
        return self

    def test_run(self, data: bytes = b"", context: bytes = b"", repeat: int = 1) -> TestResult:
        return TestResult(*self._loaded().test_run(data, context, repeat))

    def text(self) -> str:
        """Its instructions, one a line."""
        return self._loaded().text()

    @property
    def runs(self) -> int:
        return self._loaded().describe().run_count

    def _loaded(self) -> _object.Function:
        return self._owner._object.load(self._name, self._type, self.target or None)

    def __repr__(self) -> str:
        return "<skep.Program %s%s>" % (self.name, " at " + self.target if self.target else "")


def _plain(value: Value) -> Value:
    """Numbers as int; structures stay."""
    return value.value if isinstance(value, ctypes._SimpleCData) else value


class Map(MutableMapping):
    """A map as a dictionary. Keys and values that are numbers are ints; structures are ctypes structures, made by
    Key() and Value(). Values of per-CPU maps are lists."""

    def __init__(self, table: _object.Table) -> None:
        self._table = table
        types = table.owner.types
        self.Key = (types.ctype(table.key_type) if table.key_type else None) or for_size(table.key_size or 1)
        self.Value = (types.ctype(table.value_type) if table.value_type else None) or for_size(table.value_size or 1)
        slot = (table.value_size + 7) // 8 * 8
        self._cpus = table.stored_value_size // slot if table.type_name.startswith(("percpu", "lru_percpu")) else 0
        self._slot = slot
        self.name = table.name.decode()
        self.type, self.max_entries = table.type_name, table.max_entries

    def _key(self, key: Value) -> bytes:
        return bytes(key if isinstance(key, self.Key) else self.Key(*key) if isinstance(key, tuple) else self.Key(key))

    def _stored(self, value: Value) -> bytes:
        if not self._cpus:
            return self._one(value)
        return b"".join(self._one(one).ljust(self._slot, b"\0") for one in value)

    def _one(self, value: Value) -> bytes:
        if isinstance(value, self.Value):
            return bytes(value)
        return bytes(self.Value(*value) if isinstance(value, tuple) else self.Value(value))

    def _value(self, stored: bytes, offset: int = 0) -> Value:
        if not self._cpus:
            return _plain(self.Value.from_buffer_copy(stored, offset))
        return [_plain(self.Value.from_buffer_copy(stored, offset + cpu * self._slot)) for cpu in range(self._cpus)]

    def _call(self, function: typing.Callable, key: Value) -> Value:
        buffer = ctypes.create_string_buffer(max(1, self._table.stored_value_size))
        try:
            function(self._table.handle, self._key(key), buffer)
        except Error as error:
            if error.code == _library.NOT_FOUND:
                raise KeyError(key) from None
            raise
        return self._value(buffer.raw)

    def __getitem__(self, key: Value) -> Value:
        return self._call(call.table_lookup, key)

    def __setitem__(self, key: Value, value: Value) -> None:
        call.table_update(self._table.handle, self._key(key), self._stored(value), 0)

    def __delitem__(self, key: Value) -> None:
        try:
            call.table_delete(self._table.handle, self._key(key))
        except Error as error:
            if error.code == _library.NOT_FOUND:
                raise KeyError(key) from None
            raise

    def take(self, key: Value) -> Value:
        """Looks up and removes, as one step."""
        return self._call(call.table_take, key)

    def _entries(self, how: int) -> Iterator[tuple[Value, Value]]:
        keys, values, count = _library.read_entries(self._table, how)
        for place in range(count):
            key = _plain(self.Key.from_buffer_copy(keys, place * self._table.key_size))
            yield key, (None if how == _library.ENTRIES_KEYS
                        else self._value(values, place * self._table.stored_value_size))

    def __iter__(self) -> Iterator[Value]:
        return (key for key, _ in self._entries(_library.ENTRIES_KEYS))

    def __len__(self) -> int:
        return _library.read_entries(self._table, _library.ENTRIES_KEYS)[2]

    def items(self) -> list[tuple[Value, Value]]:  # type: ignore[override]
        """Every entry, read in one call."""
        return list(self._entries(_library.ENTRIES_READ))

    def values(self) -> list[Value]:  # type: ignore[override]
        return [value for _, value in self._entries(_library.ENTRIES_READ)]

    def take_all(self) -> list[tuple[Value, Value]]:
        """Every entry, removed: what programs add meanwhile is in the result or in the map."""
        return list(self._entries(_library.ENTRIES_TAKE))

    def clear(self) -> None:
        call.table_clear(self._table.handle)

    def __repr__(self) -> str:
        return "<skep.Map %s (%s)>" % (self.name, self.type)


class Record(typing.NamedTuple):
    """One record of a ring buffer or a perf buffer."""
    value: Value  # an instance of the record's C type, or bytes where that is not known
    data: bytes
    cpu: int


class Ring:
    """A ring buffer or a perf buffer: iterate over its records, without end, or until the workload has ended."""

    def __init__(self, owner: Object, table: _object.Table) -> None:
        self._owner = owner
        self._reader = table.reader()
        self._type = table.owner.types.ctype(table.value_type) if table.value_type else None
        self.name = table.name.decode()
        self.lost = 0  # records that did not fit, so far

    def poll(self, timeout: float | None = None) -> list[Record]:
        """What there is, after waiting up to `timeout` seconds (None: without end) for the first."""
        self._owner._poll([self._reader], timeout)
        records = [self._record(data, size, cpu) for data, size, cpu in self._reader.records()]
        self.lost += self._reader.newly_lost()
        return records

    def _record(self, address: int, size: int, cpu: int) -> Record:
        data = ctypes.string_at(address, size) if size else b""
        if self._type is None:
            return Record(data, data, cpu)
        need = ctypes.sizeof(self._type)
        return Record(_plain(self._type.from_buffer_copy(data[:need].ljust(need, b"\0"))), data, cpu)

    def __iter__(self) -> Iterator[Record]:
        while True:
            records = self.poll()
            if not records and self._owner.ended:
                return
            yield from records

    def close(self) -> None:
        self._reader.close()

    def __enter__(self) -> Ring:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Run:
    """A workload that is observed; `with` waits for its end."""

    def __init__(self, owner: Object) -> None:
        self._owner = owner

    def wait(self) -> int:
        """Until the workload has ended; the command's exit status, negative for a signal."""
        import select
        engine = self._owner._object.engine
        while not self._owner.ended:
            select.select([engine.end_fd], [], [])
        status = engine.workload().wait_status
        return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def stop(self) -> None:
        self._owner._object.engine.stop()

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, kind: type | None, *exception: object) -> None:
        if kind is not None:
            self.stop()
        self.wait()


class Object:
    """A source or an object file on an engine: its programs are object["NAME"], its maps
    object.maps["NAME"]."""

    def __init__(self, path: str | os.PathLike | None = None, *, text: Name | None = None,
                 engine: str | Engine = "user", cflags: Sequence[str] = ()) -> None:
        if (path is None) == (text is None):
            raise Error("an object is made from a path or from a text", _library.INVALID_ARGUMENT)
        name = engine.name if isinstance(engine, Engine) else engine
        self._object = _object.Object(_session.Engine.named(name), path=path, text=text, cflags=cflags)
        self._links: list[Link] = []
        self._running = False
        self.programs = {spec.name.decode(): Program(self, spec.name, spec.target, spec.type)
                         for spec in self._object.specs()}
        self.maps = {table.name.decode(): Map(table) for table in self._object.tables()}

    def __getitem__(self, name: str) -> Program:
        if name not in self.programs:
            raise KeyError("no program %r; there are: %s" % (name, ", ".join(self.programs)))
        return self.programs[name]

    def attach(self) -> list[Link]:
        """Attaches every program that says where it goes."""
        return [program.attach() for program in self.programs.values() if program.target]

    def ring(self, name: str) -> Ring:
        """A reader of a ring buffer or a perf event array; open it before the workload runs."""
        return Ring(self, self._object.table(name))

    def trace(self) -> Iterator[str]:
        """Lines of bpf_trace_printk, without end, or until the workload has ended."""
        reader = _session.Reader(call.engine_trace_reader(self._object.engine.handle))
        try:
            while True:
                count = self._poll([reader], None)
                for data, size, _ in reader.records():
                    yield ctypes.string_at(data, size).decode(errors="replace")
                if not count and self.ended:
                    return
        finally:
            reader.close()

    def run(self, *command: str, pid: int = 0) -> _Run:
        """Starts a command, or begins to observe a process. The user engine's programs are attached before."""
        with _session.DefaultSignals():
            self._object.engine.start(command, pid)
        self._running = True
        return _Run(self)

    @property
    def ended(self) -> bool:
        """Whether a workload ran and is over."""
        return self._running and self._object.engine.workload().state != _library.WORKLOAD_RUNNING

    def _poll(self, readers: list, timeout: float | None) -> int:
        handles = (ctypes.c_void_p * len(readers))(*[reader.handle for reader in readers])
        engine = self._object.engine.handle if self._running else None
        return call.readers_poll(handles, len(readers), engine, -1 if timeout is None else int(timeout * 1000))

    def close(self) -> None:
        _object.close_links([link._link for link in self._links])
        self._links = []
        self._object.close()

    def __enter__(self) -> Object:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def load(path: str | os.PathLike, *, engine: str | Engine = "user", cflags: Sequence[str] = ()) -> Object:
    """Reads C source (BCC's dialect or libbpf's style) or an ELF object."""
    return Object(path, engine=engine, cflags=cflags)


def compile(text: Name, *, engine: str | Engine = "user", cflags: Sequence[str] = ()) -> Object:
    """The same for a source that is a text."""
    return Object(text=text, engine=engine, cflags=cflags)
