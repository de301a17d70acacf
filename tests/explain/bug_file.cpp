// Reading programs with a mistake.
#include "bug_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "base/mapped_file.hpp"

namespace skep::test {

namespace {
/// Takes a mark off the line; true when it was there.
bool take_mark(std::string& line, std::string_view mark) {
  const auto at = line.find(mark);
  if (at == std::string::npos) return false;
  line.erase(at, mark.size());
  line.erase(line.find_last_not_of(' ') + 1);
  return true;
}
}  // namespace

Result<Bug> read_bug(const std::filesystem::path& path) {
  const auto bytes = SKEP_TRY(base::read_file(path.string()));
  Bug bug;
  bug.file = path.stem().string();
  std::istringstream text(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  u32 line_number = 0;
  for (std::string line; std::getline(text, line);) {
    if (line.starts_with(";! ")) {
      std::istringstream words(line.substr(3));
      std::string key, value;
      words >> key >> value;
      if (key == "class") bug.kind = value;
      if (key == "id") bug.ids.insert(bug.first_id = value);
      if (key == "name") bug.title = line.substr(8);
      if (key == "alternative")
        for (; !value.empty(); value.clear(), words >> value) bug.ids.insert(value);
      if (key == "fix") bug.fix = value;
      if (key == "rules") bug.kernel_rules = value == "kernel";
      continue;
    }
    const char mark = line.empty() ? ' ' : line[0];
    if (mark != ' ' && mark != '-' && mark != '+')
      return fail(Code::malformed, fmt::format("{}: a line begins with '{}': {}", path.string(), mark, line));
    if (!line.empty()) line.erase(0, 1);
    const bool refused = take_mark(line, "//@refused"), cause = take_mark(line, "//@cause");
    bug.both += line.empty() ? "\n" : fmt::format("{}{}\n", mark, line);
    if (mark != '+') {
      line_number++;
      if (refused) bug.refused_line = line_number;
      if (cause) bug.cause_line = line_number;
      bug.refused += line + "\n";
    }
    if (mark != '-') bug.mended += line + "\n";
  }
  if (bug.kind.empty() || bug.ids.empty() || bug.fix.empty())
    return fail(Code::malformed, path.string() + ": class, id or fix is missing");
  return bug;
}

std::vector<Bug> read_bugs() {
  std::vector<Bug> bugs;
  for (const auto& entry : std::filesystem::directory_iterator("tests/explain/bugs"))
    if (auto bug = entry.path().extension() == ".bug" ? read_bug(entry.path()) : fail(Code::not_found, ""))
      bugs.push_back(std::move(*bug));
    else
      fmt::print(stderr, "{}\n", bug.error().message);
  std::sort(bugs.begin(), bugs.end(), [](const Bug& a, const Bug& b) { return a.file < b.file; });
  return bugs;
}

}  // namespace skep::test
