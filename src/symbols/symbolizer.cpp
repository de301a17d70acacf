// Putting the parts together. See symbolizer.hpp.
#include "symbols/symbolizer.hpp"

#include <algorithm>

namespace skep::symbols {

Result<const KernelSymbols*> Symbolizer::kernel_symbols() {
  if (!kernel_) kernel_ = KernelSymbols::read(options_.kallsyms);
  if (!*kernel_) return tl::unexpected(kernel_->error());
  return &**kernel_;
}

Frame Symbolizer::kernel(u64 address) {
  Frame frame;
  frame.address = address;
  frame.is_kernel = true;
  const auto symbols = kernel_symbols();
  if (!symbols) return frame;
  if (const auto found = (*symbols)->find(address)) {
    frame.name = found->symbol.name;
    frame.module = found->symbol.module;
    frame.offset = found->offset;
  }
  return frame;
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

/// A process that has ended is kept until another one has its number.
Process* Symbolizer::process(u32 pid) {
  const auto at = std::ranges::find(processes_, pid, &Process::pid);
  if (at != processes_.end()) {
    processes_.splice(processes_.begin(), processes_, at);
    if (processes_.front().exists()) return &processes_.front();
  }
  auto opened = Process::open(pid);
  if (opened && !opened->mappings().empty()) {
    if (at != processes_.end()) processes_.pop_front();
    processes_.push_front(*std::move(opened));
    while (processes_.size() > std::max<std::size_t>(options_.most_processes, 1)) processes_.pop_back();
    return &processes_.front();
  }
  return at != processes_.end() ? &processes_.front() : nullptr;
}

Frame Symbolizer::user(u32 pid, u64 address) { return user(pid, std::span(&address, 1)).front(); }

std::vector<Frame> Symbolizer::user(u32 pid, std::span<const u64> addresses) {
  if (Process* const found = process(pid); found != nullptr) return found->resolve(addresses, files_, own_root());
  std::vector<Frame> frames(addresses.size());
  for (std::size_t i = 0; i < addresses.size(); ++i) frames[i].address = addresses[i];
  return frames;
}

bool Symbolizer::remember(u32 pid) {
  Process* const found = process(pid);
  if (found == nullptr) return false;
  found->refresh(std::chrono::milliseconds(0));
  return found->exists();
}

Frame Symbolizer::build_id(std::string_view id, u64 file_offset, u32 pid) {
  Frame frame;
  frame.module_offset = file_offset;
  frame.module = id;
  auto symbols = files_.find_build_id(id);
  if (Process* const found = symbols || pid == 0 ? nullptr : process(pid); found != nullptr) {
    found->read_files(files_, own_root());
    symbols = files_.find_build_id(id);
  }
  if (symbols)
    if (auto found = symbols->at_offset(file_offset)) {
      frame.name = std::move(found->name);
      frame.offset = found->offset;
    }
  return frame;
}

}  // namespace skep::symbols
