// Names of this process and of what it starts: files, the vdso, generated code, processes that have gone.
#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "base/mapped_file.hpp"
#include "symbols/symbolizer.hpp"

extern "C" __attribute__((noipa, used, visibility("default"))) int skep_symbols_landmark(int value) {
  return value * 3 + 1;
}

namespace skep::symbols {
namespace {

u64 address_of(const void* function) { return reinterpret_cast<u64>(function); }
u32 self() { return static_cast<u32>(::getpid()); }

/// A child that does nothing until it is ended.
class Child {
 public:
  Child() : pid_(::fork()) {
    while (pid_ == 0) ::pause();
  }
  ~Child() { end(); }
  u32 pid() const { return static_cast<u32>(pid_); }
  void end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  pid_t pid_;
};

TEST(Process, FunctionsOfThisProgramAndItsLibraries) {
  Symbolizer symbolizer;
  const u64 landmark = address_of(reinterpret_cast<void*>(&skep_symbols_landmark));
  // One of the C library's that no sanitizer puts its own in front of.
  const auto lfind_at = address_of(::dlsym(RTLD_DEFAULT, "lfind"));
  const u64 addresses[] = {landmark, landmark + 1, lfind_at + 2, 8, ~u64{0}};
  const auto frames = symbolizer.user(self(), addresses);
  ASSERT_EQ(frames.size(), 5u);
  EXPECT_EQ(frames[0].name, "skep_symbols_landmark");
  EXPECT_EQ(frames[0].offset, 0u);
  EXPECT_EQ(frames[1].offset, 1u);
  EXPECT_NE(frames[0].module.find("symbols_test"), std::string::npos) << frames[0].module;
  EXPECT_EQ(frames[2].name.substr(0, 5), "lfind") << frames[2].name;
  EXPECT_NE(frames[2].module.find("libc"), std::string::npos) << frames[2].module;
  EXPECT_EQ(text(frames[3]), "[unknown]");
  EXPECT_EQ(text(frames[4]), "[unknown]");
}

TEST(Process, TheVdsoHasNames) {
  const auto base = ::getauxval(AT_SYSINFO_EHDR);
  if (base == 0) GTEST_SKIP() << "no vdso in this process";
  // Where __vdso_clock_gettime lies, by the image's own table.
  const auto maps = parse_maps(*base::read_text("/proc/self/maps"));
  const Mapping* const mapping = mapping_of(maps, base);
  ASSERT_NE(mapping, nullptr);
  const auto image = FileSymbols::read({reinterpret_cast<const std::byte*>(base), mapping->end - mapping->begin});
  ASSERT_TRUE(image) << image.error().message;
  ASSERT_FALSE(image->tables().empty());
  const CodeSymbols& table = image->tables().front();
  u64 place = 0;
  for (std::size_t i = 0; i < table.size(); ++i)
    if (table.name(i).ends_with("clock_gettime")) place = table.address(i);
  ASSERT_NE(place, 0u);
  const Child child;
  Symbolizer symbolizer;
  for (const u32 pid : {self(), child.pid()}) {
    const Frame frame = symbolizer.user(pid, base + place + 1);
    EXPECT_TRUE(frame.name.ends_with("clock_gettime")) << frame.name;
    EXPECT_EQ(frame.module, "[vdso]");
  }
}

TEST(Process, ThatHasGoneIsRememberedAndOthersAreNot) {
  const u64 landmark = address_of(reinterpret_cast<void*>(&skep_symbols_landmark));
  Symbolizer symbolizer;
  Child seen, unseen;
  const u32 seen_pid = seen.pid(), unseen_pid = unseen.pid();
  EXPECT_TRUE(symbolizer.remember(seen_pid));
  seen.end();
  unseen.end();
  EXPECT_EQ(symbolizer.user(seen_pid, landmark).name, "skep_symbols_landmark");
  EXPECT_EQ(symbolizer.user(unseen_pid, landmark).name, "");
  EXPECT_FALSE(symbolizer.remember(unseen_pid));
  EXPECT_EQ(Process::open(unseen_pid).error().code, Code::not_found);
}

TEST(Process, WhatIsMappedLaterIsFound) {
  Symbolizer symbolizer;
  ASSERT_NE(symbolizer.user(self(), address_of(::dlsym(RTLD_DEFAULT, "qsort"))).name, "");
  void* const library = ::dlopen("libm.so.6", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) GTEST_SKIP() << "no libm.so.6 to load";
  ::usleep(6000);
  EXPECT_NE(symbolizer.user(self(), address_of(::dlsym(library, "fegetround"))).name, "");
  ::dlclose(library);
}

/// A file that a process still has mapped, but which nobody can open by name any more.
TEST(Process, ADeletedFileIsReadThroughTheMapping) {
  if (::geteuid() != 0) GTEST_SKIP() << "/proc/PID/map_files needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE";
  char copy[] = "/tmp/skep-symbols-XXXXXX";
  ::close(::mkstemp(copy));
  std::filesystem::copy_file("/proc/self/exe", copy, std::filesystem::copy_options::overwrite_existing);
  const base::Fd fd(::open(copy, O_RDONLY | O_CLOEXEC));
  const auto bytes = base::read_file(copy);
  ASSERT_TRUE(bytes);
  std::filesystem::remove(copy);
  void* const at = ::mmap(nullptr, bytes->size(), PROT_READ | PROT_EXEC, MAP_PRIVATE, fd.get(), 0);
  ASSERT_NE(at, MAP_FAILED);
  // The landmark's code, where it lies in the file.
  const auto* const code = reinterpret_cast<const std::byte*>(&skep_symbols_landmark);
  const auto found = std::search(bytes->begin(), bytes->end(), code, code + 12);
  ASSERT_NE(found, bytes->end());
  Symbolizer symbolizer;
  const Frame frame = symbolizer.user(self(), address_of(at) + static_cast<u64>(found - bytes->begin()) + 2);
  EXPECT_EQ(frame.name, "skep_symbols_landmark");
  EXPECT_EQ(frame.module, copy);
  ::munmap(at, bytes->size());
}

class JitCode : public testing::Test {
 protected:
  void SetUp() override {
    code_ = ::mmap(nullptr, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(code_, MAP_FAILED);
    path_ = "/tmp/perf-" + std::to_string(::getpid()) + ".map";
    std::filesystem::remove(path_);
  }
  void TearDown() override {
    std::filesystem::remove(path_);
    ::munmap(code_, 8192);
  }
  u64 begin() const { return address_of(code_); }
  void write(std::string_view name) {
    char line[128];
    std::snprintf(line, sizeof line, "%lx 40 %.*s\n", begin() + 0x100, static_cast<int>(name.size()), name.data());
    std::ofstream(path_, std::ios::app) << line;
  }
  void* code_ = nullptr;
  std::string path_;
};

TEST_F(JitCode, IsNamedByThePerfMap) {
  write("Function:work /app/a.js:1");
  Symbolizer symbolizer;
  const Frame frame = symbolizer.user(self(), begin() + 0x104);
  EXPECT_EQ(frame.name, "Function:work /app/a.js:1");
  EXPECT_EQ(frame.offset, 4u);
  EXPECT_EQ(frame.module, "perf-" + std::to_string(::getpid()) + ".map");
  EXPECT_EQ(symbolizer.user(self(), begin() + 0x140).name, "");
  write("Function:work, optimised");
  ::usleep(550'000);  // it is not looked at for every address
  EXPECT_EQ(symbolizer.user(self(), begin() + 0x104).name, "Function:work, optimised");
}

TEST_F(JitCode, APerfMapOfSomebodyElseOrALinkIsNotBelieved) {
  const std::string target = path_ + ".target";
  std::ofstream(target) << std::hex << begin() << " 1000 stolen\n";
  std::filesystem::create_symlink(target, path_);
  EXPECT_EQ(Symbolizer().user(self(), begin()).name, "");
  std::filesystem::remove(path_);
  std::filesystem::rename(target, path_);
  EXPECT_EQ(Symbolizer().user(self(), begin()).name, "stolen");
  if (::geteuid() != 0) return;  // only root can give a file away
  ASSERT_EQ(::chown(path_.c_str(), 65534, 65534), 0);
  EXPECT_EQ(Symbolizer().user(self(), begin()).name, "");
}

/// What a file says of its time is its owner's, as far as its file system goes: in memory, all of 64 bits.
TEST(Cache, TellsFilesOfAnyYearApart) {
  const base::Fd file(::memfd_create("skep_symbols_test", MFD_CLOEXEC));
  std::vector<s64> seen;
  for (const time_t second : {time_t{1} << 61, time_t{0}, -(time_t{1} << 61)}) {
    const timespec times[2] = {{second, 5}, {second, 5}};
    ASSERT_EQ(::futimens(file.get(), times), 0);
    seen.push_back(FileIdentity::of(file.get())->modified_ns);
  }
  EXPECT_EQ(seen[1], 5);
}

TEST(Cache, ForgetsTheFileAskedForLeast) {
  const auto open = [](const char* path) { return base::Fd(::open(path, O_RDONLY | O_CLOEXEC)); };
  FileCache cache(1);  // room for one
  auto first = open("/proc/self/exe");
  const auto identity = *FileIdentity::of(first.get());
  const auto symbols = cache.add(identity, std::move(first), {});
  EXPECT_GT(symbols->tables().size(), 0u);
  EXPECT_EQ(cache.find(identity), symbols);
  cache.add({1, 2, 3, 4}, open("/etc/passwd"), {});  // no ELF file: kept as one without symbols
  EXPECT_EQ(cache.size(), 1u);
  EXPECT_EQ(cache.find(identity), nullptr);
  EXPECT_GT(symbols->memory_bytes(), 0u);  // still ours
}

}  // namespace
}  // namespace skep::symbols
