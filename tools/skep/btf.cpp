// skep btf: types of a loaded object, of a file or of the kernel, as C or as a list.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "arguments.hpp"
#include "base/mapped_file.hpp"
#include "base/printable.hpp"
#include "btf/dump_c.hpp"
#include "btf/dump_json.hpp"
#include "btf/dump_raw.hpp"
#include "compile/compile.hpp"
#include "elf/elf.hpp"
#include "holders.hpp"
#include "inspect/objects.hpp"
#include "inspect/show.hpp"

namespace skep::tools {
namespace {

constexpr std::string_view usage =
    "usage: skep btf show|list [id N]                      which loaded objects carry types\n"
    "       skep btf dump SOURCE [format c|raw] [root_id N ...]   types, one a line (raw) or as C; -j: JSON\n\n"
    "  SOURCE:  id N | prog PROG | map MAP [key|value|kv|all] | vmlinux | file PATH (an object, C source, raw BTF)\n"
    "  root_id: only this type, in C with what it needs; of a map its key's and value's (kv) unless `all` is said\n"
    "  PROG, MAP: [id] N | name NAME | pinned PATH\n"
    "  -B, --base-btf FILE   the types that PATH continues (a module's: vmlinux, which is taken by itself in "
    "/sys/kernel/btf)\n\n"
    "examples:\n  skep btf dump vmlinux format c > vmlinux.h\n"
    "  skep btf dump map name counter_table format c\n";

using Types = std::shared_ptr<const btf::Btf>;

/// What is printed: some types, or all.
struct Chosen {
  Types types;
  std::vector<u32> roots;  ///< empty: all of `types` itself
};

Result<u32> number_of(const std::string& text, std::string_view what) {
  u32 number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (text.empty() || error != std::errc() || stop != end)
    return fail(Code::invalid_argument, fmt::format("{} '{}' is not a number", what, text));
  return number;
}

/// BTF of a file that continues `base`: raw, or the .BTF section of an ELF file (a kernel module).
Result<Types> read_split(const std::string& path, const Types& base) {
  auto bytes = SKEP_TRY(base::read_file(path));
  if (const auto file = elf::File::parse(bytes)) {
    const elf::Section* section = file->section(".BTF");
    if (section == nullptr) return fail(Code::not_found, path + ": no types: it has no section .BTF");
    const auto part = SKEP_TRY_AT(path, file->contents(*section));
    bytes = std::vector<std::byte>(part.begin(), part.end());
  }
  return SKEP_TRY_AT(path, btf::Btf::parse(std::move(bytes), base));
}

Result<Types> read_file_types(const std::string& path, const std::string& base_path) {
  if (path.empty()) return fail(Code::invalid_argument, "file: expected a path");
  if (!base_path.empty()) return read_split(path, SKEP_TRY(btf::Btf::from_file(base_path)));
  if (path.starts_with("/sys/kernel/btf/")) return btf::Btf::from_file(path);
  const auto spec = SKEP_TRY(compile::load_program(path));
  if (spec.btf == nullptr) return fail(Code::not_found, path + ": no types: compile with -g");
  return spec.btf;
}

Result<Types> read_types_by_id(u32 id) {
  auto world = inspect::World::open();
  for (const auto& found : world.btfs())
    if (found.info.id == id) return found.where->btf(id);
  return fail(Code::not_found, fmt::format("no types with id {} are loaded (see `skep btf show`)", id));
}

template <class Info>
Result<Types> types_of(const inspect::Found<Info>& found, std::string_view kind, const inspect::Handle& handle) {
  if (found.info.btf_id == 0) return fail(Code::not_found, fmt::format("{} {} carries no types", kind, handle.text()));
  return found.where->btf(found.info.btf_id);
}

Result<Chosen> read_map_types(Words& words) {
  const auto handle = SKEP_TRY(inspect::Handle::parse(words.words, words.position, "map"));
  auto world = inspect::World::open();
  const auto map = SKEP_TRY(world.map(handle));
  Chosen chosen{SKEP_TRY(types_of(map, "map", handle)), {}};
  if (words.take("all")) return chosen;
  const bool key_only = words.take("key"), value_only = !key_only && words.take("value");
  if (!key_only && !value_only) words.take("kv");
  if (!value_only) chosen.roots.push_back(map.info.btf_key_type_id);
  if (!key_only) chosen.roots.push_back(map.info.btf_value_type_id);
  std::erase(chosen.roots, 0u);  // global data has no key type, and a map of plain bytes neither
  if (chosen.roots.empty())
    return fail(Code::not_found,
                fmt::format("map {} says no type of its {}: `all` prints what its program brought", handle.text(),
                            value_only ? "values"
                            : key_only ? "keys"
                                       : "entries"));
  return chosen;
}

Result<Chosen> read_types(Words& words, const std::string& base_path) {
  const std::string source = words.next();
  if (source == "vmlinux") return Chosen{SKEP_TRY(btf::Btf::from_file("/sys/kernel/btf/vmlinux")), {}};
  if (source == "file") return Chosen{SKEP_TRY(read_file_types(words.next(), base_path)), {}};
  if (source == "id") {
    const u32 id = SKEP_TRY(number_of(words.next(), "id"));
    return Chosen{SKEP_TRY(read_types_by_id(id)), {}};
  }
  if (source == "map") return read_map_types(words);
  if (source != "prog")
    return fail(Code::invalid_argument, fmt::format("'{}': expected id, file, prog, map or vmlinux", source));
  const auto handle = SKEP_TRY(inspect::Handle::parse(words.words, words.position, "program"));
  auto world = inspect::World::open();
  const auto program = SKEP_TRY(world.program(handle));
  return Chosen{SKEP_TRY(types_of(program, "program", handle)), {}};
}

/// Takes `-B FILE` out of the words, wherever it stands.
Result<std::string> take_base(Words& words) {
  auto& all = words.words;
  const auto at = std::find_if(all.begin(), all.end(), [](const auto& w) { return w == "-B" || w == "--base-btf"; });
  if (at == all.end()) return std::string();
  if (at + 1 == all.end()) return fail(Code::invalid_argument, fmt::format("{}: expected a file of types", *at));
  const std::string path = at[1];
  all.erase(at, at + 2);
  return path;
}

void dump_json(const Chosen& chosen, bool pretty) {
  base::JsonWriter json(pretty);
  json.begin_object();
  json.key("types");
  json.begin_array();
  const auto write = [&](u32 id) {
    btf::write_type(json, *chosen.types, id);
    fmt::print("{}", json.take());
  };
  if (chosen.roots.empty())
    for (u32 id = chosen.types->first_id(); id < chosen.types->type_count(); ++id) write(id);
  for (const u32 id : chosen.roots) write(id);
  json.end_array();
  json.end_object();
  print(json);
}

/// Names in a file of types are anybody's.
void print_text(std::string text) { fmt::print("{}", base::printable_text(std::move(text))); }

Result<void> dump_text(const Chosen& chosen, bool as_c) {
  const auto& [types, roots] = chosen;
  if (as_c && roots.empty()) {
    print_text(SKEP_TRY(btf::dump_c(*types)));
  } else if (as_c) {
    print_text(SKEP_TRY(btf::dump_c(*types, roots, {.kfuncs = false, .is_known = {}, .attribute = {}})));
  } else if (roots.empty()) {
    print_text(btf::dump_raw(*types));
  } else {
    std::string text;
    for (const u32 id : roots) btf::dump_raw(*types, id, text);
    print_text(std::move(text));
  }
  return {};
}

Result<int> dump(Words& words) {
  const std::string base_path = SKEP_TRY(take_base(words));
  Chosen chosen = SKEP_TRY(read_types(words, base_path));
  std::string format = "raw";
  std::vector<u32> roots;
  while (!words.done()) {
    if (words.take("format")) {
      format = words.next();
    } else if (words.take("root_id")) {
      roots.push_back(SKEP_TRY(number_of(words.next(), "root_id")));
      if (roots.back() == 0 || roots.back() >= chosen.types->type_count())
        return fail(Code::not_found, fmt::format("root_id {}: these types are numbered 1 to {}", roots.back(),
                                                 chosen.types->type_count() - 1));
    } else {
      SKEP_TRY(words.end());
    }
  }
  if (!roots.empty()) chosen.roots = std::move(roots);
  if (format != "c" && format != "raw")
    return fail(Code::invalid_argument, fmt::format("format '{}': expected c or raw", format));
  if (format == "raw" && words.json)
    dump_json(chosen, words.pretty);
  else
    SKEP_TRY(dump_text(chosen, format == "c"));
  return 0;
}

Result<int> show(Words& words) {
  std::optional<u32> only;
  if (!words.done()) {
    if (!words.take("id")) return fail(Code::invalid_argument, "expected `id N`");
    only = SKEP_TRY(number_of(words.next(), "id"));
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
  const auto holders = Holders::of(Holders::Kind::types);
  for (const auto& use : uses) {
    const auto processes = holders[use.info.id];
    words.json ? inspect::write(json, use, processes) : fmt::print("{}", inspect::text_of(use, processes));
  }
  json.end_array();
  if (words.json) print(json);
  for (const auto& text : world.notes()) note(text, only.has_value());
  return 0;
}

Result<int> act(Words& words) {
  if (words.take("show") || words.take("list")) return show(words);
  if (words.take("dump")) return dump(words);
  return fail(Code::invalid_argument,
              fmt::format("btf '{}': expected show, list or dump (see `skep btf --help`)", words.next()));
}

}  // namespace

int btf_verb(const Arguments& arguments) { return run_words(arguments, usage, act); }

}  // namespace skep::tools
