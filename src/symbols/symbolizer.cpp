// Putting the parts together. See symbolizer.hpp.
#include "symbols/symbolizer.hpp"

#include <algorithm>

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
