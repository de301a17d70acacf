// What a benchmark measured, by name: what `--json` prints and bench/check.py compares with docs/PROMISES.md.
//
// A figure is a ratio to a neighbour in the same run wherever there is one. What this machine cannot measure is left
// out with the reason; a figure that is neither there nor left out counts as a broken promise.
#pragma once
#include <fmt/format.h>

#include <map>
#include <string>

#include "base/json_writer.hpp"

namespace skep::bench {

class Figures {
 public:
  void add(const std::string& name, double value) { figures_[name] = value; }
  void leave_out(const std::string& name, const std::string& why) { left_out_[name] = why; }
  bool empty() const { return figures_.empty() && left_out_.empty(); }

  /// Writes the members "figures" and "left_out" of an object that is open.
  void write(base::JsonWriter& out) const {
    out.key("figures");
    out.begin_object();
    for (const auto& [name, value] : figures_) out.key(name), out.raw(fmt::format("{:.5g}", value));
    out.end_object();
    out.key("left_out");
    out.begin_object();
    for (const auto& [name, why] : left_out_) out.member(name, why);
    out.end_object();
  }
  std::string json() const {
    base::JsonWriter out(true);
    out.begin_object();
    write(out);
    out.end_object();
    return out.text() + "\n";
  }

 private:
  std::map<std::string, double> figures_;
  std::map<std::string, std::string> left_out_;
};

}  // namespace skep::bench
