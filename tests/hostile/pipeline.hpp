// The whole path of a hostile object: read, prepare, verify, make maps, link, run, under watch.
//
// The law that is tested: whatever bytes come in, nothing crashes; and what the verifier accepts runs in the
// checked interpreter without an access outside its memory. The watch is a MemoryGuard that knows the
// context and every map value or ring record that a helper handed out.
#pragma once
#include <skep/spec.hpp>
#include <span>
#include <string>

namespace skep::hostile {

/// How far an object came.
struct Outcome {
  bool read = false;
  bool prepared = false;
  u32 verified = 0;  ///< programs accepted
  u32 ran = 0;       ///< programs that ran to their end or used up their budget
  /// A broken promise: an accepted program that faulted. Empty: none.
  std::string violation;
};

Outcome run_pipeline(std::span<const std::byte> object);

}  // namespace skep::hostile
