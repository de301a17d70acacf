// The engine inside a host: its structure, its helpers, its packets, and every way a load can be refused.
#include <gtest/gtest.h>
#include <skep/skep_vm.h>

#include <cstring>
#include <skep/vm.hpp>

#include "isa/text.hpp"

namespace skep::host {
namespace {

struct Request {
  u32 client = 0;
  u32 length = 0;
  u64 answer = 0;
};

std::vector<Insn> assembled(std::string_view text) {
  auto insns = isa::assemble(text);
  EXPECT_TRUE(insns) << (insns ? "" : insns.error().message);
  return insns ? *insns : std::vector<Insn>();
}

Result<Module> module_of(std::string_view text, const Options& options, ProgramType type = ProgramType::syscall) {
  return Module::from_instructions(assembled(text), type, "filter", options);
}

u64 add_to_host(void* run, u64 number, u64, u64, u64, u64) noexcept {
  return *static_cast<u64*>(host_data(run)) += number;
}
u64 sum_bytes(void*, u64 address, u64 size, u64, u64, u64) noexcept {
  u64 sum = 0;
  for (u64 i = 0; i < size; ++i) sum += reinterpret_cast<const u8*>(address)[i];
  return sum;
}

constexpr Tier tiers[] = {Tier::automatic, Tier::interpreter, Tier::baseline, Tier::optimised};

TEST(Host, AHostsStructureIsReadAndWritten) {
  for (const Tier tier : tiers) {
    Options options;
    options.context = {.name = "struct request", .bytes = sizeof(Request)};
    options.tier = tier;
    const auto module =
        module_of("r2 = *(u32 *)(r1 +4)\nr2 *= 3\n*(u64 *)(r1 +8) = r2\nr0 = *(u32 *)(r1 +0)\nexit\n", options);
    ASSERT_TRUE(module) << module.error().message;
    const auto program = module->program();
    ASSERT_TRUE(program);
    Request request{7, 100, 0};
    EXPECT_EQ(program->run(&request), 7u) << program->tier();
    EXPECT_EQ(request.answer, 300u);
    EXPECT_FALSE(program->takes_packet());
  }
}

TEST(Host, AHostsHelpersAreCalledWithWhatWasProved) {
  for (const Tier tier : tiers) {
    Options options;
    options.context = {.name = "struct request", .bytes = sizeof(Request)};
    options.tier = tier;
    options.helpers = {{1000, "add_to_host", {Argument::number}, add_to_host},
                       {1001, "sum_bytes", {Argument::read, Argument::size}, sum_bytes}};
    const auto module = module_of(
        "r6 = 0x0403020105060708 ll\n*(u64 *)(r10 -8) = r6\nr1 = r10\nr1 += -8\nr2 = 8\ncall 1001\nr1 = r0\ncall "
        "1000\nexit\n",
        options);
    ASSERT_TRUE(module) << module.error().message;
    u64 counter = 6;
    Request request;
    EXPECT_EQ(module->program()->run(&request, &counter), 42u);
    EXPECT_EQ(counter, 42u);
    const auto unproved = module_of("r1 = r10\nr1 += -8\nr2 = 16\ncall 1001\nexit\n", options);
    ASSERT_FALSE(unproved);
    EXPECT_EQ(unproved.error().code, Code::rejected);
    EXPECT_FALSE(module_of("call 1002\nexit\n", options));
  }
}

TEST(Host, AnyBytesAreAPacket) {
  const auto module = module_of(
      "r2 = *(u32 *)(r1 +0)\nr3 = *(u32 *)(r1 +4)\nr0 = 1\nr4 = r2\nr4 += 2\nif r4 > r3 goto out\nr0 = *(u8 *)(r2 "
      "+1)\n*(u8 *)(r2 +0) = r0\nout: exit\n",
      {}, ProgramType::xdp);
  ASSERT_TRUE(module) << module.error().message;
  const auto program = *module->program();
  std::byte packet[] = {std::byte{1}, std::byte{77}, std::byte{3}};
  EXPECT_EQ(program.run_packet(packet), 77u);
  EXPECT_EQ(packet[0], std::byte{77});
  EXPECT_EQ(program.run_packet({packet, 1}), 1u);
  EXPECT_EQ(program.run(nullptr), 1u);
  EXPECT_TRUE(program.takes_packet());
}

TEST(Host, ClassicFiltersAreObjectsToo) {
  const std::string_view ip = "4\n40 0 0 12\n21 0 1 2048\n6 0 0 262144\n6 0 0 0\n";
  const auto module = Module::from_bytes(std::as_bytes(std::span(ip)), "ip");
  ASSERT_TRUE(module) << module.error().message;
  std::vector<std::byte> frame(60);
  EXPECT_EQ(module->program()->run_packet(frame), 0u);
  frame[12] = std::byte{8};
  EXPECT_EQ(module->program()->run_packet(frame), 262144u);
  EXPECT_EQ(module->program()->run_packet({frame.data(), 13}), 0u);
}

TEST(Host, RefusalsSayWhy) {
  Options small;
  small.context = {.name = "struct request", .bytes = 4};
  const auto too_far = module_of("r0 = *(u64 *)(r1 +8)\nexit\n", small);
  ASSERT_FALSE(too_far);
  EXPECT_NE(too_far.error().message.find("8 bytes at offset 8 of struct request (4 bytes) cannot be read"),
            std::string::npos)
      << too_far.error().message;
  const auto refusal = [](Helper helper) {
    Options options;
    options.helpers = {std::move(helper)};
    const auto module = module_of("r0 = 0\nexit\n", options);
    return module ? std::string() : module.error().message;
  };
  EXPECT_NE(refusal({12, "low", {}, sum_bytes}).find("ids from 1000"), std::string::npos);
  EXPECT_NE(refusal({1000, "x", {Argument::read}, sum_bytes}).find("a size must follow"), std::string::npos);
  EXPECT_NE(refusal({1000, "x", {Argument::size}, sum_bytes}).find("memory must stand before"), std::string::npos);
  EXPECT_NE(refusal({1000, "x", {}, nullptr}).find("a function"), std::string::npos);
  const auto module = module_of("r0 = 0\nexit\n", {});
  EXPECT_NE(module->program("other").error().message.find("there are: filter"), std::string::npos);
  EXPECT_FALSE(module->map("none"));
  EXPECT_FALSE(Module::from_bytes({}, "empty"));
  EXPECT_FALSE(Module::from_file("/nowhere/at.all"));
}

struct Message {
  u64 kind = 0;
  const std::byte* begin = nullptr;
  const std::byte* end = nullptr;
  u64 verdict = 0;
};

TEST(Host, FieldsSayWhatMayBeDone) {
  Options options;
  using Kind = ContextField::Kind;
  options.context = {.name = "struct message",
                     .bytes = sizeof(Message),
                     .fields = {{"kind", 0, 8, Kind::number, false},
                                {"begin", 8, 8, Kind::data_begin, false},
                                {"end", 16, 8, Kind::data_end, false},
                                {"verdict", 24, 8, Kind::number, true}}};
  const auto first_byte = module_of(
      "r2 = *(u64 *)(r1 +8)\nr3 = *(u64 *)(r1 +16)\nr0 = 0\nr4 = r2\nr4 += 1\nif r4 > r3 goto out\nr0 = *(u8 *)(r2 "
      "+0)\n*(u64 *)(r1 +24) = r0\nout: exit\n",
      options);
  ASSERT_TRUE(first_byte) << first_byte.error().message;
  const std::byte text[] = {std::byte{42}, std::byte{1}};
  Message message{1, text, text + 2, 0};
  EXPECT_EQ(first_byte->program()->run(&message), 42u);
  EXPECT_EQ(message.verdict, 42u);
  message = {1, text, text, 7};
  EXPECT_EQ(first_byte->program()->run(&message), 0u);
  EXPECT_EQ(message.verdict, 7u);
  EXPECT_FALSE(module_of("*(u64 *)(r1 +0) = 1\nr0 = 0\nexit\n", options)) << "kind is read-only";
  EXPECT_FALSE(module_of("*(u64 *)(r1 +8) = 1\nr0 = 0\nexit\n", options)) << "pointers are the host's";
  EXPECT_FALSE(module_of("r2 = *(u64 *)(r1 +8)\nr0 = *(u8 *)(r2 +0)\nexit\n", options)) << "no comparison with the end";
}

TEST(HostC, LoadsRunsAndExplains) {
  EXPECT_EQ(skep_vm_api_version(), u32{SKEP_VM_API_VERSION});
  skep_error error;
  skep_options* options = skep_options_new();
  ASSERT_EQ(skep_options_set_context(options, "struct request", sizeof(Request), &error), 0) << error.message;
  const int32_t number[] = {SKEP_NUMBER};
  ASSERT_EQ(skep_options_add_helper(options, 1000, "add_to_host", number, 1, add_to_host, &error), 0) << error.message;
  EXPECT_EQ(skep_options_add_helper(options, 1001, "six", number, 6, add_to_host, &error), -1);
  EXPECT_EQ(error.code, SKEP_INVALID_ARGUMENT);
  const auto insns = assembled("r1 = *(u32 *)(r1 +0)\ncall 1000\nexit\n");
  skep_vm* vm = skep_vm_load_instructions(insns.data(), insns.size(), "syscall", "filter", options, &error);
  ASSERT_NE(vm, nullptr) << error.message;
  skep_options_free(options);
  const skep_program* program = skep_vm_program(vm, nullptr, &error);
  ASSERT_NE(program, nullptr) << error.message;
  EXPECT_EQ(program, skep_vm_program(vm, "filter", nullptr));
  Request request{40, 0, 0};
  u64 counter = 2;
  EXPECT_EQ(skep_program_run(program, &request, &counter), 42u);
  EXPECT_EQ(skep_vm_program(vm, "other", &error), nullptr);
  EXPECT_EQ(error.code, SKEP_NOT_FOUND);
  EXPECT_EQ(skep_vm_map(vm, "none", &error), nullptr);
  EXPECT_EQ(error.code, SKEP_NOT_FOUND);
  skep_vm_free(vm);

  const auto bad = assembled("r0 = *(u64 *)(r10 +8)\nexit\n");
  EXPECT_EQ(skep_vm_load_instructions(bad.data(), bad.size(), "syscall", "bad", nullptr, &error), nullptr);
  EXPECT_EQ(error.code, SKEP_REJECTED);
  EXPECT_GT(std::strlen(error.message), 20u);
  EXPECT_EQ(skep_vm_load_file("/nowhere/at.all", nullptr, &error), nullptr);
  EXPECT_EQ(skep_vm_load("junk", 4, "junk", nullptr, nullptr), nullptr);
}

}  // namespace
}  // namespace skep::host
