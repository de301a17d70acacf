// A trace buffer of one's own: a directory below tracefs' instances/, which goes with its owner.
//
// A pipe's lines go to who reads first, and since Linux 6.6 a second reader is refused. An event can be enabled in
// several buffers, each of which gets all of it; so who comes second makes a buffer. A directory outlives a process
// that is killed; whoever makes one takes those away that nobody has open (the kernel refuses the others). Source:
// Documentation/trace/ftrace.rst, instances; kernel/trace/trace.c, open_pipe_on_cpu() and instance_rmdir().
#pragma once
#include <string>

#include "base/fd.hpp"
#include "kernel/tracefs.hpp"

namespace skep::kernel {

class TraceInstance {
 public:
  /// With "CATEGORY/NAME" enabled. Errors: permission, io.
  static Result<TraceInstance> make(const Tracefs& tracefs, const std::string& event);
  TraceInstance(TraceInstance&&) = default;
  TraceInstance& operator=(TraceInstance&&) = delete;
  ~TraceInstance();

  /// Its trace_pipe, which does not block. Taken once.
  base::Fd take_pipe() { return std::move(pipe_); }

 private:
  explicit TraceInstance(base::Fd instances) : instances_(std::move(instances)) {}
  Result<void> fill(const std::string& event);

  base::Fd instances_;  ///< the directory that it lies in; empty: moved away
  std::string name_;
  base::Fd pipe_;
};

}  // namespace skep::kernel
