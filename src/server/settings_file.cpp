// SPDX-License-Identifier: MIT
#include "server/settings_file.hpp"

#include <algorithm>
#include <set>

#include "server/option_values.hpp"

namespace scoot::server {
namespace {

const CLI::Option* option_named(const CLI::App& app, const std::string& name) {
  for (const CLI::Option* one : app.get_options()) {
    if (one->check_lname(name) || (name.size() == 1 && one->check_sname(name))) return one;
  }
  return nullptr;
}

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all.append(all.empty() ? "" : ",").append(text);
  return all;
}

// `-m, --memory-limit=N      words` -> memory-limit, N, words; the words may be on the next lines.
struct help_entry {
  std::string name;
  std::string argument;
  std::vector<std::string> words;
};

std::string_view trimmed(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  return text;
}

help_entry entry_of(std::string_view line) {
  help_entry entry;
  std::string_view rest = line.substr(line.find("--") + 2);
  const std::size_t end = std::min(rest.find_first_of("=[ "), rest.size());
  entry.name = rest.substr(0, end);
  rest.remove_prefix(end);
  if (!rest.empty() && rest.front() == '=') {
    entry.argument = rest.substr(1, rest.find(' ') == std::string_view::npos ? rest.size() : rest.find(' ') - 1);
    rest.remove_prefix(std::min(rest.find(' '), rest.size()));
  }
  if (const std::string_view words = trimmed(rest); !words.empty()) entry.words.emplace_back(words);
  return entry;
}

std::string default_of(const CLI::Option& option) {
  if (option.get_expected_min() == 0) return option.check_lname("verbose") ? "0" : "false";  // a flag
  const std::string text = option.get_default_str();
  return text == "[]" || text == "{}" ? std::string{} : text;
}

void write(const CLI::App& app, const help_entry& entry, std::string& section, std::string& out) {
  const CLI::Option* const option = option_named(app, entry.name);
  if (option == nullptr || !option->get_configurable()) return;
  if (!section.empty()) out.append("\n# ---- ").append(section).append(" ----\n");
  section.clear();
  out.append("\n");
  for (const std::string& line : entry.words) out.append("# ").append(line).append("\n");
  std::string value = default_of(*option);
  if (value.empty()) value = entry.argument;
  out.append("#").append(entry.name).append(" = ").append(value).append("\n");
}

}  // namespace

std::vector<CLI::ConfigItem> settings_file::from_config(std::istream& input) const {
  std::vector<CLI::ConfigItem> read = CLI::ConfigTOML::from_config(input);
  std::set<std::string> seen;
  for (const CLI::ConfigItem& item : read) {
    if (!item.parents.empty()) refuse("--config: there are no sections, and so no '", item.fullname(), "'");
    if (is_extended(item.name)) {
      if (!seen.insert(item.name).second) refuse("--config: '", item.name, "' is there twice");
      const std::string value = joined(item.inputs);
      if (value != "false") extended_.emplace_back(item.name, value == "true" ? "" : value);
      continue;
    }
    const CLI::Option* const option = option_named(app_, item.name);
    if (option == nullptr) refuse("--config: there is no option '", item.name, "'");
    if (!option->get_configurable()) refuse("--config: '", item.name, "' has no place in a file");
    if (!seen.insert(option->get_lnames().front()).second) refuse("--config: '", item.name, "' is there twice");
    if (item.inputs.size() > 1 && option->get_multi_option_policy() == CLI::MultiOptionPolicy::TakeLast) {
      refuse("--config: '", item.name, "' takes one value; put it in quotes if it has spaces or commas");
    }
  }
  const auto handled = [](const CLI::ConfigItem& item) { return is_extended(item.name); };
  read.erase(std::remove_if(read.begin(), read.end(), handled), read.end());
  return read;
}

std::string example_settings(const CLI::App& app, std::string_view help) {
  std::string out =
      "# Configuration of scootd: every option and its default, made by scootd --example-config.\n"
      "# What is given on the command line goes before what is here. SIGHUP reads this file again.\n";
  std::string section;
  std::string_view title;
  help_entry entry;
  const auto flush = [&] {
    if (!entry.name.empty()) write(app, entry, section, out);
    entry = {};
  };
  while (!help.empty()) {
    const std::string_view line = help.substr(0, help.find('\n'));
    help.remove_prefix(std::min(line.size() + 1, help.size()));
    const std::string_view words = trimmed(line);
    if (words.empty() || line.front() != ' ') {
      flush();
      title = line;
    } else if (words.front() == '-' && line.find("--") != std::string_view::npos && line.size() - words.size() <= 6) {
      flush();
      if (!title.empty()) section = title;
      title = {};
      entry = entry_of(line);
    } else if (!entry.name.empty()) {
      entry.words.emplace_back(words);
    }
  }
  flush();
  return out.append(extended_example());
}

std::map<std::string, std::string> settings_of(const CLI::App& app) {
  std::map<std::string, std::string> all;
  for (const CLI::Option* one : app.get_options()) {
    if (!one->get_configurable() || one->get_lnames().empty()) continue;
    const std::vector<std::string>& given = one->results();
    const bool last_counts = one->get_multi_option_policy() == CLI::MultiOptionPolicy::TakeLast;
    all[one->get_lnames().front()] = given.empty() ? default_of(*one) : last_counts ? given.back() : joined(given);
  }
  all.erase("extended");  // told one by one
  return all;
}

}  // namespace scoot::server
