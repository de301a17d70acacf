// Addresses to names, of the kernel and of any process: what tools, stack maps and the Python interface ask.
//
// Everything is read when it is first needed: a Symbolizer that is asked nothing costs nothing. Tables of files are
// shared by all processes that map them. Names of a process that has ended are found as far as it was looked at while
// it lived: remember() does that for processes that will not live long. One thread at a time.
#pragma once
#include <chrono>
#include <list>
#include <memory>
#include <optional>
#include <skep/result.hpp>
#include <span>
#include <string>
#include <vector>

#include "symbols/file_symbols.hpp"
#include "symbols/frame.hpp"
#include "symbols/kernel_symbols.hpp"
#include "symbols/process.hpp"

namespace skep::symbols {

struct SymbolizerOptions {
  std::size_t most_table_bytes = 64u << 20;  ///< of files' tables; the least used go first
  std::size_t most_processes = 256;
  std::string kallsyms = kallsyms_path;
  std::string modules = "/proc/modules";
  std::chrono::milliseconds kernel_age{1000};  ///< the kernel's symbols are not read again before that
};

class Symbolizer {
 public:
  explicit Symbolizer(SymbolizerOptions options = {})
      : options_(std::move(options)), files_(options_.most_table_bytes) {}

  /// The kernel's symbols; read at the first call. Errors: see KernelSymbols::read.
  Result<const KernelSymbols*> kernel_symbols();
  /// Names where they are known; the address alone where not. Modules and BPF programs come and go: for an address that
  /// lies in none that is known, or in a module when others are loaded now, the kernel's symbols are read again.
  Frame kernel(u64 address);
  Frame user(u32 pid, u64 address);
  std::vector<Frame> kernel(std::span<const u64> addresses);
  std::vector<Frame> user(u32 pid, std::span<const u64> addresses);

  /// Looks at a process now, for addresses that are asked later. False: it is gone, or another user's.
  bool remember(u32 pid);

  /// One element of a build-id stack: a place in a file that is told by its build id (in hex). Found among the files
  /// looked at, and among those that `pid` has mapped (0: no process).
  Frame build_id(std::string_view id, u64 file_offset, u32 pid = 0);

  const FileCache& files() const noexcept { return files_; }

 private:
  bool read_kernel_again(const std::optional<KernelSymbols::Found>& found, u64 address);
  Process* process(u32 pid);
  const Root* own_root();

  SymbolizerOptions options_;
  std::optional<Result<KernelSymbols>> kernel_;
  std::chrono::steady_clock::time_point kernel_read_;  ///< or looked whether that is needed
  std::string modules_;                                ///< what the list of modules was when the symbols were read
  std::string now_loaded_;                             ///< at the last look
  std::vector<u64> no_symbol_;                         ///< addresses that they do not have, the last few
  FileCache files_;
  std::list<Process> processes_;  ///< the one asked for last in front
  std::optional<Root> own_root_;
};

}  // namespace skep::symbols
