// Every reason the verifier can refuse a program for, with what to do about it: messages.def.
//
// Number and id are stable: tools and documentation refer to them. `reason` is a format with the numbers the verifier
// found; `advice` is one or two sentences a C programmer can act on.
#pragma once
#include <skep/types.hpp>
#include <span>
#include <string_view>

namespace skep::catalog {

enum class MessageId : u16 {
#define SKEP_MESSAGE(number, id, family, reason, advice) id,
#include "catalog/messages.def"
#undef SKEP_MESSAGE
};

/// What kind of mistake a message is about: message_families.def.
enum class Family : u8 {
#define SKEP_FAMILY(name, title) name,
#include "catalog/message_families.def"
#undef SKEP_FAMILY
};
std::string_view name_of(Family family) noexcept;
std::string_view title_of(Family family) noexcept;
/// Whether a family has this number: they are counted from 0 on.
bool has_family(u8 number) noexcept;

struct MessageRow {
  MessageId id;
  u16 number;  ///< 17, printed as V017: the page docs/reference/errors/V017.md
  Family family;
  std::string_view name;
  std::string_view reason;  ///< {fmt} template
  std::string_view advice;
};

std::span<const MessageRow> messages() noexcept;
const MessageRow& message(MessageId id) noexcept;
/// By its name; null when there is none.
const MessageRow* message(std::string_view name) noexcept;

}  // namespace skep::catalog
