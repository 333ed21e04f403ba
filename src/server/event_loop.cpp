// SPDX-License-Identifier: MIT
#include "server/event_loop.hpp"

#include <unistd.h>

#include <cerrno>
#include <new>

namespace scoot::server {
namespace {

epoll_event event_for(void* tag, interest what) noexcept {
  epoll_event event{};
  if (what == interest::read || what == interest::receive) event.events = EPOLLIN;
  if (what == interest::write) event.events = EPOLLOUT;
  event.data.ptr = tag;
  return event;
}

}  // namespace

epoll_loop::epoll_loop() noexcept : descriptor_(epoll_create1(EPOLL_CLOEXEC)), events_{} {}

epoll_loop::~epoll_loop() {
  if (descriptor_ >= 0) close(descriptor_);
}

// A watch is the descriptor itself: epoll has all that there is to know of it.
event_loop::watch epoll_loop::add(int descriptor, void* tag, interest what) noexcept {
  epoll_event event = event_for(tag, what);
  if (epoll_ctl(descriptor_, EPOLL_CTL_ADD, descriptor, &event) != 0) return none;
  return static_cast<watch>(descriptor);
}

bool epoll_loop::change(watch which, void* tag, interest what) noexcept {
  epoll_event event = event_for(tag, what);
  return epoll_ctl(descriptor_, EPOLL_CTL_MOD, static_cast<int>(which), &event) == 0;
}

// Closing a descriptor ends its being watched.
void epoll_loop::remove(watch) noexcept {}

void epoll_loop::let_go(watch which) noexcept {
  epoll_ctl(descriptor_, EPOLL_CTL_DEL, static_cast<int>(which), nullptr);
}

void epoll_loop::wait(int timeout_ms) noexcept {
  const int count = epoll_wait(descriptor_, events_.data(), static_cast<int>(events_.size()), timeout_ms);
  count_ = count > 0 ? static_cast<std::size_t>(count) : 0;
  at_ = 0;
}

const loop_event* epoll_loop::next() noexcept {
  if (at_ == count_) return nullptr;
  event_.tag = events_[at_++].data.ptr;
  return &event_;
}

std::unique_ptr<event_loop> make_event_loop(io_kind wanted, std::string& why_not) {
  if (wanted != io_kind::epoll) {
    std::unique_ptr<event_loop> ring = make_uring_loop(why_not);
    if (ring != nullptr || wanted == io_kind::uring) return ring;
  }
  std::unique_ptr<epoll_loop> plain(new (std::nothrow) epoll_loop);
  if (plain != nullptr && plain->valid()) return plain;
  why_not = "epoll is refused";
  return nullptr;
}

}  // namespace scoot::server
