// The tables behind syscalls.hpp, built at compile time from syscalls.def.
#include "catalog/syscalls.hpp"

#include <algorithm>
#include <numeric>

#include "base/sort_by.hpp"

namespace skep::catalog {
namespace {

constexpr SyscallRow rows[] = {
#define SKEP_SYSCALL(name, number, i386, function, arguments) {#name, number, i386, #function, arguments},
#include "catalog/syscalls.def"
};

constexpr u32 number_of(std::string_view name) {
  for (const SyscallRow& row : rows)
    if (row.name == name) return row.number;
  return syscall_limit;  // a row that names nothing: caught by the static_assert below
}

struct I386Row {
  u32 i386;
  u32 number;
  std::string_view layout;
};
constexpr I386Row i386_rows[] = {
#define SKEP_SYSCALL_I386(i386_name, i386, name, layout) {i386, number_of(#name), layout},
#include "catalog/syscalls.def"
};

struct SocketcallRow {
  u32 call;
  u32 number;
  u32 arguments;
};
constexpr SocketcallRow socketcall_rows[] = {
#define SKEP_SYSCALL_SOCKETCALL(name, call, arguments) {call, number_of(#name), arguments},
#include "catalog/syscalls.def"
};

constexpr NumberPair x32_rows[] = {
#define SKEP_SYSCALL_X32(name, number) {number, number_of(#name)},
#include "catalog/syscalls.def"
};

constexpr bool sound() {
  for (u32 i = 0; i < std::size(rows); ++i) {
    if (rows[i].number >= syscall_limit || rows[i].arguments > 6) return false;
    if (i > 0 && rows[i - 1].number >= rows[i].number) return false;
  }
  for (const auto& row : i386_rows)
    if (row.number >= syscall_limit || row.i386 >= syscall_limit) return false;
  for (const auto& row : socketcall_rows)
    if (row.number >= syscall_limit) return false;
  for (const auto& row : x32_rows)
    if (row.x86_64 >= syscall_limit) return false;
  return true;
}
static_assert(sound(), "syscalls.def: rows sorted by number, aliases naming a row");

struct Tables {
  std::array<s16, syscall_limit> row{};
  std::array<s16, syscall_limit> i386{};
  std::array<s8, syscall_limit> layout{};  // index into i386_rows, or -1: in order
  std::array<s16, 64> x32{};               // from 512
};

constexpr Tables make_tables() {
  Tables tables;
  tables.row.fill(-1);
  tables.i386.fill(-1);
  tables.layout.fill(-1);
  tables.x32.fill(-1);
  for (u32 i = 0; i < std::size(rows); ++i) {
    tables.row[rows[i].number] = static_cast<s16>(i);
    if (rows[i].i386 >= 0) tables.i386[static_cast<u32>(rows[i].i386)] = static_cast<s16>(rows[i].number);
  }
  for (u32 i = 0; i < std::size(i386_rows); ++i) {
    tables.i386[i386_rows[i].i386] = static_cast<s16>(i386_rows[i].number);
    tables.layout[i386_rows[i].i386] = static_cast<s8>(i);
  }
  for (const auto& pair : x32_rows) tables.x32[pair.own - 512] = static_cast<s16>(pair.x86_64);
  return tables;
}
constexpr Tables tables = make_tables();

/// Levenshtein distance, for names of a few dozen characters.
u32 distance(std::string_view a, std::string_view b) {
  std::vector<u32> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0u);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    u32 diagonal = row[0];
    row[0] = static_cast<u32>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const u32 above = row[j];
      row[j] = std::min({row[j - 1] + 1, above + 1, diagonal + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      diagonal = above;
    }
  }
  return row.back();
}

}  // namespace

std::string_view name_of(Abi abi) noexcept {
  switch (abi) {
    case Abi::x86_64:
      return "x86-64";
    case Abi::i386:
      return "i386";
    case Abi::x32:
      return "x32";
  }
  return "";
}

const SyscallRow* syscall_row(u32 number) noexcept {
  if (number >= syscall_limit || tables.row[number] < 0) return nullptr;
  return &rows[tables.row[number]];
}

const SyscallRow* syscall_by_function(std::string_view function) noexcept {
  for (const SyscallRow& row : rows)
    if (row.function == function) return &row;
  return nullptr;
}

const SyscallRow* syscall_by_name(std::string_view name) noexcept {
  for (const SyscallRow& row : rows)
    if (row.name == name) return &row;
  return nullptr;
}

std::string_view syscall_of_function(std::string_view function) noexcept {
  for (const std::string_view prefix : {"__x64_sys_", "__arm64_sys_"})
    if (function.starts_with(prefix)) return function.substr(prefix.size());
  return {};
}

std::vector<std::string_view> nearest_syscalls(std::string_view name) {
  name = name.substr(0, 64);
  std::vector<std::pair<u32, std::string_view>> found;
  for (const SyscallRow& row : rows) {
    const u32 by_name = row.name == name ? 0 : distance(name, row.name);
    const u32 best = std::min(by_name, distance(name, row.function));
    if (best <= std::max<std::size_t>(2, name.size() / 3)) found.emplace_back(best, row.function);
  }
  base::sort_by(found, [](const auto& one) { return one.first; });
  std::vector<std::string_view> names;
  for (const auto& [score, function] : found) {
    if (names.size() == 3 || (score > 0 && found.front().first == 0)) break;
    names.push_back(function);
  }
  return names;
}

s32 x86_64_number(Abi abi, u32 number) noexcept {
  if (abi == Abi::x32) number &= ~x32_bit;
  if (abi == Abi::x32 && number >= 512) return number - 512 < tables.x32.size() ? tables.x32[number - 512] : -1;
  if (number >= syscall_limit) return -1;
  if (abi == Abi::i386) return tables.i386[number];
  return static_cast<s32>(number);
}

std::array<u64, 6> x86_64_arguments(u32 i386_number, const std::array<u64, 6>& arguments) noexcept {
  if (i386_number >= syscall_limit || tables.layout[i386_number] < 0) return arguments;
  std::array<u64, 6> out{};
  const std::string_view layout = i386_rows[tables.layout[i386_number]].layout;
  std::size_t to = 0;
  for (std::size_t i = 0; i < layout.size() && to < out.size(); ++i) {
    if (layout[i] == '(') {  // "(12)"
      const u64 low = static_cast<u32>(arguments[static_cast<std::size_t>(layout[i + 1] - '0')]);
      const u64 high = static_cast<u32>(arguments[static_cast<std::size_t>(layout[i + 2] - '0')]);
      out[to++] = high << 32 | low;
      i += 3;
    } else if (layout[i] == 'p') {
      out[to++] = arguments[5] << 12;
    } else {
      out[to++] = arguments[static_cast<std::size_t>(layout[i] - '0')];
    }
  }
  return out;
}

Socketcall x86_64_of_socketcall(u32 call) noexcept {
  for (const auto& row : socketcall_rows)
    if (row.call == call) return {static_cast<s32>(row.number), row.arguments};
  return {-1, 0};
}

std::vector<NumberPair> i386_numbers() {
  std::vector<NumberPair> pairs;
  for (u32 own = 0; own < syscall_limit; ++own)
    if (tables.i386[own] >= 0) pairs.push_back({own, static_cast<u32>(tables.i386[own])});
  return pairs;
}

std::vector<NumberPair> x32_numbers() {
  std::vector<NumberPair> pairs;
  for (const SyscallRow& row : rows) pairs.push_back({row.number, row.number});
  for (const auto& pair : x32_rows) pairs.push_back(pair);
  return pairs;
}

std::vector<NumberPair> socketcall_numbers() {
  std::vector<NumberPair> pairs;
  for (const auto& row : socketcall_rows) pairs.push_back({row.call, row.number});
  return pairs;
}

}  // namespace skep::catalog
