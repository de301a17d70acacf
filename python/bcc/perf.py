# Counters by perf_event_open(2): what programs are run by, or read.
import ctypes as ct
import os

from ._enums import PerfEventSampleFormat, PerfType
from .utils import get_online_cpus

_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241, "riscv64": 241}
_IOC_ENABLE, _IOC_SET_BPF = 0x2400, 0x40042408


class Perf(object):
    """perf_event_attr, and the call that takes it."""

    FLAG_FREQUENCY = 1 << 10  # sample_period is a frequency

    class perf_event_attr(ct.Structure):
        _fields_ = [("type", ct.c_uint), ("size", ct.c_uint), ("config", ct.c_ulong), ("sample_period", ct.c_ulong),
                    ("sample_type", ct.c_ulong), ("read_format", ct.c_ulong), ("flags", ct.c_ulong),
                    ("wakeup_events", ct.c_uint), ("bp_type", ct.c_uint), ("config1", ct.c_ulong),
                    ("config2", ct.c_ulong), ("branch_sample_type", ct.c_ulong), ("sample_regs_user", ct.c_ulong),
                    ("sample_stack_user", ct.c_uint), ("clockid", ct.c_int), ("sample_regs_intr", ct.c_ulong),
                    ("aux_watermark", ct.c_uint), ("sample_max_stack", ct.c_ushort), ("reserved", ct.c_ushort)]

    PERF_TYPE_TRACEPOINT = PerfType.TRACEPOINT
    PERF_SAMPLE_RAW = PerfEventSampleFormat.RAW

    @staticmethod
    def _open(attr, pid, cpu, group=-1, flags=0):
        attr.size = ct.sizeof(attr)
        libc = ct.CDLL(None, use_errno=True)
        fd = libc.syscall(ct.c_long(_PERF_EVENT_OPEN[os.uname().machine]), ct.byref(attr), ct.c_int(pid), ct.c_int(cpu),
                          ct.c_int(group), ct.c_ulong(flags))
        if fd < 0:
            number = ct.get_errno()
            raise OSError(number, os.strerror(number))
        os.set_inheritable(fd, False)
        return fd

    @staticmethod
    def perf_event_open(tpoint_id, pid=-1, ptype=PerfType.TRACEPOINT, freq=0):
        """A tracepoint's event on every CPU; the descriptors."""
        attr = Perf.perf_event_attr(type=ptype, config=tpoint_id, sample_type=PerfEventSampleFormat.RAW,
                                    sample_period=freq or 1)
        return [Perf._open(attr, pid, cpu) for cpu in get_online_cpus()]


class Counters(object):
    """One counter on every CPU, or on one; closed with close()."""

    def __init__(self, attr, pid=-1, cpu=-1, group_fd=-1):
        self.by_cpu = []
        try:
            for one in get_online_cpus() if cpu == -1 else [cpu]:
                self.by_cpu.append((one, Perf._open(attr, pid, one, group_fd)))
        except OSError:
            self.close()
            raise

    def run(self, program_fd):
        """The program runs whenever the counter has counted its period."""
        import fcntl
        for _, fd in self.by_cpu:
            fcntl.ioctl(fd, _IOC_SET_BPF, program_fd)
            fcntl.ioctl(fd, _IOC_ENABLE, 0)

    def close(self):
        for _, fd in self.by_cpu:
            os.close(fd)
        self.by_cpu = []
