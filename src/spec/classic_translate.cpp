// Classic instructions as eBPF, one after the other, in one pass with fix-ups for the jumps.
//
//   A = r0   X = r7   context = r6   a word that must survive a load = r8 (pointer form: r1)
//   scratch word M[i] = *(u32 *)(r10 - 64 + 4 i)
//   pointer form: r8 = first byte of the packet, r9 = its end
//
// All arithmetic is 32 bits wide, which eBPF has instructions for. Instructions that no path reaches are left out:
// verifiers refuse them, the kernel's classic checker does not.
#include <fmt/format.h>

#include "spec/classic.hpp"
#include "spec/classic_codes.hpp"

namespace skep::spec {
namespace {

using namespace classic;

// eBPF opcode bytes used here. Source: RFC 9669.
enum : u8 {
  mov32_imm = 0xb4,
  mov32_reg = 0xbc,
  mov64_reg = 0xbf,
  add64_imm = 0x07,
  add64_reg = 0x0f,
  sub64_reg = 0x1f,
  add32_imm = 0x04,
  and32_imm = 0x54,
  lsh32_imm = 0x64,
  xor32_reg = 0xac,
  neg32 = 0x84,
  alu32_class = 0x04,
  to_big_endian = 0xdc,
  load_word = 0x61,
  load_half = 0x69,
  load_byte = 0x71,
  store_word = 0x63,
  jump_always = 0x05,
  jump_long = 0x06,
  jgt64_reg = 0x2d,
  jgt32_imm = 0x26,
  jne32_imm = 0x56,
  jump32_class = 0x06,
  call = 0x85,
  exit_ = 0x95,
  source_x = 0x08,
  ld_absolute = 0x20,
  ld_indirect = 0x40,
};
enum : u8 { reg_a = 0, reg_ctx = 6, reg_x = 7, reg_begin = 8, reg_end = 9, reg_saved = 8, reg_frame = 10 };

constexpr u32 most_packet_bytes = 0xffff;  // verifiers track packet offsets so far
constexpr s32 helper_prandom = 7, helper_cpu = 8;

/// Offsets in struct __sk_buff and struct xdp_md. Source: include/uapi/linux/bpf.h.
constexpr s16 skb_len = 0, xdp_data = 0, xdp_data_end = 4;

constexpr u32 no_target = ~0u;

class Translation {
 public:
  Translation(std::span<const ClassicInsn> filter, const ClassicOptions& options, bool long_jumps)
      : filter_(filter),
        options_(options),
        pointers_(options.type == ProgramType::xdp),
        long_jumps_(long_jumps),
        starts_(filter.size(), no_target),
        reached_(filter.size(), false) {
    if (options.verdicts)
      verdicts_ = options.verdicts;
    else if (pointers_)
      verdicts_ = ClassicOptions::Verdicts{2, 1};
  }

  Result<ProgramSpec> run() {
    prologue();
    reached_[0] = true;
    for (u32 i = 0; i < filter_.size(); ++i) {
      if (!reached_[i]) continue;
      starts_[i] = here();
      program_.lines.push_back({here(), options_.name, print_classic(filter_, i), i + 1, 1});
      SKEP_TRY_AT(fmt::format("classic filter: instruction {}", i), translate(i));
    }
    const u32 refuse_at = here();
    if (refuses_) put({.code = mov32_imm, .imm = static_cast<s32>(verdicts_ ? verdicts_->refused : 0)}), leave();
    SKEP_TRY(fix_jumps(refuse_at));
    program_.name = options_.name;
    program_.type = options_.type;
    program_.section = pointers_ ? "xdp" : options_.type == ProgramType::socket_filter ? "socket" : "tc";
    if (auto attach = AttachTarget::from_section(program_.section)) program_.attach = *attach;
    program_.functions.push_back({0, 0, options_.name, true});
    return std::move(program_);
  }

 private:
  u32 here() const { return static_cast<u32>(program_.insns.size()); }
  void put(Insn insn) { program_.insns.push_back(insn); }
  void leave() { put({.code = exit_}); }

  void prologue() {
    put({.code = mov64_reg, .dst = reg_ctx, .src = 1});
    if (pointers_) {
      put({.code = load_word, .dst = reg_begin, .src = reg_ctx, .off = xdp_data});
      put({.code = load_word, .dst = reg_end, .src = reg_ctx, .off = xdp_data_end});
    }
    put({.code = mov32_imm, .dst = reg_a});
    put({.code = mov32_imm, .dst = reg_x});
  }

  /// A jump whose target is known later; `target` counts classic instructions, `refuse` is the end that returns 0.
  static constexpr u32 refuse = no_target - 1;
  void jump_to(Insn insn, u32 target) {
    if (target == refuse)
      refuses_ = true;
    else
      reached_[target] = true;
    if (insn.code != jump_always && long_jumps_) {
      // if condition goto +1; goto +1; gotol target
      insn.off = 1;
      put(insn);
      put({.code = jump_always, .off = 1});
      insn = {.code = jump_always};
    }
    if (insn.code == jump_always && long_jumps_) insn.code = jump_long;
    fixups_.push_back({here(), target});
    put(insn);
  }

  Result<void> fix_jumps(u32 refuse_at) {
    for (const auto& [at, target] : fixups_) {
      const s64 distance = s64{target == refuse ? refuse_at : starts_[target]} - at - 1;
      Insn& insn = program_.insns[at];
      if (insn.code == jump_long)
        insn.imm = static_cast<s32>(distance);
      else if (distance != static_cast<s16>(distance))
        return fail(Code::limit, "a jump too long");
      else
        insn.off = static_cast<s16>(distance);
    }
    return {};
  }

  Result<void> translate(u32 index) {
    const ClassicInsn& insn = filter_[index];
    switch (class_of(insn.code)) {
      case ld:
      case ldx:
        SKEP_TRY(load(insn));
        break;
      case st:
      case stx:
        put({.code = store_word, .dst = reg_frame, .src = insn.code == st ? reg_a : reg_x, .off = scratch(insn.k)});
        break;
      case alu:
        arithmetic(insn);
        break;
      case jmp:
        jump(insn, index);
        return {};
      case ret:
        give_back(insn);
        return {};
      default:
        if (insn.code == (misc | tax))
          put({.code = mov32_reg, .dst = reg_x, .src = reg_a});
        else
          put({.code = mov32_reg, .dst = reg_a, .src = reg_x});
    }
    reached_[index + 1] = true;
    return {};
  }

  static s16 scratch(u32 word) { return static_cast<s16>(s32(word * 4) - s32(scratch_words * 4)); }

  void arithmetic(const ClassicInsn& insn) {
    const u16 op = op_of(insn.code);
    if (op == neg) return put({.code = neg32, .dst = reg_a});
    if (uses_x(insn.code)) {
      if (op == div || op == mod) {  // by zero: the filter ends with 0
        jump_over_refusal();
      }
      return put({.code = static_cast<u8>(alu32_class | source_x | op), .dst = reg_a, .src = reg_x});
    }
    put({.code = static_cast<u8>(alu32_class | op), .dst = reg_a, .imm = static_cast<s32>(insn.k)});
  }

  void jump_over_refusal() {
    put({.code = jne32_imm, .dst = reg_x, .off = 2});
    put({.code = mov32_imm, .dst = reg_a, .imm = static_cast<s32>(verdicts_ ? verdicts_->refused : 0)});
    leave();
  }

  void jump(const ClassicInsn& insn, u32 index) {
    const u32 next = index + 1;
    if (op_of(insn.code) == ja) {
      if (insn.k != 0)
        jump_to({.code = jump_always}, next + insn.k);
      else
        reached_[next] = true;
      return;
    }
    const u32 yes = next + insn.jt, no = next + insn.jf;
    if (yes != no) {
      // The numbers of jeq, jgt, jge and jset are those of eBPF.
      Insn test{.code = static_cast<u8>(jump32_class | op_of(insn.code)), .dst = reg_a};
      if (uses_x(insn.code))
        test.code |= source_x, test.src = reg_x;
      else
        test.imm = static_cast<s32>(insn.k);
      jump_to(test, yes);
    }
    if (no != next)
      jump_to({.code = jump_always}, no);
    else
      reached_[no] = true;
  }

  void give_back(const ClassicInsn& insn) {
    const bool constant = insn.code == (ret | ret_k);
    if (!verdicts_) {
      if (constant) put({.code = mov32_imm, .imm = static_cast<s32>(insn.k)});
      return leave();
    }
    if (constant) {
      put({.code = mov32_imm, .imm = static_cast<s32>(insn.k != 0 ? verdicts_->accepted : verdicts_->refused)});
      return leave();
    }
    put({.code = jne32_imm, .dst = reg_a, .off = 2});
    put({.code = mov32_imm, .imm = static_cast<s32>(verdicts_->refused)});
    leave();
    put({.code = mov32_imm, .imm = static_cast<s32>(verdicts_->accepted)});
    leave();
  }

  Result<void> load(const ClassicInsn& insn) {
    const u8 to = class_of(insn.code) == ld ? reg_a : reg_x;
    switch (mode_of(insn.code)) {
      case imm:
        put({.code = mov32_imm, .dst = to, .imm = static_cast<s32>(insn.k)});
        return {};
      case mem:
        put({.code = load_word, .dst = to, .src = reg_frame, .off = scratch(insn.k)});
        return {};
      case len:
        packet_length(to);
        return {};
      case msh: {
        const u8 keep = pointers_ ? 1 : reg_saved;
        put({.code = mov32_reg, .dst = keep, .src = reg_a});
        SKEP_TRY(packet({.code = ld | b | abs, .k = insn.k}));
        put({.code = and32_imm, .dst = reg_a, .imm = 0xf});
        put({.code = lsh32_imm, .dst = reg_a, .imm = 2});
        put({.code = mov32_reg, .dst = reg_x, .src = reg_a});
        put({.code = mov32_reg, .dst = reg_a, .src = keep});
        return {};
      }
      default:
        if (mode_of(insn.code) == abs && insn.k >= ancillary_offset)
          return ancillary(static_cast<Ancillary>(insn.k - ancillary_offset));
        return packet(insn);
    }
  }

  void packet_length(u8 to) {
    if (!pointers_) return put({.code = load_word, .dst = to, .src = reg_ctx, .off = skb_len});
    put({.code = mov64_reg, .dst = to, .src = reg_end});
    put({.code = sub64_reg, .dst = to, .src = reg_begin});
  }

  /// A load of the packet into A.
  Result<void> packet(const ClassicInsn& insn) {
    const bool indirect = mode_of(insn.code) == ind;
    if (!indirect && insn.k >= link_offset)
      return fail(Code::unsupported, insn.k >= network_offset
                                         ? "a load relative to the network header (SKF_NET_OFF) is not translated"
                                         : "a load relative to the link header (SKF_LL_OFF) is not translated");
    const u32 bytes = bytes_of(insn.code);
    if (pointers_) {
      indirect ? load_indirect(insn.k, bytes) : load_absolute(insn.k, bytes);
      return {};
    }
    if (!indirect && insn.k > 0x7fffffffu) {  // behind any packet
      jump_to({.code = jump_always}, refuse);
      return {};
    }
    const u8 code = static_cast<u8>(size_of(insn.code) | (indirect ? ld_indirect : ld_absolute));
    put({.code = code, .src = indirect ? u8{reg_x} : u8{0}, .imm = static_cast<s32>(insn.k)});
    return {};
  }

  void load_absolute(u32 offset, u32 bytes) {
    if (offset > most_packet_bytes - bytes) return jump_to({.code = jump_always}, refuse);
    put({.code = mov64_reg, .dst = 2, .src = reg_begin});
    put({.code = add64_imm, .dst = 2, .imm = static_cast<s32>(offset + bytes)});
    jump_to({.code = jgt64_reg, .dst = 2, .src = reg_end}, refuse);
    read(2, static_cast<s16>(-static_cast<s32>(bytes)), bytes);
  }

  void load_indirect(u32 offset, u32 bytes) {
    put({.code = mov32_reg, .dst = 2, .src = reg_x});
    put({.code = add32_imm, .dst = 2, .imm = static_cast<s32>(offset)});
    jump_to({.code = jgt32_imm, .dst = 2, .imm = static_cast<s32>(most_packet_bytes - bytes)}, refuse);
    put({.code = mov64_reg, .dst = 3, .src = reg_begin});
    put({.code = add64_reg, .dst = 3, .src = 2});
    put({.code = mov64_reg, .dst = 4, .src = 3});
    put({.code = add64_imm, .dst = 4, .imm = static_cast<s32>(bytes)});
    jump_to({.code = jgt64_reg, .dst = 4, .src = reg_end}, refuse);
    read(3, 0, bytes);
  }

  void read(u8 base, s16 offset, u32 bytes) {
    put({.code = bytes == 4   ? u8{load_word}
                 : bytes == 2 ? u8{load_half}
                              : u8{load_byte},
         .dst = reg_a,
         .src = base,
         .off = offset});
    if (bytes > 1) put({.code = to_big_endian, .dst = reg_a, .imm = static_cast<s32>(bytes * 8)});
  }

  Result<void> ancillary(Ancillary load) {
    switch (load) {
      case Ancillary::alu_xor_x:
        put({.code = xor32_reg, .dst = reg_a, .src = reg_x});
        return {};
      case Ancillary::cpu:
        put({.code = call, .imm = helper_cpu});
        return {};
      case Ancillary::random:
        put({.code = call, .imm = helper_prandom});
        return {};
      default:
        break;
    }
    const s16 field = pointers_ ? s16{-1} : skb_field(load);
    if (field < 0)
      return fail(
          Code::unsupported,
          fmt::format("the ancillary load {} (SKF_AD) has no field in the context of {} programs; the kernel has "
                      "it for filters attached with SO_ATTACH_FILTER",
                      name_of(load), skep::name_of(options_.type)));
    put({.code = load_word, .dst = reg_a, .src = reg_ctx, .off = field});
    if (load == Ancillary::protocol || load == Ancillary::vlan_tpid)
      put({.code = to_big_endian, .dst = reg_a, .imm = 16});
    return {};
  }

  /// Offset in struct __sk_buff, or -1.
  static s16 skb_field(Ancillary load) {
    switch (load) {
      case Ancillary::protocol:
        return 16;
      case Ancillary::pkttype:
        return 4;
      case Ancillary::ifindex:
        return 40;
      case Ancillary::mark:
        return 8;
      case Ancillary::queue:
        return 12;
      case Ancillary::rxhash:
        return 68;
      case Ancillary::vlan_tag:
        return 24;
      case Ancillary::vlan_tag_present:
        return 20;
      case Ancillary::vlan_tpid:
        return 28;
      default:
        return -1;
    }
  }

  struct Fixup {
    u32 at = 0;
    u32 target = 0;
  };
  std::span<const ClassicInsn> filter_;
  const ClassicOptions& options_;
  const bool pointers_, long_jumps_;
  std::optional<ClassicOptions::Verdicts> verdicts_;
  ProgramSpec program_;
  std::vector<u32> starts_;
  std::vector<bool> reached_;
  std::vector<Fixup> fixups_;
  bool refuses_ = false;
};

}  // namespace

Result<ProgramSpec> translate_classic(std::span<const ClassicInsn> filter, const ClassicOptions& options) {
  const ProgramType type = options.type;
  if (type != ProgramType::socket_filter && type != ProgramType::sched_cls && type != ProgramType::sched_act &&
      type != ProgramType::xdp)
    return fail(Code::invalid_argument,
                fmt::format("a classic filter becomes a socket_filter, sched_cls, sched_act or xdp program, not {}",
                            skep::name_of(type)));
  SKEP_TRY(check_classic(filter));
  auto program = Translation(filter, options, false).run();
  if (!program && program.error().code == Code::limit) return Translation(filter, options, true).run();
  return program;
}

Result<ObjectSpec> classic_object(std::span<const ClassicInsn> filter, const ClassicOptions& options) {
  ObjectSpec object;
  object.name = options.name;
  object.license = "GPL";
  object.programs.push_back(SKEP_TRY(translate_classic(filter, options)));
  return object;
}

}  // namespace skep::spec
