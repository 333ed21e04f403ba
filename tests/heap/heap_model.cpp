// SPDX-License-Identifier: MIT
#include "heap_model.hpp"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ostream>

#include "os/os.hpp"

namespace scoot::testing {

namespace {

constexpr std::size_t kib = 1024;
constexpr std::size_t chunk_bytes = 4096;
constexpr std::size_t kinds_max = 24;  // that operations make
// Allocations move everything now and then; see scoot_test in cmake/targets.cmake.
const bool moves_everything = std::getenv("SCOOT_MOVE_EVERYTHING") != nullptr;

// Blocks hold slices of a table of random bytes, a slice for each 4 KiB, so that filling and checking are memcpy and
// memcmp.
class pattern {
 public:
  pattern() : bytes_(table_bytes) {
    std::mt19937_64 random(0x5c007);
    for (std::byte& b : bytes_) b = static_cast<std::byte>(random());
  }
  void fill(std::byte* to, std::size_t size, std::uint32_t seed) const {
    each_chunk(size, seed, [&](std::size_t at, std::size_t n, const std::byte* slice) {
      std::memcpy(to + at, slice, n);
      return true;
    });
  }
  [[nodiscard]] bool matches(const std::byte* from, std::size_t size, std::uint32_t seed) const {
    return each_chunk(size, seed, [&](std::size_t at, std::size_t n, const std::byte* slice) {
      return std::memcmp(from + at, slice, n) == 0;
    });
  }

 private:
  static constexpr std::size_t table_bytes = 64 * kib + chunk_bytes;

  template <class Function>
  bool each_chunk(std::size_t size, std::uint32_t seed, Function function) const {
    for (std::size_t at = 0; at < size; at += chunk_bytes) {
      const std::size_t offset = (seed + at / chunk_bytes * 7919U) % (table_bytes - chunk_bytes);
      if (!function(at, std::min(chunk_bytes, size - at), bytes_.data() + offset)) return false;
    }
    return true;
  }

  std::vector<std::byte> bytes_;
};

const pattern& the_pattern() {
  static const pattern table;
  return table;
}

std::uintptr_t number(const void* address) { return reinterpret_cast<std::uintptr_t>(address); }

const char* name_of(op_code code) {
  static constexpr const char* names[] = {
      "allocate",        "free",       "pin",      "unpin",     "compact",       "compact_bounded",
      "move_everything", "set_budget", "trim",     "free_many", "allocate_many", "reallocate",
      "release",         "hand_over",  "estimate", "add_kind"};
  return names[static_cast<std::size_t>(code)];
}

}  // namespace

std::vector<kind_spec> all_sorts_of_kinds() {
  return {{8, true, 0, 0},  {8, false, 0, 0},   {64, true, 10, 0},  {8, true, 30, 5},
          {16, true, 0, 3}, {4096, true, 5, 5}, {256, false, 0, 0}, {1024, true, 0, 0}};
}

std::string to_string(const operation& o) {
  char text[64];
  std::snprintf(text, sizeof text, "{%s, %u, %u}", name_of(o.code), o.a, o.b);
  return text;
}

void showValue(const operation& o, std::ostream& out) { out << to_string(o); }

heap_model::heap_model(const model_options& options) : options_(options), random_(options.seed) {
  if (options_.pool == nullptr) {
    own_pool_ = page_pool::create(options_.pool_options);
    options_.pool = own_pool_.get();
  }
  pool_ = options_.pool;
  if (pool_ == nullptr) {
    fail("no pool");
    return;
  }
  heap_ = heap::create(*pool_, options_.heap);
  if (heap_ == nullptr) {
    fail("no heap");
    return;
  }
  if (options_.scarce_address) os::refuse_reserve(true);
  for (const kind_spec& spec : options_.kinds) {
    if (make_kind(spec)) continue;
    fail("kind %zu refused", kinds_.size());
    return;
  }
}

bool heap_model::make_kind(const kind_spec& spec) {
  auto state = std::make_unique<kind_state>();
  state->model = this;
  state->spec = spec;
  state->index = static_cast<std::uint8_t>(kinds_.size());
  kind_options wanted;
  wanted.name = "model";
  wanted.alignment = spec.alignment;
  wanted.move = spec.movable ? &heap_model::move : nullptr;
  wanted.context = state.get();
  state->id = heap_->add_kind(wanted);
  if (!state->id) return false;
  kinds_.push_back(std::move(state));
  return true;
}

heap_model::~heap_model() {
  if (options_.scarce_address) os::refuse_reserve(false);
  may_move_ = false;  // destroying a heap calls no mover
  heap_.reset();
}

void heap_model::fail(const char* format, ...) {
  if (!failure_.empty()) return;
  char text[400];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  failure_ = "operation " + std::to_string(operations_) + ": " + text;
}

// --- The mover ------------------------------------------------------------------------------------------------------

verdict heap_model::move(void* context, void* from, void* to, std::size_t size) noexcept {
  const auto* kind = static_cast<const kind_state*>(context);
  return kind->model->move_block(*kind, static_cast<std::byte*>(from), static_cast<std::byte*>(to), size);
}

verdict heap_model::move_block(const kind_state& kind, std::byte* from, std::byte* to, std::size_t size) {
  if (!may_move_) fail("mover called by an operation that must not move");
  const auto found = by_address_.find(number(from));
  if (found == by_address_.end()) {
    fail("mover called for %p, which is no block", static_cast<void*>(from));
    return verdict::keep;
  }
  const std::size_t index = found->second;
  block& b = blocks_[index];
  if (b.pins != 0) fail("mover called for a pinned block");
  if (b.kind != kind.index) fail("mover of kind %u called for a block of kind %u", kind.index, b.kind);
  if (!kind.spec.movable) fail("mover called for a kind without one");
  if (size < b.usable) fail("mover told of %zu bytes, the block has %zu", size, b.usable);
  live_bytes_ += size - b.usable;  // moved before in this operation, and made larger
  b.usable = size;
  if (number(to) % kind.spec.alignment != 0) fail("mover given an unaligned place");
  if (to < from + size && from < to + size) fail("from and to overlap");
  if (!is_free_range(to, size, from)) fail("mover given a place where a live block is");
  if (!the_pattern().matches(from, b.filled, b.seed)) fail("bytes of a block changed before its move");
  if (!failure_.empty()) return verdict::keep;

  const unsigned dice = static_cast<unsigned>(random_() % 100);
  if (dice < kind.spec.keep_percent) {
    std::memset(to, 0xa5, size);  // a mover may have begun to copy before it thought better of it
    ++now_.blocks_kept;
    return verdict::keep;
  }
  if (dice < kind.spec.keep_percent + kind.spec.drop_percent) {
    ++now_.blocks_dropped;
    forget(index);
    return verdict::drop;
  }
  std::memcpy(to, from, size);
  std::memset(from, 0xdb, size);
  by_address_.erase(found);
  b.address = to;
  by_address_.emplace(number(to), index);
  arrivals_.push_back(to);
  ++now_.blocks_moved;
  now_.bytes_moved += size;
  return verdict::moved;
}

bool heap_model::is_free_range(const std::byte* address, std::size_t bytes, const std::byte* except) const {
  auto after = by_address_.lower_bound(number(address));
  for (auto it = after; it != by_address_.end() && it->first < number(address) + bytes; ++it) {
    if (it->first != number(except)) return false;
  }
  while (after != by_address_.begin()) {
    --after;
    if (after->first == number(except)) continue;
    return after->first + blocks_[after->second].usable <= number(address);
  }
  return true;
}

void heap_model::forget(std::size_t index) {
  live_bytes_ -= blocks_[index].usable;
  by_address_.erase(number(blocks_[index].address));
  if (index + 1 != blocks_.size()) {
    blocks_[index] = blocks_.back();
    by_address_[number(blocks_[index].address)] = index;
  }
  blocks_.pop_back();
}

// --- Operations -----------------------------------------------------------------------------------------------------

void heap_model::begin(bool may_move) {
  now_ = counts{};
  arrivals_.clear();
  may_move_ = may_move;
  held_before_ = pool_->stats().held_bytes;
}

void heap_model::end() {
  may_move_ = false;
  total_.bytes_moved += now_.bytes_moved;
  total_.blocks_moved += now_.blocks_moved;
  total_.blocks_dropped += now_.blocks_dropped;
  total_.blocks_kept += now_.blocks_kept;
  for (std::byte* address : arrivals_) {
    const auto found = by_address_.find(number(address));
    if (found == by_address_.end()) continue;  // moved on, or dropped
    block& b = blocks_[found->second];
    const std::size_t usable = heap_->usable_size(address);
    if (usable < b.usable || usable > b.usable + b.usable / 8 + 8) {
      fail("a move made a block of %zu bytes one of %zu", b.usable, usable);
    }
    live_bytes_ += usable - b.usable;
    b.usable = usable;
    if (!is_free_range(address, usable, address)) fail("a moved block of %zu bytes reaches into a live one", usable);
  }
}

std::size_t heap_model::size_of(std::uint32_t b) const {
  const std::size_t n = b >> 4;
  const std::size_t page = pool_->page_bytes();
  std::size_t size = 1 + n % 64;
  switch (b % 16) {
    case 0:
    case 1:
    case 2:
    case 3:
      break;
    case 4:
    case 5:
    case 6:
    case 7:
      size = 1 + n % kib;
      break;
    case 8:
    case 9:
      size = 1 + n % (8 * kib);
      break;
    case 10:
      size = 7 * kib + n % (2 * kib);  // both sides of the largest slot
      break;
    case 11:
    case 12:
      size = 8 * kib + n % (page / 2 - 8 * kib);
      break;
    case 13:
      size = page / 2 - kib + n % (2 * kib);  // both sides of the smallest run
      break;
    case 14:
      size = page / 2 + n % (3 * page);
      break;
    default:
      size = std::max<std::size_t>(1, n % (options_.size_max + 1));
      break;
  }
  return std::min(size, options_.size_max);
}

void heap_model::allocate(std::size_t kind_index, std::size_t size) {
  if (live_bytes_ + size > options_.live_bytes_max) return;
  const kind_state& kind = *kinds_[kind_index];
  begin(true);
  auto* address = static_cast<std::byte*>(heap_->allocate(kind.id, size));
  end();
  if (!moves_everything && now_.bytes_moved > options_.heap.move_bytes_max + size) {
    fail("allocating %zu bytes moved %llu", size, static_cast<unsigned long long>(now_.bytes_moved));
  }
  if (address == nullptr) return check_null_result(kind_index, size);
  block b;
  b.address = address;
  b.asked = size;
  b.usable = b.filled = heap_->usable_size(address);
  b.seed = static_cast<std::uint32_t>(random_());
  b.kind = static_cast<std::uint8_t>(kind_index);
  if (b.usable < size) return fail("asked for %zu bytes, got %zu", size, b.usable);
  if (number(address) % kind.spec.alignment != 0) return fail("block not aligned to %zu", kind.spec.alignment);
  if (!is_free_range(address, b.usable, nullptr)) return fail("new block of %zu bytes lies on a live one", size);
  the_pattern().fill(address, b.usable, b.seed);
  by_address_.emplace(number(address), blocks_.size());
  blocks_.push_back(b);
  live_bytes_ += b.usable;
}

// A null result needs a reason: the budget. What allocating takes besides the block: alignment, at most one page that
// the block has to itself, and a step of metadata.
void heap_model::check_null_result(std::size_t kind_index, std::size_t size) {
  ++refused_;
  if (os_may_fail_ || own_pool_ == nullptr || options_.scarce_address) return;
  const page_pool_stats s = pool_->stats();
  const std::size_t besides = kinds_[kind_index]->spec.alignment + 64 * kib + size / 16;
  const std::size_t needed = s.held_bytes - s.idle_bytes + size + besides;
  if (needed <= s.budget_bytes) {
    fail("%zu bytes refused with %zu held, %zu of them idle, of a budget of %zu", size, s.held_bytes, s.idle_bytes,
         s.budget_bytes);
  }
}

void heap_model::free_block(std::size_t index) {
  const block b = blocks_[index];
  if (b.pins != 0) return;
  if (!the_pattern().matches(b.address, b.filled, b.seed)) return fail("bytes of a block changed before its free");
  forget(index);
  std::memset(b.address, 0xee, b.usable);
  begin(false);
  heap_->free(b.address);
  end();
}

void heap_model::reallocate(std::size_t index, std::size_t size) {
  if (live_bytes_ + size > options_.live_bytes_max) return;
  const block b = blocks_[index];
  const kind_state& kind = *kinds_[b.kind];
  const std::uint64_t failures = heap_->stats().failures;
  begin(true);
  auto* address = static_cast<std::byte*>(heap_->reallocate(kind.id, b.address, size));
  end();
  const bool refused = heap_->stats().failures != failures;
  if (refused) check_null_result(b.kind, size);
  const bool in_place = address == b.address;
  if (address == nullptr || in_place) {
    if (by_address_.count(number(b.address)) == 0) return fail("a block moved while it was reallocated");
    if (in_place && b.usable < size) fail("%zu bytes do for %zu", b.usable, size);
    if (address == nullptr && b.usable >= size)
      fail("reallocate failed, although %zu bytes do for %zu", b.usable, size);
    return;  // null, and not refused: pinned, or no memory to pin it
  }
  if (b.pins != 0) return fail("a pinned block was replaced");
  forget(by_address_.at(number(b.address)));
  block grown = b;
  grown.address = address;
  grown.asked = size;
  grown.usable = grown.filled = heap_->usable_size(address);
  if (grown.usable < size) return fail("asked for %zu bytes, got %zu", size, grown.usable);
  if (number(address) % kind.spec.alignment != 0) return fail("block not aligned to %zu", kind.spec.alignment);
  if (!is_free_range(address, grown.usable, nullptr))
    return fail("a grown block of %zu bytes lies on a live one", size);
  if (!the_pattern().matches(address, std::min(b.filled, size), b.seed)) return fail("bytes of a block were not kept");
  the_pattern().fill(address, grown.usable, grown.seed);
  by_address_.emplace(number(address), blocks_.size());
  blocks_.push_back(grown);
  live_bytes_ += grown.usable;
}

void heap_model::pin_block(std::size_t index) {
  block& b = blocks_[index];
  if (b.pins >= 100) return;
  begin(false);
  const bool pinned = heap_->pin(b.address);
  end();
  if (pinned && b.pins++ == 0) ++pinned_;
  if (!pinned && b.pins != 0) fail("a further pin refused");
}

void heap_model::unpin_block(std::size_t index) {
  block& b = blocks_[index];
  if (b.pins == 0) return;
  begin(false);
  heap_->unpin(b.address);
  end();
  if (--b.pins == 0) --pinned_;
}

void heap_model::run_compact(const effort& e) {
  const std::size_t held = heap_->stats().held_bytes;
  const page_pool_stats before = pool_->stats();
  begin(true);
  const compaction done = heap_->compact(e);
  end();
  if (done.bytes_moved != now_.bytes_moved || done.blocks_moved != now_.blocks_moved ||
      done.blocks_dropped != now_.blocks_dropped || done.blocks_kept != now_.blocks_kept) {
    return fail("compact says moved %zu (%zu bytes) dropped %zu kept %zu, the movers say %llu (%llu) %llu %llu",
                done.blocks_moved, done.bytes_moved, done.blocks_dropped, done.blocks_kept,
                static_cast<unsigned long long>(now_.blocks_moved), static_cast<unsigned long long>(now_.bytes_moved),
                static_cast<unsigned long long>(now_.blocks_dropped),
                static_cast<unsigned long long>(now_.blocks_kept));
  }
  if (done.bytes_moved > e.bytes_max) fail("compact moved %zu bytes of at most %zu", done.bytes_moved, e.bytes_max);
  const std::size_t held_after = heap_->stats().held_bytes;
  // Part-used pages are joined a block at a time: where that stops, an OS page may be begun and another not yet empty.
  const std::size_t begun = 4096 * (done.blocks_kept + (done.why == stop_reason::effort_spent ? 1 : 0));
  if (held_after > held + begun) {
    fail("compact raised the held bytes from %zu to %zu, with %zu blocks moved, %zu refused, because %u", held,
         held_after, done.blocks_moved, done.blocks_kept, static_cast<unsigned>(done.why));
  }
  check_given_back(before, done.bytes_given_back, "compact");
  const effort unlimited;
  if (done.why == stop_reason::effort_spent && e.bytes_max == unlimited.bytes_max && e.time_max == unlimited.time_max) {
    fail("compact without limits says effort_spent");
  }
  if (done.why == stop_reason::nothing_to_gain && (done.blocks_moved != 0 || done.bytes_given_back != 0)) {
    fail("compact gained and says nothing_to_gain");
  }
  if (done.why == stop_reason::pinned && pinned_ == 0 &&
      std::none_of(kinds_.begin(), kinds_.end(), [](const auto& k) { return !k->spec.movable; })) {
    fail("compact says pinned, and nothing is");
  }
  if (done.why == stop_reason::refused && now_.blocks_kept == 0) fail("compact says refused, and no mover did");
}

void heap_model::run_move_everything() {
  begin(true);
  const std::size_t moved = heap_->move_everything();
  end();
  if (moved != now_.blocks_moved) {
    fail("move_everything says %zu blocks, the movers say %llu", moved,
         static_cast<unsigned long long>(now_.blocks_moved));
  }
}

// Of this pool's pages no other heap's: what it holds less went to the OS, and what a move first took came on top.
void heap_model::check_given_back(const page_pool_stats& before, std::size_t told, const char* what) {
  const page_pool_stats after = pool_->stats();
  const std::size_t resident_before = before.held_bytes - before.metadata_bytes;
  const std::size_t resident_after = after.held_bytes - after.metadata_bytes;
  if (own_pool_ == nullptr || resident_after + told >= resident_before) return;
  fail("%s says it gave back %zu bytes, the pool holds %zu less", what, told, resident_before - resident_after);
}

std::size_t heap_model::evict(void* context, std::size_t bytes) noexcept {
  return static_cast<heap_model*>(context)->evict_some(bytes);
}

// A few blocks, wherever they are.
std::size_t heap_model::evict_some(std::size_t bytes) {
  std::size_t freed = 0;
  for (int tries = 0; tries < 8 && freed < bytes && !blocks_.empty() && failure_.empty(); ++tries) {
    const auto index = static_cast<std::size_t>(random_() % blocks_.size());
    const block b = blocks_[index];
    if (b.pins != 0) continue;
    if (!the_pattern().matches(b.address, b.filled, b.seed)) fail("bytes of a block changed before its eviction");
    freed += b.usable;
    forget(index);
    heap_->free(b.address);
  }
  evicted_ += freed;
  return freed;
}

void heap_model::run_release(std::size_t bytes, bool evicts, std::size_t bytes_max) {
  const page_pool_stats before = pool_->stats();
  release_options options;
  options.evict = evicts ? &heap_model::evict : nullptr;
  options.context = this;
  options.limit.bytes_max = bytes_max;
  begin(true);
  evicted_ = 0;
  const release_result done = heap_->release(bytes, options);
  end();
  if (done.bytes_moved != now_.bytes_moved || done.blocks_dropped != now_.blocks_dropped) {
    fail("release says it moved %zu bytes and dropped %zu blocks, the movers say %llu and %llu", done.bytes_moved,
         done.blocks_dropped, static_cast<unsigned long long>(now_.bytes_moved),
         static_cast<unsigned long long>(now_.blocks_dropped));
  }
  if (done.bytes_moved > bytes_max) fail("release moved %zu bytes of at most %zu", done.bytes_moved, bytes_max);
  if (done.bytes_evicted != evicted_) fail("release says %zu bytes evicted of %zu", done.bytes_evicted, evicted_);
  if ((done.why == stop_reason::done) != (done.bytes_given_back >= bytes)) {
    fail("release gave back %zu of %zu bytes and says %u", done.bytes_given_back, bytes,
         static_cast<unsigned>(done.why));
  }
  check_given_back(before, done.bytes_given_back, "release");
}

void heap_model::take(void* context, const void* address, std::size_t size) noexcept {
  static_cast<heap_model*>(context)->take_block(static_cast<const std::byte*>(address), size);
}

void heap_model::take_block(const std::byte* address, std::size_t size) {
  ++shown_;
  const auto found = by_address_.find(number(address));
  if (found == by_address_.end())
    return fail("hand_over showed %p, which is no block", static_cast<const void*>(address));
  const block& b = blocks_[found->second];
  if (b.kind != handed_ || b.pins != 0) fail("hand_over showed a block of another kind, or a pinned one");
  if (size != b.usable) fail("hand_over told of %zu bytes, the block has %zu", size, b.usable);
  if (!the_pattern().matches(address, b.filled, b.seed)) fail("bytes of a block changed before it was handed over");
  forget(found->second);
}

void heap_model::run_hand_over(std::size_t kind_index) {
  begin(false);
  shown_ = 0;
  handed_ = static_cast<std::uint8_t>(kind_index);
  const std::size_t told = heap_->hand_over(kinds_[kind_index]->id, &heap_model::take, this);
  end();
  if (told != shown_) fail("hand_over says %zu blocks of %zu", told, shown_);
  const auto left = [&](const block& b) { return b.kind == kind_index; };
  if (pinned_ == 0 && std::any_of(blocks_.begin(), blocks_.end(), left))
    fail("hand_over left a block, none being pinned");
}

void heap_model::run_estimate() {
  begin(false);
  const forecast f = heap_->estimate();
  end();
  const std::size_t held = pool_->held_bytes();
  if (own_pool_ != nullptr && f.bytes_to_gain > held) fail("estimate of %zu bytes of %zu held", f.bytes_to_gain, held);
}

void heap_model::add_kind(std::size_t like) {
  if (kinds_.size() >= kinds_max) return;
  const kind_spec spec = kinds_[like]->spec;
  begin(true);
  const bool added = make_kind(spec);
  end();
  if (now_.bytes_moved > std::max(options_.heap.move_bytes_max, 64 * kib)) fail("add_kind moved too much");
  const page_pool_stats s = pool_->stats();
  const std::size_t needed = s.held_bytes - s.idle_bytes + 128 * kib;
  if (!added && needed <= s.budget_bytes && own_pool_ != nullptr && !os_may_fail_) fail("a kind refused");
}

void heap_model::change_budget(std::size_t bytes) {
  if (own_pool_ == nullptr) return;
  const page_pool_stats before = pool_->stats();
  begin(false);
  const bool changed = pool_->set_budget(bytes);
  end();
  const page_pool_stats after = pool_->stats();
  if (after.budget_bytes != (changed ? bytes : before.budget_bytes)) fail("set_budget says one thing and does another");
  if (!changed && bytes >= page_pool::budget_bytes_min && bytes <= before.address_bytes && !os_may_fail_) {
    fail("budget of %zu bytes refused", bytes);
  }
}

void heap_model::run(const operation& o) {
  const std::size_t count = blocks_.size();
  switch (o.code) {
    case op_code::allocate:
      return allocate(o.a % kinds_.size(), size_of(o.b));
    case op_code::allocate_many:
      for (std::uint32_t i = 0; i < 1 + o.b / 16 % 64 && failure_.empty(); ++i) {
        allocate(o.a % kinds_.size(), size_of(o.b * 2654435761U / 16 * 16 * (i + 1) + o.b % 8));
      }
      return;
    case op_code::free:
      return count != 0 ? free_block(o.a % count) : void();
    case op_code::free_many:
      for (std::size_t i = count; i-- > 0 && failure_.empty();) {
        if (((o.a ^ i) * 0x9e3779b97f4a7c15U >> 56) < o.b % 257) free_block(i);
      }
      return;
    case op_code::reallocate:
      return count != 0 ? reallocate(o.a % count, size_of(o.b)) : void();
    case op_code::pin:
      return count != 0 ? pin_block(o.a % count) : void();
    case op_code::unpin:
      if (pinned_ == 0) return;
      for (std::size_t i = 0; i < count; ++i) {
        if (blocks_[(o.a + i) % count].pins != 0) return unpin_block((o.a + i) % count);
      }
      return;
    case op_code::compact:
      return run_compact({});
    case op_code::compact_bounded: {
      effort e;
      e.bytes_max = o.a % (64 * kib);
      if (o.b % 4 == 0) e.time_max = std::chrono::nanoseconds(o.b % 100000);
      return run_compact(e);
    }
    case op_code::move_everything:
      return run_move_everything();
    case op_code::set_budget:
      return change_budget(page_pool::budget_bytes_min + o.a % (2 * options_.pool_options.budget_bytes));
    case op_code::release:
      return run_release(o.a % (512 * kib), o.b % 2 != 0, o.b % 4 < 2 ? effort{}.bytes_max : o.b % (256 * kib));
    case op_code::hand_over:
      return run_hand_over(o.a % kinds_.size());
    case op_code::estimate:
      return run_estimate();
    case op_code::add_kind:
      return add_kind(o.a % kinds_.size());
    case op_code::trim: {
      pool_->trim(o.a % (512 * kib));
      return;
    }
  }
}

bool heap_model::apply(const operation& o) {
  if (!failure_.empty() || heap_ == nullptr) return false;
  ++operations_;
  const page_pool_stats before = pool_->stats();
  run(o);
  const page_pool_stats after = pool_->stats();
  if (after.held_bytes > std::max(after.budget_bytes, own_pool_ != nullptr ? before.held_bytes : 0)) {
    fail("%zu bytes held of a budget of %zu (%zu before)", after.held_bytes, after.budget_bytes, before.held_bytes);
  }
  check_stats();
  if (options_.verify_every != 0 && operations_ % options_.verify_every == 0) verify();
  return failure_.empty();
}

// --- Checks ---------------------------------------------------------------------------------------------------------

void heap_model::check_stats() {
  const heap_stats s = heap_->stats();
  if (s.blocks != blocks_.size()) fail("heap counts %zu blocks of %zu", s.blocks, blocks_.size());
  if (s.live_bytes != live_bytes_) fail("heap counts %zu live bytes of %zu", s.live_bytes, live_bytes_);
  if (s.pinned_blocks != pinned_) fail("heap counts %zu pinned blocks of %zu", s.pinned_blocks, pinned_);
  if (s.blocks_moved != total_.blocks_moved || s.bytes_moved != total_.bytes_moved) fail("moves counted wrongly");
  if (s.blocks_dropped != total_.blocks_dropped) fail("drops counted wrongly");
  if (s.blocks_kept != total_.blocks_kept) fail("refusals counted wrongly");
  if (s.failures != refused_) fail("heap counts %llu failures", static_cast<unsigned long long>(s.failures));
  if (s.held_bytes < s.live_bytes) fail("%zu bytes held, %zu live", s.held_bytes, s.live_bytes);
}

void heap_model::check_contents() {
  for (const block& b : blocks_) {
    if (!the_pattern().matches(b.address, b.filled, b.seed)) {
      return fail("bytes of a block of %zu at %p changed", b.usable, static_cast<void*>(b.address));
    }
    if (heap_->usable_size(b.address) != b.usable) return fail("usable size of a block changed");
  }
}

bool heap_model::verify() {
  if (!failure_.empty() || heap_ == nullptr) return false;
  check_contents();
  heap_->verify();
  return failure_.empty();
}

bool heap_model::free_all() {
  if (!failure_.empty() || heap_ == nullptr) return false;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    while (blocks_[i].pins != 0 && failure_.empty()) unpin_block(i);
  }
  while (!blocks_.empty() && failure_.empty()) free_block(blocks_.size() - 1);
  check_stats();
  return verify();
}

}  // namespace scoot::testing
