// The few instructions that carriers and other small programs of ours are written with, as functions. RFC 9669 section
// 3 for the encodings.
#pragma once
#include <optional>
#include <skep/insn.hpp>
#include <span>
#include <vector>

#include "isa/isa.hpp"

namespace skep::kernel::assembler {

/// Appends instructions and resolves jumps to one common end.
class Program {
 public:
  void copy(u8 dst, u8 src) { add({0xbf, dst, src, 0, 0}); }
  void set(u8 dst, s32 value) { add({0xb7, dst, 0, 0, value}); }
  void add_number(u8 dst, s32 value) { add({0x07, dst, 0, 0, value}); }
  void load64(u8 dst, u8 base, s16 offset) { add({0x79, dst, base, offset, 0}); }
  void load8(u8 dst, u8 base, s16 offset) { add({0x71, dst, base, offset, 0}); }
  void load32(u8 dst, u8 base, s16 offset) { add({0x61, dst, base, offset, 0}); }
  void store64(u8 base, s16 offset, u8 src) { add({0x7b, base, src, offset, 0}); }
  void store64_number(u8 base, s16 offset, s32 value) { add({0x7a, base, 0, offset, value}); }
  void add_register(u8 dst, u8 src) { add({0x0f, dst, src, 0, 0}); }
  void subtract_register(u8 dst, u8 src) { add({0x1f, dst, src, 0, 0}); }
  void shift_left(u8 dst, s32 bits) { add({0x67, dst, 0, 0, bits}); }
  void shift_right(u8 dst, s32 bits) { add({0x77, dst, 0, 0, bits}); }
  void mask(u8 dst, s32 bits) { add({0x57, dst, 0, 0, bits}); }
  /// A store of 1, 2, 4 or 8 bytes.
  void store(u8 base, s16 offset, u8 src, u8 bytes) {
    const u8 width = bytes == 1 ? 0x10 : bytes == 2 ? 0x08 : bytes == 4 ? 0x00 : 0x18;
    add({static_cast<u8>(0x63 | width), base, src, offset, 0});
  }
  void call_helper(s32 id) { add({isa::code_call, 0, isa::call_src_helper, 0, id}); }
  void exit() { add({isa::code_exit, 0, 0, 0, 0}); }
  void set64(u8 dst, u64 value) {
    add({isa::code_ld_imm64, dst, 0, 0, static_cast<s32>(value)});
    add({0, 0, 0, 0, static_cast<s32>(value >> 32)});
  }
  /// A map by its descriptor.
  void set_map(u8 dst, int fd) {
    constexpr u8 pseudo_map_fd = 1;
    add({isa::code_ld_imm64, dst, pseudo_map_fd, 0, fd});
    add({0, 0, 0, 0, 0});
  }
  /// dst = value, unless a == b.
  void set_unless_equal(u8 dst, s32 value, u8 a, u8 b) {
    add({0x1d, a, b, 1, 0});
    set(dst, value);
  }
  /// To the end (place_end): if dst != value, if dst & value, if dst == value.
  void leave_unless_equal(u8 dst, s32 value) { leave({0x55, dst, 0, 0, value}); }
  void leave_if_any_bit(u8 dst, s32 value) { leave({0x45, dst, 0, 0, value}); }
  void leave_if_equal(u8 dst, s32 value) { leave({0x15, dst, 0, 0, value}); }
  /// To the end if dst >= src, without sign.
  void leave_unless_below(u8 dst, u8 src) { leave({0x3d, dst, src, 0, 0}); }
  /// To the end if dst is none of the values, of which there is one at least.
  void leave_unless_any_of(u8 dst, std::span<const u32> values) {
    for (std::size_t i = 0; i + 1 < values.size(); ++i)
      add({0x15, dst, 0, static_cast<s16>(values.size() - 1 - i), static_cast<s32>(values[i])});
    leave_unless_equal(dst, static_cast<s32>(values.back()));
  }
  /// Jumps ahead, to where land() is called with the result, if dst == value.
  std::size_t jump_if_equal(u8 dst, s32 value) {
    add({0x15, dst, 0, 0, value});
    return insns_.size() - 1;
  }
  std::size_t jump_unless_equal(u8 dst, s32 value) {
    add({0x55, dst, 0, 0, value});
    return insns_.size() - 1;
  }
  std::size_t jump() {
    add({0x05, 0, 0, 0, 0});
    return insns_.size() - 1;
  }
  /// Back to instruction `to`, where here() was, if dst < value, without sign.
  std::size_t here() const { return insns_.size(); }
  void jump_back_if_below(u8 dst, s32 value, std::size_t to) {
    add({0xa5, dst, 0, static_cast<s16>(static_cast<s64>(to) - static_cast<s64>(insns_.size()) - 1), value});
  }
  void land(std::size_t jump) { insns_[jump].off = static_cast<s16>(insns_.size() - jump - 1); }
  /// A local call whose distance is known when the program is complete.
  void call_behind() {
    call_ = insns_.size();
    add({isa::code_call, 0, isa::call_src_local, 0, 0});
  }
  /// The end: every leave_* jumps here.
  void place_end() {
    for (const std::size_t at : leaves_) insns_[at].off = static_cast<s16>(insns_.size() - at - 1);
  }
  /// The instructions; call_behind() calls what comes right after them.
  std::vector<Insn> take() {
    if (call_) insns_[*call_].imm = static_cast<s32>(insns_.size() - *call_ - 1);
    return std::move(insns_);
  }

 private:
  void add(Insn insn) { insns_.push_back(insn); }
  void leave(Insn insn) {
    leaves_.push_back(insns_.size());
    add(insn);
  }

  std::vector<Insn> insns_;
  std::vector<std::size_t> leaves_;
  std::optional<std::size_t> call_;
};

}  // namespace skep::kernel::assembler
