// StackCounts that a program counted: options, names and forms of output that offcputime, wakeuptime and profile share.
#pragma once
#include <linux/types.h>

#include <memory>
#include <string>
#include <vector>

#include "kit/kit.hpp"
#include "kit/stack_counts.h"
#include "kit/stacks.hpp"

namespace skep::tools {

class StackCounts {
 public:
  explicit StackCounts(Kit& kit) : kit_(kit) {}

  /// -f and --stack-storage-size.
  void add_common_options();
  /// -U, -K, -d and --flame besides.
  void add_options();
  /// Tells the program. Once the options are parsed.
  void apply();
  bool is_folded() const { return folded_; }
  bool is_drawn() const { return !flame_.empty(); }
  u32& storage() { return storage_; }
  void mark_kernel() { stacks_.mark_kernel(); }
  /// "user + kernel", "user" or "kernel".
  std::string_view kind() const;

  /// Addresses of a stack, the innermost first; empty where there is none. StackCounts that could not be kept are
  /// counted.
  std::vector<u64> addresses(s32 id);
  symbols::Symbolizer& symbolizer() { return stacks_.symbolizer(); }
  std::string kernel_name(u64 address);

  /// Prints stacks with their counts, the largest last, or draws them. `unit`: the name of the count in JSON.
  void print(std::vector<std::pair<stack_key, u64>> counted, std::string_view unit);
  /// On stderr, how many stacks are missing, if any.
  void tell_missing() const;

 private:
  struct Named {
    StackLines kernel, user;  ///< the innermost first
    bool has_kernel = false, has_user = false;
  };
  void draw(const std::vector<std::pair<stack_key, u64>>& counted, std::string_view unit);
  Named names_of(const stack_key& key);
  void print_folded(const stack_key& key, const Named& named, u64 count);
  void print_lines(const stack_key& key, const Named& named, u64 count);
  void print_json(const stack_key& key, const Named& named, u64 count, std::string_view unit);

  Kit& kit_;
  Stacks stacks_;
  bool folded_ = false, delimited_ = false, only_user_ = false, only_kernel_ = false, has_user_stacks_ = false;
  std::string flame_;  ///< the file of a flame graph
  u32 storage_ = 16384;
  u64 missing_ = 0;
  bool is_full_ = false;
};

/// "all threads", "the command", "one process": what is looked at.
std::string_view scope_words(const Kit& kit);
/// " for 5 secs." or "... Hit Ctrl-C to end.".
std::string duration_words(const Kit& kit);

}  // namespace skep::tools
