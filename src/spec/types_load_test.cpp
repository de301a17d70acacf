// The types of every corpus object, completed, go into the kernel: its own checks are the judge.
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <skep/spec.hpp>

#include "base/fd.hpp"
#include "btf/btf.hpp"
#include "spec/test_corpus.hpp"

namespace skep::spec {
namespace {

using namespace test;

/// 0 or the errno of BPF_BTF_LOAD.
int load_into_kernel(const btf::Btf& types) {
  bpf_attr request{};
  request.btf = reinterpret_cast<u64>(types.bytes().data());
  request.btf_size = static_cast<u32>(types.bytes().size());
  const base::Fd fd(static_cast<int>(::syscall(SYS_bpf, BPF_BTF_LOAD, &request, sizeof request)));
  return fd ? 0 : errno;
}

TEST(Corpus, CompletedTypesLoadIntoTheKernel) {
  SKEP_NEED_CORPUS(selftests_archive);
  if (!has_kernel_btf()) GTEST_SKIP() << "left out: this kernel has no BTF";
  // Parts of programs that only linking completes: functions and variables of other files.
  const std::set<std::string> incomplete = {"linked_funcs1.o", "linked_vars2.o", "test_subskeleton.o"};
  const Unpacked unpacked(selftests_archive);
  int loaded = 0;
  for (const auto& path : unpacked.objects) {
    const auto object = ObjectSpec::from_file(path);
    if (!object || !object->btf) continue;
    const int error = load_into_kernel(*object->btf);
    if (error == EPERM) GTEST_SKIP() << "left out: loading types needs CAP_BPF";
    if (incomplete.contains(path.filename())) continue;
    EXPECT_EQ(error, 0) << path.filename() << ": " << std::strerror(error);
    loaded += error == 0;
  }
  EXPECT_GT(loaded, 300);
}

}  // namespace
}  // namespace skep::spec
