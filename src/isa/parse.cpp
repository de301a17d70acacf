// A program's text: lines to instructions, then labels to distances.
#include <fmt/format.h>

#include <unordered_map>

#include "isa/statement.hpp"

namespace skep::isa {
namespace {

/// More text than any program needs; keeps a hostile input from taking all memory.
constexpr std::size_t max_text_bytes = 64u << 20;

std::string line_place(u32 line) { return fmt::format("line {}", line); }

class Program {
 public:
  explicit Program(const ParseOptions& options) : options_(options) {}

  Result<Assembly> read(std::string_view text) {
    if (text.size() > max_text_bytes) return fail(Code::limit, "the text is longer than 64 MiB");
    u32 number = 0;
    while (!text.empty()) {
      const auto end = std::min(text.find('\n'), text.size());
      number++;
      SKEP_TRY_AT(line_place(number), read_line(text.substr(0, end), number));
      text.remove_prefix(std::min(end + 1, text.size()));
    }
    // From here on the instructions are counted; labels become distances.
    for (const auto& jump : pending_) SKEP_TRY_AT(line_place(assembly_.lines[jump.insn]), resolve(jump));
    return std::move(assembly_);
  }

 private:
  struct Pending {
    u32 insn;
    std::string label;
  };

  Result<void> read_line(std::string_view text, u32 number) {
    const auto first = static_cast<u32>(assembly_.insns.size());
    Line line(tokens_of(text), options_, assembly_);
    SKEP_TRY(line.labels_and_statement([&](std::string name) -> Result<void> {
      if (!labels_.emplace(name, first).second) return wrong(fmt::format("label {} is defined twice", name));
      assembly_.labels.emplace_back(std::move(name), first);
      return {};
    }));
    assembly_.lines.resize(assembly_.insns.size(), number);
    if (line.pending_label) pending_.push_back({first, *std::move(line.pending_label)});
    return {};
  }

  Result<void> resolve(const Pending& jump) {
    const auto found = labels_.find(jump.label);
    if (found == labels_.end())
      return wrong(fmt::format("there is no label (and no helper with a known number) named {}", jump.label));
    Insn& insn = assembly_.insns[jump.insn];
    const s64 distance = static_cast<s64>(found->second) - static_cast<s64>(jump.insn) - 1;
    const Form form = row(*decode(insn)).form;
    if (!is_jump(form) || form == Form::jump_long) {
      insn.imm = static_cast<s32>(distance);
      return {};
    }
    if (distance < INT16_MIN || distance > INT16_MAX)
      return wrong(
          fmt::format("label {} is {} instructions away, more than 16 bits hold: use gotol", jump.label, distance));
    insn.off = static_cast<s16>(distance);
    return {};
  }

  const ParseOptions& options_;
  Assembly assembly_;
  std::unordered_map<std::string, u32> labels_;
  std::vector<Pending> pending_;
};

}  // namespace

Result<Assembly> parse(std::string_view text, const ParseOptions& options) { return Program(options).read(text); }

Result<std::vector<Insn>> assemble(std::string_view text) {
  auto assembly = SKEP_TRY(parse(text));
  if (!assembly.maps.empty()) {
    const auto& first = assembly.maps.front();
    return wrong(fmt::format("line {}: map[{}] is a name; here only map[id:N] and map[idx:N] can be resolved",
                             assembly.lines[first.insn], first.name));
  }
  return std::move(assembly.insns);
}

}  // namespace skep::isa
