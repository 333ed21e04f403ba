// SPDX-License-Identifier: MIT
//
// Goal: meta commands are read and answered as memcached 1.6 does, wherever the bytes are split. Method: tables of
// lines for the parser; conversations against a real cache with a clock that the test sets, whole and cut at every
// byte. Answers are memcached 1.6.18's, run side by side, but for what later versions added (E, x, N with append).
#include <gtest/gtest.h>

#include <string>

#include "server/meta_protocol.hpp"
#include "support.hpp"

namespace scoot::server {
namespace {

using testing::dialogue;
using testing::session_world;

std::string error_of(std::string_view line) {
  meta_request out;
  return std::string(parse_meta(line, out).error);
}

TEST(meta_protocol, reads_flags_in_their_order) {
  meta_request r;
  ASSERT_EQ(parse_meta("ms key 7 T60 F9 C5 E6 I q c k Oopaque N3 MA", r).error, "");
  EXPECT_EQ(r.command, meta_verb::set);
  EXPECT_EQ(r.key, "key");
  EXPECT_EQ(r.value_bytes, 7u);
  EXPECT_EQ(r.ttl, 60);
  EXPECT_EQ(r.client_flags, 9u);
  EXPECT_EQ(r.compare_cas, 5u);
  EXPECT_EQ(r.new_cas, 6u);
  EXPECT_EQ(r.vivify_ttl, 3);
  EXPECT_EQ(r.mode, 'A');
  EXPECT_TRUE(r.invalidate && r.quiet && r.give_cas);
  ASSERT_EQ(r.flag_count, 11u);
  EXPECT_EQ(r.flags[8], "Oopaque");
  EXPECT_TRUE(r.has('O') && r.has('k') && !r.has('t'));
}

TEST(meta_protocol, tells_errors_as_memcached_does) {
  EXPECT_EQ(error_of("mg"), "ERROR\r\n");
  EXPECT_EQ(error_of("me"), "CLIENT_ERROR bad command line format\r\n");
  EXPECT_EQ(error_of("mg " + std::string(251, 'k') + " v"), "CLIENT_ERROR bad command line format\r\n");
  EXPECT_EQ(error_of("mg k v v"), "CLIENT_ERROR duplicate flag\r\n");
  EXPECT_EQ(error_of("mg k \x80"), "CLIENT_ERROR duplicate flag\r\n");
  EXPECT_EQ(error_of("mg k S"), "CLIENT_ERROR invalid flag\r\n");
  EXPECT_EQ(error_of("mg k 7"), "CLIENT_ERROR invalid flag\r\n");
  EXPECT_EQ(error_of("mg k Tx v"), "CLIENT_ERROR bad token in command line format\r\n");
  EXPECT_EQ(error_of("mg k Tx S"), "CLIENT_ERROR invalid flag\r\n");
  EXPECT_EQ(error_of("mg ! b"), "CLIENT_ERROR error decoding key\r\n");
  EXPECT_EQ(error_of("mg k O" + std::string(32, 'o')), "CLIENT_ERROR opaque token too long\r\n");
  EXPECT_EQ(error_of("mg k O" + std::string(31, 'o')), "");
  EXPECT_EQ(error_of("md k S"), "CLIENT_ERROR invalid or duplicate flag\r\n");
  EXPECT_EQ(error_of("ma k D-1"), "CLIENT_ERROR invalid or duplicate flag\r\n");
  EXPECT_EQ(error_of("ma k MX"), "CLIENT_ERROR invalid mode for ma M token\r\n");
  EXPECT_EQ(error_of("ms k 1 MX"), "CLIENT_ERROR invalid mode for ms M token\r\n");
  EXPECT_EQ(error_of("ms k"), "CLIENT_ERROR bad command line format\r\n");
  EXPECT_EQ(error_of("ms k -1"), "CLIENT_ERROR bad command line format\r\n");
  EXPECT_EQ(error_of("ms k 4294967297"), "CLIENT_ERROR bad command line format\r\n");
  EXPECT_EQ(error_of("mg azEy b c f h k l q s t u v E1 I M- N1 R1 T1"), "");
  EXPECT_EQ(error_of("mg k 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18"),
            "CLIENT_ERROR options flags are too long\r\n");
}

TEST(meta_protocol, refused_stores_take_their_data_with_them) {
  meta_request r;
  EXPECT_EQ(parse_meta("ms k 5 S", r).block_bytes, 7u);
  meta_request s;
  EXPECT_EQ(parse_meta("ms k x S", s).block_bytes, 0u);
}

TEST(meta_protocol, base64_goes_there_and_back) {
  std::string bytes;
  for (int length = 1; length <= 187; ++length) {
    bytes += static_cast<char>(length * 37);
    std::string text((bytes.size() + 2) / 3 * 4, '?');
    ASSERT_EQ(encode_base64(text.data(), bytes), text.data() + text.size());
    std::string back(bytes.size(), '?');
    ASSERT_EQ(decode_base64(text, back.data(), back.size()), bytes.size());
    ASSERT_EQ(back, bytes);
    ASSERT_EQ(decode_base64(text, back.data(), back.size() - 1), 0u) << "no room";
  }
  char to[8];
  EXPECT_EQ(decode_base64("Zm9v!!", to, sizeof to), 3u) << "memcached passes over what is not of the alphabet";
  for (const char* bad : {"", "!!", "Zm9", "Zm9vY", "Z===", "===="})
    EXPECT_EQ(decode_base64(bad, to, sizeof to), 0u) << bad;
}

// The answer must be the same however the bytes come.
void expect(const std::string& said, const std::string& answer) {
  for (std::size_t cut = 0; cut < said.size(); ++cut) {
    session_world world(std::size_t{2} << 20);
    dialogue client(world);
    std::string got = cut == 0 ? "" : client.say(std::string_view(said).substr(0, cut));
    got += client.say(std::string_view(said).substr(cut));
    ASSERT_EQ(got, answer) << said << " cut at " << cut;
  }
}

TEST(meta_session, gets_what_was_asked_for_in_the_order_asked) {
  expect(
      "ms foo 3 T0 F5 q\r\nabc\r\nmg foo s v t f h k O9 q\r\nmg foo h l\r\nmg foo\r\nmg none q\r\nmg none k "
      "O1\r\nmn\r\n",
      "VA 3 s3 t-1 f5 h0 kfoo O9\r\nabc\r\nHD h1 l0\r\nHD\r\nEN knone O1\r\nMN\r\n");
  expect("ms foo 1 T100\r\na\r\nmg foo t T30 v\r\nmg foo t\r\nmg foo T0 t\r\nmg foo t\r\n",
         "HD\r\nVA 1 t100\r\na\r\nHD t30\r\nHD t-1\r\nHD t-1\r\n");
}

TEST(meta_session, quiet_hides_what_goes_well_and_misses) {
  expect("mg a q\r\nms a 1 q\r\nx\r\nms a 1 ME q\r\ny\r\nma a q\r\nmd a q\r\nmd a q\r\nma a N0 q\r\nma a q v\r\nmn\r\n",
         "NS\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\nNF\r\nMN\r\n");
}

TEST(meta_session, quiet_hides_no_other_failure) {
  expect(
      "ms a 1\r\n1\r\nmd a q C9\r\nma a q C9\r\nms a 1 q C9\r\n2\r\nms b 1 q C9\r\n2\r\nms b 1 q MR\r\n2\r\nmd b "
      "q\r\nma b q\r\nmn\r\n",
      "HD\r\nEX\r\nEX\r\nEX\r\nNF\r\nNS\r\nNF\r\nNF\r\nMN\r\n");
}

TEST(meta_session, set_has_the_modes_of_every_store) {
  expect(
      "ms a 1 MR\r\n1\r\nms a 1 ME\r\n2\r\nms a 1 ME\r\n3\r\nms a 1 MA s\r\n4\r\nms a 1 MP s\r\n5\r\nms a 1 "
      "MR\r\n6\r\nms a 2 "
      "MS\r\n77\r\nmg a v\r\n",
      "NS\r\nHD\r\nNS\r\nHD s2\r\nHD s3\r\nHD\r\nHD\r\nVA 2\r\n77\r\n");
  expect("ms a 1 MA N60 F3\r\n1\r\nms a 1 MA N9 F4\r\n2\r\nms a 1 MP\r\n0\r\nmg a v t f\r\n",
         "HD\r\nHD\r\nHD\r\nVA 3 t60 f3\r\n012\r\n");
}

TEST(meta_session, compares_and_chooses_uniques) {
  expect("ms a 1 E100 c\r\n1\r\nms a 1 C99\r\n2\r\nms a 1 C100 E200 c\r\n3\r\nmg a v c\r\n",
         "HD c100\r\nEX\r\nHD c200\r\nVA 1 c200\r\n3\r\n");
  expect(
      "ms a 1 C1\r\n1\r\nms a 1 MR C1\r\n1\r\nms a 1 E7\r\n1\r\nms a 1 MA C8\r\n2\r\nms a 1 MA C7 E9 c\r\n2\r\nmg a v "
      "c\r\n",
      "NF\r\nNF\r\nHD\r\nEX\r\nHD c9\r\nVA 2 c9\r\n12\r\n");
  expect("ms a 1 E7\r\n1\r\nmd a C8\r\nma a C8\r\nma a C7 E10 c v\r\nmd a C10\r\nmd a\r\n",
         "HD\r\nEX\r\nEX\r\nVA 1 c10\r\n2\r\nHD\r\nNF\r\n");
}

TEST(meta_session, counts_and_makes_numbers) {
  expect(
      "ma n\r\nma n N0 J13 v\r\nma n v t\r\nma n MD D5 v\r\nma n M- D50 v\r\nma n MI v\r\nma n M+ q\r\nma n v T40 t k "
      "O1\r\n",
      "NF\r\nVA 2\r\n13\r\nVA 2 t-1\r\n14\r\nVA 1\r\n9\r\nVA 1\r\n0\r\nVA 1\r\n1\r\nVA 1 t40 kn O1\r\n3\r\n");
  expect("ma n N90 v t\r\nma n t T5 v\r\nma n t\r\n", "VA 1 t90\r\n0\r\nVA 1 t90\r\n1\r\nHD t5\r\n");
}

TEST(meta_session, one_reader_is_told_to_store_what_is_missing) {
  expect("mg a N30 v t k\r\nmg a N30 v\r\nmg a v\r\nms a 1 T10\r\nx\r\nmg a v\r\n",
         "VA 0 t30 ka W\r\n\r\nVA 0 Z\r\n\r\nVA 0 Z\r\n\r\nHD\r\nVA 1\r\nx\r\n");
  expect("mg a N0 E55 c t\r\nmg a c\r\n", "HD c55 t-1 W\r\nHD c55 Z\r\n");
}

TEST(meta_session, one_reader_is_told_to_store_what_expires_soon) {
  expect("ms a 1 T10\r\nx\r\nmg a R5\r\nmg a R30 v\r\nmg a R30 v\r\nms a 1\r\ny\r\nmg a R30\r\n",
         "HD\r\nHD\r\nVA 1 W\r\nx\r\nVA 1 Z\r\nx\r\nHD\r\nHD\r\n");
  expect("ms a 1 T10\r\nx\r\nmg a T90 R30\r\nmg a R100 T0\r\n", "HD\r\nHD\r\nHD W\r\n");
}

TEST(meta_session, stale_items_are_served_while_one_reader_stores_them_anew) {
  expect(
      "ms a 1 c\r\nx\r\nmd a I T30\r\nmg a v t\r\nmg a v\r\nms a 1 C1 I\r\ny\r\nmg a v t\r\nms a 1\r\nz\r\nmg a v\r\n",
      "HD c1\r\nHD\r\nVA 1 t30 X W\r\nx\r\nVA 1 Z X\r\nx\r\nHD\r\nVA 1 t30 Z X\r\ny\r\nHD\r\nVA 1\r\nz\r\n");
  expect("ms a 1 E5\r\nx\r\nms a 1 C6 I\r\ny\r\nms a 1 C4 I\r\nz\r\nmg a v\r\nms n 1 C4 I\r\nz\r\n",
         "HD\r\nEX\r\nHD\r\nVA 1 X W\r\nz\r\nNF\r\n");
}

TEST(meta_session, a_delete_may_leave_the_item_without_its_value) {
  expect("ms a 3 F7 T60 E5\r\nabc\r\nmd a x\r\nmg a v f t c\r\nmd a x I F2 T9\r\nmg a v f t\r\nmd none x\r\n",
         "HD\r\nHD\r\nVA 0 f0 t-1 c5\r\n\r\nHD\r\nVA 0 f2 t9 X W\r\n\r\nNF\r\n");
}

TEST(meta_session, binary_keys_come_back_as_base64) {
  expect(
      "ms Zm9v 3 b\r\nbin\r\nmg foo k v\r\nmg Zm9v b k\r\nmg Zm9vYg== b k\r\nget foo\r\nma bg== b N0 k\r\nmd Zm9v b "
      "k\r\n",
      "HD\r\nVA 3 kZm9v b\r\nbin\r\nHD kZm9v b\r\nEN kZm9vYg== b\r\nVALUE foo 0 3\r\nbin\r\nEND\r\nHD kbg== b\r\nHD "
      "kZm9v "
      "b\r\n");
  // Bytes that no text command could name.
  expect("ms AAoNIA== 1 b\r\nx\r\nmg AAoNIA== b k v\r\n", "HD\r\nVA 1 kAAoNIA== b\r\nx\r\n");
}

TEST(meta_session, refused_data_is_not_carried_out) {
  expect("ms k 7 S\r\nflush_a\r\nms k 3\r\nabcdef\r\nmn\r\n",
         "CLIENT_ERROR invalid flag\r\nCLIENT_ERROR bad data chunk\r\nERROR\r\nMN\r\n");
}

TEST(meta_session, looks_at_an_item_without_using_it) {
  expect(
      "ms a 3 T50\r\nabc\r\nme a\r\nmg a u h\r\nme a\r\nget a\r\nme a\r\nme none\r\n",
      "HD\r\nME a exp=50 la=0 cas=0 fetch=no cls=1 size=4\r\nHD h0\r\nME a exp=50 la=0 cas=0 fetch=no cls=1 size=4\r\n"
      "VALUE a 0 3\r\nabc\r\nEND\r\nME a exp=50 la=0 cas=0 fetch=yes cls=1 size=4\r\nEN\r\n");
}

TEST(meta_session, tells_for_how_long_an_item_was_idle_once_asked) {
  session_world world;
  dialogue client(world);
  EXPECT_EQ(client.say("ms a 1\r\nx\r\nmg a l\r\n"), "HD\r\nHD l0\r\n");
  world.second += 70;
  EXPECT_EQ(client.say("mg a l u\r\nmg a l\r\nmg a l\r\n"), "HD l70\r\nHD l70\r\nHD l0\r\n");
  world.second += 5;
  EXPECT_EQ(client.say("get a\r\nmg a l\r\n"), "VALUE a 0 1\r\nx\r\nEND\r\nHD l0\r\n");
}

TEST(meta_session, large_values_arrive_in_pieces) {
  for (const std::size_t bytes : {9000u, 40000u, 300000u}) {
    const std::string value(bytes, 'v');
    session_world world;
    dialogue client(world);
    const std::string said =
        "ms big " + std::to_string(bytes) + " T60 F3 E9 c k s Oo\r\n" + value + "\r\nmg big v c f t k\r\n";
    std::string got;
    for (std::size_t at = 0; at < said.size(); at += 1447) got += client.say(std::string_view(said).substr(at, 1447));
    const std::string size = std::to_string(bytes);
    EXPECT_EQ(got, "HD c9 kbig s" + size + " Oo\r\nVA " + size + " c9 f3 t60 kbig\r\n" + value + "\r\n");
    // An append that creates, in pieces too, and one that is refused.
    const std::string more =
        "ms new " + size + " MA N0\r\n" + value + "\r\nms new " + size + " MP C7\r\n" + value + "\r\nmg new s\r\n";
    got.clear();
    for (std::size_t at = 0; at < more.size(); at += 1447) got += client.say(std::string_view(more).substr(at, 1447));
    EXPECT_EQ(got, "HD\r\nEX\r\nHD s" + size + "\r\n");
    // Stale, in place: it keeps the old expiry.
    const std::string late = "ms big " + size + " C8 I\r\n" + value + "\r\nmg big t\r\n";
    got.clear();
    for (std::size_t at = 0; at < late.size(); at += 1447) got += client.say(std::string_view(late).substr(at, 1447));
    EXPECT_EQ(got, "HD\r\nHD t60 X W\r\n");
    EXPECT_EQ(world.items->stats().pinned_items, 0u);
  }
}

}  // namespace
}  // namespace scoot::server
