// See implicit_reads.hpp: facts flow through the program until they settle, then each load through a plain number
// becomes a call.
#include "compile/implicit_reads.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>

#include "btf/core.hpp"
#include "compile/insn_shapes.hpp"
#include "compile/rewriter.hpp"
#include "compile/value_flow.hpp"

namespace skep::compile {
namespace {

using namespace shape;
namespace o = origin;

constexpr u32 stack_bytes = 512;  // of one function
constexpr s32 helper_probe_read = 4;
constexpr s32 helper_probe_read_kernel = 113;

/// The record that a program's context is, by its handler's first parameter; "" for void and where nothing says.
std::string_view context_record(const ObjectSpec& spec, const ProgramSpec& program) {
  if (!spec.btf || program.functions.empty() || program.functions[0].type_id == 0) return {};
  const btf::Btf& types = *spec.btf;
  const btf::Type function = types.type(program.functions[0].type_id);
  if (function.kind != btf::Kind::func) return {};
  const auto params = types.params(types.type(function.type_id()));
  if (params.empty()) return {};
  const btf::Type pointer = types.type(types.resolve(params[0].type_id));
  if (pointer.kind != btf::Kind::ptr) return {};
  return types.type(types.resolve(pointer.type_id())).name;
}

bool gives_objects(const AttachTarget& target) {
  switch (target.program_type()) {
    case ProgramType::lsm:
    case ProgramType::struct_ops:
      return true;
    case ProgramType::tracing:
      return true;
    default:
      return false;
  }
}

ContextKind context_kind(const ObjectSpec& spec, const ProgramSpec& program) {
  if (gives_objects(program.attach)) return ContextKind::objects;
  static constexpr std::array<std::string_view, 14> network = {
      "__sk_buff",     "xdp_md",          "bpf_sock_ops", "sk_msg_md",   "bpf_sock",
      "bpf_sock_addr", "sk_reuseport_md", "bpf_sysctl",   "bpf_sockopt", "bpf_cgroup_dev_ctx",
      "bpf_sk_lookup", "bpf_flow_keys",   "bpf_nf_ctx",   "lirc_mode2"};
  const std::string_view record = context_record(spec, program);
  for (const std::string_view name : network)
    if (record == name) return ContextKind::packet;
  return ContextKind::registers;
}

/// "line 12: `p->x = 1;`" of an instruction, or its number.
std::string place(const ProgramSpec& program, u32 insn) {
  const SourceLine* line = program.line_at(insn);
  if (line == nullptr) return fmt::format("instruction {}", insn);
  std::string_view text = line->text;
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  return fmt::format("line {}: `{}`", line->line, text);
}

class Pass {
 public:
  Pass(std::shared_ptr<const btf::Btf> types, ProgramSpec& program, FlowFacts facts, ContextKind context)
      : types_(std::move(types)),
        program_(program),
        facts_(std::move(facts)),
        helper_(context == ContextKind::packet ? helper_probe_read_kernel : helper_probe_read) {}

  Result<void> run() {
    for (u32 at = 0; at < program_.insns.size(); ++at) {
      const Insn& insn = program_.insns[at];
      if (is_plain_load(insn) && is_read(facts_.base[at])) replacements_[at] = SKEP_TRY(read(at));
      if (class_of(insn) == class_st || class_of(insn) == class_stx) SKEP_TRY(check_store(at));
      if (is_wide(insn)) ++at;
    }
    return replacements_.empty() ? Result<void>{} : replace(program_, replacements_);
  }

 private:
  /// The context is laid out by the verifier: nobody but the program itself can read it.
  static bool is_read(u8 base) { return (base & (o::number | o::zero)) != 0 && (base & o::context) == 0; }

  Result<void> check_store(u32 at) const {
    if (facts_.base[at] != o::number) return {};
    return fail(Code::invalid_argument,
                fmt::format("{} writes through a pointer into memory that is not the program's; a program can read the "
                            "kernel's memory but not change it (in user memory: bpf_probe_write_user)",
                            place(program_, at)));
  }

  Result<Replacement> read(u32 at) const {
    const Insn& insn = program_.insns[at];
    const auto to = static_cast<u8>(insn.dst);
    std::array<u8, 6> saved{};
    u32 count = 0;
    for (u8 reg = 0; reg <= 5; ++reg)
      if (reg != to && (facts_.live_after[at] >> reg & 1) != 0) saved[count++] = reg;
    const u32 used = (facts_.stack_depth[facts_.function_of[at]] + 7) / 8 * 8;
    const u32 depth = used + 8 * (1 + count);
    if (depth > stack_bytes)
      return fail(
          Code::limit,
          fmt::format("{} reads kernel memory and needs {} bytes of stack for it, but the function uses {} of {} "
                      "itself: make its local variables smaller, or keep them in a BPF_PERCPU_ARRAY",
                      place(program_, at), 8 * (1 + count), used, stack_bytes));
    const auto slot = static_cast<s16>(-static_cast<s32>(used) - 8);
    const auto room = [&](u32 n) { return static_cast<s16>(slot - 8 * static_cast<s32>(n + 1)); };
    Replacement out;
    auto& code = out.insns;
    for (u32 i = 0; i < count; ++i) code.push_back(store_u64(frame_register, room(i), saved[i]));
    if (insn.src != 3) code.push_back(move(3, insn.src));
    out.relocated = static_cast<u32>(code.size());
    add_offset(code, at);
    code.push_back(move_imm(2, static_cast<s32>(access_bytes(insn))));
    code.push_back(move(1, frame_register));
    code.push_back(add_imm(1, slot));
    code.push_back(call(helper_));
    Insn result = insn;
    result.src = frame_register;
    result.off = slot;
    code.push_back(result);
    for (u32 i = 0; i < count; ++i) code.push_back(load_u64(saved[i], frame_register, room(i)));
    return out;
  }

  /// The offset of the load, as an addition that its CO-RE relocation can change. A bit-field may be read with a load
  /// that is narrower than the storage the relocation speaks of, and begins later.
  void add_offset(std::vector<Insn>& code, u32 at) const {
    const s32 offset = program_.insns[at].off;
    const auto& all = program_.relocations;
    const auto r = std::find_if(all.begin(), all.end(), [&](const CoreRelocation& c) { return c.insn == at; });
    if (r == all.end() || !types_) {
      if (offset != 0) code.push_back(add_imm(3, offset));
      return;
    }
    const auto own = btf::resolve(*types_, *r, *types_);
    const s32 relocated = own && !own->validate ? static_cast<s32>(own->original) : offset;
    code.push_back(add_imm(3, relocated));
    if (relocated != offset) code.push_back(add_imm(3, offset - relocated));
  }

  std::shared_ptr<const btf::Btf> types_;
  ProgramSpec& program_;
  FlowFacts facts_;
  s32 helper_;
  std::map<u32, Replacement> replacements_;
};

}  // namespace

Result<void> make_reads_explicit(const ObjectSpec& spec, ProgramSpec& program) {
  const ContextKind context = context_kind(spec, program);
  auto facts = SKEP_TRY(analyse_flow(spec, program, context));
  return Pass(spec.btf, program, std::move(facts), context).run();
}

}  // namespace skep::compile
