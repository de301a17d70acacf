// Tail calls in every tier: the answers, how often, between tiers, and that machine code leaves its frame first.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "isa/text.hpp"
#include "vm/bytecode.hpp"
#include "vm/function.hpp"

namespace skep::vm {
namespace {

const Function* targets[4];
const Function* tail_target(u64, u32 index) noexcept { return index < 4 ? targets[index] : nullptr; }

u64 lowest_frame = 0;
/// Notes where the stack is.
u64 note_frame(void*, u64, u64, u64, u64, u64) noexcept {
  lowest_frame = std::min(lowest_frame, reinterpret_cast<u64>(__builtin_frame_address(0)));
  return 1;
}

class TailCallsOfTiers : public testing::Test {
 protected:
  ~TailCallsOfTiers() override { std::ranges::fill(targets, nullptr); }

  const Function* make(const std::string& text, Tier tier) {
    const HelperFn helpers[] = {nullptr, note_frame};
    Bindings bindings;
    bindings.tail_target = tail_target;
    bindings.helpers = helpers;
    const auto insns = isa::assemble(text);
    EXPECT_TRUE(insns) << (insns ? "" : insns.error().message);
    auto code = translate({*insns, {}, {}}, bindings);
    EXPECT_TRUE(code) << (code ? "" : code.error().message);
    auto made = trusted_function(std::move(*code), {.tier = tier});
    if (!made) {
      problem_ = made.error().message;
      return nullptr;
    }
    owned_.push_back(std::move(*made));
    return owned_.back().get();
  }
  static u64 run(const Function* function, void* context = nullptr) {
    base::Run run;
    lowest_frame = ~u64{0};
    return function->run(run, context);
  }

  std::vector<std::shared_ptr<const Function>> owned_;
  std::string problem_;
};

constexpr Tier tiers[] = {Tier::interpreter, Tier::baseline, Tier::optimised};

TEST_F(TailCallsOfTiers, AnswerAlike) {
  for (const Tier tier : tiers) {
    SCOPED_TRACE(name_of(tier));
    // Registers that must be restored and a frame, on the way out.
    const std::string body =
        "r6 = r1\nr7 = 3\nr8 = 4\nr9 = 5\ncall 1\nr7 += r0\n*(u64 *)(r10 - 400) = r7\nr1 = r6\nr3 = {}\ncall 12\n"
        "r0 += r7\nr0 += r8\nr0 += r9\nexit";
    const Function* to_first = make(fmt::format(fmt::runtime(body), 1), tier);
    const Function* nowhere = make(fmt::format(fmt::runtime(body), 3), tier);
    const Function* outside = make(fmt::format(fmt::runtime(body), 99), tier);
    const Function* itself = make("r3 = 2\ncall 12\nexit", tier);
    const Function* in_subprogram = make(
        "r6 = 100\nr7 = r1\ncall f\nr0 += r6\nr1 = r7\ncall f\nr0 += r6\nexit\n"
        "f: r3 = 1\ncall 12\nr0 = 0\nexit",
        tier);
    if (!problem_.empty()) GTEST_SKIP() << problem_;
    targets[2] = itself;
    for (const Tier other : tiers) {
      targets[1] = make("r0 = *(u64 *)(r1 + 0)\nr0 *= 2\nexit", other);
      u64 context = 21;
      EXPECT_EQ(run(to_first, &context), 42u) << name_of(other);
      EXPECT_EQ(run(in_subprogram, &context), 142u) << name_of(other);
    }
    EXPECT_EQ(run(nowhere), static_cast<u64>(-ENOENT + 4 + 4 + 5));
    EXPECT_EQ(run(outside), static_cast<u64>(-ENOENT + 4 + 4 + 5));
    EXPECT_EQ(run(itself), static_cast<u64>(-ELOOP));
    base::Run state;
    EXPECT_EQ(itself->run(state, nullptr), static_cast<u64>(-ELOOP));
    EXPECT_EQ(state.tail_calls, 33u);
  }
}

/// Thirty-three frames of half a kilobyte each would be seen.
TEST_F(TailCallsOfTiers, MachineCodeLeavesItsFrame) {
  for (const Tier tier : {Tier::baseline, Tier::optimised}) {
    SCOPED_TRACE(name_of(tier));
    const std::string text =
        "r6 = r1\ncall 1\nr2 = r10\nr2 += -500\n*(u64 *)(r2 + 0) = r0\n*(u64 *)(r10 - 400) = r0\nr1 = r6\nr3 = 0\n"
        "call 12\nexit";
    targets[0] = nullptr;
    const Function* once = make(text, tier);
    if (!problem_.empty()) GTEST_SKIP() << problem_;
    EXPECT_EQ(run(once), static_cast<u64>(-ENOENT));
    const u64 shallow = lowest_frame;
    targets[0] = once;
    EXPECT_EQ(run(once), static_cast<u64>(-ELOOP));
    EXPECT_EQ(lowest_frame, shallow);
  }
}

}  // namespace
}  // namespace skep::vm
