// SPDX-License-Identifier: MIT
//
// Goal: a configuration file means what the command line means, says what is wrong with it, and its example has every
// option. Method: files in a temporary folder, and what parse_options makes of them.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "server/options.hpp"

namespace scoot::server {
namespace {

class settings : public testing::Test {
 protected:
  settings() {
    char name[] = "/tmp/scoot-settings-XXXXXX";
    folder_ = mkdtemp(name);
  }
  ~settings() override { std::filesystem::remove_all(folder_); }

  parsed_options parse(const std::string& content, std::initializer_list<const char*> arguments = {}) {
    std::ofstream(folder_ + "/conf") << content;
    const std::string option = "--config=" + folder_ + "/conf";
    std::vector<const char*> argv{"scootd", option.c_str()};
    argv.insert(argv.end(), arguments);
    return parse_options(static_cast<int>(argv.size()), argv.data());
  }
  server_options accepted(const std::string& content, std::initializer_list<const char*> arguments = {}) {
    parsed_options parsed = parse(content, arguments);
    EXPECT_TRUE(parsed.run) << parsed.text;
    return parsed.options;
  }

  std::string folder_;
};

parsed_options parse_line(std::initializer_list<const char*> arguments) {
  std::vector<const char*> argv{"scootd"};
  argv.insert(argv.end(), arguments);
  return parse_options(static_cast<int>(argv.size()), argv.data());
}

TEST_F(settings, of_a_file_mean_what_they_mean_on_the_command_line) {
  const server_options o = accepted(R"(
# a comment
memory-limit = 2g      # and one behind a value
max-item-size = "512k"
c = 77
listen = "127.0.0.1,[::1]:78"
disable-evictions = true
disable-cas = false
verbose = 2
idle_timeout = 30
no_maxconns_fast = true
ssl_session_cache = false
user = nobody
log-format = json
log-to = syslog
)");
  EXPECT_EQ(o.memory_bytes, std::size_t{2} << 30);
  EXPECT_EQ(o.item_bytes_max, std::size_t{512} << 10);
  EXPECT_EQ(o.connections_max, 77u);
  ASSERT_EQ(o.listen.size(), 2u);
  EXPECT_EQ(o.listen[1].port, "78");
  EXPECT_FALSE(o.evict);
  EXPECT_TRUE(o.cas);
  EXPECT_EQ(o.verbosity, 2);
  EXPECT_EQ(o.idle_timeout_s, 30u);
  EXPECT_FALSE(o.reject_at_limit);
  EXPECT_FALSE(o.tls.session_cache);
  EXPECT_EQ(o.user, "nobody");
  EXPECT_EQ(o.log_as, log_form::json);
  EXPECT_EQ(o.log_to, log_target::syslog);
}

TEST_F(settings, give_way_to_the_command_line) {
  const server_options o = accepted("memory-limit = 128\nidle_timeout = 30\nthreads = 3\nno_maxconns_fast = true\n",
                                    {"-m", "256", "-o", "idle_timeout=60"});
  EXPECT_EQ(o.memory_bytes, std::size_t{256} << 20);
  EXPECT_EQ(o.idle_timeout_s, 60u);
  EXPECT_FALSE(o.reject_at_limit);
  EXPECT_EQ(o.threads, 3u);
}

TEST_F(settings, that_are_wrong_end_with_a_text_that_names_them) {
  const struct {
    const char* content;
    const char* named;
  } table[] = {
      {"memory-limt = 5\n", "memory-limt"},
      {"memory-limit = many\n", "-m: 'many'"},
      {"memory-limit = 64\nthreads = 2\nmemory-limit = 65\n", "'memory-limit' is there twice"},
      {"memory-limit = 64\nm = 65\n", "'m' is there twice"},
      {"memory-limit = 64 65\n", "'memory-limit' takes one value"},
      {"[memory]\nmemory-limit = 64\n", "no sections"},
      {"config = /etc/passwd\n", "'config' has no place"},
      {"help = true\n", "'help' has no place"},
      {"lock-memory = true\n", "'lock-memory' has no place"},
      {"ssl_key = /x\n", "without -Z"},
      {"ssl_nonsense = 1\n", "ssl_nonsense"},
      {"disable-cas = perhaps\n", "perhaps"},
      {"idle_timeout = long\n", "idle_timeout: 'long'"},
      {"just some words\n", "just some words"},
      {"log-level = loud\n", "--log-level"},
  };
  for (const auto& row : table) {
    const parsed_options parsed = parse(row.content);
    EXPECT_FALSE(parsed.run) << row.content;
    EXPECT_EQ(parsed.status, status_usage) << row.content;
    EXPECT_NE(parsed.text.find(row.named), std::string::npos) << row.content << ": " << parsed.text;
  }
  const parsed_options missing = parse_line({"--config=/nonexistent/scootd.conf"});
  EXPECT_EQ(missing.status, status_usage);
  EXPECT_NE(missing.text.find("/nonexistent/scootd.conf"), std::string::npos) << missing.text;
}

TEST_F(settings, of_bytes_at_random_end_with_a_text_or_are_taken) {
  std::srand(7);
  for (int round = 0; round < 300; ++round) {
    std::string content;
    const char* const pieces[] = {"memory-limit", "=",      "[",  "]",    "\"", "'",    "\n", "#", ",", " ",
                                  "64",           "listen", "\\", "\xff", "{",  "true", "."};
    for (int i = std::rand() % 24; i > 0; --i) content += pieces[std::rand() % std::size(pieces)];
    const parsed_options parsed = parse(content);
    EXPECT_EQ(parsed.run, parsed.text.empty()) << content;
  }
}

TEST_F(settings, in_the_example_are_all_there_and_each_can_be_switched_on) {
  const parsed_options example = parse_line({"--example-config"});
  EXPECT_EQ(example.status, 0);
  std::set<std::string> names;
  std::istringstream lines(example.text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t equals = line.find(" = ");
    if (line.size() < 2 || line[0] != '#' || line[1] == ' ' || equals == std::string::npos) continue;
    const std::string name = line.substr(1, equals - 1), value = line.substr(equals + 3);
    EXPECT_TRUE(names.insert(name).second) << name;
    const bool metavar = value.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ[],.:") == std::string::npos;
    if (metavar && value != "PEM") continue;
    const parsed_options on = parse(line.substr(1) + "\n");
    EXPECT_TRUE(on.run) << line << ": " << on.text;
  }
  // All that can be set has a line, and the other way round.
  for (const auto& [name, value] : parse_line({}).settings) EXPECT_EQ(names.count(name), 1u) << name;
  for (const char* one : {"memory-limit", "listen", "user", "extended", "log-level", "idle_timeout", "ssl_key"}) {
    EXPECT_EQ(names.count(one), 1u) << one;
  }
  EXPECT_EQ(names.count("help"), 0u);
  EXPECT_TRUE(parse(example.text).run);
}

TEST_F(settings, are_told_as_texts_for_comparison) {
  const parsed_options parsed =
      parse("memory-limit = 128\nidle_timeout = 9\n", {"-c", "5", "-c", "6", "-o", "idle_timeout=8,modern"});
  ASSERT_TRUE(parsed.run) << parsed.text;
  EXPECT_EQ(parsed.settings.at("memory-limit"), "128");
  EXPECT_EQ(parsed.settings.at("conn-limit"), "6");
  EXPECT_EQ(parsed.settings.at("idle_timeout"), "8");
  EXPECT_EQ(parsed.settings.at("threads"), "4");
  EXPECT_EQ(parsed.settings.count("modern"), 0u);
}

TEST_F(settings, name_files_from_the_folder_where_the_server_was_started) {
  std::ofstream(folder_ + "/conf") << "auth-file = users\n";
  const char* const argv[] = {"scootd", "--config", "conf"};
  const parsed_options parsed = parse_options(3, argv, folder_);
  ASSERT_TRUE(parsed.run) << parsed.text;
  EXPECT_EQ(parsed.options.auth_file, folder_ + "/users");
}

}  // namespace
}  // namespace scoot::server
