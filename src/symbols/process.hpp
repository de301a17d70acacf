// One process as a place where code lies: its mappings, the files behind them, the names in those.
//
// The process may end, execute another program, or be followed by another one with the same number while we look. Its
// /proc/PID directory is opened once and everything is read through it, so an answer never comes from a successor; its
// root directory is kept open, so that files can still be found when it is gone.
#pragma once
#include <chrono>
#include <optional>
#include <unordered_map>
#include <vector>

#include "symbols/file_symbols.hpp"
#include "symbols/frame.hpp"
#include "symbols/perf_map.hpp"
#include "symbols/process_maps.hpp"
#include "symbols/root.hpp"

namespace skep::symbols {

/// A frame, and the file that its name was looked for in: nullptr where that is none that could be read.
struct Place {
  Frame frame;
  std::shared_ptr<const FileSymbols> symbols;
};

/// Names what stands at the frame's offset in the file.
void name_in(Place& place);

class Process {
 public:
  /// Errors: not_found (no such process), permission (another user's).
  static Result<Process> open(u32 pid);
  /// One that has ended, by what it had mapped. Its files are looked for in our own root. `version`: of `mappings`.
  static Process remembered(u32 pid, std::vector<Mapping> mappings, u64 version);

  u32 pid() const noexcept { return pid_; }
  /// Whether the process that was opened still exists (as a zombie at least).
  bool exists() const noexcept;
  /// Whether it had memory at the last look: a zombie has none.
  bool lives() const noexcept { return lives_; }
  u64 version() const noexcept { return version_; }
  /// Reads its mappings again when the last look is older than `age`. What was known stays when it is gone.
  void refresh(std::chrono::milliseconds age);
  /// Names addresses.
  std::vector<Place> resolve(std::span<const u64> addresses, FileCache& files, const Root* own);
  /// Looks at every file that it may execute.
  void read_files(FileCache& files, const Root* own);
  const std::vector<Mapping>& mappings() const noexcept { return mappings_; }

 private:
  struct Module {
    bool tried = false;
    std::optional<FileIdentity> identity;
  };

  Process(u32 pid, base::Fd directory) : pid_(pid), directory_(std::move(directory)) {}
  Result<std::string> read_text(const char* file, std::size_t most_bytes) const;
  Place resolve(u64 address, FileCache& files, const Root* own);
  std::shared_ptr<const FileSymbols> symbols_of(const Mapping& mapping, FileCache& files, const Root* own);
  void name_in_vdso(const Mapping& mapping, Frame& frame);
  void name_in_perf_map(Frame& frame);
  Result<base::Fd> open_mapped(const Mapping& mapping) const;
  void read_perf_map();

  u32 pid_;
  base::Fd directory_;
  std::optional<Root> root_;
  std::vector<Mapping> mappings_;
  std::unordered_map<u64, Module> modules_;  ///< by the mapping's beginning
  std::size_t maps_hash_ = 0;
  bool lives_ = false;
  u64 version_ = 0;  ///< 0: looked at, not remembered
  std::optional<std::chrono::steady_clock::time_point> looked_, looked_at_perf_map_;
  std::optional<FileIdentity> perf_map_identity_;
  PerfMap perf_map_;
  std::string perf_map_name_;
  std::optional<FileSymbols> vdso_;
};

}  // namespace skep::symbols
