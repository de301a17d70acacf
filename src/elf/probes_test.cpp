// Functions and static probes of linked programs: this test itself, hand-made notes, hostile bytes.
#include <gtest/gtest.h>

#include <cstring>
#include <ctime>

#include "base/mapped_file.hpp"
#include "elf/functions.hpp"
#include "elf/test_writer.hpp"
#include "elf/usdt.hpp"

extern "C" __attribute__((noipa, used, visibility("default"))) int skep_elf_probe_target(int value) {
  return value + 1;
}

namespace skep::elf {
namespace {

TEST(Functions, AreFoundWhereTheyLieInTheFile) {
  const auto bytes = base::read_file("/proc/self/exe");
  ASSERT_TRUE(bytes);
  const auto file = File::parse(*bytes);
  ASSERT_TRUE(file);
  const auto found = functions(*file, [](std::string_view name) { return name == "skep_elf_probe_target"; });
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 1u);
  // What stands in the file there is what runs here.
  const u64 offset = found->front().file_offset, size = std::min<u64>(found->front().size, 8);
  ASSERT_GT(size, 0u);
  ASSERT_LE(offset + size, bytes->size());
  EXPECT_EQ(std::memcmp(bytes->data() + offset, reinterpret_cast<const void*>(&skep_elf_probe_target), size), 0);
}

TEST(Functions, OfObjectsThatAreNotLinkedAreRefused) {
  const auto bytes = TestWriter().finish();
  const auto file = File::parse(bytes);
  ASSERT_TRUE(file);
  EXPECT_EQ(functions(*file, [](std::string_view) { return true; }).error().code, Code::unsupported);
}

TEST(Functions, OfAFileWithMoreSegmentsThanLinuxTakesAreRefused) {
  auto bytes = TestWriter().finish(62, 2);
  constexpr u16 entry_bytes = 56;
  for (const u16 count : {u16{1170}, u16{1171}}) {
    auto file_bytes = bytes;
    const u64 table = file_bytes.size();
    file_bytes.resize(table + std::size_t{count} * entry_bytes);
    std::memcpy(file_bytes.data() + 32, &table, 8);        // e_phoff
    std::memcpy(file_bytes.data() + 54, &entry_bytes, 2);  // e_phentsize
    std::memcpy(file_bytes.data() + 56, &count, 2);        // e_phnum
    const auto file = File::parse(file_bytes);
    ASSERT_TRUE(file) << file.error().message;
    ASSERT_EQ(file->segments().size(), count);
    const auto found = functions(*file, [](std::string_view) { return true; });
    EXPECT_EQ(found.has_value(), count == 1170) << count;
  }
}

TEST(UsdtArguments, OfEveryForm) {
  const auto read = usdt_arguments("-4@%edi 8@16(%rbp) 8@$5 -1@-8(%rax,%rbx,4) 2@%r8w 4@(%rsp) -8@$-1 1@%r12b");
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_EQ(read->size(), 8u);
  using Kind = UsdtArgument::Kind;
  const auto& a = *read;
  EXPECT_TRUE(a[0].kind == Kind::reg && a[0].reg == "rdi" && a[0].bytes == 4 && a[0].is_signed);
  EXPECT_TRUE(a[1].kind == Kind::memory && a[1].reg == "rbp" && a[1].number == 16 && !a[1].is_signed);
  EXPECT_TRUE(a[2].kind == Kind::constant && a[2].number == 5);
  EXPECT_TRUE(a[3].kind == Kind::memory && a[3].reg == "rax" && a[3].index == "rbx" && a[3].scale == 4);
  EXPECT_EQ(a[3].number, -8);
  EXPECT_TRUE(a[4].reg == "r8" && a[4].bytes == 2);
  EXPECT_TRUE(a[5].kind == Kind::memory && a[5].reg == "rsp" && a[5].number == 0);
  EXPECT_EQ(a[6].number, -1);
  EXPECT_EQ(a[7].reg, "r12");
  const auto arm = usdt_arguments("-4@w3 8@[sp, 16] 8@x30 4@[x0] 8@7");
  ASSERT_TRUE(arm) << arm.error().message;
  EXPECT_TRUE((*arm)[0].reg == "x3" && (*arm)[1].reg == "sp" && (*arm)[1].number == 16 && (*arm)[3].reg == "x0");
  EXPECT_EQ((*arm)[4].number, 7);
  EXPECT_TRUE(usdt_arguments("")->empty());
  EXPECT_EQ(usdt_arguments("8@w07")->front().reg, "x7");
  // A width that has no opposite, registers that look like numbers.
  for (const char* text :
       {"-9223372036854775808@%rax", "9223372036854775808@%rax", "8@x0x1e", "8@x31", "8@x-0", "8@[x]"})
    EXPECT_FALSE(usdt_arguments(text)) << text;
}

TEST(UsdtArguments, ThatCannotBeReadAreNamed) {
  for (const char* text : {"8@variable(%rip)", "3@%eax", "8@%xmm0", "%eax", "8@", "@%eax", "8@(%rax,%rbx,3)", "8@[w3",
                           "8@$", "99999999999999999999@%eax", "8@(%rax"}) {
    const auto read = usdt_arguments(text);
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(read.error().code, Code::unsupported);
    EXPECT_NE(read.error().message.find("argument 1"), std::string::npos) << read.error().message;
  }
  std::string many;
  for (int i = 0; i < 13; ++i) many += "8@$1 ";
  EXPECT_NE(usdt_arguments(many).error().message.find("12"), std::string::npos);
}

/// A program whose note section is `note`.
std::vector<std::byte> with_notes(const std::vector<u8>& note) {
  TestWriter writer;
  writer.add_data(".note.stapsdt", 0, note);
  return writer.finish(62, 3);
}

TEST(UsdtNotes, CutAnywhereAreErrorsOrNothing) {
  std::vector<u8> note = {8, 0, 0, 0, 32, 0, 0, 0, 3, 0, 0, 0};
  for (const char c : std::string_view("stapsdt\0", 8)) note.push_back(static_cast<u8>(c));
  note.insert(note.end(), 24, 0);
  for (const char c : std::string_view("p\0n\0\0   ", 8)) note.push_back(static_cast<u8>(c));
  for (std::size_t length = 0; length <= note.size(); ++length) {
    const auto bytes = with_notes({note.begin(), note.begin() + static_cast<std::ptrdiff_t>(length)});
    const auto file = File::parse(bytes);
    ASSERT_TRUE(file);
    const auto notes = usdt_notes(*file);
    if (length < 12 || length == note.size())
      EXPECT_TRUE(notes && notes->empty()) << "no segment holds the address 0; " << length;
    else
      EXPECT_FALSE(notes) << length;
  }
  // Lengths that would wrap.
  for (const std::size_t at : {0, 4}) {
    auto wild = note;
    for (int i = 0; i < 4; ++i) wild[at + static_cast<std::size_t>(i)] = 0xff;
    const auto bytes = with_notes(wild);
    EXPECT_FALSE(usdt_notes(*File::parse(bytes)));
  }
}

/// Sections are looked up by name from the front: once for each of as many notes took minutes for 16 MiB.
TEST(UsdtNotes, ManyOfThemInAFileOfManySections) {
  constexpr std::size_t many = 60'000;
  std::vector<u8> note = {8, 0, 0, 0, 28, 0, 0, 0, 3, 0, 0, 0};
  for (const char c : std::string_view("stapsdt\0", 8)) note.push_back(static_cast<u8>(c));
  note.insert(note.end(), 24, 1);  // a base that is not 0: the section .stapsdt.base is asked for
  for (const char c : std::string_view("p\0n\0", 4)) note.push_back(static_cast<u8>(c));
  note[4] = 32;
  note.insert(note.end(), 4, 0);
  std::vector<u8> notes;
  for (std::size_t i = 0; i < many; ++i) notes.insert(notes.end(), note.begin(), note.end());
  TestWriter writer;
  writer.add_data(".note.stapsdt", 0, notes);
  for (std::size_t i = 0; i < many; ++i) writer.add_section(".stapsdt.bas_", section_progbits, 0, {});
  const auto bytes = writer.finish(62, 3);
  const auto file = File::parse(bytes);
  ASSERT_TRUE(file) << file.error().message;
  const auto before = std::clock();
  EXPECT_TRUE(usdt_notes(*file));
  EXPECT_LT(std::clock() - before, 5 * CLOCKS_PER_SEC);
}

TEST(UsdtNotes, OfTheCxxLibrary) {
  for (const char* path : {"/usr/lib/x86_64-linux-gnu/libstdc++.so.6", "/usr/lib/aarch64-linux-gnu/libstdc++.so.6"}) {
    const auto bytes = base::read_file(path);
    if (!bytes) continue;
    const auto notes = usdt_notes(*File::parse(*bytes));
    ASSERT_TRUE(notes);
    bool throws = false;
    for (const UsdtNote& note : *notes) {
      EXPECT_EQ(note.provider, "libstdcxx");
      EXPECT_NE(note.file_offset, 0u);
      const auto arguments = usdt_arguments(note.arguments);
      EXPECT_TRUE(arguments) << note.name << ": " << arguments.error().message;
      throws |= note.name == "throw" && arguments->size() == 2;
    }
    EXPECT_TRUE(throws) << path;
    return;
  }
  GTEST_SKIP() << "no C++ library where Debian has it";
}

}  // namespace
}  // namespace skep::elf
