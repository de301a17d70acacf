// See graph.hpp. The layout is by layers: a block stands below every block that leads to it, loops apart; within a
// layer blocks keep their order. That is less than Graphviz does, and enough to read a program of a few hundred blocks.
#include "inspect/graph.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "inspect/dump.hpp"
#include "isa/isa.hpp"

namespace skep::inspect {
namespace {

/// Where the jump at `index` goes, or nothing. A may_goto counts as one.
std::optional<std::size_t> jump_target(const ProgramCode& code, std::size_t index, isa::Form form) {
  const s64 target = static_cast<s64>(index) + 1 + isa::jump_distance(form, code.insns[index]);
  if (target < 0 || target >= static_cast<s64>(code.insns.size())) return std::nullopt;
  return static_cast<std::size_t>(target);
}

std::string escaped(std::string_view text, bool html) {
  std::string out;
  for (const char c : text) {
    if (html && c == '&')
      out += "&amp;";
    else if (html && c == '<')
      out += "&lt;";
    else if (html && c == '>')
      out += "&gt;";
    else if (!html && (c == '"' || c == '\\' || c == '{' || c == '}' || c == '|' || c == '<' || c == '>'))
      (out += '\\') += c;
    else
      out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out;
}

std::string function_name(const ProgramCode& code, u32 function) {
  return function < code.functions.size() && !code.functions[function].name.empty()
             ? code.functions[function].name
             : fmt::format("function {}", function);
}

/// "  3: (b7) r0 = 1" for every instruction of a block, C lines in front as "; ...".
std::vector<std::string> lines_of(const ProgramCode& code, const std::vector<std::string>& texts, const Block& block) {
  std::vector<std::string> lines;
  auto line = std::lower_bound(code.lines.begin(), code.lines.end(), block.begin,
                               [](const SourceLine& l, u32 insn) { return l.insn < insn; });
  for (u32 i = block.begin; i < block.end; ++i) {
    for (; line != code.lines.end() && line->insn <= i; ++line) {
      const auto begin = line->text.find_first_not_of(" \t");
      if (begin != std::string::npos) lines.push_back("; " + line->text.substr(begin));
    }
    if (!texts[i].empty()) lines.push_back(fmt::format("{: 4}: {}", static_cast<s64>(i), texts[i]));
  }
  return lines;
}

/// What SVG draws of one block.
struct Box {
  std::vector<std::string> lines;
  u32 layer = 0;
  double x = 0, y = 0, width = 0, height = 0;
};

constexpr double character_width = 6.7, line_height = 14, padding = 6, gap_x = 28, gap_y = 44, margin = 20;

/// Layers by the longest way from the function's first block; edges that go back are left out of it.
void assign_layers(const std::vector<Block>& blocks, std::vector<Box>& boxes) {
  // Blocks are in order of instructions: a forward edge always goes to a later block.
  for (std::size_t i = 0; i < blocks.size(); ++i)
    for (const s32 to : {blocks[i].next, blocks[i].taken})
      if (to > static_cast<s32>(i)) {
        auto& layer = boxes[static_cast<std::size_t>(to)].layer;
        layer = std::max(layer, boxes[i].layer + 1);
      }
}

/// Places the boxes of one function below `top`; returns the lowest y and widens `width`.
double place_function(const std::vector<std::size_t>& members, std::vector<Box>& boxes, double top, double& width) {
  std::map<u32, std::vector<std::size_t>> layers;
  for (const std::size_t i : members) layers[boxes[i].layer].push_back(i);
  double widest = 0;
  for (const auto& [layer, row] : layers) {
    double row_width = -gap_x;
    for (const std::size_t i : row) row_width += boxes[i].width + gap_x;
    widest = std::max(widest, row_width);
  }
  double y = top;
  for (const auto& [layer, row] : layers) {
    double row_width = -gap_x, tallest = 0;
    for (const std::size_t i : row) row_width += boxes[i].width + gap_x, tallest = std::max(tallest, boxes[i].height);
    double x = margin + (widest - row_width) / 2;
    for (const std::size_t i : row) {
      boxes[i].x = x;
      boxes[i].y = y;
      x += boxes[i].width + gap_x;
    }
    y += tallest + gap_y;
  }
  width = std::max(width, widest);
  return y;
}

void draw_edge(std::string& svg, const Box& from, const Box& to, std::string_view colour, double start) {
  const double x1 = from.x + from.width * start, y1 = from.y + from.height, x2 = to.x + to.width / 2, y2 = to.y;
  std::string path;
  if (y2 > y1) {
    const double bend = (y2 - y1) / 2;
    path = fmt::format("M{:.1f},{:.1f} C{:.1f},{:.1f} {:.1f},{:.1f} {:.1f},{:.1f}", x1, y1, x1, y1 + bend, x2,
                       y2 - bend, x2, y2 - 2);
  } else {
    // Back: out on the right of both boxes and in at the target's side.
    const double side = std::max(from.x + from.width, to.x + to.width) + gap_x, target = to.x + to.width;
    path = fmt::format("M{:.1f},{:.1f} C{:.1f},{:.1f} {:.1f},{:.1f} {:.1f},{:.1f} S{:.1f},{:.1f} {:.1f},{:.1f}", x1, y1,
                       x1, y1 + gap_y / 2, side, y1 + gap_y / 2, side, (y1 + y2) / 2, side, y2 + line_height,
                       target + 2, y2 + line_height);
  }
  svg += fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"{}\" marker-end=\"url(#arrow)\"/>\n", path, colour);
}

void draw_box(std::string& svg, const Box& box) {
  svg += fmt::format(
      "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" rx=\"3\" fill=\"#f8f8f4\" "
      "stroke=\"#555\"/>\n",
      box.x, box.y, box.width, box.height);
  double y = box.y + padding + line_height * 0.75;
  for (const std::string& line : box.lines) {
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\"{}>{}</text>\n", box.x + padding, y,
                       line.starts_with(';') ? " fill=\"#27632a\"" : "", escaped(line, true));
    y += line_height;
  }
}

}  // namespace

std::vector<Block> blocks_of(const ProgramCode& code) {
  const std::size_t count = code.insns.size();
  std::set<std::size_t> starts{0};
  std::map<std::size_t, std::optional<std::size_t>> targets;  // by the jump's place
  std::set<std::size_t> last;                                 // after which nothing follows: exit, goto
  for (const FunctionInfo& function : code.functions)
    if (function.insn < count) starts.insert(function.insn);
  for (std::size_t i = 0; i < count; ++i) {
    const auto op = isa::decode(code.insns[i]);
    if (!op) continue;
    const isa::Form form = isa::row(*op).form;
    if (form == isa::Form::ld_imm64) ++i;
    if (!isa::is_jump(form) && form != isa::Form::exit) continue;
    if (isa::is_jump(form)) {
      targets[i] = jump_target(code, i, form);
      if (targets[i]) starts.insert(*targets[i]);
    }
    if (!isa::is_conditional(form)) last.insert(i);
    starts.insert(i + 1);
  }
  starts.erase(starts.lower_bound(count), starts.end());
  std::vector<Block> blocks;
  std::map<std::size_t, s32> block_at;
  u32 function = 0;
  for (const std::size_t begin : starts) {
    if (count == 0) break;
    while (function + 1 < code.functions.size() && code.functions[function + 1].insn <= begin) ++function;
    if (!blocks.empty()) blocks.back().end = static_cast<u32>(begin);
    block_at[begin] = static_cast<s32>(blocks.size());
    blocks.push_back({static_cast<u32>(begin), static_cast<u32>(count), function});
  }
  for (Block& block : blocks) {
    const std::size_t end = block.end - 1;
    if (const auto jump = targets.find(end); jump != targets.end() && jump->second)
      block.taken = block_at[*jump->second];
    if (!last.contains(end) && block.end < count) block.next = block_at[block.end];
  }
  return blocks;
}

std::string graph_as_dot(const ProgramCode& code, bool kernel) {
  const auto blocks = blocks_of(code);
  const auto texts = instruction_texts(code, kernel);
  std::string dot =
      "digraph \"DOT graph for eBPF program\" {\n  node [shape=record, style=filled, fillcolor=\"#f8f8f4\", "
      "fontname=monospace, fontsize=10];\n";
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const u32 function = blocks[i].function;
    if (i == 0 || blocks[i - 1].function != function)
      dot += fmt::format("  subgraph \"cluster_{}\" {{\n    label=\"{}\";\n", function,
                         escaped(function_name(code, function), false));
    std::string label;
    for (const std::string& line : lines_of(code, texts, blocks[i])) label += escaped(line, false) + "\\l";
    dot += fmt::format("    bb_{} [label=\"{{{}}}\"];\n", i, label);
    if (i + 1 == blocks.size() || blocks[i + 1].function != function) dot += "  }\n";
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i].next >= 0) dot += fmt::format("  bb_{} -> bb_{};\n", i, blocks[i].next);
    if (blocks[i].taken >= 0) dot += fmt::format("  bb_{} -> bb_{} [color=\"#2a6fb0\"];\n", i, blocks[i].taken);
  }
  return dot + "}\n";
}

std::string graph_as_svg(const ProgramCode& code, bool kernel) {
  const auto blocks = blocks_of(code);
  const auto texts = instruction_texts(code, kernel);
  std::vector<Box> boxes(blocks.size());
  std::map<u32, std::vector<std::size_t>> functions;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    Box& box = boxes[i];
    box.lines = lines_of(code, texts, blocks[i]);
    std::size_t longest = 1;
    for (const std::string& line : box.lines) longest = std::max(longest, line.size());
    box.width = static_cast<double>(longest) * character_width + 2 * padding;
    box.height = static_cast<double>(box.lines.size()) * line_height + 2 * padding;
    functions[blocks[i].function].push_back(i);
  }
  assign_layers(blocks, boxes);
  std::string body;
  double y = margin, width = 0;
  for (const auto& [function, members] : functions) {
    body += fmt::format("<text x=\"{}\" y=\"{:.1f}\" font-weight=\"bold\">{}</text>\n", margin, y + line_height,
                        escaped(function_name(code, function), true));
    y = place_function(members, boxes, y + 2 * line_height, width);
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const auto& [begin, end, function, next, taken] = blocks[i];
    if (next >= 0) draw_edge(body, boxes[i], boxes[static_cast<std::size_t>(next)], "#888", 0.4);
    if (taken >= 0) draw_edge(body, boxes[i], boxes[static_cast<std::size_t>(taken)], "#2a6fb0", 0.6);
  }
  for (const Box& box : boxes) draw_box(body, box);
  constexpr double room_for_loops = 80;
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
      "viewBox=\"0 0 {0:.0f} {1:.0f}\" font-family=\"monospace\" font-size=\"11\" "
      "xml:space=\"preserve\">\n"
      "<defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" "
      "markerHeight=\"7\" orient=\"auto\"><path d=\"M0,0 L8,4 L0,8 z\" fill=\"#666\"/></marker></defs>\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{2}</svg>\n",
      width + 2 * margin + room_for_loops, y + margin, body);
}

}  // namespace skep::inspect
