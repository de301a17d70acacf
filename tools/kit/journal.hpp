// The systemd journal, by its own protocol: a datagram of fields for each entry.
//
//   Journal journal = SKEP_TRY(Journal::open());
//   journal.send({{"MESSAGE", "hello"}, {"PRIORITY", "5"}});
//
// Source: systemd's description of the native journal protocol, systemd.journal-fields(7).
#pragma once
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <span>
#include <string>
#include <string_view>

#include "base/fd.hpp"

namespace skep::tools {

class Journal {
 public:
  struct Field {
    std::string name, value;
  };
  /// Errors: not_found where no journal listens, with what would.
  static Result<Journal> open();
  /// Errors: io, where the journal is gone, or does not take so much in one datagram.
  Result<void> send(std::span<const Field> fields);

 private:
  explicit Journal(base::Fd socket) : socket_(std::move(socket)) {}
  base::Fd socket_;
};

/// The bytes of an entry.
std::string journal_entry(std::span<const Journal::Field> fields);

}  // namespace skep::tools
