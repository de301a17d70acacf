// Loading objects and attaching their programs.
#include "kernel/program.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "backend/names.hpp"
#include "backend/selection.hpp"
#include "kernel/attach.hpp"
#include "kernel/close.hpp"
#include "kernel/cookies.hpp"
#include "kernel/hook_check.hpp"
#include "kernel/info.hpp"
#include "kernel/map_create.hpp"
#include "kernel/program_load.hpp"
#include "kernel/struct_ops.hpp"
#include "kernel/syscall.hpp"
#include "kernel/test_run.hpp"

namespace skep::kernel {

namespace {

/// Program arrays of the object, now that the programs exist. Slots of programs that were not to be loaded stay empty:
/// a tail call to them falls through.
Result<void> fill_program_arrays(const LoadedObject& object,
                                 const std::vector<std::shared_ptr<KernelProgram>>& programs) {
  for (std::size_t i = 0; i < object.spec.maps.size(); ++i) {
    const MapSpec& map = object.spec.maps[i];
    if (map.type != MapType::prog_array) continue;
    for (const MapSpec::Slot& slot : map.slots) {
      const auto program = std::ranges::find(programs, slot.name, [](const auto& p) { return p->info().name; });
      if (program == programs.end() && object.spec.program(slot.name) != nullptr) continue;
      if (program == programs.end() || (*program)->fd() < 0)
        return fail(Code::not_found, fmt::format("map {}: slot {} names program \"{}\", which is not loaded", map.name,
                                                 slot.index, slot.name));
      auto set = set_slot(*object.maps[i], slot.index, (*program)->fd());
      if (!set && set.error().os_error == EINVAL)
        set.error().message += fmt::format(
            " (program {} has another type than the programs that call it through this map; a kprobe program that is "
            "carried by another "
            "hook can only tail-call programs of that hook's type)",
            slot.name);
      if (!set) return set;
    }
  }
  return {};
}

/// The values of struct_ops maps, now that the programs exist.
Result<void> prepare_ops(LoadedObject& object, const std::vector<std::shared_ptr<KernelProgram>>& programs) {
  for (std::size_t i = 0; i < object.spec.maps.size(); ++i) {
    const MapSpec& map = object.spec.maps[i];
    if (map.type != MapType::struct_ops) continue;
    LoadedObject::Ops& ops = object.ops[i];
    const auto fd_of = [&](std::string_view name) {
      const auto program = std::ranges::find(programs, name, [](const auto& p) { return p->info().name; });
      if (program == programs.end() || (*program)->fd() < 0) return -1;
      return ops.programs.emplace_back(::fcntl((*program)->fd(), F_DUPFD_CLOEXEC, 0)).get();
    };
    const auto layout = SKEP_TRY(ops_layout(object.spec, map, object.session->types));
    auto value = ops_value(object.spec, map, layout, fd_of);
    // Only some of the object's programs may have been asked for: then the map stays as it is.
    if (!value && value.error().code == Code::not_found) {
      object.ops.erase(i);
      continue;
    }
    ops.value = SKEP_TRY(std::move(value));
  }
  return {};
}

/// Several attachments at once: registrations that other links hold, too, or one program's places.
class SharedLink final : public Link::Impl {
 public:
  explicit SharedLink(std::vector<std::shared_ptr<Link::Impl>> held, std::string carried_by = {})
      : held_(std::move(held)), carried_by_(std::move(carried_by)) {}
  bool waits_to_end() const override { return true; }
  std::string carried_by() const override { return carried_by_; }
  std::vector<u32> ids() const override {
    std::vector<u32> all;
    for (const auto& one : held_) std::ranges::copy(one->ids(), std::back_inserter(all));
    return all;
  }
  Result<void> leave() override {
    Result<void> done;
    for (const auto& one : held_)
      if (auto left = one->leave(); !left) done = left;
    return done;
  }

 private:
  std::vector<std::shared_ptr<Link::Impl>> held_;
  std::string carried_by_;
};

}  // namespace

Result<Link> LoadedObject::attach_ops_of(std::string_view program) {
  static std::mutex one_at_a_time;
  const std::lock_guard lock(one_at_a_time);
  std::vector<std::shared_ptr<Link::Impl>> all;
  for (std::size_t i = 0; i < spec.maps.size(); ++i) {
    const MapSpec& map = spec.maps[i];
    if (map.type != MapType::struct_ops ||
        std::ranges::find(map.slots, program, &MapSpec::Slot::name) == map.slots.end())
      continue;
    const auto known = ops.find(i);
    if (known == ops.end())
      return fail(Code::not_found, fmt::format("map {}: not all of its programs were loaded", map.name));
    std::shared_ptr<Link::Impl> held = known->second.registered.lock();
    if (!held) {
      held = SKEP_TRY(attach_ops(maps[i], known->second.value, (map.flags & map_flag::link) != 0));
      known->second.registered = held;
    }
    all.push_back(std::move(held));
  }
  if (!all.empty()) return Link(std::make_unique<SharedLink>(std::move(all)));
  return fail(Code::not_found, fmt::format("program {} is a member of no struct_ops map of its object", program));
}

Result<Plan> LoadedObject::plan(const ProgramSpec& program, const AttachTarget& target) const {
  Plan plan = SKEP_TRY(plan_hook(program, spec.btf.get(), target, session->features, session->types));
  // Programs of one program array must all have been loaded for the same kind of link, and which ones will meet there
  // is not known.
  const bool may_tail_call = std::ranges::find(spec.maps, MapType::prog_array, &MapSpec::type) != spec.maps.end();
  const bool is_user_probe =
      target.kind == AttachKind::uprobe || target.kind == AttachKind::uretprobe || target.kind == AttachKind::usdt;
  if (is_user_probe && !may_tail_call) plan.on_multi_link = session->features.uprobe_multi();
  if (fits_kprobe_multi(program, plan) && !may_tail_call) plan.on_multi_link = session->features.kprobe_multi();
  write_cookie_where_needed(plan, program, target);
  return plan;
}

// The hook that carries another one may have none either.
void LoadedObject::write_cookie_where_needed(Plan& plan, const ProgramSpec& program, const AttachTarget& target) const {
  if (asks_for_cookie(program) && (plan.carrier || !session->features.event_cookies()))
    plan.written_cookie = plan.hook.cookie = target.cookie;
}

Result<Prepared> LoadedObject::prepare(const ProgramSpec& original, const AttachTarget& target, TypesImage* image,
                                       btf::CoreBudget& budget, const Plan* plan) const {
  Prepared out;
  out.plan = plan != nullptr ? *plan : SKEP_TRY(this->plan(original, target));
  if (!out.plan.loadable) return out;
  out.program = SKEP_TRY(close_program(original, spec, session->types, budget));
  if (out.plan.written_cookie) SKEP_TRY(write_cookie(out.program, *out.plan.written_cookie));
  if (out.plan.carrier) {
    if (out.plan.carrier->needs_previous_task())
      out.plan.carrier->previous_tasks_map = SKEP_TRY(session->previous_tasks_map());
    if (!out.plan.carrier->structures.empty()) out.plan.carrier->structures_map = SKEP_TRY(session->structures_map());
    SKEP_TRY(carry(out.program, *out.plan.carrier));
    if (image != nullptr) make_functions_static(out.program, *image);
  } else {
    if (target.kind != AttachKind::none) out.program.attach = out.plan.hook;
    if (out.program.type == ProgramType::unspec) out.program.type = out.plan.hook.program_type();
  }
  const std::string place = "program " + original.name;
  out.target = SKEP_TRY_AT(place, load_target(spec, original, out.plan.hook, session->types));
  if (image != nullptr) out.annotations = annotate(out.program, *image);
  return out;
}

Result<base::Fd> LoadedObject::load(Prepared& prepared, int btf_fd) const {
  const auto modules = SKEP_TRY(link_references(prepared.program, maps, session->types, spec.btf.get()));
  LoadRequest request;
  request.program = &prepared.program;
  request.license = spec.license;
  request.kernel_version = Features::version_code();
  request.btf_fd = btf_fd;
  request.annotations = &prepared.annotations;
  request.attach_btf_id = prepared.target.type_id;
  request.attach_owner = prepared.target.owner.get();
  request.modules = modules;
  request.attach_as = prepared.target.member;
  if (prepared.plan.on_multi_link) request.attach_as = static_cast<u32>(prepared.plan.attach_type());
  request.token = session->token();
  request.keep_log = keep_log;
  LoadOutcome outcome = load_program(request);
  session->keep_log(prepared.program.name, outcome.log);
  if (outcome.program) bind_constants(outcome.program->get(), prepared.program);
  if (!outcome.program && prepared.plan.carrier)
    outcome.program.error().message += "\n  (" + prepared.plan.carried_by + ")";
  return std::move(outcome.program);
}

// Kernels before 5.10 cannot be told that a map belongs to a program, and run it all the same.
void LoadedObject::bind_constants(int program_fd, const ProgramSpec& program) const {
  for (std::size_t i = 0; i < spec.maps.size(); ++i) {
    if (!backend::belongs_to_all(spec.maps[i])) continue;
    const bool is_bound = std::ranges::any_of(program.references, [&](const Reference& reference) {
      return reference.map == i &&
             (reference.kind == Reference::Kind::map_value || reference.kind == Reference::Kind::map);
    });
    uapi::ProgBindMap attr{static_cast<u32>(program_fd), static_cast<u32>(maps[i]->fd())};
    if (!is_bound) bpf(uapi::Cmd::prog_bind_map, attr);
  }
}

KernelProgram::KernelProgram(std::shared_ptr<LoadedObject> object, const ProgramSpec& spec)
    : object_(std::move(object)), spec_(spec) {
  info_.name = spec_.name;
  info_.type = spec_.type;
}

Result<void> KernelProgram::adopt(const std::string& key, base::Fd fd) {
  if (first_fd_ < 0) {
    auto info = SKEP_TRY(program_info(fd.get(), Ask::kernel_only));
    info.name = spec_.name;  // the kernel cuts it at 15 characters
    info_ = std::move(info);
    first_fd_ = fd.get();
  }
  variants_.insert_or_assign(key, std::move(fd));
  return {};
}

Result<int> KernelProgram::variant_for(const AttachTarget& target, const Plan& plan) {
  const std::string key = plan.key(spec_);
  if (const auto known = variants_.find(key); known != variants_.end()) return known->second.get();
  std::optional<TypesImage> image;
  base::Fd btf;
  if (object_->btf) image = SKEP_TRY(TypesImage::copy_of(object_->spec.btf));
  btf::CoreBudget budget;
  auto prepared = SKEP_TRY(object_->prepare(spec_, target, image ? &*image : nullptr, budget, &plan));
  if (image) btf = SKEP_TRY(load_types(image->bytes(), object_->session->token()));
  auto fd = SKEP_TRY(object_->load(prepared, btf.get()));
  const int number = fd.get();
  SKEP_TRY(adopt(key, std::move(fd)));
  return number;
}

Attached KernelProgram::attach_by(const Plan& plan, const AttachTarget& target) {
  const std::string place = fmt::format("program {}", spec_.name);
  const auto program_with = [&](u64 cookie) {
    Plan other = plan;
    other.written_cookie = cookie;
    return variant_for(target, other);
  };
  const int fd = SKEP_TRY(variant_for(target, plan));
  AttachRequest request{.program_fd = fd,
                        .hook = plan.hook,
                        .session = *object_->session,
                        .maps = object_->maps,
                        .place = plan.hook.text(),
                        .on_multi_link = plan.on_multi_link};
  if (plan.written_cookie) request.program_with = program_with;
  auto attachment = SKEP_TRY_AT(place, kernel::attach(request));
  attachment->count_misses(object_->session, fd, spec_.name);
  if (!plan.carried_by.empty()) attachment->set_carried_by(plan.carried_by);
  return attachment;
}

Link KernelProgram::with_callers(std::unique_ptr<Attachment> attachment, const AttachTarget& target) {
  const CallerPlaces places = caller_places(spec_, target, object_->session->features, object_->session->types);
  std::vector<std::string> lines = places.unseen;
  std::vector<std::shared_ptr<Link::Impl>> all;
  for (Plan plan : places.plans) {
    object_->write_cookie_where_needed(plan, spec_, target);
    auto one = attach_by(plan, target);
    lines.push_back(one ? plan.carried_by : unseen_calls(target, plan.hook.target, one.error().message));
    if (one) all.push_back(*std::move(one));
  }
  if (lines.empty()) return Link(std::move(attachment));
  for (const std::string& line : lines) object_->session->note(line);
  if (!attachment->carried_by().empty()) lines.insert(lines.begin(), attachment->carried_by());
  all.insert(all.begin(), std::move(attachment));
  return Link(std::make_unique<SharedLink>(std::move(all), fmt::format("{}", fmt::join(lines, "\n"))));
}

Result<Link> KernelProgram::attach(const AttachTarget& target) {
  const std::lock_guard lock(mutex_);
  const std::string place = fmt::format("program {}", spec_.name);
  if (target.kind == AttachKind::none)
    return fail(
        Code::not_found,
        fmt::format("{}: its section \"{}\" names no hook; say where to attach it, such as --attach syscall:execve",
                    place, spec_.section));
  if (target.kind == AttachKind::struct_ops) return object_->attach_ops_of(spec_.name);
  auto plan = SKEP_TRY_AT(place, object_->plan(spec_, target));
  if (needs_target(target.kind) && target.target.empty())
    return fail(Code::not_found,
                fmt::format("{}: {} names no target; say where to attach it: --attach {}:TARGET, where TARGET is {}",
                            place, name_of(target.kind), name_of(target.kind), target_form(target.kind)));
  if (plan.unattachable) return tl::unexpected(std::move(*plan.unattachable).within(place));
  auto attached = attach_by(plan, target);
  if (!attached && plan.on_multi_link && attached.error().os_error != 0) {
    plan.on_multi_link = false;  // the older way may still do it (a thread's id), and says best what is wrong
    attached = attach_by(plan, target);
  }
  if (!attached && attached.error().os_error == EINVAL && !plan.carrier)
    if (auto other = plan_instead_of_refused(spec_, object_->spec.btf.get(), target, object_->session->types)) {
      plan = *std::move(other);
      attached = attach_by(plan, target);
    }
  auto attachment = SKEP_TRY(std::move(attached));
  if (!is_narrowed_by_pid(target.kind)) object_->session->note_sees_all(plan.hook.text());
  if (!attachment->carried_by().empty()) object_->session->note(attachment->carried_by());
  return with_callers(std::move(attachment), target);
}

Result<TestRunResult> KernelProgram::test_run(const TestRun& run) {
  const std::lock_guard lock(mutex_);
  if (first_fd_ < 0)
    return fail(Code::unsupported,
                fmt::format("program {}: no section gives it a type, without which the kernel does not load it; "
                            "write SEC(\"syscall\"), or another one, or attach it",
                            spec_.name));
  return kernel::test_run(first_fd_, info_.type, spec_.name, run);
}

Result<Object> load_object(const std::shared_ptr<Session>& session, const ObjectSpec& spec,
                           const LoadOptions& options) {
  raise_memlock_limit(session->features);
  auto object = std::make_shared<LoadedObject>();
  object->session = session;
  object->spec = spec;
  object->keep_log = options.verifier_log;
  SKEP_TRY(resolve_kconfig(object->spec));

  // Every program is made final first, since its lines and functions go into the types, which are loaded once.
  std::optional<TypesImage> image;
  if (object->spec.btf) image = SKEP_TRY(TypesImage::copy_of(object->spec.btf));
  std::vector<Prepared> prepared;
  std::vector<std::shared_ptr<KernelProgram>> programs;
  const auto has_hook = [&](const ProgramSpec& program) { return HookCheck(session).check(program); };
  const auto selection = SKEP_TRY(backend::select_programs(object->spec, options.programs, has_hook));
  for (const std::string& line : selection.notes) session->note(line);
  const auto& chosen = selection.programs;
  backend::drop_optional_maps(object->spec);
  btf::CoreBudget budget;
  for (const ProgramSpec* program : chosen) {
    prepared.push_back(SKEP_TRY(object->prepare(*program, program->attach, image ? &*image : nullptr, budget)));
    programs.push_back(std::make_shared<KernelProgram>(object, *program));
  }
  if (image) {
    auto btf = load_types(image->bytes(), session->token());
    if (btf)
      object->btf = *std::move(btf);
    else
      session->note(fmt::format("object {} is loaded without its types: {}", spec.name, btf.error().message));
  }
  object->maps = SKEP_TRY(create_maps(object->spec, options.maps, object->btf.get(), session->types, session->token()));
  for (std::size_t i = 0; i < programs.size(); ++i) {
    if (!prepared[i].plan.loadable) continue;
    auto fd = SKEP_TRY(object->load(prepared[i], object->btf.get()));
    SKEP_TRY(programs[i]->adopt(prepared[i].plan.key(*chosen[i]), std::move(fd)));
  }
  SKEP_TRY(fill_program_arrays(*object, programs));
  SKEP_TRY(prepare_ops(*object, programs));

  std::vector<Program> program_handles;
  for (std::size_t i = 0; i < programs.size(); ++i) program_handles.emplace_back(programs[i], chosen[i]->attach);
  std::vector<Map> map_handles;
  for (const auto& map : object->maps) map_handles.emplace_back(map);
  return Object(spec.name, std::move(program_handles), std::move(map_handles));
}

}  // namespace skep::kernel
