// What /proc tells of a process: for columns that the program could not fill.
#pragma once
#include <skep/types.hpp>
#include <string>
#include <string_view>

namespace skep::tools {

/// The name of a process, or "" when it is gone.
std::string comm_of(u32 pid);
/// The name of an error number, "ENOENT"; the number as text where it has none.
std::string error_name(int number);
/// The name of a signal, "SIGTERM"; the number as text where it has none.
std::string signal_name(int number);
/// The number of a signal given as 9, KILL or SIGKILL; 0: there is none.
int signal_number(const std::string& text);
/// The number of an error given as 2 or ENOENT; 0: there is none.
int error_number(const std::string& text);

}  // namespace skep::tools
