// Ending many attachments, by as many threads as it takes for all to wait at once.
//
// Closing a link of user probes waits for two grace periods of the kernel's RCU, some 40 ms where nothing else goes on.
// One after the other, twenty take a second; twenty threads that wait for the same grace periods take 70 ms.
#include "kernel/detach.hpp"

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>

namespace skep::kernel {

void detach_together(std::span<Link* const> links) {
  constexpr std::size_t most_threads = 256;
  std::atomic<std::size_t> next = 0;
  const auto detach_some = [&] {
    for (std::size_t i = next++; i < links.size(); i = next++) links[i]->detach();
  };
  std::vector<std::jthread> threads;
  try {
    while (threads.size() + 1 < std::min(links.size(), most_threads)) threads.emplace_back(detach_some);
  } catch (const std::system_error&) {  // no more threads: those that there are detach all
  }
  detach_some();
}

void detach_all(std::vector<Link>& links, const Backend& engine) {
  std::vector<Link*> in_kernel;
  if (engine.name() == "kernel")
    for (Link& link : links) in_kernel.push_back(&link);
  detach_together(in_kernel);
  links.clear();
}

}  // namespace skep::kernel
