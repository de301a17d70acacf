// Every reason the verifier can refuse a program for, with what to do about it: messages.def.
//
// The id is stable: tools and documentation refer to it. `reason` is a format with the numbers the verifier
// found; `advice` is one or two sentences a C programmer can act on.
#pragma once
#include <skep/types.hpp>
#include <span>
#include <string_view>

namespace skep::catalog {

enum class MessageId : u16 {
#define SKEP_MESSAGE(id, reason, advice) id,
#include "catalog/messages.def"
#undef SKEP_MESSAGE
};

struct MessageRow {
  MessageId id;
  std::string_view name;
  std::string_view reason;  ///< {fmt} template
  std::string_view advice;
};

std::span<const MessageRow> messages() noexcept;
const MessageRow& message(MessageId id) noexcept;

}  // namespace skep::catalog
