// A program whose life is to be traced: forks, threads, ends and signals that are hard to follow. Each mode's exit
// status says whether it went as it must.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int status_of(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, __WALL) < 0)
    if (errno != EINTR) return -1;
  return status;
}

/* `count` children at once, each with a child of its own; they end with their number. */
static int forks(int count) {
  int failed = 0;
  pid_t* pids = calloc((size_t)count, sizeof *pids);
  for (int i = 0; i < count; ++i) {
    pids[i] = fork();
    if (pids[i] == 0) {
      pid_t inner = fork();
      if (inner == 0) _exit((i + 1) & 0x7f);
      _exit(WEXITSTATUS(status_of(inner)) == ((i + 1) & 0x7f) ? i & 0x7f : 120);
    }
  }
  for (int i = 0; i < count; ++i) failed |= pids[i] < 0 || WEXITSTATUS(status_of(pids[i])) != (i & 0x7f);
  return failed;
}

/* Makers of children are killed while they make them: what they made goes on, and ends. */
static int killed_makers(int count) {
  for (int i = 0; i < count; ++i) {
    pid_t maker = fork();
    if (maker == 0) {
      for (int k = 0; k < 50; ++k)
        if (fork() == 0) _exit(0);
      _exit(0);
    }
    for (volatile int spin = 0; spin < i * 3000; ++spin) {
    }
    kill(maker, SIGKILL);
    status_of(maker);
  }
  return 0;
}

static int pipe_ends[2];
static pid_t waiting_child(int ignored) {
  if (pipe(pipe_ends) != 0) _exit(99);
  pid_t pid = fork();
  if (pid == 0) {
    if (ignored != 0) signal(ignored, SIG_IGN);
    if (write(pipe_ends[1], "x", 1) != 1) _exit(98);
    for (;;) pause();
  }
  char byte;
  if (read(pipe_ends[0], &byte, 1) != 1) _exit(97);
  return pid;
}

static int send(const char* how, int signal) {
  siginfo_t info = {0};
  pid_t pid = waiting_child(0);
  info.si_signo = signal;
  info.si_code = SI_QUEUE;
  info.si_errno = 7;
  long result = -1;
  if (!strcmp(how, "kill")) result = kill(pid, signal);
  if (!strcmp(how, "tkill")) result = syscall(SYS_tkill, pid, signal);
  if (!strcmp(how, "tgkill")) result = syscall(SYS_tgkill, pid, pid, signal);
  if (!strcmp(how, "queue")) result = syscall(SYS_rt_sigqueueinfo, pid, signal, &info);
  if (!strcmp(how, "pidfd")) {
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    result = syscall(SYS_pidfd_send_signal, fd, signal, NULL, 0);
  }
  if (!strcmp(how, "group")) {
    setpgid(pid, pid);
    result = kill(-pid, signal);
  }
  if (result != 0) return 2;
  const int status = status_of(pid);
  return WIFSIGNALED(status) && WTERMSIG(status) == signal ? 0 : 1;
}

static int ignored(void) {
  pid_t pid = waiting_child(SIGUSR1);
  if (kill(pid, SIGUSR1) != 0 || kill(pid, 0) != 0) return 2;
  if (kill(1 << 22, SIGUSR2) == 0) return 3; /* no such process: nothing is generated */
  kill(pid, SIGTERM);
  return WTERMSIG(status_of(pid)) == SIGTERM ? 0 : 1;
}

static volatile sig_atomic_t caught;
static void on_signal(int signal) { caught = signal; }
static int handler(int signal_number) {
  signal(signal_number, on_signal);
  kill(getpid(), signal_number);
  return caught == signal_number ? 0 : 1;
}

static int fault(void) {
  volatile int* nowhere = NULL;
  return *nowhere;
}

static void* late_end(void* unused) {
  (void)unused;
  usleep(20000);
  exit(5);
}
static _Noreturn void leader_first(void) {
  pthread_t id;
  pthread_create(&id, NULL, late_end, NULL);
  pthread_exit(NULL);
}

static void* sleeper(void* unused) {
  (void)unused;
  for (;;) pause();
  return NULL;
}
static _Noreturn void zapped(int count, int code) {
  pthread_t id;
  for (int i = 0; i < count; ++i)
    if (pthread_create(&id, NULL, sleeper, NULL) != 0) exit(99);
  exit(code);
}

/* A task has one tracer: within the tree others are refused, and nothing breaks. */
static int debugger(void) {
  pid_t pid = fork();
  if (pid == 0) {
    const long refused = ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGWINCH);
    _exit(refused == 0 ? 4 : 0);
  }
  if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0) return 3;
  return WEXITSTATUS(status_of(pid));
}

static int nice_end(int level) { return setpriority(PRIO_PROCESS, 0, level) != 0; }

int main(int argc, char** argv) {
  const char* mode = argc > 1 ? argv[1] : "";
  const int number = argc > 2 ? atoi(argv[2]) : 0;
  const int second = argc > 3 ? atoi(argv[3]) : 0;
  if (!strcmp(mode, "forks")) return forks(number);
  if (!strcmp(mode, "killed-makers")) return killed_makers(number);
  if (!strcmp(mode, "send")) return send(argv[2], second);
  if (!strcmp(mode, "ignored")) return ignored();
  if (!strcmp(mode, "handler")) return handler(number);
  if (!strcmp(mode, "fault")) return fault();
  if (!strcmp(mode, "leader-first")) leader_first();
  if (!strcmp(mode, "zapped")) zapped(number, second);
  if (!strcmp(mode, "debugger")) return debugger();
  if (!strcmp(mode, "nice")) return nice_end(number);
  fprintf(stderr, "tracee_life: unknown mode %s\n", mode);
  return 64;
}
