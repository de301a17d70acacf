// Formats, and the lines of the trace pipe.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <regex>
#include <string>
#include <vector>

#include "catalog/helpers.hpp"
#include "helper/helpers.hpp"
#include "helper/local_task.hpp"
#include "helper/trace_format.hpp"
#include "map/map.hpp"

namespace skep::helper {
namespace {

u64 at(const void* pointer) { return reinterpret_cast<u64>(pointer); }

/// The text, or the errno as a number.
std::string formatted(std::string_view format, std::vector<u64> arguments = {}) {
  LocalTask task;
  Call call{.task = &task};
  Format text;
  const std::string terminated = std::string(format) + '\0';
  if (const s64 error = text.prepare(call, terminated, arguments); error < 0) return std::to_string(error);
  char buffer[2048];
  const s64 length = text.print(buffer, sizeof buffer);
  EXPECT_EQ(length, static_cast<s64>(std::strlen(buffer)));
  return buffer;
}

TEST(Format, Numbers) {
  EXPECT_EQ(formatted("%d %i %u", {static_cast<u64>(-1), 42, static_cast<u64>(-1)}), "-1 42 4294967295");
  EXPECT_EQ(formatted("%x %X", {0xabcd, 0xabcd}), "abcd ABCD");
  EXPECT_EQ(formatted("%ld %lu %lx", {static_cast<u64>(-5), ~u64{0}, ~u64{0}}),
            "-5 18446744073709551615 ffffffffffffffff");
  EXPECT_EQ(formatted("%lld %llu %llX", {u64{1} << 63, 1, 255}), "-9223372036854775808 1 FF");
  EXPECT_EQ(formatted("%d", {u64{1} << 32}), "0");  // without l: the lower half
  EXPECT_EQ(formatted("[%5d] [%-5d] [%05d] [%+d] [% d]", {42, 42, 42, 42, 42}), "[   42] [42   ] [00042] [+42] [ 42]");
  EXPECT_EQ(formatted("[%05d] [%-05d] [%+05d] [%5x]", {static_cast<u64>(-42), 42, 42, 255}),
            "[-0042] [42   ] [+0042] [   ff]");
}

TEST(Format, TextAndCharacters) {
  EXPECT_EQ(formatted("%s|%10s|%-5s|", {at("abc"), at("abc"), at("abc")}), "abc|       abc|abc  |");
  EXPECT_EQ(formatted("p%s s%s", {at("1"), at("2")}), "p1 s2");
  EXPECT_EQ(formatted("%c%3c|%-3c|", {'a', 'b', 'c'}), "a  b|c  |");
  EXPECT_EQ(formatted("100%% %d%%", {5}), "100% 5%");
  EXPECT_EQ(formatted("%pus", {at("user")}), "user");
  EXPECT_EQ(formatted("[%s]", {16}), "[]");  // nothing there: an empty string
  EXPECT_EQ(formatted("[%pks]", {at("not ours")}), "[]");
  EXPECT_EQ(formatted("tab\tand\nline"), "tab\tand\nline");
}

TEST(Format, Pointers) {
  EXPECT_EQ(formatted("%px", {0xffff888012345678}), "ffff888012345678");
  EXPECT_EQ(formatted("%px", {1}), "0000000000000001");
  EXPECT_EQ(formatted("[%20px]", {0xabc}), "[                 abc]");
  EXPECT_EQ(formatted("%p", {0}), "0000000000000000");
  const std::string hashed = formatted("%p", {0x123456});
  EXPECT_EQ(hashed.size(), 16u);
  EXPECT_EQ(hashed.substr(0, 8), "00000000");
  EXPECT_EQ(hashed, formatted("%pK", {0x123456}));
  EXPECT_NE(hashed, formatted("%p", {0x123457}));
  EXPECT_EQ(formatted("%ps %pS %pB", {16, 17, 18}), "0x10 0x11 0x12");
  EXPECT_EQ(formatted("%pxyz.", {1}), "0000000000000001.");  // letters behind belong to it
}

TEST(Format, Addresses) {
  const u8 v4[] = {192, 168, 0, 1}, v6[] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  LocalTask task(std::as_bytes(std::span(v4)));
  LocalTask task6(std::as_bytes(std::span(v6)));
  const auto text = [](LocalTask& owner, std::string_view format, const void* address) {
    Call call{.task = &owner};
    Format made;
    const u64 arguments[] = {at(address)};
    EXPECT_EQ(made.prepare(call, {format.data(), format.size() + 1}, arguments), 0);
    char buffer[64];
    made.print(buffer, sizeof buffer);
    return std::string(buffer);
  };
  EXPECT_EQ(text(task, "%pI4", v4), "192.168.0.1");
  EXPECT_EQ(text(task, "%pi4!", v4), "192.168.000.001!");
  EXPECT_EQ(text(task6, "%pI6", v6), "2001:0db8:0000:0000:0000:0000:0000:0001");
  EXPECT_EQ(text(task6, "%pi6", v6), "20010db8000000000000000000000001");
  EXPECT_EQ(formatted("%pI4", {16}), "0.0.0.0");
}

TEST(Format, WrongOnesPrintNothing) {
  for (const char* wrong : {"%",    "%z",  "%5",  "%n",    "%hd", "%#x", "%.3d", "%*d",  "%lc",  "%ls", "%llld", "%pQ",
                            "%pI5", "%sx", "%s1", "%pksx", "%p%", "%q",  "%e",   "\x01", "\x7f", "%5%", "%l"})
    EXPECT_EQ(formatted(wrong, {1, 2, 3}), std::to_string(-EINVAL)) << wrong;
  EXPECT_EQ(formatted("%d %d", {1}), std::to_string(-EINVAL));
  LocalTask task;
  Call call{.task = &task};
  Format text;
  EXPECT_EQ(text.prepare(call, "not terminated", {}), -EINVAL);
  EXPECT_EQ(text.prepare(call, "", {}), -EINVAL);
  const std::vector<u64> many(13);
  EXPECT_EQ(text.prepare(call, std::string_view("x\0", 2), many), -EINVAL);
}

TEST(Format, LongTextsAreCutAndCounted) {
  const std::string longer(1000, 'x');
  EXPECT_EQ(formatted("%s", {at(longer.c_str())}), std::string(511, 'x'));  // MAX_BPRINTF_BIN_ARGS
  EXPECT_EQ(formatted("%s%s", {at(longer.c_str()), at(longer.c_str())}), std::to_string(-ENOSPC));
  EXPECT_EQ(formatted("%s%d", {at(longer.c_str()), 1}), std::to_string(-ENOSPC));
  LocalTask task;
  Call call{.task = &task};
  Format text;
  const u64 arguments[] = {5};
  ASSERT_EQ(text.prepare(call, std::string_view("%099999999d", 12), arguments), 0);
  char buffer[8];
  EXPECT_EQ(text.print(buffer, sizeof buffer), 99999999);
  EXPECT_STREQ(buffer, "0000000");
  EXPECT_EQ(text.print(buffer, 0), 99999999);
  EXPECT_EQ(text.print(buffer, 1), 99999999);
  EXPECT_STREQ(buffer, "");
}

struct Lines final : TraceSink {
  std::vector<std::string> lines;
  bool line(std::string_view text) noexcept override {
    lines.emplace_back(text);
    return true;
  }
};

struct FixedTask final : Task {
  std::string name;
  u64 pid_tgid() noexcept override { return u64{4711} << 32 | 4712; }
  u64 uid_gid() noexcept override { return 0; }
  void comm(char (&comm)[16]) noexcept override { std::strncpy(comm, name.c_str(), 15); }
  u32 cpu() noexcept override { return 0; }
  s64 read_user(void*, u64, u32) noexcept override { return -EFAULT; }
  s64 write_user(u64, const void*, u32) noexcept override { return -EFAULT; }
  s64 read_kernel(void*, u64, u32) noexcept override { return -EFAULT; }
};

class TracePipe : public testing::Test {
 protected:
  s64 printk(std::string_view format, u64 first = 0, u64 second = 0, u64 third = 0) {
    return static_cast<s64>(table()[static_cast<u32>(catalog::HelperId::trace_printk)](
        &call, at(format.data()), format.size(), first, second, third));
  }
  FixedTask task;
  Lines sink;
  Call call{.task = &task, .trace = &sink};
};

TEST_F(TracePipe, ColumnsAreTheKernels) {
  task.name = "sh";
  map::set_current_cpu(0);
  EXPECT_EQ(printk(std::string_view("Hello %d\0", 9), 5), 7);
  ASSERT_EQ(sink.lines.size(), 1u);
  const std::regex columns(R"(              sh-4712    \[000\] \.\.\.21 +(\d+)\.(\d{6}): bpf_trace_printk: Hello 5)");
  EXPECT_TRUE(std::regex_match(sink.lines[0], columns)) << sink.lines[0];
  task.name = "fifteen-letters";
  printk(std::string_view("x\0", 2));
  EXPECT_EQ(sink.lines[1].substr(0, 34), " fifteen-letters-4712    [000] ...");
}

TEST_F(TracePipe, NewlinesStayInTheMessage) {
  printk(std::string_view("one\ntwo\n\0", 9));
  EXPECT_EQ(sink.lines.at(0).substr(sink.lines[0].find("printk: ") + 8), "one\ntwo\n");
}

TEST_F(TracePipe, WrongFormatsGiveNoLine) {
  EXPECT_EQ(printk(std::string_view("%z\0", 3)), -EINVAL);
  EXPECT_EQ(printk("no end"), -EINVAL);
  EXPECT_EQ(printk(std::string_view("%d%d%d%d\0", 9)), -EINVAL);
  EXPECT_TRUE(sink.lines.empty());
}

TEST_F(TracePipe, ANameCannotControlTheTerminal) {
  task.name = "a\x1b[2J\nb";
  printk(std::string_view("x\0", 2));
  EXPECT_EQ(sink.lines.at(0).find('\x1b'), std::string::npos);
  EXPECT_EQ(sink.lines.at(0).find('\n'), std::string::npos);
}

TEST_F(TracePipe, VprintkAndSnprintfTakeArrays) {
  const u64 arguments[] = {1, 2, 3, 4};
  const auto vprintk = table()[static_cast<u32>(catalog::HelperId::trace_vprintk)];
  const auto snprintf = table()[static_cast<u32>(catalog::HelperId::snprintf)];
  const char format[] = "%d %d %d %d";
  EXPECT_EQ(vprintk(&call, at(format), sizeof format, at(arguments), 32, 0), 7u);
  EXPECT_EQ(static_cast<s64>(vprintk(&call, at(format), sizeof format, at(arguments), 31, 0)), -EINVAL);
  EXPECT_EQ(static_cast<s64>(vprintk(&call, at(format), sizeof format, at(arguments), 104, 0)), -EINVAL);
  EXPECT_EQ(static_cast<s64>(vprintk(&call, at(format), sizeof format, 0, 32, 0)), -EINVAL);
  EXPECT_EQ(static_cast<s64>(vprintk(&call, at(format), sizeof format, at(arguments), 24, 0)), -EINVAL);
  char to[5];
  EXPECT_EQ(snprintf(&call, at(to), sizeof to, at(format), at(arguments), 32), 8u);
  EXPECT_STREQ(to, "1 2 ");
  EXPECT_EQ(snprintf(&call, 0, 0, at(format), at(arguments), 32), 8u);
}

}  // namespace
}  // namespace skep::helper
