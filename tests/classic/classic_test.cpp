// The same filter and packet in the kernel (SO_ATTACH_FILTER) and in the user engine, in both translated forms.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "filters.hpp"

namespace skep::classic_test {
namespace {

constexpr const char* expressions[] = {
    "ip",
    "not ip",
    "arp or ip6",
    "tcp port 80",
    "udp and dst port 53 and not src host 10.0.0.1",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "ip[2:2] > 90 and ip[6:2] & 0x1fff = 0",
    "ip proto 17 and ip[((ip[0]&0xf)<<2)+2:2] = 443",
    "net 192.168.0.0/24",
    "greater 90 and less 120",
    "icmp or icmp6",
    "ether[0] & 1 = 0 and ip[0] & 0xf > 5",
    "portrange 1-1023",
    "len - 14 = ip[2:2]",
    "ip[8] * 3 / 2 = 96 and ip[8] % 7 = 1",
};

/// What the kernel lets pass of a packet for which the filter returned `result`.
u32 passing(u32 result, const Packet& packet) { return std::min(result, static_cast<u32>(packet.size())); }

/// Every packet through all three; an empty text when they agree.
std::string differences(const Filter& filter, const std::vector<Packet>& packets) {
  auto kernel = KernelFilter::attach(filter);
  const auto loads = UserFilter::make(filter, ProgramType::socket_filter);
  const auto classifier = UserFilter::make(filter, ProgramType::sched_cls);
  if (!kernel) return "kernel: " + kernel.error().message;
  if (!loads) return "socket_filter: " + loads.error().message;
  if (!classifier) return "sched_cls: " + classifier.error().message;
  const bool needs_skb = std::ranges::any_of(filter, [](const spec::ClassicInsn& insn) {
    return (insn.code & 0xe7) == 0x20 && insn.k >= 0xfffff000u && insn.k != 0xfffff000u + 40;
  });
  const auto pointers = needs_skb ? Result<UserFilter>() : UserFilter::make(filter, ProgramType::xdp);
  if (!pointers) return "xdp: " + pointers.error().message;
  for (std::size_t i = 0; i < packets.size(); ++i) {
    const auto expected = kernel->run(packets[i]);
    if (!expected) return "kernel: " + expected.error().message;
    const u32 result = loads->run(packets[i]);
    if (passing(result, packets[i]) != *expected)
      return fmt::format("packet {}: kernel passes {} bytes, our filter returns {}", i, *expected, result);
    if (classifier->run(packets[i]) != result) return fmt::format("packet {}: sched_cls differs", i);
    if (!needs_skb && pointers->run(packets[i]) != (result != 0 ? 2u : 1u))
      return fmt::format("packet {}: xdp gives {}, the filter returns {}", i, pointers->run(packets[i]), result);
  }
  return {};
}

std::string text_of(const Filter& filter) {
  std::string text;
  for (u32 i = 0; i < filter.size(); ++i) text += fmt::format("({:03}) {}\n", i, spec::print_classic(filter, i));
  return text;
}

TEST(Classic, TcpdumpsExpressions) {
  const auto packets = sample_packets();
  for (const char* expression : expressions) {
    const auto filter = compile_expression(expression);
    if (!filter && filter.error().code == Code::not_found)
      GTEST_SKIP() << "tcpdump is not installed (Debian package tcpdump): expressions are left out";
    ASSERT_TRUE(filter) << filter.error().message;
    EXPECT_EQ(differences(*filter, packets), "") << expression << "\n" << text_of(*filter);
  }
}

TEST(Classic, RandomFilters) {
  const char* asked = std::getenv("SKEP_CLASSIC_FILTERS");
  const int count = asked != nullptr ? std::atoi(asked) : 3000;
  const u64 seed = std::getenv("SKEP_SEED") != nullptr ? std::strtoull(std::getenv("SKEP_SEED"), nullptr, 0) : 20240817;
  std::mt19937_64 random(seed);
  const auto packets = sample_packets();
  int passed = 0;
  for (int i = 0; i < count; ++i) {
    const Filter filter = random_filter(random, 96);
    const auto checked = spec::check_classic(filter);
    ASSERT_TRUE(checked) << checked.error().message << "\n" << text_of(filter);
    ASSERT_EQ(differences(filter, packets), "") << "seed " << seed << ", filter " << i << "\n" << text_of(filter);
    ++passed;
  }
  EXPECT_EQ(passed, count);
}

/// Damaged filters: what check_classic() says of them is what the kernel says.
TEST(Classic, ChecksAsTheKernelChecks) {
  std::mt19937_64 random(99);
  int accepted = 0, refused = 0;
  for (int i = 0; i < 20000; ++i) {
    Filter filter = random_filter(random, 96);
    const std::size_t at = random() % filter.size();
    switch (random() % 4) {
      case 0:
        filter[at].code = static_cast<u16>(random() % 300);
        break;
      case 1:
        filter[at].k = static_cast<u32>(random() % 3 == 0 ? random() : random() % 40);
        break;
      case 2:
        filter[at].jt = static_cast<u8>(random());
        break;
      default:
        filter.resize(at + 1);
    }
    const auto kernel = KernelFilter::attach(filter);
    const bool ours = spec::check_classic(filter).has_value();
    ASSERT_EQ(ours, kernel.has_value()) << text_of(filter) << (ours ? "" : spec::check_classic(filter).error().message);
    ++(ours ? accepted : refused);
  }
  EXPECT_GT(accepted, 1000);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace skep::classic_test
