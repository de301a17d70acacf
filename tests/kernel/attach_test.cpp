// Every hook beyond tracepoints: a program is attached, sees what the test does, and nothing after it is detached.
//
// The network is a namespace that each test makes and leaves; control
// groups are made under the machine's cgroup2 mount and hold one child. Nothing of the machine is touched.
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "attach_support.hpp"
#include "kernel/features.hpp"

namespace skep::kernel_test {
namespace {

TEST_F(Attach, Sampling) {
  PREPARE("on_clock");
  const auto work = [] {
    volatile u64 sum = 0;
    const auto begin = ::clock();
    while (::clock() - begin < CLOCKS_PER_SEC / 5) sum = sum + 1;
  };
  const u64 samples = counted("perf_event:cpu-clock:200hz", 4, work);
  EXPECT_GE(samples, 2u) << "200 samples a second in 0.2 s of work; an interpreted machine's clock comes late";
  EXPECT_LE(samples, 400u);
  // A thread that runs already is a part of the process.
  const u64 before = seen(4);
  std::atomic<bool> stop = false;
  std::thread busy([&] {
    while (!stop) {
    }
  });
  {
    auto link = attach("perf_event:cpu-clock:200hz", ::getpid());
    ASSERT_OK(link);
    eventually([&] { return seen(4) >= before + 5; });  // on a busy machine the thread is not always on a CPU
  }
  stop = true;
  busy.join();
  EXPECT_GE(seen(4), before + 5);
  EXPECT_EQ(attach("perf_event:cpu-clock").error().code, Code::invalid_argument);
  EXPECT_NE(attach("perf_event:nothing:99hz").error().message.find("cpu-clock"), std::string::npos);
  for (const char* hardware : {"perf_event:cpu-cycles:99hz", "perf_event:LLC-load-misses:1000"})
    if (const auto link = attach(hardware); !link) {
      const std::string& said = link.error().message;
      EXPECT_NE(said.find("no hardware counters") == said.npos ? said.find("CPU's counters") : 0, said.npos) << said;
    }
}

TEST_F(Attach, KernelFunctionsByPattern) {
  PREPARE("on_function");
  ATTACH_OR_SKIP(link, "kprobe:__x64_sys_getpgi*");
  ::syscall(SYS_getpgid, 0), ::syscall(SYS_getpgid, 0);
  EXPECT_EQ(seen(50), 2u);
  EXPECT_EQ(attach("kprobe:no_such_function_*").error().code, Code::not_found);
  EXPECT_EQ(attach("kprobe:no_such_function").error().code, Code::not_found);
}

TEST_F(Attach, APatternIsOneLinkWhereTheProgramReadsNoMoreThanThatHandsOver) {
  const std::string both = "__x64_sys_[gs]etpgid";
  u64 results = 0;
  const auto call = [&] {
    const long group = ::syscall(SYS_getpgid, 0), set = ::syscall(SYS_setpgid, 0, group);
    results = static_cast<u64>(group + (set < 0 ? -errno : set));
  };
  const bool multi = kernel::Features().kprobe_multi();
  {
    PREPARE("on_argument");
    ATTACH_OR_SKIP(link, "kprobe:" + both);
    call();
    EXPECT_EQ(seen(60), 2u);
    const auto shown = links();
    if (multi) {
      ASSERT_EQ(shown.size(), 1u);
      EXPECT_EQ(shown[0].type, "kprobe_multi");
      EXPECT_EQ(fact(shown[0], "func_cnt"), "2");
    }
  }
  {
    PREPARE("on_result");
    ATTACH_OR_SKIP(link, "kretprobe:" + both);
    call();
    EXPECT_EQ(seen(62), results);
    if (multi) {
      EXPECT_EQ(links().size(), 1u);
    }
  }
  PREPARE("on_register");
  ATTACH_OR_SKIP(link, "kprobe:" + both);
  call();
  EXPECT_GE(seen(61), 2u);
  EXPECT_TRUE(std::ranges::none_of(links(), [](const LinkInfo& one) { return one.type == "kprobe_multi"; }));
}

TEST_F(Attach, PlacesOfAKernelProbeHaveTheirCookies) {
  PREPARE("on_function_with_cookie");
  auto first = attach("kprobe:__x64_sys_getpgid", 0, 7);
  if (!first && first.error().code == Code::unsupported) GTEST_SKIP() << first.error().message;
  ASSERT_OK(first);
  const auto second = attach("kprobe:__x64_sys_getppid", 0, 0x1'0000'0000);
  ASSERT_OK(second);
  const auto pattern = attach("kprobe:__x64_sys_getsi*", 0, 100);
  EXPECT_TRUE(pattern || !kernel::Features().kprobes());
  ::syscall(SYS_getpgid, 0), ::syscall(SYS_getpgid, 0), ::syscall(SYS_getppid), ::syscall(SYS_getsid, 0);
  EXPECT_EQ(seen(63), 2 * 7 + 0x1'0000'0000 + (pattern ? 100 : 0));
}

TEST_F(Attach, ManyKernelFunctionsByOneLink) {
  PREPARE("on_functions");
  ATTACH_OR_SKIP(link, "kprobe.multi:__x64_sys_getpg?d");
  ::syscall(SYS_getsid, 0), ::syscall(SYS_getpgid, 0);
  EXPECT_EQ(seen(51), 1u);
  EXPECT_EQ(attach("kprobe.multi:no_such_function").error().code, Code::not_found);
  PREPARE("on_returns");
  ATTACH_OR_SKIP(returns, "kretprobe.multi:__x64_sys_getpgid");
  ::syscall(SYS_getpgid, 0);
  EXPECT_EQ(seen(52), 1u);
}

TEST_F(Attach, ASessionSeesCallAndReturn) {
  PREPARE("on_session");
  {
    ATTACH_OR_SKIP(link, "kprobe.session:__x64_sys_getpgid");
    ::syscall(SYS_getpgid, 0);
  }
  ::syscall(SYS_getpgid, 0);
  EXPECT_EQ(seen(58), 2u);
}

TEST_F(Attach, Trampolines) {
  for (const auto& [program, slot] : {std::pair("on_entry", 53u), std::pair("on_exit", 54u)}) {
    PREPARE(program);
    {
      auto link = program_->attach();
      ASSERT_OK(link);
      ::syscall(SYS_getpgid, 0);
    }
    ::syscall(SYS_getpgid, 0);
    EXPECT_EQ(seen(slot), 1u) << program;
  }
  PREPARE("on_open");
  {
    auto link = program_->attach();
    if (!link && link.error().code == Code::unsupported) GTEST_SKIP() << link.error().message;
    ASSERT_OK(link);
    ::close(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  }
  EXPECT_EQ(seen(55), 1u);
}

TEST_F(Attach, OneProgramSeesBothEndsOfACall) {
  PREPARE("on_both_ends");
  {
    auto link = program_->attach();
    ASSERT_OK(link);
    ::syscall(SYS_getpgid, 0);
  }
  ::syscall(SYS_getpgid, 0);
  EXPECT_EQ(seen(56), 2u);
}

TEST_F(Attach, WhatIsNoInfraredReceiverIsRefused) {
  PREPARE("on_light");
  EXPECT_EQ(attach("lirc_mode2:/dev/no_such_receiver").error().code, Code::not_found);
  const auto link = attach("lirc_mode2:/dev/null");
  ASSERT_FALSE(link);
  EXPECT_NE(link.error().message.find("no infrared receiver"), std::string::npos) << link.error().message;
}

TEST_F(Attach, AResultIsChanged) {
  PREPARE("changes_result");
  const auto link = program_->attach();
  ASSERT_OK(link);
  EXPECT_EQ(::syscall(SYS_getpgid, ::getpid()), -1);
  EXPECT_EQ(errno, 7);
}

/// A network namespace of the test's own, left again at its end.
class Network : public Attach {
 protected:
  void SetUp() override {
    Attach::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    before_ = ::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (::unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "no network namespace of one's own: " << std::strerror(errno);
    const int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP;
    ASSERT_EQ(::ioctl(socket, SIOCSIFFLAGS, &request), 0);
    ::close(socket);
  }
  void TearDown() override {
    program_.reset();
    object_.reset();
    if (before_ >= 0) {
      ASSERT_EQ(::setns(before_, CLONE_NEWNET), 0);
      ::close(before_);
    }
  }

  /// Sends three datagrams to ourselves over lo.
  static void talk() {
    const int receiver = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(::bind(receiver, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    socklen_t bytes = sizeof address;
    ASSERT_EQ(::getsockname(receiver, reinterpret_cast<sockaddr*>(&address), &bytes), 0);
    const int sender = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    char data[16] = "hello";
    for (int i = 0; i < 3; ++i)
      ASSERT_EQ(::sendto(sender, data, 5, 0, reinterpret_cast<sockaddr*>(&address), sizeof address), 5);
    for (int i = 0; i < 3; ++i)
      ASSERT_EQ(::recvfrom(receiver, data, sizeof data, 0, reinterpret_cast<sockaddr*>(&address), &bytes), 5);
    ::close(sender);
    ::close(receiver);
  }

 private:
  int before_ = -1;
};

TEST_F(Network, Xdp) {
  PREPARE("on_xdp");
  EXPECT_EQ(counted("xdp:lo", 10, talk), 3u);
  EXPECT_EQ(counted("xdp:lo:generic", 10, talk), 6u);
  const auto native = attach("xdp:lo:native");
  ASSERT_FALSE(native);
  EXPECT_NE(native.error().message.find("native"), std::string::npos) << native.error().message;
  auto one = attach("xdp:lo");
  ASSERT_OK(one);
  const auto two = attach("xdp:lo");
  ASSERT_FALSE(two);
  EXPECT_NE(two.error().message.find("another program"), std::string::npos) << two.error().message;
  EXPECT_EQ(attach("xdp:nowhere0").error().code, Code::not_found);
  EXPECT_EQ(attach("xdp:lo:fast").error().code, Code::invalid_argument) << "a way that there is not, no label of lo";
  EXPECT_NE(attach("xdp").error().message.find("INTERFACE"), std::string::npos);
}

TEST_F(Network, XdpWithFragments) {
  PREPARE("on_xdp_frags");
  EXPECT_EQ(counted("xdp.frags:lo", 11, talk), 3u);
}

TEST_F(Network, TrafficControl) {
  PREPARE("on_tc");
  EXPECT_EQ(counted("tc:ingress:lo", 12, talk), 3u);
  EXPECT_EQ(counted("tc:egress:lo", 12, talk), 6u);
  EXPECT_NE(attach("tc:lo").error().message.find("ingress:INTERFACE"), std::string::npos);
  PREPARE("on_tcx_ingress");
  EXPECT_EQ(counted("tcx/ingress:lo", 13, talk), 3u);
  {
    auto one = attach("tcx/ingress:lo"), two = attach("tcx/ingress:lo");
    ASSERT_OK(one);
    if (two) {
      EXPECT_NE(backend->notes().find("no links for this hook"), std::string::npos) << "tcx takes a program once";
    }
  }
  PREPARE("on_tcx_egress");
  EXPECT_EQ(counted("tcx/egress:lo", 14, talk), 3u);
}

TEST_F(Network, Netfilter) {
  PREPARE("on_netfilter");
  auto link = attach("netfilter:ipv4:local_in:10");
  if (!link && link.error().message.find("6.4") != std::string::npos) GTEST_SKIP() << link.error().message;
  ASSERT_OK(link);
  talk();
  EXPECT_EQ(seen(16), 3u);
  link->detach();
  talk();
  EXPECT_EQ(seen(16), 3u);
  EXPECT_EQ(attach("netfilter:ipv4:nowhere").error().code, Code::invalid_argument);
}

TEST_F(Network, Namespaces) {
  PREPARE("on_sk_lookup");
  EXPECT_GE(counted("sk_lookup", 17, talk), 3u);
  EXPECT_EQ(attach("sk_lookup:nowhere").error().code, Code::not_found);
  EXPECT_NE(attach("sk_lookup:/proc/self/status").error().message.find("expected a name of"), std::string::npos);
  PREPARE("on_flow_dissector");
  auto link = attach("flow_dissector");
  // Where a dissector serves every namespace, others have none of their own.
  if (!link && link.error().os_error == EEXIST) GTEST_SKIP() << link.error().message;
  ASSERT_OK(link);
}

TEST_F(Network, Sockets) {
  PREPARE("on_socket");
  EXPECT_GE(counted("socket:lo", 19, talk), 3u);
  const int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  {
    ASSERT_OK(attach("socket:fd:" + std::to_string(socket)));
  }
  ::close(socket);
  EXPECT_FALSE(attach("socket:fd:99999"));
  PREPARE("on_stream");
  {
    ASSERT_OK(attach("sk_skb/stream_verdict:sockets"));
  }
  {
    ASSERT_OK(attach("sk_skb/stream_verdict:sockets")) << "it was detached before";
  }
  EXPECT_EQ(attach("sk_skb/stream_verdict:hits").has_value(), false) << "no map of sockets";
  EXPECT_EQ(attach("sk_skb/stream_verdict:nowhere").error().code, Code::not_found);
  PREPARE("on_data");  // its section does not say as what
  for (const char* as : {"sk_skb:stream_parser:sockets", "sk_skb:stream_verdict:sockets"}) ASSERT_OK(attach(as)) << as;
  for (const char* wrong : {"sk_skb:sockets", "sk_skb:nothing:sockets", "sk_skb:verdict"})
    EXPECT_EQ(attach(wrong).error().code, Code::invalid_argument) << wrong;
  PREPARE("on_message");
  {
    ASSERT_OK(attach("sk_msg:sockets"));
  }
}

TEST_F(Network, ReuseportChoosesASocket) {
  PREPARE("on_reuseport");
  const int one = 1;
  const int receiver = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::setsockopt(receiver, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one), 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(7777);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(receiver, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  const auto send = [&] {
    const int sender = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ::sendto(sender, "x", 1, 0, reinterpret_cast<sockaddr*>(&address), sizeof address);
    ::close(sender);
  };
  EXPECT_EQ(counted("sk_reuseport:fd:" + std::to_string(receiver), 20, send), 1u);
  ::close(receiver);
}

TEST_F(Network, ACongestionControlIsRegistered) {
  auto spec = compile("congestion");
  ASSERT_OK(spec);
  auto object = load(*spec);
  if (!object && object.error().code == Code::unsupported) GTEST_SKIP() << object.error().message;
  ASSERT_OK(object);
  const auto chosen = [] {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int status = ::setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, "skep_still", 10);
    ::close(socket);
    return status == 0;
  };
  EXPECT_FALSE(chosen());
  {
    std::vector<Link> links;
    for (Program& program : object->programs()) {
      auto link = program.attach();
      ASSERT_OK(link);
      links.push_back(*std::move(link));
    }
    EXPECT_TRUE(chosen()) << "one registration, whichever of its programs is attached";
    auto other = load(*spec);
    ASSERT_OK(other);
    const auto twice = other->programs()[0].attach();
    ASSERT_FALSE(twice);
    EXPECT_NE(twice.error().message.find("registered"), std::string::npos) << twice.error().message;
  }
  EXPECT_FALSE(chosen()) << "unregistered with its links";
}

/// A control group of the test's own, with this process's children in it as they choose.
class Groups : public Network {
 protected:
  void SetUp() override {
    Network::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    const std::string root = cgroup2_mount();
    if (root.empty()) GTEST_SKIP() << "no cgroup2 file system is mounted";
    path_ = root + "/skep-test-" + std::to_string(::getpid());
    if (::mkdir(path_.c_str(), 0755) != 0) GTEST_SKIP() << "cannot make a control group: " << std::strerror(errno);
  }
  void TearDown() override {
    if (!path_.empty()) {
      for (int tries = 0; ::rmdir(path_.c_str()) != 0 && errno == EBUSY && tries < 100; ++tries) ::usleep(10000);
    }
    Network::TearDown();
  }
  static std::string cgroup2_mount() {
    std::ifstream mounts("/proc/self/mounts");
    for (std::string device, where, type, rest; mounts >> device >> where >> type && std::getline(mounts, rest);)
      if (type == "cgroup2") return where;
    return {};
  }
  /// Does `act` in a child that is in the group.
  void in_group(const std::function<void()>& act) const {
    const int pid = ::fork();
    if (pid == 0) {
      std::ofstream(path_ + "/cgroup.procs") << ::getpid() << std::flush;
      const bool failed_before = HasFailure();
      act();
      ::_exit(HasFailure() && !failed_before ? 1 : 0);
    }
    int status = -1;
    ::waitpid(pid, &status, 0);
    EXPECT_EQ(status, 0);
  }
  u64 counted_in_group(const std::string& kind, u32 slot, const std::function<void()>& act) {
    return counted(kind + ":" + path_, slot, [&] { in_group(act); });
  }

  std::string path_;
};

/// A connection to ourselves, with its options looked at.
void connect_to_ourselves() {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof address;
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener, 1), 0);
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &bytes), 0);
  const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::getpeername(client, reinterpret_cast<sockaddr*>(&address), &bytes), 0);
  int value = 1;
  socklen_t value_bytes = sizeof value;
  ASSERT_EQ(::setsockopt(client, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value), 0);
  ASSERT_EQ(::getsockopt(client, SOL_SOCKET, SO_KEEPALIVE, &value, &value_bytes), 0);
  ::close(client);
  ::close(listener);
}

struct GroupHook {
  const char* program;
  const char* kind;
  u32 slot;
  bool connects;  ///< seen by connect_to_ourselves(), else by talk()
  u64 at_least;
};
constexpr GroupHook group_hooks[] = {
    {"on_sockops", "sockops", 30, true, 1},
    {"on_skb_ingress", "cgroup_skb/ingress", 31, false, 3},
    {"on_skb", "cgroup/skb:egress", 32, false, 3},
    {"on_sock", "cgroup/sock_create", 33, false, 2},
    {"on_release", "cgroup/sock_release", 34, false, 2},
    {"on_post_bind", "cgroup/post_bind4", 35, false, 1},
    {"on_bind", "cgroup/bind4", 36, false, 1},
    {"on_connect", "cgroup/connect4", 37, true, 1},
    {"on_sendmsg", "cgroup/sendmsg4", 38, false, 3},
    {"on_recvmsg", "cgroup/recvmsg4", 39, false, 3},
    {"on_getsockname", "cgroup/getsockname4", 40, false, 1},
    {"on_getpeername", "cgroup/getpeername4", 41, true, 1},
    {"on_getsockopt", "cgroup/getsockopt", 42, true, 1},
    {"on_setsockopt", "cgroup/setsockopt", 43, true, 1},
};

TEST_F(Groups, EveryHookOfAControlGroup) {
  for (const GroupHook& hook : group_hooks) {
    SCOPED_TRACE(hook.kind);
    PREPARE(hook.program);
    EXPECT_GE(counted_in_group(hook.kind, hook.slot, hook.connects ? connect_to_ourselves : talk), hook.at_least);
  }
}

TEST_F(Groups, SysctlsAndDevices) {
  PREPARE("on_sysctl");
  const auto read_sysctl = [] { std::ifstream("/proc/sys/kernel/ostype").get(); };
  EXPECT_GE(counted_in_group("cgroup/sysctl", 44, read_sysctl), 1u);
  PREPARE("on_device");
  const auto open_device = [] { ::close(::open("/dev/null", O_RDONLY | O_CLOEXEC)); };
  EXPECT_GE(counted_in_group("cgroup/dev", 45, open_device), 1u);
}

TEST_F(Groups, SecurityHooks) {
  PREPARE("on_group_socket");
  const auto open_socket = [] { ::close(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)); };
  {
    ATTACH_OR_SKIP(link, "lsm_cgroup:socket_create:" + path_);
    in_group(open_socket);
    EXPECT_EQ(seen(57), 1u);
    open_socket();
    EXPECT_EQ(seen(57), 1u) << "this process is not in the group";
  }
  in_group(open_socket);
  EXPECT_EQ(seen(57), 1u);
  EXPECT_EQ(attach("lsm_cgroup:socket_create").error().code, Code::invalid_argument);
  EXPECT_EQ(attach("lsm_cgroup:socket_create:" + path_ + "/nowhere").error().code, Code::not_found);
}

TEST_F(Groups, AGroupThatIsNoneSaysSo) {
  PREPARE("on_connect");
  EXPECT_EQ(attach("cgroup/connect4:" + path_ + "/nowhere").error().code, Code::not_found);
  EXPECT_NE(attach("cgroup/connect4:/tmp").error().message.find("cgroup2"), std::string::npos);
  EXPECT_NE(attach("cgroup/connect4").error().message.find("CGROUP"), std::string::npos);
}

std::string output_of(Link& link) {
  std::string text;
  const auto read = link.read_output([&](std::string_view piece) {
    text += piece;
    return true;
  });
  EXPECT_TRUE(read) << read.error().message;
  return text;
}

TEST_F(Attach, IteratorsWriteWhatTheyWalkOver) {
  auto spec = compile("iterators");
  ASSERT_OK(spec);
  auto object = load(*spec);
  ASSERT_OK(object);
  for (u32 key = 0; key < 4; ++key) {
    const u64 value = key * key;
    ASSERT_OK(object->map("numbers")->update(std::as_bytes(std::span(&key, 1)), std::as_bytes(std::span(&value, 1))));
  }
  auto all = object->program("tasks")->attach();
  ASSERT_OK(all);
  const std::string ourselves = std::to_string(::getpid()) + " of " + std::to_string(::getpid()) + "\n";
  EXPECT_NE(output_of(*all).find(ourselves), std::string::npos);
  auto one = object->program("tasks")->attach(*AttachTarget::from_text("iter:task:" + std::to_string(::getpid())));
  if (one || kernel::Features::version_code() >= (6u << 16 | 1u << 8)) {
    ASSERT_OK(one);
    const std::string threads = output_of(*one);
    EXPECT_NE(threads.find(ourselves), std::string::npos);
    EXPECT_NE(threads.find("1 of 1\n"), 0u) << "process 1 is not ours: " << threads;
  } else {
    EXPECT_NE(one.error().message.find("before Linux 6.1"), std::string::npos) << one.error().message;
  }
  auto map = object->program("elements")->attach(*AttachTarget::from_text("iter:bpf_map_elem:numbers"));
  ASSERT_OK(map);
  EXPECT_EQ(output_of(*map), "0=0\n1=1\n2=4\n3=9\n");
  EXPECT_EQ(output_of(*map), "0=0\n1=1\n2=4\n3=9\n") << "each reading is a walk of its own";
  const auto nameless = object->program("elements")->attach();
  ASSERT_FALSE(nameless);
  EXPECT_NE(nameless.error().message.find("iter:bpf_map_elem:MAP"), std::string::npos) << nameless.error().message;
}

TEST_F(Attach, OneFunctionOfAProgramReplacesAnother) {
  auto spec = compile("attach");
  ASSERT_OK(spec);
  auto object = load(*spec, {.programs = {"calls_replaceable", "replacement"}});
  ASSERT_OK(object);
  auto outer = *object->program("calls_replaceable");
  const TestRun packet{.data = std::vector<std::byte>(64)};
  EXPECT_EQ(outer.test_run(packet)->result, 5u);
  const std::string place = "freplace:" + std::to_string(outer.info().id) + ":";
  {
    auto link = object->program("replacement")->attach(*AttachTarget::from_text(place + "replaceable"));
    if (!link && link.error().os_error == EPERM) GTEST_SKIP() << link.error().message;
    ASSERT_TRUE(link) << link.error().message << "\n" << backend->notes();
    EXPECT_EQ(outer.test_run(packet)->result, 9u);
  }
  EXPECT_EQ(outer.test_run(packet)->result, 5u);
  const auto missing = object->program("replacement")->attach(*AttachTarget::from_text(place + "nothing"));
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("no function \"nothing\""), std::string::npos) << missing.error().message;
}

TEST_F(Attach, ProgramsThatAreAttachedByOthersSayByWhom) {
  PREPARE("on_call");
  EXPECT_NE(attach("syscall").error().message.find("test run"), std::string::npos);
  PREPARE("on_route");
  EXPECT_NE(attach("lwt_in").error().message.find("ip route"), std::string::npos);
}

}  // namespace
}  // namespace skep::kernel_test
