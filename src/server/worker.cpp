// SPDX-License-Identifier: MIT
#include "server/worker.hpp"

#include <malloc.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <new>
#include <utility>

#include "server/listener.hpp"
#include "server/log.hpp"

namespace scoot::server {
namespace {

// Of which differences count: it goes round in 49 days.
std::uint32_t steady_ms() noexcept {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

}  // namespace

worker::worker(server_state& state, worker_counters& counters)
    : state_(state),
      read_buffer_(new char[read_bytes_max]),
      context_{{state, counters, out_}, read_buffer_.get(), read_bytes_max, state.live.requests_per_event} {}

std::string worker::open() {
  std::string error;
  loop_ = make_event_loop(state_.options.io, error);
  if (loop_ == nullptr) return error;
  mailbox_event_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (mailbox_event_ < 0 || loop_->add(mailbox_event_, nullptr, interest::read) == event_loop::none) {
    return "no descriptor for a worker's mailbox";
  }
  return {};
}

std::string worker::start() {
  if (std::string error = open(); !error.empty()) return error;
  std::promise<bool> started;
  std::future<bool> entered = started.get_future();
  thread_ = std::thread([this, &started] { run(std::move(started)); });
  return entered.get() ? "" : "a worker cannot wait";
}

std::string worker::start_here() {
  if (std::string error = open(); !error.empty()) return error;
  here_ = loop_->enter();
  return here_ ? "" : "a worker cannot wait";
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
  if (std::exchange(here_, false)) end();
}

// Others may wake it until all are stopped.
worker::~worker() {
  stop();
  if (mailbox_event_ >= 0) close(mailbox_event_);
}

void worker::wake() const noexcept { eventfd_write(mailbox_event_, 1); }

void worker::hand_over(int descriptor, bool tls) noexcept {
  try {
    const std::lock_guard hold(mailbox_lock_);
    mailbox_.push_back({descriptor, tls});
  } catch (const std::bad_alloc&) {
    close(descriptor);
    state_.connections_now.fetch_sub(1, std::memory_order_relaxed);
    return;
  }
  eventfd_write(mailbox_event_, 1);
}

void worker::run(std::promise<bool> started) noexcept {
  const bool entered = loop_->enter();
  started.set_value(entered);
  if (!entered) return;
  while (!stopped_) {
    take_settings();
    round(wait_ms());
  }
  end();
}

void worker::round(int wait_ms) noexcept {
  loop_->wait(wait_ms);
  now_s_ = state_.items.now();
  while (const loop_event* event = loop_->next()) handle(*event);
  turn_.swap(ready_);
  for (connection* c : turn_) settle(*c, c->on_turn(context_));
  turn_.clear();
  if (keeps_something_) [[unlikely]]
    see_to_memory();
  if (idle_timeout_s_ > 0 && now_s_ != idle_looked_at_) end_idle();
}

void worker::serve_round() noexcept {
  take_settings();
  round(0);
}

void worker::end() noexcept {
  while (!connections_.empty()) forget(*connections_.back(), "shutdown");
  loop_->wait(0);  // lets go of their sockets, which a loop that receives holds
}

int worker::wait_ms() const noexcept {
  if (!ready_.empty()) return 0;
  if (keeps_something_) [[unlikely]] {
    // Others' pins are given back when they are looked at.
    const client_memory& all = state_.clients;
    if (waiting_ > 0 || (kept_pinned_ > 0 && all.others_wait())) {
      return std::clamp(static_cast<int>(all.patience_ms() / 2), 1, client_memory::retry_ms);
    }
    if (kept_pinned_ > 0) return client_memory::look_ms;
    if (state_.clients.wants_trim()) return 1000;
  }
  return idle_timeout_s_ > 0 ? 1000 : -1;
}

// How much is read, answered and done at a time. Where memory is scarce little is read, and a turn is as long as that
// takes, so that nothing need be kept of those who read their answers.
bool worker::take_pieces() noexcept {
  const bool scarce = state_.clients.scarce();
  context_.read_bytes_max = scarce ? client_memory::scarce_read_bytes : read_bytes_max;
  context_.commands_per_turn = state_.live.requests_per_event.load(std::memory_order_relaxed);
  if (scarce) context_.commands_per_turn = std::max(context_.commands_per_turn, client_memory::scarce_commands);
  out_.set_full_bytes(scarce ? client_memory::scarce_full_bytes : response_buffer::full_bytes);
  return scarce;
}

// A timeout that is new counts from now on, since before nobody noted when something was heard.
void worker::take_settings() noexcept {
  context_.commands_per_turn = state_.live.requests_per_event.load(std::memory_order_relaxed);
  if (keeps_something_) [[unlikely]]
    (void)take_pieces();
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
      if (waits_for == connection::state::waiting) return forget(*c, "error");  // it is watched for that only
      next = reading ? c->on_readable(context_) : c->on_writable(context_);
      return settle(*c, next);
  }
  if (reading) return settle(*c, next);
  if (c->keeps_something()) count(*c);
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

// So that lists of connections never grow at another time.
bool worker::has_room_for_another() noexcept {
  const std::size_t wanted = connections_.size() + 1;
  if (wanted <= ready_.capacity() && wanted <= turn_.capacity() && wanted <= connections_.capacity()) return true;
  try {
    const std::size_t more = std::max<std::size_t>(16, wanted + wanted / 2);
    ready_.reserve(more);
    turn_.reserve(more);
    const std::lock_guard hold(list_lock_);
    connections_.reserve(more);
  } catch (const std::bad_alloc&) {
    return false;
  }
  return true;
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
  } else if (!has_room_for_another()) {
    // c closes it
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
  if (s == connection::state::waiting) return interest::none;
  if (!loop_->receives() || c.reads_itself()) return interest::read;
  return s == connection::state::ready ? interest::none : interest::receive;
}

// Arranges what the connection is to wait for next.
void worker::settle(connection& c, connection::state next) noexcept {
  if (c.keeps_something()) [[unlikely]] {
    count(c);
    if (c.gave_up()) next = connection::state::closed;
  }
  if (next == connection::state::closed) return forget(c, c.end_reason());
  if (next == connection::state::watching) return give_to_watchers(c);
  const interest wanted = wanted_in(c, next);
  if (wanted != c.watched_for) {
    c.watched_for = wanted;
    if (!loop_->change(c.watch, &c, wanted)) return forget(c, "error");
  }
  if (next == connection::state::ready) ready_.push_back(&c);  // which has room for all connections
  if (next == connection::state::waiting) {
    keeps_something_ = true;
    ++waiting_;
    state_.clients.waiting.fetch_add(1, std::memory_order_relaxed);
  }
  c.waiting_for.store(next, std::memory_order_relaxed);
}

// Once a second: closes connections of which nothing was heard for too long. One whose turn is to come is not idle.
void worker::end_idle() noexcept {
  idle_looked_at_ = now_s_;
  for (std::size_t i = connections_.size(); i-- > 0;) {  // the last takes the place of one that goes
    connection& c = *connections_[i];
    if (c.waits_for() == connection::state::ready || c.waits_for() == connection::state::waiting) continue;
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
  line.word(" rip=").word(who.host_text()).number(" rport=", who.port);
  line.word(who.local ? " transport=local" : " transport=tcp");
  if (!reason.empty()) line.word(" reason=").word(reason);
  state_.watching.tell(watch_connevents, line.number(" cfd=", descriptor));
}

void worker::forget(connection& c, std::string_view reason) noexcept {
  if (state_.observes(watch_connevents)) {
    tell_connection("conn_close", c.descriptor(), reason);
  }
  if (state_.verbosity.load(std::memory_order_relaxed) > 1) log_traffic('<', c.descriptor(), "connection closed");
  if (c.in_handshake()) state_.tls_handshake_errors.fetch_add(1, std::memory_order_relaxed);
  loop_->remove(c.watch);
  drop(c);
  state_.connections_now.fetch_sub(1, std::memory_order_relaxed);
}

void worker::drop(connection& c) noexcept {
  count(c, 0, 0);
  if (c.waits_for() == connection::state::ready) std::erase(ready_, &c);  // unless this is its turn
  if (c.waits_for() == connection::state::waiting) waits_no_more(c);
  const std::lock_guard hold(list_lock_);
  const std::uint32_t index = c.index;
  if (index + 1 != connections_.size()) {
    connections_[index].swap(connections_.back());
    connections_[index]->index = index;
  }
  connections_.pop_back();
}

// ---- what connections keep ----------------------------------------------------------------------------------------

// At the end of a round while connections keep something, and until what that changed is as before.
void worker::see_to_memory() noexcept {
  client_memory& all = state_.clients;
  if (kept_pinned_ > 0 && all.others_wait()) pass_pins_on();
  if (waiting_ > 0) retry_waiting();
  if (all.over()) make_room();
  if (given_up_) end_those_given_up();
  if (all.wants_trim()) trim_memory();
  const bool scarce = take_pieces();
  keeps_something_ = scarce || kept_bytes_ > 0 || kept_pinned_ > 0 || waiting_ > 0 || all.wants_trim();
}

void worker::count(connection& c) noexcept {
  const connection::keeps now = c.kept();
  const std::uint32_t now_ms = steady_ms();
  const bool kept = c.counted_bytes + c.counted_pinned > 0;
  const bool first = !kept || (now.pinned_bytes > 0 && c.counted_pinned == 0);
  if (first || now.progressed) c.progressed_ms = now_ms;
  if (first || now.moved) c.moved_ms = now_ms;
  if (now.backlog_bytes == 0) {
    c.untaken = 0;
  } else if (first || now.moved) {
    if (kept) c.took_ms = now_ms;
    c.untaken = c.untaken_bytes();
  }
  count(c, now.bytes > client_memory::own_bytes_max ? now.bytes : 0, now.pinned_bytes);
  if (kept_bytes_ == 0 && kept_pinned_ == 0) return;
  keeps_something_ = true;
  if (state_.clients.over()) make_room();
  (void)take_pieces();
}

void worker::count(connection& c, std::size_t bytes, std::size_t pinned) noexcept {
  if (bytes != c.counted_bytes) {
    state_.clients.change_bytes(c.counted_bytes, bytes);
    kept_bytes_ += bytes - std::exchange(c.counted_bytes, bytes);
  }
  if (pinned != c.counted_pinned) {
    state_.clients.change_pinned(c.counted_pinned, pinned);
    kept_pinned_ += pinned - std::exchange(c.counted_pinned, pinned);
  }
}

// Whoever keeps more than its share makes room. If that is others they are told; of all some worker does, or there
// would be room. Connections are closed at the end of the round, since events of this one may name them.
void worker::make_room() noexcept {
  client_memory& all = state_.clients;
  constexpr std::size_t wanted = client_memory::bytes_max / 8 * 7;
  const std::size_t share = wanted / state_.counters.size();
  while (kept_bytes_ > share && all.bytes() > wanted) {
    let_go_of_heaviest();
  }
  if (!all.over() || !all.tells_others(steady_ms())) return;
  for (const worker* other : state_.workers) {
    if (other != this) other->wake();
  }
}

// Whether a client takes the answers that are kept for it. Its socket says that it may be written to again only when
// much of what it holds is gone, so the kernel is asked.
bool worker::reads(connection& c, std::uint32_t now_ms) noexcept {
  if (now_ms - c.took_ms < client_memory::reading_ms) return true;
  if (c.untaken == 0) return false;  // no answers are kept
  const std::uint32_t untaken = c.untaken_bytes();
  if (untaken >= c.untaken) return false;
  c.untaken = untaken;
  c.took_ms = now_ms;
  return true;
}

// Of those that read only if there are no others.
void worker::let_go_of_heaviest() noexcept {
  const std::uint32_t now_ms = steady_ms();
  connection* heaviest = nullptr;
  std::uint64_t most = 0;
  for (const std::unique_ptr<connection>& c : connections_) {
    if (c->counted_bytes == 0) continue;
    // Who waits for us is not to blame.
    const bool blocked = c->waits_for() <= connection::state::writing;
    const std::uint64_t age_ms = blocked ? now_ms - c->progressed_ms : 0;
    const std::uint64_t idle_ms = blocked ? now_ms - c->moved_ms : 0;
    constexpr std::uint64_t no_reader = std::uint64_t{1} << 63;
    std::uint64_t weight = c->counted_bytes * (1 + idle_ms + age_ms / 16);
    if (blocked && (no_reader | weight) > most && !reads(*c, now_ms)) weight |= no_reader;
    if (weight <= most) continue;
    most = weight;
    heaviest = c.get();
  }
  if (heaviest == nullptr) return;
  const connection::keeps kept = heaviest->kept();
  (kept.backlog_bytes > 0 ? state_.clients.closed_for_answers : state_.clients.closed_for_input)
      .fetch_add(1, std::memory_order_relaxed);
  heaviest->give_up();
  count(*heaviest, 0, 0);
  given_up_ = true;
  std::uint32_t warned_s = state_.clients.warned_s.load(std::memory_order_relaxed);
  if (static_cast<std::int32_t>(now_s_ - warned_s) < 60 ||
      !state_.clients.warned_s.compare_exchange_strong(warned_s, now_s_))
    return;
  spdlog::warn(
      "clients that do not read their answers or finish their commands are disconnected, as all of them keep "
      "too much memory; told once a minute at most");
}

// While others wait for pins, here or at another worker.
void worker::pass_pins_on() noexcept {
  if (!state_.clients.short_of_pins()) return;
  const std::uint32_t now_ms = steady_ms();
  const std::uint64_t patience_ms = state_.clients.patience_ms();
  for (const std::unique_ptr<connection>& c : connections_) {
    if (c->counted_pinned == 0 || c->waits_for() != connection::state::writing) continue;
    if (now_ms - c->moved_ms < patience_ms &&
        now_ms - c->progressed_ms < client_memory::slow_patience * (1 + patience_ms))
      continue;
    c->park();
    given_up_ |= c->gave_up();
    count(*c);
    state_.clients.yields.fetch_add(1, std::memory_order_relaxed);
  }
}

// Those for which there were too many values pinned, in turns.
void worker::retry_waiting() noexcept {
  if (state_.clients.short_of_pins()) return;
  const std::size_t connections = connections_.size();
  for (std::size_t i = 0; i < connections; ++i) {
    connection* const c = connections_[(first_to_retry_ + i) % connections].get();
    if (c->waits_for() == connection::state::waiting) turn_.push_back(c);
  }
  for (connection* const c : turn_) {
    if (state_.clients.short_of_pins()) break;
    waits_no_more(*c);
    first_to_retry_ = c->index + 1;
    settle(*c, c->on_turn(context_));
  }
  turn_.clear();
}

void worker::waits_no_more(connection& c) noexcept {
  c.waiting_for.store(connection::state::ready, std::memory_order_relaxed);
  --waiting_;
  state_.clients.waiting.fetch_sub(1, std::memory_order_relaxed);
}

void worker::end_those_given_up() noexcept {
  given_up_ = false;
  for (std::size_t i = connections_.size(); i-- > 0;) {  // the last takes the place of one that goes
    if (connections_[i]->gave_up()) forget(*connections_[i], connections_[i]->end_reason());
  }
}

// The C library keeps what is freed between other blocks. Once a second at most, since it looks at all it has.
void worker::trim_memory() noexcept {
  if (now_s_ == trimmed_at_ || !state_.clients.take_trim()) return;
  trimmed_at_ = now_s_;
  malloc_trim(0);
}

}  // namespace scoot::server
