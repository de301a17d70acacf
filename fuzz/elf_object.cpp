// libFuzzer: an object file becomes a spec, and everything that reads a spec's types and values runs over it.
//
// Nothing may crash, hang or allocate without bound; errors are the expected outcome. The object's own types stand
// in for the kernel's, so that CO-RE patching runs on hostile types of both sides.
#include <cstdint>
#include <memory>
#include <skep/spec.hpp>
#include <vector>

#include "btf/format_value.hpp"
#include "spec/resolve.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto object = skep::ObjectSpec::from_bytes(std::as_bytes(std::span(data, size)), "fuzz.bpf.o");
  if (!object) return 0;
  (void)skep::spec::resolve_kconfig(*object, [](std::string_view name) -> std::optional<std::string> {
    if (name.size() % 3 == 0) return std::nullopt;
    return name.size() % 3 == 1 ? "y" : "42";
  });
  for (const auto& map : object->maps)
    if (object->btf && map.btf_value_type_id != 0)
      (void)skep::btf::format_value(*object->btf, map.btf_value_type_id, map.initial_value);
  skep::btf::CoreBudget budget;
  for (auto& program : object->programs) {
    (void)program.line_at(static_cast<skep::u32>(program.insns.size()));
    (void)program.attach.text();
    if (!object->btf) continue;
    const std::shared_ptr<const skep::btf::Btf> targets[] = {object->btf};
    (void)skep::spec::apply_core(program, *object->btf, targets, budget);
  }
  return 0;
}
