// SPDX-License-Identifier: MIT
//
// settings_file: the file of --config, lines `name = value` with the options' long names, as CLI11 reads TOML.
//
// The names of -o are taken too, as if given by -o. What CLI11 would pass over in silence is refused: sections, a name
// twice, several values where one is meant. Comments begin with #, values with spaces or commas need quotes.
#pragma once

#include <CLI/CLI.hpp>
#include <istream>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace scoot::server {

using extended_list = std::vector<std::pair<std::string, std::string>>;  // of -o: names and values

class settings_file : public CLI::ConfigTOML {
 public:
  explicit settings_file(const CLI::App& app, extended_list& extended) : app_(app), extended_(extended) {}
  [[nodiscard]] std::vector<CLI::ConfigItem> from_config(std::istream& input) const override;

 private:
  const CLI::App& app_;
  extended_list& extended_;
};

// A file with every option that it can have, each commented out, with its default and the words of the help text.
[[nodiscard]] std::string example_settings(const CLI::App& app, std::string_view help);

// What each option says after parsing, by its long name, its default if it was not given.
[[nodiscard]] std::map<std::string, std::string> settings_of(const CLI::App& app);

}  // namespace scoot::server
