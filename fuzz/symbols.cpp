// libFuzzer: what other processes write and symbols are made of. The first byte chooses: a file with symbol tables, the
// text of /proc/PID/maps, a perf map, a name, folded stacks. Whatever it says, an answer comes within bounds of time
// and memory, and what is meant for a terminal or a picture holds nothing that either would act on.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/split.hpp"
#include "symbols/file_symbols.hpp"
#include "symbols/flame_graph.hpp"
#include "symbols/frame.hpp"
#include "symbols/perf_map.hpp"
#include "symbols/process_maps.hpp"

namespace {

using namespace skep;

void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

/// A function's name as a line of a stack has it.
void expect_printable(std::string_view name) {
  for (const char c : symbols::text({.address = 1, .name = std::string(name)}))
    expect(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f, "no control characters");
}

void file(std::span<const u8> data) {
  const auto symbols = symbols::FileSymbols::read(std::as_bytes(data));
  if (!symbols) return;
  expect(symbols->memory_bytes() <= 65536 + 4 * data.size(), "tables are no larger than the file");
  for (const symbols::CodeSymbols& table : symbols->tables()) {
    for (std::size_t i = 0; i < table.size() && i < 256; ++i) {
      const auto found = symbols->at_address(table.address(i));
      if (found) expect_printable(found->name);
      expect(i == 0 || table.address(i - 1) < table.address(i), "addresses rise");
    }
  }
  for (u64 offset = 0; offset < data.size(); offset += 64) symbols->at_offset(offset);
}

void maps(std::string_view text) {
  const auto mappings = symbols::parse_maps(text);
  u64 end = 0;
  for (const symbols::Mapping& mapping : mappings) {
    expect(mapping.begin >= end && mapping.begin < mapping.end, "mappings rise and hold something");
    expect(symbols::mapping_of(mappings, mapping.begin) == &mapping, "the first address is found");
    expect(symbols::mapping_of(mappings, mapping.end - 1) == &mapping, "the last address is found");
    end = mapping.end;
  }
}

void perf_map(std::string_view text) {
  const symbols::PerfMap map(text);
  for (u64 address = 0; address < 64; ++address)
    if (const auto found = map.find(address)) expect(found->offset <= address, "it begins before the address");
}

void picture(std::string_view text) {
  symbols::FoldedStacks stacks;
  for (const std::string& line : base::split(text, '\n')) {  // a stack a line, its names between tabs
    const std::vector<std::string> names = base::split(line, '\t');
    const std::string folded = symbols::folded(names);
    expect(std::ranges::count(folded, ';') < std::max<std::ptrdiff_t>(std::ssize(names), 1),
           "what stands between names stands in none");
    stacks.add(folded, line.size());
  }
  const std::string svg = symbols::flame_graph(stacks);
  expect(svg.ends_with("</svg>\n"), "the picture ends");
  std::size_t tags = 0;
  for (std::size_t at = 0; (at = svg.find("<script", at)) != svg.npos; ++at) ++tags;
  expect(tags == (stacks.lines().empty() ? 0 : 1), "no script but ours");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 5) {
    case 0:
      file({data + 1, size - 1});
      break;
    case 1:
      maps(text);
      break;
    case 2:
      perf_map(text);
      break;
    case 3:
      expect_printable(text);
      break;
    default:
      picture(text);
  }
  return 0;
}
