// User functions and static probes: those of this test itself.
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <thread>

#include "attach_support.hpp"
#include "btf/test_support.hpp"
#include "kernel/features.hpp"
#include "kernel/holders.hpp"
#include "kernel/perf_event.hpp"
#include "kernel/step_over.hpp"

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

#if defined(__x86_64__)
// Never called: functions that begin with vector instructions, whichever this CPU has.
asm(".pushsection .text\n"
    ".macro skep_vector name:req, code:vararg\n"
    ".globl skep_vector_\\name\n .type skep_vector_\\name, @function\n .balign 16\n"
    "skep_vector_\\name: .byte \\code\n ret\n .size skep_vector_\\name, . - skep_vector_\\name\n"
    ".endm\n"
    "skep_vector jump, 0x62, 0xe2, 0x7d, 0x48, 0x7a, 0xc6\n"  // vpbroadcastb: AVX-512's memset
    "skep_vector return, 0xc5, 0xf8, 0xc2, 0xc1, 0x00\n"      // vcmpeqps
    "skep_vector refused, 0xc5, 0xf9, 0xef, 0xc1\n"           // vpxor
    "skep_vector right, 0xc5, 0xf8, 0x10, 0xc1\n"             // vmovups
    ".popsection\n");
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
  EXPECT_NE(message("uprobe:" + self + ":skep_probed_first+100000", Code::invalid_argument).find("behind the end"),
            std::string::npos);
#if defined(__x86_64__)
  EXPECT_NE(message("uprobe:" + self + ":skep_vector_jump+3", Code::invalid_argument)
                .find("inside of an instruction of skep_vector_jump, from +0 up to +6"),
            std::string::npos);
#endif
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
TEST_F(Attach, UserProbesAreNotSetOnWhatTheKernelPerformsWrongly) {
  PREPARE("on_uprobe");
  for (const std::string kind : {"uprobe:", "uretprobe:"})
    for (const auto& [name, told] : std::initializer_list<std::pair<const char*, const char*>>{
             {"jump", "(62 e2 7d 48 7a c6) that Linux takes for a jump: with a probe there the program would go wrong"},
             {"return", "takes for a jump"},
             {"refused", "does not step over"}}) {
      const auto link = attach(kind + self + ":skep_vector_" + name);
      ASSERT_FALSE(link) << name;
      EXPECT_EQ(link.error().code, Code::unsupported) << link.error().message;
      EXPECT_NE(link.error().message.find(told), std::string::npos) << link.error().message;
    }
  ASSERT_OK(attach("uprobe:" + self + ":skep_vector_right"));
  EXPECT_EQ(backend->notes().find("left out"), std::string::npos) << backend->notes();
  ASSERT_OK(attach("uprobe:" + self + ":skep_vector_*"));
  EXPECT_NE(backend->notes().find("3 of 4 places are left out"), std::string::npos) << backend->notes();
}

/// Code of our own, mapped from a file (the kernel looks at an instruction when it finds that), with probes that the
/// kernel is asked for without our engine.
class ProbedCode {
 public:
  explicit ProbedCode(const std::vector<u8>& code) : bytes_(code.size()) {
    path_ = folder_.write("code", std::string(code.begin(), code.end()));
    const base::Fd file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    mapped_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_EXEC, MAP_PRIVATE, file.get(), 0);
  }
  ~ProbedCode() {
    if (mapped_ != MAP_FAILED) ::munmap(mapped_, bytes_);
  }
  ProbedCode(const ProbedCode&) = delete;
  ProbedCode& operator=(const ProbedCode&) = delete;

  /// In this process, as long as it is open.
  Result<base::Fd> probe(u32 source, u64 offset) const {
    perf_event_attr attr{};
    attr.size = sizeof attr;
    attr.type = source;
    attr.config1 = reinterpret_cast<u64>(path_.c_str());
    attr.config2 = offset;
    return kernel::open_perf_event(attr, ::getpid(), -1);
  }
  void* mapped() const { return mapped_; }

 private:
  test::TemporaryDirectory folder_;
  std::filesystem::path path_;
  std::size_t bytes_;
  void* mapped_ = nullptr;
};

// Each place that we do not give to the kernel for its refusal, given to it; and some that it takes.
TEST_F(Attach, VectorInstructionsThatTheKernelRefusesAreThoseWeKnow) {
  const auto source = kernel::perf_source_type("uprobe");
  if (!source) GTEST_SKIP() << "this kernel has no user probes";
  constexpr std::array<std::array<u8, 4>, 6> beginnings = {{{0xc5, 0xf9},
                                                            {0xc4, 0xe2, 0x79},
                                                            {0xc4, 0xe3, 0x79},
                                                            {0x62, 0xf1, 0x7d, 0x48},
                                                            {0x62, 0xf2, 0x7d, 0x48},
                                                            {0x62, 0xf3, 0x7d, 0x48}}};
  constexpr std::size_t apart = 32, opcodes = 256;
  std::vector<u8> code(beginnings.size() * opcodes * apart, 0x90);
  const auto place = [&](std::size_t form, std::size_t opcode) { return (form * opcodes + opcode) * apart; };
  for (std::size_t form = 0; form < beginnings.size(); ++form)
    for (std::size_t opcode = 0; opcode < opcodes; ++opcode) {
      u8* at = &code[place(form, opcode)];
      for (const u8 byte : beginnings[form])
        if (byte != 0) *at++ = byte;
      *at++ = static_cast<u8>(opcode);
      *at++ = 0xc1;  // two registers
      *at = 0;
    }
  const ProbedCode probed(code);
  if (probed.mapped() == MAP_FAILED) GTEST_SKIP() << "files in the temporary directory may not be code";
  const auto answer = [&](u64 offset) {
    const auto event = probed.probe(*source, offset);
    return event ? 0 : event.error().os_error;
  };
  constexpr int not_supported = 524;  // the kernel's own ENOTSUPP
  std::size_t refused = 0;
  for (std::size_t opcode = 0; opcode < opcodes; ++opcode) {
    const std::size_t form = refused % beginnings.size();  // each waits for the kernel: not all of all
    elf::InsnBytes bytes{};
    std::copy_n(&code[place(form, opcode)], bytes.size(), bytes.begin());
    if (kernel::step_over(bytes) != kernel::StepOver::refused) continue;
    ++refused;
    const int errno_then = answer(place(form, opcode));
    EXPECT_TRUE(errno_then == not_supported || errno_then == ENOEXEC)
        << std::hex << opcode << " after " << int{beginnings[form][0]} << ": " << std::dec << errno_then;
  }
  EXPECT_GT(refused, 30u);
  for (const auto& [form, opcode] : {std::pair<std::size_t, std::size_t>{0, 0x10}, {1, 0x58}, {4, 0x18}})
    EXPECT_EQ(answer(place(form, opcode)), 0) << form << " " << opcode;
}

// What we refuse for the kernel's mistake: where it has been mended, this test says so, and step_over() can learn it.
TEST_F(Attach, TheKernelLeavesOutVectorInstructionsThatItTakesForJumps) {
  const auto source = kernel::perf_source_type("uprobe");
  if (!source) GTEST_SKIP() << "this kernel has no user probes";
  if (__builtin_cpu_supports("avx") == 0) GTEST_SKIP() << "this CPU has no AVX";
  const elf::InsnBytes code = {0xc5, 0xf9, 0x74, 0xc1, 0xc3};  // vpcmpeqb xmm0 = xmm0, xmm1; ret
  ASSERT_EQ(kernel::step_over(code), kernel::StepOver::wrong);
  const ProbedCode probed({code.begin(), code.end()});
  if (probed.mapped() == MAP_FAILED) GTEST_SKIP() << "files in the temporary directory may not be code";
  const auto compared = [&] {  // all bytes are the same: all ones
    u64 result = 1;
    asm volatile(
        "vpxor %%xmm0, %%xmm0, %%xmm0\n vpxor %%xmm1, %%xmm1, %%xmm1\n add $-128, %%rsp\n call *%1\n sub $-128, "
        "%%rsp\n vmovq %%xmm0, %0\n"
        : "=r"(result)
        : "r"(probed.mapped())
        : "xmm0", "xmm1", "memory");
    return result;
  };
  EXPECT_EQ(compared(), ~u64{0});
  u64 with_a_probe = 0;
  {
    const auto event = probed.probe(*source, 0);
    ASSERT_OK(event);
    with_a_probe = compared();
  }
  EXPECT_EQ(compared(), ~u64{0});
  if (with_a_probe == ~u64{0}) GTEST_SKIP() << "this kernel performs them rightly";
  EXPECT_EQ(with_a_probe, 0u);
}

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
