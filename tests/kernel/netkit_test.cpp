// netkit: programs on both ends of a pair of devices, in a network namespace of the test's own.
//
// Both ends stay in that namespace. What is sent through a packet socket on one end runs that end's programs, which
// pass it on to the other end, where nobody wants it.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "kernel/net_programs.hpp"
#include "kernel/netlink.hpp"
#include "support.hpp"

namespace skep::kernel_test {
namespace {

constexpr const char *primary = "skep0", *peer = "skep1";
// Of include/uapi/linux/if_link.h since 6.7, which the installed header may not have.
constexpr u16 netkit_peer_info = 1;
constexpr u32 slot = 15;

Result<void> make_pair() {
  ifinfomsg device{};
  kernel::NetlinkRequest request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, device);
  request.add_text(IFLA_IFNAME, primary);
  const u32 info = request.begin(IFLA_LINKINFO | NLA_F_NESTED);
  request.add_text(IFLA_INFO_KIND, "netkit");
  const u32 data = request.begin(IFLA_INFO_DATA | NLA_F_NESTED);
  const u32 other = request.begin(netkit_peer_info | NLA_F_NESTED);
  request.add_fixed(device);
  request.add_text(IFLA_IFNAME, peer);
  for (const u32 nest : {other, data, info}) request.end(nest);
  auto netlink = SKEP_TRY(kernel::Netlink::open());
  return netlink.ask(request);
}

void bring_up(const char* name) {
  const base::Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, name);
  request.ifr_flags = IFF_UP;
  ASSERT_EQ(::ioctl(socket.get(), SIOCSIFFLAGS, &request), 0) << name << ": " << std::strerror(errno);
}

/// Three packets into one end.
void send_into(const char* name) {
  const base::Fd socket(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_protocol = htons(ETH_P_IP);
  to.sll_ifindex = static_cast<int>(::if_nametoindex(name));
  to.sll_halen = ETH_ALEN;
  char packet[40] = {0x45};
  for (int i = 0; i < 3; ++i)
    ASSERT_EQ(::sendto(socket.get(), packet, sizeof packet, 0, reinterpret_cast<sockaddr*>(&to), sizeof to), 40)
        << std::strerror(errno);
}

class Netkit : public KernelEngine {
 protected:
  void SetUp() override {
    KernelEngine::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    before_ = base::Fd(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    if (::unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "no network namespace of one's own: " << std::strerror(errno);
    entered_ = true;
    // Devices without IPv6 send nothing by themselves.
    std::ofstream("/proc/sys/net/ipv6/conf/default/disable_ipv6") << "1\n";
    const auto made = make_pair();
    if (!made && made.error().os_error == EOPNOTSUPP)
      GTEST_SKIP() << "this kernel has no netkit devices (6.7, CONFIG_NETKIT)";
    ASSERT_OK(made);
    bring_up(primary);
    bring_up(peer);
    auto spec = compile("attach");
    ASSERT_OK(spec);
    auto loaded = load(*spec, {.programs = {"on_netkit"}});
    ASSERT_OK(loaded);
    object_ = *std::move(loaded);
    program_ = *object_->program("on_netkit");
  }
  void TearDown() override {
    program_.reset();
    object_.reset();
    if (entered_) {
      ASSERT_EQ(::setns(before_.get(), CLONE_NEWNET), 0);
    }
  }

  Result<Link> attach(const std::string& hook) { return program_->attach(SKEP_TRY(AttachTarget::from_text(hook))); }
  u64 seen() const { return counter(*object_, "hits", slot); }
  /// What `skep net show` lists of the pair.
  static std::vector<kernel::NetProgram> listed() {
    auto found = kernel::find_net_programs();
    EXPECT_TRUE(found) << found.error().message;
    return found ? *found : std::vector<kernel::NetProgram>();
  }

  std::optional<Object> object_;
  std::optional<Program> program_;

 private:
  base::Fd before_;
  bool entered_ = false;
};

TEST_F(Netkit, EachEndHasItsPrograms) {
  {
    auto link = attach("netkit/primary:skep0");
    ASSERT_OK(link);
    send_into(primary);
    EXPECT_EQ(seen(), 3u);
    send_into(peer);
    EXPECT_EQ(seen(), 3u) << "the other end has a list of its own";
    const auto found = listed();
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].kind, "netkit/primary");
    EXPECT_EQ(found[0].device, primary);
    EXPECT_EQ(found[0].program_id, program_->info().id);
    EXPECT_NE(found[0].link_id, 0u);
    const auto links = backend->inspector().links();
    ASSERT_OK(links);
    const auto one = std::ranges::find(*links, found[0].link_id, &LinkInfo::id);
    ASSERT_NE(one, links->end());
    EXPECT_EQ(one->type, "netkit");
    const auto fact = std::ranges::find(one->facts, "attach_type", &Fact::name);
    ASSERT_NE(fact, one->facts.end());
    EXPECT_EQ(fact->text, "netkit_primary");
  }
  send_into(primary);
  EXPECT_EQ(seen(), 3u) << "after it is detached";
  EXPECT_TRUE(listed().empty());
}

TEST_F(Netkit, TheOtherEndIsNamedByThePrimaryDevice) {
  auto spec = compile("attach");
  ASSERT_OK(spec);
  spec->program("on_netkit")->attach = *AttachTarget::from_text("netkit/peer:skep0");
  auto object = load(*spec, {.programs = {"on_netkit"}});
  ASSERT_OK(object);
  auto link = object->program("on_netkit")->attach();
  ASSERT_OK(link);
  send_into(primary);
  EXPECT_EQ(counter(*object, "hits", slot), 0u);
  send_into(peer);
  EXPECT_EQ(counter(*object, "hits", slot), 3u);
  ASSERT_EQ(listed().size(), 1u);
  EXPECT_EQ(listed()[0].kind, "netkit/peer");
}

TEST_F(Netkit, WithoutALinkByTheVerb) {
  const u32 id = program_->info().id;
  ASSERT_OK(kernel::attach_to_device(id, primary, AttachType::netkit_primary));
  send_into(primary);
  EXPECT_EQ(seen(), 3u);
  EXPECT_EQ(kernel::attach_to_device(id, primary, AttachType::netkit_primary).error().os_error, EEXIST);
  ASSERT_OK(kernel::detach_from_device(id, primary, AttachType::netkit_primary));
  send_into(primary);
  EXPECT_EQ(seen(), 3u);
  EXPECT_EQ(kernel::detach_from_device(id, primary, AttachType::netkit_primary).error().code, Code::not_found);
}

TEST_F(Netkit, OtherDevicesAreRefusedByName) {
  const auto at_lo = attach("netkit/primary:lo");
  ASSERT_FALSE(at_lo);
  EXPECT_NE(at_lo.error().message.find("not of type netkit"), std::string::npos) << at_lo.error().message;
  const auto at_peer = attach("netkit/primary:skep1");
  ASSERT_FALSE(at_peer);
  EXPECT_NE(at_peer.error().message.find("primary device"), std::string::npos) << at_peer.error().message;
  const auto by_verb = kernel::attach_to_device(program_->info().id, peer, AttachType::netkit_primary);
  ASSERT_FALSE(by_verb);
  EXPECT_NE(by_verb.error().message.find("primary device"), std::string::npos) << by_verb.error().message;
  EXPECT_EQ(attach("netkit/primary:nowhere0").error().code, Code::not_found);
}

}  // namespace
}  // namespace skep::kernel_test
