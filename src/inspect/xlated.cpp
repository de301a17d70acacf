// `prog dump xlated`: prototype, source line, instruction, as bpftool prints them to the byte.
#include <fmt/format.h>

#include <cstring>

#include "base/printable.hpp"
#include "catalog/helpers.hpp"
#include "inspect/dump.hpp"
#include "inspect/lines.hpp"
#include "inspect/symbols.hpp"
#include "isa/text.hpp"

namespace skep::inspect {
namespace {

/// How instructions of this program are printed: names of helpers and subprograms.
isa::PrintOptions print_options(const ProgramCode& code, CallNames names) {
  isa::PrintOptions options;
  options.opcode = true;
  options.call = [&code, helpers = std::move(names.helpers)](const Insn& call, std::size_t index) -> std::string {
    if (call.src == 1) {
      const s64 target = static_cast<s64>(index) + 1 + call.imm;
      for (const auto& function : code.functions)
        if (s64{function.insn} == target) return function.name;
      return {};
    }
    if (const auto found = helpers.find(call.imm); found != helpers.end()) return found->second;
    const auto* row = call.src == 0 && call.imm > 0 ? catalog::helper(static_cast<u32>(call.imm)) : nullptr;
    return row == nullptr ? std::string() : "bpf_" + std::string(row->name);
  };
  return options;
}

/// Prints instructions in order. The kernel writes the distance of a call between functions into `off` and the
/// function's number into `imm`, which is no encoding of the instruction set: such calls are printed here.
class Printer {
 public:
  Printer(const ProgramCode& code, bool kernel) : code_(code) {
    CallNames names = kernel ? kernel_call_names(code) : CallNames();
    subprograms_ = std::move(names.subprograms);
    options_ = print_options(code, std::move(names));
  }
  std::string operator()(std::size_t index) const {
    const Insn& insn = code_.insns[index];
    // Linux's own addition for its programs: the address of this CPU's copy (BPF_ADDR_PERCPU, 6.10).
    if (insn.code == 0xbf && insn.off == -1 && insn.imm == 0)
      return fmt::format("(bf) r{} = &(void __percpu *)(r{})", static_cast<unsigned>(insn.dst),
                         static_cast<unsigned>(insn.src));
    if (insn.dst == hidden_register || insn.src == hidden_register) return with_hidden_register(index);
    if (insn.code != 0x85 || insn.src != 1 || insn.off == 0) return isa::print(code_.insns, index, options_);
    const auto number = static_cast<std::size_t>(insn.imm);
    if (insn.imm < 0 || number >= subprograms_.size()) return fmt::format("(85) call pc{:+}", insn.off);
    const std::string& name = subprograms_[number];
    return fmt::format("(85) call pc{:+}#{}", insn.off,
                       name.empty() ? fmt::format("{:#x}", code_.jited_addresses[number]) : name);
  }

 private:
  /// Linux keeps a register for itself, r11, in what it inserts.
  static constexpr u8 hidden_register = 11;

  /// Printed with another register in its place, whose name is then exchanged.
  std::string with_hidden_register(std::size_t index) const {
    Insn insns[2] = {code_.insns[index], index + 1 < code_.insns.size() ? code_.insns[index + 1] : Insn{}};
    Insn& insn = insns[0];
    u8 other = 2;  // not 1: r1 would be found in r10
    while (other == insn.dst || other == insn.src) ++other;
    if (insn.dst == hidden_register) insn.dst = other;
    if (insn.src == hidden_register) insn.src = other;
    std::string text = isa::print(insns, 0, options_);
    for (const char kind : {'r', 'w'}) {
      const std::string name = fmt::format("{}{}", kind, other);
      for (std::size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + 3))
        text.replace(at, name.size(), fmt::format("{}11", kind));
    }
    return text;
  }

  const ProgramCode& code_;
  isa::PrintOptions options_;
  std::vector<std::string> subprograms_;
};

std::string opcode_bytes(std::span<const Insn> insns, std::size_t index, std::size_t count) {
  std::string text;
  u8 bytes[2 * sizeof(Insn)];
  std::memcpy(bytes, &insns[index], count * sizeof(Insn));
  for (std::size_t i = 0; i < count * sizeof(Insn); ++i)
    text += fmt::format("{}{:02x}", text.empty() ? "" : " ", bytes[i]);
  return text;
}

/// {"code": "0x18", "src_reg": "0x1", "dst_reg": "0x2", "off": [two bytes], "imm": [four, or twelve of a wide one]}
void write_opcodes(base::JsonWriter& json, std::span<const Insn> insns) {
  const auto number = [](unsigned value, int digits) { return fmt::format("0x{:0{}x}", value, digits); };
  const auto bytes = [&](std::string_view key, const void* data, std::size_t size) {
    json.key(key);
    json.begin_array();
    for (std::size_t i = 0; i < size; ++i) json.string(number(static_cast<const u8*>(data)[i], 2));
    json.end_array();
  };
  const Insn& insn = insns.front();
  const s16 off = insn.off;
  json.key("opcodes");
  json.begin_object();
  json.member("code", number(insn.code, 2));
  json.member("src_reg", number(insn.src, 1));
  json.member("dst_reg", number(insn.dst, 1));
  bytes("off", &off, sizeof off);
  u8 imm[sizeof(s32) + sizeof(Insn)];
  std::memcpy(imm, &insn.imm, sizeof insn.imm);
  if (insns.size() == 2) std::memcpy(imm + sizeof insn.imm, &insns[1], sizeof(Insn));
  bytes("imm", imm, insns.size() == 2 ? sizeof imm : sizeof insn.imm);
  json.end_object();
}

/// Walks the instructions in order and tells what stands before each: a function's head, a source line.
template <class OnInsn>
void walk(const ProgramCode& code, OnInsn on_insn) {
  std::size_t next_function = 0;
  std::size_t next_line = 0;
  for (std::size_t index = 0; index < code.insns.size(); ++index) {
    const FunctionInfo* function = nullptr;
    const SourceLine* line = nullptr;
    while (next_function < code.functions.size() && code.functions[next_function].insn <= index) {
      if (code.functions[next_function].insn == index) function = &code.functions[next_function];
      ++next_function;
    }
    while (next_line < code.lines.size() && code.lines[next_line].insn <= index) {
      if (code.lines[next_line].insn == index) line = &code.lines[next_line];
      ++next_line;
    }
    const bool wide = code.insns[index].code == 0x18 && index + 1 < code.insns.size();
    on_insn(index, wide ? 2 : 1, function, line);
    if (wide) ++index;
  }
}

}  // namespace

std::string xlated_text(const ProgramCode& code, const btf::Btf* types, bool kernel, const XlatedOptions& options) {
  const Printer print(code, kernel);
  std::string text;
  walk(code, [&](std::size_t index, std::size_t slots, const FunctionInfo* function, const SourceLine* line) {
    if (function != nullptr) text += prototype(types, *function) + ":\n";
    if (line != nullptr) text += line_text(*line, options.line_numbers);
    text += fmt::format("{: 4}: {}\n", static_cast<s64>(index), print(index));
    if (options.opcodes) text += fmt::format("       {}\n", opcode_bytes(code.insns, index, slots));
  });
  return base::printable_text(std::move(text));  // names and lines are the program author's
}

std::vector<std::string> instruction_texts(const ProgramCode& code, bool kernel) {
  const Printer print(code, kernel);
  std::vector<std::string> texts(code.insns.size());
  walk(code,
       [&](std::size_t index, std::size_t, const FunctionInfo*, const SourceLine*) { texts[index] = print(index); });
  return texts;
}

void write_xlated(base::JsonWriter& json, const ProgramCode& code, const btf::Btf* types, bool kernel,
                  const XlatedOptions& options) {
  const Printer print(code, kernel);
  json.begin_array();
  walk(code, [&](std::size_t index, std::size_t slots, const FunctionInfo* function, const SourceLine* line) {
    json.begin_object();
    if (function != nullptr) json.member("proto", prototype(types, *function));
    if (line != nullptr) write_line(json, *line, options.line_numbers);
    json.member("disasm", print(index));
    if (options.opcodes) write_opcodes(json, std::span(code.insns).subspan(index, slots));
    json.end_object();
  });
  json.end_array();
}

}  // namespace skep::inspect
