// SPDX-License-Identifier: MIT
//
// cache_2003: a cache as one was written in 2003. A hash table, a list from the newest to the oldest, a limit in
// bytes; every item is one block of memory, asked for when it is stored and freed when it goes.
//
//     bucket -> item -> item          an item: |newer|older|chain|sizes|key|value|, in one block
//     newest <-> item <-> oldest      when the items would exceed the limit, the oldest go first
//
// The limit is on what the cache asks for, the sum of the sizes of its blocks: it cannot know what malloc makes of
// them. When memory is refused though the limit isn't reached, set() says so; in 2003 that was the end.
//
// Where blocks move (memory.hpp), the hook is moved(). Threads: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "memory.hpp"

namespace demo {

// What the cache did and holds: the same for all that were asked the same and were not refused memory.
struct cache_counts {
  std::uint64_t gets = 0, hits = 0, sets = 0, evictions = 0;
  std::uint64_t refusals = 0;  // of memory
  std::size_t items = 0;
  std::size_t bytes = 0;  // of their blocks, as asked for
};

struct item {
  item* newer;
  item* older;
  item* chain;  // the next one in its bucket
  std::uint32_t key_bytes;
  std::uint32_t value_bytes;
  // The key and the value follow.

  [[nodiscard]] std::string_view key() noexcept { return {reinterpret_cast<char*>(this + 1), key_bytes}; }
  [[nodiscard]] char* value() noexcept { return reinterpret_cast<char*>(this + 1) + key_bytes; }
  [[nodiscard]] std::size_t size() const noexcept { return sizeof(item) + key_bytes + value_bytes; }
};

class cache_2003 {
 public:
  // Its table is made once, as in 2003; the process ends here if even that is not to be had.
  cache_2003(memory& from, std::size_t bytes_max, std::size_t log2_buckets)
      : memory_(from),
        bytes_max_(bytes_max),
        mask_((std::size_t{1} << log2_buckets) - 1),
        buckets_(static_cast<item**>(std::calloc(mask_ + 1, sizeof(item*)))) {
    if (buckets_ == nullptr) std::abort();
  }
  ~cache_2003() { std::free(buckets_); }  // items go with the process
  cache_2003(const cache_2003&) = delete;
  cache_2003& operator=(const cache_2003&) = delete;

  // The item, now the newest; null if there is none. Valid until the next set().
  [[nodiscard]] item* get(std::string_view key) noexcept {
    ++counts_.gets;
    item* const found = *find(key);
    if (found == nullptr) return nullptr;
    ++counts_.hits;
    unlink(found);
    link(found);
    return found;
  }

  // A new item in place of the one of that key, its value yet to be written. Null: there is no memory; the old item is
  // gone, and so are those that were evicted. Valid until the next set().
  [[nodiscard]] item* set(std::string_view key, std::uint32_t value_bytes) noexcept {
    ++counts_.sets;
    const std::size_t size = sizeof(item) + key.size() + value_bytes;
    if (item* const old = *find(key); old != nullptr) remove(old);
    while (counts_.bytes + size > bytes_max_ && evict()) {
    }
    auto* const made = static_cast<item*>(memory_.allocate(size));  // from here on other items may be elsewhere
    if (made == nullptr) {
      ++counts_.refusals;
      return nullptr;
    }
    item** const bucket = bucket_of(key);
    *made = {nullptr, nullptr, *bucket, static_cast<std::uint32_t>(key.size()), value_bytes};
    std::memcpy(made + 1, key.data(), key.size());
    *bucket = made;
    link(made);
    ++counts_.items;
    counts_.bytes += size;
    return made;
  }

  // Drops the oldest item. False if there is none.
  bool evict() noexcept {
    if (oldest_ == nullptr) return false;
    ++counts_.evictions;
    remove(oldest_);
    return true;
  }

  // The hook: an item was copied from `from` to `copy`. Three pointers lead to it.
  void moved(const void* from, void* copy) noexcept {
    auto* const it = static_cast<item*>(copy);
    (it->newer == nullptr ? newest_ : it->newer->older) = it;
    (it->older == nullptr ? oldest_ : it->older->newer) = it;
    item** at = bucket_of(it->key());
    while (*at != from) at = &(*at)->chain;
    *at = it;
  }

  [[nodiscard]] const cache_counts& counts() const noexcept { return counts_; }

 private:
  [[nodiscard]] item** bucket_of(std::string_view key) const noexcept {
    std::uint64_t hash = 0xcbf29ce484222325U;  // FNV-1a
    for (const char c : key) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
    return &buckets_[(hash ^ hash >> 32) & mask_];
  }

  // What points to the item of that key, or to null at the end of its bucket.
  [[nodiscard]] item** find(std::string_view key) const noexcept {
    item** at = bucket_of(key);
    while (*at != nullptr && (*at)->key() != key) at = &(*at)->chain;
    return at;
  }

  void link(item* it) noexcept {
    it->newer = nullptr;
    it->older = newest_;
    (newest_ == nullptr ? oldest_ : newest_->newer) = it;
    newest_ = it;
  }

  void unlink(item* it) noexcept {
    (it->newer == nullptr ? newest_ : it->newer->older) = it->older;
    (it->older == nullptr ? oldest_ : it->older->newer) = it->newer;
  }

  void remove(item* it) noexcept {
    *find(it->key()) = it->chain;
    unlink(it);
    --counts_.items;
    counts_.bytes -= it->size();
    memory_.free(it);
  }

  memory& memory_;
  const std::size_t bytes_max_;
  const std::size_t mask_;
  item** const buckets_;
  item* newest_ = nullptr;
  item* oldest_ = nullptr;
  cache_counts counts_;
};

}  // namespace demo
