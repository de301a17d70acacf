// Packet helpers beside the kernel's: random programs that push, pop, load, store and redirect, run by both engines on
// the same packets. What the program saw (every answer of every helper, every field), the packet afterwards and the
// verdict must be equal.
//
// A program keeps a checksum of all it saw in r9 and returns it. Sequences come from a printed seed.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <random>
#include <skep/backend.hpp>
#include <skep/insn.hpp>
#include <string>
#include <vector>

#include "catalog/helpers.hpp"

namespace skep {
namespace {

using catalog::HelperId;
using Bytes = std::vector<std::byte>;

/// Builds a program step by step. r6 is the context, r9 the checksum, r10-64 a buffer.
class Builder {
 public:
  Builder() {
    add(0xbf, 6, 1, 0, 0);
    set(9, 17);
    for (s16 at = -64; at < 0; at = static_cast<s16>(at + 8)) add(0x7a, 10, 0, at, 0x01020304 * (at + 70));
  }

  /// The kernel keeps 64 bytes before an skb. When they are used up it moves the packet, and "nobody said where the
  /// transport header is" then becomes a place, which bpf_skb_change_tail() believes: not compared behind that.
  u64 pushed = 0;
  /// The packet may be shorter than its headers: bpf_skb_adjust_room() then moves bytes behind its end.
  bool shortened = false;

  /// What the program does, for a failure's message.
  const std::string& text() const { return text_; }

  void set(u8 reg, u64 value) {
    if (reg != 9) text_ += " r" + std::to_string(reg) + "=" + std::to_string(value);
    add(0x18, reg, 0, 0, static_cast<s32>(value));
    add(0, 0, 0, 0, static_cast<s32>(value >> 32));
  }
  void buffer_in(u8 reg) {
    add(0xbf, reg, 10, 0, 0);
    add(0x07, reg, 0, 0, -64);
  }
  /// r9 = r9 * 31 + reg, of 32 bits: helpers answer with numbers of that size.
  void see(u8 reg) {
    add(0x24, 9, 0, 0, 31);
    add(0x0c, 9, reg, 0, 0);
  }
  void call(HelperId id) {
    text_.append(" ").append(catalog::helper(static_cast<u32>(id))->name).append(";");
    add(0x85, 0, 0, 0, static_cast<s32>(id));
    see(0);
  }
  void context_in_r1() { add(0xbf, 1, 6, 0, 0); }
  void see_field(s16 offset) {
    add(0x61, 0, 6, offset, 0);
    see(0);
  }
  void see_buffer() {
    for (s16 at = -64; at < 0; at = static_cast<s16>(at + 8)) {
      add(0x79, 0, 10, at, 0);
      see(0);
      add(0x77, 0, 0, 0, 32);
      see(0);
    }
  }
  /// data_end - data, from the two pointers at these offsets of the context.
  void see_length(s16 data, s16 end) {
    add(0x61, 0, 6, end, 0);
    add(0x61, 1, 6, data, 0);
    add(0x1f, 0, 1, 0, 0);
    see(0);
  }
  std::vector<Insn> finish() {
    add(0xbc, 0, 9, 0, 0);
    add(0x95, 0, 0, 0, 0);
    return insns_;
  }

 private:
  void add(u8 opcode, u8 dst, u8 src, s16 offset, s32 immediate) {
    Insn insn{};
    insn.code = opcode;
    insn.dst = dst;
    insn.src = src;
    insn.off = offset;
    insn.imm = immediate;
    insns_.push_back(insn);
  }
  std::vector<Insn> insns_;
  std::string text_;
};

using Random = std::mt19937_64;
template <class T, std::size_t n>
T any_of(Random& random, const T (&list)[n]) {
  return list[random() % n];
}

s64 small_delta(Random& random) {
  constexpr s64 odd[] = {0,   1,   -1,   4,   -4,   8,   -8,   14,   -14,   20,   -20,   40,
                         -40, 216, -216, 217, -217, 256, -256, 3000, -3000, 5000, -70000};
  return random() % 2 == 0 ? any_of(random, odd) : static_cast<s64>(random() % 64) - 32;
}

void xdp_step(Builder& program, Random& random) {
  program.context_in_r1();
  switch (random() % 7) {
    case 0:
      program.set(2, static_cast<u32>(small_delta(random)));
      program.call(HelperId::xdp_adjust_head);
      break;
    case 1:
      program.set(2, static_cast<u32>(small_delta(random)));
      program.call(HelperId::xdp_adjust_tail);
      break;
    case 2:
      program.set(2, static_cast<u32>(small_delta(random)));
      program.call(HelperId::xdp_adjust_meta);
      break;
    case 3:
      program.call(HelperId::xdp_get_buff_len);
      break;
    case 4:
    case 5: {
      constexpr u64 offsets[] = {0, 1, 12, 14, 30, 50, 60, 63, 64, 65, 100, 0xffff, 0x10000, 0xffffffff};
      program.set(2, any_of(random, offsets));
      program.buffer_in(3);
      program.set(4, random() % 64 + 1);
      program.call(random() % 2 == 0 ? HelperId::xdp_load_bytes : HelperId::xdp_store_bytes);
      program.see_buffer();
      break;
    }
    default:
      program.set(1, any_of(random, {1u, 0u, 99999u}));
      program.set(2, random() % 3 == 0 ? 1 : 0);
      program.call(HelperId::redirect);
  }
  program.see_length(0, 4);
  program.see_length(8, 0);
}

void checksum_step(Builder& program, Random& random) {
  constexpr u64 offsets[] = {0, 14, 24, 25, 36, 40, 50, 0xfffe, 0x10000};
  constexpr u64 sizes[] = {0, 2, 4, 3, 16, 16 | 2, 16 | 4, 32, 32 | 2, 32 | 64 | 2, 64 | 4, 128 | 16, 256};
  const bool l3 = random() % 2 == 0;
  const u64 flags = any_of(random, sizes);
  program.set(2, any_of(random, offsets));
  program.set(3, (flags & 15) == 0 && random() % 4 != 0 ? 0 : random());
  program.set(4, random());
  program.set(5, flags);
  program.call(l3 ? HelperId::l3_csum_replace : HelperId::l4_csum_replace);
}

void room_step(Builder& program, Random& random) {
  if (program.shortened) return;
  constexpr u64 flags[] = {0,
                           0,
                           1,
                           2,
                           4,
                           6,
                           2 | 8,
                           2 | 16,
                           4 | 16,
                           8 | 16 | 2,
                           32,
                           2 | 64,
                           2 | 64 | u64{14} << 56,
                           128,
                           256,
                           384,
                           128 | 32,
                           1024,
                           2 | u64{8} << 56,
                           16};
  const s64 delta = small_delta(random);
  program.pushed += delta > 0 ? static_cast<u64>(delta) : 0;
  program.set(2, static_cast<u32>(delta));
  program.set(3, random() % 16 == 0 ? 2 : random() % 2);
  program.set(4, any_of(random, flags));
  program.call(HelperId::skb_adjust_room);
}

void skb_step(Builder& program, Random& random) {
  constexpr u64 protocols[] = {0x0008, 0xdd86, 0x0081, 0xa888, 0x0608};
  constexpr u64 lengths[] = {0, 10, 13, 14, 18, 20, 34, 60, 80, 200, 1500, 16064, 16065, 0xffffffff};
  program.context_in_r1();
  switch (random() % 17) {
    case 0:
      program.shortened = true;
      program.set(2, any_of(random, lengths));
      program.set(3, random() % 8 == 0);
      if (program.pushed <= 64) program.call(HelperId::skb_change_tail);
      break;
    case 1:
      program.pushed += 65;
      program.set(2, any_of(random, lengths));
      program.set(3, random() % 8 == 0);
      program.call(HelperId::skb_change_head);
      break;
    case 2:
      program.pushed += 20;
      program.set(2, any_of(random, protocols));
      program.set(3, random() % 8 == 0);
      program.call(HelperId::skb_change_proto);
      break;
    case 3:
      program.set(2, random() % 6);
      program.call(HelperId::skb_change_type);
      break;
    case 4:
    case 5:
      room_step(program, random);
      break;
    case 6:
      program.pushed += 4;
      program.set(2, any_of(random, protocols));
      program.set(3, random() % 0x10000);
      program.call(HelperId::skb_vlan_push);
      break;
    case 7:
      program.shortened = true;
      program.call(HelperId::skb_vlan_pop);
      break;
    case 8:
    case 9:
      checksum_step(program, random);
      break;
    case 10:
      program.set(2, random());
      program.call(HelperId::csum_update);
      break;
    case 11:
      program.set(2, random() % 5);
      program.call(HelperId::csum_level);
      break;
    case 12:
      // Where the kernel looks for the inner protocol of a tagged packet depends on a length that its helpers set in
      // passing: compared only as the first step.
      if (!program.text().empty()) break;
      program.call(HelperId::skb_ecn_set_ce);
      break;
    case 13: {
      constexpr u64 offsets[] = {0, 1, 14, 30, 60, 61, 100, 0xffff, 0x10000, 0x7fffffff, 0x80000000};
      program.set(2, any_of(random, offsets));
      program.buffer_in(3);
      program.set(4, random() % 64 + 1);
      if (random() % 3 == 0) {
        program.set(5, random() % 5);
        program.call(HelperId::skb_store_bytes);
      } else if (random() % 2 == 0) {
        program.call(HelperId::skb_load_bytes);
      } else {
        program.set(5, random() % 3);
        program.call(HelperId::skb_load_bytes_relative);
      }
      program.see_buffer();
      break;
    }
    case 14:
      program.set(2, any_of(random, lengths));
      program.call(HelperId::skb_pull_data);
      break;
    case 15:
      program.set(2, random());
      program.call(HelperId::set_hash);
      break;
    default:
      program.set(2, random() % 3);
      program.set(3, random() % 4);
      program.call(HelperId::skb_set_tstamp);
  }
  for (const s16 field : {0, 4, 16, 20, 24, 28, 68}) program.see_field(field);
  program.see_length(76, 80);
}

Bytes random_packet(Random& random) {
  constexpr u16 protocols[] = {0x0008, 0x0008, 0xdd86, 0x0081, 0xa888, 0x0608, 0x2000};
  Bytes packet(any_of(random, {14u, 34u, 54u, 60u, 64u, 74u, 200u, 1500u}));
  for (std::byte& each : packet) each = std::byte(random());
  const u16 protocol = any_of(random, protocols);
  std::memcpy(&packet[12], &protocol, 2);
  if (random() % 2 == 0) std::memset(packet.data(), 0, 6);
  if (packet.size() > 20) packet[14] = protocol == 0xdd86 ? std::byte{0x60} : std::byte{0x45};
  if ((protocol == 0x0081 || protocol == 0xa888) && packet.size() > 20)
    std::memcpy(&packet[16], &protocols[random() % 7], 2);
  return packet;
}

class Packets : public testing::Test {
 protected:
  void SetUp() override {
    auto kernel = kernel_backend();
    auto user = user_backend({.serve_control_socket = false});
    ASSERT_TRUE(user);
    user_ = std::move(*user);
    if (kernel) kernel_ = std::move(*kernel);
  }

  static ObjectSpec object(ProgramType type, std::vector<Insn> insns) {
    ObjectSpec spec;
    spec.name = "packets";
    spec.license = "GPL";
    ProgramSpec program;
    program.name = "program";
    program.type = type;
    program.section = type == ProgramType::xdp ? "xdp" : "tc";
    program.insns = std::move(insns);
    program.functions = {{.insn = 0, .name = "program"}};
    spec.programs.push_back(std::move(program));
    return spec;
  }

  static Result<TestRunResult> run(Backend& engine, const ObjectSpec& spec, const TestRun& input) {
    auto loaded = SKEP_TRY(engine.load(spec));
    return SKEP_TRY(loaded.program("program")).test_run(input);
  }

  void compare(ProgramType type, void (*step)(Builder&, Random&), int rounds) {
    if (!kernel_) GTEST_SKIP() << "bpf(2) is not permitted here: needs CAP_BPF and CAP_NET_ADMIN";
    for (int round = 0; round < rounds && !testing::Test::HasFailure(); ++round) {
      SCOPED_TRACE(std::string(name_of(type)) + " seed " + std::to_string(round));
      Random random(static_cast<u64>(round));
      Builder program;
      const u64 steps = random() % 5 + 1;
      for (u64 i = 0; i < steps; ++i) step(program, random);
      SCOPED_TRACE(program.text());
      const ObjectSpec spec = object(type, program.finish());
      TestRun input{.data = random_packet(random)};
      if (type == ProgramType::xdp && random() % 2 == 0 && input.data.size() >= 54) {
        const u32 metadata = any_of(random, {0u, 4u, 8u, 32u}), size = static_cast<u32>(input.data.size());
        const u32 md[6] = {metadata, size};  // struct xdp_md: data, data_end
        input.context.assign(reinterpret_cast<const std::byte*>(md), reinterpret_cast<const std::byte*>(md + 6));
      }
      SCOPED_TRACE("a packet of " + std::to_string(input.data.size()) + " bytes, type " +
                   std::to_string(std::to_integer<int>(input.data[12]) << 8 | std::to_integer<int>(input.data[13])));
      const auto ours = run(*user_, spec, input), kernels = run(*kernel_, spec, input);
      if (!kernels && kernels.error().os_error == EINVAL) {  // such a packet it does not take
        EXPECT_FALSE(ours);
        continue;
      }
      ASSERT_TRUE(kernels) << kernels.error().message;
      ASSERT_TRUE(ours) << ours.error().message;
      EXPECT_EQ(static_cast<u32>(ours->result), static_cast<u32>(kernels->result));
      if (type == ProgramType::xdp && !input.context.empty()) {
        EXPECT_EQ(ours->context, kernels->context);
      }
      EXPECT_TRUE(ours->data == kernels->data)
          << "packets of " << ours->data.size() << " and " << kernels->data.size() << " bytes";
    }
  }

  std::unique_ptr<Backend> kernel_, user_;
};

TEST_F(Packets, XdpProgramsDoTheSame) { compare(ProgramType::xdp, xdp_step, 3000); }
TEST_F(Packets, TrafficControlProgramsDoTheSame) { compare(ProgramType::sched_cls, skb_step, 6000); }

}  // namespace
}  // namespace skep
