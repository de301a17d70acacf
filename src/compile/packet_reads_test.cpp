// Which accesses are replaced, and by what.
#include "compile/packet_reads.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace skep::compile {
namespace {

constexpr std::string_view begin =
    "int f(struct __sk_buff *skb) { u8 *cursor = 0; struct ip_t *ip = cursor_advance(cursor, 20); ";

std::string rewritten(std::string_view body) {
  const std::string all = rewrite_packet_reads(std::string(begin) + std::string(body) + " }");
  return all.substr(std::min(all.size(), begin.size()), all.size() - std::min(all.size(), begin.size() + 2));
}

TEST(PacketReads, BecomeCallsWithTheFieldsPlace) {
  EXPECT_EQ(rewritten("return ip->src;"), "return skep_packet_get(skb, ip, 96, 32);");
  EXPECT_EQ(rewritten("return ip -> hlen << 2;"), "return skep_packet_get(skb, ip, 4, 4) << 2;");
  EXPECT_EQ(rewritten("return ip->foffset + ip->mf == ip->nextp;"),
            "return skep_packet_get(skb, ip, 51, 13) + skep_packet_get(skb, ip, 50, 1) == "
            "skep_packet_get(skb, ip, 72, 8);");
  EXPECT_EQ(rewritten("return m & ip->ttl && ip->ttl;"),
            "return m & skep_packet_get(skb, ip, 64, 8) && skep_packet_get(skb, ip, 64, 8);");
}

TEST(PacketReads, AssignmentsBecomeWrites) {
  EXPECT_EQ(rewritten("ip->ttl = 3; g();"), "skep_packet_set(skb, ip, 64, 8,  3); g();");
  EXPECT_EQ(rewritten("ip->ttl -= 1;"), "skep_packet_set(skb, ip, 64, 8, skep_packet_get(skb, ip, 64, 8) - ( 1));");
  EXPECT_EQ(rewritten("ip->src = ip->dst;"), "skep_packet_set(skb, ip, 96, 32,  skep_packet_get(skb, ip, 128, 32));");
  EXPECT_EQ(rewritten("incr_cksum_l3(&ip->hchecksum, a, b);"), "skep_incr_cksum_l3(skb, &ip->hchecksum, a, b);");
}

TEST(PacketReads, WhatIsNoFieldOfAHeaderStays) {
  for (const char* same : {"return q->src;", "return s.ip->src;", "return p->ip->src;", "return ip->no_such;",
                           "g(&ip->src);", "/* ip->src */ g(\"ip->src\");", "g(sizeof(*ip));"})
    EXPECT_EQ(rewritten(same), "") << same;
  EXPECT_EQ(rewritten("{ struct iphdr *ip = g(); return ip->saddr; }"), "") << "another ip";
  EXPECT_EQ(rewrite_packet_reads("int f(struct task_struct *ip_t) { return ip_t->src; }"), "");
}

TEST(PacketReads, HeadersOfTheSourceAndOtherNamesOfThePacket) {
  const std::string got = rewrite_packet_reads(
      "struct dns_t {\n  uint16_t id;\n  u16 qr : 1, opcode : 4, rest : 11;\n  unsigned char c[4];\n  unsigned last : "
      "12;\n"
      "} BPF_PACKET_HEADER;\nstruct no_t { u16 id; };\nint f(struct __sk_buff *packet, struct no_t *n) {\n"
      "  struct dns_t *dns\n= cursor_advance(c, 2);\n  return dns->opcode +\n dns\n->last + n->id; }");
  EXPECT_NE(got.find("return skep_packet_get(packet, dns, 17, 4) +\n skep_packet_get(packet, dns, 64, 12)\n + n->id;"),
            std::string::npos)
      << got;
}

/// Text of any kind neither ends nor hangs it.
TEST(PacketReads, CutAnywhere) {
  const std::string source =
      std::string(begin) + "ip->ttl += ip->src; struct x { int a[3]; unsigned b : 3, c; } BPF_PACKET_HEADER;";
  for (std::size_t n = 0; n <= source.size(); ++n) (void)rewrite_packet_reads(std::string_view(source).substr(0, n));
}

}  // namespace
}  // namespace skep::compile
