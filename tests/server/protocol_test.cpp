// SPDX-License-Identifier: MIT
//
// Goal: every command line is read as memcached 1.6 reads it, wherever the bytes are split. Method: tables of lines
// with the command or the error line expected, the errors taken from memcached 1.6.18; each line also cut at every
// byte.
#include "server/protocol.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace scoot::server {
namespace {

request accepted(std::string_view line) {
  request out;
  const parse_result result = parse_request(line, out);
  EXPECT_EQ(result.status, parse_status::request) << line << " -> " << result.error;
  EXPECT_EQ(result.line_bytes, line.size()) << line;
  return out;
}

std::string refused(std::string_view line, bool* noreply = nullptr) {
  request out;
  const parse_result result = parse_request(line, out);
  EXPECT_EQ(result.status, parse_status::invalid) << line;
  EXPECT_EQ(result.line_bytes, line.size()) << line;
  if (noreply != nullptr) *noreply = out.noreply;
  return std::string(result.error);
}

std::vector<std::string> keys_of(std::string_view keys) {
  std::vector<std::string> result;
  for (std::string_view key = next_key(keys); !key.empty(); key = next_key(keys)) result.emplace_back(key);
  return result;
}

constexpr std::string_view bad_format = "CLIENT_ERROR bad command line format\r\n";
constexpr std::string_view error = "ERROR\r\n";

TEST(protocol, reads_every_store_command) {
  const struct {
    std::string_view word;
    verb command;
  } table[] = {{"set", verb::set},       {"add", verb::add},         {"replace", verb::replace},
               {"append", verb::append}, {"prepend", verb::prepend}, {"cas", verb::cas}};
  for (const auto& row : table) {
    const std::string unique = row.command == verb::cas ? " 18446744073709551615" : "";
    for (const bool noreply : {false, true}) {
      const std::string line =
          std::string(row.word) + " key 4294967295 -7 100" + unique + (noreply ? " noreply\r\n" : "\r\n");
      const request r = accepted(line);
      EXPECT_EQ(r.command, row.command);
      EXPECT_EQ(r.key, "key");
      EXPECT_EQ(r.flags, 4294967295u);
      EXPECT_EQ(r.exptime, -7);
      EXPECT_EQ(r.value_bytes, 100u);
      EXPECT_EQ(r.noreply, noreply);
      if (row.command == verb::cas) {
        EXPECT_EQ(r.number, 18446744073709551615u);
      }
    }
  }
}

TEST(protocol, reads_retrievals_with_any_number_of_keys) {
  EXPECT_EQ(keys_of(accepted("get a\r\n").arguments), (std::vector<std::string>{"a"}));
  EXPECT_EQ(keys_of(accepted("gets  a   bb ccc \r\n").arguments), (std::vector<std::string>{"a", "bb", "ccc"}));
  EXPECT_EQ(accepted("bget a\r\n").command, verb::get);
  const request gat = accepted("gat 100 a b\r\n");
  EXPECT_EQ(gat.command, verb::gat);
  EXPECT_EQ(gat.exptime, 100);
  EXPECT_EQ(keys_of(gat.arguments), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(accepted("gats -1 a\r\n").exptime, -1);
  EXPECT_TRUE(keys_of(accepted("gat 10\r\n").arguments).empty());
  std::string many = "get";
  for (int i = 0; i < 1000; ++i) many += " key" + std::to_string(i);
  EXPECT_EQ(keys_of(accepted(many + "\r\n").arguments).size(), 1000u);
}

TEST(protocol, reads_the_other_commands) {
  EXPECT_EQ(accepted("delete k\r\n").command, verb::remove);
  EXPECT_EQ(accepted("delete k 0\r\n").key, "k");
  EXPECT_TRUE(accepted("delete k noreply\r\n").noreply);
  EXPECT_TRUE(accepted("delete k 0 noreply\r\n").noreply);
  EXPECT_EQ(accepted("incr k 5\r\n").command, verb::increment);
  EXPECT_EQ(accepted("decr k 18446744073709551615 noreply\r\n").number, 18446744073709551615u);
  EXPECT_EQ(accepted("touch k 100\r\n").exptime, 100);
  EXPECT_TRUE(accepted("touch k 100 noreply\r\n").noreply);
  EXPECT_FALSE(accepted("touch k 100 foo\r\n").noreply);
  EXPECT_EQ(accepted("flush_all\r\n").exptime, 0);
  EXPECT_EQ(accepted("flush_all 30\r\n").exptime, 30);
  EXPECT_TRUE(accepted("flush_all noreply\r\n").noreply);
  EXPECT_EQ(accepted("flush_all 30 noreply\r\n").exptime, 30);
  EXPECT_EQ(accepted("verbosity 2\r\n").number, 2u);
  EXPECT_TRUE(accepted("verbosity 2 noreply\r\n").noreply);
  EXPECT_EQ(accepted("version\r\n").command, verb::version);
  EXPECT_EQ(accepted("version foo\r\n").command, verb::version);
  EXPECT_EQ(accepted("quit\r\n").command, verb::quit);
  EXPECT_EQ(accepted("mn\r\n").command, verb::meta_noop);
  EXPECT_EQ(accepted("stats\r\n").arguments, "");
  EXPECT_EQ(keys_of(accepted("stats items x\r\n").arguments), (std::vector<std::string>{"items", "x"}));
  EXPECT_EQ(accepted("cache_memlimit 64\r\n").number, 64u);
  EXPECT_EQ(accepted("shutdown\r\n").command, verb::shutdown);
}

TEST(protocol, answers_bad_lines_as_memcached_does) {
  const std::string long_key(251, 'k');
  const std::pair<std::string, std::string_view> table[] = {
      {"\r\n", error},
      {"\n", error},
      {" \r\n", error},
      {"\r\r\n", error},
      {"m\r\n", error},
      {"GET k\r\n", error},
      {"get\r\n", error},
      {"get \r\n", error},
      {std::string("get \0\r\n", 7), error},
      {"gat\r\n", error},
      {"gat abc k\r\n", "CLIENT_ERROR invalid exptime argument\r\n"},
      {"set\r\n", error},
      {"set k\r\n", error},
      {"set k 0 0\r\n", error},
      {"set k 0 0 1 noreply foo\r\n", error},
      {std::string("set a\0b 0 0 1\r\n", 15), error},
      {"set k -1 0 1\r\n", bad_format},
      {"set k abc 0 1\r\n", bad_format},
      {"set k 0x1 0 1\r\n", bad_format},
      {"set k 0 abc 1\r\n", bad_format},
      {"set k 0 0 -1\r\n", bad_format},
      {"set k 0 0 abc\r\n", bad_format},
      {"set k 0 0 2147483646\r\n", bad_format},
      {"set k 0 0 4294967297\r\n", bad_format},
      {"set " + long_key + " 0 0 1\r\n", bad_format},
      {"cas k 0 0 1\r\n", error},
      {"cas k 0 0 1 abc\r\n", bad_format},
      {"cas k 0 0 1 -1\r\n", bad_format},
      {"delete\r\n", error},
      {"delete k 0 0 0 0\r\n", error},
      {"delete k 1\r\n", "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n"},
      {"delete k 0 foo\r\n", "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n"},
      {"delete " + long_key + "\r\n", bad_format},
      {"incr k\r\n", error},
      {"incr k 1 2 3\r\n", error},
      {"incr k abc\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n"},
      {"decr k -1\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n"},
      {"incr k 18446744073709551616\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n"},
      {"touch k\r\n", error},
      {"touch k 10 foo bar\r\n", error},
      {"touch k abc\r\n", "CLIENT_ERROR invalid exptime argument\r\n"},
      {"touch " + long_key + " 1\r\n", bad_format},
      {"flush_all abc\r\n", "CLIENT_ERROR invalid exptime argument\r\n"},
      {"flush_all 1 2 3\r\n", error},
      {"verbosity\r\n", error},
      {"verbosity foo\r\n", bad_format},
      {"verbosity 0 0 0 0\r\n", error},
      {"cache_memlimit\r\n", error},
      {"cache_memlimit 1\r\n", "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n"},
      {"bogus\r\n", error},
  };
  for (const auto& [line, expected] : table) EXPECT_EQ(refused(line), expected) << line;
}

TEST(protocol, is_silent_about_an_error_where_memcached_is) {
  for (const std::string_view line : {"touch k noreply\r\n", "flush_all abc noreply\r\n", "delete k foo noreply\r\n",
                                      "verbosity noreply\r\n", "set k abc 0 1 noreply\r\n", "incr k abc noreply\r\n"}) {
    bool noreply = false;
    refused(line, &noreply);
    EXPECT_TRUE(noreply) << line;
  }
  for (const std::string_view line : {"set k 0 0 1 noreply foo\r\n", "touch k 1 foo noreply\r\n"}) {
    bool noreply = true;
    refused(line, &noreply);
    EXPECT_FALSE(noreply) << line;
  }
}

TEST(protocol, takes_the_data_of_a_refused_store_with_it_if_its_length_is_known) {
  const auto block_bytes = [](const std::string& line) {
    request out;
    return parse_request(line, out).block_bytes;
  };
  EXPECT_EQ(block_bytes("set k abc 0 7\r\n"), 9u);
  EXPECT_EQ(block_bytes("set " + std::string(251, 'k') + " 0 0 7\r\n"), 9u);
  EXPECT_EQ(block_bytes("cas k 0 0 7 x\r\n"), 9u);
  EXPECT_EQ(block_bytes("set k 0 0 -1\r\n"), 0u);
  EXPECT_EQ(block_bytes("set k 0 0 x\r\n"), 0u);
  EXPECT_EQ(block_bytes("set k 0 0\r\n"), 0u);
  EXPECT_EQ(block_bytes("set k 0 0 7\r\n"), 0u);
}

TEST(protocol, closes_on_http) {
  request out;
  EXPECT_EQ(parse_request("POST / HTTP/1.1\r\n", out).status, parse_status::hopeless);
  EXPECT_EQ(parse_request("GET /stats HTTP/1.0\r\n", out).status, parse_status::hopeless);
  EXPECT_EQ(parse_request("get k HTTP/1.1\r\n", out).status, parse_status::request);
}

TEST(protocol, takes_a_bare_newline_and_extra_blanks) {
  EXPECT_EQ(accepted("set  k  1   2 3 \n").value_bytes, 3u);
  EXPECT_EQ(accepted("  delete k\n").key, "k");
  EXPECT_EQ(keys_of(accepted("get a\tb\r\n").arguments), (std::vector<std::string>{"a\tb"}));
}

TEST(protocol, truncates_flags_and_exptime_to_their_32_bits) {
  EXPECT_EQ(accepted("set k 4294967296 2147483648 1\r\n").flags, 0u);
  EXPECT_EQ(accepted("set k 4294967296 2147483648 1\r\n").exptime, -2147483648);
}

TEST(protocol, asks_for_more_until_the_line_is_whole_and_then_reads_no_further) {
  for (const std::string line :
       {"set key 1 2 3 noreply\r\n", "get a b c\r\n", "cas k 0 0 3 77\r\n", "incr k 1\r\n", "quit\r\n", "x\n"}) {
    request out;
    for (std::size_t cut = 1; cut < line.size(); ++cut) {
      EXPECT_EQ(parse_request(line.substr(0, cut), out).status, parse_status::incomplete) << line << cut;
    }
    const parse_result whole = parse_request(line, out);
    const parse_result followed = parse_request(line + "version\r\n\n", out);
    EXPECT_EQ(followed.status, whole.status);
    EXPECT_EQ(followed.line_bytes, line.size());
  }
}

TEST(protocol, gives_up_on_a_line_without_an_end_unless_it_is_a_long_retrieval) {
  request out;
  EXPECT_EQ(parse_request(std::string(2048, 'x'), out).status, parse_status::incomplete);
  EXPECT_EQ(parse_request(std::string(2049, 'x'), out).status, parse_status::hopeless);
  EXPECT_EQ(parse_request("gat 0 " + std::string(3000, 'x'), out).status, parse_status::hopeless);
  EXPECT_EQ(parse_request("get " + std::string(100000, ' '), out).status, parse_status::incomplete);
  EXPECT_EQ(parse_request("  gets " + std::string(100000, ' '), out).status, parse_status::incomplete);
  EXPECT_EQ(parse_request(std::string(101, ' ') + "get " + std::string(3000, ' '), out).status, parse_status::hopeless);
  EXPECT_EQ(parse_request("get " + std::string(retrieval_line_bytes_max, ' '), out).status, parse_status::hopeless);
  EXPECT_EQ(parse_request(std::string(20000, 'x') + "\r\n", out).status, parse_status::hopeless);
  EXPECT_EQ(parse_request(std::string(3000, 'x') + "\r\n", out).status, parse_status::invalid);
}

TEST(protocol, counts_exptimes_up_to_thirty_days_from_now) {
  constexpr std::uint32_t now = 1'800'000'000;
  EXPECT_EQ(expiry_of(0, now), 0u);
  EXPECT_EQ(expiry_of(1, now), now + 1);
  EXPECT_EQ(expiry_of(2'592'000, now), now + 2'592'000);
  EXPECT_EQ(expiry_of(2'592'001, now), 2'592'001u);
  EXPECT_EQ(expiry_of(-1, now), 1u);
}

}  // namespace
}  // namespace scoot::server
