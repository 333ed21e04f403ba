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
// finished, so that who reads at all outlasts who does not. While pins are short, reads of large values wait
// (pins_short), small ones go on, and whoever has not taken a batch of answers in stalled_ms is closed; so is, sooner
// the more of them wait, who takes nothing of it.
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
  // Not long for a batch of 2 MiB at most, and none for those who take nothing of it while many wait.
  static constexpr std::uint64_t stalled_ms = 5000;
  static constexpr std::uint64_t stalled_ms_min = 100;
  static constexpr int look_ms = 50;  // for stalled ones
  static constexpr unsigned scarce_commands = scarce_read_bytes / 4;
  static constexpr int retry_ms = 10;  // for those who wait for pins
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

  // How long a slow reader may take nothing while pins are short.
  [[nodiscard]] std::uint64_t patience_ms() const noexcept {
    constexpr std::uint64_t few = 16;
    return std::max(stalled_ms_min, stalled_ms * few / (few + waiting.load(std::memory_order_relaxed)));
  }

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
