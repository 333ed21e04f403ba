// SPDX-License-Identifier: MIT
#include "cache/name_lists.hpp"

#include "base/check.hpp"

namespace scoot::caching {

name_lists::~name_lists() {
  while (spare_ != nullptr) {
    chunk* next = spare_->next;
    heap_.free(spare_);
    spare_ = next;
  }
  for (unsigned list = 0; list < list_count_; ++list) {
    for (chunk* c = lists_[list].first; c != nullptr;) {
      chunk* next = c->next;
      heap_.free(c);
      c = next;
    }
  }
  heap_.free(lists_);
}

bool name_lists::start(unsigned lists, kind chunks) noexcept {
  chunks_ = chunks;
  const std::size_t bytes = lists * sizeof(list_ends);
  lists_ = static_cast<list_ends*>(heap_.allocate(fixed_, bytes));
  if (lists_ == nullptr) return false;
  std::memset(lists_, 0, bytes);
  list_count_ = lists;
  bytes_ = bytes;
  return true;
}

bool name_lists::reserve(unsigned chunks) noexcept {
  while (spares_ < chunks) {
    auto* c = static_cast<chunk*>(heap_.allocate(chunks_, chunk_bytes));
    if (c == nullptr) return false;
    // Ready to be moved by the heap from here on: in no list, found by its address among the spares.
    c->next = spare_;
    c->previous = nullptr;
    c->list = static_cast<std::uint16_t>(list_count_);
    spare_ = c;
    ++spares_;
    bytes_ += chunk_bytes;
  }
  return true;
}

// A spare chunk becomes the last of the list.
name_lists::chunk* name_lists::append_chunk(unsigned list) noexcept {
  SCOOT_CHECK(1, spares_ != 0, "push without a spare chunk");
  list_ends& ends = lists_[list];
  chunk* const fresh = spare_;
  spare_ = fresh->next;
  --spares_;
  fresh->next = nullptr;
  fresh->previous = ends.last;
  fresh->begin = fresh->end = 0;
  fresh->since = second_;
  fresh->list = static_cast<std::uint16_t>(list);
  fresh->mark = new_mark(list);
  (ends.last == nullptr ? ends.first : ends.last->next) = fresh;
  ends.last = fresh;
  return fresh;
}

std::uint8_t name_lists::push(unsigned list, name n) noexcept {
  chunk* c = lists_[list].last;
  if (c == nullptr || c->end == names_per_chunk) c = append_chunk(list);
  write(*c, c->end++, n);
  ++count_of(list);
  return c->mark;
}

bool name_lists::push_again(unsigned list, const popped& p) noexcept {
  chunk* c = lists_[list].last;
  if (c == nullptr || c->end == names_per_chunk || c->mark != p.mark) {
    if (!reserve(1)) return false;
    c = append_chunk(list);
    c->mark = p.mark;
  }
  write(*c, c->end++, p.of);
  ++count_of(list);
  return true;
}

bool name_lists::pop(unsigned list, popped& out) noexcept {
  chunk* c = lists_[list].first;
  if (c == nullptr) return false;
  out = {read(*c, c->begin++), c->mark, c->since};
  --count_of(list);
  if (c->begin == c->end) unlink(list, c);
  return true;
}

bool name_lists::peek(unsigned list, std::size_t ahead, popped& out) const noexcept {
  const chunk* c = lists_[list].first;
  if (c == nullptr || c->begin + ahead >= c->end) return false;
  out = {read(*c, c->begin + ahead), c->mark};
  return true;
}

void name_lists::splice(unsigned from, unsigned to) noexcept {
  list_ends& source = lists_[from];
  if (source.first == nullptr) return;
  list_ends& target = lists_[to];
  source.first->list = source.last->list = static_cast<std::uint16_t>(to);
  source.first->previous = target.last;
  (target.last == nullptr ? target.first : target.last->next) = source.first;
  target.last = source.last;
  source = {};
  // A cursor inside is now in another list; it starts over rather than be right about which.
  if (cursor_lists_[1] == from || cursor_lists_[1] == to) cursors_[1] = nullptr;
}

void name_lists::unlink(unsigned list, chunk* c) noexcept {
  list_ends& ends = lists_[list];
  (c->previous == nullptr ? ends.first : c->previous->next) = c->next;
  (c->next == nullptr ? ends.last : c->next->previous) = c->previous;
  if (ends.first != nullptr) ends.first->list = ends.last->list = static_cast<std::uint16_t>(list);
  for (unsigned which = 0; which < 2; ++which) {
    if (cursors_[which] != c) continue;
    cursors_[which] = c->next;
    filling_[which] = false;
  }
  give_back(c);
}

void name_lists::give_back(chunk* c) noexcept {
  if (spares_ < spares_max) {
    c->next = spare_;
    c->previous = nullptr;
    c->list = static_cast<std::uint16_t>(list_count_);
    spare_ = c;
    ++spares_;
    return;
  }
  heap_.free(c);
  bytes_ -= chunk_bytes;
}

void name_lists::move(void* from_block, void* to_block) noexcept {
  auto* const from = static_cast<chunk*>(from_block);
  auto* const to = static_cast<chunk*>(to_block);
  if (from->list == list_count_) {
    chunk** link = &spare_;
    while (*link != from) link = &(*link)->next;
    *link = to;
    return;
  }
  (to->previous == nullptr ? lists_[to->list].first : to->previous->next) = to;
  (to->next == nullptr ? lists_[to->list].last : to->next->previous) = to;
  for (chunk*& cursor : cursors_) {
    if (cursor == from) cursor = to;
  }
}

void name_lists::verify() const noexcept {
  std::size_t counts[2] = {}, chunks = 0;
  for (unsigned list = 0; list < list_count_; ++list) {
    const chunk* previous = nullptr;
    for (const chunk* c = lists_[list].first; c != nullptr; previous = c, c = c->next, ++chunks) {
      SCOOT_CHECK(1, c->previous == previous, "chunk of list %u has a wrong predecessor", list);
      SCOOT_CHECK(1, c->begin < c->end && c->end <= names_per_chunk, "chunk of list %u holds %u to %u", list, c->begin,
                  c->end);
      SCOOT_CHECK(1, list >= 2 || (c->mark & 1) == list, "chunk of list %u has the mark %u", list, c->mark);
      counts[list < 2 ? 0 : 1] += static_cast<std::size_t>(c->end - c->begin);
    }
    SCOOT_CHECK(1, lists_[list].last == previous, "list %u ends elsewhere", list);
    SCOOT_CHECK(1, previous == nullptr || (previous->list == list && lists_[list].first->list == list),
                "an end of list %u says it belongs to another", list);
  }
  SCOOT_CHECK(1, counts[0] == queued_ && counts[1] == filed_, "%zu and %zu names counted as %zu and %zu", counts[0],
              counts[1], queued_, filed_);
  SCOOT_CHECK(1, bytes_ == list_count_ * sizeof(list_ends) + (chunks + spares_) * chunk_bytes,
              "%zu chunks do not make %zu bytes", chunks, bytes_);
}

}  // namespace scoot::caching
