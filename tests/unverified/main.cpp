// Random programs that no verifier has seen: machine code with checks must end as the checked interpreter does.
//
//     random_unverified [--count N] [--first SEED] [--only SEED]
//
// Exit code 1 when anything differed; the case is printed.
#include <fmt/format.h>

#include <cstdlib>
#include <string_view>

#include "unverified_programs.hpp"

int main(int argc, char** argv) {
  using namespace skep;
  u64 count = 20'000, first = 1;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view option = argv[i];
    const u64 value = std::strtoull(argv[i + 1], nullptr, 10);
    if (option == "--count")
      count = value;
    else if (option == "--first")
      first = value;
    else if (option == "--only")
      first = value, count = 1;
    else
      return fmt::print(stderr, "unknown option {}; see the head of tests/unverified/main.cpp\n", option), 2;
  }
  u64 endings[5] = {}, differences = 0;
  for (u64 seed = first; seed < first + count && differences < 5; seed++) {
    unverified::Draw draw(seed);
    const auto comparison = unverified::compare_unverified(unverified::draw_case(draw));
    endings[static_cast<u8>(comparison.ending)]++;
    if (comparison.difference.empty()) continue;
    fmt::print("FAILURE seed {}\n{}\n", seed, comparison.difference);
    differences++;
  }
  fmt::print(
      "unverified programs: {} results, {} violations, {} budgets used up, {} that depend on addresses, {} that do not "
      "decode; {} differences\n",
      endings[0], endings[1], endings[2], endings[3], endings[4], differences);
  const bool covered = count < 1000 || (endings[0] > count / 20 && endings[1] > count / 20 && endings[2] > count / 50);
  if (!covered) fmt::print("too few of a kind: the generator does not do its work\n");
  return differences == 0 && covered ? 0 : 1;
}
