// Programs whose safety is decided elsewhere: by what the kernel has, by a program that a function tail-calls, and by
// functions that only dead code calls.
//
// Each group has what must be refused beside its neighbour that is accepted, so that neither "always" nor "never"
// passes.
#include "verify/test_programs.hpp"

namespace skep::verify {
namespace {

/// Variables: a structure, one structure of each CPU, one number of each CPU, an array; and a function.
std::shared_ptr<const btf::Btf> kernel_with_symbols() {
  btf::Builder types;
  constexpr u32 global = 1;
  const u32 number = types.add_int("int", 4, btf::Builder::Encoding::signed_);
  const btf::Builder::NewMember members[] = {{"id", number, 0}, {"more", number, 32}};
  const u32 thing = types.add_struct("thing", 8, members);
  types.add_var("one_thing", thing, global);
  const u32 things = types.add_var("cpu_things", thing, global);
  const u32 numbers = types.add_var("cpu_number", number, global);
  types.add_var("table", types.add_array(number, number, 4), global);
  types.add_func("present", types.add_func_proto(number, {}), global);
  const btf::SecVar of_each_cpu[] = {{things, 0, 8}, {numbers, 8, 4}};
  types.add_datasec(".data..percpu", 12, of_each_cpu);
  return types.build().value();
}

/// `text` begins with a wide load, which becomes the address of `symbol`.
std::string with_symbol(const char* symbol, bool weak, const char* text, Rules rules = Rules::kernel) {
  const ObjectSpec object = object_with_maps();
  ProgramSpec program = program_of(object, kprobe, text);
  Reference reference{.insn = 0, .kind = Reference::Kind::ksym, .name = symbol, .type_id = 1};
  reference.weak = weak;
  program.references.insert(program.references.begin(), reference);
  return refused(program, object, {.rules = rules, .kernel_types = kernel_with_symbols()});
}

TEST(Elsewhere, KernelVariablesAreReadAsTheirTypes) {
  EXPECT_EQ(with_symbol("one_thing", false, "r1 = 5 ll\nr0 = *(u32 *)(r1 +4)\n" RETURN), "");
  EXPECT_EQ(with_symbol("one_thing___later", false, "r1 = 5 ll\nr0 = *(u32 *)(r1 +4)\n" RETURN), "");
  EXPECT_EQ(with_symbol("one_thing", false, "r1 = 5 ll\nr0 = *(u32 *)(r1 +8)\n" RETURN), "no_such_field");
  EXPECT_EQ(with_symbol("one_thing", false, "r1 = 5 ll\n*(u32 *)(r1 +0) = 1\n" RETURN), "memory_not_writable");
  EXPECT_EQ(with_symbol("table", false, "r1 = 5 ll\nr0 = *(u32 *)(r1 +12)\n" RETURN), "");
  EXPECT_EQ(with_symbol("table", false, "r1 = 5 ll\nr0 = *(u32 *)(r1 +16)\n" RETURN), "outside_region");
  EXPECT_EQ(with_symbol("one_thing", false, "r1 = 5 ll\nr0 = *(u32 *)(r1 +4)\n" RETURN, Rules::user),
            "unsupported_kernel_symbol");
}

TEST(Elsewhere, VariablesOfEachCpuAreReadThroughTheirHelpers) {
  EXPECT_EQ(with_symbol("cpu_things", false, "r1 = 5 ll\nr0 = *(u32 *)(r1 +4)\n" RETURN), "object_elsewhere");
  EXPECT_EQ(with_symbol("cpu_things", false, "r1 = 5 ll\ncall this_cpu_ptr\nr0 = *(u32 *)(r0 +4)\n" RETURN), "");
  EXPECT_EQ(with_symbol("cpu_things", false, "r1 = 5 ll\nr2 = 0\ncall per_cpu_ptr\nr0 = *(u32 *)(r0 +4)\n" RETURN),
            "maybe_null");
  EXPECT_EQ(with_symbol("cpu_number", false, "r1 = 5 ll\ncall this_cpu_ptr\nr0 = *(u32 *)(r0 +0)\n" RETURN), "");
  EXPECT_EQ(with_symbol("cpu_number", false, "r1 = 5 ll\ncall this_cpu_ptr\nr0 = *(u32 *)(r0 +4)\n" RETURN),
            "outside_region");
  EXPECT_EQ(with_symbol("cpu_number", false, "r1 = 5 ll\ncall this_cpu_ptr\n*(u32 *)(r0 +0) = 1\n" RETURN),
            "memory_not_writable");
}

TEST(Elsewhere, WhatTheKernelLacksIsAskedBeforeItIsUsed) {
  // The unknown helper stands for a call that only a kernel with the function understands.
  const char* asks = "r1 = 5 ll\nif r1 == 0 goto no\ncall 195896080\nno: " RETURN;
  EXPECT_EQ(with_symbol("present", true, asks), "core_relocation_failed");
  EXPECT_EQ(with_symbol("absent", true, asks), "");
  EXPECT_EQ(with_symbol("absent", false, asks), "no_kernel_symbol");
  EXPECT_EQ(with_symbol("present", false, "r1 = 5 ll\nif r1 != 0 goto yes\ncall 195896080\nyes: " RETURN), "");
  EXPECT_EQ(with_symbol("present", false, "r1 = 5 ll\nr0 = *(u8 *)(r1 +0)\n" RETURN), "outside_region");
}

#define TAIL_CALL "r2 = map[jumps]\nr3 = 0\ncall tail_call\n"

/// A tail call in a function gives its caller whatever the other program returns. Both rule sets, paths joined or not:
/// an engine runs it the same way.
TEST(Elsewhere, ATailCallInAFunctionReturnsAnything) {
  constexpr Case cases[] = {
      {"outside_region", xdp,
       "r6 = r1\n" LOOKUP(
           "table") "if r0 == 0 goto end\nr7 = r0\nr1 = r6\ncall f\nr0 &= 0xff\nr7 += r0\nr1 = *(u8 *)(r7 +0)\n"
                    "end: " RETURN "f: " TAIL_CALL "r0 = 1\nexit"},
      {"", xdp,
       "r6 = r1\n" LOOKUP(
           "table") "if r0 == 0 goto end\nr7 = r0\nr1 = r6\ncall f\nr0 &= 31\nr7 += r0\nr1 = *(u8 *)(r7 +0)\n"
                    "end: " RETURN "f: " TAIL_CALL "r0 = 1\nexit"},
      // In the main function nobody comes back.
      {"", xdp,
       "r6 = r1\n" LOOKUP("table") "if r0 == 0 goto end\nr7 = r0\nr1 = r6\n" TAIL_CALL
                                   "r0 = 1\nr7 += r0\nr1 = *(u8 *)(r7 +0)\nend: " RETURN},
      // The other program may have moved the packet; a tail call that failed did not.
      {"not_a_pointer", xdp,
       PACKET "r6 = r2\nr2 += 1\nif r2 > r3 goto end\ncall f\nr0 = *(u8 *)(r6 +0)\nend: " RETURN "f: " TAIL_CALL
              "r0 = 1\nexit"},
      {"", xdp, PACKET "r6 = r2\nr2 += 1\nif r2 > r3 goto end\n" TAIL_CALL "r0 = *(u8 *)(r6 +0)\nend: " RETURN},
      {"callback_result", xdp,
       "r6 = r1\n*(u64 *)(r10 -8) = r1\nr1 = 4\nr2 = subprog[f]\nr3 = r10\nr3 += -8\nr4 = 0\ncall loop\n" RETURN
       "f: r1 = *(u64 *)(r2 +0)\n" TAIL_CALL "r0 = 0\nexit"},
  };
  for (const Case& c : cases)
    for (const Rules rules : {Rules::user, Rules::kernel})
      for (const bool at_once : {false, true}) {
        if (at_once && rules == Rules::kernel) continue;
        const Report report = judge(c, rules, at_once);
        EXPECT_EQ(report.rejection ? report.rejection->id : "", c.refused) << c.text;
      }
}

/// A global function that returns a pointer is refused, where something calls it.
TEST(Elsewhere, GlobalFunctionsAreVerifiedWhereTheyAreCalled) {
  const auto judged = [](const char* text, u32 kernel_version) {
    ObjectSpec object = object_with_maps();
    btf::Builder types;
    const u32 number = types.add_int("int", 4, btf::Builder::Encoding::signed_);
    const u32 type = types.add_func("f", types.add_func_proto(number, {}), 1);
    object.btf = types.build().value();
    for (MapSpec& map : object.maps) map.btf_value_type_id = 0;
    ProgramSpec program = program_of(object, kprobe, text);
    const u32 start = static_cast<u32>(program.insns.size()) - 2;
    program.functions = {{.insn = 0, .type_id = 0, .name = "case", .is_global = true},
                         {.insn = start, .type_id = type, .name = "f", .is_global = true}};
    return refused(program, object, {.rules = Rules::kernel, .kernel_version = kernel_version});
  };
  const char* dead = "r1 = 0\nif r1 == 0 goto end\ncall f\nend: " RETURN "f: r0 = r10\nexit";
  const char* live = "call get_prandom_u32\nif r0 == 0 goto end\ncall f\nend: " RETURN "f: r0 = r10\nexit";
  EXPECT_EQ(judged(dead, 0), "");
  EXPECT_EQ(judged(live, 0), "global_returns_pointer");
  EXPECT_EQ(judged(dead, 6007), "global_returns_pointer");
}

TEST(Elsewhere, AKernelFunctionMayMoveThePacket) {
  const ObjectSpec object = object_with_maps();
  const auto judged = [&](const char* text) {
    return refused(program_of(object, xdp, text), object, {.rules = Rules::kernel});
  };
  EXPECT_EQ(judged("r6 = r1\nr2 = 20\ncall xdp_pull_data\nr1 = r6\n" PACKET
                   "r4 = r2\nr4 += 1\nif r4 > r3 goto end\nr0 = *(u8 *)(r2 +0)\nend: " RETURN),
            "");
  EXPECT_EQ(
      judged("r6 = r1\n" PACKET "r7 = r2\nr2 += 1\nif r2 > r3 goto end\nr1 = r6\nr2 = 20\ncall xdp_pull_data\nr0 = "
             "*(u8 *)(r7 +0)\nend: " RETURN),
      "not_a_pointer");
}

/// What the place of a program's hook decides: its result, its fields, and whether sockets may be put into maps.
TEST(Elsewhere, TheHookDecides) {
  ObjectSpec object = object_with_maps();
  MapSpec sockets;
  sockets.name = "sockets";
  sockets.type = MapType::sockmap;
  sockets.key_size = sockets.value_size = 4;
  sockets.max_entries = 2;
  object.maps.push_back(sockets);
  const auto judged = [&](const char* section, ProgramType type, const char* text) {
    ProgramSpec program = program_of(object, type, text);
    program.attach = AttachTarget::from_section(section).value();
    return refused(program, object, {.rules = Rules::kernel});
  };
  EXPECT_EQ(judged("kprobe.session/x", kprobe, "r0 = 1\nexit"), "");
  EXPECT_EQ(judged("kprobe.session/x", kprobe, "r0 = 2\nexit"), "return_out_of_range");
  EXPECT_EQ(judged("kprobe.multi/x", kprobe, "r0 = 2\nexit"), "");

  const char* port = "r0 = *(u16 *)(r1 +44)\n" RETURN;
  EXPECT_EQ(judged("cgroup/post_bind4", ProgramType::cgroup_sock, port), "");
  EXPECT_EQ(judged("cgroup/post_bind6", ProgramType::cgroup_sock, port), "");
  EXPECT_EQ(judged("cgroup/sock_create", ProgramType::cgroup_sock, port), "context_not_readable");
  EXPECT_EQ(judged("cgroup/sock_create", ProgramType::cgroup_sock, "r0 = *(u32 *)(r1 +16)\n" RETURN), "");
  EXPECT_EQ(judged("cgroup/post_bind4", ProgramType::cgroup_sock, "r0 = *(u32 *)(r1 +16)\n" RETURN),
            "context_not_readable");

  const char* put =
      "r1 = *(u64 *)(r1 +168)\nif r1 == 0 goto end\nr3 = r1\n*(u32 *)(r10 -4) = 0\nr2 = r10\nr2 += -4\nr1 = "
      "map[sockets]\nr4 = 0\ncall map_update_elem\nend: " RETURN;
  EXPECT_EQ(judged("tc", tc, put), "");
  EXPECT_EQ(judged("cgroup_skb/ingress", ProgramType::cgroup_skb, put), "map_type_mismatch");
  const char* put_number =
      "*(u32 *)(r10 -4) = 0\nr2 = r10\nr2 += -4\nr3 = r2\nr1 = map[sockets]\nr4 = 0\ncall map_update_elem\n" RETURN;
  EXPECT_EQ(judged("tc", tc, put_number), "wrong_argument");
}

TEST(Elsewhere, TheLicenceOpensTheKernelsTypes) {
  ObjectSpec object = object_with_maps();
  ProgramSpec program = program_of(object, kprobe, "r1 = 5 ll\nr0 = *(u32 *)(r1 +4)\n" RETURN);
  program.references.push_back({.insn = 0, .kind = Reference::Kind::ksym, .name = "one_thing", .type_id = 1});
  const Options options{.rules = Rules::kernel, .kernel_types = kernel_with_symbols()};
  EXPECT_EQ(refused(program, object, options), "");
  object.license = "Proprietary";
  EXPECT_EQ(refused(program, object, options), "kernel_type_needs_gpl");
}

}  // namespace
}  // namespace skep::verify
