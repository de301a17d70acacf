// Every message has a reference page, made of its row, what the kernel says in its place, and a program of the corpus;
// this fails when a page is missing, stands for no message, or says something else. SKEP_BLESS=1 writes them.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <utility>

#include "bug_file.hpp"
#include "catalog/kernel_messages.hpp"
#include "catalog/messages.hpp"

namespace skep {
namespace {

namespace fs = std::filesystem;
const fs::path directory = "docs/reference/errors";

/// The reason as a sentence: "..." where a program's own numbers stand.
std::string sentence(std::string_view reason) {
  std::string out;
  for (std::size_t i = 0; i < reason.size(); i++) {
    if (reason[i] == '{') {
      i = reason.find('}', i);
      out += "…";
    } else {
      out += reason[i];
    }
  }
  return out;
}

std::string page(const catalog::MessageRow& row, const std::vector<test::Bug>& bugs) {
  std::string out = fmt::format("# V{:03} {}\n\n{}.\n\n", row.number, row.name, catalog::title_of(row.family));
  out[out.find("\n\n") + 2] = static_cast<char>(std::toupper(out[out.find("\n\n") + 2]));
  out += fmt::format("> {}\n\n## What to do\n\n{}\n", sentence(row.reason), row.advice);
  bool first = true;
  for (const auto& words : catalog::kernel_messages()) {
    if (words.id != row.id) continue;
    if (std::exchange(first, false)) out += "\n## What Linux says\n\n";
    out += fmt::format("- `{}`\n", sentence(words.words));
  }
  for (const test::Bug& bug : bugs) {
    if (bug.first_id != row.name) continue;
    out +=
        fmt::format("\n## {}\n\nThe lines with `-` are refused; those with `+` mend the program.\n\n```diff\n{}```\n",
                    bug.title, bug.both);
  }
  return out;
}

std::string index() {
  std::string out =
      "# Why programs are refused\n\nThe messages of `skep verify`, by what kind of mistake they are about. The number "
      "is "
      "stable; `--json` has it as\n`id`, the name as `reason_id`, the kind as `family`.\n";
  for (u8 f = 0; catalog::has_family(f); f++) {
    const auto family = static_cast<catalog::Family>(f);
    out += fmt::format("\n## {}: {}\n\n", catalog::name_of(family), catalog::title_of(family));
    for (const auto& row : catalog::messages())
      if (row.family == family)
        out += fmt::format("- [V{0:03}](V{0:03}.md) {1}: {2}\n", row.number, row.name, sentence(row.reason));
  }
  return out;
}

TEST(Pages, SayWhatTheRowsSay) {
  const auto bugs = test::read_bugs();
  std::map<std::string, std::string> wanted = {{"README.md", index()}};
  for (const auto& row : catalog::messages()) wanted[fmt::format("V{:03}.md", row.number)] = page(row, bugs);
  if (std::getenv("SKEP_BLESS") != nullptr) {
    fs::remove_all(directory);
    fs::create_directories(directory);
    for (const auto& [name, text] : wanted) std::ofstream(directory / name) << text;
  }
  ASSERT_TRUE(fs::exists(directory));
  for (const auto& [name, text] : wanted) {
    std::ostringstream found;
    found << std::ifstream(directory / name).rdbuf();
    EXPECT_EQ(found.str(), text) << name << ": SKEP_BLESS=1 writes the pages anew";
  }
  for (const auto& entry : fs::directory_iterator(directory))
    EXPECT_TRUE(wanted.contains(entry.path().filename().string())) << entry.path() << " stands for no message";
}

}  // namespace
}  // namespace skep
