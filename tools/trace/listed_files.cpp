// A place in a stack is a build id and an offset in the file that has it: whose copy of the file, does not matter.
#include "trace/listed_files.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "base/split.hpp"
#include "symbols/stack_traces.hpp"

namespace skep::tools {

Result<ListedFiles> ListedFiles::read(const std::string& paths) {
  ListedFiles out;
  for (const std::string& path : base::split(paths, ',')) {
    if (path.empty()) continue;
    base::Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return tl::unexpected(base::os_error(path));
    auto symbols = SKEP_TRY_AT(path, symbols::FileSymbols::read(std::move(file), {}));
    if (symbols.build_id().empty())
      return fail(Code::invalid_argument,
                  fmt::format("{}: has no build id, by which stacks are told; link it with --build-id", path));
    out.files_.push_back({path, std::move(symbols)});
  }
  return out;
}

std::vector<symbols::Frame> ListedFiles::frames(symbols::Symbolizer& symbolizer, u32 pid,
                                                std::span<const std::byte> value) const {
  auto frames = symbols::build_id_stack(symbolizer, pid, value);
  const auto places = symbols::stack_build_ids(value);
  for (std::size_t i = 0; i < std::min(frames.size(), places.size()); ++i) {
    const auto listed = std::find_if(files_.begin(), files_.end(),
                                     [&](const File& file) { return file.symbols.build_id() == places[i].build_id; });
    if (listed == files_.end()) continue;
    frames[i].module = listed->path;
    if (auto found = listed->symbols.at_offset(places[i].place)) {
      frames[i].name = std::move(found->name);
      frames[i].offset = found->offset;
    }
  }
  return frames;
}

}  // namespace skep::tools
