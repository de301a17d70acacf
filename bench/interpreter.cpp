// The interpreter against the same C compiled natively: nanoseconds per run and the ratio, three programs.
//
// Each program is one header: compiled into this binary by the host compiler (-O2), and to eBPF by clang
// (-O2) when the benchmark starts; both must return the same value. Native and interpreted chunks take
// turns; the median over the rounds of the best chunk is printed.
//
//   bench_interpreter
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "base/mapped_file.hpp"
#include "compile/compile.hpp"
#include "helper/helpers.hpp"
#include "verify/verify.hpp"
#include "vm/function.hpp"

#include "programs/fnv.h"
#include "programs/ilog2.h"
#include "programs/siphash.h"

namespace {

using namespace skep;
using Native = unsigned long long (*)(const unsigned long long*);

struct Program {
  const char* name;
  Native native;
};

Result<std::shared_ptr<const vm::Function>> interpreted(const std::string& name) {
  const auto header = SKEP_TRY(base::read_text(std::string(SKEP_BENCH_DIRECTORY) + "/programs/" + name + ".h"));
  const std::string source =
      "#include <bpf/bpf_helpers.h>\n" + header +
      "SEC(\"kprobe/none\") unsigned long long program(const unsigned long long *ctx) { return " + name +
      "(ctx); }\nchar LICENSE[] SEC(\"license\") = \"GPL\";\n";
  const auto spec = SKEP_TRY(compile::load_text(source, name + ".bpf.c"));
  const auto outcome = SKEP_TRY(verify::verify(spec.programs.at(0), spec, {}));
  if (!outcome.program) return fail(Code::rejected, verify::explain(outcome.report, spec.programs.at(0)));
  return vm::Function::link(*outcome.program, {.helpers = helper::table()});
}

/// Best nanoseconds per call over chunks of about a third of a millisecond.
template <class Call>
double best_ns(Call call) {
  double best = 1e18;
  for (int chunk = 0; chunk < 20; ++chunk) {
    int calls = 0;
    const auto begin = std::chrono::steady_clock::now();
    double elapsed = 0;
    do {
      for (int i = 0; i < 8; ++i) call();
      calls += 8;
      elapsed = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begin).count();
    } while (elapsed < 300'000);
    best = std::min(best, elapsed / calls);
  }
  return best;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

Result<double> measure(const Program& program) {
  const auto function = SKEP_TRY(interpreted(program.name));
  unsigned long long words[21];
  for (int i = 0; i < 21; ++i) words[i] = 0x9e3779b97f4a7c15ull * static_cast<unsigned>(i + 1);
  const u64 expected = program.native(words);
  const u64 got = function->run(nullptr, words);
  if (got != expected)
    return fail(Code::malformed, fmt::format("{}: native {:#x}, interpreted {:#x}", program.name, expected, got));
  volatile u64 sink = 0;
  std::vector<double> native, interpreter;
  for (int round = 0; round < 7; ++round) {
    native.push_back(best_ns([&] {
      asm volatile("" ::: "memory");
      sink = program.native(words);
    }));
    interpreter.push_back(best_ns([&] { sink = function->run(nullptr, words); }));
  }
  const double ratio = median(interpreter) / median(native);
  fmt::print("{:<10} {:>12.0f} {:>14.0f} {:>8.1f}\n", program.name, median(native), median(interpreter), ratio);
  return ratio;
}

}  // namespace

int main() {
  fmt::print("{:<10} {:>12} {:>14} {:>8}\n", "program", "native ns", "interpreter ns", "ratio");
  double product = 1;
  const Program programs[] = {{"fnv", fnv}, {"ilog2", ilog2}, {"siphash", siphash}};
  for (const auto& program : programs) {
    const auto ratio = measure(program);
    if (!ratio) {
      fmt::print(stderr, "bench: {}\n", ratio.error().message);
      return 1;
    }
    product *= *ratio;
  }
  fmt::print("geometric mean {:.1f}\n", __builtin_cbrt(product));
  return 0;
}
