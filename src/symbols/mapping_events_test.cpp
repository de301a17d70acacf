// Processes that have ended by the time they are asked for: what the kernel told of them, and what is made of that.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "symbols/symbolizer.hpp"

namespace skep::symbols {
namespace {

using Kind = MappingEvent::Kind;

MappingEvent mapped(u32 pid, u64 begin, u64 end, std::string path) {
  MappingEvent event{.kind = Kind::mapped, .pid = pid, .parent = 0, .mapping = {}, .time_ns = 0};
  event.mapping.begin = begin, event.mapping.end = end, event.mapping.inode = 1, event.mapping.path = std::move(path);
  return event;
}
MappingEvent forked(u32 parent, u32 pid) { return {.kind = Kind::forked, .pid = pid, .parent = parent, .mapping = {}}; }
MappingEvent executed(u32 pid) { return {.kind = Kind::executed, .pid = pid, .parent = 0, .mapping = {}}; }

std::vector<Mapping> nothing(u32) { return {}; }

std::string paths(const MappingHistory& history, u32 pid) {
  const auto* const known = history.of(pid);
  if (known == nullptr) return "unknown";
  std::string out;
  for (const Mapping& mapping : *known->mappings) out += mapping.path;
  return out;
}

TEST(MappingHistory, MappingsReplaceWhatLiesThere) {
  MappingHistory history({}, nothing);
  history.add({mapped(7, 0x3000, 0x4000, "/c"), mapped(7, 0x1000, 0x2000, "/a"), mapped(7, 0x2000, 0x3000, "/b")});
  EXPECT_EQ(paths(history, 7), "/a/b/c");
  const u64 version = history.of(7)->version;
  history.add({mapped(7, 0x1800, 0x2800, "/d")});
  EXPECT_EQ(paths(history, 7), "/d/c");
  EXPECT_NE(history.of(7)->version, version);
  EXPECT_EQ(paths(history, 8), "unknown");
}

TEST(MappingHistory, AForkHasWhatItsParentHasUntilOneOfThemChanges) {
  MappingHistory history({}, nothing);
  history.add({mapped(1, 0x1000, 0x2000, "/a"), forked(1, 2), mapped(2, 0x3000, 0x4000, "/b"), forked(2, 3),
               executed(3), mapped(3, 0x1000, 0x2000, "/c"), mapped(1, 0x5000, 0x6000, "/d")});
  EXPECT_EQ(paths(history, 1), "/a/d");
  EXPECT_EQ(paths(history, 2), "/a/b");
  EXPECT_EQ(paths(history, 3), "/c");
  history.add({forked(1, 3)});  // another process with this number
  EXPECT_EQ(paths(history, 3), "/a/d");
}

TEST(MappingHistory, WhoWasThereBeforeIsLookedAt) {
  std::vector<u32> looked;
  MappingHistory history({}, [&](u32 pid) {
    looked.push_back(pid);
    Mapping mapping;
    mapping.begin = 0x1000, mapping.end = 0x2000, mapping.path = "/before";
    return std::vector<Mapping>{mapping};
  });
  history.add({forked(5, 6), forked(5, 7), mapped(5, 0x2000, 0x3000, "/now"), executed(8)});
  EXPECT_EQ(paths(history, 6), "/before");
  EXPECT_EQ(paths(history, 5), "/before/now");
  EXPECT_EQ(paths(history, 8), "");
  EXPECT_EQ(looked, std::vector<u32>{5});
}

TEST(MappingHistory, OfDescendantsOnly) {
  MappingHistory history({.ancestor = 1}, nothing);
  history.add({forked(1, 2), forked(2, 3), forked(9, 10), mapped(3, 1, 2, "/a"), mapped(10, 1, 2, "/b"), executed(11)});
  EXPECT_EQ(paths(history, 3), "/a");
  EXPECT_EQ(paths(history, 10), "unknown");
  EXPECT_EQ(paths(history, 11), "unknown");
}

TEST(MappingHistory, TheOldestGo) {
  MappingHistory history({.most = 100}, nothing);
  for (u32 pid = 1; pid <= 1000; ++pid) history.add({mapped(pid, 1, 2, "/a"), mapped(1, 1, 2, "/first")});
  EXPECT_LE(history.size(), 100u);
  EXPECT_EQ(paths(history, 1), "/first");
  EXPECT_EQ(paths(history, 1000), "/a");
  EXPECT_EQ(paths(history, 2), "unknown");
}

/// Runs a program to its end, in a process that is gone when this returns.
u32 run(const char* path) {
  char* const arguments[] = {const_cast<char*>(path), nullptr};
  pid_t pid = -1;
  EXPECT_EQ(::posix_spawn(&pid, path, nullptr, nullptr, arguments, environ), 0);
  ::waitpid(pid, nullptr, 0);
  return static_cast<u32>(pid);
}

TEST(MappingEvents, TellOfAProcessThatHasEnded) {
  for (const auto whose : {MappingEvents::Of::own_children, MappingEvents::Of::everything}) {
    auto events = MappingEvents::open(whose);
    if (!events) GTEST_SKIP() << events.error().message;
    const u32 pid = run("/bin/true");
    const std::string program = std::filesystem::canonical("/bin/true");
    bool was_forked = false, was_executed = false, was_mapped = false;
    u64 before = 0;
    for (const MappingEvent& event : events->read(true)) {
      EXPECT_GE(event.time_ns, before);
      before = event.time_ns;
      if (event.pid != pid) continue;
      was_forked |= event.kind == Kind::forked && event.parent == static_cast<u32>(::getpid());
      was_executed |= was_forked && event.kind == Kind::executed;
      const bool is_program = event.kind == Kind::mapped && event.mapping.path == program;
      was_mapped |= was_executed && is_program;
      EXPECT_TRUE(!is_program || event.mapping.inode != 0);
    }
    EXPECT_TRUE(was_forked && was_executed && was_mapped) << was_forked << was_executed << was_mapped;
  }
}

TEST(Symbolizer, NamesWhatAProcessHadThatHasEnded) {
  Symbolizer symbolizer;
  if (auto followed = symbolizer.follow(true); !followed) GTEST_SKIP() << followed.error().message;
  int out[2];
  ASSERT_EQ(::pipe2(out, O_CLOEXEC), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    const u64 here = reinterpret_cast<u64>(&run);
    ::_exit(::write(out[1], &here, sizeof here) == sizeof here ? 0 : 1);
  }
  u64 address = 0;
  ASSERT_EQ(::read(out[0], &address, sizeof address), static_cast<ssize_t>(sizeof address));
  ::waitpid(pid, nullptr, 0);
  ::close(out[0]), ::close(out[1]);
  symbolizer.keep_up();
  const Frame frame = symbolizer.user(static_cast<u32>(pid), address);
  EXPECT_NE(frame.name.find("run"), std::string::npos) << text(frame);
  EXPECT_EQ(frame.offset, 0u);
  EXPECT_TRUE(symbolizer.user(run("/bin/true"), address).name.empty());  // another program, or nothing there
}

}  // namespace
}  // namespace skep::symbols
