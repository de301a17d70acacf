// The engine's types agree with its other tables: contexts, registers, helpers.
#include "user/target_types.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "catalog/contexts.hpp"
#include "helper/helpers.hpp"
#include "hook/syscall_event.hpp"

namespace skep::user {
namespace {

std::shared_ptr<const btf::Btf> types() { return target_types().value(); }

/// Bit offset and type of a member, or -1.
std::pair<s64, u32> member(const btf::Btf& btf, std::string_view structure, std::string_view name) {
  const auto id = btf.find(structure, btf::Kind::struct_);
  if (!id) return {-1, 0};
  for (const auto& found : btf.members(btf.type(*id)))
    if (found.name == name) return {found.bit_offset, found.type_id};
  return {-1, 0};
}

TEST(TargetTypes, ContextsHaveTheCatalogsFields) {
  const auto btf = types();
  for (const auto& [type, name] : {std::pair{ProgramType::xdp, "xdp_md"}, {ProgramType::sched_cls, "__sk_buff"}}) {
    const catalog::Context* context = catalog::context_of(type);
    ASSERT_NE(context, nullptr);
    const auto id = btf->find(name, btf::Kind::struct_);
    ASSERT_TRUE(id);
    EXPECT_EQ(btf->type(*id).size(), context->size) << name;
    for (const auto& field : context->fields) {
      // The catalog has a row per word of an address array; C has one member.
      if (field.name.find("_ip6_") != std::string_view::npos) continue;
      const auto [offset, type_id] = member(*btf, name, field.name);
      EXPECT_EQ(offset, field.offset * 8) << name << "." << field.name;
      EXPECT_EQ(btf->size_of(type_id).value_or(0), field.size) << name << "." << field.name;
    }
  }
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
