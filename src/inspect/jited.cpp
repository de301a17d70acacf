// `prog dump jited`: machine code function by function, as bpftool prints it. What knows machines is given.
//
// The code may come from another process: lengths that do not add up mean one function, and what is no instruction is
// shown as such and passed over.
// Source: bpftool's prog.c and jit_disasm.c (Linux 6.1).
#include <fmt/format.h>

#include <numeric>

#include "base/printable.hpp"
#include "inspect/dump.hpp"
#include "inspect/lines.hpp"
#include "inspect/symbols.hpp"

namespace skep::inspect {
namespace {

struct Piece {
  std::string name, prototype;
  std::span<const std::byte> code;
  u64 address = 0;  ///< 0: not known
};

std::vector<Piece> pieces_of(const ProgramCode& code, const JitedSource& source) {
  const std::span<const std::byte> all = code.jited;
  std::vector<u32> lengths = code.jited_lengths;
  if (lengths.empty() || std::accumulate(lengths.begin(), lengths.end(), u64{0}) > all.size())
    lengths = {static_cast<u32>(all.size())};
  const auto names = source.kernel ? kernel_call_names(code).subprograms : std::vector<std::string>();
  std::vector<Piece> pieces;
  std::size_t at = 0;
  for (std::size_t i = 0; i < lengths.size(); at += lengths[i++]) {
    Piece piece;
    piece.code = all.subspan(at, lengths[i]);
    if (i < code.jited_addresses.size()) piece.address = code.jited_addresses[i];
    if (!source.kernel)
      piece.name = source.program;
    else if (i < names.size() && !names[i].empty())
      piece.name = names[i];
    else
      piece.name = piece.address != 0 ? fmt::format("{:#018x}", piece.address) : "unknown";
    if (i < code.functions.size() && source.types != nullptr)
      piece.prototype = prototype(source.types, code.functions[i]);
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

/// Calls `on_insn(offset, instruction, source line or null)` for each instruction of a piece.
template <class OnInsn>
void walk(const ProgramCode& code, const Piece& piece, const JitedSource& source, std::size_t& next_line,
          OnInsn on_insn) {
  const bool has_lines = piece.address != 0 && code.jited_lines.size() == code.lines.size();
  for (std::size_t at = 0; at < piece.code.size();) {
    const SourceLine* line = nullptr;
    if (has_lines && next_line < code.lines.size() && code.jited_lines[next_line] == piece.address + at)
      line = &code.lines[next_line++];
    MachineInsn insn = source.disassemble(piece.code.subspan(at), at);
    if (insn.bytes == 0 || insn.bytes > piece.code.size() - at) insn = {1, "(bad)", {}};
    on_insn(at, insn, line);
    at += insn.bytes;
  }
}

}  // namespace

std::string jited_text(const ProgramCode& code, const JitedSource& source, const XlatedOptions& options) {
  std::string text;
  std::size_t next_line = 0;
  for (const Piece& piece : pieces_of(code, source)) {
    if (!piece.prototype.empty()) text += piece.prototype + ":\n";
    text += piece.name + ":\n";
    walk(code, piece, source, next_line, [&](std::size_t at, const MachineInsn& insn, const SourceLine* line) {
      if (line != nullptr) text += line_text(*line, options.line_numbers);
      text += fmt::format("{:4x}:\t{}", at, insn.operation);
      for (std::size_t i = 0; i < insn.operands.size(); i++) text += (i == 0 ? " " : ", ") + insn.operands[i];
      if (options.opcodes) {
        text += "\n\t";
        for (const std::byte b : piece.code.subspan(at, insn.bytes)) text += fmt::format("{:02x} ", static_cast<u8>(b));
      }
      text += "\n";
    });
    text += "\n";
  }
  return base::printable_text(std::move(text));  // names and lines are the program author's
}

void write_jited(base::JsonWriter& json, const ProgramCode& code, const JitedSource& source,
                 const XlatedOptions& options) {
  std::size_t next_line = 0;
  json.begin_array();
  for (const Piece& piece : pieces_of(code, source)) {
    json.begin_object();
    if (!piece.prototype.empty()) json.member("proto", piece.prototype);
    json.member("name", piece.name);
    json.key("insns");
    json.begin_array();
    walk(code, piece, source, next_line, [&](std::size_t at, const MachineInsn& insn, const SourceLine* line) {
      json.begin_object();
      if (line != nullptr) write_line(json, *line, options.line_numbers);
      json.member("pc", fmt::format("{:#x}", at));
      json.member("operation", insn.operation);
      json.key("operands");
      json.begin_array();
      if (insn.operands.empty()) json.null();
      for (const std::string& operand : insn.operands) json.string(operand);
      json.end_array();
      if (options.opcodes) {
        json.key("opcodes");
        json.begin_array();
        for (const std::byte b : piece.code.subspan(at, insn.bytes))
          json.string(fmt::format("{:#04x}", static_cast<u8>(b)));
        json.end_array();
      }
      json.end_object();
    });
    json.end_array();
    json.end_object();
  }
  json.end_array();
}

}  // namespace skep::inspect
