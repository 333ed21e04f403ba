// SPDX-License-Identifier: MIT
//
// event_loop: waiting for descriptors to become readable or writable. A thin wrapper of epoll, level-triggered.
//
// It knows nothing of connections: each descriptor has a tag, and events name the tag. The narrowness is on purpose, so
// that another way of waiting can take its place.
//
// Ownership: owns its own descriptor only. Threads: wait() by one; add() and change() by any.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstddef>
#include <span>

namespace scoot::server {

enum class interest : unsigned char { none, read, write };

class event_loop {
 public:
  static constexpr std::size_t events_max = 256;  // of one wait

  event_loop() noexcept;
  event_loop(const event_loop&) = delete;
  event_loop& operator=(const event_loop&) = delete;
  ~event_loop();

  [[nodiscard]] bool valid() const noexcept { return descriptor_ >= 0; }

  // Watches a descriptor; closing it ends that. False if the system refuses.
  [[nodiscard]] bool add(int descriptor, void* tag, interest what) noexcept;
  bool change(int descriptor, void* tag, interest what) noexcept;

  // Waits for at most timeout_ms (-1: for ever) and returns what happened; valid until the next wait. Errors and
  // hang-ups are reported to whoever watches, whatever the interest.
  [[nodiscard]] std::span<const epoll_event> wait(int timeout_ms) noexcept;

 private:
  int descriptor_ = -1;
  std::array<epoll_event, events_max> events_;
};

}  // namespace scoot::server
