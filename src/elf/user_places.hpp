// What a user probe's target names in a file: "readline", "malloc+4", "mem*", "0x98930".
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "elf/user_binary.hpp"

namespace skep::elf {

struct UserPlace {
  u64 offset = 0;  ///< in the file
  bool begins_function = false;
};

struct UserPlaces {
  std::vector<UserPlace> places;  ///< in order, each once
  std::string left_out;           ///< of a pattern: "1 of 12 places are left out: ...", or ""
};

/// Why no probe may stand at an offset, as a clause; "" where one may.
using WhyNot = std::function<std::string(u64 offset)>;

/// `text`: FUNCTION[+OFFSET], a pattern of functions' names (where no function is called so: Go has brackets in names),
/// or NUMBER[+OFFSET], an offset in the file, which is taken as it is. `at_return`: the word on top of the stack is
/// taken for the return address, so no OFFSET, and none of the code that has no caller or another one's frame: a
/// program's beginning, and what compilers put aside ("f.cold"). Of a pattern what cannot be is left out.
/// Errors: invalid_argument (the form, no code there, no instruction begins there), not_found (a clause that says what
/// may be meant), unsupported (`why_not`), and those of functions().
Result<UserPlaces> user_places(const UserBinary& binary, std::string_view text, bool at_return, const WhyNot& why_not);

}  // namespace skep::elf
