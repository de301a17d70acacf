// Both loops against each other and against what the instructions should do.
#include <gtest/gtest.h>

#include <cerrno>
#include <random>
#include <thread>

#include "isa/text.hpp"
#include "vm/bytecode.hpp"
#include "vm/checked_program.hpp"

namespace skep::vm {
namespace {

std::vector<Insn> program(std::string_view text) {
  auto result = isa::assemble(text);
  EXPECT_TRUE(result) << result.error().message;
  return result.value_or(std::vector<Insn>{});
}

std::unique_ptr<const Bytecode> code_of(std::string_view text, const Bindings& bindings = {}) {
  auto code = translate({program(text), {}, {}}, bindings);
  EXPECT_TRUE(code) << code.error().message;
  return code ? std::move(*code) : nullptr;
}

u64 fast(const Bytecode& code, u64 r1 = 0, u64 r2 = 0, Run* run = nullptr) {
  Run own;
  return interpret(code, run != nullptr ? *run : own, r1, r2);
}

Result<u64> checked(const Bytecode& code, u64 r1 = 0, u64 r2 = 0, MemoryGuard* guard = nullptr, u64 budget = 1 << 20) {
  base::Run own;
  CheckedRun run{&own, guard, budget};
  return interpret_checked(code, r1, r2, run);
}

/// The result of both loops, which must agree.
u64 both(std::string_view text, const Bindings& bindings = {}, u64 r1 = 0, u64 r2 = 0) {
  const auto code = code_of(text, bindings);
  if (!code) return 0xbad;
  const auto slow = checked(*code, r1, r2);
  EXPECT_TRUE(slow) << text << ": " << slow.error().message;
  const u64 quick = fast(*code, r1, r2);
  EXPECT_EQ(slow.value_or(0xbad), quick) << text;
  return quick;
}

std::string translate_error(std::string_view text, const Bindings& bindings = {}) {
  const auto code = translate({program(text), {}, {}}, bindings);
  return code ? "accepted" : code.error().message;
}

std::string checked_error(std::string_view text, const Bindings& bindings = {}, MemoryGuard* guard = nullptr) {
  const auto code = code_of(text, bindings);
  const auto result = checked(*code, 0, 0, guard, 10000);
  return result ? "ran" : result.error().message;
}

struct Region final : MemoryGuard {
  std::vector<u64> words = std::vector<u64>(8);
  bool writable = true;
  u64 address() const { return reinterpret_cast<u64>(words.data()); }
  bool allows(u64 at, u32 size, bool write) noexcept override {
    return (writable || !write) && at >= address() && at - address() + size <= words.size() * 8;
  }
};

// --- arithmetic and control flow ---

/// Random programs of arithmetic, stack accesses and forward jumps.
std::vector<Insn> random_program(std::mt19937_64& random) {
  std::vector<Insn> out;
  for (u8 r = 0; r < 10; r++) {
    out.push_back({0x18, r, 0, 0, static_cast<s32>(random())});
    out.push_back({.imm = random() % 2 ? static_cast<s32>(random()) : 0});
  }
  for (s16 at = -64; at < 0; at += 8) out.push_back({0x7b, 10, static_cast<u8>(random() % 10), at, 0});
  constexpr int body = 60;
  for (int i = 0; i < body; i++) {
    const isa::Row& row = isa::rows()[random() % isa::op_count];
    const u8 dst = random() % 10, src = random() % 10;
    const s16 stack = static_cast<s16>(-8 * static_cast<s16>(1 + random() % 8));
    Insn insn{row.code, dst, src, 0, 0};
    if (row.src != isa::any) insn.src = static_cast<u8>(row.src) & 0xf;
    if (row.off != isa::any) insn.off = static_cast<s16>(row.off);
    insn.imm = row.imm != isa::any ? row.imm : static_cast<s32>(random() % 3 ? random() % 70 : random());
    switch (row.form) {
      case isa::Form::alu_imm:
      case isa::Form::alu_reg:
      case isa::Form::alu_unary:
      case isa::Form::movsx:
      case isa::Form::endian:
        break;
      case isa::Form::jump:
        insn.dst = 0;
        [[fallthrough]];
      case isa::Form::jump_imm:
      case isa::Form::jump_reg:
        insn.off = static_cast<s16>(random() % static_cast<u64>(body - i));
        break;
      case isa::Form::load:
      case isa::Form::load_acquire:
        insn.src = 10;
        insn.off = stack;
        break;
      case isa::Form::store_imm:
      case isa::Form::store_reg:
      case isa::Form::atomic:
      case isa::Form::atomic_fetch:
      case isa::Form::cmpxchg:
      case isa::Form::store_release:
        insn.dst = 10;
        insn.off = stack;
        break;
      default:
        insn = {0xbf, dst, src, 0, 0};
    }
    out.push_back(insn);
  }
  for (u8 r = 1; r < 10; r++) {
    out.push_back({0x27, 0, 0, 0, 31});
    out.push_back({0x0f, 0, r, 0, 0});
  }
  out.push_back({0x95, 0, 0, 0, 0});
  return out;
}

TEST(Vm, LoopsAgreeOnRandomPrograms) {
  constexpr u64 seed = 4711;
  std::mt19937_64 random(seed);
  for (int round = 0; round < 5000; round++) {
    const auto insns = random_program(random);
    const auto code = translate({insns, {}, {}}, {});
    ASSERT_TRUE(code) << code.error().message;
    const auto slow = checked(**code);
    ASSERT_TRUE(slow) << slow.error().message;
    ASSERT_EQ(*slow, fast(**code)) << "seed " << seed << " round " << round << "\n" << isa::disassemble(insns);
  }
}

TEST(Vm, ArgumentsArriveAndResultsReturn) {
  EXPECT_EQ(both("r0 = r1\nr0 += r2\nexit", {}, 40, 2), 42u);
  EXPECT_EQ(both("w0 = -1\nexit"), 0xffffffffu);
  EXPECT_EQ(both("r0 = 0x1122334455667788\nexit"), 0x1122334455667788u);
}

TEST(Vm, LoopsAndLongJumps) {
  EXPECT_EQ(both("r0 = 0\nr1 = 10\nloop: r0 += r1\nr1 -= 1\nif r1 != 0 goto loop\nexit"), 55u);
  EXPECT_EQ(both("r0 = 1\ngotol end\nr0 = 2\nend: exit"), 1u);
}

// --- calls ---

TEST(Vm, SubprogramsHaveTheirOwnStackAndKeepR6ToR9) {
  EXPECT_EQ(both("r6 = 6\nr7 = 7\nr8 = 8\nr9 = 9\n*(u64 *)(r10 -8) = 100\nr1 = 1\ncall f\n"
                 "r0 += r6\nr0 += r7\nr0 += r8\nr0 += r9\nr1 = *(u64 *)(r10 -8)\nr0 += r1\nexit\n"
                 "f: r6 = 0\nr7 = 0\nr8 = 0\nr9 = 0\n*(u64 *)(r10 -8) = 5\nr0 = *(u64 *)(r10 -8)\nexit"),
            135u);
}

std::string nested(int depth) {
  std::string text;
  for (int i = 0; i < depth - 1; i++)
    text += "f" + std::to_string(i) + ": call f" + std::to_string(i + 1) + "\nr0 += 1\nexit\n";
  return text + "f" + std::to_string(depth - 1) + ": r0 = 0\nexit\n";
}

TEST(Vm, EightFramesFitAndNineDoNot) {
  EXPECT_EQ(both(nested(8)), 7u);
  EXPECT_EQ(checked_error(nested(9)), "instruction 21: calls deeper than 8 frames");
}

struct RunWithBase : Run {
  u64 base = 0;
};
u64 sum(void* run, u64 a, u64 b, u64 c, u64 d, u64 e) noexcept {
  return static_cast<RunWithBase*>(static_cast<Run*>(run))->base + a + 10 * b + 100 * c + 1000 * d + 10000 * e;
}
u64 seven(void*, u64, u64, u64, u64, u64) noexcept { return 7; }

TEST(Vm, HelpersGetFiveArgumentsAndTheCall) {
  const HelperFn helpers[] = {nullptr, sum};
  Bindings bindings;
  bindings.helpers = helpers;
  const auto code = code_of("r1 = 1\nr2 = 2\nr3 = 3\nr4 = 4\nr5 = 5\ncall 1\nexit", bindings);
  RunWithBase run;
  run.base = 100000;
  EXPECT_EQ(fast(*code, 0, 0, &run), 154321u);
}

TEST(Vm, CallxReachesHelpersByNumberAndFunctionsByAddress) {
  const HelperFn helpers[] = {nullptr, nullptr, seven};
  Bindings bindings;
  bindings.helpers = helpers;
  EXPECT_EQ(both("r3 = 2\ncallx r3\nexit", bindings), 7u);
  EXPECT_EQ(both("r3 = subprog[f]\ncallx r3\nr0 += 1\nexit\nf: r0 = 20\nexit", bindings), 21u);
  EXPECT_EQ(checked_error("r3 = 99\ncallx r3\nexit", bindings),
            "instruction 1: callx: register r3 holds 0x63, neither a function nor a helper's number");
}

// --- tail calls ---

const Function* tail_functions[4];
const Function* tail_target(u64, u32 index) noexcept { return index < 4 ? tail_functions[index] : nullptr; }

class TailCalls : public testing::Test {
 protected:
  TailCalls() { bindings.tail_target = tail_target; }
  ~TailCalls() override { std::fill(std::begin(tail_functions), std::end(tail_functions), nullptr); }
  void put(u32 index, std::string_view text) {
    owned.push_back(trusted_function(code_of(text, bindings)));
    tail_functions[index] = owned.back().get();
  }
  Bindings bindings;
  std::vector<std::shared_ptr<const Function>> owned;
};

/// Calls its second argument back a[0] times, as bpf_loop does.
u64 repeat(void* run, u64 count, u64 callback, u64 context, u64, u64) noexcept {
  const auto& call = *reinterpret_cast<const base::Callback*>(callback);
  u64 done = 0;
  while (done < count && !static_cast<Run*>(run)->thrown && call(run, done, context, 0, 0, 0) == 0) done++;
  return done;
}

TEST(Vm, HelpersCallFunctionsOfTheProgram) {
  const HelperFn helpers[] = {nullptr, repeat};
  Bindings bindings;
  bindings.helpers = helpers;
  constexpr std::string_view sum =
      "*(u64 *)(r10 -8) = 0\nr1 = 10\nr2 = subprog[f]\nr3 = r10\nr3 += -8\ncall 1\nr1 = *(u64 *)(r10 -8)\nr0 *= 100\n"
      "r0 += r1\nexit\nf: r3 = *(u64 *)(r2 +0)\nr3 += r1\n*(u64 *)(r2 +0) = r3\nr0 = 0\nif r1 < 6 goto out\nr0 = 1\n"
      "out: exit";
  EXPECT_EQ(both(sum, bindings), 600u + 21u);
  // What goes wrong in a callback ends the checked run, and not only the callback.
  EXPECT_EQ(
      checked_error("r1 = 10\nr2 = subprog[f]\nr3 = 0\ncall 1\nr0 = 0\nexit\nf: r0 = *(u8 *)(r2 +0)\nexit", bindings),
      "instruction 7: read of 1 bytes at 0x0 is outside the program's memory");
}

u64 throw_cookie(void* run, u64 cookie, u64, u64, u64, u64) noexcept {
  static_cast<Run*>(run)->thrown = true;
  static_cast<Run*>(run)->thrown_value = cookie;
  return 0;
}
HelperFn throwing_kfunc(std::string_view name) noexcept { return name == "bpf_throw" ? throw_cookie : nullptr; }

/// The result of `text`, whose calls of kernel functions are bpf_throw, in both loops.
u64 thrown_result(std::string_view text, s64 exception_callback = -1) {
  std::array<HelperFn, 182> helpers{nullptr, repeat};
  helpers[181] = repeat;  // bpf_loop, which the optimising tier writes as a loop
  Bindings bindings;
  bindings.helpers = helpers;
  bindings.kfunc = throwing_kfunc;
  const auto insns = program(text);
  std::vector<Reference> references;
  for (u32 i = 0; i < insns.size(); i++)
    if (insns[i].code == isa::code_call && insns[i].src == isa::call_src_kfunc)
      references.push_back({.insn = i, .kind = Reference::Kind::kfunc, .name = "bpf_throw"});
  Source source{.insns = insns, .references = references, .context_loads = {}};
  source.exception_callback = exception_callback;
  const auto code = translate(source, bindings);
  EXPECT_TRUE(code) << code.error().message;
  const auto slow = checked(**code);
  EXPECT_TRUE(slow) << slow.error().message;
  const u64 result = fast(**code);
  EXPECT_EQ(result, *slow) << text;
  for (const Tier tier : {Tier::baseline, Tier::optimised}) {
    auto again = translate(source, bindings);
    EXPECT_TRUE(again);
    const auto function = trusted_function(std::move(*again), {.tier = tier});
    if (!function && function.error().code == Code::unsupported) continue;  // no JIT for this CPU
    EXPECT_TRUE(function) << (function ? "" : function.error().message);
    Run run;
    EXPECT_EQ(function ? (*function)->run(run, nullptr) : 0, result) << text;
    EXPECT_FALSE(run.thrown) << text;
  }
  return result;
}

TEST(Vm, WhatIsThrownLeavesEveryFrame) {
  EXPECT_EQ(thrown_result("r1 = 7\ncall kernel-function#1\nr0 = 1\nexit"), 7u);
  EXPECT_EQ(
      thrown_result("r6 = 1\ncall f\nr0 = 1\nexit\nf: call g\nr0 = 2\nexit\ng: r1 = 9\ncall kernel-function#1\nexit"),
      9u);
  EXPECT_EQ(thrown_result("r1 = 5\nr2 = subprog[f]\nr3 = 0\ncall 1\nr0 = 1\nexit\n"
                          "f: if r1 < 3 goto on\ncall kernel-function#1\non: r0 = 0\nexit"),
            3u);
  EXPECT_EQ(thrown_result("r1 = 5\nr2 = subprog[f]\nr3 = 0\nr4 = 0\ncall 181\nr0 = 1\nexit\n"
                          "f: if r1 < 3 goto on\ncall kernel-function#1\non: r0 = 0\nexit"),
            3u);
  EXPECT_EQ(thrown_result("r1 = 7\ncall kernel-function#1\nr0 = 1\nexit\nhandler: r0 = r1\nr0 *= 6\nexit", 4), 42u);
}

u64 digits_of(void*, u64 a, u64 b, u64 c, u64 d, u64 e) noexcept {
  return ((((a * 10 + b) * 10) + c) * 10 + d) * 10 + e;
}

TEST(Vm, KernelFunctionsAreToldWhatTheProgramDoesNotSay) {
  const auto insns = program("r1 = 1\nr2 = 2\nr3 = 3\nr4 = 4\nr5 = 5\ncall kernel-function#1\nexit");
  const Reference reference{.insn = 5, .kind = Reference::Kind::kfunc, .name = "digits"};
  const verify::LocalType made{.insn = 5, .type = 6};
  const Source source{.insns = insns, .references = {&reference, 1}, .context_loads = {}, .local_types = {&made, 1}};
  const u64 expected[] = {12345, 72345, 17345, 12745, 12375, 12347};
  for (u8 reg = 0; reg < std::size(expected); reg++) {
    Bindings bindings;
    bindings.kfunc = [](std::string_view) -> HelperFn { return digits_of; };
    bindings.hidden = [reg](std::string_view, u32 local_type) -> Result<base::HiddenArgument> {
      return base::HiddenArgument{.reg = reg, .value = local_type + 1};
    };
    const auto code = translate(source, bindings);
    ASSERT_TRUE(code) << code.error().message;
    EXPECT_EQ(checked(**code).value(), expected[reg]);
    EXPECT_EQ(fast(**code), expected[reg]);
    for (const Tier tier : {Tier::baseline, Tier::optimised}) {
      const auto function = trusted_function(translate(source, bindings).value(), {.tier = tier});
      if (!function && function.error().code == Code::unsupported) continue;  // no JIT for this CPU
      ASSERT_TRUE(function) << function.error().message;
      base::Run run;
      EXPECT_EQ((*function)->run(run, nullptr), expected[reg]);
      const auto slow = run_checked_code(**function, {});
      if (!slow && slow.error().code == Code::unsupported) continue;
      ASSERT_TRUE(slow) << slow.error().message;
      EXPECT_EQ(*slow, expected[reg]);
    }
  }
}

TEST_F(TailCalls, ReplaceTheProgramAndKeepTheContext) {
  put(1, "r0 = r1\nr0 += 1\nexit");
  EXPECT_EQ(both("r2 = 0\nr3 = 1\ncall 12\nr0 = 0\nexit", bindings, 41), 42u);
}

TEST_F(TailCalls, MissingTargetFallsThrough) {
  EXPECT_EQ(both("r3 = 0\ncall 12\nexit", bindings), static_cast<u64>(-ENOENT));
  EXPECT_EQ(both("r3 = 0x100000001\ncall 12\nr0 = 3\nexit", bindings), 3u);
}

TEST_F(TailCalls, IndexIsThirtyTwoBits) {
  put(1, "r0 = 9\nexit");
  EXPECT_EQ(both("r3 = 0x100000001\ncall 12\nr0 = 3\nexit", bindings), 9u);
}

TEST_F(TailCalls, EndAfterThirtyThree) {
  put(0, "r0 = *(u64 *)(r1 +0)\nr0 += 1\n*(u64 *)(r1 +0) = r0\nr3 = 0\ncall 12\nr0 = *(u64 *)(r1 +0)\nexit");
  u64 count = 0;
  base::Run run;
  EXPECT_EQ(owned[0]->run(run, &count), 34u);  // itself once, and 33 tail calls
  EXPECT_EQ(count, 34u);
}

TEST_F(TailCalls, InASubprogramReturnToItsCaller) {
  put(2, "r0 = 5\ncall f\nexit\nf: r0 *= 2\nexit");
  EXPECT_EQ(both("r6 = 100\ncall f\nr0 += r6\nexit\nf: r3 = 2\ncall 12\nr0 = 0\nexit", bindings), 110u);
}

// --- memory ---

TEST(Vm, AtomicsFetchExchangeAndCompare) {
  EXPECT_EQ(both("*(u64 *)(r10 -8) = 5\nr1 = 3\nr1 = atomic64_fetch_add((u64 *)(r10 -8), r1)\n"
                 "r0 = *(u64 *)(r10 -8)\nr0 *= 100\nr0 += r1\nexit"),
            805u);
  EXPECT_EQ(both("*(u64 *)(r10 -8) = -1\nr1 = 3\nr1 = atomic_xchg((u32 *)(r10 -8), r1)\nr0 = *(u64 *)(r10 -8)\nr0 += "
                 "r1\nexit"),
            0xffffffff00000003u + 0xffffffffu);
  EXPECT_EQ(both("*(u64 *)(r10 -8) = 5\nr0 = 5\nr1 = 9\nr0 = atomic64_cmpxchg((u64 *)(r10 -8), r0, r1)\n"
                 "r2 = *(u64 *)(r10 -8)\nr0 *= 10\nr0 += r2\nexit"),
            59u);
}

TEST(Vm, AtomicAddIsAtomicBetweenThreads) {
  const auto code =
      code_of("r2 = 1\nr3 = 20000\nloop: lock *(u64 *)(r1 +0) += r2\nr3 -= 1\nif r3 != 0 goto loop\nr0 = 0\nexit");
  alignas(8) u64 counter = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++) threads.emplace_back([&] { fast(*code, reinterpret_cast<u64>(&counter)); });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(counter, 80000u);
}

TEST(Vm, CheckedLoopStopsAtTheEdgeOfMemory) {
  Region region;
  const auto run = [&](std::string_view text) {
    const auto result = checked(*code_of(text), region.address(), 64, &region);
    return result ? std::string("ran") : result.error().message.substr(0, result.error().message.find(" at 0x"));
  };
  EXPECT_EQ(run("r0 = *(u64 *)(r1 +56)\nexit"), "ran");
  EXPECT_EQ(run("r0 = *(u64 *)(r1 +57)\nexit"), "instruction 0: read of 8 bytes");
  EXPECT_EQ(run("r0 = *(u8 *)(r1 -1)\nexit"), "instruction 0: read of 1 bytes");
  EXPECT_EQ(run("r0 = 0\n*(u16 *)(r1 +63) = 1\nexit"), "instruction 1: write of 2 bytes");
  EXPECT_EQ(run("r0 = *(u8 *)(r10 +0)\nexit"), "instruction 0: read of 1 bytes");
  EXPECT_EQ(run("r0 = *(u64 *)(r10 -513)\nexit"), "instruction 0: read of 8 bytes");
  EXPECT_EQ(run("r0 = 0\nr0 = atomic64_fetch_add((u64 *)(r1 +4), r0)\nexit"),
            "instruction 1: atomic access of 8 bytes");
  EXPECT_EQ(run("r10 = 5\nexit"), "instruction 0: writes the frame pointer r10");
  region.writable = false;
  EXPECT_EQ(run("r0 = *(u64 *)(r1 +0)\nexit"), "ran");
  EXPECT_EQ(run("lock *(u64 *)(r1 +0) += r1\nexit"), "instruction 0: write of 8 bytes");
}

TEST(Vm, CheckedLoopCountsInstructions) {
  EXPECT_EQ(checked_error("loop: goto loop"), "instruction 0: the budget is used up");
  EXPECT_EQ(checked_error("r0 = 0"), "ran past the last instruction (0)");
}

TEST(Vm, CalleeStackIsGoneAfterReturn) {
  EXPECT_NE(checked_error("call f\nr0 = *(u64 *)(r0 +0)\nexit\nf: *(u64 *)(r10 -8) = 1\nr0 = r10\nr0 += -8\nexit"),
            "ran");
  EXPECT_EQ(both("r1 = r10\nr1 += -8\ncall f\nr0 = *(u64 *)(r10 -8)\nexit\nf: *(u64 *)(r1 +0) = 7\nr0 = 0\nexit"), 7u);
}

// --- packets ---

constexpr u8 packet[] = {0x11, 0x22, 0x33, 0x44, 0x55};
s64 load_packet(void*, void* context, u32 offset, u32 size, u64* out) noexcept {
  if (context != packet || offset > sizeof packet || size > sizeof packet - offset) return -1;
  *out = 0;
  for (u32 i = 0; i < size; i++) *out = *out << 8 | packet[offset + i];
  return 0;
}

TEST(Vm, PacketLoadsAreBigEndianAndEndTheProgramOutOfBounds) {
  Bindings bindings;
  bindings.load_packet = load_packet;
  const u64 context = reinterpret_cast<u64>(packet);
  EXPECT_EQ(both("r6 = r1\nr0 = *(u16 *)skb[1]\nexit", bindings, context), 0x2233u);
  EXPECT_EQ(both("r6 = r1\nr2 = 1\nr0 = *(u32 *)skb[r2 + 0]\nexit", bindings, context), 0x22334455u);
  EXPECT_EQ(both("r6 = r1\nr0 = *(u32 *)skb[2]\nr0 = 9\nexit", bindings, context), 0u);
  EXPECT_EQ(both("r6 = r1\ncall f\nr0 += 1\nexit\nf: r6 = r1\nr0 = *(u32 *)skb[2]\nr0 = 9\nexit", bindings, context),
            1u);
  EXPECT_NE(translate_error("r0 = *(u8 *)skb[0]\nexit").find("this program's attach point has none"),
            std::string::npos);
}

// --- linking ---

TEST(Link, ReferencesBecomeAddresses) {
  const auto assembly = isa::parse("r1 = map[a]\nr2 = map[b][0]+0\nr3 = subprog[+0]\nr0 = r1\nr0 += r2\nexit");
  ASSERT_TRUE(assembly);
  const std::vector<Reference> references = {{.insn = 0, .kind = Reference::Kind::map, .map = 0},
                                             {.insn = 2, .kind = Reference::Kind::map_value, .map = 1, .addend = 8},
                                             {.insn = 4, .kind = Reference::Kind::function, .addend = 6}};
  Bindings bindings;
  bindings.maps = {0x100000001000, 0x2000};
  bindings.map_values = {0, 0x300000003000};
  const auto code = translate({assembly->insns, references, {}}, bindings);
  ASSERT_TRUE(code) << code.error().message;
  EXPECT_EQ(fast(**code), 0x100000001000u + 0x300000003008u);
  EXPECT_EQ(isa::wide_immediate((*code)->insns[2], (*code)->insns[3]), 0x300000003008u);
  bindings.map_values = {};
  const auto unbound = translate({assembly->insns, references, {}}, bindings);
  ASSERT_FALSE(unbound);
  EXPECT_EQ(unbound.error().message, "instruction 2: map 1 has no directly addressed value");
}

TEST(Link, ContextLoadsBecomeEightBytesWide) {
  const verify::ContextLoad loads[] = {{.insn = 0, .offset = 8}};
  const auto insns = program("r0 = *(u32 *)(r1 +4)\nexit");
  const auto code = translate({insns, {}, loads}, {});
  ASSERT_TRUE(code);
  const u64 context[] = {1, 0x123456789abcdef0};
  EXPECT_EQ(fast(**code, reinterpret_cast<u64>(context)), 0x123456789abcdef0u);
  EXPECT_EQ(isa::print((*code)->insns, 0), "r0 = *(u64 *)(r1 +8)");
}

TEST(Link, RefusalsNameWhatIsMissing) {
  EXPECT_EQ(translate_error("call 5\nexit"),
            "instruction 0: helper bpf_ktime_get_ns (#5) is not in this engine; the kernel engine may have it");
  EXPECT_EQ(translate_error("call 12\nexit"), "instruction 0: tail calls need program arrays, and none were bound");
  EXPECT_EQ(translate_error("call kernel-function#77\nexit"),
            "instruction 0: kernel function #77 exists only in the kernel engine");
  EXPECT_NE(translate_error("r1 = addr_space_cast(r1, 0, 1)\nexit").find("arena"), std::string::npos);
  EXPECT_EQ(translate_error("goto +5\nexit"),
            "instruction 0: goes to instruction 6, which is not the start of an instruction of this program (0..1)");
  EXPECT_NE(translate_error("goto +1\nr1 = 5 ll\nexit").find("goes to instruction 2"), std::string::npos);
  EXPECT_NE(translate_error("r1 = map[id:3]\nexit").find("was not bound"), std::string::npos);
  EXPECT_EQ(translate_error(""), "the program has no instructions");
  const std::vector<Insn> half = {{0x18, 0, 0, 0, 1}};
  EXPECT_FALSE(translate({half, {}, {}}, {}));
  const std::vector<Insn> unknown = {{0xff, 0, 0, 0, 1}};
  EXPECT_FALSE(translate({unknown, {}, {}}, {}));
}

/// Hostile instructions: random bytes run checked, or are refused.
TEST(Vm, RandomBytesNeverEscapeTheCheckedLoop) {
  std::mt19937_64 random(12345);
  int ran = 0;
  for (int round = 0; round < 20000; round++) {
    std::vector<Insn> insns(1 + random() % 12);
    for (Insn& insn : insns) {
      const auto& row = isa::rows()[random() % isa::op_count];
      const auto pick = [&](s32 fixed, u64 range) {
        return fixed != isa::any ? static_cast<s64>(fixed) : static_cast<s64>(random() % range);
      };
      insn = {row.code, isa::uses_dst(row.form) ? static_cast<u8>(random() % 11) : u8{0},
              static_cast<u8>(pick(row.src, 11)), static_cast<s16>(pick(row.off, 4)),
              static_cast<s32>(pick(row.imm, 8))};
      if (random() % 4 == 0) insn.off = static_cast<s16>(random());
    }
    const HelperFn helpers[] = {seven, seven, seven};
    RawRun raw;
    raw.helpers = helpers;
    raw.max_insns = 1000;
    if (run_raw_checked(insns, raw)) ran++;
  }
  EXPECT_GT(ran, 10);
}

}  // namespace
}  // namespace skep::vm
