# There is no libbcc below this package: skep's library is. What some programs take from here is kept.
import ctypes as ct


class bcc_symbol(ct.Structure):
    _fields_ = [("name", ct.c_char_p), ("demangle_name", ct.c_char_p), ("module", ct.c_char_p),
                ("offset", ct.c_ulonglong)]


class bcc_usdt(ct.Structure):
    _fields_ = [("provider", ct.c_char_p), ("name", ct.c_char_p), ("bin_path", ct.c_char_p),
                ("semaphore", ct.c_ulonglong), ("num_locations", ct.c_int), ("num_arguments", ct.c_int)]


class _Lib(object):
    def __getattr__(self, name):
        raise AttributeError("libbcc's function %s is not here: this package stands on libskep.so, whose interface is "
                             "in skep/skep.h; use the BPF class, or `import skep`" % name)


lib = _Lib()
