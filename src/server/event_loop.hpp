// SPDX-License-Identifier: MIT
//
// event_loop: waiting for descriptors to become readable or writable, or for what arrives on them.
//
//     event_loop      the interface: watch, change, remove, wait, next
//       epoll_loop    readiness by epoll, level-triggered; whoever watches makes the system calls
//       uring_loop    io_uring (uring_loop.cpp): receives by itself, into buffers that all descriptors share
//
// A loop knows nothing of connections: each descriptor has a tag, and events name the tag. The one difference that
// shows: asked for interest::receive, epoll_loop says when there is something to read, uring_loop hands it over.
//
// Ownership: a loop owns its own descriptor and buffers only. Threads: enter(), wait(), next() and remove() by one
// thread, and so are add() and change() once that thread has entered. Failure: none and false.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace scoot::server {

enum class interest : unsigned char { none, read, write, receive };
enum class io_kind : unsigned char { automatic, epoll, uring };

enum class event_kind : unsigned char {
  ready,     // what it is watched for can be done; errors and hang-ups are reported so too
  received,  // `bytes` came from it
  ended,     // nothing more will come: the other side has closed it, or it failed
};

struct loop_event {
  void* tag = nullptr;
  event_kind kind = event_kind::ready;
  std::string_view bytes;  // valid until the next wait()
};

class event_loop {
 public:
  using watch = std::uint32_t;
  static constexpr watch none = UINT32_MAX;

  event_loop() = default;
  event_loop(const event_loop&) = delete;
  event_loop& operator=(const event_loop&) = delete;
  virtual ~event_loop() = default;

  // The calling thread is the one that waits from now on. False if the system refuses.
  [[nodiscard]] virtual bool enter() noexcept = 0;
  // True if it may hand over bytes of a descriptor that is asked for nothing, those that were under way.
  [[nodiscard]] virtual bool receives() const noexcept = 0;

  // Watches a descriptor; `none` if the system refuses.
  [[nodiscard]] virtual watch add(int descriptor, void* tag, interest what) noexcept = 0;
  virtual bool change(watch which, void* tag, interest what) noexcept = 0;
  // Must come before the descriptor is closed.
  virtual void remove(watch which) noexcept = 0;
  // The same for a descriptor that stays open.
  virtual void let_go(watch which) noexcept { remove(which); }

  // Waits for at most timeout_ms (-1: for ever) for what next() then gives, until that is null.
  virtual void wait(int timeout_ms) noexcept = 0;
  [[nodiscard]] virtual const loop_event* next() noexcept = 0;
};

class epoll_loop final : public event_loop {
 public:
  static constexpr std::size_t events_max = 256;  // of one wait

  epoll_loop() noexcept;
  ~epoll_loop() override;
  [[nodiscard]] bool valid() const noexcept { return descriptor_ >= 0; }

  [[nodiscard]] bool enter() noexcept override { return valid(); }
  [[nodiscard]] bool receives() const noexcept override { return false; }
  [[nodiscard]] watch add(int descriptor, void* tag, interest what) noexcept override;
  bool change(watch which, void* tag, interest what) noexcept override;
  void remove(watch which) noexcept override;
  void let_go(watch which) noexcept override;
  void wait(int timeout_ms) noexcept override;
  [[nodiscard]] const loop_event* next() noexcept override;

 private:
  int descriptor_ = -1;
  std::array<epoll_event, events_max> events_;
  std::size_t count_ = 0;
  std::size_t at_ = 0;
  loop_event event_;
};

// A loop over io_uring; null, with the reason, where the kernel does not have what it takes or does not let us.
[[nodiscard]] std::unique_ptr<event_loop> make_uring_loop(std::string& why_not);

// The loop that is wanted: automatic takes io_uring where it can be had (it costs less, docs/design/server.md), else
// epoll. Null, with the reason, if that cannot be had.
[[nodiscard]] std::unique_ptr<event_loop> make_event_loop(io_kind wanted, std::string& why_not);

}  // namespace scoot::server
