// bpf(2) as a function that returns a Result.
//
// Every command goes through here: EAGAIN is retried (the verifier gives it when a signal interrupted it), errno
// becomes an Error whose sentence names the command and, where the system refused, the capability that is missing.
#pragma once
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "kernel/access.hpp"
#include "kernel/uapi.hpp"

namespace skep::kernel {

/// bpf(2) itself: the result of the call, or -errno. Retries EAGAIN a few times, as the kernel asks.
int bpf_raw(uapi::Cmd cmd, void* attr, u32 size) noexcept;

template <class Attr>
int bpf(uapi::Cmd cmd, Attr& attr) noexcept {
  return bpf_raw(cmd, &attr, sizeof attr);
}

/// The kernel's name of a command: "BPF_PROG_LOAD".
std::string_view name_of(uapi::Cmd cmd) noexcept;

/// The error of a failed command. `what` says what was tried ("create map counts"). EPERM is explained (access.hpp);
/// `more` is asked for beside what the command asks of everybody.
Error bpf_error(uapi::Cmd cmd, std::string_view what, int error_number, CapabilitySet more = {});

/// A command that answers with a descriptor.
template <class Attr>
Result<base::Fd> bpf_fd(uapi::Cmd cmd, Attr& attr, std::string_view what) {
  const int fd = bpf(cmd, attr);
  if (fd < 0) return tl::unexpected(bpf_error(cmd, what, -fd));
  return base::Fd(fd);
}

/// A command that answers with success only.
template <class Attr>
Result<void> bpf_ok(uapi::Cmd cmd, Attr& attr, std::string_view what) {
  const int status = bpf(cmd, attr);
  if (status < 0) return tl::unexpected(bpf_error(cmd, what, -status));
  return {};
}

/// A user-space address as bpf(2) wants it.
inline u64 address_of(const void* pointer) noexcept { return reinterpret_cast<u64>(pointer); }

/// Puts `name` into one of bpf(2)'s 16-byte name fields: characters the kernel refuses become '_', the rest is cut.
void set_object_name(char (&field)[uapi::object_name_bytes], std::string_view name);

}  // namespace skep::kernel
