// Dynptrs against a model: random windows, reads and writes, with arguments that fit and many that do not.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <random>
#include <vector>

#include "catalog/helpers.hpp"
#include "helper/call.hpp"
#include "helper/dynptr.hpp"
#include "helper/helpers.hpp"
#include "helper/kfuncs.hpp"

namespace skep::helper {
namespace {

using catalog::HelperId;

u64 word(const void* pointer) { return reinterpret_cast<u64>(pointer); }
u64 call_body(base::HelperFn body, Call& call, u64 a1, u64 a2 = 0, u64 a3 = 0, u64 a4 = 0, u64 a5 = 0) {
  return body(static_cast<base::Run*>(&call), a1, a2, a3, a4, a5);
}
base::HelperFn helper_body(HelperId id) { return table()[static_cast<u32>(id)]; }

/// What a checked run would be told.
struct Ledger final : base::Lending {
  void lend(const void* address, u64 bytes, bool) noexcept override { last = address, last_bytes = bytes; }
  void take_back(const void*) noexcept override {}
  const void* last = nullptr;
  u64 last_bytes = 0;
};

TEST(Dynptr, AgreesWithAModel) {
  constexpr u32 room = 64;
  std::mt19937 random(20261123);
  Call call;
  Ledger ledger;
  call.lending = &ledger;
  u32 refused = 0, done = 0;
  for (int round = 0; round < 2000; ++round) {
    std::vector<u8> real(room), model(room);
    Dynptr window;
    ASSERT_EQ(call_body(helper_body(HelperId::dynptr_from_mem), call, word(real.data()), room, 0, word(&window)), 0u);
    u32 begin = 0, end = room;
    for (int step = 0; step < 12; ++step) {
      const u32 at = random() % 80, length = random() % 40, size = end - begin;
      const bool fits = length <= size && at <= size - length;
      (fits ? done : refused)++;
      u8 bytes[40];
      for (u8& byte : bytes) byte = static_cast<u8>(random());
      switch (random() % 4) {
        case 0: {
          const auto body = helper_body(HelperId::dynptr_write);
          const u64 answer = call_body(body, call, word(&window), at, word(bytes), length, 0);
          ASSERT_EQ(static_cast<s64>(answer), fits ? 0 : -E2BIG);
          if (fits) std::memcpy(model.data() + begin + at, bytes, length);
          break;
        }
        case 1: {
          const auto body = helper_body(HelperId::dynptr_read);
          const u64 answer = call_body(body, call, word(bytes), length, word(&window), at, 0);
          ASSERT_EQ(static_cast<s64>(answer), fits ? 0 : -E2BIG);
          ASSERT_TRUE(!fits || std::memcmp(bytes, model.data() + begin + at, length) == 0);
          break;
        }
        case 2: {
          const u64 answer = call_body(kfunc("bpf_dynptr_slice"), call, word(&window), at, 0, length);
          ASSERT_EQ(answer, fits ? word(real.data() + begin + at) : 0u);
          ASSERT_TRUE(!fits || (word(ledger.last) == answer && ledger.last_bytes == length));
          break;
        }
        default: {
          const u32 last = at + length % 16;
          const s64 answer = static_cast<s64>(call_body(kfunc("bpf_dynptr_adjust"), call, word(&window), at, last));
          ASSERT_EQ(answer, last > size ? -ERANGE : 0);
          if (answer == 0) end = begin + last, begin += at;
          ASSERT_EQ(call_body(kfunc("bpf_dynptr_size"), call, word(&window)), end - begin);
        }
      }
      ASSERT_EQ(real, model);
    }
  }
  EXPECT_GT(refused, 1000u);
  EXPECT_GT(done, 1000u);
}

TEST(Dynptr, BadArgumentsLeaveANullDynptr) {
  Call call;
  u8 byte = 0;
  Dynptr made = Dynptr::of(Dynptr::Over::memory, &byte, 1);
  const auto from_mem = helper_body(HelperId::dynptr_from_mem);
  EXPECT_EQ(static_cast<s64>(call_body(from_mem, call, word(&byte), 1u << 24, 0, word(&made))), -E2BIG);
  EXPECT_EQ(call_body(kfunc("bpf_dynptr_is_null"), call, word(&made)), 1u);
  EXPECT_EQ(static_cast<s64>(call_body(from_mem, call, word(&byte), 1, 1, word(&made))), -EINVAL);
  EXPECT_EQ(call_body(kfunc("bpf_dynptr_size"), call, word(&made)), static_cast<u32>(-EINVAL));
  EXPECT_EQ(static_cast<s64>(call_body(kfunc("bpf_dynptr_adjust"), call, word(&made), 0, 0)), -EINVAL);
  EXPECT_EQ(call_body(kfunc("bpf_dynptr_slice"), call, word(&made), 0, 0, 0), 0u);
  Dynptr copy = Dynptr::of(Dynptr::Over::memory, &byte, 1);
  EXPECT_EQ(static_cast<s64>(call_body(kfunc("bpf_dynptr_clone"), call, word(&made), word(&copy))), -EINVAL);
  EXPECT_EQ(copy.data, nullptr);
  EXPECT_EQ(call_body(helper_body(HelperId::ringbuf_submit_dynptr), call, word(&made), 0), 0u);
}

TEST(Dynptr, ReadOnlyOnesAreNotWritten) {
  Call call;
  u8 bytes[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  Dynptr fixed = Dynptr::of(Dynptr::Over::memory, bytes, sizeof bytes, true);
  const u64 four = 4;
  EXPECT_EQ(static_cast<s64>(
                call_body(helper_body(HelperId::dynptr_write), call, word(&fixed), 0, word(&four), sizeof four, 0)),
            -EINVAL);
  EXPECT_EQ(call_body(kfunc("bpf_dynptr_slice_rdwr"), call, word(&fixed), 0, 0, 4), 0u);
  EXPECT_EQ(call_body(helper_body(HelperId::dynptr_data), call, word(&fixed), 0, 4), 0u);
  EXPECT_EQ(static_cast<s64>(call_body(kfunc("bpf_dynptr_memset"), call, word(&fixed), 0, 8, 0)), -EINVAL);
  EXPECT_EQ(bytes[0], 1);
}

}  // namespace
}  // namespace skep::helper
