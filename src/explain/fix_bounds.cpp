// Rules about numbers, and about what a path has to do before it ends. See fix_rules.hpp.
#include <algorithm>
#include <cctype>
#include <set>

#include "explain/fix_rules.hpp"
#include "verify/c_line.hpp"

namespace skep::explain {

namespace c_line = verify::c_line;
using verify::Event;

namespace {
constexpr u32 loop_rounds = 256;  // what a loop without a bound is given
}  // namespace

void FixRules::bound_index() {
  const std::string& index = d_.variable.name;
  if (index.empty()) return;
  const u64 count = d_.facts.places();
  if (count == 0) return;
  const bool plain = c_line::is_identifier(index);
  if (plain) bound_counter(index, count);
  const std::string outside = c_line::is_outside(index, d_.variable.type, std::to_string(count - 1));
  const std::string hide = fmt::format("asm volatile(\"\" : \"+r\"({}));", index);
  if (plain) {
    offer(with(statement_, {guard(outside)}));
    offer(with(statement_, {hide, guard(outside)}));
    if (count > 1 && (count & (count - 1)) == 0) offer(with(statement_, {fmt::format("{} &= {};", index, count - 1)}));
  }
  offer(with(statement_, {fmt::format("__u64 index = {};", index), guard(fmt::format("index >= {}", count))}, index,
             "index"));
  offer(with(statement_,
             {fmt::format("__u64 index = {};", index), "asm volatile(\"\" : \"+r\"(index));",
              guard(fmt::format("index >= {}", count))},
             index, "index"));
}

/// The loop that counts `index`, ended where the array ends.
void FixRules::bound_counter(const std::string& index, u64 count) {
  for (u32 n = line_; n >= function_->body && n + 12 > line_; n--) {
    const std::string& l = source_.line(n);
    if (!c_line::heads_loop(l) || !c_line::mentions(l, index)) continue;
    const bool is_for = c_line::trimmed(l).starts_with("for");
    const auto first = is_for ? l.find(';') : l.find('(');
    const auto last = is_for && first != std::string::npos ? l.find(';', first + 1) : l.rfind(')');
    if (first == std::string::npos || last == std::string::npos || last <= first) return;
    const std::string condition(c_line::trimmed(std::string_view(l).substr(first + 1, last - first - 1)));
    const std::string bound = fmt::format("{} < {}", index, count);
    const bool joined = condition.find("||") == std::string::npos && condition.find('?') == std::string::npos;
    Source changed = source_;
    changed.replace(n, fmt::format("{}{}{}{}{}", l.substr(0, first + 1), is_for ? " " : "", bound,
                                   condition.empty() ? ""
                                   : joined          ? " && " + condition
                                                     : fmt::format(" && ({})", condition),
                                   l.substr(last)));
    return offer(std::move(changed));
  }
}

void FixRules::bound_size() {
  const s32 at = d_.facts.argument;
  const std::string statement = source_.statement(line_);
  if (at < 0) return;
  const auto arguments = c_line::arguments_of(statement, d_.facts.call);
  if (static_cast<std::size_t>(at) >= arguments.size()) return;
  const std::string length = arguments[static_cast<std::size_t>(at)];
  std::string memory = at > 0 ? arguments[static_cast<std::size_t>(at) - 1] : std::string();
  if (memory.starts_with("&")) memory = memory.substr(1);
  // sizeof means the room only where the argument is the array itself.
  std::vector<std::string> limits;
  const auto declared = source_.declaration(function_->begin, line_, memory);
  const bool is_array = declared && c_line::declared_type(source_.line(*declared), memory).ends_with("]");
  if (is_array || memory.find("->") != std::string::npos) limits.push_back(fmt::format("sizeof({})", memory));
  if (d_.facts.region_bytes != 0) limits.push_back(fmt::format("{}", d_.facts.region_bytes));
  const std::string hide = fmt::format("asm volatile(\"\" : \"+r\"({}));", length);
  const bool plain = c_line::is_identifier(length);
  const bool is_constant = d_.facts.low == d_.facts.high && d_.facts.low > 0;
  if (is_constant) {  // what is there has a size: as the compiler knows it, then as a number
    const bool has_size = is_array || arguments[static_cast<std::size_t>(at) - 1].starts_with("&");
    if (at > 0 && has_size) offer(with(statement_, {}, length, fmt::format("sizeof({})", memory)));
    if (!limits.empty()) offer(with(statement_, {}, length, limits.back()));
    return;
  }
  const bool zero = rejection_.id == "size_may_be_zero";
  if (zero) offer(with(statement_, {guard("!" + length)}));
  for (const std::string& limit : limits) {
    const bool is_signed = d_.facts.is_signed && !c_line::is_unsigned(d_.variable.type);
    const std::string outside = c_line::is_outside(length, is_signed ? "int" : "unsigned", limit);
    if (plain && !is_signed)
      offer(with(statement_, {fmt::format("if ({} > {}) {} = {};", length, limit, length, limit)}));
    if (plain) offer(with(statement_, {guard(outside)}));
    if (plain) offer(with(statement_, {guard(fmt::format("(__u64){} > {}", length, limit))}));
    if (plain) offer(with(statement_, {hide, guard(fmt::format("(__u64){} > {}", length, limit))}));
    offer(with(statement_,
               {fmt::format("__u64 length = {};", length), "asm volatile(\"\" : \"+r\"(length));",
                guard(fmt::format("length > {}", limit))},
               length, "length"));
  }
}

void FixRules::initialise() {
  for (u32 n = function_->body; n <= line_; n++) {
    const std::string& l = source_.line(n);
    const std::string_view code = c_line::trimmed(l);
    if (!code.ends_with(';') || code.find('=') != std::string_view::npos || code.find('(') != std::string_view::npos)
      continue;
    const std::string name(word_before(code, code.size() - 1));
    if (name.empty() || c_line::declared_type(l, name).empty() || !c_line::mentions(source_.statement(line_), name))
      continue;
    Source changed = source_;
    changed.replace(n, l.substr(0, l.rfind(';')) + " = 0;" + l.substr(l.rfind(';') + 1));
    offer(std::move(changed));
  }
  if (rejection_.id == "register_not_set" && c_line::trimmed(source_.line(function_->end)) == "}")
    offer(with(function_->end, {"return 0;"}));
}

void FixRules::release() {
  std::string call = d_.facts.release;
  if (call.empty()) return;
  if (rejection_.id == "lock_held") return before_lock();
  if (const auto hole = call.find("{}"); hole != std::string::npos) {
    if (d_.variable.name.empty()) return;
    std::string name = d_.variable.name;
    if (call[hole - 1] == '&' && name.starts_with("&")) name = name.substr(1);
    call.replace(hole, 2, name);
    if (const auto more = call.find("{}", hole + name.size()); more != std::string::npos) call.replace(more, 2, name);
  }
  const u32 acquired = d_.facts.origin_line;
  auto before_return = [&](u32 n) {
    const std::string& l = source_.line(n);
    const auto at = l.find("return");
    if (at == std::string::npos) return;
    if (c_line::trimmed(l).starts_with("return")) {
      const std::string_view above = c_line::trimmed(source_.line(n - 1));
      if (!above.ends_with(')') && above != "else") return offer(with(n, {call + ";"}));
      Source changed = source_;  // the body of an if without braces
      changed.replace(n, fmt::format("{}{{ {}; {} }}", source_.indent(n), call, c_line::trimmed(l)));
      return offer(std::move(changed));
    }
    Source changed = source_;
    const auto end = l.find(';', at);
    if (end == std::string::npos) return;
    changed.replace(
        n, fmt::format("{}{{ {}; {} }}{}", l.substr(0, at), call, l.substr(at, end + 1 - at), l.substr(end + 1)));
    offer(std::move(changed));
  };
  for (u32 n = d_.facts.branch_line; n != 0 && n <= std::min(function_->end, d_.facts.branch_line + 4); n++)
    before_return(n);
  for (u32 n = function_->end; n > std::max(acquired, function_->body); n--) before_return(n);
}

/// What is called with a lock held is called before it is taken; behind the unlocking, where it needs what is computed
/// under the lock.
void FixRules::before_lock() {
  const u32 taken = d_.facts.origin_line;
  if (taken < function_->body || taken >= statement_ || source_.statement_end(line_) != statement_) return;
  if (source_.line(statement_).find("_lock(") != std::string::npos)
    return;  // a second lock: which comes first is not ours
  const std::string moved = source_.line(statement_);
  bool needs = false;
  for (u32 n = taken + 1; n < statement_; n++) {
    const std::string changed = c_line::assigned(code_of(source_.line(n)));
    needs = needs || (c_line::is_identifier(changed) && c_line::mentions(moved, changed));
  }
  Source changed = source_;
  changed.erase(statement_);
  if (!needs) {
    changed.insert_before(source_.statement_begin(taken), moved);
    return offer(std::move(changed));
  }
  for (u32 n = statement_ + 1; n <= function_->end; n++) {
    if (source_.line(n).find("_unlock(") == std::string::npos) continue;
    changed.insert_before(n, moved);  // one line up already: it stands behind the unlocking
    return offer(std::move(changed));
  }
}

void FixRules::once() {
  for (const Event& e : d_.events) {  // what is read after it was given back is read before
    if (!e.is_cause || !e.source || e.source->line >= statement_ || e.source->line < function_->body) continue;
    if (d_.facts.argument == 0) {  // given back twice: the first time is the end of this path
      const u32 first = e.source->line;
      const std::string_view above = c_line::trimmed(source_.line(first - 1));
      const bool bare = above.ends_with(')') || above == "else";
      Source left = source_;
      left.replace(first, bare ? fmt::format("{}{{ {} {} }}", source_.indent(first),
                                             c_line::trimmed(source_.line(first)), give_up_)
                               : source_.line(first));
      if (!bare) left.insert_before(source_.statement_end(first) + 1, source_.indent(first) + give_up_);
      offer(std::move(left));
      Source without = source_;
      without.erase(statement_);
      offer(std::move(without));
    }
    const u32 end = source_.statement_end(line_);
    if (end != statement_) continue;
    Source changed = source_;
    const std::string moved = source_.line(statement_);
    changed.erase(statement_);
    changed.insert_before(source_.statement_begin(e.source->line), moved);
    offer(std::move(changed));
  }
}

void FixRules::return_in_range() {
  std::vector<u32> lines;
  for (const Event& e : d_.events)
    if (e.source && e.source->line <= source_.size()) lines.push_back(e.source->line);
  lines.push_back(line_);
  for (u32 n = function_->end; n > function_->body; n--) lines.push_back(n);
  for (u32 n : lines) {
    const std::string& l = source_.line(n);
    const auto at = l.find("return ");
    const auto end = at == std::string::npos ? at : l.find(';', at);
    if (end == std::string::npos) continue;
    const std::string value(c_line::trimmed(std::string_view(l).substr(at + 7, end - at - 7)));
    auto put = [&](const std::string& text) {
      Source changed = source_;
      changed.replace(n, fmt::format("{}return {}{}", l.substr(0, at), text, l.substr(end)));
      offer(std::move(changed));
    };
    const bool number = value.find_first_not_of("-0123456789") == std::string::npos;
    const bool is_callback = rejection_.id == "callback_result";
    if (number && d_.facts.returned && value != fmt::format("{}", *d_.facts.returned)) continue;  // another's
    if (is_callback) put("0");
    if (number && d_.facts.high == 0 && d_.facts.returned.value_or(0) > 0)
      put(fmt::format("-{}", value));  // an error without its sign
    const auto says = [&](s64 result) {
      for (u32 k = function_->body; k <= function_->end; k++)
        if (k != n && source_.line(k).find(fmt::format("return {};", result)) != std::string::npos) return true;
      return false;
    };
    if (number && !is_callback && !value.starts_with("-") && says(d_.facts.high) && !says(d_.facts.low))
      put(fmt::format("{}", d_.facts.low));  // the other answer is given elsewhere
    if (number && !is_callback)
      put(fmt::format("{}", value.starts_with("-") ? d_.facts.low : d_.facts.high));
    else if (d_.facts.low <= 0 && d_.facts.high >= 1)
      put(fmt::format("({}) > 0", value));
  }
}

void FixRules::bound_loop() {
  std::vector<u32> lines = {d_.facts.branch_line, line_};
  for (const verify::HotLine& h : d_.hot_lines) lines.push_back(h.source.line);
  std::set<u32> heads;
  for (u32 hot : lines) {
    if (hot == 0 || hot > source_.size()) continue;
    for (u32 n = hot; n >= function_->body && n + 12 > hot; n--) {
      if (!c_line::heads_loop(source_.line(n))) continue;
      if (heads.insert(n).second) bound_loop_at(n);
      break;
    }
  }
}

/// The loop whose head is line `n`, with a bound.
void FixRules::bound_loop_at(u32 n) {
  const std::string& l = source_.line(n);
  const std::string_view code = c_line::trimmed(l);
  const auto head = [&](const std::string& text) {
    Source changed = source_;
    changed.replace(n, text);
    offer(std::move(changed));
  };
  if (code.starts_with("while")) {
    const auto open = l.find('('), close = l.rfind(')');
    if (open == std::string::npos || close == std::string::npos || close < open) return;
    const std::string condition = l.substr(open + 1, close - open - 1);
    const bool always = condition == "1" || condition == "true";
    return head(always ? fmt::format("{}for (int rounds = 0; rounds < {}; rounds++){}", source_.indent(n), loop_rounds,
                                     l.substr(close + 1))
                       : fmt::format("{}for (int rounds = 0; rounds < {} && ({}); rounds++){}", source_.indent(n),
                                     loop_rounds, condition, l.substr(close + 1)));
  }
  if (code.starts_with("do")) {  // its condition stands behind the body
    for (u32 end = n + 1; end <= function_->end && end < n + 24; end++) {
      const std::string_view last = code_of(source_.line(end));
      const auto at = last.find("while");
      if (at == std::string_view::npos || !last.starts_with('}')) continue;
      const auto open = last.find('(', at), close = last.rfind(')');
      if (open == std::string_view::npos || close == std::string_view::npos || close < open) return;
      Source changed = source_;
      changed.replace(end, fmt::format("{}}} while (++rounds < {} && ({}));", source_.indent(end), loop_rounds,
                                       last.substr(open + 1, close - open - 1)));
      changed.insert_before(n, fmt::format("{}int rounds = 0;", source_.indent(n)));
      return offer(std::move(changed));
    }
    return;
  }
  if (!code.starts_with("for")) return;
  const auto open = l.find('('), first = l.find(';', open), second = l.find(';', first + 1), close = l.rfind(')');
  if (second == std::string::npos || close == std::string::npos || close < second) return;
  const std::string condition(c_line::trimmed(std::string_view(l).substr(first + 1, second - first - 1)));
  const std::string step(c_line::trimmed(std::string_view(l).substr(second + 1, close - second - 1)));
  const auto less = condition.find('<');
  const std::string counter(c_line::trimmed(condition.substr(0, less)));
  if (less != std::string::npos) {
    const std::string limit(c_line::trimmed(condition.substr(less + (condition[less + 1] == '=' ? 2 : 1))));
    if (step.empty() && c_line::is_identifier(counter))
      head(fmt::format("{} {}++{}", l.substr(0, second + 1), counter, l.substr(close)));
    if (c_line::is_identifier(limit) && std::islower(static_cast<unsigned char>(limit[0])) != 0)
      offer(with(source_.statement_begin(n), {fmt::format("if ({0} > {1}) {0} = {1};", limit, loop_rounds)}));
    head(fmt::format("{} {} < {} && {}{}", l.substr(0, first + 1), counter, loop_rounds, condition, l.substr(second)));
  }
  // Whatever the loop counts: its rounds are counted beside it.
  const std::string bound = condition.empty() ? fmt::format("rounds < {}", loop_rounds)
                                              : fmt::format("rounds < {} && ({})", loop_rounds, condition);
  Source changed = source_;
  changed.replace(n, fmt::format("{} {}; {}{}{}", l.substr(0, first + 1), bound, step.empty() ? "" : step + ", ",
                                 "rounds++", l.substr(close)));
  changed.insert_before(n, fmt::format("{}int rounds = 0;", source_.indent(n)));
  offer(std::move(changed));
}

}  // namespace skep::explain
