// Errors are values. `Result<T>` holds a T or an Error; SKEP_TRY passes an error up.
//
// An Error says what was found, what was expected and what to do. Each level that passes it on may
// add its place in front: `section .maps: map counts: map type is 0`.
#pragma once
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace skep {

/// What kind of failure it was; the sentence is in Error::message.
enum class Code {
  malformed,         ///< bytes that break their format
  not_found,         ///< a named thing does not exist
  unsupported,       ///< known, but not available here (engine, kernel, machine)
  permission,        ///< the system refused; the message names the missing capability
  rejected,          ///< a verifier said no; the message is its explanation
  invalid_argument,  ///< the caller asked for something impossible
  limit,             ///< a bound was exceeded (size, count, memory)
  io,                ///< a system call failed; os_error holds errno
  timed_out,         ///< nothing came in the given time
  closed,            ///< the other side is gone
};

/// One failure: its kind, its sentence, and errno where a system call was involved (else 0).
struct Error {
  Code code = Code::io;
  std::string message;
  int os_error = 0;

  /// The same error with the place where it happened in front: "place: message".
  [[gnu::cold]] Error within(std::string_view place) && {
    message.insert(0, ": ").insert(0, place);
    return std::move(*this);
  }
};

template <class T>
using Result = tl::expected<T, Error>;

/// `return fail(Code::malformed, "map type is 0");`
/// Cold: what leads here is laid out away from what runs, so that a start touches fewer pages.
[[nodiscard, gnu::cold]] inline tl::unexpected<Error> fail(Code code, std::string message, int os_error = 0) {
  return tl::unexpected<Error>(Error{code, std::move(message), os_error});
}

namespace detail {
template <class T>
T take(Result<T>&& result) {
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}
}  // namespace detail

}  // namespace skep

/// Evaluates to the value of a Result, or returns its Error from the enclosing function. One may stand inside another.
#define SKEP_TRY(...) SKEP_TRY_NAMED(SKEP_TRY_NAME(__COUNTER__), , __VA_ARGS__)

/// Like SKEP_TRY, and puts `place` in front of the error's message.
#define SKEP_TRY_AT(place, ...) SKEP_TRY_NAMED(SKEP_TRY_NAME(__COUNTER__), .within(place), __VA_ARGS__)

#define SKEP_TRY_NAME(number) SKEP_TRY_JOIN(skep_try_, number)
#define SKEP_TRY_JOIN(a, b) a##b
#define SKEP_TRY_NAMED(name, place, ...)                                   \
  __extension__({                                                          \
    auto name = (__VA_ARGS__);                                             \
    if (!name) [[unlikely]]                                                \
      return tl::unexpected<::skep::Error>(std::move(name).error() place); \
    ::skep::detail::take(std::move(name));                                 \
  })
