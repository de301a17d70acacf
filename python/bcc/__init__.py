"""BCC's Python interface on skep.

Programs and tools that say `from bcc import BPF` run unchanged, in the kernel or, without privileges, on one command
(`skep python DRIVER -- COMMAND`). No compiler is in this process. What each call does is in BCC's reference guide.
"""
from ._attach import _get_num_open_probes
from ._bpf import (BPF, DEBUG_BPF, DEBUG_BPF_REGISTER_STATE, DEBUG_BTF, DEBUG_LLVM_IR, DEBUG_PREPROCESSOR, DEBUG_SOURCE,
                   LOG_BUFFER_SIZE, SymbolCache)
from ._enums import (BPFAttachType, BPFProgType, PerfEventSampleFormat, PerfHWConfig, PerfSWConfig, PerfType, XDPAction,
                     XDPFlags)
from .utils import ArgString, StrcmpRewrite, _assert_is_bytes, printb
from .version import __version__

DEBUGFS = "/sys/kernel/debug"

# What is seldom used is read when it is.
_LAZY = {"USDT": "usdt", "USDTException": "usdt", "USDTProbe": "usdt", "USDTProbeLocation": "usdt",
         "USDTProbeArgument": "usdt", "Table": "table", "PerfEventArray": "table", "RingBuf": "table", "Perf": "perf",
         "BPF_MAP_TYPE_QUEUE": "table", "BPF_MAP_TYPE_STACK": "table", "disassemble_prog": "disassembler",
         "decode_map": "disassembler", "get_online_cpus": "utils", "get_possible_cpus": "utils", "lib": "libbcc",
         "bcc_symbol": "libbcc", "bcc_symbol_option": "libbcc"}
_MODULES = ("table", "perf", "usdt", "utils", "syscall", "containers", "libbcc", "disassembler", "tcp")


def __getattr__(name):
    from importlib import import_module
    if name == "TRACEFS":
        from ._machine import tracefs
        return tracefs()
    if name in _MODULES:
        return import_module("." + name, __name__)
    if name in _LAZY:
        return getattr(import_module("." + _LAZY[name], __name__), name)
    raise AttributeError("module 'bcc' has no attribute %r" % name)
