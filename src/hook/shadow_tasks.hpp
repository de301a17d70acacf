// Tasks of the traced tree, and their parents, as structures that programs read: shadow_layout.hpp.
//
// Programs read them in two ways. bpf_probe_read_kernel() and all that is made of it (BPF_CORE_READ) ask read(), which
// fills what is asked for from /proc first, once per event. Typed programs load directly, at machine speed, from memory
// that is filled when the pointer is handed out: want() says which fields these are. Loads reach a window of 4 GiB of
// which little is used, so a stale or null pointer reads zeroes, as the kernel's fault handling gives them. Memory is
// bounded: the least recently used task makes room, and old pointers to it then read its successor, as in the kernel.
//
// One tracer at a time uses it. Filling does not allocate.
#pragma once
#include <array>
#include <memory>
#include <skep/result.hpp>
#include <span>
#include <string_view>

#include "hook/shadow_files.hpp"
#include "hook/shadow_layout.hpp"
#include "hook/syscall_event.hpp"
#include "map/memory.hpp"

namespace skep::hook {

class ShadowTasks {
 public:
  static Result<std::unique_ptr<ShadowTasks>> create();

  /// Base of the window, for vm::Bindings::object_window.
  u64 window() const noexcept { return base_; }

  /// Fields that programs load directly: `bytes` at `offset` of the kernel structure `type`.
  void want(std::string_view type, u32 offset, u32 bytes) noexcept;
  void want_nothing() noexcept { wanted_ = 0; }

  /// A new event: what was filled before is stale.
  void begin_event(bool compat_call) noexcept;
  /// The task's address, its wanted fields filled. `tgid` 0: not known.
  shadow::Pointer task(u32 tid, u32 tgid) noexcept;
  /// The task that an address means, or 0.
  u32 tid_of(shadow::Pointer address) const noexcept;
  /// Whether an address is one of these: no address of a process is.
  static bool is_shadow(u64 address) noexcept { return address >> 32 == tag >> 32; }
  /// Copies what lies there, filled. False: not all of it is ours.
  bool read(void* to, u64 address, u32 size) noexcept;

  /// What the tracer knows of an end. From then on the task's exit_code is `code`.
  void ending(u32 tid, u32 tgid, s32 code) noexcept;
  void reaped(u32 tid) noexcept;

  /// Files behind descriptors, and names of files.
  ShadowFiles& files() noexcept { return files_; }
  /// The network namespace of a task.
  shadow::Pointer net_of(u32 tid, u32 tgid) noexcept;

  // Objects of the current event.
  shadow::Pointer registers(const PtRegs& registers) noexcept;
  shadow::Pointer binprm(std::string_view filename) noexcept;
  shadow::Pointer siginfo(s32 signal, s32 error, s32 code) noexcept;
  shadow::Pointer sigaction(u64 handler, u64 flags) noexcept;

 private:
  static constexpr u64 tag = 0xffff'8881'0000'0000;
  static constexpr u32 first_offset = 1u << 20, most_tasks = 512;
  static constexpr u64 tables_offset = u64{1} << 31;  ///< tables of descriptors: half of the window, nothing behind
  static_assert(tables_offset + most_tasks * ShadowFiles::table_bytes <= u64{1} << 32);

  enum Group : u8 { comm = 1, stat = 2, status = 4, namespaces = 8, host = 16 };

  /// All structures of one task.
  struct Block {
    shadow::task_struct task;
    struct shadow::cred cred;
    shadow::signal_struct signal;
    shadow::mm_struct mm;
    struct shadow::nsproxy nsproxy;
    struct shadow::uts_namespace uts;
    std::array<shadow::name_space, 6> spaces;
    shadow::files_struct files;
    shadow::fdtable table;
  };
  /// What we remember of a block; not for programs.
  struct Facts {
    u32 tid = 0;
    u64 serial = 0;  ///< the event it was last looked at in
    u8 filled = 0;   ///< groups, in that event
    s32 exit_code = 0;
    bool ends = false;  ///< ending() was called
  };
  struct Scratch {
    PtRegs registers;
    shadow::linux_binprm binprm;
    shadow::kernel_siginfo siginfo;
    shadow::k_sigaction sigaction;
    char filename[4096];
  };

  static constexpr std::size_t blocks_offset = (sizeof(Scratch) + 63) / 64 * 64;

  explicit ShadowTasks(map::Region region);
  Block& block(u32 index) noexcept { return blocks_[index]; }
  template <class T>
  shadow::Pointer address(const T& object) const noexcept {
    return tag | static_cast<u32>(reinterpret_cast<u64>(&object) - base_);
  }
  static u8 groups_of(std::size_t offset, std::size_t size) noexcept;
  u32 index_of(u32 tid, u32 tgid) noexcept;
  void reset(u32 index, u32 tid, u32 tgid) noexcept;
  void fill(u32 index, u8 groups) noexcept;
  void fill_stat(Block& block, u32 tid) noexcept;
  s32 ending_threads(u32 tgid) const noexcept;
  static void fill_status(Block& block, u32 tid) noexcept;
  static void fill_namespaces(Block& block, u32 tid) noexcept;
  static void fill_host(Block& block, u32 tid) noexcept;
  void prepare(u32 index, u32 depth) noexcept;
  bool read_table(void* to, u64 offset, u32 size) noexcept;

  map::Region region_;
  u64 base_;
  Scratch* scratch_;
  Block* blocks_;                     ///< behind it
  ShadowFiles::Memory* file_memory_;  ///< and behind them
  ShadowFiles files_;
  std::array<Facts, most_tasks> facts_{};
  u64 serial_ = 1;
  u8 wanted_ = 0;
  bool compat_ = false;
};

}  // namespace skep::hook
