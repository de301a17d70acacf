// One instruction as the kernel prints it: an arm per form.
#include <fmt/format.h>

#include "isa/semantics.hpp"
#include "isa/text.hpp"

namespace skep::isa {
namespace {

std::string_view operator_of(Alu alu) {
  switch (alu) {
    case Alu::add:
      return "+=";
    case Alu::sub:
      return "-=";
    case Alu::mul:
      return "*=";
    case Alu::div:
      return "/=";
    case Alu::sdiv:
      return "s/=";
    case Alu::or_:
      return "|=";
    case Alu::and_:
      return "&=";
    case Alu::lsh:
      return "<<=";
    case Alu::rsh:
      return ">>=";
    case Alu::mod:
      return "%=";
    case Alu::smod:
      return "s%=";
    case Alu::xor_:
      return "^=";
    case Alu::mov:
      return "=";
    case Alu::arsh:
      return "s>>=";
    case Alu::neg:
      return "neg";
  }
  return "?";
}

std::string_view operator_of(Compare compare) {
  switch (compare) {
    case Compare::eq:
      return "==";
    case Compare::gt:
      return ">";
    case Compare::ge:
      return ">=";
    case Compare::set:
      return "&";
    case Compare::ne:
      return "!=";
    case Compare::sgt:
      return "s>";
    case Compare::sge:
      return "s>=";
    case Compare::lt:
      return "<";
    case Compare::le:
      return "<=";
    case Compare::slt:
      return "s<";
    case Compare::sle:
      return "s<=";
  }
  return "?";
}

std::string_view atomic_name(s32 imm) {
  switch (imm & 0xf0) {
    case 0x00:
      return "add";
    case 0x40:
      return "or";
    case 0x50:
      return "and";
    default:
      return "xor";
  }
}

std::string_view atomic_operator(s32 imm) {
  switch (imm & 0xf0) {
    case 0x00:
      return "+=";
    case 0x40:
      return "|=";
    case 0x50:
      return "&=";
    default:
      return "^=";
  }
}

/// The parts of one instruction, as text.
class Printer {
 public:
  Printer(std::span<const Insn> insns, std::size_t index, Op op, const PrintOptions& options)
      : insns_(insns), index_(index), insn_(insns[index]), row_(row(op)), options_(options) {}

  std::string text() const;

 private:
  unsigned dst() const { return insn_.dst; }
  unsigned src() const { return insn_.src; }
  char letter() const { return is_wide(row_.op) ? 'r' : 'w'; }
  bool is_double() const { return access_bytes(insn_) == 8; }
  std::string pointer(unsigned base) const {
    const char sign = row_.form == Form::load && (insn_.code & 0xe0) == 0x80 ? 's' : 'u';
    return fmt::format("({}{} *)(r{} {:+d})", sign, access_bytes(insn_) * 8, base, insn_.off);
  }

  std::string atomic_fetch() const;
  std::string call() const;
  std::string immediate() const;

  std::span<const Insn> insns_;
  std::size_t index_;
  const Insn& insn_;
  const Row& row_;
  const PrintOptions& options_;
};

std::string Printer::atomic_fetch() const {
  const auto size = is_double() ? "64" : "";
  if (row_.imm == 0xe1) return fmt::format("r{} = atomic{}_xchg({}, r{})", src(), size, pointer(dst()), src());
  return fmt::format("r{} = atomic{}_fetch_{}({}, r{})", src(), size, atomic_name(row_.imm), pointer(dst()), src());
}

std::string Printer::call() const {
  const std::string name = options_.call ? options_.call(insn_, index_) : "";
  if (row_.form == Form::call_local)
    return name.empty() ? fmt::format("call pc{:+d}", insn_.imm) : fmt::format("call pc{:+d}#{}", insn_.imm, name);
  if (row_.form == Form::call_helper) return fmt::format("call {}#{}", name.empty() ? "unknown" : name, insn_.imm);
  auto text = fmt::format("call {}#{}", name.empty() ? "kernel-function" : name, insn_.imm);
  if (insn_.off != 0) text += fmt::format(" btf[{}]", insn_.off);
  return text;
}

std::string Printer::immediate() const {
  if (options_.immediate)
    if (auto text = options_.immediate(insn_, index_); !text.empty()) return text;
  const Insn next = index_ + 1 < insns_.size() ? insns_[index_ + 1] : Insn{};
  const u32 low = static_cast<u32>(insn_.imm), high = static_cast<u32>(next.imm);
  switch (insn_.src) {
    case imm64_src_map_fd:
      return high == 0 ? fmt::format("map[id:{}]", low) : fmt::format("map[addr:{:#x}]", wide_immediate(insn_, next));
    case imm64_src_map_value:
      return fmt::format("map[id:{}][0]+{}", low, high);
    case imm64_src_btf_id:
      return fmt::format("btf[id:{}][fd:{}]", low, high);
    case imm64_src_function:
      return fmt::format("subprog[{:+d}]", insn_.imm);
    case imm64_src_map_index:
      return fmt::format("map[idx:{}]", low);
    case imm64_src_map_index_value:
      return fmt::format("map[idx:{}]+{}", low, high);
    default:
      return fmt::format("{:#x}", wide_immediate(insn_, next));
  }
}

std::string Printer::text() const {
  switch (row_.form) {
    case Form::alu_imm:
      return fmt::format("{}{} {} {}", letter(), dst(), operator_of(alu_of(row_.op)), insn_.imm);
    case Form::alu_reg:
      return fmt::format("{}{} {} {}{}", letter(), dst(), operator_of(alu_of(row_.op)), letter(), src());
    case Form::alu_unary:
      return fmt::format("{0}{1} = -{0}{1}", letter(), dst());
    case Form::movsx:
      return fmt::format("{0}{1} = (s{2}){0}{3}", letter(), dst(), insn_.off, src());
    case Form::addr_space_cast:
      return fmt::format("r{} = addr_space_cast(r{}, {}, {})", dst(), src(), static_cast<u32>(insn_.imm) >> 16,
                         static_cast<u16>(insn_.imm));
    case Form::endian:
      return fmt::format("r{} = {} r{}", dst(), row_.name, dst());
    case Form::jump:
      return fmt::format("goto pc{:+d}", insn_.off);
    case Form::jump_long:
      return fmt::format("gotol pc{:+d}", insn_.imm);
    case Form::may_goto:
      return fmt::format("may_goto pc{:+d}", insn_.off);
    case Form::jump_imm:
      return fmt::format("if {}{} {} {:#x} goto pc{:+d}", letter(), dst(), operator_of(compare_of(row_.op)),
                         static_cast<u32>(insn_.imm), insn_.off);
    case Form::jump_reg:
      return fmt::format("if {0}{1} {2} {0}{3} goto pc{4:+d}", letter(), dst(), operator_of(compare_of(row_.op)), src(),
                         insn_.off);
    case Form::call_helper:
    case Form::call_local:
    case Form::call_kfunc:
      return call();
    case Form::callx:
      return fmt::format("callx r{}", dst());
    case Form::exit:
      return "exit";
    case Form::load:
      return fmt::format("r{} = *{}", dst(), pointer(src()));
    case Form::store_imm:
      return fmt::format("*{} = {}", pointer(dst()), insn_.imm);
    case Form::store_reg:
      return fmt::format("*{} = r{}", pointer(dst()), src());
    case Form::atomic:
      return fmt::format("lock *{} {} r{}", pointer(dst()), atomic_operator(row_.imm), src());
    case Form::atomic_fetch:
      return atomic_fetch();
    case Form::cmpxchg:
      return fmt::format("r0 = atomic{}_cmpxchg({}, r0, r{})", is_double() ? "64" : "", pointer(dst()), src());
    case Form::load_acquire:
      return fmt::format("r{} = load_acquire({})", dst(), pointer(src()));
    case Form::store_release:
      return fmt::format("store_release({}, r{})", pointer(dst()), src());
    case Form::ld_imm64:
      return fmt::format("r{} = {}", dst(), immediate());
    case Form::ld_abs:
      return fmt::format("r0 = *(u{} *)skb[{}]", access_bytes(insn_) * 8, insn_.imm);
    case Form::ld_ind:
      return fmt::format("r0 = *(u{} *)skb[r{} + {}]", access_bytes(insn_) * 8, src(), insn_.imm);
  }
  return "?";
}

}  // namespace

std::string print(std::span<const Insn> insns, std::size_t index, const PrintOptions& options) {
  const Insn& insn = insns[index];
  const auto op = decode(insn);
  const std::string text =
      op ? Printer(insns, index, *op, options).text()
         : fmt::format("not an instruction: code {:#04x} dst {} src {} off {} imm {}", insn.code,
                       static_cast<unsigned>(insn.dst), static_cast<unsigned>(insn.src), insn.off, insn.imm);
  return options.opcode ? fmt::format("({:02x}) {}", insn.code, text) : text;
}

std::string disassemble(std::span<const Insn> insns) { return disassemble(insns, {}); }

std::string disassemble(std::span<const Insn> insns, PrintOptions options) {
  options.opcode = true;
  std::string out;
  for (std::size_t i = 0; i < insns.size(); i++) {
    out += fmt::format("{:4}: {}\n", i, print(insns, i, options));
    if (is_ld_imm64(insns[i])) i++;
  }
  return out;
}

}  // namespace skep::isa
