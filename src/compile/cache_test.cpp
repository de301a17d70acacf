// The cache: what it keeps, what it refuses, and names that do not collide.
#include "compile/cache.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <atomic>
#include <thread>

#include "base/digest.hpp"
#include "compile/entry.hpp"
#include "compile/test_support.hpp"

namespace skep::compile {
namespace {

using test::Environment;
using test::TemporaryDirectory;
namespace fs = std::filesystem;

TEST(Digest, IsSha256) {
  EXPECT_EQ(base::Digest().bytes("abc").name(), "ba7816bf8f01cfea414140de5dae2223b00361a3");
  EXPECT_EQ(base::Digest().name(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4");
  EXPECT_EQ(base::Digest().bytes(std::string(1000000, 'a')).name(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48");
}

TEST(Digest, FieldsDoNotRunTogether) {
  EXPECT_NE(base::Digest().field("ab").field("c").name(), base::Digest().field("a").field("bc").name());
  EXPECT_NE(base::Digest().field("").name(), base::Digest().name());
}

TEST(Cache, KeepsWhatWasWritten) {
  TemporaryDirectory directory;
  auto cache = Cache::open(directory.path() / "deep" / "cache");
  ASSERT_TRUE(cache) << cache.error().message;
  EXPECT_FALSE(cache->read("x"));
  ASSERT_TRUE(cache->write("x", "content"));
  EXPECT_EQ(cache->read("x"), "content");
  ASSERT_TRUE(cache->write("x", "new"));
  EXPECT_EQ(cache->read("x"), "new");
  struct stat status{};
  ASSERT_EQ(::stat(cache->directory().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
}

TEST(Cache, RefusesADirectoryOthersMayWrite) {
  TemporaryDirectory directory;
  fs::create_directory(directory.path() / "open");
  ::chmod((directory.path() / "open").c_str(), 0777);
  const auto cache = Cache::open(directory.path() / "open");
  ASSERT_FALSE(cache);
  EXPECT_EQ(cache.error().code, Code::permission);
  EXPECT_NE(cache.error().message.find("777"), std::string::npos);
}

TEST(Cache, RefusesALinkInPlaceOfTheDirectory) {
  TemporaryDirectory directory;
  fs::create_directory(directory.path() / "real");
  fs::create_directory_symlink(directory.path() / "real", directory.path() / "link");
  EXPECT_FALSE(Cache::open(directory.path() / "link"));
}

TEST(Cache, RefusesPlantedFiles) {
  TemporaryDirectory directory;
  auto cache = Cache::open(directory.path() / "cache");
  ASSERT_TRUE(cache);
  const fs::path secret = directory.write("secret", "not ours to serve");
  fs::create_symlink(secret, cache->directory() / "link");
  EXPECT_FALSE(cache->read("link"));
  ASSERT_TRUE(cache->write("writable", "x"));
  ::chmod((cache->directory() / "writable").c_str(), 0666);
  EXPECT_FALSE(cache->read("writable"));
  ::mkfifo((cache->directory() / "pipe").c_str(), 0600);
  EXPECT_FALSE(cache->read("pipe"));  // and does not wait for a writer
  fs::create_directory(cache->directory() / "folder");
  EXPECT_FALSE(cache->read("folder"));
  if (::geteuid() == 0) {
    ASSERT_TRUE(cache->write("foreign", "x"));
    ASSERT_EQ(::chown((cache->directory() / "foreign").c_str(), 65534, 65534), 0);
    EXPECT_FALSE(cache->read("foreign"));
    fs::create_directory(cache->directory() / "theirs");
    ASSERT_EQ(::chown((cache->directory() / "theirs").c_str(), 65534, 65534), 0);
    EXPECT_FALSE(cache->subdirectory("theirs"));
  }
}

TEST(Cache, FollowsXdgThenHomeThenTemporary) {
  TemporaryDirectory directory;
  fs::create_directories(directory.path() / "xdg");
  fs::create_directories(directory.path() / "home");
  fs::create_directories(directory.path() / "tmp");
  Environment temporary("TMPDIR", directory.path() / "tmp");
  Environment home("HOME", directory.path() / "home");
  {
    Environment xdg("XDG_CACHE_HOME", directory.path() / "xdg");
    EXPECT_EQ(Cache::open({})->directory(), directory.path() / "xdg" / "skep");
  }
  Environment no_xdg("XDG_CACHE_HOME", "");
  EXPECT_EQ(Cache::open({})->directory(), directory.path() / "home" / ".cache" / "skep");
  Environment no_home("HOME", "");
  const fs::path shared = directory.path() / "tmp" / ("skep-" + std::to_string(::geteuid()));
  EXPECT_EQ(Cache::open({})->directory(), shared);
  // Somebody was there before us: a fresh directory is used, and goes again.
  ::chmod(shared.c_str(), 0777);
  fs::path fresh;
  {
    auto cache = Cache::open({});
    ASSERT_TRUE(cache) << cache.error().message;
    fresh = cache->directory();
    EXPECT_NE(fresh, shared);
    EXPECT_TRUE(cache->write("x", "y"));
  }
  EXPECT_FALSE(fs::exists(fresh));
}

TEST(Cache, AnotherUsersHomeIsLeftAlone) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to make a directory of another user";
  TemporaryDirectory directory;
  fs::create_directories(directory.path() / "home");
  ASSERT_EQ(::chown((directory.path() / "home").c_str(), 65534, 65534), 0);
  fs::create_directories(directory.path() / "tmp");
  Environment temporary("TMPDIR", directory.path() / "tmp");
  Environment xdg("XDG_CACHE_HOME", "");
  Environment home("HOME", directory.path() / "home");
  EXPECT_EQ(Cache::open({})->directory(), directory.path() / "tmp" / "skep-0");
  EXPECT_FALSE(fs::exists(directory.path() / "home" / ".cache"));
}

TEST(Cache, EvictsTheOldestFirst) {
  TemporaryDirectory directory;
  auto cache = Cache::open(directory.path() / "cache");
  ASSERT_TRUE(cache);
  for (int i = 0; i < 10; ++i) {
    const std::string name = "f" + std::to_string(i);
    ASSERT_TRUE(cache->write(name, std::string(1000, 'x')));
    const struct timespec times[2] = {{1000 + i, 0}, {1000 + i, 0}};
    ::utimensat(AT_FDCWD, (cache->directory() / name).c_str(), times, 0);
  }
  cache->evict(4000);
  for (int i = 0; i < 6; ++i) EXPECT_FALSE(fs::exists(cache->directory() / ("f" + std::to_string(i)))) << i;
  for (int i = 6; i < 10; ++i) EXPECT_TRUE(fs::exists(cache->directory() / ("f" + std::to_string(i)))) << i;
}

TEST(Cache, ReadingMakesAFileYoung) {
  TemporaryDirectory directory;
  auto cache = Cache::open(directory.path() / "cache");
  ASSERT_TRUE(cache);
  const struct timespec old[2] = {{1000, 0}, {1000, 0}};
  for (const char* name : {"used", "unused"}) {
    ASSERT_TRUE(cache->write(name, std::string(1000, 'x')));
    ::utimensat(AT_FDCWD, (cache->directory() / name).c_str(), old, 0);
  }
  ASSERT_TRUE(cache->read("used"));
  cache->evict(1000);
  EXPECT_TRUE(fs::exists(cache->directory() / "used"));
  EXPECT_FALSE(fs::exists(cache->directory() / "unused"));
}

TEST(Cache, EvictsDirectoriesAndDeadWork) {
  TemporaryDirectory directory;
  auto cache = Cache::open(directory.path() / "cache");
  ASSERT_TRUE(cache);
  const auto make = [&](const std::string& name, bool old) {
    directory.write("cache/" + name + "/sub/file", std::string(1000, 'x'));
    const struct timespec times[2] = {{1000, 0}, {1000, 0}};
    if (old) ::utimensat(AT_FDCWD, (cache->directory() / name).c_str(), times, 0);
  };
  make("work-1-1", true);
  make("work-1-2", false);
  make("headers-old", true);
  make("headers-new", false);
  cache->evict(u64{1} << 30);
  EXPECT_FALSE(fs::exists(cache->directory() / "work-1-1"));
  EXPECT_TRUE(fs::exists(cache->directory() / "headers-old"));
  cache->evict(0);
  EXPECT_FALSE(fs::exists(cache->directory() / "headers-old"));
  EXPECT_TRUE(fs::exists(cache->directory() / "headers-new"));  // in use, for all we know
  EXPECT_TRUE(fs::exists(cache->directory() / "work-1-2"));
}

TEST(Cache, WritersAndReadersAtOnceSeeWholeFiles) {
  TemporaryDirectory directory;
  auto cache = Cache::open(directory.path() / "cache");
  ASSERT_TRUE(cache);
  std::vector<std::thread> threads;
  std::atomic<int> torn{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      const std::string mine(20000, static_cast<char>('a' + t));
      for (int i = 0; i < 200; ++i) {
        if (!cache->write("shared", mine)) ++torn;
        const auto seen = cache->read("shared");
        if (!seen || seen->size() != 20000 || seen->find_first_not_of(seen->front()) != std::string::npos) ++torn;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(torn, 0);
  EXPECT_EQ(std::distance(fs::directory_iterator(cache->directory()), fs::directory_iterator()), 1);
}

TEST(Entry, RoundTrip) {
  Entry entry;
  entry.dependencies = {{"/a b", "1,2,3", std::string(40, 'a')}, {"/c", "", std::string(40, 'b')}};
  entry.warnings = "warning\nwith lines\n";
  entry.object = std::string(
      "\x7f"
      "ELF\0\n1",
      7);
  const auto back = read_entry(write_entry(entry));
  ASSERT_TRUE(back);
  ASSERT_EQ(back->dependencies.size(), 2u);
  EXPECT_EQ(back->dependencies[0].path, "/a b");
  EXPECT_EQ(back->dependencies[1].stamp, "");
  EXPECT_EQ(back->warnings, entry.warnings);
  EXPECT_EQ(back->object, entry.object);
}

TEST(Entry, DamageIsNoticed) {
  Entry entry;
  entry.dependencies = {{"/a", "1", std::string(40, 'a')}};
  entry.object = "object";
  const std::string good = write_entry(entry);
  for (std::size_t n = 0; n < good.size(); ++n) EXPECT_FALSE(read_entry(good.substr(0, n))) << n;
  EXPECT_FALSE(read_entry(good + "x"));
  EXPECT_FALSE(read_entry("skep-object 1 99999999999999999999 0 0\n"));
  EXPECT_FALSE(read_entry("skep-object 1 18446744073709551615 0 0\n"));
  EXPECT_FALSE(read_entry("skep-object 1 0 18446744073709551615 1\n"));
}

TEST(Entry, ChangedHeadersMakeItStale) {
  TemporaryDirectory directory;
  const fs::path header = directory.write("h.h", "one");
  Entry entry;
  entry.dependencies.push_back(*depend_on(header));
  EXPECT_EQ(entry.dependencies[0].stamp, "");  // too young for its times to prove anything
  EXPECT_TRUE(still_valid(entry));
  directory.write("h.h", "two");
  EXPECT_FALSE(still_valid(entry));
  directory.write("h.h", "one");
  EXPECT_TRUE(still_valid(entry));
  fs::remove(header);
  EXPECT_FALSE(still_valid(entry));
}

TEST(Depfile, NamesWithSpacesAndContinuations) {
  const auto names = parse_depfile("object: /a/b.c \\\n  /x\\ y.h $$z.h \\\n /c\\#d.h\n");
  EXPECT_EQ(names, (std::vector<std::string>{"/a/b.c", "/x y.h", "$z.h", "/c#d.h"}));
  EXPECT_TRUE(parse_depfile("").empty());
  EXPECT_TRUE(parse_depfile("object:").empty());
}

}  // namespace
}  // namespace skep::compile
