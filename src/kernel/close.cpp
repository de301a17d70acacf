// What this machine contributes to a program: its types for CO-RE, its configuration for kconfig externs.
#include "kernel/close.hpp"

#include <fmt/core.h>

#include <memory>
#include <optional>
#include <set>

#include "base/kernel_config.hpp"
#include "base/mapped_file.hpp"
#include "kernel/features.hpp"
#include "spec/resolve.hpp"

namespace skep::kernel {

namespace {

constexpr u32 first_with_syscall_wrapper = 4u << 16 | 17u << 8;  // x86-64: __x64_sys_*(const struct pt_regs *)

}  // namespace

std::optional<std::string> config_value(std::string_view config, std::string_view name) {
  const std::string start = fmt::format("\n{}=", name);
  std::size_t at = config.starts_with(std::string_view(start).substr(1)) ? 0 : config.find(start);
  if (at == std::string_view::npos) return std::nullopt;
  at = config.find('=', at) + 1;
  return std::string(config.substr(at, config.find('\n', at) - at));
}

Result<ProgramSpec> close_program(const ProgramSpec& program, const ObjectSpec& object, KernelTypes& types,
                                  btf::CoreBudget& budget) {
  ProgramSpec out = program;
  if (out.relocations.empty()) return out;
  if (!object.btf)
    return fail(Code::malformed, fmt::format("program {}: CO-RE relocations in an object without types", program.name));
  std::vector<std::shared_ptr<const btf::Btf>> targets = {SKEP_TRY_AT("program " + program.name, types.for_core())};
  // What the kernel itself does not have may be a module's.
  std::set<std::string, std::less<>> missing;
  for (const CoreRelocation& relocation : out.relocations) {
    if (relocation.type_id >= object.btf->type_count()) continue;  // told below
    const auto root = object.btf->type(relocation.type_id);
    const std::string_view name = btf::essential_name(root.name);
    if (!name.empty() && !targets[0]->find(name, root.kind)) missing.emplace(name);
  }
  if (!missing.empty())
    for (auto& module : types.modules_with(missing)) targets.push_back(std::move(module));
  SKEP_TRY_AT("program " + program.name, spec::apply_core(out, *object.btf, targets, budget));
  return out;
}

Result<void> resolve_kconfig(ObjectSpec& object) {
  std::optional<std::string> config;  // read at the first CONFIG_*
  bool unreadable = false;
  return spec::resolve_kconfig(object, [&](std::string_view name) -> std::optional<std::string> {
    if (name == "LINUX_KERNEL_VERSION") return std::to_string(Features::version_code());
    if (name == "LINUX_HAS_SYSCALL_WRAPPER") return Features::version_code() >= first_with_syscall_wrapper ? "1" : "0";
    if (name == "LINUX_HAS_BPF_COOKIE") return "1";  // the kernel's, or written by us (cookies.hpp)
    if (!config && !unreadable) {
      auto text = base::kernel_config();
      if (text)
        config = *std::move(text);
      else
        unreadable = true;
    }
    return config ? config_value(*config, name) : std::nullopt;
  });
}

Result<ObjectSpec> close_object(const ObjectSpec& object) {
  ObjectSpec out = object;
  SKEP_TRY(resolve_kconfig(out));
  KernelTypes types({});
  btf::CoreBudget budget;
  for (ProgramSpec& program : out.programs) {
    program = SKEP_TRY(close_program(program, out, types, budget));
    if (program.type == ProgramType::unspec) program.type = ProgramType::kprobe;
  }
  return out;
}

}  // namespace skep::kernel
