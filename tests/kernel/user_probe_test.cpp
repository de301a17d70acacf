// User functions and static probes: those of this test itself.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

#include "attach_support.hpp"
#include "kernel/features.hpp"
#include "kernel/holders.hpp"

// What the user probes are set on. C names, exported, not inlined.
extern "C" {
__attribute__((noipa, used, visibility("default"))) long skep_probed_first(long value) {
  asm volatile("" ::: "memory");
  return value + 1;
}
__attribute__((noipa, used, visibility("default"))) long skep_probed_second(long value) {
  asm volatile("" ::: "memory");
  return value + 2;
}
}

// A static probe as <sys/sdt.h> makes it, with a semaphore: skep_test:hit, two arguments.
extern "C" {
__attribute__((used, section(".probes"))) volatile unsigned short skep_test_hit_semaphore = 0;
}
#if defined(__x86_64__)
__attribute__((noinline)) static void hit_static_probe(int first, long second) {
  asm volatile(
      "990: nop\n"
      ".pushsection .note.stapsdt,\"?\",\"note\"\n"
      ".balign 4\n"
      ".4byte 992f-991f, 994f-993f, 3\n"
      "991: .asciz \"stapsdt\"\n"
      "992: .balign 4\n"
      "993: .8byte 990b\n"
      ".8byte 0\n"
      ".8byte skep_test_hit_semaphore\n"
      ".asciz \"skep_test\"\n"
      ".asciz \"hit\"\n"
      ".asciz \"-4@%%edi 8@%%rsi\"\n"
      "994: .balign 4\n"
      ".popsection\n" ::"D"(first),
      "S"(second));
}
#endif

namespace skep::kernel_test {
namespace {

const std::string self = "/proc/self/exe";

TEST_F(Attach, Uprobe) {
  PREPARE("on_uprobe");
  const auto call = [] { skep_probed_first(5), skep_probed_first(7); };
  EXPECT_EQ(counted("uprobe:" + self + ":skep_probed_first", 0, call), 12u) << "the sum of the first arguments";
}

TEST_F(Attach, Uretprobe) {
  PREPARE("on_uretprobe");
  EXPECT_EQ(counted("uretprobe:" + self + ":skep_probed_first", 1, [] { skep_probed_first(5); }), 6u) << "the result";
}

TEST_F(Attach, UprobeOnAPattern) {
  PREPARE("on_uprobe");
  const auto call = [] { skep_probed_first(5), skep_probed_second(7); };
  EXPECT_EQ(counted("uprobe:" + self + ":skep_probed_*", 0, call), 12u);
}

TEST_F(Attach, UprobeInOneProcessOnly) {
  PREPARE("on_uprobe");
  Child child([] { skep_probed_first(100); });
  auto link = attach("uprobe:" + self + ":skep_probed_first", ::getpid());
  ASSERT_OK(link);
  skep_probed_first(5);
  EXPECT_TRUE(child.run());
  EXPECT_EQ(seen(0), 5u);
}

TEST_F(Attach, UprobeMultiWithACookie) {
  PREPARE("on_uprobe_multi");
  auto link = attach("uprobe.multi:" + self + ":skep_probed_*", ::getpid(), 1000);
  if (!link && link.error().code == Code::unsupported) GTEST_SKIP() << link.error().message;
  ASSERT_OK(link);
  skep_probed_first(1), skep_probed_second(1);
  EXPECT_EQ(seen(2), 2000u);
}

TEST_F(Attach, AUserSessionSeesCallAndReturn) {
  PREPARE("on_user_session");
  ATTACH_OR_SKIP(link, "uprobe.session:" + self + ":skep_probed_*");
  skep_probed_first(1), skep_probed_second(1);
  EXPECT_EQ(seen(59), 4u);
}

TEST_F(Attach, UserProbesThatCannotBeSetSayWhy) {
  PREPARE("on_uprobe");
  const auto message = [&](std::string_view text, Code code) {
    const auto link = attach(text);
    EXPECT_FALSE(link) << text;
    if (link) return std::string();
    EXPECT_EQ(link.error().code, code) << link.error().message;
    return link.error().message;
  };
  EXPECT_NE(message("uprobe:" + self + ":skep_probed_frist", Code::not_found).find("no function"), std::string::npos);
  EXPECT_NE(message("uprobe:/nowhere/at/all:f", Code::not_found).find("no file"), std::string::npos);
  EXPECT_NE(message("uprobe:libnowhere.so:f", Code::not_found).find("/usr/lib"), std::string::npos);
  EXPECT_NE(message("uretprobe:" + self + ":skep_probed_first+4", Code::invalid_argument).find("no offset"),
            std::string::npos);
  EXPECT_NE(message("uprobe:/proc/self/exe", Code::invalid_argument).find("FILE:FUNCTION"), std::string::npos);
  EXPECT_NE(message("uprobe:/proc/self/exe:0x1", Code::invalid_argument).find("no code of the file"),
            std::string::npos);
  EXPECT_NE(message("uprobe:/tmp:f", Code::not_found).find("is no file"), std::string::npos);
  EXPECT_NE(message("uprobe:/proc/self/status:f", Code::malformed).find("ELF"), std::string::npos);
  auto gone = AttachTarget::from_text("uprobe:libc.so.6:malloc");
  ASSERT_OK(gone);
  gone->pid = 4194303;
  EXPECT_EQ(program_->attach(*gone).error().code, Code::not_found);
}

#if defined(__x86_64__)
TEST_F(Attach, StaticProbe) {
  PREPARE("on_usdt");
  {
    auto link = attach("usdt:" + self + ":skep_test:hit");
    if (!link && link.error().code == Code::unsupported) GTEST_SKIP() << link.error().message;
    ASSERT_OK(link);
    EXPECT_EQ(skep_test_hit_semaphore, 1) << "the program can see that somebody looks";
    hit_static_probe(-3, 1l << 40);
    hit_static_probe(-4, 2);
  }
  EXPECT_EQ(skep_test_hit_semaphore, 0);
  hit_static_probe(1, 1);
  EXPECT_EQ(seen(5), 2u);
  EXPECT_EQ(static_cast<s64>(seen(6)), -7);
  EXPECT_EQ(seen(7), (1ull << 40) + 2);
  // Descriptions are used again: after three more attachments the second one was never needed.
  for (int round = 0; round < 3; ++round) ASSERT_OK(attach("usdt:" + self + ":skep_test:hit"));
  const u32 second = 1;
  const auto description = object_->map("__bpf_usdt_specs")->lookup(std::as_bytes(std::span(&second, 1)));
  ASSERT_OK(description);
  EXPECT_TRUE(std::ranges::all_of(*description, [](std::byte b) { return b == std::byte{}; }));
  const auto missing = attach("usdt:" + self + ":skep_test:miss");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::not_found) << missing.error().message;
}
#endif

TEST_F(Attach, PlacesOfAUserProbeHaveTheirCookies) {
  PREPARE("on_uprobe_with_cookie");
  const auto none = attach("uprobe:" + self + ":skep_probed_first");
  const auto first = attach("uprobe:" + self + ":skep_probed_first", ::getpid(), 1000);
  const auto second = attach("uprobe:" + self + ":skep_probed_second", 0, 0x1'fedc'ba98);
  ASSERT_OK(none);
  ASSERT_OK(first);
  ASSERT_OK(second);
  skep_probed_first(1);
  EXPECT_EQ(seen(8), 1000u);
  skep_probed_second(1), skep_probed_second(1);
  EXPECT_EQ(seen(8), 1000u + 2 * 0x1'fedc'ba98);
}

class UserProbes : public Attach {
 protected:
  static bool have_multi_links() { return kernel::Features().uprobe_multi(); }
};

TEST_F(UserProbes, PlacesOfOneProgramShareALink) {
  PREPARE("on_uprobe");
  if (!have_multi_links()) GTEST_SKIP() << "this kernel has no uprobe.multi links that follow a whole process (6.10)";
  const auto link = attach("uprobe:" + self + ":skep_probed_*", ::getpid(), 77);
  ASSERT_OK(link);
  const auto shown = links();
  ASSERT_EQ(shown.size(), 1u);
  EXPECT_EQ(shown[0].type, "uprobe_multi");
  EXPECT_EQ(fact(shown[0], "func_cnt"), "2");
  EXPECT_EQ(fact(shown[0], "retprobe"), "false");
  EXPECT_EQ(fact(shown[0], "pid"), std::to_string(::getpid()));
  EXPECT_NE(fact(shown[0], "path").find("kernel_engine_test"), std::string::npos);
  EXPECT_NE(fact(shown[0], "funcs").find("\"cookie\":77"), std::string::npos) << fact(shown[0], "funcs");
  EXPECT_TRUE(shown[0].target.starts_with("uprobe:") && shown[0].target.ends_with(" and 1 more")) << shown[0].target;
  // Each place is told of as an event would be, where it is asked who probes what.
  const auto users = kernel::find_perf_users();
  ASSERT_OK(users);
  EXPECT_EQ(std::ranges::count_if(*users,
                                  [&](const kernel::PerfUser& user) {
                                    return user.program_id == shown[0].program_id && user.fd_type == "uprobe" &&
                                           user.pid == ::getpid() && user.name == fact(shown[0], "path");
                                  }),
            2);
}

TEST_F(UserProbes, AThreadIsNamedByItsOwnNumber) {
  PREPARE("on_uprobe");
  std::atomic<int> id = 0;
  std::atomic<bool> go = false;
  std::jthread other([&] {
    id = ::gettid();
    while (!go) ::usleep(1000);
    skep_probed_first(5);
  });
  while (id == 0) ::usleep(1000);
  const auto link = attach("uprobe:" + self + ":skep_probed_first", id);
  go = true;
  other.join();
  ASSERT_OK(link);
  EXPECT_EQ(seen(0), 5u);
}

TEST_F(UserProbes, AProgramGoesOnInAnotherOne) {
  auto spec = compile("tail_calls");
  ASSERT_OK(spec);
  set_global(*spec, "wanted_pid", ::getpid());
  auto object = load(*spec);
  ASSERT_OK(object);
  auto program = object->program("on_call");
  ASSERT_OK(program);
  auto target = AttachTarget::from_text("uprobe:" + self + ":skep_probed_first");
  ASSERT_OK(target);
  const auto link = program->attach(*target);
  ASSERT_OK(link);
  skep_probed_first(9);
  EXPECT_EQ(counter(*object, "hits", 0), 9u);
}

TEST_F(UserProbes, OneProgramOnProbesOfBothKinds) {
  PREPARE("on_uprobe");
  auto user = attach("uprobe:" + self + ":skep_probed_first");
  ASSERT_OK(user);
  const auto kernel = attach("kprobe:__x64_sys_getpgid");
  if (!kernel && kernel.error().code != Code::unsupported) FAIL() << kernel.error().message;
  skep_probed_first(3);
  EXPECT_EQ(seen(0), 3u);
  user->detach();
  skep_probed_first(3);
  EXPECT_EQ(seen(0), 3u);
}

TEST_F(UserProbes, ManyLinksEndTogether) {
  PREPARE("on_uprobe");
  std::vector<Link> links;
  for (int i = 0; i < 12; ++i) {
    auto link = attach("uprobe:" + self + (i % 2 == 0 ? ":skep_probed_first" : ":skep_probed_second"));
    ASSERT_OK(link);
    links.push_back(*std::move(link));
  }
  skep_probed_first(1), skep_probed_second(1);
  EXPECT_EQ(seen(0), 12u);
  detach_all(links);
  EXPECT_TRUE(links.empty());
  skep_probed_first(1), skep_probed_second(1);
  EXPECT_EQ(seen(0), 12u);
}

}  // namespace
}  // namespace skep::kernel_test
