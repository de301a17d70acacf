// Loading for a host: close what an object leaves open, take over the host's helpers and context, make maps, verify,
// link.
//
// What the user engine does beyond this (ids, a control socket, hooks) is not here, and neither are their rooms: the
// linker leaves them out of a program that uses nothing else.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "backend/selection.hpp"
#include "base/mapped_file.hpp"
#include "catalog/kfuncs.hpp"
#include "helper/helpers.hpp"
#include "helper/kfuncs.hpp"
#include "helper/load_packet.hpp"
#include "host/data.hpp"
#include "host/interface.hpp"
#include "host/map_handle.hpp"
#include "isa/isa.hpp"
#include "map/arena.hpp"
#include "map/slots.hpp"
#include "spec/classic.hpp"
#include "spec/resolve.hpp"
#include "verify/verify.hpp"
#include "vm/jit/tiering.hpp"

namespace skep::host {

Module::Data::~Data() {
  for (const auto& map : maps) map->end_callbacks();
  // Program arrays hold functions, functions refer to maps.
  for (const auto& map : maps)
    if (map->spec().type == MapType::prog_array) map::prog_array_clear(*map);
}

namespace {

const vm::Function* tail_target(u64 map, u32 index) noexcept {
  return static_cast<const vm::Function*>(map::prog_array_target(*reinterpret_cast<map::Map*>(map), index));
}

vm::Tier tier_of(Tier tier) {
  switch (tier) {
    case Tier::automatic:
      return vm::Tier::automatic;
    case Tier::interpreter:
      return vm::Tier::interpreter;
    case Tier::baseline:
      return vm::Tier::baseline;
    case Tier::optimised:
      return vm::Tier::optimised;
  }
  return vm::Tier::automatic;
}

/// Whether a run of `program` may meet objects that the host replaces, reads memory by address, or asks for its CPU.
bool needs_section(const verify::VerifiedProgram& program, const Module::Data& data) {
  using enum catalog::HelperId;
  if (data.per_cpu || data.slots) return true;
  for (const Reference& reference : program.references())
    if (reference.kind == Reference::Kind::kfunc) return true;
  return !std::ranges::all_of(program.helpers(), [](u32 id) {
    switch (static_cast<catalog::HelperId>(id)) {
      case map_lookup_elem:
      case map_update_elem:
      case map_delete_elem:
      case ktime_get_ns:
      case get_prandom_u32:
      case ringbuf_output:
      case ringbuf_reserve:
      case ringbuf_submit:
      case ringbuf_discard:
        return true;
      default:
        return id >= first_helper_id;
    }
  });
}

}  // namespace

/// One load, pass by pass.
class Loader {
 public:
  Loader(const ObjectSpec& spec, const Options& options) : data_(std::make_shared<Module::Data>()) {
    data_->spec = spec;
    data_->types = std::make_unique<helper::ObjectTypes>(spec.btf, nullptr);
    data_->options = options;
  }

  Result<std::shared_ptr<const Module::Data>> load() {
    SKEP_TRY(close());
    interface_ = SKEP_TRY(Interface::make(data_->options, data_->helpers));
    for (const MapSpec& map : data_->spec.maps) SKEP_TRY_AT("map " + map.name, make_map(map));
    bind();
    for (const ProgramSpec& program : data_->spec.programs)
      SKEP_TRY_AT("program " + program.name, make_program(program));
    for (std::size_t i = 0; i < data_->maps.size(); ++i) SKEP_TRY_AT("map " + data_->spec.maps[i].name, fill_slots(i));
    return std::move(data_);
  }

 private:
  /// Errors: what a host cannot run, and why.
  static Result<bool> has_hook(const ProgramSpec& program) {
    if (program.type == ProgramType::unspec)
      return fail(Code::invalid_argument,
                  "its section says no program type; use SEC(\"syscall\") for the host's own context, SEC(\"xdp\") or "
                  "SEC(\"tc\") for packets");
    if (program.type == ProgramType::syscall || takes_packets(program.type)) return true;
    return fail(Code::unsupported,
                fmt::format("a host gives contexts to SEC(\"syscall\") and packets to SEC(\"xdp\"), SEC(\"tc\") and "
                            "SEC(\"socket\"), not to type {} (skep::user_backend() has its hooks)",
                            name_of(program.type)));
  }

  /// What an object may leave open and only a kernel could answer.
  Result<void> close() {
    ObjectSpec& spec = data_->spec;
    spec = backend::only(spec, SKEP_TRY(backend::select_programs(spec, {}, has_hook)));
    if (spec.programs.empty()) return fail(Code::invalid_argument, "no program of it is loaded by default");
    for (const ProgramSpec& program : spec.programs) {
      SKEP_TRY_AT("program " + program.name, has_hook(program));
      if (!program.relocations.empty())
        return fail(Code::unsupported, "program " + program.name +
                                           ": CO-RE relocations refer to a kernel's types, an embedded engine has "
                                           "none; define the structures without preserve_access_index");
      for (const Reference& reference : program.references)
        if (reference.kind == Reference::Kind::ksym)
          return fail(Code::unsupported,
                      "program " + program.name + ": kernel symbol " + reference.name + " exists in a kernel only");
    }
    return spec::resolve_kconfig(spec, [](std::string_view) { return std::nullopt; });
  }

  Result<void> make_map(const MapSpec& spec) {
    auto map = SKEP_TRY(map::Map::create(spec));
    SKEP_TRY(data_->types->describe(*map));
    map->info.name = spec.name;
    map->info.type = spec.type;
    data_->per_cpu |= map->is_per_cpu();
    data_->slots |=
        spec.type == MapType::prog_array || spec.type == MapType::array_of_maps || spec.type == MapType::hash_of_maps;
    data_->maps.push_back(std::move(map));
    return {};
  }

  /// From here on the addresses of maps and the table of helpers are fixed.
  void bind() {
    for (const auto& map : data_->maps) {
      bindings_.maps.push_back(reinterpret_cast<u64>(map.get()));
      const bool is_arena = map->spec().type == MapType::arena;
      bindings_.map_values.push_back(is_arena ? map::arena_window(*map).begin
                                              : reinterpret_cast<u64>(map->direct_value()));
      bindings_.map_views.push_back(map->inline_view());
    }
    bindings_.helpers = data_->helpers;
    bindings_.kfunc = helper::kfunc;
    bindings_.hidden = [types = data_->types.get()](std::string_view name, u32 local_type) {
      return types->hidden(name, local_type);
    };
    bindings_.tail_target = tail_target;
    bindings_.load_packet = helper::load_packet;
    const Options& options = data_->options;
    link_ = {.tier = tier_of(options.tier), .blind_constants = options.blind_constants};
    if (options.tier == Tier::automatic)
      link_.jit = options.compiler ? options.compiler->data_->jit : vm::Jit::create();
  }

  Result<void> make_program(const ProgramSpec& spec) {
    const auto outcome = SKEP_TRY(verify::verify(spec, data_->spec, interface_->rules()));
    if (!outcome.program) return fail(Code::rejected, verify::explain(outcome.report, spec));
    data_->functions.push_back(SKEP_TRY(vm::Function::link(*outcome.program, bindings_, link_)));
    return {};
  }

  /// Static contents of program arrays and maps of maps: `.values = {[1] = &other}`.
  Result<void> fill_slots(std::size_t index) {
    for (const MapSpec::Slot& slot : data_->spec.maps[index].slots) {
      const s64 status = data_->maps[index]->spec().type == MapType::prog_array ? SKEP_TRY(put_program(index, slot))
                                                                                : SKEP_TRY(put_map(index, slot));
      if (status != 0)
        return fail(Code::invalid_argument,
                    fmt::format("slot {} = {}: {}", slot.index, slot.name, strerrordesc_np(static_cast<int>(-status))),
                    static_cast<int>(-status));
    }
    return {};
  }

  /// A tail call keeps the context, so every program at either end of one must take the same.
  Result<s64> put_program(std::size_t array, const MapSpec::Slot& slot) {
    const auto& programs = data_->spec.programs;
    const auto target = std::ranges::find(programs, slot.name, &ProgramSpec::name);
    if (target == programs.end()) return 0;  // not loaded by default: the slot stays empty
    for (const ProgramSpec& caller : programs) {
      const bool uses = std::ranges::any_of(caller.references, [array](const Reference& reference) {
        return reference.kind == Reference::Kind::map && reference.map == array;
      });
      if (uses && caller.type != target->type)
        return fail(Code::invalid_argument,
                    fmt::format("slot {} = {}: type {}, but program {} that calls through this array has type {}",
                                slot.index, slot.name, name_of(target->type), caller.name, name_of(caller.type)));
    }
    const auto at = static_cast<std::size_t>(target - programs.begin());
    return map::prog_array_set(*data_->maps[array], slot.index, data_->functions[at], static_cast<u32>(at + 1));
  }

  Result<s64> put_map(std::size_t outer, const MapSpec::Slot& slot) {
    const auto inner = std::ranges::find(data_->spec.maps, slot.name, &MapSpec::name);
    if (inner == data_->spec.maps.end()) return fail(Code::not_found, "slot " + slot.name + ": no such map");
    const auto at = static_cast<std::size_t>(inner - data_->spec.maps.begin());
    return map::set_inner_map(*data_->maps[outer], &slot.index, data_->maps[at], 0);
  }

  std::shared_ptr<Module::Data> data_;
  std::optional<Interface> interface_;
  vm::Bindings bindings_;
  vm::LinkOptions link_;
};

Compiler Compiler::create() { return Compiler(std::make_shared<Data>(Data{vm::Jit::create()})); }

Result<Module> Module::from_spec(const ObjectSpec& spec, const Options& options) {
  return Module(SKEP_TRY_AT("object " + spec.name, Loader(spec, options).load()));
}

Result<Module> Module::from_bytes(std::span<const std::byte> bytes, std::string_view name, const Options& options) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!spec::looks_classic(text)) return from_spec(SKEP_TRY(ObjectSpec::from_bytes(bytes, name)), options);
  spec::ClassicOptions classic;
  classic.type = ProgramType::sched_cls;  // sees the packet from its first byte
  const auto filter = SKEP_TRY(spec::parse_classic(text));
  return from_spec(SKEP_TRY(spec::classic_object(filter, classic)), options);
}

Result<Module> Module::from_file(const std::filesystem::path& path, const Options& options) {
  return from_bytes(SKEP_TRY(base::read_file(path)), path.filename().native(), options);
}

Result<Module> Module::from_instructions(std::span<const Insn> insns, ProgramType type, std::string_view name,
                                         const Options& options) {
  ObjectSpec spec;
  spec.name = name;
  spec.license = "GPL";
  ProgramSpec program;
  program.name = name;
  program.type = type;
  program.insns.assign(insns.begin(), insns.end());
  program.functions.push_back({.insn = 0, .type_id = 0, .name = std::string(name), .is_global = true});
  spec.programs.push_back(std::move(program));
  return from_spec(spec, options);
}

Result<Program> Module::program(std::string_view name) const {
  const auto& programs = data_->spec.programs;
  const auto found =
      name.empty() && programs.size() == 1 ? programs.begin() : std::ranges::find(programs, name, &ProgramSpec::name);
  if (found == programs.end())
    return fail(Code::not_found, fmt::format("no program '{}' in {}; there are: {}", name, data_->spec.name,
                                             fmt::join(program_names(), ", ")));
  auto data = std::make_shared<Program::Data>();
  data->module = data_;
  data->function = data_->functions[static_cast<std::size_t>(found - programs.begin())].get();
  data->name = found->name;
  data->in_section = needs_section(data->function->program(), *data_);
  if (takes_packets(found->type)) data->packet_layout = catalog::context_of(found->type);
  return Program(std::move(data));
}

Result<Map> Module::map(std::string_view name) const {
  for (const auto& map : data_->maps)
    if (map->spec().name == name) return Map(map_handle(map));
  return fail(Code::not_found,
              fmt::format("no map '{}' in {}; there are: {}", name, data_->spec.name, fmt::join(map_names(), ", ")));
}

std::vector<std::string> Module::program_names() const {
  std::vector<std::string> names;
  for (const auto& program : data_->spec.programs) names.push_back(program.name);
  return names;
}

std::vector<std::string> Module::map_names() const {
  std::vector<std::string> names;
  for (const auto& map : data_->spec.maps) names.push_back(map.name);
  return names;
}

}  // namespace skep::host
