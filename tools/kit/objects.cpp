// The tools' objects inside of the binary, and the tools by name.
#include <algorithm>
#include <array>

#include "base/gunzip.hpp"
#include "kit/kit.hpp"

// .incbin: the assembler copies the file, no compiler reads it as text.
#define SKEP_TOOL(name)                                                                                \
  asm(".section .rodata\n.balign 16\nskep_object_" #name ":\n.incbin \"" SKEP_TOOL_DIRECTORY "/" #name \
      ".bpf.o.gz\"\nskep_object_end_" #name ":\n.byte 0\n.previous\n");                                \
  extern "C" __attribute__((visibility("hidden"))) const std::byte skep_object_##name[], skep_object_end_##name[];
#define SKEP_TOOL_ALONE(name)
#include "tools.def"
#undef SKEP_TOOL

namespace skep::tools {

Result<std::string> tool_object(std::string_view tool) {
#define SKEP_TOOL(name) \
  if (tool == #name) return base::gunzip(std::span(skep_object_##name, skep_object_end_##name));
#include "tools.def"
#undef SKEP_TOOL
#undef SKEP_TOOL_ALONE
  return fail(Code::not_found, "no built-in tool " + std::string(tool));
}

std::span<const Verb> tools() {
  static const std::vector<Verb> all = {
#define SKEP_TOOL(name) {#name, name##_summary, name},
#define SKEP_TOOL_ALONE SKEP_TOOL
#include "tools.def"
#undef SKEP_TOOL
#undef SKEP_TOOL_ALONE
  };
  return all;
}

}  // namespace skep::tools
