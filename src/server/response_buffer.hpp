// SPDX-License-Identifier: MIT
//
// response_buffer: the responses that wait to be sent to one connection, as bytes and as values held in the cache.
//
//     bytes:  |VALUE a 0 3..abc..VALUE big 0 70000..|END..VALUE c ...|
//                                                   ^ here goes a held value, sent from where it lies
//
// A worker has one for all its connections: a readable event's responses are collected in it and sent by one call. Only
// what a slow client did not take is detached into a buffer of the connection's own, of just that size.
//
// While others wait for pins it can be parked: it then holds none, and knows the key of each value and a hash of what
// is left to send of it. Going on it looks the values up again; they are sent only if what is left is the same still.
//
// Ownership: owns its bytes and holds a pin for each held value until that is sent, dropped, rolled back or parked.
// Threads: one at a time. Failure: when memory runs out failed() is true from then on, and the responses are not whole.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "scoot/cache.hpp"

namespace scoot::server {

class response_buffer {
 public:
  // A value of fewer bytes is copied into the buffer, a larger one held in the cache and sent from there.
  static constexpr std::size_t held_value_bytes_min = std::size_t{16} << 10;
  // Where a buffer is full: it should be sent before the next command is carried out.
  static constexpr std::size_t full_bytes = std::size_t{64} << 10;
  static constexpr std::size_t full_held_bytes = std::size_t{1} << 20;
  static constexpr std::size_t full_held_values = 16;
  // What one command's response needs at most before fullness is asked again, held values and stats apart.
  static constexpr std::size_t headroom_bytes = held_value_bytes_min + 1024;

  struct mark {
    std::size_t bytes = 0;
    std::size_t held_values = 0;
  };

  response_buffer() = default;
  response_buffer(const response_buffer&) = delete;
  response_buffer& operator=(const response_buffer&) = delete;
  ~response_buffer() { std::free(data_); }

  // Makes room for `bytes` more and returns where they go; null if there is no memory. What was written there counts
  // once finish() is told its end.
  [[nodiscard]] char* room(std::size_t bytes) noexcept {
    if (capacity_ - end_ < bytes) [[unlikely]] {
      if (!grow(bytes)) return nullptr;
    }
    return data_ + end_;
  }
  void finish(const char* end) noexcept { end_ = static_cast<std::size_t>(end - data_); }

  void append(std::string_view text) noexcept {
    char* to = room(text.size());
    if (to == nullptr || text.empty()) return;  // an empty text may have no address
    std::memcpy(to, text.data(), text.size());
    end_ += text.size();
  }

  // The value of a held item comes here.
  void append_held(pinned_item&& item) noexcept;

  [[nodiscard]] bool empty() const noexcept { return begin_ == end_ && first_held_ == held_.size(); }
  [[nodiscard]] bool full() const noexcept {
    return end_ - begin_ >= full_at_bytes_ || held_bytes_ >= full_held_bytes ||
           held_.size() - first_held_ >= full_held_values;
  }
  // From how many bytes on it is full, where memory for clients is scarce. Then few keys should be looked up at once.
  void set_full_bytes(std::size_t bytes) noexcept { full_at_bytes_ = bytes; }
  [[nodiscard]] bool is_kept_small() const noexcept { return full_at_bytes_ < full_bytes; }
  [[nodiscard]] bool failed() const noexcept { return failed_; }
  // What it takes for itself, and of the cache: values not sent to their end yet.
  [[nodiscard]] std::size_t memory_bytes() const noexcept {
    return sizeof *this + capacity_ + held_.capacity() * sizeof(held_value) + parked_bytes_;
  }
  [[nodiscard]] std::size_t pinned_bytes() const noexcept;
  [[nodiscard]] std::size_t pending_bytes() const noexcept { return end_ - begin_ + held_bytes_; }
  [[nodiscard]] bool holds_values() const noexcept { return first_held_ != held_.size(); }
  // All that is pending, if no value is held.
  [[nodiscard]] std::string_view bytes() const noexcept { return {data_ + begin_, end_ - begin_}; }

  // The state to come back to by roll_back(), which forgets what was appended since. Only valid until drop() or
  // clear().
  [[nodiscard]] mark position() const noexcept { return {end_, held_.size()}; }
  void roll_back(const mark& to) noexcept;

  // Describes what is pending from its front; returns how many of the `count` vectors were filled.
  [[nodiscard]] std::size_t gather(iovec* vectors, std::size_t count) const noexcept;
  // The first `bytes` of what is pending were sent. Gives the pins of values sent whole back.
  void drop(std::size_t bytes) noexcept;
  // Forgets everything but keeps the memory, unless a rare large response made it much larger than usual.
  void clear() noexcept;

  // Moves what is pending into a new buffer of just that size; null, and nothing changed, if there is no memory.
  [[nodiscard]] std::unique_ptr<response_buffer> detach() noexcept;

  // Gives all pins back. False if there was no memory for it: nothing more can be sent then. Cost: hashes what is left.
  [[nodiscard]] bool park() noexcept;
  [[nodiscard]] bool parked() const noexcept { return parked_bytes_ > 0; }
  // Pins the values again. False if one of them is there no more, or not what it was: the rest cannot be sent.
  [[nodiscard]] bool unpark(cache& items) noexcept;

 private:
  // A value that was pinned: what is left of it to send, by which it is known again.
  struct parked_value {
    std::string key;
    std::size_t left_bytes = 0;
    std::uint64_t left_hash[2] = {};
  };
  struct held_value {
    std::size_t at = 0;  // in data_: the value comes before the byte at this place
    pinned_item item;
    std::unique_ptr<parked_value> parked{};
  };

  bool grow(std::size_t bytes) noexcept;

  char* data_ = nullptr;
  std::size_t begin_ = 0;  // of what is pending
  std::size_t end_ = 0;
  std::size_t capacity_ = 0;
  std::vector<held_value> held_;
  std::size_t first_held_ = 0;       // in held_: those before are sent
  std::size_t first_held_sent_ = 0;  // bytes of the first held value that are sent already
  std::size_t held_bytes_ = 0;       // of held values, still to send
  std::size_t full_at_bytes_ = full_bytes;
  std::size_t parked_bytes_ = 0;  // memory of parked values
  bool failed_ = false;
};

}  // namespace scoot::server
