// What one loaded object's programs need at run time besides its maps: pools for the types of which they make objects,
// and the thread of its timers.
//
// The engine that loads an object makes one of these, tells it of every map, and hands hidden() to the linker.
#pragma once
#include <map>
#include <memory>
#include <skep/result.hpp>
#include <string_view>

#include "base/linked_code.hpp"
#include "helper/call.hpp"
#include "map/map.hpp"
#include "map/object_pool.hpp"
#include "map/timers.hpp"

namespace skep::btf {
class Btf;
}

namespace skep::helper {

using map::Map;

class ObjectTypes {
 public:
  /// `trace`: where callbacks of timers print. Either may be null.
  ObjectTypes(std::shared_ptr<const btf::Btf> types, std::shared_ptr<TraceSink> trace);

  /// Tells the map which fields its values have. Errors: unsupported (values of its type have none here), limit.
  Result<void> describe(Map& map);

  /// What a kernel function is told besides its arguments. `local_type`: the constant that a call of bpf_obj_new() was
  /// proved to pass, or 0. Errors: limit (no memory for a pool).
  Result<base::HiddenArgument> hidden(std::string_view kfunc, u32 local_type);

  /// Objects of the program's own types and CPU masks that somebody holds.
  u64 live_objects() const noexcept;

 private:
  Result<map::ObjectPool*> pool_of(u32 type, u32 copies = 1);
  Result<std::shared_ptr<const map::Fields>> fields_of(u32 type, u32 size);

  std::shared_ptr<const btf::Btf> types_;
  std::shared_ptr<TraceSink> trace_;
  std::shared_ptr<map::Timers> timers_;
  std::map<std::pair<u32, u32>, std::shared_ptr<map::ObjectPool>> pools_;  ///< by type (0: CPU masks) and copies
};

}  // namespace skep::helper
