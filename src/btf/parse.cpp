// Reading BTF: the header, the walk that finds where each type begins (walk.cpp), and a proof of all references.
//
// The kernel's own BTF has 126,000 types in 5.5 MB and is opened at every start. The proof takes longer than the walk
// and is spared for what the kernel itself serves: views are safe without it, they only read what makes no sense as
// void. It keeps the largest name offset and type id of all types and compares both with their limits once, at the end;
// only when that fails is the culprit searched for the message. Chains of modifiers and arrays are walked, so that what
// follows them always ends.
// Source: kernel Documentation/bpf/btf.rst.
#include <fmt/core.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>

#include "btf/data.hpp"

namespace skep::btf {
namespace {

struct Limits {
  u32 name = 0;  ///< the largest name offset seen
  u32 id = 0;    ///< the largest type id seen
  void names(u32 offset) { name = std::max(name, offset); }
  void ids(u32 type_id) { id = std::max(id, type_id); }
};

/// Entries of `stride` bytes: a name at 0 and, where `id_at` is not 0, a type id there.
inline void scan_entries(const u8* entry, u32 count, u32 stride, u32 id_at, Limits& limits) {
  for (u32 i = 0; i < count; i++, entry += stride) {
    limits.names(load<u32>(entry));
    if (id_at != 0) limits.ids(load<u32>(entry + id_at));
  }
}

/// Every name and type id that one type mentions.
inline void scan_type(const RawType& raw, const u8* extra, Limits& limits) {
  const u32 vlen = vlen_of(raw.info);
  limits.names(raw.name);
  switch (static_cast<Kind>(kind_of(raw.info))) {
    case Kind::struct_:
    case Kind::union_:
      scan_entries(extra, vlen, 12, 4, limits);
      break;
    case Kind::enum_:
      scan_entries(extra, vlen, 8, 0, limits);
      break;
    case Kind::enum64:
      scan_entries(extra, vlen, 12, 0, limits);
      break;
    case Kind::func_proto:
      limits.ids(raw.size_or_type);
      scan_entries(extra, vlen, 8, 4, limits);
      break;
    case Kind::array:
      limits.ids(load<u32>(extra));
      limits.ids(load<u32>(extra + 4));
      break;
    case Kind::datasec:
      for (u32 i = 0; i < vlen; i++) limits.ids(load<u32>(extra + 12ULL * i));
      break;
    case Kind::ptr:
    case Kind::typedef_:
    case Kind::volatile_:
    case Kind::const_:
    case Kind::restrict_:
    case Kind::func:
    case Kind::var:
    case Kind::decl_tag:
    case Kind::type_tag:
      limits.ids(raw.size_or_type);
      break;
    case Kind::void_:
    case Kind::int_:
    case Kind::fwd:
    case Kind::float_:
      break;
  }
}

/// What resolve() and size_of() walk through.
bool is_link(u32 raw_kind) {
  const auto kind = static_cast<Kind>(raw_kind);
  return is_modifier(kind) || kind == Kind::array || kind == Kind::var;
}

/// A name under /sys alone does not tell: containers put files of their own there.
bool is_served_by_kernel(const std::string& path) {
  struct statfs status{};
  return ::statfs(path.c_str(), &status) == 0 && status.f_type == SYSFS_MAGIC;
}

}  // namespace

Result<void> Btf::Data::open(Check check) {
  if (bytes.size() < sizeof(RawHeader))
    return fail(Code::malformed, fmt::format("BTF: {} bytes, a header alone has 24", bytes.size()));
  const auto header = load<RawHeader>(reinterpret_cast<const u8*>(bytes.data()));
  if (header.magic == 0x9feb) return fail(Code::unsupported, "BTF: big-endian types; skep reads little-endian ones");
  if (header.magic != btf_magic)
    return fail(Code::malformed, fmt::format("BTF: begins with {:#06x}, expected {:#06x}", header.magic, btf_magic));
  if (header.version != 1) return fail(Code::unsupported, fmt::format("BTF: version {}, expected 1", header.version));
  const u64 size = bytes.size();
  if (header.header_length < sizeof(RawHeader) || header.header_length > size)
    return fail(Code::malformed, fmt::format("BTF: a header of {} bytes in {} bytes", header.header_length, size));
  const u64 room = size - header.header_length;
  auto fits = [&](u32 offset, u32 length) { return offset <= room && length <= room - offset; };
  if (!fits(header.type_offset, header.type_length) || !fits(header.string_offset, header.string_length))
    return fail(Code::malformed,
                fmt::format("BTF: types ({}+{}) or strings ({}+{}) lie outside its {} bytes", header.type_offset,
                            header.type_length, header.string_offset, header.string_length, room));
  const auto* body = reinterpret_cast<const u8*>(bytes.data()) + header.header_length;
  types = body + header.type_offset;
  type_bytes = header.type_length;
  strings = reinterpret_cast<const char*>(body + header.string_offset);
  string_bytes = header.string_length;
  if (base) {
    first_id = base->type_count();
    first_string = base->data_->first_string + base->data_->string_bytes;
    if (u64{first_string} + string_bytes > 0xffffffffULL) return fail(Code::limit, "BTF: strings beyond 4 GiB");
  }
  if (string_bytes == 0 ? !base : strings[string_bytes - 1] != 0 || (!base && strings[0] != 0))
    return fail(Code::malformed, "BTF: the string section does not begin with an empty string and end with a zero");
  SKEP_TRY(walk_types());
  return check == Check::everything ? check_references() : Result<void>{};
}

/// The sentence for the type at `at`, before which there are `found`.
tl::unexpected<Error> Btf::Data::walk_fault(u32 found, u32 at) const {
  const u32 id = first_id + found;
  if (type_bytes - at < sizeof(RawType))
    return fail(Code::malformed, fmt::format("BTF type {}: cut off at offset {}", id, at));
  const u32 info = load<u32>(types + at + 4), kind = kind_of(info);
  if (kind == 0 || kind > last_kind)
    return fail(kind == 0 ? Code::malformed : Code::unsupported,
                fmt::format("BTF type {}: kind {} at offset {}, expected 1 to {}", id, kind, at, last_kind));
  return fail(Code::malformed,
              fmt::format("BTF type {}: {} entries at offset {} exceed the type section", id, vlen_of(info), at));
}

Result<void> Btf::Data::check_references() const {
  Limits limits;
  std::vector<u32> links;
  for (u32 id = first_id; id < count(); id++) {
    const auto raw_type = raw(id);
    if (is_link(kind_of(raw_type.info))) links.push_back(id);
    scan_type(raw_type, at(id) + sizeof(RawType), limits);
  }
  if (limits.id >= count() || (limits.name != 0 && limits.name >= u64{first_string} + string_bytes))
    return tl::unexpected(explain_fault());
  return check_chains(links);
}

/// Type ids may form a loop of modifiers or arrays; such a chain is refused here, once.
Result<void> Btf::Data::check_chains(std::span<const u32> links) const {
  for (const u32 start : links) {
    u32 id = start;
    for (u32 steps = 0; id >= first_id; steps++) {
      const auto raw_type = raw(id);
      if (!is_link(kind_of(raw_type.info))) break;
      if (steps == longest_chain)
        return fail(Code::malformed,
                    fmt::format("BTF type {}: a chain of more than {} modifiers and arrays", start, longest_chain));
      id = static_cast<Kind>(kind_of(raw_type.info)) == Kind::array ? load<u32>(at(id) + sizeof(RawType))
                                                                    : raw_type.size_or_type;
    }
  }
  return {};
}

Error Btf::Data::explain_fault() const {
  const u64 name_limit = u64{first_string} + string_bytes;
  for (u32 id = first_id; id < count(); id++) {
    Limits limits;
    scan_type(raw(id), at(id) + sizeof(RawType), limits);
    if (limits.id >= count())
      return {Code::malformed, fmt::format("BTF type {}: refers to type {}, but there are {}", id, limits.id, count())};
    if (limits.name != 0 && limits.name >= name_limit)
      return {Code::malformed,
              fmt::format("BTF type {}: a name at {}, but the strings end at {}", id, limits.name, name_limit)};
  }
  return {Code::malformed, "BTF: a reference is out of range"};
}

Result<std::shared_ptr<const Btf>> Btf::parse(std::vector<std::byte> bytes, std::shared_ptr<const Btf> base,
                                              Check check) {
  auto data = std::make_shared<Data>();
  data->owned = std::move(bytes);
  data->bytes = data->owned;
  data->base = std::move(base);
  SKEP_TRY(data->open(check));
  return std::shared_ptr<const Btf>(new Btf(std::move(data)));
}

Result<std::shared_ptr<const Btf>> Btf::from_file(const std::string& path, std::shared_ptr<const Btf> base) {
  auto data = std::make_shared<Data>();
  data->base = std::move(base);
  // The kernel's own file cannot shrink under the mapping, and says what the kernel itself goes by; any other file is
  // copied, and proved. Kernels before 6.16 do not map it.
  const bool is_kernels = is_served_by_kernel(path);
  if (is_kernels) {
    if (auto mapped = base::MappedFile::open(path)) data->mapped.emplace(std::move(*mapped));
  }
  if (data->mapped) {
    data->bytes = data->mapped->bytes();
  } else {
    data->owned = SKEP_TRY(base::read_file(path));
    data->bytes = data->owned;
  }
  SKEP_TRY_AT(path, data->open(is_kernels ? Check::frame : Check::everything));
  return std::shared_ptr<const Btf>(new Btf(std::move(data)));
}

}  // namespace skep::btf
