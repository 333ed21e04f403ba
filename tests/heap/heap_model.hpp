// SPDX-License-Identifier: MIT
//
// heap_model: a heap beside an oracle that knows every block, its bytes and its pins, and checks after each operation
// that the heap did what heap.hpp says and nothing else.
//
//     apply(operation) -> heap under test
//                 \-----> oracle: address -> block {asked, usable, seed of its bytes, kind, pins}
//
// Operations come from seeded random numbers (model_test), from RapidCheck, which shrinks them, or from a fuzzer's
// bytes. The first broken promise is recorded in failure(); nothing is checked after it.
// Threads: one at a time; several models may share one pool from several threads (see model_options::pool).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "scoot/heap.hpp"
#include "scoot/page_pool.hpp"

namespace scoot::testing {

struct kind_spec {
  std::size_t alignment = 8;
  bool movable = true;
  unsigned keep_percent = 0;  // of the times the mover is asked
  unsigned drop_percent = 0;
};

// Ordinary blocks, immovable ones, over-aligned ones, ones that refuse or give up now and then.
std::vector<kind_spec> all_sorts_of_kinds();

enum class op_code : std::uint8_t {
  allocate,         // kind a, size b (see size_of)
  free,             // block a
  pin,              // block a
  unpin,            // pinned block a
  compact,          // no limit
  compact_bounded,  // bytes_max a, time_max b
  move_everything,
  set_budget,  // a
  trim,        // keep a
  free_many,   // about b of 256 blocks, chosen by a
  allocate_many,
  reallocate,  // block a, size b
  release,     // bytes a; evicts if b is odd
  hand_over,   // kind a
  estimate,
  add_kind,  // like kind a
  last = add_kind
};

struct operation {
  op_code code = op_code::allocate;
  std::uint32_t a = 0;
  std::uint32_t b = 0;
};

std::string to_string(const operation& o);
void showValue(const operation& o, std::ostream& out);  // how RapidCheck prints one

struct model_options {
  page_pool* pool = nullptr;  // null: the model makes its own of pool_options
  page_pool_options pool_options{std::size_t{4} << 20, 0, 0};
  heap_options heap{};
  std::vector<kind_spec> kinds = all_sorts_of_kinds();
  std::uint64_t seed = 1;                             // of what the movers answer and what blocks contain
  std::size_t live_bytes_max = std::size_t{2} << 20;  // operations do not allocate beyond
  std::size_t size_max = std::size_t{1} << 20;        // of one block
  bool scarce_address = false;  // what pool_options reserve is all there is; not with other pools at the same time
  unsigned verify_every = 1;    // operations between looks at all bytes and heap::verify; 0: never
};

class heap_model {
 public:
  explicit heap_model(const model_options& options);
  ~heap_model();
  heap_model(const heap_model&) = delete;
  heap_model& operator=(const heap_model&) = delete;

  // Runs one operation and its checks. False once a promise was broken.
  bool apply(const operation& o);

  // Checks everything there is to check, now.
  bool verify();

  // Unpins and frees every block. Nothing must be live then.
  bool free_all();

  // The first broken promise; empty while all were kept.
  [[nodiscard]] const std::string& failure() const noexcept { return failure_; }

  [[nodiscard]] std::size_t blocks() const noexcept { return blocks_.size(); }
  [[nodiscard]] std::size_t live_bytes() const noexcept { return live_bytes_; }
  [[nodiscard]] std::uint64_t blocks_moved() const noexcept { return total_.blocks_moved; }
  [[nodiscard]] std::uint64_t allocations_refused() const noexcept { return refused_; }
  [[nodiscard]] heap* get_heap() noexcept { return heap_.get(); }
  [[nodiscard]] page_pool& pool() noexcept { return *pool_; }

  // Tells the model that calls of the OS may fail from here on, so that null results need no full budget.
  void expect_os_failures() noexcept { os_may_fail_ = true; }

 private:
  struct block {
    std::byte* address = nullptr;
    std::size_t asked = 0;
    std::size_t usable = 0;
    std::size_t filled = 0;  // usable when it was allocated: moves may make a block larger
    std::uint32_t seed = 0;
    std::uint8_t kind = 0;
    std::uint16_t pins = 0;
  };
  struct kind_state {
    heap_model* model = nullptr;
    kind_spec spec;
    kind id;
    std::uint8_t index = 0;
  };
  struct counts {
    std::uint64_t bytes_moved = 0;
    std::uint64_t blocks_moved = 0;
    std::uint64_t blocks_dropped = 0;
    std::uint64_t blocks_kept = 0;
  };

  static verdict move(void* context, void* from, void* to, std::size_t size) noexcept;
  verdict move_block(const kind_state& kind, std::byte* from, std::byte* to, std::size_t size);
  void fail(const char* format, ...) __attribute__((format(printf, 2, 3)));
  void begin(bool may_move);
  void end();
  void allocate(std::size_t kind_index, std::size_t size);
  void check_null_result(std::size_t kind_index, std::size_t size);
  void free_block(std::size_t index);
  void reallocate(std::size_t index, std::size_t size);
  void pin_block(std::size_t index);
  void unpin_block(std::size_t index);
  void run_compact(const effort& e);
  void run_move_everything();
  void run_release(std::size_t bytes, bool evicts, std::size_t bytes_max);
  static std::size_t evict(void* context, std::size_t bytes) noexcept;
  std::size_t evict_some(std::size_t bytes);
  void run_hand_over(std::size_t kind_index);
  static void take(void* context, const void* address, std::size_t size) noexcept;
  void take_block(const std::byte* address, std::size_t size);
  void run_estimate();
  bool make_kind(const kind_spec& spec);
  void add_kind(std::size_t like);
  void check_given_back(const page_pool_stats& before, std::size_t told, const char* what);
  void change_budget(std::size_t bytes);
  void check_stats();
  void check_contents();
  bool is_free_range(const std::byte* address, std::size_t bytes, const std::byte* except) const;
  void forget(std::size_t index);
  std::size_t size_of(std::uint32_t b) const;
  void run(const operation& o);

  model_options options_;
  std::unique_ptr<page_pool> own_pool_;
  page_pool* pool_ = nullptr;
  std::vector<std::unique_ptr<kind_state>> kinds_;
  std::unique_ptr<heap> heap_;
  std::vector<block> blocks_;
  std::map<std::uintptr_t, std::size_t> by_address_;  // index in blocks_
  std::vector<std::size_t> scratch_;
  std::vector<std::byte*> arrivals_;  // of moves in this operation
  std::mt19937_64 random_;
  std::string failure_;
  std::size_t live_bytes_ = 0;
  std::size_t pinned_ = 0;
  std::size_t evicted_ = 0;  // in the operation under way, usable bytes
  std::size_t shown_ = 0;    // by hand_over
  std::uint8_t handed_ = 0;  // of this kind
  std::size_t held_before_ = 0;
  std::uint64_t refused_ = 0;
  std::uint64_t operations_ = 0;
  counts total_;
  counts now_;  // in the operation under way
  bool may_move_ = false;
  bool os_may_fail_ = false;
};

}  // namespace scoot::testing
