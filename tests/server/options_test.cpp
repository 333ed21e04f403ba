// SPDX-License-Identifier: MIT
//
// Goal: the command line means what it means to memcached, and bad ones end with a status and a text that names the
// culprit. Method: argument lists and what comes out.
#include "server/options.hpp"

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <vector>

namespace scoot::server {
namespace {

parsed_options parse(std::initializer_list<const char*> arguments) {
  std::vector<const char*> argv{"scootd"};
  argv.insert(argv.end(), arguments);
  return parse_options(static_cast<int>(argv.size()), argv.data());
}

server_options accepted(std::initializer_list<const char*> arguments) {
  parsed_options parsed = parse(arguments);
  EXPECT_TRUE(parsed.run) << parsed.text;
  return parsed.options;
}

TEST(options, listen_on_this_machine_only_unless_told) {
  const server_options o = accepted({});
  ASSERT_EQ(o.listen.size(), 1u);
  EXPECT_EQ(o.listen[0].host, "127.0.0.1");
  EXPECT_EQ(o.listen[0].port, "11211");
  EXPECT_EQ(o.memory_bytes, std::size_t{64} << 20);
  EXPECT_EQ(o.item_bytes_max, std::size_t{1} << 20);
  EXPECT_EQ(o.connections_max, 1024u);
  EXPECT_EQ(o.threads, 4u);
  EXPECT_TRUE(o.evict);
  EXPECT_TRUE(o.unix_socket.empty());
}

TEST(options, say_where_http_is_served_if_at_all) {
  EXPECT_TRUE(accepted({}).http.host.empty());
  const auto http = [](const char* given) {
    const http_options o = accepted({"--http", given}).http;
    return o.host + " " + o.port;
  };
  EXPECT_EQ(http("127.0.0.1:11280"), "127.0.0.1 11280");
  EXPECT_EQ(http("localhost:80"), "127.0.0.1 80");
  EXPECT_EQ(http("8080"), "127.0.0.1 8080");
  EXPECT_EQ(http("0.0.0.0:0"), "0.0.0.0 0");
  EXPECT_EQ(accepted({"--http=1", "--http-token-file=/t"}).http.token_file, "/t");
  for (const char* bad : {":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "example.org:80",
                          "::1:80", "[::1]:80", "127.1:80", "x"}) {
    const parsed_options p = parse({"--http", bad});
    EXPECT_FALSE(p.run) << bad;
    EXPECT_EQ(p.status, status_usage) << bad;
    EXPECT_NE(p.text.find("--http: '"), std::string::npos) << bad << ": " << p.text;
  }
  EXPECT_FALSE(parse({"--http-token-file=/t"}).run);
}

TEST(options, choose_the_way_of_waiting) {
  EXPECT_EQ(accepted({}).io, io_kind::automatic);
  EXPECT_EQ(accepted({"--io=epoll"}).io, io_kind::epoll);
  EXPECT_EQ(accepted({"--io", "uring"}).io, io_kind::uring);
  EXPECT_FALSE(parse({"--io=select"}).run);
}

TEST(options, take_short_and_long_names) {
  const server_options o = accepted({"-p", "2222", "-m", "100", "-I", "2m",       "-c", "50",     "-t", "2", "-R", "7",
                                     "-b", "9",    "-M", "-vv", "-P", "/tmp/pid", "-u", "nobody", "-U", "0", "-d"});
  EXPECT_EQ(o.listen.at(0).port, "2222");
  EXPECT_EQ(o.memory_bytes, std::size_t{100} << 20);
  EXPECT_EQ(o.item_bytes_max, std::size_t{2} << 20);
  EXPECT_EQ(o.connections_max, 50u);
  EXPECT_EQ(o.threads, 2u);
  EXPECT_EQ(o.requests_per_event, 7u);
  EXPECT_EQ(o.backlog, 9);
  EXPECT_FALSE(o.evict);
  EXPECT_EQ(o.verbosity, 2);
  EXPECT_EQ(o.pid_file, "/tmp/pid");
  EXPECT_EQ(o.user, "nobody");
  EXPECT_TRUE(o.daemonise);
  const server_options l = accepted({"--port=2222", "--memory-limit=100", "--max-item-size=512k", "--threads=3"});
  EXPECT_EQ(l.listen.at(0).port, "2222");
  EXPECT_EQ(l.item_bytes_max, std::size_t{512} << 10);
  EXPECT_EQ(l.threads, 3u);
}

TEST(options, take_lists_of_addresses_with_ports_of_their_own) {
  const server_options o = accepted({"-p", "5", "-l", "127.0.0.1,localhost:77", "-l", "[::1]:78,::1,0.0.0.0"});
  ASSERT_EQ(o.listen.size(), 5u);
  EXPECT_EQ(o.listen[0].host + "/" + o.listen[0].port, "127.0.0.1/5");
  EXPECT_EQ(o.listen[1].host + "/" + o.listen[1].port, "localhost/77");
  EXPECT_EQ(o.listen[2].host + "/" + o.listen[2].port, "::1/78");
  EXPECT_EQ(o.listen[3].host + "/" + o.listen[3].port, "::1/5");
  EXPECT_EQ(o.listen[4].host + "/" + o.listen[4].port, "0.0.0.0/5");
}

TEST(options, make_a_unix_socket_mean_no_network) {
  const server_options o = accepted({"-s", "/tmp/x.sock", "-a", "770", "-p", "0"});
  EXPECT_EQ(o.unix_socket, "/tmp/x.sock");
  EXPECT_EQ(o.unix_mask, 0770u);
  EXPECT_TRUE(o.listen.empty());
}

TEST(options, let_the_last_of_a_kind_win) {
  EXPECT_EQ(accepted({"-m", "64", "-m", "128"}).memory_bytes, std::size_t{128} << 20);
}

TEST(options, print_help_and_version_and_end_well) {
  const parsed_options help = parse({"-h"});
  EXPECT_FALSE(help.run);
  EXPECT_EQ(help.status, 0);
  for (const char* option : {"-p", "-s", "-a", "-l", "-m", "-c", "-t", "-I", "-M", "-R", "-b", "-v", "-vv", "-u", "-P",
                             "-d", "-U", "-h", "-V"}) {
    EXPECT_NE(help.text.find(option), std::string::npos) << option;
  }
  const parsed_options version = parse({"-V"});
  EXPECT_FALSE(version.run);
  EXPECT_EQ(version.status, 0);
  EXPECT_NE(version.text.find("1.6.45-scoot"), std::string::npos);
}

TEST(options, refuse_what_makes_no_sense_and_name_it) {
  const struct {
    std::initializer_list<const char*> arguments;
    const char* named;
  } table[] = {
      {{"-p", "abc"}, "-p"},
      {{"-p", "70000"}, "-p"},
      {{"-p", "-2"}, "-p"},
      {{"-p", "0"}, "-p"},
      {{"-U", "11211"}, "-U"},
      {{"-t", "0"}, "-t"},
      {{"-t", "-1"}, "-t"},
      {{"-c", "0"}, "-c"},
      {{"-R", "0"}, "-R"},
      {{"-b", "0"}, "-b"},
      {{"-m", "0"}, "-m"},
      {{"-m", "64x"}, "-m"},
      {{"-m", ""}, "-m"},
      {{"-I", "10"}, "-I"},
      {{"-I", "2g"}, "-I"},
      {{"-I", "x"}, "-I"},
      {{"-m", "1", "-I", "1m"}, "-I"},
      {{"-a", "999"}, "-a"},
      {{"-l", "[::1"}, "-l"},
      {{"-l", "h:99999"}, "-l"},
      {{"-l", ":5"}, "-l"},
      {{"-s", "/x", "-l", "h"}, "-s"},
      {{"-Q"}, "-Q"},
      {{"stray"}, "stray"},
      {{"-m"}, "-m"},
  };
  for (const auto& row : table) {
    const parsed_options parsed = parse(row.arguments);
    EXPECT_FALSE(parsed.run) << row.named;
    EXPECT_EQ(parsed.status, 64) << row.named;
    EXPECT_NE(parsed.text.find(row.named), std::string::npos) << row.named << ": " << parsed.text;
  }
}

}  // namespace
}  // namespace scoot::server
