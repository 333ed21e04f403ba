// SPDX-License-Identifier: MIT
//
// Goal: walks over all items tell each once and take turns with other clients; commands about memcached's slabs and
// lists are answered by what is true. Method: conversations against a real cache.
#include <gtest/gtest.h>

#include <map>
#include <sstream>
#include <string>

#include "server/binary_protocol.hpp"
#include "support.hpp"

namespace scoot::server {
namespace {

using testing::dialogue;
using testing::first_second;
using testing::session_world;

constexpr int many = 5000;

void fill(dialogue& client) {
  for (int i = 0; i < many; ++i) client.say("set key" + std::to_string(i) + " 0 0 3 noreply\r\nabc\r\n");
}

std::map<std::string, int> lines_of(const std::string& text) {
  std::map<std::string, int> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) ++lines[line];
  return lines;
}

TEST(admin, dumps_tell_every_key_once) {
  session_world world;
  dialogue client(world);
  fill(client);
  client.most_pending = 0;
  for (const std::string what : {"metadump", "mgdump"}) {
    const std::string text = client.say("lru_crawler " + what + " all\r\nmn\r\n");
    const std::map<std::string, int> lines = lines_of(text);
    EXPECT_EQ(lines.size(), many + 2u) << what;
    EXPECT_EQ(lines.count(what == "mgdump" ? "mg key4711\r" : "key=key4711 exp=-1 la=0 cas=0 fetch=no cls=1 size=10"),
              1u);
    EXPECT_TRUE(text.ends_with(what == "mgdump" ? "EN\r\nMN\r\n" : "END\r\nMN\r\n"));
  }
  EXPECT_GT(client.turns, 5u) << "others have their turn between the steps";
  EXPECT_LT(client.most_pending, response_buffer::full_bytes * 3);
}

TEST(admin, dumps_write_any_key_so_that_it_can_be_read) {
  session_world world;
  dialogue client(world);
  client.say("ms AAoNIA== 1 b T50\r\nx\r\nset b%c 0 0 1\r\nx\r\nget b%c\r\n");
  const std::string text = client.say("lru_crawler metadump 1\r\n");
  const std::string now = std::to_string(first_second), end = std::to_string(first_second + 50);
  EXPECT_NE(text.find("key=%00%0A%0D%20 exp=" + end + " la=" + now + " cas=0 fetch=no cls=1 size=5\n"),
            std::string::npos);
  EXPECT_NE(text.find("key=b%25c exp=-1 la=0 cas=0 fetch=yes cls=1 size=4\n"), std::string::npos) << text;
  EXPECT_NE(client.say("lru_crawler mgdump all\r\n").find("mg AAoNIA== b\r\n"), std::string::npos);
  EXPECT_EQ(client.say("stats cachedump 1 0\r\n"), "ITEM b%c [1 b; 0 s]\r\nEND\r\n");
  EXPECT_EQ(client.say("lru_crawler metadump 2,3\r\nlru_crawler mgdump 64\r\n"),
            "END\r\nBADCLASS invalid class id\r\n");
}

TEST(admin, cachedump_tells_as_many_as_asked_for) {
  session_world world;
  dialogue client(world);
  fill(client);
  EXPECT_EQ(lines_of(client.say("stats cachedump 1 7\r\n")).size(), 8u);
  EXPECT_EQ(client.say("stats cachedump 2 7\r\nstats cachedump 64 7\r\nstats cachedump 1\r\nstats cachedump a b\r\n"),
            "END\r\nCLIENT_ERROR Illegal slab id\r\nCLIENT_ERROR bad command line\r\nCLIENT_ERROR bad command line "
            "format\r\n");
}

TEST(admin, sizes_are_counted_in_turns) {
  session_world world;
  dialogue client(world);
  fill(client);
  client.say("set large 0 0 1000 noreply\r\n" + std::string(1000, 'v') + "\r\n");
  EXPECT_EQ(client.say("stats sizes\r\n"), "STAT 32 5000\r\nSTAT 1024 1\r\nEND\r\n");
  EXPECT_GT(client.turns, 2u);
  dialogue binary(world);
  std::string request("\x80\x10\0\5\0\0\0\0\0\0\0\5OPAQ\0\0\0\0\0\0\0\0sizes", 29);
  const std::string answer = binary.say(request);
  EXPECT_EQ(answer.size(), 24u + 6 + 24 + 5 + 24);
  EXPECT_EQ(answer.substr(24, 6), "325000");
}

TEST(admin, dumps_can_be_switched_off) {
  session_world world;
  world.state.live.dump_enabled = false;
  dialogue client(world);
  EXPECT_EQ(client.say("lru_crawler metadump all\r\nlru_crawler mgdump all\r\nstats cachedump 1 1\r\n"),
            "ERROR metadump not allowed\r\nERROR key dump not allowed\r\nCLIENT_ERROR stats cachedump not allowed\r\n");
}

TEST(admin, there_is_one_class_and_nothing_to_tune) {
  session_world world;
  dialogue client(world);
  EXPECT_EQ(
      client.say("slabs reassign 1 2\r\nslabs reassign 1 1\r\nslabs reassign x 1\r\nslabs automove 1\r\nslabs automove "
                 "0\r\nslabs automove 7\r\nslabs\r\nlru mode flat\r\n"),
      "BADCLASS invalid src or dst class id\r\nSAME src and dst class are identical\r\nCLIENT_ERROR bad command line "
      "format\r\nOK\r\nCLIENT_ERROR memory always follows the items here\r\nERROR\r\nERROR\r\nERROR the eviction "
      "policy "
      "has no such setting\r\n");
  EXPECT_EQ(
      client.say(
          "lru_crawler enable\r\nlru_crawler disable\r\nlru_crawler crawl all\r\nlru_crawler crawl x\r\nlru_crawler "
          "sleep 9\r\nlru_crawler sleep 1000001\r\nlru_crawler\r\n"),
      "OK\r\nERROR failed to stop lru crawler thread\r\nOK\r\nBADCLASS invalid class id\r\nOK\r\nCLIENT_ERROR sleep "
      "must be "
      "one second or less\r\nERROR\r\n");
}

}  // namespace
}  // namespace scoot::server
