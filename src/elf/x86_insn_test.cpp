// Lengths of instructions: against those that objdump finds in the C library, and where one begins.
#include "elf/x86_insn.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "elf/user_binary.hpp"

namespace skep::elf {
namespace {

std::vector<std::byte> bytes(std::initializer_list<int> all) {
  std::vector<std::byte> out;
  for (const int one : all) out.push_back(static_cast<std::byte>(one));
  return out;
}

TEST(X86Insn, LengthsAreThoseThatObjdumpFinds) {
  const auto library = open_user_binary("libc.so.6", 0);
  if (!library || library->file.machine() != machine_x86_64) GTEST_SKIP() << "no C library of x86-64 of this name";
  const std::string command = "LC_ALL=C objdump -d --insn-width=16 " + library->path + " 2>/dev/null";
  const std::unique_ptr<FILE, int (*)(FILE*)> listing(::popen(command.c_str(), "r"), ::pclose);
  ASSERT_TRUE(listing);
  std::size_t compared = 0, others = 0;
  char text[512];
  while (std::fgets(text, sizeof text, listing.get()) != nullptr) {
    // "   27190:\t48 83 ec 08        \tsub    $0x8,%rsp"
    const std::string line = text;
    const auto begin = line.find(":\t"), end = line.find('\t', begin + 2);
    if (begin == std::string::npos || end == std::string::npos) continue;
    if (line.find("(bad)") != std::string::npos) continue;
    if (const auto rex = line.find("\trex", end); rex != std::string::npos && line.find(' ', rex) >= line.size() - 2)
      continue;  // a prefix of nothing: no code
    InsnBytes insn{};
    u32 length = 0;
    for (std::size_t at = begin + 2; at + 1 < end && line[at] != ' ' && length < insn.size(); at += 3)
      insn[length++] = static_cast<u8>(std::stoul(line.substr(at, 2), nullptr, 16));
    if (insn[0] == 0x9b && length > 1) continue;  // fwait, which is shown with the next one
    ++compared;
    if (x86_insn(insn).length == length) continue;
    ADD_FAILURE() << x86_insn(insn).length << ": " << line;
    if (++others == 20) break;
  }
  if (compared == 0) GTEST_SKIP() << "no objdump, or a C library for another machine";
  EXPECT_GT(compared, 100'000u);
}

TEST(X86Insn, LengthsThatCompilersSeldomNeed) {
  const auto length = [](std::initializer_list<int> all) {
    InsnBytes insn{};
    std::ranges::transform(all, insn.begin(), [](int one) { return static_cast<u8>(one); });
    return x86_insn(insn).length;
  };
  EXPECT_EQ(length({0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8}), 10u) << "mov rax, a number of 8 bytes";
  EXPECT_EQ(length({0x66, 0xb8, 1, 2}), 4u);
  EXPECT_EQ(length({0x66, 0x48, 0x81, 0xc0, 1, 2, 3, 4}), 8u) << "REX.W means more than the prefix";
  EXPECT_EQ(length({0x66, 0x0f, 0x78, 0xc0, 1, 2}), 6u) << "extrq";
  EXPECT_GT(length({0xd5, 0x18, 0x89, 0xc0}), 15u) << "APX is not known";
  EXPECT_GT(length({0x62, 0xf4, 0x7c, 0x18, 0x83, 0xc0, 5}), 15u);
  EXPECT_EQ(length({0xa1, 1, 2, 3, 4, 5, 6, 7, 8}), 9u) << "mov eax, [an absolute address]";
  EXPECT_EQ(length({0x67, 0xa1, 1, 2, 3, 4}), 6u);
  EXPECT_EQ(length({0xc8, 1, 2, 3}), 4u) << "enter";
  EXPECT_EQ(length({0xf6, 0x05, 1, 2, 3, 4, 5}), 7u) << "test byte [rip], a number";
  EXPECT_EQ(length({0xf6, 0x15, 1, 2, 3, 4}), 6u) << "not byte [rip]";
  EXPECT_EQ(length({0x8b, 0x04, 0x25, 1, 2, 3, 4}), 7u) << "an address without registers";
  EXPECT_EQ(length({0x62, 0xe2, 0x7d, 0x48, 0x7a, 0xc6}), 6u);
  EXPECT_EQ(length({0xc5, 0xf8, 0x77}), 3u) << "vzeroupper";
  EXPECT_EQ(length({0xc4, 0xe3, 0x79, 0x0f, 0xc1, 8}), 6u) << "vpalignr";
  EXPECT_GT(length({0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90}), 15u) << "none";
}

TEST(X86Insn, PartsLieInsideOfTheBytes) {
  for (u32 prefixes = 0; prefixes < 16; ++prefixes)
    for (const u8 rex : {0x00, 0x4f})
      for (const u8 first : {0x0f, 0x62, 0xc4, 0xc5, 0x81}) {
        InsnBytes insn;
        insn.fill(0x84);
        std::fill_n(insn.begin(), prefixes, u8{0x66});
        u32 at = prefixes;
        if (rex != 0 && at < insn.size()) insn[at++] = rex;
        if (at < insn.size()) insn[at] = first;
        EXPECT_LT(x86_insn(insn).modrm_at(), insn.size());
      }
}

TEST(X86Insn, BeginsAtOrBeforeAPlace) {
  const auto code = bytes({0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10});  // push; mov; sub
  EXPECT_EQ(x86_insn_start(code, 0), 0u);
  EXPECT_EQ(x86_insn_start(code, 1), 1u);
  EXPECT_EQ(x86_insn_start(code, 3), 1u);
  EXPECT_EQ(x86_insn_start(code, 4), 4u);
  EXPECT_EQ(x86_insn_start(code, 7), 4u);
  EXPECT_FALSE(x86_insn_start(code, 8));
  EXPECT_FALSE(x86_insn_start({}, 0));
}

}  // namespace
}  // namespace skep::elf
