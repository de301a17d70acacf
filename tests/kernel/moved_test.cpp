// Programs that were written for a hook as an earlier release had it: they are given what they mean, or refused.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "kernel/features.hpp"
#include "kernel/kernel_types.hpp"
#include "support.hpp"

namespace skep::kernel_test {
namespace {

/// Reads from a disk, past what is in memory: where /tmp is in memory itself, that takes the pages.
void read_a_disk() {
  char bytes[4096];
  const int fd = ::open("/dev/vda", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  ::posix_fadvise(fd, 1 << 20, 1 << 20, POSIX_FADV_DONTNEED);
  for (int i = 0; i < 8; ++i)
    if (::pread(fd, bytes, sizeof bytes, (1 << 20) + i * static_cast<int>(sizeof bytes)) < 0) break;
  ::close(fd);
}

/// Writes a file, which takes pages, and reads it twice, which marks them.
void use_a_file() {
  read_a_disk();
  char name[] = "/tmp/skep-moved-XXXXXX", bytes[4096] = {};
  const int fd = ::mkostemp(name, O_CLOEXEC);
  if (fd < 0) ::_exit(1);
  ::unlink(name);
  for (int i = 0; i < 8; ++i)
    if (::write(fd, bytes, sizeof bytes) != sizeof bytes) ::_exit(1);
  for (int pass = 0; pass < 2; ++pass)
    for (int i = 0; i < 8; ++i)
      if (::pread(fd, bytes, sizeof bytes, i * static_cast<int>(sizeof bytes)) < 0) ::_exit(1);
  ::close(fd);
}

constexpr u64 syncs_of_a_file = 3;

/// By two system calls of the same source file as the kernel's function, and by one of another.
void sync_a_file() {
  constexpr std::size_t bytes = 4096;
  const int fd = ::memfd_create("skep-moved", MFD_CLOEXEC);
  if (fd < 0 || ::ftruncate(fd, bytes) != 0) ::_exit(1);
  void* const mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED || ::fsync(fd) != 0 || ::fdatasync(fd) != 0 || ::msync(mapped, bytes, MS_SYNC) != 0)
    ::_exit(1);
}

class MovedHook : public KernelEngine {
 protected:
  Result<Object> load_one(const std::string& program, int pid = 0) {
    auto spec = SKEP_TRY(compile("moved"));
    set_global(spec, "wanted_pid", pid);
    return load(spec, {.programs = {program}});
  }
  static bool has_todays_compaction() {
    return kernel::KernelTypes{{}}.tracepoint_argument_count("mm_compaction_begin").value_or(0) == 4;
  }
};

TEST_F(MovedHook, AProgramForATracepointsFormerArgumentsIsGivenThose) {
  if (!has_todays_compaction()) GTEST_SKIP() << "this kernel's mm_compaction_begin has other arguments";
  auto object = load_one("begin_as_it_was");
  ASSERT_OK(object);
  Program& program = object->programs().front();
  auto link = program.attach();
  ASSERT_OK(link);
  EXPECT_NE(link->carried_by().find("reads arguments that the tracepoint had before"), std::string::npos);
  const u64 today[] = {0x1111, 0x2222, 0x3333, 1};  // cc, zone_start, zone_end, sync
  const u64 before[] = {counter(*object, "hits", 0), counter(*object, "hits", 1), counter(*object, "hits", 2)};
  TestRun run;
  run.context.resize(sizeof today);
  std::memcpy(run.context.data(), today, sizeof today);
  ASSERT_OK(program.test_run(run));
  EXPECT_GE(counter(*object, "hits", 0) - before[0], 0x2222u);  // the machine may compact memory meanwhile
  EXPECT_GE(counter(*object, "hits", 1) - before[1], 0x3333u);
  EXPECT_GE(counter(*object, "hits", 2) - before[2], 1u);
  link = tl::unexpected(Error{});
}

TEST_F(MovedHook, AProgramThatFitsTodaysTracepointIsLeftAlone) {
  if (!has_todays_compaction()) GTEST_SKIP() << "this kernel's mm_compaction_begin has other arguments";
  auto object = load_one("begin_as_it_is");
  ASSERT_OK(object);
  const auto link = object->programs().front().attach();
  ASSERT_OK(link);
  EXPECT_EQ(link->carried_by(), "");
}

TEST_F(MovedHook, AnArgumentThatIsGoneIsNotMadeUp) {
  if (!has_todays_compaction()) GTEST_SKIP() << "this kernel's mm_compaction_begin has other arguments";
  auto object = load_one("begin_that_asks_for_what_is_gone");
  ASSERT_OK(object);
  EXPECT_FALSE(object->programs().front().attach());
}

TEST_F(MovedHook, TrampolinesGoWhereTheWorkIsDone) {
  if (!kernel::Features().fentry()) GTEST_SKIP() << "this kernel permits no trampolines";
  kernel::KernelTypes types{{}};
  const bool moved = types.any_function("folio_mark_accessed") && !types.any_function("__page_cache_alloc");
  if (!moved) GTEST_SKIP() << "this kernel's page cache has the functions by their former names";
  Child child(use_a_file);
  auto made = load_one("page_is_made", child.pid());
  ASSERT_OK(made);
  auto used = load_one("page_is_used", child.pid());
  ASSERT_OK(used);
  const auto first = made->programs().front().attach(), second = used->programs().front().attach();
  ASSERT_OK(first);
  ASSERT_OK(second);
  EXPECT_NE(first->carried_by().find("filemap_alloc_folio"), std::string::npos) << first->carried_by();
  EXPECT_NE(second->carried_by().find("folio_mark_accessed"), std::string::npos) << second->carried_by();
  EXPECT_TRUE(child.run());
  EXPECT_GT(counter(*made, "hits", 5), 0u);
  EXPECT_GT(counter(*used, "hits", 6), 0u);
}

TEST_F(MovedHook, CallsAreSeenWhereTheCompilerPutTheFunctionIntoItsCaller) {
  const kernel::Features features;
  if (!features.fentry() && !features.kprobes()) GTEST_SKIP() << "this kernel has neither trampolines nor kprobes";
  struct Way {
    const char* program;
    u32 slot;
    bool is_probe;
  };
  for (const Way& way : {Way{"file_is_synced", 10, false}, Way{"file_was_synced", 11, false},
                         Way{"file_is_synced_by_probe", 12, true}, Way{"file_was_synced_by_probe", 13, true}}) {
    if (!(way.is_probe ? features.kprobes() : features.fentry())) continue;
    Child child(sync_a_file);
    auto object = load_one(way.program, child.pid());
    ASSERT_OK(object);
    const auto link = object->programs().front().attach();
    ASSERT_OK(link);
    EXPECT_TRUE(child.run());
    EXPECT_EQ(counter(*object, "hits", way.slot), syncs_of_a_file) << way.program << ": " << link->carried_by();
  }
}

TEST_F(MovedHook, CallsOfACallerThatDoesNotHaveWhatTheProgramReadsAreToldToBeUnseen) {
  if (!kernel::Features().fentry()) GTEST_SKIP() << "this kernel permits no trampolines";
  Child child(sync_a_file);
  auto object = load_one("synced_file", child.pid());
  ASSERT_OK(object);
  const auto link = object->programs().front().attach();
  ASSERT_OK(link);
  EXPECT_TRUE(child.run());
  const u64 seen = counter(*object, "hits", 14);
  EXPECT_GE(seen, 1u);
  EXPECT_LE(seen, syncs_of_a_file);
  const bool is_told = link->carried_by().find("does not see calls from") != std::string::npos;
  EXPECT_EQ(seen < syncs_of_a_file, is_told) << seen << ": " << link->carried_by();
}

TEST_F(MovedHook, ProbesGoWhereTheWorkIsDoneAndSayWhereTheyWereAskedToBe) {
  if (!kernel::Features().kprobes()) GTEST_SKIP() << "this kernel has no kprobes";
  kernel::KernelTypes types{{}};
  if (!types.any_function("folio_mark_accessed"))
    GTEST_SKIP() << "this kernel's page cache has the functions by their former names";
  Child child(use_a_file);
  auto used = load_one("page_is_used_by_probe", child.pid());
  ASSERT_OK(used);
  auto added = load_one("page_is_added_by_probe", child.pid());
  ASSERT_OK(added);
  const auto first = used->programs().front().attach(), second = added->programs().front().attach();
  ASSERT_OK(first);
  ASSERT_OK(second);
  EXPECT_NE(first->carried_by().find("folio_mark_accessed"), std::string::npos) << first->carried_by();
  EXPECT_NE(second->carried_by().find("filemap_add_folio"), std::string::npos) << second->carried_by();
  EXPECT_TRUE(child.run());
  EXPECT_GT(counter(*used, "hits", 7), 0u);
  EXPECT_GT(counter(*added, "hits", 9), 0u);
  const auto addresses = types.addresses({"mark_page_accessed"});
  if (!addresses.empty()) {
    EXPECT_EQ(counter(*used, "hits", 8), addresses.begin()->second + 1);
  }
}

}  // namespace
}  // namespace skep::kernel_test
