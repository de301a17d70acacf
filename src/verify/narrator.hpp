// Tells the story of a refusal from the history of its path.
//
// The refused instruction names a register; the trouble began earlier. trace() walks the path backwards from that
// register through copies, spills and arithmetic to where the value came into being, and notes what each step did to
// what was known of it. The rules of diagnose.cpp then say which of these links matters for which kind of refusal.
#pragma once
#include <optional>

#include "verify/checker.hpp"
#include "verify/diagnosis.hpp"
#include "verify/loops.hpp"
#include "verify/names.hpp"

namespace skep::verify {

class Narrator {
 public:
  explicit Narrator(Checker& checker);
  Diagnosis tell();

 private:
  /// One step that made, moved or changed the value that is followed.
  struct Link {
    enum class What : u8 { copied, cut, computed, compared, loaded, called, constant, argument };
    What what{};
    std::size_t step = 0;
    u32 insn = 0;
    u32 reg = 0;  ///< the register that holds the value after the step
    bool known = false;
    Register before, after;  ///< of the value; `before` is that of the same register
  };
  /// Which operand of a sum is followed: the one that varies, the pointer, what was added to it.
  enum class Follow : u8 { number, pointer, index };

  // --- following values (narrator.cpp) ---
  /// From the refusal (or from before `step`) back to the origin: the newest link first.
  std::vector<Link> trace(u32 reg, Follow follow, std::size_t step) const;
  std::vector<Link> steps_back(u32 reg, Follow follow, std::size_t step) const;
  bool cuts_by_shifting(const Link& right, const Link& left) const;
  bool follow_alu(const Link& link, Follow follow, u32& wanted) const;
  std::optional<Register> value(std::size_t step, u32 reg) const;
  /// Comparisons on the path that taught something about another copy of the value that `origin` made.
  std::optional<std::size_t> compared_copy(const Link& origin, const std::vector<Link>& links) const;
  bool same_origin(const Link& a, const Link& b) const;
  std::optional<std::size_t> last_branch(std::size_t before) const;

  // --- words (narrator.cpp) ---
  const SourceLine* line(u32 insn) const { return program_.line_at(insn); }
  Event event(Event::Role role, u32 insn, std::string text) const;
  void add(Event::Role role, u32 insn, std::string text, bool is_cause = false);
  std::string origin_text(const Link& link) const;
  std::string call_name(u32 insn) const;
  std::string number_text(const Scalar& number) const;
  std::string operation_text(const Link& link) const;
  std::string map_of(const Register& r) const;
  void add_links(const std::vector<Link>& links, std::size_t most);
  void add_branch(std::size_t before);
  u32 line_number(u32 insn) const;

  // --- the rules (diagnose*.cpp) ---
  void name_the_value();
  void bounds();
  bool begins_callback(std::size_t step) const;
  bool given_up(const Register& r);
  std::optional<u32> call_around(u32 inner) const;
  bool is_given_by_process(const Link& origin) const;
  std::optional<u64> length_after(u32 reg) const;
  static std::optional<Scalar> added_number(const std::vector<Link>& links);
  bool facts_fixed(const Register& r) const;
  bool constant_index(const Register& pointer);
  void choose_cause(const std::vector<Link>& links);
  void size();
  void packet();
  void packet_steps(const Register& pointer);
  bool short_comparison(const Register& pointer);
  void provenance();
  void maybe_null();
  void not_set();
  void argument();
  void availability();
  void leak();
  void result();
  void point_at_return(s32 value);
  void stack();
  bool map_argument(const Register& memory);
  void context();
  void arithmetic();
  void limits();
  std::optional<Loop> loop_around(u32 insn) const;
  std::optional<Loop> busiest_loop() const;
  const SourceLine* loop_line(const Loop& loop) const;
  void ways_out(const Loop& loop);
  bool way_out(const Loop& loop, std::size_t at);
  void shape();
  void types();
  void fill_facts();
  std::string release_of(u32 insn) const;

  Checker& c_;
  const ProgramSpec& program_;
  const History& history_;
  Names names_;
  catalog::MessageId id_;
  u32 insn_;
  std::size_t end_;  ///< the step that was refused
  Diagnosis d_;
};

}  // namespace skep::verify
