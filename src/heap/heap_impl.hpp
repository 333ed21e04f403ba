// SPDX-License-Identifier: MIT
//
// heap_impl: the heap behind heap.hpp. heap.cpp allocates and frees, compactor.cpp moves, large_blocks.cpp,
// large_compactor.cpp and runs.cpp do both for blocks too big for a shelf, withdrawal.cpp gives back what is between
// blocks that stay, release.cpp asks the owner to evict, inspect.cpp counts and verifies, explain.cpp, pages.cpp,
// profile.cpp and snapshot.cpp answer questions, checked.cpp is what builds with checks do besides.
//
// A block is found by its address alone: page_info of its page -> shelf, large space or run. What kind it is of follows
// from its shelf, its page's list or its run's page_info, so a small block carries no header.
//
// held_ is what of this heap's pages is resident and charged; live bytes are in usable bytes. Their difference, waste,
// is kept under a target: whenever the heap would have to grow while there is more, it first lowers a shelf by as much.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/check.hpp"
#include "heap/large_space.hpp"
#include "heap/move_history.hpp"
#include "heap/page_info.hpp"
#include "heap/pin_table.hpp"
#include "heap/pointer_list.hpp"
#include "heap/pool.hpp"
#include "heap/shelf.hpp"
#include "heap/size_class.hpp"
#include "scoot/diagnosis.hpp"
#include "scoot/heap.hpp"

namespace scoot {

inline constexpr int poison = 0xdd;  // fills freed and left blocks in debug builds
// Room in the budget can be taken by other heaps between our giving and our charging: try so often.
inline constexpr int charge_attempts_max = 32;

// What a move of a cold block costs besides copying it, as so many bytes copied.
inline constexpr std::size_t move_cost = 256;

// What is left of an effort.
struct work_left {
  work_left(std::size_t bytes_allowed, std::uint64_t deadline) noexcept
      : bytes_max(bytes_allowed), bytes(bytes_allowed), deadline_ns(deadline) {}

  const std::size_t bytes_max;
  std::size_t bytes;
  std::uint64_t deadline_ns;   // 0: none
  bool urgent = true;          // the budget is full, or the caller wants it: give to the OS at once
  std::size_t block_cost = 0;  // what a move costs besides its bytes, as bytes
  unsigned blocks = 0;

  [[nodiscard]] bool allows(std::size_t block_bytes) noexcept;
  // Whether there is time left, for work that moves nothing. If not, nothing is allowed any more.
  [[nodiscard]] bool on_time() noexcept;
  void spend(std::size_t block_bytes) noexcept {
    const std::size_t cost = block_bytes + block_cost;
    bytes -= cost < bytes ? cost : bytes;
  }
};

class heap_impl final : public heap {
 public:
  heap_impl(page_pool_impl& pool, const heap_options& options) noexcept;
  ~heap_impl();

  kind new_kind(const kind_options& options) noexcept;
  bool drop_kind(kind k) noexcept;
  [[nodiscard]] bool has_kind(std::uint8_t index) const noexcept;
  [[nodiscard]] kind kind_of_block(const void* block) const noexcept;
  [[nodiscard]] void* grow_block(kind k, void* block, std::size_t size) noexcept;
  void* allocate_block(kind k, std::size_t size) noexcept;
  void free_block(void* block) noexcept;
  [[nodiscard]] std::size_t block_bytes(const void* block) const noexcept;
  [[nodiscard]] void* find_block(const void* address) const noexcept;
  bool pin_block(void* block, const char* holder) noexcept;
  void unpin_block(void* block, const char* holder) noexcept;
  compaction compact_all(const effort& e) noexcept;
  release_result release_bytes(std::size_t bytes, const release_options& options) noexcept;
  std::size_t hand_over_blocks(std::uint8_t kind_index, block_taker take, void* context) noexcept;
  [[nodiscard]] forecast make_forecast() const noexcept;
  std::size_t move_all() noexcept;
  [[nodiscard]] heap_stats get_stats() const noexcept;
  [[nodiscard]] std::size_t held() const noexcept { return held_; }
  void check_all() const noexcept;

  // In builds with checks, what allocate is there (checked.cpp), and the bytes at the end of each block that are no
  // part of it.
  void* allocate_checked(kind k, std::size_t size) noexcept;
  [[nodiscard]] std::size_t redzone() const noexcept {
    if constexpr (SCOOT_CHECK_LEVEL >= 2) return redzone_;
    return 0;
  }

  // While it lives a visitor is called, or may be.
  class visit_scope {
   public:
    visit_scope(const heap_impl& h, const char* visitor) noexcept : h_(h), before_(h.visitor_) {
      h_.visitor_ = visitor;
    }
    ~visit_scope() { h_.visitor_ = before_; }
    visit_scope(const visit_scope&) = delete;
    visit_scope& operator=(const visit_scope&) = delete;

   private:
    const heap_impl& h_;
    const char* before_;
  };

  // For diagnosis.hpp.
  [[nodiscard]] explanation describe(const void* address) const noexcept;
  [[nodiscard]] std::size_t kinds() const noexcept { return kind_count_; }
  [[nodiscard]] kind_stats get_kind_stats(std::uint8_t index) const noexcept;
  [[nodiscard]] std::uint64_t visit_some_pages(std::uint64_t cursor, const page_visit& how, page_visitor visit,
                                               void* context) const noexcept;
  void visit_kind(std::uint8_t index, block_visitor visit, void* context) const noexcept;
  using pin_visitor = void (*)(void* context, const pin_info& pin);
  void visit_pins(pin_visitor visit, void* context) const noexcept;
  [[nodiscard]] page_pool_impl& get_pool() const noexcept { return pool_; }

 private:
  friend class snapshot_writer;

  // The shelf that serves each class from 1 on; several share one where alignment asks for it. An OS page, and so apart
  // from the rest of what is known of a kind.
  struct kind_entry {
    shelf* serving[size_class_count - 1] = {};
    [[nodiscard]] shelf*& of_class(std::size_t size_class) noexcept { return serving[size_class - 1]; }
    [[nodiscard]] shelf* of_class(std::size_t size_class) const noexcept { return serving[size_class - 1]; }
  };
  static_assert(sizeof(kind_entry) <= 4096);
  struct kind_info {
    kind_options options;
    std::uint64_t blocks_moved = 0;
    std::uint64_t bytes_moved = 0;
    std::uint64_t blocks_dropped = 0;
    std::uint64_t blocks_kept = 0;
    std::uint32_t uses = 0;  // add_kind without remove_kind
  };
  struct window_request {
    std::size_t size;
    std::size_t alignment;
    std::size_t bytes_max;  // to move
    unsigned depth;
  };
  enum class move_result : std::uint8_t { gone, stays };
  // Measures the wall time of a stretch of work in which blocks may be moved. They are not nested.
  class pause_timer {
   public:
    explicit pause_timer(heap_impl& h) noexcept;
    ~pause_timer();
    pause_timer(const pause_timer&) = delete;
    pause_timer& operator=(const pause_timer&) = delete;

   private:
    heap_impl& h_;
    const std::uint64_t began_ns_;
    const std::uint64_t moved_;
  };

  // --- bookkeeping.cpp
  [[nodiscard]] shelf* shelf_for(kind_entry& entry, std::uint8_t kind_index, std::size_t size) noexcept;
  shelf* new_shelf(std::uint8_t kind_index, std::size_t slot) noexcept;
  void discard(shelf& s) noexcept;
  bool make_page_room(shelf& s) noexcept;
  void free_page_list(shelf& s) noexcept;
  void pack_metadata_of(shelf*& each) noexcept;
  void pack_metadata(work_left& work) noexcept;

  // --- kinds.cpp
  [[nodiscard]] bool make_kind_room(std::uint32_t index) noexcept;
  [[nodiscard]] bool has_blocks(std::uint8_t index) const noexcept;

  // --- heap.cpp
  [[nodiscard]] page_info* page_of(const void* block) const noexcept;
  void check_free(void* block) const noexcept;
  void park(shelf& s, void* block) noexcept;
  [[gnu::noinline]] void park_in_full(shelf& s, void* block) noexcept;
  [[gnu::noinline]] void free_elsewhere(void* block) noexcept;
  void* allocate_slow(kind_entry& entry, std::uint8_t kind_index, std::size_t size) noexcept;
  [[gnu::noinline]] void* allocate_small(shelf& s, std::size_t size) noexcept;
  void* allocate_small(shelf& s, work_left& work) noexcept;
  [[gnu::noinline]] void pay_rest(work_left& work) noexcept;
  void* pop_slot(shelf& s) noexcept;
  void* spill(shelf& s) noexcept;
  void* spill_again(shelf& s) noexcept;
  bool grow(shelf& s) noexcept;
  bool add_shelf_page(shelf& s) noexcept;
  void return_parked(shelf& s, std::uint32_t keep) noexcept;
  void release_shelf_page(shelf& s, page_info* page) noexcept;
  void give_page(page_info* page) noexcept;
  void trim_idle_excess() noexcept;
  bool charge_resident(page_info* page, std::size_t end) noexcept;
  bool extend_resident(page_info* page, std::size_t end) noexcept;
  bool trim_resident(page_info* page, std::size_t end) noexcept;
  void trim_top(shelf& s) noexcept;
  void count_allocation(std::size_t bytes) noexcept {
    ++allocations_;
    allocated_bytes_ += bytes;
  }
  void count_free(std::size_t bytes) noexcept {
    ++frees_;
    freed_bytes_ += bytes;
  }
  // The shelves' allocations and frees are counted when one of their magazines runs over or empty, so that a pair of
  // them writes to nothing but the magazine. (A counter in the heap would cost more than the instructions: at an
  // address that agrees with one of the program's hot pointers in its low bits, a store keeps the next load of that
  // pointer waiting.)
  void settle(shelf& s) noexcept;
  void settle_some() noexcept;
  struct totals {
    std::uint64_t allocations, allocated_bytes, frees, freed_bytes;
  };
  [[nodiscard]] totals exact_totals() const noexcept;
  [[nodiscard]] std::size_t live_bytes() const noexcept {
    return static_cast<std::size_t>(allocated_bytes_ - freed_bytes_);
  }
  [[nodiscard]] std::size_t waste_bytes() const noexcept { return held_ - live_bytes(); }
  [[nodiscard]] bool is_pinned(const page_info* page, const void* block) const noexcept {
    return page->pins != 0 && pins_.contains(block);
  }

  // --- compactor.cpp
  [[nodiscard]] std::size_t waste_allowed(std::size_t growth) const noexcept;
  [[nodiscard]] bool over_target(std::size_t growth) const noexcept {
    return waste_bytes() + growth > waste_allowed(growth);
  }
  void owe(std::size_t growth, std::size_t allowed) noexcept;
  void owe_spilled(std::size_t bytes, std::size_t allowed) noexcept;
  std::size_t keep_target(work_left& work) noexcept;
  void note_lowered(shelf& s, std::size_t bytes) noexcept;
  void note_growth(shelf& s, std::size_t bytes) noexcept;
  void end_period() noexcept;
  std::size_t reclaim(std::size_t goal, work_left& work) noexcept;
  bool choose_victim(bool urgent, std::size_t block_bytes_max) noexcept;
  std::size_t gain_of(const shelf& s) const noexcept;
  void unstick(shelf& s) noexcept;
  [[nodiscard]] bool worth_retrying(const shelf& s) const noexcept;
  [[nodiscard]] bool may_withdraw(const shelf& s) const noexcept {
    return s.withdraw_next < s.page_count * (page_bytes_ >> s.os_page_shift);
  }
  std::size_t lower(shelf& s, std::size_t goal, work_left& work, shelf* into = nullptr) noexcept;
  std::size_t lower_and_trim(shelf& s, std::size_t goal, work_left& work) noexcept;
  bool anchor(shelf& s, stop_reason why) noexcept;
  [[nodiscard]] bool gains_by_draining(const shelf& s) const noexcept;
  bool compact_shelf(shelf& s, work_left& work) noexcept;
  bool compact_shelves(work_left& work) noexcept;
  bool compact_parts(work_left& work, bool thorough) noexcept;
  bool trim_idle(work_left& work) noexcept;
  [[nodiscard]] bool is_vain(bool thorough) const noexcept;
  bool refuses_still(work_left& work) noexcept;
  verdict call_mover(std::uint8_t kind_index, void* from, void* to, std::size_t size, std::size_t to_size) noexcept;
  verdict call_mover(std::uint8_t kind_index, void* from, void* to, std::size_t size) noexcept {
    return call_mover(kind_index, from, to, size, size);
  }
  static void fetch_blocks(const shelf& s, const page_info* top, std::uint32_t index, std::uint32_t& ahead) noexcept;
  static void fetch_hole(const shelf& s, const page_info* page, std::uint32_t index) noexcept;
  move_result move_top(shelf& s, page_info* top, std::uint32_t index, work_left& work) noexcept;
  bool make_slot(shelf& s) noexcept;
  verdict move_into(shelf& into, std::uint8_t kind_index, void* from, std::size_t size) noexcept;
  move_result move_top_into(shelf& s, page_info* top, std::uint32_t index, shelf& into, work_left& work) noexcept;

  // --- withdrawal.cpp
  [[nodiscard]] std::size_t partial_waste(const shelf& s, std::size_t& live) const noexcept;
  [[nodiscard]] bool worth_joining(std::size_t waste, std::size_t live) const noexcept;
  void trim_idle_for(std::size_t slot) noexcept;
  bool join_partial(shelf& s, work_left& work) noexcept;
  std::size_t withdraw_holes(shelf& s, std::size_t goal, work_left& work) noexcept;
  static void bury_holes(const shelf& s, const page_info* page, std::uint32_t first, std::uint32_t end) noexcept;
  bool restore_hole(shelf& s) noexcept;
  bool fill_withdrawn(shelf& s, work_left& work) noexcept;
  std::uint32_t take_top_holes(shelf& s, page_info* top, std::uint32_t index) noexcept;
  void close_gaps(page_info* page, std::uint64_t* missing_map, std::size_t end) noexcept;
  void forget_withdrawn(shelf& s, page_info* page) noexcept;

  // --- spacing.cpp
  void open_shelf(shelf& s) noexcept;
  [[nodiscard]] std::size_t lowest_class(const shelf& s) const noexcept;
  void route(const shelf& from, std::size_t last, shelf* to) noexcept;
  [[nodiscard]] bool is_cheaper(const shelf& s, const shelf& larger) const noexcept;
  template <class Visit>
  void visit_closable(Visit visit) const noexcept;
  void close_shelves() noexcept;
  void forecast_closing(forecast& f) const noexcept;
  [[nodiscard]] std::size_t withdrawable(const shelf& s) const noexcept;
  [[nodiscard]] std::size_t beside_missing(const shelf& s) const noexcept;
  void forecast_shelf(const shelf& s, forecast& f) const noexcept;
  bool drain(shelf& s, work_left& work) noexcept;
  [[nodiscard]] std::uint32_t blocks_to_join(const shelf& s) const noexcept;
  [[nodiscard]] shelf* closest_room(const shelf& s, std::uint32_t blocks) const noexcept;
  bool join_tops(work_left& work) noexcept;
  [[nodiscard]] shelf* note_rounding(shelf& s, std::size_t size) noexcept;

  // --- large_blocks.cpp
  void* allocate_large(std::uint8_t kind_index, std::size_t size, std::size_t alignment, work_left& work) noexcept;
  [[nodiscard]] bool large_over_target(std::size_t size) const noexcept;
  void pay_for_large(work_left& work) noexcept;
  void* take_guest(const shelf& s) noexcept;
  void* take_large(const large_space::place& at, std::size_t size, std::uint8_t kind_index) noexcept;
  bool make_resident(const large_space::place& at, std::size_t size) noexcept;
  bool add_large_page(std::size_t size) noexcept;
  [[nodiscard]] std::size_t idle_kept() const noexcept;
  void free_large(page_info* page, void* block) noexcept;
  void release_large_page(large_page* in) noexcept;
  [[nodiscard]] std::uint64_t freed_clock() const noexcept;
  [[nodiscard]] static std::size_t large_waste(const large_page* in) noexcept {
    return in->page->resident_bytes() - large_space::live_bytes(in);
  }
  [[nodiscard]] bool may_move(const large_page* in, const large_block& b) const noexcept;
  move_result move_large(large_page* in, std::uint32_t index, bool may_grow) noexcept;
  move_result move_large_to(large_page* in, std::uint32_t index, const large_space::place& at) noexcept;
  move_result move_to_shelf(large_page* in, std::uint32_t index) noexcept;
  bool clear_window(const window_request& r, work_left& work, large_space::place& cleared) noexcept;
  bool move_out(const large_space::window& w, unsigned depth, work_left& work) noexcept;
  [[nodiscard]] bool may_try(const large_page* in) const noexcept { return freed_clock() >= in->retry_at; }
  void note_failure(large_page* in, bool refused) noexcept;

  // --- large_compactor.cpp
  // Whether all blocks of a page may be moved, as far as pins and kinds go.
  [[nodiscard]] static bool all_movable(const large_page* in) noexcept { return in->page->pins == 0 && in->fixed == 0; }
  [[nodiscard]] large_page* emptiest_large_page(std::size_t live_max, std::uint32_t pages_max) noexcept;
  bool begin_evacuating(large_page* in, std::size_t block_bytes_max) noexcept;
  [[nodiscard]] static std::uint32_t largest_of(const large_page* in) noexcept;
  bool evacuate(work_left& work) noexcept;
  bool empty_large_pages(work_left& work) noexcept;
  bool pack_large(large_page* in, work_left& work) noexcept;
  void trim_large_tail(large_page* in) noexcept;
  void forget_missing(large_page* in) noexcept;
  std::size_t withdraw_large(large_page* in, work_left& work) noexcept;
  std::size_t give_vacant(large_page* in) noexcept;
  [[nodiscard]] std::size_t vacant_bytes(const large_page* in) const noexcept;
  std::size_t withdraw_beside_stuck(std::size_t goal, work_left& work) noexcept;
  [[nodiscard]] std::size_t aligned_bytes(const large_block& b) const noexcept;
  [[nodiscard]] std::size_t needed_bytes(const large_page* in) const noexcept;
  [[nodiscard]] bool worth_repacking(const large_page* in) const noexcept;
  bool pour(large_page* from, large_page*& to, work_left& work) noexcept;
  void end_pouring(large_page* to) noexcept;
  bool repack_large(work_left& work) noexcept;
  void ask_again(large_page* in, work_left& work) noexcept;
  bool compact_large(work_left& work, bool thorough) noexcept;

  // --- runs.cpp
  struct page_window {
    page_info* first = nullptr;
    std::size_t count = 0;
    page_info* refused = nullptr;        // what was in it and did not move
    const page_window* outer = nullptr;  // that a run is leaving, for which this one is emptied
  };
  void* allocate_run(std::uint8_t kind_index, std::size_t size) noexcept;
  page_info* take_run_of(std::size_t size, work_left* work, const page_window* outer) noexcept;
  void free_run(page_info* page) noexcept;
  bool move_run(page_info* from, page_info* to) noexcept;
  void retire_run(page_info* first, const page_window& w) noexcept;
  page_info* clear_pages(std::size_t count, work_left& work, const page_window* outer) noexcept;
  void note_costs(const region& r, std::uint32_t* costs) const noexcept;
  bool gather_pages(work_left& work) noexcept;
  bool empty_span(page_info* first, std::size_t count, const std::uint32_t* costs, work_left& work) noexcept;
  bool empty_window(page_window& w, work_left& work) noexcept;
  void vacate(page_info* page, const page_window& w) noexcept;
  bool relocate_page(page_info* page, const page_window& w, work_left& work) noexcept;
  bool relocate_shelf_page(page_info* from, const page_window& w, work_left& work) noexcept;
  page_info* spare_shelf_page(shelf& s, std::size_t start, std::uint32_t fresh) noexcept;
  bool relocate_large_page(large_page* from, const page_window& w, work_left& work) noexcept;
  bool relocate_run(page_info* from, const page_window& w, work_left& work) noexcept;

  // --- checked.cpp
  void read_environment() noexcept;
  void begin_call(move_cause cause) noexcept;
  void check_outside_callback(const char* what) const noexcept;
  void move_everything_now_and_then() noexcept;
  void before_move(std::uint8_t kind_index, void* from, void* to, std::size_t size, std::size_t to_size) noexcept;
  void after_move(verdict answer, std::size_t to_size) noexcept;
  void bury(void* block, std::size_t bytes, const char* what) const noexcept;
  static void make_dead(void* memory, std::size_t bytes) noexcept;
  void check_dead(const void* memory, std::size_t bytes) const noexcept;
  void place_redzone(void* block, std::size_t bytes) const noexcept;
  void check_redzone(const void* block, std::size_t bytes, const char* what) const noexcept;

  // --- release.cpp
  std::size_t hand_over_shelf(shelf& s, block_taker take, void* context) noexcept;
  std::size_t evict_some(std::size_t bytes, const release_options& options, std::uint64_t deadline_ns) noexcept;

  // --- explain.cpp
  struct location {
    place what = place::foreign;
    std::uint8_t kind = 0xff;
    const char* start = nullptr;  // live, hole, parked, fresh slot
    std::size_t bytes = 0;        // of that, redzone included
  };
  [[nodiscard]] location locate(const void* address) const noexcept;
  [[nodiscard]] location locate_in_shelf(const page_info* page, const char* address) const noexcept;
  [[nodiscard]] location locate_in_large(const page_info* page, const char* address) const noexcept;
  void trace(explanation& e, const void* address) const noexcept;
  void check_block(const void* block, const char* what) const noexcept;
  [[nodiscard]] page_info* checked_page_of(const void* block, const char* what) const noexcept {
    if constexpr (SCOOT_CHECK_LEVEL >= 1) check_block(block, what);
    return page_of(block);
  }

  // --- pages.cpp
  [[nodiscard]] page_view view_of(const page_info* page) const noexcept;
  void view_shelf_page(const shelf& s, const page_info* page, page_view& v, bool draw) const noexcept;
  void view_large_page(const large_page* in, page_view& v, bool draw) const noexcept;
  void view_run_page(const page_info* first, std::size_t index, page_view& v, bool draw) const noexcept;

  // --- profile.cpp
  void visit_pins_of(const shelf& s, pin_visitor visit, void* context) const noexcept;
  [[nodiscard]] pin_info pin_info_of(const void* block, std::size_t bytes, std::uint8_t kind_index) const noexcept;

  // --- inspect.cpp
  void check_shelf(const shelf& s, std::size_t& resident, std::size_t& live, std::size_t& pins) const noexcept;
  void check_missing(const shelf& s, const page_info* page) const noexcept;
  void check_bytes(const shelf& s) const noexcept;
  std::size_t move_all_of(shelf& s) noexcept;
  std::size_t move_all_large() noexcept;
  std::size_t move_all_runs() noexcept;

  // --- every allocate and free
  char* base_;
  std::size_t bytes_;
  page_info* infos_;
  shelf** shelf_of_page_;
  unsigned page_shift_;
  std::uint32_t kind_count_ = 0;
  kind_entry* kinds_[kinds_max] = {};  // null: unused

  // --- slower ways
  page_pool_impl& pool_;
  const std::size_t os_page_;
  const std::size_t page_bytes_;
  const std::size_t slot_max_;   // larger sizes go to the large space
  const std::size_t large_max_;  // larger ones become runs
  const bool waste_is_ours_;     // to choose
  const double waste_target_;
  const std::size_t move_bytes_max_;
  std::size_t held_ = 0;
  std::uint64_t allocations_ = 0;  // these four as of the shelves' last settle()
  std::uint64_t allocated_bytes_ = 0;
  std::uint64_t frees_ = 0;
  std::uint64_t freed_bytes_ = 0;
  std::size_t metadata_bytes_ = 0;
  kind_info* kind_infos_ = nullptr;
  std::uint32_t kind_capacity_ = 0;
  pointer_list<shelf> shelves_;
  pointer_list<page_info> runs_;
  large_space large_;
  pin_table pins_;
  shelf* victim_ = nullptr;            // being lowered
  std::size_t victim_until_ = 0;       // ... until its hole bytes are no more than this
  std::uint32_t victim_cursor_ = 0;    // the shelf that was looked at last
  large_page* evacuating_ = nullptr;   // being cleared
  std::uint32_t emptiest_cursor_ = 0;  // next large page to be looked at as one to be cleared
  std::uint32_t window_cursor_ = 0;    // next large page to be looked at for a window
  std::uint64_t nothing_frees_ = 0;    // counters when a search found nothing to reclaim; none before they change
  std::uint64_t nothing_unpins_ = ~std::uint64_t{0};
  std::uint64_t unpins_ = 0;
  std::uint32_t settle_next_ = 0;
  std::size_t pages_given_ = 0;      // to the pool, since pages were last gathered
  std::size_t packed_spread_ = 0;    // free slots of metadata, in bytes, that packing it could not mend
  std::size_t owed_bytes_ = 0;       // to be reclaimed for growth while there was too much waste
  std::size_t owed_for_large_ = 0;   // the same for large blocks, paid in parts
  std::size_t tolerated_bytes_ = 0;  // waste to tolerate because fighting it was vain
  std::uint64_t period_ = 0;         // counts stretches of allocated bytes over which that is judged
  std::uint64_t period_began_ = 0;   // allocated_bytes_ then
  std::uint64_t period_allocations_ = 0;
  std::uint64_t spill_allocations_ = 0;
  std::uint64_t regrown_bytes_ = 0;  // in this period, by shelves lowered in this or the last
  bool in_mover_ = false;
  mutable const char* visitor_ = nullptr;  // that is shown blocks, pages or text and must not use the heap
  bool asking_once_ = false;               // a refusal is the answer, and no reason to ask others
  bool os_refused_ = false;                // to take memory back, in this compaction
  struct {
    std::uint64_t changes = ~std::uint64_t{0};  // as of the last compaction, if it could move nothing
    std::size_t room = 0;                       // in the budget, then
    bool thorough = false;
    stop_reason why = stop_reason::done;
  } vain_;
  std::uint32_t ask_next_ = 0;               // of shelves and large pages: which of those that refuse is asked next
  stop_reason blocked_ = stop_reason::done;  // why blocks were left behind, in this compaction
  std::uint64_t trimmed_bytes_ = 0;          // given back to the OS, ever
  std::uint64_t grown_bytes_ = 0;            // charged for pages, ever
  std::uint64_t blocks_moved_ = 0;
  std::uint64_t bytes_moved_ = 0;
  std::uint64_t blocks_dropped_ = 0;
  std::uint64_t blocks_kept_ = 0;
  std::uint64_t blocks_examined_ = 0;
  std::uint64_t failures_ = 0;
  std::uint64_t pauses_[pause_classes] = {};
  std::uint64_t pause_ns_ = 0;

  // --- builds with checks; here in all, so that there is one layout
  move_history history_;
  past_move under_way_{};
  bool call_has_number_ = false;
  std::size_t redzone_ = 0;
  std::size_t move_everything_every_ = 0;  // allocations; 0: never
  std::uint64_t since_everything_ = 0;
};

inline page_info* heap_impl::page_of(const void* block) const noexcept {
  const auto offset = static_cast<std::size_t>(static_cast<const char*>(block) - base_);
  if (offset < bytes_) [[likely]]
    return infos_ + (offset >> page_shift_);
  return pool_.find(block);
}

}  // namespace scoot
