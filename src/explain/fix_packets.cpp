// Rules about packets: a comparison with the end where one is missing, pointers made anew after the packet has moved.
// See fix_rules.hpp.
#include <algorithm>
#include <charconv>

#include "explain/fix_rules.hpp"
#include "verify/c_line.hpp"

namespace skep::explain {

namespace c_line = verify::c_line;
using verify::Event;

/// What the function calls the end of the packet.
std::string FixRules::packet_end() const {
  for (u32 n = function_->begin; n <= line_; n++) {
    const std::string_view code = code_of(source_.line(n));
    const auto at = code.find("->data_end");
    if (at == std::string_view::npos) continue;
    std::string name = c_line::assigned(code, static_cast<u32>(at) + 1);
    if (!name.empty()) return name;
  }
  if (c_line::mentions(function_->signature, "data_end")) return "data_end";
  for (u32 n = function_->body; n <= line_; n++) {  // ctx->data is there, so is ctx->data_end
    const std::string& l = source_.line(n);
    const auto at = l.find("->data");
    if (at == std::string::npos) continue;
    return fmt::format("(void *)(long){}->data_end", word_before(l, at));
  }
  return {};
}

void FixRules::check_packet() {
  const std::string end = packet_end();
  const std::string& value = d_.variable.name;
  if (end.empty()) return check_in_callers();
  bound_distance();
  const std::string limit = end.starts_with("(") ? end : "(void *)" + end;  // whatever its type
  if (value.empty()) return check_packet_in_loop(limit);
  const std::string pointer = c_line::pointer_of(value);
  if (!pointer.empty() && value.find("->") != std::string::npos)
    offer(with(statement_, {guard(fmt::format("(void *)({} + 1) > {}", pointer, limit))}));
  if (!pointer.empty() && value.back() == ']') {
    const std::string last = furthest_of(pointer, value);
    offer(with(statement_, {guard(fmt::format("(void *)(&{} + 1) > {}", last, limit))}));
    if (last != value) offer(with(statement_, {guard(fmt::format("(void *)(&{} + 1) > {}", value, limit))}));
  }
  if (!pointer.empty()) offer(with(statement_, {guard(fmt::format("(void *)({} + 1) > {}", pointer, limit))}));
  if (d_.facts.argument >= 0)
    offer(with(statement_, {guard(fmt::format("(void *){} + {} > {}", value, d_.facts.needed_bytes, limit))}));
}

/// Of `p[1]` in a statement that reads `p[1]` and `p[3]`: `p[3]`.
std::string FixRules::furthest_of(const std::string& pointer, const std::string& value) const {
  const std::string statement = source_.statement(line_);
  const std::string opening = pointer + "[";
  std::string furthest = value;
  u32 most = 0;
  for (auto at = statement.find(opening); at != std::string::npos; at = statement.find(opening, at + 1)) {
    const char* digits = statement.data() + at + opening.size();
    u32 number = 0;
    const auto [end, error] = std::from_chars(digits, statement.data() + statement.size(), number);
    if (error != std::errc{} || *end != ']' || number < most) continue;
    most = number;
    furthest = fmt::format("{}[{}]", pointer, number);
  }
  return furthest;
}

/// A distance that a packet tells is bounded where it is added: further than a packet is long, no comparison helps.
void FixRules::bound_distance() {
  constexpr s64 longest_packet = 0xffff;
  if (d_.facts.high <= longest_packet) return;
  for (const Event& e : d_.events) {
    if (!e.is_cause || !e.source || e.source->line < function_->body || e.source->line > line_) continue;
    const u32 begin = source_.statement_begin(e.source->line);
    const std::string right = right_side(source_.statement(begin));
    for (const std::string_view word : words_of(right)) {
      const std::string name(word);
      const auto made = c_line::is_identifier(name) ? source_.declaration(function_->body, begin, name) : std::nullopt;
      if (!made) continue;
      const std::string type = c_line::declared_type(code_of(source_.line(*made)), name);
      if (type.ends_with('*') || type.empty()) continue;
      const std::string text = guard(c_line::is_outside(name, type, "0x7fff"));
      offer(with(begin, {text}));
      offer(with(begin, {fmt::format("asm volatile(\"\" : \"+r\"({}));", name), text}));
    }
  }
}

/// A function that knows nothing of the packet's end is called where that is known.
void FixRules::check_in_callers() {
  const std::string pointer = c_line::pointer_of(d_.variable.name);
  const std::string_view signature = function_->signature;
  const auto open = signature.find('(');
  if (!c_line::is_identifier(pointer) || open == std::string_view::npos) return;
  const std::string name(word_before(signature, open));
  const auto params = c_line::arguments_of(signature, name);
  const auto mine = std::ranges::find_if(params, [&](const std::string& p) { return c_line::mentions(p, pointer); });
  if (mine == params.end()) return;
  const std::string type = c_line::declared_type(*mine, pointer);
  if (!type.ends_with('*')) return;
  const auto number = static_cast<std::size_t>(mine - params.begin());
  for (u32 n = function_->end + 1; n <= source_.size(); n++) {
    if (!c_line::mentions(code_of(source_.line(n)), name)) continue;
    const auto arguments = c_line::arguments_of(source_.statement(n), name);
    const auto caller = source_.function_at(n);
    if (number >= arguments.size() || !caller) continue;
    for (u32 m = caller->body; m < n; m++) {
      const auto at = code_of(source_.line(m)).find("->data_end");
      if (at == std::string_view::npos) continue;
      const std::string end = c_line::assigned(code_of(source_.line(m)), static_cast<u32>(at) + 1);
      if (end.empty()) continue;
      const std::string size(c_line::trimmed(std::string_view(type).substr(0, type.size() - 1)));
      const u32 before = source_.statement_begin(n);
      const bool is_xdp = options_.type == ProgramType::xdp;
      offer(with(before, {fmt::format("if ((void *)({}) + sizeof({}) > (void *){}) {}", arguments[number], size, end,
                                      source_.giving_up(*caller, n, is_xdp ? "return XDP_PASS;" : "return 0;"))}));
    }
  }
}

/// Compilers give a loop's head the accesses of its body: what is read there is checked where it stands.
void FixRules::check_packet_in_loop(const std::string& limit) {
  if (!c_line::heads_loop(source_.line(line_))) return;
  for (u32 n = line_ + 1; n <= function_->end && n < line_ + 12; n++) {
    const std::string_view code = code_of(source_.line(n));
    const auto arrow = code.find("->");
    if (arrow == std::string_view::npos || source_.statement_begin(n) != n) continue;
    const std::string_view pointer = word_before(code, arrow);
    if (c_line::is_identifier(pointer)) offer(with(n, {guard(fmt::format("(void *)({} + 1) > {}", pointer, limit))}));
  }
}

void FixRules::reload_packet() {
  const u32 call = d_.facts.origin_line;
  if (call < function_->body || call >= line_) return;
  const auto data = source_.assignment_with(function_->body, call, "data");
  const auto end = source_.assignment_with(function_->body, call, "data_end");
  if (!data || !end) return;
  const std::string start = c_line::assigned(source_.line(*data)), limit = c_line::assigned(source_.line(*end));
  std::string pointer = c_line::pointer_of(d_.variable.name);
  if (pointer.empty()) pointer = d_.variable.name;
  std::vector<std::string> lines = {fmt::format("{} = {};", start, right_side(source_.line(*data))),
                                    fmt::format("{} = {};", limit, right_side(source_.line(*end)))};
  std::string check = guard(fmt::format("(void *)({} + 1) > {}", pointer, limit));
  if (pointer != start) {
    if (!rebuild(pointer, call, lines, 0)) return;
  } else if (d_.variable.name.ends_with("]")) {
    check = guard(fmt::format("(void *)(&{} + 1) > {}", d_.variable.name, limit));
  }
  lines.push_back(check);
  offer(with(source_.statement_end(call) + 1, lines));
}

/// The assignments that make `name` anew, those it is computed from first. False: it is not assigned before `before`.
bool FixRules::rebuild(const std::string& name, u32 before, std::vector<std::string>& lines, u32 depth) const {
  constexpr u32 longest_chain = 6;
  const auto made = source_.declaration(function_->body, before, name);
  if (!made || depth > longest_chain) return false;
  const std::string right = right_side(source_.line(*made));
  if (right.empty()) return false;
  std::size_t measured = 0;  // up to here a sizeof has its operand, which needs no value
  for (const std::string_view found : words_of(right)) {
    const auto at = static_cast<std::size_t>(found.data() - right.data());
    if (at < measured) continue;
    if (found == "sizeof") measured = right.find(')', at);
    const std::string word(found);
    const bool is_known = std::ranges::any_of(lines, [&](const std::string& l) { return l.starts_with(word + " = "); });
    if (!c_line::is_identifier(word) || word == name || is_known) continue;
    const auto from = source_.declaration(function_->body, before, word);
    if (from && c_line::declared_type(source_.line(*from), word).find('*') != std::string::npos)
      rebuild(word, *made, lines, depth + 1);
    else if (from && *from < *made && c_line::declared_type(source_.line(*from), word).empty())
      rebuild(word, *made, lines, depth + 1);  // declared elsewhere, assigned there
  }
  lines.push_back(fmt::format("{} = {};", name, right));
  return true;
}

}  // namespace skep::explain
