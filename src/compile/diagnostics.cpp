// A few errors come up again and again, and clang cannot know why: each has a line here.
#include "compile/diagnostics.hpp"

#include <fmt/format.h>

namespace skep::compile {
namespace {

/// The X of "'X' file not found", or "".
std::string_view missing_header(std::string_view text) {
  const std::size_t end = text.find("' file not found");
  if (end == text.npos) return {};
  const std::size_t begin = text.rfind('\'', end - 1);
  return begin == text.npos ? std::string_view() : text.substr(begin + 1, end - begin - 1);
}

std::string about_header(std::string_view header, Dialect dialect) {
  const bool own = header.find('/') == header.npos;
  if (header.starts_with("asm/") || header == "linux/types.h" || header == "linux/bpf.h")
    return fmt::format("hint: <{}> comes with Debian's package linux-libc-dev\n", header);
  if (dialect == Dialect::bcc && !own)
    return fmt::format(
        "hint: <{}> belongs to the kernel's own source, which skep does not use. Helpers, maps and registers need no "
        "include; for kernel structs write the program with SEC() and \"vmlinux.h\", and read members with "
        "BPF_CORE_READ\n",
        header);
  return {};
}

}  // namespace

std::string hide_directory(std::string_view text, std::string_view directory) {
  std::string out;
  for (;;) {
    const std::size_t at = text.find(directory);
    out += text.substr(0, at);
    if (at == text.npos) return out;
    text.remove_prefix(at + directory.size());
  }
}

std::string advice(std::string_view diagnostics, Dialect dialect) {
  const auto says = [&](std::string_view words) { return diagnostics.find(words) != diagnostics.npos; };
  std::string out;
  if (const auto header = missing_header(diagnostics); !header.empty()) out += about_header(header, dialect);
  if (says("too many args") || says("stack arguments are not supported"))
    out +=
        "hint: a BPF function takes at most 5 parameters: a handler's context and 4 more; read the others with "
        "PT_REGS_PARM5(ctx), PT_REGS_PARM6(ctx)\n";
  if (dialect == Dialect::bcc && says("incomplete definition of type"))
    out +=
        "hint: members of kernel structs are not known in the BCC dialect; write the program with SEC() and "
        "\"vmlinux.h\", and read them with BPF_CORE_READ\n";
  if (says("built-in function 'mem") || says("call to undeclared library function"))
    out +=
        "hint: there is no C library in a BPF program: use __builtin_memcpy, __builtin_memset with a constant size\n";
  return out;
}

}  // namespace skep::compile
