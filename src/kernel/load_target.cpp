// Trampolines and typed tracepoints name a function or a type, LSM programs a hook, iterators what they walk over,
// struct_ops programs a member of a structure.
#include "kernel/load_target.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

#include "kernel/open.hpp"
#include "kernel/struct_ops.hpp"

namespace skep::kernel {

namespace {

bool is_one_of(AttachKind kind, std::initializer_list<AttachKind> kinds) {
  return std::ranges::find(kinds, kind) != kinds.end();
}

bool is_trampoline(AttachKind kind) {
  return is_one_of(
      kind, {AttachKind::fentry, AttachKind::fexit, AttachKind::fmod_ret, AttachKind::fsession, AttachKind::freplace});
}

/// "ID:FUNCTION" names a function of a loaded BPF program: that program, and the function's number in its types.
Result<LoadTarget> function_of_program(std::string_view target) {
  const auto colon = target.find(':');
  u32 id = 0;
  const auto parsed = std::from_chars(target.data(), target.data() + colon, id);
  if (parsed.ec != std::errc() || parsed.ptr != target.data() + colon)
    return fail(Code::invalid_argument,
                fmt::format("found \"{}\", expected PROGRAM_ID:FUNCTION of a loaded program", target));
  LoadTarget out;
  out.owner = SKEP_TRY(open_by_id(uapi::Cmd::prog_get_fd_by_id, id, "program"));
  const auto types = SKEP_TRY(types_of_program(out.owner.get()));
  const std::string_view function = target.substr(colon + 1);
  for (u32 type = 1; type < types->type_count(); ++type)
    if (const auto one = types->type(type); one.kind == btf::Kind::func && one.name == function) {
      out.type_id = type;
      return out;
    }
  return fail(Code::not_found, fmt::format("program {} has no function \"{}\" that its types tell of", id, function));
}

/// What a program is bound to when it is loaded; empty for most.
Result<LoadTarget> target_of_hook(const AttachTarget& hook, KernelTypes& types) {
  using K = AttachKind;
  const std::string_view first = std::string_view(hook.target).substr(0, hook.target.find(':'));
  const auto kernel_type = [](Result<u32> id) -> Result<LoadTarget> { return LoadTarget{{}, SKEP_TRY(std::move(id))}; };
  const auto any_type = [](Result<KernelType> found) -> Result<LoadTarget> {
    const KernelType type = SKEP_TRY(std::move(found));
    LoadTarget target{{}, type.id};
    if (!type.module.empty()) target.owner = SKEP_TRY(open_module_types(type.module));
    return target;
  };
  if (hook.kind == K::tp_btf) return any_type(types.any_tracepoint(hook.target));
  const bool names_owner = first.size() != hook.target.size();
  if (is_trampoline(hook.kind) && names_owner && first.find_first_not_of("0123456789") == first.npos)
    return function_of_program(hook.target);
  if (is_trampoline(hook.kind)) return any_type(types.any_function(hook.target));
  if (hook.kind == K::iter) {
    auto iterator = types.function(fmt::format("bpf_iter_{}", first));
    if (!iterator && iterator.error().code == Code::not_found)
      return fail(Code::not_found,
                  fmt::format("this kernel has no iterator \"{}\"; there are task, task_file, task_vma, "
                              "bpf_map, bpf_map_elem, bpf_prog, bpf_link, tcp, udp, unix, netlink, "
                              "cgroup and others, by kernel version",
                              first));
    return kernel_type(std::move(iterator));
  }
  if (is_one_of(hook.kind, {K::lsm, K::lsm_cgroup}))
    return kernel_type(types.function(fmt::format("bpf_lsm_{}", first)));
  return LoadTarget{};
}

}  // namespace

Result<LoadTarget> load_target(const ObjectSpec& object, const ProgramSpec& program, const AttachTarget& hook,
                               KernelTypes& types) {
  auto target = SKEP_TRY(target_of_hook(hook, types));
  if (program.type != ProgramType::struct_ops) return target;
  if (const auto member = SKEP_TRY(ops_member(object, program.name, types))) {
    target.type_id = member->layout.struct_id;
    target.member = member->member;
    if (!member->layout.module.empty()) target.owner = SKEP_TRY(open_module_types(member->layout.module));
  }
  return target;
}

}  // namespace skep::kernel
