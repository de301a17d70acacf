// Helpers beside the kernel's: one small program asks the kernel's helper, the table asks ours.
//
// The programs are socket filters and traffic-control programs run by BPF_PROG_TEST_RUN: attached to nothing. The
// program's helper arguments come from an array map, its answer goes back there.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "catalog/helpers.hpp"
#include "helper/helpers.hpp"
#include "helper/local_task.hpp"
#include "map/kernel_oracle.hpp"
#include "map/map.hpp"

namespace skep::helper {
namespace {

using catalog::HelperId;
using map::oracle::KernelMap;

constexpr u32 value_bytes = 4096, answer_offset = 2048;

/// Instruction by fields. Source: RFC 9669.
bpf_insn insn(u8 code, u8 dst, u8 src, s16 offset, s32 immediate) {
  bpf_insn made{};
  made.code = code;
  made.dst_reg = dst & 15u;
  made.src_reg = src & 15u;
  made.off = offset;
  made.imm = immediate;
  return made;
}
bpf_insn move(u8 dst, u8 src) { return insn(0xbf, dst, src, 0, 0); }
bpf_insn set(u8 dst, s32 value) { return insn(0xb7, dst, 0, 0, value); }
bpf_insn add(u8 dst, s32 value) { return insn(0x07, dst, 0, 0, value); }
bpf_insn load64(u8 dst, u8 src, s16 offset) { return insn(0x79, dst, src, offset, 0); }
bpf_insn store64(u8 dst, u8 src, s16 offset) { return insn(0x7b, dst, src, offset, 0); }
bpf_insn call_of(HelperId id) { return insn(0x85, 0, 0, 0, static_cast<s32>(id)); }
bpf_insn leave() { return insn(0x95, 0, 0, 0, 0); }

/// A program around a piece that finds the map's value in r9 and leaves the helper's answer in r0.
class KernelProgram {
 public:
  explicit KernelProgram(std::vector<bpf_insn> piece) : map_(map_spec()) {
    std::vector<bpf_insn> all = {insn(0x62, 10, 0, -4, 0),
                                 insn(0x18, 1, 1, 0, map_.fd.get()),
                                 insn(0, 0, 0, 0, 0),
                                 move(2, 10),
                                 add(2, -4),
                                 call_of(HelperId::map_lookup_elem),
                                 insn(0x55, 0, 0, 1, 0),
                                 leave(),
                                 move(9, 0)};
    all.insert(all.end(), piece.begin(), piece.end());
    for (const bpf_insn& last : {store64(9, 0, answer_offset), set(0, 0), leave()}) all.push_back(last);
    log_.resize(65536);
    bpf_attr attr{};
    attr.prog_type = BPF_PROG_TYPE_SCHED_CLS;
    attr.insns = reinterpret_cast<u64>(all.data());
    attr.insn_cnt = static_cast<u32>(all.size());
    attr.license = reinterpret_cast<u64>("GPL");
    attr.log_buf = reinterpret_cast<u64>(log_.data());
    attr.log_size = static_cast<u32>(log_.size());
    attr.log_level = 1;
    fd_ = base::Fd(static_cast<int>(map::oracle::bpf(BPF_PROG_LOAD, attr)));
    EXPECT_TRUE(fd_) << std::strerror(errno) << log_.c_str();
  }

  /// Runs once on `value` (which comes back changed) and returns the answer.
  s64 run(std::vector<std::byte>& value) {
    value.resize(value_bytes);
    const u32 key = 0;
    EXPECT_EQ(map_.update(&key, value.data(), 0), 0);
    u8 packet[64] = {};
    bpf_attr attr{};
    attr.test.prog_fd = static_cast<u32>(fd_.get());
    attr.test.data_in = reinterpret_cast<u64>(packet);
    attr.test.data_size_in = sizeof packet;
    attr.test.repeat = 1;
    EXPECT_EQ(map::oracle::bpf(BPF_PROG_TEST_RUN, attr), 0) << std::strerror(errno);
    EXPECT_EQ(map_.lookup(&key, value.data()), 0);
    s64 answer = 0;
    std::memcpy(&answer, value.data() + answer_offset, sizeof answer);
    return answer;
  }

 private:
  static MapSpec map_spec() {
    MapSpec spec;
    spec.type = MapType::array;
    spec.key_size = 4;
    spec.value_size = value_bytes;
    spec.max_entries = 1;
    return spec;
  }
  KernelMap map_;
  base::Fd fd_;
  std::string log_;
};

struct Value {
  std::vector<std::byte> bytes = std::vector<std::byte>(value_bytes);
  template <class T>
  void put(std::size_t offset, const T& what) {
    std::memcpy(bytes.data() + offset, &what, sizeof what);
  }
  template <class T>
  T get(std::size_t offset) const {
    T what;
    std::memcpy(&what, bytes.data() + offset, sizeof what);
    return what;
  }
};

HelperFn ours(HelperId id) { return table()[static_cast<u32>(id)]; }
u64 at(const void* pointer) { return reinterpret_cast<u64>(pointer); }

/// Formats at random from pieces that are nearly right.
std::string random_format(std::mt19937& random) {
  static const char* const pieces[] = {
      "%d",   "%i",   "%u",       "%x",  "%X",   "%ld",   "%lu",  "%lx",  "%lld", "%llu", "%llx", "%c",  "%p",
      "%px",  "%pK",  "%ps",      "%pS", "%pB",  "%pI4",  "%pi6", "%pks", "%pus", "%s",   "%%",   "%",   "l",
      "5",    "0",    "-",        "+",   " ",    "x",     "s",    "p",    ".",    "#",    "*",    "\n",  "\t",
      "\x01", "\x7f", "\xc3\xa9", "%5d", "%-7x", "%08lx", "%+d",  "% d",  "%hd",  "%n",   "%5s",  "%3c", "%20px",
      "%pxz", "%p5",  "%lc",      "%5%", "text", "%p%",   "%i4",  "%pQ",  "%sx",  "%s,"};
  std::string format;
  for (u32 i = random() % 6; i > 0; --i) format += pieces[random() % std::size(pieces)];
  return format;
}

TEST(BesideTheKernel, PrintkAcceptsAndRefusesTheSameFormats) {
  SKEP_NEEDS_BPF();
  // trace_printk(value, 64, two numbers from behind it, 3)
  KernelProgram program(
      {move(1, 9), set(2, 64), load64(3, 9, 1024), load64(4, 9, 1032), set(5, 3), call_of(HelperId::trace_printk)});
  std::mt19937 random(20240607);
  Call call;
  constexpr u64 second = 0x1122334455667788;
  u64 accepted = 0, refused = 0;
  for (int i = 0; i < 1000; ++i) {
    std::string format = random_format(random);
    if (format.size() > 63) continue;
    Value value;
    std::memcpy(value.bytes.data(), format.data(), format.size());
    if (i % 50 == 0) std::memset(value.bytes.data(), 'a', 64);  // no terminator
    value.put(1024, u64{17});
    value.put(1032, second);
    std::vector<std::byte> copy = value.bytes;
    const s64 kernel = program.run(copy);
    // No address is readable on either side: strings are empty, addresses in memory zero.
    const s64 answer = static_cast<s64>(ours(HelperId::trace_printk)(&call, at(value.bytes.data()), 64, 17, second, 3));
    (kernel >= 0 ? accepted : refused)++;
    ASSERT_EQ(answer, kernel) << "format: " << format;
  }
  EXPECT_GT(accepted, 100u);
  EXPECT_GT(refused, 100u);
}

/// A read-only map with one frozen text: what the kernel's verifier takes for a constant string.
KernelMap constant_text(const char (&text)[64]) {
  MapSpec spec;
  spec.type = MapType::array;
  spec.key_size = 4;
  spec.value_size = sizeof text;
  spec.max_entries = 1;
  spec.flags = map::flag::rdonly_prog;
  KernelMap made(spec);
  const u32 key = 0;
  EXPECT_EQ(made.error, 0);
  EXPECT_EQ(made.update(&key, text, 0), 0);
  EXPECT_EQ(made.freeze(), 0);
  return made;
}

u32 conversions_in(std::string_view format) {
  u32 count = 0;
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') continue;
    if (i + 1 < format.size() && format[i + 1] == '%')
      ++i;
    else
      ++count;
  }
  return count;
}

TEST(BesideTheKernel, SnprintfWritesTheSameText) {
  SKEP_NEEDS_BPF();
  for (const char* format : {"%d|%5d|%-5d|%05d|%+d", "%x|%X|%8x|%08lx|%-8lx|", "%ld %lld %llu %lu", "% d%+5d%-+5d|",
                             "%c%5c%-5c|", "%px|%20px|%-20px|%5px|", "100%%|%u", "%llX%llx", "%0d%0x% x", "plain", "",
                             "%+u|% u|%+x", "%-05d|%0-5d|", "%pxabc.|%d"})
    for (const s32 room : {0, 1, 5, 200}) {
      char text[64] = {};
      std::strcpy(text, format);
      const KernelMap constant = constant_text(text);
      const s32 argument_bytes = static_cast<s32>(conversions_in(format) * 8);
      // snprintf(value + 1024, room, format, value, argument_bytes)
      KernelProgram program({move(1, 9), add(1, 1024), set(2, room), insn(0x18, 3, 2, 0, constant.fd.get()),
                             insn(0, 0, 0, 0, 0), move(4, 9), set(5, argument_bytes), call_of(HelperId::snprintf)});
      Value value;
      const u64 numbers[] = {42, static_cast<u64>(-7), 0xdeadbeefcafe, 5, 1234567890123};
      std::memcpy(value.bytes.data(), numbers, sizeof numbers);
      std::vector<std::byte> copy = value.bytes;
      const s64 kernel = program.run(copy);
      Call call;
      const s64 answer = static_cast<s64>(
          ours(HelperId::snprintf)(&call, at(value.bytes.data() + 1024), static_cast<u64>(room), at(text),
                                   at(value.bytes.data()), static_cast<u64>(argument_bytes)));
      EXPECT_EQ(answer, kernel) << format << " room " << room;
      EXPECT_STREQ(reinterpret_cast<char*>(value.bytes.data() + 1024), reinterpret_cast<char*>(copy.data() + 1024))
          << format << " room " << room;
    }
}

TEST(BesideTheKernel, SnprintfOfStringsAndAddresses) {
  SKEP_NEEDS_BPF();
  static constexpr const char* formats[] = {"%s|%10s|%-10s|%05s", "%pks|%10pks|%s,%s", "%pI4 %pi4 %pI6 %pi6",
                                            "%5pI4|%20pI6|%pi4abc|%s", "%s%s%s%s"};
  for (const char* format : formats)
    for (const u32 room : {1u, 9u, 200u}) {
      MapSpec spec;
      spec.type = MapType::array;
      spec.key_size = 4;
      spec.value_size = 64;
      spec.max_entries = 1;
      spec.flags = map::flag::rdonly_prog;
      const KernelMap constant(spec);
      char text[64] = {};
      std::strcpy(text, format);
      const u32 key = 0;
      ASSERT_EQ(constant.update(&key, text, 0), 0);
      ASSERT_EQ(constant.freeze(), 0);
      // Four arguments on the stack: addresses of 16 bytes each in the map's value.
      std::vector<bpf_insn> piece;
      for (int i = 0; i < 4; ++i)
        for (const bpf_insn& each : {move(6, 9), add(6, 256 + i * 16), store64(10, 6, static_cast<s16>(-40 + i * 8))})
          piece.push_back(each);
      for (const bpf_insn& each :
           {move(1, 9), add(1, 1024), set(2, static_cast<s32>(room)), insn(0x18, 3, 2, 0, constant.fd.get()),
            insn(0, 0, 0, 0, 0), move(4, 10), add(4, -40), set(5, 32), call_of(HelperId::snprintf)})
        piece.push_back(each);
      KernelProgram program(piece);
      MapSpec own;
      own.type = MapType::array;
      own.key_size = 4;
      own.max_entries = 1;
      own.value_size = value_bytes;
      const auto map = *map::Map::create(own);
      auto* value = static_cast<std::byte*>(map->direct_value());
      for (int i = 0; i < 64; ++i) value[256 + i] = std::byte("hello world\0\x7f\x01\x02\x03"[i % 16]);
      std::vector<std::byte> copy(value, value + value_bytes);
      const s64 kernel = program.run(copy);
      const u64 arguments[] = {at(value + 256), at(value + 272), at(value + 288), at(value + 304)};
      const map::RunSection section(0);
      Call call;
      const s64 answer = static_cast<s64>(
          ours(HelperId::snprintf)(&call, at(value + 1024), room, at(text), at(arguments), sizeof arguments));
      EXPECT_EQ(answer, kernel) << format << " room " << room;
      EXPECT_STREQ(reinterpret_cast<char*>(value + 1024), reinterpret_cast<char*>(copy.data() + 1024)) << format;
    }
}

TEST(BesideTheKernel, NumbersInText) {
  SKEP_NEEDS_BPF();
  for (const HelperId id : {HelperId::strtol, HelperId::strtoul}) {
    static constexpr s32 result_offset = 1024;
    std::mt19937 random(99);
    for (const s32 base : {0, 8, 10, 16, 2, 33}) {
      // strtol(value, 24, base, stack - 16); the result is copied to value + 1024
      KernelProgram program({set(6, 0), store64(10, 6, -16), move(1, 9), set(2, 24), set(3, base), move(4, 10),
                             add(4, -16), call_of(id), load64(6, 10, -16), store64(9, 6, result_offset)});
      for (int i = 0; i < 150; ++i) {
        static constexpr char alphabet[] = "0123456789abcxXfF- \t+7700990x";
        Value value;
        for (int c = 0, end = static_cast<int>(random() % 25); c < end; ++c)
          value.bytes[static_cast<std::size_t>(c)] = std::byte(
              i % 3 == 0 ? '0' + random() % 10 : static_cast<u32>(alphabet[random() % (sizeof alphabet - 1)]));
        if (i % 10 == 0) std::memcpy(value.bytes.data(), "-9223372036854775808", 20);
        std::vector<std::byte> copy = value.bytes;
        const s64 kernel = program.run(copy);
        u64 result = 0, expected = 0;
        std::memcpy(&expected, copy.data() + result_offset, sizeof expected);
        const s64 answer =
            static_cast<s64>(ours(id)(nullptr, at(value.bytes.data()), 24, static_cast<u64>(base), at(&result), 0));
        const std::string text(reinterpret_cast<char*>(value.bytes.data()), 24);
        ASSERT_EQ(answer, kernel) << text << " base " << base;
        ASSERT_EQ(result, expected) << text << " base " << base;
      }
    }
  }
}

TEST(BesideTheKernel, ChecksumsOfDifferences) {
  SKEP_NEEDS_BPF();
  std::mt19937 random(7);
  for (const s32 from_size : {0, 4, 20, 3})
    for (const s32 to_size : {0, 4, 8, 40, 2}) {
      KernelProgram program({move(1, 9), set(2, from_size), move(3, 9), add(3, 256), set(4, to_size),
                             load64(5, 9, 1024), call_of(HelperId::csum_diff)});
      for (int i = 0; i < 20; ++i) {
        Value value;
        for (std::size_t b = 0; b < 512; ++b) value.bytes[b] = std::byte(i == 0 ? 0xff : i == 1 ? 0 : random());
        value.put(1024, u64{i < 2 ? 0xffffffffu : random()});
        std::vector<std::byte> copy = value.bytes;
        const s64 kernel = program.run(copy);
        const s64 answer = static_cast<s64>(
            ours(HelperId::csum_diff)(nullptr, at(value.bytes.data()), static_cast<u64>(from_size),
                                      at(value.bytes.data() + 256), static_cast<u64>(to_size), value.get<u64>(1024)));
        ASSERT_EQ(answer, kernel) << from_size << " -> " << to_size << ", round " << i;
      }
    }
}

TEST(BesideTheKernel, Jiffies) {
  SKEP_NEEDS_BPF();
  KernelProgram jiffies({call_of(HelperId::jiffies64)});
  Value value;
  const s64 before = static_cast<s64>(ours(HelperId::jiffies64)(nullptr, 0, 0, 0, 0, 0));
  const s64 kernel = jiffies.run(value.bytes);
  const s64 after = static_cast<s64>(ours(HelperId::jiffies64)(nullptr, 0, 0, 0, 0, 0));
  // The kernel's ticks begin with its timer, a little after the clock.
  constexpr s64 two_seconds = 2000;  // at most 1000 ticks a second
  EXPECT_GE(kernel, before - two_seconds);
  EXPECT_LE(kernel, after + two_seconds);
}

/// A private instance of the tracer, where nobody else's lines are taken away.
class TraceInstance {
 public:
  TraceInstance() {
    root_ = "/tmp/skep-tracefs-" + std::to_string(::getpid());
    mounted_ = ::mkdir(root_.c_str(), 0700) == 0 && ::mount("none", root_.c_str(), "tracefs", 0, nullptr) == 0;
    path_ = root_ + "/instances/skep-test-" + std::to_string(::getpid());
    if (!mounted_ || ::mkdir(path_.c_str(), 0700) != 0) return;
    const base::Fd enable(::open((path_ + "/events/bpf_trace/bpf_trace_printk/enable").c_str(), O_WRONLY | O_CLOEXEC));
    ready_ = enable && ::write(enable.get(), "1", 1) == 1;
    pipe_ = base::Fd(::open((path_ + "/trace_pipe").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  }
  ~TraceInstance() {
    pipe_.reset();
    ::rmdir(path_.c_str());
    if (mounted_) ::umount(root_.c_str());
    ::rmdir(root_.c_str());
  }
  bool ready() const { return ready_ && pipe_; }
  std::string read() const {
    std::string text(4096, '\0');
    const ssize_t size = ::read(pipe_.get(), text.data(), text.size());
    text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
    return text;
  }

 private:
  std::string root_, path_;
  base::Fd pipe_;
  bool mounted_ = false, ready_ = false;
};

struct LastLine final : TraceSink {
  std::string text;
  bool line(std::string_view line) noexcept override {
    text = line;
    return true;
  }
};

TEST(BesideTheKernel, TraceLinesHaveTheSameColumns) {
  SKEP_NEEDS_BPF();
  const TraceInstance instance;
  if (!instance.ready()) GTEST_SKIP() << "no tracefs instance here: needs CAP_SYS_ADMIN and tracefs";
  KernelProgram program({move(1, 9), set(2, 64), set(3, 17), set(4, 0), set(5, 0), call_of(HelperId::trace_printk)});
  for (const char* message : {"number %d", "line\n", "two\nlines\n", ""}) {
    Value value;
    std::strcpy(reinterpret_cast<char*>(value.bytes.data()), message);
    LocalTask task;
    LastLine sink;
    Call call{.task = &task, .trace = &sink};
    map::set_current_cpu(0);
    const u64 length = ours(HelperId::trace_printk)(&call, at(value.bytes.data()), 64, 17, 0, 0);
    EXPECT_EQ(static_cast<s64>(length), program.run(value.bytes));
    // Other programs of this machine may print too: our line is the one with our thread's id.
    std::string kernel;
    const std::string id = "-" + std::to_string(::gettid()) + " ";
    for (int tries = 0; tries < 50 && kernel.find(id) == std::string::npos; ++tries) kernel = instance.read();
    const std::size_t column = kernel.find(id);
    ASSERT_NE(column, std::string::npos) << kernel;
    ASSERT_EQ(column, 16u) << "one record only: " << kernel;
    const std::string line = sink.text + "\n";
    const auto masked = [](std::string text) {  // name, CPU, flags and time differ; their places do not
      const std::size_t end = text.find(": bpf_trace_printk"), flags = text.find("] ") + 2;
      for (std::size_t i = 0; i < end; ++i)
        if (i < 16 || (text[i] >= '0' && text[i] <= '9') || (i >= flags && i < flags + 5)) text[i] = '#';
      return text;
    };
    EXPECT_EQ(masked(line), masked(kernel)) << "ours:   " << line << "kernel: " << kernel;
  }
}

}  // namespace
}  // namespace skep::helper
