// See pump.hpp. The thread waits in poll(2) on the rings' descriptors and an eventfd that ends it.
#include "trace/pump.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <thread>

#include "base/fd.hpp"
#include "trace/events.hpp"

namespace skep::trace {
namespace {

struct Source {
  RingReader reader;
  std::function<void(const Record&)> print;
};

struct Timer {
  std::chrono::milliseconds interval;
  std::function<void()> action;
  std::chrono::steady_clock::time_point next{};
};

/// trace_printk and trace_vprintk by their helper numbers: the pipe is opened only for programs that print.
bool prints_to_pipe(const ProgramSpec& program) {
  return std::any_of(program.insns.begin(), program.insns.end(), [](const Insn& insn) {
    return insn.code == 0x85 && insn.src == 0 && (insn.imm == 6 || insn.imm == 177);
  });
}

bool is_ring(MapType type) { return type == MapType::ringbuf || type == MapType::perf_event_array; }

}  // namespace

struct Pump::State {
  std::vector<Source> sources;
  Output* output = nullptr;
  std::vector<Timer> timers;
  base::Fd end;
  std::thread thread;

  void drain();
  void loop();
};

Pump::Pump(std::unique_ptr<State> state) : state_(std::move(state)) {}
Pump::Pump(Pump&&) noexcept = default;
Pump::~Pump() {
  if (state_) finish();
}

Result<Pump> Pump::make(Output& output) {
  auto state = std::make_unique<State>();
  state->output = &output;
  state->end = base::Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!state->end) return tl::unexpected(base::os_error("eventfd"));
  return Pump(std::move(state));
}

Result<Pump> Pump::open(Backend& engine, Object& object, const ObjectSpec& spec, Output& output) {
  Pump pump = SKEP_TRY(make(output));
  if (std::any_of(spec.programs.begin(), spec.programs.end(), prints_to_pipe))
    pump.add(SKEP_TRY_AT("trace pipe", engine.open_trace_pipe()),
             [&output](const Record& record) { print_trace_line(record, output); });
  for (auto& map : object.maps()) {
    if (!is_ring(map.info().type)) continue;
    auto decoder = std::make_shared<EventDecoder>(spec, map.info());
    pump.add(SKEP_TRY_AT("map " + map.info().name, map.open_ring()),
             [decoder, &output](const Record& record) { decoder->print(record, output); });
  }
  return pump;
}

void Pump::add(RingReader reader, std::function<void(const Record&)> on_record) {
  state_->sources.push_back({std::move(reader), std::move(on_record)});
}

void Pump::every(std::chrono::milliseconds interval, std::function<void()> action) {
  state_->timers.push_back({interval, std::move(action)});
}

void Pump::start() {
  // Signals belong to the main thread: this one must not be the one that is interrupted.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  state_->thread = std::thread([state = state_.get()] { state->loop(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Pump::finish() {
  if (!state_->thread.joinable()) return;
  const u64 one = 1;
  [[maybe_unused]] const auto written = ::write(state_->end.get(), &one, sizeof one);
  state_->thread.join();
  state_->drain();
  state_->output->flush();
}

u64 Pump::lost() const {
  u64 sum = 0;
  for (const auto& source : state_->sources) sum += source.reader.lost();
  return sum;
}

void Pump::State::drain() {
  for (auto& source : sources) {
    auto count = source.reader.poll(std::chrono::milliseconds(0), source.print);
    while (count && *count > 0) count = source.reader.poll(std::chrono::milliseconds(0), source.print);
  }
}

void Pump::State::loop() {
  std::vector<pollfd> waiting{{end.get(), POLLIN, 0}};
  for (const auto& source : sources) waiting.push_back({source.reader.wait_fd(), POLLIN, 0});
  const auto begin = std::chrono::steady_clock::now();
  for (Timer& timer : timers) timer.next = begin + timer.interval;
  for (;;) {
    const auto first = std::ranges::min_element(timers, {}, &Timer::next);
    int timeout_ms = -1;
    if (first != timers.end()) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(first->next - std::chrono::steady_clock::now());
      timeout_ms = std::max(0, static_cast<int>(left.count()));
    }
    const int ready = ::poll(waiting.data(), waiting.size(), timeout_ms);
    if (ready < 0 && errno != EINTR) return;
    if (waiting[0].revents != 0) return;
    for (std::size_t i = 0; i < sources.size(); ++i)
      if (waiting[i + 1].revents != 0) [[maybe_unused]]
        auto count = sources[i].reader.poll(std::chrono::milliseconds(0), sources[i].print);
    for (Timer& timer : timers) {
      if (std::chrono::steady_clock::now() < timer.next) continue;
      timer.action();
      timer.next += timer.interval;
    }
    output->flush();
  }
}

}  // namespace skep::trace
