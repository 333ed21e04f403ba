// SPDX-License-Identifier: MIT
#include "server/worker.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <new>

#include "server/log.hpp"

namespace scoot::server {

worker::worker(server_state& state, worker_counters& counters)
    : state_(state),
      read_buffer_(new char[read_bytes_max]),
      context_{{state, counters, out_}, read_buffer_.get(), read_bytes_max, state.options.requests_per_event} {}

bool worker::start() {
  mailbox_event_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (!loop_.valid() || mailbox_event_ < 0 || !loop_.add(mailbox_event_, nullptr, interest::read)) return false;
  thread_ = std::thread([this] { run(); });
  return true;
}

void worker::stop() noexcept {
  if (thread_.joinable()) {
    {
      const std::lock_guard hold(mailbox_lock_);
      stopping_ = true;
    }
    eventfd_write(mailbox_event_, 1);
    thread_.join();
  }
  if (mailbox_event_ >= 0) close(mailbox_event_);
  mailbox_event_ = -1;
}

void worker::hand_over(int descriptor) noexcept {
  {
    const std::lock_guard hold(mailbox_lock_);
    mailbox_.push_back(descriptor);
  }
  eventfd_write(mailbox_event_, 1);
}

void worker::run() noexcept {
  while (!stopped_) {
    for (const epoll_event& event : loop_.wait(ready_.empty() ? -1 : 0)) {
      auto* const c = static_cast<connection*>(event.data.ptr);
      if (c == nullptr) {
        take_mail();
        continue;
      }
      switch (c->waiting_for) {
        case connection::state::reading:
          settle(*c, c->on_readable(context_));
          break;
        case connection::state::writing:
          settle(*c, c->on_writable(context_));
          break;
        default:  // its turn comes below
          break;
      }
    }
    if (ready_.empty()) continue;
    turn_.swap(ready_);
    for (connection* c : turn_) settle(*c, c->on_turn(context_));
    turn_.clear();
  }
  while (!connections_.empty()) forget(*connections_.back());
}

void worker::take_mail() noexcept {
  eventfd_t ignored = 0;
  eventfd_read(mailbox_event_, &ignored);
  std::vector<int> mail;
  {
    const std::lock_guard hold(mailbox_lock_);
    mail.swap(mailbox_);
    stopped_ = stopping_;
  }
  for (const int descriptor : mail) adopt(descriptor);
}

void worker::adopt(int descriptor) noexcept {
  std::unique_ptr<connection> c(new (std::nothrow) connection(descriptor));
  if (c == nullptr) {
    close(descriptor);
  } else if (loop_.add(descriptor, c.get(), interest::read)) {
    c->index = connections_.size();
    connections_.push_back(std::move(c));
    return;
  }
  state_.connections_now.fetch_sub(1, std::memory_order_relaxed);
}

// Arranges what the connection is to wait for next.
void worker::settle(connection& c, connection::state next) noexcept {
  if (next == connection::state::closed) return forget(c);
  if (next == connection::state::ready) ready_.push_back(&c);
  const connection::state before = c.waiting_for;
  c.waiting_for = next;
  const bool wrote = before == connection::state::writing;
  const bool writes = next == connection::state::writing;
  if (wrote != writes && !loop_.change(c.descriptor(), &c, writes ? interest::write : interest::read)) forget(c);
}

void worker::forget(connection& c) noexcept {
  if (state_.verbosity.load(std::memory_order_relaxed) > 1) log_traffic('<', c.descriptor(), "connection closed");
  const std::size_t index = c.index;
  if (index + 1 != connections_.size()) {
    connections_[index].swap(connections_.back());
    connections_[index]->index = index;
  }
  connections_.pop_back();
  state_.connections_now.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace scoot::server
