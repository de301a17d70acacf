// Drawing. See flame_graph.hpp.
#include "symbols/flame_graph.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <vector>

#include "base/printable.hpp"
#include "symbols/demangle.hpp"

namespace skep::symbols {

namespace {

constexpr unsigned row_height = 17, margin = 10, header = 44, footer = 30;
constexpr double character_width = 6.6;  // of the font at 11 px
constexpr std::size_t deepest = 1024;    // boxes; a stack of BPF has at most 127 addresses

/// One box: a function in one chain of callers.
struct Node {
  std::string_view name;
  u64 total = 0;
  std::map<std::string_view, u32> children;  ///< by name, indices of Graph::nodes
};

struct Graph {
  std::vector<Node> nodes = {Node{"all", 0, {}}};

  void add(std::string_view line, u64 count) {
    u32 at = 0;
    grow(at, count);
    for (std::size_t depth = 0; depth < deepest; ++depth) {
      const auto end = line.find(';');
      const std::string_view name = line.substr(0, end);
      const auto [child, is_new] = nodes[at].children.try_emplace(name, static_cast<u32>(nodes.size()));
      const u32 next = child->second;
      if (is_new) nodes.push_back(Node{name, 0, {}});
      at = next;
      grow(at, count);
      if (end == line.npos) return;
      line.remove_prefix(end + 1);
    }
  }
  void grow(u32 at, u64 count) {
    u64& total = nodes[at].total;
    total = count > ~u64{0} - total ? ~u64{0} : total + count;
  }
};

/// For text and attribute values: markup escaped, bytes that XML or UTF-8 cannot hold written as \xNN.
std::string escaped(std::string_view name) {
  std::string text;
  const std::string safe = base::printable(name);
  for (std::size_t i = 0; i < safe.size(); ++i) {
    const char c = safe[i];
    if (safe.compare(i, 2, "\xef\xbf") == 0 && (static_cast<u8>(safe[i + 2]) | 1) == 0xbf) {  // U+FFFE, U+FFFF
      text += '?';
      i += 2;
      continue;
    }
    switch (c) {
      case '&':
        text += "&amp;";
        break;
      case '<':
        text += "&lt;";
        break;
      case '>':
        text += "&gt;";
        break;
      case '"':
        text += "&quot;";
        break;
      case '\'':
        text += "&#39;";
        break;
      default:
        text += c;
    }
  }
  return text;
}

/// Warm colours for user code, greenish ones for what is inlined (names that end in _[i]), bluish ones for the kernel's
/// (_[k]); FNV-1a of the name chooses.
std::string colour(std::string_view name) {
  u64 hash = 0xcbf29ce484222325;
  for (const char c : name) hash = (hash ^ static_cast<u8>(c)) * 0x100000001b3;
  const auto part = [&](unsigned shift, unsigned range) {
    return static_cast<unsigned>(hash >> shift & 0xffff) % range;
  };
  if (name.ends_with("_[k]"))
    return fmt::format("rgb({},{},{})", 90 + part(16, 60), 150 + part(32, 60), 205 + part(0, 40));
  if (name.ends_with("_[i]"))
    return fmt::format("rgb({},{},{})", 130 + part(16, 60), 195 + part(0, 40), 110 + part(32, 60));
  return fmt::format("rgb({},{},{})", 205 + part(0, 50), 90 + part(16, 130), part(32, 60));
}

/// As much of a name as fits into a box.
std::string fitting(std::string_view name, double width) {
  const auto room = static_cast<std::size_t>(std::max(0.0, (width - 6) / character_width));
  const std::string text = base::printable(name);
  if (text.size() <= room) return escaped(text);
  if (room < 4) return {};
  std::size_t end = room - 2;
  while (end > 0 && (static_cast<u8>(text[end]) & 0xc0) == 0x80) --end;  // not through the middle of a character
  return escaped(text.substr(0, end)) + "..";
}

/// Boxes keep their place in data attributes, in shares of the whole: the script scales those.
constexpr std::string_view script = R"js(
function zoom(box) {
  var root = document.documentElement, boxes = root.querySelectorAll('g.f');
  var wide = +root.getAttribute('data-w'), x0 = +box.getAttribute('data-x'), w0 = +box.getAttribute('data-s');
  var d0 = +box.getAttribute('data-d');
  boxes.forEach(function (g) {
    var x = +g.getAttribute('data-x'), s = +g.getAttribute('data-s'), d = +g.getAttribute('data-d');
    var around = d < d0 && x <= x0 + 1e-9 && x + s >= x0 + w0 - 1e-9;
    var inside = d >= d0 && x >= x0 - 1e-9 && x + s <= x0 + w0 + 1e-9;
    g.style.display = around || inside ? '' : 'none';
    if (!around && !inside) return;
    var left = around ? 0 : (x - x0) / w0 * wide, width = around ? wide : s / w0 * wide;
    var rect = g.querySelector('rect'), text = g.querySelector('text');
    rect.setAttribute('x', left + 10);
    rect.setAttribute('width', Math.max(width, 0.1));
    rect.style.opacity = around ? 0.5 : 1;
    var room = Math.floor((width - 6) / 6.6), name = g.getAttribute('data-n');
    text.setAttribute('x', left + 13);
    text.textContent = name.length <= room ? name : room < 4 ? '' : name.slice(0, room - 2) + '..';
  });
}
document.documentElement.addEventListener('click', function (event) {
  var box = event.target.closest('g.f');
  if (box) zoom(box);
});
)js";

class Drawing {
 public:
  Drawing(const Graph& graph, const FlameGraphOptions& options)
      : graph_(graph), options_(options), wide_(std::max(options.width, 4 * margin) - 2 * margin) {}

  std::string draw() {
    const std::size_t rows = measure();
    const unsigned height = header + static_cast<unsigned>(rows) * row_height + footer;
    bottom_ = static_cast<double>(header + rows * row_height);
    text_ = fmt::format(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" "
        "height=\"{1}\" viewBox=\"0 0 {0} {1}\" data-w=\"{2}\" font-family=\"monospace\" font-size=\"11\">\n"
        "<rect width=\"100%\" height=\"100%\" fill=\"#fdfdf5\"/>\n"
        "<text x=\"{3}\" y=\"26\" text-anchor=\"middle\" font-size=\"16\">{4}</text>\n",
        wide_ + 2 * margin, height, wide_, wide_ / 2 + margin, escaped(options_.title));
    if (graph_.nodes[0].total == 0) {
      text_ += fmt::format("<text x=\"{}\" y=\"60\">no stacks were recorded</text>\n</svg>\n", margin);
      return std::move(text_);
    }
    boxes();
    text_ += fmt::format("<script><![CDATA[{}]]></script>\n</svg>\n", script);
    return std::move(text_);
  }

 private:
  struct Place {
    u32 node;
    std::size_t depth;
    double begin;  ///< in shares of the whole
  };

  double share(u32 node) const {
    return static_cast<double>(graph_.nodes[node].total) / static_cast<double>(graph_.nodes[0].total);
  }
  bool is_drawn(u32 node) const { return share(node) * wide_ >= options_.narrowest; }

  /// Calls `visit` for every box that is wide enough, callers first, from left to right by name.
  template <class Visit>
  void walk(Visit&& visit) const {
    if (graph_.nodes[0].total == 0) return;
    std::vector<Place> open = {{0, 0, 0.0}};
    while (!open.empty()) {
      const Place place = open.back();
      open.pop_back();
      visit(place);
      double begin = place.begin;
      const std::size_t first = open.size();
      for (const auto& [name, child] : graph_.nodes[place.node].children) {
        if (is_drawn(child)) open.push_back({child, place.depth + 1, begin});
        begin += share(child);
      }
      std::reverse(open.begin() + static_cast<std::ptrdiff_t>(first), open.end());
    }
  }

  std::size_t measure() const {
    std::size_t rows = 1;
    walk([&](const Place& place) { rows = std::max(rows, place.depth + 1); });
    return rows;
  }

  void boxes() {
    walk([&](const Place& place) {
      const Node& node = graph_.nodes[place.node];
      const double width = share(place.node) * wide_, left = place.begin * wide_ + margin;
      const double top = bottom_ - static_cast<double>((place.depth + 1) * row_height);
      text_ += fmt::format(
          "<g class=\"f\" data-x=\"{:.9f}\" data-s=\"{:.9f}\" data-d=\"{}\" data-n=\"{}\"><title>{}: {} {} "
          "({:.2f}%)</title><rect x=\"{:.2f}\" y=\"{:.0f}\" width=\"{:.2f}\" height=\"{}\" fill=\"{}\" rx=\"1\"/>"
          "<text x=\"{:.2f}\" y=\"{:.0f}\" pointer-events=\"none\">{}</text></g>\n",
          place.begin, share(place.node), place.depth, escaped(node.name), escaped(node.name), node.total,
          escaped(options_.unit), share(place.node) * 100, left, top, width, row_height - 1, colour(node.name),
          left + 3, top + 12, fitting(node.name, width));
    });
  }

  const Graph& graph_;
  const FlameGraphOptions& options_;
  unsigned wide_;
  double bottom_ = 0;
  std::string text_;
};

}  // namespace

std::string flame_graph(const FoldedStacks& stacks, const FlameGraphOptions& options) {
  Graph graph;
  for (const auto& [line, count] : stacks.lines()) graph.add(line, count);
  return Drawing(graph, options).draw();
}

}  // namespace skep::symbols
