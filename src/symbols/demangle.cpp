// Demangling, within bounds. See demangle.hpp.
#include "symbols/demangle.hpp"

#include <cxxabi.h>
#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <skep/types.hpp>

#include "symbols/rust_v0.hpp"

namespace skep::symbols {

namespace {

constexpr std::size_t longest_mangled = 4096, longest_name = 8192;
constexpr double most_text = 4u << 20;

/// "T0_", "OT_", "RKT1_": the pattern of std::forward, std::invoke, std::construct_at.
bool is_one_reference(std::string_view pattern) {
  pattern.remove_prefix(std::min(pattern.find_first_not_of("ORPVK"), pattern.size()));
  if (!pattern.starts_with('T')) return false;
  const auto end = pattern.find_first_not_of("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", 1);
  return end != pattern.npos && pattern[end] == '_';
}

/// A bound of the text that a mangled name can stand for. What makes text grow beyond a factor are references to
/// earlier parts (S_, S0_, T_, T0_, ...), which may hold references themselves, and packs (Dp, sp), which repeat their
/// pattern. Of k references, d levels of k/d each give (k/d)^d copies, at most e^(k/e); a pack has no more elements
/// than the name has characters, and where its pattern is one reference to it, all of them are written once, each with
/// a few characters around it. Counted anywhere in the name, also inside of identifiers: too many rather than too few.
/// Of 59,000 names in libstdc++, libLLVM and skep, 34 are above the limit.
double text_bound(std::string_view name) {
  constexpr double of_a_reference = 1.444667861009766;  // e^(1/e)
  constexpr double around_an_element = 4;               // "int" becomes "int const&, "
  const auto length = static_cast<double>(name.size());
  double bound = length;
  for (std::size_t i = 0; i + 1 < name.size() && bound <= most_text; ++i) {
    if (name.substr(i, 2) == "Dp" || name.substr(i, 2) == "sp")
      bound *= is_one_reference(name.substr(i + 2)) ? around_an_element : length;
    if (name[i] != 'S' && name[i] != 'T') continue;
    std::size_t end = i + 1;
    while (end < name.size() && ((name[end] >= '0' && name[end] <= '9') || (name[end] >= 'A' && name[end] <= 'Z')))
      ++end;
    if (end < name.size() && name[end] == '_') bound *= of_a_reference;
  }
  return bound;
}

/// "::h" and sixteen hex digits, which Rust's first scheme puts behind every name.
bool has_rust_hash(std::string_view name) {
  constexpr std::size_t digits = 16;
  if (name.size() <= digits + 3 || name.substr(name.size() - digits - 3, 3) != "::h") return false;
  return name.substr(name.size() - digits).find_first_not_of("0123456789abcdef") == name.npos;
}

struct Escape {
  std::string_view code, text;
};
constexpr Escape rust_escapes[] = {{"$SP$", "@"}, {"$BP$", "*"}, {"$RF$", "&"}, {"$LT$", "<"},
                                   {"$GT$", ">"}, {"$LP$", "("}, {"$RP$", ")"}, {"$C$", ","}};

/// "$u3d$" is '='. The length of the escape at the beginning, 0 where there is none.
std::size_t take_number_escape(std::string_view text, char& c) {
  u32 value = 0;
  const auto [end, error] = text.starts_with("$u")
                                ? std::from_chars(text.data() + 2, text.data() + text.size(), value, 16)
                                : std::from_chars_result{nullptr, std::errc::invalid_argument};
  if (error != std::errc() || end == text.data() + text.size() || *end != '$' || value < 0x20 || value >= 0x7f)
    return 0;
  c = static_cast<char>(value);
  return static_cast<std::size_t>(end - text.data()) + 1;
}

std::string rust_name(std::string_view name) {
  name.remove_suffix(19);  // the hash
  std::string text;
  for (std::size_t i = 0; i < name.size();) {
    const std::string_view rest = name.substr(i);
    const Escape* found = nullptr;
    char c = 0;
    for (const Escape& escape : rust_escapes)
      if (rest.starts_with(escape.code)) found = &escape;
    if (found != nullptr) {
      text += found->text;
      i += found->code.size();
    } else if (const std::size_t length = take_number_escape(rest, c); length != 0) {
      text += c;
      i += length;
    } else if (rest.starts_with("..")) {
      text += "::";
      i += 2;
    } else if (rest.starts_with("_$") && (i == 0 || name.substr(i - 1, 1) == ":")) {
      ++i;  // an underscore in front of an escape at the beginning of a part
    } else {
      text += name[i++];
    }
  }
  return text;
}

}  // namespace

std::string demangle(std::string_view name) {
  if (name.size() > longest_mangled) return std::string(name);
  const std::string mangled(name);
  if (name.starts_with("_R")) return rust_v0_name(name, longest_name).value_or(mangled);
  if (!name.starts_with("_Z")) return mangled;
  if (text_bound(name) > most_text) return mangled;
  const std::unique_ptr<char, decltype(&std::free)> found(
      abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, nullptr), &std::free);
  if (!found) return mangled;
  const std::string_view text(found.get());
  if (text.size() > longest_name) return mangled;
  return has_rust_hash(text) ? rust_name(text) : std::string(text);
}

}  // namespace skep::symbols
