// What there is to say about a refusal: the value at fault as C names it, what was needed and what was proved, the
// events on the path that led there, and what to write instead.
//
// Made only for refused programs, by going over them once more with a history (diagnose()). Everything is plain
// text and numbers, so that the terminal, JSON and the search for a fix read the same facts.
#pragma once
#include <algorithm>
#include <memory>
#include <optional>
#include <skep/spec.hpp>
#include <string>
#include <vector>

#include "verify/verify.hpp"

namespace skep::verify {

/// What kind of change mends the program. The names are stable: JSON has them.
enum class Remedy : u8 {
#define SKEP_REMEDY(name, text) name,
#include "verify/remedies.def"
#undef SKEP_REMEDY
};
std::string_view name_of(Remedy remedy) noexcept;

/// One thing that happened on the path to the refusal.
struct Event {
  enum class Role : u8 {
    origin,    ///< the value came into being
    changed,   ///< arithmetic on it
    checked,   ///< a comparison taught something about it
    lost,      ///< what was known, or what the pointer meant, was lost
    taken,     ///< the way the path went at a branch
    acquired,  ///< a reference, lock or section began
  };
  Role role = Role::origin;
  bool is_cause = false;  ///< where the trouble began
  u32 insn = 0;
  std::string text;  ///< "the index is 0 to 255 from here on"
  std::optional<SourceLine> source;
};
std::string_view name_of(Event::Role role) noexcept;

/// How much of the work one C line took.
struct HotLine {
  SourceLine source;
  u32 insn = 0;
  u64 insns_processed = 0;
  double share = 0;  ///< of all processed instructions
};

/// A value as C names it. Empty where neither types nor the line's text tell.
struct Variable {
  std::string name;  ///< "v->slots[i]"
  std::string type;  ///< "__u32"
};

/// What the search for a fix needs to know beyond the text (src/explain).
struct FixFacts {
  u64 region_bytes = 0;  ///< what there is to access, or may be passed at most
  u64 needed_bytes = 0;  ///< from the start of the region
  s64 base_offset = 0;   ///< the certain part of the offset into the region, before the instruction's own
  u32 access_bytes = 0;
  s32 access_offset = 0;  ///< of the instruction
  u32 stride = 0;         ///< distance of two elements, where an index is multiplied
  u32 elements = 0;       ///< of the array that is indexed, where BTF tells
  bool is_signed = false;
  bool writes = false;
  bool in_loop = false;         ///< the index is what a loop has counted to
  bool of_process = false;      ///< an address that a process has given
  s32 reg = -1;                 ///< the register at fault
  s32 argument = -1;            ///< of the refused call, counted from 0
  s64 low = 0, high = 0;        ///< values that are possible
  std::optional<s32> returned;  ///< the constant that is returned in their place
  std::string wanted_type;      ///< what a variable must be declared as, with {} for its name: "__u64 {}[4]"
  std::string call;             ///< "bpf_ringbuf_reserve": the call that acquired, invalidated or gave the value
  std::string release;          ///< "bpf_ringbuf_discard({}, 0)": what gives it back
  u32 origin_line = 0;          ///< where the value came into being
  u32 branch_line = 0;          ///< the last branch before the refusal

  /// How many indices lead to something that is there, from 0 on; 0: not even one, or not known.
  u64 places() const noexcept {
    if (elements != 0) return elements;
    const s64 most = static_cast<s64>(region_bytes) - std::max<s64>(base_offset, 0) - access_offset - s64{access_bytes};
    return most < 0 ? 0 : static_cast<u64>(most) / std::max(stride, 1u) + 1;
  }
};

struct Diagnosis {
  Variable variable;
  std::string needed;         ///< "54 bytes of packet"
  std::string proved;         ///< "34, at line 12"
  std::vector<Event> events;  ///< in the order they happened
  std::string advice;         ///< what to write here; "" where the message's own advice is all there is
  Remedy remedy = Remedy::other;
  FixFacts facts;
  std::vector<HotLine> hot_lines;  ///< too complex, endless: where the work went, most first
  std::string kept_apart;          ///< what differed most often when a state could have been covered by another

  const Event* cause() const {
    for (const Event& e : events)
      if (e.is_cause) return &e;
    return nullptr;
  }
};

/// A refusal with its story.
struct Refused {
  Rejection rejection;
  std::shared_ptr<const Diagnosis> diagnosis;  ///< null where there is none
};

/// Goes over a refused program once more, with a history, and tells it. Takes about the time of the refusal. Null when
/// the program is accepted.
std::shared_ptr<const Diagnosis> diagnose(const ProgramSpec& program, const ObjectSpec& object, const Options& options);

/// The explanation as people read it: the C line, the reason, the events that led there, the registers, what to do.
/// At most 25 lines; what files say is written without control characters. `diagnosis` may be null. `fix`: lines to
/// end with.
std::string explain(const Report& report, const ProgramSpec& program, const Diagnosis* diagnosis,
                    std::string_view fix = {});

}  // namespace skep::verify
