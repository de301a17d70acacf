// skep btf: types of a loaded object, of a file or of the kernel, as C or as a list.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "arguments.hpp"
#include "btf/dump_c.hpp"
#include "btf/dump_json.hpp"
#include "btf/dump_raw.hpp"
#include "compile/compile.hpp"
#include "inspect/objects.hpp"
#include "inspect/show.hpp"

namespace skep::tools {
namespace {

constexpr std::string_view usage =
    "usage: skep btf show|list [id N]                      which loaded objects carry types\n"
    "       skep btf dump SOURCE [format c|raw]            types, one a line (raw) or as C; -j: JSON\n\n"
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
  if (format == "raw" && words.json) {
    base::JsonWriter json(words.pretty);
    json.begin_object();
    json.key("types");
    json.begin_array();
    for (u32 id = types->first_id(); id < types->type_count(); ++id) {
      btf::write_type(json, *types, id);
      fmt::print("{}", json.take());
    }
    json.end_array();
    json.end_object();
    print(json);
  } else if (format == "c") {
    fmt::print("{}", SKEP_TRY(btf::dump_c(*types)));
  } else if (format == "raw") {
    fmt::print("{}", btf::dump_raw(*types));
  } else {
    return fail(Code::invalid_argument, fmt::format("format '{}': expected c or raw", format));
  }
  return 0;
}

Result<int> show(Words& words) {
  std::optional<u32> only;
  if (!words.done()) {
    if (!words.take("id")) return fail(Code::invalid_argument, "expected `id N`");
    only = static_cast<u32>(std::strtoul(words.next().c_str(), nullptr, 10));
  }
  SKEP_TRY(words.end());
  auto world = inspect::World::open();
  std::vector<inspect::BtfUse> uses;
  for (auto& found : world.btfs())
    if (!only || found.info.id == *only) uses.push_back({std::move(found.info), {}, {}});
  if (only && uses.empty()) return fail(Code::not_found, fmt::format("no types with id {} are loaded", *only));
  const auto use_of = [&](u32 id) {
    return std::find_if(uses.begin(), uses.end(), [&](const auto& use) { return use.info.id == id; });
  };
  for (const auto& found : world.programs())
    if (const auto use = use_of(found.info.btf_id); use != uses.end()) use->program_ids.push_back(found.info.id);
  for (const auto& found : world.maps())
    if (const auto use = use_of(found.info.btf_id); use != uses.end()) use->map_ids.push_back(found.info.id);
  base::JsonWriter json(words.pretty);
  json.begin_array();
  for (const auto& use : uses) words.json ? inspect::write(json, use) : fmt::print("{}", inspect::text_of(use));
  json.end_array();
  if (words.json) print(json);
  for (const auto& text : world.notes()) note(text, only.has_value());
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
