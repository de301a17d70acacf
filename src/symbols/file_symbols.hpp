// What the places of one mapped file are called, and a cache of such files.
//
// A process maps parts of files; an address in it is an offset in the file, and the segments say at which linked
// address that offset lies. For a position-independent file the two differ by where the linker put its segments, for
// others the linked address is the process's own: the arithmetic is one.
#pragma once
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "symbols/code_symbols.hpp"
#include "symbols/debug_file.hpp"
#include "symbols/dwarf_process.hpp"

namespace skep::symbols {

class FileSymbols {
 public:
  using Found = CodeSymbols::Found;

  /// Errors: what File::parse refuses (not ELF, 32-bit, malformed). A file without any symbols is no error.
  static Result<FileSymbols> read(base::Fd file, const DebugPlaces& places);
  /// From memory: the vdso.
  static Result<FileSymbols> read(std::span<const std::byte> bytes);

  /// What stands at an offset of the file.
  std::optional<Found> at_offset(u64 file_offset) const;
  /// What stands at an address that the file is linked at.
  std::optional<Found> at_address(u64 address) const;
  /// The address that an offset of the file is linked at, where it is loaded.
  std::optional<u64> linked_address(u64 file_offset) const;
  /// The debug information, of the file or of its separate debug file; nullptr: there is none.
  const DebugInfo* debug_info() const noexcept { return debug_info_ ? &*debug_info_ : nullptr; }
  /// In hex; "" where the file has none.
  const std::string& build_id() const noexcept { return build_id_; }
  std::size_t memory_bytes() const noexcept;
  const std::vector<CodeSymbols>& tables() const noexcept { return tables_; }

 private:
  friend class FileCache;
  std::vector<elf::Segment> segments_;  ///< those that are loaded
  std::vector<CodeSymbols> tables_;     ///< the better ones first
  std::string build_id_;
  std::optional<DebugInfo> debug_info_;
};

/// Tables of files that were looked at, until they take too much memory: then those that were not asked for longest go.
class FileCache {
 public:
  explicit FileCache(std::size_t most_bytes) : most_bytes_(most_bytes) {}

  /// The file's table, if it is still here; it stays valid after it has left the cache.
  std::shared_ptr<const FileSymbols> find(const FileIdentity& file);
  std::shared_ptr<const FileSymbols> find_build_id(std::string_view id);
  /// Reads it and keeps it. A file that cannot be read is kept as one without symbols.
  std::shared_ptr<const FileSymbols> add(const FileIdentity& identity, base::Fd file, const DebugPlaces& places);

  std::size_t memory_bytes() const noexcept { return bytes_; }
  std::size_t size() const noexcept { return files_.size(); }

 private:
  struct Kept {
    FileIdentity identity;
    std::shared_ptr<const FileSymbols> symbols;
    std::size_t bytes;
  };
  std::list<Kept> files_;  ///< the one asked for last in front
  std::size_t most_bytes_, bytes_ = 0;
};

}  // namespace skep::symbols
