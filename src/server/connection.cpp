// SPDX-License-Identifier: MIT
#include "server/connection.hpp"

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace scoot::server {
namespace {

// Unread bytes up to this many are copied in front of the read buffer; more are read on where they are.
constexpr std::size_t copied_unread_bytes_max = std::size_t{4} << 10;
constexpr std::size_t read_on_bytes = std::size_t{16} << 10;
// Where large values are expected: what is read of a command before its value is read straight into the item; and how
// many times something else may come before they are not expected any more.
constexpr std::size_t first_read_bytes = std::size_t{4} << 10;
constexpr std::uint8_t large_turns_max = 16;
constexpr std::size_t vectors_max = 2 * (response_buffer::full_held_values + 1) + 1;

}  // namespace

unread_bytes::~unread_bytes() { std::free(data_); }

bool unread_bytes::assign(std::string_view bytes) noexcept {
  if (bytes.size() > capacity_ || capacity_ > 2 * bytes.size() + 512) {
    release();
    data_ = static_cast<char*>(std::malloc(bytes.size()));
    if (data_ == nullptr) return false;
    capacity_ = bytes.size();
  }
  std::memcpy(data_, bytes.data(), bytes.size());
  begin_ = 0;
  end_ = bytes.size();
  return true;
}

char* unread_bytes::room(std::size_t bytes) noexcept {
  if (begin_ > 0) {
    std::memmove(data_, data_ + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (capacity_ - end_ < bytes) {
    const std::size_t wanted = std::max(end_ + bytes, capacity_ + capacity_ / 2);
    void* larger = std::realloc(data_, wanted);
    if (larger == nullptr) return nullptr;
    data_ = static_cast<char*>(larger);
    capacity_ = wanted;
  }
  return data_ + end_;
}

void unread_bytes::drop(std::size_t bytes) noexcept {
  if (bytes == 0) return;
  begin_ += bytes;
  if (begin_ == end_) return release();
  if (size() <= copied_unread_bytes_max && capacity_ > 2 * copied_unread_bytes_max) {
    // Little is left of much: keep no more than that.
    std::memmove(data_, data_ + begin_, size());
    end_ = size();
    begin_ = 0;
    if (void* smaller = std::realloc(data_, end_); smaller != nullptr) {
      data_ = static_cast<char*>(smaller);
      capacity_ = end_;
    }
  }
}

void unread_bytes::release() noexcept {
  if (capacity_ == 0) return;
  std::free(data_);
  data_ = nullptr;
  begin_ = end_ = capacity_ = 0;
}

connection::~connection() {
  stream_.reset();  // which says goodbye on the socket
  if (descriptor_ >= 0) close(descriptor_);
}

ssize_t connection::receive(const iovec* to, int count) noexcept {
  if (stream_ != nullptr) return stream_->read(to[0].iov_base, to[0].iov_len);
  return count == 1 ? recv(descriptor_, to[0].iov_base, to[0].iov_len, 0) : readv(descriptor_, to, count);
}

connection::state connection::after_no_bytes(ssize_t received) const noexcept {
  if (received == 0) return state::closed;
  if (errno != EAGAIN && errno != EINTR) {
    failed_ = true;
    return state::closed;
  }
  return stream_ != nullptr && stream_->read_wants_write() ? state::writing : state::reading;
}

// A stream may hold more than the socket tells of: the connection then has another turn.
connection::state connection::settled(state next) noexcept {
  if (next != state::reading) return next;
  if (ended_) return state::closed;
  if (stream_ == nullptr || !stream_->pending()) return next;
  more_to_read_ = true;
  return state::ready;
}

connection::keeps connection::kept() noexcept {
  keeps now;
  now.progressed = std::exchange(progressed_, false);
  now.moved = std::exchange(moved_, false);
  if (backlog_ != nullptr) {
    now.backlog_bytes = backlog_->memory_bytes();
    now.pinned_bytes = backlog_->pinned_bytes();
  }
  now.bytes = unread_.capacity() + now.backlog_bytes + session_.walk_bytes();
  keeps_ = now.bytes > 0;
  return now;
}

std::uint32_t connection::untaken_bytes() const noexcept {
  int bytes = 0;
  return ioctl(descriptor_, TIOCOUTQ, &bytes) == 0 && bytes > 0 ? static_cast<std::uint32_t>(bytes) : 0;
}

void connection::park() noexcept {
  if (!backlog_->park()) give_up();
}

void connection::give_up() noexcept {
  broken_ = true;
  unread_.release();
  backlog_.reset();
  session_.drop_walk();
}

connection::state connection::on_readable(const connection_context& with) noexcept {
  bool filled = false;
  state next = read_on(with, filled);
  expect_large_values();
  // Most of a large value follows, and is here already.
  if (filled && next == state::reading && session_.value_room().bytes > 0) next = receive_value(with);
  return settled(next);
}

// Who stores large values will store more. A stream has buffers of its own in any case.
void connection::expect_large_values() noexcept {
  if (session_.took_large_value()) [[unlikely]] {
    if (stream_ == nullptr) large_turns_ = large_turns_max;
  } else if (large_turns_ > 0 && session_.value_room().bytes == 0) {
    --large_turns_;
  }
}

// `filled`: as much came as was asked for.
connection::state connection::read_on(const connection_context& with, bool& filled) noexcept {
  if (session_.value_room().bytes > 0) return receive_value(with);
  const bool read_on = unread_.size() > copied_unread_bytes_max;
  char* to = with.read_buffer;
  std::size_t room = with.read_bytes_max;
  std::size_t before = 0;
  if (read_on) {
    to = unread_.room(read_on_bytes);
    if (to == nullptr) return state::closed;
    room = unread_.room_bytes();
  } else if (!unread_.empty()) {
    before = unread_.size();
    std::memcpy(to, unread_.view().data(), before);
  }
  if (large_turns_ > 0) room = std::min(room, before + first_read_bytes);
  const iovec free{to + before, room - before};
  const ssize_t received = receive(&free, 1);
  if (received <= 0) return after_no_bytes(received);
  const auto bytes = static_cast<std::size_t>(received);
  with.session.counters.bytes_read.add(bytes);
  filled = bytes == free.iov_len;
  if (read_on) {
    unread_.grew(bytes);
    moved_ = true;
    return serve_line(with, bytes);
  }
  return serve(with, {to, before + bytes}, false);
}

// The socket is read straight into the item; what comes behind it goes to the read buffer.
connection::state connection::receive_value(const connection_context& with) noexcept {
  const session::room room = session_.value_room();
  const iovec to[2] = {{room.data, room.bytes}, {with.read_buffer, with.read_bytes_max}};
  const ssize_t received = receive(to, 2);
  if (received <= 0) return after_no_bytes(received);
  const auto bytes = static_cast<std::size_t>(received);
  with.session.counters.bytes_read.add(bytes);
  const std::size_t of_value = std::min(bytes, room.bytes);
  session_.value_arrived(of_value);
  if (bytes == of_value) return state::reading;
  return serve(with, {with.read_buffer, bytes - of_value}, false);
}

connection::state connection::on_received(const connection_context& with, std::string_view bytes) noexcept {
  with.session.counters.bytes_read.add(bytes.size());
  const bool reading = waits_for() == state::reading;
  if (reading && unread_.empty()) [[likely]] {
    const state next = serve(with, bytes, false);
    expect_large_values();
    return next;
  }
  const std::size_t before = unread_.size();
  if (reading && before <= copied_unread_bytes_max && before + bytes.size() <= with.read_bytes_max) {
    std::memcpy(with.read_buffer, unread_.view().data(), before);
    std::memcpy(with.read_buffer + before, bytes.data(), bytes.size());
    return serve(with, {with.read_buffer, before + bytes.size()}, false);
  }
  char* const to = unread_.room(std::max(bytes.size(), read_on_bytes));
  if (to == nullptr) {
    // What is lost cannot be made up for; a connection that others have in their lists ends at its turn.
    broken_ = true;
    return reading ? state::closed : waits_for();
  }
  std::memcpy(to, bytes.data(), bytes.size());
  unread_.grew(bytes.size());
  keeps_ = true;
  if (backlog_ == nullptr) moved_ = true;  // who has answers to take moves by taking them
  return reading ? serve_line(with, bytes.size()) : waits_for();
}

// What came is the end of unread_. A line that goes on is not looked through again from its beginning.
connection::state connection::serve_line(const connection_context& with, std::size_t came) noexcept {
  const std::string_view all = unread_.view();
  if (line_unfinished_ && all.size() <= retrieval_line_bytes_max &&
      std::memchr(all.data() + all.size() - came, '\n', came) == nullptr) {
    return settled(state::reading);
  }
  return serve(with, all, true);
}

connection::state connection::on_ended() noexcept {
  ended_ = true;
  return waits_for() == state::reading ? state::closed : waits_for();
}

connection::state connection::on_writable(const connection_context& with) noexcept {
  if (backlog_ != nullptr) {
    if (backlog_->parked()) [[unlikely]] {
      server_state& all = with.session.state;
      if (all.observes(pins_short)) return state::waiting;
      if (!backlog_->unpark(all.items)) {
        all.clients.closed_for_answers.fetch_add(1, std::memory_order_relaxed);
        give_up();
        return state::closed;
      }
    }
    const sent result = send(with, *backlog_);
    if (result == sent::failed) return state::closed;
    if (result == sent::blocked) return state::writing;
    backlog_.reset();
    progressed_ = true;
  }
  if (closing_ || broken_) return state::closed;
  if (stream_ != nullptr && stream_->read_wants_write()) return on_readable(with);
  return serve(with, unread_.view(), true);
}

connection::state connection::on_turn(const connection_context& with) noexcept {
  if (backlog_ != nullptr) return on_writable(with);
  if (more_to_read_) {
    more_to_read_ = false;
    return on_readable(with);
  }
  return serve(with, unread_.view(), true);
}

connection::state connection::serve(const connection_context& with, std::string_view input, bool own_input) noexcept {
  if (broken_) return state::closed;
  return settled(serve_all(with, input, own_input));
}

connection::state connection::serve_all(const connection_context& with, std::string_view input,
                                        bool own_input) noexcept {
  unsigned commands_left = with.commands_per_turn;
  const auto used = [first = input.data()](std::string_view rest) noexcept { return rest.data() != first; };
  for (;;) {
    const session_progress progress = session_.run(with.session, input, commands_left);
    input.remove_prefix(progress.used_bytes);
    switch (flush(with)) {
      case sent::failed:
        return state::closed;
      case sent::blocked:
        closing_ = progress.status == session_status::close || progress.status == session_status::watch;
        return keep_unread(closing_ ? std::string_view{} : input, {own_input, used(input)}, state::writing);
      case sent::all:
        break;
    }
    switch (progress.status) {
      case session_status::output_full:
        continue;
      case session_status::watch:
        return state::watching;
      case session_status::close:
        return state::closed;
      case session_status::wait:
        return keep_unread(input, {own_input, used(input)}, state::waiting);
      case session_status::turn_over:
        with.session.counters.yields.add();
        return keep_unread(input, {own_input, used(input)}, state::ready);
      case session_status::needs_input:
        return keep_unread(input, {own_input, used(input)}, state::reading);
    }
  }
}

connection::state connection::keep_unread(std::string_view rest, kept_of of, state next) noexcept {
  if (rest.empty()) [[likely]] {
    unread_.release();
    return next;
  }
  keeps_ = moved_ = true;
  progressed_ |= of.was_used;
  if (of.own_input) {
    unread_.drop(unread_.size() - rest.size());
  } else if (!unread_.assign(rest)) {
    return state::closed;
  }
  line_unfinished_ = unread_.size() > copied_unread_bytes_max && session_.reads_lines() &&
                     unread_.view().find('\n') == std::string_view::npos;
  return next;
}

// Sends what is in the worker's buffer and keeps what is not taken as the connection's own.
connection::sent connection::flush(const connection_context& with) noexcept {
  response_buffer& out = with.session.out;
  if (out.empty() && !out.failed()) return sent::all;
  sent result = out.failed() ? sent::failed : send(with, out);
  if (result == sent::blocked) {
    backlog_ = out.detach();
    keeps_ = progressed_ = true;
    if (backlog_ == nullptr) result = sent::failed;
  }
  out.clear();
  return result;
}

// As sendmsg(). Each record is encrypted and sent by itself, so what is short is put together in one: the line before a
// value with its beginning, its rest with the line behind. What was cut short goes on with the same bytes or more, as
// OpenSSL wants it.
ssize_t connection::send_encrypted(const iovec* vectors, std::size_t count) noexcept {
  static thread_local char together[tls_stream::record_bytes];
  ssize_t total = 0;
  std::size_t at = 0;  // of what is sent of *vectors
  while (count > 0) {
    const auto* from = static_cast<const char*>(vectors->iov_base) + at;
    std::size_t bytes = vectors->iov_len - at;
    if (bytes >= sizeof together) {
      bytes -= bytes % sizeof together;
    } else if (count > 1) {
      bytes = 0;
      for (std::size_t i = 0, skip = at; i < count && bytes < sizeof together; ++i, skip = 0) {
        const std::size_t part = std::min(vectors[i].iov_len - skip, sizeof together - bytes);
        std::memcpy(together + bytes, static_cast<const char*>(vectors[i].iov_base) + skip, part);
        bytes += part;
      }
      from = together;
    }
    const ssize_t written = stream_->write(from, bytes);
    if (written <= 0) return total > 0 && errno == EAGAIN ? total : -1;
    total += written;
    at += static_cast<std::size_t>(written);
    while (count > 0 && at >= vectors->iov_len) {
      at -= vectors->iov_len;
      ++vectors;
      --count;
    }
  }
  return total;
}

connection::sent connection::send(const connection_context& with, response_buffer& out) noexcept {
  for (;;) {
    ssize_t result = 0;
    const std::size_t pending = out.pending_bytes();
    bool all_described = true;
    if (!out.holds_values() && stream_ == nullptr) [[likely]] {
      result = ::send(descriptor_, out.bytes().data(), pending, MSG_NOSIGNAL);
    } else {
      iovec vectors[vectors_max];
      msghdr message{};
      message.msg_iov = vectors;
      message.msg_iovlen = out.gather(vectors, vectors_max);
      all_described = message.msg_iovlen < vectors_max;
      result = stream_ != nullptr ? send_encrypted(vectors, message.msg_iovlen)
                                  : sendmsg(descriptor_, &message, MSG_NOSIGNAL);
    }
    if (result < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return sent::blocked;
      failed_ = true;
      return sent::failed;
    }
    const auto bytes = static_cast<std::size_t>(result);
    with.session.counters.bytes_written.add(bytes);
    if (bytes == pending) return sent::all;
    out.drop(bytes);
    moved_ = true;
    if (all_described) return sent::blocked;
  }
}

}  // namespace scoot::server
