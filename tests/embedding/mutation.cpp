// See mutation.hpp.
#include "mutation.hpp"

#include "isa/isa.hpp"

namespace skep::embedding {
namespace {

class Mutation {
 public:
  Mutation(ProgramSpec& program, std::mt19937_64& random) : insns_(program.insns), random_(random) {}

  /// Something that is an instruction still: what is none is refused before anything is asked of it.
  void change_one() {
    constexpr u32 tries = 8;
    for (u32 n = 0; n < tries; n++) {
      const std::size_t at = pick(static_cast<u32>(insns_.size()));
      if (!is_plain(at)) continue;
      const Insn before = insns_[at];
      change(at);
      if (isa::decode(insns_[at])) return;
      insns_[at] = before;
    }
  }

 private:
  void change(std::size_t at) {
    Insn& insn = insns_[at];
    switch (pick(9)) {
      case 0:
      case 1:
        insn.imm = is_atomic(insn) ? atomic_operation() : constant(insn.imm);
        break;
      case 2:
        insn.off = static_cast<s16>(insn.off + static_cast<s16>(pick(9)) - 4);
        break;
      case 3:
        insn.dst = static_cast<u8>(pick(11)) & 15;
        break;
      case 4:
        insn.src = static_cast<u8>(pick(11)) & 15;
        break;
      case 5:
        insn.code = other_code(insn.code);
        break;
      case 6:  // taken away: a jump to the next instruction
        insn = Insn{};
        insn.code = 0x05;
        break;
      case 7:
        if (const std::size_t from = pick(static_cast<u32>(insns_.size())); is_plain(from)) insn = insns_[from];
        break;
      default:
        if (at + 1 < insns_.size() && is_plain(at + 1)) std::swap(insn, insns_[at + 1]);
        break;
    }
  }

  static bool is_atomic(const Insn& insn) { return (insn.code & 0xe7) == 0xc3; }
  /// Add, or, and, xor, with and without fetching; exchange, compare and exchange. Source: RFC 9669, 5.3.
  s32 atomic_operation() {
    constexpr s32 operations[] = {0x00, 0x40, 0x50, 0xa0, 0x01, 0x41, 0x51, 0xa1, 0xe1, 0xf1};
    return operations[pick(10)];
  }
  u32 pick(u32 n) { return static_cast<u32>(random_() % n); }
  /// Neither a call (what is called stays) nor a part of an ld_imm64.
  bool is_plain(std::size_t at) const {
    if (insns_[at].code == 0x85 || insns_[at].code == 0x8d || insns_[at].code == 0x18) return false;
    return at == 0 || insns_[at - 1].code != 0x18;
  }
  s32 constant(s32 from) {
    constexpr s32 limits[] = {0,  1,   -1,  2,    7,      8,      15,         31,    32,
                              63, 127, 255, 4096, 0xffff, 0x7fff, 0x7fffffff, -4096, -0x7fffffff - 1};
    switch (pick(4)) {
      case 0:
        return static_cast<s32>(static_cast<u32>(from) + pick(3) - 1);
      case 1:
        return static_cast<s32>(static_cast<u32>(from) ^ (1u << pick(32)));
      default:
        return limits[pick(18)];
    }
  }
  /// The same class of instruction: another operation, width, size, or operand.
  u8 other_code(u8 code) {
    const u8 kind = code & 7;
    if (kind < 4) return static_cast<u8>((code & 0xe7) | pick(4) << 3);
    switch (pick(3)) {
      case 0:
        return static_cast<u8>(code ^ 8);
      case 1:
        return static_cast<u8>(code ^ 3);  // 32 or 64 bits
      default: {
        const u8 changed = static_cast<u8>((code & 0x0f) | pick(14) << 4);
        const bool becomes_call = (kind == 5 || kind == 6) && (changed & 0xf0) == 0x80;
        return becomes_call ? code : changed;
      }
    }
  }

  std::vector<Insn>& insns_;
  std::mt19937_64& random_;
};

}  // namespace

ProgramSpec mutate(const ProgramSpec& original, std::mt19937_64& random) {
  ProgramSpec program = original;
  if (program.insns.empty()) return program;
  Mutation mutation(program, random);
  for (u64 n = 1 + random() % 4; n > 0; n--) mutation.change_one();
  return program;
}

}  // namespace skep::embedding
