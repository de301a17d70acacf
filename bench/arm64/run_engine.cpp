// Runs one program of bench/programs in one engine, so and so often: what bench/arm64/instructions.py counts.
//
//   run_engine OBJECT interp|baseline|opt|checked TIMES        prints the last result
//
// Built for AArch64 by tests/arm64/native; an emulator counts, since times under emulation say nothing.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <skep/spec.hpp>

#include "engine/engines.hpp"

namespace skep::bench {

Result<Engine> kernel_engine() { return fail(Code::unsupported, "there is no kernel of this machine here"); }

namespace {

Result<u32> run(const char* path, std::string_view name, u32 times) {
  const ObjectSpec object = SKEP_TRY(ObjectSpec::from_file(path));
  std::vector<std::string> left_out;
  const auto all = engines(left_out);
  const auto engine = std::ranges::find(all, name, &Engine::name);
  if (engine == all.end() || name == "native") return fail(Code::not_found, fmt::format("no engine {} here", name));
  const Input input = make_input();
  const auto subject = SKEP_TRY(engine->prepare({path, &input, nullptr, &object}));
  return subject->run(times);
}

}  // namespace
}  // namespace skep::bench

int main(int argc, char** argv) {
  if (argc != 4) return std::fputs("usage: run_engine OBJECT ENGINE TIMES\n", stderr), 2;
  const auto result = skep::bench::run(argv[1], argv[2], static_cast<skep::u32>(std::atoi(argv[3])));
  if (!result) return fmt::print(stderr, "run_engine: {}\n", result.error().message), 1;
  fmt::print("{:#x}\n", *result);
  return 0;
}
