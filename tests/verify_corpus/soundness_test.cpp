// Random programs: what the verifier accepts, the checked interpreter runs without a fault.
//
// The grammar aims at the border between accept and refuse: numbers from the context are bounded, or nearly, then
// used as offsets into the stack and into a map value. Accepted programs run several times on random contexts; every
// access is checked against the memory they have. Where this process may load programs into the kernel, its verdict
// is compared too.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <random>

#include "isa/text.hpp"
#include "verify/verify.hpp"
#include "vm/function.hpp"
#include "vm/jit/tiering.hpp"

namespace skep {
namespace {

constexpr u32 value_size = 64, context_size = 168;

class Generator {
 public:
  explicit Generator(u32 seed) : random_(seed) {}

  /// A kprobe program: r6 = context, r7 = address of a map value (with_map), r0 r2 r3 r4 r5 r8 numbers.
  std::vector<Insn> program(bool with_map) {
    out_.clear();
    with_map_ = with_map;
    put(0xbf, 6, 1, 0, 0);
    if (with_map) {
      put(0x18, 7, 2, 0, 0);
      put(0, 0, 0, 0, 0);
    } else {
      put(0xbf, 7, 10, 0, 0);
      put(0x07, 7, 0, 0, -static_cast<s32>(value_size));
    }
    for (s16 at = 8; at <= static_cast<s16>(value_size); at = static_cast<s16>(at + 8))
      put(0x7a, 10, 0, static_cast<s16>(-at), 0);
    for (u8 r : {0, 2, 3, 4, 5, 8}) {
      if (pick(3) == 0)
        put(0xb7, r, 0, 0, small());
      else
        put(static_cast<u8>(0x61 | (pick(2) != 0 ? 0x18 : 0)), r, 6, static_cast<s16>(8 * pick(20)), 0);
    }
    u32 length = 4 + pick(16);
    // One in three has a loop that ends by itself: what changes from round to round must not be taken for constant.
    loops = pick(3) == 0;
    u32 head = loops ? pick(length - 1) : length, tail = loops ? head + 1 + pick(length - head - 1) : length;
    std::size_t start = 0;
    for (u32 i = 0; i < length; i++) {
      if (i == head) {
        start = out_.size();
        put(0xe5, 0, 0, 0, 0);  // may_goto
      }
      step(length - i);
      if (i != tail) continue;
      put(0x05, 0, 0, static_cast<s16>(static_cast<s64>(start) - static_cast<s64>(out_.size()) - 1), 0);
      out_[start].off = static_cast<s16>(out_.size() - start - 1);
    }
    put(0xb7, 0, 0, 0, 0);
    put(0x95, 0, 0, 0, 0);
    return out_;
  }
  bool loops = false;  ///< the last program has a loop

 private:
  u32 pick(u32 n) { return static_cast<u32>(random_() % n); }
  s32 small() {
    constexpr s32 numbers[] = {0,  1,  -1, 7,  8,   15,  16, 31,  32,         56,
                               57, 63, 64, 65, 127, 255, -8, -64, 0x7fffffff, -0x7fffffff - 1};
    return numbers[pick(20)];
  }
  u8 number() {
    constexpr u8 regs[] = {0, 2, 3, 4, 5, 8};
    return regs[pick(6)];
  }
  void put(u8 code, u8 dst, u8 src, s16 off, s32 imm) {
    Insn i;
    i.code = code;
    i.dst = dst & 15;
    i.src = src & 15;
    i.off = off;
    i.imm = imm;
    out_.push_back(i);
  }
  void arithmetic() {
    constexpr u8 ops[] = {0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xa0, 0xb0, 0xc0};
    u8 op = ops[pick(12)], width = pick(2) != 0 ? 7 : 4;
    if (pick(2) != 0) {
      s16 off = (op == 0x30 || op == 0x90) && pick(3) == 0 ? 1
                : op == 0xb0 && pick(4) == 0               ? static_cast<s16>(8 << pick(2))
                                                           : 0;
      put(static_cast<u8>(op | 8 | width), number(), number(), off, 0);
    } else {
      s32 imm = op == 0x60 || op == 0x70 || op == 0xc0 ? static_cast<s32>(pick(width == 7 ? 64 : 32)) : small();
      if ((op == 0x30 || op == 0x90) && imm == 0) imm = 3;
      put(static_cast<u8>(op | width), number(), 0, 0, imm);
    }
  }
  void jump(u32 left) {
    constexpr u8 ops[] = {0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0};
    u8 op = ops[pick(11)], width = pick(2) != 0 ? 5 : 6;
    s16 off = static_cast<s16>(1 + pick(std::min(left, 4u)));
    if (pick(3) == 0)
      put(static_cast<u8>(op | 8 | width), number(), number(), off, 0);
    else
      put(static_cast<u8>(op | width), number(), 0, off, small());
  }
  /// Bounds a number, moves a pointer by it and uses the pointer.
  void access() {
    u8 index = number(), base = pick(3) == 0 ? 10 : 7;
    switch (pick(7)) {
      case 0:
      case 1:
      case 2:
        put(0x57, index, 0, 0, pick(4) == 0 ? small() : static_cast<s32>((1u << pick(7)) - 1));  // and
        break;
      case 3:
      case 4:
      case 5:
        put(static_cast<u8>(pick(4) != 0 ? 0x25 : 0x26), index, 0, base == 10 ? 4 : 3,
            pick(4) == 0 ? small() : static_cast<s32>(pick(value_size)));  // jump over the use when greater
        break;
      default:
        break;
    }
    put(0xbf, 9, base, 0, 0);
    if (base == 10) put(0x07, 9, 0, 0, -static_cast<s32>(value_size));
    put(0x0f, 9, index, 0, 0);
    constexpr u8 sizes[] = {0x00, 0x08, 0x10, 0x18};
    u8 size = sizes[pick(4)];
    s16 off = static_cast<s16>(pick(8) == 0 ? small() % 70 : 0);
    if (pick(2) != 0)
      put(static_cast<u8>(0x61 | size), number(), 9, off, 0);
    else
      put(static_cast<u8>(0x63 | size), 9, number(), off, 0);
  }
  void stack() {
    s16 at = static_cast<s16>(-8 * static_cast<s16>(1 + pick(8)));
    constexpr u8 sizes[] = {0x00, 0x08, 0x10, 0x18};
    u8 size = sizes[pick(4)];
    if (pick(2) != 0)
      put(static_cast<u8>(0x61 | size), number(), 10, at, 0);
    else
      put(static_cast<u8>(0x63 | size), 10, pick(8) == 0 ? 7 : number(), at, 0);
  }
  void step(u32 left) {
    switch (pick(8)) {
      case 0:
      case 1:
      case 2:
        return arithmetic();
      case 3:
      case 4:
        return jump(left);
      case 5:
      case 6:
        return access();
      default:
        return stack();
    }
  }

  std::mt19937 random_;
  std::vector<Insn> out_;
  bool with_map_ = false;
};

struct Guard final : vm::MemoryGuard {
  u64 context = 0, value = 0;
  bool allows(u64 address, u32 size, bool write) noexcept override {
    if (!write && address >= context && address + size <= context + context_size) return true;
    return address >= value && address + size <= value + value_size;
  }
};

ObjectSpec object_with_value() {
  ObjectSpec object;
  object.license = "GPL";
  MapSpec map;
  map.name = ".data";
  map.type = MapType::array;
  map.key_size = 4;
  map.value_size = value_size;
  map.max_entries = 1;
  map.is_global_data = true;
  object.maps.push_back(map);
  return object;
}

ProgramSpec program_of(std::vector<Insn> insns, bool with_map) {
  ProgramSpec program;
  program.name = "random";
  program.type = ProgramType::kprobe;
  program.insns = std::move(insns);
  if (with_map) program.references.push_back({1, Reference::Kind::map_value, 0, 0, ".data", 0, false});
  return program;
}

u32 rounds(u32 usual) {
  const char* chosen = std::getenv("SKEP_RANDOM_PROGRAMS");
  return chosen != nullptr ? static_cast<u32>(std::strtoul(chosen, nullptr, 10)) : usual;
}

/// What a run leaves behind.
struct Observed {
  u64 r0 = 0;
  std::array<std::byte, context_size> context;
  std::array<std::byte, value_size> value;
  bool operator==(const Observed&) const = default;
};

/// Runs on memory as it is in `before`; `deeper` moves the stack, so that a result that is an address shows.
[[gnu::noinline]] Observed observe(const vm::Function& function, std::span<std::byte> context,
                                   std::span<std::byte> value, const Observed& before, std::size_t deeper) {
  auto* padding = static_cast<volatile std::byte*>(__builtin_alloca(deeper));
  padding[0] = std::byte{};
  std::ranges::copy(before.context, context.begin());
  std::ranges::copy(before.value, value.begin());
  vm::Run run;
  Observed after;
  after.r0 = function.run(run, context.data());
  std::ranges::copy(context, after.context.begin());
  std::ranges::copy(value, after.value.begin());
  return after;
}

/// The program in every compiled tier, with all that the verifier proved of it; none: this machine has no JIT.
std::vector<std::shared_ptr<const vm::Function>> compiled(const verify::VerifiedProgram& program,
                                                          const vm::Bindings& bindings,
                                                          const std::shared_ptr<vm::Jit>& jit) {
  std::vector<std::shared_ptr<const vm::Function>> functions;
  for (const auto tier : {vm::Tier::baseline, vm::Tier::optimised})
    if (auto function = vm::Function::link(program, bindings, {.tier = tier, .jit = jit}))
      functions.push_back(std::move(*function));
  return functions;
}

TEST(Soundness, AcceptedProgramsNeverFault) {
  const auto jit = vm::Jit::create();
  u64 compared = 0, addresses = 0;
  constexpr u32 seed = 7;
  ObjectSpec object = object_with_value();
  std::mt19937 random(seed);
  u32 accepted = 0, count = rounds(60'000);
  for (u32 round = 0; round < count; round++) {
    bool with_map = round % 3 != 0;
    Generator generator(seed + round);
    ProgramSpec program = program_of(generator.program(with_map), with_map);
    verify::Options options;
    options.rules = round % 2 == 0 ? verify::Rules::user : verify::Rules::kernel;
    options.max_insns_processed = 20'000;
    auto outcome = verify::verify(program, object, options);
    ASSERT_TRUE(outcome.has_value());
    if (!outcome->program) continue;
    accepted++;
    alignas(8) std::array<std::byte, context_size> context;
    alignas(8) std::array<std::byte, value_size> value;
    vm::Bindings bindings;
    bindings.maps = {0};
    bindings.map_values = {reinterpret_cast<u64>(value.data())};
    auto function = vm::Function::link(*outcome->program, bindings, {.tier = vm::Tier::interpreter});
    ASSERT_TRUE(function.has_value()) << function.error().message;
    const auto tiers = compiled(*outcome->program, bindings, jit);
    for (int input = 0; input < 6; input++) {
      for (auto& b : context)
        b = static_cast<std::byte>(input == 0 ? 0 : input == 1 ? 0xff : random() >> (random() % 8));
      for (auto& b : value) b = static_cast<std::byte>(random());
      Guard guard;
      vm::Run run;
      guard.context = reinterpret_cast<u64>(context.data());
      guard.value = reinterpret_cast<u64>(value.data());
      Observed before;
      std::ranges::copy(context, before.context.begin());
      std::ranges::copy(value, before.value.begin());
      auto result = (*function)->run_checked(run, context.data(), guard, 10'000);
      if (!result && generator.loops && result.error().code == Code::limit) continue;  // it went round and round
      ASSERT_TRUE(result.has_value()) << "seed " << seed + round << ": " << result.error().message << "\n"
                                      << isa::disassemble(program.insns);
      const Observed expected = observe(**function, context, value, before, 16);
      for (const auto& tier : tiers) {
        if (expected != observe(**function, context, value, before, 4096 + 64)) {
          addresses++;  // an address of the stack: no two tiers have the same
          break;
        }
        compared++;
        ASSERT_TRUE(expected == observe(*tier, context, value, before, 16))
            << "seed " << seed + round << " input " << input << ": the " << name_of(tier->tier())
            << " tier differs from the interpreter\n"
            << isa::disassemble(program.insns);
      }
    }
  }
  fmt::print("{} of {} random programs accepted, none faulted; {} runs compared with machine code, {} hold addresses\n",
             accepted, count, compared, addresses);
  EXPECT_GT(accepted, count / 10);
}

/// BPF_PROG_LOAD of a kprobe program without maps. 1 accepted, 0 rejected, -1 not permitted here.
int kernel_verdict(const std::vector<Insn>& insns, std::string& log) {
  struct {
    u32 type = 2, count = 0;
    u64 insns = 0, license = 0;
    u32 log_level = 1, log_size = 0;
    u64 log_buffer = 0;
    u32 version = 0, flags = 0;
    char name[16] = "skep_random";
    u32 rest[16] = {};
  } attr;
  log.assign(65536, '\0');
  attr.count = static_cast<u32>(insns.size());
  attr.insns = reinterpret_cast<u64>(insns.data());
  attr.license = reinterpret_cast<u64>("GPL");
  attr.log_size = static_cast<u32>(log.size());
  attr.log_buffer = reinterpret_cast<u64>(log.data());
  long fd = syscall(SYS_bpf, 5, &attr, sizeof attr);
  log.resize(std::strlen(log.c_str()));
  if (fd >= 0) {
    close(static_cast<int>(fd));
    return 1;
  }
  return log.empty() ? -1 : 0;
}

TEST(Soundness, VerdictsAgreeWithTheRunningKernel) {
  std::string log;
  std::vector<Insn> trivial(2);
  trivial[0].code = 0xb7;
  trivial[1].code = 0x95;
  if (kernel_verdict(trivial, log) != 1)
    GTEST_SKIP() << "this process may not load programs (CAP_BPF): the running kernel was not asked";
  ObjectSpec object = object_with_value();
  verify::Options options;
  options.rules = verify::Rules::kernel;
  u32 both = 0, neither = 0, only_kernel = 0, only_we = 0, count = rounds(1'500);
  for (u32 round = 0; round < count; round++) {
    Generator generator(1'000'000 + round);
    ProgramSpec program = program_of(generator.program(false), false);
    auto outcome = verify::verify(program, object, options);
    ASSERT_TRUE(outcome.has_value());
    int kernel = kernel_verdict(program.insns, log);
    if (kernel < 0) continue;
    bool we = outcome->report.accepted;
    (we ? (kernel == 1 ? both : only_we) : (kernel == 1 ? only_kernel : neither))++;
    if (we && kernel == 0 && std::getenv("SKEP_SHOW") != nullptr)
      fmt::print("--- seed {}: the kernel rejects\n{}{}\n", 1'000'000 + round, isa::disassemble(program.insns),
                 log.substr(log.size() > 600 ? log.size() - 600 : 0));
    if (!we && kernel == 1 && std::getenv("SKEP_SHOW") != nullptr)
      fmt::print("--- seed {}: only the kernel accepts\n{}{}\n", 1'000'000 + round, isa::disassemble(program.insns),
                 verify::explain(outcome->report, program));
  }
  fmt::print("random programs: both accept {}, both reject {}, only the kernel accepts {}, only we accept {}\n", both,
             neither, only_kernel, only_we);
  EXPECT_GT(both, 0u);
  // Explained: the kernel follows a branch whose bounds contradict each other, and forgets that a 32-bit shift by an
  // unknown count clears the upper half. Anything more than a few in a thousand is something else.
  EXPECT_LE(only_we, count / 200);
  EXPECT_LE(only_kernel, count / 200);
}

}  // namespace
}  // namespace skep
