// The kernel's programs, maps and links, as `skep prog show` and its kind list them.
//
// Ids are walked with *_GET_NEXT_ID; each is opened, asked and closed again, so what goes away in between is left out.
// All of that takes CAP_SYS_ADMIN. An open descriptor takes nothing to be asked, and a pin only the file's rights, so
// who lacks the capability is shown what is pinned where he may open it.
#pragma once
#include <functional>
#include <map>
#include <skep/inspect.hpp>
#include <string>
#include <vector>

#include "base/fd.hpp"

namespace skep::kernel {

class KernelInspector final : public Inspector {
 public:
  Result<std::vector<ProgramInfo>> programs() override;
  Result<std::vector<MapInfo>> maps() override;
  Result<std::vector<LinkInfo>> links() override;
  std::string left_out() const override { return left_out_; }
  Result<ProgramInfo> pinned_program(const std::filesystem::path& path) override;
  Result<MapInfo> pinned_map(const std::filesystem::path& path) override;
  Result<LinkInfo> pinned_link(const std::filesystem::path& path) override;
  Result<ProgramCode> program_code(u32 program_id) override;
  Result<Map> map(u32 map_id) override;
  Result<std::shared_ptr<const btf::Btf>> btf(u32 btf_id) override;
  Result<std::vector<BtfInfo>> btfs() override;
  Result<TestRunResult> test_run(u32 program_id, const TestRun& run) override;
  Result<void> pin(ObjectKind kind, u32 id, const std::filesystem::path& path) override;
  Result<Map> create_map(const MapSpec& spec, u32 inner_map_id) override;
  Result<void> detach_link(u32 link_id) override;

 private:
  /// Calls `look(fd)` for every object of a kind.
  template <class Look>
  Result<void> for_each(ObjectKind kind, const std::map<u32, std::vector<std::string>>& pins, Look&& look);
  /// Facts of what is pinned at `path`, which stays open where its id alone would not open it.
  template <class Info>
  Result<Info> pinned(ObjectKind kind, const std::filesystem::path& path,
                      const std::function<Result<Info>(int fd)>& ask);

  /// The full name of a program whose stored name was cut: that of its first function's type.
  std::string full_name(int fd, const ProgramInfo& info);

  std::string left_out_;
  std::map<std::pair<ObjectKind, u32>, base::Fd> held_;  ///< open_by_id() finds them
};

}  // namespace skep::kernel
