// What every kernel engine test needs: an object compiled from C, a backend, a child to observe, and honest skips.
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <skep/backend.hpp>
#include <string>
#include <vector>

namespace skep::kernel_test {

/// Compiles tests/kernel/programs/NAME.bpf.c and reads it. Every program in it filters by the variable `wanted_pid`,
/// which is set to this process's child by set_wanted_pid().
Result<ObjectSpec> compile(const std::string& name);

/// Why these tests cannot run here, naming the capability, or "" when they can (and then must).
std::string why_not();

/// Writes `wanted_pid` in the object's .data, .bss or .rodata before loading.
void set_global(ObjectSpec& spec, std::string_view name, std::span<const std::byte> value);
template <class T>
void set_global(ObjectSpec& spec, std::string_view name, const T& value) {
  set_global(spec, name, std::as_bytes(std::span(&value, 1)));
}

/// A child that waits, then makes the system calls of `work` and ends. Forked before loading, so its pid is known.
class Child {
 public:
  explicit Child(void (*work)());
  Child(const Child&) = delete;
  ~Child();
  int pid() const { return pid_; }
  /// Lets it work and waits for its end. True when it ended with status 0.
  bool run();

 private:
  int pid_ = -1;
  int go_ = -1;
};

/// The object's map as an array of u64 counters.
u64 counter(const Object& object, std::string_view map, u32 index);

/// Looks again and again until it is so; false after 30 seconds. How long a thing takes is the machine's affair, which
/// may be busy with other tests: nothing here may depend on it.
template <class Condition>
bool eventually(const Condition& is_so) {
  for (int tries = 0; tries < 3000; ++tries) {
    if (is_so()) return true;
    ::usleep(10'000);
  }
  return false;
}

/// Standard output of a command, or nullopt when it cannot be started or fails.
std::optional<std::string> output_of(const std::string& command);

/// A backend, a spec and its object, loaded for one child.
class KernelEngine : public ::testing::Test {
 protected:
  void SetUp() override;
  Result<Object> load(const ObjectSpec& spec, const LoadOptions& options = {}) { return backend->load(spec, options); }
  std::unique_ptr<Backend> backend;
};

#define ASSERT_OK(result) ASSERT_TRUE((result).has_value()) << (result).error().message

}  // namespace skep::kernel_test
