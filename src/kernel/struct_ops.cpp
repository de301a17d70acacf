// Placing members by name, registering the map.
#include "kernel/struct_ops.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "kernel/attach.hpp"
#include "kernel/syscall.hpp"

namespace skep::kernel {

namespace {

std::string place_of(const MapSpec& map) { return fmt::format("map {}", map.name); }

/// A member of the kernel's structure by name: its number, or nullopt.
std::optional<u32> member_named(const btf::Btf& types, u32 struct_id, std::string_view name) {
  const auto members = types.members(types.type(struct_id));
  const auto found = std::ranges::find(members, name, &btf::Member::name);
  if (found == members.end()) return std::nullopt;
  return static_cast<u32>(found - members.begin());
}

}  // namespace

Result<OpsLayout> ops_layout(const ObjectSpec& object, const MapSpec& map, KernelTypes& kernel) {
  const std::string place = place_of(map);
  if (!object.btf || map.btf_value_type_id == 0)
    return fail(Code::malformed, fmt::format("{}: a struct_ops map needs its type (compile with -g)", place));
  OpsLayout layout;
  layout.name = btf::essential_name(object.btf->type(object.btf->resolve(map.btf_value_type_id)).name);
  SKEP_TRY_AT(place, kernel.running());
  auto found = kernel.structure(fmt::format("bpf_struct_ops_{}", layout.name));
  const auto structure = found ? found->types->find(layout.name, btf::Kind::struct_) : std::nullopt;
  if (!structure)
    return fail(
        Code::unsupported,
        fmt::format("{}: this kernel has no struct {} that programs can implement (neither it nor a module that "
                    "is loaded has struct bpf_struct_ops_{})",
                    place, layout.name, layout.name));
  layout.module = std::move(found->type.module);
  layout.types = std::move(found->types);
  const u32 wrapper = found->type.id;
  const auto& types = layout.types;
  const auto data = member_named(*types, wrapper, "data");
  if (!data)
    return fail(Code::malformed, fmt::format("{}: struct bpf_struct_ops_{} has no member data", place, layout.name));
  layout.struct_id = *structure;
  layout.value_id = wrapper;
  layout.value_size = types->type(wrapper).size();
  layout.data_offset = types->member(types->type(wrapper), *data).bit_offset / 8;
  return layout;
}

Result<std::optional<OpsMember>> ops_member(const ObjectSpec& object, std::string_view program, KernelTypes& kernel) {
  for (const MapSpec& map : object.maps) {
    if (map.type != MapType::struct_ops) continue;
    const auto slot = std::ranges::find(map.slots, program, &MapSpec::Slot::name);
    if (slot == map.slots.end()) continue;
    auto layout = SKEP_TRY(ops_layout(object, map, kernel));
    const auto own = object.btf->members(object.btf->type(object.btf->resolve(map.btf_value_type_id)));
    const auto member = std::ranges::find(own, slot->index * 8, &btf::Member::bit_offset);
    if (member == own.end())
      return fail(Code::malformed, fmt::format("{}: no member at byte {}", place_of(map), slot->index));
    const auto number = member_named(*layout.types, layout.struct_id, member->name);
    if (!number)
      return fail(Code::unsupported, fmt::format("{}: this kernel's struct {} has no member {}", place_of(map),
                                                 layout.name, member->name));
    return OpsMember{std::move(layout), *number};
  }
  return std::nullopt;
}

Result<std::vector<std::byte>> ops_value(const ObjectSpec& object, const MapSpec& map, const OpsLayout& layout,
                                         const std::function<int(std::string_view)>& fd_of) {
  const auto& types = layout.types;
  const btf::Type structure = types->type(layout.struct_id);
  std::vector<std::byte> value(layout.value_size);
  for (const btf::Member& member : object.btf->members(object.btf->type(object.btf->resolve(map.btf_value_type_id)))) {
    const u64 bytes = SKEP_TRY_AT(place_of(map), object.btf->size_of(member.type_id));
    const u32 from = member.bit_offset / 8;
    if (member.bit_size != 0 || from + bytes > map.initial_value.size())
      return fail(Code::unsupported, fmt::format("{}: member {} is a bit-field or lies outside of its values",
                                                 place_of(map), member.name));
    const std::span<const std::byte> initial(map.initial_value.data() + from, bytes);
    const auto slot = std::ranges::find(map.slots, from, &MapSpec::Slot::index);
    const bool is_set =
        slot != map.slots.end() || std::ranges::any_of(initial, [](std::byte b) { return b != std::byte{}; });
    const auto number = member_named(*types, layout.struct_id, btf::essential_name(member.name));
    if (!number && !is_set) continue;
    if (!number)
      return fail(Code::unsupported, fmt::format("{}: this kernel's struct {} has no member {}, which is set",
                                                 place_of(map), layout.name, member.name));
    if (!is_set) continue;
    const btf::Member there = types->member(structure, *number);
    const u64 room = SKEP_TRY(types->size_of(there.type_id));
    const u64 to = u64{layout.data_offset} + there.bit_offset / 8;
    if (room != bytes || to + room > value.size())
      return fail(Code::unsupported, fmt::format("{}: member {} has {} bytes, in this kernel {}", place_of(map),
                                                 member.name, bytes, room));
    if (slot == map.slots.end()) {
      std::ranges::copy(initial, value.begin() + static_cast<std::ptrdiff_t>(to));
      continue;
    }
    if (bytes != sizeof(u64))
      return fail(Code::malformed, fmt::format("{}: member {} is no pointer to a program", place_of(map), member.name));
    const int fd = fd_of(slot->name);
    if (fd < 0) return fail(Code::not_found, fmt::format("{}: program {} is not loaded", place_of(map), slot->name));
    const u64 number_of_program = static_cast<u64>(fd);
    std::memcpy(value.data() + to, &number_of_program, sizeof number_of_program);
  }
  return value;
}

Result<std::unique_ptr<Link::Impl>> attach_ops(const std::shared_ptr<KernelMap>& map, std::span<const std::byte> value,
                                               bool with_link) {
  const u32 key = 0;
  const std::string place = fmt::format("struct_ops map {}", map->info().name);
  uapi::MapElem update{static_cast<u32>(map->fd()), 0, address_of(&key), address_of(value.data()), 0};
  const int filled = bpf(uapi::Cmd::map_update_elem, update);
  // A map with a link keeps its value for the next link.
  if (filled < 0 && !(with_link && filled == -EBUSY)) {
    Error error = bpf_error(uapi::Cmd::map_update_elem, place, -filled);
    if (filled == -EEXIST) error.message += " (another structure of this name is registered)";
    if (filled == -EINVAL) error.message += " (the kernel does not take this combination of members)";
    return tl::unexpected(std::move(error));
  }
  auto attachment = std::make_unique<Attachment>();
  if (!with_link) {
    attachment->undo_with([map] {
      const u32 first = 0;
      uapi::MapElem gone{static_cast<u32>(map->fd()), 0, address_of(&first), 0, 0};
      (void)bpf(uapi::Cmd::map_delete_elem, gone);
    });
    return attachment;
  }
  uapi::LinkCreate attr;
  attr.on = {static_cast<u32>(map->fd()), 0, static_cast<u32>(AttachType::struct_ops), 0};
  const int link = bpf(uapi::Cmd::link_create, attr);
  if (link < 0) {
    Error error = bpf_error(uapi::Cmd::link_create, place, -link);
    if (link == -EEXIST) error.message += " (another structure of this name is registered)";
    return tl::unexpected(std::move(error));
  }
  attachment->hold(base::Fd(link));
  return attachment;
}

}  // namespace skep::kernel
