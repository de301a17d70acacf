# The C interface of skep (include/skep/skep.h) by ctypes.
#
# ctypes and not an extension module: the same files work in every Python 3 without being built against one, and the
# library stays useful to other languages. Calls cost a microsecond, so what is called often moves many entries at once.
import ctypes
import os
from ctypes import (POINTER, Structure, byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64,
                    c_void_p, sizeof)

ABI_VERSION = 1


class Error(Exception):
    """What skep could not do, and why. `code` is an enum skep_code, `errno` the system's number or 0."""

    def __init__(self, message, code=0, errno=0):
        super().__init__(message)
        self.code = code
        self.errno = errno


MALFORMED, NOT_FOUND, UNSUPPORTED, PERMISSION, REJECTED, INVALID_ARGUMENT, LIMIT, IO, TIMED_OUT, CLOSED = range(1, 11)


class _Sized(Structure):
    def __init__(self, **values):
        super().__init__(sizeof(type(self)), **values)


def _structure(name, *fields):
    """A structure of skep.h: its first member is its size."""
    return type(name, (_Sized,), {"_fields_": [("size", c_size_t), *fields]})


Workload = _structure("Workload", ("state", c_int32), ("pid", c_int32), ("wait_status", c_int32))
CompileOptions = _structure("CompileOptions", ("cflags", POINTER(c_char_p)), ("cache_dir", c_char_p),
                            ("without_cache", c_int32), ("dialect", c_int32))
FunctionSpec = _structure("FunctionSpec", ("name", c_char_p), ("section", c_char_p), ("target", c_char_p),
                          ("type", c_uint32), ("autoload", c_int32))
FunctionInfo = _structure("FunctionInfo", ("id", c_uint32), ("type", c_uint32), ("name", c_char_p), ("tag", c_char_p),
                          ("run_count", c_uint64), ("run_time_ns", c_uint64), ("instruction_bytes", c_uint32),
                          ("machine_code_bytes", c_uint32))
TestRun = _structure("TestRun", ("data", c_char_p), ("data_size", c_size_t), ("context", c_char_p),
                     ("context_size", c_size_t), ("repeat", c_uint32), ("result", c_uint64), ("duration_ns", c_uint64),
                     ("data_out", c_void_p), ("data_out_size", c_size_t), ("context_out", c_void_p),
                     ("context_out_size", c_size_t))
TableInfo = _structure("TableInfo", ("name", c_char_p), ("type_name", c_char_p), ("id", c_uint32), ("type", c_uint32),
                       ("flags", c_uint32), ("max_entries", c_uint32), ("key_size", c_uint32),
                       ("value_size", c_uint32), ("stored_value_size", c_uint32), ("key_type", c_uint32),
                       ("value_type", c_uint32))
Entries = _structure("Entries", ("keys", c_void_p), ("values", c_void_p), ("count", c_uint64), ("memory", c_void_p))
Type = _structure("Type", ("name", c_char_p), ("kind", c_int32), ("id", c_uint32), ("bytes", c_uint64),
                  ("alignment", c_uint32), ("type", c_uint32), ("count", c_uint32), ("is_signed", c_int32),
                  ("is_bool", c_int32))
Member = _structure("Member", ("name", c_char_p), ("type", c_uint32), ("bit_offset", c_uint32), ("bit_size", c_uint32),
                    ("value", c_int64))

Frame = _structure("Frame", ("name", c_char_p), ("demangled", c_char_p), ("offset", c_uint64), ("module", c_char_p),
                   ("module_offset", c_uint64), ("address", c_uint64), ("source", c_char_p), ("line", c_uint32),
                   ("inlined", c_int32))


class Record(Structure):
    _fields_ = [("data", c_void_p), ("size", c_size_t), ("cpu", c_uint32)]


class BinaryFunction(Structure):
    _fields_ = [("name", c_char_p), ("file_offset", c_uint64), ("bytes", c_uint64)]


class BinaryProbe(Structure):
    _fields_ = [("provider", c_char_p), ("name", c_char_p), ("arguments", c_char_p), ("address", c_uint64),
                ("file_offset", c_uint64), ("semaphore_offset", c_uint64)]


WORKLOAD_NONE, WORKLOAD_RUNNING, WORKLOAD_ENDED, WORKLOAD_STOPPED = range(4)
ENTRIES_READ, ENTRIES_TAKE, ENTRIES_KEYS = range(3)
TYPE_VOID, TYPE_INT, TYPE_POINTER, TYPE_ARRAY, TYPE_STRUCT, TYPE_UNION, TYPE_ENUM, TYPE_FLOAT, TYPE_FUNCTION = range(9)

# name, what it returns, what it takes; a result of `checked` is a number, negative where the call failed, and one of
# `handle` a pointer, NULL where it failed.
checked, handle = "checked", "handle"
_FUNCTIONS = {
    "skep_abi_version": (c_uint32, []),
    "skep_version": (c_char_p, []),
    "skep_error_code": (c_int32, []),
    "skep_error_message": (c_char_p, []),
    "skep_error_number": (c_int32, []),
    "skep_engine_open": (handle, [c_char_p]),
    "skep_engine_close": (None, [c_void_p]),
    "skep_engine_notes": (c_char_p, [c_void_p]),
    "skep_engine_verifier_log": (c_char_p, [c_void_p]),
    "skep_engine_start": (checked, [c_void_p, POINTER(c_char_p), c_int32]),
    "skep_engine_workload": (checked, [c_void_p, POINTER(Workload)]),
    "skep_engine_end_fd": (c_int, [c_void_p]),
    "skep_engine_stop": (None, [c_void_p]),
    "skep_engine_has": (checked, [c_void_p, c_char_p]),
    "skep_object_open_file": (handle, [c_void_p, c_char_p, POINTER(CompileOptions)]),
    "skep_object_open_text": (handle, [c_void_p, c_char_p, c_size_t, c_char_p, POINTER(CompileOptions)]),
    "skep_object_close": (None, [c_void_p]),
    "skep_object_warnings": (c_char_p, [c_void_p]),
    "skep_object_function_count": (c_uint32, [c_void_p]),
    "skep_object_function": (checked, [c_void_p, c_uint32, POINTER(FunctionSpec)]),
    "skep_function_load": (handle, [c_void_p, c_char_p, c_uint32, c_char_p]),
    "skep_function_close": (None, [c_void_p]),
    "skep_function_describe": (checked, [c_void_p, POINTER(FunctionInfo)]),
    "skep_function_text": (handle, [c_void_p]),
    "skep_function_code": (checked, [c_void_p, c_void_p, c_size_t]),
    "skep_function_descriptor": (checked, [c_void_p]),
    "skep_function_attach": (handle, [c_void_p, c_char_p, c_int32, c_uint64]),
    "skep_function_test_run": (checked, [c_void_p, POINTER(TestRun)]),
    "skep_link_carried_by": (c_char_p, [c_void_p]),
    "skep_link_close": (None, [c_void_p]),
    "skep_links_close": (None, [POINTER(c_void_p), c_size_t]),
    "skep_object_table_count": (c_uint32, [c_void_p]),
    "skep_object_table_at": (handle, [c_void_p, c_uint32]),
    "skep_object_table": (handle, [c_void_p, c_char_p]),
    "skep_table_describe": (checked, [c_void_p, POINTER(TableInfo)]),
    "skep_table_descriptor": (checked, [c_void_p]),
    "skep_table_lookup": (checked, [c_void_p, c_void_p, c_void_p]),
    "skep_table_update": (checked, [c_void_p, c_void_p, c_void_p, c_uint64]),
    "skep_table_delete": (checked, [c_void_p, c_void_p]),
    "skep_table_take": (checked, [c_void_p, c_void_p, c_void_p]),
    "skep_table_update_batch": (checked, [c_void_p, c_void_p, c_void_p, c_uint64, c_uint64, POINTER(c_uint64)]),
    "skep_table_delete_batch": (checked, [c_void_p, c_void_p, c_uint64, POINTER(c_uint64)]),
    "skep_table_next_key": (checked, [c_void_p, c_void_p, c_void_p]),
    "skep_table_read_all": (checked, [c_void_p, c_int32, POINTER(Entries)]),
    "skep_entries_close": (None, [POINTER(Entries)]),
    "skep_table_clear": (checked, [c_void_p]),
    "skep_table_freeze": (checked, [c_void_p]),
    "skep_descriptor_open": (checked, [c_char_p]),
    "skep_descriptor_by_id": (checked, [c_char_p, c_uint32]),
    "skep_descriptor_pin": (checked, [c_int32, c_char_p]),
    "skep_descriptor_create_map": (checked, [c_char_p, c_uint32, c_uint32, c_uint32, c_uint32, c_uint32]),
    "skep_descriptor_lookup": (checked, [c_int32, c_void_p, c_void_p]),
    "skep_descriptor_update": (checked, [c_int32, c_void_p, c_void_p, c_uint64]),
    "skep_descriptor_delete": (checked, [c_int32, c_void_p]),
    "skep_descriptor_take": (checked, [c_int32, c_void_p, c_void_p]),
    "skep_descriptor_next_key": (checked, [c_int32, c_void_p, c_void_p]),
    "skep_descriptor_test_run": (checked, [c_int32, c_uint32, c_void_p, c_uint32, c_void_p, c_void_p, c_void_p, c_void_p]),
    "skep_object_of_map": (handle, [c_void_p, c_int32]),
    "skep_table_reader": (handle, [c_void_p]),
    "skep_engine_trace_reader": (handle, [c_void_p]),
    "skep_reader_close": (None, [c_void_p]),
    "skep_readers_poll": (checked, [POINTER(c_void_p), c_size_t, c_void_p, c_int32]),
    "skep_reader_records": (c_uint64, [c_void_p, POINTER(POINTER(Record))]),
    "skep_reader_lost": (c_uint64, [c_void_p]),
    "skep_object_type": (checked, [c_void_p, c_uint32, POINTER(Type)]),
    "skep_object_member": (checked, [c_void_p, c_uint32, c_uint32, POINTER(Member)]),
    "skep_binary_open": (handle, [c_char_p]),
    "skep_binary_close": (None, [c_void_p]),
    "skep_binary_functions": (checked, [c_void_p, POINTER(POINTER(BinaryFunction))]),
    "skep_binary_probes": (checked, [c_void_p, POINTER(POINTER(BinaryProbe))]),
    "skep_symbolizer_open": (handle, []),
    "skep_symbolizer_close": (None, [c_void_p]),
    "skep_symbolizer_find": (checked, [c_void_p, c_int32, c_uint64, POINTER(Frame)]),
    "skep_symbolizer_stack": (checked, [c_void_p, c_int32, POINTER(c_uint64), c_size_t]),
    "skep_symbolizer_frame": (checked, [c_void_p, c_size_t, POINTER(Frame)]),
    "skep_symbolizer_follow": (checked, [c_void_p, c_int32]),
    "skep_symbolizer_remember": (checked, [c_void_p, c_int32]),
    "skep_symbolizer_kernel_address": (checked, [c_void_p, c_char_p, POINTER(c_uint64)]),
    "skep_kernel_has_member": (checked, [c_char_p, c_char_p]),
    "skep_kernel_has_function": (checked, [c_char_p]),
    "skep_kernel_stand_in": (c_char_p, [c_uint32]),
    "skep_syscall_number": (c_int32, [c_char_p]),
    "skep_syscall_name": (c_char_p, [c_uint32]),
}


def _candidates():
    named = os.environ.get("SKEP_LIBRARY")
    if named:
        yield named
    # PREFIX/share/skep/python/skep/_library.py
    prefix = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "..", ".."))
    for folder in ("lib", "lib64", os.path.join("lib", os.uname().machine + "-linux-gnu")):
        yield os.path.join(prefix, folder, "libskep.so.1")
    yield "libskep.so.1"


def _open():
    tried = []
    for path in _candidates():
        if "/" in path and not os.path.exists(path):
            tried.append(path)
            continue
        try:
            return ctypes.CDLL(path)
        except OSError as error:
            tried.append("%s (%s)" % (path, error))
    raise ImportError("libskep.so.1 was not found; looked for " + ", ".join(tried) +
                      "; start the program with `skep python`, or set SKEP_LIBRARY")


def error():
    """The last error of this thread as an exception."""
    return Error(_library.skep_error_message().decode(errors="replace"), _library.skep_error_code(),
                 _library.skep_error_number())


def _check_number(result, function, arguments):
    if result < 0:
        raise error()
    return result


def _check_handle(result, function, arguments):
    if not result:
        raise error()
    return result


class _Functions:
    """The functions without their prefix, each prepared when it is first used."""

    def __getattr__(self, name):
        full = "skep_" + name
        result, arguments = _FUNCTIONS[full]
        function = getattr(_library, full)
        function.argtypes = arguments
        function.restype = {checked: c_int64 if full in _WIDE else c_int, handle: c_void_p}.get(result, result)
        if result == checked:
            function.errcheck = _check_number
        elif result == handle:
            function.errcheck = _check_handle
        setattr(self, name, function)
        return function


_WIDE = {"skep_function_code", "skep_table_clear", "skep_readers_poll", "skep_binary_functions", "skep_binary_probes"}
_library = _open()
_library.skep_error_message.restype = c_char_p
call = _Functions()
if call.abi_version() != ABI_VERSION:
    raise ImportError("libskep.so has interface version %d, this package was made for %d: they belong to different "
                      "installations of skep" % (call.abi_version(), ABI_VERSION))


def strings(items):
    """A list of bytes that ends in NULL, or None for an empty one."""
    if not items:
        return None
    return (c_char_p * (len(items) + 1))(*items, None)


def to_bytes(text):
    """File names, names of programs: bytes as they are, text in the file system's encoding."""
    return text if text is None or isinstance(text, bytes) else os.fsencode(text)


def read_entries(table, how):
    """(keys, values, count) of a table, as bytes of entries side by side. `table`: handle and sizes."""
    entries = Entries()
    call.table_read_all(table.handle, how, byref(entries))
    try:
        count = entries.count
        keys = ctypes.string_at(entries.keys, count * table.key_size) if count else b""
        values = b""
        if how != ENTRIES_KEYS and count:
            values = ctypes.string_at(entries.values, count * table.stored_value_size)
        return keys, values, count
    finally:
        call.entries_close(byref(entries))


def _of_binary(path, read, kind, take):
    binary = call.binary_open(to_bytes(path))
    try:
        array = POINTER(kind)()
        return [take(array[index]) for index in range(read(binary, byref(array)))]
    finally:
        call.binary_close(binary)


def binary_functions(path):
    """(name, offset in the file) of every function of an ELF file."""
    return _of_binary(path, call.binary_functions, BinaryFunction, lambda one: (one.name, one.file_offset))


def binary_probes(path):
    """(provider, name, arguments, address, offset, offset of the semaphore) of every static probe of an ELF file."""
    return _of_binary(path, call.binary_probes, BinaryProbe, lambda one: (
        one.provider, one.name, one.arguments, one.address, one.file_offset, one.semaphore_offset))
