# Programs and maps as text.
import ctypes as ct


def disassemble_str(bpfstr):
    """Instructions of 8 bytes as hexadecimal words; BPF.disassemble_func() has them as text."""
    return ["%4d: %s" % (place // 8, bpfstr[place:place + 8].hex(" ")) for place in range(0, len(bpfstr), 8)]


def disassemble_prog(func_name, bpfstr):
    return "\n".join(["Disassemble of BPF program %s:" % func_name.decode()] + disassemble_str(bpfstr))


def _layout(kind, name, indent):
    lines = []
    for member, of, *_ in getattr(kind, "_fields_", []):
        lines.append("%s%s %s; /* at %d, %d bytes */" % (indent, of.__name__, member, getattr(kind, member).offset,
                                                         ct.sizeof(of)))
        if hasattr(of, "_fields_"):
            lines += _layout(of, member, indent + "  ")
    return lines


def decode_map(map_name, map_obj, map_type, sizeinfo=False):
    """What a table's keys and values are made of."""
    name = map_name.decode() if isinstance(map_name, bytes) else map_name
    lines = ["Layout of BPF map %s (type %s, FD %d, ID %d):" % (name, map_type, map_obj.map_fd, map_obj.map_id)]
    for what, kind in (("key", getattr(map_obj, "Key", None)), ("value", map_obj.Leaf)):
        if kind is not None:
            lines.append("  %s: %s%s" % (what, kind.__name__, " (%d bytes)" % ct.sizeof(kind) if sizeinfo else ""))
            lines += _layout(kind, what, "    ")
    return "\n".join(lines)
