// Loops that end without a counter: may_goto and iterators run out.
//
// may_goto goes on behind itself until its time is up, and jumps from then on; an iterator that was made before the
// loop gives elements until it has no more, and null from then on. So of the ways "time is left" and "here is an
// element" a run takes only so many, and a loop that cannot come round without them ends. The other ways count:
// who goes on with the loop when the time is up, or when there is no element, goes on for ever.
// An iterator that may be made anew while the loop runs always has one more.
#pragma once
#include "verify/loop_body.hpp"

namespace skep::verify {

bool ends_by_itself(const LoopBody& loop);

}  // namespace skep::verify
