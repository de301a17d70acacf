// The printing side of a run: one thread that empties the trace pipe and every ring of an object.
//
// The engine's loop must never wait for a terminal, so it only fills rings; this thread sleeps until one
// of them has something, turns records into lines, and writes them. At the end it empties what is left.
#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <skep/backend.hpp>

#include "trace/output.hpp"

namespace skep::trace {

class Pump {
 public:
  /// Opens the trace pipe (when a program prints to it) and every ring buffer and perf event array of the object.
  static Result<Pump> open(Backend& engine, Object& object, const ObjectSpec& spec, Output& output);
  /// Without sources; add() gives it some.
  static Result<Pump> make(Output& output);
  Pump(Pump&&) noexcept;
  ~Pump();  ///< finishes

  /// One more ring, whose records go to `on_record`, on the pump's thread. Before start() only.
  void add(RingReader reader, std::function<void(const Record&)> on_record);
  /// Calls `action` on the pump's thread at this interval; several may be given. Before start() only.
  void every(std::chrono::milliseconds interval, std::function<void()> action);
  void start();
  /// Reads what is left, then ends the thread.
  void finish();
  /// Records and lines that did not fit into their ring.
  u64 lost() const;

 private:
  struct State;
  explicit Pump(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace skep::trace
