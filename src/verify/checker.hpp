// The verifier's core: follows every path of a program with an abstract machine until each is proved or one fails.
//
// explore() runs depth-first, as the kernel does: at a branch that could go both ways, one side is put on the
// pending stack. At join points the state is remembered as a checkpoint; a later path that reaches the same point
// in a state that the checkpoint covers needs no second look (prune.cpp). "Covers" ignores what cannot matter:
// registers that are dead, stack slots nobody reads, and numbers that no decision was made on. The last two are
// found out while the checkpoint's own paths are explored, and recorded in it (precision.cpp): that is why only a
// checkpoint whose paths are all done may prune others.
//
// Depth-first order gives everything stack discipline: `path_` is the list of instructions from the entry to here,
// `active_` the checkpoints on it. Both shrink when a pending branch is taken up. The path is also where
// explanations look for causes.
//
// A rule that fails calls refuse(), which returns false; every step returns true to go on.
#pragma once
#include <fmt/format.h>

#include <bit>
#include <map>
#include <span>

#include "catalog/contexts.hpp"
#include "catalog/kfuncs.hpp"
#include "catalog/map_rules.hpp"
#include "catalog/messages.hpp"
#include "catalog/prototypes.hpp"
#include "catalog/versions.hpp"
#include "verify/analysis.hpp"
#include "verify/domain/scalar_compare.hpp"
#include "verify/history.hpp"
#include "verify/map_facts.hpp"
#include "verify/observer.hpp"
#include "verify/path.hpp"
#include "verify/stack_liveness.hpp"
#include "verify/state.hpp"
#include "verify/typed_context.hpp"
#include "verify/verify.hpp"

namespace skep::verify {

struct Diagnosis;
class Boundless;
class SecondGear;

/// What the second gear keeps apart, of states of the same shape: rounds of a loop, ways to any other place. 0 rounds:
/// the first gear.
struct Patience {
  u32 rounds = 0, variants = 0;
  bool keeps_gaps = false;  ///< how far registers are apart (gaps.hpp): as much work as all the rest
};

/// How a helper argument's memory is used.
enum class Access : u8 { read, write, fill };  // fill: written without being read

class Checker {
 public:
  Checker(const ProgramSpec& program, const ObjectSpec& object, const Options& options);
  ~Checker();

  /// True when every path is proved; otherwise refusal() says why not, unless there is a successor().
  bool run();
  /// The checker that proved the program with joined paths, where following each took too long.
  Checker* successor() { return successor_.get(); }

  const Refusal& refusal() const { return refusal_; }
  const Analysis& analysis() const { return analysis_; }
  u64 insns_processed() const { return processed_; }
  u64 states() const { return state_count_; }
  u64 state_bytes() const { return pool_.bytes(); }
  u32 stack_bytes() const { return stack_bytes_; }
  u32 context_bytes() const { return context_bytes_; }
  bool reads_untouched_stack() const { return reads_untouched_stack_; }
  std::vector<ContextLoad> context_loads() const;
  std::vector<u32> helpers_used() const;
  std::vector<InsnProof> take_proofs() { return std::move(proofs_); }
  std::vector<StackTouch> stack_touches() const;
  std::vector<u32> arena_accesses() const;
  std::vector<u32> window_accesses() const;
  const std::vector<ObjectRead>& object_reads() const { return object_reads_; }
  std::vector<LocalType> local_types() const;
  s32 arena_map() const { return arena_map_; }
  s64 exception_callback() const { return exception_callback_; }
  /// Text of the registers of the refused instruction, and where the trouble began (explain.cpp).
  std::string involved_registers() const;
  std::string cause() const;
  std::string take_log();
  /// Keeps a history, for diagnose(). Before run().
  void keep_history() { story_ = std::make_unique<History>(program_.insns.size()); }
  /// After a refused run() with a history: what there is to say about it (diagnose.cpp).
  Diagnosis diagnose();

 private:
  friend class Narrator;    // diagnose.cpp: tells what the path did
  friend class SecondGear;  // explores with joined states
  // --- exploring (explore.cpp) ---
  /// Where paths are joined, it is that of the checker that followed each.
  bool has_analysis() const { return !analysis_.insns.empty(); }
  bool follow_each_path();
  bool may_hold_together() const;
  bool analyse_program();
  bool verify_called();
  bool verify_globals(bool& any);
  bool verify_function(u32 function);
  bool explore_and_forget();
  void forget_explored();
  bool over_limit();
  bool is_boundless();
  bool prove_joined();
  bool try_second_gear(const Patience& patience);
  void enter_function(u32 function);
  bool set_arguments(u32 function);
  bool explore();
  bool step();
  enum class Visit : u8 { go_on, covered, refused };
  Visit visit();
  void remember();
  void note_difference(const Checkpoint& old);
  bool take_pending();
  void push_pending(u32 insn);
  void log_state();
  std::string log_text(const Register& r) const;

  // --- pruning (prune.cpp) ---
  enum class Match : u8 { covers, within, exact };  // within: as if every number and slot counted
  bool states_match(const Checkpoint& old, Match match);
  bool frame_matches(const Checkpoint& old, u32 depth, Match match);
  bool register_matches(const Register& old, const Register& now, bool precise, Match match);
  bool slot_matches(const Checkpoint& old, u32 depth, u32 slot, Match match);
  bool other_slot_matches(const Slot& old, const Slot& now, bool precise, Match match);
  bool other_slot_matches_as_in_linux(const Slot& old, const Slot& now, bool is_there, bool precise, Match match);
  bool same_id(u32 old_id, u32 now_id);
  bool same_scalar_id(u32 old_id, u32 now_id);
  bool may_loop(const State& old) const;
  void forget_lonely_ids();
  bool adopt(const Checkpoint& old, bool everything);

  // --- loops that end by themselves (converge.cpp) ---
  bool try_active(Checkpoint& old, bool forced, bool& hit);
  bool take_hit(Checkpoint& old);
  void close_loop(Checkpoint& entry);
  void note_closed(const Checkpoint& entry, u32 depth);
  bool closed_loops_end();
  Checkpoint* previous_round(const State& state, u32 insn, bool skip_newest);
  void widen(const Checkpoint& before, State& state);
  bool do_may_goto();

  // --- stays in such loops, as Linux counts them (stays.cpp) ---
  void find_stays();
  Stay* stay_in(const std::vector<u32>& loop_of);
  void enter_stays(Checkpoint& made);
  bool is_incomplete(const Checkpoint& old) const {
    return old.incomplete || (old.stay != nullptr && old.stay->is_open) ||
           (distrusts_callbacks_ && old.calls != nullptr && old.calls->is_open);
  }
  bool may_be_needed(const Checkpoint& old) const {
    return old.active || old.is_loop_entry || (old.stay != nullptr && old.stay->entry != nullptr) ||
           (old.calls != nullptr && old.calls->entry != nullptr);
  }
  bool end_in_stay(Checkpoint& old);
  void note_way_back(Checkpoint& old, Stay& stay);
  void leave(Checkpoint& done);
  void finish(Stay& stay, Stay* around);
  bool carry_back(const WayBack& way, bool everything);
  bool still_covers(Trusted& trusted);

  // --- precision (precision.cpp) ---
  bool need_precise(u32 reg);
  bool need_precise_slot(u32 frame, u32 slot);
  bool need_precise_at_start(const Checkpoint& old, bool everything);
  struct Wanted;
  bool propagate(Wanted& wanted, std::size_t from);
  bool step_back(Wanted& wanted, const Step& step, std::span<const Links> links);
  static bool mark(Checkpoint& at, Wanted& wanted);
  void read_slot(u32 frame, u32 slot);
  void need_slot(u32 frame, u32 slot);
  u64 live_slots(u32 depth) const;
  void clean(Checkpoint& old) const;
  void wrote_slot(u32 frame, u32 slot) {
    written_[frame] |= u64{1} << slot;
    if (trail_) trail_->wrote_slot(frame, slot);
  }

  // --- arithmetic (alu.cpp) ---
  bool do_alu();
  bool do_byte_order();
  std::optional<s32> link_distance(isa::Alu op, const Register& moved, const Register& by, bool wide) const;
  bool do_move();
  bool do_arena_cast();
  bool note_divisor(isa::Alu op, const Scalar& dividend, const Scalar& divisor, bool wide, bool is_immediate);
  void fork_sign(u32 index);
  bool pointer_arithmetic(isa::Alu op, Register pointer, const Register& number, u32 number_reg, bool is_immediate);
  bool sane_offset(const Register& r);
  void set_scalar(u32 reg, const Scalar& number);

  // --- jumps (jump.cpp) ---
  bool do_jump();
  void explore_taken();
  void go_one_way(bool taken);
  bool refine_branches(isa::Compare c, bool is_wide, const Register* src_reg);
  bool null_check_branch(isa::Compare c);
  void mark_null_outcome(State& state, u32 id, bool is_null);
  bool packet_comparison(isa::Compare c);
  void widen_packet_range(State& state, const Register& pointer, bool open_ended);
  void spread(State& state, const Register& known);
  u32 collect_links(u32 id);

  // --- memory (memory.cpp, stack.cpp) ---
  bool do_load();
  bool do_store();
  bool do_atomic();
  bool do_ld_imm64();
  bool load_kernel_symbol(const Reference& reference);
  bool do_packet_load();
  bool check_access(u32 reg, s32 off, u32 size, Access access, Register* result, const Register* stored);
  /// `what` is the region called; empty: as its pointer.
  bool check_region(const Register& r, u32 reg, s32 off, u32 size, u64 region, std::string_view what, bool zero_ok);
  bool check_map_value(u32 reg, const Register& r, s32 off, u32 size, Access access, bool zero_ok);
  bool check_packet(u32 reg, const Register& r, s32 off, u32 size, bool zero_ok);
  bool check_context(u32 reg, s32 off, u32 size, Access access, Register* result);
  bool check_typed_context(u32 reg, s32 off, u32 size, Access access, Register* result);
  bool check_fields(u32 reg, const Register& r, const catalog::Context& layout, s32 off, u32 size, Access access,
                    Register* result);
  bool may_write_packet() const;
  /// What r1 points to when the program starts; null where its type has nothing that can be verified.
  const catalog::Context* context_layout() const;
  bool is_kptr_load(const SpecialField& f, s64 low, u32 size, const Register& r, Access access) const;
  bool keeps_untrusted(const Register& r, s32 off, u32 size, const Register& value) const;
  bool use_arena(u32 map);
  bool read_constant(const Register& r, s32 off, u32 size, Register* result);
  bool stack_bounds(u32 reg, const Register& r, s32 off, u32 size, s64& low, s64& high);
  bool stack_load(u32 reg, s32 off, u32 size, Register* result);
  bool stack_store(u32 reg, s32 off, u32 size, const Register& value, bool value_is_register);
  bool stack_range(u32 reg, s32 off, u32 size, Access access);
  bool use_slot(u32 reg, u32 frame, s64 at, u32 part, u32 size, Access access);
  void grow_stack(Frame& frame, u32 slots);
  void forget_spill(Slot& slot);
  void note_stack_use(u32 reg, const Register& r, s64 low, s64 high);
  bool fill_region(u32 reg, u32 size);

  // --- calls (call.cpp, arguments.cpp, subprogram.cpp) ---
  bool do_helper_call();
  struct CallFacts;
  bool check_caller(const catalog::Prototype& prototype, const catalog::HelperRow& row);
  bool check_argument(const catalog::Prototype& prototype, u32 index, CallFacts& call);
  bool check_memory_argument(u32 reg, u32 size, Access access, bool zero_ok, bool null_ok);
  bool check_size_argument(const catalog::Prototype& prototype, u32 index, CallFacts& call);
  bool may_change_sockets(catalog::HelperId helper) const;
  bool check_map_argument(const catalog::Prototype& prototype, u32 reg, CallFacts& call);
  bool check_object_argument(const catalog::Prototype& prototype, u32 index, CallFacts& call);
  bool check_string_argument(u32 reg);
  bool find_constant_key(u32 reg, CallFacts& call);
  bool check_lock(u32 reg, std::string_view name, Lock::Kind kind, bool locks);
  bool take_lock(const Lock& wanted);
  bool give_lock_back(const Lock& wanted, std::string_view name);
  bool may_run_later() const;
  bool check_timer(u32 reg, CallFacts& call);
  bool check_dynptr_argument(catalog::Arg arg, u32 reg, CallFacts& call);
  bool check_kptr_exchange(CallFacts& call);
  bool set_result(const catalog::Prototype& prototype, const CallFacts& call);
  bool set_lookup_result(const CallFacts& call);
  void clear_caller_saved();
  void forget_packet_pointers();
  /// What is left of a pointer that this instruction made meaningless: a number that remembers why.
  Register invalidated() const {
    if (is_unprivileged()) return {};
    Register r = Register::unknown();
    r.object = insn_ + 1;
    return r;
  }
  void forget_reference(u32 ref_id);
  bool release_reference(u32 reg, u32 ref_id);
  bool do_local_call();
  bool do_callx();
  bool call_static(u32 function);
  bool call_global(u32 function);
  bool do_exit();
  bool leave_by_tail_call();
  bool leaves_function(const Step& step) const;
  bool return_to_caller();
  bool check_return_value();
  bool check_stack_depth();
  bool check_chain(u32 root);
  bool has_private_stacks() const;
  std::optional<u32> callee_at(u32 insn, u32& seen) const;
  void note_call(u32 function);
  std::optional<u64> longest_run(const std::vector<u64>* times) const;
  u32 function_named_at(u32 insn) const;
  std::string function_name(u32 function) const;
  bool check_may_sleep(std::string_view what);
  bool check_resources(std::string_view what);

  // --- callbacks (callback.cpp) ---
  bool check_callback(u32 reg, const CallFacts& call);
  bool call_back(const catalog::Prototype& prototype, const CallFacts& call);
  Pending& enter_callback(u32 function, ReturnRange range);
  bool return_from_callback();
  bool check_callback_result(ReturnRange range);
  void queue_async(u32 function, u32 map, bool may_sleep);
  bool verify_async(std::size_t& done, bool& any);
  Register map_key_memory(u32 map) const;

  // --- kernel functions, objects on the stack (kfunc.cpp, kfunc_arguments.cpp, stack_object.cpp) ---
  bool do_kfunc_call();
  struct KfuncCall;
  bool check_kfunc_caller(const catalog::Kfunc& kfunc);
  bool check_kfunc_argument(KfuncCall& call, u32 index);
  bool set_kfunc_result(KfuncCall& call);
  bool change_section(const catalog::Kfunc& kfunc);
  bool do_throw();
  void explore_refusal();
  bool next_iteration(KfuncCall& call);
  bool has_exception_callback() const;
  bool check_string_memory(u32 reg);
  bool share_reference(u32 ref_id);
  bool check_local_type(const KfuncCall& call, u32 reg);
  static bool is_percpu_type(const btf::Btf& types, u32 type, u32 depth = 0);
  bool check_buffer(KfuncCall& call, u32 index);
  bool check_iterator(KfuncCall& call, u32 reg);
  bool save_interrupts(const KfuncCall& call, u32 index);
  bool restore_interrupts(const KfuncCall& call, u32 index);
  bool check_kernel_object(KfuncCall& call, u32 index);
  bool check_dynptr(KfuncCall& call, u32 index);
  bool initialised_dynptr(u32 reg, Register& found);
  bool change_dynptr(KfuncCall& call);
  bool check_graph_argument(KfuncCall& call, u32 index);
  bool check_graph_root(KfuncCall& call, u32 reg, SpecialField::What what);
  bool change_graph(KfuncCall& call);
  bool call_less(const KfuncCall& call);
  bool in_comparison() const;
  void forget_shared();
  void forget_slices(u32 dynptr);
  bool is_object_of(const Register& value, std::string_view type, bool exactly = false) const;
  bool is_kernel_socket(const Register& value) const;
  bool is_kernel_type(std::string_view type_name) const;
  u32 local_type_index(u32 id);
  u32 kernel_type_index(std::string_view type_name);
  // --- objects (object.cpp) ---
  bool check_object(u32 reg, s32 off, u32 size, Access access, Register* result);
  bool check_map_pointer(u32 reg, s32 off, u32 size, Access access, Register* result);
  bool read_kernel_object(u32 reg, s64 at, u32 size, const Register& r, Register* result);
  bool may_write_kernel_object(const Register& r, s64 low, s64 end) const;
  bool in_rcu() const { return state_.rcu || state_.is_locked() || !may_sleep_; }
  bool load_kptr(const SpecialField& field, Register* result);
  bool iterator_is_active(const State& state) const;
  bool put_object(u32 reg, Register what, u32 slots);
  Register* find_object(State& state, const Register& pointer, Kind kind, u32 slots) const;
  void set_object(State& state, const Register& pointer, const Register& what, u32 slots);
  void drop_object(State& state, const Register& pointer, u32 slots);
  bool scrub(Frame& frame, u32 slot);
  u32 type_index(const btf::Btf* types, u32 id, std::string_view name);

  // --- programs as a whole (linux_program.cpp) ---
  bool check_program_of_linux();
  void keep_fields_of_linux();
  bool check_sleepable_program();
  bool check_maps_of_program();
  bool check_results_of_functions();
  bool check_exception_callback();
  bool returns_number(u32 function) const;

  // --- unprivileged programs (unprivileged.cpp), older kernels (profile.cpp) ---
  bool check_unprivileged_program();
  bool check_unprivileged_helper(const catalog::HelperRow& row);
  std::optional<u32> find_loop() const;
  bool is_privileged_field(u32 offset, Access access) const;
  bool keeps_address(u32 reg, std::string_view what);
  bool stays_inside(const Register& moved, bool is_immediate);
  bool check_profile_of_program();
  bool check_profile();
  bool exists(catalog::Feature feature);
  bool exists_since(catalog::Version since, std::string_view what);

  // --- small things ---
  const Insn& insn() const { return program_.insns[insn_]; }
  const InsnFacts& facts() const { return analysis_.insns[insn_]; }
  isa::Form form() const { return isa::row(facts().op).form; }
  u32 next_insn() const { return insn_ + isa::slots(insn()); }
  Register& reg(u32 index) { return state_.frames[state_.depth]->regs[index]; }
  bool is_kernel() const { return options_.rules == Rules::kernel; }
  bool is_unprivileged() const { return is_kernel() && options_.unprivileged; }
  /// Whether bytes of stack that were never written may be read: then they are as good as any number.
  bool forgives_untouched() const { return is_kernel() && !options_.unprivileged; }
  /// Stack that was never written (padding of structs, mostly) reads as an unknown number, as Linux allows privileged
  /// programs. The proof says so, and the machine that runs it hands out cleared frames.
  bool may_read_untouched() {
    reads_untouched_stack_ = true;
    return options_.rules != Rules::strict && !is_unprivileged();
  }
  u32 new_id() { return ++last_id_; }
  bool readable(u32 reg);
  std::string name(const Register& r) const;

  template <class... Args>
  bool refuse(catalog::MessageId id, const Args&... args) {
    return refuse_for(-1, id, args...);
  }
  /// `reg` is the register the explanation follows back to its origin.
  template <class... Args>
  bool refuse_for(s32 reg_index, catalog::MessageId id, const Args&... args) {
    return refuse_with(reg_index, id, fmt::make_format_args(args...));
  }
  /// Cold, as what leads here is: a program is refused once.
  [[gnu::cold]] bool refuse_with(s32 reg_index, catalog::MessageId id, fmt::format_args args);

  const ProgramSpec& program_;
  const ObjectSpec& object_;
  const Options& options_;
  Analysis analysis_;
  std::vector<MapFacts> maps_;
  std::optional<TypedContext> typed_context_;
  Pool pool_;

  State state_;
  u32 insn_ = 0;
  bool path_ends_ = false;
  u32 last_id_ = 0;
  std::vector<Step> path_;
  std::vector<Links> links_;
  /// Entries that Linux's history of this path would have since its last checkpoint: it makes one when they grow many.
  u32 history_ = 0;
  bool in_history_ = false;  ///< this instruction has an entry
  void note_history() {
    if (!in_history_) history_++;
    in_history_ = true;
  }
  StackLiveness stack_liveness_;
  FrameMasks written_{};          ///< slots written since the last checkpoint
  std::unique_ptr<Trail> trail_;  ///< the states along path_, where somebody observes
  std::vector<Pending> pending_;
  std::vector<std::vector<std::unique_ptr<Checkpoint>>> explored_;  ///< by instruction
  std::vector<Checkpoint*> active_;
  std::vector<std::unique_ptr<Checkpoint>> retired_;  ///< evicted while active, or while its loop is followed
  /// Rules::kernel: by instruction, the loop that it is in, or 0; empty where no loop ends by itself.
  std::vector<u32> loop_of_, callback_of_;  ///< the same of calls that call back
  std::map<std::vector<u32>, Stay> stays_;  ///< by the calls that lead to the loop, and the loop
  bool distrusts_callbacks_ = false;        ///< their states are compared in full while their loop is followed
  bool has_doubts_ = false;                 ///< a state was trusted that should not have been
  /// By instruction, not by the kernel's rules: whether it lies on a way that leads back to where it began, in a frame
  /// that was there all the way. Each loop of such ways needs a reason to end (ranking.hpp).
  std::vector<bool> closed_;
  bool any_closed_ = false;
  bool tried_joining_ = false;
  u64 max_insns_ = 0;                        ///< processed at most
  u64 limit_ = 0;                            ///< the same, or those after which the second gear is tried
  u64 state_limit_ = 0;                      ///< bytes of states
  Patience patience_;                        ///< of the second gear
  std::unique_ptr<Boundless> boundless_;     ///< since joined paths had no proof
  std::unique_ptr<SecondGear> second_gear_;  ///< null: every path is followed by itself
  std::unique_ptr<Checker> successor_;
  u64 processed_ = 0, jumps_ = 0;
  u64 processed_at_checkpoint_ = 0, jumps_at_checkpoint_ = 0;
  u64 state_count_ = 0;
  u32 verified_function_ = 0;
  bool may_sleep_ = false;  ///< what is explored, outside of sections

  /// A callback that runs after the program: explored on its own, once for each map its timer is in.
  struct Async {
    u32 function = 0, map = 0;
    bool may_sleep = false;  ///< a work queue's, whatever the program may; a timer's may not
    friend bool operator==(const Async&, const Async&) = default;
  };
  std::vector<Async> async_;
  std::optional<ReturnRange> async_range_;  ///< while one is explored
  struct SeenCall {
    u32 insn = 0, function = 0;
    friend bool operator==(const SeenCall&, const SeenCall&) = default;
  };
  /// Which functions a callx was seen to call, or a helper before it came back. The instruction does not say.
  std::vector<SeenCall> seen_calls_;
  /// What a pointer to an object leads to.
  struct ObjectType;
  void note_object_read(const ObjectType& type, u64 offset, u32 size);
  struct ObjectType {
    const btf::Btf* types = nullptr;  ///< null: only the name is known
    u32 id = 0;
    std::string name;
    std::vector<SpecialField> fields;  ///< of the program's own types
  };
  std::vector<ObjectType> types_;
  std::vector<bool> kfunc_used_;
  std::map<u32, u32> local_types_;   ///< by call instruction
  std::vector<bool> arena_access_;   ///< by instruction
  std::vector<bool> window_access_;  ///< by instruction: reads an object of the engine's
  std::vector<ObjectRead> object_reads_;
  s32 arena_map_ = -1;
  s64 exception_callback_ = -1;

  std::vector<std::pair<u32, u32>> id_pairs_;  ///< while two states are compared
  u32 fresh_id_ = 0;

  std::vector<u32> function_stack_;  ///< deepest stack use of each function, bytes
  std::vector<std::vector<u32>> function_calls_;
  std::vector<s32> context_load_at_;  ///< by instruction: native offset + 1, 0 none, -1 plain
  std::vector<bool> helper_used_;
  std::vector<InsnProof> proofs_;  ///< by instruction; divisor_nonzero means "so far"
  struct NotedTouch {
    StackTouch touch;
    u32 next = 0;  ///< of the same instruction, in touches_; 0: none
  };
  std::vector<NotedTouch> touches_;   ///< by instruction, and behind those what else it was seen to touch
  std::vector<u8> pointer_group_at_;  ///< by instruction: which group of pointers it was seen to use, 0 none
  u32 tp_buffer_bytes_ = 0;
  u32 context_bytes_ = 0;
  u32 stack_bytes_ = 0;
  bool reads_untouched_stack_ = false;

  bool refused_ = false;
  Refusal refusal_;
  s32 culprit_ = -1;
  std::string log_;
  s64 logged_insn_ = -1;            ///< the last instruction in the log
  History::Registers logged_{};     ///< before it
  std::unique_ptr<History> story_;  ///< null but while a refused program is gone over again
};

}  // namespace skep::verify
