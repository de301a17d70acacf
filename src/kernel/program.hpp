// A loaded object of the kernel engine, and its programs as Program handles.
//
// One program of the object may be loaded more than once: a carried kprobe program is bound to its system call, and a
// tracing program to its function, when it is loaded. Attaching it elsewhere loads another variant. Variants share the
// object's maps; each lives as long as the program's handle.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <skep/backend.hpp>
#include <vector>

#include "btf/core.hpp"
#include "kernel/annotations.hpp"
#include "kernel/attach.hpp"
#include "kernel/load_target.hpp"
#include "kernel/map_handle.hpp"
#include "kernel/plan.hpp"
#include "kernel/session.hpp"

namespace skep::kernel {

/// A program whose instructions are final except for descriptors: closed against this kernel, carried if need be.
struct Prepared {
  ProgramSpec program;
  Annotations annotations;
  Plan plan;
  LoadTarget target;
};

/// What the programs of one object share.
struct LoadedObject {
  std::shared_ptr<Session> session;
  ObjectSpec spec;
  std::vector<std::shared_ptr<KernelMap>> maps;
  base::Fd btf;
  bool keep_log = false;
  /// struct_ops maps by their place in `maps`: what registers them.
  struct Ops {
    std::vector<std::byte> value;
    std::vector<base::Fd> programs;        ///< whose numbers stand in `value`
    std::weak_ptr<Link::Impl> registered;  ///< shared by the links of its programs
  };
  std::map<std::size_t, Ops> ops;

  /// Registers the struct_ops map that `program` is a member of; registered already, the same once more.
  Result<Link> attach_ops_of(std::string_view program);

  /// How a program reaches its hook here.
  Result<Plan> plan(const ProgramSpec& program, const AttachTarget& target) const;
  /// For a program that asks for its cookie where the hook has none.
  void write_cookie_where_needed(Plan& plan, const ProgramSpec& program, const AttachTarget& target) const;
  /// CO-RE, carrier and annotations. `image` may be null: the object has no types; `plan` too: it is made here.
  /// `budget`: of the relocations of all programs that are prepared together.
  Result<Prepared> prepare(const ProgramSpec& program, const AttachTarget& target, TypesImage* image,
                           btf::CoreBudget& budget, const Plan* plan = nullptr) const;
  /// References to maps and symbols, then BPF_PROG_LOAD. `btf_fd`: the types that `prepared` was annotated for.
  Result<base::Fd> load(Prepared& prepared, int btf_fd) const;
  /// Gives the object's read-only data to a program that does not refer to it.
  void bind_constants(int program_fd, const ProgramSpec& program) const;
};

class KernelProgram final : public Program::Impl {
 public:
  /// `spec` is one of the object's.
  KernelProgram(std::shared_ptr<LoadedObject> object, const ProgramSpec& spec);

  const ProgramInfo& info() const override { return info_; }
  Result<Link> attach(const AttachTarget& target) override;
  Result<TestRunResult> test_run(const TestRun& run) override;

  /// Takes a load of this program. The first one gives the handle its facts.
  Result<void> adopt(const std::string& key, base::Fd fd);
  /// The first load, or -1.
  int fd() const noexcept { return first_fd_; }

 private:
  Result<int> variant_for(const AttachTarget& target, const Plan& plan);
  Attached attach_by(const Plan& plan, const AttachTarget& target);
  /// The same, and what sees the calls that do not come to its function (caller_places()).
  Link with_callers(std::unique_ptr<Attachment> attachment, const AttachTarget& target);

  std::shared_ptr<LoadedObject> object_;
  const ProgramSpec& spec_;
  ProgramInfo info_;
  std::mutex mutex_;
  std::map<std::string, base::Fd> variants_;
  int first_fd_ = -1;
};

/// Loads an object: types, maps, programs, contents of program arrays. The backend's whole load().
Result<Object> load_object(const std::shared_ptr<Session>& session, const ObjectSpec& spec, const LoadOptions& options);

}  // namespace skep::kernel
