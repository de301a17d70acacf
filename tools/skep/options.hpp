// The options of a verb or a tool. CLI11 parses them; its headers are in options.cpp alone: they take every file that
// includes them a second to compile, and eight objects to make at every start of skep, whichever verb is meant.
#pragma once
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <skep/types.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace skep::tools {

/// argv after the verb's own name.
using Arguments = std::vector<std::string>;

/// What the text of an option must be.
struct Check {
  std::string type;  ///< behind the option's name in --help
  /// What is wrong with the text, or "".
  std::function<std::string(const std::string& text)> mistake;
};
/// A whole number from `low` to `high`.
Check range(s64 low, s64 high);
Check one_of(std::initializer_list<std::string_view> texts);
Check above_zero();
Check not_negative();
/// Seconds to wait: above 0, and few enough (30 years) to be counted in nanoseconds.
Check duration();

/// One option, while its Options live. What it can be told is told in a chain: `options.add_option(...)->required()`.
class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}
  const Option* operator->() const { return this; }
  Option check(const Check& check) const;
  Option required() const;
  Option excludes(const Option& other) const;
  Option needs(const Option& other) const;
  /// Of a list: one value behind each mention where not allowed.
  Option allow_extra_args(bool allowed) const;
  Option expected(int least, int most) const;
  Option delimiter(char between) const;
  /// --help says what the value is now.
  Option capture_default_str() const;
  Option type_name(const std::string& name) const;
  /// How often it was given.
  std::size_t count() const;

 private:
  CLI::Option* option_;
};

class Options {
 public:
  Options(std::string about, std::string name);
  ~Options();

  /// `names`: "-j,--json", or "FILE" for what stands alone. The variable must outlive parse(); it holds the default.
  Option add_flag(const std::string& names, bool& given, const std::string& text);
  template <class T>
  Option add_option(const std::string& names, T& value, const std::string& text);
  /// Flags of which one at most may be given.
  Options& add_exclusive_group(const std::string& title);
  /// Behind the options in --help.
  void footer(const std::string& text);
  /// What stands alone ends the options: the rest is a command.
  void ends_at_command();

  /// A value means "stop here with this exit status": --help, wrong usage.
  std::optional<int> parse(const Arguments& arguments);

 private:
  explicit Options(CLI::App* group);
  std::unique_ptr<CLI::App> owned_;
  CLI::App* app_;
  std::vector<std::unique_ptr<Options>> groups_;
};

}  // namespace skep::tools
