// Whether this kernel has the hook that a program names, asked before anything is loaded.
//
// A tool that can do its work through several hooks loads the first one that is there. Answers come from the kernel's
// types, tracefs and the feature probes; they cost microseconds where the question is about types.
#pragma once
#include <skep/spec.hpp>

#include "kernel/session.hpp"

namespace skep::kernel {

class HookCheck {
 public:
  HookCheck() : session_(std::make_shared<Session>(KernelOptions{})) {}
  explicit HookCheck(std::shared_ptr<Session> session) : session_(std::move(session)) {}
  /// Whether it is the hook itself; false: a tracepoint that stands in for its function, and may tell less.
  /// Errors: not_found, unsupported: what is missing, as a clause that a sentence can end with.
  Result<bool> check(const ProgramSpec& program);

 private:
  std::shared_ptr<Session> session_;
};

}  // namespace skep::kernel
