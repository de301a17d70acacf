// See probe_step.hpp.
#include "hook/probe_step.hpp"

#include <cstring>

namespace skep::hook {
namespace {

/// General registers by their number in instructions.
unsigned long long& register_at(user_regs_struct& r, u32 number) noexcept {
  switch (number & 15) {
    case 0:
      return r.rax;
    case 1:
      return r.rcx;
    case 2:
      return r.rdx;
    case 3:
      return r.rbx;
    case 4:
      return r.rsp;
    case 5:
      return r.rbp;
    case 6:
      return r.rsi;
    case 7:
      return r.rdi;
    case 8:
      return r.r8;
    case 9:
      return r.r9;
    case 10:
      return r.r10;
    case 11:
      return r.r11;
    case 12:
      return r.r12;
    case 13:
      return r.r13;
    case 14:
      return r.r14;
    default:
      return r.r15;
  }
}

s32 number_at(const InsnBytes& bytes, u32 at) noexcept {
  s32 value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

constexpr u64 carry = 1, parity = 4, adjust = 16, zero = 64, sign = 128, overflow = 2048;

/// Flags of a logical operation (test, xor); the adjust flag, which is undefined, is cleared.
u64 logical_flags(u64 flags, u64 result, bool is_wide) noexcept {
  flags &= ~(carry | parity | adjust | zero | sign | overflow);
  if (!is_wide) result = static_cast<u32>(result);
  if (result == 0) flags |= zero;
  if ((result >> (is_wide ? 63 : 31) & 1) != 0) flags |= sign;
  if (__builtin_popcount(static_cast<u8>(result)) % 2 == 0) flags |= parity;
  return flags;
}

u64 subtraction_flags(u64 flags, u64 a, u64 b) noexcept {
  const u64 result = a - b;
  flags = logical_flags(flags, result, true);
  if (a < b) flags |= carry;
  if (((a ^ b) & (a ^ result)) >> 63 != 0) flags |= overflow;
  if (((a ^ b ^ result) & 16) != 0) flags |= adjust;
  return flags;
}

}  // namespace

bool may_probe(const InsnBytes& bytes) noexcept {
  const elf::X86Insn insn = elf::x86_insn(bytes);
  if (insn.length > elf::longest_x86_insn) return false;
  const u8 op = bytes[insn.opcode_at];
  if (insn.is_vector) return true;
  if (insn.map == 2) return op != 0x05 && op != 0x34 && op != 0x07 && op != 0x35 && op != 0x0b;
  if (insn.map != 1) return true;
  switch (op) {
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:  // int3, int, into, iret
    case 0xf1:
    case 0xf4:  // int1, hlt
    case 0x9c:
    case 0x9d:  // pushf, popf
      return false;
    default:
      return true;
  }
}

std::optional<Emulated> emulate(const InsnBytes& b, u64 address, user_regs_struct& r) noexcept {
  const auto done = [&](u64 length) {
    r.rip = address + length;
    return Emulated{};
  };
  const auto push = [&](u32 number, u32 length) {
    const u64 value = register_at(r, number);
    r.rsp -= 8;
    r.rip = address + length;
    return Emulated{true, value};
  };
  if (b[0] == 0x90) return done(1);
  if (b[0] == 0xf3 && b[1] == 0x0f && b[2] == 0x1e && b[3] == 0xfa) return done(4);  // endbr64
  if (b[0] == 0x0f && b[1] == 0x1f && b[2] == 0x00) return done(3);
  if (b[0] == 0x0f && b[1] == 0x1f && b[2] == 0x40) return done(4);
  if (b[0] == 0x0f && b[1] == 0x1f && b[2] == 0x44) return done(5);
  if ((b[0] & 0xf8) == 0x50) return push(b[0] & 7, 1);
  if (b[0] == 0x41 && (b[1] & 0xf8) == 0x50) return push(8 + (b[1] & 7), 2);
  if (b[0] == 0xeb) return done(2 + static_cast<u64>(s64{static_cast<s8>(b[1])}));
  if (b[0] == 0xe9) return done(5 + static_cast<u64>(s64{number_at(b, 1)}));
  if (b[0] == 0xe8) {
    r.rsp -= 8;
    r.rip = address + 5 + static_cast<u64>(s64{number_at(b, 1)});
    return Emulated{true, address + 5};
  }
  const bool has_rex = (b[0] & 0xf0) == 0x40;
  const u8 rex = has_rex ? b[0] : 0;
  const bool is_wide = (rex & 8) != 0;
  const u32 at = has_rex ? 1 : 0;
  const u8 modrm = b[at + 1];
  if ((modrm & 0xc0) != 0xc0) return std::nullopt;
  const u32 from = (modrm >> 3 & 7) + ((rex & 4) != 0 ? 8 : 0), to = (modrm & 7) + ((rex & 1) != 0 ? 8 : 0);
  const auto whole = [&](u64 value) { return is_wide ? value : static_cast<u32>(value); };
  switch (b[at]) {
    case 0x89:  // mov to, from
      register_at(r, to) = whole(register_at(r, from));
      return done(at + 2);
    case 0x8b:
      register_at(r, from) = whole(register_at(r, to));
      return done(at + 2);
    case 0x85:  // test
      r.eflags = logical_flags(r.eflags, register_at(r, from) & register_at(r, to), is_wide);
      return done(at + 2);
    case 0x31: {  // xor
      const u64 value = whole(register_at(r, from) ^ register_at(r, to));
      register_at(r, to) = value;
      r.eflags = logical_flags(r.eflags, value, is_wide);
      return done(at + 2);
    }
    case 0x83:
    case 0x81: {  // sub rsp, number
      if (!is_wide || modrm != 0xec || (rex & 1) != 0) return std::nullopt;
      const s64 number = b[at] == 0x83 ? static_cast<s8>(b[at + 2]) : number_at(b, at + 2);
      r.eflags = subtraction_flags(r.eflags, r.rsp, static_cast<u64>(number));
      r.rsp -= static_cast<u64>(number);
      return done(at + (b[at] == 0x83 ? 3 : 6));
    }
    default:
      return std::nullopt;
  }
}

std::optional<Copy> copy_of(const InsnBytes& bytes, u64 address) noexcept {
  Copy copy;
  copy.bytes = bytes;
  const elf::X86Insn insn = elf::x86_insn(bytes);
  const u8 op = bytes[insn.opcode_at], modrm = bytes[insn.modrm_at()];
  if (insn.map == 1 && !insn.is_vector) {
    const u8 digit = modrm >> 3 & 7;
    const bool is_return = op == 0xc2 || op == 0xc3 || op == 0xca || op == 0xcb;
    const bool is_indirect = op == 0xff && digit >= 2 && digit <= 5;
    copy.is_relative = !is_return && !is_indirect;
    copy.pushes_return = op == 0xe8 || (op == 0xff && (digit == 2 || digit == 3));
  }
  const bool own_address = insn.has_modrm && (modrm & 0xc7) == 0x05;
  if (!own_address) return copy;
  if (insn.is_vector) return std::nullopt;
  if (insn.length > elf::longest_x86_insn) return std::nullopt;
  // [rip + number] becomes [rsi + number] or [rdi + number], which holds what rip would.
  const bool uses_rsi = (modrm >> 3 & 7) == 6 && (insn.rex_at == elf::X86Insn::no_rex || (bytes[insn.rex_at] & 4) == 0);
  copy.spare = uses_rsi ? 7 : 6;
  copy.spare_value = address + insn.length;
  copy.bytes[insn.modrm_at()] = static_cast<u8>((modrm & 0x38) | 0x80 | copy.spare);
  if (insn.rex_at != elf::X86Insn::no_rex) copy.bytes[insn.rex_at] &= static_cast<u8>(~1u);
  return copy;
}

}  // namespace skep::hook
