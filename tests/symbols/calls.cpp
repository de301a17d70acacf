// What compilers make of calls: functions in types and blocks of others, without mangled names, with parts that are
// seldom run, joined at link time. It need not run: its debug information is read at every address.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace calls {
namespace {

struct Scale {
  int by;
  int operator()(int value) const { return value * by + 1; }
};

int twice(int value) { return Scale{2}(value); }

template <class Function>
int sum(Function function, int count) {
  int total = 0;
  for (int i = 0; i < count; ++i) total += function(i);
  return total;
}

[[noreturn]] __attribute__((cold)) void give_up(const char* why) {
  std::fprintf(stderr, "%s\n", why);
  std::abort();
}

}  // namespace

__attribute__((noinline)) int look(const std::string& text) {
  struct Local {
    int base;
    __attribute__((noinline)) int go(int value) const {
      if (value > 1000) give_up("a large value");
      return twice(base + value);
    }
  };
  const Local local{static_cast<int>(text.size())};
  const auto never_inlined = [&](int value) __attribute__((noinline)) { return local.go(value) ^ text.front(); };
  std::map<std::string, int> counts;
  for (const char letter : text) ++counts[std::string(1, letter)];
  std::vector<std::pair<std::string, int>> sorted(counts.begin(), counts.end());
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  try {
    return sum(never_inlined, static_cast<int>(sorted.size())) + sum(twice, std::stoi(text));
  } catch (const std::exception& error) {
    const int length = static_cast<int>(std::string(error.what()).size());
    return length > 100 ? twice(length) : length;
  }
}

}  // namespace calls

int main(int count, char** words) {
  if (count > 9) calls::give_up("too many words");
  return calls::look(words[count - 1]) == 42;
}
