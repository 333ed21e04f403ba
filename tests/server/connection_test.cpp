// SPDX-License-Identifier: MIT
//
// Goal: a connection gives all answers however the socket behaves, and costs little while a client dawdles. Method:
// both ends of a socket pair in one thread, the test calling what a worker would; then real workers with clients that
// pipeline, stall and leave.
#include "server/connection.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "served.hpp"
#include "server/worker.hpp"
#include "support.hpp"

namespace scoot::server {
namespace {

using testing::session_world;

// A pair of connected sockets; the server's end is non-blocking and with small buffers.
struct socket_pair {
  socket_pair() {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
    server = ends[0];
    client = ends[1];
    fcntl(server, F_SETFL, O_NONBLOCK);
    const int bytes = 16 << 10;
    setsockopt(server, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  }
  int server = -1;
  int client = -1;
};

class connection_test : public ::testing::Test {
 protected:
  ~connection_test() override {
    if (pair_.client >= 0) close(pair_.client);
  }
  void send_all(std::string_view text) {
    ASSERT_EQ(::send(pair_.client, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  std::string receive_some() {
    std::string text(100000, '\0');
    const ssize_t got = recv(pair_.client, text.data(), text.size(), MSG_DONTWAIT);
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return text;
  }
  // What a worker does once with this connection.
  connection::state serve_once() {
    switch (state_) {
      case connection::state::reading:
        return state_ = c_->on_readable(context_);
      case connection::state::writing:
        return state_ = c_->on_writable(context_);
      case connection::state::ready:
        return state_ = c_->on_turn(context_);
      default:
        return state_;
    }
  }
  void leave() {
    close(pair_.client);
    pair_.client = -1;
  }

  session_world world_{std::size_t{16} << 20};
  socket_pair pair_;
  std::vector<char> buffer_ = std::vector<char>(worker::read_bytes_max);
  connection_context context_{world_.with, buffer_.data(), buffer_.size(), 1000};
  std::unique_ptr<connection> c_ = std::make_unique<connection>(pair_.server);
  connection::state state_ = connection::state::reading;
};

TEST_F(connection_test, answers_a_pipeline_with_one_send) {
  send_all("set k 0 0 1\r\na\r\nget k\r\nmn\r\n");
  EXPECT_EQ(serve_once(), connection::state::reading);
  EXPECT_EQ(receive_some(), "STORED\r\nVALUE k 0 1\r\na\r\nEND\r\nMN\r\n");
  EXPECT_EQ(world_.state.totals().bytes_read, 27u);
  EXPECT_EQ(world_.state.totals().bytes_written, 33u);
}

TEST_F(connection_test, joins_a_command_that_comes_in_pieces) {
  for (const char byte : std::string("set k 0 0 3\r\nabc\r\nget k\r\n")) {
    send_all({&byte, 1});
    EXPECT_EQ(serve_once(), connection::state::reading);
  }
  EXPECT_EQ(receive_some(), "STORED\r\nVALUE k 0 3\r\nabc\r\nEND\r\n");
}

TEST_F(connection_test, waits_when_nothing_is_there_and_closes_when_the_client_left) {
  EXPECT_EQ(serve_once(), connection::state::reading);
  send_all("get half");
  EXPECT_EQ(serve_once(), connection::state::reading);
  leave();
  EXPECT_EQ(serve_once(), connection::state::closed);
}

TEST_F(connection_test, sends_before_it_closes) {
  send_all("mn\r\nquit\r\n");
  EXPECT_EQ(serve_once(), connection::state::closed);
  EXPECT_EQ(receive_some(), "MN\r\n");
}

TEST_F(connection_test, reads_a_long_retrieval_line_over_many_events) {
  send_all("set k 0 0 1\r\na\r\n");
  serve_once();
  receive_some();
  std::string line = "get";
  for (int i = 0; i < 35000; ++i) line += " key" + std::to_string(i);
  line += " k\r\nmn\r\n";
  ASSERT_GT(line.size(), 4 * worker::read_bytes_max);
  for (std::size_t at = 0; at < line.size(); at += 20000) {
    send_all(std::string_view(line).substr(at, 20000));
    ASSERT_EQ(serve_once(), connection::state::reading);
  }
  EXPECT_EQ(receive_some(), "VALUE k 0 1\r\na\r\nEND\r\nMN\r\n");
}

TEST_F(connection_test, stops_reading_from_a_client_that_does_not_read_and_then_gives_it_everything) {
  const std::string value(10000, 'v');
  ASSERT_EQ(world_.items->store("k", value), cache_status::ok);
  const std::string item = "VALUE k 0 10000\r\n" + value + "\r\nEND\r\n";
  std::string asked;
  std::string expected;
  for (int i = 0; i < 300; ++i) asked += "get k\r\n", expected += item;
  send_all(asked);
  ASSERT_EQ(serve_once(), connection::state::writing);
  // Not one byte more is produced until the client takes some.
  const std::uint64_t gets = world_.items->stats().gets;
  for (int i = 0; i < 10; ++i) ASSERT_EQ(serve_once(), connection::state::writing);
  EXPECT_EQ(world_.items->stats().gets, gets);
  EXPECT_LT(gets, 60u);
  std::string got;
  for (int i = 0; i < 100000 && got.size() < expected.size(); ++i) {
    got += receive_some();
    serve_once();
  }
  EXPECT_TRUE(got == expected);
  EXPECT_EQ(state_, connection::state::reading);
}

TEST_F(connection_test, sends_large_values_from_where_they_lie_even_to_a_slow_client) {
  const std::string value(600000, 'v');
  ASSERT_EQ(world_.items->store("k", value), cache_status::ok);
  send_all("get k k k\r\nmn\r\n");
  ASSERT_EQ(serve_once(), connection::state::writing);
  EXPECT_GT(world_.items->stats().pinned_items, 0u);
  ASSERT_EQ(world_.items->store("k", "replaced"), cache_status::ok);
  std::string got;
  const std::string item = "VALUE k 0 600000\r\n" + value + "\r\n";
  for (int i = 0; i < 100000 && state_ != connection::state::reading; ++i) {
    got += receive_some();
    serve_once();
  }
  got += receive_some();
  EXPECT_EQ(got.substr(0, item.size()), item);
  EXPECT_EQ(got.substr(got.size() - 9), "END\r\nMN\r\n");
  EXPECT_EQ(world_.items->stats().pinned_items, 0u);
}

TEST_F(connection_test, gives_pins_back_when_a_slow_client_leaves) {
  ASSERT_EQ(world_.items->store("k", std::string(600000, 'v')), cache_status::ok);
  send_all("get k k k\r\n");
  ASSERT_EQ(serve_once(), connection::state::writing);
  leave();
  EXPECT_EQ(serve_once(), connection::state::closed);
  c_.reset();
  EXPECT_EQ(world_.items->stats().pinned_items, 0u);
}

TEST_F(connection_test, receives_a_large_value_in_place) {
  const std::string value(500000, 'v');
  const std::string said = "set k 0 0 500000\r\n" + value + "\r\nget k\r\n";
  for (std::size_t at = 0; at < said.size(); at += 50000) {
    send_all(std::string_view(said).substr(at, 50000));
    while (serve_once() == connection::state::reading) {
      pollfd readable{pair_.server, POLLIN, 0};
      if (poll(&readable, 1, 0) == 0) break;
    }
  }
  std::string got;
  while (state_ == connection::state::writing) {
    got += receive_some();
    serve_once();
  }
  got += receive_some();
  EXPECT_TRUE(got == "STORED\r\nVALUE k 0 500000\r\n" + value + "\r\nEND\r\n");
}

TEST_F(connection_test, reads_only_the_beginning_of_a_large_value_before_the_item) {
  const std::string value(40000, 'v');
  const std::string said = "set k 0 0 40000\r\n" + value + "\r\n";
  send_all(said);
  serve_once();
  EXPECT_EQ(receive_some(), "STORED\r\n");
  EXPECT_TRUE(c_->reads_itself());
  std::fill(buffer_.begin(), buffer_.end(), '-');
  send_all(said);
  serve_once();
  EXPECT_EQ(receive_some(), "STORED\r\n");
  EXPECT_LT(std::count(buffer_.begin(), buffer_.end(), 'v'), 5000);
  for (int i = 0; i < 100; ++i) {
    send_all("mn\r\n");
    serve_once();
  }
  EXPECT_FALSE(c_->reads_itself());
}

TEST_F(connection_test, lets_others_have_their_turn_and_loses_nothing) {
  context_.commands_per_turn = 10;
  std::string asked;
  std::string expected;
  for (int i = 0; i < 55; ++i) asked += "mn\r\n", expected += "MN\r\n";
  send_all(asked + "get ha");
  std::string got;
  EXPECT_EQ(serve_once(), connection::state::ready);
  for (int turn = 0; turn < 5; ++turn) {
    got += receive_some();
    serve_once();
  }
  EXPECT_EQ(state_, connection::state::reading);
  EXPECT_EQ(world_.state.totals().yields, 5u);
  send_all("lf\r\n");
  serve_once();
  EXPECT_EQ(got + receive_some(), expected + "END\r\n");
}

// Against the time that looking through it from its beginning every time would take.
TEST_F(connection_test, looks_through_a_long_line_once_however_small_its_pieces) {
  const std::string beginning = "get " + std::string(500000, ' ');
  const std::string piece(64, 'x');
  constexpr int pieces = 4000;
  ASSERT_EQ(state_ = c_->on_received(context_, beginning), connection::state::reading);
  const std::clock_t began = std::clock();
  for (int i = 0; i < pieces; ++i) ASSERT_EQ(c_->on_received(context_, piece), connection::state::reading);
  const std::clock_t took = std::clock() - began;
  const char* volatile text = beginning.data();
  std::size_t found = 0;
  for (int i = 0; i < pieces / 2; ++i) found += std::memchr(text, '\n', beginning.size()) != nullptr ? 1 : 0;
  EXPECT_EQ(found, 0u);
  EXPECT_LT(took, std::clock() - began - took);
  ASSERT_EQ(c_->on_received(context_, "\r\nmn\r\n"), connection::state::reading);
  EXPECT_EQ(receive_some(), "CLIENT_ERROR bad command line format\r\nMN\r\n");
}

TEST_F(connection_test, says_what_it_keeps_and_lets_go_of_it) {
  EXPECT_FALSE(c_->keeps_something());
  send_all("set k 0 0 7000\r\n" + std::string(3000, 'v'));
  EXPECT_EQ(serve_once(), connection::state::reading);
  ASSERT_TRUE(c_->keeps_something());
  EXPECT_GE(c_->kept().bytes, 3000u);
  EXPECT_EQ(c_->kept().pinned_bytes, 0u);
  c_->give_up();
  EXPECT_EQ(c_->kept().bytes, 0u);
  EXPECT_FALSE(c_->keeps_something());
  EXPECT_STREQ(c_->end_reason(), "no_memory");
}

TEST_F(connection_test, waits_while_too_much_is_pinned_and_changes_nothing_meanwhile) {
  const std::string value(20000, 'v');
  ASSERT_EQ(world_.items->store("k", value), cache_status::ok);
  ASSERT_EQ(world_.items->store("small", "s"), cache_status::ok);
  world_.state.clients.change_pinned(0, world_.state.clients.pinned_max());
  send_all("get small small k small\r\nmn\r\n");
  EXPECT_EQ(serve_once(), connection::state::waiting);
  EXPECT_EQ(receive_some(), "VALUE small 0 1\r\ns\r\nVALUE small 0 1\r\ns\r\n");
  EXPECT_EQ(c_->on_turn(context_), connection::state::waiting);
  EXPECT_EQ(receive_some(), "");
  world_.state.clients.change_pinned(world_.state.clients.pinned_max(), 0);
  state_ = c_->on_turn(context_);
  std::string got;
  for (int i = 0; i < 100 && state_ == connection::state::writing; ++i) got += receive_some(), serve_once();
  got += receive_some();
  EXPECT_EQ(got, "VALUE k 0 20000\r\n" + value + "\r\nVALUE small 0 1\r\ns\r\nEND\r\nMN\r\n");
}

TEST_F(connection_test, notes_and_counts_a_command_that_waits_once) {
  ASSERT_EQ(world_.items->store("k", std::string(20000, 'v')), cache_status::ok);
  world_.state.clients.change_pinned(0, world_.state.clients.pinned_max());
  send_all("mg k v\r\nmn\r\n");
  EXPECT_EQ(serve_once(), connection::state::waiting);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(c_->on_turn(context_), connection::state::waiting);
  EXPECT_EQ(world_.state.clients.waits, 1u);
  world_.state.clients.change_pinned(world_.state.clients.pinned_max(), 0);
  state_ = c_->on_turn(context_);
  while (state_ == connection::state::writing) receive_some(), serve_once();
  EXPECT_EQ(world_.state.totals().meta_commands, 2u);
  EXPECT_EQ(world_.items->stats().gets, 1u);
}

TEST_F(connection_test, goes_on_without_a_gap_after_its_pins_were_given_back) {
  const std::string value = std::string(100000, 'v') + std::string(100000, 'w');
  ASSERT_EQ(world_.items->store("k", value), cache_status::ok);
  ASSERT_EQ(world_.items->store("l", value), cache_status::ok);
  send_all("get k l\r\nmn\r\n");
  EXPECT_EQ(serve_once(), connection::state::writing);
  std::string got;
  for (int i = 0; i < 100 && state_ == connection::state::writing; ++i) {
    EXPECT_GT(c_->kept().pinned_bytes, 0u);
    c_->park();
    EXPECT_EQ(c_->kept().pinned_bytes, 0u);
    EXPECT_EQ(world_.items->stats().pinned_items, 0u);
    // Items may be moved, or stored again the same.
    if (i % 2 == 0) {
      ASSERT_EQ(world_.items->store("k", value), cache_status::ok);
    }
    got += receive_some();
    world_.state.clients.change_pinned(0, world_.state.clients.pinned_max());
    EXPECT_EQ(serve_once(), connection::state::waiting);
    world_.state.clients.change_pinned(world_.state.clients.pinned_max(), 0);
    state_ = c_->on_turn(context_);
  }
  got += receive_some();
  EXPECT_EQ(got, "VALUE k 0 200000\r\n" + value + "\r\nVALUE l 0 200000\r\n" + value + "\r\nEND\r\nMN\r\n");
  EXPECT_EQ(world_.items->stats().pinned_items, 0u);
}

TEST_F(connection_test, ends_if_a_value_is_not_what_it_was_when_its_pins_were_given_back) {
  for (const bool removed : {false, true}) {
    socket_pair pair;
    connection c(pair.server);
    ASSERT_EQ(world_.items->store("k", std::string(200000, 'v')), cache_status::ok);
    ASSERT_EQ(::send(pair.client, "get k\r\n", 7, 0), 7);
    ASSERT_EQ(c.on_readable(context_), connection::state::writing);
    c.park();
    if (removed) {
      ASSERT_EQ(world_.items->remove("k"), cache_status::ok);
    } else {
      ASSERT_EQ(world_.items->store("k", std::string(199999, 'v') + 'w'), cache_status::ok);
    }
    EXPECT_EQ(c.on_writable(context_), connection::state::closed);
    EXPECT_TRUE(c.gave_up());
    close(pair.client);
  }
  EXPECT_EQ(world_.items->stats().pinned_items, 0u);
}

TEST_F(connection_test, is_small_while_idle) { EXPECT_LE(sizeof(connection), 320u); }

// ---- workers ------------------------------------------------------------------------------------------------------

class worker_test : public ::testing::TestWithParam<io_kind> {
 protected:
  void SetUp() override {
    world_.options.io = GetParam();
    std::string why_not;
    if (make_event_loop(GetParam(), why_not) == nullptr) GTEST_SKIP() << why_not;
  }
  int connect_to(worker& w) {
    const socket_pair pair;
    world_.state.connections_now.fetch_add(1);
    w.hand_over(pair.server);
    return pair.client;
  }
  void wait_until_gone() {
    for (int i = 0; i < 1000 && world_.state.connections_now.load() != 0; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(world_.state.connections_now.load(), 0u);
  }

  session_world world_{std::size_t{16} << 20};
};

std::string ask(int client, const std::string& text, std::size_t bytes) {
  std::string got(bytes, '\0');
  std::size_t sent = 0;
  std::size_t received = 0;
  while (received < bytes) {
    pollfd ready{client, static_cast<short>(sent < text.size() ? POLLIN | POLLOUT : POLLIN), 0};
    if (poll(&ready, 1, 10000) <= 0) break;
    if ((ready.revents & POLLOUT) != 0) {
      const ssize_t n = ::send(client, text.data() + sent, text.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n > 0) sent += static_cast<std::size_t>(n);
    }
    if ((ready.revents & (POLLIN | POLLHUP)) != 0) {
      const ssize_t n = recv(client, got.data() + received, bytes - received, MSG_DONTWAIT);
      if (n == 0) break;
      if (n > 0) received += static_cast<std::size_t>(n);
    }
  }
  got.resize(received);
  return got;
}

TEST_P(worker_test, serves_many_connections_that_pipeline_beyond_their_turn) {
  world_.state.live.requests_per_event = 3;
  worker w(world_.state, world_.state.counters.front());
  ASSERT_EQ(w.start(), "");
  std::string asked;
  std::string expected;
  for (int i = 0; i < 200; ++i) {
    asked += "set k 0 0 4\r\nabcd\r\nget k\r\n";
    expected += "STORED\r\nVALUE k 0 4\r\nabcd\r\nEND\r\n";
  }
  std::vector<int> clients;
  for (int i = 0; i < 20; ++i) clients.push_back(connect_to(w));
  for (const int client : clients) EXPECT_EQ(ask(client, asked, expected.size()), expected);
  EXPECT_GT(world_.state.totals().yields, 0u);
  for (const int client : clients) close(client);
  wait_until_gone();
}

// Once a large value came others are expected and read otherwise, until none came for a while.
TEST_P(worker_test, stores_large_values_among_small_commands) {
  worker w(world_.state, world_.state.counters.front());
  ASSERT_EQ(w.start(), "");
  const int client = connect_to(w);
  std::string pipeline;
  std::string answers;
  for (const int small : {0, 1, 3, 40, 2, 20}) {
    for (const std::size_t bytes : {40000u, 300u, 32768u, 200000u, 70000u}) {
      std::string value(bytes, ' ');
      for (std::size_t i = 0; i < bytes; ++i) value[i] = static_cast<char>('a' + (i * 7 + bytes + i / 4096) % 26);
      std::string asked = "set k 0 0 " + std::to_string(bytes) + "\r\n" + value + "\r\n";
      std::string expected = "STORED\r\n";
      for (int i = 0; i < small; ++i) asked += "get nothing\r\n", expected += "END\r\n";
      asked += "get k\r\n";
      expected += "VALUE k 0 " + std::to_string(bytes) + "\r\n" + value + "\r\nEND\r\n";
      EXPECT_TRUE(ask(client, asked, expected.size()) == expected) << bytes << " bytes, " << small << " gets";
      pipeline += asked;
      answers += expected;
    }
  }
  EXPECT_TRUE(ask(client, pipeline, answers.size()) == answers);
  close(client);
  wait_until_gone();
}

TEST_P(worker_test, serves_others_while_one_client_never_reads) {
  worker w(world_.state, world_.state.counters.front());
  ASSERT_EQ(w.start(), "");
  ASSERT_EQ(world_.items->store("k", std::string(10000, 'v')), cache_status::ok);
  const int stuck = connect_to(w);
  const int other = connect_to(w);
  std::string asked;
  for (int i = 0; i < 1000; ++i) asked += "get k\r\n";
  ASSERT_EQ(::send(stuck, asked.data(), asked.size(), MSG_NOSIGNAL), static_cast<ssize_t>(asked.size()));
  for (int i = 0; i < 50; ++i) EXPECT_EQ(ask(other, "mn\r\n", 4), "MN\r\n");
  close(stuck);
  close(other);
  wait_until_gone();
}

TEST_P(worker_test, closes_its_connections_when_stopped) {
  worker w(world_.state, world_.state.counters.front());
  ASSERT_EQ(w.start(), "");
  const int client = connect_to(w);
  EXPECT_EQ(ask(client, "set k 0 0 90000\r\nhalf a value", 0), "");
  EXPECT_EQ(ask(client, "", 0), "");
  w.stop();
  char byte = 0;
  EXPECT_LE(recv(client, &byte, 1, 0), 0);
  EXPECT_EQ(world_.state.connections_now.load(), 0u);
  EXPECT_EQ(world_.items->stats().pinned_items, 0u);
  close(client);
}

TEST_P(worker_test, answers_all_that_was_asked_before_the_client_closed_its_half) {
  world_.state.live.requests_per_event = 7;
  worker w(world_.state, world_.state.counters.front());
  ASSERT_EQ(w.start(), "");
  const std::string value(50000, 'v');
  const std::string asked = "set k 0 0 50000\r\n" + value + "\r\n";
  std::string expected = "STORED\r\n";
  std::string gets;
  for (int i = 0; i < 40; ++i) {
    gets += "get k\r\n";
    expected += "VALUE k 0 50000\r\n" + value + "\r\nEND\r\n";
  }
  const int client = connect_to(w);
  EXPECT_EQ(ask(client, asked, 8), "STORED\r\n");
  ASSERT_EQ(::send(client, gets.data(), gets.size(), MSG_NOSIGNAL), static_cast<ssize_t>(gets.size()));
  shutdown(client, SHUT_WR);
  EXPECT_TRUE("STORED\r\n" + ask(client, "", expected.size() - 8) == expected);
  char byte = 0;
  EXPECT_EQ(recv(client, &byte, 1, 0), 0);
  close(client);
  wait_until_gone();
}

TEST_P(worker_test, takes_no_more_than_a_little_from_a_client_that_does_not_read) {
  worker w(world_.state, world_.state.counters.front());
  ASSERT_EQ(w.start(), "");
  ASSERT_EQ(world_.items->store("k", std::string(10000, 'v')), cache_status::ok);
  const int client = connect_to(w);
  fcntl(client, F_SETFL, O_NONBLOCK);
  std::string flood;
  for (int i = 0; i < 1000; ++i) flood += "get k\r\n";
  std::size_t sent = 0;
  for (int stalled = 0; stalled < 50 && sent < (std::size_t{64} << 20);) {
    const ssize_t n = ::send(client, flood.data(), flood.size() / 7 * 7, MSG_NOSIGNAL);
    stalled = n > 0 ? 0 : stalled + 1;
    sent += n > 0 ? static_cast<std::size_t>(n) : 0;
    if (n <= 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  EXPECT_LT(sent, std::size_t{4} << 20);
  close(client);
  wait_until_gone();
}

TEST_P(worker_test, serves_connections_that_come_and_go_on_the_same_descriptors) {
  worker w(world_.state, world_.state.counters.front());
  ASSERT_EQ(w.start(), "");
  for (int round = 0; round < 300; ++round) {
    const int client = connect_to(w);
    const std::string value(static_cast<std::size_t>(round) * 40, static_cast<char>('a' + round % 26));
    const std::string bytes = std::to_string(value.size());
    if (round % 3 == 0) {
      EXPECT_EQ(::send(client, "get nothi", 9, MSG_NOSIGNAL), 9);
    } else {
      EXPECT_EQ(ask(client, "set k 0 0 " + bytes + "\r\n" + value + "\r\nget k\r\n", 8), "STORED\r\n");
    }
    if (round % 2 == 0) {
      EXPECT_EQ(::send(client, "quit\r\n", 6, MSG_NOSIGNAL), 6);
    }
    close(client);
  }
  wait_until_gone();
}

// One of each protocol, and two with large values, which are received in place.
std::vector<std::string> conversations() {
  const auto frame = [](int opcode, std::string_view extras, std::string_view key, std::string_view value) {
    std::string text("\x80\0\0\0\0\0\0\0\0\0\0\0OPAQ\0\0\0\0\0\0\0\0", 24);
    text[1] = static_cast<char>(opcode);
    text[3] = static_cast<char>(key.size());
    text[4] = static_cast<char>(extras.size());
    const std::size_t body = extras.size() + key.size() + value.size();
    text[10] = static_cast<char>(body >> 8);
    text[11] = static_cast<char>(body & 0xff);
    return text.append(extras).append(key).append(value);
  };
  constexpr std::string_view no_extras("\0\0\0\0\0\0\0\0", 8);
  const std::string large(20000, 'L');
  return {
      "set a 1 0 5\r\nab\r\nc\r\nget a b a\r\nset n 0 0 1 noreply\r\n7\r\nincr n 35\r\ngat 0 n\r\nbad\r\n"
      "append a 0 0 2\r\nde\r\ngets none\r\ndelete a\r\nset a 0 0 3\r\ntoo long\r\nget a n\r\n",
      "ms a 5 T0 F3\r\nvalue\r\nmg a v f k Oopaque\r\nmg none v\r\nmg none q v\r\nms b 2 q\r\nxx\r\nmn\r\n"
      "ma n N0 J13 v\r\nma n v\r\nmd a q\r\nmn\r\nmg b s v t\r\nme\r\n",
      frame(0x01, no_extras, "a", "value") + frame(0x0c, "", "a", "") + frame(0x09, "", "no", "") +
          frame(0x0e, "", "a", "+") + frame(0x00, "", "a", "") + frame(0x14, "", "a", "") + frame(0x0a, "", "", ""),
      "set l 0 0 20000\r\n" + large + "\r\nget l\r\nms l 20000 q\r\n" + large + "\r\nmg l v\r\ndelete l\r\n",
      frame(0x01, no_extras, "l", large) + frame(0x00, "", "l", "") + frame(0x04, "", "l", ""),
  };
}

#ifdef __SANITIZE_THREAD__
constexpr std::size_t cuts_every = 16;  // it has one thread
#else
constexpr std::size_t cuts_every = 1;
#endif

// Two pieces, between which the server has its turn; and each byte by itself. With the end of the client's half at once
// behind the last piece.
TEST_P(worker_test, answers_the_same_wherever_what_a_client_says_is_cut) {
  for (const std::string& said : conversations()) {
    std::string expected;
    {
      session_world world{std::size_t{16} << 20};
      testing::dialogue told(world);
      expected = told.say(said);
    }
    const auto answer = [&](std::size_t first, std::size_t step) {
      testing::served_world at(GetParam());
      testing::served_client client(at.connect());
      at.say(client, std::string_view(said).substr(0, first));
      for (std::size_t from = first; from < said.size(); from += step) {
        at.say(client, std::string_view(said).substr(from, step));
      }
      client.end_sending();
      at.serve_all(client);
      EXPECT_TRUE(client.ended()) << "cut at " << first;
      EXPECT_EQ(at.world.state.connections_now.load(), 0u);
      EXPECT_EQ(at.world.items->stats().pinned_items, 0u);
      return std::move(client.received);
    };
    const bool large = said.size() > 2000;
    for (std::size_t cut = 0; cut < said.size(); cut += large && cut > 100 && cut % 4096 > 60 ? 61 : cuts_every) {
      const std::string got = answer(cut, said.size());
      ASSERT_EQ(got.size(), expected.size()) << "cut at " << cut << " of " << said.substr(0, 100);
      ASSERT_TRUE(got == expected) << "cut at " << cut << " of " << said.substr(0, 100);
    }
    EXPECT_TRUE(answer(0, 1) == expected);
  }
}

INSTANTIATE_TEST_SUITE_P(io, worker_test, ::testing::Values(io_kind::epoll, io_kind::uring),
                         [](const auto& kind) { return kind.param == io_kind::epoll ? "epoll" : "uring"; });

}  // namespace
}  // namespace scoot::server
