// What is gathered while a helper call's arguments are checked; shared by call.cpp and arguments.cpp.
#pragma once
#include <algorithm>

#include "catalog/map_rules.hpp"
#include "verify/checker.hpp"

namespace skep::verify {

struct Checker::CallFacts {
  const catalog::HelperRow* row = nullptr;
  const catalog::Prototype* prototype = nullptr;
  s32 map = -1;      ///< index of the map argument
  u64 size_max = 0;  ///< largest value of the first size argument
  u32 alloc_size = 0;
  u32 released = 0;  ///< reference to be released
  u32 released_reg = 0;
  bool never_null = false;  ///< the look-up finds an element for certain
  u32 timer_map = 0;        ///< map of the timer argument
  Register dynptr;          ///< the dynptr argument
  Register kptr;            ///< what kptr_xchg returns
  u32 socket_ref = 0;       ///< reference behind a socket argument
};

}  // namespace skep::verify
