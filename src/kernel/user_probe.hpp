// User probes of one file: where in it, and what they do there.
#pragma once
#include <string>
#include <vector>

#include "elf/user_binary.hpp"
#include "kernel/attach.hpp"

namespace skep::kernel {

struct UserProbe {
  u64 offset = 0;  ///< bytes into the file
  u64 cookie = 0;
  u64 semaphore_offset = 0;  ///< bytes into the file of the counter to raise while attached; 0: none
};

struct UserProbes {
  std::string path;
  std::vector<UserProbe> places;
  bool at_return = false;
  std::string note;  ///< a line for the user: what is left out
};

/// Why the kernel should not set a probe at an offset of a file (step_over.hpp), as a clause; "" where it may.
std::string why_no_user_probe(const elf::UserBinary& binary, u64 offset);

/// Attaches the request's program to all of them: by one link where it was loaded for that, else by an event each. With
/// `request.hook.pid`, in that process only.
Result<void> set_user_probes(const AttachRequest& request, const UserProbes& probes, Attachment& attachment);

}  // namespace skep::kernel
