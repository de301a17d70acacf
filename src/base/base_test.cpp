// What the lowest room promises: bounds are checked, files are whole, JSON is what bpftool would print.
#include <elf.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <filesystem>

#include "base/byte_reader.hpp"
#include "base/fd.hpp"
#include "base/json_writer.hpp"
#include "base/kernel_version.hpp"
#include "base/mapped_file.hpp"
#include "base/printable.hpp"
#include "base/sort_by.hpp"

namespace skep::base {
namespace {

TEST(ByteReader, RefusesWhatDoesNotFit) {
  const std::array<std::byte, 6> bytes{std::byte{1},   std::byte{2},   std::byte{3},
                                       std::byte{'h'}, std::byte{'i'}, std::byte{0}};
  const ByteReader reader(bytes);
  EXPECT_EQ(reader.at<u16>(0), 0x0201);
  EXPECT_EQ(reader.at<u16>(5), std::nullopt);
  EXPECT_EQ(reader.at<u64>(~0ull - 3), std::nullopt) << "offset + size wraps";
  EXPECT_EQ(reader.string(3), "hi");
  EXPECT_FALSE(reader.slice(3, ~0ull));
  EXPECT_TRUE(reader.slice(6, 0));
  EXPECT_FALSE(reader.slice(7, 0));
  const ByteReader open_ended{std::span<const std::byte>(bytes).first(5)};
  EXPECT_EQ(open_ended.string(3), std::nullopt) << "no terminator";
}

/// An ELF image whose one segment of notes holds a build id's note and then one of `owner`.
std::vector<std::byte> image_with_note(std::string_view owner, u32 version) {
  std::vector<std::byte> image;
  const auto put = [&](const auto& value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    image.insert(image.end(), bytes.begin(), bytes.end());
  };
  Elf64_Ehdr head{};
  std::copy_n(ELFMAG, SELFMAG, head.e_ident);
  head.e_phoff = sizeof head;
  head.e_phnum = 1;
  Elf64_Phdr segment{};
  segment.p_type = PT_NOTE;
  segment.p_offset = sizeof head + sizeof segment;
  put(head);
  put(segment);
  put(Elf64_Nhdr{4, 3, 3});
  put(std::array<char, 8>{'G', 'N', 'U', 0, 1, 2, 3, 0});
  put(Elf64_Nhdr{static_cast<u32>(owner.size()) + 1, 4, 0});
  std::array<char, 8> name{};
  std::copy(owner.begin(), owner.end(), name.begin());
  put(name);
  put(version);
  segment.p_filesz = image.size() - segment.p_offset;
  std::memcpy(image.data() + sizeof head, &segment, sizeof segment);
  return image;
}

TEST(KernelVersion, IsWhatTheKernelsOwnNoteSays) {
  constexpr u32 version = 5 << 16 | 10 << 8 | 223;
  std::vector<std::byte> image = image_with_note("Linux", version);
  EXPECT_EQ(version_in_notes(image), version);
  EXPECT_EQ(version_in_notes(image_with_note("Xen", version)), std::nullopt);
  for (std::size_t size = 0; size < image.size(); ++size)
    EXPECT_EQ(version_in_notes(std::span(image).first(size)), std::nullopt) << size;
  for (std::size_t at = sizeof(Elf64_Ehdr); at < image.size(); ++at) {
    std::vector<std::byte> damaged = image;
    damaged[at] = std::byte{0xff};
    (void)version_in_notes(damaged);  // sizes of any kind; the sanitizers look
  }
}

TEST(KernelVersion, OfAReleaseIsWithoutItsSuffix) {
  EXPECT_EQ(version_of_release("5.10.0-32-amd64"), 5u << 16 | 10u << 8);
  EXPECT_EQ(version_of_release("6.18.44-fc"), 6u << 16 | 18u << 8 | 44u);
  EXPECT_EQ(version_of_release("4.14.336"), 4u << 16 | 14u << 8 | 255u);
  EXPECT_EQ(version_of_release("7.2"), 7u << 16 | 2u << 8);
  EXPECT_EQ(version_of_release(""), 0u);
  EXPECT_EQ(version_of_release("mainline"), 0u);
  EXPECT_GE(kernel_version_code(), 4u << 16) << "of the running kernel";
}

TEST(JsonWriter, LaysOutAsBpftoolDoes) {
  for (const bool pretty : {false, true}) {
    JsonWriter json(pretty);
    json.begin_object();
    json.member("id", 107u);
    json.member("name", "hello");
    json.key("map_ids");
    json.begin_array();
    json.number(u64{27});
    json.number(u64{29});
    json.end_array();
    json.key("none");
    json.begin_array();
    json.end_array();
    json.end_object();
    EXPECT_EQ(
        json.text(),
        pretty ? "{\n    \"id\": 107,\n    \"name\": \"hello\",\n    \"map_ids\": [27,29\n    ],\n    \"none\": []\n}"
               : R"({"id":107,"name":"hello","map_ids":[27,29],"none":[]})");
  }
}

TEST(JsonWriter, EscapesWhatIsNotText) {
  EXPECT_EQ(json_quote("a\"b\\c\n\x01"), R"("a\"b\\c\n\u0001")");
  EXPECT_EQ(json_quote("caf\xc3\xa9"), "\"caf\xc3\xa9\"");
  EXPECT_EQ(json_quote("\xff\xc0\xaf\xed\xa0\x80"), R"("\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd")");
}

TEST(JsonWriter, EscapesWhatATerminalObeys) {
  EXPECT_EQ(json_quote("\x1b[2J\x7f"), R"("\u001b[2J\u007f")");
  EXPECT_EQ(json_quote("\xc2\x9b"
                       "2J\xc2\xa0"),
            "\"\\u009b2J\xc2\xa0\"")
      << "the same escape as one character of two bytes";
}

TEST(Printable, LeavesTextAndEscapesControl) {
  EXPECT_EQ(printable("caf\xc3\xa9 \xe2\x82\xac"), "caf\xc3\xa9 \xe2\x82\xac");
  EXPECT_EQ(printable("a\x1b[31m\n\t\r\x7f"), "a\\x1b[31m\\n\\t\\x0d\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"
                      "2J"),
            "\\xc2\\x9b2J");
  EXPECT_EQ(printable(std::string_view("\0\xff\xc3", 3)), "\\x00\\xff\\xc3");
  EXPECT_EQ(printable("\xed\xa0\x80\xe0\x80\x80"), "\\xed\\xa0\\x80\\xe0\\x80\\x80") << "surrogates, overlong forms";
  EXPECT_EQ(printable(""), "");
}

TEST(Printable, TextKeepsItsLines) {
  EXPECT_EQ(printable_text("a\n\tb\n"), "a\n\tb\n");
  EXPECT_EQ(printable_text("\n\x1b[2J\n\n\tcaf\xc3\xa9\r\n"), "\n\\x1b[2J\n\n\tcaf\xc3\xa9\\x0d\n");
  EXPECT_EQ(printable_text(""), "");
}

TEST(Files, AreReadAndReplacedWhole) {
  const auto path = std::filesystem::temp_directory_path() / ("skep_base_test." + std::to_string(::getpid()));
  const std::string text = "first";
  ASSERT_TRUE(write_file_atomic(path, std::as_bytes(std::span(text))));
  EXPECT_EQ(read_text(path).value(), "first");
  EXPECT_EQ(MappedFile::open(path)->bytes().size(), 5u);
  const auto bounded = read_text(path, 3);
  ASSERT_FALSE(bounded);
  EXPECT_EQ(bounded.error().code, Code::limit);
  std::filesystem::remove(path);
  const auto gone = read_text(path);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, Code::not_found);
  EXPECT_NE(gone.error().message.find("No such file"), std::string::npos) << gone.error().message;
  EXPECT_EQ(MappedFile::open(std::filesystem::temp_directory_path()).error().code, Code::invalid_argument);
  EXPECT_GT(read_text("/proc/self/status")->size(), 100u) << "a file whose size says 0";
}

TEST(SortBy, KeepsTheOrderOfEquals) {
  struct Item {
    u32 number;
    std::string name;
  };
  std::vector<Item> items{{2, "a"}, {1, "b"}, {2, "c"}, {0, "d"}, {1, "e"}};
  sort_by(items, &Item::number);
  std::string names;
  for (const Item& item : items) names += item.name;
  EXPECT_EQ(names, "dbeac");
  sort_by(items, [](const Item& item) { return ~u64{item.number}; });
  names.clear();
  for (const Item& item : items) names += item.name;
  EXPECT_EQ(names, "acbed");
  std::vector<Item> none;
  sort_by(none, &Item::number);
  EXPECT_TRUE(none.empty());
}

TEST(Errors, CarryTheirPlace) {
  const auto error = os_error("opening x", 13);
  EXPECT_EQ(error.code, Code::permission);
  EXPECT_EQ(Error(error).within("map counts").message, "map counts: opening x: Permission denied");
}

}  // namespace
}  // namespace skep::base
