# The half of class BPF that attaches programs, and asks the machine where that is possible.
import ctypes as ct
import os
import sys

from skep import _library
from skep._library import Error, call

from . import _machine
from ._enums import CGROUP_HOOKS, PERF_EVENTS, SOCKMAP_HOOKS, BPFProgType, XDPFlags
from .utils import _assert_is_bytes

_num_open_probes = 0


def _get_num_open_probes():
    """Probes of all BPF objects of this process."""
    return _num_open_probes


def _text(name):
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


class NoLink(object):
    """In the place of an attachment where nothing ever happens."""

    def close(self):
        pass


class Attaching(object):
    """attach_*() and detach_*(). What is attached is kept under BCC's names of the dictionaries."""

    def _count_probes(self, number):
        global _num_open_probes
        _num_open_probes += number

    def _check_probe_quota(self, num_new_probes):
        if _num_open_probes + num_new_probes > self.get_probe_limit():
            raise Exception("Number of open probes would exceed global quota (BCC_PROBE_LIMIT, now %d)" %
                            self.get_probe_limit())

    # --- kernel functions ---

    def attach_kprobe(self, event=b"", event_off=0, fn_name=b"", event_re=b""):
        """Runs fn_name at the entry of a kernel function, or at event_off bytes in it, or of all that match event_re."""
        event, fn_name, event_re = _assert_is_bytes(event), _assert_is_bytes(fn_name), _assert_is_bytes(event_re)
        if event_re:
            self._attach_matching(event_re, lambda name: self.attach_kprobe(event=name, fn_name=fn_name), fn_name, "kprobe")
            return
        target = b"kprobe:" + event + (b"+%d" % event_off if event_off else b"")
        self._attach_function(b"p_", event, target, fn_name)

    def attach_kretprobe(self, event=b"", fn_name=b"", event_re=b"", maxactive=0):
        """The same at its return. `maxactive` is what the kernel decides by itself today."""
        event, fn_name, event_re = _assert_is_bytes(event), _assert_is_bytes(fn_name), _assert_is_bytes(event_re)
        if event_re:
            self._attach_matching(event_re, lambda name: self.attach_kretprobe(event=name, fn_name=fn_name), fn_name,
                                  "kretprobe")
            return
        self._attach_function(b"r_", event, b"kretprobe:" + event, fn_name)

    def _attach_function(self, prefix, event, target, fn_name):
        self._check_probe_quota(1)
        if self._is_never_called(event):
            self._load(fn_name, BPFProgType.KPROBE, None)
            link = NoLink()
        else:
            link = self._attach(fn_name, target, BPFProgType.KPROBE, _text(target.replace(b":", b" ", 1)))
        self._add_kprobe(prefix + event.replace(b"+", b"_").replace(b".", b"_"), fn_name, link)

    def _is_never_called(self, event):
        """Functions of old system calls that this machine's table has not: where there are no kprobes nothing carries
        them, and nothing needs to."""
        prefix = self.get_syscall_prefix()
        if not event.startswith(prefix) or call.syscall_number(event[len(prefix):]) >= 0:
            return False
        carried = self._engine.name == "user" or not self._has("kprobe")
        return carried and _machine.has_kernel_symbol(event)

    def _attach_matching(self, event_re, attach, fn_name, what):
        """Every function that can be probed; one of them is enough."""
        matches = sorted(self.get_kprobe_functions(event_re))
        self._check_probe_quota(len(matches))
        refused = []
        for name in matches:
            try:
                attach(name)
            except Exception as error:
                refused.append(error)
        if len(refused) == len(matches):
            raise Exception("Failed to attach BPF program %s to %s %s, it's not traceable (%s)" %
                            (_text(fn_name), what, _text(event_re),
                             "no kernel function matches" if not matches else refused[0]))

    def _add_kprobe(self, name, fn_name, link):
        self.kprobe_fds.setdefault(name, {})
        if fn_name in self.kprobe_fds[name]:
            self.kprobe_fds[name][fn_name].close()  # the second takes the place of the first
            self._count_probes(-1)
        self.kprobe_fds[name][fn_name] = link
        self._count_probes(1)

    def detach_kprobe_event(self, ev_name):
        ev_name = _assert_is_bytes(ev_name)
        for fn_name in list(self.kprobe_fds.get(ev_name, ())):
            self.detach_kprobe_event_by_fn(ev_name, fn_name)

    def detach_kprobe_event_by_fn(self, ev_name, fn_name):
        ev_name, fn_name = _assert_is_bytes(ev_name), _assert_is_bytes(fn_name)
        if ev_name not in self.kprobe_fds or fn_name not in self.kprobe_fds[ev_name]:
            raise Exception("Kprobe %s is not attached" % _text(ev_name))
        self.kprobe_fds[ev_name].pop(fn_name).close()
        self._count_probes(-1)
        if not self.kprobe_fds[ev_name]:
            del self.kprobe_fds[ev_name]

    def detach_kprobe(self, event, fn_name=None):
        self._detach_kprobe(b"p_", event, fn_name)

    def detach_kretprobe(self, event, fn_name=None):
        self._detach_kprobe(b"r_", event, fn_name)

    def _detach_kprobe(self, kind, event, fn_name):
        name = kind + _assert_is_bytes(event).replace(b"+", b"_").replace(b".", b"_")
        if name not in self.kprobe_fds:
            raise Exception("Kprobe %s is not attached" % _text(event))
        if fn_name:
            self.detach_kprobe_event_by_fn(name, fn_name)
        else:
            self.detach_kprobe_event(name)

    # --- tracepoints ---

    def attach_tracepoint(self, tp=b"", tp_re=b"", fn_name=b""):
        """Runs fn_name at the tracepoint "category:event", or at all that match tp_re."""
        tp, tp_re, fn_name = _assert_is_bytes(tp), _assert_is_bytes(tp_re), _assert_is_bytes(fn_name)
        if tp_re:
            found = self.get_tracepoints(tp_re)
            if not found:
                raise Exception("Failed to attach BPF program %s: no tracepoint matches %s" %
                                (_text(fn_name), _text(tp_re)))
            for one in found:
                self.attach_tracepoint(tp=one, fn_name=fn_name)
            return
        if tp.count(b":") != 1:
            raise Exception("Failed to attach BPF program %s: %r is no tracepoint, expected category:event" %
                            (_text(fn_name), _text(tp)))
        link = self._attach(fn_name, b"tracepoint:" + tp, BPFProgType.TRACEPOINT, "tracepoint " + _text(tp))
        self._keep(self.tracepoint_fds, tp, link)

    def detach_tracepoint(self, tp=b""):
        self._drop(self.tracepoint_fds, _assert_is_bytes(tp), "Tracepoint")

    def attach_raw_tracepoint(self, tp=b"", fn_name=b""):
        tp, fn_name = _assert_is_bytes(tp), _assert_is_bytes(fn_name)
        if tp in self.raw_tracepoint_fds:
            raise Exception("Raw tracepoint %s has been attached" % _text(tp))
        self.raw_tracepoint_fds[tp] = self._attach(fn_name, b"raw_tracepoint:" + tp, BPFProgType.RAW_TRACEPOINT,
                                                   "raw tracepoint " + _text(tp))

    def detach_raw_tracepoint(self, tp=b""):
        self._drop(self.raw_tracepoint_fds, _assert_is_bytes(tp), "Raw tracepoint")

    @staticmethod
    def _keep(kept, name, link):
        if name in kept:
            kept[name].close()
        kept[name] = link

    @staticmethod
    def _drop(kept, name, what):
        if name not in kept:
            raise Exception("%s %s is not attached" % (what, _text(name)))
        kept.pop(name).close()

    # --- trampolines ---

    @staticmethod
    def add_prefix(prefix, name):
        return name if name.startswith(prefix) else prefix + name

    def _attach_trampoline(self, kept, prefix, section, fn_name, kind):
        fn_name = self.add_prefix(prefix, _assert_is_bytes(fn_name))
        if fn_name in kept:
            raise Exception("%s program %s has been attached" % (kind, _text(fn_name)))
        kept[fn_name] = self._attach(fn_name, section + fn_name[len(prefix):], BPFProgType.TRACING,
                                     _text(section) + _text(fn_name[len(prefix):]))
        return self

    def attach_kfunc(self, fn_name=b""):
        return self._attach_trampoline(self.kfunc_entry_fds, b"kfunc__", b"fentry:", fn_name, "Kernel entry func")

    def attach_kretfunc(self, fn_name=b""):
        return self._attach_trampoline(self.kfunc_exit_fds, b"kretfunc__", b"fexit:", fn_name, "Kernel exit func")

    def attach_lsm(self, fn_name=b""):
        return self._attach_trampoline(self.lsm_fds, b"lsm__", b"lsm:", fn_name, "LSM")

    def detach_kfunc(self, fn_name=b""):
        self._drop(self.kfunc_entry_fds, self.add_prefix(b"kfunc__", _assert_is_bytes(fn_name)), "Kernel entry func")

    def detach_kretfunc(self, fn_name=b""):
        self._drop(self.kfunc_exit_fds, self.add_prefix(b"kretfunc__", _assert_is_bytes(fn_name)), "Kernel exit func")

    def detach_lsm(self, fn_name=b""):
        self._drop(self.lsm_fds, self.add_prefix(b"lsm__", _assert_is_bytes(fn_name)), "LSM")

    # --- user functions ---

    @classmethod
    def _check_path_symbol(cls, module, symname, addr, pid, sym_off=0):
        """(file, offset in it as text) of what an attach_uprobe() means."""
        path = _machine.binary_of(module, pid)
        if not os.path.exists(path):
            raise Exception("could not find library or file %s" % _text(module))
        if symname:
            return path, symname + (b"+%d" % sym_off if sym_off else b"")
        return path, b"%d" % (_machine.file_offset(path, addr or 0) + sym_off)

    def _get_uprobe_evname(self, prefix, path, addr, pid):
        place = addr if isinstance(addr, bytes) else b"0x%x" % addr
        return b"_".join([prefix, path.replace(b"/", b"_"), place] + ([b"%d" % pid] if pid != -1 else []))

    def attach_uprobe(self, name=b"", sym=b"", sym_re=b"", addr=None, fn_name=b"", pid=-1, sym_off=0):
        """Runs fn_name at a function of a library ("c"), a command ("bash") or a file; at `addr` of it; at all that match
        sym_re. `pid`: in this process only."""
        self._attach_user(b"p", b"uprobe:", name, sym, sym_re, addr, fn_name, pid, sym_off)

    def attach_uretprobe(self, name=b"", sym=b"", sym_re=b"", addr=None, fn_name=b"", pid=-1):
        """The same at its return."""
        self._attach_user(b"r", b"uretprobe:", name, sym, sym_re, addr, fn_name, pid, 0)

    def _attach_user(self, prefix, section, name, sym, sym_re, addr, fn_name, pid, sym_off):
        name, sym, sym_re, fn_name = [_assert_is_bytes(one) for one in (name, sym, sym_re, fn_name)]
        if sym_off and not sym:
            raise Exception("offset with addr not supported")
        if sym_re:
            self._attach_user_matching(prefix, section, name, sym_re, fn_name, pid)
            return
        self._check_probe_quota(1)
        path, place = self._check_path_symbol(name, sym, addr, pid, sym_off)
        link = self._attach(fn_name, section + path + b":" + place, BPFProgType.KPROBE,
                            "%s %s:%s" % (_text(section[:-1]), _text(path), _text(sym or place)), pid)
        self._add_uprobe(self._get_uprobe_evname(prefix, path, place, pid), link)

    def _attach_user_matching(self, prefix, section, name, sym_re, fn_name, pid):
        path = _machine.binary_of(name, pid)
        places = sorted({place for _, place in self._user_functions(path, sym_re)})
        if not places:
            raise Exception("no function of %s matches %s" % (_text(path), _text(sym_re)))
        self._check_probe_quota(len(places))
        left_out = []
        for place in places:
            try:
                link = self._attach(fn_name, section + path + b":%d" % place, BPFProgType.KPROBE,
                                    "%s %s:%s" % (_text(section[:-1]), _text(path), _text(sym_re)), pid)
            except Exception as error:  # the place is one that the engine cannot probe: the others are asked for, too
                if getattr(error, "code", 0) != _library.UNSUPPORTED:
                    raise
                left_out.append(error)
                continue
            self._add_uprobe(self._get_uprobe_evname(prefix, path, place, pid), link)
        if len(left_out) == len(places):
            raise left_out[0]
        if left_out:
            print("skep: %d of %d places are left out: %s" % (len(left_out), len(places), left_out[0]), file=sys.stderr)

    def _add_uprobe(self, name, link):
        if name in self.uprobe_fds:
            self.uprobe_fds[name].close()
            self._count_probes(-1)
        self.uprobe_fds[name] = link
        self._count_probes(1)

    def detach_uprobe_event(self, ev_name):
        if ev_name not in self.uprobe_fds:
            raise Exception("Uprobe %s is not attached" % _text(ev_name))
        self.uprobe_fds.pop(ev_name).close()
        self._count_probes(-1)

    def detach_uprobe(self, name=b"", sym=b"", addr=None, pid=-1, sym_off=0):
        self._detach_user(b"p", name, sym, addr, pid, sym_off)

    def detach_uretprobe(self, name=b"", sym=b"", addr=None, pid=-1):
        self._detach_user(b"r", name, sym, addr, pid, 0)

    def _detach_user(self, prefix, name, sym, addr, pid, sym_off):
        path, place = self._check_path_symbol(_assert_is_bytes(name), _assert_is_bytes(sym), addr, pid, sym_off)
        self.detach_uprobe_event(self._get_uprobe_evname(prefix, path, place, pid))

    # --- counters ---

    def attach_perf_event(self, ev_type=-1, ev_config=-1, fn_name=b"", sample_period=0, sample_freq=0, pid=-1, cpu=-1,
                          group_fd=-1):
        """Runs fn_name every sample_period events of a counter, or sample_freq times a second."""
        fn_name = _assert_is_bytes(fn_name)
        event = PERF_EVENTS.get((ev_type, ev_config))
        if event is None or group_fd != -1 or cpu != -1:
            from .perf import Perf
            attr = Perf.perf_event_attr(type=ev_type, config=ev_config, sample_period=sample_freq or sample_period,
                                        flags=Perf.FLAG_FREQUENCY if sample_freq else 0)
            self.attach_perf_event_raw(attr, fn_name, pid, cpu, group_fd)
            return
        rate = "%dhz" % sample_freq if sample_freq else "%d" % sample_period
        link = self._attach(fn_name, "perf_event:%s:%s" % (event, rate), BPFProgType.PERF_EVENT, "counter " + event, pid)
        self._keep(self.open_perf_events, (ev_type, ev_config), link)

    def attach_perf_event_raw(self, attr=-1, fn_name=b"", pid=-1, cpu=-1, group_fd=-1):
        """The same with a Perf.perf_event_attr: any counter, on one CPU too, in a group too. Kernel engine only."""
        from .perf import Counters
        fn_name = _assert_is_bytes(fn_name)
        fn = self._load(fn_name, BPFProgType.PERF_EVENT, None)
        if self._engine.name != "kernel":
            raise Exception("Failed to attach BPF program %s: counters are the kernel's: --backend kernel" % _text(fn_name))
        try:
            counters = Counters(attr, pid, cpu, group_fd)
            counters.run(fn.fd)
        except OSError as error:
            raise Exception("Failed to attach BPF program %s to a counter of type %d, config %d: %s" %
                            (_text(fn_name), attr.type, attr.config, error.strerror)) from None
        self._keep(self.open_perf_events, (attr.type, attr.config), counters)

    def detach_perf_event(self, ev_type=-1, ev_config=-1):
        if (ev_type, ev_config) not in self.open_perf_events:
            raise Exception("Perf event type %d config %d is not attached" % (ev_type, ev_config))
        self.open_perf_events.pop((ev_type, ev_config)).close()

    def _open_counters(self, table, typ, config, pid):
        from .perf import Counters, Perf
        try:
            counters = Counters(Perf.perf_event_attr(type=typ, config=config), pid, -1)
            for cpu, fd in counters.by_cpu:
                call.table_update(table._handle.handle, ct.byref(table.Key(cpu)), ct.byref(ct.c_uint32(fd)), 0)
        except (OSError, Error) as error:
            raise Exception("Could not open a counter of type %d, config %d for table %s: %s" %
                            (typ, config, _text(table._name), error)) from None
        self._keep(self._read_counters, table._name, counters)

    def _close_counter(self, table, cpu):
        if table._name not in self._read_counters:
            raise KeyError(cpu)
        call.table_delete(table._handle.handle, ct.byref(table.Key(cpu)))

    # --- networks, sockets, control groups ---

    @staticmethod
    def attach_xdp(dev, fn, flags=0):
        """Runs a program of type BPF.XDP on an interface's packets."""
        dev = _assert_is_bytes(dev)
        if not hasattr(fn, "_loaded"):
            raise Exception("arg 1 must be of type BPF.Function")
        mode = b""
        for bit, word in ((XDPFlags.SKB_MODE, b":generic"), (XDPFlags.DRV_MODE, b":native"),
                          (XDPFlags.HW_MODE, b":offload")):
            if flags & bit:
                mode = word
        try:
            fn.bpf._xdp_links[dev] = fn._loaded.attach(b"xdp:" + dev + mode)
        except Error as error:
            raise Exception("Failed to attach BPF to device %s: %s" % (_text(dev), error)) from None

    @classmethod
    def remove_xdp(cls, dev, flags=0):
        link = cls._xdp_links.pop(_assert_is_bytes(dev), None)
        if link is None:
            raise Exception("Failed to detach BPF from device %s: this process attached nothing there" % _text(dev))
        link.close()

    @staticmethod
    def attach_raw_socket(fn, dev):
        """Opens a packet socket on an interface with the program as its filter: fn.sock is its descriptor."""
        import socket
        dev = _assert_is_bytes(dev)
        if not hasattr(fn, "_loaded"):
            raise Exception("arg 1 must be of type BPF.Function")
        every_protocol = 3
        try:
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(every_protocol))
            opened.bind((os.fsdecode(dev), every_protocol))
        except OSError as error:
            raise Exception("Failed to open raw device %s: %s" % (_text(dev), error.strerror)) from None
        try:
            fn._socket_link = fn._loaded.attach(b"socket:fd:%d" % opened.fileno())
        except Error as error:
            raise Exception("Failed to attach BPF to device %s: %s" % (_text(dev), error)) from None
        fn.sock = opened.detach()

    @classmethod
    def attach_func(cls, fn, attachable_fd, attach_type, flags=0):
        """Attaches to a control group or a map of sockets by descriptor."""
        if not hasattr(fn, "_loaded"):
            raise Exception("arg 1 must be of type BPF.Function")
        if attach_type in CGROUP_HOOKS:
            target = "%s:/proc/self/fd/%d" % (CGROUP_HOOKS[attach_type], attachable_fd)
        elif attach_type in SOCKMAP_HOOKS:
            number = _machine.id_behind(attachable_fd, "map_id")
            names = [table.name for table in fn.bpf._object.tables() if table.id == number]
            if not names:
                raise Exception("Failed to attach BPF function: %d is no table of its object" % attachable_fd)
            target = "%s:%s" % (SOCKMAP_HOOKS[attach_type], _text(names[0]))
        else:
            raise Exception("Failed to attach BPF function with attach_type %d: there is no such hook for descriptors" %
                            attach_type)
        try:
            link = fn._loaded.attach(target)
        except Error as error:
            raise Exception("Failed to attach BPF function with attach_type %d: %s" % (attach_type, error)) from None
        cls._func_links[(fn.name, attachable_fd, attach_type)] = link

    @classmethod
    def detach_func(cls, fn, attachable_fd, attach_type):
        if not hasattr(fn, "_loaded"):
            raise Exception("arg 1 must be of type BPF.Function")
        link = cls._func_links.pop((fn.name, attachable_fd, attach_type), None)
        if link is None:
            raise Exception("Failed to detach BPF function with attach_type %d: it is not attached there" % attach_type)
        link.close()

    # --- by name ---

    _AUTOLOAD = (b"kprobe__", b"kretprobe__", b"tracepoint__", b"raw_tracepoint__", b"kfunc__", b"kretfunc__", b"lsm__")

    def _trace_autoload(self):
        """Attaches what says in its name, or in its section, where it goes: returns last, since one tracepoint may stand in
        for both sides of a function, and runs its programs in the order of attaching."""
        for spec in sorted(self._object.specs(), key=lambda spec: spec.name.startswith((b"kretprobe__", b"kretfunc__"))):
            if not spec.autoload or not spec.target:
                continue
            name, target = spec.name, spec.target
            if name.startswith(b"syscall__"):
                continue  # a handler: tools attach it themselves
            kind = name.split(b"__")[0]
            if name.startswith((b"kprobe__", b"kretprobe__")):
                attach = self.attach_kprobe if name.startswith(b"kprobe__") else self.attach_kretprobe
                attach(event=self.fix_syscall_fnname(name.split(b"__", 1)[1]), fn_name=name)
            elif kind == b"tracepoint":
                self.attach_tracepoint(tp=target.split(b":", 1)[1], fn_name=name)
            elif kind == b"raw_tracepoint":
                self.attach_raw_tracepoint(tp=name.split(b"__", 1)[1], fn_name=name)
            elif kind == b"kfunc":
                self.attach_kfunc(fn_name=name)
            elif kind == b"kretfunc":
                self.attach_kretfunc(fn_name=name)
            elif kind == b"lsm":
                self.attach_lsm(fn_name=name)
            else:
                self._keep(self.tracepoint_fds, target, self._attach(name, target, spec.type, _text(target)))


class Machine(object):
    """Questions about the machine, mostly as static methods."""

    @staticmethod
    def monotonic_time():
        """Nanoseconds of CLOCK_MONOTONIC: what bpf_ktime_get_ns() gives."""
        import time
        return time.monotonic_ns()

    @classmethod
    def generate_auto_includes(cls, program_words):
        """Lines of #include for the kernel types that the words name."""
        headers = {"linux/time.h": ["time"], "linux/fs.h": ["fs", "file"], "linux/blkdev.h": ["bio", "request"],
                   "linux/slab.h": ["alloc"], "linux/netdevice.h": ["sk_buff", "net_device"]}
        return "".join("#include <%s>\n" % header for header, words in headers.items()
                       if any(word in given for word in words for given in program_words))

    find_exe = staticmethod(_machine.find_exe)

    @staticmethod
    def find_library(libname):
        return _machine.find_library(_assert_is_bytes(libname))

    @staticmethod
    def get_kprobe_functions(event_re):
        """Names of the kernel's functions that match."""
        return _machine.kernel_functions(_assert_is_bytes(event_re))

    @staticmethod
    def get_tracepoints(tp_re):
        return _machine.tracepoints(_assert_is_bytes(tp_re))

    @staticmethod
    def tracepoint_exists(category, event):
        return _machine.tracepoint_exists(_assert_is_bytes(category), _assert_is_bytes(event))

    def get_syscall_prefix(self):
        return _machine.syscall_prefix()

    def get_syscall_fnname(self, name):
        """The kernel function of a system call: b"__x64_sys_execve" of "execve"."""
        return self.get_syscall_prefix() + _assert_is_bytes(name)

    def fix_syscall_fnname(self, name):
        """A name with any machine's prefix as this machine has it."""
        for prefix in _machine.SYSCALL_PREFIXES:
            if name.startswith(prefix):
                return self.get_syscall_fnname(name[len(prefix):])
        return name

    @staticmethod
    def kernel_struct_has_field(struct_name, field_name):
        """1 where the running kernel's structure has this member, 0 where not, -1 where its types are not known."""
        try:
            return call.kernel_has_member(_assert_is_bytes(struct_name), _assert_is_bytes(field_name))
        except Error:
            return -1

    @classmethod
    def _has(cls, feature):
        from skep import _session
        return _session.engine().has(feature)

    @classmethod
    def support_kfunc(cls):
        """Whether KFUNC_PROBE() can be attached here: found by trying, not from the kernel's version."""
        return cls._has("fentry")

    @classmethod
    def support_lsm(cls):
        return cls._has("lsm")

    @classmethod
    def support_raw_tracepoint(cls):
        return cls._has("raw_tracepoint")

    @classmethod
    def support_raw_tracepoint_in_module(cls):
        return cls._has("raw_tracepoint")

    @staticmethod
    def _user_functions(path, sym_re):
        """(name, offset in the file) of the functions of a binary that match from their beginning."""
        import re
        wanted = re.compile(sym_re)
        return [(name, offset) for name, offset in _library.binary_functions(path) if wanted.match(name)]

    @classmethod
    def get_user_functions_and_addresses(cls, name, sym_re):
        path = _machine.binary_of(_assert_is_bytes(name), None)
        return [(function, offset) for function, offset in cls._user_functions(path, _assert_is_bytes(sym_re))]

    @classmethod
    def get_user_functions(cls, name, sym_re):
        return {function for function, _ in cls.get_user_functions_and_addresses(name, sym_re)}

    @classmethod
    def get_user_addresses(cls, name, sym_re):
        return {offset for _, offset in cls.get_user_functions_and_addresses(name, sym_re)}
