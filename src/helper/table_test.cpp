// Every helper of Linux 6.18 has a body here, or is refused with what it needs.
#include <gtest/gtest.h>

#include "catalog/helpers.hpp"
#include "catalog/prototypes.hpp"
#include "helper/helpers.hpp"

namespace skep::helper {
namespace {

TEST(HelperTable, EveryRowHasABodyOrAReason) {
  constexpr u32 last_of_linux_6_18 = 211;
  EXPECT_EQ(catalog::helpers().size(), last_of_linux_6_18);
  u32 bodies = 0, reasons = 0;
  for (const catalog::HelperRow& row : catalog::helpers()) {
    const auto id = static_cast<u32>(row.id);
    const bool has_body = id < table().size() && table()[id] != nullptr,
               has_reason = !catalog::helper_needs(id).empty();
    EXPECT_NE(catalog::prototype(id), nullptr) << row.name;
    if (row.id == catalog::HelperId::tail_call) {  // the machine itself performs it
      EXPECT_FALSE(has_body || has_reason);
      continue;
    }
    EXPECT_NE(has_body, has_reason) << row.name;
    bodies += has_body;
    reasons += has_reason;
  }
  EXPECT_EQ(bodies + reasons + 1, last_of_linux_6_18);
  EXPECT_GE(bodies, 104u);
}

}  // namespace
}  // namespace skep::helper
