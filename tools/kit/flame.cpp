// See flame.hpp. Boxes are laid out from the left, callees by name, each starting where its caller starts.
#include "kit/flame.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/mapped_file.hpp"
#include "kit/columns.hpp"

namespace skep::tools {
namespace {

// Pixels.
constexpr double width = 1200, margin = 10, top = 40, row = 16, character = 6.6, narrowest = 0.2;

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : printable(text)) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else
      out.push_back(c);
  }
  return out;
}

/// A warm colour that a name always has.
std::string colour_of(std::string_view name) {
  const std::size_t hash = std::hash<std::string_view>()(name);
  return fmt::format("rgb({},{},{})", 205 + hash % 50, 60 + hash / 50 % 150, hash / 7500 % 55);
}

}  // namespace

struct FlameGraph::Picture {
  std::string svg;
  std::string_view unit;
  double bottom = 0, scale = 0;  ///< of the outermost frame's box; pixels for a count
  u64 total = 0;
};

void FlameGraph::add(const std::vector<std::string>& frames, u64 count) {
  Node* node = &root_;
  node->count += count;
  for (const std::string& frame : frames) {
    node = &node->callees[frame];
    node->count += count;
  }
}

std::size_t FlameGraph::depth_of(const Node& node) {
  std::size_t deepest = 0;
  for (const auto& [name, callee] : node.callees) deepest = std::max(deepest, depth_of(callee));
  return deepest + 1;
}

void FlameGraph::draw(Picture& picture, const Node& node, std::string_view name, double left, std::size_t depth) {
  const double wide = static_cast<double>(node.count) * picture.scale;
  if (wide < narrowest) return;
  const double y = picture.bottom - static_cast<double>(depth) * row;
  const double share = 100.0 * static_cast<double>(node.count) / static_cast<double>(picture.total);
  picture.svg += fmt::format(
      "<g><title>{} ({} {}, {:.2f}%)</title><rect x=\"{:.1f}\" y=\"{:.0f}\" width=\"{:.1f}\" height=\"{:.0f}\" "
      "fill=\"{}\" rx=\"1\"/>",
      escaped(name), node.count, picture.unit, share, left, y, wide, row - 1, colour_of(name));
  const auto room = static_cast<std::size_t>(std::max(0.0, (wide - 6) / character));
  if (room >= 3) {
    const std::string text = name.size() <= room ? std::string(name) : std::string(name.substr(0, room - 2)) + "..";
    picture.svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.0f}\">{}</text>", left + 3, y + row - 5, escaped(text));
  }
  picture.svg += "</g>\n";
  for (const auto& [callee, inner] : node.callees) {
    draw(picture, inner, callee, left, depth + 1);
    left += static_cast<double>(inner.count) * picture.scale;
  }
}

Result<void> FlameGraph::write(const std::string& path, std::string_view title, std::string_view unit) const {
  Picture picture;
  picture.unit = unit, picture.total = std::max<u64>(root_.count, 1);
  picture.scale = (width - 2 * margin) / static_cast<double>(picture.total);
  const double height = top + static_cast<double>(depth_of(root_)) * row + margin;
  picture.bottom = height - margin - row;
  picture.svg = fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
      "font-family=\"monospace\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#f8f8f0\"/>\n"
      "<text x=\"{2:.0f}\" y=\"24\" text-anchor=\"middle\" font-size=\"16\">{3}</text>\n",
      width, height, width / 2, escaped(title));
  draw(picture, root_, "all", margin, 0);
  picture.svg += "</svg>\n";
  return base::write_file_atomic(path, std::as_bytes(std::span(picture.svg)));
}

}  // namespace skep::tools
