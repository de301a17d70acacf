/* A server loop with a filter in eBPF, and what the filter costs: requests come through a socket pair, each is judged
 * by nobody, by the filter, and by the same filter in C.
 *
 *   cc -std=c11 -O2 request_server.c $(pkg-config --cflags --libs skep) -lstdc++ -lm -o request_server
 *   skep compile request_filter.bpf.c -o request_filter.o && ./request_server request_filter.o
 */
#define _POSIX_C_SOURCE 200809L
#include <skep/skep_vm.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct request {
  uint32_t client;
  uint16_t length, method;
  uint64_t token;
};

static uint64_t secret_of_client(uint64_t client) { return client * 2654435761u; }
static uint64_t secret_of(void* run, uint64_t client, uint64_t b, uint64_t c, uint64_t d, uint64_t e) {
  (void)run, (void)b, (void)c, (void)d, (void)e;
  return secret_of_client(client);
}

static uint64_t native_requests[256];
static __attribute__((noinline)) uint64_t native_pass(const struct request* request) {
  if (request->method > 2 || request->length > 1024) return 0;
  if (request->token != secret_of_client(request->client)) return 0;
  native_requests[request->client & 255]++;
  return 1;
}

enum judge { NOBODY, FILTER, NATIVE, JUDGES };

static double now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return 1e9 * (double)now.tv_sec + (double)now.tv_nsec;
}

/* Serves `count` requests and returns how many passed, or -1. One of eight has a wrong token. */
static long serve(const int pair[2], const skep_program* filter, enum judge judge, long count) {
  long passed = 0;
  for (long i = 0; i < count; i++) {
    struct request request = {(uint32_t)i, 100, 1, secret_of_client((uint32_t)i) + (i % 8 == 0)};
    if (write(pair[0], &request, sizeof request) != (ssize_t)sizeof request) return -1;
    if (read(pair[1], &request, sizeof request) != (ssize_t)sizeof request) return -1;
    passed += judge == NOBODY || (judge == FILTER ? skep_program_run(filter, &request, NULL) : native_pass(&request));
  }
  return passed;
}

/* The filter alone, without the sockets around it. */
static double ns_per_call(const skep_program* filter, enum judge judge) {
  const long count = 200000;
  struct request request = {7, 100, 1, secret_of_client(7)};
  double best = 1e18;
  for (int round = 0; round < 15; round++) {
    uint64_t passed = 0;
    const double begin = now_ns();
    for (long i = 0; i < count; i++)
      passed += judge == FILTER ? skep_program_run(filter, &request, NULL) : native_pass(&request);
    const double spent = (now_ns() - begin) / (double)count;
    if (passed != (uint64_t)count) return -1;
    if (spent < best) best = spent;
  }
  return best;
}

int main(int argc, char** argv) {
  skep_error error;
  const int32_t one_number[] = {SKEP_NUMBER};
  if (argc != 2) {
    fprintf(stderr, "usage: request_server request_filter.o\n");
    return 2;
  }
  skep_options* options = skep_options_new();
  if (!options) return 1;
  if (skep_options_set_context(options, "struct request", sizeof(struct request), &error) != 0 ||
      skep_options_add_helper(options, 1000, "secret_of", one_number, 1, secret_of, &error) != 0) {
    fprintf(stderr, "request_server: %s\n", error.message);
    return 1;
  }
  const double begin = now_ns();
  skep_vm* vm = skep_vm_load_file(argv[1], options, &error);
  const skep_program* filter = vm ? skep_vm_program(vm, "pass", &error) : NULL;
  skep_map* requests = filter ? skep_vm_map(vm, "requests", &error) : NULL;
  if (!requests) {
    fprintf(stderr, "request_server: %s\n", error.message);
    return 1;
  }
  struct request first = {1, 100, 1, secret_of_client(1)};
  const uint64_t verdict = skep_program_run(filter, &first, NULL);
  printf("first verdict %llu after %.2f ms\n", (unsigned long long)verdict, (now_ns() - begin) / 1e6);

  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) != 0) {
    perror("socketpair");
    return 1;
  }
  static const char* const names[JUDGES] = {"no filter", "eBPF filter", "the same in C"};
  double best[JUDGES] = {1e18, 1e18, 1e18};
  long passed[JUDGES] = {0};
  const long count = 20000;
  for (int round = 0; round < 9; round++) {
    for (int judge = 0; judge < JUDGES; judge++) {
      const double start = now_ns();
      passed[judge] = serve(pair, filter, (enum judge)judge, count);
      const double spent = (now_ns() - start) / (double)count;
      if (passed[judge] < 0) {
        perror("request_server: the socket pair");
        return 1;
      }
      if (spent < best[judge]) best[judge] = spent;
    }
  }
  for (int judge = 0; judge < JUDGES; judge++)
    printf("%-14s %7.1f ns a request, %ld of %ld passed\n", names[judge], best[judge], passed[judge], count);
  printf("the filter alone: eBPF (%s) %.1f ns, C %.1f ns\n", skep_program_tier(filter), ns_per_call(filter, FILTER),
         ns_per_call(filter, NATIVE));

  const uint32_t slot = 1;
  uint64_t counted = 0;
  if (skep_map_lookup(requests, &slot, sizeof slot, &counted, sizeof counted, &error) != 0) {
    fprintf(stderr, "request_server: %s\n", error.message);
    return 1;
  }
  printf("client 1 was counted %llu times\n", (unsigned long long)counted);
  skep_vm_free(vm);
  skep_options_free(options);
  close(pair[0]);
  close(pair[1]);
  return 0;
}
