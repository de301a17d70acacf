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
  if (!kernel::Features().fentry()) GTEST_SKIP() << "this kernel permits no trampolines";
  Child child([] {
    const int fd = ::memfd_create("skep-moved", MFD_CLOEXEC);
    if (::fsync(fd) != 0 || ::fdatasync(fd) != 0) ::_exit(1);
  });
  auto object = load_one("file_is_synced", child.pid());
  ASSERT_OK(object);
  const auto link = object->programs().front().attach();
  ASSERT_OK(link);
  EXPECT_TRUE(child.run());
  EXPECT_EQ(counter(*object, "hits", 10), 2u) << link->carried_by();
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
  if (!addresses.empty()) EXPECT_EQ(counter(*used, "hits", 8), addresses.begin()->second + 1);
}

}  // namespace
}  // namespace skep::kernel_test
