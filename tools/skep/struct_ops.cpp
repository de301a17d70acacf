// skep struct_ops: structures of kernel functions that BPF programs fill, such as TCP congestion controls.
#include <fmt/format.h>

#include <filesystem>
#include <skep/backend.hpp>

#include "arguments.hpp"
#include "btf/btf.hpp"
#include "btf/format_value.hpp"
#include "compile/compile.hpp"
#include "inspect/objects.hpp"
#include "inspect/show.hpp"
#include "kernel/info.hpp"
#include "kernel/open.hpp"
#include "pinned.hpp"

namespace skep::tools {
namespace {

constexpr std::string_view usage =
    "usage: skep struct_ops show|list [[id] N | name NAME]  structures of functions that are loaded\n"
    "       skep struct_ops dump [[id] N | name NAME]       facts and programs of each function\n"
    "       skep struct_ops register FILE [DIRECTORY]       those of an object; DIRECTORY in bpffs: for the pins of "
    "links,\n"
    "                                                       where the map asks for one (.struct_ops.link)\n"
    "       skep struct_ops unregister [id] N | name NAME   out of use; the map stays as long as somebody holds it\n\n"
    "  -j, --json   JSON with bpftool's keys     -p, --pretty   the same, indented\n\n"
    "example:\n  skep struct_ops show\n";

/// The maps of this type that the line names, or all.
Result<std::vector<inspect::Found<MapInfo>>> chosen(Words& words, inspect::World& world) {
  auto maps = world.maps();
  std::erase_if(maps, [](const auto& found) { return found.info.type != MapType::struct_ops; });
  if (words.done()) return maps;
  const auto handle = SKEP_TRY(inspect::Handle::parse(words.words, words.position, "map"));
  SKEP_TRY(words.end());
  return inspect::select(std::move(maps), handle, "struct_ops map").map_error([&](Error error) {
    return world.explained(std::move(error));
  });
}

/// What a map of this type holds: struct bpf_struct_ops_NAME { common; struct NAME data; }.
struct Layout {
  std::shared_ptr<const btf::Btf> types;
  u32 value_type = 0;
  std::string value_name;  ///< "bpf_struct_ops_tcp_congestion_ops"
  std::string name;        ///< the kernel structure's: "tcp_congestion_ops"
};

Result<Layout> layout_of(u32 map_id) {
  const auto fd = SKEP_TRY(kernel::open_by_id(kernel::uapi::Cmd::map_get_fd_by_id, map_id, "map"));
  const auto raw = SKEP_TRY(kernel::raw_map_info(fd.get()));
  Layout layout;
  layout.types = SKEP_TRY(raw.btf_vmlinux_id != 0 ? kernel::types_by_id(raw.btf_vmlinux_id)
                                                  : btf::Btf::from_file("/sys/kernel/btf/vmlinux"));
  if (raw.btf_vmlinux_value_type_id >= layout.types->type_count())
    return fail(Code::malformed, fmt::format("map {}: its type is not one of the kernel's", map_id));
  layout.value_type = raw.btf_vmlinux_value_type_id;
  const auto value = layout.types->type(layout.value_type);
  layout.value_name = value.name;
  if (!btf::is_composite(value.kind))
    return fail(Code::malformed, fmt::format("map {}: its type is no structure", map_id));
  for (const auto& member : layout.types->members(value)) {
    if (member.name != "data") continue;
    layout.name = layout.types->type(layout.types->resolve(member.type_id)).name;
    return layout;
  }
  return fail(Code::malformed, fmt::format("map {}: struct {} has no member data", map_id, value.name));
}

void show_one(base::JsonWriter& json, const Words& words, const MapInfo& info, const std::string& kernel_struct) {
  if (!words.json) {
    fmt::print("{}: {:<15} {:<32}\n", info.id, info.name, kernel_struct);
    return;
  }
  json.begin_object();
  json.member("id", info.id);
  json.member("name", info.name);
  json.member("kernel_struct_ops", kernel_struct);
  json.end_object();
}

void dump_one(base::JsonWriter& json, const Layout& layout, const MapInfo& info, std::span<const std::byte> value,
              bool plain) {
  const auto style = plain ? btf::ValueStyle::plain : btf::ValueStyle::json;
  json.begin_object();
  json.key("bpf_map_info");
  inspect::write(json, info);
  json.end_object();
  json.begin_object();
  json.key(layout.value_name);
  base::JsonWriter attempt;
  if (btf::write_value(attempt, *layout.types, layout.value_type, value, style))
    (void)btf::write_value(json, *layout.types, layout.value_type, value, style);  // it has just succeeded
  else
    json.null();
  json.end_object();
}

/// What a load of the whole object makes.
bool is_registered(const MapSpec& map) {
  return map.type == MapType::struct_ops && !map.slots.empty() && map.autocreate;
}

bool has_link(const MapSpec& map) { return (map.flags & map_flag::link) != 0; }

/// Pins the link of a map, which is one of `links`.
Result<void> pin_link(const std::vector<Link>& links, Pinned& pinned, u32 map_id, const std::string& path) {
  for (const Link& link : links)
    for (const u32 id : link.ids()) {
      const auto fd = SKEP_TRY(kernel::open_by_id(kernel::uapi::Cmd::link_get_fd_by_id, id, "link"));
      if (SKEP_TRY(kernel::raw_link_info(fd.get())).of.struct_ops.map_id == map_id)
        return pinned.pin(ObjectKind::link, id, path);
    }
  return fail(Code::not_found, fmt::format("map {}: its link is gone already", map_id));
}

Result<int> register_file(Words& words) {
  const std::string file = words.next(), directory = words.next();
  if (file.empty())
    return fail(Code::invalid_argument, "register: expected an object or C source with struct_ops maps");
  SKEP_TRY(words.end());
  const auto spec = SKEP_TRY(compile::load_program(file));
  bool any = false;
  for (const MapSpec& map : spec.maps) {
    if (!is_registered(map)) continue;
    any = true;
    if (has_link(map) && directory.empty())
      return fail(Code::invalid_argument,
                  fmt::format("map {} is registered by a link, which ends with this command unless it is pinned: add a "
                              "directory in bpffs",
                              map.name));
  }
  if (!any) return fail(Code::not_found, file + ": no struct_ops map in this file");
  auto engine = SKEP_TRY(kernel_backend());
  auto loaded = engine->load(spec);
  if (!loaded && loaded.error().code == Code::rejected)
    fmt::print(stderr, "{}", explain_for_kernel(spec, engine->verifier_log()));
  auto object = SKEP_TRY(std::move(loaded));
  if (!directory.empty()) {
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    if (error) return fail(Code::io, fmt::format("{}: {}", directory, error.message()), error.value());
  }
  std::vector<Link> links;
  for (auto& program : object.programs())
    if (program.info().type == ProgramType::struct_ops) links.push_back(SKEP_TRY(program.attach()));
  Pinned pinned(engine->inspector());
  for (const MapSpec& map : spec.maps)
    if (is_registered(map) && has_link(map)) {
      const u32 id = SKEP_TRY(object.map(map.name)).info().id;
      SKEP_TRY_AT("map " + map.name, pin_link(links, pinned, id, directory + "/" + map.name));
    }
  pinned.keep();
  for (Link& link : links) (void)link.leave();  // those that cannot be left are pinned
  for (const MapSpec& map : spec.maps)
    if (is_registered(map) && !words.json)
      fmt::print("registered {}, map id {}\n", map.name, SKEP_TRY(object.map(map.name)).info().id);
  if (words.json) fmt::print("null\n");
  return 0;
}

Result<int> act(Words& words) {
  const std::string what = words.next();
  if (what == "register") return register_file(words);
  const bool show = what == "show" || what == "list", dump = what == "dump", unregister = what == "unregister";
  if (!show && !dump && !unregister)
    return fail(
        Code::invalid_argument,
        fmt::format("struct_ops '{}': expected show, list, dump, register or unregister; `skep run FILE --backend "
                    "kernel` registers the structures of an object while it runs",
                    what));
  if (unregister && words.done()) return fail(Code::invalid_argument, "unregister: name one: id N or name NAME");
  auto world = inspect::World::open();
  const auto maps = SKEP_TRY(chosen(words, world));
  base::JsonWriter json(words.pretty || (dump && !words.json));
  json.begin_array();
  const u32 key = 0;
  const auto key_bytes = std::as_bytes(std::span(&key, 1));
  for (const auto& found : maps) {
    const Map map = SKEP_TRY(found.where->map(found.info.id));
    if (unregister) {
      SKEP_TRY(map.erase(key_bytes));
      continue;
    }
    const Layout layout = SKEP_TRY(layout_of(found.info.id));
    if (show)
      show_one(json, words, found.info, layout.name);
    else
      dump_one(json, layout, found.info, SKEP_TRY(map.lookup(key_bytes)), !words.json);
  }
  json.end_array();
  if (words.json ? show || dump : dump && !maps.empty()) print(json);
  if (unregister && words.json) fmt::print("null\n");
  for (const auto& text : world.notes()) note(text);
  return 0;
}

}  // namespace

int struct_ops_verb(const Arguments& arguments) { return run_words(arguments, usage, act); }

}  // namespace skep::tools
