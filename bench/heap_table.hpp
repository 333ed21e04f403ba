// SPDX-License-Identifier: MIT
//
// The program that the heap workloads play: a table of blocks, each with a payload that is written when it is
// allocated and verified when it is freed.
//
//     entries  |block,size,nonce|block,size,nonce|....      by id; a mover updates entries[id].block
//     order    |..head>  id id id id id id  <tail..|        ids of the live blocks, oldest first (a ring)
//     spare    |id id id ...|                               ids without a block (a stack)
//     block    |id:4 nonce:4|b b b b b b b b b b b b|       b: a byte derived from id, nonce and size
//
// All tables are mapped and touched when they are made, so that nothing the harness does shows in what the process
// holds afterwards.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "random.hpp"

namespace bench {

struct block_entry {
  unsigned char* block;
  std::uint32_t size;
  std::uint32_t nonce;
};

class block_table {
 public:
  // Room for `capacity` live blocks. Aborts if the memory cannot be had.
  explicit block_table(std::size_t capacity) noexcept;
  block_table(const block_table&) = delete;
  block_table& operator=(const block_table&) = delete;
  ~block_table();

  [[nodiscard]] block_entry& entry(std::uint32_t id) noexcept { return entries_[id]; }
  [[nodiscard]] block_entry* entries() noexcept { return entries_; }
  [[nodiscard]] std::size_t live_blocks() const noexcept { return tail_ - head_; }
  [[nodiscard]] std::size_t live_bytes() const noexcept { return live_bytes_; }

  // The id that the next add() will use. Aborts if the table is full.
  [[nodiscard]] std::uint32_t next_id() const noexcept {
    if (spares_ == 0) fail("more live blocks than the table was made for", 0);
    return spare_[spares_ - 1];
  }

  // Notes a block, whose payload was written for next_id() and nonce().
  void add(void* block, std::uint32_t size) noexcept {
    const std::uint32_t id = spare_[--spares_];
    entries_[id] = {static_cast<unsigned char*>(block), size, nonce_++};
    order_[tail_++ & mask_] = id;
    live_bytes_ += size;
  }
  [[nodiscard]] std::uint32_t nonce() const noexcept { return nonce_; }

  // The id of the oldest block.
  [[nodiscard]] std::uint32_t oldest() const noexcept { return order_[head_ & mask_]; }

  // The id of a random block, which becomes the oldest in exchange.
  [[nodiscard]] std::uint32_t random(random_source& source) noexcept {
    const std::size_t at = head_ + source.below(static_cast<std::uint32_t>(live_blocks()));
    const std::uint32_t id = order_[at & mask_];
    order_[at & mask_] = order_[head_ & mask_];
    order_[head_ & mask_] = id;
    return id;
  }

  // Forgets the oldest block.
  void remove_oldest() noexcept {
    const std::uint32_t id = order_[head_++ & mask_];
    live_bytes_ -= entries_[id].size;
    entries_[id].block = nullptr;
    spare_[spares_++] = id;
  }

  // Aborts if the block of this id does not hold what was written.
  void verify(std::uint32_t id) const noexcept { verify_payload(entries_[id], id); }

  static void verify_payload(const block_entry& e, std::uint32_t id) noexcept {
    std::uint32_t head[2];
    std::memcpy(head, e.block, sizeof head);
    const std::size_t body = e.size - sizeof head;
    if (head[0] != id || head[1] != e.nonce || e.block[8] != pattern(id, e.nonce, e.size) ||
        std::memcmp(e.block + 8, e.block + 9, body - 1) != 0)
      fail("a block does not hold what was written", id);
  }

  void verify_all() const noexcept {
    for (std::size_t at = head_; at != tail_; ++at) verify(order_[at & mask_]);
  }

  static void write_payload(void* block, std::uint32_t id, std::uint32_t nonce, std::uint32_t size) noexcept {
    const std::uint32_t head[2] = {id, nonce};
    std::memcpy(block, head, sizeof head);
    std::memset(static_cast<unsigned char*>(block) + sizeof head, pattern(id, nonce, size), size - sizeof head);
  }

  [[noreturn]] static void fail(const char* what, std::uint32_t id) noexcept;

 private:
  static unsigned char pattern(std::uint32_t id, std::uint32_t nonce, std::uint32_t size) noexcept {
    const std::uint32_t x = (id * 0x9e3779b1U) ^ (nonce * 0x85ebca6bU) ^ (size * 0xc2b2ae35U);
    return static_cast<unsigned char>(x >> 24);
  }

  std::size_t capacity_;
  std::size_t mask_;
  block_entry* entries_;
  std::uint32_t* order_;
  std::uint32_t* spare_;
  std::size_t spares_;
  std::size_t head_ = 0;
  std::size_t tail_ = 0;
  std::size_t live_bytes_ = 0;
  std::uint32_t nonce_ = 1;
};

}  // namespace bench
