// The C face of skep::host: handles, sizes that are checked, and errors as text. No exception leaves it.
#include <fmt/format.h>
#include <skep/skep_vm.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <new>
#include <skep/vm.hpp>

#include "host/map_handle.hpp"

using namespace skep;

struct skep_options {
  host::Options options;
};
struct skep_program {
  host::Program program;
};
struct skep_map {
  Map map;
};
struct skep_ring {
  RingReader reader;
};
struct skep_vm {
  host::Module module;
  std::map<std::string, std::unique_ptr<skep_program>, std::less<>> programs;
  std::map<std::string, std::unique_ptr<skep_map>, std::less<>> maps;
};

namespace {

static_assert(SKEP_MALFORMED == static_cast<int>(Code::malformed) + 1 &&
              SKEP_REJECTED == static_cast<int>(Code::rejected) + 1 && SKEP_IO == static_cast<int>(Code::io) + 1 &&
              SKEP_CLOSED == static_cast<int>(Code::closed) + 1);
static_assert(SKEP_SIZE == static_cast<int>(host::Argument::size) &&
              SKEP_READ == static_cast<int>(host::Argument::read));
static_assert(SKEP_FIELD_DATA_END == static_cast<int>(host::ContextField::Kind::data_end));
static_assert(SKEP_TIER_OPTIMISED == static_cast<int>(host::Tier::optimised));
static_assert(sizeof(skep_error) == 2048);

int refuse(skep_error* out, const Error& error) noexcept {
  if (out == nullptr) return -1;
  out->code = static_cast<int32_t>(error.code) + 1;
  const std::size_t length = std::min(error.message.size(), sizeof out->message - 1);
  std::memcpy(out->message, error.message.data(), length);
  out->message[length] = 0;
  return -1;
}

/// Runs `body`, which returns a Result<int64_t>; what it or the library throws becomes text.
template <class Body>
int64_t guarded(skep_error* out, Body body) noexcept {
  if (out != nullptr) out->code = SKEP_OK, out->message[0] = 0;
  try {
    const Result<int64_t> status = body();
    return status ? *status : refuse(out, status.error());
  } catch (const std::bad_alloc&) {
    return refuse(out, {Code::limit, "out of memory", 0});  // short enough to need none
  } catch (const std::exception& failure) {
    return refuse(out, {Code::io, failure.what(), 0});
  }
}
template <class Body>
int status_of(skep_error* out, Body body) noexcept {
  return static_cast<int>(guarded(out, std::move(body)));
}

tl::unexpected<Error> is_null(const char* what) {
  return fail(Code::invalid_argument, fmt::format("{} is NULL", what));
}

/// Changes options that must be there.
template <class Change>
int changed(skep_options* options, skep_error* error, Change change) noexcept {
  return status_of(error, [&]() -> Result<int64_t> {
    if (options == nullptr) return is_null("the options");
    SKEP_TRY(change(options->options));
    return 0;
  });
}

template <class Load>
skep_vm* loaded(const skep_options* options, skep_error* out, Load load) noexcept {
  skep_vm* vm = nullptr;
  guarded(out, [&]() -> Result<int64_t> {
    auto machine =
        SKEP_TRY(load(options != nullptr ? options->options : host::Options()));  // before new: a refusal returns
    vm = new skep_vm{std::move(machine), {}, {}};
    return 0;
  });
  return vm;
}

Result<ProgramType> type_named(std::string_view name) {
  for (u32 number = 1; name_of(static_cast<ProgramType>(number)) != "unknown"; ++number)
    if (name_of(static_cast<ProgramType>(number)) == name) return static_cast<ProgramType>(number);
  return fail(Code::invalid_argument, fmt::format("no program type '{}'", name));
}

std::span<const std::byte> bytes(const void* from, std::size_t size) {
  return {static_cast<const std::byte*>(from), from != nullptr ? size : 0};
}

/// `body` with a map that must be there.
template <class Body>
int with_map(const skep_map* map, skep_error* out, Body body) noexcept {
  return status_of(out, [&]() -> Result<int64_t> {
    if (map == nullptr) return is_null("the map");
    return body(map->map);
  });
}

/// The handle of that name in `handles`, made with `make` the first time.
template <class Handle, class Make>
Result<Handle*> handle_in(std::map<std::string, std::unique_ptr<Handle>, std::less<>>& handles, const std::string& name,
                          Make make) {
  auto& slot = handles[name];
  if (!slot) slot = make();
  return slot.get();
}

}  // namespace

uint32_t skep_vm_api_version(void) { return SKEP_VM_API_VERSION; }
const char* skep_vm_version(void) { return SKEP_VERSION; }

// --- options ---

skep_options* skep_options_new(void) {
  skep_options* options = nullptr;
  guarded(nullptr, [&]() -> Result<int64_t> {
    auto made = std::make_unique<skep_options>();
    made->options.compiler = host::Compiler::create();
    options = made.release();
    return 0;
  });
  return options;
}
void skep_options_free(skep_options* options) { delete options; }

int skep_options_set_context(skep_options* options, const char* name, uint32_t size, skep_error* error) {
  return changed(options, error, [&](host::Options& to) -> Result<void> {
    if (name == nullptr) return is_null("the context's name");
    to.context.name = name;
    to.context.bytes = size;
    return {};
  });
}

int skep_options_add_field(skep_options* options, const char* name, uint32_t offset, uint32_t size, int32_t kind,
                           int32_t writable, skep_error* error) {
  return changed(options, error, [&](host::Options& to) -> Result<void> {
    if (name == nullptr) return is_null("the field's name");
    if (kind < SKEP_FIELD_NUMBER || kind > SKEP_FIELD_DATA_END)
      return fail(Code::invalid_argument, fmt::format("field {}: no kind {}", name, kind));
    to.context.fields.push_back({name, offset, size, static_cast<host::ContextField::Kind>(kind), writable != 0});
    return {};
  });
}

int skep_options_set_data_writable(skep_options* options, int32_t writable, skep_error* error) {
  return changed(options, error, [&](host::Options& to) -> Result<void> {
    to.context.data_writable = writable != 0;
    return {};
  });
}

int skep_options_set_tier(skep_options* options, int32_t tier, skep_error* error) {
  return changed(options, error, [&](host::Options& to) -> Result<void> {
    if (tier < SKEP_TIER_AUTOMATIC || tier > SKEP_TIER_OPTIMISED)
      return fail(Code::invalid_argument, fmt::format("no tier {}", tier));
    to.tier = static_cast<host::Tier>(tier);
    return {};
  });
}

int skep_options_set_blind_constants(skep_options* options, int32_t blind, skep_error* error) {
  return changed(options, error, [&](host::Options& to) -> Result<void> {
    to.blind_constants = blind != 0;
    return {};
  });
}

int skep_options_add_helper(skep_options* options, uint32_t id, const char* name, const int32_t* arguments,
                            size_t count, skep_helper_fn function, skep_error* error) {
  return changed(options, error, [&](host::Options& to) -> Result<void> {
    if (name == nullptr) return is_null("the helper's name");
    if (function == nullptr) return is_null("the helper's function");
    if (arguments == nullptr && count != 0) return is_null("the helper's arguments");
    if (count > 5) return fail(Code::invalid_argument, fmt::format("helper {}: {} arguments, at most 5", name, count));
    host::Helper helper{id, name, {}, reinterpret_cast<host::HelperFn>(function)};
    for (size_t i = 0; i < count; ++i) {
      if (arguments[i] < SKEP_NUMBER || arguments[i] > SKEP_SIZE)
        return fail(Code::invalid_argument,
                    fmt::format("helper {}: argument {} has no kind {}", name, i + 1, arguments[i]));
      helper.arguments.push_back(static_cast<host::Argument>(arguments[i]));
    }
    to.helpers.push_back(std::move(helper));
    return {};
  });
}

int skep_options_set_trace(skep_options* options, skep_trace_fn function, void* user, skep_error* error) {
  return changed(options, error, [&](host::Options& to) -> Result<void> {
    to.on_trace = nullptr;
    if (function != nullptr)
      to.on_trace = [function, user](std::string_view line) { function(user, line.data(), line.size()); };
    return {};
  });
}

// --- loading ---

skep_vm* skep_vm_load(const void* data, size_t size, const char* name, const skep_options* options, skep_error* error) {
  return loaded(options, error, [&](const host::Options& with) -> Result<host::Module> {
    if (data == nullptr) return is_null("the object");
    return host::Module::from_bytes(bytes(data, size), name != nullptr ? name : "object", with);
  });
}

skep_vm* skep_vm_load_file(const char* path, const skep_options* options, skep_error* error) {
  return loaded(options, error, [&](const host::Options& with) -> Result<host::Module> {
    if (path == nullptr) return is_null("the path");
    return host::Module::from_file(path, with);
  });
}

skep_vm* skep_vm_load_instructions(const void* instructions, size_t count, const char* type, const char* name,
                                   const skep_options* options, skep_error* error) {
  return loaded(options, error, [&](const host::Options& with) -> Result<host::Module> {
    constexpr size_t most_insns = 1'000'000;
    if (instructions == nullptr || type == nullptr || name == nullptr)
      return is_null("the program, its type or its name");
    if (count == 0 || count > most_insns)
      return fail(Code::limit, fmt::format("{} instructions; from 1 to {} are possible", count, most_insns));
    std::vector<Insn> insns(count);
    std::memcpy(insns.data(), instructions, count * sizeof(Insn));
    return host::Module::from_instructions(insns, SKEP_TRY(type_named(type)), name, with);
  });
}

void skep_vm_free(skep_vm* vm) { delete vm; }

const skep_program* skep_vm_program(skep_vm* vm, const char* name, skep_error* error) {
  const skep_program* found = nullptr;
  guarded(error, [&]() -> Result<int64_t> {
    if (vm == nullptr) return is_null("the vm");
    auto program = SKEP_TRY(vm->module.program(name != nullptr ? name : ""));
    const auto make = [&] { return std::make_unique<skep_program>(skep_program{program}); };
    found = SKEP_TRY(handle_in(vm->programs, program.name(), make));
    return 0;
  });
  return found;
}

skep_map* skep_vm_map(skep_vm* vm, const char* name, skep_error* error) {
  skep_map* found = nullptr;
  guarded(error, [&]() -> Result<int64_t> {
    if (vm == nullptr || name == nullptr) return is_null("the vm or the map's name");
    const auto map = SKEP_TRY(vm->module.map(name));
    found = SKEP_TRY(handle_in(vm->maps, name, [&] { return std::make_unique<skep_map>(skep_map{map}); }));
    return 0;
  });
  return found;
}

// --- running ---

uint64_t skep_program_run(const skep_program* program, void* context, void* host) {
  return program->program.run(context, host);
}
uint64_t skep_program_run_packet(const skep_program* program, void* packet, size_t size, void* host) {
  return program->program.run_packet(std::span(static_cast<std::byte*>(packet), size), host);
}
uint64_t skep_program_run_packet_buffer(const skep_program* program, skep_packet* packet, void* host) {
  host::PacketBuffer buffer{{static_cast<std::byte*>(packet->room), packet->room_size}, packet->offset, packet->size};
  const uint64_t result = program->program.run_packet(buffer, host);
  packet->offset = buffer.offset;
  packet->size = buffer.size;
  return result;
}
void* skep_run_host(void* run) { return host::host_data(run); }
const char* skep_program_tier(const skep_program* program) { return program->program.tier().data(); }

// --- maps ---

size_t skep_map_key_size(const skep_map* map) { return map != nullptr ? map->map.info().key_size : 0; }
size_t skep_map_value_size(const skep_map* map) { return map != nullptr ? host::value_bytes(map->map.info()) : 0; }

int skep_map_lookup(const skep_map* map, const void* key, size_t key_size, void* value, size_t value_size,
                    skep_error* error) {
  return with_map(map, error, [&](const Map& in) -> Result<int64_t> {
    if (value == nullptr) return is_null("the buffer");
    SKEP_TRY(in.lookup_into(bytes(key, key_size), {static_cast<std::byte*>(value), value_size}));
    return 0;
  });
}

int skep_map_update(const skep_map* map, const void* key, size_t key_size, const void* value, size_t value_size,
                    uint64_t flags, skep_error* error) {
  return with_map(map, error, [&](const Map& in) -> Result<int64_t> {
    SKEP_TRY(in.update(bytes(key, key_size), bytes(value, value_size), flags));
    return 0;
  });
}

int skep_map_delete(const skep_map* map, const void* key, size_t key_size, skep_error* error) {
  return with_map(map, error, [&](const Map& in) -> Result<int64_t> {
    SKEP_TRY(in.erase(bytes(key, key_size)));
    return 0;
  });
}

int skep_map_next_key(const skep_map* map, const void* key, void* next, size_t key_size, skep_error* error) {
  return with_map(map, error, [&](const Map& in) -> Result<int64_t> {
    if (next == nullptr || key_size != in.info().key_size)
      return fail(Code::invalid_argument, fmt::format("the keys have {} bytes, the buffer {}", in.info().key_size,
                                                      next != nullptr ? key_size : 0));
    const auto after = key == nullptr ? std::nullopt : std::optional(bytes(key, key_size));
    const auto found = SKEP_TRY(in.next_key(after));
    if (!found) return 1;
    std::memcpy(next, found->data(), found->size());
    return 0;
  });
}

// --- rings ---

skep_ring* skep_map_open_ring(const skep_map* map, skep_error* error) {
  skep_ring* ring = nullptr;
  with_map(map, error, [&](const Map& in) -> Result<int64_t> {
    auto opened = SKEP_TRY(in.open_ring());
    ring = new skep_ring{std::move(opened)};
    return 0;
  });
  return ring;
}

int64_t skep_ring_poll(skep_ring* ring, int32_t timeout_ms, skep_record_fn function, void* user, skep_error* error) {
  return guarded(error, [&]() -> Result<int64_t> {
    if (ring == nullptr || function == nullptr) return is_null("the ring or the function");
    const auto count = SKEP_TRY(ring->reader.poll(std::chrono::milliseconds(timeout_ms), [&](const Record& record) {
      function(user, record.data.data(), record.data.size());
    }));
    return static_cast<int64_t>(count);
  });
}

int skep_ring_fd(const skep_ring* ring) { return ring != nullptr ? ring->reader.wait_fd() : -1; }
uint64_t skep_ring_lost(const skep_ring* ring) { return ring != nullptr ? ring->reader.lost() : 0; }
void skep_ring_close(skep_ring* ring) { delete ring; }
