// SPDX-License-Identifier: MIT
//
// client_memory: what the server keeps for its clients, all of them together, and how much that may be.
//
//     copied   input that is not used yet and answers that were not taken: beside the cache, bytes_max at most
//     pinned   values that slow readers are being sent from where they lie: of the cache, a quarter of its budget
//
// A worker says what each of its connections keeps, whenever that changes and is more than a connection's own
// (own_bytes_max), so commands that are answered at once touch nothing here. Beyond scarce_bytes connections read and
// answer in small pieces; beyond bytes_max workers that keep more than their share close those of their connections
// that weigh most: bytes times the time in which none of them moved and a sixteenth of that since anything was
// finished, and of those that take their answers only when there is nobody else. While pins are short, reads of large
// values wait (pins_short) and small ones go on. Pins then go round: who has taken nothing for patience_ms(), or not a
// batch of answers in slow_patience of these, gives its pins back and waits like the others once it takes more. The
// more wait the shorter that is, so w that never read keep others waiting for 1 s x ln(1 + w) / those served at a time.
//
// Ownership: the server's. Threads: any. Failure: none.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace scoot::server {

inline constexpr unsigned pins_short = 256;  // a bit of server_state::observed, beside those of watchers.hpp

class client_memory {
 public:
  static constexpr std::size_t bytes_max = std::size_t{4} << 20;
  static constexpr std::size_t scarce_bytes = bytes_max / 4;
  static constexpr std::size_t own_bytes_max = 512;  // of one connection, which nobody counts
  static constexpr std::size_t scarce_full_bytes = std::size_t{4} << 10;
  static constexpr std::size_t scarce_read_bytes = std::size_t{8} << 10;
  static constexpr std::uint64_t reading_ms = 250;  // who took answers so lately is reading
  static constexpr std::uint64_t slow_patience = 5;
  static constexpr int look_ms = 50;  // for those who wait for pins with others
  static constexpr unsigned scarce_commands = scarce_read_bytes / 4;
  static constexpr int retry_ms = 10;  // for those who wait for pins, at most
  // Once more than the first was kept and then less than the second, the C library is asked to give memory back.
  static constexpr std::size_t trim_from_bytes = std::size_t{1} << 20;
  static constexpr std::size_t trim_below_bytes = trim_from_bytes / 8;

  // Keeps the bit pins_short of `observed`.
  client_memory(std::atomic<unsigned>& observed, std::size_t budget_bytes) noexcept
      : observed_(observed), pinned_max_(budget_bytes / 4) {}

  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool scarce() const noexcept { return bytes() > scarce_bytes; }
  [[nodiscard]] bool over() const noexcept { return bytes() > bytes_max; }
  [[nodiscard]] std::size_t pinned_bytes() const noexcept { return pinned_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::size_t pinned_max() const noexcept { return pinned_max_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool short_of_pins() const noexcept { return pinned_bytes() >= pinned_max(); }

  // How long a slow reader may take nothing while others wait for its pins.
  [[nodiscard]] std::uint64_t patience_ms() const noexcept {
    return 1000 / (1 + waiting.load(std::memory_order_relaxed));
  }
  [[nodiscard]] bool others_wait() const noexcept { return waiting.load(std::memory_order_relaxed) > 0; }

  // Whether it is time to tell the workers that others keep too much: once a millisecond is enough.
  [[nodiscard]] bool tells_others(std::uint64_t now_ms) noexcept {
    return told_ms_.exchange(now_ms, std::memory_order_relaxed) != now_ms;
  }

  // One connection keeps `now` instead of `before`.
  void change_bytes(std::size_t before, std::size_t now) noexcept;
  void change_pinned(std::size_t before, std::size_t now) noexcept;
  void set_budget(std::size_t bytes) noexcept;

  // True for one who asks, when memory should be trimmed.
  [[nodiscard]] bool wants_trim() const noexcept {
    return swelled_.load(std::memory_order_relaxed) && bytes() < trim_below_bytes;
  }
  [[nodiscard]] bool take_trim() noexcept { return swelled_.exchange(false, std::memory_order_relaxed); }

  std::atomic<std::uint64_t> closed_for_input{0};  // connections that were closed to make room, by what they kept
  std::atomic<std::uint64_t> closed_for_answers{0};
  std::atomic<std::uint64_t> waits{0};     // times that a read waited for pins
  std::atomic<std::uint64_t> waiting{0};   // connections that do
  std::atomic<std::uint64_t> yields{0};    // times that a slow reader gave its pins back to them
  std::atomic<std::uint32_t> warned_s{0};  // when it was last said that connections were closed

 private:
  void tell() noexcept;

  std::atomic<unsigned>& observed_;
  std::atomic<std::size_t> bytes_{0};
  std::atomic<bool> swelled_{false};
  std::atomic<std::uint64_t> told_ms_{0};
  std::mutex pins_lock_;  // over changes of what follows
  std::atomic<std::size_t> pinned_{0};
  std::atomic<std::size_t> pinned_max_;
};

}  // namespace scoot::server
