// The kernel's own names: /proc/kallsyms, read once, searched by address and by name.
//
// The file has 120,000 to 300,000 lines, and the kernel takes 35 ms to print them: so it is read when the first name is
// asked for, and what is kept is small (16 bytes a symbol, and its name). Modules and loaded BPF programs stand in it
// with the name of their module; both come and go, so a long-lived reader may want to read again.
// Source: kernel/kallsyms.c.
#pragma once
#include <filesystem>
#include <functional>
#include <optional>
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace skep::symbols {

/// One line of kallsyms. The views last as long as the KernelSymbols, or the call of the visitor.
struct KernelSymbol {
  u64 address = 0;  ///< 0 where the kernel hides it
  char type = 0;    ///< as nm has it: 't' and 'T' code, 'd' data, 'r' constants, 'b' zeroed, 'w' weak, 'a' absolute
  std::string_view name;
  std::string_view module;  ///< "" for the kernel itself
  bool is_code() const noexcept { return type == 't' || type == 'T' || type == 'w' || type == 'W' || type == 'i'; }
};

inline constexpr const char* kallsyms_path = "/proc/kallsyms";

/// Calls `visit` for each line, in the file's order, until it returns false. Lines that are none are left out.
/// Errors: unsupported (no such file: CONFIG_KALLSYMS), permission, io.
Result<void> each_kernel_symbol(const std::filesystem::path& path,
                                const std::function<bool(const KernelSymbol&)>& visit);

class KernelSymbols {
 public:
  struct Found {
    KernelSymbol symbol;
    u64 offset = 0;  ///< from the beginning of the symbol
  };

  /// Errors: permission, where the kernel hides its addresses (sysctl kernel.kptr_restrict); unsupported; io.
  static Result<KernelSymbols> read(const std::filesystem::path& path = kallsyms_path);

  /// The symbol an address lies in: the last one that begins at or before it. Of several at one place, the first of the
  /// file, as the kernel itself prints it. nullopt below the first, and more than 16 MiB behind any.
  std::optional<Found> find(u64 address) const;
  /// The address of a name; of several with one name (static functions), the lowest. A walk over all names.
  std::optional<u64> address_of(std::string_view name) const;

  std::size_t size() const noexcept { return entries_.size(); }
  KernelSymbol at(std::size_t index) const;  ///< by rising address
  std::size_t memory_bytes() const noexcept { return entries_.capacity() * sizeof(Entry) + names_.capacity(); }

 private:
  struct Entry {
    u64 address;
    u32 name;  ///< offset in names_, where it ends with a zero byte
    u16 module;
    char type;
  };
  std::size_t module_index(std::string_view name);

  std::vector<Entry> entries_;
  std::string names_;
  std::vector<std::string> modules_ = {""};
};

}  // namespace skep::symbols
