// What Linux asks of programs of processes without CAP_BPF and CAP_PERFMON, beyond the rules for all.
//
// Three things: a program may not learn an address (nor let others learn one), it may not read what it did not write,
// and a pointer may never leave what it points to, not even on a way the CPU only speculates along. The last used to
// be enforced by following the ways that are never taken, too; since 6.17 whatever is wrong on such a way puts a
// barrier before it instead of refusing the program, so those ways say nothing about the verdict.
// Source: Linux 6.18, kernel/bpf/verifier.c: allow_ptr_leaks, allow_uninit_stack, bypass_spec_v1, bpf_capable.
#include "catalog/helpers.hpp"
#include "verify/checker.hpp"

namespace skep::verify {

using catalog::MessageId;
using isa::Form;

namespace {
constexpr std::string_view bpf_capability = "CAP_BPF";
constexpr std::size_t most_insns = 4096;

bool is_allowed(catalog::HelperId helper) {
#define SKEP_UNPRIVILEGED_HELPER(name) \
  if (helper == catalog::HelperId::name) return true;
#include "catalog/unprivileged.def"
  return false;
}
}  // namespace

/// The program as a whole: its type, size, functions and loops.
bool Checker::check_unprivileged_program() {
  using namespace catalog::programs;
  if (!catalog::contains(socket_filter | cgroup_skb, program_.type))
    return refuse(MessageId::needs_capability, fmt::format("a program of type {}", name_of(program_.type)),
                  bpf_capability);
  if (program_.insns.size() > most_insns)
    return refuse(MessageId::needs_capability, fmt::format("a program of more than {} instructions", most_insns),
                  bpf_capability);
  for (u32 i = 0; i < program_.insns.size(); i += isa::slots(program_.insns[i])) {
    const Form f = isa::row(analysis_.insns[i].op).form;
    const bool names_function = f == Form::ld_imm64 && program_.insns[i].src == isa::imm64_src_function;
    insn_ = i;
    if (f == Form::call_local || f == Form::call_kfunc || names_function)
      return refuse(MessageId::needs_capability, "a function of the program or the kernel", bpf_capability);
  }
  insn_ = 0;
  if (auto loop = find_loop()) {
    insn_ = *loop;
    return refuse(MessageId::needs_capability, "a loop", bpf_capability);
  }
  return true;
}

/// An instruction that closes a loop in the control flow, taken or not.
std::optional<u32> Checker::find_loop() const {
  enum : u8 { unseen, open, done };
  std::vector<u8> colour(program_.insns.size(), unseen);
  struct Entry {
    u32 insn;
    u8 next;  ///< which way to go from it
  };
  std::vector<Entry> way;
  for (const Function& function : analysis_.functions) {
    way.push_back({function.first, 0});
    while (!way.empty()) {
      Entry& top = way.back();
      const u32 i = top.insn;
      const Form f = isa::row(analysis_.insns[i].op).form;
      colour[i] = open;
      std::optional<u32> to;
      const bool ends = f == Form::exit, jumps = isa::is_jump(f);
      const bool falls = !ends && f != Form::jump && f != Form::jump_long;
      if (top.next == 0 && falls) to = i + isa::slots(program_.insns[i]);
      if (top.next == 1 && jumps) to = i + 1 + static_cast<u32>(isa::jump_distance(f, program_.insns[i]));
      if (top.next++ >= 2) {
        colour[i] = done;
        way.pop_back();
        continue;
      }
      if (!to || colour[*to] == done) continue;
      if (colour[*to] == open) return i;
      way.push_back({*to, 0});
    }
  }
  return std::nullopt;
}

bool Checker::check_unprivileged_helper(const catalog::HelperRow& row) {
  if (is_allowed(row.id)) return true;
  return refuse(MessageId::needs_capability, fmt::format("bpf_{}()", row.name), bpf_capability);
}

/// Whether the field at `offset` of the context is there for privileged programs only.
bool Checker::is_privileged_field(u32 offset, Access access) const {
  const Access read = Access::read;
  const Access write = Access::write;
#define SKEP_PRIVILEGED_FIELD(program, at, how) \
  if (program_.type == ProgramType::program && offset == at && (access == read) == (how == read)) return true;
#include "catalog/unprivileged.def"
  return false;
}

/// `what` would tell the address in register `index`.
bool Checker::keeps_address(u32 index, std::string_view what) {
  if (!is_unprivileged() || !reg(index).is_pointer()) return true;
  return refuse_for(static_cast<s32>(index), MessageId::address_leaked, index, name(reg(index)), what);
}

/// `moved` is what arithmetic made of a pointer: it must still point into its memory.
bool Checker::stays_inside(const Register& moved, bool is_immediate) {
  const u32 index = insn().dst;
  const s64 varies = static_cast<s64>(moved.number.is_const() ? moved.number.value() : 0);
  const s64 at = s64{moved.off} + varies;
  auto outside = [&](std::string_view why) {
    return refuse_for(static_cast<s32>(index), MessageId::unprivileged_offset, name(moved), why);
  };
  if (moved.kind == Kind::stack) {
    if (!moved.number.is_const()) return outside("varies");
    if (at >= 0 || at < -static_cast<s64>(isa::stack_size_bytes)) return outside("lies outside the stack");
    return true;
  }
  if (moved.kind == Kind::map_value) {
    const s64 low = s64{moved.off} + moved.number.wide.smin;
    const u64 high = static_cast<u64>(s64{moved.off}) + moved.number.wide.umax;
    if (low < 0 || high >= maps_[moved.object].spec->value_size) return outside("may lie outside the map's value");
    return true;
  }
  return is_immediate || outside("varies, and only pointers to the stack and to map values may");
}

}  // namespace skep::verify
