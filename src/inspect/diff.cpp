// Myers' greedy algorithm: the furthest point of every diagonal after d edits, kept for each d to walk back.
// Source: E. Myers, An O(ND) Difference Algorithm and Its Variations, 1986.
#include "inspect/diff.hpp"

#include <algorithm>

namespace skep::inspect {
namespace {

using Index = long;

/// Edits of the middle parts, [begin, end) of each list, or nothing where they differ in more than `most` places.
std::vector<Edit> shortest(const std::vector<std::string>& a, const std::vector<std::string>& b, Index begin,
                           Index a_end, Index b_end, Index most) {
  const Index n = a_end - begin, m = b_end - begin, limit = std::min(n + m, most);
  std::vector<std::vector<Index>> trace;
  std::vector<Index> furthest(static_cast<std::size_t>(2 * limit + 3), 0);
  const auto at = [&](std::vector<Index>& v, Index k) -> Index& { return v[static_cast<std::size_t>(k + limit + 1)]; };
  for (Index d = 0; d <= limit; ++d) {
    trace.push_back(furthest);
    for (Index k = -d; k <= d; k += 2) {
      const bool down = k == -d || (k != d && at(furthest, k - 1) < at(furthest, k + 1));
      Index x = down ? at(furthest, k + 1) : at(furthest, k - 1) + 1;
      while (x < n && x - k < m && a[static_cast<std::size_t>(begin + x)] == b[static_cast<std::size_t>(begin + x - k)])
        ++x;
      at(furthest, k) = x;
      if (x < n || x - k < m) continue;
      // Found: back through the traces, newest first.
      std::vector<Edit> edits;
      Index px = n, py = m;
      const auto push = [&](Edit::Kind kind) {
        edits.push_back({kind, static_cast<std::size_t>(begin + px), static_cast<std::size_t>(begin + py)});
      };
      for (Index step = d; step >= 0; --step) {
        auto& v = trace[static_cast<std::size_t>(step)];
        const Index diagonal = px - py;
        const bool came_down = diagonal == -step || (diagonal != step && at(v, diagonal - 1) < at(v, diagonal + 1));
        const Index before_k = came_down ? diagonal + 1 : diagonal - 1;
        const Index before_x = step == 0 ? 0 : at(v, before_k), before_y = step == 0 ? 0 : before_x - before_k;
        while (px > before_x && py > before_y) --px, --py, push(Edit::Kind::same);
        if (step == 0) break;
        if (came_down)
          --py, push(Edit::Kind::added);
        else
          --px, push(Edit::Kind::removed);
      }
      std::reverse(edits.begin(), edits.end());
      return edits;
    }
  }
  return {};
}

}  // namespace

std::vector<Edit> edits_between(const std::vector<std::string>& before, const std::vector<std::string>& after) {
  constexpr Index most_differences = 4000;  // 4000 traces of 8000 numbers: 256 MB at worst
  const auto a_size = static_cast<Index>(before.size()), b_size = static_cast<Index>(after.size());
  Index head = 0, tail = 0;
  const auto a = [&](Index i) -> const std::string& { return before[static_cast<std::size_t>(i)]; };
  const auto b = [&](Index i) -> const std::string& { return after[static_cast<std::size_t>(i)]; };
  while (head < a_size && head < b_size && a(head) == b(head)) ++head;
  while (tail < a_size - head && tail < b_size - head && a(a_size - 1 - tail) == b(b_size - 1 - tail)) ++tail;
  std::vector<Edit> edits;
  for (Index i = 0; i < head; ++i)
    edits.push_back({Edit::Kind::same, static_cast<std::size_t>(i), static_cast<std::size_t>(i)});
  const bool any = head < a_size - tail || head < b_size - tail;
  if (any) {
    auto middle = shortest(before, after, head, a_size - tail, b_size - tail, most_differences);
    if (middle.empty()) {
      for (Index i = head; i < a_size - tail; ++i)
        middle.push_back({Edit::Kind::removed, static_cast<std::size_t>(i), 0});
      for (Index i = head; i < b_size - tail; ++i)
        middle.push_back({Edit::Kind::added, 0, static_cast<std::size_t>(i)});
    }
    edits.insert(edits.end(), middle.begin(), middle.end());
  }
  for (Index i = tail; i > 0; --i)
    edits.push_back({Edit::Kind::same, static_cast<std::size_t>(a_size - i), static_cast<std::size_t>(b_size - i)});
  return edits;
}

}  // namespace skep::inspect
