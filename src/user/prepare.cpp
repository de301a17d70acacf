// The passes between reading and verifying. See prepare.hpp.
#include "user/prepare.hpp"

#include <algorithm>
#include <optional>

#include "backend/names.hpp"
#include "base/kernel_version.hpp"
#include "catalog/kfuncs.hpp"
#include "helper/helpers.hpp"
#include "helper/kfuncs.hpp"
#include "isa/isa.hpp"
#include "spec/resolve.hpp"
#include "user/target_types.hpp"

namespace skep::user {

namespace {

/// A program without a section of its own (BCC dialect) is what its attach target says, or else a kprobe, as BCC's
/// functions are.
void decide_types(ObjectSpec& spec) {
  for (ProgramSpec& program : spec.programs) {
    if (program.type != ProgramType::unspec) continue;
    program.type = program.attach.kind == AttachKind::none ? ProgramType::kprobe : program.attach.program_type();
    if (program.type == ProgramType::unspec) program.type = ProgramType::kprobe;
  }
}

Result<void> refuse_kernel_symbols(const ObjectSpec& spec) {
  for (const ProgramSpec& program : spec.programs) {
    for (const Reference& reference : program.references) {
      const bool is_function = reference.kind == Reference::Kind::kfunc;
      if (!is_function && reference.kind != Reference::Kind::ksym) continue;
      if (is_function && helper::kfunc(reference.name) != nullptr) continue;
      return fail(Code::unsupported, "program " + program.name + ": " +
                                         (is_function ? "kernel function " : "kernel symbol ") + reference.name +
                                         " exists in the kernel only: use --backend kernel");
    }
  }
  return {};
}

/// What describes the machine or its calling convention has an answer; CONFIG_* describes a kernel's build, of which
/// there is none here.
std::optional<std::string> configured(std::string_view name) {
  if (name == "LINUX_KERNEL_VERSION") return std::to_string(base::kernel_version_code());
  // Hooks hand out registers as the x86-64 system call wrappers see them: a pointer to them in the first argument.
  if (name == "LINUX_HAS_SYSCALL_WRAPPER") return "1";
  if (name == "LINUX_HAS_BPF_COOKIE") {
    constexpr std::size_t get_attach_cookie = 174;
    const auto table = helper::table();
    return table.size() > get_attach_cookie && table[get_attach_cookie] != nullptr ? "1" : "0";
  }
  return std::nullopt;
}

Result<void> resolve_configuration(ObjectSpec& spec) {
  auto resolved = spec::resolve_kconfig(spec, configured);
  if (resolved) return {};
  Error error = std::move(resolved).error();
  if (error.code == Code::not_found) {
    error.code = Code::unsupported;
    error.message +=
        ": the user engine has no kernel configuration; declare it __weak (it reads as 0 here) or use "
        "--backend kernel";
  }
  return tl::unexpected<Error>(std::move(error));
}

Result<void> apply_relocations(ObjectSpec& spec) {
  const bool needed =
      std::ranges::any_of(spec.programs, [](const ProgramSpec& program) { return !program.relocations.empty(); });
  if (!needed || !spec.btf) return {};
  const auto types = SKEP_TRY_AT("types of the user engine", target_types());
  btf::CoreBudget budget;
  for (ProgramSpec& program : spec.programs)
    SKEP_TRY_AT("program " + program.name, spec::apply_core(program, *spec.btf, {&types, 1}, budget));
  return {};
}

}  // namespace

Result<ObjectSpec> prepare(const ObjectSpec& spec) {
  ObjectSpec prepared = spec;
  decide_types(prepared);
  SKEP_TRY(refuse_kernel_symbols(prepared));
  SKEP_TRY(resolve_configuration(prepared));
  SKEP_TRY(apply_relocations(prepared));
  return prepared;
}

verify::Options engine_rules() {
  verify::Options options;
  options.rules = verify::Rules::user;
  for (const auto function : helper::table()) options.engine_helpers.push_back(function != nullptr);
  // The machine itself performs tail calls.
  options.engine_helpers.resize(std::max<std::size_t>(options.engine_helpers.size(), isa::helper_tail_call + 1));
  options.engine_helpers[isa::helper_tail_call] = true;
  for (const catalog::Kfunc& kfunc : catalog::kfuncs())
    options.engine_kfuncs.push_back(helper::kfunc(kfunc.name) != nullptr);
  if (auto types = target_types()) options.kernel_types = *types;
  return options;
}

}  // namespace skep::user
