// What is gathered while a kernel function's arguments are checked; shared by kfunc.cpp and its neighbours.
#pragma once
#include "verify/checker.hpp"

namespace skep::verify {

struct Checker::KfuncCall {
  const catalog::Kfunc* row = nullptr;
  u32 iterator_reg = 0;
  Register object;  ///< the object argument that is released, linked or shared
  u32 object_reg = 0;
  const SpecialField* head = nullptr;  ///< of the list or tree
  const btf::Btf* head_types = nullptr;
  Register dynptr;       ///< the dynptr argument (first)
  Register dynptr_made;  ///< what the new dynptr will be
  u32 dynptr_new_reg = 0;
  u64 constant = 0;  ///< of a `constant` or `local_type` argument
  u32 function = 0;  ///< of a `less` or `deferred` argument
  u32 map = 0;
  s64 work_map = -1;  ///< of a `workqueue` or `task_work` argument: the map it is in
};

/// What a dynptr is over; `object` of its register.
enum class DynptrKind : u8 { none, local, ringbuf, skb, xdp, skb_meta };

}  // namespace skep::verify
