// Reading the kernel's lists of functions.
#include "kernel/functions.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <unordered_set>

#include "symbols/kernel_symbols.hpp"

namespace skep::kernel {

namespace {

constexpr std::size_t most_bytes = 64u << 20;

Result<std::string> whole(const base::Fd& fd) {
  std::string text;
  std::array<char, 65536> buffer;
  for (;;) {
    const ssize_t count = ::read(fd.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return tl::unexpected(base::os_error("available_filter_functions"));
    if (count == 0 || text.size() > most_bytes) return text;
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
}

/// Names in the order they come in, each once.
class Names {
 public:
  void add(std::string_view name) {
    if (!name.empty() && seen_.insert(std::string(name)).second) names_.emplace_back(name);
  }
  std::vector<std::string> take() { return std::move(names_); }

 private:
  std::vector<std::string> names_;
  std::unordered_set<std::string> seen_;
};

/// "tcp_v4_connect [module]" a line; a weak function that was left out has a made-up name.
void add_lines(Names& names, std::string_view text, bool modules) {
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    if (!line.starts_with("__ftrace_invalid_address__") && (modules || line.find('[') == line.npos))
      names.add(line.substr(0, line.find(' ')));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

}  // namespace

Result<std::vector<std::string>> probeable_functions(Session& session, bool modules) {
  Names names;
  if (const auto tracefs = session.tracefs())
    if (auto list = (*tracefs)->open_file("available_filter_functions", O_RDONLY)) {
      add_lines(names, SKEP_TRY(whole(*list)), modules);
      return names.take();
    }
  SKEP_TRY(symbols::each_kernel_symbol(symbols::kallsyms_path, [&](const symbols::KernelSymbol& symbol) {
    const bool is_text = symbol.type == 't' || symbol.type == 'T';
    if (is_text && (modules || symbol.module.empty())) names.add(symbol.name);
    return true;
  }));
  return names.take();
}

}  // namespace skep::kernel
