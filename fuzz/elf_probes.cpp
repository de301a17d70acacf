// libFuzzer: a program or library in which a user-space probe is looked for: its functions by name and the notes of its
// static tracepoints. Whatever the file says, an answer comes within bounds of time and memory, and every offset in it
// lies in a segment of the file. The same bytes are also read as the operands of a tracepoint.
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "elf/functions.hpp"
#include "elf/usdt.hpp"

namespace {

using namespace skep;

void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

bool in_a_segment(const elf::File& file, u64 offset) {
  for (const elf::Segment& segment : file.segments())
    if (offset - segment.offset < segment.size_file) return true;
  return false;
}

void read_operands(std::string_view text) {
  const auto arguments = elf::usdt_arguments(text);
  if (!arguments) return expect(!arguments.error().message.empty(), "a refusal says why");
  for (const elf::UsdtArgument& argument : *arguments) {
    expect(argument.bytes == 1 || argument.bytes == 2 || argument.bytes == 4 || argument.bytes == 8, "a width");
    expect(argument.kind == elf::UsdtArgument::Kind::reg ? !argument.reg.empty() : true, "a register has a name");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  read_operands({reinterpret_cast<const char*>(data), size});
  const auto file = elf::File::parse(std::as_bytes(std::span(data, size)));
  if (!file) return 0;
  if (const auto found = elf::functions(*file, [](std::string_view name) { return name.size() % 5 != 0; }))
    for (const elf::Function& function : *found)
      expect(in_a_segment(*file, function.file_offset), "a function's place");
  if (const auto notes = elf::usdt_notes(*file))
    for (const elf::UsdtNote& note : *notes) {
      expect(in_a_segment(*file, note.file_offset), "a tracepoint's place");
      read_operands(note.arguments);
    }
  return 0;
}
