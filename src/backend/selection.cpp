// See selection.hpp.
#include "backend/selection.hpp"

#include <algorithm>

#include "backend/names.hpp"

namespace skep::backend {
namespace {

Result<void> check_names(const ObjectSpec& spec, const std::vector<std::string>& wanted) {
  for (const std::string& name : wanted) {
    if (spec.program(name) != nullptr) continue;
    std::vector<std::string_view> known;
    for (const ProgramSpec& program : spec.programs) known.push_back(program.name);
    return tl::unexpected<Error>(no_such("object " + spec.name, "program", name, known));
  }
  return {};
}

/// The programs that are one with `first`, which is the first of them.
std::vector<const ProgramSpec*> group_of(const ObjectSpec& spec, const ProgramSpec& first) {
  std::vector<const ProgramSpec*> group;
  for (const ProgramSpec& program : spec.programs)
    if (program.autoload && program.one_of == first.one_of) group.push_back(&program);
  return group;
}

/// Whether all the struct_ops maps that have it as a member are in sections "?.struct_ops": nobody asked for them.
bool only_for_optional_maps(const ObjectSpec& spec, const ProgramSpec& program) {
  bool any = false;
  for (const MapSpec& map : spec.maps) {
    if (map.type != MapType::struct_ops ||
        std::ranges::find(map.slots, program.name, &MapSpec::Slot::name) == map.slots.end())
      continue;
    if (map.autocreate) return false;
    any = true;
  }
  return any;
}

bool may_be_missing(const ProgramSpec* program) { return program->section.starts_with('?'); }

std::string reason(const ProgramSpec& program, const Error& error) {
  const std::string hook = program.attach.text();
  return error.message.starts_with(hook) ? error.message : hook + ": " + error.message;
}

}  // namespace

std::optional<std::size_t> first_that_fits(std::span<const ProgramSpec* const> programs, const HasHook& has_hook,
                                           std::string& tried) {
  std::optional<std::size_t> second_best;
  for (std::size_t i = 0; i < programs.size(); ++i) {
    const auto has = has_hook(*programs[i]);
    if (!has)
      tried += "\n  " + reason(*programs[i], has.error());
    else if (*has)
      return i;
    else if (!second_best)
      second_best = i;
  }
  return second_best;
}

Result<Selection> select_programs(const ObjectSpec& spec, const std::vector<std::string>& names,
                                  const HasHook& has_hook) {
  SKEP_TRY(check_names(spec, names));
  Selection selection;
  std::vector<std::string_view> decided;  // groups
  for (const ProgramSpec& program : spec.programs) {
    const bool named = std::ranges::find(names, program.name) != names.end();
    if (names.empty() ? !program.autoload || only_for_optional_maps(spec, program) : !named) continue;
    if (!names.empty() || program.one_of.empty()) {
      selection.programs.push_back(&program);
      continue;
    }
    if (std::ranges::find(decided, program.one_of) != decided.end()) continue;
    decided.emplace_back(program.one_of);
    const auto group = group_of(spec, program);
    std::string tried;
    if (const auto chosen = first_that_fits(group, has_hook, tried))
      selection.programs.push_back(group[*chosen]);
    else if (std::ranges::all_of(group, may_be_missing))
      selection.notes.push_back("programs of \"" + program.one_of +
                                "\" are left out, because no hook is there:" + tried);
    else
      return fail(Code::unsupported,
                  "object " + spec.name + ": no program of \"" + program.one_of + "\" has its hook:" + tried);
  }
  std::ranges::sort(selection.programs);  // they lie in one vector: the file's order
  return selection;
}

ObjectSpec without_pins(ObjectSpec spec) {
  for (MapSpec& map : spec.maps) map.pin_by_name = false;
  return spec;
}

bool belongs_to_all(const MapSpec& map) noexcept {
  return map.is_global_data && map.frozen && !map.name.ends_with(".kconfig");
}

void drop_optional_maps(ObjectSpec& spec) {
  std::vector<u32> place;  // where each map is afterwards
  u32 kept = 0;
  for (const MapSpec& map : spec.maps) place.push_back(map.autocreate ? kept++ : kept);
  std::erase_if(spec.maps, [](const MapSpec& map) { return !map.autocreate; });
  for (ProgramSpec& program : spec.programs)
    for (Reference& reference : program.references)
      if (reference.map < place.size()) reference.map = place[reference.map];
}

std::vector<std::string> with_tail_calls(const ObjectSpec& spec, const std::string& name) {
  std::vector<std::string> found = {name};
  std::vector<const MapSpec*> maps;
  const auto add = [](auto& list, const auto& one) {
    if (std::ranges::find(list, one) == list.end()) list.push_back(one);
  };
  std::size_t maps_done = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const ProgramSpec* program = spec.program(found[i]);
    if (program == nullptr) continue;
    for (const Reference& reference : program->references)
      if (reference.kind == Reference::Kind::map && reference.map < spec.maps.size())
        add(maps, &spec.maps[reference.map]);
    for (; maps_done < maps.size(); ++maps_done)
      for (const auto& slot : maps[maps_done]->slots) {
        if (const MapSpec* inner = spec.map(slot.name); inner != nullptr)
          add(maps, inner);  // an array of program arrays
        if (spec.program(slot.name) != nullptr) add(found, slot.name);
      }
  }
  return found;
}

ObjectSpec only(const ObjectSpec& spec, const Selection& selection) {
  ObjectSpec chosen = spec;
  std::erase_if(chosen.programs, [&](const ProgramSpec& program) {
    return std::ranges::find(selection.programs, program.name, &ProgramSpec::name) == selection.programs.end();
  });
  return chosen;
}

}  // namespace skep::backend
