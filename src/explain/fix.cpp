// The search: candidates, judged one by one, within time and number.
#include "explain/fix.hpp"

#include <deque>
#include <set>

namespace skep::explain {

namespace {
std::string_view text_of(verify::Remedy remedy) {
  static constexpr std::string_view texts[] = {
#define SKEP_REMEDY(name, text) text,
#include "verify/remedies.def"
#undef SKEP_REMEDY
  };
  return texts[static_cast<u8>(remedy)];
}

/// Whether the refusal has moved on: another rule, or a line further down.
bool is_progress(const verify::Rejection& before, const verify::Rejection& after) {
  if (before.id != after.id) return true;
  return before.source && after.source && after.source->line > before.source->line + 1;
}
}  // namespace

std::optional<Fix> find_fix(std::string_view text, std::string_view name, const verify::Refused& refused,
                            const FixOptions& options, const Judge& judge) {
  struct Open {
    Source source;
    verify::Refused refused;
    std::string what;
    u32 round = 0;
  };
  const Source original(text);
  const auto end = std::chrono::steady_clock::now() + options.time_limit;
  std::set<std::string> tried;
  u32 tries = 0;
  std::deque<Open> open;
  open.push_back({original, refused, "", 0});
  while (!open.empty()) {
    const Open now = std::move(open.front());
    open.pop_front();
    for (const Candidate& candidate : candidates(now.source, now.refused, options)) {
      const std::string changed = candidate.source.text();
      if (!tried.insert(changed).second) continue;
      if (tries++ >= options.most_tries || std::chrono::steady_clock::now() >= end) return std::nullopt;
      const auto verdict = judge(changed);
      if (!verdict) continue;
      std::string what(text_of(candidate.remedy));
      if (!now.what.empty() && now.what != what) what = now.what + "; " + what;
      if (verdict->accepted) return Fix{unified_diff(name, original, candidate.source), std::move(what), changed};
      if (now.round + 1 < options.most_rounds && verdict->refused &&
          is_progress(now.refused.rejection, verdict->refused->rejection))
        open.push_back({candidate.source, *verdict->refused, std::move(what), now.round + 1});
    }
  }
  return std::nullopt;
}

}  // namespace skep::explain
