// Finds the function that a context is made of, and what its arguments are.
#include "verify/typed_context.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "btf/btf.hpp"

namespace skep::verify {
namespace {

using btf::Kind;
using What = TypedArgument::What;

/// Arguments of tracepoints that may be null, or hold an error code instead of a pointer (then they are numbers).
constexpr u8 no = 0xff;
struct NullableArguments {
  std::string_view tracepoint;
  u8 first, second = no;  ///< which, from 0
  u8 error = no;
};
constexpr NullableArguments nullable_arguments[] = {
#define SKEP_NULLABLE(name, ...) {#name, __VA_ARGS__},
#include "catalog/nullable_arguments.def"
#undef SKEP_NULLABLE
};

/// What an iterator says of its arguments, from 0; all others are trusted.
struct IteratorArgument {
  std::string_view iterator;
  u8 argument;
  What what;
  Trust trust;
  bool read_only = false;
};
constexpr IteratorArgument iterator_arguments[] = {
    {"task", 1, What::object, Trust::trusted},
    {"task_file", 1, What::object, Trust::plain},
    {"task_file", 3, What::object, Trust::plain},
    {"task_vma", 1, What::object, Trust::plain},
    {"task_vma", 2, What::object, Trust::plain},
    {"bpf_map", 1, What::object, Trust::trusted},
    {"bpf_map_elem", 2, What::buffer, Trust::none, true},
    {"bpf_map_elem", 3, What::buffer, Trust::none},
    {"bpf_sk_storage_map", 2, What::object, Trust::plain},
    {"bpf_sk_storage_map", 3, What::buffer, Trust::none},
    {"sockmap", 2, What::buffer, Trust::none, true},
    {"sockmap", 3, What::object, Trust::plain},
    {"tcp", 1, What::object, Trust::trusted},
    {"udp", 1, What::object, Trust::trusted},
    {"unix", 1, What::object, Trust::trusted},
    {"netlink", 1, What::object, Trust::plain},
    {"ipv6_route", 1, What::object, Trust::plain},
    {"bpf_prog", 1, What::object, Trust::trusted},
    {"bpf_link", 1, What::object, Trust::trusted},
    {"ksym", 1, What::object, Trust::plain},
    {"cgroup", 1, What::object, Trust::trusted},
    {"kmem_cache", 1, What::object, Trust::trusted},
    {"dmabuf", 1, What::object, Trust::trusted},
};

/// Operations that a program may not stand in for (their stubs have no function), and the one that may sleep.
struct RefusedMember {
  std::string_view operations, member;
};
constexpr RefusedMember refused_members[] = {{"tcp_congestion_ops", "get_info"}};
constexpr RefusedMember only_sleepers[] = {{"bpf_dummy_ops", "test_sleepable"}, {"tcp_congestion_ops", ""}};

class Maker {
 public:
  Maker(const ProgramSpec& program, const ObjectSpec& object, const btf::Btf& kernel)
      : program_(program), object_(object), kernel_(kernel) {}

  std::optional<TypedContext> make() {
    const std::string& target = program_.attach.target;
    const AttachType attach = program_.attach.attach_type();
    switch (program_.type) {
      case ProgramType::netfilter:
        return netfilter();
      case ProgramType::struct_ops:
        return struct_operation();
      case ProgramType::lsm:
        return hook(target);
      case ProgramType::tracing:
        if (attach == AttachType::trace_raw_tp) return tracepoint(target);
        if (attach == AttachType::trace_iter) return iterator(target);
        if (attach == AttachType::trace_fentry || attach == AttachType::trace_fexit ||
            attach == AttachType::modify_return)
          return function(target, attach);
        return std::nullopt;
      default:
        return std::nullopt;
    }
  }

 private:
  std::optional<u32> prototype_of(std::string_view name) const {
    auto func = kernel_.find(name, Kind::func);
    if (!func) return std::nullopt;
    u32 proto = kernel_.type(*func).type_id();
    if (kernel_.type(proto).kind != Kind::func_proto) return std::nullopt;
    return proto;
  }

  u32 skip_modifiers(u32 id) const { return kernel_.resolve(id); }

  TypedArgument argument(u32 type_id, u32 offset, Trust trust) const {
    TypedArgument a;
    a.offset = offset;
    btf::Type type = kernel_.type(skip_modifiers(type_id));
    auto size = kernel_.size_of(type_id);
    if (size) a.size = static_cast<u32>((*size + 7) / 8 * 8);
    if (type.kind == Kind::float_ || type.kind == Kind::array || type.kind == Kind::func_proto) a.what = What::refused;
    if (type.kind != Kind::ptr) return a;
    a.size = 8;
    a.is_pointer = true;
    // Tags stand between the pointer and its target: memory of a process or of one CPU is reached in other ways.
    for (u32 id = type.type_id(), round = 0; round < 16; round++) {
      btf::Type t = kernel_.type(id);
      if (t.kind == Kind::type_tag && t.name == "user") trust = Trust::user;
      if (t.kind == Kind::type_tag && t.name == "percpu") trust = Trust::percpu;
      if (t.kind != Kind::type_tag && t.kind != Kind::const_ && t.kind != Kind::volatile_ && t.kind != Kind::typedef_ &&
          t.kind != Kind::restrict_)
        break;
      id = t.type_id();
    }
    u32 to = skip_modifiers(type.type_id());
    if (kernel_.type(to).kind != Kind::struct_ && kernel_.type(to).kind != Kind::union_) return a;
    a.what = What::object;
    a.trust = trust;
    a.type = to;
    return a;
  }

  TypedContext from_prototype(std::string name, u32 proto, u32 skipped, Trust trust) const {
    TypedContext context;
    context.name = std::move(name);
    btf::Type type = kernel_.type(proto);
    u32 offset = 0, index = 0;
    for (const btf::Param& p : kernel_.params(type)) {
      if (index++ < skipped) continue;
      if (p.type_id == 0) break;  // variable arguments
      TypedArgument a = argument(p.type_id, offset, trust);
      if (p.name.ends_with("__nullable")) a.or_null = true;
      offset += a.size;
      context.arguments.push_back(a);
    }
    context.returns_nothing = skip_modifiers(type.type_id()) == 0;
    return context;
  }

  void add_result(TypedContext& context, u32 proto) const {
    if (context.returns_nothing) return;
    u32 offset = context.arguments.empty() ? 0 : context.arguments.back().offset + context.arguments.back().size;
    context.arguments.push_back(argument(kernel_.type(proto).type_id(), offset, Trust::plain));
  }

  std::optional<TypedContext> tracepoint(std::string_view target) const {
    auto name = kernel_.find(fmt::format("btf_trace_{}", target), Kind::typedef_);
    if (!name) return std::nullopt;
    btf::Type pointer = kernel_.type(skip_modifiers(*name));
    if (pointer.kind != Kind::ptr || kernel_.type(pointer.type_id()).kind != Kind::func_proto) return std::nullopt;
    TypedContext context =
        from_prototype(fmt::format("the arguments of tracepoint {}", target), pointer.type_id(), 1, Trust::trusted);
    for (const NullableArguments& row : nullable_arguments) {
      if (row.tracepoint != target) continue;
      for (u8 index : {row.first, row.second})
        if (index < context.arguments.size()) context.arguments[index].or_null = true;
      if (row.error < context.arguments.size()) context.arguments[row.error].what = What::number;
    }
    context.returns_nothing = false;  // what the program returns is looked at by nobody
    return context;
  }

  std::optional<TypedContext> iterator(std::string_view target) const {
    auto proto = prototype_of(fmt::format("bpf_iter_{}", target));
    if (!proto) return std::nullopt;
    TypedContext context = from_prototype(fmt::format("struct bpf_iter__{}", target), *proto, 0, Trust::trusted);
    for (const IteratorArgument& row : iterator_arguments) {
      if (row.iterator != target || row.argument >= context.arguments.size()) continue;
      TypedArgument& a = context.arguments[row.argument];
      a.what = row.what;
      a.trust = row.trust;
      a.read_only = row.read_only;
      a.or_null = true;
    }
    context.returns_nothing = false;
    return context;
  }

  std::optional<TypedContext> function(std::string_view target, AttachType attach) const {
    auto proto = prototype_of(target);
    if (!proto) return std::nullopt;
    TypedContext context = from_prototype(fmt::format("the arguments of {}()", target), *proto, 0, Trust::plain);
    if (attach != AttachType::trace_fentry) add_result(context, *proto);
    context.returns_nothing = false;
    return context;
  }

  std::optional<TypedContext> hook(std::string_view target) const {
    auto proto = prototype_of(fmt::format("bpf_lsm_{}", target));
    if (!proto) return std::nullopt;
    // Hooks that run while their objects are being taken down.
    constexpr std::string_view untrusted[] = {"bpf_map_free",       "bpf_prog_free",     "file_alloc_security",
                                              "file_free_security", "sk_alloc_security", "sk_free_security",
                                              "task_free",          "bpf_token_free"};
    // Hooks whose result is no error code, or which have no business with programs.
    constexpr std::string_view disabled[] = {"vm_enough_memory",   "inode_need_killpriv", "inode_getsecurity",
                                             "inode_listsecurity", "inode_copy_up_xattr", "getselfattr",
                                             "getprocattr",        "setprocattr",         "key_getsecurity",
                                             "audit_rule_match",   "ismaclabel"};
    Trust trust = Trust::trusted;
    for (std::string_view u : untrusted)
      if (u == target) trust = Trust::plain;
    TypedContext context = from_prototype(fmt::format("the arguments of LSM hook {}", target), *proto, 0, trust);
    context.refused = std::ranges::find(disabled, target) != std::end(disabled);
    add_result(context, *proto);
    if (!context.returns_nothing && program_.attach.attach_type() != AttachType::lsm_cgroup) {
      constexpr s64 max_errno = 4095;
      constexpr std::string_view yes_or_no[] = {"audit_rule_known", "inode_xattr_skipcap"};
      context.returns = std::pair<s64, s64>{-max_errno, 0};
      for (std::string_view b : yes_or_no)
        if (b == target) context.returns = std::pair<s64, s64>{0, 1};
      context.arguments.back().range = context.returns;  // what the programs before this one returned
    }
    if (program_.attach.attach_type() == AttachType::lsm_cgroup) {
      context.returns = std::pair<s64, s64>{0, 1};
      if (context.returns_nothing) context.returns = std::pair<s64, s64>{1, 1};
      context.returns_nothing = false;
    }
    return context;
  }

  std::optional<TypedContext> netfilter() const {
    TypedContext context;
    context.name = "struct bpf_nf_ctx";
    for (std::string_view name : {"nf_hook_state", "sk_buff"}) {
      auto id = kernel_.find(name, Kind::struct_);
      if (!id) return std::nullopt;
      TypedArgument a;
      a.what = What::object;
      a.trust = Trust::trusted;
      a.is_pointer = true;
      a.offset = static_cast<u32>(context.arguments.size()) * 8;
      a.type = *id;
      context.arguments.push_back(a);
    }
    return context;
  }

  /// The member of the operations that a map of the object fills with this program.
  std::optional<TypedContext> struct_operation() const {
    if (object_.btf == nullptr) return std::nullopt;
    for (const MapSpec& map : object_.maps) {
      if (map.type != MapType::struct_ops || map.btf_value_type_id == 0) continue;
      for (const MapSpec::Slot& slot : map.slots) {
        if (slot.name != program_.name) continue;
        btf::Type own = object_.btf->type(object_.btf->resolve(map.btf_value_type_id));
        if (own.kind != Kind::struct_) continue;
        for (const btf::Member& m : object_.btf->members(own))
          if (m.bit_offset == slot.index * 8)
            if (auto found = operation(own.name, m.name)) return found;
      }
    }
    return std::nullopt;
  }

  std::optional<TypedContext> operation(std::string_view operations, std::string_view member) const {
    std::string_view plain = operations.substr(0, operations.find("___"));
    auto id = kernel_.find(plain, Kind::struct_);
    if (!id) return std::nullopt;
    for (const btf::Member& m : kernel_.members(kernel_.type(*id))) {
      if (m.name != member) continue;
      btf::Type pointer = kernel_.type(skip_modifiers(m.type_id));
      if (pointer.kind != Kind::ptr) return std::nullopt;
      u32 proto = skip_modifiers(pointer.type_id());
      if (kernel_.type(proto).kind != Kind::func_proto) return std::nullopt;
      TypedContext context =
          from_prototype(fmt::format("the arguments of {}.{}", plain, member), proto, 0, Trust::trusted);
      if (const auto stub = prototype_of(fmt::format("{}__{}", plain, member))) believe_stub(context, *stub);
      context.operations = plain;
      context.member = member;
      if (plain == "tcp_congestion_ops") believe_tcp(context);
      for (const RefusedMember& row : refused_members)
        if (row.operations == plain && row.member == member) context.refused = true;
      for (const RefusedMember& row : only_sleepers)
        if (row.operations == plain && row.member != member && program_.sleepable) context.refused = true;
      return context;
    }
    return std::nullopt;
  }

  /// The kernel's own stand-in for an operation, which names what may be null.
  void believe_stub(TypedContext& context, u32 proto) const {
    const auto params = kernel_.params(kernel_.type(proto));
    for (std::size_t i = 0; i < params.size() && i < context.arguments.size(); i++)
      if (params[i].name.ends_with("__nullable") && context.arguments[i].what == What::object)
        context.arguments[i].or_null = true;
  }

  /// The sockets of a congestion control are TCP's.
  void believe_tcp(TypedContext& context) const {
    const auto tcp = kernel_.find("tcp_sock", Kind::struct_);
    for (TypedArgument& a : context.arguments)
      if (tcp && a.what == What::object && kernel_.type(a.type).name == "sock") a.type = *tcp;
  }

  const ProgramSpec& program_;
  const ObjectSpec& object_;
  const btf::Btf& kernel_;
};

}  // namespace

std::optional<TypedContext> typed_context(const ProgramSpec& program, const ObjectSpec& object,
                                          const btf::Btf& kernel) {
  return Maker(program, object, kernel).make();
}

std::string missing_target(const ProgramSpec& program) {
  const std::string& target = program.attach.target;
  if (target.empty()) return {};
  if (program.type == ProgramType::lsm) return "LSM hook " + target;
  if (program.type != ProgramType::tracing) return {};
  switch (program.attach.attach_type()) {
    case AttachType::trace_raw_tp:
      return "tracepoint " + target;
    case AttachType::trace_iter:
      return "iterator over " + target;
    case AttachType::trace_fentry:
    case AttachType::trace_fexit:
    case AttachType::modify_return:
      return "function " + target;
    default:
      return {};
  }
}

std::string unknown_operation(const ProgramSpec& program, const ObjectSpec& object, const btf::Btf* kernel) {
  if (object.btf == nullptr) return "the object has no types (compile with -g)";
  for (const MapSpec& map : object.maps) {
    if (map.type != MapType::struct_ops || map.btf_value_type_id == 0) continue;
    for (const MapSpec::Slot& slot : map.slots) {
      if (slot.name != program.name) continue;
      const btf::Type own = object.btf->type(object.btf->resolve(map.btf_value_type_id));
      const std::string_view plain = own.name.substr(0, own.name.find("___"));
      if (kernel == nullptr) return fmt::format("there are no kernel types to look struct {} up in", plain);
      if (!kernel->find(plain, btf::Kind::struct_)) return fmt::format("the target's types have no struct {}", plain);
      return fmt::format("the kernel's struct {} has no such operation", plain);
    }
  }
  return fmt::format("no variable of the object has {} as one of its operations", program.name);
}

}  // namespace skep::verify
