// See map_words.hpp.
#include "map_words.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "inspect/dump.hpp"
#include "kernel/info.hpp"
#include "kernel/open.hpp"

namespace skep::tools {

Result<OpenedMap> open_map(Words& words) {
  const auto handle = SKEP_TRY(inspect::Handle::parse(words.words, words.position, "map"));
  auto world = inspect::World::open();
  auto found = SKEP_TRY(world.map(handle));
  auto map = SKEP_TRY(found.where->map(found.info.id));
  std::shared_ptr<const btf::Btf> types;
  std::string no_types;
  if (found.info.btf_id != 0) {
    if (auto read = found.where->btf(found.info.btf_id))
      types = *read;
    else
      no_types = "keys and values are shown as bytes: " + read.error().message;
  }
  // A struct_ops map holds a structure of the kernel, and is described by the kernel's types.
  if (found.info.type == MapType::struct_ops && found.info.host_pid == 0) {
    const auto fd = SKEP_TRY(kernel::open_by_id(kernel::uapi::Cmd::map_get_fd_by_id, found.info.id, "map"));
    const auto raw = SKEP_TRY(kernel::raw_map_info(fd.get()));
    if (auto read = raw.btf_vmlinux_id != 0 ? kernel::types_by_id(raw.btf_vmlinux_id)
                                            : btf::Btf::from_file("/sys/kernel/btf/vmlinux");
        read && raw.btf_vmlinux_value_type_id != 0) {
      types = *read;
      found.info.btf_key_type_id = 0;
      found.info.btf_value_type_id = raw.btf_vmlinux_value_type_id;
    }
  }
  return OpenedMap{std::move(world), std::move(found.info), found.where,
                   std::move(map),   std::move(types),      std::move(no_types)};
}

Result<std::vector<std::byte>> key_of(Words& words, const MapInfo& info) {
  if (words.take("key")) {
    if (info.key_size == 0)
      return fail(Code::invalid_argument, fmt::format("map {}: {} maps have no keys", info.name, name_of(info.type)));
    return parse_data(words, info.key_size, "key");
  }
  if (info.key_size == 0) return std::vector<std::byte>();
  return fail(Code::invalid_argument, fmt::format("expected `key DATA`, {} bytes", info.key_size));
}

namespace {

std::vector<std::byte> bytes_of_id(u32 id) {
  std::vector<std::byte> bytes(sizeof id);
  std::memcpy(bytes.data(), &id, sizeof id);
  return bytes;
}

/// Not by a bare number, which is a value.
bool names_object(const Words& words) { return !words.done() && inspect::Handle::is_way(words.words[words.position]); }

}  // namespace

Result<std::vector<std::byte>> value_of(Words& words, OpenedMap& opened) {
  const MapInfo& info = opened.info;
  if (!words.take("value")) return fail(Code::invalid_argument, "expected `value DATA` after the key");
  const bool takes_program = info.type == MapType::prog_array;
  const bool takes_map = info.type == MapType::array_of_maps || info.type == MapType::hash_of_maps;
  if ((takes_program || takes_map) && names_object(words)) {
    const std::string_view kind = takes_program ? "program" : "map";
    const auto handle = SKEP_TRY(inspect::Handle::parse(words.words, words.position, kind));
    u32 id = 0;
    Inspector* where = nullptr;
    if (takes_program) {
      auto found = SKEP_TRY(opened.world.program(handle));
      id = found.info.id, where = found.where;
    } else {
      auto found = SKEP_TRY(opened.world.map(handle));
      id = found.info.id, where = found.where;
    }
    if (where != opened.where)
      return fail(Code::invalid_argument,
                  fmt::format("map {} and {} {} live in different places: a map takes objects of "
                              "its own engine and process",
                              info.name, kind, handle.text()));
    return bytes_of_id(id);
  }
  return inspect::for_every_cpu(info, SKEP_TRY(parse_data(words, info.value_size, "value")));
}

void write_bytes(base::JsonWriter& json, std::span<const std::byte> bytes) {
  json.begin_array();
  for (const auto byte : bytes) json.string(fmt::format("0x{:02x}", static_cast<unsigned>(byte)));
  json.end_array();
}

int nothing_there() {
  fmt::print("null\n");
  return 1;
}

int refuse(const Words& words, const Error& error) { return complain(error.message, 1, words.form()); }

int done(const Words& words) {
  if (words.json) fmt::print("null\n");
  return 0;
}

}  // namespace skep::tools
