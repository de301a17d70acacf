// Ending many attachments.
#pragma once
#include <skep/backend.hpp>
#include <span>
#include <vector>

namespace skep::kernel {

/// Detaches the kernel engine's links, at the same time: each may have to wait until no CPU can be inside of what it
/// held, and those that wait together wait once.
void detach_together(std::span<Link* const> links);
/// The same, after which there are none.
void detach_together(std::vector<Link>& links);

}  // namespace skep::kernel
