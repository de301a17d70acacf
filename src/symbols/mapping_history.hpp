// What processes had mapped, by the kernel's events, until long after they have ended.
#pragma once
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "symbols/mapping_events.hpp"

namespace skep::symbols {

class MappingHistory {
 public:
  struct Options {
    u32 ancestor = 0;         ///< only what this process starts, and what that starts; 0: every process
    std::size_t most = 4096;  ///< processes; those of which nothing was heard for longest go
    std::size_t most_bytes = 64u << 20;
  };
  /// `look`: what a process has mapped that was there before the events began; empty where it is gone.
  MappingHistory(Options options, std::function<std::vector<Mapping>(u32 pid)> look)
      : options_(options), look_(std::move(look)) {}

  void add(std::vector<MappingEvent> events);

  struct Known {
    /// By rising address, executable ones. Shared with who forked it until one of them changes.
    std::shared_ptr<std::vector<Mapping>> mappings = std::make_shared<std::vector<Mapping>>();
    std::shared_ptr<std::vector<Mapping>> before_exec;  ///< what it had before it began anew; nullptr: it did not
    u64 version = 0;                                    ///< another one whenever they change
    std::size_t bytes = 0;                              ///< of the mappings, also where they are shared
  };
  /// nullptr: nothing was heard of it. Valid until add().
  const Known* of(u32 pid) const;
  /// What it had at any time, the latest where several lay at the same addresses: the stack of a shell's child may be
  /// of before it executed its program.
  static std::vector<Mapping> all(const Known& known);
  std::size_t size() const noexcept { return processes_.size(); }

 private:
  bool concerns(const MappingEvent& event);
  Known& known(u32 pid);
  Known& set(u32 pid, std::shared_ptr<std::vector<Mapping>> mappings);
  void put(Known& known, Mapping added);
  void count(Known& known, const std::vector<Mapping>& mappings);
  void forget(u32 pid);
  void forget_some();

  Options options_;
  std::function<std::vector<Mapping>(u32)> look_;
  u64 last_version_ = 0;
  std::size_t bytes_ = 0;  ///< of all
  std::unordered_map<u32, Known> processes_;
};

}  // namespace skep::symbols
