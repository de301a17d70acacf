// The rows of function_rows.def agree with the tables of system calls and with the documentation; what programs get of
// them.
#include "hook/function_rows.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/mapped_file.hpp"
#include "catalog/syscalls.hpp"
#include "hook/syscall_event.hpp"

namespace skep::hook {
namespace {

using Boundary = FunctionRow::Boundary;

AttachTarget kprobe(std::string name) { return {AttachKind::kprobe, std::move(name)}; }
AttachTarget kretprobe(std::string name) { return {AttachKind::kretprobe, std::move(name)}; }
Insn load(u8 dst, u8 base, std::size_t offset) { return {0x79, dst, base, static_cast<s16>(offset), 0}; }
constexpr Insn leave{0x95, 0, 0, 0, 0}, use{0x7b, 10, 2, -8, 0};

TEST(FunctionRows, NameSystemCallsThatThereAre) {
  for (const FunctionRow& row : function_rows()) {
    const auto calls = row.calls.empty() ? 0 : std::ranges::count(row.calls, ' ') + 1;
    EXPECT_EQ(static_cast<std::ptrdiff_t>(row.numbers().size()), calls) << row.function;
    EXPECT_EQ(row.calls.empty(), row.boundary == Boundary::end) << row.function;
    EXPECT_FALSE(row.note.empty()) << row.function;
    EXPECT_EQ(catalog::syscall_of_function(row.function), "") << row.function << " is a system call's own function";
  }
}

/// What a program declares is looked up once for all rows of a function.
TEST(FunctionRows, OfOneFunctionHaveTheSameParameters) {
  for (const FunctionRow& row : function_rows()) {
    if (row.when == FunctionRow::When::at_return) {
      EXPECT_EQ(row.parameters.count, 1u) << row.function;
      EXPECT_EQ(row.boundary, Boundary::leave) << row.function;
    }
    for (const FunctionRow& other : function_rows()) {
      if (row.function != other.function || row.when != other.when) continue;
      EXPECT_TRUE(std::ranges::equal(row.parameters.span(), other.parameters.span())) << row.function;
    }
  }
}

TEST(FunctionRows, AreDocumented) {
  const auto text = base::read_text("docs/reference/user-engine-hooks.md");
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_NE(text->find(function_table()), std::string::npos) << "docs/reference/user-engine-hooks.md should hold:\n"
                                                             << function_table();
}

TEST(FunctionRows, TargetsAreFoundByName) {
  EXPECT_TRUE(plan_function(kprobe("vfs_read")));
  EXPECT_TRUE(plan_function(kprobe("vfs_read.isra.0")));
  EXPECT_EQ(plan_function(kprobe("tcp_close"))->rows.size(), 2u);
  EXPECT_TRUE(plan_function(kretprobe("inet_csk_accept"))->at_return);
  EXPECT_FALSE(plan_function(kprobe("inet_csk_accept"))) << "only its return is known";
  EXPECT_FALSE(plan_function(kprobe("vfs_read+4")));
  EXPECT_FALSE(plan_function(kprobe("vfs_rea")));
  EXPECT_FALSE(plan_function(kprobe("")));
  EXPECT_FALSE(plan_function(kprobe("__x64_sys_read"))) << "another hook's";
  EXPECT_FALSE(plan_function({AttachKind::fentry, "vfs_read"}));
}

TEST(FunctionRows, AProgramGetsWhatItReads) {
  auto plan = *plan_function(kprobe("vfs_read"));
  const std::vector<Insn> second{load(2, 1, offsetof(PtRegs, si)), use, leave};
  ASSERT_TRUE(fit(plan, kprobe("vfs_read"), nullptr, {}, second));
  EXPECT_EQ(plan.wanted, 2u);
  ASSERT_TRUE(fit(plan, kprobe("vfs_read"), nullptr, {}, std::vector<Insn>{leave}));
  EXPECT_EQ(plan.wanted, 0u);
  auto result = *plan_function(kretprobe("vfs_read"));
  ASSERT_TRUE(
      fit(result, kretprobe("vfs_read"), nullptr, {}, std::vector<Insn>{load(2, 1, offsetof(PtRegs, ax)), use, leave}));
  EXPECT_EQ(result.wanted, 1u);
}

TEST(FunctionRows, WhatIsNotKnownIsRefusedByName) {
  auto plan = *plan_function(kprobe("vfs_read"));
  const std::vector<Insn> position{load(2, 1, offsetof(PtRegs, cx)), use, leave};
  const auto refused = fit(plan, kprobe("vfs_read"), nullptr, {}, position);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("parameter 4, which is not known at sys_enter(read, pread64)"),
            std::string::npos)
      << refused.error().message;
  const auto beyond =
      fit(plan, kprobe("vfs_read"), nullptr, {}, std::vector<Insn>{load(2, 1, offsetof(PtRegs, r9)), use, leave});
  ASSERT_FALSE(beyond);
  EXPECT_NE(beyond.error().message.find("parameter 6, where there are 4"), std::string::npos) << beyond.error().message;
  // The context handed on to a subprogram
  const auto unseen = fit(plan, kprobe("vfs_read"), nullptr, {}, std::vector<Insn>{{0x85, 0, 1, 0, 1}, leave, leave});
  ASSERT_FALSE(unseen);
  EXPECT_NE(unseen.error().message.find("may read any parameter"), std::string::npos) << unseen.error().message;
}

TEST(FunctionRows, WhatStandsInIsSaid) {
  const auto text = describe(*plan_function(kprobe("tcp_close")), kprobe("tcp_close"));
  EXPECT_NE(text.find("kprobe:tcp_close is seen at sys_exit(close, dup2, dup3) (approximate: "), std::string::npos)
      << text;
  EXPECT_NE(text.find("at the end of a process"), std::string::npos) << text;
}

}  // namespace
}  // namespace skep::hook
