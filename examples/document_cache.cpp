// SPDX-License-Identifier: MIT
//
// A program that keeps as many documents as its memory allows and forgets those that were not asked for longest. Their
// sizes change from hour to hour, which is what fragments other heaps. Documents are objects with a tail; the list of
// when they were last used goes by handles, which stay valid when documents move; and what fragmentation there is goes
// in the pauses between requests, a bounded bit at a time.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <scoot/containers.hpp>
#include <scoot/handle.hpp>
#include <scoot/heap.hpp>
#include <scoot/owner.hpp>
#include <scoot/page_pool.hpp>
#include <string>
#include <string_view>
#include <utility>

// The text lies behind the object, in the same block. All of it may be copied as bytes, so it needs no mover.
struct document {
  std::uint64_t id;
  std::uint32_t length;
  scoot::handle<document> newer = {};
  scoot::handle<document> older = {};

  [[nodiscard]] char* text() noexcept { return reinterpret_cast<char*>(this + 1); }
};

class document_cache {
 public:
  // Null if the budget has no room for the little that a heap begins with.
  static std::unique_ptr<document_cache> create(std::size_t budget_bytes) {
    auto pool = scoot::page_pool::create({budget_bytes, 0, 0});
    auto heap = pool ? scoot::heap::create(*pool) : nullptr;
    if (!heap) return nullptr;
    return std::unique_ptr<document_cache>(new document_cache(std::move(pool), std::move(heap)));
  }

  // False if the document is too large for the budget. Ends what get() answered.
  bool put(std::uint64_t id, std::string_view text) {
    forget(id);
    // First all that may fail; old documents go until it does not.
    scoot::owner<document> made;
    scoot::handle<document> at;
    for (;;) {
      if (!made) made = scoot::make_with_tail<document>(things_, text.size(), id, std::uint32_t(text.size()));
      if (made && by_id_.make_room()) at = documents_.insert(std::move(made));  // keeps it, if there is no memory
      if (at) break;
      if (!oldest_) return false;
      forget(documents_.get(oldest_)->id);
    }
    std::memcpy(documents_.get(at)->text(), text.data(), text.size());
    (void)by_id_.insert(id, at);  // there is room
    link_newest(at);
    return true;
  }

  // The text, until the next put or idle; empty if it is not there.
  std::string_view get(std::uint64_t id) {
    const scoot::handle<document>* at = by_id_.find(id);
    if (at == nullptr) return {};
    const scoot::handle<document> found = *at;
    unlink(found);
    link_newest(found);
    document* d = documents_.get(found);
    return {d->text(), d->length};
  }

  bool forget(std::uint64_t id) {
    const auto at = by_id_.take(id);
    if (!at) return false;
    unlink(*at);
    return documents_.destroy(*at);
  }

  // To be called when there is nothing else to do: moves a few documents together. False: there is nothing to gain now.
  bool idle() {
    const scoot::compaction done = heap_->compact({std::size_t{256} << 10, std::chrono::microseconds(500)});
    return done.why == scoot::stop_reason::effort_spent;
  }

  [[nodiscard]] std::size_t size() const { return documents_.size(); }
  [[nodiscard]] double utilisation() const {
    return double(heap_->stats().live_bytes) / double(pool_->stats().held_bytes);
  }
  void verify() const { things_.verify(); }

 private:
  document_cache(std::unique_ptr<scoot::page_pool> pool, std::unique_ptr<scoot::heap> heap)
      : pool_(std::move(pool)), heap_(std::move(heap)), things_(*heap_), documents_(things_), by_id_(things_) {}

  void link_newest(scoot::handle<document> at) {
    document* d = documents_.get(at);
    d->older = newest_;
    d->newer = {};
    (newest_ ? documents_.get(newest_)->newer : oldest_) = at;
    newest_ = at;
  }
  void unlink(scoot::handle<document> at) {
    const document* d = documents_.get(at);
    (d->newer ? documents_.get(d->newer)->older : newest_) = d->older;
    (d->older ? documents_.get(d->older)->newer : oldest_) = d->newer;
  }

  // In the order in which they depend on each other.
  std::unique_ptr<scoot::page_pool> pool_;
  std::unique_ptr<scoot::heap> heap_;
  scoot::typed_heap things_;
  scoot::handle_table<document> documents_;
  scoot::heap_map<std::uint64_t, scoot::handle<document>> by_id_;
  scoot::handle<document> newest_;
  scoot::handle<document> oldest_;
};

int main() {
  const auto cache = document_cache::create(std::size_t{32} << 20);
  if (!cache) return 1;
  std::uint64_t random = 1;
  const auto next = [&random] { return (random = random * 6364136223846793005U + 1442695040888963407U) >> 33; };
  std::size_t hits = 0;
  double worst = 1;
  for (const std::size_t mean : {300, 4000, 120, 1500}) {  // bytes of a document, hour by hour
    for (int request = 0; request < 60'000; ++request) {
      const std::uint64_t id = mean * 100'000 + next() % 20'000;
      const std::string_view found = cache->get(id);
      if (!found.empty()) {
        ++hits;
        if (found != std::string(found.size(), static_cast<char>('a' + id % 26))) return 1;
      } else if (!cache->put(id, std::string(mean / 2 + next() % mean, static_cast<char>('a' + id % 26)))) {
        return 1;
      }
      if (request % 100 == 0) (void)cache->idle();  // nobody asks for anything right now
    }
    worst = std::min(worst, cache->utilisation());
    std::printf("documents of about %4zu bytes: %6zu of them, %.1f %% of the memory held\n", mean, cache->size(),
                100 * cache->utilisation());
  }
  while (cache->idle()) {
  }
  cache->verify();
  std::printf("%zu hits; at least %.1f %% of the memory was documents at the end of each hour\n", hits, 100 * worst);
  return hits != 0 && worst > 0.8 ? 0 : 1;
}
