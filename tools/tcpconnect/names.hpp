// Which name a process asked for, before it connected to an address: what answers of name servers said.
//
// Answers are other people's bytes: each length and pointer is checked, and one that is wrong is left out whole.
// Source: RFC 1035 section 4; RFC 3596 section 2.2.
#pragma once
#include <array>
#include <deque>
#include <optional>
#include <skep/types.hpp>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace skep::tools {

struct NamesAnswer {
  std::string question;                ///< without the last dot
  std::vector<std::string> addresses;  ///< as text
};
/// Nothing where the message is no answer to one question, or is malformed.
std::optional<NamesAnswer> read_names_answer(std::span<const std::byte> message);

/// The latest name of each address.
class Names {
 public:
  void learn(std::span<const std::byte> message, u64 time_ns);
  /// For the column QUERY, of a connection that is tried at that time: the name, and how old the answer is where that
  /// is so long that the two may have nothing to do with each other.
  std::string query(const std::string& address, u64 time_ns) const;

 private:
  static constexpr std::size_t most_addresses = 10'240;
  struct Known {
    std::string name;
    u64 time_ns;
  };
  std::unordered_map<std::string, Known> known_;
  std::deque<std::string> order_;  ///< addresses, the one known longest in front
};

}  // namespace skep::tools
