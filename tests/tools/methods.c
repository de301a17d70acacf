// A runtime as ucalls knows one: static probes with a semaphore where methods begin and end, as a Ruby has them.
#include <stdio.h>
#include <unistd.h>

/* The names are looked at first: a runtime has them in memory, and the kernel fetches no page for a probe. */
#define PROBE(name)                                                                                          \
  __attribute__((used, section(".probes"))) static volatile unsigned short name##_semaphore;                 \
  __attribute__((noinline)) static void name(const char* owner, const char* method) {                        \
    (void)*(const volatile char*)owner, (void)*(const volatile char*)method;                                 \
    if (name##_semaphore != 0)                                                                               \
      __asm__ volatile(                                                                                      \
          "990: nop\n.pushsection .note.stapsdt,\"\",\"note\"\n.balign 4\n.4byte 992f-991f, 994f-993f, 3\n"  \
          "991: .asciz \"stapsdt\"\n992: .balign 4\n993: .8byte 990b\n.8byte 0\n.8byte " #name               \
          "_semaphore\n"                                                                                     \
          ".asciz \"ruby\"\n.asciz \"" #name "\"\n.asciz \"8@%%rdi 8@%%rsi\"\n994: .balign 4\n.popsection\n" \
          :                                                                                                  \
          : "D"(owner), "S"(method));                                                                        \
  }
PROBE(method__entry)
PROBE(method__return)
PROBE(cmethod__entry)
PROBE(cmethod__return)

static int factorial(int n) {
  method__entry("Number", "factorial");
  const int result = n <= 1 ? 1 : n * factorial(n - 1);
  method__return("Number", "factorial");
  return result;
}

/* Left without a return, as by an exception that a runtime does not tell. */
static void leaving(void) {
  method__entry("Main", "leaving");
  cmethod__entry("Kernel", "leaving");
}

int main(void) {
  method__entry("Main", "run");
  for (int i = 0; i < 3; ++i) {
    cmethod__entry("Kernel", "sleep");
    usleep(20000);
    cmethod__return("Kernel", "sleep");
    leaving();
  }
  printf("%d\n", factorial(5));
  method__return("Main", "run");
  return 0;
}
