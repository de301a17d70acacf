// Looks for a change to the source that makes a refused program verify, and shows nothing else.
//
// From the diagnosis come candidates: a check inserted, a clamp, a release before a return. Each is applied to the
// text, compiled and verified by the caller's judge; the first that is accepted is the answer. A candidate that only
// moves the refusal to another place is kept and built upon, so that two mistakes take two changes. The user's file is
// never written.
#pragma once
#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "explain/source.hpp"
#include "verify/diagnosis.hpp"
#include "verify/verify.hpp"

namespace skep::explain {

struct Judgement {
  bool accepted = false;
  std::optional<verify::Refused> refused;
};
/// Compiles and verifies a text; nullopt where it does not compile, or cannot be decided.
using Judge = std::function<std::optional<Judgement>(const std::string& text)>;

struct FixOptions {
  std::chrono::milliseconds time_limit{10'000};
  u32 most_tries = 24;
  u32 most_rounds = 3;  ///< changes built upon each other
  ProgramType type = ProgramType::unspec;
  std::string section;
};

struct Fix {
  std::string diff;  ///< unified, with one line of context
  std::string what;  ///< "compare the pointer with NULL before it is used"
  std::string text;  ///< the changed source
};

/// `name` stands in the diff. None: no candidate was accepted in time.
std::optional<Fix> find_fix(std::string_view text, std::string_view name, const verify::Refused& refused,
                            const FixOptions& options, const Judge& judge);

/// One way to change the source.
struct Candidate {
  Source source;
  verify::Remedy remedy{};
};
/// What could help against this refusal, the likeliest first (fix_rules.cpp).
std::vector<Candidate> candidates(const Source& source, const verify::Refused& refused, const FixOptions& options);

}  // namespace skep::explain
