// .BTF.ext: what ties instructions to types and source lines, and the CO-RE relocations.
//
// Three tables, each split by ELF section; record sizes come from the file and may be larger than what we know
// (later compilers append fields). Instruction offsets are bytes within the named section.
// Source: kernel Documentation/bpf/btf.rst, ".BTF.ext section".
#pragma once
#include "btf/btf.hpp"

namespace skep::btf {

struct FuncRecord {
  u32 offset = 0;   ///< bytes into the section
  u32 type_id = 0;  ///< a func
};
struct LineRecord {
  u32 offset = 0;
  u32 file = 0;  ///< string offset
  u32 text = 0;  ///< string offset
  u32 line_column = 0;
  u32 line() const { return line_column >> 10; }
  u32 column() const { return line_column & 0x3ff; }
};
struct CoreRecord {
  u32 offset = 0;
  u32 type_id = 0;
  u32 access = 0;  ///< string offset of "0:1:2"
  u32 kind = 0;
};

/// The records of one ELF section, in ascending offset.
template <class Record>
struct ExtSection {
  std::string_view name;  ///< valid as long as the Btf
  std::vector<Record> records;
};

struct Ext {
  std::vector<ExtSection<FuncRecord>> functions;
  std::vector<ExtSection<LineRecord>> lines;
  std::vector<ExtSection<CoreRecord>> core;

  /// Reads a .BTF.ext section that belongs to `btf`. Type ids and kinds are checked. Errors: malformed, unsupported.
  static Result<Ext> parse(std::span<const std::byte> bytes, const Btf& btf);
};

}  // namespace skep::btf
