// A process that reads debug information for us.
//
// Debug information comes with the programs that are looked at, and libdw believes much of it: a crafted file may crash
// it, keep it busy for ever or fill its memory, and a file that shrinks while it is mapped ends the process. So it runs
// in a child that may read the descriptors it is sent, allocate a bounded amount of memory, answer, and nothing else
// (seccomp). It does not outlive us, and what it does not answer within seconds is not asked again.
#pragma once
#include <sys/types.h>

#include <chrono>
#include <memory>
#include <unordered_map>

#include "symbols/dwarf_file.hpp"

namespace skep::symbols {

/// A file with debug information, as the child is told of it.
struct DebugInfo {
  std::shared_ptr<const base::Fd> file;
  base::Fd supplement;  ///< what its .gnu_debugaltlink names; often nothing
  u64 id = next_id();   ///< of this value, never used again

  static u64 next_id() noexcept;
};

/// What the child does first: nothing of ours is left to it. No descriptor but `socket` (a link or a pipe would stay
/// open as long as it lives), no memory that is shared, no terminal (Ctrl-C is for us), no handler, no directory, and
/// no system call but those that reading takes. False: it could not be shut in.
bool shut_in(int socket);

class DwarfProcess {
 public:
  /// What DwarfFile::at() says; valid until the next call. Errors: of DwarfFile::available(); timed_out, closed, limit:
  /// the file is given up, and is empty from now on.
  Result<const std::vector<SourceFrame>*> at(const DebugInfo& info, u64 address);

 private:
  struct KnownFile {
    std::unordered_map<u64, std::vector<SourceFrame>> answers;  ///< by address
    std::chrono::steady_clock::duration time{};                 ///< that they took
    bool is_given_up = false;
  };
  Result<std::vector<SourceFrame>> ask(const DebugInfo& info, u64 address);
  Result<void> start();

  base::Fd socket_;
  pid_t owner_ = 0;      ///< who started it: a copy of us in a forked process starts its own
  unsigned starts_ = 0;  ///< a file that ends the child costs one
  std::unordered_map<u64, KnownFile> known_;
  std::size_t known_bytes_ = 0;
};

}  // namespace skep::symbols
