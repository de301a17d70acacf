# Histograms as text, column for column as BCC prints them.
LOG2_BUCKETS = 65
LINEAR_BUCKETS = 1025


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
    width = 20 if wide else 40
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
    most, width = max(max(values), 0), 40
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
