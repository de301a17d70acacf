// The last error of each thread, and what C is told of the library itself.
#include <fmt/format.h>

#include <new>

#include "capi/state.hpp"

namespace skep::capi {
namespace {

struct LastError {
  int code = SKEP_OK;
  int number = 0;
  std::string message;
  const char* short_message = "";  ///< where there is no memory for another
};
thread_local LastError last;

static_assert(SKEP_MALFORMED == static_cast<int>(Code::malformed) + 1 &&
              SKEP_CLOSED == static_cast<int>(Code::closed) + 1);

}  // namespace

int refuse(const Error& error) noexcept {
  last.code = static_cast<int>(error.code) + 1;
  last.number = error.os_error;
  try {
    last.message = error.message;
    last.short_message = nullptr;
  } catch (...) {
    last.short_message = "out of memory";
  }
  return -1;
}

void forget_error() noexcept {
  last.code = SKEP_OK;
  last.number = 0;
  last.short_message = "";
}

int refuse_exception() noexcept {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    last.code = SKEP_LIMIT;
    last.short_message = "out of memory";
    return -1;
  } catch (const std::exception& failure) {
    return refuse({Code::io, failure.what(), 0});
  } catch (...) {
    return refuse({Code::io, "an unknown failure", 0});
  }
}

tl::unexpected<Error> is_null(const char* what) {
  return fail(Code::invalid_argument, fmt::format("{} is NULL", what));
}

}  // namespace skep::capi

using skep::capi::last;

uint32_t skep_abi_version(void) { return SKEP_ABI_VERSION; }
const char* skep_version(void) { return SKEP_VERSION; }
int32_t skep_error_code(void) { return last.code; }
const char* skep_error_message(void) {
  return last.short_message != nullptr ? last.short_message : last.message.c_str();
}
int32_t skep_error_number(void) { return last.number; }
