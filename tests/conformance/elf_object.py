"""The smallest relocatable ELF object around one eBPF program: a section of code and the symbol that names it.

Test support only. Source: the ELF64 format of the System V ABI; machine 247 is EM_BPF.
"""
import struct


def starts_of_functions(program):
    """Where calls of the program's own functions lead, as byte offsets."""
    starts = {0}
    at = 0
    while at < len(program):
        code, registers, _, imm = struct.unpack_from("<BBhi", program, at)
        if code == 0x85 and registers >> 4 == 1:
            starts.add(at + 8 + imm * 8)
        at += 16 if code == 0x18 else 8
    return sorted(starts)


def around(program):
    """`program` as an object file with the function `main` in section `socket`; what it calls are local functions."""
    names = b"\0socket\0.symtab\0.strtab\0main\0"
    starts = starts_of_functions(program)
    ends = starts[1:] + [len(program)]
    symbols = bytes(24)
    for start, end in list(zip(starts, ends))[1:]:
        symbols += struct.pack("<IBBHQQ", len(names), 0x02, 0, 1, start, end - start)  # local function
        names += b"f%d\0" % (start // 8)
    first_global = len(symbols) // 24
    symbols += struct.pack("<IBBHQQ", names.index(b"main"), 0x12, 0, 1, 0, ends[0])  # global function
    code_at = 64
    symbols_at = code_at + len(program)
    names_at = symbols_at + len(symbols)
    headers_at = (names_at + len(names) + 7) & ~7

    def section(name, kind, flags, at, size, link=0, info=0, align=1, entry=0):
        return struct.pack("<IIQQQQIIQQ", names.index(name), kind, flags, 0, at, size, link, info, align, entry)

    header = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 1, 247, 1, 0, 0, headers_at, 0, 64, 0, 0, 64,
                                                         4, 3)
    body = header + program + symbols + names
    return body.ljust(headers_at, b"\0") + bytes(64) + section(b"socket", 1, 6, code_at, len(program), align=8) + section(
        b".symtab", 2, 0, symbols_at, len(symbols), link=3, info=first_global, align=8, entry=24) + section(
            b".strtab", 3, 0, names_at, len(names))
