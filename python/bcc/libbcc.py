# There is no libbcc below this package: skep's library is. What programs call of libbcc directly is kept: maps and programs by
# descriptor (pinned ones above all), symbols and libraries by name. The rest is refused, with what does the job here.
#
# Functions keep C's ways: they take what ctypes would convert, return -1 where they fail, and ctypes.get_errno() says why.
import ctypes as ct
import errno
import os
import sys
from ctypes import POINTER, c_char_p, c_int, c_uint32, c_uint64, c_void_p

from skep import _library, _session
from skep._library import call

STT_FUNC = 1 << 2


class bcc_symbol(ct.Structure):
    _fields_ = [("name", c_char_p), ("demangle_name", c_char_p), ("module", c_char_p), ("offset", ct.c_ulonglong)]


class bcc_symbol_option(ct.Structure):
    _fields_ = [("use_debug_file", c_int), ("check_debug_file_crc", c_int), ("lazy_symbolize", c_int),
                ("use_symbol_type", c_uint32)]


class bcc_usdt(ct.Structure):
    _fields_ = [("provider", c_char_p), ("name", c_char_p), ("bin_path", c_char_p),
                ("semaphore", ct.c_ulonglong), ("num_locations", c_int), ("num_arguments", c_int)]


# libbcc's and libbpf's name: skep's function, and what it takes. They are the kernel's objects.
_DESCRIPTOR_FUNCTIONS = {
    "bpf_obj_get": ("skep_descriptor_open", [c_char_p]),
    "bpf_obj_pin": ("skep_descriptor_pin", [c_int, c_char_p]),
    "bpf_lookup_elem": ("skep_descriptor_lookup", [c_int, c_void_p, c_void_p]),
    "bpf_update_elem": ("skep_descriptor_update", [c_int, c_void_p, c_void_p, c_uint64]),
    "bpf_delete_elem": ("skep_descriptor_delete", [c_int, c_void_p]),
    "bpf_lookup_and_delete": ("skep_descriptor_take", [c_int, c_void_p, c_void_p]),
    "bpf_get_next_key": ("skep_descriptor_next_key", [c_int, c_void_p, c_void_p]),
    "bpf_map_lookup_elem": ("skep_descriptor_lookup", [c_int, c_void_p, c_void_p]),
    "bpf_map_update_elem": ("skep_descriptor_update", [c_int, c_void_p, c_void_p, c_uint64]),
    "bpf_map_delete_elem": ("skep_descriptor_delete", [c_int, c_void_p]),
    "bpf_map_get_next_key": ("skep_descriptor_next_key", [c_int, c_void_p, c_void_p]),
    "bpf_prog_test_run": ("skep_descriptor_test_run", [c_int, c_uint32, c_void_p, c_uint32, c_void_p, POINTER(c_uint32),
                                                       POINTER(c_uint32), POINTER(c_uint32)]),
}
# What is not here, and what does its job.
_INSTEAD = {
    "bcc_func_load": "BPF.load_func()", "bcc_prog_load": "BPF.load_func()", "bpf_prog_load": "BPF.load_func()",
    "bpf_module_": "the class BPF", "bpf_function_": "BPF.dump_func()", "bpf_num_functions": "the class BPF",
    "bpf_attach_": "BPF.attach_kprobe(), attach_uprobe(), attach_tracepoint(), ...", "bpf_detach_": "BPF.detach_*()",
    "bpf_prog_attach": "BPF.attach_func()", "bpf_prog_detach": "BPF.detach_func()", "bpf_open_raw_sock": "BPF.attach_raw_socket()",
    "bpf_open_perf_": "table.open_perf_buffer()", "bpf_close_perf_event_fd": "BPF.detach_*()",
    "perf_reader_": "BPF.perf_buffer_poll()", "bpf_new_ringbuf": "table.open_ring_buffer()", "bpf_add_ringbuf": "table.open_ring_buffer()",
    "bpf_poll_ringbuf": "BPF.ring_buffer_poll()", "bpf_consume_ringbuf": "BPF.ring_buffer_consume()",
    "bcc_symcache_": "BPF.sym() and BPF.ksym()", "bcc_buildsymcache_": "BPF.sym()", "bcc_foreach_": "BPF.get_user_functions()",
    "bcc_usdt_": "the class USDT", "bcc_procutils_language": "bcc.utils.detect_language()", "bpf_table_": "the tables of BPF",
}


def _fail(number):
    ct.set_errno(number)
    return -1


def _errno_of(result, function, arguments):
    if result < 0:
        return _fail(call.error_number() or errno.EINVAL)
    return result


def _end_of_keys(result, function, arguments):
    return _fail(errno.ENOENT) if result == 1 else _errno_of(result, function, arguments)


def _need_kernel(name):
    if _session.engine().name != "kernel":
        raise Exception("libbcc's %s works on descriptors, which what the user engine makes has not: use the tables and functions "
                        "of BPF, or --backend kernel" % name)


def _by_descriptor(name):
    _need_kernel(name)
    ours, arguments = _DESCRIPTOR_FUNCTIONS[name]
    function = _library._library[ours]  # one of its own: programs set argtypes and restype
    function.argtypes, function.restype = arguments, c_int
    function.errcheck = _end_of_keys if name.endswith("_next_key") else _errno_of
    return function


def _c_function(result, *arguments):
    """A Python function as C's, so that its arguments are converted as those of a library are; errors become -1."""

    def made(body):
        def guarded(*given):
            try:
                return body(*given)
            except OSError as error:
                return _fail(error.errno or errno.EINVAL)
            except Exception as error:  # as libbcc, which says it on stderr
                print(error, file=sys.stderr)
                return _fail(errno.EINVAL)

        return ct.CFUNCTYPE(result, *arguments, use_errno=True)(guarded)

    return made


_kept = {}  # text that was handed out, by its text: one of each, so that there is an end


def _keep(text):
    if text not in _kept:
        _kept[text] = ct.create_string_buffer(text)
    return ct.addressof(_kept[text])


def _point(structure, field, text):
    """Sets a char pointer that outlives this call."""
    address = getattr(type(structure), field).offset + ct.addressof(structure)
    c_void_p.from_address(address).value = _keep(text)


@_c_function(c_int, c_char_p, c_char_p, c_uint64, c_int, POINTER(bcc_symbol_option), POINTER(bcc_symbol))
def bcc_resolve_symname(module, name, address, pid, option, symbol):
    """The file and the offset in it. Indirect functions (strlen) are found as the one that this machine chooses."""
    from . import _machine
    if option and option.contents.use_symbol_type and not option.contents.use_symbol_type & STT_FUNC:
        return _fail(errno.ENOENT)
    path = _machine.binary_of(module or b"", pid)
    if not os.path.exists(path):
        return _fail(errno.ENOENT)
    offset = _machine.file_offset(path, address)
    if name:
        offset = next((place for function, place in _library.binary_functions(path) if function == name), None)
    if offset is None:
        return _fail(errno.ENOENT)
    _point(symbol.contents, "module", path)
    _point(symbol.contents, "name", name or b"")
    symbol.contents.offset = offset
    return 0


@_c_function(c_void_p, c_char_p, c_int)
def bcc_procutils_which_so(name, pid):
    from . import _machine
    found = _machine.find_library(name, pid)
    return _keep(found) if found else None


@_c_function(c_void_p, c_char_p)
def bcc_procutils_which(name):
    from . import _machine
    found = _machine.find_exe(name)
    return _keep(found) if found else None


@_c_function(None, c_void_p)
def bcc_procutils_free(pointer):
    pass  # kept: a program may have it twice


def bpf_table_fd(module, name):
    """Of a BPF object's `module`: the table's descriptor, which goes with the table."""
    _need_kernel("bpf_table_fd")
    try:
        return module[getattr(name, "value", name)].map_fd
    except KeyError:
        return _fail(errno.ENOENT)


def bpf_get_first_key(descriptor, key, size):
    return lib.bpf_get_next_key(descriptor, None, key)


@_c_function(c_int, c_int, c_char_p, c_int, c_int, c_int, c_int)
def bcc_create_map(kind, name, key_size, value_size, max_entries, flags):
    _need_kernel("bcc_create_map")
    return call.descriptor_create_map(name, kind, key_size, value_size, max_entries, flags)


def _by_id(kind):
    @_c_function(c_int, c_uint32)
    def opened(number):
        _need_kernel("bpf_%s_get_fd_by_id" % kind)
        return call.descriptor_by_id(b"program" if kind == "prog" else b"map", number)

    return opened


def kernel_struct_has_field(struct_name, field_name):
    from ._bpf import BPF
    return BPF.kernel_struct_has_field(struct_name, field_name)


def bpf_has_kernel_btf():
    return os.path.exists("/sys/kernel/btf/vmlinux")


_OTHERS = {
    "bcc_resolve_symname": bcc_resolve_symname, "bcc_procutils_which_so": bcc_procutils_which_so,
    "bcc_procutils_which": bcc_procutils_which, "bcc_procutils_free": bcc_procutils_free, "bpf_table_fd": bpf_table_fd,
    "bpf_get_first_key": bpf_get_first_key, "bcc_create_map": bcc_create_map, "bpf_create_map": bcc_create_map,
    "bpf_map_get_fd_by_id": _by_id("map"), "bpf_prog_get_fd_by_id": _by_id("prog"),
    "kernel_struct_has_field": kernel_struct_has_field, "bpf_has_kernel_btf": bpf_has_kernel_btf,
}


class _Lib(object):
    def __getattr__(self, name):
        if name in _DESCRIPTOR_FUNCTIONS:
            function = _by_descriptor(name)
        elif name in _OTHERS:
            function = _OTHERS[name]
        else:
            instead = next((text for beginning, text in _INSTEAD.items() if name.startswith(beginning)), "the class BPF")
            raise AttributeError("libbcc's function %s is not here: this package stands on libskep.so, not on libbcc; use %s" %
                                 (name, instead))
        setattr(self, name, function)
        return function


lib = _Lib()
