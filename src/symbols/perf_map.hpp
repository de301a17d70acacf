// Names of code that a runtime made while it ran: /tmp/perf-PID.map, as node, java, .NET and others write it.
//
// A line is "START SIZE NAME", numbers in hex. The file only grows; a later line describes code that replaced earlier
// code at the same place.
// Source: tools/perf/Documentation/jit-interface.txt.
#pragma once
#include <optional>
#include <skep/types.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace skep::symbols {

class PerfMap {
 public:
  struct Found {
    std::string_view name;  ///< as long as the map
    u64 offset = 0;
  };

  PerfMap() = default;
  /// Lines that are none are left out; at most four million are kept.
  explicit PerfMap(std::string_view text);

  std::optional<Found> find(u64 address) const;
  std::size_t size() const noexcept { return entries_.size(); }

 private:
  struct Entry {
    u64 address;
    u32 size, name, name_size;
    u32 line;
  };
  std::vector<Entry> entries_;
  std::string names_;
};

}  // namespace skep::symbols
