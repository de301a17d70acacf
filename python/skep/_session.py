# The engines of this process, and the command that they observe.
#
# `skep python DRIVER -- COMMAND` runs a driver that knows nothing of the command. The command must start when the driver
# has attached its programs (the user engine's hooks are fixed from then on) and before it waits for what they see. So
# the first call that waits for events or reads a table, after something was attached, starts it; a driver that does
# neither within START_AFTER_SECONDS has it started by a timer. When the command has ended and its events were handed
# out, waiting ends as if by Ctrl-C, which drivers know how to handle.
import os
import select
import sys
import time
from ctypes import byref

from . import _library
from ._library import call

START_AFTER_SECONDS = 2.0
NOTICE_WITHIN_SECONDS = 2.0

_real_sleep = time.sleep


class CommandEnded(KeyboardInterrupt):
    """The observed command has ended: to a driver it is what Ctrl-C is."""


class Engine:
    """A handle on an engine; one of each name in a process."""

    _open = {}

    def __init__(self, name):
        self.name = name
        self.handle = call.engine_open(name.encode())
        self.attached = 0
        self.observed_since = None

    @classmethod
    def named(cls, name):
        if name not in cls._open:
            cls._open[name] = cls(name)
        return cls._open[name]

    def has(self, feature):
        return bool(call.engine_has(self.handle, feature.encode()))

    def start(self, command=(), pid=0):
        call.engine_start(self.handle, _library.strings([_library.to_bytes(word) for word in command]), pid)

    def workload(self):
        told = _library.Workload()
        call.engine_workload(self.handle, byref(told))
        return told

    def stop(self):
        call.engine_stop(self.handle)

    @property
    def end_fd(self):
        return call.engine_end_fd(self.handle)


class Plan:
    """What `skep python` was asked to observe; nothing in programs that are started otherwise."""

    def __init__(self):
        self.backend = os.environ.get("SKEP_BACKEND", "kernel")
        self.command = []
        self.pid = 0
        self.started = False
        self.failed = None
        self.told_end = 0  # how often the driver was told that the command ended
        self.handles_interrupts = True  # the driver catches KeyboardInterrupt
        self.deadline = None

    def wanted(self):
        return bool(self.command or self.pid)


plan = Plan()


def engine():
    """The engine of this process."""
    return Engine.named(plan.backend)


def attached():
    """To be told after every attachment."""
    engine().attached += 1
    if not plan.wanted() or plan.started:
        return
    first = plan.deadline is None
    plan.deadline = time.monotonic() + START_AFTER_SECONDS
    if first:
        import threading
        threading.Thread(target=_start_by_timer, daemon=True).start()


def _start_by_timer():
    while not plan.started:
        left = plan.deadline - time.monotonic()
        if left <= 0:
            begin()
            return
        _real_sleep(left)


class DefaultSignals:
    """Python ignores SIGPIPE and SIGXFSZ, and a command would inherit that: `yes | head` would complain."""

    _IGNORED = (13, 25)

    def __enter__(self):
        import ctypes
        self._signal = ctypes.CDLL(None).signal
        self._signal.restype, self._signal.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]
        self._before = [self._signal(number, None) for number in self._IGNORED]

    def __exit__(self, *exception):
        for number, before in zip(self._IGNORED, self._before):
            self._signal(number, before)


def begin():
    """To be called before something waits for events or reads what programs wrote: starts the command."""
    if plan.started or not plan.wanted():
        return
    this = engine()
    if not this.attached:
        return
    plan.started = True
    try:
        with DefaultSignals():
            this.start(plan.command, plan.pid)
    except _library.Error as error:
        plan.failed = error
        raise
    import threading
    threading.Thread(target=_watch_end, daemon=True).start()


def _watch_end():
    """Interrupts a driver that waits for something else than events when the command ends."""
    select.select([engine().end_fd], [], [])
    for _ in range(5):
        _real_sleep(NOTICE_WITHIN_SECONDS)
        if plan.told_end:
            return
        import signal
        os.kill(os.getpid(), signal.SIGINT)


def has_ended():
    return plan.started and engine().workload().state in (_library.WORKLOAD_ENDED, _library.WORKLOAD_STOPPED)


def end_if_done():
    """To be called when there was nothing to hand out: raises when there never will be."""
    if has_ended():
        plan.told_end += 1
        raise CommandEnded("the command has ended")


def sleep(seconds):
    """time.sleep() for drivers that observe a command: it begins the observation, and is over when the command is.

    A driver that catches KeyboardInterrupt is interrupted, prints what it has and ends. Any other goes round once more,
    as if the time were over, so that it prints too."""
    begin()
    if not plan.started:
        return _real_sleep(seconds)
    if has_ended() and plan.told_end == 0 and not plan.handles_interrupts:
        plan.told_end = 1
        return
    if has_ended():
        end_if_done()
    ready, _, _ = select.select([engine().end_fd], [], [], max(0, seconds))
    if ready:
        if plan.handles_interrupts or plan.told_end:
            end_if_done()
        plan.told_end = 1


def poll(readers, timeout_ms):
    """Waits for the readers, -1: without end; what they have is then in them. Returns how many records that were."""
    import ctypes
    begin()
    this = engine()
    handles = (ctypes.c_void_p * len(readers))(*[reader.handle for reader in readers])
    count = call.readers_poll(handles, len(readers), this.handle if plan.started else None, timeout_ms)
    if count == 0 and plan.started:
        end_if_done()
    return count


def exit_status():
    """What the driver should end with when it ended well: the command's own status."""
    if not plan.started or plan.failed:
        return 0
    told = engine().workload()
    if told.state != _library.WORKLOAD_ENDED or not plan.command:
        return 0
    if os.WIFEXITED(told.wait_status):
        return os.WEXITSTATUS(told.wait_status)
    return 128 + os.WTERMSIG(told.wait_status) if os.WIFSIGNALED(told.wait_status) else 1


_noted = set()


def note(line):
    """One line to stderr, once."""
    if line and line not in _noted:
        _noted.add(line)
        print("skep: " + line, file=sys.stderr, flush=True)


class Reader:
    """Records of a ring, of a perf buffer, or lines of the trace pipe."""

    def __init__(self, handle, keep=None):
        self.handle = handle
        self._keep = keep
        self._lost = 0

    def records(self):
        """(address, size, cpu) of what the last poll took; valid until the next."""
        import ctypes
        array = ctypes.POINTER(_library.Record)()
        for index in range(call.reader_records(self.handle, byref(array))):
            record = array[index]
            yield record.data, record.size, record.cpu

    def newly_lost(self):
        """Records that did not fit since the last call."""
        lost = call.reader_lost(self.handle)
        new, self._lost = lost - self._lost, lost
        return new

    def close(self):
        handle, self.handle = self.handle, None
        if handle:
            call.reader_close(handle)


def trace_reader():
    return Reader(call.engine_trace_reader(engine().handle))
