// skep prog load, loadall, pin, attach, detach: what changes which programs the kernel holds.
#include <fmt/format.h>

#include <charconv>
#include <filesystem>

#include "compile/compile.hpp"
#include "kernel/control.hpp"
#include "pinned.hpp"
#include "prog_words.hpp"

namespace skep::tools {

namespace {

/// A map of the object that is one of the kernel's already.
struct SharedMap {
  std::optional<u32> index;  ///< in the object, else by name
  std::string name;
  inspect::Handle map;
};

struct LoadLine {
  std::string file, path, pin_maps;
  std::filesystem::path kernel_types;
  std::optional<AttachTarget> type;
  std::vector<SharedMap> maps;
  bool attach = false;
};

Result<SharedMap> parse_map(Words& words) {
  SharedMap shared;
  const std::string by = words.next(), which = words.next();
  if (by == "idx") {
    u32 number = 0;
    const char* end = which.data() + which.size();
    const auto [stop, error] = std::from_chars(which.data(), end, number);
    if (error != std::errc() || stop != end)
      return fail(Code::invalid_argument, fmt::format("map idx '{}': expected a number, from 0 on", which));
    shared.index = number;
  } else if (by == "name" && !which.empty()) {
    shared.name = which;
  } else {
    return fail(Code::invalid_argument,
                "map: expected idx N or name NAME, which of the object's maps, and then the map");
  }
  shared.map = SKEP_TRY(inspect::Handle::parse(words.words, words.position, "map"));
  return shared;
}

Result<LoadLine> parse_load(Words& words) {
  LoadLine line;
  line.file = words.next();
  line.path = words.next();
  if (line.path.empty())
    return fail(Code::invalid_argument, "expected the object's file and the path in bpffs where it is pinned");
  while (!words.done()) {
    const std::string word = words.next();
    if (word == "type") {
      const std::string section = words.next();
      line.type = SKEP_TRY_AT("type", AttachTarget::from_section(section));
    } else if (word == "pinmaps") {
      line.pin_maps = words.next();
      if (line.pin_maps.empty()) return fail(Code::invalid_argument, "pinmaps: expected a directory in bpffs");
    } else if (word == "autoattach") {
      line.attach = true;
    } else if (word == "map") {
      line.maps.push_back(SKEP_TRY(parse_map(words)));
    } else if (word == "kernel_btf") {
      line.kernel_types = words.next();
      if (line.kernel_types.empty()) return fail(Code::invalid_argument, "kernel_btf: expected a file of types");
    } else if (word == "dev" || word == "offload_dev" || word == "xdpmeta_dev") {
      return fail(Code::unsupported, fmt::format("'{}': skep loads no programs into network devices", word));
    } else {
      return fail(Code::invalid_argument,
                  fmt::format("'{}': expected type, map, pinmaps, kernel_btf or autoattach", word));
    }
  }
  return line;
}

/// Attaches `program` and pins the link, which keeps both.
Result<Link> attach_and_pin(Program& program, Pinned& pinned, const std::string& path) {
  auto link = SKEP_TRY(program.attach());
  const auto ids = link.ids();
  if (ids.size() != 1)
    return fail(
        Code::unsupported,
        ids.empty()
            ? fmt::format("program {}: this kernel attaches it without a link, which alone can be pinned",
                          program.info().name)
            : fmt::format("program {}: this kernel attaches it by {} links, and a path keeps one{}{}",
                          program.info().name, ids.size(), link.carried_by().empty() ? "" : ": ", link.carried_by()));
  SKEP_TRY(pinned.pin(ObjectKind::link, ids.front(), path));
  return link;
}

/// The maps of the line, opened.
Result<std::vector<LoadOptions::Given>> given_maps(const LoadLine& line, const ObjectSpec& spec) {
  std::vector<LoadOptions::Given> given;
  if (line.maps.empty()) return given;
  auto world = inspect::World::open();
  for (const SharedMap& shared : line.maps) {
    const MapSpec* place = shared.index ? nullptr : spec.map(shared.name);
    if (shared.index && *shared.index < spec.maps.size()) place = &spec.maps[*shared.index];
    if (place == nullptr) {
      std::string names;
      for (const MapSpec& map : spec.maps) names.append(names.empty() ? "" : ", ").append(map.name);
      return fail(Code::not_found, fmt::format("{} has no map {}; it has, from 0 on: {}", line.file,
                                               shared.index ? fmt::format("{}", *shared.index) : shared.name, names));
    }
    const auto found = SKEP_TRY(world.map(shared.map));
    if (found.info.host_pid != 0)
      return fail(Code::unsupported, fmt::format("map {} lives in process {}, and the program in the kernel",
                                                 shared.map.text(), found.info.host_pid));
    given.push_back({place->name, SKEP_TRY(found.where->map(found.info.id))});
  }
  return given;
}

std::string pin_name(std::string name) {
  for (char& c : name)
    if (c == '.' || c == '/') c = '_';  // bpffs keeps names with dots for itself
  return name;
}

}  // namespace

Result<int> prog_load(Words& words, bool all) {
  const LoadLine line = SKEP_TRY(parse_load(words));
  auto spec = SKEP_TRY(compile::load_program(line.file));
  if (spec.programs.empty()) return fail(Code::invalid_argument, line.file + ": no program in this file");
  const ProgramSpec* first = nullptr;
  for (auto& program : spec.programs) {
    if (line.type) {
      program.attach = *line.type;
      program.type = line.type->program_type();
    }
    if (program.autoload && first == nullptr) first = &program;
    const bool is_first =
        first == &program || (first != nullptr && !program.one_of.empty() && program.one_of == first->one_of);
    program.autoload = program.autoload && (all || is_first);
  }
  auto engine = SKEP_TRY(kernel_backend({.btf = line.kernel_types}));
  auto loaded = engine->load(spec, {.maps = SKEP_TRY(given_maps(line, spec))});
  if (!loaded && loaded.error().code == Code::rejected)
    fmt::print(stderr, "{}", explain_for_kernel(spec, engine->verifier_log()));
  auto object = SKEP_TRY(std::move(loaded));
  if (object.programs().empty())
    return fail(Code::not_found,
                line.file +
                    ": no program is loaded by itself: all are in sections with a question mark, or members of "
                    "such maps");
  Pinned pinned(engine->inspector());
  std::vector<Link> links;
  if (all) SKEP_TRY(pinned.directory(line.path));
  for (auto& program : object.programs()) {
    const std::string path = all ? line.path + "/" + pin_name(program.info().name) : line.path;
    if (line.attach) {
      if (program.target().kind == AttachKind::none)
        return fail(Code::invalid_argument,
                    fmt::format("program {}: its section names no place to attach to", program.info().name));
      links.push_back(SKEP_TRY(attach_and_pin(program, pinned, path)));
    } else {
      if (program.info().id == 0)
        return fail(Code::unsupported,
                    fmt::format("program {}: it is loaded when it is attached; add autoattach", program.info().name));
      SKEP_TRY(pinned.pin(ObjectKind::program, program.info().id, path));
    }
  }
  if (!line.pin_maps.empty()) {
    SKEP_TRY(pinned.directory(line.pin_maps));
    for (auto& map : object.maps())
      SKEP_TRY(pinned.pin(ObjectKind::map, map.info().id, line.pin_maps + "/" + pin_name(map.info().name)));
  }
  pinned.keep();
  if (words.json) fmt::print("null\n");
  return 0;
}

Result<int> prog_pin(Words& words) {
  const auto program = SKEP_TRY(find_program(words));
  const std::string path = words.next();
  if (path.empty()) return fail(Code::invalid_argument, "expected the path in bpffs after the program");
  SKEP_TRY(words.end());
  SKEP_TRY(program.where->pin(ObjectKind::program, program.info.id, path));
  if (words.json) fmt::print("null\n");
  return 0;
}

Result<int> prog_attach(Words& words, bool attach) {
  auto program = SKEP_TRY(find_program(words));
  SKEP_TRY(need_kernel(program, attach ? "prog attach" : "prog detach"));
  constexpr std::pair<std::string_view, AttachType> types[] = {
      {"sk_msg_verdict", AttachType::sk_msg_verdict},
      {"sk_skb_verdict", AttachType::sk_skb_verdict},
      {"sk_skb_stream_verdict", AttachType::sk_skb_stream_verdict},
      {"sk_skb_stream_parser", AttachType::sk_skb_stream_parser},
      {"flow_dissector", AttachType::flow_dissector},
  };
  const std::string name = words.next();
  const auto type =
      std::find_if(std::begin(types), std::end(types), [&](const auto& row) { return row.first == name; });
  if (type == std::end(types)) {
    std::string names;
    for (const auto& row : types) names.append(names.empty() ? "" : ", ").append(row.first);
    return fail(Code::invalid_argument,
                fmt::format("'{}' is no type to attach here: expected {}; other hooks: `skep run`, `skep prog loadall "
                            "FILE DIRECTORY autoattach`, `skep cgroup attach`",
                            name, names));
  }
  u32 map = 0;
  if (type->second != AttachType::flow_dissector || !words.done()) {
    const auto handle = SKEP_TRY(inspect::Handle::parse(words.words, words.position, "map"));
    map = SKEP_TRY(program.world.map(handle)).info.id;
  }
  SKEP_TRY(words.end());
  SKEP_TRY(attach ? kernel::attach_program(program.info.id, type->second, map)
                  : kernel::detach_program(program.info.id, type->second, map));
  if (words.json) fmt::print("null\n");
  return 0;
}

}  // namespace skep::tools
