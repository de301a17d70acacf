// A program whose functions are probed: each mode calls them in a way that is hard to follow, and its exit status says
// whether they did what they must.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* A function that calls itself must do so whatever the build's level: -O3 makes a loop of recursion, and inlines what
   cannot be interposed. */
#define PROBED __attribute__((noinline, noclone, noipa, used))
#define RECURSIVE PROBED __attribute__((optimize("O0")))

int counter;
extern char** environ;

PROBED int plain(int a, int b) {
  __atomic_fetch_add(&counter, 1, __ATOMIC_RELAXED);
  return a * b;
}
RECURSIVE int recurse(int n) { return n <= 1 ? 1 : n * recurse(n - 1); }
PROBED int last(int n) {
  __asm__ volatile("");
  return n + 1;
}
PROBED __attribute__((optimize("O2"))) int tail(int n) { return last(n * 2); }

static jmp_buf jump;
RECURSIVE int jumper(int n) {
  if (n < 0) return 0; /* never; or compilers complain that nothing ends it */
  if (n == 0) longjmp(jump, 7);
  return jumper(n - 1) + 1;
}

PROBED int thrower(int n) {
  if (n != 0) longjmp(jump, 1);
  return 5;
}

/* First instructions that cannot run just anywhere. */
PROBED int relative(void);
PROBED int branching(int n);
PROBED int calling(int n);
__asm__(
    ".text\n"
    ".globl relative\n.type relative, @function\nrelative:\n  movl counter(%rip), %eax\n  ret\n"
    ".size relative, .-relative\n"
    ".globl branching\n.type branching, @function\nbranching:\n  jrcxz 1f\n1:  leal 3(%rdi), %eax\n  ret\n"
    ".size branching, .-branching\n"
    ".globl calling\n.type calling, @function\ncalling:\n  call *last_pointer(%rip)\n  addl $1, %eax\n  ret\n"
    ".size calling, .-calling\n"
    ".data\nlast_pointer: .quad last\n.text\n");

static void* worker(void* argument) {
  for (int i = 0; i < (int)(long)argument; ++i)
    if (plain(i, 2) != i * 2 || branching(i) != i + 3) exit(77);
  return NULL;
}

static void* endless(void* unused) {
  (void)unused;
  for (int i = 0;; ++i)
    if (branching(i & 1023) != (i & 1023) + 3) exit(77);
}
static int endless_threads(const char* end) {
  pthread_t id;
  for (int i = 0; i < 3; ++i) pthread_create(&id, NULL, endless, NULL);
  while (access(end, F_OK) != 0) usleep(1000);
  exit(0);
}

/* The first thread ends when END.first is there, the process goes on until END is. */
static void* survivor(void* end) {
  for (;;) {
    usleep(60000);
    plain(1, 2);
    if (access(end, F_OK) == 0) exit(0);
  }
}
static _Noreturn void headless(char* end) {
  pthread_t id;
  char first_end[4096];
  snprintf(first_end, sizeof first_end, "%s.first", end);
  pthread_create(&id, NULL, survivor, end);
  while (access(first_end, F_OK) != 0) plain(1, 2), usleep(1000);
  pthread_exit(NULL);
}

static int threads(int count, int each) {
  pthread_t ids[64];
  for (int i = 0; i < count; ++i) pthread_create(&ids[i], NULL, worker, (void*)(long)each);
  for (int i = 0; i < count; ++i) pthread_join(ids[i], NULL);
  return counter != count * each;
}

static int children(int count) {
  int failed = 0;
  for (int i = 0; i < count; ++i) {
    pid_t pid = fork();
    int status = 0;
    if (pid == 0) _exit(plain(i, 3) == i * 3 ? 0 : 1);
    waitpid(pid, &status, 0);
    failed |= status;
  }
  return failed | (plain(2, 2) != 4);
}

/* Children that come to the function long after they were made. */
static int forking(const char* end) {
  int failed = 0, status = 0;
  while (access(end, F_OK) != 0) {
    plain(1, 2);
    if (fork() == 0) {
      usleep(60000);
      _exit(plain(2, 3) == 6 ? 0 : 1);
    }
    usleep(500);
    while (waitpid(-1, &status, WNOHANG) > 0) failed |= status;
  }
  while (waitpid(-1, &status, 0) > 0) failed |= status;
  return failed != 0;
}

/* Threads that fork at once, each waits for its child and ends: siblings end while others have just forked. */
static pthread_barrier_t all_forkers;
static void* forker(void* unused) {
  (void)unused;
  int status = 1;
  pthread_barrier_wait(&all_forkers);
  pid_t pid = fork();
  if (pid == 0) _exit(plain(2, 3) == 6 ? 0 : 1);
  waitpid(pid, &status, 0);
  return (void*)(long)status;
}
static int forkers(int count) {
  pthread_t ids[64];
  long failed = 0;
  pthread_barrier_init(&all_forkers, NULL, (unsigned)count);
  for (int i = 0; i < count; ++i) pthread_create(&ids[i], NULL, forker, NULL);
  for (int i = 0; i < count; ++i) {
    void* status = NULL;
    pthread_join(ids[i], &status);
    failed |= (long)status;
  }
  return failed != 0;
}

/* Makers are killed while they make children, which go on: what begins a probed function comes back from it. */
static int orphans(int count) {
  int ends[2], balance = 0;
  if (pipe(ends) != 0) return 1;
  for (int i = 0; i < count; ++i) {
    pid_t maker = fork();
    if (maker == 0) {
      for (int k = 0; k < 20; ++k) {
        if (fork() != 0) continue;
        if (write(ends[1], "+", 1) != 1 || plain(2, 3) != 6 || write(ends[1], "-", 1) != 1) _exit(1);
        _exit(0);
      }
      _exit(0);
    }
    for (volatile int spin = 0; spin < i * 20000; ++spin) {
    }
    kill(maker, SIGKILL);
    waitpid(maker, NULL, 0);
  }
  close(ends[1]);
  for (char mark; read(ends[0], &mark, 1) == 1;) balance += mark == '+' ? 1 : -1;
  return balance != 0;
}

static int spawned(char* self) {
  char* arguments[] = {self, "plain", "2", NULL};
  pid_t pid;
  int status = 1;
  if (posix_spawn(&pid, self, NULL, NULL, arguments, environ) != 0) return 1;
  waitpid(pid, &status, 0);
  return status | (plain(1, 1) != 1);
}

static volatile sig_atomic_t ticks;
static void on_tick(int signal) {
  (void)signal;
  ++ticks;
  if (relative() != counter) _exit(78);
}
/* Signals come in the middle of everything. */
static int signalled(int count) {
  struct sigaction action = {.sa_handler = on_tick};
  sigaction(SIGUSR1, &action, NULL);
  pid_t parent = getpid(), pid = fork();
  if (pid == 0) {
    for (int i = 0; i < 200; ++i) kill(parent, SIGUSR1), usleep(100);
    _exit(0);
  }
  int failed = 0;
  for (int i = 0; i < count; ++i) failed |= relative() != counter || branching(i) != i + 3;
  waitpid(pid, NULL, 0);
  return failed | (ticks == 0);
}

/* Without a pause, so that it is in the middle of something whenever it is looked at: of a function, or, where it looks
   for its end as often (`rarely` is 0), of a system call. */
static int busy(const char* end, int rarely) {
  for (long i = 0;; ++i) {
    const int n = (int)(i & 1023);
    if (relative() != counter || branching(n) != n + 3 || calling(n) != n + 2) return 1;
    if ((n & rarely) != 0 || access(end, F_OK) != 0) continue;
    FILE* file = fopen(end, "w");
    return file == NULL || fputs("right\n", file) < 0 || fclose(file) != 0;
  }
}

/* What is mapped is what is in the file, but for breakpoints: a debugger of its own would see ours. */
static int overwritten(void) {
  unsigned char* code = (unsigned char*)(void*)plain;
  const long page = 4096;
  mprotect((void*)((unsigned long)code & ~(unsigned long)(page - 1)), 2 * page, PROT_READ | PROT_WRITE | PROT_EXEC);
  /* mov %edi, %eax; ret */
  memcpy(code, "\x89\xf8\xc3", 3);
  return plain(5, 9) != 5 || plain(6, 9) != 6;
}

extern int marked(int first, long second);
/* Static probes in the process and its children, who have the same memory. */
static int statics(int count) {
  int failed = 0;
  for (int i = 0; i < count; ++i) failed |= marked(i, 10 * i) != 1;
  for (int i = 0; i < count; ++i) {
    int status = 0;
    const pid_t pid = fork();
    if (pid == 0) _exit(marked(i, 10 * i) != 1);
    waitpid(pid, &status, 0);
    failed |= status;
  }
  return failed;
}
/* Until nobody looks any more, and then until the end is there. */
static int steady_statics(const char* end) {
  while (access(end, F_OK) != 0) {
    marked(7, 70);
    usleep(1000);
  }
  return marked(7, 70);
}

int main(int argc, char** argv) {
  const char* mode = argc > 1 ? argv[1] : "";
  const int number = argc > 2 ? atoi(argv[2]) : 1;
  if (!strcmp(mode, "plain")) {
    for (int i = 0; i < number; ++i)
      if (plain(i, 3) != i * 3) return 1;
    return 0;
  }
  if (!strcmp(mode, "recurse")) return recurse(number) != 120;
  if (!strcmp(mode, "tail")) return tail(number) != number * 2 + 1;
  if (!strcmp(mode, "jump")) {
    for (volatile int i = 0; i < 3; ++i)
      if (setjmp(jump) == 0) jumper(number);
    return plain(2, 3) != 6;
  }
  if (!strcmp(mode, "throw")) {
    /* The same call each time: the last one returns. */
    for (volatile int i = number; i >= 0; --i)
      if (setjmp(jump) == 0 && thrower(i) != 5) return 1;
    return 0;
  }
  if (!strcmp(mode, "forms")) return relative() != 0 || branching(1) != 4 || calling(4) != 6;
  if (!strcmp(mode, "threads")) return threads(8, number);
  if (!strcmp(mode, "endless-threads")) return endless_threads(argv[2]);
  if (!strcmp(mode, "headless")) headless(argv[2]);
  if (!strcmp(mode, "children")) return children(number);
  if (!strcmp(mode, "forking")) return forking(argv[2]);
  if (!strcmp(mode, "forkers")) return forkers(number);
  if (!strcmp(mode, "orphans")) return orphans(number);
  if (!strcmp(mode, "spawned")) return spawned(argv[0]);
  if (!strcmp(mode, "signalled")) return signalled(number);
  if (!strcmp(mode, "busy")) return busy(argv[2], argc > 3 ? atoi(argv[3]) : 1023);
  if (!strcmp(mode, "overwritten")) return overwritten();
  if (!strcmp(mode, "statics")) return statics(number);
  if (!strcmp(mode, "steady-statics")) return steady_statics(argv[2]);
  if (!strcmp(mode, "late-static")) {
    for (int i = 0; i < 3; ++i) {
      void* library = dlopen(argv[2], RTLD_NOW);
      int (*own)(int, long) = library ? (int (*)(int, long))dlsym(library, "marked") : NULL;
      if (own == NULL || own(i, 10 * i) != 1) return 1;
      dlclose(library);
    }
    return 0;
  }
  if (!strcmp(mode, "late")) {
    /* Opened while it runs; what it does is called through a pointer. */
    void* library = dlopen(argv[2], RTLD_NOW);
    double (*root)(double) = library ? (double (*)(double))dlsym(library, "cbrt") : NULL;
    int failed = root == NULL || root(8.0) != 2.0;
    /* And once more: it may well come to lie where it was. */
    if (library != NULL) dlclose(library);
    library = dlopen(argv[2], RTLD_NOW);
    root = library ? (double (*)(double))dlsym(library, "cbrt") : NULL;
    return failed || root == NULL || root(8.0) != 2.0;
  }
  if (!strcmp(mode, "steady")) {
    for (;;) {
      plain(1, 2);
      usleep(1000);
      if (access(argv[2], F_OK) == 0) return 0;
    }
  }
  return 64;
}
