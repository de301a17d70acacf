// The engine's types agree with its other tables: contexts, registers, helpers.
#include "user/target_types.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "catalog/contexts.hpp"
#include "helper/helpers.hpp"
#include "hook/syscall_event.hpp"

namespace skep::user {
namespace {

std::shared_ptr<const btf::Btf> types() { return target_types().value(); }

/// Bit offset and type of a member, or -1; through what has no name, as C finds it.
std::pair<s64, u32> member_of(const btf::Btf& btf, const btf::Type& structure, std::string_view name) {
  for (const auto& found : btf.members(structure)) {
    if (found.name == name) return {found.bit_offset, found.type_id};
    if (!found.name.empty()) continue;
    if (const auto inside = member_of(btf, btf.type(found.type_id), name); inside.first >= 0)
      return {found.bit_offset + inside.first, inside.second};
  }
  return {-1, 0};
}
std::pair<s64, u32> member(const btf::Btf& btf, std::string_view structure, std::string_view name) {
  const auto id = btf.find(structure, btf::Kind::struct_);
  return id ? member_of(btf, btf.type(*id), name) : std::pair<s64, u32>{-1, 0};
}

TEST(TargetTypes, ContextsHaveTheCatalogsFields) {
  const auto btf = types();
  u32 contexts = 0;
  for (u32 type = 1; name_of(static_cast<ProgramType>(type)) != "unknown"; ++type) {
    const catalog::Context* context = catalog::context_of(static_cast<ProgramType>(type));
    if (context == nullptr || context->fields.empty() || type == static_cast<u32>(ProgramType::perf_event)) continue;
    ++contexts;
    const std::string name(context->name.substr(std::string_view("struct ").size()));
    const auto id = btf->find(name, btf::Kind::struct_);
    ASSERT_TRUE(id) << name;
    EXPECT_EQ(btf->type(*id).size(), context->size) << name;
    for (const auto& field : context->fields) {
      // The catalog has a row per word of an array, and all of a port's place; C has one member.
      if (field.name.find("_ip6_") != std::string_view::npos || field.name.starts_with("replylong") ||
          field.kind == catalog::Field::port)
        continue;
      const auto [offset, type_id] = member(*btf, name, field.name);
      EXPECT_EQ(offset, field.offset * 8) << name << "." << field.name;
      EXPECT_EQ(btf->size_of(type_id).value_or(0), field.size) << name << "." << field.name;
    }
  }
  EXPECT_GE(contexts, 12u);
  EXPECT_EQ(member(*btf, "__sk_buff", "remote_ip6").first, 100 * 8);
  EXPECT_EQ(btf->size_of(member(*btf, "__sk_buff", "remote_ip6").second), 16u);
  EXPECT_EQ(member(*btf, "bpf_sock_ops", "args").first, 4 * 8);
  EXPECT_EQ(member(*btf, "bpf_sock_ops", "replylong").first, 4 * 8);
  EXPECT_EQ(member(*btf, "bpf_sk_lookup", "cookie").first, 0);
  EXPECT_EQ(member(*btf, "bpf_sock", "dst_ip6").first, 56 * 8);
  EXPECT_EQ(member(*btf, "bpf_tcp_sock", "bytes_acked").first, 88 * 8);
  EXPECT_EQ(member(*btf, "bpf_flow_keys", "ipv6_dst").first, 32 * 8);
}

TEST(TargetTypes, RegistersAreWhereTheHooksPutThem) {
  const auto btf = types();
  EXPECT_EQ(member(*btf, "pt_regs", "di").first, static_cast<s64>(offsetof(hook::PtRegs, di) * 8));
  EXPECT_EQ(member(*btf, "pt_regs", "orig_ax").first, static_cast<s64>(offsetof(hook::PtRegs, orig_ax) * 8));
  EXPECT_EQ(member(*btf, "pt_regs", "ss").first, static_cast<s64>(offsetof(hook::PtRegs, ss) * 8));
  EXPECT_EQ(btf->type(*btf->find("pt_regs", btf::Kind::struct_)).size(), sizeof(hook::PtRegs));
  EXPECT_EQ(member(*btf, "trace_event_raw_sys_enter", "args").first, 16 * 8);
  EXPECT_EQ(member(*btf, "trace_event_raw_sys_exit", "ret").first, 16 * 8);
}

TEST(TargetTypes, SizesFollowFromMembers) {
  const auto btf = types();
  for (u32 id = 1; id < btf->type_count(); ++id) {
    const auto type = btf->type(id);
    if (type.kind != btf::Kind::struct_) continue;
    u64 end = 0;
    for (const auto& m : btf->members(type)) {
      const u64 bits = m.bit_size != 0 ? m.bit_size : btf->size_of(m.type_id).value() * 8;
      EXPECT_GE(m.bit_offset, end) << type.name << "." << m.name << " overlaps the member before it";
      end = std::max<u64>(end, m.bit_offset + bits);
    }
    EXPECT_LE(end, type.size() * u64{8}) << type.name;
    EXPECT_GE(end + 64, type.size() * u64{8}) << type.name << ": more than padding at its end";
  }
}

/// The interface of system calls is the running kernel's: each member lies where its types say.
TEST(TargetTypes, StructuresOfSystemCallsAreTheKernels) {
  constexpr const char* kernel_types = "/sys/kernel/btf/vmlinux";
  if (!std::filesystem::exists(kernel_types)) GTEST_SKIP() << "this kernel has no BTF";
  const auto kernel = btf::Btf::from_file(kernel_types);
  ASSERT_TRUE(kernel) << kernel.error().message;
  const auto own = types();
  std::vector<std::string_view> names;
#define SKEP_STRUCT(name, bytes) names.push_back(#name);
#define SKEP_MEMBER(...)
#define SKEP_ARRAY(...)
#define SKEP_INNER(...)
#define SKEP_POINTER_AT(...)
#define SKEP_STRUCT_END
#include "user/process_types.def"
  u32 compared = 0;
  for (const std::string_view name : names) {
    const auto id = own->find(name, btf::Kind::struct_), in_kernel = (*kernel)->find(name, btf::Kind::struct_);
    ASSERT_TRUE(id) << name;
    if (!in_kernel) continue;  // of a part that this kernel was built without
    ++compared;
    EXPECT_EQ(own->type(*id).size(), (*kernel)->type(*in_kernel).size()) << name;
    for (const auto& m : own->members(own->type(*id))) {
      if (m.name.empty()) continue;
      const auto there = member(**kernel, name, m.name);
      if (there.first < 0 && m.name.starts_with("sa_data")) continue;  // two names in Linux 6.5 to 6.18
      EXPECT_EQ(there.first, m.bit_offset) << name << "." << m.name;
    }
  }
  EXPECT_GE(compared, 20u);
}

TEST(TargetTypes, KernelMemoryIsNotPromised) {
  const auto btf = types();
  EXPECT_FALSE(btf->find("sk_buff", btf::Kind::struct_));
  EXPECT_EQ(member(*btf, "task_struct", "stack").first, -1);
}

TEST(TargetTypes, HelpersAreThoseOfTheEngine) {
  const auto btf = types();
  const auto id = btf->find("bpf_func_id", btf::Kind::enum_);
  ASSERT_TRUE(id);
  const auto table = helper::table();
  const auto values = btf->enumerators(btf->type(*id));
  EXPECT_EQ(static_cast<std::ptrdiff_t>(values.size()),
            std::ranges::count_if(table, [](helper::HelperFn function) { return function != nullptr; }));
  EXPECT_TRUE(std::ranges::any_of(
      values, [](const auto& value) { return value.name == "BPF_FUNC_ringbuf_reserve" && value.value == 131; }));
}

}  // namespace
}  // namespace skep::user
