// Where Linux 6.18 judges as its later tests describe it: programs as a whole, null, packet ends, numbers that are
// turned round, moved or extended, and memory that nobody holds.
//
// Each group has what must be refused beside its neighbour that is accepted.
#include "catalog/attach_rules.hpp"
#include "verify/test_programs.hpp"

namespace skep::verify {
namespace {

void expect(const char* wanted, ProgramType type, const char* text, std::initializer_list<Rules> rules) {
  for (const Rules r : rules) {
    const Report report = judge({wanted, type, text}, r);
    EXPECT_EQ(report.rejection ? report.rejection->id : "", wanted) << text;
  }
}

/// What a function returns, in the types of an object with one.
enum class Returns : u8 { nothing, number };

/// `text` has one function besides the main one, which begins `size` instructions before the end.
std::string with_function(const char* text, u32 size, Returns returns, bool is_global, ProgramType type) {
  ObjectSpec object = object_with_maps();
  for (MapSpec& map : object.maps) map.btf_value_type_id = 0;
  btf::Builder types;
  const u32 number = types.add_int("int", 4, btf::Builder::Encoding::signed_);
  const u32 f = types.add_func("f", types.add_func_proto(returns == Returns::number ? number : 0, {}), is_global);
  object.btf = types.build().value();
  ProgramSpec program = program_of(object, type, text);
  const u32 start = static_cast<u32>(program.insns.size()) - size;
  program.functions = {{.insn = 0, .type_id = 0, .name = "case", .is_global = true},
                       {.insn = start, .type_id = f, .name = "f", .is_global = is_global}};
  return refused(program, object, {.rules = Rules::kernel});
}

TEST(LinuxRules, APacketLoadMayEndItsFunction) {
  // Where it does, r9 is not set.
  const char* early =
      "r6 = r1\ncall f\nif r0 != 0 goto +1\nr0 = r9\nexit\nf: r6 = r1\nr0 = *(u8 *)skb[0]\nr0 = 1\nexit";
  EXPECT_EQ(with_function(early, 4, Returns::number, false, socket), "register_not_set");
  const char* both = "r6 = r1\ncall f\nif r0 != 0 goto +1\nr0 = 7\nexit\nf: r6 = r1\nr0 = *(u8 *)skb[0]\nr0 = 1\nexit";
  EXPECT_EQ(with_function(both, 4, Returns::number, false, socket), "");
  EXPECT_EQ(with_function(both, 4, Returns::nothing, false, socket), "function_returns_no_number");
  // A number that the end decides about is followed back into the function.
  const char* index = "r6 = r1\n" LOOKUP("table") "if r0 == 0 goto end\nr7 = r0\nr1 = r6\ncall f\nr7 += r0\n"
                      "r0 = *(u8 *)(r7 +0)\nend: " RETURN "f: r6 = r1\nr0 = *(u8 *)skb[0]\nr0 &= 31\nexit";
  EXPECT_EQ(with_function(index, 4, Returns::number, false, socket), "");
}

TEST(LinuxRules, FunctionsThatEndInOtherWaysReturnNumbers) {
  const char* leaves = "call f\n" RETURN "f: r2 = map[jumps]\nr3 = 0\ncall tail_call\nr0 = 0\nexit";
  EXPECT_EQ(with_function(leaves, 6, Returns::number, false, xdp), "");
  EXPECT_EQ(with_function(leaves, 6, Returns::nothing, false, xdp), "function_returns_no_number");
  EXPECT_EQ(with_function("call f\n" RETURN "f: r0 = 0\nexit", 2, Returns::number, true, xdp), "");
  EXPECT_EQ(with_function("call f\n" RETURN "f: r0 = 0\nexit", 2, Returns::nothing, true, xdp),
            "function_returns_no_number");
  EXPECT_EQ(with_function("call f\n" RETURN "f: r0 = 0\nexit", 2, Returns::nothing, false, xdp), "");
}

/// A kernel with a tracepoint whose structure leads to another one, and to itself.
std::shared_ptr<const btf::Btf> kernel_with_links() {
  btf::Builder types;
  const u32 number = types.add_int("int", 4, btf::Builder::Encoding::signed_);
  const btf::Builder::NewMember inner[] = {{"value", number, 0}};
  const u32 part = types.add_pointer(types.add_struct("part", 4, inner));
  const btf::Builder::NewMember members[] = {
      {"id", number, 0}, {"part", part, 64}, {"text", types.add_pointer(number), 128}};
  const u32 thing = types.add_pointer(types.add_struct("thing", 24, members));
  const btf::Param made[] = {{"__data", types.add_pointer(0)}, {"thing", thing}};
  types.add_modifier(btf::Kind::typedef_, "btf_trace_made", types.add_pointer(types.add_func_proto(0, made)));
  return types.build().value();
}

/// What the types of a global function's parameter ask of its callers, and promise to it.
std::string with_parameter(std::string_view kind, const char* text, u32 size) {
  ObjectSpec object = object_with_maps();
  for (MapSpec& map : object.maps) map.btf_value_type_id = 0;
  btf::Builder types;
  const u32 number = types.add_int("int", 4, btf::Builder::Encoding::signed_);
  const btf::Builder::NewMember members[] = {{"id", number, 0}};
  const u32 target = kind == "dynptr"  ? types.add_struct("bpf_dynptr", 16, {})
                     : kind == "thing" ? types.add_struct("thing", 4, members)
                                       : number;
  const btf::Param parameter[] = {{"p", types.add_pointer(target)}};
  const u32 f = types.add_func("f", types.add_func_proto(number, parameter), 1);
  if (kind != "dynptr") types.add_decl_tag("arg:untrusted", f, 0);
  object.btf = types.build().value();
  ProgramSpec program = program_of(object, tc, text);
  program.functions = {
      {.insn = 0, .type_id = 0, .name = "case", .is_global = true},
      {.insn = static_cast<u32>(program.insns.size()) - size, .type_id = f, .name = "f", .is_global = true}};
  return refused(program, object, {.rules = Rules::kernel, .kernel_types = kernel_with_links()});
}

TEST(LinuxRules, ParametersOfGlobalFunctions) {
  for (const char* kind : {"thing", "number"}) {
    // Anything may be given; it is read as if it might not be there, and not written.
    EXPECT_EQ(with_parameter(kind, "call f\n" RETURN "f: r0 = *(u32 *)(r1 +0)\nexit", 2), "");
    EXPECT_EQ(with_parameter(kind, "r1 = 77\ncall f\n" RETURN "f: r0 = *(u32 *)(r1 +0)\nexit", 2), "");
    EXPECT_EQ(with_parameter(kind, "call f\n" RETURN "f: *(u32 *)(r1 +0) = 0\nr0 = 0\nexit", 3), "memory_not_writable");
    EXPECT_EQ(
        with_parameter(kind, "call f\n" RETURN "f: r2 = r1\nr1 = map[counts]\ncall map_lookup_elem\nr0 = 0\nexit", 6),
        "not_memory");
  }
#define GIVE "r1 = r10\nr1 += -24\ncall f\nr1 = r10\nr1 += -24\nr2 = 0\ncall ringbuf_discard_dynptr\n" RETURN
  const char* asks = DYNPTR GIVE "f: call dynptr_size\nr0 = 0\nexit";
  EXPECT_EQ(with_parameter("dynptr", asks, 3), "");
  EXPECT_EQ(with_parameter("dynptr",
                           "*(u64 *)(r10 -24) = 0\n*(u64 *)(r10 -16) = 0\nr1 = r10\nr1 += -24\ncall f\n" RETURN
                           "f: r0 = 0\nexit",
                           2),
            "wrong_argument");
#undef GIVE
}

TEST(LinuxRules, SleepersAreOfSomeTypesAndHaveSomeMaps) {
  ObjectSpec object = object_with_maps();
  const auto judged = [&](ProgramType type, const char* text) {
    ProgramSpec program = program_of(object, type, text);
    program.sleepable = true;
    return refused(program, object, {.rules = Rules::kernel});
  };
  EXPECT_EQ(judged(kprobe, RETURN), "");
  EXPECT_EQ(judged(ProgramType::syscall, RETURN), "");
  EXPECT_EQ(judged(ProgramType::raw_tracepoint, RETURN), "program_not_sleepable");
  EXPECT_EQ(judged(xdp, RETURN), "program_not_sleepable");
  EXPECT_EQ(judged(kprobe, "r1 = map[counts]\n" RETURN), "");
  EXPECT_EQ(judged(kprobe, "r1 = map[jumps]\n" RETURN), "map_not_for_sleepable");
  EXPECT_EQ(judged(kprobe, "r6 = 0\nif r6 == 0 goto +2\nr1 = map[events]\n" RETURN), "map_not_for_sleepable")
      << "also where no path leads";
}

TEST(LinuxRules, MapsWithLocksAndTimersAreNotForEveryProgram) {
  expect("lock_not_for_type", kprobe, "r1 = map[locked]\n" RETURN, {Rules::kernel});
  expect("lock_not_for_type", socket, "r1 = map[refusing]\n" RETURN, {Rules::kernel});
  expect("timer_not_for_type", kprobe, "r1 = map[timed]\n" RETURN, {Rules::kernel});
  expect("", tc, "r1 = map[locked]\nr1 = map[timed]\n" RETURN, {Rules::kernel});
  expect("", kprobe, "r1 = map[locked]\nr1 = map[timed]\n" RETURN, {Rules::user});
}

TEST(LinuxRules, NoSectionBeginsUnderALock) {
#define LOCKED(inside)                                                      \
  LOOKUP("locked")                                                          \
  "if r0 == 0 goto end\nr6 = r0\nr1 = r0\nr1 += 4\ncall spin_lock\n" inside \
  "r1 = r6\nr1 += 4\ncall "                                                 \
  "spin_unlock\nend: "
  expect("lock_held", tc, LOCKED("call rcu_read_lock\ncall rcu_read_unlock\n") RETURN, {Rules::user, Rules::kernel});
  expect("lock_held", tc, "call rcu_read_lock\n" LOCKED("call rcu_read_unlock\n") RETURN, {Rules::user, Rules::kernel});
  expect("", tc, "call rcu_read_lock\n" LOCKED("") "call rcu_read_unlock\n" RETURN, {Rules::user, Rules::kernel});
#undef LOCKED
}

/// An object whose program names `tags` exception callbacks, a function of that type, which bpf_throw() would call.
std::string with_exception_callback(u32 tags, Returns returns, bool takes_cookie,
                                    const char* main = "r1 = 1\ncall throw\n", const char* callback = "r0 = 0\nexit") {
  ObjectSpec object = object_with_maps();
  for (MapSpec& map : object.maps) map.btf_value_type_id = 0;
  btf::Builder types;
  const u32 number = types.add_int("long", 8, btf::Builder::Encoding::signed_);
  const btf::Param cookie[] = {{"cookie", number}};
  const std::span<const btf::Param> takes =
      takes_cookie ? std::span<const btf::Param>(cookie) : std::span<const btf::Param>();
  const u32 entry = types.add_func("case", types.add_func_proto(number, {}), 1);
  const u32 f = types.add_func("f", types.add_func_proto(returns == Returns::number ? number : 0, takes), 1);
  for (u32 t = 0; t < tags; t++) types.add_decl_tag("exception_callback:f", entry, -1);
  object.btf = types.build().value();
  const std::string text = std::string(main) + RETURN + callback;
  ProgramSpec program = program_of(object, tc, text);
  const u32 size = static_cast<u32>(program_of(object, tc, callback).insns.size());
  program.functions = {
      {.insn = 0, .type_id = entry, .name = "case", .is_global = true},
      {.insn = static_cast<u32>(program.insns.size()) - size, .type_id = f, .name = "f", .is_global = true}};
  return refused(program, object, {.rules = Rules::kernel});
}

TEST(LinuxRules, ExceptionCallbacksTakeACookieAndReturnANumber) {
  EXPECT_EQ(with_exception_callback(1, Returns::number, true), "");
  EXPECT_EQ(with_exception_callback(1, Returns::nothing, true), "exception_callback_wrong");
  EXPECT_EQ(with_exception_callback(1, Returns::number, false), "exception_callback_wrong");
  EXPECT_EQ(with_exception_callback(2, Returns::number, true), "exception_callback_wrong");
  EXPECT_EQ(
      with_exception_callback(1, Returns::number, true, "r1 = 1\ncall throw\n", "r1 = 2\ncall throw\nr0 = 0\nexit"),
      "throw_in_callback");
}

TEST(LinuxRules, CallbacksDoNotThrow) {
  const char* looped =
      "r1 = 4\nr2 = subprog[f]\nr3 = 0\nr4 = 0\ncall loop\n" RETURN "f: r1 = 1\ncall throw\nr0 = 0\nexit";
  expect("throw_in_callback", tc, looped, {Rules::kernel});
  expect("", tc, looped, {Rules::user});
  expect("throw_in_callback", tc,
         "r1 = 4\nr2 = subprog[f]\nr3 = 0\nr4 = 0\ncall loop\n" RETURN
         "f: call g\nr0 = 0\nexit\ng: r1 = 1\ncall throw\nr0 = 0\nexit",
         {Rules::kernel});
  expect("", tc, "call f\n" RETURN "f: r1 = 1\ncall throw\nr0 = 0\nexit", {Rules::kernel});
}

/// A comparison of a pointer with a register that holds 0 on one path and 5 on another, which must not be taken for
/// covered. The instructions between let a state be remembered.
TEST(LinuxRules, TheZeroOfARegisterIsOneOfItsPath) {
  const char* text =
      "call get_prandom_u32\nr7 = r0\n" LOOKUP("counts") "r6 = r0\nr8 = 5\nif r7 > 9 goto on\nr8 = 0\non: r7 = 1\n"
      "r7 += 1\nr7 += 1\nr7 += 1\nif r7 == 9 goto +1\nr7 += 1\nr7 += 1\nr7 += 1\nif r7 == 19 goto +1\nr7 += 1\n"
      "r7 += 1\nr7 = 0\nif r6 == r8 goto end\nr1 = *(u64 *)(r6 +0)\nend: " RETURN;
  expect("maybe_null", kprobe, text, {Rules::user, Rules::kernel});
  // Linux looks for null behind comparisons with the constant only.
  const char* with_register = LOOKUP("counts") "r8 = 0\nif r0 == r8 goto end\nr1 = *(u64 *)(r0 +0)\nend: " RETURN;
  expect("", kprobe, with_register, {Rules::user});
  expect("maybe_null", kprobe, with_register, {Rules::kernel});
}

std::string at_tracepoint(std::string_view text) {
  ObjectSpec object = object_with_maps();
  ProgramSpec program = program_of(object, ProgramType::tracing, text);
  program.attach = AttachTarget::from_section("tp_btf/made").value();
  return refused(program, object, {.rules = Rules::kernel, .kernel_types = kernel_with_links()});
}

TEST(LinuxRules, WhatIsReadFromAnObjectMayBeNull) {
  // Only the way of null reads a register that is not set.
  EXPECT_EQ(at_tracepoint("r1 = *(u64 *)(r1 +0)\nr1 = *(u64 *)(r1 +8)\nif r1 != 0 goto +1\nr0 = r9\n" RETURN),
            "register_not_set");
  EXPECT_EQ(at_tracepoint("r1 = *(u64 *)(r1 +0)\nif r1 != 0 goto +1\nr0 = r9\n" RETURN), "") << "an argument is not";
  // A value that equals one is not shown to be none.
  EXPECT_EQ(at_tracepoint("r6 = *(u64 *)(r1 +0)\nr6 = *(u64 *)(r6 +8)\n" LOOKUP(
                "counts") "if r0 != r6 goto end\nr1 = *(u64 *)(r0 +0)\nend: " RETURN),
            "maybe_null");
}

TEST(LinuxRules, MemoryThatNobodyHoldsIsReadOnly) {
#define CAST "r1 = 16\nr2 = 0\ncall rdonly_cast\n"
  EXPECT_EQ(at_tracepoint(CAST "r1 = *(u64 *)(r0 +3)\nr0 += r1\nr1 = *(u8 *)(r0 -77)\n" RETURN), "");
  EXPECT_EQ(at_tracepoint(CAST "r1 = 0\nr1 += r0\nr1 = *(u8 *)(r1 +0)\n" RETURN), "not_a_pointer");
  // A field that points to a number leads to such memory, too.
  EXPECT_EQ(at_tracepoint("r1 = *(u64 *)(r1 +0)\nr1 = *(u64 *)(r1 +16)\nr1 = *(u8 *)(r1 +5)\n" RETURN), "");
  EXPECT_EQ(at_tracepoint("r1 = *(u64 *)(r1 +0)\nr1 = *(u64 *)(r1 +16)\n*(u8 *)(r1 +5) = 0\n" RETURN),
            "memory_not_writable");
  EXPECT_EQ(at_tracepoint(CAST "*(u64 *)(r0 +0) = 1\n" RETURN), "memory_not_writable");
  EXPECT_EQ(at_tracepoint(CAST "r1 = 1\nlock *(u64 *)(r0 +0) += r1\n" RETURN), "memory_not_writable");
  EXPECT_EQ(at_tracepoint(CAST "r1 = map[counts]\nr2 = r0\ncall map_lookup_elem\n" RETURN), "not_memory");
  EXPECT_EQ(at_tracepoint(CAST "if r0 != 0 goto +1\nr0 = r9\n" RETURN), "register_not_set");
#undef CAST
}

TEST(LinuxRules, APointerBehindThePacketStaysThere) {
  // Behind the end once, and asked again: the compiler leaves such pairs where two functions became one.
#define BEHIND(first, second)                                                                     \
  PACKET "r4 = r2\nr4 += 8\nr6 = 0\nif r4 " first " r3 goto again\nr6 = r2\nagain: if r4 " second \
         " r3 goto end\n"                                                                         \
         "r0 = *(u8 *)(r6 +0)\nend: " RETURN
  for (const Rules rules : {Rules::user, Rules::kernel}) {
    expect("", xdp, BEHIND(">", ">"), {rules});
    expect("", xdp, BEHIND(">", ">="), {rules});
    expect("not_a_pointer", xdp, BEHIND(">=", ">"), {rules});
    // Moved, it may lie inside again.
    expect("not_a_pointer", xdp,
           PACKET
           "r4 = r2\nr4 += 8\nr6 = 0\nif r4 > r3 goto again\nr6 = r2\nagain: r4 += -4\nif r4 > r3 goto end\n"
           "r0 = *(u8 *)(r6 +0)\nend: " RETURN,
           {rules});
  }
#undef BEHIND
}

// The number in r0, bounded by `bits`, and a place in a value that only a number up to `most` reaches.
#define NUMBER(bits) "call get_prandom_u32\nr6 = r0\nr6 &= " bits "\n"

TEST(LinuxRules, SwappedBytesAreKnownBitByBit) {
  for (const Rules rules : {Rules::user, Rules::kernel}) {
    expect("", kprobe,
           NUMBER("0x1f00") "r6 = be16 r6\n" LOOKUP(
               "table") "if r0 == 0 goto end\nr0 += r6\nr1 = *(u8 *)(r0 +0)\nend: " RETURN,
           {rules});
    expect("outside_region", kprobe,
           NUMBER("0x3f00") "r6 = be16 r6\n" LOOKUP(
               "table") "if r0 == 0 goto end\nr0 += r6\nr1 = *(u8 *)(r0 +0)\nend: " RETURN,
           {rules});
    expect("outside_region", kprobe,
           NUMBER("0x1f") "r6 = be16 r6\n" LOOKUP(
               "table") "if r0 == 0 goto end\nr0 += r6\nr1 = *(u8 *)(r0 +0)\nend: " RETURN,
           {rules});
    expect("", kprobe,
           NUMBER("0x1f") "r6 = le16 r6\n" LOOKUP(
               "table") "if r0 == 0 goto end\nr0 += r6\nr1 = *(u8 *)(r0 +0)\nend: " RETURN,
           {rules});
    // A number that decided something after it was swapped is one of its path: 2 and 512 are not alike.
    expect("outside_region", kprobe,
           "call get_prandom_u32\nr6 = 0x200\nif r0 > 5 goto on\nr6 = 0x7f00\non: r7 = 1\nr7 += 1\nr7 += 1\nr7 += 1\n"
           "if r7 == 9 goto +1\nr7 += 1\nr7 += 1\nr7 += 1\nif r7 == 19 goto +1\nr7 += 1\nr7 += 1\nr7 = 0\n"
           "r6 = be16 r6\n" LOOKUP("table") "if r0 == 0 goto end\nr0 += r6\nr1 = *(u8 *)(r0 +0)\nend: " RETURN,
           {rules});
  }
}

/// A copy that was moved by a constant tells of the number it was copied from.
TEST(LinuxRules, CopiesAtADistanceTellOfTheirOrigin) {
#define IMPOSSIBLE(move, outside, wanted) \
  NUMBER("0xff") "r1 = r6\n" move "if " outside " goto end\nif r6 " wanted " goto end\nr0 = r9\nexit\nend: " RETURN
  for (const Rules rules : {Rules::user, Rules::kernel}) {
    expect("", kprobe, IMPOSSIBLE("r1 += -4\n", "r1 s< 0", "!= 0"), {rules});
    expect("", kprobe, IMPOSSIBLE("r1 -= 4\n", "r1 s< 0", "!= 0"), {rules});
    expect("", kprobe, IMPOSSIBLE("r1 -= -4\n", "r1 < 6", "!= 0"), {rules});
    expect("", kprobe, IMPOSSIBLE("w1 += -4\n", "w1 s< 0", "!= 0"), {rules});
    expect("", kprobe, IMPOSSIBLE("w1 += 0x7fffffff\n", "w1 s>= 0", "!= 0"), {rules});
    expect("register_not_set", kprobe, IMPOSSIBLE("r1 += -4\n", "r1 s< 0", "!= 4"), {rules});
    expect("register_not_set", kprobe, IMPOSSIBLE("w1 += -4\n", "w1 s< 0", "!= 4"), {rules});
    // In 32 bits -4 is not below 0: 252 of the numbers below 256 stay possible behind `w1 < 252`.
    expect("register_not_set", kprobe, IMPOSSIBLE("w1 += -4\n", "r1 >= 252", "!= 4"), {rules});
    // Moved twice it tells nothing.
    expect("register_not_set", kprobe, IMPOSSIBLE("r1 += 2\nr1 += 2\n", "r1 < 6", "!= 0"), {rules});
    // A number of 64 bits and its lower half moved are two things.
    expect("register_not_set", kprobe,
           "r6 = *(u64 *)(r1 +0)\nr1 = r6\nw1 += 1\nif r1 > 10 goto end\nr6 >>= 32\nif r6 == 0 goto end\nr0 = r9\n"
           "exit\nend: " RETURN,
           {rules});
  }
#undef IMPOSSIBLE
}

TEST(LinuxRules, ASignExtendedByShiftsKeepsItsBounds) {
  const char* text =
      "r6 = *(u64 *)(r1 +0)\nif r6 s> 7 goto end2\nif r6 s< -4095 goto end2\nr6 <<= 32\nr6 s>>= 32\n"
      "if r6 s< 0 goto end2\n" LOOKUP("table") "if r0 == 0 goto end\nr0 += r6\nr1 = *(u8 *)(r0 +40)\nend: " RETURN
                                               "end2: " RETURN;
  expect("", kprobe, text, {Rules::user, Rules::kernel});
}

TEST(LinuxRules, FlowKeysMoveByConstants) {
  const auto type = ProgramType::flow_dissector;
  const std::string keys = "r2 = *(u64 *)(r1 +144)\n";
  expect("", type, (keys + "r2 += 8\nr0 = *(u16 *)(r2 +0)\n" RETURN).c_str(), {Rules::kernel});
  expect("outside_region", type, (keys + "r2 += 56\nr0 = *(u16 *)(r2 +0)\n" RETURN).c_str(), {Rules::kernel});
  expect("pointer_kind_fixed", type,
         (keys + "r3 = *(u32 *)(r1 +0)\nr3 &= 7\nr2 += r3\nr0 = *(u16 *)(r2 +0)\n" RETURN).c_str(), {Rules::kernel});
}

/// A kernel with two hooks of LSM programs, each with an object and a pointer to a number.
std::string at_hook(std::string_view section, std::string_view text) {
  btf::Builder types;
  const u32 number = types.add_int("int", 4, btf::Builder::Encoding::signed_);
  const btf::Builder::NewMember members[] = {{"id", number, 0}};
  const u32 file = types.add_pointer(types.add_struct("file", 4, members));
  const btf::Param takes[] = {{"file", file}, {"count", types.add_pointer(number)}};
  for (const char* hook : {"bpf_lsm_file_open", "bpf_lsm_getprocattr"})
    types.add_func(hook, types.add_func_proto(number, takes), 1);
  ObjectSpec object = object_with_maps();
  ProgramSpec program = program_of(object, ProgramType::lsm, text);
  program.attach = AttachTarget::from_section(section).value();
  return refused(program, object, {.rules = Rules::kernel, .kernel_types = types.build().value()});
}

TEST(LinuxRules, HooksHandOnWhatOthersReturned) {
  EXPECT_EQ(at_hook("lsm/file_open", "r0 = *(u64 *)(r1 +16)\nexit"), "");
  EXPECT_EQ(at_hook("lsm/file_open", "r0 = *(u32 *)(r1 +16)\nexit"), "");
  EXPECT_EQ(at_hook("lsm/file_open", "r0 = *(u32 *)(r1 +16)\nw0 += 1\nexit"), "return_out_of_range");
  EXPECT_EQ(at_hook("lsm/file_open", "r0 = *(u16 *)(r1 +16)\nexit"), "return_out_of_range");
  EXPECT_EQ(at_hook("lsm/getprocattr", RETURN), "struct_ops_member");
  // Pointers are read whole, also those to numbers.
  EXPECT_EQ(at_hook("lsm/file_open", "r2 = *(u64 *)(r1 +8)\n" RETURN), "");
  EXPECT_EQ(at_hook("lsm/file_open", "r2 = *(u32 *)(r1 +8)\n" RETURN), "context_not_readable");
}

TEST(LinuxRules, StringsAreLookedForWhenTheFunctionRuns) {
  const ObjectSpec object = object_with_maps();
  const auto judged = [&](const std::string& text, Rules rules) {
    return refused(program_of(object, kprobe, text), object, {.rules = rules, .kernel_types = kernel_with_links()});
  };
  for (const char* text : {"r1 = 0\ncall strlen\n" RETURN, "r1 = 4096\ncall strlen\n" RETURN, "call strlen\n" RETURN}) {
    EXPECT_EQ(judged(text, Rules::kernel), "") << text;
    EXPECT_EQ(judged(text, Rules::user), "not_memory") << text;
  }
}

TEST(LinuxRules, HelpersOfSomePlaces) {
  using catalog::HelperId;
  EXPECT_TRUE(catalog::is_callable_at(HelperId::d_path, "filp_close"));
  EXPECT_FALSE(catalog::is_callable_at(HelperId::d_path, "do_unlinkat"));
  EXPECT_TRUE(catalog::is_callable_at(HelperId::ktime_get_ns, "do_unlinkat"));
  const auto granted = [](HelperId helper, std::string_view section) {
    return catalog::granted_at(helper, AttachTarget::from_section(section).value());
  };
  EXPECT_TRUE(granted(HelperId::get_local_storage, "lsm_cgroup/socket_bind"));
  EXPECT_TRUE(granted(HelperId::setsockopt, "lsm_cgroup/socket_post_create"));
  EXPECT_FALSE(granted(HelperId::setsockopt, "lsm_cgroup/socket_bind"));
  EXPECT_FALSE(granted(HelperId::setsockopt, "lsm/socket_post_create"));
  EXPECT_TRUE(catalog::granted_to(HelperId::setsockopt, "tcp_congestion_ops", "init"));
  EXPECT_FALSE(catalog::granted_to(HelperId::setsockopt, "tcp_congestion_ops", "release"));
  EXPECT_FALSE(catalog::granted_to(HelperId::setsockopt, "Qdisc_ops", "init"));
  // A typed tracepoint may hold a lock, unlike those without types.
  EXPECT_EQ(at_tracepoint(LOOKUP("locked") "if r0 == 0 goto end\nr6 = r0\nr1 = r0\nr1 += 4\ncall spin_lock\nr1 = "
                                           "r6\nr1 += 4\ncall spin_unlock\nend: " RETURN),
            "");
}

TEST(LinuxRules, WhoWalksOverTasksStaysInTheSection) {
  const ObjectSpec object = object_with_maps();
  const auto judged = [&](bool sleeps, const std::string& text) {
    ProgramSpec program = program_of(object, kprobe, text);
    program.sleepable = sleeps;
    return refused(program, object, {.rules = Rules::kernel, .kernel_types = kernel_with_links()});
  };
  const std::string make = "r1 = r10\nr1 += -24\nr2 = 0\nr3 = 0\ncall iter_task_new\n",
                    next = "r1 = r10\nr1 += -24\ncall iter_task_next\n",
                    end = "r1 = r10\nr1 += -24\ncall iter_task_destroy\n", lock = "call rcu_read_lock\n",
                    unlock = "call rcu_read_unlock\n";
  EXPECT_EQ(judged(false, make + next + end + RETURN), "") << "all of it is such a section";
  EXPECT_EQ(judged(true, make + next + end + RETURN), "section_not_open");
  EXPECT_EQ(judged(true, lock + make + next + end + unlock + RETURN), "");
  EXPECT_EQ(judged(true, lock + make + unlock + lock + next + end + unlock + RETURN), "section_not_open");
  EXPECT_EQ(judged(false, "call iter_css_task_new\n" RETURN), "kfunc_not_for_attach");
  EXPECT_NE(judged(true, "call iter_css_task_new\n" RETURN), "kfunc_not_for_attach");
}

TEST(LinuxRules, PointersThatMayBeStaleAreStored) {
  ObjectSpec object = object_with_maps();
  btf::Builder types;
  const u32 number = types.add_int("int", 4, btf::Builder::Encoding::signed_);
  const btf::Builder::NewMember inner[] = {{"id", number, 0}};
  const u32 thing = types.add_struct("thing", 24, inner);
  const u32 pointer = types.add_pointer(types.add_modifier(btf::Kind::type_tag, "kptr_untrusted", thing));
  const btf::Builder::NewMember members[] = {{"other", pointer, 0}};
  object.maps[0].btf_value_type_id = types.add_struct("value", 8, members);
  object.btf = types.build().value();
  for (std::size_t m = 1; m < object.maps.size(); m++) object.maps[m].btf_value_type_id = 0;
  const auto judged = [&](std::string_view use) {
    const std::string text =
        "r6 = *(u64 *)(r1 +0)\n" LOOKUP("counts") "if r0 == 0 goto end\n" + std::string(use) + "end: " RETURN;
    ProgramSpec program = program_of(object, ProgramType::tracing, text);
    program.attach = AttachTarget::from_section("tp_btf/made").value();
    return refused(program, object, {.rules = Rules::kernel, .kernel_types = kernel_with_links()});
  };
  EXPECT_EQ(judged("*(u64 *)(r0 +0) = r6\n"), "");
  EXPECT_EQ(judged("*(u64 *)(r0 +0) = 0\n"), "");
  EXPECT_EQ(judged("*(u64 *)(r0 +0) = 5\n"), "special_field_touched");
  EXPECT_EQ(judged("*(u64 *)(r0 +0) = r10\n"), "special_field_touched");
  EXPECT_EQ(judged("r6 = *(u64 *)(r6 +8)\n*(u64 *)(r0 +0) = r6\n"), "special_field_touched") << "of another type";
}

/// Two symbols without a type are two addresses, which the loader knows.
TEST(LinuxRules, AddressesOfSymbolsDiffer) {
  const ObjectSpec object = object_with_maps();
  ProgramSpec program = program_of(object, kprobe,
                                   "r6 = 0 ll\nr7 = 0 ll\ncall get_prandom_u32\nif r0 != r6 goto end\nif r0 == r7 goto "
                                   "end\nr0 = r9\nexit\nend: " RETURN);
  program.references = {{.insn = 0, .kind = Reference::Kind::ksym, .name = "one"},
                        {.insn = 2, .kind = Reference::Kind::ksym, .name = "other"}};
  EXPECT_EQ(refused(program, object, {.rules = Rules::kernel}), "register_not_set");
}

/// A task's storage whose value leads to memory of the process.
TEST(LinuxRules, MemoryOfAProcessIsFoundInItsStorage) {
  ObjectSpec object = object_with_maps();
  btf::Builder types;
  const u32 number = types.add_int("long", 8, btf::Builder::Encoding::signed_);
  const btf::Builder::NewMember words[] = {{"a", number, 0}, {"b", number, 64}};
  const u32 shared = types.add_struct("shared", 16, words);
  const u32 pointer = types.add_pointer(types.add_modifier(btf::Kind::type_tag, "uptr", shared));
  const btf::Builder::NewMember members[] = {{"memory", pointer, 0}};
  const u32 value = types.add_struct("value", 8, members);
  object.btf = types.build().value();
  for (MapSpec& map : object.maps) map.btf_value_type_id = 0;
  MapSpec& map = object.maps[0];
  map.btf_value_type_id = value;
  const auto judged = [&](std::string_view use) {
    const std::string text = LOOKUP("counts") "if r0 == 0 goto end\n" + std::string(use) + "end: " RETURN;
    return refused(program_of(object, kprobe, text), object, {.rules = Rules::kernel});
  };
  EXPECT_EQ(judged("r1 = *(u64 *)(r0 +0)\nif r1 == 0 goto end\n*(u64 *)(r1 +8) = 1\n"), "");
  EXPECT_EQ(judged("r1 = *(u64 *)(r0 +0)\n*(u64 *)(r1 +8) = 1\n"), "maybe_null");
  EXPECT_EQ(judged("r1 = *(u64 *)(r0 +0)\nif r1 == 0 goto end\n*(u64 *)(r1 +16) = 1\n"), "outside_region");
  EXPECT_EQ(judged("*(u64 *)(r0 +0) = 1\n"), "special_field_touched");
}

}  // namespace
}  // namespace skep::verify
