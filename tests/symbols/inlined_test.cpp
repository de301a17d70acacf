// Functions that are inlined, beside what programs say of their own source; and the process that reads debug
// information for us, with files that are out to break it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "base/split.hpp"
#include "elf/elf.hpp"
#include "running_fixture.hpp"
#include "symbols/symbolizer.hpp"

namespace skep::symbols {
namespace {

namespace files = std::filesystem;

constexpr std::size_t lines_said = 4;  // three functions, the innermost first, with their lines; an address in them

class Inlined : public testing::Test {
 protected:
  void SetUp() override {
    if (auto here = DwarfFile::available(); !here) GTEST_SKIP() << here.error().message;
  }
};

std::string any_program() { return base::split(SKEP_INLINED, ':').front(); }

/// A copy of a program in a directory that goes with it.
class Copy {
 public:
  Copy() {
    files::create_directory(directory_);
    files::copy_file(any_program(), path(), files::copy_options::overwrite_existing);
  }
  ~Copy() { files::remove_all(directory_); }
  std::string path() const { return directory_ + "/program"; }

 private:
  std::string directory_ = testing::TempDir() + "skep-inlined-" + std::to_string(::getpid());
};

FileSymbols symbols_of(const std::string& path) {
  auto file = FileSymbols::read(base::Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), {});
  EXPECT_TRUE(file) << path << ": " << file.error().message;
  return file ? *std::move(file) : FileSymbols();
}

/// The linked addresses of the function that has others inlined.
std::pair<u64, u64> outermost(const FileSymbols& symbols) {
  const CodeSymbols& table = symbols.tables().front();
  for (std::size_t i = 0; i + 1 < table.size(); ++i)
    if (table.name(i).find("outermost") != std::string::npos) return {table.address(i), table.address(i + 1)};
  ADD_FAILURE() << "no such function";
  return {};
}

/// Whether anything is inlined at one of its addresses.
bool knows_inlined(DwarfProcess& reader, const FileSymbols& symbols) {
  const auto [begin, end] = outermost(symbols);
  for (u64 address = begin; address < end; ++address)
    if (symbols.debug_info() != nullptr && reader.at(*symbols.debug_info(), address).size() == 3) return true;
  return false;
}

TEST_F(Inlined, StandBetweenTheFunctionsThatHaveCode) {
  for (const std::string& path : base::split(SKEP_INLINED, ':')) {
    SCOPED_TRACE(path);
    const RunningFixture fixture(path, lines_said);
    ASSERT_EQ(fixture.landmarks.size(), lines_said);
    const u64 stack[] = {fixture.landmarks[0].address,
                         fixture.landmarks[3].address};  // a place nobody knows; the return
    Symbolizer symbolizer;
    auto frames = symbolizer.user_stack(fixture.pid(), stack);
    ASSERT_EQ(frames.size(), 4u);
    EXPECT_EQ(text(frames[0]), "[unknown]");
    for (std::size_t i = 1; i < 4; ++i) {
      const auto& [name, line] = fixture.landmarks[i - 1];
      EXPECT_EQ(frames[i].address, fixture.landmarks[3].address);
      EXPECT_EQ(frames[i].is_inlined, i < 3);
      EXPECT_EQ(text(frames[i], {.source = true}),
                name + (i < 3 ? " (inlined)" : "") + " (inlined.cpp:" + std::to_string(line) + ")");
      EXPECT_EQ(text(frames[i], {.folded = true}), name + (i < 3 ? "_[i]" : ""));
    }
    EXPECT_GT(frames[3].offset, 0u);

    symbolizer.show_inlined(false);
    frames = symbolizer.user_stack(fixture.pid(), stack);
    ASSERT_EQ(frames.size(), 2u);
    EXPECT_EQ(text(frames[1]), fixture.landmarks[2].name);
    EXPECT_EQ(frames[1].line, 0u);
  }
}

TEST_F(Inlined, StandInStacksOfBuildIdsAsWell) {
  const std::string path = any_program();
  const RunningFixture fixture(path, lines_said);
  ASSERT_EQ(fixture.landmarks.size(), lines_said);
  Symbolizer symbolizer;
  const u64 address = fixture.landmarks[3].address;
  const Frame frame = symbolizer.user(fixture.pid(), address);
  const BuildIdPlace places[] = {{"", 0}, {symbols_of(path).build_id(), frame.module_offset}};
  ASSERT_FALSE(places[1].build_id.empty());
  for (const bool is_listed : {false, true}) {
    Symbolizer fresh;
    ASSERT_TRUE(!is_listed || fresh.add_file(path));
    const auto frames = fresh.build_id_stack(is_listed ? 0 : fixture.pid(), places);
    ASSERT_EQ(frames.size(), 4u);
    for (std::size_t i = 1; i < 4; ++i)
      EXPECT_EQ(text(frames[i]), fixture.landmarks[i - 1].name + (i < 3 ? " (inlined)" : ""));
  }
  EXPECT_EQ(Symbolizer().add_file("/nonexistent").error().code, Code::not_found);
}

/// The address that a call returns to may lie behind the end of the function that called, when the call never returns.
TEST_F(Inlined, AReturnBelongsToTheFunctionThatCalled) {
  const RunningFixture fixture(any_program(), lines_said);
  ASSERT_EQ(fixture.landmarks.size(), lines_said);
  Symbolizer symbolizer;
  const auto [begin, end] = outermost(symbols_of(any_program()));
  const Frame inside = symbolizer.user(fixture.pid(), fixture.landmarks[3].address);
  const u64 behind = inside.address - inside.offset + (end - begin);
  const u64 stack[] = {behind, behind};
  const auto frames = symbolizer.user_stack(fixture.pid(), stack);
  EXPECT_NE(frames.front().name, inside.name);
  EXPECT_EQ(frames.back().address, behind);
}

/// A hundred files whose debug information is damaged: whatever the reader makes of them, we and the next file are
/// well.
TEST_F(Inlined, DamagedDebugInformationIsTheReadersDamageOnly) {
  std::ifstream stream(any_program(), std::ios::binary);
  const std::vector<char> sound{std::istreambuf_iterator<char>(stream), {}};
  const auto file = elf::File::parse(std::as_bytes(std::span(sound)));
  ASSERT_TRUE(file);
  const Copy copy;
  std::mt19937 random(20261130);
  DwarfProcess reader;
  for (int round = 0; round < 100; ++round) {
    std::vector<char> bytes = sound;
    for (const elf::Section& section : file->sections()) {
      if (!section.name.starts_with(".debug_") || section.size == 0) continue;
      for (u64 changes = 1 + random() % 16; changes > 0; --changes)
        bytes[section.offset + random() % section.size] = static_cast<char>(random());
      if (round % 10 == 0) std::memset(bytes.data() + section.offset, round, section.size);
    }
    const int fd = ::open(copy.path().c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC);
    ASSERT_EQ(::write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    ::close(fd);
    const FileSymbols damaged = symbols_of(copy.path());
    knows_inlined(reader, damaged);
  }
  DwarfProcess another;  // the first may have been ended too often
  EXPECT_TRUE(knows_inlined(another, symbols_of(any_program())));
}

TEST_F(Inlined, AFileThatShrinksEndsTheReaderAndNothingElse) {
  const Copy copy;
  const FileSymbols shrinking = symbols_of(copy.path()), whole = symbols_of(any_program());
  const auto [begin, end] = outermost(shrinking);
  DwarfProcess reader;
  EXPECT_FALSE(reader.at(*shrinking.debug_info(), begin).empty());
  ASSERT_EQ(::truncate(copy.path().c_str(), 4096), 0);
  for (u64 address = begin + 1; address < end; ++address) reader.at(*shrinking.debug_info(), address);
  EXPECT_TRUE(knows_inlined(reader, whole));
}

/// What it is started with would stay open as long as it lives: pipes, links of programs.
TEST_F(Inlined, TheReaderHoldsNothingOfOursAndGoesWithUs) {
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  {
    DwarfProcess reader;
    EXPECT_TRUE(knows_inlined(reader, symbols_of(any_program())));
    ::close(pipe[1]);
    pollfd end{pipe[0], POLLIN, 0};
    EXPECT_EQ(::poll(&end, 1, 5000), 1) << "somebody still has the other end";
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), 0) << "it lives, and is nobody else's";
  }
  int status = -1;
  EXPECT_GT(::waitpid(-1, &status, 0), 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  ::close(pipe[0]);
  ::prctl(PR_SET_CHILD_SUBREAPER, 0);
}

/// In a copy of this process, which shares the socket, answers must not reach the wrong one.
TEST_F(Inlined, AForkedCopyHasAReaderOfItsOwn) {
  const FileSymbols symbols = symbols_of(any_program());
  DwarfProcess reader;
  reader.at(*symbols.debug_info(), outermost(symbols).first);
  const pid_t copy = ::fork();
  const bool knows = knows_inlined(reader, symbols);
  if (copy == 0) ::_exit(knows ? 0 : 1);
  int status = -1;
  ASSERT_EQ(::waitpid(copy, &status, 0), copy);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(knows);
}

}  // namespace
}  // namespace skep::symbols
