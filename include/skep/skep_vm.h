/*
 * skep's engine for C and every language that calls C: verified eBPF functions inside your own program.
 *
 *   skep_error error;
 *   skep_options *options = skep_options_new();
 *   skep_options_set_context(options, "struct request", sizeof(struct request), &error);
 *   skep_vm *vm = skep_vm_load_file("filter.bpf.o", options, &error);
 *   if (!vm) { fprintf(stderr, "%s\n", error.message); return 1; }
 *   const skep_program *program = skep_vm_program(vm, "on_request", &error);
 *   uint64_t verdict = skep_program_run(program, &request, NULL);
 *
 * What programs may do is in <skep/vm.hpp>, which is the same engine for C++.
 *
 * Handles are opaque. Functions that can fail return NULL or a negative number and explain themselves in `error`, which
 * may be NULL. Strings are terminated and copied. One thread at a time may change options, take handles out of a vm, or
 * free something; running programs and using maps is free for all threads. Everything taken out of a vm lives as long
 * as the vm; rings are the caller's to close, before or after the vm.
 *
 * Within one SKEP_VM_API_VERSION nothing is taken away or changes its meaning or layout.
 * Link with `pkg-config --libs skep`.
 */
#ifndef SKEP_VM_H
#define SKEP_VM_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

#define SKEP_VM_API_VERSION 1
/* The SKEP_VM_API_VERSION and the release ("0.1.0") of the library that is linked. */
uint32_t skep_vm_api_version(void);
const char* skep_vm_version(void);

enum skep_code {
  SKEP_OK = 0,
  SKEP_MALFORMED = 1,        /* bytes that break their format */
  SKEP_NOT_FOUND = 2,        /* a named thing does not exist */
  SKEP_UNSUPPORTED = 3,      /* known, but not available here */
  SKEP_PERMISSION = 4,       /* the system refused */
  SKEP_REJECTED = 5,         /* the verifier said no: the message is its explanation */
  SKEP_INVALID_ARGUMENT = 6, /* the caller asked for something impossible */
  SKEP_LIMIT = 7,            /* a bound was exceeded, or memory */
  SKEP_IO = 8,
  SKEP_TIMED_OUT = 9,
  SKEP_CLOSED = 10
};
/* Filled by every call that takes one: SKEP_OK and an empty message when nothing went wrong. */
typedef struct skep_error {
  int32_t code;       /* enum skep_code */
  char message[2044]; /* UTF-8, terminated; a longer text is cut */
} skep_error;

typedef struct skep_options skep_options;
typedef struct skep_vm skep_vm;
typedef struct skep_program skep_program;
typedef struct skep_map skep_map;
typedef struct skep_ring skep_ring;

/* --- before loading --- */
/* NULL when there is no memory. Modules loaded with the same options share one compiler thread. */
skep_options* skep_options_new(void);
void skep_options_free(skep_options* options);

/* The structure that SEC("syscall") programs get, `bytes` long (at most 4096). Without fields all of it is numbers that
 * programs read and write. `name`: as in the program's source. */
int skep_options_set_context(skep_options* options, const char* name, uint32_t bytes, skep_error* error);
enum skep_field {
  SKEP_FIELD_NUMBER = 0,     /* 1, 2, 4 or 8 bytes, aligned */
  SKEP_FIELD_BYTES = 1,      /* an array of bytes */
  SKEP_FIELD_DATA_BEGIN = 2, /* a pointer to bytes that programs may read after they compared it with the next */
  SKEP_FIELD_DATA_END = 3    /* the pointer behind them */
};
/* `kind` is an enum skep_field; `writable` not 0: programs may write numbers and bytes. */
int skep_options_add_field(skep_options* options, const char* name, uint32_t offset, uint32_t size, int32_t kind,
                           int32_t writable, skep_error* error);
/* Not 0: programs may change the bytes from SKEP_FIELD_DATA_BEGIN on. */
int skep_options_set_data_writable(skep_options* options, int32_t writable, skep_error* error);

enum skep_tier { SKEP_TIER_AUTOMATIC = 0, SKEP_TIER_INTERPRETER = 1, SKEP_TIER_BASELINE = 2, SKEP_TIER_OPTIMISED = 3 };
int skep_options_set_tier(skep_options* options, int32_t tier, skep_error* error);
/* Not 0: numbers of programs do not appear in machine code as they are. */
int skep_options_set_blind_constants(skep_options* options, int32_t blind, skep_error* error);

/* What a helper's argument must be; the verifier proves it. */
enum skep_argument {
  SKEP_NUMBER = 0,  /* any value */
  SKEP_CONTEXT = 1, /* the run's context */
  SKEP_READ = 2,    /* memory to read; SKEP_SIZE follows */
  SKEP_WRITE = 3,   /* memory to fill; SKEP_SIZE follows */
  SKEP_SIZE = 4     /* bytes of the memory before it, not 0 */
};
/* A helper of yours. `run` is for skep_run_host(). Machine code calls it: it must return, no longjmp, no exceptions. */
typedef uint64_t (*skep_helper_fn)(void* run, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);
/* `id` is 1000 to 1999: programs call the helper by it. `arguments` has `count` of enum skep_argument, at most five. */
int skep_options_add_helper(skep_options* options, uint32_t id, const char* name, const int32_t* arguments,
                            size_t count, skep_helper_fn function, skep_error* error);
/* Gets the lines of bpf_trace_printk; not terminated. NULL: they are dropped, as without this call. */
typedef void (*skep_trace_fn)(void* user, const char* line, size_t length);
int skep_options_set_trace(skep_options* options, skep_trace_fn function, void* user, skep_error* error);

/* --- loading: reads, verifies, compiles. `options` may be NULL and is copied. --- */
/* An ELF object, or a classic filter as `tcpdump -ddd` prints it. `name` is for messages and may be NULL. */
skep_vm* skep_vm_load(const void* bytes, size_t size, const char* name, const skep_options* options, skep_error* error);
skep_vm* skep_vm_load_file(const char* path, const skep_options* options, skep_error* error);
/* Bare instructions of 8 bytes as one program; `type` is bpftool's name: "syscall", "xdp", "sched_cls". */
skep_vm* skep_vm_load_instructions(const void* instructions, size_t count, const char* type, const char* name,
                                   const skep_options* options, skep_error* error);
/* No program of it may be running. */
void skep_vm_free(skep_vm* vm);
/* `name` NULL: the only one. */
const skep_program* skep_vm_program(skep_vm* vm, const char* name, skep_error* error);
skep_map* skep_vm_map(skep_vm* vm, const char* name, skep_error* error);

/* --- running --- */
/* r0 of the program. `context` has at least the bytes that were promised. `host` is for your helpers. */
uint64_t skep_program_run(const skep_program* program, void* context, void* host);
/* For xdp, tc and socket programs: any bytes as the packet. Other programs do not run: 0. */
uint64_t skep_program_run_packet(const skep_program* program, void* packet, size_t size, void* host);
/* A packet with room around it, for programs that make it longer or shorter. */
typedef struct skep_packet {
  void* room;
  size_t room_size;
  size_t offset; /* where in `room` the packet begins, before and after the run */
  size_t size;   /* its bytes */
} skep_packet;
uint64_t skep_program_run_packet_buffer(const skep_program* program, skep_packet* packet, void* host);
void* skep_run_host(void* run);
/* What the next run is in: "interpreter", "baseline" or "optimised". */
const char* skep_program_tier(const skep_program* program);

/* --- maps: every call says how large its buffers are, and they must be as large as the map's keys and values --- */
size_t skep_map_key_size(const skep_map* map);
/* Per-CPU maps: one slot of a multiple of 8 bytes for each possible CPU. */
size_t skep_map_value_size(const skep_map* map);
int skep_map_lookup(const skep_map* map, const void* key, size_t key_size, void* value, size_t value_size,
                    skep_error* error);
/* flags: 0 any, 1 only if absent, 2 only if present. */
int skep_map_update(const skep_map* map, const void* key, size_t key_size, const void* value, size_t value_size,
                    uint64_t flags, skep_error* error);
int skep_map_delete(const skep_map* map, const void* key, size_t key_size, skep_error* error);
/* The key after `key` into `next`; `key` NULL: the first. 1: there is none after it. */
int skep_map_next_key(const skep_map* map, const void* key, void* next, size_t key_size, skep_error* error);

/* --- ring buffers and perf event arrays: one reader each --- */
typedef void (*skep_record_fn)(void* user, const void* data, size_t size);
skep_ring* skep_map_open_ring(const skep_map* map, skep_error* error);
/* Hands every waiting record to `function`, after waiting up to `timeout_ms` for the first. How many there were. */
int64_t skep_ring_poll(skep_ring* ring, int32_t timeout_ms, skep_record_fn function, void* user, skep_error* error);
/* Readable when records wait: for poll(2). */
int skep_ring_fd(const skep_ring* ring);
/* Records that did not fit, since the ring was opened. */
uint64_t skep_ring_lost(const skep_ring* ring);
void skep_ring_close(skep_ring* ring);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
