// The message table.
#include "catalog/messages.hpp"

namespace skep::catalog {
namespace {
constexpr MessageRow rows[] = {
#define SKEP_MESSAGE(id, reason, advice) {MessageId::id, #id, reason, advice},
#include "catalog/messages.def"
#undef SKEP_MESSAGE
};
}  // namespace

std::span<const MessageRow> messages() noexcept { return rows; }
const MessageRow& message(MessageId id) noexcept { return rows[static_cast<u16>(id)]; }

}  // namespace skep::catalog
