// The changes that are worth trying, by remedy. One function each; the likeliest candidate comes first.
//
// Every rule works on the text around the refused line and the line the value comes from. Names are those of the
// diagnosis; where it has none, a rule gives nothing.
#pragma once
#include <fmt/format.h>

#include "explain/fix.hpp"

namespace skep::explain {

class FixRules {
 public:
  FixRules(const Source& source, const verify::Refused& refused, const FixOptions& options)
      : source_(source), rejection_(refused.rejection), d_(*refused.diagnosis), options_(options) {
    if (rejection_.source) line_ = rejection_.source->line;
    if (line_ == 0 || line_ > source.size()) line_ = 0;
    if (line_ != 0) function_ = source.function_at(line_);
    if (function_) {
      statement_ = source.statement_begin(line_);
      give_up_ = source.giving_up(*function_, line_, otherwise());
    }
  }
  std::vector<Candidate> all();

 private:
  /// What an entry function does that cannot decide: let things pass.
  std::string_view otherwise() const {
    const bool is_entry =
        source_.line(function_->begin).starts_with("SEC(") || source_.line(function_->begin - 1).starts_with("SEC(");
    if (!is_entry) return "return 0;";
    if (options_.type == ProgramType::xdp) return "return XDP_PASS;";
    const bool decides = options_.section.starts_with("cgroup") || options_.section.starts_with("sk_");
    return decides ? "return 1;" : "return 0;";
  }
  void offer_all(std::vector<Source> changed) {
    for (Source& source : changed) offer(std::move(source));
  }
  void offer(Source changed) { found_.push_back({std::move(changed), d_.remedy}); }
  /// Inserts lines before a line, with its indentation.
  Source with(u32 before, const std::vector<std::string>& lines, std::string_view in_line = {},
              std::string_view out = {}) const;
  std::string guard(std::string_view condition) const { return fmt::format("if ({}) {}", condition, give_up_); }
  bool is_lvalue(std::string_view e) const { return !e.empty() && e.find('(') == std::string_view::npos; }
  std::string packet_end() const;

  void check_null();
  void check_packet();
  void reload_packet();
  void bound_index();
  void bound_size();
  void initialise();
  void read_with_helper();
  void keep_pointer();
  void release();
  void once();
  void return_in_range();
  void bound_loop();
  void bound_loop_at(u32 n);
  void bound_counter(const std::string& index, u64 count);
  void before_lock();
  void look_up_again();
  std::string furthest_of(const std::string& pointer, const std::string& value) const;
  void bound_distance();
  void check_in_callers();
  bool rebuild(const std::string& name, u32 before, std::vector<std::string>& lines, u32 depth) const;
  void settle_value();
  void check_packet_in_loop(const std::string& limit);
  void declare_licence();
  void whole_field();
  void other_argument();
  void replace_call(std::string_view from, std::string_view to);
  void guard_field();

  const Source& source_;
  const verify::Rejection& rejection_;
  const verify::Diagnosis& d_;
  const FixOptions& options_;
  u32 line_ = 0, statement_ = 0;
  std::optional<Source::Function> function_;
  std::string give_up_;
  std::vector<Candidate> found_;
};

}  // namespace skep::explain
