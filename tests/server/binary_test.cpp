// SPDX-License-Identifier: MIT
//
// Goal: binary requests are read and answered as memcached 1.6 does, wherever the bytes are split; a frame that
// contradicts itself ends the connection and nothing else. Method: frames and the frames expected, which are memcached
// 1.6.18's, run side by side; conversations against a real cache, whole and cut at every byte.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <string_view>

#include "server/binary_protocol.hpp"
#include "server/credentials.hpp"
#include "support.hpp"

namespace scoot::server {
namespace {

using testing::dialogue;
using testing::session_world;

std::string big(std::uint64_t number, unsigned bytes) {
  std::string text(bytes, '\0');
  write_big_endian(text.data(), number, bytes);
  return text;
}

struct frame {
  int opcode = 0;
  std::string key{};
  std::string extras{};
  std::string value{};
  std::uint64_t cas = 0;
  int status = 0;  // responses
};

std::string text_of(const frame& f, int magic) {
  return std::string(1, static_cast<char>(magic)) + static_cast<char>(f.opcode) + big(f.key.size(), 2) +
         static_cast<char>(f.extras.size()) + '\0' + big(static_cast<unsigned>(f.status), 2) +
         big(f.key.size() + f.extras.size() + f.value.size(), 4) + "OPAQ" + big(f.cas, 8) + f.extras + f.key + f.value;
}
std::string ask(const frame& f) { return text_of(f, 0x80); }
std::string hear(const frame& f) { return text_of(f, 0x81); }

std::string set_extras(std::uint32_t flags = 0, std::uint32_t exptime = 0) { return big(flags, 4) + big(exptime, 4); }
std::string sum_extras(std::uint64_t delta, std::uint64_t initial, std::uint32_t exptime) {
  return big(delta, 8) + big(initial, 8) + big(exptime, 4);
}

// The answer must be the same however the bytes come.
void expect(const std::string& said, const std::string& answer, bool closes = false) {
  for (std::size_t cut = 0; cut < said.size(); ++cut) {
    session_world world(std::size_t{2} << 20);
    dialogue client(world);
    std::string got = cut == 0 ? "" : client.say(std::string_view(said).substr(0, cut));
    got += client.say(std::string_view(said).substr(cut));
    ASSERT_EQ(got, answer) << "cut at " << cut;
    ASSERT_EQ(client.closed(), closes);
  }
}

constexpr int no_such_key = 1, key_exists = 2, too_large = 3, bad_arguments = 4, not_stored = 5, not_numeric = 6;
constexpr int auth_error = 0x20, unknown = 0x81;

TEST(binary_protocol, waits_for_the_head_of_a_store_and_for_all_of_anything_else) {
  const std::string set = ask({1, "key", set_extras(7, 9), "value"});
  binary_request r;
  for (std::size_t bytes = 0; bytes < set.size(); ++bytes) {
    const binary_result result = parse_binary(std::string_view(set).substr(0, bytes), r);
    EXPECT_EQ(result.status, bytes < 24 + 8 + 3 ? binary_parse::incomplete : binary_parse::request) << bytes;
  }
  const std::string with_more = set + "more";
  ASSERT_EQ(parse_binary(with_more, r).status, binary_parse::request);
  EXPECT_EQ(r.key, "key");
  EXPECT_EQ(r.value, "value");
  EXPECT_EQ(r.flags, 7u);
  EXPECT_EQ(r.exptime, 9u);
  EXPECT_EQ(r.value_bytes, 5u);
  const std::string get = ask({0, "key"});
  for (std::size_t bytes = 0; bytes < get.size(); ++bytes) {
    EXPECT_EQ(parse_binary(std::string_view(get).substr(0, bytes), r).status, binary_parse::incomplete);
  }
}

TEST(binary_protocol, refuses_frames_that_contradict_themselves_or_their_command) {
  binary_request r;
  const frame bad[] = {{0, "k", "xxxx"},
                       {0},
                       {1, "", set_extras(), "v"},
                       {1, "k", "", "v"},
                       {0, std::string(251, 'k')},
                       {1, std::string(251, 'k'), set_extras(), "v"},
                       {10, "", "", "x"},
                       {11, "x"},
                       {5, "k", "xxxx"},
                       {7, "k"},
                       {4, "k", "xxxx"},
                       {4, "k", "", "v"},
                       {8, "", "xx"},
                       {0x21, "PLAIN", "", std::string(3000, 'x')}};
  for (const frame& f : bad) EXPECT_EQ(parse_binary(ask(f), r).status, binary_parse::invalid) << f.opcode;
  std::string short_body = ask({0, "key"});
  short_body[11] = 2;
  EXPECT_EQ(parse_binary(short_body, r).status, binary_parse::invalid);
  for (const int opcode : {0x1f, 0x25, 0x55, 0xff})
    EXPECT_EQ(parse_binary(ask({opcode}), r).status, binary_parse::unknown);
  EXPECT_EQ(parse_binary("get k\r\n", r).status, binary_parse::hopeless);
}

TEST(binary_session, stores_and_gets) {
  expect(ask({1, "k", set_extras(5), "bar"}) + ask({0, "k"}) + ask({0xc, "k"}) + ask({0xd, "k"}) + ask({0x9, "k"}),
         hear({1, "", "", "", 1}) + hear({0, "", big(5, 4), "bar", 1}) + hear({0xc, "k", big(5, 4), "bar", 1}) +
             hear({0xd, "k", big(5, 4), "bar", 1}) + hear({0x9, "", big(5, 4), "bar", 1}));
  expect(ask({0, "k"}) + ask({0xc, "k"}) + ask({9, "k"}) + ask({0xd, "k"}) + ask({10}),
         hear({0, "", "", "Not found", 0, no_such_key}) + hear({0xc, "k", "", "", 0, no_such_key}) + hear({10}));
  expect(ask({2, "k", set_extras(), "1"}) + ask({2, "k", set_extras(), "2"}) + ask({3, "k", set_extras(), "3"}) +
             ask({3, "n", set_extras(), "4"}) + ask({0xe, "k", "", "5"}) + ask({0xf, "k", "", "0"}) +
             ask({0xe, "n", "", "6"}) + ask({0, "k"}),
         hear({2, "", "", "", 1}) + hear({2, "", "", "Data exists for key.", 0, key_exists}) +
             hear({3, "", "", "", 2}) + hear({3, "", "", "Not found", 0, no_such_key}) + hear({0xe, "", "", "", 3}) +
             hear({0xf, "", "", "", 4}) + hear({0xe, "", "", "Not stored.", 0, not_stored}) +
             hear({0, "", big(0, 4), "035", 4}));
}

TEST(binary_session, what_a_full_cache_has_is_answered_with_a_unique) {
  session_world world(std::size_t{2} << 20, std::size_t{1} << 20, false);
  int stored = 0;
  while (world.items->store("key" + std::to_string(stored), "17") == cache_status::ok) ++stored;
  for (int i = 0; i < stored; ++i) (void)world.items->touch("key" + std::to_string(i), world.second + 100);
  dialogue client(world);
  const std::string key = "key" + std::to_string(stored - 1);
  const std::string got = client.say(ask({0, key}));
  ASSERT_EQ(got.size(), 24u + 4 + 2);
  std::uint64_t unique = 0;
  for (std::size_t i = 16; i < 24; ++i) unique = unique << 8 | static_cast<unsigned char>(got[i]);
  EXPECT_EQ(got, hear({0, "", big(0, 4), "17", unique}));
  EXPECT_NE(unique, 0u);
  const std::string sum = client.say(ask({5, key, sum_extras(1, 0, 0)}));
  EXPECT_EQ(sum.substr(24), big(18, 8));
  EXPECT_EQ(client.say(ask({0x1c, key, big(50, 4)})).substr(6, 2), big(0x82, 2)) << "no memory to note the expiry";
  EXPECT_EQ(client.say(ask({4, key, "", "", unique})).substr(6, 2), big(2, 2)) << "it is another number";
  EXPECT_EQ(client.say(ask({4, key})).substr(6, 2), big(0, 2));
}

TEST(binary_session, quiet_commands_answer_only_what_goes_wrong) {
  expect(ask({0x11, "k", set_extras(), "1"}) + ask({0x12, "k", set_extras(), "2"}) +
             ask({0x13, "k", set_extras(), "3"}) + ask({0x19, "k", "", "4"}) + ask({0x1a, "k", "", "2"}) +
             ask({0x15, "k", sum_extras(1, 0, 0)}) + ask({0x16, "k", sum_extras(2, 0, 0)}) + ask({0x9, "k"}) +
             ask({0x14, "k"}) + ask({0x14, "k"}) + ask({0x18}) + ask({0x17}),
         hear({0x12, "", "", "Data exists for key.", 0, key_exists}) + hear({0x9, "", big(0, 4), "233", 1}) +
             hear({0x14, "", "", "Not found", 0, no_such_key}),
         true);
}

TEST(binary_session, compares_uniques) {
  expect(ask({1, "k", set_extras(), "1"}) + ask({1, "k", set_extras(), "2", 9}) + ask({1, "k", set_extras(), "2", 1}) +
             ask({1, "n", set_extras(), "2", 1}) + ask({0xe, "k", "", "3", 1}) + ask({0xe, "k", "", "3", 2}) +
             ask({5, "k", sum_extras(1, 0, 0), "", 2}) + ask({5, "k", sum_extras(1, 0, 0), "", 3}) +
             ask({4, "k", "", "", 9}) + ask({4, "k", "", "", 4}),
         hear({1, "", "", "", 1}) + hear({1, "", "", "Data exists for key.", 0, key_exists}) +
             hear({1, "", "", "", 2}) + hear({1, "", "", "Not found", 0, no_such_key}) +
             hear({0xe, "", "", "Data exists for key.", 0, key_exists}) + hear({0xe, "", "", "", 3}) +
             hear({5, "", "", "Data exists for key.", 0, key_exists}) + hear({5, "", "", big(24, 8), 4}) +
             hear({4, "", "", "Data exists for key.", 0, key_exists}) + hear({4}));
}

TEST(binary_session, counts_and_makes_numbers) {
  expect(ask({5, "n", sum_extras(1, 7, 0xffffffff)}) + ask({5, "n", sum_extras(1, 7, 0)}) +
             ask({5, "n", sum_extras(3, 7, 0)}) + ask({6, "n", sum_extras(100, 7, 0)}) +
             ask({1, "n", set_extras(), "x"}) + ask({5, "n", sum_extras(1, 7, 0)}),
         hear({5, "", "", "Not found", 0, no_such_key}) + hear({5, "", "", big(7, 8), 1}) +
             hear({5, "", "", big(10, 8), 2}) + hear({6, "", "", big(0, 8), 3}) + hear({1, "", "", "", 4}) +
             hear({5, "", "", "Non-numeric server-side value for incr or decr", 0, not_numeric}));
}

TEST(binary_session, touches) {
  expect(ask({0x1c, "k", big(10, 4)}) + ask({1, "k", set_extras(9), "v"}) + ask({0x1c, "k", big(100, 4)}) +
             ask({0x1d, "k", big(0, 4)}) + ask({0x23, "k", big(0, 4)}) + ask({0x1e, "n", big(0, 4)}) +
             ask({0x23, "n", big(0, 4)}) + ask({0x24, "n", big(0, 4)}),
         hear({0x1c, "", "", "Not found", 0, no_such_key}) + hear({1, "", "", "", 1}) +
             hear({0x1c, "", big(9, 4), "", 1}) + hear({0x1d, "", big(9, 4), "v", 1}) +
             hear({0x23, "k", big(9, 4), "v", 1}) + hear({0x23, "n", "", "", 0, no_such_key}));
}

TEST(binary_session, answers_what_needs_no_item) {
  expect(ask({10}) + ask({11}) + ask({0x1b, "", big(0, 4)}) + ask({8}) + ask({8, "", big(1, 4)}) +
             ask({0x10, "nonsense"}) + ask({0x10, "reset"}) + ask({0x20}) + ask({0x55, "abc", "xx", "val"}) + ask({7}),
         hear({10}) + hear({11, "", "", "1.6.45-scoot"}) + hear({0x1b}) + hear({8}) + hear({8}) +
             hear({0x10, "", "", "Not found", 0, no_such_key}) + hear({0x10}) +
             hear({0x20, "", "", "Unknown command", 0, unknown}) + hear({0x55, "", "", "Unknown command", 0, unknown}) +
             hear({7}),
         true);
}

TEST(binary_session, ends_after_a_bad_frame) {
  expect(ask({10}) + ask({0, "k", "xxxx"}) + ask({10}),
         hear({10}) + hear({0, "", "", "Invalid arguments", 0, bad_arguments}), true);
  expect(ask({10}) + "version\r\n", hear({10}), true);
}

TEST(binary_session, large_values_arrive_in_pieces) {
  for (const std::size_t bytes : {8192u, 9000u, 40000u, 300000u}) {
    for (const std::size_t piece : {1447u, 4096u, 1u << 20}) {
      session_world world;
      dialogue client(world);
      const std::string value(bytes, 'v');
      const std::string said = ask({1, "big", set_extras(3), value}) + ask({0xe, "big", "", value}) + ask({0xc, "big"});
      std::string got;
      for (std::size_t at = 0; at < said.size(); at += piece)
        got += client.say(std::string_view(said).substr(at, piece));
      ASSERT_EQ(
          got, hear({1, "", "", "", 1}) + hear({0xe, "", "", "", 2}) + hear({0xc, "big", big(3, 4), value + value, 2}));
      ASSERT_TRUE(client.idle());
      ASSERT_EQ(world.items->stats().pinned_items, 0u);
    }
  }
}

// The last byte of a value is the last of its frame: nothing may be waited for behind it.
TEST(binary_session, a_large_value_is_stored_with_its_last_byte) {
  session_world world;
  dialogue client(world);
  const std::string said = ask({1, "big", set_extras(), std::string(20000, 'v')});
  EXPECT_EQ(client.say(std::string_view(said).substr(0, said.size() - 1)), "");
  EXPECT_EQ(client.say(std::string_view(said).substr(said.size() - 1)), hear({1, "", "", "", 1}));
}

TEST(binary_session, values_that_are_too_large_are_passed_over) {
  session_world world;
  dialogue client(world);
  const std::string said = ask({1, "big", set_extras(), std::string(2 << 20, 'v')}) + ask({10});
  std::string got;
  for (std::size_t at = 0; at < said.size(); at += 70000) got += client.say(std::string_view(said).substr(at, 70000));
  EXPECT_EQ(got, hear({1, "", "", "Too large.", 0, too_large}) + hear({10}));
}

TEST(binary_session, stores_pass_over_uniques_where_there_are_none) {
  session_world world;
  world.options.cas = false;
  server_state state(*world.items, world.options);
  response_buffer out;
  session s(0);
  std::string said;
  for (const frame& f :
       {frame{1, "k", set_extras(), "1"}, frame{1, "k", set_extras(), "2", 77}, frame{0xe, "k", "", "3", 77},
        frame{2, "k", set_extras(), "4", 77}, frame{0, "k"}, frame{4, "k", "", "", 77}}) {
    said += ask(f);
  }
  unsigned left = 100;
  EXPECT_EQ(s.run({state, state.counters.front(), out}, said, left).used_bytes, said.size());
  EXPECT_EQ(testing::take_all(out),
            hear({1}) + hear({1}) + hear({0xe}) + hear({2, "", "", "Data exists for key.", 0, key_exists}) +
                hear({0, "", big(0, 4), "23"}) + hear({4, "", "", "Data exists for key.", 0, key_exists}));
}

TEST(binary_session, only_a_quiet_store_leaves_an_item_without_its_unique) {
  session_world world;
  dialogue client(world);
  dialogue text(world);
  const auto unique = [&text] { return text.say("me k\r\n").substr(std::string("ME k exp=-1 la=0 ").size(), 6); };
  client.say(ask({0x11, "k", set_extras(), "v"}));
  EXPECT_EQ(unique(), "cas=0 ");
  client.say(ask({0, "k"}));
  EXPECT_EQ(unique(), "cas=1 ");
  client.say(ask({1, "k", set_extras(), "v"}));
  EXPECT_EQ(unique(), "cas=2 ");
}

TEST(binary_session, speaks_only_the_protocol_that_was_chosen) {
  session_world world;
  world.options.protocol = protocol_choice::binary;
  dialogue text(world);
  EXPECT_EQ(text.say("version\r\n"), "");
  EXPECT_TRUE(text.closed());
  world.options.protocol = protocol_choice::ascii;
  dialogue binary(world);
  EXPECT_EQ(binary.say(ask({10})).substr(6, 2), big(0x81, 2));
  EXPECT_TRUE(binary.closed());
}

class users_file {
 public:
  explicit users_file(std::string_view text) {
    std::FILE* file = std::fopen(path_.c_str(), "w");
    std::fwrite(text.data(), 1, text.size(), file);
    std::fclose(file);
  }
  ~users_file() { std::remove(path_.c_str()); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_ = ::testing::TempDir() + "scoot-users-" + std::to_string(::getpid());  // tests run side by side
};

TEST(credentials, are_lines_of_a_file) {
  credentials users;
  EXPECT_NE(users.load("/nonexistent"), "");
  EXPECT_NE(users.load(users_file("").path()), "");
  EXPECT_NE(users.load(users_file("a:b\nnonsense\n").path()), "");
  const users_file file("ann:secret\nbob:with:colon\r\n\nempty:\n");
  ASSERT_EQ(users.load(file.path()), "");
  EXPECT_TRUE(users.check("ann", "secret"));
  EXPECT_TRUE(users.check("bob", "with:colon"));
  EXPECT_TRUE(users.check("empty", ""));
  for (const auto& [name, password] : {std::pair{"ann", "Secret"},
                                       {"ann", "secre"},
                                       {"ann", "secrets"},
                                       {"ann", ""},
                                       {"", "secret"},
                                       {"bob:with", "colon"},
                                       {"annsecret", ""},
                                       {"nobody", "x"}}) {
    EXPECT_FALSE(users.check(name, password)) << name << " " << password;
  }
  using namespace std::string_view_literals;
  EXPECT_TRUE(users.check_plain("\0ann\0secret"sv));
  EXPECT_TRUE(users.check_plain("who\0ann\0secret"sv));
  for (const auto bad : {""sv, "ann"sv, "\0ann"sv, "\0ann\0wrong"sv, "\0\0secret"sv})
    EXPECT_FALSE(users.check_plain(bad));
}

TEST(binary_session, asks_who_one_is) {
  const users_file file("ann:secret\n");
  credentials users;
  ASSERT_EQ(users.load(file.path()), "");
  session_world world;
  world.state.sasl_users = &users;
  dialogue stranger(world);
  EXPECT_EQ(stranger.say(ask({11}) + ask({0x20}) + ask({0, "k"}) + ask({10})),
            hear({11, "", "", "1.6.45-scoot"}) + hear({0x20, "", "", "PLAIN"}) +
                hear({0, "", "", "Auth failure.", 0, auth_error}));
  EXPECT_TRUE(stranger.closed());
  dialogue ann(world);
  using namespace std::string_literals;
  EXPECT_EQ(ann.say(ask({0x21, "PLAIN", "", "\0ann\0wrong"s}) + ask({0x21, "LOGIN", "", "\0ann\0secret"s}) +
                    ask({0x22, "PLAIN"})),
            hear({0x21, "", "", "Auth failure.", 0, auth_error}) +
                hear({0x21, "", "", "Auth failure.", 0, auth_error}) +
                hear({0x22, "", "", "Auth failure.", 0, auth_error}));
  EXPECT_EQ(ann.say(ask({0x21, "PLAIN", "", "\0ann\0secret"s}) + ask({10})),
            hear({0x21, "", "", "Authenticated"}) + hear({10}));
  EXPECT_EQ(world.state.auth_commands, 4u);
  EXPECT_EQ(world.state.auth_errors, 3u);
}

TEST(text_session, asks_who_one_is) {
  const users_file file("ann:secret\n");
  credentials users;
  ASSERT_EQ(users.load(file.path()), "");
  const std::string said =
      "get k\r\nset a 0 0 5\r\nnoone\r\nset a 0 0 10\r\nann wrong1\r\nset a 0 0 1\r\nxyz\r\nset a 0 0 999999\r\nset x "
      "0 0 "
      "10\r\nann secret\r\nset k 0 0 1\r\na\r\nget k\r\n";
  const std::string answer =
      "CLIENT_ERROR unauthenticated\r\nCLIENT_ERROR bad authentication token format\r\nCLIENT_ERROR authentication "
      "failure\r\nCLIENT_ERROR bad command line termination\r\nCLIENT_ERROR unauthenticated\r\nCLIENT_ERROR "
      "unauthenticated\r\nSTORED\r\nSTORED\r\nVALUE k 0 1\r\na\r\nEND\r\n";
  for (std::size_t cut = 0; cut < said.size(); ++cut) {
    session_world world;
    world.state.text_users = &users;
    dialogue client(world);
    std::string got = cut == 0 ? "" : client.say(std::string_view(said).substr(0, cut));
    got += client.say(std::string_view(said).substr(cut));
    ASSERT_EQ(got, answer) << cut;
  }
}

TEST(text_session, commands_that_are_switched_off_say_so) {
  session_world world;
  dialogue client(world);
  world.state.live.flush_enabled = false;
  world.options.cas = false;
  EXPECT_EQ(client.say("set k 0 0 1\r\na\r\nflush_all\r\ngets k\r\nmg k c\r\nms k 1 c\r\nb\r\n"),
            "STORED\r\nCLIENT_ERROR flush_all not allowed\r\nVALUE k 0 1 0\r\na\r\nEND\r\nHD c0\r\nHD c0\r\n");
  world.state.live.shutdown_command = true;
  world.state.shut_down = []() noexcept {};
  EXPECT_EQ(client.say("shutdown nonsense\r\n"), "CLIENT_ERROR invalid shutdown mode\r\n");
  EXPECT_EQ(client.say("shutdown graceful\r\n"), "");
  EXPECT_TRUE(client.closed());
}

}  // namespace
}  // namespace scoot::server
