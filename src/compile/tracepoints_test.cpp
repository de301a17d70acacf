// Tracepoint records: from the table, from format files, from BTF, and when there is nothing.
#include "compile/tracepoints.hpp"

#include "compile/test_support.hpp"

namespace skep::compile {
namespace {

using test::EachClang;
using test::TemporaryDirectory;

constexpr std::string_view exec_format =
    "name: sched_process_exec\nID: 365\nformat:\n"
    "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
    "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n"
    "\tfield:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:0;\n"
    "\tfield:pid_t pid;\toffset:12;\tsize:4;\tsigned:1;\n"
    "\tfield:char comm[16];\toffset:16;\tsize:16;\tsigned:0;\n"
    "\tfield:struct odd thing;\toffset:40;\tsize:12;\tsigned:0;\n"
    "\tfield:const void * ptr;\toffset:56;\tsize:8;\tsigned:0;\n\nprint fmt: \"field:int x;\toffset:99;\"\n";

TracepointSources nowhere() {
  return {.tracefs = "/nonexistent", .debugfs = "/nonexistent", .btf = "/nonexistent", .may_mount = false};
}

TEST(Tracepoints, SystemCallsNeedNoKernel) {
  const auto text = tracepoint_struct({"syscalls", "sys_enter_openat"}, nowhere());
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_NE(text->find("struct tracepoint__syscalls__sys_enter_openat {"), std::string::npos);
  EXPECT_NE(text->find("const char *filename;"), std::string::npos);
  EXPECT_NE(text->find("int dfd __attribute__((aligned(8)));"), std::string::npos);
}

TEST(Tracepoints, FormatFileBecomesStruct) {
  TemporaryDirectory tracefs;
  tracefs.write("events/sched/sched_process_exec/format", exec_format);
  TracepointSources sources = nowhere();
  sources.tracefs = tracefs.path();
  const auto text = tracepoint_struct({"sched", "sched_process_exec"}, sources);
  ASSERT_TRUE(text) << text.error().message;
  for (const char* line : {"unsigned int data_loc_filename ", "int pid ", "char comm[16] ", "skep_gap0[8]",
                           "unsigned char thing[12] ", "skep_gap1[4]", "const void *ptr "})
    EXPECT_NE(text->find(line), std::string::npos) << line << "\n" << *text;
  EXPECT_EQ(text->find("x;"), std::string::npos);
}

TEST(Tracepoints, UnknownEventSaysWhereItLooked) {
  const auto text = tracepoint_struct({"sched", "no_such_event"}, nowhere());
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, Code::not_found);
  EXPECT_NE(text.error().message.find("sched:no_such_event"), std::string::npos);
  EXPECT_NE(text.error().message.find("/nonexistent/events/sched/no_such_event/format"), std::string::npos);
}

TEST(Tracepoints, BrokenFormatsAreErrorsOrSkipped) {
  const TracepointName name{"a", "b"};
  EXPECT_FALSE(struct_from_format(name, ""));
  EXPECT_FALSE(struct_from_format(name, "field:int x;\toffset:0;\tsize:4;"));  // only common fields
  EXPECT_FALSE(struct_from_format(name, "field:int x;offset:16;size:4;\nfield:int y;offset:8;size:4;\n"));
  EXPECT_FALSE(struct_from_format(name, "field:int x;offset:4294967288;size:4294967295;"));
  EXPECT_FALSE(struct_from_format(name, "field:int x}evil;offset:8;size:4;\nfield:]\nfield:\n"));
  for (std::size_t n = 0; n <= exec_format.size(); ++n) (void)struct_from_format(name, exec_format.substr(0, n));
}

TEST_P(EachClang, EverySystemCallsRecordHasTheKernelsLayout) {
  std::string text = "#define CHECK(s, f, o) _Static_assert(__builtin_offsetof(struct s, f) == (o), #s \".\" #f);\n";
  int rows = 0;
#define SKEP_SYSCALL_ARGS(name, parameters)                                      \
  text += "CHECK(tracepoint__syscalls__sys_enter_" #name ", __syscall_nr, 8)\n"; \
  text += "CHECK(tracepoint__syscalls__sys_exit_" #name ", ret, 16)\n";          \
  ++rows;
#include "compile/syscall_args.def"
#undef SKEP_SYSCALL_ARGS
  text +=
      "CHECK(tracepoint__syscalls__sys_enter_openat, dfd, 16)\n"
      "CHECK(tracepoint__syscalls__sys_enter_openat, mode, 40)\n"
      "CHECK(tracepoint__syscalls__sys_enter_mmap, off, 56)\n"
      "_Static_assert((typeof(((struct tracepoint__syscalls__sys_enter_openat *)0)->dfd))-1 < 0, \"signed\");\n";
  EXPECT_GT(rows, 350);
  const auto compiled = compile_text(text, "records.c", options_);
  ASSERT_TRUE(compiled) << compiled.error().message;
  EXPECT_EQ(compiled->warnings, "");
}

TEST_P(EachClang, FormatStructCompilesWithItsOffsets) {
  const auto text = struct_from_format({"sched", "sched_process_exec"}, exec_format);
  ASSERT_TRUE(text);
  options_.dialect = Dialect::libbpf;  // or the event would be looked up on this machine
  const auto compiled = compile_text(
      *text +
          "#define CHECK(f, o) _Static_assert(__builtin_offsetof(struct tracepoint__sched__sched_process_exec, f) == "
          "(o), #f);\nCHECK(data_loc_filename, 8) CHECK(pid, 12) CHECK(comm, 16) CHECK(thing, 40) CHECK(ptr, 56)\n",
      "format.c", options_);
  EXPECT_TRUE(compiled) << compiled.error().message;
}

SKEP_EACH_CLANG(EachClang);

TEST(Tracepoints, KernelTypesStandInForTracefs) {
  if (!std::filesystem::exists("/sys/kernel/btf/vmlinux")) GTEST_SKIP() << "this kernel has no BTF";
  TracepointSources sources = nowhere();
  sources.btf = "/sys/kernel/btf/vmlinux";
  const auto text = tracepoint_struct({"sched", "sched_process_exec"}, sources);
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_NE(text->find("data_loc_filename"), std::string::npos) << *text;
  EXPECT_NE(text->find(" pid "), std::string::npos) << *text;
}

}  // namespace
}  // namespace skep::compile
