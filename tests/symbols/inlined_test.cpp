// Functions that are inlined, beside what programs say of their own source; and the process that reads debug
// information for us, with files that are out to break it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <set>

#include "base/split.hpp"
#include "elf/elf.hpp"
#include "running_fixture.hpp"
#include "symbols/demangle.hpp"
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
  for (u64 address = begin; address < end && symbols.debug_info() != nullptr; ++address)
    if (const auto frames = reader.at(*symbols.debug_info(), address); frames && (*frames)->size() == 3) return true;
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
  const auto before = reader.at(*shrinking.debug_info(), begin);
  ASSERT_TRUE(before) << before.error().message;
  EXPECT_FALSE((*before)->empty());
  ASSERT_EQ(::truncate(copy.path().c_str(), 4096), 0);
  std::size_t refusals = 0;
  for (u64 address = begin + 1; address < end; ++address) {
    const auto answer = reader.at(*shrinking.debug_info(), address);
    refusals += !answer;
    EXPECT_TRUE(answer || answer.error().code == Code::closed) << answer.error().message;
    EXPECT_TRUE(refusals == 0 || !answer || (*answer)->empty());
  }
  EXPECT_EQ(refusals, 1u);  // and not asked again
  EXPECT_TRUE(knows_inlined(reader, whole));
}

/// Each such file costs a reader; after eight there is no more, however many files follow.
TEST_F(Inlined, FilesThatEndReadersAreReadNoMore) {
  DwarfProcess reader;
  std::vector<Code> refusals;
  for (int round = 0; round < 12; ++round) {
    const Copy copy;
    const FileSymbols shrinking = symbols_of(copy.path());
    const auto [begin, end] = outermost(shrinking);
    for (u64 address = begin; address < end; ++address) {
      if (const auto answer = reader.at(*shrinking.debug_info(), address); !answer)
        refusals.push_back(answer.error().code);
      EXPECT_TRUE(address != begin || ::truncate(copy.path().c_str(), 4096) == 0);
    }
  }
  std::vector<Code> expected(8, Code::closed);
  expected.resize(12, Code::limit);
  EXPECT_EQ(refusals, expected);
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

/// Each attempt is a letter: small where it was refused.
std::string attempts(int socket, pid_t parent, void* shared) {
  std::string told;
  const auto tell = [&](char letter, bool worked) { told += static_cast<char>(worked ? letter - 'a' + 'A' : letter); };
  const int anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
  tell('o', ::open("/dev/null", O_RDONLY) >= 0);
  tell('k', ::kill(parent, 0) == 0);
  tell('f', ::fcntl(socket, F_SETOWN, parent) == 0);  // and O_ASYNC: a signal of choice to anybody
  tell('s', ::socket(AF_INET, SOCK_DGRAM, 0) >= 0);
  tell('c', ::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr) >= 0);
  tell('e', ::execl("/bin/true", "true", nullptr) == 0);
  tell('x', ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, anonymous, -1, 0) != MAP_FAILED);
  tell('d', ::prctl(PR_SET_DUMPABLE, 1) == 0);
  tell('m', ::madvise(shared, 4096, MADV_NORMAL) == 0);
  tell('w', ::write(socket, "", 1) >= 0);
  tell('g', ::fcntl(socket, F_GETFL) >= 0);
  tell('r', ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, anonymous, -1, 0) != MAP_FAILED);
  tell('l', ::mmap(nullptr, 3ULL << 30, PROT_READ | PROT_WRITE, anonymous, -1, 0) != MAP_FAILED);
  return told;
}

/// What the reader would be left with if a file took it over.
TEST(ShutIn, ReachesNothingAndNobody) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
  void* const shared = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(shared, MAP_FAILED);
  const pid_t parent = ::getpid(), child = ::fork();
  if (child == 0) {
    if (!shut_in(pair[1])) ::_exit(1);
    const std::string told = attempts(pair[1], parent, shared);
    const bool sent = ::send(pair[1], told.data(), told.size(), 0) > 0;
    ::syscall(SYS_exit_group, sent ? 0 : 2);  // sanitizers look for leaks in _exit()
  }
  ::close(pair[1]);
  char text[64]{};
  EXPECT_GT(::recv(pair[0], text, sizeof text - 1, 0), 0);
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_STREQ(text, "okfscexdmwGRl");
  ::close(pair[0]);
  ::munmap(shared, 4096);
}

std::string last_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

using Told = std::map<u64, std::vector<SourceFrame>>;

/// What binutils say of addresses: names, the last names of files, lines.
Told told_by_binutils(const std::string& path, const std::vector<u64>& addresses) {
  const std::string list = testing::TempDir() + "skep-addresses-" + std::to_string(::getpid());
  std::ofstream stream(list);
  for (const u64 address : addresses) stream << std::hex << "0x" << address << "\n";
  stream.close();
  std::FILE* const answers =
      ::popen((std::string(SKEP_ADDR2LINE) + " -a -i -f -e '" + path + "' < '" + list + "'").c_str(), "r");
  Told told;
  std::vector<SourceFrame>* frames = nullptr;
  char line[65536];
  while (std::fgets(line, sizeof line, answers) != nullptr) {
    std::string text(line, std::strcspn(line, "\n"));
    if (text.starts_with("0x")) {
      frames = &told[std::strtoull(text.c_str(), nullptr, 16)];
      continue;
    }
    if (frames == nullptr || std::fgets(line, sizeof line, answers) == nullptr) break;
    const std::string place(line);  // "/a/b.cpp:12 (discriminator 3)"
    const auto colon = place.rfind(':');
    const auto number = static_cast<u32>(std::strtoul(place.c_str() + colon + 1, nullptr, 10));
    frames->push_back({text, last_name(place.substr(0, colon)), number});
  }
  ::pclose(answers);
  files::remove(list);
  return told;
}

std::vector<u64> every_address(const std::string& path) {
  std::vector<u64> addresses;
  const FileSymbols symbols = symbols_of(path);
  const CodeSymbols& table = symbols.tables().front();
  for (std::size_t i = 0; i + 1 < table.size(); ++i)
    for (u64 address = table.address(i); address < table.address(i + 1); ++address) addresses.push_back(address);
  return addresses;
}

/// binutils say the symbol's name of the innermost and of the outermost, "<artificial>" for the file of code that
/// link-time optimisation has made, and of functions without a mangled name the last part.
bool is_same(const SourceFrame& ours, const SourceFrame& theirs, bool has_symbol) {
  const std::string file = last_name(ours.file);
  if (ours.line != theirs.line || (file != theirs.file && theirs.file != "<artificial>")) return false;
  return has_symbol || ours.name == theirs.name || ours.name.ends_with("::" + theirs.name);
}

TEST_F(Inlined, AreWhatBinutilsSayAtEveryAddress) {
  ASSERT_NE(std::string(SKEP_ADDR2LINE), "SKEP_ADDR2LINE-NOTFOUND") << "install binutils";
  for (const std::string& path : base::split(SKEP_CALLS, ':')) {
    // Of clang's range lists of DWARF 5 binutils 2.40 read only some.
    if (path.ends_with("clang_5")) continue;
    SCOPED_TRACE(path);
    const std::vector<u64> addresses = every_address(path);
    const Told told = told_by_binutils(path, addresses);
    auto file = DwarfFile::open(base::Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), base::Fd());
    ASSERT_TRUE(file) << file.error().message;
    std::size_t inlined = 0, differences = 0;
    for (const u64 address : addresses) {
      const std::vector<SourceFrame> ours = file->at(address);
      const std::vector<SourceFrame>& theirs = told.at(address);
      inlined += ours.size() > 1;
      const bool nobody_knows = ours.empty() && theirs.size() == 1 && theirs[0].line == 0;
      const bool equal = std::ranges::equal(ours, theirs, [&](const SourceFrame& one, const SourceFrame& other) {
        return is_same(one, other, &one == &ours.front() || &one == &ours.back());
      });
      if (nobody_knows || equal || ++differences > 5) continue;
      std::string text;
      for (const auto* const frames : {&ours, &theirs}) {
        text += "\n";
        for (const SourceFrame& one : *frames)
          text += "  " + one.name + " " + one.file + ":" + std::to_string(one.line) + "\n";
      }
      ADD_FAILURE() << std::hex << address << text;
    }
    EXPECT_EQ(differences, 0u);
    EXPECT_GT(inlined, 500u);
  }
}

/// Functions that nobody can call from elsewhere have no mangled name: they are told by what they are written in.
TEST_F(Inlined, FunctionsWithoutMangledNamesSayWhereTheyAreWritten) {
  const std::string path = base::split(SKEP_CALLS, ':').front();
  auto file = DwarfFile::open(base::Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), base::Fd());
  ASSERT_TRUE(file) << file.error().message;
  std::set<std::string> names;
  for (const u64 address : every_address(path))
    for (const SourceFrame& frame : file->at(address)) names.insert(demangle(frame.name));
  const std::string look =
      "calls::look(std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> > const&)";
  for (const std::string& name :
       {std::string("main"), std::string("calls::(anonymous namespace)::twice"),
        std::string("calls::(anonymous namespace)::Scale::operator()"), look, look + "::Local::go"})
    EXPECT_TRUE(names.contains(name)) << name;
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
