// kallsyms: hand-made files, this kernel's own.
#include "symbols/kernel_symbols.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "symbols/symbolizer.hpp"

namespace skep::symbols {
namespace {

class KernelSymbolsTest : public testing::Test {
 protected:
  std::filesystem::path write(std::string_view text) {
    char name[] = "/tmp/skep-kallsyms-XXXXXX";
    const int fd = ::mkstemp(name);
    EXPECT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    ::close(fd);
    return made_ = name;
  }
  void TearDown() override { std::filesystem::remove(made_); }
  std::filesystem::path made_;
};

TEST_F(KernelSymbolsTest, ASymbolizerSeesModulesThatComeLater) {
  const auto kernel = write("ffffffff81000000 T _text\nffffffffc0000000 t first\t[a]\n");
  const auto modules = kernel.native() + ".modules";
  std::ofstream(modules) << "a 16384 0 - Live 0xffffffffc0000000\n";
  SymbolizerOptions options{.kallsyms = kernel, .modules = modules};
  options.kernel_age = {};
  Symbolizer at_once(options), later(options);
  options.kernel_age = std::chrono::hours(1);
  Symbolizer rarely(options);
  for (auto* one : {&at_once, &rarely}) {
    EXPECT_EQ(one->kernel(0xffffffffc0000100).name, "first");
    EXPECT_EQ(one->kernel(0xffffffffd0000000).name, "");
  }
  std::ofstream(kernel, std::ios::app) << "ffffffffc0000080 t second\t[b]\nffffffffd0000000 t third\t[bpf]\n";
  EXPECT_EQ(at_once.kernel(0xffffffffc0000100).name, "first") << "the same modules: nothing is read again";
  EXPECT_EQ(at_once.kernel(0xffffffffd0000000).name, "") << "an address that was looked for already";
  EXPECT_EQ(at_once.kernel(0xffffffffd0000008).name, "third") << "one that was not";
  std::ofstream(modules, std::ios::app) << "b 4096 0 - Live 0xffffffffc0000080\n";
  EXPECT_EQ(at_once.kernel(0xffffffffc0000100).name, "second");
  EXPECT_EQ(later.kernel(0xffffffffd0000000).name, "third");
  EXPECT_EQ(rarely.kernel(0xffffffffc0000100).name, "first") << "not before its time";
  std::filesystem::remove(modules);
}

TEST_F(KernelSymbolsTest, AddressesAreFoundInTheirSymbol) {
  const auto symbols =
      KernelSymbols::read(write("0000000000000100 A per_cpu\n"
                                "ffffffff81000000 T _text\n"
                                "ffffffff81000000 T _stext\n"
                                "ffffffff81000040 t first\n"
                                "ffffffff81000080 T second\n"
                                "ffffffff82000000 D data\n"
                                "ffffffffc0000000 t first\t[a]\n"
                                "ffffffffc0000010 t inner\t[a]\n"
                                "ffffffffc0100000 t bpf_prog_12_x\t[bpf]\n"
                                "ffffffff81000060 t late\n"));
  ASSERT_TRUE(symbols) << symbols.error().message;
  EXPECT_EQ(symbols->size(), 9u);
  const auto name = [&](u64 address) {
    const auto found = symbols->find(address);
    return found ? std::string(found->symbol.name) + "+" + std::to_string(found->offset) + "/" +
                       std::string(found->symbol.module)
                 : std::string("none");
  };
  EXPECT_EQ(name(0xffffffff81000000), "_text+0/");
  EXPECT_EQ(name(0xffffffff8100003f), "_text+63/");
  EXPECT_EQ(name(0xffffffff81000041), "first+1/");
  EXPECT_EQ(name(0xffffffff81000061), "late+1/");
  EXPECT_EQ(name(0xffffffff82000004), "data+4/");
  EXPECT_EQ(name(0xffffffffc0000011), "inner+1/a");
  EXPECT_EQ(name(0xffffffffc0100000), "bpf_prog_12_x+0/bpf");
  EXPECT_EQ(name(0xffffffffffffffff), "none");  // far behind the last
  EXPECT_EQ(name(0x100), "none");
  EXPECT_EQ(symbols->address_of("first"), 0xffffffff81000040);
  EXPECT_EQ(symbols->address_of("inner"), 0xffffffffc0000010);
  EXPECT_EQ(symbols->address_of("inn"), std::nullopt);
  EXPECT_EQ(symbols->address_of("innermost"), std::nullopt);
  EXPECT_EQ(symbols->address_of(std::string("inner\0", 6)), std::nullopt);
  EXPECT_EQ(symbols->address_of("late" + std::string(1000, '\0')), std::nullopt) << "the last name of all";
}

TEST_F(KernelSymbolsTest, HiddenAddressesAreSaidToBeHidden) {
  const auto symbols = KernelSymbols::read(write("0000000000000000 T _text\n0000000000000000 t first\n"));
  ASSERT_FALSE(symbols);
  EXPECT_EQ(symbols.error().code, Code::permission);
  EXPECT_NE(symbols.error().message.find("kernel.kptr_restrict"), std::string::npos) << symbols.error().message;
}

TEST_F(KernelSymbolsTest, AFileThatIsMissingOrEmptyIsSaidToBe) {
  EXPECT_EQ(KernelSymbols::read("/nonexistent/kallsyms").error().code, Code::unsupported);
  EXPECT_EQ(KernelSymbols::read(write("")).error().code, Code::unsupported);
}

TEST_F(KernelSymbolsTest, BrokenLinesAreLeftOut) {
  std::string text =
      "\n \nx\nffffffff81000000\nffffffff81000000 T\nffffffff81000000 T \n-1 T n\nffffffff81000000T name\n"
      "ffffffff81000010 T name [m\n"
      "ffffffff81000020 T tab\t[m\n"
      "fffffffffffffffff8100002 T toolong\n";
  text += "ffffffff81000030 T " + std::string(200'000, 'n') + "\n";  // longer than the buffer
  text += "ffffffff81000040 T good\nffffffff81000050 T unfinished";
  const auto symbols = KernelSymbols::read(write(text));
  ASSERT_TRUE(symbols) << symbols.error().message;
  std::vector<std::string> names;
  for (std::size_t i = 0; i < symbols->size(); ++i) names.emplace_back(symbols->at(i).name);
  EXPECT_EQ(names, (std::vector<std::string>{"name [m", "good"}));
}

/// Every line of this kernel's file is found again: the truth is the file itself, read line by line.
TEST_F(KernelSymbolsTest, OfThisKernel) {
  const auto symbols = KernelSymbols::read();
  if (!symbols) {
    ASSERT_TRUE(symbols.error().code == Code::permission || symbols.error().code == Code::unsupported);
    if (::geteuid() == 0) std::printf("left out: %s\n", symbols.error().message.c_str());
    return;
  }
  EXPECT_LT(symbols->memory_bytes(), symbols->size() * 96);
  std::ifstream file(kallsyms_path);
  u64 seen = 0, exact = 0;
  for (std::string line; std::getline(file, line);) {
    u64 address = 0;
    char type = 0, name[600];
    ASSERT_EQ(std::sscanf(line.c_str(), "%lx %c %599s", &address, &type, name), 3) << line;
    if (address >> 63 == 0 || type == 'A' || type == 'a' || line.find("[bpf]") != line.npos)
      continue;  // those come and go
    const auto found = symbols->find(address + 1);
    ASSERT_TRUE(found) << line;
    ++seen;
    if (found->symbol.name == name && found->offset == 1) ++exact;
  }
  EXPECT_GT(seen, 10'000u);
  EXPECT_GT(exact * 100, seen * 90);  // the others share their address with another name, or are one byte long
}

}  // namespace
}  // namespace skep::symbols
