// Linux's own words for a refusal, as messages of ours: kernel_messages.def.
#pragma once
#include <optional>
#include <span>
#include <string_view>

#include "catalog/messages.hpp"

namespace skep::catalog {

struct KernelMessageRow {
  std::string_view words;  ///< {} stands for any text
  MessageId id;
};

std::span<const KernelMessageRow> kernel_messages() noexcept;

/// The message that says what this line of a verifier log says. None where no row fits.
/// Takes time in proportion to the line's length times the number of rows.
std::optional<MessageId> message_of_kernel(std::string_view line) noexcept;

}  // namespace skep::catalog
