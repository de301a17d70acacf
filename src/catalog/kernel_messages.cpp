// Finding the row whose words a log line has.
#include "catalog/kernel_messages.hpp"

namespace skep::catalog {

namespace {
constexpr KernelMessageRow rows[] = {
#define SKEP_KERNEL_MESSAGE(words, id) {words, MessageId::id},
#include "catalog/kernel_messages.def"
#undef SKEP_KERNEL_MESSAGE
};

/// Piece by piece, each at its first place behind the one before; the last one at the end. That finds a fit whenever
/// there is one, without going back.
bool fits(std::string_view words, std::string_view line) {
  constexpr std::string_view any = "{}";
  std::size_t hole = words.find(any);
  if (hole == std::string_view::npos) return words == line;
  if (!line.starts_with(words.substr(0, hole))) return false;
  line.remove_prefix(hole);
  while (true) {
    words.remove_prefix(hole + any.size());
    hole = words.find(any);
    const std::string_view piece = words.substr(0, hole);
    if (hole == std::string_view::npos) return line.ends_with(piece);
    const auto at = line.find(piece);
    if (at == std::string_view::npos) return false;
    line.remove_prefix(at + piece.size());
  }
}
}  // namespace

std::span<const KernelMessageRow> kernel_messages() noexcept { return rows; }

std::optional<MessageId> message_of_kernel(std::string_view line) noexcept {
  constexpr std::size_t longest = 4096;  // the kernel's own lines are shorter
  line = line.substr(0, longest);
  while (!line.empty() && (line.back() == ' ' || line.back() == '!' || line.back() == '\r')) line.remove_suffix(1);
  for (const KernelMessageRow& row : rows)
    if (fits(row.words, line)) return row.id;
  return std::nullopt;
}

}  // namespace skep::catalog
