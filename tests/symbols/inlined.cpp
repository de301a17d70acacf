// A program in whose functions others are inlined: it says at which lines, and to which address a call from the
// innermost returns, then waits until it is told to end. Built by two compilers, with debug information in several
// forms.
#include <unistd.h>

#include <cstdio>

#define SKEP_INLINED inline __attribute__((always_inline))

namespace inlined {

__attribute__((noinline)) unsigned long returns_to() {
  asm volatile("");
  return reinterpret_cast<unsigned long>(__builtin_return_address(0));
}

SKEP_INLINED unsigned long innermost(int by) {
  const auto distance = static_cast<unsigned long>(by);
  return returns_to() + distance;
}
constexpr int innermost_line = __LINE__ - 2;

struct Walk {
  int length;
  SKEP_INLINED unsigned long next(int step) const {
    if (step > length) return 0;
    return innermost(step - length);
  }
  static constexpr int next_line = __LINE__ - 2;
};

__attribute__((noinline)) unsigned long outermost(const Walk& walk) {
  const unsigned long address = walk.next(walk.length);
  asm volatile("" ::: "memory");
  return address;
}
constexpr int outermost_line = __LINE__ - 4;

}  // namespace inlined

int main() {
  const unsigned long address = inlined::outermost({static_cast<int>(::getpid())});
  const auto say = [](const char* name, int line) { std::printf("%s %x\n", name, static_cast<unsigned>(line)); };
  say("inlined::innermost(int)", inlined::innermost_line);
  say("inlined::Walk::next(int) const", inlined::Walk::next_line);
  say("inlined::outermost(inlined::Walk const&)", inlined::outermost_line);
  std::printf("returns_to %lx\n", address);
  std::fflush(stdout);
  char byte;
  return ::read(0, &byte, 1) == 0 ? 0 : 1;
}
