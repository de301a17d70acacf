// The running kernel's verdict on the programs of an object, and what its verifier says of its own work.
//
// For tests, measurements and `skep verify --compare-kernel`: a program is loaded as it is, by the hook of its section,
// and let go again. Nothing is attached, carried to another hook, pinned or filled; a map is made when the first
// program refers to it, so that one which cannot be made takes no other program's verdict away.
#pragma once
#include <memory>
#include <optional>
#include <skep/spec.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "kernel/annotations.hpp"
#include "kernel/kernel_types.hpp"
#include "kernel/map_handle.hpp"

namespace skep::kernel {

struct KernelVerdict {
  enum class Kind : u8 {
    accepted,
    refused,  ///< by its verifier
    denied,   ///< before it was looked at: programs of this type are not loaded here, which says nothing of this one
    lacking,  ///< this kernel lacks what the program needs: a hook, a function, a map
  };
  Kind kind = Kind::lacking;
  std::string reason;  ///< the last line of the kernel's log, or why it did not judge
  u64 insns = 0, states = 0, peak_states = 0;
  double time_us = 0;  ///< its own "verification time", whole microseconds

  bool is_judged() const { return kind == Kind::accepted || kind == Kind::refused; }
  bool is_accepted() const { return kind == Kind::accepted; }
};

class Judge {
 public:
  /// `object` is closed (kernel::close_program, resolve_kconfig); it and `types` outlive this. Errors: permission or
  /// unsupported, where this process may not load programs at all.
  static Result<Judge> open(const ObjectSpec& object, KernelTypes& types);
  /// Of one of the object's programs. May be asked again.
  KernelVerdict judge(const ProgramSpec& program);

 private:
  struct Made {
    bool tried = false;
    std::shared_ptr<KernelMap> map;
    std::string why_not;
  };
  Judge(const ObjectSpec& object, KernelTypes& types) : object_(&object), types_(&types) {}
  Result<void> make_maps(const ProgramSpec& program);
  Result<KernelVerdict> load(const ProgramSpec& program);

  const ObjectSpec* object_;
  KernelTypes* types_;
  base::Fd btf_;
  std::string no_types_;                  ///< why the kernel did not take the object's types, or ""
  std::vector<Annotations> annotations_;  ///< by the program's place in the object
  std::vector<std::shared_ptr<KernelMap>> maps_;
  std::vector<Made> made_;
};

/// Whether this process may load programs: the smallest one is. Errors: permission, unsupported.
Result<void> may_load_programs();

/// Reads "verification time 27 usec" and "processed 38 insns (...) total_states 3 peak_states 3 ..." of a log; none
/// where the kernel did not get as far as verifying.
std::optional<KernelVerdict> work_in_log(std::string_view log);

}  // namespace skep::kernel
