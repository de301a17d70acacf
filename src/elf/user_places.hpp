// What a user probe's target names in a file: "readline", "malloc+4", "mem*", "0x98930".
#pragma once
#include <string_view>
#include <vector>

#include "elf/user_binary.hpp"

namespace skep::elf {

struct UserPlace {
  u64 offset = 0;  ///< in the file
  bool begins_function = false;
};

/// `text`: FUNCTION[+OFFSET], a pattern of functions' names, or a number, which is an offset in the file and taken as
/// it is. `at_return`: no OFFSET, since a return probe takes the word on top of the stack for the return address, which
/// it is at a function's first instruction. In order, each place once. Errors: invalid_argument (the form, no code
/// there, no instruction begins there), not_found (a clause that says what may be meant), and those of functions().
Result<std::vector<UserPlace>> user_places(const UserBinary& binary, std::string_view text, bool at_return);

}  // namespace skep::elf
