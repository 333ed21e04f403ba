// SPDX-License-Identifier: MIT
#include "server/event_loop.hpp"

#include <unistd.h>

#include <cerrno>

namespace scoot::server {
namespace {

epoll_event event_for(void* tag, interest what) noexcept {
  epoll_event event{};
  if (what == interest::read) event.events = EPOLLIN;
  if (what == interest::write) event.events = EPOLLOUT;
  event.data.ptr = tag;
  return event;
}

}  // namespace

event_loop::event_loop() noexcept : descriptor_(epoll_create1(EPOLL_CLOEXEC)), events_{} {}

event_loop::~event_loop() {
  if (descriptor_ >= 0) close(descriptor_);
}

bool event_loop::add(int descriptor, void* tag, interest what) noexcept {
  epoll_event event = event_for(tag, what);
  return epoll_ctl(descriptor_, EPOLL_CTL_ADD, descriptor, &event) == 0;
}

bool event_loop::change(int descriptor, void* tag, interest what) noexcept {
  epoll_event event = event_for(tag, what);
  return epoll_ctl(descriptor_, EPOLL_CTL_MOD, descriptor, &event) == 0;
}

std::span<const epoll_event> event_loop::wait(int timeout_ms) noexcept {
  const int count = epoll_wait(descriptor_, events_.data(), static_cast<int>(events_.size()), timeout_ms);
  return {events_.data(), count > 0 ? static_cast<std::size_t>(count) : 0};
}

}  // namespace scoot::server
