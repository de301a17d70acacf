// Ending many attachments.
#pragma once
#include <skep/backend.hpp>
#include <span>
#include <vector>

namespace skep::kernel {

/// Detaches the kernel engine's links, at the same time: each may have to wait until no CPU can be inside of what it
/// held, and those that wait together wait once.
void detach_together(std::span<Link* const> links);
/// Ends the links of an engine, whichever it is: those of the kernel at the same time.
void detach_all(std::vector<Link>& links, const Backend& engine);

}  // namespace skep::kernel
