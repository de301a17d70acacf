// Macros, constants and small functions of the kernel's headers, which its BTF cannot describe (kernel_names.def).
#pragma once
#include <skep/types.hpp>
#include <span>
#include <string>
#include <string_view>

namespace skep::compile {

struct KernelName {
  enum class Kind : u8 { constant, macro, function } kind;
  std::string_view name;
  std::string_view parameters;  ///< of a macro: "(a, b)"
  std::string_view text;        ///< the value, or the whole definition of a function
  u32 since = 0, before = 0;    ///< the releases that have it, as LINUX_VERSION_CODE; 0 is any

  bool is_in(u32 version) const noexcept { return version >= since && (before == 0 || version < before); }
};

/// Every row, in the order in which they may stand in a source.
std::span<const KernelName> kernel_names() noexcept;

/// One line of C for a row.
std::string definition_of(const KernelName& name);

/// What depends on the running kernel: LINUX_VERSION_CODE, HZ, PAGE_SIZE, CONFIG_* (`=y`), or "" for any other word.
std::string kernel_setting(std::string_view word);

/// A name for the contents of the table: objects made with another one are not used again.
const std::string& kernel_names_id();

}  // namespace skep::compile
