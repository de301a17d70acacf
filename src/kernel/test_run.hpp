// Running a loaded program once, on a given packet or context.
#pragma once
#include <skep/inspect.hpp>
#include <string_view>

namespace skep::kernel {

/// BPF_PROG_TEST_RUN. Errors: unsupported (this type has no test run), invalid_argument, permission.
Result<TestRunResult> test_run(int program_fd, ProgramType type, std::string_view name, const TestRun& run);

}  // namespace skep::kernel
