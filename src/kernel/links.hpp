// What the kernel tells of a link: common facts, and those of its type under bpftool's keys.
#pragma once
#include <skep/inspect.hpp>

namespace skep::kernel {

/// Facts of the link behind a descriptor (without `pinned`).
Result<LinkInfo> link_info(int fd);

}  // namespace skep::kernel
