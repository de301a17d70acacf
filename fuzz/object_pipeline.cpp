// libFuzzer: an object file through the whole path, see tests/hostile/pipeline.hpp for the law.
#include "../tests/hostile/pipeline.hpp"

#include <cstdio>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const auto outcome = skep::hostile::run_pipeline(std::as_bytes(std::span(data, size)));
  if (!outcome.violation.empty()) {
    std::fprintf(stderr, "an accepted program left its memory: %s\n", outcome.violation.c_str());
    std::abort();
  }
  return 0;
}
