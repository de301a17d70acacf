// What tests of probes share: a sink that remembers hits, and places in the probed program.
#pragma once
#include <algorithm>
#include <iterator>

#include "hook/probe_context.hpp"
#include "support.hpp"

namespace skep::hook::test {

struct Hit {
  ProbeHit hit;
  u32 tid, tgid;
  u64 first, result, ip, sp;
};

class HitRecorder final : public SyscallSink {
 public:
  void on_event(SyscallEvent&, helper::Task&) noexcept override {}
  void on_probe(const ProbeHit& hit, SyscallEvent& frame, helper::Task& task) noexcept override {
    seen.push_back({hit, frame.tid, static_cast<u32>(task.pid_tgid() >> 32), frame.regs.di & 0xffffffff,
                    frame.regs.ax & 0xffffffff, frame.regs.ip, frame.regs.sp});
    if (then) then(seen.back());
  }
  std::vector<Hit> of(u32 site, bool at_return) const {
    std::vector<Hit> found;
    std::ranges::copy_if(seen, std::back_inserter(found),
                         [&](const Hit& one) { return one.hit.site == site && one.hit.at_return == at_return; });
    return found;
  }
  std::vector<u64> arguments(u32 site) const {
    std::vector<u64> found;
    for (const Hit& one : of(site, false)) found.push_back(one.first);
    return found;
  }
  std::vector<u64> results(u32 site) const {
    std::vector<u64> found;
    for (const Hit& one : of(site, true)) found.push_back(one.result);
    return found;
  }
  std::vector<Hit> seen;
  std::function<void(const Hit&)> then;
};

inline const std::string& tracee() {
  static const std::string path = program("hook_tracee_probes");
  return path;
}

/// Entry and return of a function; the place's index.
inline u32 probe(SyscallInterest& interest, const std::string& function, const std::string& file = tracee()) {
  u32 place = 0;
  for (const AttachKind kind : {AttachKind::uprobe, AttachKind::uretprobe}) {
    const auto plan = plan_probe({.kind = kind, .target = file + ":" + function});
    if (!plan || !*plan) {
      ADD_FAILURE() << function << ": " << (plan ? "no plan" : plan.error().message);
      return 0;
    }
    for (const ProbeSite& site : (*plan)->sites) place = interest.add_probe(site, (*plan)->at_return);
  }
  return place;
}

/// The program's static probe; its index.
inline u32 static_probe(SyscallInterest& interest, const std::string& file = tracee()) {
  const auto plan = plan_probe({.kind = AttachKind::usdt, .target = file + ":skep_tracee:marked"});
  if (!plan || !*plan || (*plan)->sites.size() != 1 || (*plan)->descriptions.size() != 1) {
    ADD_FAILURE() << (plan ? "no plan" : plan.error().message);
    return 0;
  }
  EXPECT_EQ((*plan)->descriptions[0].count, 2);
  EXPECT_NE((*plan)->sites[0].semaphore_offset, 0u);
  return interest.add_probe((*plan)->sites[0], false);
}

}  // namespace skep::hook::test
