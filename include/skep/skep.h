/*
 * skep for C and every language that calls C: programs compiled, loaded and attached on either engine, their maps,
 * events, types and symbols. The Python packages stand on this interface (libskep.so).
 *
 *   skep_engine *engine = skep_engine_open("user");                  // or "kernel"; the rest is the same
 *   skep_object *object = skep_object_open_file(engine, "hello.bpf.c", NULL);
 *   skep_function *hello = skep_function_load(object, "hello", 0, "syscall:execve");
 *   skep_link *link = hello ? skep_function_attach(hello, "syscall:execve", 0, 0) : NULL;
 *   if (!link) { fprintf(stderr, "%s\n", skep_error_message()); return 1; }
 *   const char *const command[] = {"sh", "-c", "ls; date", NULL};
 *   skep_engine_start(engine, command, 0);
 *
 * <skep/skep_vm.h> is the other C interface: the engine alone, inside of your own program. Both are in libskep.so.
 *
 * Errors.     A function that can fail returns NULL or a negative number; skep_error_message() then says why, in full,
 *             for the thread that called. The other functions of the thread change it: read it first.
 * Ownership.  What a function named _open, _load, _attach, _reader or _read_all returns is the caller's, to be given to
 *             the function that ends it; NULL may be given. Everything else belongs to the handle it was asked of and
 *             lives as long. A handle keeps alive what it was made from: the order of ending does not matter.
 * Threads.    Every function may be called from every thread; one handle is used by one thread at a time, except that
 *             skep_engine_stop() may be called at any time, from a signal handler too.
 * Strings.    UTF-8 where text, bytes as the system has them where file names; terminated.
 * Numbers.    Types of maps and programs, flags and attach types are the kernel's (include/uapi/linux/bpf.h).
 *
 * Within one SKEP_ABI_VERSION nothing is taken away or changes its meaning or layout. Structures begin with their size
 * as the caller knows it, so that they can grow.
 */
#ifndef SKEP_SKEP_H
#define SKEP_SKEP_H
#include <skep/skep_vm.h> /* enum skep_code */
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

#define SKEP_ABI_VERSION 1
/* The SKEP_ABI_VERSION and the release ("0.1.0") of the library that is running. */
uint32_t skep_abi_version(void);
const char* skep_version(void);

/* --- the last error of this thread --- */
int32_t skep_error_code(void);        /* enum skep_code; SKEP_OK after a function that did not fail */
const char* skep_error_message(void); /* "" when there was none */
int32_t skep_error_number(void);      /* errno where a system call was involved, else 0 */

typedef struct skep_engine skep_engine;
typedef struct skep_object skep_object;
typedef struct skep_function skep_function; /* a loaded program; skep_program is skep_vm.h's */
typedef struct skep_link skep_link;
typedef struct skep_table skep_table; /* a map of an object */
typedef struct skep_reader skep_reader;

/* --- engines --- */
/* "user": this process, no privileges, observes one command or process. "kernel": Linux, through bpf(2). */
skep_engine* skep_engine_open(const char* name);
void skep_engine_close(skep_engine* engine);
const char* skep_engine_name(const skep_engine* engine);
/* One line for people: which mechanism observes, what was substituted; "" when there is nothing to say. Valid until the
 * next call. */
const char* skep_engine_notes(skep_engine* engine);

/* Starts a command (a list that ends in NULL) or begins to observe the process `pid`, on a thread of its own; returns
 * when it runs. The user engine's programs are attached before. One workload at a time. */
int skep_engine_start(skep_engine* engine, const char* const* command, int32_t pid);
enum skep_workload_state {
  SKEP_WORKLOAD_NONE = 0,
  SKEP_WORKLOAD_RUNNING = 1,
  SKEP_WORKLOAD_ENDED = 2,  /* by itself; wait_status says how */
  SKEP_WORKLOAD_STOPPED = 3 /* skep_engine_stop() was first */
};
typedef struct skep_workload {
  size_t size; /* sizeof(skep_workload) */
  int32_t state;
  int32_t pid;         /* of the command, or 0 */
  int32_t wait_status; /* as waitpid(2) has it */
} skep_workload;
/* Negative, with an error, when the workload could not be observed to its end. */
int skep_engine_workload(skep_engine* engine, skep_workload* workload);
/* Readable from the end of the workload on: for poll(2). */
int skep_engine_end_fd(const skep_engine* engine);
/* Ends the observation; a command goes on by itself. */
void skep_engine_stop(skep_engine* engine);

/* What this engine on this machine can do: "kprobe", "fentry", "lsm", "raw_tracepoint", "kernel_types". 1, 0, or
 * negative for a name that is not known. */
int skep_engine_has(skep_engine* engine, const char* feature);

/* --- objects: C source (BCC's dialect or libbpf's style) or an ELF object, read, and its maps made --- */
typedef struct skep_compile_options {
  size_t size;               /* sizeof(skep_compile_options) */
  const char* const* cflags; /* more arguments for clang; a list that ends in NULL, or NULL */
  const char* cache_dir;     /* NULL: $XDG_CACHE_HOME/skep, ~/.cache/skep */
  int32_t without_cache;     /* not 0: always run clang */
  int32_t dialect;           /* enum skep_dialect */
} skep_compile_options;
enum skep_dialect { SKEP_DIALECT_AUTOMATIC = 0, SKEP_DIALECT_BCC = 1, SKEP_DIALECT_LIBBPF = 2 };

skep_object* skep_object_open_file(skep_engine* engine, const char* path, const skep_compile_options* options);
/* `name` stands for the file in messages. */
skep_object* skep_object_open_text(skep_engine* engine, const char* text, size_t length, const char* name,
                                   const skep_compile_options* options);
void skep_object_close(skep_object* object);
/* What the compiler said although it succeeded, or "". */
const char* skep_object_warnings(const skep_object* object);
/* Compiles `source` to the ELF object `path`; no engine is needed. */
int skep_compile(const char* source, const char* path, const skep_compile_options* options);

typedef struct skep_function_spec {
  size_t size; /* sizeof(skep_function_spec) */
  const char* name;
  const char* section;
  const char* target; /* where its name or section wants it: "kprobe:tcp_connect"; "" where nothing does */
  uint32_t type;      /* BPF_PROG_TYPE_*, 0: whatever it is attached to decides */
  int32_t autoload;   /* 0: a function that others call, or that is not loaded unless it is asked for */
} skep_function_spec;
uint32_t skep_object_function_count(const skep_object* object);
int skep_object_function(const skep_object* object, uint32_t index, skep_function_spec* spec);

/* --- programs --- */
/* Verifies and loads one program. `type` 0 and `target` NULL: as the object says; a target decides the type and is what
 * the program is prepared for, which some programs need at their load (fentry, and kprobes where the kernel has none).
 */
skep_function* skep_function_load(skep_object* object, const char* name, uint32_t type, const char* target);
void skep_function_close(skep_function* function);
/* The verifier's full log of the last load that failed, "" where there is none (user engine). */
const char* skep_engine_verifier_log(skep_engine* engine);

typedef struct skep_function_info {
  size_t size; /* sizeof(skep_function_info) */
  uint32_t id, type;
  const char* name;
  const char* tag; /* 16 hex digits */
  uint64_t run_count, run_time_ns;
  uint32_t instruction_bytes, machine_code_bytes;
} skep_function_info;
int skep_function_describe(skep_function* function, skep_function_info* info);
/* Its instructions as text, one a line. Valid until the next call. */
const char* skep_function_text(skep_function* function);
/* Its instructions as they run, 8 bytes each: how many bytes there are; at most `size` of them are written. */
int64_t skep_function_code(skep_function* function, void* bytes, size_t size);

/* A file descriptor of it, the caller's to close: kernel engine only. */
int skep_function_descriptor(skep_function* function);

/* `target`: as the command line has it ("kprobe:tcp_connect", "syscall:execve", "tracepoint:sched:sched_switch",
 * "uprobe:/bin/bash:readline", "perf_event:cpu-clock:99hz", "xdp:eth0"), or NULL for the program's own. `pid`: user
 * functions and perf events, in this process only; 0: in every one. */
skep_link* skep_function_attach(skep_function* function, const char* target, int32_t pid, uint64_t cookie);
/* A line where another hook carries the one that was asked for, and one for each other place where the program is
 * attached, or whose calls it does not see; or "". */
const char* skep_link_carried_by(const skep_link* link);
/* Detaches. */
void skep_link_close(skep_link* link);
/* Detaches many (NULL among them is nothing), in less time than one after the other: the kernel waits until no CPU can
 * be inside of what was attached, for all of them at once. */
void skep_links_close(skep_link* const* links, size_t count);

typedef struct skep_test_run {
  size_t size; /* sizeof(skep_test_run) */
  const void* data;
  size_t data_size;
  const void* context;
  size_t context_size;
  uint32_t repeat; /* 0 is 1 */
  uint64_t result;
  uint64_t duration_ns; /* mean of a run */
  const void* data_out; /* afterwards; valid until the next run or the function's end */
  size_t data_out_size;
  const void* context_out;
  size_t context_out_size;
} skep_test_run;
int skep_function_test_run(skep_function* function, skep_test_run* run);

/* --- maps --- */
typedef struct skep_table_info {
  size_t size; /* sizeof(skep_table_info) */
  const char* name;
  const char* type_name; /* bpftool's: "percpu_hash" */
  uint32_t id, type, flags, max_entries;
  uint32_t key_size, value_size;
  uint32_t stored_value_size;    /* what the functions below read and write: per-CPU maps hold a slot for each CPU */
  uint32_t key_type, value_type; /* in the object's types, 0: not known; of rings: the record's */
} skep_table_info;
uint32_t skep_object_table_count(const skep_object* object);
/* By place, or by name. */
skep_table* skep_object_table_at(skep_object* object, uint32_t index);
skep_table* skep_object_table(skep_object* object, const char* name);
int skep_table_describe(const skep_table* table, skep_table_info* info);
/* A file descriptor of it, the caller's to close: kernel engine only. */
int skep_table_descriptor(const skep_table* table);

/* Keys have key_size bytes, values stored_value_size. A queue's key is NULL. flags: 0 any, 1 only if absent, 2 only if
 * present. Program arrays and maps of maps take and give ids. */
int skep_table_lookup(const skep_table* table, const void* key, void* value);
int skep_table_update(const skep_table* table, const void* key, const void* value, uint64_t flags);
int skep_table_delete(const skep_table* table, const void* key);
/* Looks up and takes out, as one step. */
int skep_table_take(const skep_table* table, const void* key, void* value);
/* The key after `key` (NULL: the first) into `next`. 1: there is none. */
/* Many entries by few system calls: `count` keys (and values) side by side. `done` (NULL: not wanted) is set to how
 * many were; where those are not all, the error is that of the next one. */
int skep_table_update_batch(const skep_table* table, const void* keys, const void* values, uint64_t count,
                            uint64_t flags, uint64_t* done);
int skep_table_delete_batch(const skep_table* table, const void* keys, uint64_t count, uint64_t* done);
int skep_table_next_key(const skep_table* table, const void* key, void* next);

/* Every entry at once. */
typedef struct skep_entries {
  size_t size;        /* sizeof(skep_entries) */
  const void* keys;   /* `count` of them, side by side */
  const void* values; /* likewise; not for SKEP_ENTRIES_KEYS */
  uint64_t count;
  void* memory; /* the library's */
} skep_entries;
enum skep_entries_how { SKEP_ENTRIES_READ = 0, SKEP_ENTRIES_TAKE = 1, SKEP_ENTRIES_KEYS = 2 };
int skep_table_read_all(const skep_table* table, int32_t how, skep_entries* entries);
void skep_entries_close(skep_entries* entries);
/* Deletes every entry; of arrays: makes every value zero. How many there were. */
int64_t skep_table_clear(const skep_table* table);
int skep_table_freeze(const skep_table* table);

/* --- by descriptor: what lies at a path in bpffs, or was made by others; the kernel's objects only. Keys and values are
 * as bpf(2) has them: program arrays, maps of maps and maps of sockets take descriptors, per-CPU maps a slot for each
 * CPU. Descriptors that are returned are the caller's to close. --- */
int skep_descriptor_open(const char* path);
/* `kind`: "map" or "program". */
int skep_descriptor_by_id(const char* kind, uint32_t id);
int skep_descriptor_pin(int32_t descriptor, const char* path);
int skep_descriptor_create_map(const char* name, uint32_t type, uint32_t key_size, uint32_t value_size,
                               uint32_t max_entries, uint32_t flags);
int skep_descriptor_lookup(int32_t descriptor, const void* key, void* value);
int skep_descriptor_update(int32_t descriptor, const void* key, const void* value, uint64_t flags);
int skep_descriptor_delete(int32_t descriptor, const void* key);
int skep_descriptor_take(int32_t descriptor, const void* key, void* value);
/* 1: there is none. */
int skep_descriptor_next_key(int32_t descriptor, const void* key, void* next);
/* Runs a program on a packet. `data_out` has room for what the program makes of it (NULL: it is not wanted), and
 * `size_out`, `result` and `duration_ns`, where they are not NULL, are told. */
int skep_descriptor_test_run(int32_t descriptor, uint32_t repeat, const void* data, uint32_t size, void* data_out,
                             uint32_t* size_out, uint32_t* result, uint32_t* duration_ns);
/* An object without programs whose only table is the map behind a descriptor, which stays the caller's. */
skep_object* skep_object_of_map(skep_engine* engine, int32_t descriptor);

/* --- rings, perf buffers and the trace pipe --- */
skep_reader* skep_table_reader(skep_table* table);
/* Lines of bpf_trace_printk, as the kernel's trace_pipe has them, without the newline. */
skep_reader* skep_engine_trace_reader(skep_engine* engine);
void skep_reader_close(skep_reader* reader);
/* Waits until one of the readers has records, or `timeout_ms` (negative: without end), or the end of `engine`'s
 * workload (NULL: none), or a signal; then takes what there is. How many records that were, in all. */
int64_t skep_readers_poll(skep_reader* const* readers, size_t count, skep_engine* engine, int32_t timeout_ms);
typedef struct skep_record {
  const void* data;
  size_t size;
  uint32_t cpu; /* perf buffers: which CPU's; else 0 */
} skep_record;
/* What the last poll took from this reader; valid until the next. How many there are. */
uint64_t skep_reader_records(const skep_reader* reader, const skep_record** records);
/* Records that did not fit, since the reader was opened. */
uint64_t skep_reader_lost(const skep_reader* reader);

/* --- types: what keys, values and records are made of --- */
enum skep_type_kind {
  SKEP_TYPE_VOID = 0,
  SKEP_TYPE_INT = 1,
  SKEP_TYPE_POINTER = 2,
  SKEP_TYPE_ARRAY = 3, /* `count` times `type` */
  SKEP_TYPE_STRUCT = 4,
  SKEP_TYPE_UNION = 5,
  SKEP_TYPE_ENUM = 6,
  SKEP_TYPE_FLOAT = 7,
  SKEP_TYPE_FUNCTION = 8
};
typedef struct skep_type {
  size_t size;      /* sizeof(skep_type) */
  const char* name; /* "" for the nameless */
  int32_t kind;
  uint32_t id; /* without typedef, const and volatile */
  uint64_t bytes;
  uint32_t alignment;
  uint32_t type;  /* arrays: of an element; pointers: of what is pointed at */
  uint32_t count; /* members, elements, enumerators */
  int32_t is_signed, is_bool;
} skep_type;
int skep_object_type(const skep_object* object, uint32_t id, skep_type* type);
typedef struct skep_member {
  size_t size; /* sizeof(skep_member) */
  const char* name;
  uint32_t type;
  uint32_t bit_offset;
  uint32_t bit_size; /* 0: no bit field */
  int64_t value;     /* of an enumerator */
} skep_member;
/* Of a struct or union, or the enumerator of an enum. */
int skep_object_member(const skep_object* object, uint32_t type, uint32_t index, skep_member* member);

/* --- programs and libraries in files --- */
typedef struct skep_binary_function {
  const char* name;
  uint64_t file_offset; /* where uprobes are set */
  uint64_t bytes;
} skep_binary_function;
typedef struct skep_binary_probe { /* a user statically defined tracepoint (USDT) */
  const char* provider;
  const char* name;
  const char* arguments; /* as the note has them: "-4@%edi 8@16(%rbp)" */
  uint64_t address, file_offset, semaphore_offset;
} skep_binary_probe;
/* What an ELF file has. Both lists belong to the result. */
typedef struct skep_binary skep_binary;
skep_binary* skep_binary_open(const char* path);
void skep_binary_close(skep_binary* binary);
/* Read when they are first asked for. How many there are; negative for a file that is broken. */
int64_t skep_binary_functions(skep_binary* binary, const skep_binary_function** functions);
int64_t skep_binary_probes(skep_binary* binary, const skep_binary_probe** probes);

/* --- symbols --- */
typedef struct skep_symbolizer skep_symbolizer;
typedef struct skep_frame {
  size_t size;           /* sizeof(skep_frame) */
  const char* name;      /* of the function, as its file has it; "" where it is not known */
  const char* demangled; /* C++ and Rust names as the source has them */
  uint64_t offset;       /* from the beginning of the function */
  const char* module;    /* kernel: the module, "" for the kernel itself; user: the file */
  uint64_t module_offset;
  /* Of skep_symbolizer_frame() only. */
  uint64_t address;
  const char* source; /* the file that the line is in, "" where debug information does not say */
  uint32_t line;      /* 0: not known */
  int inlined;        /* has no code of its own at the address: the next frame that is not inlined has */
} skep_frame;
/* Reads what it needs when it is asked, and keeps it. */
skep_symbolizer* skep_symbolizer_open(void);
void skep_symbolizer_close(skep_symbolizer* symbolizer);
/* What is at an address of a process, or of the kernel (`pid` -1). 1: the name is known, 0: it is not; what the frame
 * points to is valid until the next call. */
int skep_symbolizer_find(skep_symbolizer* symbolizer, int32_t pid, uint64_t address, skep_frame* frame);
/* Names a stack, innermost address first, of a process or of the kernel (`pid` -1). Functions that the compiler inlined
 * are frames of their own, where there is debug information and libdw. How many frames there are;
 * skep_symbolizer_frame() gives each, which is valid until the next stack. */
int64_t skep_symbolizer_stack(skep_symbolizer* symbolizer, int32_t pid, const uint64_t* addresses, size_t count);
int skep_symbolizer_frame(skep_symbolizer* symbolizer, size_t index, skep_frame* frame);
/* Looks at a process now, for addresses that are asked when it may be gone. */
int skep_symbolizer_remember(skep_symbolizer* symbolizer, int32_t pid);
/* From now on the kernel tells what every process maps (`children` not 0: those that this thread starts), and who has
 * ended can be named. To be called again a few times in a second. */
int skep_symbolizer_follow(skep_symbolizer* symbolizer, int children);
int skep_symbolizer_kernel_address(skep_symbolizer* symbolizer, const char* name, uint64_t* address);

/* --- this machine --- */
/* The running kernel's types: whether struct `name` has a member `member`, at any depth of nameless members. 1, 0. */
int skep_kernel_has_member(const char* name, const char* member);
/* Whether the running kernel's types know this function. 1, 0. */
int skep_kernel_has_function(const char* name);
/* Kernel functions that the kernel engine can probe although this kernel has no kprobes: the index'th, or NULL. */
const char* skep_kernel_stand_in(uint32_t index);
/* The system call with this number, or NULL. */
const char* skep_syscall_name(uint32_t number);
/* The number of the system call behind a kernel function without its prefix ("newfstat"), or -1. */
int32_t skep_syscall_number(const char* function);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
