// A program whose functions are looked up from outside: it says where they lie, then waits until it is told to end.
//
// Built position-independent, at fixed addresses, and stripped with its symbols in a file of their own.
#include <unistd.h>

#include <cstdio>

namespace fixture __attribute__((visibility("default"))) {

  struct Point {
    int x, y;
  };

  __attribute__((noipa, used)) int scale(const Point& point, int by) { return point.x * by + point.y; }

  template <class T>
  __attribute__((noipa, used)) T twice(T value) {
    return value + value;
  }

}  // namespace fixture

static __attribute__((noipa, used)) int only_in_symtab(int value) { return value ^ 0x55; }

extern "C" __attribute__((noipa, used, visibility("default"))) int fixture_exported(int value) { return value - 3; }

asm(".text\n.globl fixture_label\nfixture_label:\n  nop\n  nop\n  ret\n.size fixture_label, .-fixture_label\n");
extern "C" void fixture_label();

int main() {
  const auto say = [](const char* name, auto* function) {
    std::printf("%s %lx\n", name, reinterpret_cast<unsigned long>(function));
  };
  say("fixture::scale(fixture::Point const&, int)", &fixture::scale);
  say("long fixture::twice<long>(long)", &fixture::twice<long>);
  say("only_in_symtab(int)", &only_in_symtab);
  say("fixture_exported", &fixture_exported);
  say("fixture_label", &fixture_label);
  say("main", &main);
  std::fflush(stdout);
  char byte;
  return ::read(0, &byte, 1) == 0 ? 0 : 1;
}
