// ELF files as written, cut off, and with every field of their headers broken.
#include <gtest/gtest.h>

#include <random>

#include "base/mapped_file.hpp"
#include "elf/test_writer.hpp"

namespace skep::elf {
namespace {

std::vector<std::byte> sample() {
  TestWriter writer;
  const u32 text = writer.add_data<u64>(".text", flag_alloc | flag_exec, {1, 2, 3});
  const u32 bss = writer.add_section(".bss", section_nobits, flag_write, {}, 100);
  writer.add_symbol("first", symbol_func, bind_global, text, 0, 16);
  const u32 zeroes = writer.add_symbol("zeroes", symbol_object, bind_weak, bss, 8, 4, visibility_hidden);
  writer.add_relocation(text, 8, zeroes);
  return writer.finish();
}

TEST(Elf, ReadsWhatWasWritten) {
  const auto bytes = sample();
  const auto file = File::parse(bytes);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->machine(), machine_bpf);
  const auto* text = file->section(".text");
  ASSERT_NE(text, nullptr);
  EXPECT_TRUE(text->executable());
  EXPECT_EQ(file->contents(*text)->size(), 24U);
  const auto* bss = file->section(".bss");
  ASSERT_NE(bss, nullptr);
  EXPECT_EQ(bss->size, 100U);
  EXPECT_TRUE(file->contents(*bss)->empty());
  EXPECT_EQ(file->section(".none"), nullptr);

  const auto symbols = file->symbols(*file->section(".symtab"));
  ASSERT_TRUE(symbols);
  ASSERT_EQ(symbols->size(), 3U);
  const auto first = symbols->at(1);
  EXPECT_EQ(symbols->name(first), "first");
  EXPECT_EQ(first.type, symbol_func);
  EXPECT_EQ(first.size, 16U);
  const auto zeroes = symbols->at(2);
  EXPECT_EQ(zeroes.binding, bind_weak);
  EXPECT_EQ(zeroes.visibility, visibility_hidden);
  EXPECT_EQ(zeroes.section, bss->index);

  const auto relocations = file->relocations(*file->section(".rel.text"));
  ASSERT_TRUE(relocations);
  ASSERT_EQ(relocations->size(), 1U);
  EXPECT_EQ(relocations->at(0).offset, 8U);
  EXPECT_EQ(relocations->at(0).symbol, 2U);
}

TEST(Elf, SaysWhatItRefuses) {
  EXPECT_EQ(File::parse({}).error().code, Code::malformed);
  auto bytes = sample();
  auto changed = [&](std::size_t at, u8 value) {
    auto copy = bytes;
    copy[at] = static_cast<std::byte>(value);
    return copy;
  };
  EXPECT_NE(File::parse(changed(0, 0)).error().message.find("not an ELF file"), std::string::npos);
  EXPECT_EQ(File::parse(changed(4, 1)).error().code, Code::unsupported);
  EXPECT_NE(File::parse(changed(5, 2)).error().message.find("big-endian"), std::string::npos);
  EXPECT_NE(File::parse(changed(58, 63)).error().message.find("entries of 63 bytes"), std::string::npos);
  EXPECT_NE(File::parse(changed(46, 0xff)).error().message.find("outside the file"), std::string::npos);
}

TEST(Elf, TablesThatDoNotFitAreErrors) {
  auto bytes = sample();
  const auto file = File::parse(bytes);
  ASSERT_TRUE(file);
  auto symtab = *file->section(".symtab");
  auto broken = symtab;
  broken.entry_size = 8;
  EXPECT_EQ(file->symbols(broken).error().code, Code::malformed);
  broken = symtab;
  broken.link = 1000;
  EXPECT_NE(file->symbols(broken).error().message.find("section 1000"), std::string::npos);
  broken = symtab;
  broken.size = ~0ULL;
  EXPECT_EQ(file->contents(broken).error().code, Code::malformed);
  broken = symtab;
  broken.offset = ~0ULL - 4;
  EXPECT_EQ(file->contents(broken).error().code, Code::malformed);
}

/// Every prefix and every single-byte change: an answer, never a fault.
TEST(Elf, SurvivesTruncationAndMutation) {
  const auto bytes = sample();
  auto walk = [](std::span<const std::byte> input) {
    const auto file = File::parse(input);
    if (!file) return false;
    for (const auto& section : file->sections()) {
      (void)file->contents(section);
      if (const auto symbols = file->symbols(section))
        for (u32 i = 0; i < symbols->size(); i++) (void)symbols->name(symbols->at(i));
      if (const auto relocations = file->relocations(section))
        for (u64 i = 0; i < relocations->size(); i++) (void)relocations->at(i);
    }
    return true;
  };
  std::size_t read = 0;
  for (std::size_t size = 0; size <= bytes.size(); size++) {
    const std::vector<std::byte> prefix(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    read += walk(prefix);
  }
  EXPECT_EQ(read, 1U) << "the section table is at the end: only the whole file can be read";
  for (std::size_t at = 0; at < bytes.size(); at++) {
    for (const u8 value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
      auto copy = bytes;
      copy[at] = static_cast<std::byte>(value);
      walk(copy);
    }
  }
}

TEST(Elf, ReadsThisVeryProgram) {
  const auto bytes = base::read_file("/proc/self/exe");
  ASSERT_TRUE(bytes);
  const auto file = File::parse(*bytes);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_GT(file->segments().size(), 2U);
  const auto* dynamic = file->section(".dynsym");
  ASSERT_NE(dynamic, nullptr);
  const auto symbols = file->symbols(*dynamic);
  ASSERT_TRUE(symbols) << symbols.error().message;
  bool found = false;
  for (u32 i = 0; i < symbols->size(); i++) found |= symbols->name(symbols->at(i)).starts_with("__libc_start_main");
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace skep::elf
