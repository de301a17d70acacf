// skep btf: types of a loaded object, of a file or of the kernel, as C or as a list.
#include <fmt/format.h>

#include "arguments.hpp"
#include "btf/dump_c.hpp"
#include "btf/dump_raw.hpp"
#include "compile/compile.hpp"
#include "inspect/objects.hpp"

namespace skep::tools {
namespace {

constexpr std::string_view usage =
    "usage: skep btf show                                  which loaded objects carry types\n"
    "       skep btf dump SOURCE [format c|raw]            types, one a line (raw) or as C\n\n"
    "  SOURCE: file PATH (an object, C source, or raw BTF) | prog PROG | map MAP | vmlinux\n"
    "  PROG, MAP: id N | name NAME | pinned PATH\n\n"
    "example:\n  skep btf dump vmlinux format c > vmlinux.h\n";

Result<std::shared_ptr<const btf::Btf>> read_types(Words& words) {
  const std::string source = words.next();
  if (source == "vmlinux") return btf::Btf::from_file("/sys/kernel/btf/vmlinux");
  if (source == "file") {
    const std::string path = words.next();
    if (path.starts_with("/sys/kernel/btf/")) return btf::Btf::from_file(path);
    const auto spec = SKEP_TRY(compile::load_program(path));
    if (spec.btf == nullptr) return fail(Code::not_found, path + ": no types: compile with -g");
    return spec.btf;
  }
  if (source != "prog" && source != "map")
    return fail(Code::invalid_argument, fmt::format("'{}': expected file, prog, map or vmlinux", source));
  const std::string_view kind = source == "prog" ? "program" : "map";
  const auto handle = SKEP_TRY(inspect::Handle::parse(words.words, words.position, kind));
  auto world = inspect::World::open();
  const auto types_of = [&](auto found) -> Result<std::shared_ptr<const btf::Btf>> {
    if (found.info.btf_id == 0)
      return fail(Code::not_found, fmt::format("{} {} carries no types", kind, handle.text()));
    return found.where->btf(found.info.btf_id);
  };
  if (source == "prog") return types_of(SKEP_TRY(inspect::select_one(world.programs(), handle, kind)));
  return types_of(SKEP_TRY(inspect::select_one(world.maps(), handle, kind)));
}

Result<int> dump(Words& words) {
  const auto types = SKEP_TRY(read_types(words));
  std::string format = "raw";
  if (words.take("format")) format = words.next();
  SKEP_TRY(words.end());
  if (format == "c") {
    fmt::print("{}", SKEP_TRY(btf::dump_c(*types)));
  } else if (format == "raw") {
    fmt::print("{}", btf::dump_raw(*types));
  } else {
    return fail(Code::invalid_argument, fmt::format("format '{}': expected c or raw", format));
  }
  return 0;
}

/// Types by id, with the programs and maps that use them.
Result<int> show(Words& words) {
  SKEP_TRY(words.end());
  auto world = inspect::World::open();
  std::vector<u32> ids;
  auto programs = world.programs();
  auto maps = world.maps();
  const auto add = [&](u32 id) {
    if (id != 0 && std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  };
  for (const auto& found : programs) add(found.info.btf_id);
  for (const auto& found : maps) add(found.info.btf_id);
  std::sort(ids.begin(), ids.end());
  base::JsonWriter json(words.pretty);
  json.begin_array();
  for (const u32 id : ids) {
    std::vector<u32> prog_ids, map_ids;
    for (const auto& found : programs)
      if (found.info.btf_id == id) prog_ids.push_back(found.info.id);
    for (const auto& found : maps)
      if (found.info.btf_id == id) map_ids.push_back(found.info.id);
    if (words.json) {
      json.begin_object();
      json.member("id", id);
      for (const auto& [key, list] : {std::pair{"prog_ids", &prog_ids}, std::pair{"map_ids", &map_ids}}) {
        json.key(key);
        json.begin_array();
        for (const u32 user : *list) json.number(u64{user});
        json.end_array();
      }
      json.end_object();
    } else {
      fmt::print("{}:{}{}\n", id, prog_ids.empty() ? "" : fmt::format("  prog_ids {}", fmt::join(prog_ids, ",")),
                 map_ids.empty() ? "" : fmt::format("  map_ids {}", fmt::join(map_ids, ",")));
    }
  }
  json.end_array();
  if (words.json) print(json);
  return 0;
}

}  // namespace

int btf_verb(const Arguments& arguments) {
  Words words(arguments);
  if (words.help || words.done()) {
    fmt::print("{}", usage);
    return words.help ? 0 : 2;
  }
  const std::string what = words.next();
  Result<int> status = 0;
  if (what == "show" || what == "list") {
    status = show(words);
  } else if (what == "dump") {
    status = dump(words);
  } else {
    status = fail(Code::invalid_argument, fmt::format("btf '{}': expected show or dump (see `skep btf --help`)", what));
  }
  return status ? *status : complain(status.error());
}

}  // namespace skep::tools
