// The exploration: one step at a time, one path after the other.
#include <algorithm>
#include <tuple>
#include <utility>

#include "btf/btf.hpp"
#include "catalog/helpers.hpp"
#include "verify/boundless.hpp"
#include "verify/checker.hpp"
#include "verify/second_gear.hpp"

namespace skep::verify {

using catalog::MessageId;
using isa::Form;

namespace {
/// The function named by the tag "exception_callback:NAME" of the program's main function, or nullptr.
const FunctionInfo* exception_callback_of(const ProgramSpec& program, const btf::Btf* types) {
  if (types == nullptr || program.functions.empty() || program.functions[0].type_id == 0) return nullptr;
  constexpr std::string_view tag_name = "exception_callback:";
  for (u32 id = types->first_id(); id < types->type_count(); id++) {
    btf::Type tag = types->type(id);
    if (tag.kind != btf::Kind::decl_tag || tag.type_id() != program.functions[0].type_id) continue;
    if (!tag.name.starts_with(tag_name)) continue;
    for (const FunctionInfo& f : program.functions)
      if (f.insn != 0 && f.name == tag.name.substr(tag_name.size())) return &f;
  }
  return nullptr;
}
}  // namespace

Checker::Checker(const ProgramSpec& program, const ObjectSpec& object, const Options& options)
    : program_(program), object_(object), options_(options), helper_used_(catalog::prototypes().size() + 1) {
  constexpr u32 kernel_limit = 1'000'000, user_limit = 16'000'000;
  max_insns_ = options.max_insns_processed;
  if (max_insns_ == 0) max_insns_ = is_kernel() ? kernel_limit : user_limit;
  state_limit_ = options.max_state_bytes;
  limit_ = is_kernel() ? max_insns_ : std::min<u64>(max_insns_, options.insns_before_joining);
  if (options.observer != nullptr) trail_ = std::make_unique<Trail>(*options.observer);
}

Checker::~Checker() {
  pool_.release(state_);
  for (Pending& p : pending_) pool_.release(p.state);
}

/// A bound that one path does not know may follow from what joined paths keep of registers together (relations.hpp).
bool Checker::run() { return follow_each_path() || (may_hold_together() && prove_joined()); }

bool Checker::may_hold_together() const {
  const auto& message = catalog::message(refusal_.id);
  return message.family == catalog::Family::bounds || refusal_.id == MessageId::stack_out_of_bounds ||
         refusal_.id == MessageId::stack_offset_unbounded;
}

bool Checker::follow_each_path() {
  if (options_.kernel_types != nullptr) typed_context_ = typed_context(program_, object_, *options_.kernel_types);
  bool needs_types = program_.type == ProgramType::struct_ops || program_.type == ProgramType::netfilter;
  if (program_.type == ProgramType::struct_ops && !typed_context_)
    return refuse(MessageId::struct_ops_unknown, unknown_operation(program_, object_, options_.kernel_types.get()));
  if (context_layout() == nullptr || (needs_types && !typed_context_))
    return refuse(MessageId::unsupported_program_type, name_of(program_.type));
  if (is_kernel() && program_.type == ProgramType::struct_ops && !catalog::is_gpl_compatible(object_.license))
    return refuse(MessageId::program_needs_gpl, name_of(program_.type), object_.license);
  if (typed_context_ && typed_context_->refused)
    return refuse(MessageId::struct_ops_member, typed_context_->name, program_.sleepable ? "sleepable " : "");
  if (!has_analysis() && !analyse_program()) return false;
  if (patience_.rounds != 0) second_gear_ = std::make_unique<SecondGear>(*this, patience_);
  if (is_unprivileged() && !check_unprivileged_program()) return false;
  if (options_.kernel_version != 0 && is_kernel() && !check_profile_of_program()) return false;
  maps_ = map_facts(object_);
  if (is_kernel()) keep_fields_of_linux();
  if (is_kernel() && !check_program_of_linux()) return false;
  if (is_kernel()) stack_liveness_.start(program_, analysis_);
  find_stays();
  explored_.resize(program_.insns.size());
  function_stack_.resize(analysis_.functions.size());
  context_load_at_.resize(program_.insns.size());
  pointer_group_at_.resize(program_.insns.size());
  proofs_.resize(program_.insns.size());
  for (u32 i = 0; i < proofs_.size(); i++) {
    Form f = isa::row(analysis_.insns[i].op).form;
    proofs_[i].divisor_nonzero = !analysis_.insns[i].is_tail && (f == Form::alu_imm || f == Form::alu_reg) &&
                                 isa::is_division(isa::alu_of(analysis_.insns[i].op));
  }
  touches_.resize(program_.insns.size());
  arena_access_.resize(program_.insns.size());
  window_access_.resize(program_.insns.size());
  kfunc_used_.resize(catalog::kfuncs().size());
  types_.emplace_back();  // index 0 is no type
  for (Function& f : analysis_.functions) f.is_called = f.is_verified = false;
  if (!verify_function(0)) return false;
  for (u32 f = 1; f < analysis_.functions.size(); f++) {
    if (!analysis_.functions[f].is_exception_callback) continue;
    exception_callback_ = analysis_.functions[f].first;
    if (!verify_function(f)) return false;
  }
  if (!verify_called() || !check_stack_depth()) return false;
  if (second_gear_ == nullptr) {
    if (!closed_loops_end()) return false;
    if (trail_) trail_->proved(longest_run(nullptr));
    return true;
  }
  const Ends ends = second_gear_->ends();
  if (ends.endless_loop) return refuse(MessageId::too_complex, processed_, "instructions with joined states");
  if (trail_) trail_->proved(longest_run(&ends.times));
  return true;
}

bool Checker::analyse_program() {
  auto shape = analyse(program_, exception_callback_of(program_, object_.btf.get()), !is_kernel(), analysis_);
  if (!shape) return true;
  refused_ = true;
  refusal_ = *shape;
  return false;
}

/// What runs apart from the main function: global functions, and callbacks that run later. Either may bring the other.
bool Checker::verify_called() {
  std::size_t callbacks = 0;
  for (bool any = true; any;) {
    any = false;
    if (!verify_globals(any) || !verify_async(callbacks, any)) return false;
  }
  return true;
}

/// The global functions that explored code calls, and those that they call. What only code behind a constant calls is
/// never run, and may use what this kernel does not have. Linux before 6.8 looks at every one of them.
bool Checker::verify_globals(bool& any) {
  if (object_.btf == nullptr) return true;
  const bool all = is_kernel() && options_.kernel_version != 0 &&
                   options_.kernel_version < catalog::since(catalog::Feature::functions_on_demand);
  for (bool again = true; again;) {
    again = false;
    for (u32 f = 1; f < analysis_.functions.size(); f++) {
      Function& function = analysis_.functions[f];
      if (!function.is_global || function.is_exception_callback || function.is_verified) continue;
      if (!function.is_called && !(all && analysis_.insns[function.first].is_reachable)) continue;
      function.is_verified = again = any = true;
      if (!verify_function(f)) return false;
    }
  }
  return true;
}

bool Checker::verify_function(u32 function) {
  verified_function_ = function;
  may_sleep_ = program_.sleepable;
  enter_function(function);
  return set_arguments(function) && explore_and_forget();
}

bool Checker::explore_and_forget() {
  if (callback_of_.empty() || distrusts_callbacks_) {
    const bool ok = second_gear_ != nullptr ? second_gear_->explore() : explore();
    forget_explored();
    return ok;
  }
  State start;
  pool_.copy(start, state_);
  const u32 first = insn_;
  const bool ok = explore();
  forget_explored();
  if (!has_doubts_) {
    pool_.release(start);
    return ok;
  }
  distrusts_callbacks_ = true;
  for (Pending& p : pending_) pool_.release(p.state);
  pending_.clear();
  enter_function(start.frames[0]->function);
  pool_.release(state_);
  state_ = std::move(start);
  start.frames = {};
  insn_ = first;
  const bool again = explore();
  forget_explored();
  return again;
}

void Checker::forget_explored() {
  for (auto& list : explored_) {
    for (auto& c : list) pool_.release(c->state);
    list.clear();
  }
  for (auto& c : retired_) pool_.release(c->state);
  retired_.clear();
  for (auto& [chain, stay] : stays_)
    for (Trusted& trusted : stay.trusted) pool_.release(trusted.now);
  stays_.clear();
}

void Checker::enter_function(u32 function) {
  pool_.release(state_);
  Frame* frame = pool_.new_frame();
  frame->regs = {};
  frame->regs[isa::frame_pointer] = Register::pointer(Kind::stack);
  frame->call_insn = 0;
  frame->function = function;
  if (is_kernel()) frame->liveness = stack_liveness_.root(function);
  state_.frames[0] = frame;
  state_.locks.clear();
  state_.rcu = false;
  state_.preempt_depth = 0;
  state_.rounds = 0;
  path_.clear();
  if (story_ != nullptr) story_->shrink(0);
  if (boundless_ != nullptr) boundless_->cut(0);
  links_.clear();
  active_.clear();
  written_ = {};
  written_[0] = ~u64{0};
  history_ = 0;
  insn_ = analysis_.functions[function].first;
}

bool Checker::explore() {
  while (true) {
    if (++processed_ > limit_ && over_limit()) return false;
    bool covered = false;
    if (facts().is_join) {
      Visit visited = visit();
      if (visited == Visit::refused) return false;
      covered = visited == Visit::covered;
    }
    if (!covered) {
      if (options_.log) log_state();
      path_.push_back({.insn = insn_});
      if (trail_) trail_->enter(state_, analysis_, insn_, path_.size());
      if (story_ != nullptr) story_->before(path_.size(), insn_, state_);
      proofs_[insn_].reached = true;
      if (options_.kernel_version != 0 && is_kernel() && !check_profile()) return false;
      in_history_ = false;
      if (facts().is_crossing) note_history();
      if (!step() || refused_) return false;
      if (!path_ends_) continue;
    }
    path_ends_ = false;
    if (!take_pending()) return true;
  }
}

/// Too many instructions, unless joining states proves the program or there is more patience: some at a time, as long
/// as every loop may still end.
bool Checker::over_limit() {
  constexpr u64 some = 1u << 14;
  if (limit_ < max_insns_) {
    if (boundless_ == nullptr && prove_joined()) return true;
    limit_ = std::min(max_insns_, limit_ + some);
    if (is_boundless()) return true;
  }
  return processed_ > max_insns_ && !refuse(MessageId::too_complex, max_insns_, "instructions");
}

/// Whether the path is in a loop that will not end within the instructions and the memory that are left. True: refused.
bool Checker::is_boundless() {
  if (is_kernel()) return false;  // Linux follows to the end
  if (boundless_ == nullptr) {
    boundless_ = std::make_unique<Boundless>(program_, analysis_, path_.size());
    return false;  // from here on comparisons are noted
  }
  constexpr u64 as_much_again = 2;  // states may become smaller
  const u64 bytes_each = std::max<u64>(pool_.bytes() / processed_, 1);
  const u64 of_memory = as_much_again * (state_limit_ - std::min(state_limit_, pool_.bytes())) / bytes_each;
  const auto loop = boundless_->found(path_, std::min(max_insns_ - processed_, of_memory));
  if (!loop) return false;
  insn_ = loop->head;
  refuse(MessageId::loop_unbounded, loop->rounds, max_insns_);
  return true;
}

/// Whether joining paths proves the program; then there is a successor().
bool Checker::prove_joined() {
  constexpr Patience attempts[] = {{32, 1, false}, {32, 1, true}, {1, 1, true}, {2, 12, true}, {32, 4, true}};
  return !is_kernel() && patience_.rounds == 0 && story_ == nullptr && !std::exchange(tried_joining_, true) &&
         std::ranges::any_of(attempts, [this](const Patience& p) { return try_second_gear(p); });
}

/// Goes over the program again with joined states. What a refused attempt saw is forgotten with it.
bool Checker::try_second_gear(const Patience& patience) {
  constexpr u64 least = 1u << 17;
  auto other = std::make_unique<Checker>(program_, object_, options_);
  std::unique_ptr<StateObserver> seen;
  if (trail_) seen = options_.observer->attempt(), other->trail_ = std::make_unique<Trail>(*seen);
  other->limit_ = other->max_insns_ = std::min<u64>(max_insns_, std::max<u64>(least, 8 * program_.insns.size()));
  other->patience_ = patience;
  other->analysis_ = analysis_;
  other->state_limit_ = state_limit_ - std::min(state_limit_, pool_.bytes());  // both together
  if (!other->run()) return false;
  if (trail_) {
    options_.observer->become(*seen);
    trail_.reset();
  }
  successor_ = std::move(other);
  return true;
}

bool Checker::step() {
  if (facts().writes_frame_pointer) return refuse(MessageId::frame_pointer_written);
  switch (form()) {
    case Form::alu_imm:
    case Form::alu_reg:
    case Form::alu_unary:
    case Form::movsx:
    case Form::addr_space_cast:
    case Form::endian:
      if (!do_alu()) return false;
      break;
    case Form::jump:
    case Form::jump_long:
      jumps_++;
      insn_ += 1 + static_cast<u32>(isa::jump_distance(form(), insn()));
      return true;
    case Form::jump_imm:
    case Form::jump_reg:
      return do_jump();
    case Form::call_helper:
      jumps_++;
      return do_helper_call();
    case Form::call_local:
      jumps_++;
      return do_local_call();
    case Form::exit:
      jumps_++;
      return do_exit();
    case Form::load:
      if (!do_load()) return false;
      break;
    case Form::store_imm:
    case Form::store_reg:
      if (!do_store()) return false;
      break;
    case Form::atomic:
    case Form::atomic_fetch:
    case Form::cmpxchg:
    case Form::load_acquire:
    case Form::store_release:
      if (!do_atomic()) return false;
      break;
    case Form::ld_imm64:
      if (!do_ld_imm64()) return false;
      break;
    case Form::ld_abs:
    case Form::ld_ind:
      return do_packet_load();
    case Form::may_goto:
      return do_may_goto();
    case Form::callx:
      jumps_++;
      return do_callx();
    case Form::call_kfunc:
      jumps_++;
      return do_kfunc_call();
  }
  insn_ = next_insn();
  return true;
}

void Checker::push_pending(u32 target) {
  constexpr std::size_t kernel_limit = 8192;  // BPF_COMPLEXITY_LIMIT_JMP_SEQ
  if (is_kernel() && pending_.size() >= kernel_limit) refuse(MessageId::too_complex, kernel_limit, "pending branches");
  Pending& p = pending_.emplace_back();
  pool_.copy(p.state, state_);
  p.insn = target;
  p.path_length = static_cast<u32>(path_.size());
  p.links_length = static_cast<u32>(links_.size());
  p.active_length = static_cast<u32>(active_.size());
  p.history = history_;
  p.written = written_;
}

bool Checker::take_pending() {
  bool any = !pending_.empty();
  std::size_t active = any ? pending_.back().active_length : 0;
  while (active_.size() > active) {  // everything from there on is done: it may prune from now on
    leave(*active_.back());
    if (has_doubts_ && !distrusts_callbacks_) any = false;  // all is explored again
    active_.back()->active = false;
    active_.pop_back();
  }
  if (!active_.empty()) active_.back()->closed_frames = 0;  // the path goes on from it another way
  if (trail_) trail_->shrink(any ? pending_.back().path_length : 0);
  if (!any) return false;
  Pending p = std::move(pending_.back());
  pending_.pop_back();
  pool_.release(state_);
  state_ = std::move(p.state);
  p.state.frames = {};
  insn_ = p.insn;
  path_.resize(p.path_length);
  if (boundless_ != nullptr) boundless_->cut(path_.size());
  if (story_ != nullptr) story_->shrink(path_.size());
  if (p.enters_callback) {
    path_.push_back({.insn = path_.back().insn, .what = Step::What::descended, .frame = static_cast<u8>(state_.depth)});
  }
  links_.resize(p.links_length);
  history_ = p.history;
  written_ = p.written;
  return true;
}

/// At a join: is this state covered, does it loop for ever, is it worth remembering?
Checker::Visit Checker::visit() {
  constexpr u64 min_insns = 8, min_jumps = 2, loop_insns = 100, loop_jumps = 20;
  constexpr u32 miss_allowance = 3, loop_miss_allowance = 64;
  u64 insns = processed_ - processed_at_checkpoint_, jumps = jumps_ - jumps_at_checkpoint_;
  constexpr u32 long_history = 40, long_path = 1000;
  const bool forced = facts().converges;
  // What a proof rests on is followed back to the last checkpoint at least. Where every round of a loop first looks at
  // a way out, which gets the checkpoints and is done with them, the loop itself would have none.
  const std::size_t since = path_.size() - (active_.empty() ? 0 : active_.back()->path_length);
  const bool must_add = forced || (is_kernel() ? history_ > long_history : since > long_path);
  bool add = must_add || options_.remember_often || (insns >= min_insns && jumps >= min_jumps);
  auto& list = explored_[insn_];
  for (auto& old : list) clean(*old);
  for (std::size_t k = list.size(); k-- > 0;) {  // the newest first
    Checkpoint& old = *list[k];
    if (old.call_insn != state_.current().call_insn) continue;  // another call of the same function: no candidate
    if (old.active) {
      bool hit = false;
      if (!try_active(old, forced, hit)) return Visit::refused;
      if (hit) return Visit::covered;
      if (!must_add && insns < loop_insns && jumps < loop_jumps) add = false;
    } else if (states_match(old, is_incomplete(old) ? Match::within : Match::covers)) {
      old.hits++;
      return take_hit(old) ? Visit::covered : Visit::refused;
    }
    if (add) old.misses++;
    if (story_ != nullptr) note_difference(old);
    u32 allowance = forced && old.active ? loop_miss_allowance : miss_allowance;
    if (old.misses > old.hits * allowance + allowance) {
      if (may_be_needed(old))
        retired_.push_back(std::move(list[k]));
      else
        pool_.release(old.state);
      list.erase(list.begin() + static_cast<std::ptrdiff_t>(k));
    }
  }
  if (add) {
    remember();
    if (pool_.bytes() > state_limit_) {
      refuse(MessageId::too_complex, options_.max_state_bytes >> 20, "MiB of states");
      return Visit::refused;
    }
  }
  return Visit::go_on;
}

void Checker::remember() {
  forget_lonely_ids();
  auto checkpoint = std::make_unique<Checkpoint>();
  pool_.copy(checkpoint->state, state_);
  checkpoint->insn = insn_;
  checkpoint->call_insn = state_.current().call_insn;
  checkpoint->path_length = static_cast<u32>(path_.size());
  checkpoint->written = written_;
  enter_stays(*checkpoint);
  written_ = {};
  history_ = 0;
  active_.push_back(checkpoint.get());
  explored_[insn_].push_back(std::move(checkpoint));
  processed_at_checkpoint_ = processed_;
  jumps_at_checkpoint_ = jumps_;
  state_count_++;
}

std::vector<ContextLoad> Checker::context_loads() const {
  std::vector<ContextLoad> loads;
  for (u32 i = 0; i < context_load_at_.size(); i++)
    if (context_load_at_[i] > 0) loads.push_back({i, static_cast<s16>(context_load_at_[i] - 1)});
  return loads;
}

std::vector<StackTouch> Checker::stack_touches() const {
  std::vector<StackTouch> touches;
  for (u32 insn = 0; insn < touches_.size() && insn < program_.insns.size(); insn++) {
    if (touches_[insn].touch.low == 0) continue;
    const auto first = static_cast<std::ptrdiff_t>(touches.size());
    u32 at = insn;
    do touches.push_back(touches_[at].touch);
    while ((at = touches_[at].next) != 0);
    std::sort(touches.begin() + first, touches.end(), [](const StackTouch& a, const StackTouch& b) {
      return std::tie(a.function, a.reg) < std::tie(b.function, b.reg);
    });
  }
  return touches;
}

std::vector<LocalType> Checker::local_types() const {
  std::vector<LocalType> found;
  for (const auto& [insn, type] : local_types_) found.push_back({insn, type});
  return found;
}

namespace {
std::vector<u32> those_set(const std::vector<bool>& by_insn) {
  std::vector<u32> insns;
  for (u32 i = 0; i < by_insn.size(); i++)
    if (by_insn[i]) insns.push_back(i);
  return insns;
}
}  // namespace

std::vector<u32> Checker::arena_accesses() const { return those_set(arena_access_); }

std::vector<u32> Checker::window_accesses() const { return those_set(window_access_); }

std::vector<u32> Checker::helpers_used() const {
  std::vector<u32> ids;
  for (u32 id = 0; id < helper_used_.size(); id++)
    if (helper_used_[id]) ids.push_back(id);
  return ids;
}

}  // namespace skep::verify
