// Rules about numbers, and about what a path has to do before it ends. See fix_rules.hpp.
#include <algorithm>
#include <cctype>

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
  if (length.find_first_not_of("0123456789") == std::string::npos && !limits.empty())
    return offer(with(statement_, {}, length, limits[0]));
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
    std::size_t end = code.size() - 1, begin = end;
    while (begin > 0 && (std::isalnum(static_cast<unsigned char>(code[begin - 1])) != 0 || code[begin - 1] == '_'))
      begin--;
    const std::string name(code.substr(begin, end - begin));
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
  if (const auto hole = call.find("{}"); hole != std::string::npos) {
    if (d_.variable.name.empty()) return;
    std::string name = d_.variable.name;
    if (call[hole - 1] == '&' && name.starts_with("&")) name = name.substr(1);
    call.replace(hole, 2, name);
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

void FixRules::once() {
  for (const Event& e : d_.events) {  // what is read after it was given back is read before
    if (!e.is_cause || !e.source || e.source->line >= statement_ || e.source->line < function_->body) continue;
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
    if (number)
      put(fmt::format("{}", value.starts_with("-") ? d_.facts.low : d_.facts.high));
    else if (d_.facts.low == 0 && d_.facts.high == 1)
      put(fmt::format("({}) > 0", value));
  }
}

void FixRules::bound_loop() {
  std::vector<u32> lines = {line_, d_.facts.branch_line};
  for (const verify::HotLine& h : d_.hot_lines) lines.push_back(h.source.line);
  for (u32 hot : lines) {
    if (hot == 0 || hot > source_.size()) continue;
    for (u32 n = hot; n >= function_->body && n + 12 > hot; n--) {
      const std::string& l = source_.line(n);
      const std::string_view code = c_line::trimmed(l);
      if (code.starts_with("while")) {
        const auto open = l.find('('), close = l.rfind(')');
        if (open == std::string::npos || close == std::string::npos || close < open) break;
        Source changed = source_;
        changed.replace(n, fmt::format("{}for (int rounds = 0; rounds < {} && ({}); rounds++){}", source_.indent(n),
                                       loop_rounds, l.substr(open + 1, close - open - 1), l.substr(close + 1)));
        offer(std::move(changed));
        break;
      }
      if (code.starts_with("for")) {
        const auto first = l.find(';'), second = l.find(';', first + 1);
        if (second == std::string::npos) break;
        const std::string condition(c_line::trimmed(std::string_view(l).substr(first + 1, second - first - 1)));
        const auto less = condition.find('<');
        if (less == std::string::npos) break;
        const std::string limit(c_line::trimmed(condition.substr(less + (condition[less + 1] == '=' ? 2 : 1))));
        const std::string counter(c_line::trimmed(condition.substr(0, less)));
        if (c_line::is_identifier(limit) && std::islower(static_cast<unsigned char>(limit[0])) != 0)
          offer(with(source_.statement_begin(n), {fmt::format("if ({0} > {1}) {0} = {1};", limit, loop_rounds)}));
        Source changed = source_;
        changed.replace(n, fmt::format("{} {} < {} && {}{}", l.substr(0, first + 1), counter, loop_rounds, condition,
                                       l.substr(second)));
        offer(std::move(changed));
        break;
      }
    }
  }
}

}  // namespace skep::explain
