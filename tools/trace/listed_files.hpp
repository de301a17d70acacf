// Names from files that the command line lists, for stacks whose places are told by build id: a stripped program's, or
// those of one that runs where its files cannot be read.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "symbols/file_symbols.hpp"
#include "symbols/symbolizer.hpp"

namespace skep::tools {

class ListedFiles {
 public:
  /// Paths separated by commas. Errors: a file that cannot be read, or has no build id.
  static Result<ListedFiles> read(const std::string& paths);
  bool empty() const { return files_.empty(); }

  /// A value of a stack map with BPF_F_STACK_BUILD_ID, innermost first. Places in files that are not listed are looked
  /// for among those of the process.
  std::vector<symbols::Frame> frames(symbols::Symbolizer& symbolizer, u32 pid, std::span<const std::byte> value) const;

 private:
  struct File {
    std::string path;
    symbols::FileSymbols symbols;
  };
  std::vector<File> files_;
};

}  // namespace skep::tools
