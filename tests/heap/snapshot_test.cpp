// SPDX-License-Identifier: MIT
//
// Goal: a snapshot is JSON by docs/snapshot.md, and true. Method: parsed by a library that is not ours and compared
// with the statistics; names of all bytes; sinks that stop; limits.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "directory.hpp"
#include "scoot/diagnosis.hpp"
#include "scoot/heap.hpp"
#include "scoot/page_pool.hpp"

namespace scoot::testing {
namespace {

bool append(void* context, const char* bytes, std::size_t size) noexcept {
  EXPECT_LE(size, 1024U);
  static_cast<std::string*>(context)->append(bytes, size);
  return true;
}

nlohmann::json snapshot_of(const heap& h, const snapshot_options& options = {}) {
  std::string text;
  EXPECT_TRUE(write_snapshot(h, &append, &text, options));
  return nlohmann::json::parse(text);
}

class snapshot_test : public heap_fixture {
 protected:
  void fill_at_random() {
    make(16 * mib, {}, 64 * kib);
    std::mt19937_64 random(4);
    for (int i = 0; i < 4000; ++i) {
      const std::size_t size = random() % 30 == 0 ? 8 + random() % 150000 : 8 + random() % 1500;
      if (blocks.allocate(*h, k, size) < 0 || random() % 3 != 0) {
        const std::size_t victim = random() % blocks.at.size();
        if (blocks.at[victim] != nullptr && explain(*h, blocks.at[victim]).pins == 0) blocks.free(*h, victim);
      }
      if (random() % 100 == 0 && blocks.at.back() != nullptr) {
        ASSERT_TRUE(h->pin(blocks.at.back(), "random"));
      }
    }
  }
};

TEST_F(snapshot_test, agrees_with_the_statistics) {
  fill_at_random();
  const nlohmann::json j = snapshot_of(*h);
  const heap_stats s = h->stats();
  EXPECT_EQ(j["scoot_snapshot"], 1);
  EXPECT_EQ(j["page_bytes"], pool->page_bytes());
  EXPECT_EQ(j["pool"]["held_bytes"], pool->stats().held_bytes);
  EXPECT_EQ(j["heap"]["live_bytes"], s.live_bytes);
  EXPECT_EQ(j["heap"]["held_bytes"], s.held_bytes);
  EXPECT_EQ(j["heap"]["hole_bytes"], s.hole_bytes);
  EXPECT_EQ(j["heap"]["blocks_moved"], s.blocks_moved);
  EXPECT_EQ(j["shelves"].size(), s.shelves);
  EXPECT_EQ(j["pages"].size(), s.pages);
  EXPECT_EQ(j["pages_left_out"], 0);
  ASSERT_EQ(j["kinds"].size(), 1U);
  EXPECT_EQ(j["kinds"][0]["name"], "directory");
  EXPECT_EQ(j["kinds"][0]["blocks"], s.blocks);
  std::size_t resident = 0;
  std::size_t pins = 0;
  for (const auto& page : j["pages"]) {
    resident += page["resident_end"].get<std::size_t>() - page["resident_begin"].get<std::size_t>();
    pins += page["pins"].get<std::size_t>();
    const std::string fill = page["fill"];
    EXPECT_EQ(fill.size(), 32U);
    EXPECT_EQ(fill.find_first_not_of(".0123456789"), std::string::npos) << fill;
    EXPECT_LT(page.value("shelf", std::size_t{0}), s.shelves);
  }
  EXPECT_EQ(resident, s.held_bytes);
  EXPECT_EQ(pins, s.pinned_blocks);
  EXPECT_EQ(j["pins"].size() + j["pins_left_out"].get<std::size_t>(), s.pinned_blocks);
  ASSERT_FALSE(j["pins"].empty());
  EXPECT_EQ(j["pins"][0]["holder"], "random");
}

TEST_F(snapshot_test, is_drawn_as_full_as_it_is) {
  make(8 * mib, {}, 64 * kib);
  while (h->stats().live_bytes < 2 * mib) ASSERT_GE(blocks.allocate(*h, k, 1024), 0);
  double dense = 0;
  const nlohmann::json full = snapshot_of(*h);
  for (const auto& page : full["pages"]) {
    for (const char c : page["fill"].get<std::string>()) dense += c == '.' ? 0 : (c - '0') / 9.0;
  }
  EXPECT_NEAR(dense * 2048, static_cast<double>(h->stats().live_bytes), 0.02 * 2 * mib);
}

TEST_F(snapshot_test, of_an_empty_heap_is_whole) {
  make(4 * mib);
  const nlohmann::json j = snapshot_of(*h);
  EXPECT_TRUE(j["pages"].empty());
  EXPECT_TRUE(j["pins"].empty());
  EXPECT_EQ(j["heap"]["blocks"], 0);
}

TEST_F(snapshot_test, takes_names_of_any_bytes) {
  make(4 * mib);
  std::string name;
  for (int c = 1; c < 256; ++c) name.push_back(static_cast<char>(c));
  ASSERT_TRUE(h->add_kind({name.c_str(), 8, nullptr, nullptr}));
  const nlohmann::json j = snapshot_of(*h);
  const std::string got = j["kinds"][1]["name"];
  EXPECT_EQ(got.substr(0, 127), name.substr(0, 127));
  EXPECT_EQ(got.size(), 127U + 2 * 128U) << "the rest as two bytes of UTF-8 each";
}

TEST_F(snapshot_test, keeps_to_its_limits) {
  fill_at_random();
  snapshot_options few;
  few.pages_max = 3;
  few.pins_max = 2;
  const nlohmann::json j = snapshot_of(*h, few);
  EXPECT_EQ(j["pages"].size(), 3U);
  EXPECT_EQ(j["pages_left_out"], h->stats().pages - 3);
  EXPECT_EQ(j["pins"].size(), 2U);
  EXPECT_EQ(j["pins_left_out"], h->stats().pinned_blocks - 2);
}

TEST_F(snapshot_test, stops_when_the_sink_does) {
  fill_at_random();
  int calls = 0;
  EXPECT_FALSE(write_snapshot(
      *h, [](void* context, const char*, std::size_t) noexcept { return ++*static_cast<int*>(context) < 3; }, &calls));
  EXPECT_EQ(calls, 3);
}

}  // namespace
}  // namespace scoot::testing
