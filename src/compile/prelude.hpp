// What is included in front of one particular source: declarations that its text asks for.
#pragma once
#include <skep/result.hpp>
#include <string>

#include "compile/scan.hpp"

namespace skep::compile {

/// The text of the header made for this source; "" when it needs none.
/// Errors: not_found (a tracepoint that nobody here knows), invalid_argument (an impossible licence).
Result<std::string> prelude_text(const Scan& scan);

}  // namespace skep::compile
