// The table of names that the kernel's types lack, as text for the prelude.
#include "compile/kernel_names.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "base/digest.hpp"
#include "base/kernel_config.hpp"
#include "base/kernel_version.hpp"

namespace skep::compile {
namespace {

using base::release;

constexpr KernelName rows[] = {
#define SKEP_CONSTANT(name, text) {KernelName::Kind::constant, #name, {}, text},
#define SKEP_MACRO(name, parameters, text) {KernelName::Kind::macro, #name, parameters, text},
#define SKEP_MACRO_OF(since, before, name, parameters, text) \
  {KernelName::Kind::macro, #name, parameters, text, since, before},
#define SKEP_FUNCTION(name, text) {KernelName::Kind::function, #name, {}, text},
#include "compile/kernel_names.def"
#undef SKEP_CONSTANT
#undef SKEP_MACRO
#undef SKEP_MACRO_OF
#undef SKEP_FUNCTION
};

std::string define(std::string_view name, auto value) { return fmt::format("#define {} {}\n", name, value); }

const std::string& configuration() {
  static const std::string text = base::kernel_config().value_or(std::string());
  return text;
}

/// What follows `NAME=` on a line of the configuration.
std::string_view configured(std::string_view name) {
  const std::string wanted = fmt::format("\n{}=", name);
  const std::string_view text = configuration();
  const std::size_t at = text.find(wanted);
  if (at == text.npos) return {};
  const std::size_t begin = at + wanted.size();
  return text.substr(begin, std::min(text.find('\n', begin), text.size()) - begin);
}

/// The options without which nobody could read the others: what every kernel that skep knows has.
std::string_view without_configuration(std::string_view word) {
#if defined(__x86_64__)
  if (word == "CONFIG_X86_64" || word == "CONFIG_X86") return "y";
#else
  if (word == "CONFIG_ARM64") return "y";
#endif
  if (word == "CONFIG_64BIT" || word == "CONFIG_SMP" || word == "CONFIG_ARCH_HAS_SYSCALL_WRAPPER" ||
      word == "CONFIG_NET_NS")
    return "y";
  return word == "CONFIG_HZ" ? "250" : "";
}

std::string option(std::string_view word) {
  std::string_view value = configured(word);
  if (value.empty() && configuration().empty()) value = without_configuration(word);
  if (value == "y") return define(word, 1);
  return value.empty() || value == "m" || value == "n" ? std::string() : define(word, value);
}

/// Where the kernel's half of the addresses begins, with the widest page tables that it may use.
std::string first_kernel_address(std::string_view word) {
#if defined(__x86_64__)
  return define(word, word == "__PAGE_OFFSET_BASE_L5" ? "0xff11000000000000UL" : "0xffff888000000000UL");
#else
  return word == "PAGE_OFFSET" ? define(word, "0xfff0000000000000UL") : std::string();
#endif
}

u32 page_shift() {
  u32 shift = 12;
  while ((1L << shift) < ::sysconf(_SC_PAGESIZE)) ++shift;
  return shift;
}

}  // namespace

std::span<const KernelName> kernel_names() noexcept { return rows; }

std::string definition_of(const KernelName& name) {
  if (name.kind == KernelName::Kind::function) return fmt::format("{}\n", name.text);
  return fmt::format("#define {}{} {}\n", name.name, name.parameters, name.text);
}

std::string kernel_setting(std::string_view word) {
  if (word.starts_with("CONFIG_")) return option(word);
  if (word == "LINUX_VERSION_CODE") return define(word, base::kernel_version_code());
  if (word == "KERNEL_VERSION")
    return "#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))\n";
  if (word == "HZ") {
    const std::string_view hz = configured("CONFIG_HZ");
    return define(word, hz.empty() ? "250" : hz);
  }
  if (word == "PAGE_SHIFT") return define(word, page_shift());
  if (word == "PAGE_OFFSET" || word.starts_with("__PAGE_OFFSET_BASE_L")) return first_kernel_address(word);
  if (word == "PAGE_SIZE") return define(word, fmt::format("(1UL << {})", page_shift()));
  return {};
}

const std::string& kernel_names_id() {
  static const std::string id = [] {
    base::Digest digest;
    for (const KernelName& row : rows)
      digest.field(row.name).field(row.parameters).field(row.text).number(row.since).number(row.before);
    return digest.name();
  }();
  return id;
}

}  // namespace skep::compile
