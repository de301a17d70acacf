# Histograms as text, column for column as BCC prints them: of lists of counts, and of tables whose keys are buckets.
import ctypes as ct

LOG2_BUCKETS = 65
LINEAR_BUCKETS = 1025
STARS = 40  # the width of a bar


def stars(value, most, width):
    """A bar: as many stars as `value` is of `most`; '+' at its end where it is more than that."""
    bar = "*" * min(width, width * value // most)
    return bar[:-1] + "+" if value > most else bar


def _log2_bounds(bucket):
    low, high = (1 << bucket) >> 1, (1 << bucket) - 1
    return (low - 1 if low == high else low), high


def _last_used(values):
    return max((index for index, value in enumerate(values) if value > 0), default=-1)


def print_log2(values, what, strip_leading_zero=False):
    last = _last_used(values)
    if last <= 0:  # bucket 0 counts nothing: bpf_log2l() begins at 1
        return
    most = max(max(values), 0)
    wide = last > 32  # numbers of more than ten digits
    width = STARS // 2 if wide else STARS
    number = 20 if wide else 10
    print("%s%-*s : count     distribution" % (" " * (15 if wide else 5), 29 if wide else 19, what))
    stripping = strip_leading_zero
    for bucket in range(1, last + 1):
        value = values[bucket]
        if stripping and not value:
            continue
        stripping = False
        low, high = _log2_bounds(bucket)
        print("%*d -> %-*d : %-8d |%-*s|" % (number, low, number, high, value, width, stars(value, most, width)))


def print_linear(values, what, strip_leading_zero=False):
    last = _last_used(values)
    if last < 0:
        return
    most, width = max(max(values), 0), STARS
    print("     %-13s : count     distribution" % what)
    stripping = strip_leading_zero
    for bucket in range(last + 1):
        value = values[bucket]
        if stripping and not value:
            continue
        stripping = False
        print("        %-10d : %-8d |%-*s|" % (bucket, value, width, stars(value, most, width)))


def print_json(values, what, section=None):
    import time
    record = {"ts": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime()), "val_type": what, "data": []}
    for bucket in range(1, _last_used(values) + 1):
        low, high = _log2_bounds(bucket)
        record["data"].append({"interval-start": low, "interval-end": high, "count": int(values[bucket])})
    if section:
        record[section[0]] = section[1]
    print(record)


class Printed:
    """The half of a table that prints itself. A key that is a structure has a section in front of the bucket."""

    def _sections(self, size, bucket_fn, bucket_sort_fn):
        """Keys that are structures: {first member: values by the second}, in order of printing."""
        names = [name for name, *_ in self.Key._fields_ if not name.startswith("__pad_")]
        buckets = {}
        for key, leaf in self.items():
            bucket = getattr(key, names[0])
            if bucket_fn:
                bucket = bucket_fn(bucket)
            values = buckets.setdefault(bucket, [0] * size)
            slot = getattr(key, names[1])
            _set_slot(values, slot, leaf.value)
        order = list(buckets)
        if bucket_sort_fn:
            order = bucket_sort_fn(order)
        return [(bucket, buckets[bucket]) for bucket in order]

    def _slots(self, size):
        values = [0] * size
        for key, leaf in self.items():
            _set_slot(values, key.value, leaf.value)
        return values

    def _print(self, show, size, section_header, section_print_fn, bucket_fn, bucket_sort_fn):
        if not issubclass(self.Key, ct.Structure):
            show(self._slots(size))
            return
        for bucket, values in self._sections(size, bucket_fn, bucket_sort_fn):
            if section_print_fn:
                print("\n%s = %s" % (section_header, section_print_fn(bucket)))
            else:
                print("\n%s = %r" % (section_header, bucket))
            show(values)

    def print_log2_hist(self, val_type="value", section_header="Bucket ptr", section_print_fn=None, bucket_fn=None,
                        strip_leading_zero=None, bucket_sort_fn=None):
        """A histogram of powers of two: bucket n counts values below 2^n."""
        self._print(lambda values: print_log2(values, val_type, strip_leading_zero), LOG2_BUCKETS,
                    section_header, section_print_fn, bucket_fn, bucket_sort_fn)

    def print_linear_hist(self, val_type="value", section_header="Bucket ptr", section_print_fn=None, bucket_fn=None,
                          strip_leading_zero=None, bucket_sort_fn=None):
        """A histogram of one row a value."""
        self._print(lambda values: print_linear(values, val_type, strip_leading_zero), LINEAR_BUCKETS,
                    section_header, section_print_fn, bucket_fn, bucket_sort_fn)

    def print_json_hist(self, val_type="value", section_header="Bucket ptr", section_print_fn=None, bucket_fn=None,
                        bucket_sort_fn=None):
        if not issubclass(self.Key, ct.Structure):
            print_json(self._slots(LOG2_BUCKETS), val_type)
            return
        for bucket, values in self._sections(LOG2_BUCKETS, bucket_fn, bucket_sort_fn):
            shown = section_print_fn(bucket) if section_print_fn else bucket
            print_json(values, val_type, (section_header, shown))


def _set_slot(values, slot, count):
    if not 0 <= slot < len(values):
        raise IndexError("the histogram has a slot %d, its last is %d" % (slot, len(values) - 1))
    values[slot] = count
