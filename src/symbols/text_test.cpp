// Maps, perf maps and names: texts that other processes write.
#include <gtest/gtest.h>

#include <chrono>

#include "base/printable.hpp"
#include "symbols/demangle.hpp"
#include "symbols/frame.hpp"
#include "symbols/perf_map.hpp"
#include "symbols/process_maps.hpp"

namespace skep::symbols {
namespace {

TEST(Maps, AreParsed) {
  const auto maps = parse_maps(
      "55d0a0000000-55d0a0004000 r-xp 00002000 fe:01 1234                       /usr/bin/ca t\n"
      "7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n"
      "7f0000002000-7f0000003000 r--s 00001000 103:0a 99 /tmp/gone (deleted)\n"
      "7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]\n"
      "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]");
  ASSERT_EQ(maps.size(), 5u);
  EXPECT_EQ(maps[0].path, "/usr/bin/ca t");
  EXPECT_EQ(maps[0].file_offset, 0x2000u);
  EXPECT_EQ(maps[0].device_major, 0xfeu);
  EXPECT_EQ(maps[0].inode, 1234u);
  EXPECT_TRUE(maps[0].executable && maps[0].is_file() && !maps[0].deleted);
  EXPECT_TRUE(maps[1].path.empty() && !maps[1].is_file() && !maps[1].executable);
  EXPECT_TRUE(maps[2].deleted && maps[2].path == "/tmp/gone" && maps[2].device_minor == 10);
  EXPECT_EQ(maps[3].path, "[vdso]");
  EXPECT_FALSE(maps[3].is_file());
  EXPECT_EQ(mapping_of(maps, 0x55d0a0000000), &maps[0]);
  EXPECT_EQ(mapping_of(maps, 0x55d0a0003fff), &maps[0]);
  EXPECT_EQ(mapping_of(maps, 0x55d0a0004000), nullptr);
  EXPECT_EQ(mapping_of(maps, 0), nullptr);
  EXPECT_EQ(mapping_of(maps, ~u64{0}), nullptr);
  EXPECT_EQ(mapping_of({}, 1), nullptr);
}

TEST(Maps, NamesHoldAnything) {
  const auto maps = parse_maps(
      "1000-2000 r-xp 00000000 fe:01 1 /tmp/a\\012b\n"
      "2000-3000 r-xp 00000000 fe:01 1 /tmp/\x1b[31m\xff\n"
      "3000-4000 r-xp 00000000 fe:01 1 /tmp/x (deleted) (deleted)\n");
  ASSERT_EQ(maps.size(), 3u);
  EXPECT_EQ(maps[0].path, "/tmp/a\nb");
  EXPECT_EQ(maps[1].path, "/tmp/\x1b[31m\xff");
  EXPECT_EQ(maps[2].path, "/tmp/x (deleted)");
}

TEST(Maps, BrokenLinesAreLeftOut) {
  EXPECT_TRUE(parse_maps("\n\n-\n1-2\n2000-1000 r-xp 0 0:0 0\n1000-1000 r-xp 0 0:0 0\n1000-2000 r-xp\n"
                         "1000-2000 r-xp 0 0:0\nxyz\n1000-2000 rxp 0 0:0 0 /a\n1000-2000 r-xp 0 00 0 /a\n"
                         "1000-99999999999999999999 r-xp 0 0:0 0 /a\n")
                  .empty());
  // What overlaps its predecessor could not be searched.
  const auto maps = parse_maps("1000-3000 r-xp 0 0:0 0 /a\n2000-4000 r-xp 0 0:0 0 /b\n3000-4000 r-xp 0 0:0 0 /c\n");
  ASSERT_EQ(maps.size(), 2u);
  EXPECT_EQ(maps[1].path, "/c");
  EXPECT_EQ(parse_maps("1-2 r-xp 0 0:0 0 a\n2-3 r-xp 0 0:0 0 b\n", 1).size(), 1u);
}

TEST(PerfMaps, LaterLinesReplaceEarlierOnes) {
  const PerfMap map(
      "7f0000001000 40 Interpreter\n"
      "0x7f0000002000 0x20 LazyCompile:~main /app/x.js:1\n"
      "7f0000001000 20 Optimised\n"
      "7f0000001010 8 Inner\n"
      "7f0000003000 0 Nothing\n"
      "broken\n7f 10\nzz 10 name\n7f0000004000 10 \n"
      "7f0000005000 ffffffffffffffff Huge\n");
  EXPECT_EQ(map.size(), 4u);
  const auto name = [&](u64 address) {
    const auto found = map.find(address);
    return found ? std::string(found->name) + "+" + std::to_string(found->offset) : std::string("none");
  };
  EXPECT_EQ(name(0x7f0000001004), "Optimised+4");
  EXPECT_EQ(name(0x7f0000001012), "Inner+2");
  EXPECT_EQ(name(0x7f0000001019), "Optimised+25");
  EXPECT_EQ(name(0x7f0000001020), "none");  // what was there before has been replaced
  EXPECT_EQ(name(0x7f000000201f), "LazyCompile:~main /app/x.js:1+31");
  EXPECT_EQ(name(0x7f0000002020), "none");
  EXPECT_EQ(name(0), "none");
  EXPECT_EQ(name(0x7f0000006000), "Huge+4096");
}

TEST(Names, OfCxxAndRustAreDemangled) {
  EXPECT_EQ(demangle("main"), "main");
  EXPECT_EQ(demangle("_ZN4skep6verifyERKNS_7ProgramE"), "skep::verify(skep::Program const&)");
  EXPECT_EQ(demangle("_ZNKSt6vectorIiSaIiEE4sizeEv"), "std::vector<int, std::allocator<int> >::size() const");
  EXPECT_EQ(demangle("_ZN4core3fmt9Formatter3pad17h0123456789abcdefE"), "core::fmt::Formatter::pad");
  EXPECT_EQ(
      demangle("_ZN71_$LT$Test$u20$$u2b$$u20$$u27$static$u20$as$u20$foo..Bar$LT$Test$GT$$GT$3bar17h930b740aa94f1d3aE"),
      "<Test + 'static as foo::Bar<Test>>::bar");
  EXPECT_EQ(demangle("_ZN4core3ptr42drop_in_place$LT$Output$u3d$$u28$$u29$$GT$17h0123456789abcdefE"),
            "core::ptr::drop_in_place<Output=()>");
  // What most of today's C++ calls: packs that are handed on.
  EXPECT_EQ(demangle("_ZSt10__invoke_rIbRNSt8__detail11_AnyMatcherINSt7__cxx1112regex_traitsIcEELb0ELb0ELb0EEEJcEENSt9"
                     "enable_ifIX16is_invocable_r_vIT_T0_DpT1_EES8_E4typeEOS9_DpOSA_")
                .substr(0, 30),
            "std::enable_if<is_invocable_r_");
  EXPECT_EQ(demangle("_Z"), "_Z");
  EXPECT_EQ(demangle("_ZNotAName"), "_ZNotAName");
}

/// The examples of RFC 2603, and what rustc 1.95 writes.
TEST(Names, OfRustsSecondScheme) {
  const std::pair<const char*, const char*> names[] = {
      {"_RNvC6_123foo3bar", "123foo::bar"},
      {"_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar"},
      {"_RNvMs_Cs4Cv8Wi1oAIB_7mycrateNtB4_7Example3foo", "<mycrate::Example>::foo"},
      {"_RNvXCs15kBYyAo9fc_7mycrateNtB2_7ExampleNtB2_5Trait3foo", "<mycrate::Example as mycrate::Trait>::foo"},
      {"_RNCNvC7mycrate3foo0", "mycrate::foo::{closure#0}"},
      {"_RNCNvC7mycrate3foos_0", "mycrate::foo::{closure#1}"},
      {"_RNSC1a4shim", "a::{shim:shim#0}"},
      {"_RINvC7mycrate3foolNtB2_3BarE", "mycrate::foo::<i32, mycrate::Bar>"},
      {"_RINvC1a1bRhQmPxOyE", "a::b::<&u8, &mut u32, *const i64, *mut u64>"},
      {"_RINvC1a1bTETlETlmEE", "a::b::<(), (i32,), (i32, u32)>"},
      {"_RINvC1a1bAhj20_SeE", "a::b::<[u8; 32], [str]>"},
      {"_RINvC1a1bFUKCjEuFhEzE", "a::b::<unsafe extern \"C\" fn(usize), fn(u8) -> !>"},
      {"_RINvC1a1bFG_RL0_eEuE", "a::b::<for<'a> fn(&'a str)>"},
      {"_RINvC1a1bDINtB2_2FnhEp6OutputlEL_E", "a::b::<dyn a::Fn<u8, Output = i32>>"},
      {"_RINvC1a1bDNtB2_1TNtB2_1UEL_E", "a::b::<dyn a::T + a::U>"},
      {"_RINvC1a1bKb1_Kin80_Kc61_Ky123456789abcdef01_KpE", "a::b::<true, -128, 'a', 0x123456789abcdef01, _>"},
      {"_RINvC1a1bTyyEBd_E", "_RINvC1a1bTyyEBd_E"},  // refers to itself
      {"_RNvC1a1b.llvm.7123", "a::b"},
      {"_RNvC1a1b.cold", "a::b [clone .cold]"},
      {"_RINvC1a1blE3std", "_RINvC1a1blE3std"},
      {"_RINvC1a1blECs1_3std", "a::b::<i32>"},  // instantiated for std
      {"_RNvC99a1b", "_RNvC99a1b"},
      {"_RNvC18446744073709551617a1b", "_RNvC18446744073709551617a1b"},
      {"_R", "_R"},
      {"_RNv", "_RNv"},
  };
  for (const auto& [mangled, name] : names) EXPECT_EQ(demangle(mangled), name);
  // As deep as the name is long; each level twice the one before.
  std::string deep = "_RNvC1a1b";
  for (int level = 0; level < 1000; ++level) deep.insert(2, "Nv");
  EXPECT_EQ(demangle(deep), deep);
  std::string doubled = "_RINvC1a1bTyyETB8_B8_ETBc_Bc_ETBj_Bj_ETBq_Bq_ETBx_Bx_ETBE_BE_ETBL_BL_ETBS_BS_ETBZ_BZ_E";
  for (int level = 0; level < 12; ++level) doubled += "TBZ_BZ_E";
  doubled += "E";
  EXPECT_EQ(demangle(doubled), doubled);
}

/// Each level doubles the text: 40 of them stand for terabytes.
TEST(Names, ThatStandForTooMuchTextStayMangled) {
  std::string name = "_Z1fPFvvE";
  for (int level = 0; level < 40; ++level) {
    const auto number = [&](int at) {
      std::string digits;
      for (int rest = at; rest >= 0; rest = rest / 36 - 1)
        digits.insert(digits.begin(), "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[rest % 36]);
      return at < 0 ? "S_" : "S" + digits + "_";
    };
    const std::string last = number(2 * level);
    name += "PF" + last + last + "E";
  }
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(demangle(name), name);
  const std::string few = name.substr(0, 10 + 8 * 8);  // eight levels are no harm, but too long to print
  EXPECT_EQ(demangle(few), few);
  EXPECT_EQ(demangle("_Z" + std::string(100'000, 'P')), "_Z" + std::string(100'000, 'P'));
  EXPECT_EQ(demangle("_Z1f" + std::string(4000, 'P') + "i").substr(0, 4), "_Z1f");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

TEST(Names, AreFitForATerminal) {
  EXPECT_EQ(base::printable("plain name<int>"), "plain name<int>");
  EXPECT_EQ(base::printable("a\x1b[31m\n\x7f"), "a\\x1b[31m\\n\\x7f");
  EXPECT_EQ(base::printable("gr\xc3\xbc\xc3\x9f"), "gr\xc3\xbc\xc3\x9f");
  EXPECT_EQ(base::printable("\xc2\x9b"
                            "31m"),
            "\\xc2\\x9b31m");  // a control character of two bytes
  EXPECT_EQ(base::printable("\xff\xc3"), "\\xff\\xc3");
  EXPECT_EQ(base::printable("\xed\xa0\x80\xe0\x80\x80\xf4\x90\x80\x80"),
            "\\xed\\xa0\\x80\\xe0\\x80\\x80\\xf4\\x90\\x80\\x80");
}

TEST(Frames, AsText) {
  Frame frame{0x7f0000001234,
              "_Z1fv",
              0x12,
              "/usr/lib/li\x1b"
              "b.so.6",
              0x1234,
              false};
  EXPECT_EQ(text(frame), "f()");
  EXPECT_EQ(text(frame, {.offset = true, .module = true, .demangled = false}), "_Z1fv+0x12 [li\\x1bb.so.6]");
  frame.name.clear();
  EXPECT_EQ(text(frame), "[unknown] [li\\x1bb.so.6+0x1234]");
  frame.module.clear();
  EXPECT_EQ(text(frame), "[unknown]");
  EXPECT_EQ(text({.address = 1, .name = "schedule", .offset = 4, .is_kernel = true}, {.offset = true, .module = true}),
            "schedule+0x4 [kernel]");
  EXPECT_EQ(text({.address = 1, .name = "x", .module = "ext4", .is_kernel = true}, {.module = true}), "x [ext4]");
}

}  // namespace
}  // namespace skep::symbols
