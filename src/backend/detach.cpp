// Ending many attachments, by as many threads as it takes for all to wait at once.
//
// Closing a link of user probes waits for two grace periods of the kernel's RCU, some 40 ms where nothing else goes on.
// One after the other, twenty take a second; twenty threads that wait for the same grace periods take 70 ms.
#include <algorithm>
#include <atomic>
#include <iterator>
#include <skep/backend.hpp>
#include <system_error>
#include <thread>

namespace skep {
namespace {

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

}  // namespace

void detach_all(std::span<Link* const> links) {
  std::vector<Link*> waiting;
  std::ranges::copy_if(links, std::back_inserter(waiting), &Link::waits_to_end);
  detach_together(waiting);
  for (Link* const link : links) link->detach();
}

void detach_all(std::vector<Link>& links) {
  std::vector<Link*> all;
  for (Link& link : links) all.push_back(&link);
  detach_all(all);
  links.clear();
}

}  // namespace skep
