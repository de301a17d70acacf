// Mistakes with objects of each CPU, saved interrupts, what may sleep and locks: what our verifier says, and that its
// rules for the kernel say what the kernel does.
#include "catalog/messages.hpp"
#include "support.hpp"
#include "verify/verify.hpp"

namespace skep {
namespace {

/// The object with that program alone.
ObjectSpec only(const ObjectSpec& object, const ProgramSpec& program) {
  ObjectSpec one = object;
  one.programs = {program};
  return one;
}

void expect_refused(const std::string& name, std::size_t programs) {
  SKEP_OBJECT(spec, name);
  ASSERT_GE(spec->programs.size(), programs);
  const auto engine = kernel_backend();
  for (const ProgramSpec& program : spec->programs) {
    const std::string expected = program.name.substr(0, program.name.find("__"));
    const auto outcome = verify::verify(program, *spec, {});
    ASSERT_TRUE(outcome) << program.name << ": " << outcome.error().message;
    EXPECT_EQ(outcome->report.rejection ? outcome->report.rejection->id : "user_takes", expected) << program.name;
    verify::Options as_kernel;
    as_kernel.rules = verify::Rules::kernel;
    const auto predicted = verify::verify(program, *spec, as_kernel);
    ASSERT_TRUE(predicted);
    if (!engine) continue;
    const auto loaded = (*engine)->load(only(*spec, program), {});
    if (!loaded && loaded.error().code != Code::rejected)
      std::puts(("not compared: " + loaded.error().message).c_str());
    else
      EXPECT_EQ(predicted->report.accepted, bool{loaded}) << "the kernel and its rules: " << program.name;
  }
  if (!engine) std::puts(("not compared with the kernel: " + engine.error().message).c_str());
}

TEST(Refused, ByUsAndAsTheKernelWould) { expect_refused("refused", 27); }
TEST(Refused, LocksByUsAndAsTheKernelWould) { expect_refused("refused_locks", 31); }

}  // namespace
}  // namespace skep
