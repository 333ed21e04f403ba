// SPDX-License-Identifier: MIT
#include "server/worker.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <new>

#include "server/listener.hpp"
#include "server/log.hpp"

namespace scoot::server {

worker::worker(server_state& state, worker_counters& counters)
    : state_(state),
      read_buffer_(new char[read_bytes_max]),
      context_{{state, counters, out_}, read_buffer_.get(), read_bytes_max, state.live.requests_per_event} {}

std::string worker::start() {
  std::string error;
  loop_ = make_event_loop(state_.options.io, error);
  if (loop_ == nullptr) return error;
  mailbox_event_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (mailbox_event_ < 0 || loop_->add(mailbox_event_, nullptr, interest::read) == event_loop::none) {
    return "no descriptor for a worker's mailbox";
  }
  std::promise<bool> started;
  std::future<bool> entered = started.get_future();
  thread_ = std::thread([this, &started] { run(std::move(started)); });
  return entered.get() ? "" : "a worker cannot wait";
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

void worker::wake() noexcept { eventfd_write(mailbox_event_, 1); }

void worker::hand_over(int descriptor, bool tls) noexcept {
  {
    const std::lock_guard hold(mailbox_lock_);
    mailbox_.push_back({descriptor, tls});
  }
  eventfd_write(mailbox_event_, 1);
}

void worker::run(std::promise<bool> started) noexcept {
  const bool entered = loop_->enter();
  started.set_value(entered);
  while (entered && !stopped_) {
    take_settings();
    const bool idle_end = idle_timeout_s_ > 0;
    loop_->wait(!ready_.empty() ? 0 : idle_end ? 1000 : -1);
    now_s_ = state_.items.now();
    while (const loop_event* event = loop_->next()) handle(*event);
    turn_.swap(ready_);
    for (connection* c : turn_) settle(*c, c->on_turn(context_));
    turn_.clear();
    if (idle_end && now_s_ != idle_looked_at_) end_idle();
  }
  while (!connections_.empty()) forget(*connections_.back(), "shutdown");
  if (entered) loop_->wait(0);  // lets go of their sockets, which a loop that receives holds
}

// A timeout that is new counts from now on, since before nobody noted when something was heard.
void worker::take_settings() noexcept {
  context_.commands_per_turn = state_.live.requests_per_event.load(std::memory_order_relaxed);
  const std::uint32_t timeout = state_.live.idle_timeout_s.load(std::memory_order_relaxed);
  if (timeout == idle_timeout_s_) return;
  if (idle_timeout_s_ == 0) {
    now_s_ = state_.items.now();
    for (const std::unique_ptr<connection>& c : connections_) c->active_s.store(now_s_, std::memory_order_relaxed);
  }
  idle_timeout_s_ = timeout;
}

void worker::handle(const loop_event& event) noexcept {
  auto* const c = static_cast<connection*>(event.tag);
  if (c == nullptr) return take_mail();
  c->active_s.store(now_s_, std::memory_order_relaxed);
  // One that is neither reading nor writing has its turn later; what comes for it meanwhile it keeps.
  const connection::state waits_for = c->waits_for();
  const bool reading = waits_for == connection::state::reading;
  connection::state next = waits_for;
  switch (event.kind) {
    case event_kind::received:
      next = c->on_received(context_, event.bytes);
      break;
    case event_kind::ended:
      next = c->on_ended();
      break;
    case event_kind::ready:
      if (waits_for == connection::state::ready) return;
      next = reading ? c->on_readable(context_) : c->on_writable(context_);
      return settle(*c, next);
  }
  if (reading) settle(*c, next);
}

void worker::take_mail() noexcept {
  eventfd_t ignored = 0;
  eventfd_read(mailbox_event_, &ignored);
  std::vector<arrival> mail;
  {
    const std::lock_guard hold(mailbox_lock_);
    mail.swap(mailbox_);
    stopped_ = stopping_;
  }
  for (const arrival& from : mail) adopt(from);
}

void worker::adopt(const arrival& from) noexcept {
  std::unique_ptr<tls_stream> stream;
  if (from.tls) stream = state_.tls->accept(from.descriptor);
  std::unique_ptr<connection> c;
  if (!from.tls || stream != nullptr) {
    c.reset(new (std::nothrow) connection(from.descriptor, std::move(stream)));
  }
  if (c == nullptr) {
    close(from.descriptor);
  } else if (c->watched_for = wanted_in(*c, connection::state::reading),
             c->watch = loop_->add(from.descriptor, c.get(), c->watched_for);
             c->watch != event_loop::none) {
    c->active_s.store(now_s_, std::memory_order_relaxed);
    if (state_.observes(watch_connevents)) tell_connection("conn_new", from.descriptor, "");
    const std::lock_guard hold(list_lock_);
    c->index = static_cast<std::uint32_t>(connections_.size());
    connections_.push_back(std::move(c));
    return;
  }
  state_.connections_now.fetch_sub(1, std::memory_order_relaxed);
}

// What to ask the loop for in a state. A loop that receives must not while unread bytes wait for their turn, or a
// client could have any number of them kept; one that does not is spared a change.
interest worker::wanted_in(const connection& c, connection::state s) const noexcept {
  if (s == connection::state::writing) return interest::write;
  if (!loop_->receives() || c.reads_itself()) return interest::read;
  return s == connection::state::ready ? interest::none : interest::receive;
}

// Arranges what the connection is to wait for next.
void worker::settle(connection& c, connection::state next) noexcept {
  if (next == connection::state::closed) return forget(c, c.end_reason());
  if (next == connection::state::watching) return give_to_watchers(c);
  if (next == connection::state::ready) ready_.push_back(&c);
  const interest wanted = wanted_in(c, next);
  c.waiting_for.store(next, std::memory_order_relaxed);
  if (wanted == c.watched_for) return;
  c.watched_for = wanted;
  if (!loop_->change(c.watch, &c, wanted)) forget(c, "error");
}

// Once a second: closes connections of which nothing was heard for too long. One whose turn is to come is not idle.
void worker::end_idle() noexcept {
  idle_looked_at_ = now_s_;
  for (std::size_t i = connections_.size(); i-- > 0;) {  // the last takes the place of one that goes
    connection& c = *connections_[i];
    if (c.waits_for() == connection::state::ready) continue;
    if (now_s_ - c.active_s.load(std::memory_order_relaxed) < idle_timeout_s_) continue;
    state_.idle_kicks.fetch_add(1, std::memory_order_relaxed);
    forget(c, "idle_timeout");
  }
}

void worker::give_to_watchers(connection& c) noexcept {
  loop_->let_go(c.watch);
  connection::parts parts = c.release();
  drop(c);
  state_.watching.adopt(parts.topics, parts.descriptor, std::move(parts.stream));
}

void worker::tell_connection(std::string_view type, int descriptor, std::string_view reason) noexcept {
  event_text line(type);
  const peer_name who = name_of_peer(descriptor);
  line.word(" rip=").word(who.host).number(" rport=", who.port);
  line.word(who.local ? " transport=local" : " transport=tcp").word(reason);
  state_.watching.tell(watch_connevents, line.number(" cfd=", descriptor));
}

void worker::forget(connection& c, std::string_view reason) noexcept {
  if (state_.observes(watch_connevents)) {
    tell_connection("conn_close", c.descriptor(), std::string(" reason=").append(reason));
  }
  if (state_.verbosity.load(std::memory_order_relaxed) > 1) log_traffic('<', c.descriptor(), "connection closed");
  if (c.in_handshake()) state_.tls_handshake_errors.fetch_add(1, std::memory_order_relaxed);
  loop_->remove(c.watch);
  drop(c);
  state_.connections_now.fetch_sub(1, std::memory_order_relaxed);
}

void worker::drop(connection& c) noexcept {
  const std::lock_guard hold(list_lock_);
  const std::uint32_t index = c.index;
  if (index + 1 != connections_.size()) {
    connections_[index].swap(connections_.back());
    connections_[index]->index = index;
  }
  connections_.pop_back();
}

}  // namespace scoot::server
