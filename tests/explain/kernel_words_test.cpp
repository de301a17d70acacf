// The kernel's own words for the corpus: each refused program is loaded into the running kernel, and its log must be
// told with our message and the line. Without the right to load programs, or without BPF, this is left out by name.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <skep/backend.hpp>

#include "bug_file.hpp"
#include "catalog/messages.hpp"
#include "compile/compile.hpp"
#include "explain/kernel_log.hpp"
#include "explain/source.hpp"
#include "kernel/close.hpp"

namespace skep {
namespace {

TEST(KernelWords, AreToldAsOurs) {
  auto backend = kernel_backend();
  auto probe = compile::load_text(
      "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nSEC(\"socket\") int f(void *ctx) { return 0; }\n",
      "probe.bpf.c");
  if (!probe) GTEST_SKIP() << "no clang: " << probe.error().message;
  if (!backend) GTEST_SKIP() << "no kernel engine: " << backend.error().message;
  if (auto loaded = (*backend)->load(*probe, {}); !loaded)
    GTEST_SKIP() << "this process may not load programs: " << loaded.error().message;
  u32 refused = 0, same_id = 0, same_family = 0, same_line = 0, with_line = 0;
  for (const test::Bug& bug : test::read_bugs()) {
    if (bug.first_id == "too_complex" || bug.first_id == "loop_unbounded") {
      fmt::print("{:<28} left out: the kernel's log of a million instructions takes minutes\n", bug.file);
      continue;
    }
    auto object = compile::load_text(bug.refused, bug.file + ".bpf.c");
    ASSERT_TRUE(object) << object.error().message;
    explain::add_line_texts(*object, bug.file + ".bpf.c", explain::Source(bug.refused));
    auto loaded = (*backend)->load(*object, {});
    if (loaded || loaded.error().code != Code::rejected) {
      fmt::print("{:<28} {}\n", bug.file, loaded ? "the kernel accepts it" : loaded.error().message);
      continue;
    }
    auto closed = kernel::close_object(*object);
    ASSERT_TRUE(closed);
    const std::string log = (*backend)->verifier_log();
    const auto r = explain::refusal_from_log(log, closed->programs.front());
    ASSERT_TRUE(r) << bug.file << "\n" << log;
    refused++;
    const auto *wanted = catalog::message(bug.first_id), *told = catalog::message(r->rejection.id);
    const bool id = bug.ids.contains(r->rejection.id),
               family = wanted != nullptr && told != nullptr && wanted->family == told->family;
    same_id += id;
    same_family += id || family;
    if (bug.refused_line != 0) {
      with_line++;
      const bool is_same = r->rejection.source && r->rejection.source->line == bug.refused_line;
      same_line += is_same;
      if (!is_same)
        fmt::print("{:<28} line {} for {}\n", bug.file, r->rejection.source ? r->rejection.source->line : 0,
                   bug.refused_line);
    }
    if (!id) fmt::print("{:<28} {} for {}: {}\n", bug.file, r->rejection.id, bug.first_id, r->rejection.reason);
  }
  fmt::print("kernel logs: {} refused programs; our message {}, our kind of mistake {}, our line {} of {}\n", refused,
             same_id, same_family, same_line, with_line);
  EXPECT_GE(refused, 40u);
  EXPECT_GE(same_family * 100, refused * 85);
  EXPECT_GE(same_line * 100, with_line * 90);
}

}  // namespace
}  // namespace skep
