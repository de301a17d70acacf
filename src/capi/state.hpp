// What stands behind the handles of <skep/skep.h>.
//
// A handle is a small structure that shares the state of what it was made from, so that handles can be ended in any
// order. Errors are kept for each thread; guarded() is the one border that no exception and no Result crosses.
#pragma once
#include <skep/skep.h>

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <skep/backend.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.hpp"

namespace skep::capi {

/// Remembers an error for the calling thread. Returns -1.
int refuse(const Error& error) noexcept;
/// Nothing went wrong since.
void forget_error() noexcept;
/// The exception in flight as an error.
int refuse_exception() noexcept;

tl::unexpected<Error> is_null(const char* what);

/// Runs `body`, which returns a Result of a number; what it or the library throws becomes an error.
template <class Body>
s64 guarded(Body body) noexcept {
  forget_error();
  try {
    const Result<s64> status = body();
    return status ? *status : refuse(status.error());
  } catch (...) {
    return refuse_exception();
  }
}
template <class Body>
int status_of(Body body) noexcept {
  return static_cast<int>(guarded(std::move(body)));
}
/// The same for bodies that return a Result of an owned handle; NULL where it fails.
template <class Handle, class Body>
Handle* handle_of(Body body) noexcept {
  Handle* made = nullptr;
  guarded([&]() -> Result<s64> {
    std::unique_ptr<Handle> handle = SKEP_TRY(body());
    made = handle.release();
    return 0;
  });
  return made;
}

/// Gives `from` to the caller, whose structure may be an older, shorter one.
template <class T>
Result<s64> give(T* to, T from) {
  if (to == nullptr || to->size < sizeof to->size) return is_null("the structure, or its size is 0: it");
  const std::size_t size = to->size;
  __builtin_memcpy(to, &from, std::min(size, sizeof from));
  to->size = size;
  return 0;
}

/// An engine and the workload that it observes.
struct EngineState {
  ~EngineState();
  Result<void> start(Workload workload);
  void end(RunResult result);

  std::string name;
  std::unique_ptr<Backend> backend;
  std::string notes, log;

  std::mutex mutex;
  std::condition_variable changed;
  std::thread thread;
  base::Fd end_event;  ///< readable when the workload has ended
  s32 state = SKEP_WORKLOAD_NONE;
  s32 pid = 0;
  s32 wait_status = 0;
  std::optional<Error> failure;  ///< of the workload
};

/// What was read, and its maps.
struct ObjectState : std::enable_shared_from_this<ObjectState> {
  std::shared_ptr<EngineState> engine;
  ObjectSpec spec;
  std::vector<Map> maps;  ///< by place in spec.maps
  std::string warnings;
  std::vector<std::string> targets;  ///< by place in spec.programs
  std::deque<skep_table> tables;     ///< by place in spec.maps
};

/// A descriptor of a loaded object by its id; unsupported in the user engine, which has none.
Result<s64> descriptor_of(const EngineState& engine, ObjectKind kind, u32 id);

}  // namespace skep::capi

struct skep_engine {
  std::shared_ptr<skep::capi::EngineState> state;
};
struct skep_object {
  std::shared_ptr<skep::capi::ObjectState> state;
};
struct skep_table {
  skep::capi::ObjectState* object = nullptr;
  std::size_t place = 0;

  const skep::Map& map() const { return object->maps[place]; }
  const skep::MapSpec& spec() const { return object->spec.maps[place]; }
  std::size_t key_bytes() const { return map().info().key_size; }
  /// What look-ups give: a slot for each CPU in per-CPU maps.
  std::size_t value_bytes() const;
};
