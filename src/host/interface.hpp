// What a host offers to its programs, in the verifier's words: the rows of its helpers, the layout of its structure.
#pragma once
#include <skep/vm.hpp>

#include "base/run.hpp"
#include "catalog/contexts.hpp"
#include "verify/verify.hpp"

namespace skep::host {

class Interface {
 public:
  /// Checks what the host says and fills `helpers`, by id, with the engine's functions and the host's. `options` must
  /// outlive the Interface. Errors: invalid_argument, naming the helper or the field.
  static Result<Interface> make(const Options& options, std::vector<base::HelperFn>& helpers);

  const verify::Options& rules() const noexcept { return rules_; }

 private:
  void add_engine_helpers(std::vector<base::HelperFn>& helpers);
  Result<void> add_host_helpers(const std::vector<Helper>& added, std::vector<base::HelperFn>& helpers);
  Result<void> add_context(const ContextType& type);

  std::vector<catalog::ContextField> fields_;  ///< what rules_.host_context points to
  verify::Options rules_;
};

}  // namespace skep::host
