// Names become targets; parameters become a prologue.
//
// A handler may have parameters after its context: int f(struct pt_regs *ctx, int dfd, const char *path). The
// probed function's arguments are in the saved registers. clang, however, compiled f like any function:
// it expects dfd in r2 and path in r3. So the few loads that put them there are placed in front of the
// program, and its source needs no rewriting:
//
//   r2 = *(u64 *)(r1 + 112)     ; di, the first argument
//   r3 = *(u64 *)(r1 + 104)     ; si, the second
//
// The system calls' functions (syscall__X) receive one argument only, a pointer to the registers of the
// caller; there the prologue copies those registers to the stack first. It may use all of the stack and
// r6-r9, because f has not begun. Jumps and calls are relative and move along.
// Source: RFC 9669 section 4.2; System V ABI AMD64 3.2.3 and A.2.1; arch/x86/include/asm/syscall_wrapper.h.
#include "compile/bcc_program.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "btf/btf.hpp"
#include "compile/implicit_reads.hpp"
#include "compile/insn_shapes.hpp"
#include "compile/relocation_path.hpp"
#include "compile/rewriter.hpp"
#include "spec/handler.hpp"

namespace skep::compile {
namespace {

using btf::Kind;
using namespace shape;

constexpr std::string_view bcc_section = "skep.bcc";
constexpr std::string_view pins_section = ".rodata.skep_pins";

// ---- names -------------------------------------------------------------------------------------------------------

struct NamePrefix {
  std::string_view function;  ///< how the function's name begins
  std::string_view section;   ///< what that means, as a section
};
constexpr NamePrefix prefixes[] = {
    {"kprobe__sys_", "ksyscall/"},
    {"kretprobe__sys_", "kretsyscall/"},
    {"kprobe__", "kprobe/"},
    {"kretprobe__", "kretprobe/"},
    {"syscall__", "ksyscall/"},
    {"tracepoint__", "tracepoint/"},
    {"raw_tracepoint__", "raw_tracepoint/"},
    {"kfunc__", "fentry/"},
    {"kretfunc__", "fexit/"},
    {"lsm__", "lsm/"},
    {"kmod_ret__", "fmod_ret/"},
    {"bpf_iter__", "iter/"},
};

// ---- prologue ----------------------------------------------------------------------------------------------------

#if defined(__x86_64__)
constexpr std::array<s16, 4> function_arguments = {112, 104, 96, 88};  // di, si, dx, cx
constexpr std::array<s16, 4> syscall_arguments = {112, 104, 96, 56};   // di, si, dx, r10
constexpr s16 registers_bytes = 120;                                   // up to di
#else
constexpr std::array<s16, 4> function_arguments = {0, 8, 16, 24};
constexpr std::array<s16, 4> syscall_arguments = {0, 8, 16, 24};
constexpr s16 registers_bytes = 32;
#endif
constexpr s32 helper_probe_read_kernel = 113;

/// A parameter after the context.
struct Parameter {
  u32 bits = 64;
  bool is_signed = false;
};

/// clang trusts the caller to have extended a narrow parameter; the probed function's caller did not.
void extend(std::vector<Insn>& out, u8 reg, const Parameter& parameter) {
  if (parameter.bits >= 64) return;
  const auto unused = static_cast<s32>(64 - parameter.bits);
  out.push_back(shift_left(reg, unused));
  out.push_back(shift_right(reg, unused, parameter.is_signed));
}

std::vector<Insn> prologue(std::span<const Parameter> parameters, bool is_syscall) {
  std::vector<Insn> out;
  u8 registers = 1;
  s16 base = 0;
  if (is_syscall) {
    out = {move(6, 1),
           load_u64(3, 1, function_arguments[0]),
           move(1, 10),
           add_imm(1, -registers_bytes),
           move_imm(2, registers_bytes),
           call(helper_probe_read_kernel)};
    registers = 10;
    base = static_cast<s16>(-registers_bytes);
  }
  const auto& offsets = is_syscall ? syscall_arguments : function_arguments;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const auto reg = static_cast<u8>(2 + i);
    out.push_back(load_u64(reg, registers, static_cast<s16>(base + offsets[i])));
    extend(out, reg, parameters[i]);
  }
  if (is_syscall) out.push_back(move(1, 6));
  return out;
}

// ---- one program -------------------------------------------------------------------------------------------------

Result<Parameter> parameter(const btf::Btf& btf, const btf::Param& param) {
  const btf::Type t = btf.type(btf.resolve(param.type_id));
  if (t.kind == Kind::ptr) return Parameter{};
  if (t.kind == Kind::int_ && t.size() <= 8) return Parameter{t.size() * 8, btf.int_encoding(t).is_signed};
  if ((t.kind == Kind::enum_ || t.kind == Kind::enum64) && t.size() <= 8) return Parameter{t.size() * 8, false};
  return fail(
      Code::invalid_argument,
      fmt::format("parameter {} is no integer and no pointer; a handler's parameters are registers of the probed "
                  "function: use PT_REGS_PARMn(ctx)",
                  param.name));
}

Result<void> receive_parameters(const ObjectSpec& object, ProgramSpec& program) {
  const auto params = spec::entry_parameters(object.btf.get(), program.functions);
  if (!params || params->size() <= 1) return {};
  const bool has_registers = program.type == ProgramType::unspec || program.type == ProgramType::kprobe;
  if (!has_registers || !spec::is_register_context(*object.btf, params->front().type_id)) {
    // An ordinary function of the source that others call: nothing to attach.
    program.autoload = false;
    return {};
  }
  std::vector<Parameter> parameters;
  for (std::size_t i = 1; i < params->size(); ++i) parameters.push_back(SKEP_TRY(parameter(*object.btf, (*params)[i])));
  if (parameters.size() > function_arguments.size())
    return fail(Code::invalid_argument, fmt::format("{} parameters; a BPF function takes at most 5, the context and 4 "
                                                    "more: read the others with PT_REGS_PARMn(ctx)",
                                                    params->size()));
  prepend(program, prologue(parameters, spec::receives_callers_registers(program.attach)));
  return {};
}

/// Bit-fields stand in structs without a name (kernel_types.cpp); their places are those of the kernel that the source
/// was compiled for.
void leave_bit_fields(const ObjectSpec& spec, ProgramSpec& program) {
  if (!spec.btf) return;
  std::erase_if(program.relocations, [&](const CoreRelocation& r) {
    const auto field = relocated_field(*spec.btf, r);
    return field && field->name.empty() && !field->is_element;
  });
}

Result<void> finish_program(const ObjectSpec& spec, ProgramSpec& program) {
  program.attach = target_of_name(program.name);
  if (program.attach.kind != AttachKind::none) program.type = program.attach.program_type();
  leave_bit_fields(spec, program);
  SKEP_TRY(receive_parameters(spec, program));
  return make_reads_explicit(spec, program);
}

// ---- the object --------------------------------------------------------------------------------------------------

/// Functions that another program calls are no programs of their own: prelude.cpp notes them, because calls are
/// inlined.
void leave_out_callees(ObjectSpec& spec) {
  std::set<std::string, std::less<>> called;
  constexpr std::string_view note = "skep_called__";
  if (const auto section = spec.btf ? spec.btf->find("skep.records", Kind::datasec) : std::nullopt)
    for (const btf::SecVar& entry : spec.btf->section_vars(spec.btf->type(*section)))
      if (const btf::Type variable = spec.btf->type(entry.type_id); variable.name.starts_with(note))
        called.emplace(variable.name.substr(note.size()));
  for (const ProgramSpec& program : spec.programs)
    for (std::size_t i = 1; i < program.functions.size(); ++i) called.insert(program.functions[i].name);
  for (ProgramSpec& program : spec.programs)
    if (program.section == bcc_section && called.count(program.name) != 0) program.autoload = false;
}

/// Texts that became stores leave an unused section of strings behind, which nobody wants to see as a map. Where pinned
/// maps lie, the loader asks.
void drop_unused_data(ObjectSpec& spec) {
  std::vector<bool> used(spec.maps.size());
  for (const ProgramSpec& program : spec.programs)
    for (const Reference& r : program.references)
      if ((r.kind == Reference::Kind::map || r.kind == Reference::Kind::map_value) && r.map < used.size())
        used[r.map] = true;
  std::vector<u32> moved(spec.maps.size());
  std::vector<MapSpec> kept;
  for (std::size_t i = 0; i < spec.maps.size(); ++i) {
    moved[i] = static_cast<u32>(kept.size());
    if (used[i] || spec.maps[i].name == pins_section || !(spec.maps[i].is_global_data && spec.maps[i].frozen))
      kept.push_back(std::move(spec.maps[i]));
  }
  spec.maps = std::move(kept);
  for (ProgramSpec& program : spec.programs)
    for (Reference& r : program.references)
      if ((r.kind == Reference::Kind::map || r.kind == Reference::Kind::map_value) && r.map < moved.size())
        r.map = moved[r.map];
}

}  // namespace

AttachTarget target_of_name(std::string_view function) {
  for (const NamePrefix& prefix : prefixes) {
    if (!function.starts_with(prefix.function) || function.size() == prefix.function.size()) continue;
    std::string target(function.substr(prefix.function.size()));
    if (prefix.function == "tracepoint__") {
      const std::size_t gap = target.find("__");
      if (gap == std::string::npos || gap == 0 || gap + 2 == target.size()) continue;
      target = fmt::format("{}/{}", target.substr(0, gap), target.substr(gap + 2));
    }
    if (auto out = AttachTarget::from_section(std::string(prefix.section) + target)) return *std::move(out);
  }
  return {};
}

Result<void> finish_bcc(ObjectSpec& spec) {
  bool any = false;
  for (ProgramSpec& program : spec.programs) {
    if (program.section != bcc_section) continue;
    any = true;
    SKEP_TRY_AT(fmt::format("program {}", program.name), finish_program(spec, program));
  }
  if (!any) return {};
  leave_out_callees(spec);
  drop_unused_data(spec);
  return {};
}

}  // namespace skep::compile
