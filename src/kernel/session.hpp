// What one kernel backend knows and shares with the objects it loaded.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <skep/backend.hpp>
#include <string>
#include <vector>

#include "kernel/carry.hpp"
#include "kernel/features.hpp"
#include "kernel/kernel_types.hpp"
#include "kernel/switch_recorder.hpp"
#include "kernel/token.hpp"
#include "kernel/tracefs.hpp"
#include "spec/usdt_slots.hpp"

namespace skep::kernel {

class Session : public std::enable_shared_from_this<Session> {
 public:
  explicit Session(const KernelOptions& options, std::optional<Token> token = std::nullopt)
      : types(options.btf), token_(std::move(token)) {
    if (token_) features.use_token(token_->fd());
  }

  /// What lends this process the right to load, or nullptr: it has it.
  const Token* token() const noexcept { return token_ ? &*token_ : nullptr; }

  /// Opened at the first use and kept.
  Result<const Tracefs*> tracefs() {
    const std::lock_guard lock(mutex_);
    if (!tracefs_) tracefs_ = SKEP_TRY(Tracefs::open());
    return &*tracefs_;
  }

  /// A line for people, said once.
  void note(const std::string& line) {
    const std::lock_guard lock(mutex_);
    for (const auto& known : notes_)
      if (known == line) return;
    notes_.push_back(line);
  }
  std::string notes() const;

  /// Events that an attached program was not run for, counted when an attachment of it ends.
  struct Missed {
    std::string program;
    u64 while_running = 0;  ///< it, or one of its kind, ran on that CPU already
    u64 by_probes = 0;      ///< the probe did not fire: it was hit inside a probe, or too many returns were awaited
  };
  /// `while_running` is the program's count since it was loaded, `by_probes` that of the attachment which ends.
  void note_missed(u32 program_id, const Missed& missed);

  void keep_log(const std::string& program, const std::string& log) {
    if (log.empty()) return;
    const std::lock_guard lock(mutex_);
    log_ += "program " + program + ":\n" + log + (log.ends_with('\n') ? "" : "\n");
  }
  void clear_log() {
    const std::lock_guard lock(mutex_);
    log_.clear();
  }
  std::string log() const {
    const std::lock_guard lock(mutex_);
    return log_;
  }

  /// Remembers a hook that sees every process, whatever was asked for; the first is kept.
  void note_sees_all(const std::string& hook) {
    const std::lock_guard lock(mutex_);
    if (sees_all_.empty()) sees_all_ = hook;
  }
  std::string sees_all() const {
    const std::lock_guard lock(mutex_);
    return sees_all_;
  }

  /// Of a map of USDT descriptions: which are in use. It lives as long as the session.
  spec::UsdtSlots& usdt_slots(u32 map_id) {
    const std::lock_guard lock(mutex_);
    return usdt_slots_[map_id];
  }

  /// The map in which the task that ran before on a CPU is found; from the first call on it is kept up to date.
  Result<int> previous_tasks_map() {
    const std::lock_guard lock(mutex_);
    if (!switches_) switches_ = SKEP_TRY(SwitchRecorder::start(token()));
    return switches_->map();
  }

  /// The map in which carriers build structures (carry.hpp), made at the first use.
  Result<int> structures_map() {
    const std::lock_guard lock(mutex_);
    if (!structures_) structures_ = SKEP_TRY(make_structures_map());
    return structures_->get();
  }

  Features features;
  KernelTypes types;

 private:
  const std::optional<Token> token_;
  mutable std::mutex mutex_;
  std::optional<Tracefs> tracefs_;
  std::vector<std::string> notes_;
  std::string log_, sees_all_;
  std::optional<SwitchRecorder> switches_;
  std::optional<base::Fd> structures_;
  std::map<u32, spec::UsdtSlots> usdt_slots_;  ///< by the map's id
  std::map<u32, Missed> missed_;               ///< by the program's id
};

}  // namespace skep::kernel
