// Inspection from another process while programs run, by friends and by foes.
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <random>
#include <thread>

#include "support.hpp"
#include "user/control/connection.hpp"
#include "user/control/protocol.hpp"

namespace skep {
namespace {

using namespace std::chrono_literals;
namespace control = user::control;

/// A process that runs hello on a loop of commands until the file `stop` appears.
class HostProcess {
 public:
  explicit HostProcess(const test::Scratch& scratch) : stop_(scratch.path() / "stop") {
    const ObjectSpec spec = test::program_object("hello");
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that is killed leaves no host behind
    ::_exit(serve(spec));
  }
  ~HostProcess() {
    if (pid_ > 0) {
      std::ofstream(stop_) << "";
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }
  /// Its exit status after an orderly end.
  int finish() {
    std::ofstream(stop_) << "";
    int status = -1;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }
  void kill() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    std::ofstream(stop_) << "";
    pid_ = -1;
  }
  int pid() const { return pid_; }

 private:
  int serve(const ObjectSpec& spec) const {
    auto engine = user_backend();
    if (!engine) return 10;
    auto object = (*engine)->load(spec);
    if (!object) return 11;
    auto link = object->programs().front().attach();
    if (!link) return 12;
    // Bounded in itself: a test that is killed leaves no loop behind for long.
    const std::string loop =
        "i=0; while [ ! -e " + stop_.string() + " ] && [ $((i += 1)) -lt 20000 ]; do /bin/true; done; exit 0";
    const auto result = (*engine)->run({.command = {"sh", "-c", loop}});
    return result && result->exited && result->wait_status == 0 ? 0 : 13;
  }
  std::filesystem::path stop_;
  pid_t pid_ = -1;
};

/// The host that is process `pid`, once it has a program: tests beside this one have hosts of their own.
std::unique_ptr<Inspector> host_of(pid_t pid) {
  for (auto& host : user_hosts()) {
    const auto programs = host->programs();
    if (programs && !programs->empty() && programs->front().host_pid == pid) return std::move(host);
  }
  return nullptr;
}

/// The same, once its program runs.
std::unique_ptr<Inspector> wait_for_host(pid_t pid) {
  for (int i = 0; i < 500; ++i) {
    if (auto host = host_of(pid))
      if (const auto programs = host->programs(); programs && programs->at(0).run_count > 2) return host;
    std::this_thread::sleep_for(10ms);
  }
  return nullptr;
}

u64 run_count(Inspector& host) {
  const auto programs = host.programs();
  return programs && !programs->empty() ? programs->front().run_count : 0;
}

bool keeps_running(Inspector& host) {
  const u64 before = run_count(host);
  for (int i = 0; i < 300; ++i) {
    if (run_count(host) > before) return true;
    std::this_thread::sleep_for(10ms);
  }
  return false;
}

TEST(UserControl, AnotherProcessSeesProgramsMapsAndValues) {
  SKEP_NEED_CLANG();
  const test::Scratch scratch;
  HostProcess process(scratch);
  const auto host = wait_for_host(process.pid());
  ASSERT_NE(host, nullptr);
  const auto programs = host->programs().value();
  ASSERT_EQ(programs.size(), 1u);
  EXPECT_EQ(programs[0].name, "hello");
  EXPECT_EQ(programs[0].host_pid, process.pid());
  const auto code = host->program_code(programs[0].id);
  ASSERT_TRUE(code) << code.error().message;
  EXPECT_EQ(code->insns.size() * 8, programs[0].bytes_xlated);
  EXPECT_TRUE(host->btf(programs[0].btf_id));
  const auto links = host->links().value();
  ASSERT_EQ(links.size(), 1u);
  EXPECT_EQ(links[0].program_id, programs[0].id);
  EXPECT_NE(links[0].target.find("execve"), std::string::npos) << links[0].target;

  u32 table_id = 0;
  const auto maps = host->maps().value();
  for (const auto& map : maps)
    if (map.name == "counter_table") table_id = map.id;
  const Map table = host->map(table_id).value();
  const u64 uid = ::getuid();
  const u64 first = table.get<u64>(uid).value();
  EXPECT_GT(first, 0u);
  // Written from here, seen by the program there.
  ASSERT_TRUE(table.update(test::bytes(uid), test::bytes(u64{1000000})));
  EXPECT_TRUE(keeps_running(*host));
  EXPECT_GT(table.get<u64>(uid).value(), 1000000u);
  const auto key = table.next_key(std::nullopt).value();
  ASSERT_TRUE(key);
  EXPECT_EQ(key->size(), 8u);
  EXPECT_EQ(process.finish(), 0);
  EXPECT_EQ(host_of(programs[0].host_pid), nullptr) << "the socket goes with its host";
  EXPECT_TRUE(std::filesystem::is_empty(scratch.path() / "skep"));
}

TEST(UserControl, KilledHostsLeaveNothingForLong) {
  SKEP_NEED_CLANG();
  const test::Scratch scratch;
  HostProcess process(scratch);
  ASSERT_NE(wait_for_host(process.pid()), nullptr);
  const pid_t killed = process.pid();
  process.kill();
  // What it traced goes on and ends by itself; its socket has no listener any more.
  // Clients clean up what nobody listens at, which is when that has closed its files.
  bool gone = false;
  for (int i = 0; i < 500 && !gone; ++i, std::this_thread::sleep_for(10ms))
    gone = host_of(killed) == nullptr && std::filesystem::is_empty(scratch.path() / "skep");
  EXPECT_TRUE(gone);
}

TEST(UserControl, HostileClientsDoNotDisturbARun) {
  SKEP_NEED_CLANG();
  const test::Scratch scratch;
  HostProcess process(scratch);
  const auto host = wait_for_host(process.pid());
  ASSERT_NE(host, nullptr);
  const std::string socket = (scratch.path() / "skep" / (std::to_string(process.pid()) + ".sock")).string();
  const auto connect = [&] {
    while (true) {
      auto fd = control::connect_to(socket);
      if (fd || fd.error().code != Code::timed_out) return std::move(fd).value();
      std::this_thread::sleep_for(1ms);
    }
  };
  std::mt19937 random(77);
  std::vector<base::Fd> crowd;
  const auto dump = control::encode({.op = control::Op::programs});
  for (int i = 0; i < 1000; ++i) {
    crowd.push_back(connect());
    std::vector<u8> noise(random() % 512 + 1);
    for (u8& byte : noise) byte = static_cast<u8>(random());
    control::Header header{.body_bytes = 0x7fffffff, .kind = 1};
    switch (i % 5) {
      case 0:  // random bytes
        ::send(crowd.back().get(), noise.data(), noise.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
      case 1:  // a huge length
        ::send(crowd.back().get(), &header, sizeof header, MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
      case 2:  // half a frame
        ::send(crowd.back().get(), dump.data(), dump.size() / 2, MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
      case 3:  // many questions, no interest in answers
        for (int n = 0; n < 100; ++n) ::send(crowd.back().get(), dump.data(), dump.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
      default:  // silence
        break;
    }
  }
  EXPECT_TRUE(keeps_running(*host));
  EXPECT_TRUE(wait_for_host(process.pid()));
  crowd.clear();
  EXPECT_EQ(process.finish(), 0) << "the traced command ended as it would have";
}

TEST(UserControl, OtherUsersSeeNothing) {
  SKEP_NEED_CLANG();
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to become another user";
  const test::Scratch scratch;
  HostProcess process(scratch);
  ASSERT_NE(wait_for_host(process.pid()), nullptr);
  const std::string socket = (scratch.path() / "skep" / (std::to_string(process.pid()) + ".sock")).string();
  EXPECT_EQ(test::in_process(65534,
                             [&]() -> std::string {
                               SKEP_EXPECT(host_of(process.pid()) == nullptr);
                               SKEP_EXPECT(!control::connect_to(socket));
                               return "";
                             }),
            "");
  EXPECT_EQ(process.finish(), 0);
}

}  // namespace
}  // namespace skep
