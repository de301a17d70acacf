// Programs on system calls of real commands: what they count, print and report is what the commands did.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "support.hpp"

namespace skep {
namespace {

using test::program_object;
constexpr uid_t nobody = 65534;

Result<std::vector<Link>> attach_all(Object& object) {
  std::vector<Link> links;
  for (Program& program : object.programs()) links.push_back(SKEP_TRY(program.attach()));
  return links;
}

/// The whole path once, as a body for any user: load hello, run a command with four execs, look at what came out.
std::string hello_counts_execs(const ObjectSpec& spec) {
  auto engine = user_backend({.serve_control_socket = false});
  SKEP_EXPECT_OK(engine);
  auto object = (*engine)->load(spec);
  SKEP_EXPECT_OK(object);
  auto pipe = (*engine)->open_trace_pipe();
  SKEP_EXPECT_OK(pipe);
  auto links = attach_all(*object);
  SKEP_EXPECT_OK(links);
  const auto result =
      (*engine)->run({.command = {"sh", "-c", "/bin/true; /bin/true; /bin/ls /nonexistent 2>/dev/null; exit 7"}});
  SKEP_EXPECT_OK(result);
  SKEP_EXPECT(result->exited);
  SKEP_EXPECT(WIFEXITED(result->wait_status) && WEXITSTATUS(result->wait_status) == 7);
  const auto lines = test::lines(*pipe);
  SKEP_EXPECT(lines.size() == 4);
  for (const std::string& line : lines) SKEP_EXPECT(line.find("bpf_trace_printk: Hello World!") != std::string::npos);
  const auto table = object->map("counter_table");
  SKEP_EXPECT_OK(table);
  SKEP_EXPECT((table->get<u64>(u64{::getuid()}) == u64{4}));
  const auto total = object->map(".bss");
  SKEP_EXPECT_OK(total);
  SKEP_EXPECT((total->get<u64>(u32{0}) == u64{4}));
  const auto programs = (*engine)->inspector().programs();
  SKEP_EXPECT_OK(programs);
  SKEP_EXPECT(programs->size() == 1 && programs->front().run_count == 4);
#if defined(__x86_64__)
  SKEP_EXPECT(programs->front().jited && programs->front().bytes_jited > 0);
#endif
  SKEP_EXPECT(!(*engine)->notes().empty());
  return "";
}

TEST(UserHooks, HelloCountsEveryExec) {
  SKEP_NEED_CLANG();
  const ObjectSpec spec = program_object("hello");
  EXPECT_EQ(test::in_process(0, [&] { return hello_counts_execs(spec); }), "");
}

TEST(UserHooks, HelloNeedsNoPrivileges) {
  SKEP_NEED_CLANG();
  const ObjectSpec spec = program_object("hello");
  EXPECT_EQ(test::in_process(nobody, [&] { return hello_counts_execs(spec); }), "");
}

TEST(UserHooks, PathsAreReadFromTheTracedProcess) {
  SKEP_NEED_CLANG();
  const test::Scratch scratch;
  const auto file = scratch.path() / "a file to be opened";
  std::ofstream(file) << "content";
  auto engine = user_backend({.serve_control_socket = false}).value();
  auto object = engine->load(program_object("open_ring"));
  ASSERT_TRUE(object) << object.error().message;
  auto ring = object->map("events")->open_ring().value();
  auto links = attach_all(*object);
  ASSERT_TRUE(links) << links.error().message;
  const auto result = engine->run({.command = {"cat", file.string()}});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->wait_status, 0);
  const auto events = test::events(ring);
  const auto opened = std::ranges::find_if(events, [&](const auto& event) { return event.path == file.string(); });
  ASSERT_NE(opened, events.end()) << events.size() << " events";
  EXPECT_STREQ(opened->comm, "cat");
  EXPECT_GT(opened->pid, 0u);
  EXPECT_EQ(ring.lost(), 0u);
  EXPECT_TRUE(std::ranges::all_of(events, [](const auto& event) { return event.path[0] != 0; }))
      << "an empty path where the kernel's tools print one";
}

TEST(UserHooks, EntryAndReturnMeet) {
  SKEP_NEED_CLANG();
  const test::Scratch scratch;
  const auto there = scratch.path() / "there", missing = scratch.path() / "missing";
  std::ofstream(there) << "content";
  auto engine = user_backend({.serve_control_socket = false}).value();
  auto object = engine->load(program_object("open_pair"));
  ASSERT_TRUE(object) << object.error().message;
  auto ring = object->map("events")->open_ring().value();
  auto links = attach_all(*object);
  ASSERT_TRUE(links) << links.error().message;
  const auto result = engine->run({.command = {"cat", there.string(), missing.string()}});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_TRUE(WIFEXITED(result->wait_status));
  EXPECT_EQ(WEXITSTATUS(result->wait_status), 1);
  const auto events = test::events(ring);
  const auto ret_of = [&](const std::filesystem::path& path) {
    const auto found = std::ranges::find_if(events, [&](const auto& event) { return event.path == path.string(); });
    return found == events.end() ? -12345 : found->ret;
  };
  EXPECT_GE(ret_of(there), 3);
  EXPECT_EQ(ret_of(missing), -ENOENT);
  EXPECT_FALSE(object->map("paths")->next_key(std::nullopt)->has_value()) << "every entry found its return";
}

TEST(UserHooks, EveryOtherHookSeesTheSameExecs) {
  SKEP_NEED_CLANG();
  auto engine = user_backend({.serve_control_socket = false}).value();
  auto object = engine->load(program_object("exec_hooks"));
  ASSERT_TRUE(object) << object.error().message;
  auto ring = object->map("events")->open_ring().value();
  auto links = attach_all(*object);
  ASSERT_TRUE(links) << links.error().message;
  EXPECT_EQ(engine->inspector().links()->size(), 5u);
  const auto result = engine->run({.command = {"sh", "-c", "/bin/true; /nonexistent/program 2>/dev/null; exit 0"}});
  ASSERT_TRUE(result) << result.error().message;
  const auto events = test::events(ring);
  std::vector<std::string> paths;
  for (const auto& event : events) paths.emplace_back(event.path);
  EXPECT_EQ(paths.size(), 3u);
  EXPECT_NE(std::ranges::find(paths, "/bin/true"), paths.end());
  EXPECT_NE(std::ranges::find(paths, "/nonexistent/program"), paths.end());
  const Map counts = object->map("counts").value();
  EXPECT_EQ(counts.get<u64>(u32{0}).value(), 1u) << "one exec failed";
  EXPECT_EQ(counts.get<u64>(u32{1}).value(), 3u) << "kprobe on the system call's function";
  EXPECT_EQ(counts.get<u64>(u32{2}).value(), 3u) << "raw tracepoint sys_enter";
  EXPECT_EQ(counts.get<u64>(u32{3}).value(), 3u) << "raw tracepoint sys_exit";
  links->clear();
  EXPECT_TRUE(engine->inspector().links()->empty());
}

TEST(UserHooks, UntypedProgramsAreWhatTheirTargetSays) {
  SKEP_NEED_CLANG();
  // BCC's dialect: no section; the command line says where the program goes.
  ObjectSpec spec = program_object("hello");
  ProgramSpec& program = spec.programs.front();
  program.type = ProgramType::unspec;
  program.section = ".text";
  program.attach = AttachTarget::from_text("syscall:execve").value();
  auto engine = user_backend({.serve_control_socket = false}).value();
  auto object = engine->load(spec);
  ASSERT_TRUE(object) << object.error().message;
  EXPECT_EQ(object->programs().front().info().type, ProgramType::kprobe);
  auto link = object->programs().front().attach();
  ASSERT_TRUE(link) << link.error().message;
  ASSERT_TRUE(engine->run({.command = {"/bin/true"}}));
  EXPECT_EQ(object->map("counter_table")->get<u64>(u64{::getuid()}).value(), 1u);
}

TEST(UserHooks, StopEndsARun) {
  SKEP_NEED_CLANG();
  auto engine = user_backend({.serve_control_socket = false}).value();
  auto object = engine->load(program_object("hello")).value();
  auto links = attach_all(object).value();
  std::thread stopper([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    engine->stop();
  });
  const auto begin = std::chrono::steady_clock::now();
  const auto result = engine->run({.command = {"sleep", "3"}});
  stopper.join();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_FALSE(result->exited);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
}

TEST(UserHooks, ObservingNothingIsAnError) {
  SKEP_NEED_CLANG();
  auto engine = user_backend({.serve_control_socket = false}).value();
  auto object = engine->load(program_object("hello")).value();
  const auto unattached = engine->run({.command = {"/bin/true"}});
  ASSERT_FALSE(unattached) << "no program is attached";
  auto links = attach_all(object).value();
  const auto idle = engine->run({});
  ASSERT_FALSE(idle);
  EXPECT_EQ(idle.error().code, Code::invalid_argument);
  const auto missing = engine->run({.command = {"/nonexistent/command"}});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::not_found);
}

}  // namespace
}  // namespace skep
