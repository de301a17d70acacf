// Object: finding a program or a map by its name.
//
// People write the C name; the loaded object carries the kernel's shortened one (names.hpp). Both are found:
// an exact match wins, then one that is equal after shortening.
#include <skep/backend.hpp>

#include "backend/names.hpp"

namespace skep {

namespace {

template <class Handle>
Result<Handle> find(const std::vector<Handle>& handles, std::string_view name, std::string_view owner,
                    std::string_view kind) {
  for (const Handle& handle : handles)
    if (handle.info().name == name) return handle;
  for (const Handle& handle : handles)
    if (backend::means(name, handle.info().name)) return handle;
  // ".rodata" is what C programmers call "hello.rodata".
  if (name.starts_with('.'))
    for (const Handle& handle : handles)
      if (handle.info().name.ends_with(name)) return handle;
  std::vector<std::string_view> names;
  for (const Handle& handle : handles) names.push_back(handle.info().name);
  return tl::unexpected<Error>(backend::no_such("object " + std::string(owner), kind, name, names));
}

}  // namespace

Result<Program> Object::program(std::string_view name) const { return find(programs_, name, name_, "program"); }
Result<Map> Object::map(std::string_view name) const { return find(maps_, name, name_, "map"); }

}  // namespace skep
