// What a perf event array or a ring buffer carries: found in the object's types.
//
// A map of records has no value type of its own, so the type must be told some other way. In order:
//   1. section skep.records, written by the output macros of skep's headers; static variables named
//        skep_record__MAP        pointer to a record of MAP                     (`MAP.perf_submit(...)` and its kin)
//        skep_record_of_map      pointer to a function from a pointer to the map
//                                to a pointer to a record                       (bpf_ringbuf_output, ...)
//        skep_record_map,        pointer to the map, pointer to a record: they belong together when they are
//        skep_record_submitted     the only ones of their function              (bpf_ringbuf_reserve, _submit)
//   2. `__type(value, struct event)` in the map's definition
//   3. a global `struct event *unused_MAP`, of which nothing but the type is used
//   4. where the object has one map of records only: the one type among the records that name no map, or a
//      global `struct event *unused`
#pragma once
#include <skep/spec.hpp>

namespace skep::compile {

/// Sets btf_value_type_id of every perf event array and ring buffer to the type of its records; 0 where none is known.
void note_record_types(ObjectSpec& spec);

}  // namespace skep::compile
