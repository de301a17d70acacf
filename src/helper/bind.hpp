// From a C++ function to a row of the helper table, checked when it is compiled.
//
//   s64 ringbuf_output(Map& ring, ReadMem data, u64 flags) noexcept { ... }
//   SKEP_BIND(ringbuf_output)
//
// Parameters speak the verifier's language: it has proved that a Map& is a map, that a MapKey has the map's key
// size, that a ReadMem's bytes may be read. A function that needs to know about the run takes Call& first.
// SKEP_BIND compares the parameters with the C declaration in catalog/helpers.def: how many there are, and which are
// pointers and which are numbers. Errors of this comparison say "does not match its row".
#pragma once
#include <array>
#include <cstring>
#include <string_view>
#include <type_traits>
#include <utility>

#include "helper/call.hpp"
#include "map/map.hpp"

namespace skep::helper {

using map::Map;

/// Bytes that the program may read: a pointer argument followed by its size.
struct ReadMem {
  const std::byte* data;
  u64 size;
};
/// Bytes that the program lets the helper write: a pointer argument followed by its size.
struct WriteMem {
  std::byte* data;
  u64 size;
};
/// A key or a value of the map in the same call, of that map's size.
struct MapKey {
  const void* data;
};
struct MapValue {
  void* data;
};

namespace detail {

/// Parameters of a C declaration: 'p' for a pointer, 'n' for a number, "*" at the end for "...".
struct Shape {
  char kinds[6] = {};
  int count = 0;
  bool variadic = false;
};

constexpr Shape shape_of(std::string_view params) {
  Shape shape;
  if (params == "void") return shape;
  while (!params.empty() && shape.count < 5) {
    const auto comma = params.find(',');
    const auto param = params.substr(0, comma);
    if (param.find("...") != std::string_view::npos) {
      shape.variadic = true;
      break;
    }
    shape.kinds[shape.count++] = param.find('*') != std::string_view::npos ? 'p' : 'n';
    if (comma == std::string_view::npos) break;
    params.remove_prefix(comma + 1);
  }
  return shape;
}

/// How a parameter type is made of argument words.
template <class T>
struct Arg;
template <class T>
  requires std::is_integral_v<T>
struct Arg<T> {
  static constexpr std::string_view kinds = "n";
  static T from(const u64* words) noexcept { return static_cast<T>(words[0]); }
};
template <class T>
struct Arg<T*> {
  static constexpr std::string_view kinds = "p";
  static T* from(const u64* words) noexcept { return reinterpret_cast<T*>(words[0]); }  // NOLINT
};
template <>
struct Arg<Map&> {
  static constexpr std::string_view kinds = "p";
  static Map& from(const u64* words) noexcept { return *reinterpret_cast<Map*>(words[0]); }  // NOLINT
};
template <>
struct Arg<MapKey> {
  static constexpr std::string_view kinds = "p";
  static MapKey from(const u64* words) noexcept { return {Arg<const void*>::from(words)}; }
};
template <>
struct Arg<MapValue> {
  static constexpr std::string_view kinds = "p";
  static MapValue from(const u64* words) noexcept { return {Arg<void*>::from(words)}; }
};
template <>
struct Arg<ReadMem> {
  static constexpr std::string_view kinds = "pn";
  static ReadMem from(const u64* words) noexcept { return {Arg<const std::byte*>::from(words), words[1]}; }
};
template <>
struct Arg<WriteMem> {
  static constexpr std::string_view kinds = "pn";
  static WriteMem from(const u64* words) noexcept { return {Arg<std::byte*>::from(words), words[1]}; }
};

template <class R>
u64 word_of(R result) noexcept {
  if constexpr (std::is_pointer_v<R>)
    return reinterpret_cast<u64>(result);
  else
    return static_cast<u64>(result);
}

template <class R, bool takes_call, class... Args>
struct Binding {
  /// Which argument word each parameter begins at.
  static constexpr std::array<std::size_t, sizeof...(Args) + 1> offsets = [] {
    std::array<std::size_t, sizeof...(Args) + 1> at{};
    std::size_t next = 0, index = 0;
    ((at[index++] = next, next += Arg<Args>::kinds.size()), ...);
    at[index] = next;
    return at;
  }();

  static constexpr bool matches(std::string_view params) {
    const Shape row = shape_of(params);
    std::array<char, 16> ours{};
    std::size_t count = 0;
    ((ours[count] = Arg<Args>::kinds[0], Arg<Args>::kinds.size() == 2 ? ours[count + 1] = Arg<Args>::kinds[1] : 0,
      count += Arg<Args>::kinds.size()),
     ...);
    if (count > 5 ||
        (row.variadic ? count < static_cast<std::size_t>(row.count) : count != static_cast<std::size_t>(row.count)))
      return false;
    for (int i = 0; i < row.count; ++i)
      if (ours[static_cast<std::size_t>(i)] != row.kinds[i]) return false;
    return true;
  }

  template <auto function>
  static u64 call(void* context, const u64* words) noexcept {
    return call<function>(context, words, std::index_sequence_for<Args...>());
  }
  template <auto function, std::size_t... index>
  static u64 call(void* context, [[maybe_unused]] const u64* words, std::index_sequence<index...>) noexcept {
    const auto invoke = [&]() noexcept -> R {
      if constexpr (takes_call)
        return function(*static_cast<Call*>(static_cast<base::Run*>(context)),
                        Arg<Args>::from(words + offsets[index])...);
      else
        return function(Arg<Args>::from(words + offsets[index])...);
    };
    if constexpr (std::is_void_v<R>) {
      invoke();
      return 0;
    } else {
      return word_of(invoke());
    }
  }
};

template <class R, class... Args>
Binding<R, true, Args...> binding_of(R (*)(Call&, Args...) noexcept);
template <class R, class... Args>
Binding<R, false, Args...> binding_of(R (*)(Args...) noexcept);

/// The C declarations of the catalog, to compare with.
constexpr std::string_view params_of(std::string_view wanted) {
#define SKEP_HELPER(name, id, result, params) \
  if (wanted == #name) return params;
#include "catalog/helpers.def"
#undef SKEP_HELPER
  return "no such row, so nothing matches, ever, at, all";
}

}  // namespace detail

/// What SKEP_BIND defines and table.cpp lists.
namespace bound {
#define SKEP_PROVIDED(name) u64 name(void*, u64, u64, u64, u64, u64) noexcept;
#include "helper/provided.def"
#undef SKEP_PROVIDED
}  // namespace bound

}  // namespace skep::helper

/// Makes skep::helper::<name> the body of the helper of that name. In namespace skep::helper, outside of others.
#define SKEP_BIND(name)                                                                                             \
  static_assert(                                                                                                    \
      decltype(::skep::helper::detail::binding_of(&name))::matches(::skep::helper::detail::params_of(#name)),       \
      "helper " #name " does not match its row in catalog/helpers.def");                                            \
  u64 bound::name(void* call, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5) noexcept {                                    \
    const u64 words[] = {a1, a2, a3, a4, a5};                                                                       \
    return decltype(::skep::helper::detail::binding_of(&::skep::helper::name))::call<&::skep::helper::name>(call,   \
                                                                                                            words); \
  }
