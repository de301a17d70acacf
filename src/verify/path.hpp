// The path that is being followed: its steps, the states remembered on it, the branches still to be taken.
#pragma once
#include <array>
#include <memory>
#include <vector>

#include "verify/state.hpp"

namespace skep::verify {

/// Registers that are known equal after a comparison; kept with the step that compared, for precision.
struct Links {
  static constexpr u32 limit = 6;
  struct Entry {
    u8 frame = 0;
    bool is_register = false;
    u8 index = 0;
  };
  u8 count = 0;
  std::array<Entry, limit> entries{};
};

/// One executed instruction of the current path.
struct Step {
  enum class What : u8 {
    plain,
    stack_read,
    stack_write,
    descended,  ///< the next step is inside the function that this one calls
    returned,   ///< exit of a callback: the next step is the helper call that made it, again
    left,       ///< a tail call ended the function it is in: the next step is in the caller, as behind an exit
  };
  u32 insn = 0;
  What what = What::plain;
  u8 frame = 0;  ///< stack access: whose slot; descended: the new frame
  u8 slot = 0;
  bool has_links = false;
  u32 links = 0;  ///< index into Checker::links_
};

/// Steps that are no longer part of the path, with their links.
struct Way {
  std::vector<Step> steps;
  std::vector<Links> links;
};

/// A path that ended in a loop, at a state whose marks were not complete: what it rests on is known later.
struct WayBack {
  const struct Checkpoint* equal = nullptr;  ///< where it ended
  struct Checkpoint* before = nullptr;       ///< the last checkpoint on it
  Way way;                                   ///< from there
  u32 depth = 0;
  std::array<u16, isa::max_call_frames> numbers{};  ///< registers and slots that held numbers
  FrameMasks number_slots{};
};

/// A path that ended at a state of a callback's loop, which covered it by marks that were not complete.
struct Trusted {
  struct Checkpoint* old = nullptr;
  State now;
  u32 insn = 0;
};

/// From entering a loop until every path from there is done (stays.cpp).
struct Stay {
  struct Checkpoint* entry = nullptr;  ///< null: nothing is in the loop now
  bool is_open = false;                ///< a path ended at a state of it that was not done
  std::vector<WayBack> back;
  std::vector<struct Checkpoint*> done;  ///< whose ways are kept until it ends
  std::vector<Trusted> trusted;          ///< of a callback's loop
};

/// A remembered state and what its paths turned out to depend on.
struct Checkpoint {
  State state;
  u32 insn = 0;
  u32 call_insn = 0;  ///< of the current frame
  u32 path_length = 0;
  u32 hits = 0, misses = 0;
  bool active = true;
  /// Some of its paths ended at a checkpoint that was not done itself: its marks are not complete, and it is compared
  /// as if every number and every slot counted. `loop` is that checkpoint.
  bool incomplete = false;
  bool is_loop_entry = false;
  Checkpoint* loop = nullptr;
  Checkpoint* before = nullptr;  ///< the one before on its path, where it is in a stay
  Stay* stay = nullptr;          ///< Rules::kernel: of the loop that it is in
  Stay* calls = nullptr;         ///< Rules::kernel: of the outermost callback's loop that it is in
  std::unique_ptr<Way> way;      ///< from `before` to here, kept when this is done and its stay is not
  u32 closed_frames =
      0;  ///< what Checker::closed_ knows of the path from here to the next active one: of so many frames
  FrameMasks live_slots{};   ///< slots read before being written
  bool is_cleaned = false;   ///< Rules::kernel: `may_be_read` is known
  FrameMasks may_be_read{};  ///< Rules::kernel: live slots when this point was reached again for the first time
  FrameMasks written{};      ///< slots written between the checkpoint before and this one
  FrameMasks precise_slots{};
  std::array<u16, isa::max_call_frames> precise_regs{};
};

/// A branch still to be explored.
struct Pending {
  State state;
  u32 insn = 0;
  u32 path_length = 0;
  u32 links_length = 0;
  u32 active_length = 0;
  u32 history = 0;
  bool enters_callback = false;  ///< the state is at the start of a function that the helper call at path's end makes
  FrameMasks written{};
};

}  // namespace skep::verify
