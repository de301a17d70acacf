// Putting the parts together. See symbolizer.hpp.
#include "symbols/symbolizer.hpp"

#include <fcntl.h>
#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/mapped_file.hpp"

namespace skep::symbols {

namespace {
constexpr std::size_t most_modules_bytes = 1u << 20, most_remembered = 256;
}

Result<const KernelSymbols*> Symbolizer::kernel_symbols() {
  if (!kernel_) {
    modules_ = base::read_text(options_.modules, most_modules_bytes).value_or("");
    kernel_ = KernelSymbols::read(options_.kallsyms);
    kernel_read_ = std::chrono::steady_clock::now();
  }
  if (!*kernel_) return tl::unexpected(kernel_->error());
  return &**kernel_;
}

Frame Symbolizer::kernel(u64 address) {
  Frame frame;
  frame.address = address;
  frame.is_kernel = true;
  const auto symbols = kernel_symbols();
  if (!symbols) return frame;
  auto found = (*symbols)->find(address);
  if (read_kernel_again(found, address)) {
    auto fresh = KernelSymbols::read(options_.kallsyms);
    if (fresh) {  // else what was known stays: out of descriptors, say
      kernel_ = std::move(fresh);
      modules_ = std::move(now_loaded_);
      found = (*kernel_)->find(address);
    }
    if (no_symbol_.size() == most_remembered) no_symbol_.clear();
    if (!found) no_symbol_.push_back(address);
  }
  if (found) {
    frame.name = found->symbol.name;
    frame.module = found->symbol.module;
    frame.offset = found->offset;
  }
  return frame;
}

/// Reading takes the kernel 35 ms, so it is done for a reason and not often. The list of modules is short.
bool Symbolizer::read_kernel_again(const std::optional<KernelSymbols::Found>& found, u64 address) {
  if (found && found->symbol.module.empty()) return false;
  const auto now = std::chrono::steady_clock::now();
  if (now - kernel_read_ < options_.kernel_age) return false;
  kernel_read_ = now;
  now_loaded_ = base::read_text(options_.modules, most_modules_bytes).value_or("");
  const bool others = now_loaded_ != modules_;
  if (others) no_symbol_.clear();
  return others || (!found && std::ranges::find(no_symbol_, address) == no_symbol_.end());
}

std::vector<Frame> Symbolizer::kernel(std::span<const u64> addresses) {
  std::vector<Frame> frames;
  frames.reserve(addresses.size());
  for (const u64 address : addresses) frames.push_back(kernel(address));
  return frames;
}

const Root* Symbolizer::own_root() {
  if (!own_root_)
    if (auto root = Root::own()) own_root_ = *std::move(root);
  return own_root_ ? &*own_root_ : nullptr;
}

Process& Symbolizer::keep(Process process) {
  std::erase_if(processes_, [&](const Process& one) { return one.pid() == process.pid(); });
  processes_.push_front(std::move(process));
  while (processes_.size() > std::max<std::size_t>(options_.most_processes, 1)) processes_.pop_back();
  return processes_.front();
}

/// A process that has ended is kept until another one has its number.
Process* Symbolizer::process(u32 pid) {
  constexpr std::chrono::milliseconds fresh{100};
  const auto at = std::ranges::find(processes_, pid, &Process::pid);
  if (at != processes_.end()) {
    processes_.splice(processes_.begin(), processes_, at);
    if (at->exists()) {
      at->refresh(fresh);
      if (at->lives()) return &*at;
    }
  }
  if (at == processes_.end() || !at->exists())
    if (auto opened = Process::open(pid); opened && opened->lives()) return &keep(*std::move(opened));
  if (Process* const known = remembered(pid)) return known;
  return at != processes_.end() ? &*at : nullptr;
}

/// One that has ended, by the events; what they tell is more than a look can have seen.
Process* Symbolizer::remembered(u32 pid) {
  if (!history_) return nullptr;
  hear(true);
  const MappingHistory::Known* const known = history_->of(pid);
  if (known == nullptr || (known->mappings->empty() && known->before_exec == nullptr)) return nullptr;
  const auto at = std::ranges::find(processes_, pid, &Process::pid);
  if (at != processes_.end() && at->version() == known->version) return &*at;
  return &keep(Process::remembered(pid, MappingHistory::all(*known), known->version));
}

Result<void> Symbolizer::follow(bool children) {
  // Who may hear of everything does so for children, too: the first event that belongs to a task takes the kernel 15
  // ms.
  auto events = MappingEvents::open(MappingEvents::Of::everything);
  if (!events && children) events = MappingEvents::open(MappingEvents::Of::own_children);
  if (!events) return tl::unexpected(std::move(events).error());
  events_ = *std::move(events);
  const auto look = [](u32 pid) {
    const auto process = Process::open(pid);
    std::vector<Mapping> mappings = process ? process->mappings() : std::vector<Mapping>();
    std::erase_if(mappings, [](const Mapping& mapping) { return !mapping.executable; });
    return mappings;
  };
  history_.emplace(MappingHistory::Options{.ancestor = children ? static_cast<u32>(::getpid()) : 0}, look);
  return {};
}

void Symbolizer::keep_up() {
  if (history_) hear(false);
}

void Symbolizer::hear(bool everything) {
  const u64 lost = events_->lost();
  history_->add(events_->read(everything));
  if (lost == 0 && events_->lost() != 0)
    notes_.emplace_back("events of what processes map were lost: stacks of some that have ended may lack names");
}

Frame Symbolizer::user(u32 pid, u64 address) { return user(pid, std::span(&address, 1)).front(); }

std::vector<Place> Symbolizer::places(u32 pid, std::span<const u64> addresses) {
  if (Process* const found = process(pid); found != nullptr) return found->resolve(addresses, files_, own_root());
  std::vector<Place> places(addresses.size());
  for (std::size_t i = 0; i < addresses.size(); ++i) places[i].frame.address = addresses[i];
  return places;
}

std::vector<Frame> Symbolizer::user(u32 pid, std::span<const u64> addresses) {
  std::vector<Frame> frames;
  frames.reserve(addresses.size());
  for (Place& place : places(pid, addresses)) frames.push_back(std::move(place.frame));
  return frames;
}

std::vector<Frame> Symbolizer::user_stack(u32 pid, std::span<const u64> addresses) {
  std::vector<u64> calls(addresses.begin(), addresses.end());
  for (std::size_t i = 1; i < calls.size(); ++i) calls[i] -= calls[i] != 0;
  std::vector<Frame> frames;
  add_stack(places(pid, calls), frames);
  return frames;
}

const std::vector<SourceFrame>& Symbolizer::sources_at(const DebugInfo& info, u64 address, const std::string& module) {
  static const std::vector<SourceFrame> nothing;
  const auto found = debug_information_.at(info, address);
  if (found) return **found;
  const Error& error = found.error();
  const bool is_of_all_files = error.code == Code::limit;
  if (error.code != Code::unsupported && !(is_of_all_files && std::exchange(reads_no_more_, true)))
    notes_.push_back(fmt::format("{}: {}: inlined functions are left out", module, error.message));
  return nothing;
}

/// `places`: as they were looked up, all but the first one byte before the address that the stack has.
void Symbolizer::add_stack(std::vector<Place> places, std::vector<Frame>& out) {
  for (std::size_t i = 0; i < places.size(); ++i) {
    auto& [frame, symbols] = places[i];
    const DebugInfo* const info = options_.inlined && symbols != nullptr ? symbols->debug_info() : nullptr;
    const auto address = info != nullptr ? symbols->linked_address(frame.module_offset) : std::nullopt;
    const u64 back = i == 0 || frame.address == ~u64{0} ? 0 : 1;
    frame.address += back, frame.module_offset += back;
    if (!frame.name.empty()) frame.offset += back;
    static const std::vector<SourceFrame> nothing;
    const std::vector<SourceFrame>& sources = address ? sources_at(*info, *address, frame.module) : nothing;
    for (const SourceFrame& source : sources) {
      Frame inlined = frame;
      inlined.is_inlined = &source != &sources.back();
      if (inlined.is_inlined || frame.name.empty()) inlined.name = source.name, inlined.offset = 0;
      inlined.source = source.file, inlined.line = source.line;
      out.push_back(std::move(inlined));
    }
    if (sources.empty()) out.push_back(std::move(frame));
  }
}

bool Symbolizer::remember(u32 pid) {
  Process* const found = process(pid);
  if (found == nullptr) return false;
  found->refresh(std::chrono::milliseconds(0));
  return found->exists();
}

Result<void> Symbolizer::add_file(const std::string& path) {
  base::Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return tl::unexpected(base::os_error(path));
  auto symbols = std::make_shared<const FileSymbols>(SKEP_TRY_AT(path, FileSymbols::read(std::move(file), {})));
  if (symbols->build_id().empty())
    return fail(Code::invalid_argument, path + ": has no build id, by which stacks are told; link it with --build-id");
  listed_.push_back({path, std::move(symbols)});
  return {};
}

Place Symbolizer::place(const BuildIdPlace& element, u32 pid) {
  Place place;
  place.frame.module_offset = element.place;
  const auto listed =
      std::ranges::find_if(listed_, [&](const Listed& file) { return file.symbols->build_id() == element.build_id; });
  if (listed != listed_.end()) {
    place.frame.module = listed->path;
    place.symbols = listed->symbols;
  } else {
    place.frame.module = element.build_id;
    place.symbols = files_.find_build_id(element.build_id);
    if (Process* const found = place.symbols || pid == 0 ? nullptr : process(pid); found != nullptr) {
      found->read_files(files_, own_root());
      place.symbols = files_.find_build_id(element.build_id);
    }
  }
  name_in(place);
  return place;
}

std::vector<Frame> Symbolizer::build_id_stack(u32 pid, std::span<const BuildIdPlace> elements) {
  std::vector<Place> found;
  for (const BuildIdPlace& element : elements) {
    const u64 back = found.empty() || element.place == 0 ? 0 : 1;
    if (!element.build_id.empty()) {
      found.push_back(place({element.build_id, element.place - back}, pid));
    } else if (const u64 address = element.place - back; pid != 0) {
      found.push_back(std::move(places(pid, std::span(&address, 1)).front()));
    } else {
      found.push_back({.frame = {.address = address}, .symbols = nullptr});
    }
  }
  std::vector<Frame> frames;
  add_stack(std::move(found), frames);
  return frames;
}

}  // namespace skep::symbols
