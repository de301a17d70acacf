// Under a policy that forbids what we would like to use, as containers have: the next mechanism, or an error that says
// why.
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.hpp"

namespace skep::hook::test {
namespace {

enum Denied : unsigned { listeners = 1, filters = 2, tracing = 4 };

/// Installs a filter that answers EPERM, as a container's runtime does before it starts us.
bool deny(unsigned what) {
  constexpr u32 nr = offsetof(seccomp_data, nr), flags = offsetof(seccomp_data, args) + 8;
  const auto when = [](u32 value, bool wanted) { return wanted ? value : 0xffffffffu; };
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, nr),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, when(SYS_ptrace, what & tracing), 5, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, when(SYS_seccomp, what & filters), 4, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, when(SYS_seccomp, what & listeners), 0, 2),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, flags),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, SECCOMP_FILTER_FLAG_NEW_LISTENER, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
  };
  const sock_fprog program{sizeof code / sizeof code[0], code};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

struct Found {
  std::string text;
  int exit = -1;
};

/// In a child under the policy: the mechanism's text or the error, and how many marks were seen as exit code.
Found under(unsigned what, const SyscallInterest& interest) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    Recorder recorder;
    std::string text = "cannot install the policy";
    int seen = 99;
    if (deny(what)) {
      auto tracer = SyscallTracer::start({program("hook_tracee"), "tree", "2"}, interest, recorder);
      text = tracer ? (*tracer)->mechanism_text() : tracer.error().message;
      if (tracer) {
        const auto result = (*tracer)->run();
        seen = result && exit_code(*result) == 0 ? static_cast<int>(recorder.marks().size()) : 98;
      }
    }
    if (::write(ends[1], text.data(), text.size()) < 0) seen = 97;
    ::_exit(seen);
  }
  ::close(ends[1]);
  Found found;
  char bytes[512];
  for (ssize_t n; (n = ::read(ends[0], bytes, sizeof bytes)) > 0;)
    found.text.append(bytes, static_cast<std::size_t>(n));
  ::close(ends[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (WIFEXITED(status)) found.exit = WEXITSTATUS(status);
  return found;
}

TEST(Policy, NothingForbidden) {
  const Found found = under(0, entries({SYS_openat}));
  EXPECT_EQ(found.exit, 7) << found.text;
  EXPECT_EQ(found.text.find("seccomp user notification"), 0u) << found.text;
}

TEST(Policy, WithoutListenersPtraceFilters) {
  const Found found = under(listeners, entries({SYS_openat}));
  EXPECT_EQ(found.exit, 7) << found.text;
  EXPECT_EQ(found.text.find("ptrace behind a seccomp filter"), 0u) << found.text;
  EXPECT_NE(found.text.find("user notification is refused (seccomp: Operation not permitted)"), std::string::npos)
      << found.text;
}

TEST(Policy, WithoutFiltersEveryCallStops) {
  for (const auto& interest : {entries({SYS_openat}), both({SYS_openat})}) {
    const Found found = under(filters, interest);
    EXPECT_EQ(found.exit, 7) << found.text;
    EXPECT_EQ(found.text.find("ptrace, every system call stops"), 0u) << found.text;
    EXPECT_NE(found.text.find("is refused"), std::string::npos) << found.text;
  }
}

TEST(Policy, WithoutPtraceEntriesAreStillSeen) {
  EXPECT_EQ(under(tracing, entries({SYS_openat})).exit, 7);
  const Found found = under(tracing, both({SYS_openat}));
  EXPECT_EQ(found.exit, 99) << "an error";
  EXPECT_NE(found.text.find("seccomp policy denies ptrace"), std::string::npos) << found.text;
}

TEST(Policy, WithNothingLeftItSaysSo) {
  const Found found = under(tracing | filters, entries({SYS_openat}));
  EXPECT_EQ(found.exit, 99);
  EXPECT_NE(found.text.find("cannot trace process"), std::string::npos) << found.text;
}

}  // namespace
}  // namespace skep::hook::test
