// A loaded object: programs, maps and types that live and go together.
//
// Programs hold addresses of maps, program arrays hold programs: the parts of one object refer to each other
// freely, so they have one life. A handle on any of them keeps all of them; the last reference frees them and
// gives back their ids.
//
// Program arrays of different objects can hold each other's programs, and would then live for ever. So there are two
// kinds of references, as in the kernel (bpf_map::usercnt): a handle's (user_reference()), and that of a slot. When an
// object's last handle goes its program arrays are emptied; its programs go on in the slots of others.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <skep/backend.hpp>
#include <string>
#include <vector>

#include "helper/objects.hpp"
#include "hook/shadow_tasks.hpp"
#include "map/map.hpp"
#include "spec/usdt_slots.hpp"
#include "user/registry.hpp"
#include "vm/function.hpp"

namespace skep::user {

struct LoadedObject;

struct LoadedMap final : RegisteredMap {
  LoadedObject* object = nullptr;  ///< that it is part of
  std::shared_ptr<map::Map> map;
  Table<const RegisteredMap>::Lease id;  ///< none where the map is another object's
  ObjectTables tables;

  MapInfo describe() const override;
  std::shared_ptr<Map::Impl> open(std::shared_ptr<const RegisteredMap> self) const override;
};

struct LoadedProgram final : RegisteredProgram {
  const LoadedObject* object = nullptr;  ///< that it is part of
  ProgramInfo facts;                     ///< without the counters
  std::shared_ptr<const vm::Function> function;
  AttachTarget target;
  std::vector<SourceLine> lines;
  Table<const RegisteredProgram>::Lease id;
  std::vector<u32> map_ids_by_index;  ///< by ObjectSpec::maps index
  mutable std::atomic<u64> run_count{0};
  mutable std::atomic<u64> run_time_ns{0};

  ProgramInfo describe() const override;
  Result<ProgramCode> code() const override;
  /// Runs and counts; what it prints goes nowhere.
  Result<TestRunResult> test_run(const TestRun& run) const override;
};

struct LoadedObject : std::enable_shared_from_this<LoadedObject> {
  LoadedObject() = default;
  ~LoadedObject();
  LoadedObject(const LoadedObject&) = delete;
  LoadedObject& operator=(const LoadedObject&) = delete;
  /// Ends the timers in its maps, or allows them again.
  void release_users() noexcept;
  void regain_users() noexcept;

  std::string name;
  std::shared_ptr<const btf::Btf> btf;
  Table<const btf::Btf>::Lease btf_id;
  std::vector<std::shared_ptr<const LoadedObject>> lenders;  ///< whose maps it uses too; no user's references
  std::shared_ptr<hook::ShadowTasks> shadow;                 ///< what its programs see of tasks, where they look
  std::unique_ptr<helper::ObjectTypes> types;                ///< what its programs make; outlives maps and programs
  std::vector<std::unique_ptr<LoadedMap>> maps;              ///< by ObjectSpec::maps index
  std::vector<std::unique_ptr<LoadedProgram>> programs;      ///< by ObjectSpec::programs index

  /// Of its map of static probes' arguments: shared by all objects that use this map.
  std::shared_ptr<spec::UsdtSlots> usdt_slots = std::make_shared<spec::UsdtSlots>();

  std::mutex user_mutex;
  std::weak_ptr<void> user;  ///< what all handles share, while there are any
};

/// The object as a handle holds it: when the last such reference goes, its program arrays are emptied. `object` may be
/// a slot's or a registry's reference, or a handle's.
std::shared_ptr<LoadedObject> user_reference(const std::shared_ptr<LoadedObject>& object);

/// Where an object's programs find tasks as structures; asked when a program looks at them.
using ShadowProvider = std::function<Result<std::shared_ptr<hook::ShadowTasks>>()>;

/// Makes maps, verifies, links and registers everything in a prepared spec (prepare.hpp). A user's reference.
/// `trace`: where functions print that run by themselves. `shadow`: empty: the object gets tasks of its own. `tier`:
/// which code the programs run in. Errors: rejected (the verifier's explanation), limit, unsupported, invalid_argument.
Result<std::shared_ptr<LoadedObject>> load_object(const ObjectSpec& prepared, const std::shared_ptr<Registry>& registry,
                                                  const LoadOptions& options, vm::Tier tier = vm::Tier::automatic,
                                                  std::shared_ptr<helper::TraceSink> trace = nullptr,
                                                  const ShadowProvider& shadow = {});

}  // namespace skep::user
