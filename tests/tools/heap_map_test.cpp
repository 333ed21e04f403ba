// SPDX-License-Identifier: MIT
//
// Goal: a snapshot of a real heap is read whole and drawn page by page; what is no snapshot is refused with a reason
// and never harms. Method: a heap with several kinds, pins, large blocks and runs; its snapshot cut short and with each
// of its values replaced by others.
#include "tools/heap_map.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

#include "scoot/diagnosis.hpp"
#include "scoot/heap.hpp"
#include "scoot/page_pool.hpp"

namespace tools::testing {
namespace {

std::string snapshot() {
  scoot::page_pool_options options;
  options.budget_bytes = std::size_t{64} << 20;
  const auto pool = scoot::page_pool::create(options);
  const auto heap = scoot::heap::create(*pool);
  scoot::kind_options one, other;
  one.name = "session <\"&>";
  other.name = "picture";
  const scoot::kind kinds[] = {heap->add_kind(one), heap->add_kind(other)};
  std::mt19937_64 random(5);
  std::vector<void*> blocks;
  for (int i = 0; i < 3000; ++i) {
    const std::size_t size = random() % 50 == 0 ? 8 + random() % 200'000 : 8 + random() % 1000;
    void* const block = heap->allocate(kinds[random() % 2], size);
    if (block != nullptr) blocks.push_back(block);
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (i % 3 == 0) {
      heap->free(blocks[i]);
    } else if (i % 100 == 1) {
      EXPECT_TRUE(heap->pin(blocks[i], "test"));
    }
  }
  std::string text;
  EXPECT_TRUE(scoot::write_snapshot(
      *heap,
      [](void* to, const char* bytes, std::size_t size) noexcept {
        static_cast<std::string*>(to)->append(bytes, size);
        return true;
      },
      &text));
  return text;
}

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + what.size())) ++n;
  return n;
}

TEST(heap_map, a_real_heap_is_read_and_drawn_page_by_page) {
  const std::string text = snapshot();
  const auto j = nlohmann::json::parse(text);
  heap_map map;
  std::string error;
  ASSERT_TRUE(parse_heap_map(text, map, error)) << error;
  ASSERT_EQ(map.pages.size(), j["pages"].size());
  EXPECT_EQ(map.live_bytes, j["heap"]["live_bytes"]);
  EXPECT_EQ(map.held_bytes, j["pool"]["held_bytes"]);
  std::size_t uses[4] = {};
  std::uint64_t pins = 0;
  for (const heap_map::page& page : map.pages) {
    ++uses[static_cast<std::size_t>(page.of)];
    pins += page.pins;
  }
  EXPECT_GT(uses[0], 0U);
  EXPECT_GT(uses[1], 0U);
  EXPECT_GT(uses[2], 0U);
  EXPECT_EQ(pins, map.pinned_blocks);

  const std::string svg = svg_of(map, "a <heap> & \"more\"");
  EXPECT_EQ(count(svg, "<g><title>"), map.pages.size());
  EXPECT_EQ(count(svg, "<title>"), count(svg, "</title>"));
  EXPECT_NE(svg.find("session &lt;&quot;&amp;>"), std::string::npos);
  EXPECT_NE(svg.find("aria-label=\"a &lt;heap> &amp; &quot;more&quot;\""), std::string::npos);
  EXPECT_NE(svg.find("class=\"p\""), std::string::npos) << "pins are shown";
}

TEST(heap_map, many_pages_are_drawn_small) {
  heap_map map;
  std::string error;
  ASSERT_TRUE(parse_heap_map(snapshot(), map, error)) << error;
  const std::vector<heap_map::page> some = map.pages;
  while (map.pages.size() < 100'000) map.pages.insert(map.pages.end(), some.begin(), some.end());
  const std::string svg = svg_of(map, "many");
  EXPECT_EQ(count(svg, "<g><title>"), map.pages.size());
  EXPECT_LT(svg.size(), map.pages.size() * 500);
}

TEST(heap_map, the_cold_tier_is_drawn_beside_the_pages) {
  auto j = nlohmann::json::parse(snapshot());
  const std::string parts = std::string(20, '9') + std::string(30, 'x') + std::string(14, '.');
  j["cold"] = {{"chunk_bytes", 65536},
               {"chunks",
                {{{"state", "offered"}, {"used_bytes", 65536}, {"items", 7}, {"fill", std::string(64, '9')}},
                 {{"state", "partly_purged"}, {"used_bytes", 51200}, {"purged_bytes", 30720}, {"fill", parts}},
                 {{"state", "purged"}},
                 {{"state", "free"}}}}};
  heap_map map;
  std::string error;
  ASSERT_TRUE(parse_heap_map(j.dump(), map, error)) << error;
  ASSERT_EQ(map.chunks.size(), 4U);
  EXPECT_EQ(map.chunks[1].purged_bytes, 30720U);
  const std::string svg = svg_of(map, "cold");
  EXPECT_EQ(count(svg, "<g><title>"), map.pages.size() + 4);
  EXPECT_NE(svg.find("chunk 0: offered, 7 items"), std::string::npos);
  EXPECT_EQ(count(svg, "<path class=\"o\""), 3U) << "the legend's, and those of two chunks";
  EXPECT_EQ(count(svg, "<path class=\"x\""), 3U);
  while (map.chunks.size() <= detailed_pages_max) map.chunks.push_back(map.chunks[1]);
  EXPECT_GT(count(svg_of(map, "many"), "<path class=\"x\""), detailed_pages_max / 2);

  const std::pair<const char*, nlohmann::json> wrong[] = {{"/cold", 3},
                                                          {"/cold/chunks", 3},
                                                          {"/cold/chunks/0", 3},
                                                          {"/cold/chunks/0/used_bytes", 65537},
                                                          {"/cold/chunks/1/purged_bytes", 51201},
                                                          {"/cold/chunks/0/fill", "9"},
                                                          {"/cold/chunks/0/fill", parts + "!"}};
  for (const auto& [where, value] : wrong) {
    auto changed = j;
    changed[nlohmann::json::json_pointer(where)] = value;
    EXPECT_FALSE(parse_heap_map(changed.dump(), map, error)) << where;
  }
}

TEST(heap_map, a_snapshot_cut_short_is_refused) {
  const std::string text = snapshot();
  for (std::size_t length = 0; length + 1 < text.size(); length += 1 + length / 20) {
    heap_map map;
    std::string error;
    EXPECT_FALSE(parse_heap_map(text.substr(0, length), map, error)) << length;
    EXPECT_EQ(error, "is no JSON, or ends early");
  }
}

TEST(heap_map, what_is_no_snapshot_is_refused_with_a_reason) {
  const struct {
    const char *text, *complaint;
  } table[] = {
      {"[]", "no heap snapshot"},
      {"{}", "no heap snapshot"},
      {R"({"scoot_snapshot":2})", "version other than 1"},
      {R"({"scoot_snapshot":1})", "lacks page_bytes"},
      {R"({"scoot_snapshot":1,"page_bytes":65536})", "kinds"},
      {R"({"scoot_snapshot":1,"page_bytes":65536,"kinds":[],"shelves":[],"pages":[1]})", "pages"},
      {R"({"scoot_snapshot":1,"page_bytes":65536,"kinds":[],"shelves":[],"pages":[],"pool":3})", "pool"},
      {R"({"scoot_snapshot":1,"page_bytes":9,"kinds":[],"shelves":[],"pages":[{"use":"shelf","shelf":0}]})",
       "page 0: its shelf"},
      {R"({"scoot_snapshot":1,"page_bytes":9,"kinds":[],"shelves":[],"pages":[{"use":"large","fill":"x"}]})",
       "page 0: its fill"},
      {R"({"scoot_snapshot":1,"page_bytes":9,"kinds":[],"shelves":[],"pages":[{"resident_end":10}]})",
       "page 0: more of it"},
      {R"({"scoot_snapshot":1,"page_bytes":9,"kinds":[],"shelves":[],"pages":[{"resident_end":5,"missing_bytes":6}]})",
       "page 0: more of it"}};
  for (const auto& one : table) {
    heap_map map;
    std::string error;
    EXPECT_FALSE(parse_heap_map(one.text, map, error)) << one.text;
    EXPECT_NE(error.find(one.complaint), std::string::npos) << error;
  }
}

TEST(heap_map, what_was_given_back_from_between_blocks_is_not_resident) {
  heap_map map;
  std::string error;
  constexpr const char* text =
      R"({"scoot_snapshot":1,"page_bytes":65536,"kinds":[],"shelves":[],"pages":[{"resident_end":40960,"missing_bytes":8192}]})";
  ASSERT_TRUE(parse_heap_map(text, map, error)) << error;
  EXPECT_EQ(map.pages.at(0).resident_bytes, 32768U);
}

// Each value of the snapshot replaced by others: refused or drawn, never worse.
TEST(heap_map, any_value_may_be_wrong) {
  auto whole = nlohmann::json::parse(snapshot());
  nlohmann::json pages = nlohmann::json::array();
  for (const char* use : {"shelf", "large", "run", "run_body"}) {
    for (auto& page : whole["pages"]) {
      if (page["use"] != use) continue;
      if (page.contains("shelf")) page["shelf"] = 1;
      pages.push_back(page);
      break;
    }
  }
  ASSERT_EQ(pages.size(), 4U);
  whole["pages"] = pages;
  whole["shelves"].erase(whole["shelves"].begin() + 2, whole["shelves"].end());
  whole["pins"] = nlohmann::json::array();
  const auto flat = whole.flatten();
  const nlohmann::json wrong[] = {
      nullptr, -1, 1.5, ~std::uint64_t{0}, "x", nlohmann::json::array(), nlohmann::json::object()};
  for (const auto& entry : flat.items()) {
    for (const auto& value : wrong) {
      auto changed = whole;
      changed[nlohmann::json::json_pointer(entry.key())] = value;
      heap_map map;
      std::string error;
      if (parse_heap_map(changed.dump(), map, error)) {
        EXPECT_FALSE(svg_of(map, "").empty());
      } else {
        EXPECT_FALSE(error.empty());
      }
    }
  }
}

}  // namespace
}  // namespace tools::testing
