// What the headers of `skep gen skeleton` are made of: an object file as a C++ class.
//
//   auto counter = SKEP_TRY(count_execs::open());   // the class that was generated; the object is inside it
//   counter.rodata->first_uid = 1000;               // constants of the program, until it is loaded
//   SKEP_TRY(counter.load(*engine));                // either engine
//   SKEP_TRY(counter.attach());
//   ...
//   SKEP_TRY(counter.bss.read());                   // variables: a copy, fetched by read(), stored by write()
//   auto count = SKEP_TRY(counter.maps.counts.get(uid));
//
// The generated class derives from Skeleton<itself> and says where its parts are (each_map, each_data, each_program);
// everything that is the same for every object is here. Nothing is a global; a skeleton can be opened many times.
#pragma once
#include <array>
#include <cstring>
#include <optional>
#include <skep/backend.hpp>
#include <type_traits>

namespace skep::skeleton {

/// A map whose keys or values have no C type to speak of (rings of unknown records, maps of maps, arenas, struct_ops).
class AnyMap {
 public:
  explicit AnyMap(std::string_view name) : name_(name) {}
  std::string_view name() const { return name_; }
  /// Errors: not_found until load().
  Result<Map> handle() const {
    if (!map_) return fail(Code::not_found, "map " + std::string(name_) + ": not loaded; call load() first");
    return *map_;
  }
  void bind(std::optional<Map> map) { map_ = std::move(map); }

 private:
  std::string_view name_;  ///< a literal of the generated header
  std::optional<Map> map_;
};

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  return std::as_bytes(std::span(&value, 1));
}

template <class T>
Result<T> value_of(std::span<const std::byte> bytes, std::string_view name) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (bytes.size() != sizeof(T))
    return fail(Code::invalid_argument, "map " + std::string(name) + ": found " + std::to_string(bytes.size()) +
                                            " bytes, the skeleton says " + std::to_string(sizeof(T)) +
                                            "; generate it again from the object that is loaded");
  T value;
  std::memcpy(static_cast<void*>(&value), bytes.data(), sizeof value);
  return value;
}

/// What maps with keys have in common.
template <class Key>
class KeyedMap : public AnyMap {
 public:
  using AnyMap::AnyMap;
  Result<void> erase(const Key& key) const {
    const auto map = SKEP_TRY(handle());
    return map.erase(bytes_of(key));
  }
  /// The key after `key`, the first where there is none; nullopt after the last.
  Result<std::optional<Key>> next_key(const std::optional<Key>& key) const {
    const auto map = SKEP_TRY(handle());
    auto next = SKEP_TRY(key ? map.next_key(bytes_of(*key)) : map.next_key(std::nullopt));
    if (!next) return std::optional<Key>();
    return std::optional<Key>(SKEP_TRY(value_of<Key>(*next, name())));
  }
};

/// A map of one value for each key.
template <class Key, class Value>
class TypedMap : public KeyedMap<Key> {
 public:
  using KeyedMap<Key>::KeyedMap;
  /// Errors: not_found (no such key).
  Result<Value> get(const Key& key) const {
    Value value;
    const auto map = SKEP_TRY(this->handle());
    SKEP_TRY(map.lookup_into(bytes_of(key), std::as_writable_bytes(std::span(&value, 1))));
    return value;
  }
  /// flags: 0 any, 1 only if absent, 2 only if present.
  Result<void> set(const Key& key, const Value& value, u64 flags = 0) const {
    const auto map = SKEP_TRY(this->handle());
    return map.update(bytes_of(key), bytes_of(value), flags);
  }
  /// Calls `visit(key, value)` for each element. One that goes meanwhile is passed over, one that comes may be missed.
  template <class Visit>
  Result<void> for_each(Visit&& visit) const {
    for (auto key = SKEP_TRY(this->next_key(std::nullopt)); key; key = SKEP_TRY(this->next_key(key))) {
      const auto value = get(*key);
      if (value)
        visit(*key, *value);
      else if (value.error().code != Code::not_found)
        return tl::unexpected<Error>(value.error());
    }
    return {};
  }
};

/// A map of one value for each key and CPU.
template <class Key, class Value>
class PerCpuMap : public KeyedMap<Key> {
 public:
  using KeyedMap<Key>::KeyedMap;
  /// One value a possible CPU. Errors: not_found (no such key).
  Result<std::vector<Value>> get(const Key& key) const {
    const auto map = SKEP_TRY(this->handle());
    const auto bytes = SKEP_TRY(map.lookup(bytes_of(key)));
    if (bytes.size() % slot != 0) return tl::unexpected<Error>(value_of<Value>(bytes, this->name()).error());
    std::vector<Value> values;
    for (std::size_t at = 0; at < bytes.size(); at += slot)
      values.push_back(SKEP_TRY(value_of<Value>(std::span(bytes).subspan(at, sizeof(Value)), this->name())));
    return values;
  }
  /// As many values as get() gives.
  Result<void> set(const Key& key, std::span<const Value> values, u64 flags = 0) const {
    std::vector<std::byte> bytes(values.size() * slot);
    for (std::size_t i = 0; i < values.size(); i++) std::memcpy(&bytes[i * slot], &values[i], sizeof(Value));
    const auto map = SKEP_TRY(this->handle());
    return map.update(bytes_of(key), bytes, flags);
  }

 private:
  static constexpr std::size_t slot = (sizeof(Value) + 7) / 8 * 8;
};

/// A ring buffer or perf event array of known records.
template <class T>
class RingMap : public AnyMap {
 public:
  using AnyMap::AnyMap;
  Result<RingReader> open() const {
    const auto map = SKEP_TRY(handle());
    return map.open_ring();
  }
  /// A record as its type; what a longer record carries behind it is in `record.data`. nullopt: it is shorter.
  static std::optional<T> as(const Record& record) {
    if (record.data.size() < sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(static_cast<void*>(&value), record.data.data(), sizeof value);
    return value;
  }
};

/// The variables of one data section: a copy here, the truth in a map. Before load() the copy holds the initial values
/// and may be changed. read() and write() move the whole section: what a program writes between the two is overwritten,
/// so variables that only you write belong into a section of their own (SEC(".data.settings")).
template <class T>
class ReadOnlyData {
 public:
  explicit ReadOnlyData(std::string_view name) : map_(name) {}
  T* operator->() { return &value_; }
  const T* operator->() const { return &value_; }
  T& operator*() { return value_; }
  const T& operator*() const { return value_; }
  /// Fetches the values as they are now (of .kconfig: as the engine filled them in).
  Result<void> read() {
    const auto map = SKEP_TRY(map_.handle());
    const auto bytes = SKEP_TRY(map.lookup(bytes_of(u32{0})));
    std::memcpy(static_cast<void*>(&value_), bytes.data(), std::min(bytes.size(), sizeof value_));
    return {};
  }

  // For Skeleton.
  AnyMap& map() { return map_; }
  Result<void> take_from(const ObjectSpec& spec) {
    const auto* found = spec.map(map_.name());
    if (found == nullptr) return fail(Code::not_found, "section " + std::string(map_.name()) + " is not in the object");
    std::memcpy(static_cast<void*>(&value_), found->initial_value.data(),
                std::min(found->initial_value.size(), sizeof value_));
    return {};
  }
  void give_to(ObjectSpec& spec) const {
    for (auto& found : spec.maps)
      if (found.name == map_.name())
        std::memcpy(found.initial_value.data(), &value_, std::min(found.initial_value.size(), sizeof value_));
  }

 protected:
  AnyMap map_;
  T value_{};
};

template <class T>
class Data : public ReadOnlyData<T> {
 public:
  using ReadOnlyData<T>::ReadOnlyData;
  /// Stores the copy.
  Result<void> write() const {
    const auto map = SKEP_TRY(this->map_.handle());
    std::vector<std::byte> bytes(map.info().value_size);
    std::memcpy(bytes.data(), &this->value_, std::min(bytes.size(), sizeof this->value_));
    return map.update(bytes_of(u32{0}), bytes);
  }
};

/// One variable of an object that somebody else loads, found by its name.
template <class T>
class Variable {
 public:
  explicit Variable(std::string_view name) : map_(name) {}
  std::string_view name() const { return map_.name(); }
  Result<T> get() const {
    const auto map = SKEP_TRY(map_.handle());
    const auto bytes = SKEP_TRY(map.lookup(bytes_of(u32{0})));
    return value_of<T>(std::span(bytes).subspan(offset_, sizeof(T)), name());
  }
  /// Stores it. The section is read and written whole: what a program writes to it between the two is overwritten.
  Result<void> set(const T& value) const {
    const auto map = SKEP_TRY(map_.handle());
    auto bytes = SKEP_TRY(map.lookup(bytes_of(u32{0})));
    std::memcpy(bytes.data() + offset_, &value, sizeof value);
    return map.update(bytes_of(u32{0}), bytes);
  }

  // For Subskeleton.
  Result<void> find(const ObjectSpec& spec, const Object& object) {
    const auto place = spec.variable(name());
    if (!place) return fail(Code::not_found, "object " + spec.name + " has no variable " + std::string(name()));
    if (place->size != sizeof(T))
      return fail(Code::invalid_argument, "variable " + std::string(name()) + " of object " + spec.name + " has " +
                                              std::to_string(place->size) + " bytes, the subskeleton says " +
                                              std::to_string(sizeof(T)));
    map_.bind(SKEP_TRY(object.map(spec.maps[place->map].name)));
    offset_ = place->offset;
    return {};
  }

 private:
  AnyMap map_;  ///< under the variable's name
  u32 offset_ = 0;
};

/// Whether the section alone says where to attach: hooks by name do, interfaces, cgroups and sockets need an answer.
inline bool attaches_by_itself(const AttachTarget& target) {
  switch (target.program_type()) {
    case ProgramType::kprobe:
    case ProgramType::tracepoint:
    case ProgramType::raw_tracepoint:
    case ProgramType::raw_tracepoint_writable:
    case ProgramType::tracing:
    case ProgramType::lsm:
    case ProgramType::ext:
      return !target.target.empty();
    default:
      return false;
  }
}

/// Whether the program is a member of a structure of kernel functions that is registered when one of them is attached.
inline bool is_in_struct_ops(const ObjectSpec& spec, std::string_view program) {
  for (const auto& map : spec.maps)
    for (const auto& slot : map.slots)
      if (map.type == MapType::struct_ops && map.autocreate && slot.name == program) return true;
  return false;
}

/// A program of a skeleton. The three settings may be changed until they are used.
class ProgramHandle {
 public:
  explicit ProgramHandle(std::string_view name) : name_(name) {}
  bool autoload = true;     ///< until load()
  bool autoattach = false;  ///< whether attach() of the skeleton includes it; true where the section names a hook
  AttachTarget target;      ///< where attach() puts it

  std::string_view name() const { return name_; }
  /// Errors: not_found until load(), and where autoload was false.
  Result<Program> handle() const {
    if (!program_) return fail(Code::not_found, "program " + std::string(name_) + ": not loaded");
    return *program_;
  }
  Result<void> attach() {
    auto program = SKEP_TRY(handle());
    link_ = SKEP_TRY_AT(name_, program.attach(target));
    return {};
  }
  void detach() { link_.reset(); }
  bool attached() const { return link_.has_value(); }
  Result<TestRunResult> test_run(const TestRun& run) const {
    auto program = SKEP_TRY(handle());
    return program.test_run(run);
  }
  void bind(std::optional<Program> program) { program_ = std::move(program); }

 private:
  std::string_view name_;
  std::optional<Program> program_;
  std::optional<Link> link_;
};

/// `Self` is the generated class. Move-only; detaches when it goes.
template <class Self>
class Skeleton {
 public:
  ObjectSpec spec;  ///< as the file has it; may be changed until load() (sizes of maps)

  /// Reads the object inside the class. Nothing is loaded yet.
  static Result<Self> open() {
    Self self;
    self.spec = SKEP_TRY(ObjectSpec::from_bytes(Self::object_bytes(), Self::object_name));
    std::optional<Error> error;
    self.each_data([&](auto& data) {
      if (auto taken = data.take_from(self.spec); !taken && !error) error = taken.error();
    });
    if (error) return tl::unexpected<Error>(*error);
    self.each_program([&](ProgramHandle& handle) {
      const auto* program = self.spec.program(handle.name());
      if (program == nullptr) return;
      handle.autoload = program->autoload;
      handle.target = program->attach;
      handle.autoattach = attaches_by_itself(program->attach) || is_in_struct_ops(self.spec, program->name);
    });
    return self;
  }

  /// Verifies and loads into `engine`, which must outlive the skeleton. Errors: as Backend::load().
  Result<void> load(Backend& engine, const LoadOptions& options = {}) {
    if (object_) return fail(Code::invalid_argument, std::string(Self::object_name) + ": loaded already");
    Self& self = static_cast<Self&>(*this);
    self.each_data([&](auto& data) { data.give_to(spec); });
    self.each_program([&](ProgramHandle& handle) {
      if (auto* program = spec.program(handle.name())) program->autoload = handle.autoload;
    });
    object_ = SKEP_TRY(engine.load(spec, options));
    const auto bind_map = [&](AnyMap& map) {
      auto found = object_->map(map.name());
      map.bind(found ? std::optional(*found) : std::nullopt);
    };
    self.each_map(bind_map);
    self.each_data([&](auto& data) { bind_map(data.map()); });
    self.each_program([&](ProgramHandle& handle) {
      auto found = object_->program(handle.name());
      handle.bind(found ? std::optional(*found) : std::nullopt);
    });
    return {};
  }

  /// Attaches every loaded program with `autoattach`; where one fails, none stays attached.
  Result<void> attach() {
    if (!object_) return fail(Code::not_found, std::string(Self::object_name) + ": not loaded; call load() first");
    std::optional<Error> error;
    static_cast<Self&>(*this).each_program([&](ProgramHandle& handle) {
      if (error || !handle.autoattach || handle.attached() || !handle.handle()) return;
      if (auto attached = handle.attach(); !attached) error = attached.error();
    });
    if (!error) return {};
    detach();
    return tl::unexpected<Error>(*error);
  }

  void detach() {
    static_cast<Self&>(*this).each_program([](ProgramHandle& handle) { handle.detach(); });
  }

 private:
  std::optional<Object> object_;
};

/// The part of a larger object that was made from one source: a library of BPF code brings its class, and who links the
/// library in (`skep gen object`) loads the whole. `Self` is the generated class.
template <class Self>
class Subskeleton {
 public:
  /// Finds the parts in `object`, which was loaded from `spec`. Programs that were not loaded are empty handles.
  /// Errors: not_found, naming what the object lacks; invalid_argument where a variable has another size.
  static Result<Self> of(const ObjectSpec& spec, const Object& object) {
    Self self;
    std::optional<Error> error;
    self.each_map([&](AnyMap& map) {
      auto found = object.map(map.name());
      if (!found && !error) error = found.error();
      if (found) map.bind(*found);
    });
    self.each_variable([&](auto& variable) {
      if (auto found = variable.find(spec, object); !found && !error) error = found.error();
    });
    self.each_program([&](ProgramHandle& handle) {
      const auto* program = spec.program(handle.name());
      if (program == nullptr && !error)
        error = Error{Code::not_found, "object " + spec.name + " has no program " + std::string(handle.name())};
      if (program == nullptr) return;
      handle.target = program->attach;
      if (auto found = object.program(handle.name())) handle.bind(*found);
    });
    if (error) return tl::unexpected<Error>(*error);
    return self;
  }
};

}  // namespace skep::skeleton
