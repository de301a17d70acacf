// Debug information of one file: which functions an address belongs to once the compiler has put some into others, and
// which lines of source.
//
// Read by libdw, which is opened when it is first needed: a machine without it (package libdw1) has no inlined frames
// and everything else. libdw maps files and follows what they say, so it is used in a process of its own only: see
// dwarf_process.hpp.
// Source: DWARF 5, sections 3.3.8 (inlined subroutines) and 6.2 (line numbers).
#pragma once
#include <memory>
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <string>
#include <vector>

#include "base/fd.hpp"

namespace skep::symbols {

/// One function at an address, and the line it is at there.
struct SourceFrame {
  std::string name;  ///< mangled, where the language mangles; "" where only the line is known
  std::string file;  ///< as the compiler was given it; "" where not known
  u32 line = 0;      ///< 0: not known
  bool operator==(const SourceFrame&) const = default;
};

class DwarfFile {
 public:
  /// Whether there is a libdw here; opens it at the first call. Errors: unsupported, with what to install.
  static Result<void> available();

  /// `supplement`: the file that .gnu_debugaltlink names, or nothing. Errors: of available(); malformed.
  static Result<DwarfFile> open(base::Fd file, base::Fd supplement);
  DwarfFile(DwarfFile&&) noexcept;
  DwarfFile& operator=(DwarfFile&&) noexcept;
  ~DwarfFile();

  /// The functions at an address that the file is linked at: the innermost inlined one first, last the one that has
  /// code of its own. Empty where the file says nothing of it.
  std::vector<SourceFrame> at(u64 address);

 private:
  class State;
  explicit DwarfFile(std::unique_ptr<State> state) noexcept;
  std::unique_ptr<State> state_;
};

}  // namespace skep::symbols
