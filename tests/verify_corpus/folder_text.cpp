// What came of a folder, as text, as JSON and as rows.
#include <fmt/format.h>

#include <algorithm>

#include "base/json_writer.hpp"
#include "folder.hpp"

namespace skep::corpus {
namespace {

struct Sums {
  u64 judged = 0, same = 0, kernel_accepts = 0, kernel_refuses = 0, wrongly_accepted = 0, wrongly_refused = 0;
  u64 counted = 0, as_many = 0, near = 0;
  u64 insns = 0, kernel_insns = 0;                           ///< of programs that both accept
  u64 time_ns = 0, kernel_time_ns = 0;                       ///< likewise
  u64 median_ns = 0, kernel_median_ns = 0;                   ///< likewise
  u64 lacking = 0, denied = 0;                               ///< programs that the kernel did not judge
  u64 denied_accepted = 0, annotated = 0, as_annotated = 0;  ///< of the denied: with a verdict that they expect
  u64 most_state_bytes = 0, slowest_ns = 0;                  ///< of any program
};

u64 median(std::vector<u64> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

Sums sums_of(const FolderResult& result) {
  Sums sum;
  std::vector<u64> times, kernel_times;
  for (const Judged& row : result.programs) {
    sum.most_state_bytes = std::max(sum.most_state_bytes, row.state_bytes);
    sum.slowest_ns = std::max(sum.slowest_ns, row.time_ns);
    if (row.kernel.kind == kernel::KernelVerdict::Kind::denied) {
      sum.denied++;
      sum.denied_accepted += row.accepted;
      sum.annotated += row.expected.has_value();
      sum.as_annotated += row.expected == row.accepted;
    }
    sum.lacking += row.kernel.kind == kernel::KernelVerdict::Kind::lacking;
    if (!row.is_judged()) continue;
    sum.judged++;
    (row.kernel_accepts() ? sum.kernel_accepts : sum.kernel_refuses)++;
    if (row.accepted == row.kernel_accepts()) sum.same++;
    sum.wrongly_accepted += row.accepted && !row.kernel_accepts();
    sum.wrongly_refused += !row.accepted && row.kernel_accepts();
    if (!row.is_counted()) continue;
    sum.counted++;
    sum.as_many += row.insns == row.kernel.insns;
    sum.near += row.is_near();
    sum.insns += row.insns;
    sum.kernel_insns += row.kernel.insns;
    sum.time_ns += row.time_ns;
    const auto kernel_ns = static_cast<u64>(row.kernel.time_us * 1e3);
    sum.kernel_time_ns += kernel_ns;
    times.push_back(row.time_ns);
    kernel_times.push_back(kernel_ns);
  }
  sum.median_ns = median(std::move(times));
  sum.kernel_median_ns = median(std::move(kernel_times));
  return sum;
}

double percent(u64 part, u64 whole) {
  return whole == 0 ? 100.0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

std::string one_line(std::string text) {
  std::ranges::replace_if(text, [](char c) { return c == '\n' || c == '\t' || c == '\r'; }, ' ');
  return text;
}

std::string difference(const Judged& row) {
  if (row.kernel.kind == kernel::KernelVerdict::Kind::denied && row.expected.value_or(row.accepted) != row.accepted)
    return fmt::format("EXPECTED {} {} | {}\n", *row.expected ? "accept" : "refuse", row.name,
                       row.accepted ? "accepted" : one_line(row.refusal));
  if (!row.is_judged()) return {};
  if (row.accepted == row.kernel_accepts()) return {};
  return row.accepted ? fmt::format("ACCEPTED {} | kernel: {}\n", row.name, one_line(row.kernel.reason))
                      : fmt::format("REFUSED {} | {}\n", row.name, one_line(row.refusal));
}

}  // namespace

std::string folder_text(const FolderResult& result, bool with_counts) {
  std::string text;
  for (const Judged& row : result.programs) text += row.log + difference(row);
  if (with_counts)
    for (const Judged& row : result.programs)
      if (row.is_counted() && row.insns != row.kernel.insns)
        text += fmt::format("COUNT {:8} kernel {:8}{} {}\n", row.insns, row.kernel.insns, row.is_near() ? "" : " FAR",
                            row.name);
  for (const std::string& name : result.left_out) text += fmt::format("LEFT OUT {}\n", one_line(name));
  const Sums sum = sums_of(result);
  text += fmt::format("{} objects, {} programs; left out {} objects and programs that cannot be made ready\n",
                      result.objects, result.programs.size(), result.left_out.size());
  if (result.kernel_silent) text += fmt::format("the kernel was not asked: {}\n", one_line(*result.kernel_silent));
  text += fmt::format(
      "not judged by this kernel: {} need what it lacks; {} are of types that it denies: {} of them accepted here, {} "
      "of "
      "{} as their own annotations expect\n",
      sum.lacking, sum.denied, sum.denied_accepted, sum.as_annotated, sum.annotated);
  text += fmt::format("states of one program: {} KiB at most; slowest program: {:.1f} ms\n", sum.most_state_bytes >> 10,
                      static_cast<double>(sum.slowest_ns) / 1e6);
  if (sum.judged == 0) return text;
  text += fmt::format(
      "judged by both: {}, same verdict {} ({:.2f} %)\n  kernel accepts {}: refused here {}; kernel refuses {}: "
      "accepted "
      "here {}\n  processed as many instructions: {} of {} ({:.1f} %), within a tenth {} ({:.1f} %); in sum {}, kernel "
      "{}\n"
      "  time: median {:.1f} us, in sum {:.1f} ms; kernel: median {:.1f} us, in sum {:.1f} ms\n",
      sum.judged, sum.same, percent(sum.same, sum.judged), sum.kernel_accepts, sum.wrongly_refused, sum.kernel_refuses,
      sum.wrongly_accepted, sum.as_many, sum.counted, percent(sum.as_many, sum.counted), sum.near,
      percent(sum.near, sum.counted), sum.insns, sum.kernel_insns, static_cast<double>(sum.median_ns) / 1e3,
      static_cast<double>(sum.time_ns) / 1e6, static_cast<double>(sum.kernel_median_ns) / 1e3,
      static_cast<double>(sum.kernel_time_ns) / 1e6);
  return text;
}

std::string folder_json(const FolderResult& result) {
  const Sums sum = sums_of(result);
  base::JsonWriter json;
  json.begin_object();
  json.member("objects", u64{result.objects});
  json.member("programs", u64{result.programs.size()});
  json.member("left_out", u64{result.left_out.size()});
  json.member("judged", sum.judged);
  json.member("same_verdict", sum.same);
  json.member("kernel_accepts", sum.kernel_accepts);
  json.member("wrongly_refused", sum.wrongly_refused);
  json.member("kernel_refuses", sum.kernel_refuses);
  json.member("wrongly_accepted", sum.wrongly_accepted);
  json.member("counted", sum.counted);
  json.member("as_many", sum.as_many);
  json.member("within_a_tenth", sum.near);
  json.member("insns_processed", sum.insns);
  json.member("kernel_insns_processed", sum.kernel_insns);
  json.member("median_ns", sum.median_ns);
  json.member("kernel_median_ns", sum.kernel_median_ns);
  json.member("time_ns", sum.time_ns);
  json.member("kernel_time_ns", sum.kernel_time_ns);
  json.member("lacking", sum.lacking);
  json.member("denied", sum.denied);
  json.member("denied_accepted", sum.denied_accepted);
  json.member("denied_annotated", sum.annotated);
  json.member("denied_as_annotated", sum.as_annotated);
  json.member("most_state_bytes", sum.most_state_bytes);
  json.end_object();
  return json.text();
}

std::string folder_rows(const FolderResult& result) {
  std::string text;
  for (const Judged& row : result.programs) {
    constexpr const char* kinds[] = {"accepts", "refuses", "denies", "lacks"};
    const char* kernel = kinds[static_cast<std::size_t>(row.kernel.kind)];
    text += fmt::format("{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\n", row.name, row.accepted ? "accepted" : "refused",
                        kernel, row.insns, row.kernel.insns, row.time_ns, static_cast<u64>(row.kernel.time_us * 1e3),
                        row.state_bytes, one_line(row.refusal), one_line(row.kernel.reason));
  }
  return text;
}

}  // namespace skep::corpus
