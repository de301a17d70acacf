// Objects and their programs.
//
// An object's maps are made when it is opened, its programs one by one when they are asked for: only then is it known
// what a program of BCC's dialect will be attached to. LoadOptions::maps joins the two.
#include <fmt/format.h>

#include <cstring>

#include "capi/state.hpp"
#include "catalog/syscalls.hpp"
#include "compile/compile.hpp"
#include "isa/text.hpp"

struct skep_function {
  std::shared_ptr<skep::capi::ObjectState> object;
  skep::Program program;
  std::string text;
  skep::TestRunResult last_run;
};
struct skep_link {
  std::shared_ptr<skep::capi::ObjectState> object;
  skep::Link link;
  std::string carried_by;
};

namespace skep::capi {
namespace {

/// The caller's options; a shorter structure than ours leaves the rest as it is by default.
Result<compile::CompileOptions> read_options(const skep_compile_options* given) {
  compile::CompileOptions options;
  if (given == nullptr) return options;
  skep_compile_options all{};
  std::memcpy(&all, given, std::min(given->size, sizeof all));
  for (const char* const* flag = all.cflags; flag != nullptr && *flag != nullptr; ++flag)
    options.cflags.emplace_back(*flag);
  if (all.cache_dir != nullptr) options.cache_dir = all.cache_dir;
  options.use_cache = all.without_cache == 0;
  if (all.dialect < SKEP_DIALECT_AUTOMATIC || all.dialect > SKEP_DIALECT_LIBBPF)
    return fail(Code::invalid_argument, fmt::format("no dialect {}", all.dialect));
  options.dialect = static_cast<compile::Dialect>(all.dialect);
  return options;
}

/// Only the maps of an object: its programs wait.
Result<Object> load_maps(Backend& backend, const ObjectSpec& spec) {
  ObjectSpec maps_only = spec;
  maps_only.programs.clear();
  // What names programs is filled when they come.
  for (MapSpec& map : maps_only.maps)
    if (map.type == MapType::prog_array) map.slots.clear();
  return backend.load(maps_only);
}

template <class Read>
Result<std::unique_ptr<skep_object>> open(skep_engine* engine, const skep_compile_options* given, Read read) {
  if (engine == nullptr) return is_null("the engine");
  auto state = std::make_shared<ObjectState>();
  state->engine = engine->state;
  auto options = SKEP_TRY(read_options(given));
  options.on_warning = [&](std::string_view text) { state->warnings += text; };
  state->spec = SKEP_TRY(read(options));
  auto loaded = SKEP_TRY(load_maps(*state->engine->backend, state->spec));
  for (const Map& map : loaded.maps()) state->maps.push_back(map);
  for (std::size_t i = 0; i < state->maps.size(); ++i) state->tables.push_back({state.get(), i});
  for (const ProgramSpec& program : state->spec.programs)
    state->targets.push_back(program.attach.kind == AttachKind::none ? std::string() : program.attach.text());
  return std::make_unique<skep_object>(skep_object{std::move(state)});
}

Result<std::unique_ptr<skep_function>> load(skep_object* handle, const char* name, u32 type, const char* target) {
  if (handle == nullptr || name == nullptr) return is_null("the object or the program's name");
  ObjectState& object = *handle->state;
  ObjectSpec spec = object.spec;
  if (ProgramSpec* program = spec.program(name)) {
    program->autoload = true;
    if (target != nullptr) {
      program->attach = SKEP_TRY(AttachTarget::from_text(target));
      program->type = program->attach.program_type();
    } else if (type != 0) {
      program->type = static_cast<ProgramType>(type);
      if (program->attach.program_type() != program->type) program->attach = {};
    }
  }
  LoadOptions options;
  options.programs.emplace_back(name);
  for (std::size_t i = 0; i < object.maps.size(); ++i) options.maps.push_back({spec.maps[i].name, object.maps[i]});
  auto loaded = SKEP_TRY(object.engine->backend->load(spec, options));
  if (loaded.programs().empty()) return fail(Code::not_found, fmt::format("no program \"{}\" was loaded", name));
  return std::make_unique<skep_function>(skep_function{handle->state, loaded.programs()[0], {}, {}});
}

std::vector<std::byte> copy(const void* from, std::size_t size) {
  const auto* bytes = static_cast<const std::byte*>(from);
  return bytes != nullptr ? std::vector<std::byte>(bytes, bytes + size) : std::vector<std::byte>();
}

Result<s64> test_run(skep_function* function, skep_test_run* run) {
  if (function == nullptr || run == nullptr || run->size < sizeof *run) return is_null("the program or the run");
  TestRun input;
  input.data = copy(run->data, run->data_size);
  input.context = copy(run->context, run->context_size);
  input.repeat = std::max<u32>(run->repeat, 1);
  function->last_run = SKEP_TRY(function->program.test_run(input));
  const TestRunResult& result = function->last_run;
  run->result = result.result;
  run->duration_ns = result.duration_ns;
  run->data_out = result.data.data();
  run->data_out_size = result.data.size();
  run->context_out = result.context.data();
  run->context_out_size = result.context.size();
  return 0;
}

Result<std::vector<Insn>> instructions(const skep_function* function) {
  if (function == nullptr) return is_null("the program");
  Inspector& inspector = function->object->engine->backend->inspector();
  return SKEP_TRY(inspector.program_code(function->program.info().id)).insns;
}

}  // namespace
}  // namespace skep::capi

using namespace skep;
using namespace skep::capi;

// --- objects ---

skep_object* skep_object_open_file(skep_engine* engine, const char* path, const skep_compile_options* options) {
  return handle_of<skep_object>([&] {
    return open(engine, options, [&](const compile::CompileOptions& with) -> Result<ObjectSpec> {
      if (path == nullptr) return is_null("the path");
      return compile::load_program(path, with);
    });
  });
}

skep_object* skep_object_open_text(skep_engine* engine, const char* text, size_t length, const char* name,
                                   const skep_compile_options* options) {
  return handle_of<skep_object>([&] {
    return open(engine, options, [&](const compile::CompileOptions& with) -> Result<ObjectSpec> {
      if (text == nullptr) return is_null("the text");
      return compile::load_text({text, length}, name != nullptr ? name : "program.c", with);
    });
  });
}

void skep_object_close(skep_object* object) { delete object; }
const char* skep_object_warnings(const skep_object* object) {
  return object != nullptr ? object->state->warnings.c_str() : "";
}

int skep_compile(const char* source, const char* path, const skep_compile_options* options) {
  return status_of([&]() -> Result<s64> {
    if (source == nullptr || path == nullptr) return is_null("a path");
    const auto read = SKEP_TRY(read_options(options));
    SKEP_TRY(compile::compile_to(source, path, read));
    return 0;
  });
}

uint32_t skep_object_function_count(const skep_object* object) {
  return object != nullptr ? static_cast<uint32_t>(object->state->spec.programs.size()) : 0;
}

int skep_object_function(const skep_object* object, uint32_t index, skep_function_spec* spec) {
  return status_of([&]() -> Result<s64> {
    if (object == nullptr) return is_null("the object");
    const auto& programs = object->state->spec.programs;
    if (index >= programs.size())
      return fail(Code::not_found, fmt::format("no program {}: there are {}", index, programs.size()));
    const ProgramSpec& program = programs[index];
    return give(spec, skep_function_spec{sizeof(skep_function_spec), program.name.c_str(), program.section.c_str(),
                                         object->state->targets[index].c_str(), static_cast<u32>(program.type),
                                         program.autoload});
  });
}

// --- programs ---

skep_function* skep_function_load(skep_object* object, const char* name, uint32_t type, const char* target) {
  return handle_of<skep_function>([&] { return load(object, name, type, target); });
}
void skep_function_close(skep_function* function) { delete function; }

int skep_function_describe(skep_function* function, skep_function_info* info) {
  return status_of([&]() -> Result<s64> {
    if (function == nullptr) return is_null("the program");
    const ProgramInfo& of = function->program.info();
    return give(info,
                skep_function_info{sizeof(skep_function_info), of.id, static_cast<u32>(of.type), of.name.c_str(),
                                   of.tag.c_str(), of.run_count, of.run_time_ns, of.bytes_xlated, of.bytes_jited});
  });
}

const char* skep_function_text(skep_function* function) {
  const s64 status = guarded([&]() -> Result<s64> {
    function->text = isa::disassemble(SKEP_TRY(instructions(function)));
    return 0;
  });
  return status < 0 ? nullptr : function->text.c_str();
}

int64_t skep_function_code(skep_function* function, void* bytes, size_t size) {
  return guarded([&]() -> Result<s64> {
    const auto insns = SKEP_TRY(instructions(function));
    const std::size_t total = insns.size() * sizeof(Insn);
    if (bytes != nullptr) std::memcpy(bytes, insns.data(), std::min(size, total));
    return static_cast<s64>(total);
  });
}

int skep_function_descriptor(skep_function* function) {
  return status_of([&]() -> Result<s64> {
    if (function == nullptr) return is_null("the program");
    return descriptor_of(*function->object->engine, ObjectKind::program, function->program.info().id);
  });
}

int skep_function_test_run(skep_function* function, skep_test_run* run) {
  return status_of([&] { return test_run(function, run); });
}

skep_link* skep_function_attach(skep_function* function, const char* target, int32_t pid, uint64_t cookie) {
  return handle_of<skep_link>([&]() -> Result<std::unique_ptr<skep_link>> {
    if (function == nullptr) return is_null("the program");
    AttachTarget where = function->program.target();
    if (target != nullptr) where = SKEP_TRY(AttachTarget::from_text(target));
    if (pid != 0) where.pid = pid;
    if (cookie != 0) where.cookie = cookie;
    auto link = SKEP_TRY(function->program.attach(where));
    std::string carried_by = link.carried_by();
    return std::make_unique<skep_link>(skep_link{function->object, std::move(link), std::move(carried_by)});
  });
}
const char* skep_link_carried_by(const skep_link* link) { return link != nullptr ? link->carried_by.c_str() : ""; }
void skep_link_close(skep_link* link) { delete link; }
void skep_links_close(skep_link* const* links, size_t count) {
  if (links == nullptr) return;
  guarded([&]() -> Result<s64> {
    std::vector<Link*> all;
    for (skep_link* const link : std::span(links, count))
      if (link != nullptr) all.push_back(&link->link);
    detach_all(all);
    return 0;
  });
  for (skep_link* const link : std::span(links, count)) delete link;
}

int32_t skep_syscall_number(const char* function) {
  const catalog::SyscallRow* row = function != nullptr ? catalog::syscall_by_function(function) : nullptr;
  return row != nullptr ? static_cast<int32_t>(row->number) : -1;
}

const char* skep_syscall_name(uint32_t number) {
  const catalog::SyscallRow* row = catalog::syscall_row(number);
  return row != nullptr ? row->name.data() : nullptr;
}
