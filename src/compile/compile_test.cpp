// The whole way: which clang, what is cached and when it is not, and what a person reads when something is wrong.
#include "compile/compile.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "compile/clang.hpp"
#include "compile/diagnostics.hpp"
#include "compile/process.hpp"
#include "compile/test_support.hpp"

namespace skep::compile {
namespace {

using test::Environment;
using test::TemporaryDirectory;
namespace fs = std::filesystem;

constexpr std::string_view hello = "int hello(void *ctx) {\n  bpf_trace_printk(\"Hello World!\");\n  return 0;\n}\n";

/// A clang that writes a line into a file each time it is started.
class Compile : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto clangs = test::installed_clangs();
    if (clangs.empty()) GTEST_SKIP() << "no clang is installed: nothing of the compile room that needs one is tested";
    wrapper_ = directory_.write(
        "bin/clang-99", "#!/bin/sh\necho \"$@\" >> " + log().native() + "\nexec " + clangs.back() + " \"$@\"\n");
    ::chmod(wrapper_.c_str(), 0755);
    environment_ = std::make_unique<Environment>("SKEP_CLANG", wrapper_.native());
    options_.cache_dir = directory_.path() / "cache";
  }
  fs::path log() const { return directory_.path() / "log"; }
  /// How often clang was started since the last question.
  int starts() {
    std::ifstream file(log());
    int lines = 0;
    for (std::string line; std::getline(file, line);) ++lines;
    return lines - std::exchange(seen_, lines);
  }
  Compiled must_compile(const fs::path& path) {
    auto compiled = compile_file(path, options_);
    EXPECT_TRUE(compiled) << compiled.error().message;
    return compiled ? *std::move(compiled) : Compiled{};
  }

  TemporaryDirectory directory_;
  CompileOptions options_;
  fs::path wrapper_;
  std::unique_ptr<Environment> environment_;

 private:
  int seen_ = 0;
};

TEST_F(Compile, SecondTimeComesFromTheCache) {
  const fs::path source = directory_.write("hello.bpf.c", hello);
  const Compiled first = must_compile(source);
  EXPECT_FALSE(first.from_cache);
  EXPECT_EQ(starts(), 2);  // its version, and the work
  EXPECT_FALSE(first.clang_version.empty());
  EXPECT_EQ(first.dialect, Dialect::bcc);
  const Compiled second = must_compile(source);
  EXPECT_TRUE(second.from_cache);
  EXPECT_EQ(starts(), 0);
  EXPECT_EQ(second.object, first.object);
  EXPECT_EQ(second.clang_version, first.clang_version);
  EXPECT_EQ(second.path, first.path);
  EXPECT_TRUE(fs::exists(second.path));
}

TEST_F(Compile, WhateverMattersMakesItNew) {
  const fs::path source = directory_.write("hello.bpf.c", hello);
  must_compile(source);
  starts();
  directory_.write("hello.bpf.c", std::string(hello) + "\n");
  EXPECT_FALSE(must_compile(source).from_cache);
  EXPECT_EQ(starts(), 1);
  options_.cflags = {"-DX=1"};
  EXPECT_FALSE(must_compile(source).from_cache);
  options_.cflags = {"-DX=2"};
  EXPECT_FALSE(must_compile(source).from_cache);
  options_.cflags.clear();
  EXPECT_TRUE(must_compile(source).from_cache);
  options_.cpu = "v2";
  EXPECT_FALSE(must_compile(source).from_cache);
  options_.cpu = "v3";
  directory_.write("other.bpf.c", std::string(hello) + "\n");
  EXPECT_FALSE(must_compile(directory_.path() / "other.bpf.c").from_cache);  // its name is in the line information
  starts();
  // A new compiler, seen by its time of change.
  const struct timespec times[2] = {{5000, 0}, {5000, 0}};
  ::utimensat(AT_FDCWD, wrapper_.c_str(), times, 0);
  EXPECT_FALSE(must_compile(source).from_cache);
  EXPECT_EQ(starts(), 2);
}

TEST_F(Compile, ChangedIncludeMakesItNew) {
  directory_.write("value.h", "#define VALUE 1\n");
  const fs::path source = directory_.write("f.bpf.c", "#include \"value.h\"\nint f(void *ctx) { return VALUE; }\n");
  const auto value = [&] {
    const auto spec = load_program(source, options_);
    EXPECT_TRUE(spec) << spec.error().message;
    return spec ? spec->programs[0].insns[0].imm : -1;
  };
  EXPECT_EQ(value(), 1);
  starts();
  EXPECT_EQ(value(), 1);
  EXPECT_EQ(starts(), 0);
  directory_.write("value.h", "#define VALUE 2\n");
  EXPECT_EQ(value(), 2);
  EXPECT_EQ(starts(), 1);
  fs::remove(directory_.path() / "value.h");
  EXPECT_FALSE(load_program(source, options_));
}

TEST_F(Compile, DamagedCacheIsNotBelieved) {
  const fs::path source = directory_.write("hello.bpf.c", hello);
  const Compiled good = must_compile(source);
  const auto size = fs::file_size(good.path);
  for (const auto cut : {size - 1, size / 2, std::uintmax_t{0}}) {
    fs::resize_file(good.path, cut);
    const Compiled again = must_compile(source);
    EXPECT_FALSE(again.from_cache) << cut;
    EXPECT_EQ(again.object, good.object);
  }
  ::chmod(good.path.c_str(), 0666);
  EXPECT_FALSE(must_compile(source).from_cache);
}

TEST_F(Compile, WithoutCacheNothingIsKept) {
  const fs::path source = directory_.write("hello.bpf.c", hello);
  options_.use_cache = false;
  EXPECT_TRUE(must_compile(source).path.empty());
  EXPECT_FALSE(must_compile(source).from_cache);
  for (const auto& item : fs::directory_iterator(options_.cache_dir))
    EXPECT_FALSE(item.path().native().ends_with(".o") || item.path().filename().native().starts_with("work-"))
        << item.path();
}

TEST_F(Compile, UnwritableCacheStillCompiles) {
  if (::geteuid() == 0) {
    // Root writes anywhere; a file where the entry would be renamed to cannot be replaced by a file.
    const fs::path source = directory_.write("hello.bpf.c", hello);
    const Compiled first = must_compile(source);
    fs::remove(first.path);
    fs::create_directory(first.path);
    directory_.write(first.path.lexically_relative(directory_.path()) / "occupied", "");
    const Compiled again = must_compile(source);
    EXPECT_EQ(again.object, first.object);
    EXPECT_TRUE(again.path.empty());
    return;
  }
  options_.cache_dir = "/proc/no-such-cache";
  EXPECT_FALSE(compile_text(hello, "hello.c", options_));
}

TEST_F(Compile, ManyAtOnceAgree) {
  const fs::path source = directory_.write("hello.bpf.c", hello);
  std::vector<pid_t> children;
  for (int i = 0; i < 6; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      const auto spec = load_program(source, options_);
      ::_exit(spec && spec->programs.size() == 1 && spec->programs[0].insns.size() > 5 ? 0 : 1);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  EXPECT_TRUE(must_compile(source).from_cache);
  for (const auto& item : fs::directory_iterator(options_.cache_dir))
    EXPECT_FALSE(item.path().filename().native().starts_with("work-")) << item.path();
}

TEST_F(Compile, ErrorsAreClangsWithTheUsersLines) {
  const fs::path source = directory_.write("bad.bpf.c", "int hello(void *ctx) {\n  u64 x = 1;\n  return y;\n}\n");
  const auto compiled = compile_file(source, options_);
  ASSERT_FALSE(compiled);
  EXPECT_EQ(compiled.error().code, Code::invalid_argument);
  EXPECT_NE(compiled.error().message.find(source.native() + ":3:10: error: use of undeclared identifier 'y'"),
            std::string::npos)
      << compiled.error().message;
  const auto text = compile_text("int f(void *ctx) { return z; }\n", "typed.c", options_);
  ASSERT_FALSE(text);
  EXPECT_NE(text.error().message.find("typed.c:1:27: error:"), std::string::npos) << text.error().message;
  EXPECT_EQ(text.error().message.find(options_.cache_dir.native()), std::string::npos) << text.error().message;
}

TEST_F(Compile, WarningsAreKeptToo) {
  const fs::path source =
      directory_.write("warn.bpf.c", "int f(void *ctx) { int *p = ctx; long *q = p; return q != 0; }\n");
  EXPECT_NE(must_compile(source).warnings.find("warn.bpf.c:1:"), std::string::npos);
  const Compiled again = must_compile(source);
  EXPECT_TRUE(again.from_cache);
  EXPECT_NE(again.warnings.find("warn.bpf.c:1:"), std::string::npos);
  std::string told;
  options_.on_warning = [&](std::string_view text) { told += text; };
  EXPECT_TRUE(load_program(source, options_));
  EXPECT_EQ(told, again.warnings);
}

TEST_F(Compile, ObjectsDoNotDependOnWhereTheCacheIs) {
  const fs::path source = directory_.write("hello.bpf.c", hello);
  const Compiled one = must_compile(source);
  options_.cache_dir = directory_.path() / "elsewhere";
  EXPECT_EQ(must_compile(source).object, one.object);
}

TEST_F(Compile, EnvironmentDoesNotChangeTheResult) {
  directory_.write("evil/skep/macro.h", "#error from CPATH\n");
  directory_.write("evil/linux/types.h", "#error from CPATH\n");
  Environment cpath("CPATH", directory_.path() / "evil");
  const fs::path source = directory_.write("hello.bpf.c", "#include <linux/types.h>\n" + std::string(hello));
  must_compile(source);
}

TEST_F(Compile, OddNamesAreFiles) {
  for (const char* name : {"-o.c", "with space.c", "$(touch x).c", "object.o.c", "prelude.h"}) {
    const fs::path source = directory_.write(name, hello);
    EXPECT_TRUE(load_program(source, options_)) << name;
    const auto text = load_text(hello, name, options_);
    EXPECT_TRUE(text) << name << ": " << text.error().message;
  }
  const fs::path before = fs::current_path();
  fs::current_path(directory_.path());
  EXPECT_TRUE(load_program("-o.c", options_));
  fs::current_path(before);
}

TEST_F(Compile, ContentDecidesWhatAFileIs) {
  const Compiled compiled = must_compile(directory_.write("hello.bpf.c", hello));
  const fs::path object = directory_.write(
      "looks-like.c", std::string_view(reinterpret_cast<const char*>(compiled.object.data()), compiled.object.size()));
  const auto spec = load_program(object, options_);
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_EQ(spec->programs[0].name, "hello");
  starts();
  const auto named = load_program(directory_.write("text.o", hello), options_);
  ASSERT_FALSE(named);
  EXPECT_EQ(named.error().code, Code::malformed);
  EXPECT_FALSE(load_program(directory_.write("empty.c", ""), options_));
  EXPECT_FALSE(load_program(directory_.write("zero.c", std::string_view("int x;\0", 7)), options_));
  EXPECT_EQ(starts(), 0);
  const auto absent = load_program(directory_.path() / "absent.c", options_);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, Code::not_found);
}

TEST_F(Compile, PipesAreRead) {
  const fs::path pipe = directory_.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  std::thread writer([&] { std::ofstream(pipe) << hello; });
  const auto spec = load_program(pipe, options_);
  writer.join();
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_EQ(spec->programs[0].name, "hello");
}

TEST_F(Compile, WritesAnObjectForOthers) {
  const fs::path source = directory_.write("hello.bpf.c", hello);
  const fs::path object = directory_.path() / "hello.o";
  const auto compiled = compile_to(source, object, options_);
  ASSERT_TRUE(compiled) << compiled.error().message;
  EXPECT_EQ(fs::file_size(object), compiled->object.size());
  EXPECT_TRUE(load_program(object, options_));
  EXPECT_FALSE(compile_to(source, directory_.path() / "no" / "such" / "directory.o", options_));
}

TEST_F(Compile, DialectCanBeForced) {
  options_.dialect = Dialect::libbpf;
  EXPECT_FALSE(compile_text("BPF_HASH(h);\nint f(void *c) { return 0; }\n", "f.c", options_));
  options_.dialect = Dialect::bcc;
  const auto compiled = compile_text(
      "BPF_HASH(h);\n__attribute__((section(\"kprobe/x\"))) int f(void *c) { return 0; }\n", "f.c", options_);
  ASSERT_TRUE(compiled) << compiled.error().message;
  EXPECT_EQ(compiled->dialect, Dialect::bcc);
}

TEST_F(Compile, OtherProcessorsRegisters) {
  constexpr std::string_view source = "int f(struct pt_regs *ctx) { return PT_REGS_RC(ctx) + PT_REGS_PARM2(ctx); }\n";
  options_.arch = "arm64";
  EXPECT_TRUE(compile_text(source, "f.c", options_));
  options_.arch = "x86";
  EXPECT_TRUE(compile_text(source, "f.c", options_));
  options_.arch = "m68k";
  const auto compiled = compile_text(source, "f.c", options_);
  ASSERT_FALSE(compiled);
  EXPECT_EQ(compiled.error().code, Code::invalid_argument);
}

TEST_F(Compile, CachedLoadIsQuick) {
  // A bound with room for a loaded machine; the figure itself is the benchmark's.
  const fs::path source = directory_.write("hello.bpf.c", hello);
  ASSERT_TRUE(load_program(source, options_));
  auto best = std::chrono::nanoseconds::max();
  for (int i = 0; i < 20; ++i) {
    const auto start = std::chrono::steady_clock::now();
    ASSERT_TRUE(load_program(source, options_));
    best = std::min<std::chrono::nanoseconds>(best, std::chrono::steady_clock::now() - start);
  }
  EXPECT_LT(best, std::chrono::milliseconds(20));
}

TEST(Clang, AbsenceNamesThePackage) {
  TemporaryDirectory directory;
  Environment path("PATH", directory.path());
  Environment clang("SKEP_CLANG", "");
  CompileOptions options;
  options.cache_dir = directory.path() / "cache";
  const auto compiled = compile_text(hello, "hello.c", options);
  ASSERT_FALSE(compiled);
  EXPECT_EQ(compiled.error().code, Code::not_found);
  EXPECT_NE(compiled.error().message.find("install Debian's `clang` package"), std::string::npos);
  EXPECT_NE(compiled.error().message.find("an object (.o) needs no compiler"), std::string::npos);
}

TEST(Clang, NewestInPathIsChosen) {
  TemporaryDirectory directory;
  for (const char* name : {"clang", "clang-15", "clang-18", "clang-9"}) {
    const fs::path file = directory.write(name, "#!/bin/sh\necho 'Some clang version " +
                                                    std::string(std::string_view(name) == "clang" ? "30" : name + 6) +
                                                    ".1.2-x (vendor)'\n");
    ::chmod(file.c_str(), 0755);
  }
  auto cache = Cache::open(directory.path() / "cache");
  ASSERT_TRUE(cache);
  Environment clang("SKEP_CLANG", "");
  Environment path("PATH", "relative:" + directory.path().native());
  auto found = find_clang(*cache);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->version, "18.1.2");
  fs::remove(directory.path() / "clang-18");
  fs::remove(directory.path() / "clang-15");
  EXPECT_EQ(find_clang(*cache)->version, "30.1.2");
  directory.write("clang", "#!/bin/sh\necho 'clang version 13.0.1'\n");
  const auto old = find_clang(*cache);
  ASSERT_FALSE(old);
  EXPECT_EQ(old.error().code, Code::unsupported);
  Environment named("SKEP_CLANG", "/no/such/clang");
  EXPECT_EQ(find_clang(*cache).error().code, Code::not_found);
}

TEST(Clang, VersionIsRead) {
  EXPECT_EQ(version_in("Debian clang version 14.0.6\nTarget: x"), "14.0.6");
  EXPECT_EQ(version_in("clang version 19.1.7 (3~deb12u1)"), "19.1.7");
  EXPECT_EQ(version_in("gcc version 12"), "");
}

TEST(Process, OutputAndStatus) {
  const auto done = run_process({"/bin/sh", "-c", "echo out; echo err >&2; exit 3"});
  ASSERT_TRUE(done);
  EXPECT_EQ(done->exit_status, 3);
  EXPECT_EQ(done->output, "out\nerr\n");
  EXPECT_EQ(run_process({"/bin/sh", "-c", "kill -9 $$"})->exit_status, 137);
  EXPECT_FALSE(run_process({"/no/such/program"}));
}

TEST(Process, EndlessOutputIsCut) {
  const auto done = run_process({"/bin/sh", "-c", "head -c 3000000 /dev/zero"});
  ASSERT_TRUE(done);
  EXPECT_EQ(done->exit_status, 0);
  EXPECT_EQ(done->output.size(), 256u << 10);
}

TEST(Diagnostics, DirectoriesAreHidden) {
  EXPECT_EQ(hide_directory("/tmp/x/a.c:1: in /tmp/x/b.h", "/tmp/x/"), "a.c:1: in b.h");
  EXPECT_EQ(hide_directory("nothing", "/tmp/x/"), "nothing");
  EXPECT_EQ(advice("some other error", Dialect::bcc), "");
}

TEST(Diagnostics, AnErrorIsSaidOnce) {
  const std::string_view one = "a.c:7:3: error: the stack\n  char b[600];\n       ^\n";
  const std::string_view other = "a.c:9:3: warning: unused\n  int c;\n";
  EXPECT_EQ(without_repetition(fmt::format("{0}{1}{0}a.c:7:3: error: the stack\n3 errors generated.\n", one, other)),
            fmt::format("{}{}", one, other));
  EXPECT_EQ(without_repetition("a.c:1:1: error: x\n1 error generated.\n"), "a.c:1:1: error: x\n1 error generated.\n");
  EXPECT_EQ(without_repetition("no newline"), "no newline\n");
  EXPECT_EQ(without_repetition(""), "");
}

}  // namespace
}  // namespace skep::compile
