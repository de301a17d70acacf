// Means, the table, the JSON. See report.hpp.
#include "engine/report.hpp"

#include <fmt/format.h>

#include <cmath>

#include "base/json_writer.hpp"
#include "figures.hpp"

namespace skep::bench {
namespace {

const Cell* cell_of(const Line& line, const std::string& engine) {
  const auto found = line.cells.find(engine);
  return found == line.cells.end() || !found->second.refused.empty() ? nullptr : &found->second;
}

std::string number(double value) { return value < 100 ? fmt::format("{:.1f}", value) : fmt::format("{:.0f}", value); }

std::string quoted(double value) { return fmt::format("{:.3f}", value); }

void mean_lines(std::string& out, const Report& report) {
  for (const std::string base : {"native", "kernel"})
    for (const bool headline : {true, false})
      for (const auto& engine : report.engines) {
        if (engine == base || engine == "native") continue;
        const auto r = ratio(report, engine, base, headline);
        if (r)
          out += fmt::format("{:<9} over {:<6} {:>3} {}: geometric mean {:.2f}, worst {:.2f} ({})\n", engine, base,
                             r->programs, headline ? "compute programs" : "programs in all", r->mean, r->worst,
                             r->worst_program);
      }
  for (const auto& engine : report.engines)
    if (const auto us = compile_mean_us(report, engine); us && *us > 0)
      out += fmt::format("{:<9} compiles in {:.1f} us (geometric mean of the compute programs)\n", engine, *us);
}

void write(base::JsonWriter& out, const Cell& cell) {
  out.begin_object();
  if (!cell.refused.empty()) {
    out.member("refused", cell.refused);
  } else {
    const auto figure = [&](const char* key, double value) { out.key(key), out.raw(quoted(value)); };
    figure("ns_per_run", cell.ns_per_run);
    figure("spread", cell.spread);
    figure("verify_us", cell.verify_us);
    figure("compile_us", cell.compile_us);
    out.member("code_bytes", cell.code_bytes);
  }
  out.end_object();
}

/// Means and worst cases by name, for bench/check.py; those with an engine that is not here are left out.
Figures figures_of(const Report& report) {
  Figures figures;
  constexpr const char* engines[] = {"interp", "baseline", "opt", "checked", "kernel"};
  for (const std::string engine : engines) {
    for (const std::string base : {"native", "kernel"})
      for (const bool headline : {true, false}) {
        if (engine == base) continue;
        const std::string name = fmt::format("{} / {}, {}", engine, base, headline ? "compute" : "all");
        const auto r = ratio(report, engine, base, headline);
        if (r) {
          figures.add(name + ", mean", r->mean);
          figures.add(name + ", worst", r->worst);
        } else if (!report.no_kernel.empty() && (engine == "kernel" || base == "kernel")) {
          figures.leave_out(name + ", mean", report.no_kernel);
          figures.leave_out(name + ", worst", report.no_kernel);
        }
      }
    const auto ours = compile_mean_us(report, engine), kernels = compile_mean_us(report, "kernel");
    const std::string name = fmt::format("{} compiles / kernel", engine);
    if (ours && *ours > 0) figures.add(engine + " compiles, us", *ours);
    if (ours && *ours > 0 && kernels && *kernels > 0)
      figures.add(name, *ours / *kernels);
    else if (!report.no_kernel.empty())
      figures.leave_out(name, report.no_kernel);
  }
  return figures;
}

}  // namespace

std::optional<Ratio> ratio(const Report& report, const std::string& engine, const std::string& base, bool headline) {
  Ratio out;
  double logs = 0;
  for (const Line& line : report.lines) {
    if (line.program == "empty" || (headline && !line.headline)) continue;
    const Cell* ours = cell_of(line, engine);
    const Cell* theirs = cell_of(line, base);
    if (ours == nullptr || theirs == nullptr || theirs->ns_per_run <= 0 || ours->ns_per_run <= 0) continue;
    const double over = ours->ns_per_run / theirs->ns_per_run;
    logs += std::log(over);
    ++out.programs;
    if (over > out.worst) out.worst = over, out.worst_program = line.program;
  }
  if (out.programs == 0) return std::nullopt;
  out.mean = std::exp(logs / out.programs);
  return out;
}

std::optional<double> compile_mean_us(const Report& report, const std::string& engine) {
  double logs = 0;
  u32 count = 0;
  for (const Line& line : report.lines)
    if (const Cell* cell = cell_of(line, engine); cell != nullptr && line.headline && cell->compile_us > 0)
      logs += std::log(cell->compile_us), ++count;
  if (count == 0) return std::nullopt;
  return std::exp(logs / count);
}

std::string table(const Report& report) {
  std::string out = fmt::format("native: {}; eBPF: -mcpu={}\n\nns per run", report.compiler, report.cpu);
  for (const auto& engine : report.engines) out += fmt::format("{:>{}}", engine, engine == report.engines[0] ? 12 : 10);
  out += "   verify us  compile us / code bytes\n";
  for (const Line& line : report.lines) {
    out += fmt::format("{:<12}", line.program);
    std::string compile, refused;
    double verify_us = 0;
    for (const auto& engine : report.engines) {
      const Cell* cell = cell_of(line, engine);
      out += fmt::format("{:>10}", cell != nullptr ? number(cell->ns_per_run) : "-");
      const auto any = line.cells.find(engine);
      if (any != line.cells.end() && !any->second.refused.empty())
        refused += fmt::format("  {}: {}\n", engine, any->second.refused.substr(0, any->second.refused.find('\n')));
      if (cell == nullptr || engine == "native") continue;
      if (engine != "kernel") verify_us = cell->verify_us;
      compile += fmt::format("  {} {}", engine, number(cell->compile_us));
      if (cell->code_bytes != 0) compile += fmt::format("/{}", cell->code_bytes);
    }
    out += fmt::format("{:>12}{}\n{}", number(verify_us), compile, refused);
  }
  out += "\n";
  mean_lines(out, report);
  return out;
}

std::string json(const Report& report) {
  base::JsonWriter out(true);
  out.begin_object();
  out.member("native_compiler", report.compiler);
  out.member("cpu", report.cpu);
  figures_of(report).write(out);
  out.key("programs");
  out.begin_object();
  for (const Line& line : report.lines) {
    out.key(line.program);
    out.begin_object();
    out.member("headline", line.headline);
    out.member("result", line.result);
    for (const auto& [engine, cell] : line.cells) {
      out.key(engine);
      write(out, cell);
    }
    out.end_object();
  }
  out.end_object();
  out.end_object();
  return out.text() + "\n";
}

}  // namespace skep::bench
