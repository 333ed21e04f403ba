// SPDX-License-Identifier: MIT
//
// Moving blocks.
//
// There is one step: lower() brings a shelf's top down by moving the block at the top into the lowest hole, so that
// every byte moved gives a byte back. The rest is choice: which shelf (the one with most to gain), how far (as much as
// the heap is about to grow, or the effort), and what becomes of the memory above the new top (whole pages go to the
// pool, for any shelf to take; OS pages of the top page go to the OS, in batches).
#include <algorithm>
#include <bit>
#include <cstring>

#include "base/bits.hpp"
#include "base/check.hpp"
#include "heap/heap_impl.hpp"
#include "os/os.hpp"

namespace scoot {

namespace {

constexpr std::size_t owed_bytes_max = std::size_t{64} << 10;
constexpr std::size_t slack_batch_bytes = std::size_t{64} << 10;
constexpr std::size_t little_waste_bytes = std::size_t{1} << 20;
constexpr std::size_t waste_bytes_min = std::size_t{64} << 10;
constexpr std::size_t period_bytes_min = std::size_t{4} << 20;
constexpr std::uint64_t regrowth_bearable_part = 4 << 20;  // of what is held, grown again an allocation
constexpr std::uint64_t bearable_allocations_max = 1 << 16;
constexpr std::size_t tolerated_bytes_min = std::size_t{256} << 10;
constexpr std::size_t small_heap_bytes = std::size_t{32} << 20;  // above it less is tolerated
constexpr std::size_t tiny_heap_bytes = std::size_t{16} << 20;
constexpr std::size_t tolerated_bytes_max = std::size_t{2} << 20;
constexpr std::uint32_t shelves_sampled = 32;
constexpr std::uint32_t large_pages_sampled = 64;  // looked at, in turn, where nothing presses
constexpr unsigned blocks_a_clock_check = 16;
constexpr std::size_t trim_step_bytes = std::size_t{1} << 20;
constexpr std::uint32_t fetch_bytes = 2048;
constexpr std::uint32_t fetch_blocks_max = 8;
constexpr std::size_t fetch_block_bytes = 512;
constexpr std::size_t cache_line_bytes = 64;
constexpr unsigned holes_between = 3;

// Asks for the first bytes of a slot, so that they are in the cache when it is moved.
template <bool ToWrite>
void fetch(const char* slot, std::size_t bytes) noexcept {
  for (std::size_t at = 0; at < std::min(bytes, fetch_block_bytes); at += cache_line_bytes)
    __builtin_prefetch(slot + at, ToWrite ? 1 : 0);
}

}  // namespace

bool work_left::allows(std::size_t block_bytes) noexcept {
  if (block_bytes > bytes) return false;
  if (deadline_ns != 0 && blocks++ % blocks_a_clock_check == 0 && os::now_ns() >= deadline_ns) {
    bytes = 0;
    return false;
  }
  return true;
}

bool work_left::on_time() noexcept {
  if (deadline_ns == 0 || os::now_ns() < deadline_ns) return true;
  bytes = 0;
  return false;
}

// --- Pauses -------------------------------------------------------------------------------------------------------

heap_impl::pause_timer::pause_timer(heap_impl& h) noexcept : h_(h), began_ns_(os::now_ns()), moved_(h.blocks_moved_) {}

// What moved nothing was no pause.
heap_impl::pause_timer::~pause_timer() {
  if (h_.blocks_moved_ == moved_) return;
  const std::uint64_t ns = os::now_ns() - began_ns_;
  const auto longer_than = static_cast<std::size_t>(std::bit_width((ns - (ns != 0)) / pause_ns_least));
  ++h_.pauses_[std::min(longer_than, pause_classes - 1)];
  h_.pause_ns_ += ns;
}

// --- Keeping the target -------------------------------------------------------------------------------------------

// The waste that a heap grown by so much may have before blocks are moved.
std::size_t heap_impl::waste_allowed(std::size_t growth) const noexcept {
  // A shelf in use has part of an OS page above its top, all of one if it is nearly empty, half of one on average: no
  // waste that lowering it could mend.
  std::size_t tops = shelves_.size() * os_page_;
  if (held_ >= 16 * tops) tops /= 2;
  const auto target = static_cast<std::size_t>(static_cast<double>(held_ + growth) * waste_target_);
  // In a small heap little memory buys much time: there, a shelf without a hole sends its next block through the
  // kernel.
  const std::size_t smaller_by = tiny_heap_bytes - std::min(held_, tiny_heap_bytes);
  const std::size_t little = waste_is_ours_ ? std::min(held_ / 6, little_waste_bytes + smaller_by / 16) : 0;
  return std::max({target, tops + std::max(target / 2, waste_bytes_min), little, tolerated_bytes_});
}

// Where few blocks of many sizes come and go, shelves rise and fall by more than the target, and lowering one is vain:
// it rises again at once, through the kernel. So we watch how much of what was lowered grew again soon, and tolerate
// more waste while that is more than is bearable. A large heap can bear more of it: its allocations cost cache misses
// anyway, and the same part of it is more memory. A change of sizes does not look so: what it lowers stays down.
void heap_impl::note_lowered(shelf& s, std::size_t bytes) noexcept {
  if (s.lowered_period + 1 < period_) s.lowered = 0;
  s.lowered_period = period_;
  s.lowered += bytes;
}

void heap_impl::note_growth(shelf& s, std::size_t bytes) noexcept {
  if (allocated_bytes_ - period_began_ > std::max(period_bytes_min, held_ / 4)) end_period();
  if (s.lowered == 0) return;
  if (s.lowered_period + 1 < period_) {
    s.lowered = 0;
    return;
  }
  const std::uint64_t again = std::min<std::uint64_t>(bytes, s.lowered);
  s.lowered -= again;
  regrown_bytes_ += again;
}

void heap_impl::end_period() noexcept {
  const auto per_allocation =
      static_cast<double>(regrown_bytes_) / static_cast<double>(allocations_ - period_allocations_);
  const double bearable = static_cast<double>(held_) / regrowth_bearable_part;
  if (per_allocation > bearable) {
    const std::uint64_t most = std::uint64_t{tolerated_bytes_max} * small_heap_bytes / held_;
    const std::size_t wanted = std::clamp(2 * tolerated_bytes_, tolerated_bytes_min, tolerated_bytes_max);
    tolerated_bytes_ = static_cast<std::size_t>(std::min<std::uint64_t>(wanted, most));
  } else if (per_allocation < bearable / 8) {
    // In a small heap slowly: with half of it gone, all that it spares would be back at once.
    const std::size_t part = held_ < small_heap_bytes ? 16 : 2;
    tolerated_bytes_ = tolerated_bytes_ > tolerated_bytes_min ? tolerated_bytes_ - tolerated_bytes_ / part : 0;
  }
  regrown_bytes_ = 0;
  period_began_ = allocated_bytes_;
  period_allocations_ = allocations_;
  ++period_;
}

// Notes growth while there is too much waste: up to twice as much is to be given back elsewhere, so that the waste
// comes down to what is allowed. In proportion to the excess, for close to the target giving back is mostly vain: the
// shelf that comes down rises again.
void heap_impl::owe(std::size_t growth, std::size_t allowed) noexcept {
  const std::size_t wasted = waste_bytes() + growth;
  if (wasted <= allowed) return;
  const double part = std::min(1.0, 4 * static_cast<double>(wasted - allowed) / static_cast<double>(allowed));
  const auto more = static_cast<std::size_t>(2 * part * static_cast<double>(growth));
  owed_bytes_ = std::min(owed_bytes_ + more, std::max(owed_bytes_max, more));
}

// The same for a block that went into a hole of another shelf. The heap did not grow, so there is no hurry: no more is
// owed than the allocations since the last one can bear.
void heap_impl::owe_spilled(std::size_t bytes, std::size_t allowed) noexcept {
  const std::uint64_t since = std::min(allocations_ - spill_allocations_, bearable_allocations_max);
  spill_allocations_ = allocations_;
  owe(std::min(bytes, static_cast<std::size_t>(since * held_ / regrowth_bearable_part)), allowed);
}

// Gives back what is owed. Returns how much that was.
std::size_t heap_impl::keep_target(work_left& work) noexcept {
  if (owed_bytes_ < 2 * os_page_) return 0;
  const std::uint64_t freed_since = freed_bytes_ - nothing_frees_;
  if (nothing_unpins_ == unpins_ && freed_since < std::max<std::size_t>(waste_bytes_min, held_ / 1024)) return 0;
  const pause_timer timer(*this);
  work.urgent = false;
  const std::size_t given = reclaim(owed_bytes_, work);
  // What is left when the work is spent is still owed; what is left when there is no more to gain is not.
  owed_bytes_ = work.bytes >= os_page_ ? 0 : owed_bytes_ - std::min(owed_bytes_, given);
  work.urgent = true;
  return given;
}

// Bytes by which a shelf would let its resident memory shrink if all its holes were filled from the top.
std::size_t heap_impl::gain_of(const shelf& s) const noexcept {
  const page_info* top = s.top();
  if (top == nullptr) return 0;
  const auto used = static_cast<std::size_t>(s.bump - top->base);
  const std::size_t holes = s.hole_bytes();
  const std::size_t slack = s.slack_bytes(os_page_);
  if (holes + top->start() >= used) return std::max(holes + slack, top->resident_bytes());  // the whole page
  return base::round_up(used, os_page_) - base::round_up(used - holes, os_page_) + slack;
}

bool heap_impl::worth_retrying(const shelf& s) const noexcept {
  if (s.stuck_why == stop_reason::pinned && s.movable && s.stuck_unpins != unpins_) return true;
  return s.holes + s.parked > s.stuck_holes + s.stuck_holes / 4 + 16;
}

void heap_impl::unstick(shelf& s) noexcept {
  s.stuck = false;
  s.anchored = 0;
  s.stuck_unpins = unpins_;
}

// The shelf with most to gain, or the page of the large space. Where nothing presses, of some shelves in turn, as long
// as one of them is worth it: to look at all of them would cost more than moving what a shelf can give. False if there
// is none worth the work.
bool heap_impl::choose_victim(bool urgent, std::size_t block_bytes_max) noexcept {
  std::size_t best = os_page_ - 1;
  for (std::uint32_t i = 0; i < shelves_.size(); ++i) {
    if (!urgent && i >= shelves_sampled && victim_ != nullptr) break;
    if (++victim_cursor_ >= shelves_.size()) victim_cursor_ = 0;
    shelf* s = shelves_[victim_cursor_];
    if (s->stuck && !may_withdraw(*s) && !worth_retrying(*s)) continue;
    // Memory above a top may be wanted by that very shelf next, and costs a fault then: a hole counts for more.
    const std::size_t slack = s->slack_bytes(os_page_);
    const std::size_t gain = gain_of(*s);
    const std::size_t score = urgent ? gain : gain - slack + slack / 4;
    if (score > best) {
      best = score;
      victim_ = s;
    }
  }
  large_page* page = urgent ? emptiest_large_page(page_bytes_ - page_bytes_ / 8, large_.pages().size())
                            : emptiest_large_page(page_bytes_ / 2, large_pages_sampled);
  if (page != nullptr && large_waste(page) > best && begin_evacuating(page, block_bytes_max)) {
    victim_ = nullptr;
    return true;
  }
  if (victim_ == nullptr) return false;
  if (victim_->stuck ? !may_withdraw(*victim_) : victim_->stuck_unpins != unpins_) unstick(*victim_);
  victim_until_ = victim_->hole_bytes() / 2;
  return true;
}

// Gives back up to `goal` bytes, or as many as the work allows. Returns the bytes that the tops came down by, or, if
// the work is urgent, by which this heap holds less.
std::size_t heap_impl::reclaim(std::size_t goal, work_left& work) noexcept {
  std::size_t gained = 0;
  while (gained < goal) {
    const bool chosen_before = victim_ != nullptr || evacuating_ != nullptr;
    if (!chosen_before && !choose_victim(work.urgent, work.bytes)) {
      const std::size_t given = withdraw_beside_stuck(goal - gained, work);
      gained += given;
      if (given != 0) continue;
      nothing_frees_ = freed_bytes_;
      nothing_unpins_ = unpins_;
      break;
    }
    if (victim_ == nullptr) {
      const std::size_t held = held_;
      if (evacuate(work)) gained += held - std::min(held, held_);
      if (evacuating_ != nullptr) break;  // the work is spent
      continue;
    }
    shelf& s = *victim_;
    const std::size_t held = held_;
    std::size_t step = lower_and_trim(s, goal - gained, work);
    if (s.stuck && step < goal - gained) step += withdraw_holes(s, goal - gained - step, work);
    gained += step;
    if (!work.urgent) note_lowered(s, step);
    if (s.hole_bytes() > victim_until_ && step != 0) continue;
    victim_ = nullptr;
    if (!s.stuck && s.slack_bytes(os_page_) >= 2 * os_page_) trim_top(s);
    // Nothing came of it, as the work is spent or the OS refuses: it would be chosen again.
    if (step != 0) continue;
    if (s.stuck ? may_withdraw(s) : s.holes != 0 || (!chosen_before && held_ == held)) break;
  }
  return gained;
}

std::size_t heap_impl::lower_and_trim(shelf& s, std::size_t goal, work_left& work) noexcept {
  const std::size_t held = held_;
  const std::size_t slack = s.slack_bytes(os_page_);
  std::size_t lowered = 0;
  // What is resident above the top already serves an urgent need as well, without a move.
  if (!work.urgent || slack < goal) lowered = lower(s, goal, work);
  if (s.slack_bytes(os_page_) >= (work.urgent ? os_page_ : slack_batch_bytes)) trim_top(s);
  const std::size_t given = held - std::min(held, held_);
  return work.urgent ? given : std::max(lowered, given);
}

// --- One shelf ----------------------------------------------------------------------------------------------------

// Moves a block to a place of the same size, or a larger one.
verdict heap_impl::call_mover(std::uint8_t kind_index, void* from, void* to, std::size_t size,
                              std::size_t to_size) noexcept {
  kind_info& k = kind_infos_[kind_index];
  if constexpr (SCOOT_CHECK_LEVEL >= 1) before_move(kind_index, from, to, size, to_size);
  in_mover_ = true;
  const verdict answer = k.options.move(k.options.context, from, to, size - redzone());
  in_mover_ = false;
  if constexpr (SCOOT_CHECK_LEVEL >= 1) after_move(answer, to_size);
  switch (answer) {
    case verdict::moved:
      ++blocks_moved_;
      ++k.blocks_moved;
      bytes_moved_ += size - redzone();
      k.bytes_moved += size - redzone();
      ++page_of(from)->departures;
      ++page_of(to)->arrivals;
      break;
    case verdict::drop:
      ++blocks_dropped_;
      ++k.blocks_dropped;
      break;
    case verdict::keep:
      ++blocks_kept_;
      ++k.blocks_kept;
      break;
  }
  return answer;
}

// Leaves the top page alone and goes on with the one below it. False if there is none.
bool heap_impl::anchor(shelf& s, stop_reason why) noexcept {
  if (blocked_ != stop_reason::refused) blocked_ = why;
  trim_top(s);
  if (s.anchor_top()) return true;
  s.stuck = true;
  s.withdraw_next = 0;
  s.stuck_why = why;
  s.stuck_holes = s.holes;
  s.stuck_unpins = unpins_;
  s.stuck_frees = ~std::uint64_t{0};
  return false;
}

// A move spends most of its time waiting for memory, so we ask early for what the next moves will read and write.
// These are the blocks below the top; `ahead` is the lowest slot asked for so far.
void heap_impl::fetch_blocks(const shelf& s, const page_info* top, std::uint32_t index, std::uint32_t& ahead) noexcept {
  std::uint32_t blocks = 1;
  if (ahead > index) {
    ahead = index;
    blocks = std::clamp<std::uint32_t>(fetch_bytes / s.slot, 1, fetch_blocks_max);
  }
  while (blocks-- != 0 && s.next_live_below(top, ahead)) fetch<false>(s.slot_address(top, ahead), s.slot);
}

// And these the holes: one a few above that just filled, if the same word of the hole map has it.
void heap_impl::fetch_hole(const shelf& s, const page_info* page, std::uint32_t index) noexcept {
  std::uint64_t word = page->hole_map[index / 64];
  for (unsigned i = 0; i < holes_between; ++i) word &= word - 1;
  if (word == 0) return;
  const std::uint32_t next = index / 64 * 64 + static_cast<std::uint32_t>(std::countr_zero(word));
  fetch<true>(s.slot_address(page, next), s.slot);
}

// Asks the mover to move the block at the top into the lowest hole.
heap_impl::move_result heap_impl::move_top(shelf& s, page_info* top, std::uint32_t index, work_left& work) noexcept {
  void* from = s.slot_address(top, index);
  std::uint32_t hole_index = 0;
  page_info* hole_page = s.lowest_hole(hole_index);
  const verdict answer = call_mover(s.kind, from, s.slot_address(hole_page, hole_index), s.slot);
  work.spend(s.slot);
  if (answer == verdict::keep) return move_result::stays;
  if (answer == verdict::moved) {
    s.take_hole(hole_page, hole_index);
    fetch_hole(s, hole_page, hole_index);
  }
  return move_result::gone;
}

// Makes sure that the shelf has a hole or fresh slot. False: no budget.
bool heap_impl::make_slot(shelf& s) noexcept {
  if (s.holes != 0 || static_cast<std::size_t>(s.limit - s.bump) >= s.slot) return true;
  trim_idle_for(s.slot);
  return grow(s);
}

// Asks the mover to move a block to another shelf, which has a slot.
verdict heap_impl::move_into(shelf& into, std::uint8_t kind_index, void* from, std::size_t size) noexcept {
  std::uint32_t hole_index = 0;
  page_info* hole_page = into.holes != 0 ? into.lowest_hole(hole_index) : nullptr;
  char* to = hole_page != nullptr ? into.slot_address(hole_page, hole_index) : into.bump;
  const verdict answer = call_mover(kind_index, from, to, size, into.slot);
  if (answer != verdict::moved) return answer;
  if (hole_page != nullptr) {
    into.take_hole(hole_page, hole_index);
  } else {
    into.bump += into.slot;
    ++into.taken;
  }
  // Nothing was allocated or freed: only what is live became larger.
  ++into.counted_blocks;
  allocated_bytes_ += into.slot - size;
  return answer;
}

// The same with the block at the top of a shelf.
heap_impl::move_result heap_impl::move_top_into(shelf& s, page_info* top, std::uint32_t index, shelf& into,
                                                work_left& work) noexcept {
  const verdict answer = move_into(into, s.kind, s.slot_address(top, index), s.slot);
  work.spend(into.slot);
  if (answer == verdict::moved) --s.counted_blocks;
  return answer == verdict::keep ? move_result::stays : move_result::gone;
}

// Lowers the top by `goal` bytes, or as far as holes, pins, movers and work allow. Returns the bytes it came down by.
// With `into`, the blocks move there, and not into holes.
std::size_t heap_impl::lower(shelf& s, std::size_t goal, work_left& work, shelf* into) noexcept {
  return_parked(s, 0);
  std::size_t lowered = 0;
  const page_info* page = nullptr;
  std::uint32_t ahead = 0;
  while (page_info* top = s.top()) {
    if (top != page) ahead = ~std::uint32_t{0};
    page = top;
    const std::uint32_t fresh = s.slot_index(top, s.bump);
    if (fresh == 0) {
      s.pop();
      release_shelf_page(s, top);
      if (!work.on_time()) break;
      continue;
    }
    if (lowered >= goal) break;
    const std::uint32_t index = fresh - 1;
    std::size_t step = s.slot;
    if (base::test_bit(top->hole_map, index)) {
      step *= take_top_holes(s, top, index);
    } else {
      if (s.stuck || (into == nullptr && s.holes == 0)) break;
      ++blocks_examined_;
      if (!s.movable || is_pinned(top, s.slot_address(top, index))) {
        if (anchor(s, stop_reason::pinned)) continue;
        break;
      }
      if (!work.allows(into != nullptr ? into->slot : s.slot)) break;
      if (into != nullptr && !make_slot(*into)) {
        trim_top(s);  // what blocks left behind is room for the next
        if (!make_slot(*into)) break;
      }
      fetch_blocks(s, top, index, ahead);
      const move_result result =
          into != nullptr ? move_top_into(s, top, index, *into, work) : move_top(s, top, index, work);
      if (result == move_result::stays) {
        if (!asking_once_ && anchor(s, stop_reason::refused)) continue;
        break;
      }
      --s.taken;
    }
    s.bump -= step;
    lowered += step;
  }
  settle(s);
  return lowered;
}

// --- compact ------------------------------------------------------------------------------------------------------

// False: the work is spent.
bool heap_impl::compact_shelf(shelf& s, work_left& work) noexcept {
  const bool pinned = s.stuck && s.stuck_why == stop_reason::pinned && !may_withdraw(s);
  if (pinned && s.stuck_unpins == unpins_ && s.stuck_frees == frees_) {
    if (blocked_ != stop_reason::refused) blocked_ = stop_reason::pinned;
    return true;
  }
  const std::uint64_t frees = frees_;
  unstick(s);
  bool spent = s.closed && gains_by_draining(s) && !drain(s, work);
  if (!spent && !s.stuck && gain_of(s) >= os_page_) {
    lower(s, ~std::size_t{0}, work);
    spent = s.holes != 0 && !s.stuck && gain_of(s) >= os_page_;
  }
  if (!spent && !s.stuck && s.withdrawn != 0 && s.holes == 0) spent = !fill_withdrawn(s, work);
  if (s.stuck) {
    s.stuck_frees = frees;
    (void)withdraw_holes(s, ~std::size_t{0}, work);
    spent = may_withdraw(s);
  }
  std::size_t live = 0;
  if (s.partial != 0 && s.holes == 0 && !spent) {
    const std::size_t waste = partial_waste(s, live);
    if (worth_joining(waste, live)) {
      return_parked(s, 0);  // they count as taken, and are no blocks to move
      if (s.holes != 0 && !s.stuck) lower(s, ~std::size_t{0}, work);
      spent = s.holes == 0 ? !join_partial(s, work) : !s.stuck;
    }
  }
  trim_top(s);
  return !spent;
}

// False: the work is spent.
bool heap_impl::compact_shelves(work_left& work) noexcept {
  for (std::uint32_t i = 0; i < shelves_.size();) {
    shelf& s = *shelves_[i];
    if (!compact_shelf(s, work)) return false;
    if (s.blocks() == 0) {
      discard(s);
    } else {
      ++i;
    }
  }
  return true;
}

// What is idle in the pool goes to the OS, as far as time allows. False: it does not.
bool heap_impl::trim_idle(work_left& work) noexcept {
  while (pool_.idle_bytes() != 0) {
    if (!work.on_time()) return false;
    const std::size_t given = pool_.trim_some(trim_step_bytes, 0);
    trimmed_bytes_ += given;
    if (given == 0) break;
  }
  return true;
}

// Whether a compaction now would do what the last one did: nothing. Memory that the OS refused to take, or room in the
// budget that was not there, are reasons to try again.
bool heap_impl::is_vain(bool thorough) const noexcept {
  return vain_.changes == allocations_ + frees_ + unpins_ && (vain_.thorough || !thorough) &&
         pool_.room() <= vain_.room;
}

// Asks about one block that was refused, in turn. False: something moved, or there is none to ask about in this way.
bool heap_impl::refuses_still(work_left& work) noexcept {
  const std::uint32_t shelves = shelves_.size();
  const std::uint32_t count = shelves + large_.pages().size();
  const std::uint64_t gone = blocks_moved_ + blocks_dropped_;
  const std::uint64_t kept = blocks_kept_;
  for (std::uint32_t n = 0; n < count && blocks_kept_ == kept && blocks_moved_ + blocks_dropped_ == gone; ++n) {
    const std::uint32_t at = ask_next_++ % count;
    if (at >= shelves) {
      large_page* in = large_.pages()[at - shelves];
      if (in->refusals != 0 && all_movable(in) && in != evacuating_) ask_again(in, work);
      continue;
    }
    shelf& s = *shelves_[at];
    if (!s.stuck || s.stuck_why != stop_reason::refused) continue;
    if (!s.anchor_top()) s.anchored = 0;  // each time another page is asked
    s.stuck = false;
    asking_once_ = true;
    lower(s, 1, work);
    asking_once_ = false;
    s.stuck = true;
    s.stuck_why = stop_reason::refused;
  }
  return blocks_kept_ != kept && blocks_moved_ + blocks_dropped_ == gone;
}

// False: the work is spent.
bool heap_impl::compact_parts(work_left& work, bool thorough) noexcept {
  const std::uint64_t kept = blocks_kept_;
  // If the effort covers the heap, short shelves move straight to where they end; if not, when there is no other gain.
  if (thorough) close_shelves();
  bool spent = !compact_shelves(work);
  if (!thorough && !spent) {
    close_shelves();
    spent = !compact_shelves(work);
  }
  spent = spent || (thorough && !join_tops(work));
  spent = spent || !compact_large(work, thorough);
  spent = !trim_idle(work) || spent;
  if (!spent && thorough) spent = !gather_pages(work);
  if (!spent && blocks_kept_ != kept) {  // what gathering moved before a mover refused may lie on a page more
    spent = !empty_large_pages(work) || !trim_idle(work);
  }
  if (!spent) pack_metadata(work);
  return !spent && work.on_time();
}

compaction heap_impl::compact_all(const effort& e) noexcept {
  if constexpr (SCOOT_CHECK_LEVEL >= 1) {
    check_outside_callback("compact");
    begin_call(move_cause::compaction);
  }
  const pause_timer timer(*this);
  const bool timed = e.time_max != std::chrono::nanoseconds::max();
  const auto time_max = static_cast<std::uint64_t>(std::max<std::int64_t>(e.time_max.count(), 0));
  work_left work{e.bytes_max, timed ? std::max<std::uint64_t>(os::now_ns() + time_max, 1) : 0};
  const std::uint64_t moved = bytes_moved_;
  const std::uint64_t blocks = blocks_moved_;
  const std::uint64_t dropped = blocks_dropped_;
  const std::uint64_t kept = blocks_kept_;
  const std::uint64_t trimmed = trimmed_bytes_;
  const std::uint64_t grown = grown_bytes_;
  const std::size_t made_room = pool_.trimmed_for_room();
  victim_ = nullptr;
  os_refused_ = false;
  for (shelf* each : shelves_) settle(*each);
  const bool thorough = e.bytes_max >= held_;
  bool vain = is_vain(thorough);
  if (vain && vain_.why == stop_reason::refused) vain = refuses_still(work);
  blocked_ = vain ? vain_.why : stop_reason::done;
  const bool spent = vain ? !trim_idle(work) : !compact_parts(work, thorough);
  compaction c;
  c.bytes_moved = static_cast<std::size_t>(bytes_moved_ - moved);
  c.blocks_moved = static_cast<std::size_t>(blocks_moved_ - blocks);
  c.blocks_dropped = static_cast<std::size_t>(blocks_dropped_ - dropped);
  c.blocks_kept = static_cast<std::size_t>(blocks_kept_ - kept);
  const std::uint64_t taken = grown_bytes_ - grown;  // to have where to move to
  const std::uint64_t given = trimmed_bytes_ + (pool_.trimmed_for_room() - made_room);
  c.bytes_given_back = static_cast<std::size_t>(given - std::min(given, trimmed + taken));
  if (spent) {
    c.why = stop_reason::effort_spent;
  } else if (blocked_ != stop_reason::done) {
    c.why = blocked_;
  } else {
    c.why = c.bytes_moved != 0 || c.bytes_given_back != 0 ? stop_reason::done : stop_reason::nothing_to_gain;
  }
  if (!vain) {
    const bool nothing = !spent && !os_refused_ && blocks_moved_ == blocks && blocks_dropped_ == dropped;
    vain_.changes = nothing ? allocations_ + frees_ + unpins_ : ~std::uint64_t{0};
    vain_.room = pool_.room();
    vain_.thorough = thorough;
    vain_.why = blocked_;
  }
  return c;
}

}  // namespace scoot
