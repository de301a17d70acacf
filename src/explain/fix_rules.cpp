// Rules about pointers and calls, and which rule is for which remedy. See fix_rules.hpp.
#include "explain/fix_rules.hpp"

#include <algorithm>

#include "explain/fix_declarations.hpp"
#include "verify/c_line.hpp"

namespace skep::explain {

namespace c_line = verify::c_line;
using verify::Event;
using verify::Remedy;

Source FixRules::with(u32 before, const std::vector<std::string>& lines, std::string_view in_line,
                      std::string_view out) const {
  Source changed = source_;
  if (!in_line.empty()) {
    for (u32 n = statement_; n <= source_.statement_end(line_); n++)
      if (auto line = replaced(source_.line(n), in_line, out)) {
        changed.replace(n, *line);
        break;
      }
  }
  const std::string indent = source_.indent(before);
  for (auto line = lines.rbegin(); line != lines.rend(); ++line) changed.insert_before(before, indent + *line);
  return changed;
}

void FixRules::check_null() {
  const std::string& name = d_.variable.name;
  if (!is_lvalue(name)) return;
  const u32 made = d_.facts.origin_line;
  const bool is_null = rejection_.id != "maybe_null";  // it was compared, and this is the path where it is NULL
  if (is_null) {
    look_up_again();
    offer(with(statement_, {guard("!" + name)}));
  }
  const bool near = made >= function_->body && made < line_ && c_line::mentions(source_.statement(made), name);
  if (near && d_.variable.name.find("->") == std::string::npos)
    offer(with(source_.statement_end(made) + 1, {guard("!" + name)}));
  offer(with(statement_, {guard("!" + name)}));
}

/// A missing value that was inserted is looked up once more: inserting does not change the pointer.
void FixRules::look_up_again() {
  const std::string& name = d_.variable.name;
  const u32 made = d_.facts.origin_line;
  const std::string found = made >= function_->body && made < line_ ? right_side(source_.statement(made)) : "";
  if (found.empty() || !c_line::is_identifier(name)) return;
  for (u32 n = made; n < statement_; n++)
    if (source_.line(n).find("update_elem") != std::string::npos ||
        source_.line(n).find(".update(") != std::string::npos)
      return offer(with(statement_, {fmt::format("if (!{0}) {0} = {1};", name, found), guard("!" + name)}));
}

/// What was read from the context is kept in its register: two reads of which one happens are else made one of an
/// address that varies.
void FixRules::settle_value() {
  for (u32 n = function_->body; n <= line_; n++) {
    const std::string right = right_side(source_.line(n)), name = c_line::assigned(code_of(source_.line(n)));
    if (right.find("->") == std::string::npos || !c_line::is_identifier(name)) continue;
    const std::string from = right.substr(0, right.find("->"));
    if (!c_line::mentions(function_->signature, from)) continue;
    offer(with(source_.statement_end(n) + 1, {fmt::format("asm volatile(\"\" : \"+r\"({}));", name)}));
  }
  const std::string& value = d_.variable.name;
  if (is_lvalue(value) && value.find("->") != std::string::npos) read_with_helper();
}

void FixRules::read_with_helper() {
  const std::string& value = d_.variable.name;
  if (!is_lvalue(value) || d_.facts.writes) return;
  const bool of_process = d_.facts.of_process;
  for (std::string_view space : {of_process ? "user" : "kernel", of_process ? "kernel" : "user"})
    offer(with(statement_,
               {fmt::format("__typeof__({}) copy = 0;", value),
                fmt::format("bpf_probe_read_{}(&copy, sizeof(copy), &{});", space, value)},
               value, "copy"));
}

void FixRules::keep_pointer() {
  std::vector<u32> lines = {line_};
  for (const Event& e : d_.events)
    if (e.is_cause && e.source && e.source->line <= source_.size()) lines.push_back(e.source->line);
  std::string held(c_line::without_cast(d_.variable.name));
  if (!c_line::is_identifier(held)) held = c_line::without_cast(right_side(source_.line(line_)));
  if (const auto declared = source_.declaration(function_->body, line_, held)) lines.push_back(*declared);
  for (u32 n : lines) {
    const std::string& l = source_.line(n);
    const std::string name = c_line::assigned(l);
    const std::string type = c_line::declared_type(l, name);
    if (type.empty() || type.ends_with("*")) continue;
    std::string changed = l;
    if (auto wider = replaced(changed, type, "unsigned long")) changed = *wider;
    for (std::string_view cast : {"(__u32)", "(u32)", "(int)", "(unsigned int)", "(__s32)", "(unsigned)"})
      while (changed.find(cast) != std::string::npos) changed.replace(changed.find(cast), cast.size(), "");
    Source source = source_;
    source.replace(n, changed);
    offer(std::move(source));
  }
}

/// The licence is what stands between `=` and `;`: a text, or the name of one. An array of a given size gets the size
/// that fits. Where there is none, one is added under a name the source does not use for something else.
void FixRules::declare_licence() {
  for (u32 n = 1; n <= source_.size(); n++) {
    const std::string& l = source_.line(n);
    if (l.find("\"license\"") == std::string::npos || c_line::trimmed(l).starts_with("//")) continue;
    const auto equals = l.find('=');
    const auto end = equals == std::string::npos ? equals : l.find(';', equals);
    if (end == std::string::npos) continue;  // a remark
    std::string declared = l.substr(0, equals);
    const auto open = declared.find('['), close = declared.find(']');
    if (open != std::string::npos && close != std::string::npos && open < close)
      declared.erase(open + 1, close - open - 1);
    Source changed = source_;
    changed.replace(n, declared + "= \"GPL\"" + l.substr(end));
    return offer(std::move(changed));
  }
  const std::string text = source_.text();
  std::string name = "LICENSE";
  while (c_line::mentions(text, name)) name.insert(0, 1, '_');
  Source changed = source_;
  changed.insert_before(source_.size() + 1, fmt::format("char {}[] SEC(\"license\") = \"GPL\";", name));
  offer(std::move(changed));
}

/// `*(__u64 *)&ctx->field` becomes `ctx->field`: the field has a width, and the compiler knows it. So does `*p`, where
/// p was made so.
void FixRules::whole_field() {
  const std::string pointer = c_line::pointer_of(d_.variable.name);
  const auto made =
      c_line::is_identifier(pointer) ? source_.declaration(function_->body, line_, pointer) : std::nullopt;
  if (made && *made < line_) {
    const std::string from(c_line::without_cast(right_side(source_.line(*made))));
    if (from.starts_with('&')) offer(with(statement_, {}, d_.variable.name, from.substr(1)));
  }
  for (u32 n = statement_; n <= source_.statement_end(line_); n++) {
    const std::string& l = source_.line(n);
    for (auto at = l.find("*("); at != std::string::npos; at = l.find("*(", at + 1)) {
      const auto close = l.find(')', at);
      if (close == std::string::npos) break;
      const std::string_view type = c_line::trimmed(std::string_view(l).substr(at + 2, close - at - 2));
      const auto address = l.find_first_not_of(' ', close + 1);
      if (!type.ends_with('*') || address == std::string::npos || l[address] != '&') continue;
      Source changed = source_;
      changed.replace(n, l.substr(0, at) + l.substr(address + 1));
      offer(std::move(changed));
    }
  }
}

/// What the call most likely meant: the pointer instead of the number, the address instead of the value, the map
/// instead of a value of it.
void FixRules::other_argument() {
  if (rejection_.id == "map_type_mismatch") {
    const std::string statement = source_.statement(line_);
    const auto call = c_line::trimmed(std::string_view(statement).substr(0, statement.find('(')));
    const std::string helper(call.substr(call.find("bpf_") == std::string_view::npos ? 0 : call.find("bpf_")));
    for (const std::string& argument : c_line::arguments_of(statement, helper))
      if (argument.starts_with('&')) offer_all(other_map_type(source_, argument.substr(1), helper));
  }
  if (d_.facts.release == "bpf_get_current_task") replace_call("bpf_get_current_task", "bpf_get_current_task_btf");
  const s32 at = d_.facts.argument;
  if (at < 0) return;
  const auto arguments = c_line::arguments_of(source_.statement(line_), d_.facts.call);
  if (static_cast<std::size_t>(at) >= arguments.size()) return;
  const std::string& argument = arguments[static_cast<std::size_t>(at)];
  const u32 origin = d_.facts.origin_line;
  if (at == 0 && origin >= function_->body && origin < line_) {
    const auto of = c_line::arguments_of(source_.statement(origin), "bpf_map_lookup_elem");
    if (of.size() == 2) offer(with(statement_, {}, argument, of[0]));
  }
  if (rejection_.id == "size_not_constant") {
    const std::string made = c_line::assigned(source_.line(statement_));
    const auto declared = source_.declaration(function_->body, line_, made);
    const std::string type = declared ? c_line::declared_type(source_.line(*declared), made) : "";
    if (type.starts_with("struct ") && type.ends_with('*'))
      offer(with(statement_, {}, argument, fmt::format("sizeof(*{})", made)));
    if (d_.facts.high > 0 && d_.facts.high <= 1 << 16)
      offer(with(statement_, {}, argument, fmt::format("{}", d_.facts.high)));
  }
  if (!d_.facts.wanted_type.empty()) {  // the variable gets the type that the map has
    const std::string variable(c_line::addressed(argument));
    const auto declared = source_.declaration(function_->body, line_, variable);
    const std::string& l = declared ? source_.line(*declared) : argument;
    const std::string type = declared ? c_line::declared_type(l, variable) : "";
    if (c_line::trimmed(l).starts_with(type) && !type.empty() && l.find(';') != std::string::npos) {
      std::string right = right_side(l);
      if (d_.facts.wanted_type.find('[') != std::string::npos && !right.starts_with('{')) right = "{" + right + "}";
      std::string text = d_.facts.wanted_type;
      text.replace(text.find("{}"), 2, variable);
      Source changed = source_;
      changed.replace(*declared, fmt::format("{}{}{};", source_.indent(*declared), text,
                                             right.empty() || right == "{}" ? "" : " = " + right));
      offer(std::move(changed));
    }
  }
  std::string value = argument;
  if (const auto cast = value.rfind(')'); value.starts_with('(') && cast != std::string::npos)
    value = std::string(c_line::trimmed(std::string_view(value).substr(cast + 1)));
  if (c_line::is_identifier(value) && source_.declaration(function_->body, line_, value))
    offer(with(statement_, {}, argument, "&" + value));
}

void FixRules::replace_call(std::string_view from, std::string_view to) {
  for (u32 n = line_; n >= function_->body; n--)
    if (auto line = replaced(source_.line(n), from, to)) {
      Source changed = source_;
      changed.replace(n, *line);
      return offer(std::move(changed));
    }
}

void FixRules::guard_field() {
  u32 at_line = line_;
  for (const Event& e : d_.events)
    if (e.is_cause && e.source && e.source->line <= source_.size()) at_line = e.source->line;
  const std::string statement = source_.statement(at_line);
  const u32 begin = source_.statement_begin(at_line);
  std::string field;
  if (const auto arguments = c_line::arguments_of(statement, "BPF_CORE_READ"); arguments.size() == 2)
    field = fmt::format("{}->{}", arguments[0], arguments[1]);
  if (const auto at = statement.rfind("->"); field.empty() && at != std::string::npos)
    field = c_line::expression_at(statement, static_cast<u32>(at + 3));
  if (field.empty()) return;
  Source changed = source_;
  const std::string indent = source_.indent(begin);
  changed.replace(
      begin, fmt::format("{}if (bpf_core_field_exists({})) {}", indent, field, c_line::trimmed(source_.line(begin))));
  offer(std::move(changed));
}

std::vector<Candidate> FixRules::all() {
  if (d_.remedy == Remedy::declare_licence) declare_licence();
  if (!function_) return std::move(found_);
  switch (d_.remedy) {
    case Remedy::check_null:
      check_null();
      break;
    case Remedy::check_packet:
      check_packet();
      break;
    case Remedy::reload_packet:
      reload_packet();
      break;
    case Remedy::bound_index:
      bound_index();
      break;
    case Remedy::bound_size:
      bound_size();
      break;
    case Remedy::initialise:
      initialise();
      break;
    case Remedy::read_with_helper:
      read_with_helper();
      break;
    case Remedy::keep_pointer:
      keep_pointer();
      break;
    case Remedy::release:
      release();
      break;
    case Remedy::once:
      once();
      break;
    case Remedy::return_in_range:
      return_in_range();
      break;
    case Remedy::bound_loop:
      bound_loop();
      break;
    case Remedy::guard_field:
      guard_field();
      break;
    case Remedy::sleepable:
      replace_call("bpf_copy_from_user", "bpf_probe_read_user");
      break;
    case Remedy::other_argument:
      other_argument();
      break;
    case Remedy::whole_field:
      whole_field();
      break;
    case Remedy::shrink_stack:
      offer_all(smaller_buffers(source_, d_, line_));
      break;
    case Remedy::end_function:
      offer_all(ended_function(source_, *function_, otherwise()));
      break;
    case Remedy::move_offset:
      settle_value();
      break;
    case Remedy::keep_over_call:
    case Remedy::align:
    case Remedy::other_helper:
    case Remedy::drop_write:
    case Remedy::declare_licence:
    case Remedy::other:
      break;
  }
  return std::move(found_);
}

std::vector<Candidate> candidates(const Source& source, const verify::Refused& refused, const FixOptions& options) {
  if (refused.diagnosis == nullptr) return {};
  return FixRules(source, refused, options).all();
}

}  // namespace skep::explain
