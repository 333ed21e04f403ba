// SPDX-License-Identifier: MIT
//
// Goal: whatever is appended comes out once and in order, however the socket takes it. Method: random appends of text
// and held values beside a std::string, taken in random steps, rolled back and detached.
#include "server/response_buffer.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "support.hpp"

namespace scoot::server {
namespace {

using testing::session_world;
using testing::take_all;

TEST(response_buffer, gives_out_what_was_put_in_at_every_step_width) {
  session_world world;
  ASSERT_EQ(world.items->store("big", std::string(20000, 'b')), cache_status::ok);
  for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{19999}, SIZE_MAX}) {
    response_buffer out;
    out.append("first ");
    out.append_held(world.items->pin("big"));
    out.append_held(world.items->pin("big"));
    out.append(" last");
    EXPECT_EQ(out.pending_bytes(), 40011u);
    EXPECT_EQ(take_all(out, step), "first " + std::string(40000, 'b') + " last");
    EXPECT_TRUE(out.empty());
  }
  EXPECT_EQ(world.items->stats().pinned_items, 0u);
}

TEST(response_buffer, forgets_what_is_rolled_back_and_its_pins) {
  session_world world;
  ASSERT_EQ(world.items->store("big", std::string(20000, 'b')), cache_status::ok);
  response_buffer out;
  out.append("kept");
  const auto mark = out.position();
  out.append("gone");
  out.append_held(world.items->pin("big"));
  out.append("gone");
  EXPECT_EQ(world.items->stats().pinned_items, 1u);
  out.roll_back(mark);
  EXPECT_EQ(world.items->stats().pinned_items, 0u);
  EXPECT_EQ(take_all(out), "kept");
}

TEST(response_buffer, is_full_by_bytes_and_by_held_values) {
  session_world world;
  ASSERT_EQ(world.items->store("big", std::string(20000, 'b')), cache_status::ok);
  response_buffer out;
  out.append(std::string(response_buffer::full_bytes - 1, 'x'));
  EXPECT_FALSE(out.full());
  out.append("x");
  EXPECT_TRUE(out.full());
  out.clear();
  for (std::size_t i = 0; i < response_buffer::full_held_values; ++i) {
    EXPECT_FALSE(out.full());
    out.append_held(world.items->pin("big"));
  }
  EXPECT_TRUE(out.full());
}

TEST(response_buffer, agrees_with_a_string_over_random_operations) {
  session_world world(std::size_t{16} << 20);
  std::mt19937 random(20261122);
  std::string big(30000, '\0');
  for (char& c : big) c = static_cast<char>('a' + random() % 26);
  ASSERT_EQ(world.items->store("big", big), cache_status::ok);
  auto out = std::make_unique<response_buffer>();
  std::string expected;
  std::string got;
  for (int i = 0; i < 20000; ++i) {
    switch (random() % 6) {
      case 0:
      case 1: {
        const std::string text(random() % 100, static_cast<char>('A' + random() % 26));
        out->append(text);
        expected += text;
        break;
      }
      case 2:
        if (out->full()) break;
        out->append_held(world.items->pin("big"));
        expected += big;
        break;
      case 3: {
        const auto mark = out->position();
        out->append("this is taken back");
        if (random() % 2 == 0) out->append_held(world.items->pin("big"));
        out->roll_back(mark);
        break;
      }
      case 4: {
        iovec vectors[3];
        const std::size_t count = out->gather(vectors, 3);
        std::size_t all = 0;
        for (std::size_t v = 0; v < count; ++v) all += vectors[v].iov_len;
        std::size_t take = all == 0 ? 0 : random() % (all + 1);
        const std::size_t dropped = take;
        for (std::size_t v = 0; v < count; ++v) {
          const std::size_t bytes = std::min(take, vectors[v].iov_len);
          got.append(static_cast<const char*>(vectors[v].iov_base), bytes);
          take -= bytes;
        }
        out->drop(dropped);
        break;
      }
      default:
        if (auto rest = out->detach(); random() % 2 == 0) {
          ASSERT_NE(rest, nullptr);
          ASSERT_TRUE(out->empty());
          out = std::move(rest);
        } else {
          ASSERT_NE(rest, nullptr);
          got += take_all(*rest, 1 + random() % 50000);
        }
    }
    ASSERT_EQ(got.size() + out->pending_bytes(), expected.size());
  }
  got += take_all(*out);
  EXPECT_TRUE(got == expected);
  out.reset();
  EXPECT_EQ(world.items->stats().pinned_items, 0u);
}

}  // namespace
}  // namespace scoot::server
