// Reading and searching kallsyms. See kernel_symbols.hpp.
#include "symbols/kernel_symbols.hpp"

#include <fcntl.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/fd.hpp"
#include "base/mapped_file.hpp"
#include "base/sort_by.hpp"

namespace skep::symbols {

namespace {

constexpr u64 farthest = 16u << 20;  // no function is that long: behind it lies something without a name
constexpr u64 kernel_half = 1ULL << 63;

/// "ffffffff814ca650 T name\t[module]"; false for anything else.
bool parse_line(std::string_view line, KernelSymbol& symbol) {
  u64 address = 0;
  std::size_t at = 0;
  for (; at < line.size() && at < 16; ++at) {  // by hand: this is half of the time of reading the file
    const char c = line[at];
    if (c >= '0' && c <= '9') {
      address = address << 4 | static_cast<u64>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      address = address << 4 | static_cast<u64>(c - 'a' + 10);
    } else {
      break;
    }
  }
  if (at == 0 || line.size() < at + 4 || line[at] != ' ' || line[at + 2] != ' ') return false;
  symbol.address = address;
  symbol.type = line[at + 1];
  line.remove_prefix(at + 3);
  const auto tab = line.find('\t');
  symbol.name = line.substr(0, tab);
  symbol.module = {};
  if (tab != line.npos) {
    std::string_view module = line.substr(tab + 1);
    if (module.size() < 2 || module.front() != '[' || module.back() != ']') return false;
    symbol.module = module.substr(1, module.size() - 2);
  }
  return !symbol.name.empty();
}

std::string restriction() {
  const auto text = base::read_text("/proc/sys/kernel/kptr_restrict", 64);
  return text ? text->substr(0, text->find('\n')) : std::string("unknown");
}

}  // namespace

Result<void> each_kernel_symbol(const std::filesystem::path& path,
                                const std::function<bool(const KernelSymbol&)>& visit) {
  const base::Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    if (errno == ENOENT)
      return fail(Code::unsupported,
                  fmt::format("{} is missing: this kernel keeps no names (CONFIG_KALLSYMS), or /proc is not mounted",
                              path.native()),
                  ENOENT);
    return tl::unexpected(base::os_error(path.native()));
  }
  std::array<char, 65536> buffer;  // longer than any line: names have at most 512 bytes
  std::size_t used = 0;
  bool in_long_line = false;
  for (;;) {
    const ssize_t got = ::read(file.get(), buffer.data() + used, buffer.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return tl::unexpected(base::os_error(path.native()));
    if (got == 0) break;
    used += static_cast<std::size_t>(got);
    std::size_t begin = 0;
    while (const auto* end = static_cast<const char*>(std::memchr(buffer.data() + begin, '\n', used - begin))) {
      const auto length = static_cast<std::size_t>(end - (buffer.data() + begin));
      KernelSymbol symbol;
      const bool is_rest = std::exchange(in_long_line, false);
      if (!is_rest && parse_line({buffer.data() + begin, length}, symbol) && !visit(symbol)) return {};
      begin += length + 1;
      if (begin == used) break;
    }
    std::memmove(buffer.data(), buffer.data() + begin, used - begin);
    used -= begin;
    if (used == buffer.size()) {
      used = 0;
      in_long_line = true;
    }
  }
  return {};
}

Result<KernelSymbols> KernelSymbols::read(const std::filesystem::path& path) {
  KernelSymbols symbols;
  u64 lines = 0;
  std::size_t module = 0;  // lines of one module stand together
  SKEP_TRY(each_kernel_symbol(path, [&](const KernelSymbol& symbol) {
    ++lines;
    // Absolute symbols and those of per-CPU areas are numbers, not places in the kernel's half.
    if ((symbol.address & kernel_half) == 0 || symbol.type == 'a' || symbol.type == 'A') return true;
    if (symbols.modules_[module] != symbol.module) module = symbols.module_index(symbol.module);
    symbols.entries_.push_back(
        {symbol.address, static_cast<u32>(symbols.names_.size()), static_cast<u16>(module), symbol.type});
    symbols.names_.append(symbol.name).push_back('\0');
    return symbols.names_.size() < (256u << 20);
  }));
  if (symbols.entries_.empty()) {
    if (lines == 0) return fail(Code::unsupported, fmt::format("{} holds no symbols", path.native()));
    return fail(Code::permission,
                fmt::format("the kernel hides its addresses: all {} of {} are 0 (sysctl kernel.kptr_restrict is {}); "
                            "as root with CAP_SYSLOG and kernel.kptr_restrict at most 1 they are shown",
                            lines, path.native(), restriction()));
  }
  if (!std::ranges::is_sorted(symbols.entries_, {}, &Entry::address)) base::sort_by(symbols.entries_, &Entry::address);
  return symbols;
}

std::size_t KernelSymbols::module_index(std::string_view name) {
  const auto known = std::ranges::find(modules_, name);
  if (known != modules_.end()) return static_cast<std::size_t>(known - modules_.begin());
  if (modules_.size() > 0xffff) return 0;
  modules_.emplace_back(name);
  return modules_.size() - 1;
}

KernelSymbol KernelSymbols::at(std::size_t index) const {
  const Entry& entry = entries_[index];
  return {entry.address, entry.type, names_.data() + entry.name, modules_[entry.module]};
}

std::optional<KernelSymbols::Found> KernelSymbols::find(u64 address) const {
  const auto behind = std::upper_bound(entries_.begin(), entries_.end(), address,
                                       [](u64 wanted, const Entry& entry) { return wanted < entry.address; });
  if (behind == entries_.begin()) return std::nullopt;
  const u64 begin = std::prev(behind)->address;
  if (address - begin > farthest) return std::nullopt;
  const auto first = std::lower_bound(entries_.begin(), behind, begin,
                                      [](const Entry& entry, u64 wanted) { return entry.address < wanted; });
  return Found{at(static_cast<std::size_t>(first - entries_.begin())), address - begin};
}

std::optional<u64> KernelSymbols::address_of(std::string_view name) const {
  if (name.find('\0') != name.npos) return std::nullopt;  // no name has one, and the comparison would end at it
  for (const Entry& entry : entries_) {
    const char* const at = names_.data() + entry.name;
    if (std::strncmp(at, name.data(), name.size()) == 0 && at[name.size()] == '\0') return entry.address;
  }
  return std::nullopt;
}

}  // namespace skep::symbols
