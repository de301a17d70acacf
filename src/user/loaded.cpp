// From a prepared spec to running functions: the passes of a load. See loaded.hpp.
#include "user/loaded.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "backend/names.hpp"
#include "backend/selection.hpp"
#include "backend/tag.hpp"
#include "base/fd.hpp"
#include "btf/btf.hpp"
#include "catalog/helpers.hpp"
#include "helper/helpers.hpp"
#include "helper/kfuncs.hpp"
#include "helper/load_packet.hpp"
#include "map/arena.hpp"
#include "map/slots.hpp"
#include "spec/usdt.hpp"
#include "user/lending.hpp"
#include "user/map_handle.hpp"
#include "user/prepare.hpp"
#include "user/test_run.hpp"
#include "verify/diagnosis.hpp"
#include "verify/verify.hpp"

namespace skep::user {

namespace {

const vm::Function* tail_target(u64 map, u32 index) noexcept {
  return static_cast<const vm::Function*>(map::prog_array_target(*reinterpret_cast<map::Map*>(map), index));
}

/// One load: the spec, the object in the making, and where it will be listed.
class Loader {
 public:
  Loader(const ObjectSpec& spec, const std::shared_ptr<Registry>& registry, const LoadOptions& options,
         std::shared_ptr<helper::TraceSink> trace, vm::Tier tier, const ShadowProvider& shadow)
      : spec_(spec),
        registry_(registry),
        options_(options),
        tier_(tier),
        shadow_(shadow),
        object_(std::make_shared<LoadedObject>()) {
    object_->types = std::make_unique<helper::ObjectTypes>(spec.btf, std::move(trace));
  }

  Result<std::shared_ptr<LoadedObject>> load() {
    object_->name = spec_.name;
    object_->btf = spec_.btf;
    if (spec_.btf) object_->btf_id = SKEP_TRY(registry_->btf_table->reserve());
    for (const MapSpec& map : spec_.maps) SKEP_TRY_AT("map " + map.name, make_map(map));
    bind();
    for (const ProgramSpec& program : spec_.programs) SKEP_TRY(make_program(program));
    for (std::size_t i = 0; i < spec_.maps.size(); ++i) SKEP_TRY_AT("map " + spec_.maps[i].name, fill_slots(i));
    publish();
    return user_reference(object_);
  }

 private:
  Result<void> make_map(const MapSpec& spec) {
    auto made = std::make_unique<LoadedMap>();
    made->object = object_.get();
    made->tables = registry_;
    const auto given = std::ranges::find(options_.maps, spec.name, &LoadOptions::Given::name);
    if (given != options_.maps.end()) {
      SKEP_TRY(borrow(spec, given->map, *made));
      object_->maps.push_back(std::move(made));
      return {};
    }
    made->map = SKEP_TRY(map::Map::create(spec));
    SKEP_TRY(object_->types->describe(*made->map));
    made->id = SKEP_TRY(registry_->map_table->reserve());
    MapInfo& info = made->map->info;
    info.id = made->id.id();
    info.type = spec.type;
    info.name = backend::stored_map_name(spec_.name, spec);
    info.btf_id = object_->btf ? object_->btf_id.id() : 0;
    info.btf_key_type_id = spec.btf_key_type_id;
    info.btf_value_type_id = spec.btf_value_type_id;
    info.host_pid = registry_->pid();
    info.host_name = registry_->host_name();
    info.bytes_memlock = made->map->memory_bytes();
    info.frozen = made->map->frozen();
    object_->maps.push_back(std::move(made));
    return {};
  }

  /// A map that another object of this engine has.
  Result<void> borrow(const MapSpec& spec, const Map& given, LoadedMap& into) {
    OwnMap own = own_map(given);
    if (!own.map)
      return fail(Code::invalid_argument, "the map that was given for it belongs to another engine or process");
    SKEP_TRY(check_lent({spec, spec_.btf.get()}, *own.map, own.owner->btf.get()));
    into.map = std::move(own.map);
    object_->lenders.push_back(own.owner->shared_from_this());
    if (spec.name == spec::usdt_specs_map) object_->usdt_slots = own.owner->usdt_slots;
    return {};
  }

  /// From here on the addresses of maps are fixed.
  void bind() {
    for (const auto& map : object_->maps) {
      bindings_.maps.push_back(reinterpret_cast<u64>(map->map.get()));
      const bool is_arena = map->map->spec().type == MapType::arena;
      bindings_.map_values.push_back(is_arena ? map::arena_window(*map->map).begin
                                              : reinterpret_cast<u64>(map->map->direct_value()));
      bindings_.map_views.push_back(map->map->inline_view());
    }
    const auto helpers = helper::table();
    bindings_.helpers = {reinterpret_cast<const vm::HelperFn*>(helpers.data()), helpers.size()};
    bindings_.tail_target = tail_target;
    bindings_.load_packet = helper::load_packet;
    bindings_.hidden = [types = object_->types.get()](std::string_view name, u32 local_type) {
      return types->hidden(name, local_type);
    };
    bindings_.owner = object_;
    rules_ = engine_rules();
    rules_.log = options_.verifier_log;
  }

  Result<void> make_program(const ProgramSpec& spec) {
    const std::string place = "program " + spec.name;
    const auto outcome = SKEP_TRY_AT(place, verify::verify(spec, spec_, rules_));
    if (!outcome.program)
      return fail(Code::rejected, verify::explain(outcome.report, spec, verify::diagnose(spec, spec_, rules_).get()));
    SKEP_TRY_AT(place, provide_shadow(*outcome.program));
    auto made = std::make_unique<LoadedProgram>();
    made->object = object_.get();
    bindings_.kfunc = [type = spec.type](std::string_view name) { return helper::kfunc_for(name, type); };
    made->function = SKEP_TRY(vm::Function::link(*outcome.program, bindings_, {.tier = tier_, .jit = registry_->jit}));
    made->id = SKEP_TRY_AT(place, registry_->program_table->reserve());
    made->target = spec.attach;
    made->lines = spec.lines;
    for (const auto& map : object_->maps) made->map_ids_by_index.push_back(map->map->info.id);
    made->facts = describe(spec, made->id.id(), outcome.report);
    object_->programs.push_back(std::move(made));
    return {};
  }

  /// Tasks as structures cost a window of addresses: only for programs that look at them.
  Result<void> provide_shadow(const verify::VerifiedProgram& program) {
    const auto calls = [&](catalog::HelperId id) {
      return std::ranges::binary_search(program.helpers(), static_cast<u32>(id));
    };
    const bool looks = !program.window_accesses().empty() || calls(catalog::HelperId::get_current_task) ||
                       calls(catalog::HelperId::get_current_task_btf) || program.type() == ProgramType::tracing ||
                       program.type() == ProgramType::raw_tracepoint;
    if (!looks || object_->shadow) return {};
    object_->shadow =
        shadow_ ? SKEP_TRY(shadow_()) : std::shared_ptr<hook::ShadowTasks>(SKEP_TRY(hook::ShadowTasks::create()));
    bindings_.object_window = object_->shadow->window();
    return {};
  }

  ProgramInfo describe(const ProgramSpec& spec, u32 id, const verify::Report& report) const {
    constexpr u64 page_bytes = 4096;
    ProgramInfo info;
    info.id = id;
    info.type = spec.type;
    info.name = backend::stored_name(spec.name);
    info.tag = backend::program_tag(spec.insns);
    info.gpl_compatible = catalog::is_gpl_compatible(spec_.license);
    info.loaded_at = static_cast<u64>(std::chrono::system_clock::to_time_t(std::chrono::system_clock::now()));
    info.uid = ::getuid();
    info.bytes_xlated = static_cast<u32>(spec.insns.size() * sizeof(Insn));
    info.bytes_memlock = (info.bytes_xlated + page_bytes - 1) / page_bytes * page_bytes;
    const auto add_map = [&](std::size_t place) {
      if (place >= object_->maps.size()) return;
      const u32 map_id = object_->maps[place]->map->info.id;
      if (std::ranges::find(info.map_ids, map_id) == info.map_ids.end()) info.map_ids.push_back(map_id);
    };
    for (const Reference& reference : spec.references)
      if (reference.kind == Reference::Kind::map || reference.kind == Reference::Kind::map_value)
        add_map(reference.map);
    for (std::size_t i = 0; i < spec_.maps.size(); ++i)
      if (backend::belongs_to_all(spec_.maps[i])) add_map(i);
    info.btf_id = object_->btf ? object_->btf_id.id() : 0;
    info.insns_processed = report.insns_processed;
    info.host_pid = registry_->pid();
    info.host_name = registry_->host_name();
    return info;
  }

  /// Static contents of program arrays and maps of maps: `.values = {[1] = &other}`.
  Result<void> fill_slots(std::size_t index) {
    map::Map& map = *object_->maps[index]->map;
    const bool borrowed = object_->maps[index]->id.id() == 0;
    if (borrowed && map.spec().type != MapType::prog_array) return {};  // filled by its own object
    for (const MapSpec::Slot& slot : spec_.maps[index].slots) {
      s64 error = 0;
      if (map.spec().type == MapType::prog_array) {
        const auto position = std::ranges::find(spec_.programs, slot.name, &ProgramSpec::name);
        if (position == spec_.programs.end()) continue;  // not among the programs that were asked for
        const auto& program = object_->programs[static_cast<std::size_t>(position - spec_.programs.begin())];
        error = map::prog_array_set(map, slot.index, program->function, program->id.id());
      } else {
        const auto position = std::ranges::find(spec_.maps, slot.name, &MapSpec::name);
        if (position == spec_.maps.end()) return fail(Code::not_found, "slot " + slot.name + ": no such map");
        const auto& inner = object_->maps[static_cast<std::size_t>(position - spec_.maps.begin())];
        error = map::set_inner_map(map, &slot.index, inner->map, 0);
      }
      if (error != 0)
        return tl::unexpected<Error>(
            base::os_error("slot " + std::to_string(slot.index) + " = " + slot.name, static_cast<int>(-error)));
    }
    return {};
  }

  /// From here on others see it.
  void publish() {
    if (object_->btf) object_->btf_id.publish(object_->btf);
    for (const auto& map : object_->maps)
      if (map->id.id() != 0) map->id.publish(std::shared_ptr<const RegisteredMap>(object_, map.get()));
    for (const auto& program : object_->programs)
      program->id.publish(std::shared_ptr<const RegisteredProgram>(object_, program.get()));
  }

  const ObjectSpec& spec_;
  const std::shared_ptr<Registry>& registry_;
  const LoadOptions& options_;
  const vm::Tier tier_;
  const ShadowProvider& shadow_;
  std::shared_ptr<LoadedObject> object_;
  vm::Bindings bindings_;
  verify::Options rules_;
};

}  // namespace

MapInfo LoadedMap::describe() const {
  MapInfo info = map->info;
  info.bytes_memlock = map->memory_bytes();
  info.frozen = map->frozen();
  return info;
}

std::shared_ptr<Map::Impl> LoadedMap::open(std::shared_ptr<const RegisteredMap> self) const {
  // `self` is the registry's reference or a handle's; the handle that is made holds the latter.
  auto owner = user_reference(std::shared_ptr<LoadedObject>(std::move(self), object));
  return make_map_handle(map, std::move(owner), tables);
}

ProgramInfo LoadedProgram::describe() const {
  ProgramInfo info = facts;
  info.run_count = run_count.load(std::memory_order_relaxed);
  info.run_time_ns = run_time_ns.load(std::memory_order_relaxed);
  info.bytes_jited = static_cast<u32>(function->machine_code().size());  // of the tier it runs in now
  info.jited = info.bytes_jited != 0;
  return info;
}

/// The verified instructions with map ids where the machine has addresses, as the kernel shows its own.
Result<ProgramCode> LoadedProgram::code() const {
  const verify::VerifiedProgram& proof = function->program();
  ProgramCode code;
  code.insns = proof.insns();
  code.lines = lines;
  code.functions = proof.functions();
  const auto machine_code = std::as_bytes(function->machine_code());  // of the tier it runs in now
  code.jited.assign(machine_code.begin(), machine_code.end());
#if defined(__x86_64__)
  code.machine = "x86-64";
#elif defined(__aarch64__)
  code.machine = "arm64";
#endif
  for (const Reference& reference : proof.references()) {
    const bool is_map = reference.kind == Reference::Kind::map || reference.kind == Reference::Kind::map_value;
    if (!is_map || reference.insn + 1 >= code.insns.size() || reference.map >= map_ids_by_index.size()) continue;
    const bool is_value = reference.kind == Reference::Kind::map_value;
    code.insns[reference.insn].src = is_value ? 2 : 1;  // BPF_PSEUDO_MAP_VALUE, BPF_PSEUDO_MAP_FD
    code.insns[reference.insn].imm = static_cast<s32>(map_ids_by_index[reference.map]);
    code.insns[reference.insn + 1].imm = is_value ? static_cast<s32>(reference.addend) : 0;
  }
  return code;
}

Result<TestRunResult> LoadedProgram::test_run(const TestRun& run) const {
  auto result = SKEP_TRY_AT("program " + facts.name, user::test_run(*function, run, nullptr));
  const u64 runs = std::max<u32>(run.repeat, 1);
  run_count.fetch_add(runs, std::memory_order_relaxed);
  run_time_ns.fetch_add(result.duration_ns * runs, std::memory_order_relaxed);
  return result;
}

LoadedObject::~LoadedObject() {
  // Program arrays first: they may hold programs of other objects, whose turn is to go before our maps do.
  for (const auto& map : maps)
    if (map->id.id() != 0) map::prog_array_clear(*map->map);
  programs.clear();
  maps.clear();
}

void LoadedObject::release_users() noexcept {
  for (const auto& map : maps)
    if (map->id.id() != 0) map->map->release_users();
}

void LoadedObject::regain_users() noexcept {
  for (const auto& map : maps)
    if (map->id.id() != 0) map->map->regain_users();
}

namespace {
struct UserReference {
  std::shared_ptr<LoadedObject> object;
  explicit UserReference(std::shared_ptr<LoadedObject> of) : object(std::move(of)) {}
  ~UserReference() {
    // A handle may be opened meanwhile: what it finds, and what it puts in, is its own.
    {
      const std::lock_guard lock(object->user_mutex);
      if (!object->user.expired()) return;
      object->release_users();
    }
    for (const auto& map : object->maps) {
      if (map->id.id() == 0) continue;  // its own object's handles decide
      map::ProgArrayTargets targets;
      {
        const std::lock_guard lock(object->user_mutex);
        if (!object->user.expired()) return;
        targets = map::prog_array_take(*map->map);
      }
      map::prog_array_let_go(*map->map, std::move(targets));  // waits for runs, so without the lock
    }
  }
  UserReference(const UserReference&) = delete;
  UserReference& operator=(const UserReference&) = delete;
};
}  // namespace

std::shared_ptr<LoadedObject> user_reference(const std::shared_ptr<LoadedObject>& object) {
  const std::lock_guard lock(object->user_mutex);
  std::shared_ptr<void> user = object->user.lock();
  if (!user) {
    user = std::make_shared<UserReference>(object);
    object->regain_users();
    object->user = user;
  }
  return {std::move(user), object.get()};
}

Result<std::shared_ptr<LoadedObject>> load_object(const ObjectSpec& prepared, const std::shared_ptr<Registry>& registry,
                                                  const LoadOptions& options, vm::Tier tier,
                                                  std::shared_ptr<helper::TraceSink> trace,
                                                  const ShadowProvider& shadow) {
  return Loader(prepared, registry, options, std::move(trace), tier, shadow).load();
}

}  // namespace skep::user
