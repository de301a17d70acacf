// Programs near the kernel's own verifier cases: our verdicts, by the kernel's rules, beside those of the running
// kernel.
//
// Every disagreement belongs to a kind that stands in a list below with its explanation. A kind is the kernel's
// sentence (what only we accept) or our message id (what only the kernel accepts), without the numbers. On kernels
// other than 6.18, whose sentences differ, kinds are printed and only their share is bounded.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/utsname.h>

#include <cstdlib>
#include <map>
#include <random>

#include "../embedding/mutation.hpp"
#include "corpus.hpp"
#include "isa/isa.hpp"
#include "isa/text.hpp"
#include "kernel.hpp"
#include "verify/verify.hpp"

namespace skep::corpus {
namespace {

/// Kinds of what only we accept, and the family of cases -> why it is no hole.
const std::map<std::string_view, std::string_view> only_we = {
    {"R# invalid mem access 'scalar' in jmp32",
     "behind a branch that a number equal to its sign-extended half excludes"},
    {"invalid bpf_context access off=# size=# in perf_event_sample_period",
     "a part of a register of bpf_perf_event_data, which is there, may be read here"},
    {"misaligned access off (#x#; #xffffffffffffffff)+#+-# size # in atomic_cmpxchg",
     "r0 is address and result: the kernel checks the store with r0 as the load left it"},
};
/// Kinds of what only the kernel accepts -> why it is not accepted here.
const std::map<std::string_view, std::string_view> only_kernel = {
    {"bad_instruction, reserved fields",
     "the kernel looks at them only where a path leads, and never at the offset of an exit"},
    {"packet_out_of_bounds",
     "behind two checks of the packet's end that contradict each other, which cannot be reached"},
    {"size_may_be_zero", "no bytes for a socket's tuple: the kernel takes them, and its helper then finds no socket"},
    {"maybe_null", "where a helper takes a pointer or null, the kernel takes one that may be either, of any size"},
};

/// What kind of refusal it is: the id; an instruction that is one but for its reserved fields is a kind of its own.
std::string kind_of(const verify::Rejection& rejection, const ProgramSpec& program) {
  if (rejection.id != "bad_instruction") return rejection.id;
  Insn plain = program.insns[rejection.insn];
  for (const bool keeps_imm : {true, false})
    for (const bool keeps_src : {true, false}) {
      Insn tried = plain;
      tried.off = 0;
      if (!keeps_imm) tried.imm = 0;
      if (!keeps_src) tried.src = 0;
      if (isa::decode(tried)) return "bad_instruction, reserved fields";
      tried.dst = 0;
      if (isa::decode(tried)) return "bad_instruction, reserved fields";
    }
  return fmt::format("{} {:#x}", rejection.id, plain.code);
}

std::string without_numbers(std::string_view sentence) {
  std::string kind;
  for (std::size_t i = 0; i < sentence.size(); i++) {
    const bool digit = std::isdigit(static_cast<unsigned char>(sentence[i])) != 0;
    if (!digit)
      kind += sentence[i];
    else if (kind.empty() || kind.back() != '#')
      kind += '#';
  }
  return kind;
}

struct Kind {
  u32 count = 0;
  std::string example;
};

void judge_kinds(const char* title, const std::map<std::string, Kind>& kinds,
                 const std::map<std::string_view, std::string_view>& explained, bool is_strict) {
  for (const auto& [kind, seen] : kinds) {
    const auto known = explained.find(kind);
    fmt::print("  {} {}x: {} ({})\n", title, seen.count, kind,
               known != explained.end() ? known->second : "not explained");
    if (is_strict && known == explained.end()) ADD_FAILURE() << title << ": " << kind << "\n" << seen.example;
  }
}

TEST(Mutants, VerdictsAgreeWithTheRunningKernel) {
  if (folder().empty()) GTEST_SKIP() << "no corpus at ../shared/corpus (SKEP_CORPUS): there is nothing to change";
  Kernel kernel;
  if (!kernel.is_open())
    GTEST_SKIP() << "this process may not load programs (CAP_BPF): the running kernel was not asked";
  utsname system{};
  ::uname(&system);
  const bool is_strict = std::string_view(system.release).starts_with("6.18");
  std::vector<Case> accepted, refused;
  for (const char* file : {"/selftests-6.1-raw-insns.jsonl.xz", "/selftests-6.12-raw-insns.jsonl.xz"})
    for (Case& c : raw_cases(folder() + file)) (c.kernel_accepts ? accepted : refused).push_back(std::move(c));
  ASSERT_FALSE(accepted.empty() || refused.empty());

  const char* chosen = std::getenv("SKEP_MUTANTS");
  const u64 count = chosen != nullptr ? std::strtoull(chosen, nullptr, 10) : 1'500;
  constexpr u64 seed = 618;
  std::mt19937_64 random(seed);
  const verify::Options options = kernel_rules();
  u64 asked = 0, both_accept = 0, both_refuse = 0;
  std::map<std::string, Kind> we, they;
  for (u64 n = 0; n < count; n++) {
    const auto& from = random() % 4 == 0 ? refused : accepted;
    const Case& c = from[random() % from.size()];
    const ProgramSpec program = embedding::mutate(c.program, random);
    const auto theirs = kernel.accepts(c.object, program);
    if (!theirs) continue;
    const auto ours = verify::verify(program, c.object, options);
    ASSERT_TRUE(ours.has_value()) << ours.error().message;
    const bool we_accept = ours->report.accepted;
    asked++;
    if (we_accept == *theirs) {
      (we_accept ? both_accept : both_refuse)++;
      continue;
    }
    const std::string sentence = we_accept ? kernel.refusal(c.object, program).value_or("") : "accepted";
    if (sentence.empty()) continue;  // it refuses without a reason: what this process may not load, whatever it does
    Kind& kind = we_accept ? we[without_numbers(sentence) + " in " + c.name.substr(0, c.name.find('/'))]
                           : they[kind_of(*ours->report.rejection, program)];
    if (kind.count++ != 0) continue;
    kind.example = fmt::format("mutant {} of \"{}\"\n{}kernel: {}\n{}", n, c.name, isa::disassemble(program.insns),
                               sentence, verify::explain(ours->report, program));
  }
  fmt::print("{} mutants: both accept {}, both refuse {}\n", asked, both_accept, both_refuse);
  judge_kinds("only we accept", we, only_we, is_strict);
  judge_kinds("only the kernel accepts", they, only_kernel, is_strict);
  EXPECT_GT(both_accept, asked / 10);
}

}  // namespace
}  // namespace skep::corpus
