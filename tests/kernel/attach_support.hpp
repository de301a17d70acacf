// What tests of attachments share: one program of attach.bpf.c, loaded, attached where the test says, and what it
// counted.
#pragma once
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <optional>

#include "support.hpp"

namespace skep::kernel_test {

#define PREPARE(...)    \
  prepare(__VA_ARGS__); \
  if (IsSkipped() || HasFatalFailure()) return

class Attach : public KernelEngine {
 protected:
  /// Loads one program for `pid`; the test is left out where the kernel does not know the program's type.
  void prepare(const std::string& program, int pid = ::getpid()) {
    auto spec = compile("attach");
    ASSERT_OK(spec);
    set_global(*spec, "wanted_pid", pid);
    auto object = load(*spec, {.programs = {program}});
    if (!object && object.error().code == Code::unsupported) GTEST_SKIP() << object.error().message;
    ASSERT_OK(object);
    object_.emplace(*std::move(object));
    auto handle = object_->program(program);
    ASSERT_OK(handle);
    program_.emplace(*std::move(handle));
  }
  u64 seen(u32 slot) const { return counter(*object_, "hits", slot); }
  Result<Link> attach(std::string_view text, int pid = 0, u64 cookie = 0) {
    auto target = SKEP_TRY(AttachTarget::from_text(text));
    target.pid = pid;
    target.cookie = cookie;
    return program_->attach(target);
  }
  /// Attaches, acts, detaches, acts: what was counted while attached. Fails where the rest counts too.
  u64 counted(std::string_view text, u32 slot, const std::function<void()>& act) {
    {
      auto link = attach(text);
      EXPECT_TRUE(link) << link.error().message;
      if (!link) return 0;
      act();
    }
    const u64 count = seen(slot);
    act();
    EXPECT_EQ(seen(slot), count) << text << ": something was seen after detaching";
    return count;
  }

  /// What the kernel tells of the links of the program's loads.
  std::vector<LinkInfo> links() {
    std::vector<u32> programs;
    const auto all = backend->inspector().programs().value();
    for (const ProgramInfo& one : all)
      if (program_->info().name.starts_with(one.name) && one.map_ids == program_->info().map_ids)
        programs.push_back(one.id);
    std::vector<LinkInfo> found;
    auto every = backend->inspector().links().value();
    for (LinkInfo& link : every)
      if (std::ranges::find(programs, link.program_id) != programs.end()) found.push_back(std::move(link));
    return found;
  }
  static std::string fact(const LinkInfo& link, std::string_view name) {
    const auto found = std::ranges::find(link.facts, name, &Fact::name);
    return found != link.facts.end() ? found->text : "";
  }

  std::optional<Object> object_;
  std::optional<Program> program_;
};

/// Skips where this kernel has no such hook; `link` is attached otherwise.
#define ATTACH_OR_SKIP(link, text)                                                           \
  auto link = attach(text);                                                                  \
  if (!link && link.error().code == Code::unsupported) GTEST_SKIP() << link.error().message; \
  ASSERT_OK(link)

}  // namespace skep::kernel_test
