// The kernel's verifier on a program of an object: what it says of its own work.
#pragma once
#include <memory>
#include <optional>
#include <skep/spec.hpp>
#include <string>
#include <string_view>

#include "kernel/kernel_types.hpp"
#include "kernel/map_handle.hpp"

namespace skep::bench {

struct KernelWork {
  bool accepted = false;
  u64 insns = 0, states = 0, peak_states = 0;
  double time_us = 0;
};

/// An object's maps and types in the kernel, so that its programs can be loaded again and again. Attaches nothing.
class KernelObject {
 public:
  /// `object` is closed (kernel::close_object) and outlives this.
  static Result<KernelObject> open(const ObjectSpec& object);
  /// Loads the program and lets it go. None: the kernel said nothing of its work (it refused before verifying).
  std::optional<KernelWork> verify(const ProgramSpec& program);

 private:
  explicit KernelObject(const ObjectSpec& object)
      : object_(&object), types_(std::make_unique<kernel::KernelTypes>(std::filesystem::path{})) {}
  const ObjectSpec* object_;
  std::unique_ptr<kernel::KernelTypes> types_;
  base::Fd btf_;
  std::vector<std::shared_ptr<kernel::KernelMap>> maps_;
};

/// Reads "verification time 27 usec" and "processed 38 insns (...) total_states 3 peak_states 3 ...".
std::optional<KernelWork> work_in(std::string_view log);

}  // namespace skep::bench
