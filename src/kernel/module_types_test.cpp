// Searching the types of modules, which come and go.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "btf/btf.hpp"
#include "kernel/module_types.hpp"

namespace skep::kernel {
namespace {

std::vector<std::byte> types_of(std::vector<u32> types, std::string_view strings) {
  std::vector<u32> words = {0x0001eb9f,
                            24,
                            0,
                            static_cast<u32>(types.size() * 4),
                            static_cast<u32>(types.size() * 4),
                            static_cast<u32>(strings.size())};
  words.insert(words.end(), types.begin(), types.end());
  std::vector<std::byte> bytes(words.size() * 4);
  std::memcpy(bytes.data(), words.data(), bytes.size());
  for (const char c : strings) bytes.push_back(static_cast<std::byte>(c));
  return bytes;
}

TEST(ModuleTypes, ContinueTheirBase) {
  using std::literals::operator""sv;
  // The base: two structures. The split part: a structure under a name of its own, one under a string of the base's.
  const u32 structure = 4u << 24;
  const auto kernel = btf::Btf::parse(types_of({1, structure, 4, 3, structure, 4}, "\0a\0b\0c\0"sv));
  ASSERT_TRUE(kernel) << kernel.error().message;
  const auto module = btf::Btf::parse(types_of({8, structure, 4, 5, structure, 4}, "\0d\0"sv), *kernel);
  ASSERT_TRUE(module) << module.error().message;
  EXPECT_EQ((*module)->find_own("d", btf::Kind::struct_), 3u);
  EXPECT_EQ((*module)->find_own("c", btf::Kind::struct_), 4u);
  EXPECT_EQ((*module)->find_own("a", btf::Kind::struct_), std::nullopt) << "the base's own";
  EXPECT_EQ((*module)->find("a", btf::Kind::struct_), 1u);
  // As the kernel writes it: no empty string in front.
  const auto bare = btf::Btf::parse(types_of({7, structure, 4, 9, structure, 4}, "d\0e\0"sv), *kernel);
  ASSERT_TRUE(bare) << bare.error().message;
  EXPECT_EQ((*bare)->find_own("d", btf::Kind::struct_), 3u);
  EXPECT_EQ((*bare)->find_own("e", btf::Kind::struct_), 4u);
  EXPECT_EQ((*bare)->find_own("de", btf::Kind::struct_), std::nullopt);
}

TEST(ModuleTypes, AreLookedForWhereTheKernelHasThem) {
  using std::literals::operator""sv;
  const auto directory = std::filesystem::temp_directory_path() / ("skep-modules-" + std::to_string(::getpid()));
  std::filesystem::create_directory(directory);
  const auto write = [&](const char* name, const std::vector<std::byte>& bytes) {
    std::ofstream(directory / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  };
  const u32 structure = 4u << 24;
  const auto kernel_bytes = types_of({1, structure, 4}, "\0a\0"sv);
  write("vmlinux", kernel_bytes);
  write("first", types_of({4, structure, 4}, "\0d\0"sv));
  write("second", types_of({4, structure, 4, 6, structure, 4}, "\0d\0e\0"sv));
  write("broken", std::vector<std::byte>(40));
  const auto kernel = btf::Btf::parse(kernel_bytes);
  ASSERT_TRUE(kernel);
  ModuleTypes modules(directory);
  const auto place = [&](std::string_view name, std::string_view only = "") {
    const auto found = modules.find(name, btf::Kind::struct_, only, *kernel);
    return found ? found->module + " " + std::to_string(found->id) : "none";
  };
  EXPECT_EQ(place("d"), "first 2");
  EXPECT_EQ(place("d", "second"), "second 2");
  EXPECT_EQ(place("e"), "second 3");
  EXPECT_EQ(place("e", "first"), "none");
  EXPECT_EQ(place("a"), "none");
  const auto types = modules.types("second");
  ASSERT_TRUE(types) << types.error().message;
  EXPECT_EQ((*types)->find("e", btf::Kind::struct_), 3u);
  EXPECT_FALSE(modules.types("broken"));
  EXPECT_FALSE(modules.types("absent"));

  // One that comes later is found when the directory is looked at again; one that goes is not named any more.
  write("third", types_of({4, structure, 4}, "\0f\0"sv));
  EXPECT_EQ(place("f"), "none");
  EXPECT_TRUE(modules.refresh(*kernel));
  EXPECT_EQ(place("f"), "third 2");
  EXPECT_FALSE(modules.refresh(*kernel)) << "nothing came";
  std::filesystem::remove(directory / "first");
  EXPECT_EQ(place("d"), "second 2");
  // Taken out and put in again it is another one.
  write("again", types_of({4, structure, 4}, "\0g\0"sv));
  std::filesystem::rename(directory / "again", directory / "third");
  EXPECT_EQ(place("f"), "none");
  EXPECT_TRUE(modules.refresh(*kernel));
  EXPECT_EQ(place("f"), "none");
  EXPECT_EQ(place("g"), "third 2");
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace skep::kernel
