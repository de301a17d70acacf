// A process as tools for data bases and language runtimes look for one: static probes of MySQL's, Ruby's and the thread library's names around
// small pieces of work, ten times a second. Says "ready" when it runs.
//
// The strings are written by the process first: a runtime has them in memory, and the kernel fetches no page for a probe.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PROBE(provider, name)                                                                               \
  __attribute__((noinline)) static void name(const void* first, const void* second) {                       \
    __asm__ volatile(                                                                                       \
        "990: nop\n.pushsection .note.stapsdt,\"\",\"note\"\n.balign 4\n.4byte 992f-991f, 994f-993f, 3\n"   \
        "991: .asciz \"stapsdt\"\n992: .balign 4\n993: .8byte 990b\n.8byte 0\n.8byte 0\n"                   \
        ".asciz \"" provider "\"\n.asciz \"" #name "\"\n.asciz \"8@%%rdi 8@%%rsi\"\n994: .balign 4\n"       \
        ".popsection\n"                                                                                     \
        :                                                                                                   \
        : "D"(first), "S"(second));                                                                         \
  }
PROBE("mysql", query__start)
PROBE("mysql", query__done)
PROBE("ruby", method__entry)
PROBE("ruby", method__return)
PROBE("ruby", cmethod__entry)
PROBE("ruby", cmethod__return)
PROBE("ruby", gc__mark__begin)
PROBE("ruby", gc__mark__end)
PROBE("ruby", gc__sweep__begin)
PROBE("ruby", gc__sweep__end)
PROBE("ruby", object__create)
PROBE("ruby", string__create)
PROBE("ruby", hash__create)
PROBE("ruby", array__create)
PROBE("libpthread", pthread_start)

static char owner[32], method[32], inner[32], query[64];

static void call_a_method(void) {
  method__entry(owner, method);
  cmethod__entry(owner, inner);
  usleep(1000);
  cmethod__return(owner, inner);
  method__return(owner, method);
}

static void collect(void) {
  gc__mark__begin(0, 0);
  usleep(2000);
  gc__mark__end(0, 0);
  gc__sweep__begin(0, 0);
  gc__sweep__end(0, 0);
}

static void make_objects(void) {
  object__create(owner, method);
  string__create((void*)40, method);
  hash__create((void*)3, method);
  array__create((void*)5, method);
}

int main(void) {
  strcpy(owner, "Number");
  strcpy(method, "factorial");
  strcpy(inner, "times");
  strcpy(query, "SELECT six_times_nine");
  puts("ready");
  fflush(stdout);
  for (;;) {
    query__start(query, 0);
    usleep(5000);
    query__done(query, 0);
    call_a_method();
    collect();
    make_objects();
    pthread_start(0, (void*)collect);
    usleep(90000);
  }
}
