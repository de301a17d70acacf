// Events that leave the kernel: perf and ring buffers filled by a carried kprobe program, and the trace pipe.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "support.hpp"

namespace skep::kernel_test {
namespace {

struct Event {
  u32 pid;
  s32 dfd;
  s64 result;
  s64 stack_id;
  char path[64];
};

const char* const paths[] = {"/skep/test/no/such/file", "/dev/null", "/skep-another-path"};
constexpr int rounds = 200;

void open_files() {
  // A BPF program cannot wait for a page: a string that was never touched in this process would be read as empty.
  for (const char* path : paths) static_cast<void>(*static_cast<const volatile char*>(path));
  for (int i = 0; i < rounds; ++i)
    for (const char* path : paths) {
      const long fd = ::syscall(SYS_openat, AT_FDCWD, path, O_RDONLY);
      if (fd >= 0) ::close(static_cast<int>(fd));
    }
}

class Events : public KernelEngine {
 protected:
  std::vector<Event> read_all(RingReader& reader) {
    std::vector<Event> events;
    const auto take = [&](const Record& record) {
      Event event{};
      ASSERT_GE(record.data.size(), sizeof event);
      std::memcpy(&event, record.data.data(), sizeof event);
      events.push_back(event);
    };
    for (;;) {
      const auto got = reader.poll(std::chrono::milliseconds(100), take);
      EXPECT_TRUE(got) << got.error().message;
      if (!got || *got == 0) return events;
    }
  }
};

TEST_F(Events, EveryCallArrivesThroughPerfAndRingBuffer) {
  auto spec = compile("carried");
  ASSERT_OK(spec);
  Child child(open_files);
  set_global(*spec, "wanted_pid", child.pid());
  const int pid = child.pid();
  auto object = load(*spec);
  ASSERT_OK(object);
  auto perf = object->map("events")->open_ring(), ring = object->map("ring")->open_ring();
  ASSERT_OK(perf);
  ASSERT_OK(ring);
  std::vector<Link> links;
  for (Program& program : object->programs()) {
    auto link = program.attach();
    ASSERT_OK(link);
    links.push_back(*std::move(link));
  }
  ASSERT_TRUE(child.run());

  const auto entries = read_all(*perf), returns = read_all(*ring);
  ASSERT_EQ(perf->lost(), 0u);
  ASSERT_EQ(entries.size(), rounds * std::size(paths));
  ASSERT_EQ(returns.size(), entries.size());
  // One process on one or several CPUs: per-CPU rings keep the order only per CPU, so paths are counted.
  int seen[std::size(paths)] = {}, opened = 0;
  for (const Event& event : entries) {
    EXPECT_EQ(event.pid, static_cast<u32>(pid));
    EXPECT_EQ(event.dfd, AT_FDCWD);
    EXPECT_GE(event.stack_id, 0);
    for (std::size_t i = 0; i < std::size(paths); ++i) seen[i] += std::strcmp(event.path, paths[i]) == 0;
  }
  for (const int times : seen) EXPECT_EQ(times, rounds);
  for (const Event& event : returns) opened += event.result >= 0;
  EXPECT_EQ(opened, rounds);  // /dev/null only
  for (std::size_t i = 0; i < returns.size(); ++i) EXPECT_EQ(returns[i].result >= 0, i % std::size(paths) == 1) << i;
}

TEST_F(Events, LostRecordsAreCounted) {
  auto spec = compile("flood");
  ASSERT_OK(spec);
  Child child([] { ::syscall(SYS_getppid); });
  set_global(*spec, "wanted_pid", child.pid());
  auto object = load(*spec);
  ASSERT_OK(object);
  auto reader = object->map("events")->open_ring();
  ASSERT_OK(reader);
  auto link = object->programs()[0].attach();
  ASSERT_OK(link);
  constexpr u64 sent = 4000;  // records of 256 bytes into a ring of 256 KiB
  ASSERT_TRUE(child.run());
  u64 got = 0;
  for (;;) {
    const auto round = reader->poll(std::chrono::milliseconds(20), [](const Record&) {});
    ASSERT_OK(round);
    if (*round == 0) break;
    got += *round;
  }
  EXPECT_GT(got, 500u);
  EXPECT_EQ(got + reader->lost(), sent);
}

/// The programs of printk.bpf.c, which print two lines when a child of the test asks for them.
class PrintedLines : public Events {
 protected:
  void SetUp() override {
    Events::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    auto spec = compile("printk");
    ASSERT_OK(spec);
    set_global(*spec, "wanted_pid", child.pid());
    auto loaded = load(*spec);
    ASSERT_OK(loaded);
    object.emplace(std::move(*loaded));
  }

  /// What comes out of a pipe, as far as it is the child's. Up to 10 s for both lines, for interpreted machines.
  std::vector<std::string> lines_of(RingReader& pipe) {
    std::vector<std::string> lines;
    for (int i = 0; i < 100 && lines.size() < 2; ++i) {
      const auto got = pipe.poll(std::chrono::milliseconds(100), [&](const Record& record) {
        std::string line(reinterpret_cast<const char*>(record.data.data()), record.data.size());
        if (line.find(wanted) != std::string::npos) lines.push_back(std::move(line));
      });
      EXPECT_TRUE(got) << got.error().message;
      if (!got) break;
    }
    return lines;
  }

  Child child{[] { ::syscall(SYS_getppid); }};
  const std::string wanted = "skep kernel test " + std::to_string(child.pid());
  std::optional<Object> object;
};

TEST_F(PrintedLines, ComeOutOfThePipe) {
  auto pipe = backend->open_trace_pipe();
  ASSERT_OK(pipe);
  auto link = object->programs()[0].attach();
  ASSERT_OK(link);
  ASSERT_TRUE(child.run());
  const auto lines = lines_of(*pipe);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_NE(lines[0].find(": bpf_trace_printk: " + wanted + " first"), std::string::npos) << lines[0];
  EXPECT_TRUE(lines[1].ends_with(wanted + " second")) << lines[1];
}

TEST_F(PrintedLines, ReachEveryReader) {
  const bool has_event = std::filesystem::exists("/sys/kernel/tracing/instances") &&
                         std::filesystem::exists("/sys/kernel/tracing/events/bpf_trace/bpf_trace_printk");
  if (!has_event) GTEST_SKIP() << "left out: bpf_trace_printk is no event here (Linux 5.9), or tracefs is not mounted";
  const auto own_buffers = [] {
    std::size_t count = 0;
    for (const auto& one : std::filesystem::directory_iterator("/sys/kernel/tracing/instances"))
      count += one.path().filename().native().starts_with("skep-" + std::to_string(::getpid()) + "-");
    return count;
  };
  {
    std::vector<RingReader> pipes;
    for (int i = 0; i < 3; ++i) {
      auto pipe = backend->open_trace_pipe();
      ASSERT_OK(pipe);
      pipes.push_back(std::move(*pipe));
    }
    EXPECT_GE(own_buffers(), 2u);
    auto link = object->programs()[0].attach();
    ASSERT_OK(link);
    ASSERT_TRUE(child.run());
    for (RingReader& pipe : pipes) EXPECT_EQ(lines_of(pipe).size(), 2u);
  }
  EXPECT_EQ(own_buffers(), 0u);
}

}  // namespace
}  // namespace skep::kernel_test
