// libbpf beside skep: its functions that benchmarks call, opened at run time, and clocks.
//
// The library is not linked: a machine without libbpf.so.1 still measures everything else, and says what it left out.
#pragma once
#include <dlfcn.h>
#include <time.h>

#include <algorithm>
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <vector>

namespace skep::bench {

inline double now_us() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

inline double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// libbpf's functions that are needed here.
struct Libbpf {
  void* (*open_mem)(const void*, std::size_t, const void*);
  int (*load)(void*);
  void (*close)(void*);
  void* (*find_program)(const void*, const char*);
  void* (*find_map)(const void*, const char*);
  int (*map_fd)(const void*);
  int (*program_fd)(const void*);
  void* (*attach)(const void*);
  int (*destroy)(void*);
  void* (*ring_new)(int, int (*)(void*, void*, std::size_t), void*, const void*);
  int (*ring_consume)(void*);
  void (*ring_free)(void*);
  int (*set_max_entries)(void*, u32);
  void* (*set_print)(void*);
  void* (*next_program)(const void*, void*);
  const char* (*program_name)(const void*);
  int (*set_autoload)(void*, bool);
  void* (*attach_cgroup)(const void*, int);
  void* (*attach_perf_event)(const void*, int);
  void* (*kernel_types)();
  int (*find_type)(const void*, const char*, u32);
  void (*free_types)(void*);

  static Result<Libbpf> open() {
    void* const library = ::dlopen("libbpf.so.1", RTLD_NOW);
    if (library == nullptr) return fail(Code::not_found, "libbpf.so.1 is not installed");
    Libbpf out{};
    bool complete = true;
    const auto find = [&]<class F>(F& function, const char* name) {
      function = reinterpret_cast<F>(::dlsym(library, name));
      complete &= function != nullptr;
    };
    find(out.open_mem, "bpf_object__open_mem");
    find(out.load, "bpf_object__load");
    find(out.close, "bpf_object__close");
    find(out.find_program, "bpf_object__find_program_by_name");
    find(out.find_map, "bpf_object__find_map_by_name");
    find(out.map_fd, "bpf_map__fd");
    find(out.program_fd, "bpf_program__fd");
    find(out.attach, "bpf_program__attach");
    find(out.destroy, "bpf_link__destroy");
    find(out.ring_new, "ring_buffer__new");
    find(out.ring_consume, "ring_buffer__consume");
    find(out.ring_free, "ring_buffer__free");
    find(out.set_max_entries, "bpf_map__set_max_entries");
    find(out.set_print, "libbpf_set_print");
    find(out.next_program, "bpf_object__next_program");
    find(out.program_name, "bpf_program__name");
    find(out.set_autoload, "bpf_program__set_autoload");
    find(out.attach_cgroup, "bpf_program__attach_cgroup");
    find(out.attach_perf_event, "bpf_program__attach_perf_event");
    find(out.kernel_types, "btf__load_vmlinux_btf");
    find(out.find_type, "btf__find_by_name_kind");
    find(out.free_types, "btf__free");
    if (!complete) return fail(Code::unsupported, "libbpf.so.1 lacks a function that its version 1 has");
    out.set_print(nullptr);
    return out;
  }
};

}  // namespace skep::bench
