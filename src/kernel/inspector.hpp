// The kernel's programs, maps and links, as `skep prog show` and its kind list them.
//
// Ids are walked with *_GET_NEXT_ID; each is opened, asked and closed again, so what goes away in between is left out.
#pragma once
#include <skep/inspect.hpp>

namespace skep::kernel {

class KernelInspector final : public Inspector {
 public:
  Result<std::vector<ProgramInfo>> programs() override;
  Result<std::vector<MapInfo>> maps() override;
  Result<std::vector<LinkInfo>> links() override;
  Result<ProgramCode> program_code(u32 program_id) override;
  Result<Map> map(u32 map_id) override;
  Result<std::shared_ptr<const btf::Btf>> btf(u32 btf_id) override;
  Result<std::vector<BtfInfo>> btfs() override;
  Result<TestRunResult> test_run(u32 program_id, const TestRun& run) override;
  Result<void> pin(ObjectKind kind, u32 id, const std::filesystem::path& path) override;
  Result<Map> create_map(const MapSpec& spec, u32 inner_map_id) override;
  Result<void> detach_link(u32 link_id) override;

 private:
  /// The full name of a program whose stored name was cut: that of its first function's type.
  std::string full_name(int fd, const ProgramInfo& info);
};

}  // namespace skep::kernel
