// Names of functions in other programs, beside what those programs say themselves and what nm says of their files.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>

#include "base/mapped_file.hpp"
#include "running_fixture.hpp"
#include "symbols/symbolizer.hpp"

namespace skep::symbols {
namespace {

const std::string directory = SKEP_FIXTURES;

/// Names of all landmarks, one byte behind their beginning; `known` says which must have one.
template <class Known>
void expect_names(const std::string& path, Known&& known) {
  const RunningFixture fixture(path, 6);
  ASSERT_EQ(fixture.landmarks.size(), 6u) << path;
  Symbolizer symbolizer;
  for (const Landmark& landmark : fixture.landmarks) {
    const Frame frame = symbolizer.user(fixture.pid(), landmark.address + 1);
    const std::string name = text(frame, {.offset = true});
    if (known(landmark.name)) {
      EXPECT_EQ(name, landmark.name + "+0x1") << path;
    } else {
      EXPECT_TRUE(name.starts_with("[unknown] [")) << name << " for " << landmark.name;
    }
    EXPECT_EQ(frame.module, std::filesystem::canonical(path).native());
  }
}

bool all(const std::string&) { return true; }
/// In .dynsym, which stripping leaves (-rdynamic); what no table has is a place in the file.
bool is_exported(const std::string& name) { return name != "only_in_symtab(int)" && name != "main"; }

TEST(Fixtures, PositionIndependent) { expect_names(directory + "/symbols_fixture_pie", all); }
TEST(Fixtures, AtFixedAddresses) { expect_names(directory + "/symbols_fixture_fixed", all); }
TEST(Fixtures, StrippedWithADebugLink) { expect_names(directory + "/linked/symbols_fixture", all); }
TEST(Fixtures, StrippedWithoutAnything) { expect_names(directory + "/symbols_fixture_stripped", is_exported); }

/// The link names a file that is there, but of another program: its checksum and its build id do not fit.
TEST(Fixtures, ADebugFileOfAnotherProgramIsNotBelieved) {
  const std::string place = testing::TempDir() + "skep-symbols-" + std::to_string(::getpid());
  std::filesystem::create_directory(place);
  const std::string program = place + "/symbols_fixture", debug = place + "/symbols_fixture.debug";
  std::filesystem::copy_file(directory + "/linked/symbols_fixture", program);
  std::filesystem::copy_file(directory + "/symbols_fixture_fixed", debug);
  expect_names(program, is_exported);
  std::filesystem::copy_file(directory + "/linked/symbols_fixture.debug", debug,
                             std::filesystem::copy_options::overwrite_existing);
  expect_names(program, all);
  std::filesystem::remove_all(place);
}

/// All functions of a file that nm names, by address.
std::multimap<u64, std::string> functions_by_nm(const std::string& path, const std::string& options) {
  std::multimap<u64, std::string> functions;
  std::FILE* const pipe = ::popen(("nm " + options + " " + path + " 2>/dev/null").c_str(), "r");
  char line[8192];
  while (pipe != nullptr && std::fgets(line, sizeof line, pipe) != nullptr) {
    u64 address = 0;
    char type = 0, name[8000];
    if (std::sscanf(line, "%lx %c %7999s", &address, &type, name) != 3) continue;
    if (std::string_view("tTwWi").find(type) == std::string_view::npos) continue;
    const std::string_view text(name);
    functions.emplace(address, text.substr(0, text.find('@')));
  }
  if (pipe != nullptr) ::pclose(pipe);
  return functions;
}

void expect_as_nm(const std::string& path, const std::string& options, std::size_t at_least) {
  const auto truth = functions_by_nm(path, options);
  if (truth.empty()) GTEST_SKIP() << "nm (package binutils) is not there, or names nothing in " << path;
  auto file = FileSymbols::read(base::Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), {});
  ASSERT_TRUE(file) << file.error().message;
  std::size_t same = 0, seen = 0;
  for (auto at = truth.begin(); at != truth.end(); at = truth.upper_bound(at->first)) {
    const auto found = file->at_address(at->first);
    ++seen;
    if (!found || found->offset != 0) continue;
    const auto [begin, end] = truth.equal_range(at->first);
    const bool is_one_of_them = std::any_of(
        begin, end, [&](const auto& one) { return one.second == found->name.substr(0, found->name.find('@')); });
    EXPECT_TRUE(is_one_of_them) << path << " " << std::hex << at->first << " " << at->second << " " << found->name;
    same += is_one_of_them;
  }
  EXPECT_GE(seen, at_least);
  EXPECT_GE(same * 1000, seen * 995) << same << " of " << seen;  // local labels of assembly have no name here
}

TEST(Tables, OfThisTestAreAsNmSays) { expect_as_nm(std::filesystem::canonical("/proc/self/exe"), "", 500); }
TEST(Tables, OfTheCLibraryAreAsNmSays) { expect_as_nm("/lib/x86_64-linux-gnu/libc.so.6", "-D", 1000); }

/// Files in which bytes were changed give other answers or none, and nothing worse.
TEST(Tables, OfDamagedFilesAreHarmless) {
  const auto whole = base::read_file(directory + "/symbols_fixture_pie");
  ASSERT_TRUE(whole);
  std::mt19937 random(20240817);
  char path[] = "/tmp/skep-symbols-XXXXXX";
  const base::Fd fd(::mkstemp(path));
  u64 read = 0;
  for (int round = 0; round < 400; ++round) {
    auto bytes = *whole;
    for (int change = 0; change < 1 + round % 20; ++change) {
      // Most changes hit the header and the tables at the end.
      const std::size_t at = random() % 3 == 0 ? random() % 64
                             : random() % 2 == 0
                                 ? bytes.size() - 1 - random() % std::min<std::size_t>(bytes.size(), 4096)
                                 : random() % bytes.size();
      bytes[at] = std::byte(random() % 5 == 0 ? 0xff : random());
    }
    if (round % 7 == 0) bytes.resize(random() % bytes.size());
    ASSERT_EQ(::ftruncate(fd.get(), 0), 0);
    ASSERT_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    auto symbols = FileSymbols::read(base::Fd(::open(path, O_RDONLY | O_CLOEXEC)), {});
    if (!symbols) continue;
    ++read;
    for (u64 offset = 0; offset < bytes.size(); offset += 512) symbols->at_offset(offset);
    // The names of a file that has become short are gone.
    ASSERT_EQ(::ftruncate(fd.get(), 10), 0);
    for (u64 offset = 0; offset < bytes.size(); offset += 512) EXPECT_FALSE(symbols->at_offset(offset));
  }
  EXPECT_GT(read, 50u);
  std::filesystem::remove(path);
}

/// A file that claims to be enormous takes neither memory nor time.
TEST(Tables, OfASparseFileAreBounded) {
  char path[] = "/tmp/skep-symbols-XXXXXX";
  base::Fd fd(::mkstemp(path));
  const auto whole = base::read_file(directory + "/symbols_fixture_pie");
  ASSERT_TRUE(whole);
  ASSERT_EQ(::pwrite(fd.get(), whole->data(), whole->size(), 0), static_cast<ssize_t>(whole->size()));
  ASSERT_EQ(::ftruncate(fd.get(), off_t{1} << 36), 0);
  // .symtab becomes 32 GiB long.
  auto image = elf::FileImage::open(fd.get());
  ASSERT_TRUE(image) << image.error().message;
  u64 table = 0;
  std::memcpy(&table, whole->data() + 40, 8);
  for (const elf::Section& section : image->file().sections())
    if (section.type == elf::section_symtab) {
      const u64 size = 24ULL << 30;
      ASSERT_EQ(::pwrite(fd.get(), &size, 8, static_cast<off_t>(table + section.index * 64 + 32)), 8);
    }
  const auto symbols = FileSymbols::read(std::move(fd), {});
  ASSERT_TRUE(symbols);
  EXPECT_LT(symbols->memory_bytes(), 1u << 20);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace skep::symbols
