// The rows of attach_rules.def as look-ups.
#include "catalog/attach_rules.hpp"

namespace skep::catalog {

bool withheld_at(HelperId helper, AttachType attach) noexcept {
#define SKEP_HELPER_WITHHELD(name, where) \
  if (helper == HelperId::name && attach == AttachType::where) return true;
#include "catalog/attach_rules.def"
  return false;
}

bool granted_at(HelperId helper, const AttachTarget& attach) noexcept {
#define SKEP_HELPER_GRANTED(name, where, to)                                   \
  if (helper == HelperId::name && attach.attach_type() == AttachType::where && \
      (std::string_view(to).empty() || attach.target == to))                   \
    return true;
#include "catalog/attach_rules.def"
  return false;
}

bool granted_to(HelperId helper, std::string_view operations, std::string_view member) noexcept {
#define SKEP_HELPER_OPERATION(name, structure, but_for) \
  if (helper == HelperId::name && operations == (structure) && member != (but_for)) return true;
#include "catalog/attach_rules.def"
  return false;
}

bool is_callable_at(HelperId helper, std::string_view function) noexcept {
  bool is_listed = false;
#define SKEP_HELPER_FUNCTION(name, where) \
  if (helper == HelperId::name) {         \
    if (function == (where)) return true; \
    is_listed = true;                     \
  }
#include "catalog/attach_rules.def"
  return !is_listed;
}

bool has_field_at(ProgramType type, u32 offset, AttachType attach) noexcept {
  if (type == ProgramType::cgroup_sock && attach == AttachType::none) attach = AttachType::cgroup_inet_sock_create;
  bool is_listed = false, is_there = false;
#define SKEP_FIELD_ONLY(program, from, to, where)                        \
  if (type == ProgramType::program && offset - (from) < (to) - (from)) { \
    is_listed = true;                                                    \
    is_there |= attach == AttachType::where;                             \
  }
#include "catalog/attach_rules.def"
  return !is_listed || is_there;
}

}  // namespace skep::catalog
