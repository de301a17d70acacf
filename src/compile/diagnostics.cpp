// A few errors come up again and again, and clang cannot know why: each has a line here.
#include "compile/diagnostics.hpp"

#include <fmt/format.h>

#include <unordered_set>

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
        "hint: <{}> is not known to skep. Helpers, maps and registers need no include; structs of the kernel come from "
        "its BTF (/sys/kernel/btf/vmlinux), where it has one\n",
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

std::string without_repetition(std::string_view text) {
  std::unordered_set<std::string_view> said;
  std::string out;
  bool again = false, any = false;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const bool begins = line.find(": error: ") != line.npos || line.find(": warning: ") != line.npos ||
                        line.find(": note: ") != line.npos;
    if (begins) again = !said.insert(line).second;   // the lines below it, a quotation, go with it
    if (line.ends_with(" generated.")) again = any;  // "13 errors generated." would not be true any more
    any = any || again;
    if (!again) out.append(line).push_back('\n');
  }
  return out;
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
        "hint: structs of the kernel come from its BTF: this kernel has none (/sys/kernel/btf/vmlinux), or the struct "
        "belongs to a module that is not loaded, or has another name in this version\n";
  if (says("built-in function 'mem") || says("call to undeclared library function"))
    out +=
        "hint: there is no C library in a BPF program: use __builtin_memcpy, __builtin_memset with a constant size\n";
  return out;
}

}  // namespace skep::compile
