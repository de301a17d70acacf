// One user probe: a file, an offset in it, and what it does there.
#pragma once
#include <string>

#include "kernel/attach.hpp"

namespace skep::kernel {

struct UserProbe {
  std::string path;
  u64 offset = 0;            ///< bytes into the file
  u64 semaphore_offset = 0;  ///< bytes into the file of the counter to raise while attached; 0: none
  bool at_return = false;
  u64 cookie = 0;
};

/// Opens the event of a probe and attaches the request's program. With `request.hook.pid`, in that process only.
Result<void> set_user_probe(const AttachRequest& request, const UserProbe& probe, Attachment& attachment);

}  // namespace skep::kernel
