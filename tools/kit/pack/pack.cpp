// skep_pack OUTPUT.o INPUT.o: an object without debug information, for embedding. The linker does it by linking one
// file.
#include <cstdio>

#include "base/mapped_file.hpp"
#include "gen/link.hpp"

namespace {

skep::Result<void> pack(const char* output, const char* input) {
  const std::string bytes = SKEP_TRY(skep::base::read_text(input, 64u << 20));
  const skep::gen::LinkInput one{input, std::as_bytes(std::span(bytes))};
  const auto linked = SKEP_TRY(skep::gen::link_objects({&one, 1}));
  return skep::base::write_file_atomic(output, linked);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s OUTPUT.o INPUT.o\n", argv[0]);
    return 2;
  }
  const auto packed = pack(argv[1], argv[2]);
  if (!packed) std::fprintf(stderr, "%s\n", packed.error().message.c_str());
  return packed ? 0 : 1;
}
