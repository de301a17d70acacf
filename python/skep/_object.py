# An object on an engine: what both packages, skep and bcc, are made of.
import atexit
import ctypes
import os
from ctypes import byref

from . import _library, _session
from ._library import call, to_bytes
from ._types import Types


class Table:
    """A map: its handle, its sizes, its types' numbers."""

    def __init__(self, owner, handle):
        self.owner = owner
        self._handle = handle
        info = _library.TableInfo()
        call.table_describe(handle, byref(info))
        self.name = info.name
        self.type_name = info.type_name.decode()
        self.id, self.type, self.flags, self.max_entries = info.id, info.type, info.flags, info.max_entries
        self.key_size, self.value_size = info.key_size, info.value_size
        self.stored_value_size = info.stored_value_size
        self.key_type, self.value_type = info.key_type, info.value_type

    @property
    def handle(self):
        """It goes with its object: what is used afterwards is told so, and does not follow a dead pointer."""
        if self.owner.handle is None:
            raise _library.Error("the object of map %s was closed" % self.name.decode(), _library.CLOSED)
        return self._handle

    def reader(self):
        return _session.Reader(call.table_reader(self.handle), self)


class Function:
    """A loaded program."""

    def __init__(self, owner, name, handle):
        self.owner = owner
        self.name = name
        self.handle = handle

    def describe(self):
        info = _library.FunctionInfo()
        call.function_describe(self.handle, byref(info))
        return info

    def attach(self, target, pid=0, cookie=0):
        link = Link(self, call.function_attach(self.handle, to_bytes(target), pid, cookie))
        _session.note(link.carried_by)
        _session.attached()
        return link

    def text(self):
        return ctypes.string_at(call.function_text(self.handle)).decode()

    def code(self):
        size = call.function_code(self.handle, None, 0)
        buffer = ctypes.create_string_buffer(size)
        call.function_code(self.handle, buffer, size)
        return buffer.raw

    def test_run(self, data=b"", context=b"", repeat=1):
        run = _library.TestRun(data=data or None, data_size=len(data), context=context or None,
                               context_size=len(context), repeat=repeat)
        call.function_test_run(self.handle, byref(run))
        return (run.result, ctypes.string_at(run.data_out, run.data_out_size) if run.data_out else b"",
                ctypes.string_at(run.context_out, run.context_out_size) if run.context_out else b"", run.duration_ns)

    def close(self):
        handle, self.handle = self.handle, None
        if handle:
            call.function_close(handle)


class Link:
    """An attachment; close() ends it."""

    open = set()

    def __init__(self, function, handle):
        self.function = function
        self.handle = handle
        self.carried_by = call.link_carried_by(handle).decode()
        Link.open.add(self)

    def close(self):
        close_links([self])


def close_links(links):
    """Ends attachments: many in little more time than one, since the kernel waits for all of them at once."""
    handles = [link.handle for link in links if link.handle]
    for link in links:
        link.handle = None
        Link.open.discard(link)
    call.links_close((ctypes.c_void_p * len(handles))(*handles), len(handles))


_owner = os.getpid()


@atexit.register
def _detach_from_kernel():
    """What ends with the process anyway, one after the other. A process that was forked off holds nothing of its own."""
    if os.getpid() == _owner:
        try:
            close_links([link for link in Link.open if link.function.owner.engine.name == "kernel"])
        except KeyboardInterrupt:  # one more Ctrl-C while the kernel waits: it is going to end
            pass


class Object:
    """C source or an ELF object, read; its maps are made, its programs wait. Or one map of others, by its descriptor."""

    def __init__(self, engine, path=None, text=None, name="program.c", cflags=(), dialect=0, descriptor=None):
        self.engine = engine
        self.handle = None
        options = _library.CompileOptions(cflags=_library.strings([to_bytes(flag) for flag in cflags]), dialect=dialect)
        if descriptor is not None:
            self.handle = call.object_of_map(engine.handle, descriptor)
        elif text is not None:
            text = text.encode() if isinstance(text, str) else text
            self.handle = call.object_open_text(engine.handle, text, len(text), to_bytes(name), byref(options))
        else:
            self.handle = call.object_open_file(engine.handle, to_bytes(path), byref(options))
        self.types = Types(self.handle)
        self.functions = {}  # loaded ones

    @property
    def warnings(self):
        return call.object_warnings(self.handle).decode(errors="replace")

    def specs(self):
        """Its programs as the source describes them."""
        for index in range(call.object_function_count(self.handle)):
            spec = _library.FunctionSpec()
            call.object_function(self.handle, index, byref(spec))
            yield spec

    def table(self, name):
        return Table(self, call.object_table(self.handle, to_bytes(name)))

    def tables(self):
        for index in range(call.object_table_count(self.handle)):
            yield Table(self, call.object_table_at(self.handle, index))

    def load(self, name, type=0, target=None):
        name = to_bytes(name)
        if name not in self.functions:
            handle = call.function_load(self.handle, name, type, to_bytes(target))
            self.functions[name] = Function(self, name, handle)
        return self.functions[name]

    def close(self):
        for function in self.functions.values():
            function.close()
        self.functions = {}
        handle, self.handle = self.handle, None
        if handle:
            call.object_close(handle)
