// Puts the blocks of a function in a line.
//
// Critical edges (from a block with several successors to one with several predecessors) get a block of their own, so
// that every edge has a place where moves can stand; those that stay empty vanish when code is emitted. Loops are
// contiguous in the line, because values that live through a loop are then busy over one range; within a loop the
// likeliest successor comes next. Frequencies are guesses: a loop runs ten times, an edge out of a loop is taken
// once in ten, a branch marked likely nineteen times in twenty.
#include <algorithm>

#include "vm/jit/backend/passes.hpp"

namespace skep::vm::backend {
namespace {

class Order {
 public:
  Order(const ir::Function& f, Code& code) : f_(f), code_(code) {}

  void run() {
    make_nodes();
    walk();
    find_loops();
    estimate();
    place();
    write();
  }

 private:
  struct Node {
    ir::BlockId source = ir::no_block;
    u32 predecessors = 0, predecessor_count = 0;
    u32 successors = 0, successor_count = 0;
    u32 loop = none;
    u32 rank = none;  // in reverse postorder
    u32 waiting = 0;  // forward edges from blocks that have no place yet
    u32 placed = none;
    float frequency = 0;
    bool header = false;
  };

  std::span<u32> successors(const Node& n) { return {edges_.data() + n.successors, n.successor_count}; }
  std::span<u32> predecessors(const Node& n) { return {edges_.data() + n.predecessors, n.predecessor_count}; }

  void make_nodes() {
    node_of_.assign(f_.blocks.size(), none);
    std::vector<ir::BlockId> stack{0};
    node_of_[0] = 0;
    nodes_.push_back({0});
    while (!stack.empty()) {
      const ir::BlockId b = stack.back();
      stack.pop_back();
      for (const ir::BlockId s : f_.blocks[b].successors)
        if (node_of_[s] == none) {
          node_of_[s] = static_cast<u32>(nodes_.size());
          nodes_.push_back({s});
          stack.push_back(s);
        }
    }
    for (Node& n : nodes_) {
      const ir::Block& block = f_.blocks[n.source];
      n.successors = static_cast<u32>(edges_.size());
      n.successor_count = static_cast<u32>(block.successors.size());
      n.predecessors = n.successors + n.successor_count;
      n.predecessor_count = static_cast<u32>(block.predecessors.size());
      edges_.resize(n.predecessors + n.predecessor_count, none);
    }
    const u32 count = static_cast<u32>(nodes_.size());
    for (u32 b = 0; b < count; b++)
      for (u32 i = 0; i < nodes_[b].successor_count; i++) connect(b, i);
  }

  /// Edge i of node b; several edges between the same two blocks keep their order at both ends.
  void connect(u32 b, u32 i) {
    const auto& out = f_.blocks[nodes_[b].source].successors;
    const u32 to = node_of_[out[i]];
    auto occurrence = std::count(out.begin(), out.begin() + i, out[i]);
    const auto& in = f_.blocks[out[i]].predecessors;
    u32 k = 0;
    while (in[k] != nodes_[b].source || occurrence-- != 0) k++;
    u32 from = b, into = to;
    if (out.size() > 1 && in.size() > 1) {
      from = into = static_cast<u32>(nodes_.size());
      Node edge;
      edge.predecessors = static_cast<u32>(edges_.size());
      edge.successors = edge.predecessors + 1;
      edge.predecessor_count = edge.successor_count = 1;
      edges_.push_back(b);
      edges_.push_back(to);
      nodes_.push_back(edge);
    }
    edges_[nodes_[b].successors + i] = into;
    edges_[nodes_[to].predecessors + k] = from;
  }

  /// Depth first: ranks, and the edges that go back.
  void walk() {
    struct Step {
      u32 node, next;
    };
    std::vector<Step> stack{{0, 0}};
    std::vector<u8> state(nodes_.size(), 0);  // 1: on the stack, 2: left
    state[0] = 1;
    while (!stack.empty()) {
      Step& top = stack.back();
      const Node& n = nodes_[top.node];
      if (top.next == n.successor_count) {
        state[top.node] = 2;
        postorder_.push_back(top.node);
        stack.pop_back();
        continue;
      }
      const u32 s = edges_[n.successors + top.next++];
      if (state[s] == 0) {
        state[s] = 1;
        stack.push_back({s, 0});
      } else if (state[s] == 1) {
        nodes_[s].header = true;
      }
    }
    const u32 count = static_cast<u32>(postorder_.size());
    for (u32 i = 0; i < count; i++) nodes_[postorder_[i]].rank = count - 1 - i;
  }

  bool goes_back(u32 from, u32 to) const { return nodes_[from].rank >= nodes_[to].rank; }

  /// Inner loops first: their headers come first in postorder. A circle that can be entered elsewhere than at its
  /// header is no loop: nothing could be placed before it once for all ways in.
  void find_loops() {
    for (const u32 h : postorder_)
      if (nodes_[h].header && nodes_[h].loop == none) gather_loop(h);
  }

  void gather_loop(u32 h) {
    const u32 loop = static_cast<u32>(loops_.size());
    loops_.push_back({none, h});
    std::vector<u32> work, members{h}, inner;
    nodes_[h].loop = loop;
    for (const u32 p : predecessors(nodes_[h]))
      if (p != none && goes_back(p, h)) work.push_back(p);
    while (!work.empty()) {
      u32 n = work.back();
      work.pop_back();
      if (nodes_[n].rank < nodes_[h].rank) return forget_loop(members, inner);
      if (nodes_[n].loop == none) {
        nodes_[n].loop = loop;
        members.push_back(n);
      } else {
        u32 outer = nodes_[n].loop;
        while (loops_[outer].parent != none) outer = loops_[outer].parent;
        if (outer == loop) continue;
        loops_[outer].parent = loop;
        inner.push_back(outer);
        n = loops_[outer].header;
      }
      for (const u32 p : predecessors(nodes_[n]))
        if (p != none) work.push_back(p);
    }
  }

  void forget_loop(const std::vector<u32>& members, const std::vector<u32>& inner) {
    for (const u32 n : members) nodes_[n].loop = none;
    for (const u32 l : inner) loops_[l].parent = none;
    loops_.pop_back();
  }

  bool inside(u32 node, u32 loop) const {
    u32 l = nodes_[node].loop;
    while (l != none && l != loop) l = loops_[l].parent;
    return l == loop;
  }

  float share(const Node& n, u32 i) {
    if (n.successor_count < 2) return 1;
    if (n.source == ir::no_block || n.successor_count > 2) return 1.0f / static_cast<float>(n.successor_count);
    const ir::Inst& leave = f_.insns[f_.blocks[n.source].insns.back()];
    const auto pick = [&](float first) { return i == 0 ? first : 1 - first; };
    if (leave.has(ir::Inst::likely)) return pick(0.95f);
    if (leave.has(ir::Inst::unlikely)) return pick(0.05f);
    if (n.loop != none) {
      const bool stays0 = inside(successors(n)[0], n.loop), stays1 = inside(successors(n)[1], n.loop);
      if (stays0 != stays1) return pick(stays0 ? 0.9f : 0.1f);
    }
    const bool cold0 = is_cold(successors(n)[0]), cold1 = is_cold(successors(n)[1]);
    if (cold0 != cold1) return pick(cold0 ? 0.02f : 0.98f);
    return 0.5f;
  }
  bool is_cold(u32 node) const {
    const ir::BlockId b = nodes_[node].source;
    return b != ir::no_block && f_.insns[f_.blocks[b].insns.back()].op == ir::Op::trap;
  }

  void estimate() {
    nodes_[0].frequency = 1;
    for (auto it = postorder_.rbegin(); it != postorder_.rend(); ++it) {
      Node& n = nodes_[*it];
      if (n.header) n.frequency *= 10;
      n.frequency = std::clamp(n.frequency, 1e-3f, 1e6f);
      for (u32 i = 0; i < n.successor_count; i++) {
        const u32 s = successors(n)[i];
        if (!goes_back(*it, s)) nodes_[s].frequency += n.frequency * share(n, i);
      }
    }
  }

  /// A block is ready when all that come before it, but for loops closing, have their place. Among the ready ones the
  /// loop of the last placed block goes on first, and there the one that became ready last.
  void place() {
    for (u32 b = 0; b < nodes_.size(); b++)
      for (const u32 s : successors(nodes_[b]))
        if (!goes_back(b, s)) nodes_[s].waiting++;
    std::vector<u32> ready{0}, outgoing;
    const auto frequency = [&](u32 b) { return nodes_[b].frequency; };
    u32 loop = none;
    while (!ready.empty()) {
      std::size_t best = ready.size() - 1;
      for (u32 around = loop; around != none; around = loops_[around].parent) {
        std::size_t i = ready.size();
        while (i > 0 && !inside(ready[i - 1], around)) i--;
        if (i == 0) continue;
        best = i - 1;
        break;
      }
      const u32 b = ready[best];
      ready.erase(ready.begin() + static_cast<std::ptrdiff_t>(best));
      nodes_[b].placed = static_cast<u32>(line_.size());
      line_.push_back(b);
      loop = nodes_[b].loop;
      outgoing.clear();
      for (const u32 s : successors(nodes_[b]))
        if (!goes_back(b, s) && --nodes_[s].waiting == 0)
          outgoing.insert(std::ranges::upper_bound(outgoing, nodes_[s].frequency, {}, frequency), s);
      ready.insert(ready.end(), outgoing.begin(), outgoing.end());
    }
  }

  void write() {
    code_.place.assign(f_.blocks.size(), none);
    code_.loops.assign(loops_.begin(), loops_.end());
    for (Loop& l : code_.loops) l.first = none;
    code_.blocks.reserve(line_.size());
    for (const u32 b : line_) {
      const Node& n = nodes_[b];
      const u32 at = static_cast<u32>(code_.blocks.size());
      if (n.source != ir::no_block) code_.place[n.source] = at;
      Block out;
      out.source = n.source;
      out.predecessors = n.predecessors;
      out.predecessor_count = n.predecessor_count;
      out.successors = n.successors;
      out.successor_count = n.successor_count;
      out.loop = n.loop;
      out.header = n.header;
      out.frequency = n.frequency;
      for (u32 l = n.loop; l != none; l = loops_[l].parent) {
        out.depth++;
        code_.loops[l].first = std::min(code_.loops[l].first, at);
        code_.loops[l].last = at + 1;
      }
      code_.blocks.push_back(out);
    }
    for (u32& e : edges_)
      if (e != none) e = nodes_[e].placed;
    for (Loop& l : code_.loops) {
      l.header = nodes_[l.header].placed;
      code_.blocks[l.header].end_of_loop = l.last;
    }
    code_.edges = std::move(edges_);
  }

  const ir::Function& f_;
  Code& code_;
  std::vector<Node> nodes_;
  std::vector<u32> node_of_;
  std::vector<u32> edges_;
  std::vector<u32> postorder_;
  std::vector<Loop> loops_;
  std::vector<u32> line_;
};

}  // namespace

void order_blocks(const ir::Function& f, Code& code) { Order(f, code).run(); }

}  // namespace skep::vm::backend
