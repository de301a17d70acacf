// Chains of calls: no function is in one twice, and their stacks fit together, whatever way a function is called: by
// name, by register, by a helper that calls back; static functions and global ones, which are proved each for itself.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "verify/test_programs.hpp"

namespace skep::verify {
namespace {

/// A classifier whose functions `globals` are global, without parameters, and return a number.
Report judge_with_globals(const std::string& text, const std::vector<std::string>& globals, bool at_once) {
  ObjectSpec object = object_with_maps();
  btf::Builder types;
  const u32 number = types.add_int("long", 8, btf::Builder::Encoding::signed_);
  const btf::Builder::NewMember words[] = {{"a", number, 0, 0}, {"b", number, 64, 0}};
  const btf::Builder::NewMember timed[] = {{"t", types.add_struct("bpf_timer", 16, words), 0, 0},
                                           {"n", number, 128, 0}};
  const u32 timed_type = types.add_struct("timed", 24, timed);
  const u32 prototype = types.add_func_proto(number, {});
  ProgramSpec program = program_of(object, tc, text);
  isa::ParseOptions options;
  options.helper_id = [](std::string_view) { return std::optional<s32>(1); };
  const auto assembly = isa::parse(text, options);
  program.functions.push_back({0, 0, "main", false});
  for (const auto& [name, insn] : assembly->labels)
    if (std::ranges::find(globals, name) != globals.end())
      program.functions.push_back({insn, types.add_func(name, prototype, 1), name, true});
  object.btf = types.build().value();
  for (MapSpec& map : object.maps) map.btf_value_type_id = map.name == "timed" ? timed_type : 0;
  Options rules;
  if (at_once) rules.insns_before_joining = 0;
  auto outcome = verify(program, object, rules);
  EXPECT_TRUE(outcome.has_value());
  return outcome ? outcome->report : Report{};
}

struct Chain {
  const char* refused;  ///< message id, or "" when accepted
  std::string text;
  std::vector<std::string> globals;
};

#define CALL_BACK(function) "r1 = 3\nr2 = subprog[" function "]\nr3 = 0\nr4 = 0\ncall loop\n"
/// g is also what a timer calls.
#define TIMER_OF_G                                                                                              \
  "*(u32 *)(r10 -8) = 0\nr2 = r10\nr2 += -8\nr1 = map[timed]\ncall map_lookup_elem\nif r0 == 0 goto end\nr6 = " \
  "r0\nr1 = r6\nr2 = map[timed]\nr3 = 1\ncall timer_init\nr1 = r6\nr2 = subprog[g]\ncall timer_set_callback\nend: "

/// A function with so many bytes of stack that calls another, and that one.
std::string deep(const char* call, u32 outer, u32 inner) {
  return fmt::format("call f\n" RETURN "f: *(u64 *)(r10 -{}) = 0\n{}" RETURN "g: *(u64 *)(r10 -{}) = 0\n" RETURN, outer,
                     call, inner);
}

TEST(call_chains, have_no_function_twice_and_fit_the_stack) {
  constexpr const char* by_name = "call g\n";
  constexpr const char* by_register = "r3 = subprog[g]\ncallx r3\n";
  constexpr const char* called_back = CALL_BACK("g");
  const Chain chains[] = {
      {"", deep(by_name, 240, 240), {}},
      {"", deep(by_name, 240, 240), {"f", "g"}},
      {"", deep(by_register, 240, 240), {}},
      {"", deep(by_register, 240, 240), {"f", "g"}},
      {"", deep(called_back, 240, 240), {"f"}},
      {"stack_too_deep", deep(by_name, 240, 264), {}},
      {"stack_too_deep", deep(by_name, 240, 264), {"f", "g"}},
      {"stack_too_deep", deep(by_register, 240, 264), {}},
      {"stack_too_deep", deep(by_register, 240, 264), {"f", "g"}},
      {"stack_too_deep", deep(by_register, 240, 264), {"g"}},
      {"stack_too_deep", deep(called_back, 240, 264), {"f"}},
      {"recursion", "call f\n" RETURN "f: call g\n" RETURN "g: call f\n" RETURN, {"f", "g"}},
      {"recursion", "call f\n" RETURN "f: r3 = subprog[g]\ncallx r3\n" RETURN "g: call f\n" RETURN, {"f", "g"}},
      {"recursion", "call f\n" RETURN "f: call g\n" RETURN "g: r3 = subprog[f]\ncallx r3\n" RETURN, {"f", "g"}},
      {"recursion", "call f\n" RETURN "f: " CALL_BACK("g") RETURN "g: call f\n" RETURN, {"f"}},
      {"recursion", TIMER_OF_G "call f\n" RETURN "f: " CALL_BACK("g") RETURN "g: call f\n" RETURN, {"f"}},
      {"stack_too_deep", TIMER_OF_G + deep(called_back, 240, 264), {"f"}},
      // A timer that sets itself again calls nothing.
      {"", TIMER_OF_G RETURN "g: r6 = r3\nr1 = r3\nr2 = subprog[g]\ncall timer_set_callback\n" RETURN, {}},
      {"",
       TIMER_OF_G "call f\n" RETURN "f: *(u64 *)(r10 -400) = 0\n" RETURN "g: *(u64 *)(r10 -400) = 0\n" RETURN,
       {"f"}},
  };
  for (const Chain& chain : chains)
    for (const bool at_once : {false, true}) {
      const Report report = judge_with_globals(chain.text, chain.globals, at_once);
      EXPECT_EQ(report.rejection ? report.rejection->id : "", chain.refused)
          << chain.text << (report.rejection ? report.rejection->reason : "");
    }
}

}  // namespace
}  // namespace skep::verify
