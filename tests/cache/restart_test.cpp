// SPDX-License-Identifier: MIT
//
// Goal: a cache that is written to a file and made again from it is the same cache: every item with all that is noted
// of it, in the order in which they were to leave; with other shards, budgets and limits as far as there is room. And
// no file, however damaged, gives anything that was not written. Method: caches beside the oracle of cache_model.hpp
// that are restarted again and again; twins of which one is restarted; files cut at every border and flipped at every
// byte of the head; a disk that ends (RLIMIT_FSIZE).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "cache/restart_file.hpp"
#include "cache_model.hpp"

namespace scoot::testing {
namespace {

constexpr std::size_t mib = std::size_t{1} << 20;

// A path of its own, and nothing left there.
class scratch {
 public:
  scratch() {
    const char* const folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    static std::atomic<int> number{0};
    path_ = std::string(folder) + "/scoot-restart-test-" + std::to_string(getpid()) + "-" + std::to_string(number++);
  }
  ~scratch() {
    unlink(path_.c_str());
    unlink((path_ + ".new").c_str());
  }
  scratch(const scratch&) = delete;
  scratch& operator=(const scratch&) = delete;
  [[nodiscard]] const char* path() const { return path_.c_str(); }
  [[nodiscard]] bool exists() const { return access(path(), F_OK) == 0; }
  [[nodiscard]] std::string read() const {
    std::ifstream in(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }
  void write(const std::string& bytes) const {
    unlink(path());
    const int file = open(path(), O_WRONLY | O_CREAT | O_EXCL, 0600);
    ASSERT_EQ(::write(file, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    close(file);
  }

 private:
  std::string path_;
};

class restart : public ::testing::Test {
 protected:
  void make(std::size_t budget_bytes = 8 * mib, unsigned shards = 1) { make(options_on(clock, budget_bytes, shards)); }
  void make(const cache_options& options) {
    c = cache::create(options);
    ASSERT_NE(c, nullptr);
  }
  void save() {
    const restart_report r = c->save(file.path());
    ASSERT_EQ(r.outcome, restart_outcome::done) << r.reason;
    c.reset();
  }
  void load(cache_options options) {
    options.restart_file = file.path();
    make(options);
    verify(*c);
  }
  void load(std::size_t budget_bytes = 8 * mib, unsigned shards = 1) { load(options_on(clock, budget_bytes, shards)); }
  void restarted() {
    save();
    load();
    ASSERT_EQ(c->restarted().outcome, restart_outcome::done);
  }
  void store(const std::string& key, const std::string& value, std::uint32_t expires_at = 0, std::uint32_t flags = 0) {
    store_options options;
    options.expires_at = expires_at;
    options.flags = flags;
    ASSERT_EQ(c->store(key, value, options), cache_status::ok);
  }
  [[nodiscard]] std::set<std::string> keys() {
    std::set<std::string> all;
    c->for_each([&](const item_view& view) { all.emplace(view.key); });
    return all;
  }

  scratch file;
  fake_clock clock;
  std::unique_ptr<cache> c;
};

// ---- what comes back ------------------------------------------------------------------------------------------------

TEST_F(restart, items_come_back_with_all_that_is_noted_of_them) {
  make();
  store("plain", "value");
  store("flagged", "value", 0, 4711);
  store("expiring", "value", clock.seconds + 100, 1);
  store("large", patterned(7, 600000));
  store("empty", "");
  store(std::string(250, 'k'), std::string("\r\n\0binary", 9));
  const std::uint64_t unique = cas_of(*c, "flagged");
  remove_options stale;
  stale.keep_stale = true;
  store("stale", "old");
  ASSERT_EQ(c->remove("stale", stale), cache_status::ok);
  meta_read idle;
  idle.idle = true;
  read_options with_idle;
  with_idle.meta = &idle;
  store("noted", "value");
  ASSERT_TRUE(read(*c, "noted", with_idle));
  clock.seconds += 7;
  restarted();
  EXPECT_EQ(c->restarted().items, 8U);
  EXPECT_FALSE(file.exists());
  EXPECT_EQ(value_of(*c, "plain"), "value");
  EXPECT_EQ(read(*c, "flagged")->flags, 4711U);
  EXPECT_EQ(cas_of(*c, "flagged"), unique);
  EXPECT_EQ(read(*c, "expiring")->expires_at, clock.seconds + 93);
  EXPECT_EQ(value_of(*c, "large"), patterned(7, 600000));
  EXPECT_EQ(value_of(*c, "empty"), "");
  EXPECT_EQ(value_of(*c, std::string(250, 'k')), std::string("\r\n\0binary", 9));
  clock.seconds += 3;
  std::uint32_t idle_s = 0;
  bool was_read = false, is_stale = false, wins = false;
  (void)c->get(
      "noted", [&](const item_view& v) { idle_s = v.idle_s, was_read = v.read; }, with_idle);
  EXPECT_EQ(idle_s, 10U);
  EXPECT_TRUE(was_read);
  (void)c->get(
      "stale", [&](const item_view& v) { is_stale = v.stale, wins = v.wins; }, with_idle);
  EXPECT_TRUE(is_stale);
  EXPECT_TRUE(wins);
}

TEST_F(restart, uniques_go_on_above_those_given_before) {
  make();
  std::uint64_t last = 0;
  for (int i = 0; i < 100; ++i) {
    store("key" + std::to_string(i), "value");
    last = std::max(last, cas_of(*c, "key" + std::to_string(i)));
  }
  ASSERT_EQ(c->remove("key99"), cache_status::ok);
  restarted();
  store("fresh", "value");
  EXPECT_GT(cas_of(*c, "fresh"), last);
}

TEST_F(restart, what_expires_or_is_flushed_meanwhile_is_gone) {
  make();
  store("soon", "value", clock.seconds + 10);
  store("later", "value", clock.seconds + 1000);
  store("never", "value");
  save();
  clock.seconds += 10;
  load();
  EXPECT_EQ(keys(), (std::set<std::string>{"later", "never"}));
  EXPECT_EQ(c->restarted().expired_items, 1U);
  EXPECT_EQ(c->restarted().down_s, 10U);
  c->flush(clock.seconds + 20);
  save();
  clock.seconds += 5;
  load();
  EXPECT_EQ(keys(), (std::set<std::string>{"later", "never"}));
  clock.seconds += 15;
  EXPECT_EQ(value_of(*c, "never"), "(not found)");
  store("again", "value");
  c->flush(clock.seconds + 3);
  save();
  clock.seconds += 3;
  load();
  EXPECT_TRUE(keys().empty());
  store("after", "value");
  clock.seconds += 100;
  EXPECT_EQ(value_of(*c, "after"), "value");
}

TEST_F(restart, items_that_come_back_leave_within_two_seconds_of_their_expiry) {
  make();
  for (int i = 0; i < 2000; ++i) store("key" + std::to_string(i), std::string(500, 'v'), clock.seconds + 50 + i % 50);
  restarted();
  const std::size_t held = c->stats().pool.held_bytes;
  clock.seconds += 101;
  while (c->maintain()) {
  }
  EXPECT_EQ(c->stats().items, 0U);
  EXPECT_LT(c->stats().pool.held_bytes, held / 4);
}

TEST_F(restart, what_was_flushed_and_not_yet_swept_stays_gone) {
  make(16 * mib);
  for (int i = 0; i < 5000; ++i) store("key" + std::to_string(i), std::string(500, 'v'));
  c->flush();
  store("new", "value");
  restarted();
  EXPECT_EQ(keys(), (std::set<std::string>{"new"}));
}

TEST(restart_clock, times_are_put_off_by_what_the_clocks_differ_and_not_by_the_time_that_passed) {
  caching::restart_head then;
  then.saved_at = 1'000'000;
  then.boot_ns = 5'000'000'000;
  then.boot_id = 77;
  const std::uint64_t later_ns = then.boot_ns + 60'000'000'000;
  EXPECT_EQ(caching::restart_shift(then, 1'000'060, later_ns, 77), 0);
  EXPECT_EQ(caching::restart_shift(then, 1'000'061, later_ns, 77), 0) << "clocks are read to the second";
  EXPECT_EQ(caching::restart_shift(then, 1'003'660, later_ns, 77), 3600) << "the date was set forward";
  EXPECT_EQ(caching::restart_shift(then, 996'460, later_ns, 77), -3600) << "or back";
  EXPECT_EQ(caching::restart_shift(then, 996'460, later_ns, 78), 0) << "after another start only the date is known";
  EXPECT_EQ(caching::restart_shift(then, 996'460, later_ns, 0), 0);
}

TEST_F(restart, agrees_with_the_oracle_over_many_restarts) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    cache_model_options options;
    options.exact = seed % 3 != 0;
    options.budget_bytes = options.exact ? 32 * mib : 2 * mib;
    options.shards = 1U << seed % 4;
    cache_model<seeded> model(seeded(seed), options);
    for (int i = 0; i < 600; ++i) {
      if (!model.step()) break;
      if (i % 40 == 39 && !model.restart(file.path(), 1U << model.choices().below(4))) break;
    }
    (void)model.finish();
    ASSERT_EQ(model.failure(), "") << "seed " << seed;
  }
}

// ---- what is worth most ---------------------------------------------------------------------------------------------

// A full cache in which some items were used.
void fill(cache& c, std::uint64_t seed, int first, int count) {
  seeded random(seed);
  for (int i = first; i < first + count; ++i) {
    ASSERT_EQ(c.store("key" + std::to_string(i), patterned(static_cast<std::uint64_t>(i), 50 + random.below(400))),
              cache_status::ok);
    for (int n = 0; n < 2; ++n) (void)read(c, "key" + std::to_string(random.below(static_cast<std::uint64_t>(i) + 1)));
  }
}

TEST_F(restart, items_leave_in_the_order_in_which_they_would_have_left) {
  cache_options options = options_on(clock, 4 * mib);
  options.hash_seed = 4711;
  make(options);
  const std::unique_ptr<cache> twin = cache::create(options);
  fill(*c, 1, 0, 30000);
  fill(*twin, 1, 0, 30000);
  save();
  load(options);
  EXPECT_EQ(c->restarted().dropped_items, 0U);
  const std::set<std::string> before = keys();
  std::set<std::string> twins;
  twin->for_each([&](const item_view& view) { twins.emplace(view.key); });
  EXPECT_EQ(before, twins);
  for (int i = 0; i < 4000; ++i) {
    const std::string key = "more" + std::to_string(i), value(200, 'm');
    ASSERT_EQ(c->store(key, value), cache_status::ok);
    ASSERT_EQ(twin->store(key, value), cache_status::ok);
  }
  twins.clear();
  twin->for_each([&](const item_view& view) { twins.emplace(view.key); });
  std::vector<std::string> common;
  const std::set<std::string> mine = keys();
  std::set_intersection(mine.begin(), mine.end(), twins.begin(), twins.end(), std::back_inserter(common));
  EXPECT_GT(common.size(), twins.size() * 97 / 100) << mine.size() << " and " << twins.size() << " items";
}

TEST_F(restart, with_less_memory_the_items_of_most_use_stay) {
  make(16 * mib, 2);
  for (int i = 0; i < 60000; ++i) store("key" + std::to_string(i), patterned(static_cast<std::uint64_t>(i), 100));
  for (int n = 0; n < 2; ++n) {
    for (int i = 0; i < 10000; ++i) ASSERT_TRUE(read(*c, "key" + std::to_string(i)));
  }
  save();
  load(4 * mib, 2);
  EXPECT_LE(c->stats().pool.held_bytes, 4 * mib);
  std::size_t used = 0, newest = 0, oldest = 0;
  for (int i = 0; i < 60000; ++i) {
    const auto found = read(*c, "key" + std::to_string(i));
    if (!found) continue;
    ASSERT_EQ(found->value, patterned(static_cast<std::uint64_t>(i), 100));
    ++(i < 10000 ? used : i < 20000 ? oldest : newest);
  }
  EXPECT_GT(used, 9900U);
  EXPECT_GT(newest, 10000U);
  EXPECT_LT(oldest, 500U);
  EXPECT_GT(c->stats().pool.held_bytes, 3 * mib + mib / 2) << "and the memory that there is is used";
  for (int i = 0; i < 20000; ++i) store("more" + std::to_string(i), std::string(100, 'm'));
  verify(*c);
}

TEST_F(restart, other_shards_and_more_memory_keep_all) {
  make(8 * mib, 2);
  fill(*c, 3, 0, 40000);
  std::set<std::string> before = keys();
  for (const unsigned shards : {8U, 1U, 4U, 4U}) {
    save();
    load(16 * mib, shards);
    EXPECT_EQ(keys(), before) << shards;
  }
  for (int i = 0; i < 60000; ++i) store("more" + std::to_string(i), std::string(200, 'm'));
  verify(*c);
  EXPECT_GT(c->stats().evictions, 10000U);
}

TEST_F(restart, items_above_a_new_limit_are_left_out) {
  make();
  store("small", "value");
  store("large", std::string(100000, 'v'));
  save();
  cache_options options = options_on(clock);
  options.item_bytes_max = 50000;
  load(options);
  EXPECT_EQ(keys(), (std::set<std::string>{"small"}));
  EXPECT_EQ(c->restarted().dropped_items, 1U);
}

TEST_F(restart, cold_items_come_back_cold_and_hot_where_there_is_no_cold_tier) {
  cache_options options = options_on(clock, 4 * mib, 2);
  options.purgeable_bytes = 16 * mib;
  options.purgeable_keep_refused = true;
  make(options);
  for (int i = 0; i < 40000; ++i) store("key" + std::to_string(i), patterned(static_cast<std::uint64_t>(i), 200));
  std::map<std::string, std::string> values;
  for (int i = 0; i < 40000; i += 37) {
    const std::string key = "key" + std::to_string(i);
    if (const auto found = read(*c, key)) values[key] = found->value;
  }
  const cache_stats before = c->stats();
  ASSERT_GT(before.cold.items, 10000U);
  save();
  load(options);
  EXPECT_EQ(c->stats().items, before.items);
  EXPECT_GT(c->stats().cold.items, before.cold.items * 98 / 100);
  EXPECT_EQ(c->restarted().cold_items, c->stats().cold.items);
  std::size_t lost = 0;
  for (const auto& [key, value] : values) {
    const auto found = read(*c, key);
    lost += !found;
    if (found) {
      EXPECT_EQ(found->value, value) << key;
    }
  }
  EXPECT_LT(lost, values.size() / 50);
  EXPECT_GT(c->stats().cold.hits, values.size() / 4);
  save();
  load(32 * mib, 4);
  EXPECT_GT(c->stats().items, 30000U);
  for (const auto& [key, value] : values) {
    const auto found = read(*c, key);
    if (found) {
      EXPECT_EQ(found->value, value) << key;
    }
  }
}

TEST_F(restart, cache_and_file_together_take_little_more_than_the_cache_did) {
  make(32 * mib, 4);
  fill(*c, 5, 0, 130000);
  const std::size_t before = c->stats().pool.held_bytes;
  ASSERT_GT(before, 28 * mib);
  std::atomic<bool> stop{false};
  std::size_t most = 0;
  const std::string unfinished = std::string(file.path()) + ".new";
  std::thread watch([&] {
    while (!stop) {
      struct stat s {};
      // The file first: what is held comes down meanwhile, and that the two were not there together can't be too much.
      if (stat(unfinished.c_str(), &s) != 0) continue;
      most = std::max(most, static_cast<std::size_t>(s.st_blocks) * 512 + inside(*c).held_bytes());
    }
  });
  const restart_report r = c->save(file.path());
  stop = true;
  watch.join();
  EXPECT_EQ(r.outcome, restart_outcome::done);
  EXPECT_GT(most, before / 2);
  EXPECT_LT(most, before + 3 * mib);
  EXPECT_EQ(c->stats().items, 0U);
  verify(*c);
}

// ---- what does not fit ----------------------------------------------------------------------------------------------

class restart_damaged : public restart {
 protected:
  void SetUp() override {
    make(8 * mib, 2);
    for (int i = 0; i < 3000; ++i) store("key" + std::to_string(i), patterned(static_cast<std::uint64_t>(i), 300));
    store("large", patterned(9999, 400000));
    save();
    whole = file.read();
    ASSERT_GT(whole.size(), mib);
  }
  // Loads these bytes. What is in the cache must be right; how many items are?
  std::size_t load_bytes(const std::string& bytes) {
    file.write(bytes);
    load(8 * mib, 2);
    EXPECT_FALSE(file.exists());
    std::size_t items = 0;
    c->for_each([&](const item_view& view) {
      ++items;
      const std::string key(view.key);
      const std::string expected =
          key == "large" ? patterned(9999, 400000) : patterned(std::stoul("0" + key.substr(3)), 300);
      EXPECT_EQ(view.value, expected) << key;
    });
    return items;
  }
  [[nodiscard]] caching::restart_head head() const {
    caching::restart_head h;
    std::memcpy(&h, whole.data(), sizeof h);
    return h;
  }
  std::string whole;
};

TEST_F(restart_damaged, any_flip_in_the_head_is_refused) {
  ASSERT_EQ(load_bytes(whole), 3001U);
  for (std::size_t at = 8; at < sizeof(caching::restart_head); ++at) {
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << at % 8));
    ASSERT_EQ(load_bytes(bytes), 0U) << "byte " << at;
    EXPECT_EQ(c->restarted().outcome, restart_outcome::refused) << "byte " << at;
    EXPECT_STRNE(c->restarted().reason, "");
  }
}

TEST_F(restart_damaged, other_versions_and_machines_are_refused_by_name) {
  caching::restart_head h = head();
  h.version = 2;
  std::string bytes = whole;
  std::memcpy(bytes.data(), &h, sizeof h);
  EXPECT_EQ(load_bytes(bytes), 0U);
  EXPECT_NE(std::string(c->restarted().reason).find("version 2"), std::string::npos) << c->restarted().reason;
  h = head();
  h.byte_order = 0x04030201;
  std::memcpy(bytes.data(), &h, sizeof h);
  EXPECT_EQ(load_bytes(bytes), 0U);
  EXPECT_NE(std::string(c->restarted().reason).find("machine"), std::string::npos) << c->restarted().reason;
}

TEST_F(restart_damaged, flips_in_the_body_lose_items_and_change_none) {
  seeded random(1);
  std::size_t lost = 0;
  for (int i = 0; i < 40; ++i) {
    std::string bytes = whole;
    const std::size_t at = 4096 + random.below(bytes.size() - 4096);
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8)));
    const std::size_t items = load_bytes(bytes);
    const restart_report& r = c->restarted();
    if (items != 3001) {
      ++lost;
      EXPECT_TRUE(r.outcome == restart_outcome::refused || r.damaged_chunks != 0);
    }
    for (int n = 0; n < 100; ++n) store("key" + std::to_string(n), patterned(static_cast<std::uint64_t>(n), 300));
  }
  EXPECT_GT(lost, 20U);
}

TEST_F(restart_damaged, names_that_were_lost_leave_no_item_behind_for_good) {
  const caching::restart_head h = head();
  std::vector<caching::restart_chunk> chunks(h.directory_bytes / sizeof(caching::restart_chunk));
  std::memcpy(chunks.data(), whole.data() + h.directory_at, h.directory_bytes);
  std::string bytes = whole;
  for (const caching::restart_chunk& chunk : chunks) {
    if (chunk.part == caching::restart_part::order) bytes[chunk.at] = static_cast<char>(bytes[chunk.at] ^ 1);
  }
  ASSERT_EQ(load_bytes(bytes), 3001U);
  for (int i = 0; i < 80000; ++i) store("more" + std::to_string(i), std::string(300, 'm'));
  const std::set<std::string> left = keys();
  EXPECT_EQ(std::count_if(left.begin(), left.end(), [](const std::string& key) { return key[0] == 'k'; }), 0);
  verify(*c);
}

TEST_F(restart_damaged, a_file_that_ends_early_is_refused) {
  const caching::restart_head h = head();
  std::vector<caching::restart_chunk> chunks(h.directory_bytes / sizeof(caching::restart_chunk));
  std::memcpy(chunks.data(), whole.data() + h.directory_at, h.directory_bytes);
  std::vector<std::uint64_t> ends = {8, 100, sizeof h - 1, sizeof h, 4095, 4096, h.directory_at, whole.size() - 1};
  for (const caching::restart_chunk& chunk : chunks) {
    ends.push_back(chunk.at);
    ends.push_back(chunk.at + chunk.bytes);
  }
  for (const std::uint64_t end : ends) {
    file.write(whole.substr(0, end));
    load(8 * mib, 2);
    EXPECT_EQ(c->restarted().outcome, restart_outcome::refused) << end;
    EXPECT_EQ(c->stats().items, 0U);
    store("key", "value");
  }
}

TEST_F(restart_damaged, what_is_no_restart_file_stays_where_it_is) {
  for (const std::string& bytes : {std::string("# important\n"), std::string(8192, 'x')}) {
    file.write(bytes);
    load(8 * mib, 2);
    EXPECT_EQ(c->restarted().outcome, restart_outcome::refused);
    EXPECT_EQ(file.read(), bytes);
    const restart_report r = c->save(file.path());
    EXPECT_EQ(r.outcome, restart_outcome::failed);
    EXPECT_NE(std::string(r.reason).find("stays"), std::string::npos) << r.reason;
    EXPECT_EQ(file.read(), bytes);
  }
}

TEST_F(restart_damaged, a_file_that_others_can_write_to_is_not_believed) {
  file.write(whole);
  ASSERT_EQ(chmod(file.path(), 0622), 0);
  load(8 * mib, 2);
  EXPECT_EQ(c->restarted().outcome, restart_outcome::refused);
  EXPECT_TRUE(file.exists());
  const scratch elsewhere;
  file.write(whole);
  ASSERT_EQ(rename(file.path(), elsewhere.path()), 0);
  ASSERT_EQ(symlink(elsewhere.path(), file.path()), 0);
  load(8 * mib, 2);
  EXPECT_EQ(c->restarted().outcome, restart_outcome::refused) << "a link to a file is followed";
  EXPECT_EQ(elsewhere.read(), whole);
}

// ---- what cannot be written -----------------------------------------------------------------------------------------

TEST_F(restart, a_path_that_cannot_be_written_leaves_the_cache_as_it_was) {
  make();
  store("key", "value");
  for (const char* path : {"/nowhere/at/all", "/proc/restart", "/dev/null", "/dev/shm"}) {
    const restart_report r = c->save(path);
    EXPECT_EQ(r.outcome, restart_outcome::failed) << path;
    EXPECT_STRNE(r.reason, "");
    EXPECT_EQ(value_of(*c, "key"), "value");
  }
}

TEST_F(restart, a_disk_that_ends_leaves_no_file_and_no_wrong_state) {
  make(16 * mib, 2);
  for (int i = 0; i < 30000; ++i) store("key" + std::to_string(i), std::string(300, 'v'));
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 3 * mib;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const restart_report r = c->save(file.path());
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  (void)std::signal(SIGXFSZ, handler);
  EXPECT_EQ(r.outcome, restart_outcome::failed);
  EXPECT_NE(std::string(r.reason).find("cannot write the file: "), std::string::npos) << r.reason;
  EXPECT_FALSE(file.exists());
  EXPECT_NE(access((std::string(file.path()) + ".new").c_str(), F_OK), 0);
  verify(*c);
  EXPECT_EQ(c->stats().items, 0U);
}

TEST_F(restart, what_a_killed_writer_left_is_swept_away_and_the_older_file_is_not_read_twice) {
  make();
  store("key", "value");
  {
    std::ofstream left(std::string(file.path()) + ".new");
    left << "half a file";
  }
  save();
  EXPECT_NE(access((std::string(file.path()) + ".new").c_str(), F_OK), 0);
  struct stat s {};
  ASSERT_EQ(stat(file.path(), &s), 0);
  EXPECT_EQ(s.st_mode & 0777, 0600U);
  load();
  EXPECT_EQ(value_of(*c, "key"), "value");
  const std::unique_ptr<cache> loaded = std::move(c);
  load();
  EXPECT_EQ(c->restarted().outcome, restart_outcome::nothing);
  EXPECT_EQ(c->stats().items, 0U);
}

}  // namespace
}  // namespace scoot::testing
