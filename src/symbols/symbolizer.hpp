// Addresses to names, of the kernel and of any process: what tools, stack maps and the Python interface ask.
//
// Everything is read when it is first needed: a Symbolizer that is asked nothing costs nothing. Tables of files are
// shared by all processes that map them. Names of a process that has ended are found as far as it was looked at while
// it lived, or followed: remember() and follow() are for processes that will not live long. One thread at a time.
#pragma once
#include <chrono>
#include <list>
#include <memory>
#include <optional>
#include <skep/result.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "symbols/file_symbols.hpp"
#include "symbols/frame.hpp"
#include "symbols/kernel_symbols.hpp"
#include "symbols/mapping_history.hpp"
#include "symbols/process.hpp"

namespace skep::symbols {

struct SymbolizerOptions {
  std::size_t most_table_bytes = 64u << 20;  ///< of files' tables; the least used go first
  std::size_t most_processes = 256;
  std::string kallsyms = kallsyms_path;
  std::string modules = "/proc/modules";
  std::chrono::milliseconds kernel_age{1000};  ///< the kernel's symbols are not read again before that
  bool inlined = true;                         ///< read debug information, for stacks
};

/// One element of a build-id stack.
struct BuildIdPlace {
  std::string build_id;  ///< in hex; "" where the kernel could not tell and gave the address
  u64 place = 0;         ///< offset in the file; the address where there is no build id
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

  /// A stack, innermost address first. Behind that one stand the addresses that calls return to, which may lie behind
  /// the end of the function that called: they are looked up one byte earlier. Functions that the compiler inlined
  /// stand as frames of their own before the one that holds their code, where debug information tells of them.
  std::vector<Frame> user_stack(u32 pid, std::span<const u64> addresses);
  /// The same of a build-id stack: places in files that are told by their build ids, found among those that were
  /// listed, those looked at, and those that `pid` has mapped (0: no process).
  std::vector<Frame> build_id_stack(u32 pid, std::span<const BuildIdPlace> places);

  /// A file to look build ids up in, whoever has it mapped. Errors: it cannot be read, or has no build id.
  Result<void> add_file(const std::string& path);

  /// Looks at a process now, for addresses that are asked later. False: it is gone, or another user's.
  bool remember(u32 pid);
  /// From now on the kernel tells what processes map, so that those can be named that end before they are looked at.
  /// keep_up() is to be called a few times in a second. `children`: only what this process starts from now on, by the
  /// calling thread, which takes fewer rights. Errors: of MappingEvents::open().
  Result<void> follow(bool children);
  void keep_up();

  /// Whether stacks have inlined functions and source lines; see user_stack().
  void show_inlined(bool wanted) noexcept { options_.inlined = wanted; }

  /// What the caller's user should know since the last call: which files' debug information is not read any more, that
  /// events were lost.
  std::vector<std::string> take_notes() { return std::exchange(notes_, {}); }

  const FileCache& files() const noexcept { return files_; }

 private:
  bool read_kernel_again(const std::optional<KernelSymbols::Found>& found, u64 address);
  Process* process(u32 pid);
  Process* remembered(u32 pid);
  Process& keep(Process process);
  void hear(bool everything);
  const Root* own_root();
  std::vector<Place> places(u32 pid, std::span<const u64> addresses);
  Place place(const BuildIdPlace& place, u32 pid);
  void add_stack(std::vector<Place> places, std::vector<Frame>& out);
  const std::vector<SourceFrame>& sources_at(const DebugInfo& info, u64 address, const std::string& module);

  SymbolizerOptions options_;
  std::optional<Result<KernelSymbols>> kernel_;
  std::chrono::steady_clock::time_point kernel_read_;  ///< or looked whether that is needed
  std::string modules_;                                ///< what the list of modules was when the symbols were read
  std::string now_loaded_;                             ///< at the last look
  std::vector<u64> no_symbol_;                         ///< addresses that they do not have, the last few
  FileCache files_;
  std::list<Process> processes_;  ///< the one asked for last in front
  std::optional<MappingEvents> events_;
  std::optional<MappingHistory> history_;
  std::optional<Root> own_root_;
  struct Listed {
    std::string path;
    std::shared_ptr<const FileSymbols> symbols;
  };
  std::vector<Listed> listed_;
  DwarfProcess debug_information_;
  bool reads_no_more_ = false;  ///< which was told
  std::vector<std::string> notes_;
};

}  // namespace skep::symbols
