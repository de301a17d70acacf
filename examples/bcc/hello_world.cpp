// A line for every program that is started.
// Run: ./hello_world sh -c 'ls; date'   (without privileges), or as root without arguments until Ctrl-C
#include <cstdio>
#include <skep/bcc.hpp>

using namespace std::chrono_literals;

constexpr std::string_view program = R"(
int on_sys_execve(void *ctx) {
  bpf_trace_printk("Hello, World! Here I did a sys_execve call!");
  return 0;
}
)";

skep::Result<void> hello(const std::vector<std::string>& command) {
  auto bpf = SKEP_TRY(skep::bcc::Bpf::from_text(program, {.engine = command.empty() ? "kernel" : "user"}));
  SKEP_TRY(bpf.attach("on_sys_execve", "syscall:execve"));
  SKEP_TRY(
      bpf.open_trace([](std::string_view line) { std::printf("%.*s\n", static_cast<int>(line.size()), line.data()); }));
  if (!command.empty()) SKEP_TRY(bpf.start(command));
  while (SKEP_TRY(bpf.poll(1000ms))) std::fflush(stdout);
  return {};
}

int main(int argc, char** argv) {
  const auto done = hello({argv + 1, argv + argc});
  if (!done) std::fprintf(stderr, "hello_world: %s\n", done.error().message.c_str());
  return done ? 0 : 1;
}
