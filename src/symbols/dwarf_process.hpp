// A process that reads debug information for us.
//
// Debug information comes with the programs that are looked at, and libdw believes much of it: a crafted file may crash
// it, keep it busy for ever or fill its memory, and a file that shrinks while it is mapped ends the process. So it runs
// in a child that may read the descriptors it is sent, allocate a bounded amount of memory, answer, and nothing else
// (seccomp). It does not outlive us, and what it does not answer within seconds is not asked again.
#pragma once
#include <sys/types.h>

#include <memory>
#include <set>
#include <span>
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

class DwarfProcess {
 public:
  /// What DwarfFile::at() says. Empty as well where there is no libdw, no seccomp, or the child had to be given up.
  /// Valid until the next call.
  const std::vector<SourceFrame>& at(const DebugInfo& info, u64 address);

 private:
  Result<std::vector<SourceFrame>> ask(const DebugInfo& info, u64 address);
  Result<void> start();

  base::Fd socket_;
  pid_t owner_ = 0;      ///< who started it: a copy of us in a forked process starts its own
  unsigned starts_ = 0;  ///< a file that ends the child costs one
  std::set<u64> given_up_;
  std::unordered_map<u64, std::unordered_map<u64, std::vector<SourceFrame>>> known_;  ///< by file and address
  std::size_t known_count_ = 0;
};

}  // namespace skep::symbols
