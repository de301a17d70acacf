// The message table.
#include "catalog/messages.hpp"

#include <iterator>

namespace skep::catalog {
namespace {
constexpr MessageRow rows[] = {
#define SKEP_MESSAGE(number, id, family, reason, advice) {MessageId::id, number, Family::family, #id, reason, advice},
#include "catalog/messages.def"
#undef SKEP_MESSAGE
};

constexpr bool numbers_are_unique() {
  for (const MessageRow& a : rows)
    for (const MessageRow& b : rows)
      if (a.number == 0 || a.number > 999 || (a.id != b.id && a.number == b.number)) return false;
  return true;
}
static_assert(numbers_are_unique(), "messages.def: a number stands for one message, and has three digits");

constexpr std::string_view family_names[] = {
#define SKEP_FAMILY(name, title) #name,
#include "catalog/message_families.def"
#undef SKEP_FAMILY
};
constexpr std::string_view family_titles[] = {
#define SKEP_FAMILY(name, title) title,
#include "catalog/message_families.def"
#undef SKEP_FAMILY
};
}  // namespace

std::string_view name_of(Family family) noexcept { return family_names[static_cast<u8>(family)]; }
std::string_view title_of(Family family) noexcept { return family_titles[static_cast<u8>(family)]; }

bool has_family(u8 number) noexcept { return number < std::size(family_names); }

std::span<const MessageRow> messages() noexcept { return rows; }
const MessageRow* message(std::string_view name) noexcept {
  for (const MessageRow& row : rows)
    if (row.name == name) return &row;
  return nullptr;
}
const MessageRow& message(MessageId id) noexcept { return rows[static_cast<u16>(id)]; }

}  // namespace skep::catalog
