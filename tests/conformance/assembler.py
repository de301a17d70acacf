"""Assembles the syntax of the bpf_conformance vectors (that of ubpf: `mov32 %r0, 5`, `ldxdw %r0, [%r1+8]`).

Test support only: skep's own assembler speaks the kernel's syntax (src/isa/text.hpp). Opcode numbers are those
of RFC 9669, written down here a second time on purpose, so that the vectors test the interpreter's table too.
"""
import re
import struct

ALU = {"add": 0x00, "sub": 0x10, "mul": 0x20, "div": 0x30, "or": 0x40, "and": 0x50, "lsh": 0x60, "rsh": 0x70,
       "neg": 0x80, "mod": 0x90, "xor": 0xa0, "mov": 0xb0, "arsh": 0xc0, "sdiv": 0x30, "smod": 0x90}
JUMP = {"jeq": 0x10, "jgt": 0x20, "jge": 0x30, "jset": 0x40, "jne": 0x50, "jsgt": 0x60, "jsge": 0x70, "jlt": 0xa0,
        "jle": 0xb0, "jslt": 0xc0, "jsle": 0xd0}
SIZE = {"w": 0x00, "h": 0x08, "b": 0x10, "dw": 0x18}
ATOMIC = {"add": 0x00, "or": 0x40, "and": 0x50, "xor": 0xa0, "xchg": 0xe1, "cmpxchg": 0xf1}
MOVSX = {"movsx832": (0xbc, 8), "movsx1632": (0xbc, 16), "movsx864": (0xbf, 8), "movsx1664": (0xbf, 16),
         "movsx3264": (0xbf, 32)}


class AssemblyError(Exception):
    pass


def register(text):
    match = re.fullmatch(r"%?r(\d+)", text)
    if not match or int(match.group(1)) > 10:
        raise AssemblyError(f"invalid register {text}")
    return int(match.group(1))


def number(text, bits):
    try:
        value = int(text, 0)
    except ValueError:
        raise AssemblyError(f"invalid number {text}") from None
    if not -(1 << (bits - 1)) <= value < (1 << bits):
        raise AssemblyError(f"{text} does not fit {bits} bits")
    return value & ((1 << bits) - 1)


def memory(text):
    match = re.fullmatch(r"\[\s*(%?r\d+)\s*([+-]\s*\w+)?\s*\]", text)
    if not match:
        raise AssemblyError(f"invalid memory operand {text}")
    offset = number((match.group(2) or "0").replace(" ", ""), 16)
    return register(match.group(1)), offset


def encode(code, dst=0, src=0, off=0, imm=0):
    return struct.pack("<BBHI", code, dst | src << 4, off & 0xffff, imm & 0xffffffff)


class Assembler:
    def __init__(self):
        self.out, self.labels, self.jumps = [], {}, []

    def target(self, text, field):
        """A distance, or a label to be filled in later."""
        if re.fullmatch(r"[+-]?(0x)?[0-9a-fA-F]+", text) and not re.fullmatch(r"[a-fA-F]\w*", text):
            return number(text, 16 if field == "off" else 32)
        self.jumps.append((len(self.out), text, field))
        return 0

    def alu(self, name, operands):
        wide = not name.endswith("32")
        base = name[:-2] if not wide else name.removesuffix("64")
        code, off = ALU[base] | (7 if wide else 4), int(base in ("sdiv", "smod"))
        if base == "neg":
            return encode(code, register(*operands))
        dst, operand = register(operands[0]), operands[1]
        if operand.startswith(("%", "r")):
            return encode(code | 8, dst, register(operand), off)
        return encode(code, dst, 0, off, number(operand, 32))

    def jump(self, name, operands):
        wide = not name.endswith("32")
        code = JUMP[name.removesuffix("32")] | (5 if wide else 6)
        dst, operand = register(operands[0]), operands[1]
        off = self.target(operands[2], "off")
        if operand.startswith(("%", "r")):
            return encode(code | 8, dst, register(operand), off)
        return encode(code, dst, 0, off, number(operand, 32))

    def call(self, operands):
        words = operands[0].split()
        if words[0] == "local":
            return encode(0x85, 0, 1, 0, self.target(words[1], "imm"))
        if words[0].startswith("%"):
            return encode(0x8d, register(words[0]))
        return encode(0x85, 0, 0, 0, number(words[-1], 32))

    def lock(self, words, operands):
        fetch = words[0] == "fetch"
        name = words[1 if fetch else 0]
        base, wide = name.removesuffix("32"), not name.endswith("32")
        if base not in ATOMIC:
            raise AssemblyError(f"unknown atomic {name}")
        dst, off = memory(operands[0])
        return encode(0xdb if wide else 0xc3, dst, register(operands[1]), off, ATOMIC[base] | fetch)

    def statement(self, line):
        name, _, rest = line.partition(" ")
        operands = [part.strip() for part in rest.split(",")] if rest.strip() else []
        if name == "lock":
            match = re.match(r"((?:fetch\s+)?\w+)\s+(.*)", rest.strip())
            if not match:
                raise AssemblyError("invalid lock")
            return self.lock(match.group(1).split(), [part.strip() for part in match.group(2).split(",")])
        if name in MOVSX:
            code, off = MOVSX[name]
            return encode(code, register(operands[0]), register(operands[1]), off)
        if match := re.fullmatch(r"(le|be|bswap|swap)(16|32|64)", name):
            code = {"le": 0xd4, "be": 0xdc, "bswap": 0xd7, "swap": 0xd7}[match.group(1)]
            return encode(code, register(operands[0]), imm=int(match.group(2)))
        if re.sub(r"(32|64)$", "", name) in ALU:
            if len(operands) != (1 if name.startswith("neg") else 2):
                raise AssemblyError(f"{name} with {len(operands)} operands")
            return self.alu(name, operands)
        if name.removesuffix("32") in JUMP:
            return self.jump(name, operands)
        if name in ("ja", "ja32"):
            if name == "ja":
                return encode(0x05, off=self.target(operands[0], "off"))
            return encode(0x06, imm=self.target(operands[0], "imm"))
        if name == "call":
            return self.call(operands)
        if name == "exit":
            return encode(0x95)
        if name == "lddw":
            value = number(operands[1], 64)
            return encode(0x18, register(operands[0]), imm=value) + encode(0, imm=value >> 32)
        if match := re.fullmatch(r"ldx(s?)(b|h|w|dw)", name):
            src, off = memory(operands[1])
            return encode((0x81 if match.group(1) else 0x61) | SIZE[match.group(2)], register(operands[0]), src, off)
        if match := re.fullmatch(r"st(x?)(b|h|w|dw)", name):
            dst, off = memory(operands[0])
            if match.group(1):
                return encode(0x63 | SIZE[match.group(2)], dst, register(operands[1]), off)
            return encode(0x62 | SIZE[match.group(2)], dst, 0, off, number(operands[1], 32))
        raise AssemblyError(f"unknown mnemonic {name}")

    def assemble(self, text):
        for line in text.splitlines():
            line = re.sub(r"\s+", " ", line.partition("#")[0]).strip()
            while match := re.match(r"(\w+):\s*", line):
                self.labels[match.group(1)] = len(self.out)
                line = line[match.end():]
            if line:
                try:
                    code = self.statement(line)
                except (IndexError, KeyError, TypeError) as problem:
                    raise AssemblyError(f"{line}: wrong operands ({problem})") from None
                self.out += [code[i:i + 8] for i in range(0, len(code), 8)]
        return self.link()

    def link(self):
        # `exit` is a label of the vectors' dialect: the first exit instruction, unless one is so named.
        exits = [i for i, insn in enumerate(self.out) if insn[0] == 0x95]
        for position, label, field in self.jumps:
            place = self.labels.get(label, exits[-1] if label == "exit" and exits else None)
            if place is None:
                raise AssemblyError(f"unknown label {label}")
            distance, insn = place - position - 1, self.out[position]
            code, registers, off, imm = struct.unpack("<BBHI", insn)
            off, imm = (distance & 0xffff, imm) if field == "off" else (off, distance & 0xffffffff)
            self.out[position] = struct.pack("<BBHI", code, registers, off, imm)
        if not self.out:
            raise AssemblyError("no instructions")
        return b"".join(self.out)


def assemble(text):
    return Assembler().assemble(text)
