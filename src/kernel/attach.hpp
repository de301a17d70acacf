// Attaching a loaded program, hook by hook.
//
// Every attachment is held by a descriptor: a BPF link where the kernel has one, else a perf event. When the process
// goes, however it goes, its descriptors go and with them the attachment. Nothing has to be cleaned up.
#pragma once
#include <memory>
#include <skep/backend.hpp>

#include "base/fd.hpp"
#include "kernel/tracefs.hpp"

namespace skep::kernel {

/// The descriptors of one attachment. Closing them detaches; the link goes before its event.
class Attachment final : public Link::Impl {
 public:
  Attachment(base::Fd event, base::Fd link) : event_(std::move(event)), link_(std::move(link)) {}
  std::string carried_by() const override { return carried_by_; }
  void set_carried_by(std::string text) { carried_by_ = std::move(text); }

 private:
  base::Fd event_, link_;
  std::string carried_by_;
};

/// `target` "category/name". Errors: not_found, permission; without tracefs, how to mount it.
Result<std::unique_ptr<Attachment>> attach_tracepoint(int program_fd, const Tracefs& tracefs, std::string_view target);

/// raw_tracepoint by name; for tracing programs (tp_btf, fentry, fexit) an empty name: the kernel knows the target.
Result<std::unique_ptr<Attachment>> attach_raw_tracepoint(int program_fd, std::string_view name);

/// A kernel function through the kprobe event source; `target` "function" or "function+offset".
Result<std::unique_ptr<Attachment>> attach_kprobe(int program_fd, std::string_view target, bool at_return);

}  // namespace skep::kernel
