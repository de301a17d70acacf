// Records of ring buffers and perf event arrays as lines: columns for people, JSON for programs.
//
// The record's type comes from the object's BTF; a record without one is shown as hex. Columns are the
// struct's members, in order, under a heading that is printed once per map; where an object has several rings, a first
// column names the map.
#pragma once
#include <memory>
#include <skep/backend.hpp>
#include <string>

#include "trace/output.hpp"

namespace skep::trace {

class EventDecoder {
 public:
  EventDecoder(const ObjectSpec& spec, const MapInfo& map);
  ~EventDecoder();
  void print(const Record& record, Output& output);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A trace_printk line: as it is, or {"trace":"..."}.
void print_trace_line(const Record& record, Output& output);

}  // namespace skep::trace
