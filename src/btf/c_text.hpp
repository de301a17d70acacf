// C spelling of types: names, declarators, bodies of records and enumerations. Private to this room.
//
// A CText remembers the names it handed out, so that a name that occurs twice gets a suffix the second time, and every
// later use of either type says the right one.
#pragma once
#include <functional>
#include <string>
#include <unordered_map>

#include "btf/btf.hpp"

namespace skep::btf {

/// "struct", "union" or "enum".
std::string_view tag_word(const Type& t);
/// The name with everything that C does not allow in one replaced by '_'.
std::string identifier(std::string_view name);
/// Whether C knows an integer or floating-point type by this name.
bool is_builtin_name(std::string_view name);
tl::unexpected<Error> too_deep(u32 id);

inline constexpr u32 deepest_c_nesting = 200;
inline constexpr std::size_t largest_c_output = 256u << 20;

class CText {
 public:
  explicit CText(const Btf& btf, std::function<std::string_view(const Type&)> attribute = {})
      : btf_(btf), attribute_(std::move(attribute)) {}

  /// What a record's definition has behind its first word.
  std::string_view attribute_of(const Type& t) const { return attribute_ ? attribute_(t) : std::string_view(); }

  /// The name to print: identifiers only, with a suffix where it was taken before.
  const std::string& name_for(const Type& t);
  /// The declaration of `inner` as a value of type `id`.
  Result<std::string> declare(u32 id, std::string inner, u32 depth, u32 indent);
  /// From '{' to '}', with attributes.
  Result<std::string> record_body(const Type& t, u32 depth, u32 indent);
  std::string enum_body(const Type& t, u32 indent);

 private:
  Result<std::string> body(const Type& t, u32 depth, u32 indent);
  Result<std::string> base_text(const Type& t, u32 depth, u32 indent);
  Result<std::string> parameters(const Type& proto, u32 depth, u32 indent);
  void pad(std::string& out, u64 from, u64 to, u32 indent, std::string_view owner) const;
  std::string unique(std::unordered_map<std::string, u32>& taken, std::string_view name);
  Result<void> room(std::size_t size) const;

  const Btf& btf_;
  std::function<std::string_view(const Type&)> attribute_;
  std::unordered_map<u32, std::string> names_;
  std::unordered_map<std::string, u32> tags_, identifiers_;
};

}  // namespace skep::btf
