// The parts of bench_maps, each a table of its own. Tables go to `out`, what make bench-check compares to `figures`.
#pragma once
#include <skep/backend.hpp>

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "figures.hpp"

namespace skep::bench {

/// Where a part writes, and the engines it compares.
struct Session {
  std::FILE* out = stdout;
  std::string only;  ///< parts measure only what has this in its name
  Figures figures;
  std::unique_ptr<Backend> user, kernel;
  std::string no_kernel;  ///< why `kernel` is null

  bool wants(std::string_view name) const { return name.find(only) != std::string_view::npos; }
  /// `ours` over `theirs` by the name `figure`; the reason where there is no kernel.
  void compare(const std::string& figure, double ours, double theirs) {
    if (kernel != nullptr)
      figures.add(figure, ours / theirs);
    else
      figures.leave_out(figure, no_kernel);
  }
};

/// The same program in the user engine and in the kernel, interleaved; a plain table in C++ beside them.
void beside_the_kernel(Session& session);
/// Look-ups and updates from one and from two threads, and look-ups while another thread updates.
void threads(Session& session);
/// A program that fills a ring while a reader empties it, in both engines; the user ring buffer.
void rings(Session& session);
/// Bytes a full map takes for each entry, in both engines.
void memory(Session& session);

}  // namespace skep::bench
