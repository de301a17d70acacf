// What indirect functions (STT_GNU_IFUNC: strlen, memcpy, strchr, ...) are on this machine.
//
// Such a symbol's value is no function but the code that chooses one, when a process is loaded, by what the CPU can do.
// No file says what it chooses. But our own process has asked the same question on the same CPU: where it has the same
// file loaded, and the C library it has, the dynamic linker knows the answer. A process that is told to choose
// otherwise (GLIBC_TUNABLES) has another. Source: the GNU gABI extensions (STT_GNU_IFUNC); dl_iterate_phdr(3),
// dlsym(3).
#include <dlfcn.h>
#include <link.h>
#include <sys/stat.h>

#include "elf/functions.hpp"
#include "elf/user_binary.hpp"

namespace skep::elf {

namespace {

/// An object that the dynamic linker has put into this process.
struct Loaded {
  struct stat wanted{};
  std::string path;
  u64 base = 0;
};

int is_wanted(dl_phdr_info* info, std::size_t, void* data) {
  auto& loaded = *static_cast<Loaded*>(data);
  struct stat status{};
  if (info->dlpi_name == nullptr || ::stat(info->dlpi_name, &status) != 0) return 0;
  if (status.st_dev != loaded.wanted.st_dev || status.st_ino != loaded.wanted.st_ino) return 0;
  loaded.path = info->dlpi_name;
  loaded.base = info->dlpi_addr;
  return 1;
}

/// Where the dynamic linker finds functions of a file; looks for the file when it is asked the first time.
class Chosen {
 public:
  explicit Chosen(const UserBinary& binary) : binary_(binary) {}
  ~Chosen() {
    if (handle_ != nullptr) ::dlclose(handle_);
  }
  Chosen(const Chosen&) = delete;
  Chosen& operator=(const Chosen&) = delete;

  std::optional<u64> offset_of(const std::string& name) {
    if (!has_looked_) look();
    const void* const at = handle_ != nullptr ? ::dlsym(handle_, name.c_str()) : nullptr;
    if (at == nullptr || reinterpret_cast<u64>(at) < loaded_.base) return std::nullopt;
    return file_offset(binary_.file, reinterpret_cast<u64>(at) - loaded_.base);
  }

 private:
  void look() {
    has_looked_ = true;
    if (::fstat(binary_.fd.get(), &loaded_.wanted) != 0 || ::dl_iterate_phdr(is_wanted, &loaded_) == 0) return;
    handle_ = ::dlopen(loaded_.path.c_str(), RTLD_LAZY | RTLD_NOLOAD);
  }
  const UserBinary& binary_;
  Loaded loaded_;
  void* handle_ = nullptr;
  bool has_looked_ = false;
};

}  // namespace

Result<std::vector<Function>> functions(const UserBinary& binary, const std::function<bool(std::string_view)>& wanted) {
  Chosen chosen(binary);
  return functions(binary.file, wanted, [&](const std::string& name) { return chosen.offset_of(name); });
}

}  // namespace skep::elf
