// Programs that no verifier has seen, drawn from the fuzzer's bytes: machine code with checks ends as the checked
// interpreter does, and touches nothing else (the sanitizer would see it).
//
//   cmake -B build/fuzz -DSKEP_FUZZ=ON -DCMAKE_CXX_COMPILER=clang++ && build/fuzz/fuzz_unverified
#include <cstdio>
#include <cstdlib>

#include "../tests/unverified/unverified_programs.hpp"

extern "C" int LLVMFuzzerTestOneInput(const skep::u8* data, std::size_t size) {
  using namespace skep::unverified;
  Draw draw(1, {data, size});
  const auto comparison = compare_unverified(draw_case(draw));
  if (comparison.difference.empty()) return 0;
  std::fputs(comparison.difference.c_str(), stderr);
  std::abort();
}
