// The instruction set as a table: which instruction an encoding is, and what its parts mean.
//
// instructions.def holds one row per instruction; this header expands the rows into an enum, a constexpr
// table and a constexpr decoder, so that verifier, interpreter, printer and parser share one answer to
// "what is this?". decode() is strict: a field that an instruction does not use must be zero (RFC 9669,
// section 3), so an encoding that decodes has exactly one meaning and prints to exactly one text.
// Source: RFC 9669 sections 3-5; Linux include/uapi/linux/bpf.h.
#pragma once
#include <array>
#include <limits>
#include <optional>
#include <skep/insn.hpp>
#include <span>
#include <string_view>

namespace skep::isa {

/// Every instruction, in the order of instructions.def.
enum class Op : u8 {
#define SKEP_INSN(name, ...) name,
#include "isa/instructions.def"
#undef SKEP_INSN
};

/// How an instruction uses its fields.
enum class Form : u8 {
  alu_imm,          ///< dst op= imm
  alu_reg,          ///< dst op= src
  alu_unary,        ///< dst = op dst
  movsx,            ///< dst = sign-extended low bits of src
  addr_space_cast,  ///< dst = src moved between arena address spaces
  endian,           ///< dst = reordered bytes of dst
  jump,             ///< pc += off
  jump_long,        ///< pc += imm
  may_goto,         ///< pc += off once the loop budget is used up
  jump_imm,         ///< if dst op imm: pc += off
  jump_reg,         ///< if dst op src: pc += off
  call_helper,      ///< r0 = helper imm (r1..r5)
  call_local,       ///< r0 = the subprogram at pc + imm
  call_kfunc,       ///< r0 = the kernel function with BTF id imm
  callx,            ///< r0 = the function in register dst
  exit,             ///< return r0
  load,             ///< dst = *(src + off)
  store_imm,        ///< *(dst + off) = imm
  store_reg,        ///< *(dst + off) = src
  atomic,           ///< *(dst + off) op= src
  atomic_fetch,     ///< the same, and src = the old value
  cmpxchg,          ///< if *(dst + off) == r0: *(dst + off) = src; r0 = the old value
  load_acquire,     ///< dst = *(src + off), ordered before what follows
  store_release,    ///< *(dst + off) = src, ordered after what precedes
  ld_imm64,         ///< dst = imm | next.imm << 32 (two slots)
  ld_abs,           ///< r0 = packet[imm]; exits when out of bounds
  ld_ind,           ///< r0 = packet[src + imm]
};

/// Conformance groups of RFC 9669, section 2.4.
enum class Group : u8 { base32, base64, atomic32, atomic64, divmul32, divmul64, packet, extension };

inline constexpr s32 any = std::numeric_limits<s32>::min();

/// One row of the table; `any` in src, off or imm marks an operand.
struct Row {
  Op op;
  std::string_view name;
  u8 code;
  s32 src;
  s32 off;
  s32 imm;
  Form form;
  Group group;
  std::string_view section;  ///< of RFC 9669; "-" for Linux extensions
};

namespace detail {
inline constexpr Row rows[] = {
#define SKEP_INSN(name, code, src, off, imm, form, group, section) \
  {Op::name, #name, code, src, off, imm, Form::form, Group::group, section},
#include "isa/instructions.def"
#undef SKEP_INSN
};
}  // namespace detail

inline constexpr std::size_t op_count = std::size(detail::rows);

/// Every row, in order of Op.
constexpr std::span<const Row> rows() { return detail::rows; }
constexpr const Row& row(Op op) { return detail::rows[static_cast<u8>(op)]; }

/// The instruction named like its row ("add64_imm"), or none.
constexpr std::optional<Op> op_by_name(std::string_view name) {
  for (const Row& r : rows())
    if (r.name == name) return r.op;
  return std::nullopt;
}

// --- the opcode byte (RFC 9669, section 3.1) ---

inline constexpr u8 class_ld = 0x00, class_ldx = 0x01, class_st = 0x02, class_stx = 0x03, class_alu = 0x04,
                    class_jmp = 0x05, class_jmp32 = 0x06, class_alu64 = 0x07;
inline constexpr u8 code_ld_imm64 = 0x18, code_call = 0x85, code_exit = 0x95, code_ja = 0x05, code_gotol = 0x06;
/// Values of the source field of a call.
inline constexpr u8 call_src_helper = 0, call_src_local = 1, call_src_kfunc = 2;
/// Values of the source field of ld_imm64.
inline constexpr u8 imm64_src_number = 0, imm64_src_map_fd = 1, imm64_src_map_value = 2, imm64_src_btf_id = 3,
                    imm64_src_function = 4, imm64_src_map_index = 5, imm64_src_map_index_value = 6;
/// Registers r0..r10; r10 is the read-only frame pointer.
inline constexpr u8 register_count = 11, frame_pointer = 10;
/// Bytes of stack of one frame, and how many frames a call chain may have (Linux MAX_BPF_STACK, MAX_CALL_FRAMES).
inline constexpr u32 stack_size_bytes = 512, max_call_frames = 8;
/// Program-to-program jumps one run may make (Linux MAX_TAIL_CALL_CNT).
inline constexpr u32 max_tail_calls = 33;
/// The helper id of bpf_tail_call, which the machine performs itself.
inline constexpr s32 helper_tail_call = 12;

constexpr u8 class_of(const Insn& insn) { return insn.code & 0x07; }
constexpr bool is_ld_imm64(const Insn& insn) { return insn.code == code_ld_imm64; }
/// Slots the instruction takes: 2 for ld_imm64, else 1.
constexpr u32 slots(const Insn& insn) { return is_ld_imm64(insn) ? 2 : 1; }

/// The 64-bit immediate of an ld_imm64 and the slot behind it.
constexpr u64 wide_immediate(const Insn& first, const Insn& second) {
  return static_cast<u64>(static_cast<u32>(second.imm)) << 32 | static_cast<u32>(first.imm);
}

/// Bytes a load, store or atomic touches; 0 for everything else.
constexpr u32 access_bytes(const Insn& insn) {
  if (class_of(insn) > class_stx || is_ld_imm64(insn)) return 0;
  constexpr u32 bytes[] = {4, 2, 1, 8};
  return bytes[insn.code >> 3 & 3];
}

// --- what a form says ---

/// Whether the destination register is an operand (otherwise it must be 0).
constexpr bool uses_dst(Form form) {
  switch (form) {
    case Form::jump:
    case Form::jump_long:
    case Form::may_goto:
    case Form::call_helper:
    case Form::call_local:
    case Form::call_kfunc:
    case Form::exit:
    case Form::ld_abs:
    case Form::ld_ind:
      return false;
    case Form::alu_imm:
    case Form::alu_reg:
    case Form::alu_unary:
    case Form::movsx:
    case Form::addr_space_cast:
    case Form::endian:
    case Form::jump_imm:
    case Form::jump_reg:
    case Form::callx:
    case Form::load:
    case Form::store_imm:
    case Form::store_reg:
    case Form::atomic:
    case Form::atomic_fetch:
    case Form::cmpxchg:
    case Form::load_acquire:
    case Form::store_release:
    case Form::ld_imm64:
      return true;
  }
  return true;
}
/// Whether the source field names a register (elsewhere it is a kind, or 0).
constexpr bool uses_src(Op op) { return row(op).src == any; }
/// Instructions that may continue somewhere else than at the next one (calls excluded).
constexpr bool is_jump(Form form) {
  return form == Form::jump || form == Form::jump_long || form == Form::may_goto || form == Form::jump_imm ||
         form == Form::jump_reg;
}
constexpr bool is_conditional(Form form) { return is_jump(form) && form != Form::jump && form != Form::jump_long; }
/// How far a jump goes, counted from the next instruction.
constexpr s32 jump_distance(Form form, const Insn& insn) { return form == Form::jump_long ? insn.imm : insn.off; }

// --- decoding ---

namespace detail {
constexpr bool fits(const Row& r, const Insn& insn) {
  return r.code == insn.code && (r.src == any || r.src == insn.src) && (r.off == any || r.off == insn.off) &&
         (r.imm == any || r.imm == insn.imm) && (uses_dst(r.form) || insn.dst == 0);
}

/// Rows of one opcode byte, chained: first[code], then next[row]. 255 ends the chain.
struct Index {
  std::array<u8, 256> first{};
  std::array<u8, op_count> next{};
};
constexpr Index make_index() {
  Index index;
  index.first.fill(255);
  for (std::size_t i = op_count; i-- > 0;) {
    index.next[i] = index.first[rows[i].code];
    index.first[rows[i].code] = static_cast<u8>(i);
  }
  return index;
}
inline constexpr Index index = make_index();
static_assert(op_count < 255);

/// Two rows clash when one encoding could be both.
constexpr bool unambiguous() {
  for (std::size_t i = 0; i < op_count; i++)
    for (std::size_t j = i + 1; j < op_count; j++) {
      const Row &a = rows[i], &b = rows[j];
      auto apart = [](s32 x, s32 y) { return x != any && y != any && x != y; };
      if (a.code == b.code && !apart(a.src, b.src) && !apart(a.off, b.off) && !apart(a.imm, b.imm)) return false;
    }
  return true;
}
static_assert(unambiguous(), "instructions.def: two rows share an encoding");
}  // namespace detail

/// Which instruction this is, or none: an unknown opcode, a register above r10, or an unused field that is not 0.
/// ld_imm64: the second slot is not looked at (see is_ld_imm64_tail).
constexpr std::optional<Op> decode(const Insn& insn) {
  if (insn.dst >= register_count) return std::nullopt;
  for (u8 i = detail::index.first[insn.code]; i != 255; i = detail::index.next[i])
    if (detail::fits(detail::rows[i], insn)) {
      if (detail::rows[i].src == any && insn.src >= register_count) return std::nullopt;
      return detail::rows[i].op;
    }
  return std::nullopt;
}

/// Whether `insn` may be the second slot of an ld_imm64: only its imm is in use.
constexpr bool is_ld_imm64_tail(const Insn& insn) {
  return insn.code == 0 && insn.dst == 0 && insn.src == 0 && insn.off == 0;
}

/// Why decode() said no: a sentence for error messages.
std::string_view why_undecodable(const Insn& insn) noexcept;

}  // namespace skep::isa
