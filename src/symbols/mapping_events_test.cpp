// Processes that have ended by the time they are asked for: what the kernel told of them, and what is made of that.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <random>
#include <thread>

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
  EXPECT_EQ(paths(history, 7), "/a/d/b/c");
  EXPECT_NE(history.of(7)->version, version);
  const Mapping& rest = history.of(7)->mappings->at(2);
  EXPECT_EQ(rest.begin, 0x2800u);
  EXPECT_EQ(rest.file_offset, 0x800u);
  history.add({mapped(7, 0x3400, 0x3800, "/e"), mapped(7, 0x1000, 0x3000, ""), mapped(7, 0x3000, 0x3400, "/f")});
  EXPECT_EQ(paths(history, 7), "/f/e/c");
  EXPECT_EQ(history.of(7)->mappings->back().begin, 0x3800u);
  EXPECT_EQ(paths(history, 8), "unknown");
}

/// Every list that events can make has mappings by rising address that do not overlap, each of the file that was mapped
/// there last.
TEST(MappingHistory, IsWhatAnArrayOfPagesWouldSay) {
  std::mt19937 random(20261130);
  MappingHistory history({}, nothing);
  constexpr u64 pages = 64;
  std::array<std::string, pages> expected;
  std::array<u64, pages> offset{};
  for (int round = 0; round < 5000; ++round) {
    const u64 begin = random() % pages, end = begin + 1 + random() % (pages - begin);
    MappingEvent event = mapped(7, begin * 4096, end * 4096, random() % 4 == 0 ? "" : "/" + std::to_string(round));
    event.mapping.file_offset = random() % 16 * 4096;
    for (u64 page = begin; page < end; ++page)
      expected[page] = event.mapping.path, offset[page] = event.mapping.file_offset + (page - begin) * 4096;
    history.add({event});
    const std::vector<Mapping>& mappings = *history.of(7)->mappings;
    for (std::size_t i = 1; i < mappings.size(); ++i) ASSERT_LE(mappings[i - 1].end, mappings[i].begin);
    for (u64 page = 0; page < pages; ++page) {
      const Mapping* const mapping = mapping_of(mappings, page * 4096);
      ASSERT_EQ(mapping == nullptr ? "" : mapping->path, expected[page]);
      ASSERT_TRUE(mapping == nullptr || mapping->file_offset + page * 4096 - mapping->begin == offset[page]);
    }
  }
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

TEST(MappingHistory, WhatAProcessHadBeforeItBeganAnew) {
  MappingHistory history({}, nothing);
  history.add({mapped(1, 0x1000, 0x2000, "/a"), mapped(1, 0x3000, 0x4000, "/b"), forked(1, 2), executed(2),
               mapped(2, 0x1800, 0x2800, "/c")});
  const auto all = [&](u32 pid) {
    std::string out;
    for (const Mapping& mapping : MappingHistory::all(*history.of(pid))) out += mapping.path;
    return out;
  };
  EXPECT_EQ(all(1), "/a/b");
  EXPECT_EQ(all(2), "/c/b");
  history.add({forked(2, 3), executed(2), mapped(2, 0x8000, 0x9000, "/d"), executed(4)});
  EXPECT_EQ(all(2), "/c/d");
  EXPECT_EQ(all(3), "/c");  // a fork has what there is now
  EXPECT_EQ(all(4), "");
}

TEST(MappingHistory, ANumberThatSomebodyElseHasNow) {
  MappingHistory history({.ancestor = 1}, nothing);
  history.add({forked(1, 2), mapped(2, 1, 2, "/a"), forked(9, 2), executed(2), mapped(2, 1, 2, "/b"), forked(2, 3)});
  EXPECT_EQ(paths(history, 2), "unknown");
  EXPECT_EQ(paths(history, 3), "unknown");
}

/// A process of another process namespace has the number 0, one that ends meanwhile all ones: neither is one process.
TEST(MappingHistory, ProcessesWithoutANumber) {
  MappingHistory history({}, nothing);
  history.add({mapped(0, 1, 2, "/a"), mapped(~0u, 1, 2, "/b"), forked(5, 0), executed(~0u)});
  EXPECT_EQ(history.size(), 0u);
}

TEST(MappingHistory, AProcessThatMapsForEver) {
  MappingHistory history({.most_bytes = 1u << 20}, nothing);
  history.add({mapped(1, 1, 2, "/first")});
  for (u64 at = 1; at <= 20'000; ++at) history.add({mapped(2, at * 4096, at * 4096 + 4096, "/code")});
  EXPECT_EQ(history.of(2)->mappings->size(), 4096u);
  EXPECT_EQ(mapping_of(*history.of(2)->mappings, 4096)->path, "/code");
  const std::string longest(4000, 'x');
  for (u32 pid = 10; pid < 1000; ++pid) history.add({forked(2, pid), mapped(pid, 4096, 8192, longest)});
  EXPECT_LT(history.size(), (1u << 20) / longest.size());
  EXPECT_EQ(paths(history, 1), "unknown");
}

TEST(MappingHistory, TheOldestGo) {
  MappingHistory history({.most = 100}, nothing);
  for (u32 pid = 1; pid <= 1000; ++pid) history.add({mapped(pid, 1, 2, "/a"), mapped(1, 1, 2, "/first")});
  EXPECT_LE(history.size(), 100u);
  EXPECT_EQ(paths(history, 1), "/first");
  EXPECT_EQ(paths(history, 1000), "/a");
  EXPECT_EQ(paths(history, 2), "unknown");
}

/// perf_event_paranoid above 2, and a sandbox, forbid; CAP_PERFMON does not help against the latter.
bool is_forbidden(const Error& error) { return error.code == Code::permission || error.code == Code::unsupported; }

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
    if (!events && is_forbidden(events.error())) GTEST_SKIP() << events.error().message;
    ASSERT_TRUE(events) << events.error().message;
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

/// The kernel gives the thread that executes the number of its process.
TEST(MappingEvents, TellOfAThreadThatExecutes) {
  auto events = MappingEvents::open(MappingEvents::Of::own_children);
  if (!events && is_forbidden(events.error())) GTEST_SKIP() << events.error().message;
  ASSERT_TRUE(events) << events.error().message;
  const pid_t child = ::fork();
  if (child == 0) {
    std::thread([] { ::execl("/bin/true", "true", nullptr); }).join();
    ::_exit(1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  MappingHistory history({.ancestor = static_cast<u32>(::getpid())}, nothing);
  history.add(events->read(true));
  EXPECT_EQ(history.size(), 2u);  // we and it: a thread is no process
  EXPECT_NE(paths(history, static_cast<u32>(child)).find(std::filesystem::canonical("/bin/true").string()),
            std::string::npos);
}

TEST(MappingEvents, TellWhatDidNotFit) {
  auto events = MappingEvents::open(MappingEvents::Of::own_children);
  if (!events && is_forbidden(events.error())) GTEST_SKIP() << events.error().message;
  ASSERT_TRUE(events) << events.error().message;
  EXPECT_EQ(events->lost(), 0u);
  constexpr std::size_t mapped = 4000;
  for (std::size_t i = 0; i < mapped; ++i) {
    void* const memory = ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    ::munmap(memory, 4096);
  }
  const std::size_t seen = events->read(true).size();
  EXPECT_LT(seen, mapped);
  run("/bin/true");  // the next event that fits is behind the record of what did not
  EXPECT_FALSE(events->read(true).empty());
  EXPECT_GE(events->lost() + seen, mapped);
}

TEST(Symbolizer, NamesWhatAProcessHadThatHasEnded) {
  Symbolizer symbolizer;
  auto followed = symbolizer.follow(true);
  if (!followed && is_forbidden(followed.error())) GTEST_SKIP() << followed.error().message;
  ASSERT_TRUE(followed) << followed.error().message;
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
  // This one had the same function until it executed its program.
  const u32 other = run("/bin/true");
  EXPECT_EQ(symbolizer.user(other, address).name, frame.name);
  EXPECT_TRUE(symbolizer.user(other, address & 0xfff).name.empty());
}

}  // namespace
}  // namespace skep::symbols
