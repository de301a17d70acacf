// Which function another one calls, by its machine code: of bytes, and of kernels of some functions made for the test.
#include "kernel/machine_code.hpp"

#include <elf.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "btf/test_support.hpp"
#include "kernel/moved_hooks.hpp"

namespace skep::kernel {
namespace {

#if defined(__x86_64__)
TEST(MachineCode, ShowsCallsOfAFunction) {
  const auto code = [](std::initializer_list<int> bytes) {
    std::vector<std::byte> out;
    for (const int byte : bytes) out.push_back(static_cast<std::byte>(byte));
    return out;
  };
  constexpr u64 here = 0xffffffff81000000;
  const auto call = code({0x90, 0xe8, 0x10, 0, 0, 0, 0xc3});  // behind it, at 6, +16
  EXPECT_TRUE(has_call(call, here, here + 22));
  EXPECT_TRUE(has_call(call, here, here + 18)) << "four bytes behind its beginning, which mark it for indirect calls";
  EXPECT_FALSE(has_call(call, here, here + 23));
  EXPECT_FALSE(has_call(call, here, here + 17));
  EXPECT_TRUE(has_call(code({0xe9, 0xf0, 0xff, 0xff, 0xff}), here, here - 11)) << "a jump back at the end";
  EXPECT_TRUE(has_call(code({0x0f, 0x84, 0x10, 0, 0, 0}), here, here + 22)) << "a jump at the end, on a condition";
  EXPECT_FALSE(has_call(code({0x90, 0x84, 0x10, 0, 0, 0}), here, here + 22));
  EXPECT_FALSE(has_call(code({0xe8, 0, 0, 0}), here, here + 5)) << "cut off";
  EXPECT_FALSE(has_call({}, here, here));
}

/// A kernel of some functions, 64 bytes each: files like /proc/kallsyms and /proc/kcore.
class SmallKernel {
 public:
  void function(const std::string& name, std::initializer_list<std::string_view> calls = {}) {
    names_.push_back(name);
    calls_.emplace_back(calls.begin(), calls.end());
  }
  Result<std::vector<std::string>> callers_of_f(std::span<const std::string_view> callers, bool is_hidden = false) {
    std::string symbols, code(names_.size() * size, filler);
    for (std::size_t i = 0; i < names_.size(); ++i) {
      symbols += fmt::format("{:016x} T {}\n", is_hidden ? 0 : address(i), names_[i]);
      std::size_t at = i * size + 4;
      for (const std::string& called : calls_[i]) {
        const auto to = static_cast<std::size_t>(std::ranges::find(names_, called) - names_.begin());
        const auto distance = static_cast<s32>(address(to) - (base + at + 5));
        code[at] = '\xe8';
        std::memcpy(&code[at + 1], &distance, sizeof distance);
        at += 5;
      }
    }
    symbols += fmt::format("{:016x} T its_end\n", is_hidden ? 0 : address(names_.size()));
    Elf64_Ehdr head{};
    std::memcpy(head.e_ident, ELFMAG, SELFMAG);
    head.e_ident[EI_CLASS] = ELFCLASS64;
    head.e_phoff = sizeof head;
    head.e_phnum = 1;
    Elf64_Phdr segment{};
    segment.p_type = PT_LOAD;
    segment.p_vaddr = base;
    segment.p_offset = sizeof head + sizeof segment;
    segment.p_memsz = code.size();
    std::string core(sizeof head + sizeof segment, '\0');
    std::memcpy(core.data(), &head, sizeof head);
    std::memcpy(core.data() + sizeof head, &segment, sizeof segment);
    const test::TemporaryDirectory folder;
    if (!lacks_core) folder.write("kcore", core + code.substr(0, code.size() - cut));
    return callers_with_body_of("f", callers, folder.write("kallsyms", symbols), folder.path() / "kcore");
  }
  bool lacks_core = false;
  std::size_t cut = 0;
  char filler = '\x90';  // nop

 private:
  static constexpr u64 base = 0xffffffff81000000;
  static constexpr std::size_t size = 64;
  static u64 address(std::size_t index) { return base + index * size; }
  std::vector<std::string> names_;
  std::vector<std::vector<std::string>> calls_;
};

TEST(MachineCode, TellsWhichCallersHaveAFunctionInside) {
  constexpr std::string_view callers[] = {"inner", "outer", "other", "absent"};
  using Names = std::vector<std::string>;
  const auto found = [&](SmallKernel kernel) { return kernel.callers_of_f(callers).value_or(Names{"an error"}); };
  SmallKernel none;
  for (const auto* name : {"f", "x"}) none.function(name);
  EXPECT_EQ(found(none), Names{});
  SmallKernel some;  // one calls f, one calls who calls it, one calls something else
  some.function("f");
  some.function("x");
  some.function("inner", {"f"});
  some.function("outer", {"x", "inner"});
  some.function("other", {"x"});
  EXPECT_EQ(found(some), Names{"other"});
  SmallKernel clones;  // of a caller: it is one; of f: it is not what a probe of f sees
  clones.function("f");
  clones.function("f.part.0");
  clones.function("inner.isra.0", {"f.part.0"});
  clones.function("outer", {"inner.isra.0"});
  EXPECT_EQ(found(clones), Names{"inner.isra.0"});
  SmallKernel apart;  // the call is in what is seldom run
  apart.function("f");
  apart.function("inner");
  apart.function("inner.cold", {"f"});
  apart.function("other");
  apart.function("other.cold");
  EXPECT_EQ(found(apart), Names{"other"});
  SmallKernel padded;  // calls that are counted go in front of the function
  padded.function("__pfx_f");
  padded.function("f");
  padded.function("__pfx_x");
  padded.function("x");
  padded.function("inner", {"__pfx_f"});
  padded.function("outer", {"__pfx_x"});
  EXPECT_EQ(found(padded), Names{"outer"});
}

/// The entries of one system call for programs of 32 and 64 bits may share a function, and only that one calls: a
/// program at these entries, too, would count each call twice.
TEST(MachineCode, AnEntryThatCallsWhatTheEntriesShareHasNothingInside) {
  std::vector<std::string_view> callers;
  for (const InlinedFunction& row : inlined_functions())
    if (row.function == "vfs_fsync_range") callers.push_back(row.caller);
  for (const std::string shared : {"__do_sys_fdatasync", "__se_sys_fdatasync"}) {
    SmallKernel calls;
    calls.function("f");
    calls.function(shared, {"f"});
    calls.function("__x64_sys_fdatasync", {shared});
    calls.function("__ia32_sys_fdatasync", {shared});
    EXPECT_EQ(calls.callers_of_f(callers).value_or(std::vector<std::string>{"an error"}), std::vector<std::string>{});
    SmallKernel inside;
    inside.function("f");
    inside.function(shared);
    inside.function("__x64_sys_fdatasync", {shared});
    inside.function("__ia32_sys_fdatasync", {shared});
    EXPECT_EQ(inside.callers_of_f(callers).value_or(std::vector<std::string>{"an error"}),
              std::vector<std::string>{shared});
  }
}

TEST(MachineCode, ThatCannotBeSeenIsAnErrorThatSaysWhy) {
  constexpr std::string_view callers[] = {"inner"};
  const auto why = [&](bool is_hidden, bool lacks_core, std::size_t cut, bool is_blank = false) {
    SmallKernel kernel;
    if (is_blank) kernel.filler = '\0';
    kernel.function("f");
    kernel.function("inner");
    kernel.lacks_core = lacks_core;
    kernel.cut = cut;
    const auto found = kernel.callers_of_f(callers, is_hidden);
    return found ? "found" : found.error().message;
  };
  EXPECT_EQ(why(false, false, 0), "found");
  EXPECT_NE(why(true, false, 0).find("does not show the addresses"), std::string::npos);
  EXPECT_NE(why(false, true, 0).find("kcore: No such file"), std::string::npos);
  EXPECT_NE(why(false, false, 1).find("does not hold the kernel's code"), std::string::npos);
  EXPECT_NE(why(false, false, 0, true).find("does not hold the kernel's code"), std::string::npos)
      << "it reads as zero";
}
#endif

TEST(MachineCode, LiesInASegmentOfTheCore) {
  Elf64_Ehdr head{};
  std::memcpy(head.e_ident, ELFMAG, SELFMAG);
  head.e_ident[EI_CLASS] = ELFCLASS64;
  head.e_phoff = sizeof head;
  head.e_phnum = 2;
  Elf64_Phdr segments[2]{};
  segments[0] = {.p_type = PT_NOTE,
                 .p_flags = 0,
                 .p_offset = 1,
                 .p_vaddr = 0,
                 .p_paddr = 0,
                 .p_filesz = 0,
                 .p_memsz = ~0ull,
                 .p_align = 0};
  segments[1] = {.p_type = PT_LOAD,
                 .p_flags = 0,
                 .p_offset = 0x3000,
                 .p_vaddr = 0xffffffff81000000,
                 .p_paddr = 0,
                 .p_filesz = 0x100,
                 .p_memsz = 0x100,
                 .p_align = 0};
  std::vector<std::byte> headers(sizeof head + sizeof segments);
  std::memcpy(headers.data(), &head, sizeof head);
  std::memcpy(headers.data() + sizeof head, segments, sizeof segments);
  EXPECT_EQ(core_offset(headers, 0xffffffff81000010, 0xf0), 0x3010u);
  EXPECT_EQ(core_offset(headers, 0xffffffff81000010, 0xf1), std::nullopt) << "it ends there";
  EXPECT_EQ(core_offset(headers, 0xffffffff80ffffff, 1), std::nullopt);
  EXPECT_EQ(core_offset(headers, 0xffffffff81000000, ~0ull), std::nullopt);
  for (std::size_t size = 0; size < headers.size(); ++size)
    EXPECT_EQ(core_offset(std::span(headers).first(size), 0xffffffff81000000, 1), std::nullopt) << size;
}

}  // namespace
}  // namespace skep::kernel
