// Looking things up in the kernel's types and symbols.
#include "kernel/kernel_types.hpp"

#include <fmt/core.h>

#include <cerrno>
#include <memory>

#include "btf/core.hpp"
#include "symbols/kernel_symbols.hpp"

namespace skep::kernel {

namespace {

constexpr const char* running_path = "/sys/kernel/btf/vmlinux";

Error types_error(Error error, const std::string& path, bool is_running) {
  if (is_running && error.code == Code::not_found)
    return Error{Code::unsupported,
                 fmt::format("this kernel does not tell its types ({} is missing): it was built without "
                             "CONFIG_DEBUG_INFO_BTF. For CO-RE, name a BTF file of this very kernel: --btf FILE "
                             "(`skep gen min_core_btf` makes a small one for an object; collections such as BTFHub "
                             "have whole ones)",
                             path),
                 ENOENT};
  return std::move(error).within("kernel types");
}

/// The member in a structure or union, and in those inside of it that have no name. `of_bits`: bit-fields too.
std::optional<KernelTypes::MemberPlace> place_in(const btf::Btf& types, u32 id, std::string_view path, bool of_bits,
                                                 u32 depth) {
  constexpr u32 deepest = 8;
  const btf::Type record = types.type(types.resolve(id));
  if (depth > deepest || !btf::is_composite(record.kind)) return std::nullopt;
  const auto dot = path.find('.');
  const std::string_view name = path.substr(0, dot), rest = dot == path.npos ? "" : path.substr(dot + 1);
  for (const btf::Member& member : types.members(record)) {
    if ((member.bit_size != 0 && !of_bits) || (member.name != name && !member.name.empty())) continue;
    const u32 offset = member.bit_offset / 8;
    if (member.name == name && rest.empty()) {
      const auto bytes = types.size_of(member.type_id);
      return bytes ? std::optional(KernelTypes::MemberPlace{offset, static_cast<u32>(*bytes)}) : std::nullopt;
    }
    const auto inner = place_in(types, member.type_id, member.name == name ? rest : path, of_bits, depth + 1);
    if (inner) return KernelTypes::MemberPlace{offset + inner->offset, inner->bytes};
  }
  return std::nullopt;
}

Result<std::shared_ptr<const btf::Btf>> read_types(const std::string& path, bool is_running) {
  auto types = btf::Btf::from_file(path);
  if (!types) return tl::unexpected(types_error(std::move(types).error(), path, is_running));
  return types;
}

/// For each parameter the name of the structure or union that it points to, "" for other types.
std::vector<std::string_view> structures_of(const btf::Btf& types, const std::vector<btf::Param>& parameters) {
  std::vector<std::string_view> out;
  for (const btf::Param& param : parameters) {
    const auto pointer = types.type(types.resolve(param.type_id));
    const auto target = types.type(types.resolve(pointer.kind == btf::Kind::ptr ? pointer.type_id() : 0));
    out.push_back(btf::is_composite(target.kind) || target.kind == btf::Kind::fwd ? target.name : std::string_view());
  }
  return out;
}

}  // namespace

Result<std::shared_ptr<const btf::Btf>> KernelTypes::for_core() {
  if (btf_path_.empty()) return running();
  const std::lock_guard lock(mutex_);
  if (!core_) core_ = SKEP_TRY(read_types(btf_path_.native(), false));
  return core_;
}

Result<std::shared_ptr<const btf::Btf>> KernelTypes::running() {
  static std::mutex one_reads;
  static std::shared_ptr<const btf::Btf> types;  // a process lives in one kernel: all sessions share them
  const std::lock_guard lock(one_reads);
  if (!types) types = SKEP_TRY(read_types(running_path, true));
  return types;
}

Result<std::optional<u32>> KernelTypes::own(std::string_view name, btf::Kind kind) {
  return SKEP_TRY(running())->find(name, kind);
}

Result<u32> KernelTypes::function(std::string_view name) {
  if (const auto id = SKEP_TRY(own(name, btf::Kind::func))) return *id;
  return fail(
      Code::not_found,
      fmt::format("this kernel's types have no function \"{}\" (it may be inlined, renamed, or live in a module)",
                  name));
}

Result<KernelType> KernelTypes::any_function(std::string_view name) {
  const auto colon = name.find(':');
  const std::string_view module = colon == name.npos ? "" : name.substr(0, colon);
  const std::string_view function = colon == name.npos ? name : name.substr(colon + 1);
  const auto kernel = SKEP_TRY(running());
  const std::lock_guard lock(mutex_);
  if (module.empty() || module == "vmlinux")
    if (const auto id = kernel->find(function, btf::Kind::func)) return KernelType{*id, {}};
  if (auto found = in_modules(function, {btf::Kind::func}, module, kernel)) return *std::move(found);
  if (!module.empty())
    return fail(Code::not_found,
                fmt::format("no module \"{}\" is loaded, or its types have no function \"{}\"", module, function));
  return fail(
      Code::not_found,
      fmt::format("the types of this kernel, and of the modules that are loaded, have no function \"{}\" (it may "
                  "be inlined, renamed, or live in a module that is not loaded)",
                  function));
}

Result<KernelType> KernelTypes::any_tracepoint(std::string_view name) {
  const std::string type = fmt::format("btf_trace_{}", name);
  const auto kernel = SKEP_TRY(running());
  const std::lock_guard lock(mutex_);
  if (const auto id = kernel->find(type, btf::Kind::typedef_)) return KernelType{*id, {}};
  if (auto found = in_modules(type, {btf::Kind::typedef_}, "", kernel)) return *std::move(found);
  return fail(Code::not_found, fmt::format("this kernel has no raw tracepoint \"{}\"", name));
}

bool KernelTypes::is_declared_so(const KernelType& function, const btf::Btf& local, u32 declaration) {
  const auto kernel = running();
  if (!kernel) return true;
  const std::lock_guard lock(mutex_);
  const auto types = function.module.empty() ? kernel : modules_.types(function.module);
  if (!types || declaration >= local.type_count() || local.type(declaration).kind != btf::Kind::func) return true;
  if (function.id >= (*types)->type_count() || (*types)->type(function.id).kind != btf::Kind::func) return true;
  const auto fits = btf::declarations_fit(local, declaration, **types, function.id);
  return !fits || *fits;
}

std::optional<KernelType> KernelTypes::symbol(std::string_view name) {
  const auto kernel = running();
  if (!kernel) return std::nullopt;
  const std::lock_guard lock(mutex_);
  for (const auto kind : {btf::Kind::var, btf::Kind::func})
    if (const auto id = (*kernel)->find(name, kind)) return KernelType{*id, {}};
  return in_modules(name, {btf::Kind::var, btf::Kind::func}, "", *kernel);
}

std::optional<KernelType> KernelTypes::in_modules(std::string_view name, std::initializer_list<btf::Kind> kinds,
                                                  std::string_view only,
                                                  const std::shared_ptr<const btf::Btf>& kernel) {
  const auto look = [&]() -> std::optional<KernelType> {
    for (const auto kind : kinds)
      if (auto found = modules_.find(name, kind, only, kernel)) return found;
    return std::nullopt;
  };
  if (auto found = look()) return found;
  return modules_.refresh(kernel) ? look() : std::nullopt;
}

Result<KernelTypes::Structure> KernelTypes::structure(std::string_view name) {
  auto kernel = SKEP_TRY(running());
  const std::lock_guard lock(mutex_);
  if (const auto id = kernel->find(name, btf::Kind::struct_)) return Structure{{*id, {}}, std::move(kernel)};
  auto found = in_modules(name, {btf::Kind::struct_}, "", kernel);
  if (!found) return fail(Code::not_found, fmt::format("neither this kernel nor a module has struct {}", name));
  auto own = SKEP_TRY(modules_.types(found->module));
  return Structure{*std::move(found), std::move(own)};
}

std::vector<std::shared_ptr<const btf::Btf>> KernelTypes::modules_with(
    const std::set<std::string, std::less<>>& names) {
  using K = btf::Kind;
  std::vector<std::shared_ptr<const btf::Btf>> found;
  if (!btf_path_.empty()) return found;
  const auto kernel = running();
  if (!kernel) return found;
  const std::lock_guard lock(mutex_);
  modules_.refresh(*kernel);  // once for all names: most are in no module
  std::set<std::string> modules;
  for (const std::string& name : names)
    for (const K kind : {K::struct_, K::union_, K::enum_, K::enum64, K::typedef_})
      if (const auto one = modules_.find(name, kind, "", *kernel)) modules.insert(one->module);
  for (const std::string& module : modules)
    if (auto parsed = modules_.types(module)) found.push_back(*std::move(parsed));
  return found;
}

Result<u32> KernelTypes::tracepoint(std::string_view name) {
  if (const auto id = SKEP_TRY(own(fmt::format("btf_trace_{}", name), btf::Kind::typedef_))) return *id;
  return fail(Code::not_found, fmt::format("this kernel has no raw tracepoint \"{}\"", name));
}

Result<u32> KernelTypes::argument_count(std::string_view function_name) {
  const u32 id = SKEP_TRY(function(function_name));
  const auto types = SKEP_TRY(running());
  const auto prototype = types->type(types->type(id).type_id());
  if (prototype.kind != btf::Kind::func_proto)
    return fail(Code::malformed, fmt::format("kernel types: function {} has no prototype", function_name));
  const auto params = types->params(prototype);
  for (const btf::Param& param : params) {
    const auto kind = types->type(types->resolve(param.type_id)).kind;
    if (kind == btf::Kind::struct_ || kind == btf::Kind::union_)
      return fail(Code::unsupported,
                  fmt::format("function {} takes a structure by value ({}); its registers cannot be rebuilt",
                              function_name, param.name));
  }
  return static_cast<u32>(params.size());
}

std::vector<std::string_view> KernelTypes::parameter_structures(std::string_view function_name) {
  const auto id = function(function_name);
  const auto types = running();
  if (!id || !types) return {};
  const auto prototype = (*types)->type((*types)->type(*id).type_id());
  if (prototype.kind != btf::Kind::func_proto) return {};
  return structures_of(**types, (*types)->params(prototype));
}

std::vector<std::string_view> KernelTypes::tracepoint_structures(std::string_view name) {
  const auto arguments = tracepoint_arguments(name);
  const auto types = running();
  return arguments && types ? structures_of(**types, *arguments) : std::vector<std::string_view>();
}

Result<u32> KernelTypes::tracepoint_argument_count(std::string_view name) {
  return static_cast<u32>(SKEP_TRY(tracepoint_arguments(name)).size());
}

Result<std::vector<btf::Param>> KernelTypes::tracepoint_arguments(std::string_view name) {
  const u32 id = SKEP_TRY(tracepoint(name));
  const auto types = SKEP_TRY(running());
  const auto pointer = types->type(types->resolve(id));  // typedef void (*btf_trace_NAME)(void *, ...)
  const auto prototype = types->type(pointer.type_id());
  if (pointer.kind != btf::Kind::ptr || prototype.kind != btf::Kind::func_proto || types->params(prototype).empty())
    return fail(Code::malformed, fmt::format("kernel types: tracepoint {} has no prototype", name));
  auto arguments = types->params(prototype);
  arguments.erase(arguments.begin());
  return arguments;
}

std::string KernelTypes::parameter_name(std::string_view function_name, u32 index) {
  const auto id = function(function_name);
  const auto types = running();
  if (id && types)
    if (const auto prototype = (*types)->type((*types)->type(*id).type_id()); prototype.kind == btf::Kind::func_proto) {
      const auto params = (*types)->params(prototype);
      if (index < params.size() && !params[index].name.empty()) return std::string(params[index].name);
    }
  return std::to_string(index + 1);
}

std::optional<u32> KernelTypes::member_offset(std::string_view structure, std::string_view member) {
  const auto place = place_of(structure, member, true);
  return place ? std::optional(place->offset) : std::nullopt;
}

std::optional<KernelTypes::MemberPlace> KernelTypes::place_of(std::string_view structure, std::string_view member,
                                                              bool of_bits) {
  const auto types = running();
  if (!types) return std::nullopt;
  const auto id = (*types)->find(structure, btf::Kind::struct_);
  return id ? place_in(**types, *id, member, of_bits, 0) : std::nullopt;
}

std::optional<KernelTypes::MemberPlace> KernelTypes::member_place(std::string_view structure, std::string_view member) {
  return place_of(structure, member, false);
}

std::optional<s64> KernelTypes::enumerator(std::string_view enumeration, std::string_view name) {
  const auto types = running();
  if (!types) return std::nullopt;
  for (const auto kind : {btf::Kind::enum_, btf::Kind::enum64})
    if (const auto id = (*types)->find(enumeration, kind))
      for (const btf::Enumerator& one : (*types)->enumerators((*types)->type(*id)))
        if (one.name == name) return one.value;
  return std::nullopt;
}

std::optional<u32> KernelTypes::thread_status_offset() {
  const auto outer = member_offset("task_struct", "thread_info");
  const auto inner = member_offset("thread_info", "status");
  if (!outer || !inner) return std::nullopt;
  return *outer + *inner;
}

std::map<std::string, u64, std::less<>> KernelTypes::addresses(const std::set<std::string, std::less<>>& names) const {
  std::map<std::string, u64, std::less<>> found;
  static_cast<void>(symbols::each_kernel_symbol(symbols::kallsyms_path, [&](const symbols::KernelSymbol& symbol) {
    if (symbol.address != 0 && names.contains(symbol.name)) found.try_emplace(std::string(symbol.name), symbol.address);
    return found.size() < names.size();
  }));
  return found;
}

}  // namespace skep::kernel
