// Loads, stores and atomics: every access is proved to lie inside what its pointer points to.
#include "btf/btf.hpp"
#include "catalog/attach_rules.hpp"
#include "verify/checker.hpp"

namespace skep::verify {

using catalog::Field;
using catalog::MessageId;
using isa::Form;

namespace {
constexpr s64 max_offset = 1 << 29;

constexpr u8 plain_group = 1;
constexpr u8 group_of(Kind kind) { return static_cast<u8>(static_cast<u8>(kind) + 1); }

/// Kinds whose loads the engine performs in its own way: an instruction may not mix them with others.
u8 pointer_group(const Register& r, bool is_kernel) {
  switch (r.kind) {
    case Kind::object: {  // the program's own are plain memory in our engine
      const bool own = r.trust == Trust::owned || r.trust == Trust::shared || r.trust == Trust::cpu_part;
      return own && !is_kernel ? plain_group : group_of(r.kind);
    }
    case Kind::memory:
      return is_kernel ? group_of(r.kind) : plain_group;
    case Kind::context:
    case Kind::sock_common:
    case Kind::socket:
    case Kind::tcp_socket:
    case Kind::arena:
      return group_of(r.kind);
    default:
      return plain_group;
  }
}

/// Linux takes memory for plain where it comes second, and loads from it beside those from objects. Source: Linux 6.18,
/// save_aux_ptr_type.
bool may_mix(u8 seen, u8 group, bool loads) {
  constexpr u8 memory = group_of(Kind::memory), object = group_of(Kind::object);
  if (seen == group || seen == 0) return true;
  const bool both_plain = (seen == plain_group || seen == memory) && (group == plain_group || group == memory);
  return both_plain || (loads && (seen == memory || seen == object) && (group == memory || group == object));
}
}  // namespace

bool Checker::check_region(const Register& r, u32 index, s32 off, u32 size, u64 region, std::string_view what,
                           bool zero_ok) {
  const auto said = [&] { return what.empty() ? name(r) : std::string(what); };
  s64 base = s64{r.off} + off;
  s64 low = base + r.number.wide.smin;
  if (r.number.wide.smin < -max_offset || low < 0)
    return refuse_for(static_cast<s32>(index), MessageId::below_region, said(), size, low, name(r));
  if (r.number.wide.umax >= static_cast<u64>(max_offset))
    return refuse_for(static_cast<s32>(index), MessageId::unbounded_offset, said(), index, size, region);
  u64 end = static_cast<u64>(base + static_cast<s64>(r.number.wide.umax)) + size;
  if (end > region || (size == 0 && !zero_ok))
    return refuse_for(static_cast<s32>(index), MessageId::outside_region, said(), size, low, end, region);
  return true;
}

bool Checker::check_map_value(u32 index, const Register& r, s32 off, u32 size, Access access, bool zero_ok) {
  const MapFacts& map = maps_[r.object];
  if (access == Access::read && !map.program_reads) return refuse(MessageId::map_not_readable, map.spec->name);
  if (access != Access::read && !map.program_writes) return refuse(MessageId::map_not_writable, map.spec->name);
  if (access != Access::read && r.read_only) return refuse(MessageId::map_not_writable, map.spec->name);
  if (!check_region(r, index, off, size, map.spec->value_size, map.value_name, zero_ok)) return false;
  s64 low = s64{r.off} + off + r.number.wide.smin;
  s64 end = s64{r.off} + off + static_cast<s64>(r.number.wide.umax) + size;
  for (const SpecialField& f : map.fields)
    if (low < s64{f.offset} + f.size && f.offset < end && !is_kptr_load(f, low, size, r, access))
      return refuse_for(static_cast<s32>(index), MessageId::special_field_touched, f.type_name, f.offset,
                        map.spec->name, low, end);
  return true;
}

/// A pointer to an object may be read, whole; it comes back as one (load_kptr).
bool Checker::is_kptr_load(const SpecialField& f, s64 low, u32 size, const Register& r, Access access) const {
  bool kptr = f.what == SpecialField::What::kptr || f.what == SpecialField::What::kptr_untrusted ||
              f.what == SpecialField::What::kptr_percpu || (is_kernel() && f.what == SpecialField::What::uptr);
  return kptr && access == Access::read && low == f.offset && size == 8 && r.number.is_const() &&
         isa::row(facts().op).form == Form::load;
}

/// Whether `value` is stored where a value keeps a pointer that may be stale (`__kptr_untrusted`): any pointer to such
/// an object is good enough, or null. Source: Linux 6.18, check_map_kptr_access.
bool Checker::keeps_untrusted(const Register& r, s32 off, u32 size, const Register& value) const {
  const Form f = isa::row(facts().op).form;
  if (!is_kernel() || size != 8 || !r.number.is_const() || (f != Form::store_reg && f != Form::store_imm)) return false;
  const s64 at = s64{r.off} + off + static_cast<s64>(r.number.value());
  for (const SpecialField& field : maps_[r.object].fields) {
    if (field.what != SpecialField::What::kptr_untrusted || field.offset != at || field.target == 0) continue;
    if (value.is_scalar()) return value.is_zero();
    const std::string_view type = object_.btf->type(field.target).name;
    return value.kind == Kind::object && value.is_fixed() && value.trust != Trust::user &&
           value.trust != Trust::percpu && is_object_of(value, type.substr(0, type.find("___")));
  }
  return false;
}

const catalog::Context* Checker::context_layout() const {
  const bool is_host = options_.host_context && program_.type == ProgramType::syscall;
  return is_host ? &options_.host_context->layout : catalog::context_of(program_.type);
}

bool Checker::may_write_packet() const {
  if (options_.host_context && program_.type == ProgramType::syscall) return options_.host_context->packet_writable;
  using namespace catalog::programs;
  constexpr catalog::ProgramSet writers = tc | xdp | lwt_xmit | sk_skb | sk_msg | cgroup_sockopt;
  return catalog::contains(writers, program_.type);
}

bool Checker::check_packet(u32 index, const Register& r, s32 off, u32 size, bool zero_ok) {
  if (r.number.wide.smin < 0)
    return refuse_for(static_cast<s32>(index), MessageId::below_region, "the packet", size,
                      s64{r.off} + off + r.number.wide.smin, name(r));
  s64 low = s64{r.off} + off;
  if (low < 0 || static_cast<u64>(low) + size > r.extent || (size == 0 && !zero_ok))
    return refuse_for(static_cast<s32>(index), MessageId::packet_out_of_bounds, size, low, low + size, r.extent);
  return true;
}

bool Checker::check_fields(u32 index, const Register& r, const catalog::Context& layout, s32 off, u32 size,
                           Access access, Register* result) {
  s64 at = s64{r.off} + off;
  auto no = [&] {
    return refuse_for(static_cast<s32>(index),
                      access == Access::read ? MessageId::context_not_readable : MessageId::context_not_writable, size,
                      at, layout.name, static_cast<unsigned>(layout.size), name_of(program_.type));
  };
  if (!r.is_fixed()) return refuse_for(static_cast<s32>(index), MessageId::context_offset_varies, name(r));
  if (at < 0 || at + size > layout.size || at % size != 0) return no();
  for (const catalog::ContextField& f : layout.fields) {
    if (at < f.offset || at >= f.offset + f.size) continue;
    if (at + size > f.offset + f.size) return no();
    bool whole = at == f.offset && size == f.size;
    bool wide_enough =
        whole || f.kind == Field::array || (f.kind == Field::words && (access == Access::read || size >= 4)) ||
        (f.kind == Field::port && at + size <= f.offset + 2) || (f.kind == Field::number && access == Access::read);
    if (!wide_enough || !catalog::contains(access == Access::read ? f.readers : f.writers, program_.type)) return no();
    if (r.kind == Kind::context) {
      if (!catalog::has_field_at(program_.type, f.offset, program_.attach.attach_type())) return no();
      if (is_unprivileged() && is_privileged_field(f.offset, access)) return no();
      context_bytes_ = std::max(context_bytes_, static_cast<u32>(f.offset + f.size));
      s32 native = f.native >= 0 ? f.native + 1 : -1;
      if (context_load_at_[insn_] != 0 && context_load_at_[insn_] != native)
        return refuse(MessageId::mixed_pointers, name(r));
      context_load_at_[insn_] = native;
    }
    if (result == nullptr) return true;
    Register value = Register::scalar(Scalar::of_bits(size * 8));
    auto nullable = [&](Kind kind) {
      value = Register::pointer(kind);
      value.or_null = true;
      value.id = new_id();
    };
    switch (f.kind) {
      case Field::number:
      case Field::exact:
      case Field::array:
      case Field::words:
      case Field::port:
        break;
      case Field::packet:
        value = Register::pointer(Kind::packet);
        break;
      case Field::packet_end:
        value = Register::pointer(Kind::packet_end);
        break;
      case Field::packet_meta:
        value = Register::pointer(Kind::packet_meta);
        break;
      case Field::socket:
        value = Register::pointer(Kind::socket);
        break;
      case Field::socket_or_null:
        nullable(Kind::socket);
        break;
      case Field::sock_common_or_null:
        nullable(Kind::sock_common);
        break;
      case Field::flow_keys:
        value = Register::pointer(Kind::flow_keys);
        break;
    }
    *result = value;
    return true;
  }
  return no();
}

bool Checker::check_context(u32 index, s32 off, u32 size, Access access, Register* result) {
  const Register& r = reg(index);
  const catalog::Context& layout = *context_layout();
  if (typed_context_) return check_typed_context(index, off, size, access, result);
  if (!r.is_fixed() || r.off != 0) {
    if (!layout.words.writable || is_kernel())
      return refuse_for(static_cast<s32>(index), MessageId::context_pointer_moved, name(r));
    if (!check_region(r, index, off, size, layout.size, layout.name, false)) return false;
    context_bytes_ =
        std::max(context_bytes_, static_cast<u32>(r.off + off + static_cast<s64>(r.number.wide.umax)) + size);
    if (result != nullptr) *result = Register::scalar(Scalar::of_bits(size * 8));
    return true;
  }
  if (!layout.fields.empty()) return check_fields(index, r, layout, off, size, access, result);
  bool inside = off >= layout.words.first && s64{off} + size <= layout.words.size && off % static_cast<s32>(size) == 0;
  if (!inside || (access != Access::read && !layout.words.writable))
    return refuse_for(static_cast<s32>(index),
                      access == Access::read ? MessageId::context_not_readable : MessageId::context_not_writable, size,
                      off, layout.name, static_cast<unsigned>(layout.size), name_of(program_.type));
  context_bytes_ = std::max(context_bytes_, static_cast<u32>(off) + size);
  if (result != nullptr) *result = Register::scalar(Scalar::of_bits(size * 8));
  if (program_.type == ProgramType::raw_tracepoint_writable && off == 0 && size == 8 && result != nullptr)
    *result = Register::pointer(Kind::tp_buffer);
  return true;
}

/// A context made of a function's arguments, as the kernel's types describe them.
bool Checker::check_typed_context(u32 index, s32 off, u32 size, Access access, Register* result) {
  const Register& r = reg(index);
  if (!r.is_fixed() || r.off != 0)
    return refuse_for(static_cast<s32>(index), MessageId::context_pointer_moved, name(r));
  const TypedArgument* found = nullptr;
  for (const TypedArgument& a : typed_context_->arguments)
    if (off >= 0 && static_cast<u32>(off) >= a.offset && static_cast<u32>(off) < a.offset + a.size) found = &a;
  using What = TypedArgument::What;
  bool pointer = found != nullptr && (found->what == What::object || found->what == What::buffer);
  if (access != Access::read || found == nullptr || found->what == What::refused || off % 8 != 0 ||
      (found->is_pointer && size != 8)) {
    const auto& all = typed_context_->arguments;
    u32 bytes = all.empty() ? 0 : all.back().offset + all.back().size;
    return refuse_for(static_cast<s32>(index),
                      access == Access::read ? MessageId::context_not_readable : MessageId::context_not_writable, size,
                      off, typed_context_->name, bytes, name_of(program_.type));
  }
  context_bytes_ = std::max(context_bytes_, static_cast<u32>(off) + size);
  if (result != nullptr && found->range && size >= 4) {  // of an int
    Scalar number;
    number.narrow.meet_signed(static_cast<s32>(found->range->first), static_cast<s32>(found->range->second));
    if (size == 4)
      number.zero_extend();
    else
      number.wide.meet_signed(found->range->first, found->range->second);
    number.normalise();
    *result = Register::scalar(number);
  }
  if (result == nullptr || !pointer) return true;
  Register value = Register::pointer(found->what == What::buffer ? Kind::tp_buffer : Kind::object);
  value.read_only = found->read_only;
  if (found->what == What::object) {
    value.object = type_index(options_.kernel_types.get(), found->type, options_.kernel_types->type(found->type).name);
    value.trust = found->trust;
  }
  value.or_null = found->or_null;
  if (value.or_null) value.id = new_id();
  *result = value;
  return true;
}

/// A value in memory nobody writes any more (.rodata) is a known number.
bool Checker::read_constant(const Register& r, s32 off, u32 size, Register* result) {
  const MapFacts& map = maps_[r.object];
  if (!map.is_constant || !r.number.is_const()) return false;
  u64 at = static_cast<u64>(s64{r.off} + off) + r.number.value();
  const auto& bytes = map.spec->initial_value;
  if (at + size > bytes.size() || size > 8) return false;
  u64 value = 0;
  for (u32 b = 0; b < size; b++) value |= static_cast<u64>(bytes[at + b]) << (8 * b);
  *result = Register::constant(value);
  return true;
}

/// One access of `size` bytes at register `index` + `off`. A read fills `result`.
bool Checker::check_access(u32 index, s32 off, u32 size, Access access, Register* result, const Register* stored) {
  const Register r = reg(index);
  if (r.kind == Kind::uninitialised) return readable(index);
  if (r.is_scalar()) {
    const std::string missing = options_.kernel_types && !typed_context_ ? missing_target(program_) : std::string();
    if (!missing.empty()) return refuse_for(static_cast<s32>(index), MessageId::no_attach_target, missing, index);
    return refuse_for(static_cast<s32>(index), MessageId::not_a_pointer, index, size, describe(r, ""));
  }
  if (r.or_null) return refuse_for(static_cast<s32>(index), MessageId::maybe_null, index, name(r));
  const u8 group = pointer_group(r, is_kernel());
  u8& seen = pointer_group_at_[insn_];
  if (!may_mix(seen, group, form() == Form::load))
    return refuse_for(static_cast<s32>(index), MessageId::mixed_pointers, name(r));
  if (seen == 0 || seen == group_of(Kind::object)) seen = group;
  if (result != nullptr) *result = Register::scalar(Scalar::of_bits(size * 8));
  if (stored != nullptr && stored->is_pointer() && r.kind != Kind::stack &&
      !keeps_address(insn().src, "written where others read"))
    return false;
  switch (r.kind) {
    case Kind::context:
      return check_context(index, off, size, access, result);
    case Kind::stack: {
      Tnum at = r.number.bits + Tnum::of(static_cast<u64>(s64{r.off} + off));
      if (!at.is_aligned(size))
        return refuse_for(static_cast<s32>(index), MessageId::stack_misaligned, s64{r.off} + off, size);
      if (access == Access::read) return stack_load(index, off, size, result);
      return stack_store(index, off, size, *stored, form() == Form::store_reg || form() == Form::store_release);
    }
    case Kind::map_value:
      if (stored != nullptr && keeps_untrusted(r, off, size, *stored))
        return !stored->is_scalar() || form() == Form::store_imm || need_precise(insn().src);
      if (!check_map_value(index, r, off, size, access, false)) return false;
      if (result != nullptr && !read_constant(r, off, size, result))
        for (const SpecialField& f : maps_[r.object].fields)
          if (is_kptr_load(f, s64{r.off} + off + static_cast<s64>(r.number.value()), size, r, access))
            return load_kptr(f, result);
      return true;
    case Kind::packet:
    case Kind::packet_meta:
      if (access != Access::read && !may_write_packet())
        return refuse(MessageId::packet_not_writable, name_of(program_.type));
      return check_packet(index, r, off, size, false);
    case Kind::memory:
      if (access != Access::read && r.read_only) return refuse(MessageId::memory_not_writable, name(r));
      return is_untrusted_memory(r) || check_region(r, index, off, size, r.extent, {}, false);
    case Kind::sock_common:
      if (s64 at = s64{r.off} + off; at >= 8 && at < 24)
        return refuse_for(static_cast<s32>(index), MessageId::needs_full_socket, size, at);
      [[fallthrough]];
    case Kind::socket:
      if (access != Access::read) return refuse_for(static_cast<s32>(index), MessageId::memory_not_writable, name(r));
      return check_fields(index, r, catalog::bpf_sock_fields(), off, size, access, result);
    case Kind::tcp_socket:
      if (access != Access::read) return refuse_for(static_cast<s32>(index), MessageId::memory_not_writable, name(r));
      return check_fields(index, r, catalog::bpf_tcp_sock_fields(), off, size, access, result);
    case Kind::xdp_socket:
      if (access != Access::read) return refuse_for(static_cast<s32>(index), MessageId::memory_not_writable, name(r));
      return check_fields(index, r, catalog::bpf_xdp_sock_fields(), off, size, access, result);
    case Kind::flow_keys:
      return check_region(r, index, off, size, 56, "struct bpf_flow_keys", false);
    case Kind::tp_buffer:
      if (access != Access::read && r.read_only) return refuse(MessageId::memory_not_writable, name(r));
      if (!r.number.is_const() || s64{r.off} + off < 0)
        return refuse_for(static_cast<s32>(index), MessageId::context_offset_varies, name(r));
      tp_buffer_bytes_ = std::max(tp_buffer_bytes_, static_cast<u32>(r.off + off) + size);
      return is_kernel() ? true : refuse(MessageId::unsupported_access, name(r));
    case Kind::object:
      return check_object(index, off, size, access, result);
    case Kind::arena:
      arena_access_[insn_] = true;
      return true;
    case Kind::task:
      return refuse_for(static_cast<s32>(index), MessageId::unsupported_access, name(r));
    case Kind::map:
      if (!is_kernel() || options_.kernel_types == nullptr || is_unprivileged()) break;
      return check_map_pointer(index, off, size, access, result);
    case Kind::packet_end:
    case Kind::function:
    case Kind::dynptr:
    case Kind::iterator:
    case Kind::irq_flag:
    case Kind::scalar:
    case Kind::uninitialised:
      break;
  }
  return refuse_for(static_cast<s32>(index), MessageId::not_memory, index, name(r));
}

bool Checker::do_load() {
  const Insn& i = insn();
  u32 size = isa::access_bytes(i);
  if (!readable(i.src)) return false;
  Register value;
  bool is_signed = (i.code & 0xe0) == 0x80;
  if (!check_access(i.src, i.off, size, Access::read, &value, nullptr)) return false;
  if (is_signed) {
    if (!value.is_scalar())
      return refuse_for(i.src, MessageId::context_not_readable, size, s64{i.off}, "a pointer field", 0u,
                        name_of(program_.type));
    value = Register::scalar(sign_extended(value.number, size * 8, true));
    path_.back().what = path_.back().what == Step::What::stack_read ? Step::What::stack_read : Step::What::plain;
  }
  reg(i.dst) = value;
  return true;
}

bool Checker::do_store() {
  const Insn& i = insn();
  u32 size = isa::access_bytes(i);
  bool from_register = form() != Form::store_imm;
  if (!readable(i.dst) || (from_register && !readable(i.src))) return false;
  if (from_register && reg(i.dst).kind == Kind::stack && reg(i.src).is_scalar()) {
    // The slot and the register are equal from here on: give them a common id.
    Register& src = reg(i.src);
    bool fits = size == 8 || src.number.wide.umax < (u64{1} << (size * 8));
    if (src.has_delta && fits) src.unlink();
    if (fits && src.id == 0 && !src.is_const()) src.id = new_id();
  }
  Register value = from_register ? reg(i.src) : Register::constant(static_cast<u64>(s64{i.imm}));
  return check_access(i.dst, i.off, size, Access::write, nullptr, &value);
}

bool Checker::do_atomic() {
  const Insn& i = insn();
  u32 size = isa::access_bytes(i);
  Form f = form();
  if (f == Form::load_acquire || f == Form::store_release) {
    u32 pointer = f == Form::load_acquire ? i.src : i.dst;
    if (!readable(pointer)) return false;
    if (reg(pointer).is_packet() || reg(pointer).kind == Kind::context || reg(pointer).kind == Kind::socket ||
        reg(pointer).kind == Kind::sock_common || reg(pointer).kind == Kind::tcp_socket ||
        reg(pointer).kind == Kind::flow_keys)
      return refuse_for(static_cast<s32>(pointer), MessageId::atomic_not_possible, name(reg(pointer)));
    Tnum where = reg(pointer).number.bits + Tnum::of(static_cast<u64>(s64{reg(pointer).off} + i.off));
    if (!where.is_aligned(size))
      return refuse_for(static_cast<s32>(pointer), MessageId::atomic_misaligned, size, s64{reg(pointer).off} + i.off);
    return f == Form::load_acquire ? do_load() : do_store();
  }
  if (!readable(i.dst) || !readable(i.src)) return false;
  if (f == Form::cmpxchg && (!readable(0) || !keeps_address(0, "compared"))) return false;
  if (!keeps_address(i.src, "written where others read")) return false;
  const Register r = reg(i.dst);
  if (r.is_packet() || r.kind == Kind::context || r.kind == Kind::flow_keys || r.kind == Kind::socket ||
      r.kind == Kind::sock_common || r.kind == Kind::tcp_socket)
    return refuse_for(i.dst, MessageId::atomic_not_possible, name(r));
  Tnum at = r.number.bits + Tnum::of(static_cast<u64>(s64{r.off} + i.off));
  if (r.is_pointer() && !at.is_aligned(size))
    return refuse_for(i.dst, MessageId::atomic_misaligned, size, s64{r.off} + i.off);
  Register old;
  if (!check_access(i.dst, i.off, size, Access::read, &old, nullptr)) return false;
  if (r.kind == Kind::stack) {
    if (!stack_range(i.dst, i.off, size, Access::write)) return false;
  } else {
    Register any = Register::unknown();
    if (!check_access(i.dst, i.off, size, Access::write, nullptr, &any)) return false;
  }
  if (f == Form::atomic_fetch) reg(i.src) = old;
  if (f == Form::cmpxchg) reg(0) = old;
  return true;
}

/// A program has one arena at most.
bool Checker::use_arena(u32 map) {
  if (arena_map_ >= 0 && arena_map_ != static_cast<s32>(map)) return refuse(MessageId::two_arenas);
  arena_map_ = static_cast<s32>(map);
  return true;
}

bool Checker::do_ld_imm64() {
  const Insn& i = insn();
  const Reference* reference =
      facts().reference >= 0 ? &program_.references[static_cast<u32>(facts().reference)] : nullptr;
  u64 immediate = isa::wide_immediate(i, program_.insns[insn_ + 1]);
  if (i.src == isa::imm64_src_map_fd && program_.insns[insn_ + 1].imm != 0)
    return refuse(MessageId::unresolved_reference, "a map with an offset");
  if (reference != nullptr) {
    switch (reference->kind) {
      case Reference::Kind::map:
      case Reference::Kind::map_value: {
        if (reference->map >= object_.maps.size()) return refuse(MessageId::unresolved_reference, reference->name);
        Register r = Register::pointer(reference->kind == Reference::Kind::map ? Kind::map : Kind::map_value);
        r.object = reference->map;
        if (object_.maps[r.object].type == MapType::arena && !use_arena(r.object)) return false;
        if (r.kind == Kind::map_value) {
          const MapSpec& spec = object_.maps[r.object];
          if (spec.type == MapType::arena) {  // an address of the user's view: a number until it is cast
            if (!use_arena(reference->map)) return false;
            reg(i.dst) = Register::unknown();
            return true;
          }
          if (spec.type != MapType::array || spec.max_entries != 1)
            return refuse(MessageId::no_direct_value, spec.name, name_of(spec.type), spec.max_entries);
          if (reference->addend >= spec.value_size)
            return refuse(MessageId::outside_region, fmt::format("the value of map {}", spec.name), 1,
                          reference->addend, u64{reference->addend} + 1, u64{spec.value_size});
          r.off = static_cast<s32>(reference->addend);
        }
        reg(i.dst) = r;
        return true;
      }
      case Reference::Kind::function: {
        Register r = Register::pointer(Kind::function);
        r.object = reference->addend;
        reg(i.dst) = r;
        return true;
      }
      case Reference::Kind::ksym:
        if (i.src != isa::imm64_src_number || reference->type_id != 0) return load_kernel_symbol(*reference);
        if (immediate != 0) break;
        // An address that is given when the program is loaded: not the same for all symbols, and 0 for what is missing.
        reg(i.dst) = Register::unknown();
        return true;
      case Reference::Kind::kconfig:
      case Reference::Kind::kfunc:
        return refuse(MessageId::unsupported_kernel_symbol, reference->name);
    }
  }
  if (i.src == isa::imm64_src_function) {
    Register r = Register::pointer(Kind::function);
    r.object = insn_ + 1 + static_cast<u32>(i.imm);
    reg(i.dst) = r;
    return true;
  }
  if (i.src != isa::imm64_src_number)
    return refuse(MessageId::unresolved_reference, fmt::format("kind {}", static_cast<unsigned>(i.src)));
  reg(i.dst) = Register::constant(immediate);
  return true;
}

/// ld_abs and ld_ind: packet bytes by the old cBPF rules; a read outside the packet ends the program with 0.
bool Checker::do_packet_load() {
  using namespace catalog::programs;
  const Insn& i = insn();
  if (!catalog::contains(socket_filter | tc, program_.type))
    return refuse(MessageId::packet_load_type, name_of(program_.type));
  if (!readable(6)) return false;
  if (reg(6).kind != Kind::context || !reg(6).is_fixed() || reg(6).off != 0)
    return refuse_for(6, MessageId::packet_load_context, name(reg(6)));
  if (form() == Form::ld_ind && !readable(i.src)) return false;
  if (state_.is_locked()) return refuse(MessageId::lock_held, "a packet load");
  if (!check_resources("a packet load may end the program")) return false;
  const FunctionInfo* function = analysis_.functions[state_.current().function].info;
  if (state_.depth > 0 && !(is_kernel() && function != nullptr && function->type_id != 0))
    return refuse(MessageId::packet_load_in_function);
  clear_caller_saved();
  reg(0) = Register::scalar(Scalar::of_bits(isa::access_bytes(i) * 8));
  if (state_.depth == 0) {
    insn_ = next_insn();
    return true;
  }
  // A read outside the packet returns 0 from the function, whose caller then goes on without what the rest of it does.
  push_pending(next_insn());
  reg(0) = Register::constant(0);
  path_.back().what = Step::What::left;
  return return_to_caller();
}

}  // namespace skep::verify
