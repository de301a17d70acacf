// What the linker of programs and the bodies of helpers agree on besides base/run.hpp.
#pragma once
#include <memory>
#include <skep/types.hpp>

namespace skep::base {

/// Who keeps the code behind a Callback alive: its `code` points to one of these. Whoever keeps a callback beyond the
/// run that gave it (a timer) holds the owner: the loaded object that the program is part of. It is weak here, because
/// that object holds the code.
struct CodeOwner {
  std::weak_ptr<const void> owner;
};

/// What a kernel function is told besides the program's arguments: a register that is filled before the call.
struct HiddenArgument {
  u8 reg = 0;  ///< 1 to 5; 0: nothing
  u64 value = 0;
};

}  // namespace skep::base
