// Types as JSON, with the keys of `bpftool -j btf dump`.
#pragma once
#include "base/json_writer.hpp"
#include "btf/btf.hpp"

namespace skep::btf {

/// One type as an object: {"id":1,"kind":"INT","name":"int",...}.
void write_type(base::JsonWriter& json, const Btf& btf, u32 id);

}  // namespace skep::btf
