// Code is placed, runs, goes away, and no page is ever writable and executable.
#include "vm/jit/code_memory.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace skep::vm {
namespace {

/// mov eax, number; ret. On arm64 movz, movk and ret.
std::vector<u8> returns(u32 number, std::size_t padding = 0) {
#if defined(__aarch64__)
  const u32 words[] = {0x52800000 | (number & 0xffff) << 5, 0x72a00000 | number >> 16 << 5, 0xd65f03c0};
  std::vector<u8> code(sizeof words + padding);
  std::memcpy(code.data(), words, sizeof words);
#else
  std::vector<u8> code(6 + padding, 0xcc);
  code[0] = 0xb8;
  std::memcpy(&code[1], &number, 4);
  code[5] = 0xc3;
#endif
  return code;
}

u32 call(const MachineCode& code) { return reinterpret_cast<u32 (*)()>(reinterpret_cast<u64>(code.data()))(); }

/// The permissions of the page an address lies in, as /proc says them.
std::string permissions_of(const void* address) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    u64 begin = 0, end = 0;
    char text[8] = {};
    if (std::sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, text) != 3) continue;
    if (reinterpret_cast<u64>(address) >= begin && reinterpret_cast<u64>(address) < end) return text;
  }
  return "unmapped";
}

bool any_page_writable_and_executable() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);)
    if (line.find(" rwx") != line.npos) return true;
  return false;
}

class Ways : public testing::TestWithParam<CodeMemory::Way> {};
INSTANTIATE_TEST_SUITE_P(CodeMemory, Ways,
                         testing::Values(CodeMemory::Way::automatic, CodeMemory::Way::two_mappings,
                                         CodeMemory::Way::own_pages));

TEST_P(Ways, CodeRunsAndIsNotWritable) {
  const auto pool = CodeMemory::create(GetParam());
  EXPECT_EQ(pool->usage().mapped_bytes, 0u);
  std::vector<MachineCode> pieces;
  for (u32 i = 0; i < 40; i++) {
    auto code = pool->add(returns(i, i * 7));
    ASSERT_TRUE(code) << code.error().message;
    pieces.push_back(std::move(*code));
  }
  for (u32 i = 0; i < 40; i++) {
    EXPECT_EQ(call(pieces[i]), i);
    EXPECT_EQ(permissions_of(pieces[i].data())[1], '-');
    EXPECT_EQ(permissions_of(pieces[i].data())[2], 'x');
    EXPECT_EQ(reinterpret_cast<u64>(pieces[i].data()) % 32, 0u);
  }
  EXPECT_FALSE(any_page_writable_and_executable());
}

TEST_P(Ways, MemoryComesBack) {
  const auto pool = CodeMemory::create(GetParam());
  std::size_t most = 0;
  for (u32 round = 0; round < 50; round++) {
    std::vector<MachineCode> pieces;
    for (u32 i = 0; i < 100; i++) pieces.push_back(pool->add(returns(i, (i * 37 + round) % 3000)).value());
    for (u32 i = 0; i < 100; i += 2) pieces[i] = pool->add(returns(1000 + i)).value();  // holes in the middle
    for (u32 i = 0; i < 100; i++) ASSERT_EQ(call(pieces[i]), i % 2 == 0 ? 1000 + i : i);
    if (round == 5) most = pool->usage().mapped_bytes;
    if (round > 5) {
      EXPECT_LE(pool->usage().mapped_bytes, most + (1u << 20));
    }
  }
  EXPECT_EQ(pool->usage().used_bytes, 0u);
}

TEST(CodeMemory, SmallProgramsSharePages) {
  const auto pool = CodeMemory::create(CodeMemory::Way::two_mappings);
  const auto a = pool->add(returns(1)).value(), b = pool->add(returns(2)).value();
  EXPECT_LT(b.data() - a.data(), 4096);
  EXPECT_EQ(call(a) + call(b), 3u);
}

TEST(CodeMemory, APieceLargerThanAChunkFits) {
  const auto pool = CodeMemory::create();
  const auto small = pool->add(returns(7)).value();
  const auto large = pool->add(returns(8, 5u << 20)).value();
  EXPECT_EQ(call(large), 8u);
  EXPECT_EQ(call(small), 7u);
}

TEST(CodeMemory, ThePoolLivesAsLongAsItsCode) {
  auto pool = CodeMemory::create();
  const auto code = pool->add(returns(9)).value();
  pool.reset();
  EXPECT_EQ(call(code), 9u);
}

// A process and its forked child share the pages: what one frees or adds must not change the other's code.
TEST(CodeMemory, ForkedProcessesDoNotDisturbEachOther) {
  const auto pool = CodeMemory::create();
  auto code = std::make_unique<MachineCode>(pool->add(returns(1)).value());
  const u8* const place = code->data();
  int to_child[2], to_parent[2];
  ASSERT_EQ(::pipe(to_child), 0);
  ASSERT_EQ(::pipe(to_parent), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    char byte = 0;
    const auto own = pool->add(returns(2));  // must not land where the parent puts its own
    if (::write(to_parent[1], "x", 1) != 1 || ::read(to_child[0], &byte, 1) != 1) ::_exit(9);
    const bool right = own && call(*own) == 2 && call(*code) == 1;
    ::_exit(right ? 0 : 1);
  }
  char byte = 0;
  ASSERT_EQ(::read(to_parent[0], &byte, 1), 1);
  code.reset();
  const auto mine = pool->add(returns(3)).value();
  EXPECT_NE(mine.data(), place);
  ASSERT_EQ(::write(to_child[1], "x", 1), 1);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_EQ(call(mine), 3u);
  for (const int fd : {to_child[0], to_child[1], to_parent[0], to_parent[1]}) ::close(fd);
}

TEST(CodeMemory, ManyThreadsPlaceAndRun) {
  const auto pool = CodeMemory::create();
  std::vector<std::thread> threads;
  std::atomic<u32> wrong = 0;
  for (u32 t = 0; t < 4; t++)
    threads.emplace_back([&, t] {
      for (u32 i = 0; i < 2000; i++) {
        const auto code = pool->add(returns(t * 10000 + i, i % 500));
        if (!code || call(*code) != t * 10000 + i) wrong++;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(pool->usage().used_bytes, 0u);
}

}  // namespace
}  // namespace skep::vm
