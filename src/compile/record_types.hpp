// What a perf event array or a ring buffer carries: found in the object's types.
//
// A map of records has no value type of its own, so the type must be told some other way. In order:
//   1. a variable `skep_record__MAP` in section skep.records (written by `MAP.perf_submit(...)` and its kin)
//   2. a variable `skep_record_of_map` there: { pointer to the map's definition; pointer to a record }
//      (written by bpf_perf_event_output and bpf_ringbuf_output of skep's <bpf/bpf_helpers.h>)
//   3. `__type(value, struct event)` in the map's definition
//   4. a global `struct event *unused_MAP`, of which nothing but the type is used
//   5. where the object has one map of records only: the one type that bpf_ringbuf_submit() or an unnamed
//      skep_record tells, or a global `struct event *unused`
#pragma once
#include <skep/spec.hpp>

namespace skep::compile {

/// Sets btf_value_type_id of every perf event array and ring buffer to the type of its records; 0 where none is known.
void note_record_types(ObjectSpec& spec);

}  // namespace skep::compile
