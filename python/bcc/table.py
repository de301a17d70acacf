# Tables: maps with the dict protocol and BCC's methods, a class for each kind.
import ctypes as ct
import os
from collections.abc import MutableMapping

from skep import _library, _session
from skep._library import Error, call
from skep._types import for_size

from . import histogram

# The kernel's numbers of map types, by BCC's names.
(BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PROG_ARRAY, BPF_MAP_TYPE_PERF_EVENT_ARRAY,
 BPF_MAP_TYPE_PERCPU_HASH, BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_STACK_TRACE, BPF_MAP_TYPE_CGROUP_ARRAY,
 BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_LRU_PERCPU_HASH, BPF_MAP_TYPE_LPM_TRIE, BPF_MAP_TYPE_ARRAY_OF_MAPS,
 BPF_MAP_TYPE_HASH_OF_MAPS, BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_SOCKMAP, BPF_MAP_TYPE_CPUMAP, BPF_MAP_TYPE_XSKMAP,
 BPF_MAP_TYPE_SOCKHASH, BPF_MAP_TYPE_CGROUP_STORAGE, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY,
 BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE, BPF_MAP_TYPE_QUEUE, BPF_MAP_TYPE_STACK, BPF_MAP_TYPE_SK_STORAGE,
 BPF_MAP_TYPE_DEVMAP_HASH, BPF_MAP_TYPE_STRUCT_OPS, BPF_MAP_TYPE_RINGBUF, BPF_MAP_TYPE_INODE_STORAGE,
 BPF_MAP_TYPE_TASK_STORAGE) = range(1, 30)

BPF_F_NO_PREALLOC, BPF_F_NO_COMMON_LRU, BPF_F_STACK_BUILD_ID = 1, 2, 1 << 5

map_type_name = {number: name[len("BPF_MAP_TYPE_"):] for name, number in list(globals().items())
                 if name.startswith("BPF_MAP_TYPE_")}

log2_index_max = histogram.LOG2_BUCKETS
linear_index_max = histogram.LINEAR_BUCKETS
stars_max = histogram.STARS
_print_log2_hist = histogram.print_log2
_print_linear_hist = histogram.print_linear
_print_json_hist = histogram.print_json


def get_table_type_name(ttype):
    return map_type_name.get(ttype, "<unknown>")


def Table(bpf, handle, keytype=None, leaftype=None, name=None, reducer=None):
    """The table of the class that fits its type."""
    made = _CLASSES.get(handle.type)
    if made is None:
        raise Exception("Unknown table type %d" % handle.type)
    if made in (PerCpuHash, LruPerCpuHash, PerCpuArray):
        return made(bpf, handle, keytype, leaftype, name, reducer=reducer)
    return made(bpf, handle, keytype, leaftype, name)


class TableBase(histogram.Printed, MutableMapping):
    """What every table can."""

    def __init__(self, bpf, handle, keytype=None, leaftype=None, name=None):
        self.bpf = bpf
        self._handle = handle
        self._name = name if name is not None else handle.name
        self.ttype, self.map_id, self.flags, self.max_entries = handle.type, handle.id, handle.flags, handle.max_entries
        self.Key = keytype or self._own_type(handle.key_type, handle.key_size)
        self.Leaf = leaftype or self._own_type(handle.value_type, handle.value_size)
        self._cbs = {}
        self._descriptor = None

    def _own_type(self, number, size):
        made = self._handle.owner.types.ctype(number) if number else None
        if made is None or ct.sizeof(made) != size:
            made = for_size(size) if size else None
        return made

    # --- what it is ---

    @property
    def map_fd(self):
        """A descriptor of the map (kernel engine), or its number in this process (user engine)."""
        if self._descriptor is None:
            self._descriptor = self.bpf._descriptor_of_table(self._handle)
        return self._descriptor

    @map_fd.setter
    def map_fd(self, descriptor):
        """Programs make tables of pinned maps by a class of their own, whose constructor sets this, Key and Leaf."""
        from skep._object import Object
        self._handle = next(Object(_session.engine(), descriptor=descriptor).tables())
        self._descriptor, self._name = descriptor, self._handle.name
        self.ttype, self.map_id, self.flags = self._handle.type, self._handle.id, self._handle.flags
        self.max_entries = self._handle.max_entries

    def get_fd(self):
        return self.map_fd

    # --- keys and values in C's form ---

    @staticmethod
    def _as(kind, value, what):
        if isinstance(value, kind):
            return value
        if hasattr(value, "value") and not isinstance(value, (ct.Structure, ct.Union, ct.Array)):
            value = value.value
        if isinstance(value, (ct.Structure, ct.Union, ct.Array)):
            if ct.sizeof(value) == ct.sizeof(kind):
                return kind.from_buffer_copy(value)
            raise TypeError("the %s is a %s of %d bytes, expected %s of %d" %
                            (what, type(value).__name__, ct.sizeof(value), kind.__name__, ct.sizeof(kind)))
        if issubclass(kind, ct.Array) and isinstance(value, (list, tuple, bytes)):
            return kind(*value)
        try:
            if issubclass(kind, (ct.Structure, ct.Union)):
                return kind(*value)
            return kind(value)
        except TypeError as error:
            raise TypeError("the %s is %r, expected a %s: %s" % (what, value, kind.__name__, error)) from None

    def _key(self, key):
        return self._as(self.Key, key, "key")

    def _leaf(self, leaf):
        return self._as(self.Leaf, leaf, "value")

    def key_sprintf(self, key):
        return _text_of(self._key(key)).encode()

    def leaf_sprintf(self, leaf):
        return _text_of(self._leaf(leaf)).encode()

    def key_scanf(self, key_str):
        return _value_of(self.Key, key_str)

    def leaf_scanf(self, leaf_str):
        return _value_of(self.Leaf, leaf_str)

    # --- one entry ---

    def __getitem__(self, key):
        _session.begin()
        leaf = self.Leaf()
        try:
            call.table_lookup(self._handle.handle, ct.byref(self._key(key)), ct.byref(leaf))
        except Error as error:
            if error.code == _library.NOT_FOUND:
                raise KeyError(key) from None
            raise Exception("Could not read table %s: %s" % (_text(self._name), error)) from None
        return leaf

    def __setitem__(self, key, leaf):
        try:
            call.table_update(self._handle.handle, ct.byref(self._key(key)), ct.byref(self._leaf(leaf)), 0)
        except Error as error:
            raise Exception("Could not update table: %s" % error) from None

    def __delitem__(self, key):
        try:
            call.table_delete(self._handle.handle, ct.byref(self._key(key)))
        except Error as error:
            if error.code == _library.NOT_FOUND:
                raise KeyError(key) from None
            raise Exception("Could not delete from table %s: %s" % (_text(self._name), error)) from None

    def next(self, key):
        """The key after `key`, the first for None. StopIteration after the last."""
        following = self.Key()
        at = None if key is None else ct.byref(self._key(key))
        if call.table_next_key(self._handle.handle, at, ct.byref(following)) == 1:
            raise StopIteration()
        return following

    # --- all entries ---

    def _entries(self, how):
        _session.begin()
        keys, values, count = _library.read_entries(self._handle, how)
        key_size, value_size = self._handle.key_size, self._handle.stored_value_size
        for place in range(count):
            key = self.Key.from_buffer_copy(keys, place * key_size)
            if how == _library.ENTRIES_KEYS:
                yield key, None
            else:
                yield key, self._read_leaf(values, place * value_size)

    def _read_leaf(self, values, offset):
        return self.Leaf.from_buffer_copy(values, offset)

    def __iter__(self):
        for key, _ in self._entries(_library.ENTRIES_KEYS):
            yield key

    def iter(self):
        return self.__iter__()

    def keys(self):
        return self.__iter__()

    def iteritems(self):
        return self._entries(_library.ENTRIES_READ)

    def itervalues(self):
        for _, leaf in self.iteritems():
            yield leaf

    def items(self):
        return list(self.iteritems())

    def values(self):
        return list(self.itervalues())

    def __len__(self):
        return sum(1 for _ in self)

    def clear(self):
        call.table_clear(self._handle.handle)

    def zero(self):
        """Makes every value zero, and keeps the keys."""
        for key in list(self.keys()):
            self[key] = self.Leaf()

    # --- several entries at once; keys and values as ctypes arrays ---

    def items_lookup_batch(self):
        """Every entry."""
        yield from self._entries(_library.ENTRIES_READ)

    def items_lookup_and_delete_batch(self):
        """Every entry, taken out of the table: what programs add meanwhile is in one of both."""
        yield from self._entries(_library.ENTRIES_TAKE)

    def items_delete_batch(self, ct_keys=None):
        """Deletes these keys, or all of them."""
        if ct_keys is None:
            self.clear()
            return
        self._check_arrays(ct_keys)
        self._batch("delete", call.table_delete_batch, ct_keys)

    def items_update_batch(self, ct_keys, ct_values):
        self._check_arrays(ct_keys, ct_values)
        if type(self).__setitem__ is not TableBase.__setitem__:  # what is written is not what is stored
            for key, leaf in zip(ct_keys, ct_values):
                self[key] = leaf
        else:
            self._batch("update", call.table_update_batch, ct_keys, ct_values)

    def _batch(self, what, change, keys, *values):
        done = ct.c_uint64()
        try:
            change(self._handle.handle, keys, *values, len(keys), *([0] if values else []), ct.byref(done))
        except Error as error:
            raise Exception("Could not %s entry %d of %d of table %s: %s" %
                            (what, done.value, len(keys), _text(self._name), error)) from None

    def _check_arrays(self, keys, values=None):
        for given, kind, what in ((keys, self.Key, "keys"), (values, self.Leaf, "values")):
            if given is None:
                continue
            if not isinstance(given, ct.Array):
                raise TypeError("%s must be a ctypes array" % what)
            if given._type_ != kind:
                raise TypeError("%s is an array of %s, expected %s" % (what, given._type_, kind))
        if values is not None and len(keys) != len(values):
            raise TypeError("there are %d keys and %d values" % (len(keys), len(values)))
        if len(keys) > self.max_entries:
            raise Exception("%d keys, the table has room for %d" % (len(keys), self.max_entries))


class HashTable(TableBase):
    pass


class LruHash(HashTable):
    pass


class MapInMapHash(HashTable):
    def __setitem__(self, key, leaf):
        super().__setitem__(key, self.bpf._id_of_map(leaf))


class ArrayBase(TableBase):
    """Keys are places; negative ones count from the end."""

    def _key(self, key):
        if isinstance(key, int):
            if key < 0:
                key += len(self)
            if not 0 <= key < len(self):
                raise IndexError("the table has %d entries" % len(self))
            return self.Key(key)
        return super()._key(key)

    def __len__(self):
        return self.max_entries

    def __iter__(self):
        for place in range(len(self)):
            yield self.Key(place)

    def __delitem__(self, key):
        self.clearitem(key)

    def clearitem(self, key):
        self[key] = self.Leaf()

    def clear(self):
        call.table_clear(self._handle.handle)


class Array(ArrayBase):
    pass


class _Slots(ArrayBase):
    """Arrays of other objects: a slot is filled or empty."""

    def __delitem__(self, key):
        call.table_delete(self._handle.handle, ct.byref(self._key(key)))

    clearitem = __delitem__


class ProgArray(_Slots):
    def __setitem__(self, key, leaf):
        super().__setitem__(key, self.bpf._id_of_program(leaf))


class MapInMapArray(_Slots):
    def __setitem__(self, key, leaf):
        super().__setitem__(key, self.bpf._id_of_map(leaf))


class FileDesc:
    """A descriptor that is closed with this."""

    def __init__(self, fd):
        if fd is None or fd < 0:
            raise Exception("Invalid file descriptor")
        self.fd = fd

    def clean_up(self):
        if self.fd is not None and self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __del__(self):
        self.clean_up()

    def __enter__(self, *args, **kwargs):
        return self

    def __exit__(self, *args, **kwargs):
        self.clean_up()


class CgroupArray(_Slots):
    """Control groups, by descriptor or by path."""

    def __setitem__(self, key, leaf):
        if isinstance(leaf, (str, bytes)):
            with FileDesc(os.open(leaf, os.O_RDONLY)) as opened:
                super().__setitem__(key, self.Leaf(opened.fd))
            return
        super().__setitem__(key, leaf)


class DevMap(_Slots):
    pass


class CpuMap(_Slots):
    pass


class XskMap(_Slots):
    pass


class _Events:
    """What perf buffers and ring buffers share: records, and what they are made of."""

    _event_class = None
    _record_size = None

    def event(self, data):
        """The record at `data` as the C type that the program sends; a copy, which stays."""
        if self._event_class is None:
            number = self._handle.value_type
            made = self._handle.owner.types.ctype(number) if number else None
            if made is None:
                raise Exception("table %s: the type of its records is not known; read them with ctypes.cast(), or "
                                "declare `struct T *unused_%s` in the source" % (_text(self._name), _text(self._name)))
            self._event_class = made
        size = ct.sizeof(self._event_class)
        there = size if self._record_size is None else min(size, self._record_size)
        return self._event_class.from_buffer_copy(ct.string_at(data, there) + bytes(size - there))

    def _hand_out(self, reader, deliver):
        """Calls `deliver` with every record; what it raises leaves the others for the next poll."""
        try:
            while reader.waiting:
                data, size, cpu = reader.waiting.popleft()
                self._record_size = size
                deliver(data, size, cpu)
        finally:
            self._record_size = None


class PerfEventArray(ArrayBase, _Events):
    """A perf buffer, or counters that a program reads."""

    def __delitem__(self, key):
        self._close_event(key)

    def clear(self):
        pass

    def open_perf_buffer(self, callback, page_cnt=8, lost_cb=None, wakeup_events=1):
        """From now on perf_buffer_poll() calls callback(cpu, data, size) with every record, and lost_cb(count) when
        records did not fit. `page_cnt` is the least: a buffer has at least 64 pages for each CPU."""
        if page_cnt & (page_cnt - 1) != 0:
            raise Exception("Perf buffer page_cnt must be a power of two")

        def deliver(data, size, cpu):
            callback(cpu, data, size)

        self.bpf._open_reader(self, self._handle, deliver, lost_cb)

    def open_perf_event(self, typ, config, pid=-1):
        """Opens a counter on every CPU, for programs that read it with MAP.perf_read(cpu)."""
        self.bpf._open_counters(self, typ, config, pid)

    def _close_event(self, key):
        self.bpf._close_counter(self, self._key(key).value)


class RingBuf(TableBase, _Events):
    def __len__(self):
        return 0

    def __iter__(self):
        return iter(())

    def __delitem__(self, key):
        pass

    def open_ring_buffer(self, callback, ctx=None):
        """From now on ring_buffer_poll() calls callback(ctx, data, size) with every record."""

        def deliver(data, size, cpu):
            callback(ctx, data, size)

        self.bpf._open_reader(self, self._handle, deliver, None, ring=True)


class _PerCpu:
    """Values that every CPU has one of."""

    def _prepare(self, reducer):
        self.reducer = reducer
        self.sLeaf = self.Leaf
        self.total_cpu = self._handle.stored_value_size // ((self._handle.value_size + 7) // 8 * 8)
        self.alignment = ct.sizeof(self.sLeaf) % 8
        if self.alignment == 0:
            slot = self.sLeaf
        elif issubclass(self.sLeaf, ct._SimpleCData):
            slot = ct.c_int64 if self.sLeaf(-1).value == -1 else ct.c_uint64
        else:
            slot = type("Padded", (ct.Structure,),
                        {"_fields_": [("leaf", self.sLeaf), ("__pad", ct.c_uint8 * (8 - self.alignment))]})
        self._padded = slot if hasattr(slot, "leaf") else None
        self.Leaf = slot * self.total_cpu

    def _by_cpu(self, leaf):
        if self._padded:
            return [self.sLeaf.from_buffer_copy(slot) for slot in leaf]
        if self.alignment:
            array = (self.sLeaf * self.total_cpu)()
            for cpu in range(self.total_cpu):
                array[cpu] = self.sLeaf(leaf[cpu]).value
            return array
        return leaf

    def getvalue(self, key):
        return self._by_cpu(super().__getitem__(key))

    def __getitem__(self, key):
        return self._reduced(self.getvalue(key))

    def _reduced(self, values):
        if not self.reducer:
            return values
        from functools import reduce
        return reduce(self.reducer, values)

    def _read_leaf(self, values, offset):
        return self._reduced(self._by_cpu(self.Leaf.from_buffer_copy(values, offset)))

    def _numbers(self, key):
        if not issubclass(self.sLeaf, ct._SimpleCData):
            raise IndexError("Leaf must be an integer type for default sum functions")
        return list(self.getvalue(key))

    def sum(self, key):
        return self.sLeaf(sum(self._numbers(key)))

    def max(self, key):
        return self.sLeaf(max(self._numbers(key)))

    def average(self, key):
        return sum(self._numbers(key)) / self.total_cpu


class PerCpuHash(_PerCpu, HashTable):
    def __init__(self, bpf, handle, keytype=None, leaftype=None, name=None, reducer=None):
        super().__init__(bpf, handle, keytype, leaftype, name)
        self._prepare(reducer)


class LruPerCpuHash(PerCpuHash):
    pass


class PerCpuArray(_PerCpu, ArrayBase):
    def __init__(self, bpf, handle, keytype=None, leaftype=None, name=None, reducer=None):
        super().__init__(bpf, handle, keytype, leaftype, name)
        self._prepare(reducer)

    def clearitem(self, key):
        self[key] = self.Leaf()


class LpmTrie(TableBase):
    pass


class StackTrace(TableBase):
    """Stacks by the number that get_stackid() gave."""

    MAX_DEPTH = 127
    BPF_F_STACK_BUILD_ID = BPF_F_STACK_BUILD_ID
    BPF_STACK_BUILD_ID_EMPTY, BPF_STACK_BUILD_ID_VALID, BPF_STACK_BUILD_ID_IP = range(3)

    class _Ips(ct.Structure):
        _fields_ = [("ip", ct.c_uint64 * 127)]

    def __init__(self, bpf, handle, keytype=None, leaftype=None, name=None):
        super().__init__(bpf, handle, keytype or ct.c_int, leaftype, name)
        self.build_ids = bool(self.flags & BPF_F_STACK_BUILD_ID)
        if leaftype is None and not self.build_ids and handle.value_size == ct.sizeof(StackTrace._Ips):
            self.Leaf = StackTrace._Ips

    def __len__(self):
        return sum(1 for _ in self)

    def walk(self, stack_id, resolve=None):
        """The addresses of a stack, innermost first; through `resolve` where it is given."""
        key = stack_id if isinstance(stack_id, self.Key) else self.Key(getattr(stack_id, "value", stack_id))
        try:
            leaf = self[key]
        except KeyError:
            return
        words = (ct.c_uint64 * (self._handle.value_size // 8)).from_buffer_copy(leaf)
        for address in words:
            if address == 0:
                return
            yield resolve(address) if resolve else address

    def clear(self):
        call.table_clear(self._handle.handle)


class QueueStack:
    """A queue or a stack: values without keys."""

    BPF_EXIST = 2  # push(): a full one drops its oldest value

    def __init__(self, bpf, handle, keytype=None, leaftype=None, name=None):
        self.bpf = bpf
        self._handle = handle
        self._name = name if name is not None else handle.name
        self.map_id, self.ttype, self.flags, self.max_entries = handle.id, handle.type, handle.flags, handle.max_entries
        made = leaftype or (handle.owner.types.ctype(handle.value_type) if handle.value_type else None)
        self.Leaf = made or for_size(handle.value_size)

    @property
    def map_fd(self):
        return self.bpf._descriptor_of_table(self._handle)

    def leaf_sprintf(self, leaf):
        return _text_of(leaf).encode()

    def leaf_scanf(self, leaf_str):
        return _value_of(self.Leaf, leaf_str)

    def push(self, leaf, flags=0):
        """flags 2 (BPF_EXIST): a full one drops its oldest value."""
        leaf = TableBase._as(self.Leaf, leaf, "value")
        try:
            call.table_update(self._handle.handle, None, ct.byref(leaf), flags)
        except Error as error:
            raise Exception("Could not push to table: %s" % error) from None

    def _read(self, read):
        _session.begin()
        leaf = self.Leaf()
        try:
            read(self._handle.handle, None, ct.byref(leaf))
        except Error as error:
            if error.code == _library.NOT_FOUND:
                raise KeyError("table %s is empty" % _text(self._name)) from None
            raise
        return leaf

    def pop(self):
        return self._read(call.table_take)

    def peek(self):
        return self._read(call.table_lookup)

    def itervalues(self):
        """Takes what there is."""
        while True:
            try:
                yield self.pop()
            except KeyError:
                return

    def values(self):
        return list(self.itervalues())


def _text(name):
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def _text_of(value):
    """A C value as BCC writes it: numbers in hexadecimal, structures in braces."""
    if isinstance(value, bytes):
        return '"%s"' % value.decode(errors="replace")
    if isinstance(value, int):
        return hex(value)
    if isinstance(value, (ct.Structure, ct.Union)):
        return "{ %s }" % " ".join(_text_of(getattr(value, field[0])) for field in value._fields_)
    if isinstance(value, ct.Array):
        return "[ %s ]" % " ".join(_text_of(one) for one in value)
    return _text_of(value.value)


def _value_of(kind, text):
    """The other way: "0x1f", or "{ 0x1 0x2 }"."""
    words = (text.decode() if isinstance(text, bytes) else text).replace("{", " ").replace("}", " ").split()
    value = kind()
    if isinstance(value, (ct.Structure, ct.Union)):
        for (name, *_), word in zip(value._fields_, words):
            setattr(value, name, int(word, 0))
    elif isinstance(value, ct.Array):
        for place, word in enumerate(words):
            value[place] = int(word, 0)
    else:
        value.value = int(words[0], 0)
    return value


_CLASSES = {
    BPF_MAP_TYPE_HASH: HashTable,
    BPF_MAP_TYPE_ARRAY: Array,
    BPF_MAP_TYPE_PROG_ARRAY: ProgArray,
    BPF_MAP_TYPE_PERF_EVENT_ARRAY: PerfEventArray,
    BPF_MAP_TYPE_PERCPU_HASH: PerCpuHash,
    BPF_MAP_TYPE_PERCPU_ARRAY: PerCpuArray,
    BPF_MAP_TYPE_STACK_TRACE: StackTrace,
    BPF_MAP_TYPE_CGROUP_ARRAY: CgroupArray,
    BPF_MAP_TYPE_LRU_HASH: LruHash,
    BPF_MAP_TYPE_LRU_PERCPU_HASH: LruPerCpuHash,
    BPF_MAP_TYPE_LPM_TRIE: LpmTrie,
    BPF_MAP_TYPE_ARRAY_OF_MAPS: MapInMapArray,
    BPF_MAP_TYPE_HASH_OF_MAPS: MapInMapHash,
    BPF_MAP_TYPE_DEVMAP: DevMap,
    BPF_MAP_TYPE_DEVMAP_HASH: DevMap,
    BPF_MAP_TYPE_SOCKMAP: HashTable,
    BPF_MAP_TYPE_SOCKHASH: HashTable,
    BPF_MAP_TYPE_CPUMAP: CpuMap,
    BPF_MAP_TYPE_XSKMAP: XskMap,
    BPF_MAP_TYPE_CGROUP_STORAGE: HashTable,
    BPF_MAP_TYPE_QUEUE: QueueStack,
    BPF_MAP_TYPE_STACK: QueueStack,
    BPF_MAP_TYPE_SK_STORAGE: HashTable,
    BPF_MAP_TYPE_INODE_STORAGE: HashTable,
    BPF_MAP_TYPE_TASK_STORAGE: HashTable,
    BPF_MAP_TYPE_RINGBUF: RingBuf,
}
