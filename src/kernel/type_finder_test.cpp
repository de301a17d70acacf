// Searching the types of the kernel and of modules in place.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "btf/btf.hpp"
#include "kernel/module_types.hpp"

namespace skep::kernel {
namespace {

TEST(TypeFinder, AgreesWithTheWholeParse) {
  constexpr const char* path = "/sys/kernel/btf/vmlinux";
  const auto whole = btf::Btf::from_file(path);
  if (!whole) GTEST_SKIP() << "this kernel does not tell its types: " << whole.error().message;
  const auto finder = TypeFinder::open(path);
  ASSERT_TRUE(finder) << finder.error().message;
  for (const auto& [name, kind] : {std::pair{"task_struct", btf::Kind::struct_},
                                   {"btf_trace_sys_enter", btf::Kind::typedef_},
                                   {"vfs_read", btf::Kind::func},
                                   {"no_such_thing", btf::Kind::func}})
    EXPECT_EQ(finder->find(name, kind), (*whole)->find(name, kind)) << name;
  EXPECT_EQ(finder->find("", btf::Kind::struct_), std::nullopt);
  const auto task = (*whole)->type(*(*whole)->find("task_struct", btf::Kind::struct_));
  for (const btf::Member& member : (*whole)->members(task)) {
    if (member.name.empty()) continue;
    EXPECT_EQ(finder->member_offset("task_struct", member.name), member.bit_offset / 8) << member.name;
  }
}

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

TEST(TypeFinder, SplitTypesContinueTheirBase) {
  using std::literals::operator""sv;
  // The base: two structures. The split part: a structure under a name of its own, one under a string of the base's.
  const u32 structure = 4u << 24;
  const auto kernel_bytes = types_of({1, structure, 4, 3, structure, 4}, "\0a\0b\0c\0"sv);
  const auto module_bytes = types_of({8, structure, 4, 5, structure, 4}, "\0d\0"sv);
  const auto kernel = TypeFinder::over(kernel_bytes);
  ASSERT_TRUE(kernel) << kernel.error().message;
  const auto module = TypeFinder::over(module_bytes, &*kernel);
  ASSERT_TRUE(module) << module.error().message;
  EXPECT_EQ(module->find("d", btf::Kind::struct_), 3u);
  EXPECT_EQ(module->find("c", btf::Kind::struct_), 4u);
  EXPECT_EQ(module->find("a", btf::Kind::struct_), std::nullopt);  // the base's own
  const auto base = btf::Btf::parse(kernel_bytes);
  ASSERT_TRUE(base) << base.error().message;
  const auto whole = btf::Btf::parse(module_bytes, *base);
  ASSERT_TRUE(whole) << whole.error().message;
  EXPECT_EQ((*whole)->type(3).name, "d");
  EXPECT_EQ((*whole)->type(4).name, "c");
  // As the kernel writes it: no empty string in front.
  const auto bare = TypeFinder::over(types_of({7, structure, 4, 9, structure, 4}, "d\0e\0"sv), &*kernel);
  ASSERT_TRUE(bare);
  EXPECT_EQ(bare->find("d", btf::Kind::struct_), 3u);
  EXPECT_EQ(bare->find("e", btf::Kind::struct_), 4u);
  EXPECT_EQ(bare->find("de", btf::Kind::struct_), std::nullopt);
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
  const auto kernel = TypeFinder::over(kernel_bytes);
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
  const auto base = btf::Btf::parse(kernel_bytes);
  const auto types = modules.types("second", *base);
  ASSERT_TRUE(types) << types.error().message;
  EXPECT_EQ((*types)->find("e", btf::Kind::struct_), 3u);
  EXPECT_FALSE(modules.types("broken", *base));
  EXPECT_FALSE(modules.types("absent", *base));

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

TEST(TypeFinder, SurvivesDamage) {
  EXPECT_FALSE(TypeFinder::over({}));
  EXPECT_FALSE(TypeFinder::over(std::vector<std::byte>(64)));
  // Header, {struct "a" with one member "b" at bit 64}, strings "\0a\0b\0".
  const u32 words[] = {0x0001eb9f, 24, 0, 24, 24, 5, 1, 4u << 24 | 1, 16, 3, 0, 64};
  std::vector<std::byte> bytes(sizeof words);
  std::memcpy(bytes.data(), words, sizeof words);
  for (const char c : {'\0', 'a', '\0', 'b', '\0'}) bytes.push_back(static_cast<std::byte>(c));
  EXPECT_EQ(TypeFinder::over(bytes)->find("a", btf::Kind::struct_), 1u);
  EXPECT_EQ(TypeFinder::over(bytes)->member_offset("a", "b"), 8u);
  for (std::size_t i = 0; i < bytes.size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      auto damaged = bytes;
      damaged[i] ^= std::byte(1 << bit);
      if (const auto finder = TypeFinder::over(damaged)) static_cast<void>(finder->member_offset("a", "b"));
    }
}

}  // namespace
}  // namespace skep::kernel
