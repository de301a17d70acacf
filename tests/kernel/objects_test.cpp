// Whole objects: maps of many kinds, global data, CO-RE, kconfig, refusals, workloads.
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <thread>

#include "kernel/features.hpp"
#include "shared_memory.hpp"
#include "support.hpp"

namespace skep::kernel_test {
namespace {

using test::global;

class Objects : public KernelEngine {
 protected:
  template <class T>
  static std::span<const std::byte> bytes(const T& value) {
    return std::as_bytes(std::span(&value, 1));
  }
};

std::vector<std::string> names(Object& object) {
  std::vector<std::string> found;
  for (const Program& program : object.programs()) found.push_back(program.info().name);
  return found;
}

TEST_F(Objects, OfEachGroupOneProgramIsLoaded) {
  auto spec = compile("variants");
  ASSERT_OK(spec);
  using Names = std::vector<std::string>;
  auto object = load(*spec);
  ASSERT_OK(object);
  EXPECT_EQ(names(*object), (Names{"ends_second", "always"}));
  EXPECT_NE(backend->notes().find("no_such:event"), std::string::npos) << backend->notes();
  // What is named is loaded, whatever else would fit.
  auto named = load(*spec, {.programs = {"ends_third", "asked_for"}});
  ASSERT_OK(named);
  EXPECT_EQ(names(*named), (Names{"ends_third", "asked_for"}));
  // Without the question mark the group is needed.
  spec->program("extra")->section = "tp/no_such/event";
  const auto refused = load(*spec);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::unsupported);
  EXPECT_NE(refused.error().message.find("no_such:event"), std::string::npos) << refused.error().message;
}

TEST_F(Objects, MemoryIsSharedWithItsHost) {
  auto spec = compile("shared_memory");
  ASSERT_OK(spec);
  // Older kernels: what they lack is left out.
  const auto version = kernel::Features::version_code();
  const bool has_ring = version >= 0x60100, has_arena = version >= 0x60900;
  const auto may = [&](std::string_view program) {
    return program == "take_orders" ? has_ring : program == "give_a_page" ? has_arena : true;
  };
  LoadOptions options;
  for (const ProgramSpec& program : spec->programs)
    if (may(program.name)) options.programs.push_back(program.name);
  if (!has_arena) GTEST_SKIP() << "before Linux 6.9 the object's arena cannot be made";
  auto object = load(*spec, options);
  ASSERT_OK(object);
  test::share_memory(*spec, *object, may);

  // An arena that no host has mapped yet has no address that programs could be verified with.
  const MapSpec* arena = spec->map("pages");
  ASSERT_NE(arena, nullptr);
  auto bare = backend->inspector().create_map(*arena, 0);
  ASSERT_OK(bare);
  options.maps = {{"pages", *bare}};
  auto borrower = load(*spec, options);
  ASSERT_OK(borrower);
  EXPECT_EQ(borrower->map("pages")->memory()->data(), bare->memory()->data());

  MapSpec largest = *arena;
  largest.max_entries = 1u << 20;  // 4 GiB of pages
  auto huge = backend->inspector().create_map(largest, 0);
  ASSERT_OK(huge);
  const auto memory = huge->memory();
  ASSERT_OK(memory);
  EXPECT_EQ(memory->size(), u64{4} << 30);
}

TEST_F(Objects, FrozenMemoryIsNotShared) {
  MapSpec spec;
  spec.name = "constants";
  spec.type = MapType::array;
  spec.key_size = 4;
  spec.value_size = 8;
  spec.max_entries = 1;
  spec.flags = map_flag::mmapable;
  auto map = backend->inspector().create_map(spec, 0);
  ASSERT_OK(map);
  ASSERT_OK(map->freeze());
  EXPECT_EQ(map->memory().error().code, Code::permission);
  spec.flags |= 1u << 7;  // BPF_F_RDONLY_PROG
  map = backend->inspector().create_map(spec, 0);
  ASSERT_OK(map);
  EXPECT_EQ(map->memory().error().code, Code::permission);
}

TEST_F(Objects, ModulesHaveFunctionsAndTypes) {
  if (!std::filesystem::exists("/sys/kernel/btf/sch_ingress"))
    GTEST_SKIP() << "no module sch_ingress with types is loaded";
  auto spec = compile("modules");
  ASSERT_OK(spec);
  auto object = load(*spec);
  ASSERT_OK(object);
  TestRun input;
  input.context.resize(8);
  ASSERT_OK(object->program("look")->test_run(input));
  EXPECT_EQ(global(*spec, *object, "has_type"), 1u);
  EXPECT_EQ(global(*spec, *object, "has_nothing"), 0u);
  EXPECT_GE(global(*spec, *object, "size"), 8u);
  for (const char* name : {"at_entry", "at_return"}) {
    auto link = object->program(name)->attach();
    ASSERT_OK(link);
  }
  spec->program("at_return")->attach.target = "sch_ingress:no_such_function";
  const auto refused = load(*spec);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("sch_ingress"), std::string::npos) << refused.error().message;
}

TEST_F(Objects, EveryKindOfMapAndReference) {
  auto spec = compile("maps");
  ASSERT_OK(spec);
  Child child([] { ::syscall(SYS_getppid); });
  set_global(*spec, "wanted_pid", child.pid());
  auto object = load(*spec);
  ASSERT_OK(object);
  auto link = object->program("fill")->attach();
  ASSERT_OK(link);
  ASSERT_TRUE(child.run());
  EXPECT_EQ(global(*spec, *object, "in_bss"), 7u);
  EXPECT_EQ(global(*spec, *object, "parent_tgid"), static_cast<u64>(::getpid()));
  EXPECT_EQ(global(*spec, *object, "version"), kernel::Features::version_code());
  EXPECT_EQ(global(*spec, *object, "bpf_configured", 1), 1u);
  EXPECT_NE(global(*spec, *object, "symbol"), 0u);
  EXPECT_EQ(global(*spec, *object, "tail_ran"), 1u);
  struct Pair {
    u32 left, right;
  };
  auto pairs = object->map("pairs");
  ASSERT_OK(pairs);
  const auto pair = pairs->get<Pair>(Pair{1, 2});
  ASSERT_OK(pair);
  EXPECT_EQ(pair->right, 4u);
  EXPECT_EQ(counter(*object, "inner_two", 0), 11u);
  EXPECT_EQ(counter(*object, "inner_one", 0), 0u);
  auto per_cpu = object->map("per_cpu")->lookup(bytes(u32{1}));
  ASSERT_OK(per_cpu);
  ASSERT_EQ(per_cpu->size() % 8, 0u);
  u32 sum = 0;
  for (std::size_t at = 0; at < per_cpu->size(); at += 8) {
    u32 one;
    std::memcpy(&one, per_cpu->data() + at, sizeof one);
    sum += one;
  }
  EXPECT_EQ(sum, 1u);
}

TEST_F(Objects, ATailCallToAProgramThatIsNotLoadedFallsThrough) {
  auto spec = compile("maps");
  ASSERT_OK(spec);
  Child child([] { ::syscall(SYS_getppid); });
  set_global(*spec, "wanted_pid", child.pid());
  auto object = load(*spec, {.programs = {"fill"}});
  ASSERT_OK(object);
  auto link = object->programs()[0].attach();
  ASSERT_OK(link);
  ASSERT_TRUE(child.run());
  EXPECT_EQ(global(*spec, *object, "in_bss"), 7u);
  EXPECT_EQ(global(*spec, *object, "tail_ran"), 0u);
}

TEST_F(Objects, MapOperationsAndTheirErrors) {
  auto spec = compile("maps");
  ASSERT_OK(spec);
  auto object = load(*spec, {.programs = {"tail"}});
  ASSERT_OK(object);
  const auto pairs = object->map("pairs").value();
  const u64 key = 5, other = 6, value = 9;
  EXPECT_EQ(pairs.lookup(bytes(key)).error().code, Code::not_found);
  ASSERT_OK(pairs.update(bytes(key), bytes(value)));
  EXPECT_EQ(pairs.update(bytes(key), bytes(value), 1).error().code, Code::invalid_argument);
  EXPECT_EQ(pairs.update(bytes(other), bytes(value), 2).error().code, Code::not_found);
  EXPECT_EQ(pairs.update(bytes(u32{1}), bytes(value)).error().code, Code::invalid_argument);
  EXPECT_EQ(pairs.update(bytes(key), bytes(u32{1})).error().code, Code::invalid_argument);
  EXPECT_EQ(pairs.get<u64>(key).value(), value);
  ASSERT_OK(pairs.update(bytes(other), bytes(value)));
  std::size_t walked = 0;
  std::optional<std::vector<std::byte>> at;
  for (;;) {
    auto next = pairs.next_key(at ? std::optional<std::span<const std::byte>>(*at) : std::nullopt);
    ASSERT_OK(next);
    if (!*next) break;
    at = *std::move(next);
    ASSERT_LT(walked++, 3u);
  }
  EXPECT_EQ(walked, 2u);
  ASSERT_OK(pairs.erase(bytes(key)));
  EXPECT_EQ(pairs.erase(bytes(key)).error().code, Code::not_found);
  for (u64 extra = 100; extra < 103; ++extra) ASSERT_OK(pairs.update(bytes(extra), bytes(value)));
  EXPECT_EQ(pairs.update(bytes(u64{200}), bytes(value)).error().code, Code::limit);
  EXPECT_EQ(pairs.open_ring().error().code, Code::unsupported);
  const auto rodata = object->map(".rodata").value();
  EXPECT_TRUE(rodata.info().frozen);
  EXPECT_EQ(rodata.update(bytes(u32{0}), std::vector<std::byte>(rodata.info().value_size)).error().code,
            Code::permission);
  EXPECT_EQ(object->map("no_such_map").error().code, Code::not_found);
  EXPECT_EQ(load(*spec, {.programs = {"no_such_program"}}).error().code, Code::not_found);
}

TEST_F(Objects, ARefusalNamesTheLineAndKeepsTheLog) {
  auto spec = compile("refused");
  ASSERT_OK(spec);
  auto object = load(*spec);
  ASSERT_FALSE(object);
  EXPECT_EQ(object.error().code, Code::rejected);
  EXPECT_NE(object.error().message.find("map_value_or_null"), std::string::npos) << object.error().message;
  EXPECT_NE(object.error().message.find("*count += 1;"), std::string::npos) << object.error().message;
  EXPECT_NE(backend->verifier_log().find("processed "), std::string::npos);
  auto good = compile("hooks");
  ASSERT_OK(good);
  ASSERT_OK(load(*good, {.programs = {"on_tracepoint"}}));
  EXPECT_EQ(backend->verifier_log(), "");
  ASSERT_OK(load(*good, {.programs = {"on_tracepoint"}, .verifier_log = true}));
  EXPECT_NE(backend->verifier_log().find("on_tracepoint"), std::string::npos);
}

TEST_F(Objects, RunGivesTheCommandsStatus) {
  auto result = backend->run({.command = {"sh", "-c", "exit 7"}});
  ASSERT_OK(result);
  EXPECT_TRUE(result->exited);
  EXPECT_EQ(WEXITSTATUS(result->wait_status), 7);
  result = backend->run({.command = {"sh", "-c", "kill -TERM $$"}});
  ASSERT_OK(result);
  EXPECT_TRUE(WIFSIGNALED(result->wait_status));
  EXPECT_EQ(backend->run({.command = {"no-such-command-here"}}).error().code, Code::not_found);
  EXPECT_EQ(backend->run({.command = {"/proc/self/status"}}).error().code, Code::permission);
}

TEST_F(Objects, OneProcessIsWatchedOnlyWhereTheHooksCanBeNarrowed) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::usleep(50000);
    ::_exit(0);
  }
  const auto ended = backend->run({.pid = child});
  ASSERT_OK(ended);
  EXPECT_TRUE(ended->exited) << "it is no child of the engine's: its end is seen, not its status";
  ::waitpid(child, nullptr, 0);
  auto spec = compile("hooks");
  ASSERT_OK(spec);
  auto object = load(*spec, {.programs = {"on_tracepoint"}});
  ASSERT_OK(object);
  auto link = object->programs()[0].attach();
  ASSERT_OK(link);
  const auto refused = backend->run({.pid = ::getpid()});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::unsupported);
  EXPECT_NE(refused.error().message.find("tracepoint:syscalls"), std::string::npos) << refused.error().message;
}

TEST_F(Objects, StopEndsAnEmptyWorkload) {
  std::thread stopper([this] { backend->stop(); });
  const auto result = backend->run({});
  stopper.join();
  ASSERT_OK(result);
  EXPECT_FALSE(result->exited);
}

TEST_F(Objects, TestRunGivesTheProgramsResult) {
  ObjectSpec spec;
  spec.name = "byhand";
  spec.license = "GPL";
  ProgramSpec program;
  program.name = "two";
  program.type = ProgramType::socket_filter;
  program.insns = {{0xb7, 0, 0, 0, 2}, {0x95, 0, 0, 0, 0}};
  spec.programs.push_back(program);
  auto object = load(spec);
  ASSERT_OK(object);
  const auto result = object->programs()[0].test_run({.data = std::vector<std::byte>(64)});
  ASSERT_OK(result);
  EXPECT_EQ(result->result, 2u);
  EXPECT_EQ(object->programs()[0].attach().error().code, Code::not_found);
}

}  // namespace
}  // namespace skep::kernel_test
