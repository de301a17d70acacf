// From a long program that shows a difference to a short one that still does.
#pragma once
#include <functional>

#include "program.hpp"

namespace skep::differential {

/// Takes instructions away and makes constants small as long as `still_fails`. At most `attempts` questions.
RandomProgram shrink(RandomProgram program, const std::function<bool(const RandomProgram&)>& still_fails,
                     u32 attempts = 20'000);

}  // namespace skep::differential
