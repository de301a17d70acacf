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
#include <cstring>
#include <string>
#include <vector>

#include "base/mapped_file.hpp"
#include "compile/compile.hpp"
#include "helper/helpers.hpp"
#include "map/map.hpp"
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

/// The program as eBPF, its input a global array (the map `.bss`).
struct Interpreted {
  std::shared_ptr<const vm::Function> function;
  std::vector<std::shared_ptr<map::Map>> maps;
};

Result<Interpreted> interpreted(const std::string& name, std::span<const unsigned long long> words) {
  const auto header = SKEP_TRY(base::read_text(std::string(SKEP_BENCH_DIRECTORY) + "/programs/" + name + ".h"));
  const std::string source =
      "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n" + header +
      "unsigned long long words[21];\nSEC(\"kprobe/none\") unsigned long long program(void *ctx) { return " + name +
      "(words); }\nchar LICENSE[] SEC(\"license\") = \"GPL\";\n";
  const auto spec = SKEP_TRY(compile::load_text(source, name + ".bpf.c"));
  const auto outcome = SKEP_TRY(verify::verify(spec.programs.at(0), spec, {}));
  if (!outcome.program) return fail(Code::rejected, verify::explain(outcome.report, spec.programs.at(0)));
  Interpreted made;
  vm::Bindings bindings{.helpers = helper::table()};
  for (const auto& map_spec : spec.maps) {
    made.maps.push_back(SKEP_TRY(map::Map::create(map_spec)));
    void* const value = made.maps.back()->direct_value();
    if (value != nullptr && map_spec.value_size == words.size_bytes())
      std::memcpy(value, words.data(), words.size_bytes());
    bindings.maps.push_back(reinterpret_cast<u64>(made.maps.back().get()));
    bindings.map_values.push_back(reinterpret_cast<u64>(value));
  }
  made.function = SKEP_TRY(vm::Function::link(*outcome.program, bindings));
  return made;
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
  unsigned long long words[21];
  for (int i = 0; i < 21; ++i) words[i] = 0x9e3779b97f4a7c15ull * static_cast<unsigned>(i + 1);
  const auto made = SKEP_TRY(interpreted(program.name, words));
  const auto& function = made.function;
  base::Run run;
  const u64 expected = program.native(words);
  const u64 got = function->run(run, nullptr);
  if (got != expected)
    return fail(Code::malformed, fmt::format("{}: native {:#x}, interpreted {:#x}", program.name, expected, got));
  volatile u64 sink = 0;
  std::vector<double> native, interpreter;
  for (int round = 0; round < 7; ++round) {
    native.push_back(best_ns([&] {
      asm volatile("" ::: "memory");
      sink = program.native(words);
    }));
    interpreter.push_back(best_ns([&] { sink = function->run(run, nullptr); }));
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
