// Attaching a loaded program, hook by hook.
//
// attach_ways.def says which function attaches which kind of hook; attach() looks there. An attachment is held by
// descriptors wherever the kernel allows it: a BPF link, else a perf event or a socket. When the process goes, however
// it goes, its descriptors go and with them the attachment. Kernels before 5.7 to 6.6 (it depends on the hook) have no
// link for some network hooks; there the attachment is undone when the Link goes, but would outlive a process that is
// killed, and a note says so.
#pragma once
#include <functional>
#include <memory>
#include <skep/backend.hpp>
#include <span>
#include <vector>

#include "base/fd.hpp"
#include "kernel/map_handle.hpp"
#include "kernel/session.hpp"

namespace skep::kernel {

/// One attachment: what holds it, and what else must be done to end it. At its end what its program missed is noted.
class Attachment final : public Link::Impl {
 public:
  Attachment() = default;
  explicit Attachment(base::Fd link) { hold(std::move(link)); }
  Attachment(const Attachment&) = delete;
  ~Attachment() override;

  /// Descriptors are closed in the opposite order: a link goes before the event that it hangs on.
  void hold(base::Fd fd) { held_.push_back(std::move(fd)); }
  /// For hooks without links: called once, before the descriptors are closed.
  void undo_with(std::function<void()> undo) { undo_ = std::move(undo); }
  /// Let go after the descriptors are closed.
  void keep(std::shared_ptr<void> kept) { kept_ = std::move(kept); }
  bool empty() const noexcept { return held_.empty() && !undo_; }

  /// Whose misses are counted, and where they are told.
  void count_misses(std::shared_ptr<Session> session, int program_fd, std::string program);

  bool waits_to_end() const override { return true; }  // until no CPU can be inside of what it held
  std::string carried_by() const override { return carried_by_; }
  void set_carried_by(std::string text) { carried_by_ = std::move(text); }
  std::vector<u32> ids() const override;
  Result<void> leave() override;
  Result<void> read_output(const std::function<bool(std::string_view)>& on_text) override;

 private:
  u64 missed_by_probes() const;

  std::shared_ptr<Session> session_;
  base::Fd program_;
  std::string program_name_;
  std::shared_ptr<void> kept_;
  std::vector<base::Fd> held_;
  std::function<void()> undo_;
  std::string carried_by_;
};

/// What an attacher is given.
struct AttachRequest {
  int program_fd = -1;
  AttachTarget hook;
  Session& session;
  std::span<const std::shared_ptr<KernelMap>> maps;  ///< of the program's object
  std::string place;                                 ///< "xdp:eth0", for messages
  bool on_multi_link = false;                        ///< Plan's
  /// Where hooks carry no cookies, of a program that asks for its own: its load that has this one written into it.
  std::function<Result<int>(u64 cookie)> program_with{};

  /// What the kernel is to tell the program.
  u64 cookie() const { return program_with ? 0 : hook.cookie; }
};

using Attached = Result<std::unique_ptr<Attachment>>;

/// Attaches where `request.hook` says. Errors: not_found (no such place), unsupported (this kernel, or this kind of
/// program, is attached by something else, which the message names), permission, invalid_argument (what the target
/// should look like).
Attached attach(const AttachRequest& request);

/// Whether a hook of this kind must name its target; `form` says what it looks like ("" where nothing attaches it).
bool needs_target(AttachKind kind) noexcept;
std::string_view target_form(AttachKind kind) noexcept;

/// Whether AttachTarget::pid narrows this kind of hook to one process.
bool is_narrowed_by_pid(AttachKind kind) noexcept;

}  // namespace skep::kernel
