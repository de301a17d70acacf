// How names are shortened, compared and suggested. See names.hpp.
#include "backend/names.hpp"

#include <algorithm>

#include "base/nearest.hpp"

namespace skep::backend {

namespace {

bool permitted(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
}

}  // namespace

std::string stored_name(std::string_view name) {
  std::string stored(name.substr(0, max_name_bytes));
  std::replace_if(stored.begin(), stored.end(), [](char c) { return !permitted(c); }, '_');
  return stored;
}

std::string stored_map_name(std::string_view object, const MapSpec& map) {
  if (!map.is_global_data || map.name.empty() || map.name[0] != '.') return stored_name(map.name);
  // libbpf keeps room for at least ".rodata" (7), so that .bss and .data of one object share their prefix.
  const std::size_t suffix_bytes = std::min(std::max<std::size_t>(7, map.name.size()), max_name_bytes);
  const std::string prefix(object.substr(0, max_name_bytes - suffix_bytes));
  return stored_name(prefix + map.name);
}

bool means(std::string_view wanted, std::string_view stored) {
  return wanted == stored || (wanted.size() > max_name_bytes && stored_name(wanted) == stored);
}

Error no_such(std::string_view owner, std::string_view kind, std::string_view wanted,
              std::span<const std::string_view> candidates) {
  constexpr std::size_t most_listed = 20;
  std::string message(owner);
  message.append(" has no ").append(kind).append(" \"").append(wanted).append("\"");
  if (candidates.empty()) {
    message.append("; it has no ").append(kind).append("s at all");
    return Error{Code::not_found, std::move(message)};
  }
  if (const auto near = base::nearest(wanted, candidates); !near.empty())
    message.append("; did you mean \"").append(near).append("\"?");
  else
    message.append(".");
  message.append(" It has: ");
  for (std::size_t i = 0; i < candidates.size() && i < most_listed; ++i) {
    if (i != 0) message.append(", ");
    message.append(candidates[i]);
  }
  if (candidates.size() > most_listed)
    message.append(" and ").append(std::to_string(candidates.size() - most_listed)).append(" more");
  return Error{Code::not_found, std::move(message)};
}

std::string_view attach_type_name(AttachType type) noexcept {
  switch (type) {
#define SKEP_ATTACH_TYPE(name, number) \
  case AttachType::name:               \
    return #name;
#include <skep/tables/attach_types.def>
#undef SKEP_ATTACH_TYPE
    case AttachType::none:
      break;
  }
  return "unknown";
}

Result<void> check_given(const MapSpec& wanted, const MapInfo& map) {
  const auto differs = [&](std::string_view what, std::string found, std::string expected) {
    return fail(Code::invalid_argument, "the map \"" + map.name + "\" that was given for it has " + std::string(what) +
                                            " " + found + ", expected " + expected);
  };
  if (map.type != wanted.type)
    return differs("type", std::string(name_of(map.type)), std::string(name_of(wanted.type)));
  if (wanted.key_size != 0 && map.key_size != wanted.key_size)
    return differs("keys of", std::to_string(map.key_size), std::to_string(wanted.key_size) + " bytes");
  if (wanted.value_size != 0 && map.value_size != wanted.value_size)
    return differs("values of", std::to_string(map.value_size), std::to_string(wanted.value_size) + " bytes");
  return {};
}

}  // namespace skep::backend
