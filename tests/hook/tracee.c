// A program to be traced: each mode does one thing that is hard to observe, and says whether it worked by its exit
// status.
//
// Plain C, so that it can be built for 32 bits and statically with a compiler alone. Marker paths (/skep-tracee/...)
// never exist: openat of one is the event that tests look for.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int mark(const char* name) {
  char path[128];
  snprintf(path, sizeof path, "/skep-tracee/%s", name);
  errno = 0;
  syscall(SYS_openat, AT_FDCWD, path, O_RDONLY, 0);
  return errno == ENOENT ? 0 : 1;  // ENOSYS: somebody took the call away
}

static int mark_number(const char* prefix, int number) {
  char name[64];
  snprintf(name, sizeof name, "%s%d", prefix, number);
  return mark(name);
}

static void sleep_ms(long ms) {
  struct timespec time = {ms / 1000, ms % 1000 * 1000000};
  while (nanosleep(&time, &time) != 0 && errno == EINTR) {
  }
}

static int wait_ok(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, __WALL) < 0)
    if (errno != EINTR) return 1;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}

static int opens(int count) {
  int failed = 0;
  for (int i = 0; i < count; ++i) failed |= mark_number("open", i);
  return failed;
}

struct thread_work {
  int number;
  int count;
  int failed;
};

static void* thread_main(void* argument) {
  struct thread_work* work = argument;
  for (int i = 0; i < work->count; ++i) work->failed |= mark_number("thread", work->number * 1000 + i);
  return NULL;
}

static int threads(int count, int each) {
  pthread_t ids[32];
  struct thread_work work[32];
  int failed = 0;
  if (count > 32) return 2;
  for (int i = 0; i < count; ++i) {
    work[i] = (struct thread_work){i, each, 0};
    pthread_create(&ids[i], NULL, thread_main, &work[i]);
  }
  for (int i = 0; i < count; ++i) {
    pthread_join(ids[i], NULL);
    failed |= work[i].failed;
  }
  return failed;
}

// A binary tree of processes; each leaf and node marks its number once.
static int tree(int depth, int number) {
  int failed = mark_number("node", number);
  if (depth == 0) return failed;
  for (int i = 1; i <= 2; ++i) {
    pid_t pid = fork();
    if (pid == 0) _exit(tree(depth - 1, number * 2 + i));
    failed |= wait_ok(pid);
  }
  return failed;
}

static int vfork_exec(char* self) {
  pid_t pid = vfork();
  if (pid == 0) {
    execl(self, self, "mark", "vforked", (char*)NULL);
    _exit(9);
  }
  return wait_ok(pid) | mark("after-vfork");
}

static char* exec_path;
static void* exec_from_thread(void* unused) {
  (void)unused;
  mark("before-exec");
  execl(exec_path, exec_path, "mark", "execed", (char*)NULL);
  exit(9);
}

static void thread_exec(char* self) {
  pthread_t id, idle;
  struct thread_work work = {0, 0, 0};
  exec_path = self;
  pthread_create(&idle, NULL, thread_main, &work);
  pthread_create(&id, NULL, exec_from_thread, NULL);
  for (;;) pause();
}

// Stops itself in a child; the parent must see the stop and the continuation.
static int job_control(int signal) {
  pid_t pid = fork();
  if (pid == 0) {
    mark("before-signal");
    raise(signal);
    sleep_ms(20);  // the parent wants to see the continuation before the end
    _exit(mark("after-stop"));
  }
  int status = 0;
  if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status) || WSTOPSIG(status) != signal) return 3;
  sleep_ms(20);
  if (waitpid(pid, &status, WUNTRACED | WNOHANG) != 0) return 4;  // it must stay stopped
  kill(pid, SIGCONT);
  if (waitpid(pid, &status, WCONTINUED) != pid || !WIFCONTINUED(status)) return 5;
  return wait_ok(pid) == 0 ? 0 : 6;
}

static volatile sig_atomic_t signals_seen;
static void count_signal(int signal) {
  (void)signal;
  ++signals_seen;
}

// A read that waits is interrupted by a signal, or restarted: as without a tracer.
static int interrupted(int restart) {
  int ends[2];
  char byte;
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = count_signal;
  action.sa_flags = restart ? SA_RESTART : 0;
  sigaction(SIGALRM, &action, NULL);
  if (pipe(ends) != 0) return 2;
  pid_t pid = fork();
  if (pid == 0) {
    sleep_ms(20);
    kill(getppid(), SIGALRM);
    sleep_ms(20);
    if (write(ends[1], "x", 1) != 1) _exit(1);
    _exit(0);
  }
  ssize_t n = read(ends[0], &byte, 1);
  int as_expected = restart ? n == 1 : n < 0 && errno == EINTR;
  return wait_ok(pid) == 0 && as_expected && signals_seen == 1 ? 0 : 3;
}

// What was inherited, one line a fact.
static int inherited(void) {
  char line[256];
  sigset_t mask;
  sigprocmask(SIG_BLOCK, NULL, &mask);
  printf("blocked");
  for (int i = 1; i < 32; ++i)
    if (sigismember(&mask, i)) printf(" %d", i);
  printf("\nhandled");
  for (int i = 1; i < 32; ++i) {
    struct sigaction action;
    sigaction(i, NULL, &action);
    if (action.sa_handler == SIG_IGN) printf(" %d=ignored", i);
    if (action.sa_handler != SIG_IGN && action.sa_handler != SIG_DFL) printf(" %d=handler", i);
  }
  printf("\nfds");
  for (int i = 0; i < 256; ++i)
    if (fcntl(i, F_GETFD) >= 0) printf(" %d", i);
  printf("\ncwd %s\n", getcwd(line, sizeof line));
  printf("umask %o\n", umask(0));
  printf("pgrp %d\nsession %d\n", getpgrp(), getsid(0));
  printf("env %s\n", getenv("SKEP_TEST_MARK") ? getenv("SKEP_TEST_MARK") : "");
  cpu_set_t cpus;
  sched_getaffinity(0, sizeof cpus, &cpus);
  printf("cpus %d\nnice %d\n", CPU_COUNT(&cpus), nice(0));
  printf("pdeath ");
  int signal = -1;
  prctl(PR_GET_PDEATHSIG, &signal);
  printf("%d\nkeepcaps %d\nsubreaper ", signal, prctl(PR_GET_KEEPCAPS));
  prctl(PR_GET_CHILD_SUBREAPER, &signal);
  printf("%d\n", signal);
  return 0;
}

static int names(int change_user) {
  int failed = mark("as-started");
  prctl(PR_SET_NAME, "renamed");
  failed |= mark("renamed");
  if (change_user) {
    if (setgid(4321) != 0 || setuid(1234) != 0) return 3;
    failed |= mark("changed-user");
  }
  return failed;
}

static int memory(void) {
  const long page = sysconf(_SC_PAGESIZE);
  // A path in a page that is not resident: a file's page, dropped.
  char file[] = "/tmp/skep-tracee-XXXXXX";
  int fd = mkstemp(file);
  if (fd < 0 || ftruncate(fd, page) != 0) return 2;
  if (pwrite(fd, "/skep-tracee/cold", 18, 100) != 18) return 2;
  unlink(file);
  char* cold = mmap(NULL, (size_t)page, PROT_READ, MAP_PRIVATE, fd, 0);
  syscall(SYS_openat, -1, cold + 100, 0, 0);
  // A string that ends with its page; nothing is mapped behind it.
  char* edge = mmap(NULL, (size_t)page * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(edge + page, (size_t)page);
  strcpy(edge + page - 18, "/skep-tracee/edge");
  syscall(SYS_openat, -1, edge + page - 18, 0, 0);
  // A string over two pages.
  char* two = mmap(NULL, (size_t)page * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  strcpy(two + page - 6, "/skep-tracee/both");
  syscall(SYS_openat, -1, two + page - 6, 0, 0);
  // Bad pointers.
  syscall(SYS_openat, -1, (char*)8, 0, 0);
  syscall(SYS_openat, -1, edge + page, 0, 0);
  syscall(SYS_openat, -1, (char*)(uintptr_t)-4096, 0, 0);
  return 0;
}

// A daemon outlives its parents: it marks, waits for the word, marks again, and reports through the pipe.
static int daemon_then(const char* report, int wait_ms) {
  if (fork() != 0) return 0;
  setsid();
  if (fork() != 0) _exit(0);
  int failed = mark("daemon-start");
  sleep_ms(wait_ms);
  failed |= mark("daemon-end");
  int fd = open(report, O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (fd >= 0 && write(fd, failed ? "bad\n" : "good\n", failed ? 4 : 5) < 0) return 1;
  return failed;
}

// Marks until told to end (or 10 s), then reports: what a process does while its tracer comes and goes.
static int steady(const char* report, const char* end, int thread_count) {
  int failed = 0;
  pthread_t ids[8];
  for (int i = 0; i < thread_count; ++i) {
    static struct thread_work work[8];
    work[i] = (struct thread_work){i, 1 << 30, 0};
    pthread_create(&ids[i], NULL, thread_main, &work[i]);
  }
  for (int i = 0; i < 5000 && access(end, F_OK) != 0; ++i) {
    failed |= mark_number("steady", i);
    sleep_ms(2);
  }
  int fd = open(report, O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (fd >= 0 && write(fd, failed ? "bad\n" : "good\n", failed ? 4 : 5) < 0) return 1;
  return failed;
}

// On a terminal: stops and goes on with its job.
static void on_terminal(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = count_signal;
  sigaction(SIGCONT, &action, NULL);
  mark(tcgetpgrp(0) == getpgrp() ? "foreground" : "background");
  mark("ready");
  while (signals_seen == 0) pause();
  mark("continued");
  for (;;) pause();
}

// Signals arrive while calls are shown: each call happens once all the same. At most one signal a call, at any moment
// of it: a storm without bound could outrun a tracer that stops at every signal, and the program would never move.
static int storm(int count) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = count_signal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, NULL);
  volatile int* calls = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  const pid_t parent = getpid();
  pid_t pid = fork();
  if (pid == 0) {
    while (getppid() == parent) {
      const int before = *calls;
      kill(parent, SIGUSR1);
      while (*calls == before && getppid() == parent) {
        struct timespec moment = {0, 20000};  // not a spin: the other side needs the CPU
        nanosleep(&moment, NULL);
      }
    }
    _exit(0);
  }
  int failed = 0;
  // On a busy machine the storm may be slow to begin.
  for (int i = 0; i < count || (signals_seen < 20 && i < 100000); ++i) {
    failed |= mark_number("storm", i);
    ++*calls;
  }
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
  return failed ? 1 : signals_seen < 20 ? 2 : 0;
}

static int untraced_clone(void) {
  pid_t pid = (pid_t)syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0);
  if (pid == 0) _exit(mark("untraced"));
  return wait_ok(pid);
}

#ifdef __i386__
// i386 callers have socketcall, mmap2 and a 64-bit offset in two registers.
static long int80(long number, long a, long b, long c, long d, long e) {
  long result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory");
  return result;
}
static int i386_calls(void) {
  unsigned long words[3] = {77, 0x1234, 16};
  int80(102, 3, (long)words, 0, 0, 0);       // socketcall(connect): fd 77
  int80(180, 78, 0x4321, 5, 0x89abcdef, 1);  // pread64(78, 0x4321, 5, 0x189abcdef)
  return mark("i386");
}
#else
static int i386_calls(void) {
  // int 0x80 from 64-bit code is an i386 call too: openat is 295 there. Its pointers have 32 bits.
  char* low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  long result;
  strcpy(low, "/skep-tracee/int80");
  __asm__ volatile("int $0x80"
                   : "=a"(result)
                   : "a"(295L), "b"((long)AT_FDCWD), "c"(low), "d"(0L), "S"(0L)
                   : "memory", "r8", "r9", "r10", "r11");
  return result == -ENOENT ? 0 : 1;
}
#endif

int main(int argc, char** argv) {
  const char* mode = argc > 1 ? argv[1] : "";
  const char* text = argc > 2 ? argv[2] : "";
  const int number = atoi(text);
  const int second = argc > 3 ? atoi(argv[3]) : 0;
  if (!strcmp(mode, "mark")) return mark(text);
  if (!strcmp(mode, "opens")) return opens(number);
  if (!strcmp(mode, "exit")) return number;
  if (!strcmp(mode, "raise"))
    return signal(number, SIG_DFL), raise(number), 1;  // a shell's background jobs ignore SIGINT
  if (!strcmp(mode, "threads")) return threads(number, second);
  if (!strcmp(mode, "tree")) return tree(number, 0);
  if (!strcmp(mode, "vfork")) return vfork_exec(argv[0]);
  if (!strcmp(mode, "thread-exec")) return thread_exec(argv[0]), 9;
  if (!strcmp(mode, "job")) return job_control(number);
  if (!strcmp(mode, "interrupted")) return interrupted(number);
  if (!strcmp(mode, "inherited")) return inherited();
  if (!strcmp(mode, "names")) return names(number);
  if (!strcmp(mode, "memory")) return memory();
  if (!strcmp(mode, "daemon")) return daemon_then(text, second);
  if (!strcmp(mode, "steady")) return steady(text, argv[3], argc > 4 ? atoi(argv[4]) : 0);
  if (!strcmp(mode, "terminal")) return on_terminal(), 0;
  if (!strcmp(mode, "storm")) return storm(number);
  if (!strcmp(mode, "untraced")) return untraced_clone();
  if (!strcmp(mode, "i386")) return i386_calls();
  if (!strcmp(mode, "sleep")) return sleep_ms(number), 0;
  if (!strcmp(mode, "exec")) return execv(argv[2], argv + 2), 9;
  fprintf(stderr, "tracee: unknown mode %s\n", mode);
  return 64;
}
