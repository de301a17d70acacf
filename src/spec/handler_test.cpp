// Declared parameters beside what a function has.
#include "spec/handler.hpp"

#include <gtest/gtest.h>

namespace skep::spec {
namespace {

using Places = std::vector<std::size_t>;

TEST(Handler, DeclaredParametersAreFoundByTheirTypes) {
  const HandlerParameter old_unlink[] = {{"inode"}, {"dentry"}};
  const std::string_view with_namespace[] = {"mnt_idmap", "inode", "dentry", "inode"};
  EXPECT_EQ(places_by_type(old_unlink, with_namespace), (Places{1, 2}));
  const std::string_view as_declared[] = {"inode", "dentry"};
  EXPECT_EQ(places_by_type(old_unlink, as_declared), (Places{0, 1}));
  const HandlerParameter old_rename[] = {{"inode"}, {"dentry"}, {"inode"}, {"dentry"}};
  const std::string_view one[] = {"renamedata"};
  EXPECT_FALSE(places_by_type(old_rename, one));
  const std::string_view in_another_order[] = {"dentry", "inode"};
  EXPECT_FALSE(places_by_type(old_unlink, in_another_order)) << "their order is the source's";
  const HandlerParameter with_number[] = {{"sock"}, {""}};
  const std::string_view function[] = {"sock", "msghdr", ""};
  EXPECT_EQ(places_by_type(with_number, function), (Places{0, 2}));
  EXPECT_EQ(places_by_type({}, function), Places{});
}

TEST(Handler, TheFunctionsOfSystemCallsHaveTheCallersRegisters) {
  EXPECT_TRUE(receives_callers_registers({AttachKind::ksyscall, "execve"}));
  EXPECT_TRUE(receives_callers_registers({AttachKind::kprobe, "__x64_sys_execve"}));
  EXPECT_FALSE(receives_callers_registers({AttachKind::kprobe, "vfs_read"}));
  EXPECT_FALSE(receives_callers_registers({AttachKind::kretprobe, "__x64_sys_execve"}));
}

}  // namespace
}  // namespace skep::spec
