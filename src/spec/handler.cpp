// Reading a handler's declaration from the object's types. See handler.hpp.
#include "spec/handler.hpp"

#include <algorithm>
#include <charconv>

#include "catalog/syscalls.hpp"

namespace skep::spec {

using btf::Kind;

namespace {

/// What a pointer points to; a type of kind void_ with no name for other types.
std::optional<btf::Type> pointee(const btf::Btf& types, u32 type_id) {
  const btf::Type pointer = types.type(types.resolve(type_id));
  if (pointer.kind != Kind::ptr) return std::nullopt;
  return types.type(types.resolve(pointer.type_id()));
}

}  // namespace

std::optional<std::vector<btf::Param>> entry_parameters(const btf::Btf* types,
                                                        const std::vector<FunctionInfo>& functions) {
  if (types == nullptr || functions.empty() || functions[0].type_id == 0) return std::nullopt;
  if (functions[0].type_id >= types->type_count()) return std::nullopt;
  const btf::Type function = types->type(functions[0].type_id);
  if (function.kind != Kind::func) return std::nullopt;
  const btf::Type prototype = types->type(function.type_id());
  if (prototype.kind != Kind::func_proto) return std::nullopt;
  return types->params(prototype);
}

bool is_register_context(const btf::Btf& types, u32 type_id) {
  const auto target = pointee(types, type_id);
  return target && (target->kind == Kind::void_ || target->name == "pt_regs");
}

std::vector<HandlerParameter> handler_parameters(const btf::Btf* types, const std::vector<FunctionInfo>& functions) {
  std::vector<HandlerParameter> out;
  const auto params = entry_parameters(types, functions);
  if (!params || params->size() < 2 || !is_register_context(*types, params->front().type_id)) return out;
  for (std::size_t i = 1; i < params->size(); ++i) {
    const auto target = pointee(*types, (*params)[i].type_id);
    const bool is_record =
        target && (target->kind == Kind::struct_ || target->kind == Kind::union_ || target->kind == Kind::fwd);
    out.push_back({is_record ? target->name : std::string_view()});
  }
  return out;
}

std::optional<std::vector<std::size_t>> places_by_type(std::span<const HandlerParameter> declared,
                                                       std::span<const std::string_view> types) {
  std::vector<std::size_t> places;
  std::size_t next = 0;
  for (const HandlerParameter& parameter : declared) {
    while (next < types.size() && types[next] != parameter.structure) ++next;
    if (next == types.size()) return std::nullopt;
    places.push_back(next++);
  }
  return places;
}

std::string first_named_member(const btf::Btf& types, const CoreRelocation& relocation) {
  if (relocation.type_id >= types.type_count()) return {};
  btf::Type at = types.type(types.resolve(relocation.type_id));
  std::string_view path = relocation.access;
  for (bool first = true; !path.empty(); first = false) {
    u32 index = 0;
    const auto [end, error] = std::from_chars(path.data(), path.data() + path.size(), index);
    if (error != std::errc{}) return {};
    path.remove_prefix(std::min(static_cast<std::size_t>(end - path.data()) + 1, path.size()));
    if (first) continue;  // an element of the root, which is a pointer's target
    if (!btf::is_composite(at.kind) || index >= at.vlen) return {};
    const btf::Member member = types.member(at, index);
    if (!member.name.empty()) return std::string(member.name);
    at = types.type(types.resolve(member.type_id));
  }
  return {};
}

bool receives_callers_registers(const AttachTarget& target) noexcept {
  return target.kind == AttachKind::ksyscall ||
         (target.kind == AttachKind::kprobe && !catalog::syscall_of_function(target.target).empty());
}

bool declares_call_arguments(const btf::Btf* types, const std::vector<FunctionInfo>& functions,
                             std::span<const Insn> insns) {
#if defined(__x86_64__)
  constexpr s16 first_argument = 112;  // pt_regs::di
#else
  constexpr s16 first_argument = 0;
#endif
  if (insns.empty() || insns.front() != Insn{.code = 0x79, .dst = 2, .src = 1, .off = first_argument}) return false;
  const auto parameters = handler_parameters(types, functions);
  return !parameters.empty() && parameters.front().structure != "pt_regs";
}

}  // namespace skep::spec
