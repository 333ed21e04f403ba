// SPDX-License-Identifier: MIT
#include "policy_models.hpp"

#include <algorithm>
#include <array>
#include <queue>

#include "object_lists.hpp"
#include "random.hpp"

namespace bench {
namespace {

constexpr std::uint32_t nobody = object_lists::nobody;
constexpr std::size_t item_bytes_max = std::size_t{1} << 20;  // of memcached and scoot::cache alike

std::uint32_t payload_of(const trace_request& q) { return q.key_bytes + q.value_bytes; }

// What all models share: which objects are there, of what size, until when.
class model : public replayed_cache {
 public:
  explicit model(const request_trace& t) : bytes_(t.objects, 0), expires_(t.objects, 0) {}

  void pass_time(std::uint32_t now) override {
    now_ = now;
    while (!due_.empty() && due_.top().first <= now) {
      const auto [at, object] = due_.top();
      due_.pop();
      if (bytes_[object] != 0 && expires_[object] == at) drop(object);
    }
  }
  bool store(const trace_request& q, when condition) override {
    const bool there = bytes_[q.object] != 0;
    if (condition != when::always && there != (condition == when::present)) return false;
    set(q);
    return true;
  }
  void remove(const trace_request& q) override {
    if (bytes_[q.object] != 0) drop(q.object);
  }
  [[nodiscard]] std::uint64_t evictions() const override { return evictions_; }
  [[nodiscard]] std::size_t payload_bytes() const override { return payload_; }
  [[nodiscard]] std::size_t items() const override { return items_; }

 protected:
  virtual void set(const trace_request& q) = 0;
  virtual void forget(std::uint32_t object) = 0;  // takes it out of the policy's lists

  void hold(const trace_request& q) {
    bytes_[q.object] = payload_of(q);
    payload_ += bytes_[q.object];
    ++items_;
    expires_[q.object] = q.ttl == 0 ? 0 : now_ + q.ttl;
    if (q.ttl != 0) due_.emplace(expires_[q.object], q.object);
  }
  void drop(std::uint32_t object) {
    forget(object);
    payload_ -= bytes_[object];
    --items_;
    bytes_[object] = 0;
  }
  void evict(std::uint32_t object) {
    ++evictions_;
    drop(object);
  }

  std::vector<std::uint32_t> bytes_;    // by object; 0: it is not there
  std::vector<std::uint32_t> expires_;  // by object; 0: never
  std::uint32_t now_ = 0;
  std::size_t payload_ = 0;
  std::size_t items_ = 0;

 private:
  using due = std::pair<std::uint32_t, std::uint32_t>;  // when, which
  std::priority_queue<due, std::vector<due>, std::greater<>> due_;
  std::uint64_t evictions_ = 0;
};

class lru final : public model {
 public:
  lru(const request_trace& t, std::size_t capacity) : model(t), order_(t.objects, 1), capacity_(capacity) {}

  bool get(const trace_request& q) override {
    if (bytes_[q.object] == 0) return false;
    order_.remove(0, q.object);
    order_.push_front(0, q.object);
    return true;
  }
  void set(const trace_request& q) override {
    remove(q);
    if (payload_of(q) > std::min(item_bytes_max, capacity_)) return;
    while (payload_ + payload_of(q) > capacity_) evict(order_.back(0));
    hold(q);
    order_.push_front(0, q.object);
  }

 private:
  void forget(std::uint32_t object) override { order_.remove(0, object); }

  object_lists order_;
  std::size_t capacity_;
};

class sieve final : public model {
 public:
  sieve(const request_trace& t, std::size_t capacity)
      : model(t), order_(t.objects, 1), visited_(t.objects, 0), capacity_(capacity) {}

  bool get(const trace_request& q) override {
    if (bytes_[q.object] == 0) return false;
    visited_[q.object] = 1;
    return true;
  }
  void set(const trace_request& q) override {
    if (bytes_[q.object] == payload_of(q)) {  // overwritten in place
      visited_[q.object] = 1;
      expires_[q.object] = 0;
      payload_ -= bytes_[q.object];
      --items_;
      hold(q);
      return;
    }
    remove(q);
    if (payload_of(q) > std::min(item_bytes_max, capacity_)) return;
    while (payload_ + payload_of(q) > capacity_) make_way();
    hold(q);
    visited_[q.object] = 0;
    order_.push_front(0, q.object);
  }

 private:
  void make_way() {
    std::uint32_t at = hand_ != nobody ? hand_ : order_.back(0);
    while (visited_[at] != 0) {
      visited_[at] = 0;
      at = order_.before(at);
      if (at == nobody) at = order_.back(0);
    }
    hand_ = at;  // forget() moves it on
    evict(at);
  }
  void forget(std::uint32_t object) override {
    if (hand_ == object) hand_ = order_.before(object);
    order_.remove(0, object);
  }

  object_lists order_;
  std::vector<std::uint8_t> visited_;
  std::size_t capacity_;
  std::uint32_t hand_ = nobody;
};

class offline final : public model {
 public:
  offline(const request_trace& t, std::size_t capacity)
      : model(t),
        requests_(t.requests),
        next_(t.requests.size()),
        use_(t.objects),
        at_(t.objects),
        capacity_(capacity) {
    std::vector<std::uint32_t> coming(t.objects, nobody);
    for (std::size_t i = t.requests.size(); i-- > 0;) {
      const trace_request& q = t.requests[i];
      next_[i] = coming[q.object];
      if (q.operation == cache_operation::get) coming[q.object] = static_cast<std::uint32_t>(i);
      if (q.operation == cache_operation::set || q.operation == cache_operation::remove) coming[q.object] = nobody;
    }
  }

  bool get(const trace_request& q) override {
    if (bytes_[q.object] == 0) return false;
    look(q);
    return true;
  }
  void set(const trace_request& q) override {
    remove(q);
    look(q);
    if (use_[q.object] == nobody || payload_of(q) > std::min(item_bytes_max, capacity_)) return;
    hold(q);
    at_[q.object] = static_cast<std::uint32_t>(held_.size());
    held_.push_back(q.object);
    while (payload_ > capacity_) make_way();
  }

 private:
  static constexpr int drawn = 64;

  void look(const trace_request& q) {
    now_at_ = static_cast<std::uint32_t>(&q - requests_.data());
    use_[q.object] = next_[now_at_];
  }
  void make_way() {
    std::uint32_t worst = held_[0];
    double most = -1;
    for (int i = 0; i < drawn; ++i) {
      const std::uint32_t object = held_[random_.below(static_cast<std::uint32_t>(held_.size()))];
      const double price = use_[object] == nobody
                               ? 1e300
                               : static_cast<double>(bytes_[object]) * (static_cast<double>(use_[object]) - now_at_);
      if (price > most) worst = object, most = price;
    }
    evict(worst);
  }
  void forget(std::uint32_t object) override {
    const std::uint32_t last = held_.back();
    held_[at_[object]] = last;
    at_[last] = at_[object];
    held_.pop_back();
  }

  const std::vector<trace_request>& requests_;
  std::vector<std::uint32_t> next_;  // by request: that of the object's next get, unless it is stored or deleted before
  std::vector<std::uint32_t> use_;   // by object: the same as of its last request
  std::vector<std::uint32_t> at_;    // by object: where in held_
  std::vector<std::uint32_t> held_;
  std::size_t capacity_;
  std::uint32_t now_at_ = 0;
  random_source random_{1};
};

// ---- memcached ----------------------------------------------------------------------------------------------------
// After items.c, slabs.c and slab_automove.c of memcached 1.6. Its maintainer thread is taken to keep up with the
// traffic: it does its work for a class whenever something is stored there.

class memcached_model final : public model {
 public:
  memcached_model(const request_trace& t, const memcached_model_options& options)
      : model(t),
        order_(t.objects, 3 * classes_max),
        where_(t.objects),
        time_(t.objects, 0),
        flags_(t.objects, 0),
        chunks_(t.objects, 0),
        options_(options) {
    std::size_t bytes = item_header_bytes + 48;
    const std::size_t largest = options.page_bytes / 2;
    while (options.slabs && class_count_ < classes_max - 1 && bytes < largest * 4 / 5) {
      classes_[class_count_++].chunk_bytes = bytes;
      bytes = (bytes * 5 / 4 + 7) & ~std::size_t{7};
    }
    classes_[class_count_++].chunk_bytes = options.slabs ? largest : 1;
    for (unsigned i = 0; i < class_count_; ++i) classes_[i].per_page = options.page_bytes / classes_[i].chunk_bytes;
    if (options.table) table_bytes_ = 1024;
    if (!options.slabs) {  // one class of chunks of a byte, all of them there from the start
      classes_[0].free = options.memory_bytes;
      classes_[0].pages = 1;
      malloced_ = options.memory_bytes;
    }
  }

  void pass_time(std::uint32_t now) override {
    const std::uint32_t seconds = now - now_;
    model::pass_time(now);
    for (std::uint32_t i = 0; options_.slabs && i < std::min(seconds, window_seconds); ++i) automove();
  }

  bool get(const trace_request& q) override {
    if (bytes_[q.object] == 0) return false;
    std::uint8_t& flags = flags_[q.object];
    if ((flags & active) != 0) return true;
    if ((flags & fetched) == 0) {
      flags |= fetched;
      return true;
    }
    flags |= active;
    time_[q.object] = now_;
    if (segment_of(where_[q.object]) == cold) {
      flags &= static_cast<std::uint8_t>(~active);
      move(q.object, warm);
    }
    return true;
  }

  void set(const trace_request& q) override {
    const std::size_t bytes =
        options_.slabs ? item_header_bytes + cas_bytes + q.key_bytes + 1 + q.value_bytes + 2 : payload_of(q);
    unsigned number = 0;
    while (number + 1 < class_count_ && bytes > classes_[number].chunk_bytes) ++number;
    const std::size_t chunks = (bytes + classes_[number].chunk_bytes - 1) / classes_[number].chunk_bytes;
    if (bytes > item_bytes_max || !allocate(number, chunks)) {
      remove(q);
      return;
    }
    remove(q);  // the old item goes when the new one is there
    hold(q);
    if (options_.table) grow_table();
    chunks_[q.object] = static_cast<std::uint32_t>(chunks);
    flags_[q.object] = 0;
    time_[q.object] = now_;
    link(q.object, number, hot);
    juggle(number);
  }

 private:
  enum segment : unsigned { hot, warm, cold };
  static constexpr unsigned classes_max = 64;
  static constexpr std::size_t item_header_bytes = 48, cas_bytes = 8;
  static constexpr std::uint8_t fetched = 1, active = 2;
  static constexpr unsigned hot_percent = 20, warm_percent = 40;  // of a class's bytes
  static constexpr double hot_age = 0.2, warm_age = 2.0;          // of the age of the cold queue's end
  static constexpr std::uint32_t window_seconds = 30;
  static constexpr double age_ratio = 0.8;

  struct second {
    std::uint64_t age = 0;
    bool dirty = false, evicted = false;
  };
  struct slab_class {
    std::size_t chunk_bytes = 0, per_page = 0, pages = 0, free = 0;
    std::size_t bytes[3] = {};
    bool evicted_now = false, grew_now = false;
    std::array<second, window_seconds> window = {};
    std::uint64_t age_sum = 0;
    unsigned dirty_sum = 0, evicted_sum = 0;
  };

  static unsigned list_of(unsigned number, segment s) { return number * 3 + s; }
  static segment segment_of(unsigned list) { return static_cast<segment>(list % 3); }
  std::size_t bytes_of(std::uint32_t object, const slab_class& c) const {
    return chunks_[object] * c.chunk_bytes;  // memcached counts bytes asked for; in one class they are nearly alike
  }

  void link(std::uint32_t object, unsigned number, segment s) {
    where_[object] = static_cast<std::uint8_t>(list_of(number, s));
    order_.push_front(list_of(number, s), object);
    classes_[number].bytes[s] += bytes_of(object, classes_[number]);
  }
  void unlink(std::uint32_t object) {
    const unsigned list = where_[object];
    order_.remove(list, object);
    classes_[list / 3].bytes[segment_of(list)] -= bytes_of(object, classes_[list / 3]);
  }
  void move(std::uint32_t object, segment to) {
    unlink(object);
    link(object, where_[object] / 3, to);
  }
  void forget(std::uint32_t object) override {
    unlink(object);
    classes_[where_[object] / 3].free += chunks_[object];
  }

  bool allocate(unsigned number, std::size_t chunks) {
    slab_class& c = classes_[number];
    for (std::size_t tries = 0; c.free < chunks && tries < 10 * chunks; ++tries) {
      if (malloced_ + table_bytes_ + options_.page_bytes <= options_.memory_bytes || c.pages == 0) {
        malloced_ += options_.page_bytes;
        ++c.pages;
        c.free += c.per_page;
        c.grew_now = true;
      } else if (!evict_from(number)) {
        (void)pull(number, hot, 0, 0);
      }
    }
    if (c.free < chunks) return false;
    c.free -= chunks;
    return true;
  }

  bool evict_from(unsigned number) {
    const std::uint32_t victim = order_.back(list_of(number, cold));
    if (victim == nobody) return false;
    classes_[number].evicted_now = true;
    evict(victim);
    return true;
  }

  // Looks at the end of the hot or the warm queue: what is active goes to warm, what is too much or too old to cold.
  bool pull(unsigned number, segment from, std::size_t limit, double age) {
    const std::uint32_t object = order_.back(list_of(number, from));
    if (object == nobody) return false;
    if ((flags_[object] & active) != 0) {
      flags_[object] &= static_cast<std::uint8_t>(~active);
      move(object, warm);
      return true;
    }
    if (classes_[number].bytes[from] <= limit && now_ - time_[object] <= age) return false;
    move(object, cold);
    return true;
  }

  void juggle(unsigned number) {
    const slab_class& c = classes_[number];
    const double age = cold_age(number);
    const std::size_t total = c.bytes[hot] + c.bytes[warm] + c.bytes[cold];
    for (int i = 0; i < 500; ++i) {
      if (!pull(number, hot, total * hot_percent / 100, age * hot_age) &&
          !pull(number, warm, total * warm_percent / 100, age * warm_age)) {
        return;
      }
    }
  }

  [[nodiscard]] std::uint32_t cold_age(unsigned number) const {
    const std::uint32_t last = order_.back(list_of(number, cold));
    return last == nobody ? 0 : now_ - time_[last];
  }

  // Once a second: a page from the class whose cold items are oldest to one that evicts much younger ones.
  void automove() {
    const unsigned at = ticks_++ % window_seconds;
    int oldest = -1, youngest = -1;
    std::uint64_t oldest_age = 0, youngest_age = ~std::uint64_t{0};
    bool youngest_evicts = false;
    for (unsigned i = 0; i < class_count_; ++i) {
      slab_class& c = classes_[i];
      if (c.pages == 0) continue;
      second& s = c.window[at];
      c.age_sum -= s.age, c.dirty_sum -= s.dirty, c.evicted_sum -= s.evicted;
      s = {cold_age(i), c.evicted_now || c.grew_now, c.evicted_now};
      c.age_sum += s.age, c.dirty_sum += s.dirty, c.evicted_sum += s.evicted;
      c.evicted_now = c.grew_now = false;
      const std::uint64_t age = c.age_sum / window_seconds;
      if (c.free > c.per_page * 5 / 2 && c.dirty_sum == 0) {  // to the pool that every class may take from
        --c.pages;
        c.free -= c.per_page;
        malloced_ -= options_.page_bytes;
        return;
      }
      if (age > oldest_age && c.pages > 2) oldest = static_cast<int>(i), oldest_age = age;
      if (age < youngest_age && c.evicted_sum > window_seconds / 2) {
        youngest = static_cast<int>(i), youngest_age = age, youngest_evicts = s.evicted;
      }
    }
    if (oldest < 0 || youngest < 0 || ticks_ <= window_seconds || !youngest_evicts) return;
    if (static_cast<double>(youngest_age) >= static_cast<double>(oldest_age) * age_ratio) return;
    move_page(static_cast<unsigned>(oldest), static_cast<unsigned>(youngest));
  }

  // Eight bytes a bucket, twice as many once there are 1.5 items to each; never fewer again. (The first 2^16 are not
  // counted while they are not needed, nor the old table while its items move.) Pages make way.
  void grow_table() {
    if (items_ * 16 <= table_bytes_ * 3) return;
    table_bytes_ *= 2;
    while (malloced_ + table_bytes_ > options_.memory_bytes) {
      const auto most = std::max_element(classes_.begin(), classes_.begin() + class_count_,
                                         [](const auto& a, const auto& b) { return a.pages < b.pages; });
      if (!clear_page(static_cast<unsigned>(most - classes_.begin()))) return;
      malloced_ -= options_.page_bytes;
    }
  }

  void move_page(unsigned from, unsigned to) {
    if (!clear_page(from)) return;
    ++classes_[to].pages;
    classes_[to].free += classes_[to].per_page;
    classes_[to].grew_now = true;
  }

  // The items of the page find free chunks of their class or go; here the coldest go in their place.
  bool clear_page(unsigned from) {
    slab_class& c = classes_[from];
    for (const segment s : {cold, warm, hot}) {
      while (c.free < c.per_page) {
        const std::uint32_t victim = order_.back(list_of(from, s));
        if (victim == nobody) break;
        evict(victim);
      }
    }
    if (c.free < c.per_page) return false;
    c.free -= c.per_page;
    --c.pages;
    return true;
  }

  object_lists order_;
  std::vector<std::uint8_t> where_;    // by object: its list
  std::vector<std::uint32_t> time_;    // by object: when it was last of note
  std::vector<std::uint8_t> flags_;    // by object
  std::vector<std::uint32_t> chunks_;  // by object
  memcached_model_options options_;
  std::array<slab_class, classes_max> classes_ = {};
  unsigned class_count_ = 0;
  std::size_t malloced_ = 0;
  std::size_t table_bytes_ = 0;
  std::uint32_t ticks_ = 0;
};

}  // namespace

std::unique_ptr<replayed_cache> make_lru(const request_trace& t, std::size_t payload_bytes) {
  return std::make_unique<lru>(t, payload_bytes);
}

std::unique_ptr<replayed_cache> make_sieve(const request_trace& t, std::size_t payload_bytes) {
  return std::make_unique<sieve>(t, payload_bytes);
}

std::unique_ptr<replayed_cache> make_offline(const request_trace& t, std::size_t payload_bytes) {
  return std::make_unique<offline>(t, payload_bytes);
}

std::unique_ptr<replayed_cache> make_memcached(const request_trace& t, const memcached_model_options& options) {
  return std::make_unique<memcached_model>(t, options);
}

}  // namespace bench
