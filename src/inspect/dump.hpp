// `dump`: a program's instructions with its C lines, a map's entries decoded by BTF, in bpftool's forms.
#pragma once
#include <functional>
#include <skep/backend.hpp>
#include <skep/inspect.hpp>
#include <string>
#include <string_view>

#include "base/json_writer.hpp"
#include "btf/btf.hpp"

namespace skep::inspect {

struct XlatedOptions {
  bool opcodes = false;       ///< the raw bytes of each instruction too
  bool line_numbers = false;  ///< [file:... line_num:... line_col:...] after each source line
};

/// Writes the instructions as text, or as bpftool's array of {proto, src, disasm} objects.
/// `types`: the program's BTF for the prototypes, or null.
std::string xlated_text(const ProgramCode& code, const btf::Btf* types, bool kernel, const XlatedOptions& options);
void write_xlated(base::JsonWriter& json, const ProgramCode& code, const btf::Btf* types, bool kernel,
                  const XlatedOptions& options);

/// Each instruction as xlated_text() prints it, without its number; "" for the second half of a wide one.
std::vector<std::string> instruction_texts(const ProgramCode& code, bool kernel);

/// One machine instruction as text.
struct MachineInsn {
  u32 bytes = 0;  ///< 0: none that the machine knows
  std::string operation;
  std::vector<std::string> operands;
};

/// What machine code is printed with.
struct JitedSource {
  std::string program;              ///< its name
  bool kernel = false;              ///< functions have the kernel's symbols
  const btf::Btf* types = nullptr;  ///< for the prototypes
  /// The first instruction of `code`, which lies at offset `pc` of its function.
  std::function<MachineInsn(std::span<const std::byte> code, u64 pc)> disassemble;
};

/// Writes machine code as text, or as bpftool's array of {proto, name, insns: [{src, pc, operation, operands}]}.
std::string jited_text(const ProgramCode& code, const JitedSource& source, const XlatedOptions& options);
void write_jited(base::JsonWriter& json, const ProgramCode& code, const JitedSource& source,
                 const XlatedOptions& options);

/// A value as an update takes it: for per-CPU maps, the same one for every possible CPU.
std::vector<std::byte> for_every_cpu(const MapInfo& info, std::vector<std::byte> value);

/// How a dump is written, piece by piece.
struct DumpOptions {
  bool json = false;
  bool pretty = false;
};

/// Writes every entry, in memory that does not depend on how many there are. `types` may be null; `info` says which of
/// them are the map's (a struct_ops map has types of the kernel, which its own facts do not name).
/// `write` gets the text in pieces. Entries that vanish meanwhile are left out. Returns how many values were read.
Result<u64> dump_map(const Map& map, const MapInfo& info, const btf::Btf* types, const DumpOptions& options,
                     const std::function<void(std::string_view)>& write);

/// One entry as `map lookup` shows it, with a newline.
std::string entry_text(const MapInfo& info, const btf::Btf* types, std::span<const std::byte> key,
                       std::span<const std::byte> value, const DumpOptions& options);

}  // namespace skep::inspect
