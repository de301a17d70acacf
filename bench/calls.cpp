// What calls cost in each tier: entering a program, helpers, functions of the program, tail calls.
//
// A program makes sixty-four calls in a row, each on the result of the one before (tail calls: thirty-three, itself,
// and a last one that is refused), so its time less the empty program's, divided by the calls, is the cost of one with
// the two moves around it. Native code beside it calls the same C function through its address, as a JIT does.
// Contenders take turns; the best of many short chunks counts.
//
//   bench_calls [ROUNDS]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "isa/text.hpp"
#include "vm/bytecode.hpp"
#include "vm/function.hpp"

namespace skep {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int calls = 64;
constexpr s32 helper_id = 1;

[[gnu::noinline]] u64 helper(void*, u64 a, u64, u64, u64, u64) noexcept {
  asm volatile("" : "+r"(a));
  return a + 1;
}
[[gnu::noinline]] u64 function(u64 a) noexcept {
  asm volatile("" : "+r"(a));
  return a + 1;
}
[[gnu::noinline]] u64 native_empty(u64) noexcept { return 2; }

/// The address of `target` as a constant the compiler knows nothing about.
template <class F>
F* unknown(F* target) {
  asm volatile("" : "+r"(target));
  return target;
}

u64 native_helpers(u64 value) noexcept {
  const auto callee = unknown(&helper);
#pragma GCC unroll 64
  for (int i = 0; i < calls; i++) value = callee(nullptr, value, 0, 0, 0, 0);
  return value;
}
u64 native_functions(u64 value) noexcept {
  const auto callee = unknown(&function);
#pragma GCC unroll 64
  for (int i = 0; i < calls; i++) value = callee(value);
  return value;
}

std::string repeated(std::string_view line) {
  std::string text = "r6 = r1\nr2 = 0\nr3 = 0\nr4 = 0\nr5 = 0\n";
  for (int i = 0; i < calls; i++) text += fmt::format("r1 = r6\n{}\nr6 = r0\n", line);
  return text + "r0 = r6\nexit\n";
}

/// A program array of one.
struct Programs {
  const vm::Function* only = nullptr;
};
const vm::Function* tail_target(u64 map, u32 index) noexcept {
  return index < 1 ? __atomic_load_n(&reinterpret_cast<const Programs*>(map)->only, __ATOMIC_ACQUIRE) : nullptr;
}

std::string tail_calls(const Programs& programs) {
  return fmt::format("r2 = {:#x} ll\nr3 = 0\ncall {}\nr0 = 3\nexit\n", reinterpret_cast<u64>(&programs),
                     isa::helper_tail_call);
}

/// Native code, or a program in one tier.
struct Contender {
  u64 (*native)(u64) noexcept = nullptr;
  std::shared_ptr<const vm::Function> function;
  double best_ns = 1e18;

  u64 run(u64 argument, int times) const {
    u64 result = 0;
    vm::Run run;
    if (function != nullptr)
      for (int i = 0; i < times; i++) result = function->run(run, reinterpret_cast<void*>(argument));
    else
      for (int i = 0; i < times && native != nullptr; i++) result = native(argument);
    return result;
  }
};

/// The best chunk of each, taking turns.
void measure(std::vector<Contender>& all, Programs& programs, int rounds) {
  constexpr int runs = 2000, chunks = 4;
  for (int round = 0; round < rounds; round++)
    for (Contender& one : all)
      for (int chunk = 0; chunk < chunks; chunk++) {
        programs.only = one.function.get();
        const auto begin = Clock::now();
        one.run(1, runs);
        const double ns = std::chrono::duration<double, std::nano>(Clock::now() - begin).count() / runs;
        one.best_ns = std::min(one.best_ns, ns);
      }
}

struct Row {
  const char* name;
  int divisor;
  std::string text;
  u64 (*native)(u64) noexcept;
};

Result<void> report(int rounds) {
  Programs programs;
  const vm::HelperFn helpers[] = {nullptr, helper};
  vm::Bindings bindings;
  bindings.helpers = helpers;
  bindings.tail_target = tail_target;
  const Row rows[] = {
      {"empty program", 1, "r0 = 2\nexit\n", native_empty},
      {"helper call", calls, repeated(fmt::format("call {}", helper_id)), native_helpers},
      {"function of the program", calls, repeated("call f") + "f: r0 = r1\nr0 += 1\nexit\n", native_functions},
      {"tail call", static_cast<int>(isa::max_tail_calls) + 1, tail_calls(programs), nullptr},
  };
  constexpr vm::Tier tiers[] = {vm::Tier::interpreter, vm::Tier::baseline, vm::Tier::optimised};
  fmt::print("{:<26}{:>10}", "ns per call", "native");
  for (const vm::Tier tier : tiers) fmt::print("{:>13}", vm::name_of(tier));
  fmt::print("\n");
  std::vector<double> empty;
  for (const Row& row : rows) {
    std::vector<Contender> all{{.native = row.native}};
    for (const vm::Tier tier : tiers) {
      const auto insns = SKEP_TRY(isa::assemble(row.text));
      auto code = SKEP_TRY(vm::translate({insns, {}, {}}, bindings));
      all.push_back({.function = SKEP_TRY(vm::trusted_function(std::move(code), {.tier = tier}))});
    }
    for (const Contender& one : all) {
      programs.only = one.function.get();
      if (row.native != nullptr && one.run(1, 1) != all[0].run(1, 1))
        return fail(Code::malformed, fmt::format("{}: results differ", row.name));
    }
    measure(all, programs, rounds);
    fmt::print("{:<26}", row.name);
    for (std::size_t i = 0; i < all.size(); i++) {
      if (row.divisor == 1) empty.push_back(all[i].best_ns);
      const double ns = row.divisor == 1 ? all[i].best_ns : (all[i].best_ns - empty[i]) / row.divisor;
      const bool is_measured = i != 0 || row.native != nullptr;
      fmt::print("{:>{}}", is_measured ? fmt::format("{:.2f}", ns) : "-", i == 0 ? 10 : 13);
    }
    fmt::print("\n");
  }
  return {};
}

}  // namespace
}  // namespace skep

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 25;
  const auto done = skep::report(rounds);
  if (done) return 0;
  fmt::print(stderr, "bench: {}\n", done.error().message);
  return 2;
}
