// A loaded object: programs, maps and types that live and go together.
//
// Programs hold addresses of maps, program arrays hold programs: the parts of one object refer to each other
// freely, so they have one life. A handle on any of them keeps all of them; the last handle frees them and
// gives back their ids.
#pragma once
#include <atomic>
#include <memory>
#include <skep/backend.hpp>
#include <string>
#include <vector>

#include "map/map.hpp"
#include "user/registry.hpp"
#include "vm/function.hpp"

namespace skep::user {

struct LoadedMap final : RegisteredMap {
  std::shared_ptr<map::Map> map;
  Table<const RegisteredMap>::Lease id;
  ObjectTables tables;

  MapInfo describe() const override;
  std::shared_ptr<Map::Impl> open(std::shared_ptr<const RegisteredMap> self) const override;
};

struct LoadedProgram final : RegisteredProgram {
  ProgramInfo facts;  ///< without the counters
  std::shared_ptr<const vm::Function> function;
  AttachTarget target;
  std::vector<SourceLine> lines;
  Table<const RegisteredProgram>::Lease id;
  std::vector<u32> map_ids_by_index;  ///< by ObjectSpec::maps index
  mutable std::atomic<u64> run_count{0};
  mutable std::atomic<u64> run_time_ns{0};

  ProgramInfo describe() const override;
  Result<ProgramCode> code() const override;
};

struct LoadedObject {
  std::string name;
  std::shared_ptr<const btf::Btf> btf;
  Table<const btf::Btf>::Lease btf_id;
  std::vector<std::unique_ptr<LoadedMap>> maps;          ///< by ObjectSpec::maps index
  std::vector<std::unique_ptr<LoadedProgram>> programs;  ///< by ObjectSpec::programs index

  ~LoadedObject();
};

/// Makes maps, verifies, links and registers everything in a prepared spec (prepare.hpp).
/// `tier`: which code the programs run in. Errors: rejected (the verifier's explanation), limit, unsupported,
/// invalid_argument.
Result<std::shared_ptr<LoadedObject>> load_object(const ObjectSpec& prepared, const std::shared_ptr<Registry>& registry,
                                                  const LoadOptions& options, vm::Tier tier = vm::Tier::automatic);

}  // namespace skep::user
