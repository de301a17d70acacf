// How names are shortened, compared and suggested. See names.hpp.
//
// The suggestion is the candidate with the smallest Levenshtein distance, as long as at most a third of the
// letters differ; a case slip ("Hello" for "hello") costs one like any other.
#include "backend/names.hpp"

#include <algorithm>
#include <vector>

namespace skep::backend {

namespace {

bool permitted(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
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

std::string_view nearest(std::string_view wanted, std::span<const std::string_view> candidates) {
  constexpr std::size_t longest_compared = 128;  // bounds the work for hostile names
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(1, std::min(wanted.size(), longest_compared) / 3) + 1;
  for (std::string_view candidate : candidates) {
    const std::size_t distance =
        edit_distance(wanted.substr(0, longest_compared), candidate.substr(0, longest_compared));
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
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
  if (const auto near = nearest(wanted, candidates); !near.empty())
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
