// Kernel functions as the user engine has them: the rows of function_rows.def, and what a program gets of one.
#pragma once
#include <array>
#include <optional>
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "btf/btf.hpp"

namespace skep::hook {

/// What a program may be given; the words of function_rows.def.
enum class FunctionValue : u8 {
  unknown,
  idmap,
  zero,
  file,
  socket,
  sock,
  new_file,
  new_path,
  new_sock,
  dentry,
  directory,
  address,
  argument_1,
  argument_2,
  argument_3,
  state,
  result,
  connect_result
};

/// Where a function is called; the same.
enum class FunctionTest : u8 {
  is_open,
  opened,
  created,
  made_file,
  names_file,
  names_directory,
  succeeded,
  is_tcp,
  is_ipv4,
  is_ipv6,
  new_is_tcp,
  asks_ipv4,
  asks_ipv6,
  changes_state,
  settles,
  lets_go
};

struct FunctionRow {
  enum class When : u8 { entry, at_return };
  enum class Boundary : u8 { enter, leave, end };
  enum class Exactness : u8 { exact, approximate };
  template <class T, std::size_t most>
  struct List {
    std::array<T, most> items{};
    std::size_t count = 0;
    constexpr std::span<const T> span() const { return {items.data(), count}; }
  };
  std::string_view function;
  When when;
  Boundary boundary;
  std::string_view calls;  ///< separated by spaces
  List<FunctionValue, 6> parameters;
  List<FunctionTest, 2> tests;
  Exactness exactness;
  std::string_view note;

  /// The numbers of its calls.
  std::vector<u32> numbers() const;
};

/// Every row, in the file's order.
std::span<const FunctionRow> function_rows() noexcept;
/// The rows as docs/reference/user-engine-hooks.md has them.
std::string function_table();

/// What a kprobe of one of these functions means.
struct FunctionPlan {
  bool at_return = false;
  std::vector<const FunctionRow*> rows;  ///< in the file's order
  /// Which of a row's parameters the program gets as its first, second, ...; by_place where the program declares none.
  std::vector<std::size_t> places;
  u32 wanted = 0;  ///< bit n: the program reads its n-th
  u32 context_bytes = 0;
};
/// None: the target is no such function.
std::optional<FunctionPlan> plan_function(const AttachTarget& target);

/// Completes a plan for a program, by what it declares and reads. Errors: unsupported, naming what is not known.
Result<void> fit(FunctionPlan& plan, const AttachTarget& target, const btf::Btf* types,
                 const std::vector<FunctionInfo>& functions, std::span<const Insn> insns);

/// One line for the user: where the function is seen, and how exact that is.
std::string describe(const FunctionPlan& plan, const AttachTarget& target);

}  // namespace skep::hook
