// See block.hpp.
#include "kit/block.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

namespace skep::tools {
namespace {

struct Operation {
  u32 number;
  char letter;
  std::string_view name;
};
constexpr Operation operations[] = {
#define SKEP_BLOCK_OPERATION(number, letter, name) {number, letter, name},
#include "kit/block.def"
};

struct Flag {
  u32 bit;
  std::string_view name;
};
constexpr Flag flags_by_place[] = {
#define SKEP_BLOCK_FLAG(bit, name) {bit, name},
#include "kit/block.def"
};

const Operation* operation_of(u32 flags) {
  const auto* found = std::find_if(std::begin(operations), std::end(operations),
                                   [&](auto& row) { return row.number == (flags & 0xff); });
  return found == std::end(operations) ? nullptr : found;
}

}  // namespace

std::string block_flag_names(u32 flags) {
  const Operation* operation = operation_of(flags);
  std::string names(operation == nullptr ? "Unknown" : operation->name);
  for (const Flag& flag : flags_by_place)
    if ((flags >> flag.bit & 1) != 0) names = fmt::format("{}-{}", flag.name, names);
  return names;
}

char block_operation_letter(u32 flags) {
  const Operation* operation = operation_of(flags);
  return operation == nullptr ? '?' : operation->letter;
}

Result<std::array<char, 32>> wanted_disk(const std::string& name) {
  std::array<char, 32> out{};
  std::error_code error;
  if (name.empty()) return out;
  if (name.size() >= out.size() || name.find('/') != std::string::npos ||
      !std::filesystem::exists("/sys/block/" + name, error))
    return fail(Code::not_found, fmt::format("no such disk '{}': /sys/block has the names", name));
  std::copy(name.begin(), name.end(), out.begin());
  return out;
}

}  // namespace skep::tools
