// SPDX-License-Identifier: MIT
//
// Goal: a conversation gives the answers memcached 1.6 gives, wherever its bytes are split, and its output stays
// bounded. Method: conversations and their answers, against a real cache with a clock that the test sets; each is held
// whole, cut at every byte, and byte by byte.
#include "server/session.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support.hpp"

namespace scoot::server {
namespace {

using testing::dialogue;
using testing::first_second;
using testing::session_world;

std::string whole(const std::string& said) {
  session_world world;
  return dialogue(world).say(said);
}

// The answer must be the same however the bytes come.
void expect(const std::string& said, const std::string& answer) {
  ASSERT_EQ(whole(said), answer) << said;
  for (std::size_t cut = 1; cut < said.size(); ++cut) {
    session_world world(std::size_t{2} << 20);
    dialogue client(world);
    const std::string first = client.say(std::string_view(said).substr(0, cut));
    ASSERT_EQ(first + client.say(std::string_view(said).substr(cut)), answer) << said << " cut at " << cut;
  }
  session_world world;
  dialogue client(world);
  std::string got;
  for (const char byte : said) got += client.say({&byte, 1});
  EXPECT_EQ(got, answer) << said << " byte by byte";
}

TEST(session, stores_and_gets) {
  expect("set k 5 0 3\r\nabc\r\nget k\r\nget none\r\n", "STORED\r\nVALUE k 5 3\r\nabc\r\nEND\r\nEND\r\n");
  expect("set k 0 0 0\r\n\r\nget k\r\n", "STORED\r\nVALUE k 0 0\r\n\r\nEND\r\n");
  expect("set k 0 0 2 noreply\r\n\r\n\r\nget k\r\n", "VALUE k 0 2\r\n\r\n\r\nEND\r\n");
  expect("add k 0 0 1\r\na\r\nadd k 0 0 1\r\nb\r\nreplace k 0 0 1\r\nc\r\nreplace n 0 0 1\r\nd\r\nget k n\r\n",
         "STORED\r\nNOT_STORED\r\nSTORED\r\nNOT_STORED\r\nVALUE k 0 1\r\nc\r\nEND\r\n");
  expect("append k 0 0 1\r\na\r\nset k 3 0 1\r\nb\r\nappend k 9 0 2\r\ncd\r\nprepend k 9 0 1\r\na\r\nget k\r\n",
         "NOT_STORED\r\nSTORED\r\nSTORED\r\nSTORED\r\nVALUE k 3 4\r\nabcd\r\nEND\r\n");
}

TEST(session, gets_many_in_the_order_asked_for) {
  expect("set a 0 0 1\r\n1\r\nset b 0 0 1\r\n2\r\nget b none a b\r\n",
         "STORED\r\nSTORED\r\nVALUE b 0 1\r\n2\r\nVALUE a 0 1\r\n1\r\nVALUE b 0 1\r\n2\r\nEND\r\n");
}

TEST(session, deletes_touches_counts) {
  expect("delete k\r\nset k 0 0 1\r\na\r\ndelete k\r\nget k\r\n", "NOT_FOUND\r\nSTORED\r\nDELETED\r\nEND\r\n");
  expect("touch k 0\r\nset k 0 0 1\r\na\r\ntouch k 100\r\ngat 0 k x\r\n",
         "NOT_FOUND\r\nSTORED\r\nTOUCHED\r\nVALUE k 0 1\r\na\r\nEND\r\n");
  expect("incr k 1\r\nset k 0 0 2\r\n10\r\ndecr k 1\r\nget k\r\nincr k 18446744073709551615\r\ndecr k 100\r\n",
         "NOT_FOUND\r\nSTORED\r\n9\r\nVALUE k 0 2\r\n9 \r\nEND\r\n8\r\n0\r\n");
  expect("set k 0 0 2\r\n5x\r\nincr k 1\r\n",
         "STORED\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
}

TEST(session, keeps_quiet_when_asked_to) {
  expect(
      "set k 0 0 1 noreply\r\n1\r\nadd k 0 0 1 noreply\r\n1\r\nincr k 1 noreply\r\ndecr k 1 noreply\r\n"
      "touch k 0 noreply\r\ndelete k noreply\r\nflush_all noreply\r\nverbosity 0 noreply\r\nmn\r\n",
      "MN\r\n");
}

TEST(session, swaps_only_what_was_not_changed) {
  session_world world;
  dialogue client(world);
  EXPECT_EQ(client.say("cas k 0 0 1 1\r\na\r\n"), "NOT_FOUND\r\n");
  EXPECT_EQ(client.say("set k 0 0 1\r\na\r\n"), "STORED\r\n");
  const std::string answer = client.say("gets k\r\n");
  const std::string head = "VALUE k 0 1 ";
  ASSERT_EQ(answer.substr(0, head.size()), head);
  const std::string unique = answer.substr(head.size(), answer.find('\r') - head.size());
  EXPECT_EQ(client.say("cas k 0 0 1 " + unique + "\r\nb\r\n"), "STORED\r\n");
  EXPECT_EQ(client.say("cas k 0 0 1 " + unique + "\r\nc\r\n"), "EXISTS\r\n");
  EXPECT_EQ(client.say("get k\r\n"), "VALUE k 0 1\r\nb\r\nEND\r\n");
}

TEST(session, uses_a_bad_block_up_with_two_bytes_more_and_reads_on_behind) {
  const std::string bad = "CLIENT_ERROR bad data chunk\r\n";
  expect("set k 0 0 3\r\nabcd\r\nget k\r\n", bad + "ERROR\r\nEND\r\n");
  expect("set k 0 0 3\r\nabcXYget k\r\nversion\r\n", bad + "END\r\nVERSION 1.6.45-scoot\r\n");
  expect("set k 0 0 5\r\nabc\r\nget k\r\n", bad + "ERROR\r\n");
  expect("set k 0 0 3 noreply\r\nabcd\r\nget k\r\n", "ERROR\r\nEND\r\n");
  expect("set k 0 0 1\na\nmn\r\n", bad + "ERROR\r\n");
}

TEST(session, never_takes_the_data_of_a_refused_store_for_commands) {
  const std::string bad = "CLIENT_ERROR bad command line format\r\n";
  expect("set k abc 0 9\r\nflush_all\r\nmn\r\n", bad + "MN\r\n");
  expect("cas k 0 0 2 x noreply\r\nmn\r\nmn\r\n", "MN\r\n");
}

TEST(session, refuses_a_retrieval_with_a_key_too_long_as_a_whole) {
  const std::string key(251, 'k');
  const std::string bad = "CLIENT_ERROR bad command line format\r\n";
  expect("set a 0 0 1\r\n1\r\nget a " + key + " a\r\nmn\r\n", "STORED\r\n" + bad + "MN\r\n");
  // Behind more keys than are looked up at once, and behind more output than fits.
  session_world world;
  dialogue client(world);
  EXPECT_EQ(client.say("set a 0 0 3000\r\n" + std::string(3000, 'v') + "\r\n"), "STORED\r\n");
  std::string many = "get";
  for (int i = 0; i < 100; ++i) many += " a";
  EXPECT_EQ(client.say(many + " " + key + "\r\n"), bad);
  EXPECT_EQ(client.say("get " + std::string(250, 'k') + "\r\n"), "END\r\n");
}

TEST(session, swallows_values_that_are_too_large) {
  session_world world(std::size_t{4} << 20, std::size_t{64} << 10);
  dialogue client(world);
  EXPECT_EQ(client.say("set k 0 0 1\r\na\r\n"), "STORED\r\n");
  const std::string answer = client.say("set k 0 0 100000\r\n" + std::string(100000, 'x') + "\r\nmn\r\n");
  EXPECT_EQ(answer, "SERVER_ERROR object too large for cache\r\nMN\r\n");
  EXPECT_EQ(client.say("get k\r\n"), "END\r\n");  // the older value must not outlive a set that failed
  EXPECT_EQ(client.say("add k 0 0 100000 noreply\r\n"), "");
  EXPECT_EQ(client.say(std::string(50000, 'y')), "");
  EXPECT_FALSE(client.idle());
  EXPECT_EQ(client.say(std::string(50000, 'y') + "\r\nmn\r\n"), "MN\r\n");
}

TEST(session, refuses_an_append_whose_sum_is_too_large_and_keeps_the_item) {
  session_world world(std::size_t{4} << 20, std::size_t{64} << 10);
  dialogue client(world);
  const std::string part(40000, 'x');
  EXPECT_EQ(client.say("set k 0 0 40000\r\n" + part + "\r\n"), "STORED\r\n");
  EXPECT_EQ(client.say("append k 0 0 40000\r\n" + part + "\r\n"), "NOT_STORED\r\n");
  EXPECT_EQ(client.say("get k\r\n"), "VALUE k 0 40000\r\n" + part + "\r\nEND\r\n");
}

TEST(session, receives_large_values_in_place_in_pieces_of_any_size) {
  for (const std::size_t piece : {std::size_t{1}, std::size_t{13}, std::size_t{8191}, std::size_t{300000}}) {
    session_world world;
    dialogue client(world);
    std::string value(70000, '\0');
    for (std::size_t i = 0; i < value.size(); ++i) value[i] = static_cast<char>(i * 31 >> 3);
    const std::string said = "set big 7 0 70000\r\n" + value + "\r\nget big\r\n";
    std::string got;
    for (std::size_t at = 0; at < said.size(); at += piece) got += client.say(std::string_view(said).substr(at, piece));
    EXPECT_TRUE(got == "STORED\r\nVALUE big 7 70000\r\n" + value + "\r\nEND\r\n") << "in pieces of " << piece;
    EXPECT_EQ(world.items->stats().pinned_items, 0u);
  }
}

TEST(session, drops_a_large_value_with_a_bad_end_or_a_client_that_leaves) {
  session_world world;
  {
    dialogue client(world);
    EXPECT_EQ(client.say("set k 0 0 1\r\na\r\nset k 0 0 50000\r\n"), "STORED\r\n");
    EXPECT_EQ(client.say(std::string(50000, 'x')), "");
    EXPECT_EQ(client.say("XYget k\r\n"), "CLIENT_ERROR bad data chunk\r\nVALUE k 0 1\r\na\r\nEND\r\n");
    EXPECT_EQ(client.say("set k 0 0 50000\r\nhalf"), "");
  }
  dialogue other(world);
  EXPECT_EQ(other.say("get k\r\n"), "VALUE k 0 1\r\na\r\nEND\r\n");
  EXPECT_EQ(world.items->stats().pinned_items, 0u);
}

TEST(session, expires_and_flushes_by_the_clock) {
  session_world world;
  dialogue client(world);
  EXPECT_EQ(client.say("set a 0 10 1\r\n1\r\nset b 0 -1 1\r\n1\r\nget a b\r\n"),
            "STORED\r\nSTORED\r\nVALUE a 0 1\r\n1\r\nEND\r\n");
  world.second += 11;
  EXPECT_EQ(client.say("get a\r\n"), "END\r\n");
  EXPECT_EQ(client.say("set a 0 " + std::to_string(world.second + 5) + " 1\r\n1\r\nget a\r\n"),
            "STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\n");
  EXPECT_EQ(client.say("gat -1 a\r\nget a\r\n"), "VALUE a 0 1\r\n1\r\nEND\r\nEND\r\n");
  EXPECT_EQ(client.say("set a 0 0 1\r\n1\r\nflush_all 10\r\nget a\r\n"), "STORED\r\nOK\r\nVALUE a 0 1\r\n1\r\nEND\r\n");
  world.second += 11;
  EXPECT_EQ(client.say("get a\r\n"), "END\r\n");
  EXPECT_EQ(client.say("set a 0 0 1\r\n1\r\nflush_all\r\nget a\r\n"), "STORED\r\nOK\r\nEND\r\n");
}

TEST(session, keeps_its_output_bounded_however_much_is_asked_for) {
  for (const std::size_t value_bytes : {std::size_t{10}, std::size_t{1000}, std::size_t{15000}, std::size_t{200000}}) {
    session_world world(std::size_t{32} << 20);
    dialogue client(world);
    const std::string value(value_bytes, 'v');
    const std::string item = "VALUE k 0 " + std::to_string(value_bytes) + "\r\n" + value + "\r\n";
    EXPECT_EQ(client.say("set k 0 0 " + std::to_string(value_bytes) + "\r\n" + value + "\r\n"), "STORED\r\n");
    std::string asked = "get";
    std::string expected;
    for (int i = 0; i < 500; ++i) asked += " k", expected += item;
    EXPECT_TRUE(client.say(asked + "\r\n") == expected + "END\r\n") << value_bytes;
    EXPECT_LT(client.most_pending, response_buffer::full_held_bytes + 34 * (value_bytes + 300)) << value_bytes;
  }
}

TEST(session, gives_others_their_turn) {
  session_world world;
  dialogue client(world);
  client.commands_per_turn = 5;
  std::string asked;
  std::string expected;
  for (int i = 0; i < 23; ++i) asked += "mn\r\n", expected += "MN\r\n";
  EXPECT_EQ(client.say(asked), expected);
  EXPECT_EQ(client.turns, 4u);
}

TEST(session, closes_when_told_and_on_what_cannot_be_a_command) {
  session_world world;
  dialogue polite(world);
  EXPECT_EQ(polite.say("mn\r\nquit\r\nmn\r\n"), "MN\r\n");
  EXPECT_TRUE(polite.closed());
  dialogue endless(world);
  EXPECT_EQ(endless.say(std::string(5000, 'x')), "");
  EXPECT_TRUE(endless.closed());
}

TEST(session, answers_the_binary_protocol_with_an_error_of_its_form) {
  session_world world;
  world.options.protocol = protocol_choice::ascii;
  dialogue client(world);
  std::string request(24, '\0');
  request[0] = static_cast<char>(0x80);
  request[1] = 0x0b;
  request.replace(12, 4, "OPAQ");
  const std::string answer = client.say(request);
  EXPECT_TRUE(client.closed());
  ASSERT_EQ(answer.size(), 24u + 29u);
  EXPECT_EQ(static_cast<unsigned char>(answer[0]), 0x81);
  EXPECT_EQ(answer[1], 0x0b);
  EXPECT_EQ(static_cast<unsigned char>(answer[7]), 0x81);  // unknown command
  EXPECT_EQ(answer[11], 29);
  EXPECT_EQ(answer.substr(12, 4), "OPAQ");
  EXPECT_EQ(answer.substr(24), "binary protocol not supported");
  // Later in a conversation the byte is as good as any other.
  dialogue text(world);
  EXPECT_EQ(text.say("mn\r\n\x80\r\nmn\r\n"), "MN\r\nERROR\r\nMN\r\n");
}

TEST(session, refuses_to_store_when_full_and_told_not_to_evict) {
  session_world world(std::size_t{4} << 20, std::size_t{1} << 20, false);
  dialogue client(world);
  const std::string value(100000, 'v');
  std::string last;
  for (int i = 0; i < 60 && (i == 0 || last == "STORED\r\n"); ++i) {
    last = client.say("set key" + std::to_string(i) + " 0 0 100000\r\n" + value + "\r\n");
  }
  EXPECT_EQ(last, "SERVER_ERROR out of memory storing object\r\n");
  EXPECT_EQ(client.say("get key0\r\n"), "VALUE key0 0 100000\r\n" + value + "\r\nEND\r\n");
}

// Full, and with nothing left for what items that are there might get.
struct full_world : session_world {
  full_world() : session_world(std::size_t{2} << 20, std::size_t{1} << 20, false) {
    const std::string value(20, 'v');
    while (items->store("key" + std::to_string(stored), value) == cache_status::ok) ++stored;
    for (int i = 0; i < stored; ++i) (void)items->touch("key" + std::to_string(i), second + 100);
    EXPECT_EQ(items->touch(last(), second + 100), cache_status::no_memory) << "not full";
  }
  [[nodiscard]] std::string last() const { return "key" + std::to_string(stored - 1); }
  int stored = 0;
};

TEST(session, what_is_there_is_no_miss_when_memory_is_full_and_nothing_is_evicted) {
  full_world world;
  dialogue client(world);
  const std::string key = world.last(), value = " 20\r\n" + std::string(20, 'v') + "\r\n";
  const std::string refused = "SERVER_ERROR out of memory\r\n";
  EXPECT_EQ(client.say("get " + key + "\r\n"), "VALUE " + key + " 0" + value + "END\r\n");
  const std::string gets = client.say("gets " + key + "\r\n");
  EXPECT_EQ(gets.size(), ("VALUE " + key + " 0 20 4503599627370496\r\n\r\nEND\r\n").size() + 20) << gets;
  EXPECT_EQ(client.say("touch " + key + " 50\r\ntouch none 50\r\n"), refused + "NOT_FOUND\r\n");
  EXPECT_EQ(client.say("gat 50 " + key + "\r\ngat 50 none\r\n"), refused + "END\r\n");
  EXPECT_EQ(client.say("gat 50 key0 " + key + " key1\r\nmn\r\n"), refused + "MN\r\n");
  EXPECT_EQ(client.say("mg " + key + " s l v\r\n"), "VA 20 s20 l0\r\n" + value.substr(5));
  EXPECT_EQ(client.say("mg " + key + " c\r\n"), "HD c" + gets.substr(key.size() + 12, 16) + "\r\n");
  EXPECT_EQ(client.say("mg " + key + " T50\r\nmg none T50\r\nmg none N50 v\r\n"), refused + "EN\r\n" + refused);
  EXPECT_EQ(client.say("me " + key + "\r\n").substr(0, 3 + key.size()), "ME " + key);
  const std::string marked = client.say("md " + key + " I\r\n");  // there may be a hole that is large enough
  EXPECT_TRUE(marked == refused || marked == "HD\r\n") << marked;
  EXPECT_EQ(client.say("md none I\r\n"), "NF\r\n");
  EXPECT_EQ(client.say("md " + key + " C1\r\nmd " + key + "\r\n"), "EX\r\nHD\r\n");
}

TEST(session, a_store_in_pieces_is_one_command) {
  for (const std::string said : {"ms a 5\r\nabcde\r\n", "set a 0 0 5\r\nabcde\r\n"}) {
    session_world world;
    dialogue client(world);
    world.state.observed.fetch_or(watch_rawcmds);
    for (const char byte : said) (void)client.say({&byte, 1});
    EXPECT_EQ(world.state.watching.counted().told, 1u) << said;
    EXPECT_EQ(world.state.totals().meta_commands, said[1] == 's' ? 1u : 0u);
    EXPECT_EQ(client.say("get a\r\n"), "VALUE a 0 5\r\nabcde\r\nEND\r\n");
    EXPECT_EQ(world.state.watching.counted().told, 2u) << said;
  }
}

TEST(session, a_look_at_an_item_is_no_retrieval) {
  session_world world;
  dialogue client(world);
  (void)client.say("set a 0 0 1\r\nx\r\n");
  world.state.observed.fetch_or(watch_deletions);
  EXPECT_EQ(client.say("me a\r\nme none\r\nmd none\r\ndelete a\r\n").substr(0, 5), "ME a ");
  const cache_stats counted = world.items->stats();
  EXPECT_EQ(counted.gets, 0u);
  EXPECT_EQ(counted.get_hits, 0u);
  EXPECT_EQ(counted.deletes, 2u);
}

std::string stat(const std::string& answer, const std::string& name) {
  const std::string head = "STAT " + name + " ";
  const std::size_t at = answer.find(head);
  if (at == std::string::npos) return "missing";
  return answer.substr(at + head.size(), answer.find('\r', at) - at - head.size());
}

TEST(session, reports_statistics_that_are_true) {
  session_world world;
  dialogue client(world);
  client.say(
      "set a 0 0 5\r\n12345\r\nget a\r\nget a b\r\ngat 0 a b\r\ntouch a 0\r\nincr a 1\r\nincr b 1\r\ndecr b 1\r\n"
      "delete b\r\ncas a 0 0 1 99\r\nx\r\ncas b 0 0 1 99\r\nx\r\nflush_all 100\r\nmn\r\n");
  const std::string general = client.say("stats\r\n");
  const std::pair<const char*, const char*> table[] = {
      {"cmd_get", "3"},     {"get_hits", "2"},      {"get_misses", "1"},         {"cmd_set", "3"},
      {"cmd_touch", "3"},   {"touch_hits", "2"},    {"touch_misses", "1"},       {"incr_hits", "1"},
      {"incr_misses", "1"}, {"decr_misses", "1"},   {"decr_hits", "0"},          {"delete_misses", "1"},
      {"delete_hits", "0"}, {"cas_badval", "1"},    {"cas_misses", "1"},         {"cas_hits", "0"},
      {"cmd_flush", "1"},   {"cmd_meta", "1"},      {"curr_items", "1"},         {"total_items", "1"},
      {"bytes", "6"},       {"evictions", "0"},     {"version", "1.6.45-scoot"}, {"limit_maxbytes", "8388608"},
      {"threads", "1"},     {"pointer_size", "64"}, {"accepting_conns", "1"},
  };
  for (const auto& [name, value] : table) EXPECT_EQ(stat(general, name), value) << name;
  EXPECT_EQ(general.substr(general.size() - 5), "END\r\n");
  EXPECT_EQ(client.say("stats reset\r\n"), "RESET\r\n");
  const std::string after = client.say("stats\r\n");
  EXPECT_EQ(stat(after, "cmd_get"), "0");
  EXPECT_EQ(stat(after, "cmd_meta"), "0");
  EXPECT_EQ(stat(after, "curr_items"), "1");
}

TEST(session, reports_settings_items_slabs_and_sizes) {
  session_world world;
  dialogue client(world);
  EXPECT_EQ(client.say("stats items\r\n"), "END\r\n");
  EXPECT_EQ(client.say("stats sizes\r\n"), "END\r\n");
  client.say("set a 0 0 5\r\n12345\r\nset bb 0 0 100\r\n" + std::string(100, 'x') + "\r\n");
  EXPECT_EQ(stat(client.say("stats items\r\n"), "items:1:number"), "2");
  EXPECT_EQ(stat(client.say("stats slabs\r\n"), "1:used_chunks"), "2");
  EXPECT_EQ(stat(client.say("stats settings\r\n"), "item_size_max"), "1048576");
  EXPECT_EQ(stat(client.say("stats settings\r\n"), "evictions"), "on");
  EXPECT_EQ(client.say("stats sizes\r\n"), "STAT 32 1\r\nSTAT 128 1\r\nEND\r\n");
  EXPECT_EQ(client.say("stats bogus\r\n"), "ERROR\r\n");
  EXPECT_EQ(client.say("cache_memlimit 16\r\n"), "OK\r\n");
  EXPECT_EQ(stat(client.say("stats\r\n"), "limit_maxbytes"), "16777216");
}

}  // namespace
}  // namespace scoot::server
