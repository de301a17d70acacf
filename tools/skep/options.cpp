// See options.hpp.
#include "options.hpp"

#include <fmt/core.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>

#include "verb.hpp"

namespace skep::tools {
namespace {

/// What CLI11's own checks refuse is told with 300 digits.
Check number_check(std::string_view what, std::string type, bool (*is_good)(double)) {
  return {std::move(type), [what, is_good](const std::string& text) {
            double number = 0;
            const bool good = CLI::detail::lexical_cast(text, number) && is_good(number);
            return good ? std::string() : fmt::format("'{}' is not a number {}", text, what);
          }};
}

CLI::Validator validator(std::string type, std::function<std::string(const std::string&)> mistake) {
  return CLI::Validator([mistake = std::move(mistake)](std::string& text) { return mistake(text); }, std::move(type));
}

}  // namespace

Check above_zero() {
  return number_check("above 0", "POSITIVE", [](double number) { return number > 0; });
}

Check not_negative() {
  return number_check("of 0 or more", "NONNEGATIVE", [](double number) { return number >= 0; });
}

Check duration() {
  return number_check("of seconds above 0, at most 1000000000", "SECONDS",
                      [](double number) { return number > 0 && number <= 1e9; });
}

Check range(s64 low, s64 high) {
  return {fmt::format("{} to {}", low, high), [low, high](const std::string& text) {
            s64 number = 0;
            const bool good = CLI::detail::lexical_cast(text, number) && number >= low && number <= high;
            return good ? std::string() : fmt::format("'{}' is not a whole number from {} to {}", text, low, high);
          }};
}

Check one_of(std::initializer_list<std::string_view> texts) {
  std::string all, listed;
  for (const std::string_view text : texts) {
    all += (all.empty() ? "" : ",") + std::string(text);
    listed += (listed.empty() ? "" : ", ") + std::string(text);
  }
  return {"{" + all + "}",
          [texts = std::vector<std::string>(texts.begin(), texts.end()), listed](const std::string& text) {
            const bool good = std::find(texts.begin(), texts.end(), text) != texts.end();
            return good ? std::string() : fmt::format("'{}' is none of {}", text, listed);
          }};
}

Option Option::check(const Check& check) const {
  option_->check(validator(check.type, check.mistake));
  return *this;
}
Option Option::required() const {
  option_->required();
  return *this;
}
Option Option::excludes(const Option& other) const {
  option_->excludes(other.option_);
  return *this;
}
Option Option::needs(const Option& other) const {
  option_->needs(other.option_);
  return *this;
}
Option Option::allow_extra_args(bool allowed) const {
  option_->allow_extra_args(allowed);
  return *this;
}
Option Option::expected(int least, int most) const {
  option_->expected(least, most);
  return *this;
}
Option Option::delimiter(char between) const {
  option_->delimiter(between);
  return *this;
}
Option Option::capture_default_str() const {
  option_->capture_default_str();
  return *this;
}
Option Option::type_name(const std::string& name) const {
  option_->type_name(name);
  return *this;
}
std::size_t Option::count() const { return option_->count(); }

Options::Options(std::string about, std::string name)
    : owned_(std::make_unique<CLI::App>(std::move(about), std::move(name))), app_(owned_.get()) {}
Options::Options(CLI::App* group) : app_(group) {}
Options::~Options() = default;

Option Options::add_flag(const std::string& names, bool& given, const std::string& text) {
  return Option(app_->add_flag(names, given, text));
}

template <class T>
Option Options::add_option(const std::string& names, T& value, const std::string& text) {
  return Option(app_->add_option(names, value, text));
}
// Every type that an option has.
template Option Options::add_option(const std::string&, std::string&, const std::string&);
template Option Options::add_option(const std::string&, int&, const std::string&);
template Option Options::add_option(const std::string&, u32&, const std::string&);
template Option Options::add_option(const std::string&, u16&, const std::string&);
template Option Options::add_option(const std::string&, u64&, const std::string&);
template Option Options::add_option(const std::string&, s64&, const std::string&);
template Option Options::add_option(const std::string&, std::optional<u32>&, const std::string&);
template Option Options::add_option(const std::string&, double&, const std::string&);
template Option Options::add_option(const std::string&, std::vector<std::string>&, const std::string&);
template Option Options::add_option(const std::string&, std::vector<u32>&, const std::string&);
template Option Options::add_option(const std::string&, std::vector<double>&, const std::string&);

Options& Options::add_exclusive_group(const std::string& title) {
  CLI::App* const group = app_->add_option_group(title);
  group->require_option(0, 1);
  return *groups_.emplace_back(new Options(group));
}

void Options::footer(const std::string& text) { app_->footer(text); }

void Options::ends_at_command() {
  app_->prefix_command();
  app_->positionals_at_end();
}

std::optional<int> Options::parse(const Arguments& arguments) {
  app_->name("skep " + app_->get_name());                    // as a person types it, in "Usage:" and in what follows
  Arguments reversed(arguments.rbegin(), arguments.rend());  // CLI11 takes the last argument first
  try {
    app_->parse(reversed);
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", app_->help());
    return 0;
  } catch (const CLI::ParseError& error) {
    const bool has_json = app_->get_option_no_throw("--json") != nullptr;
    return complain(fmt::format("{} (see `{} --help`)", error.what(), app_->get_name()), 2,
                    has_json ? form_of(arguments) : Form::text);
  }
  return std::nullopt;
}

}  // namespace skep::tools
