// The special fields of values and objects (spec/special_fields.hpp), as this room names them.
#pragma once
#include "spec/special_fields.hpp"

namespace skep::verify {

using spec::field_of;
using spec::special_fields;
using spec::SpecialField;

}  // namespace skep::verify
