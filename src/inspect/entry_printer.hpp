// Entries of one map as text or JSON, in bpftool's layouts, fast: a dump of a million entries is bound by the kernel.
//
// What stands between the values of an entry, and where its numbers lie, is the same for every entry of a map. So the
// first entry compiles its layout into steps (literal text, then a value), and every entry plays them. What needs more
// than a number (strings, bit-fields, enumerators, values that do not fit their types) is one step that walks the
// types.
#pragma once
#include <memory>
#include <skep/inspect.hpp>
#include <span>
#include <string>

#include "btf/btf.hpp"

namespace skep::inspect {

enum class EntryForm : u8 {
  json,   ///< {key: [bytes], value: [bytes], formatted: {key, value}}
  plain,  ///< JSON of the typed part only: bpftool's text dump of a map with BTF
  bytes,  ///< hex lines: its text dump of a map without
};

struct EntryLayout {
  EntryForm form = EntryForm::json;
  bool pretty = false;
  std::size_t depth = 0;  ///< of what surrounds an entry: 1 inside of an array
};

class EntryPrinter {
 public:
  /// `types` may be null; they outlive the printer.
  EntryPrinter(MapInfo info, const btf::Btf* types, const EntryLayout& layout);
  ~EntryPrinter();
  EntryPrinter(const EntryPrinter&) = delete;
  EntryPrinter& operator=(const EntryPrinter&) = delete;

  /// Adds an entry to `out`. `value` as Map::lookup() gives it.
  void append(std::string& out, std::span<const std::byte> key, std::span<const std::byte> value);
  /// Adds an entry whose value could not be read.
  void append_error(std::string& out, std::span<const std::byte> key, int error_number);

 private:
  struct Plan;
  MapInfo info_;
  const btf::Btf* types_;
  EntryLayout layout_;
  std::unique_ptr<Plan> plan_;
};

/// Bytes as bpftool prints them: 16 a line, a wider gap after the eighth.
std::string hex_text(std::span<const std::byte> bytes);

/// A value of a per-CPU map comes as one slot of round_up(value_size, 8) bytes per possible CPU.
bool is_per_cpu(MapType type) noexcept;

}  // namespace skep::inspect
