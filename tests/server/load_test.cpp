// SPDX-License-Identifier: MIT
//
// Goal: several workers under load share nothing that they may not, and never answer a wrong value. Method: real
// workers over one cache with its own maintenance thread, clients in threads that store and read values that name their
// key, and one that changes the budget, flushes and asks for statistics meanwhile; a second for each way of waiting, or
// twenty in the long form (`./dev test --long`). It is meant for the thread sanitizer, and runs in every preset; the
// whole server under load is tests/clients/test_soak.py.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "scoot/cache.hpp"
#include "server/server_state.hpp"
#include "server/worker.hpp"

namespace scoot::server {
namespace {

constexpr unsigned workers_count = 3;
constexpr unsigned clients_count = 5;
const auto how_long = std::chrono::seconds(std::getenv("SCOOT_TEST_LONG") != nullptr ? 20 : 1);

// A client that blocks.
class caller {
 public:
  explicit caller(int socket) : socket_(socket) {}
  caller(const caller&) = delete;
  caller& operator=(const caller&) = delete;
  ~caller() { close(socket_); }

  [[nodiscard]] bool say(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  // A line without its end; empty if the connection ended.
  std::string line() {
    std::size_t end = 0;
    while ((end = read_.find("\r\n")) == std::string::npos) {
      if (!more()) return {};
    }
    std::string result = read_.substr(0, end);
    read_.erase(0, end + 2);
    return result;
  }
  std::string bytes(std::size_t count) {
    while (read_.size() < count) {
      if (!more()) return {};
    }
    std::string result = read_.substr(0, count);
    read_.erase(0, count);
    return result;
  }

 private:
  bool more() {
    char buffer[16384];
    const ssize_t got = recv(socket_, buffer, sizeof buffer, 0);
    if (got > 0) read_.append(buffer, static_cast<std::size_t>(got));
    return got > 0;
  }

  int socket_;
  std::string read_;
};

class load_test : public ::testing::TestWithParam<io_kind> {
 protected:
  void SetUp() override {
    std::string why_not;
    if (make_event_loop(GetParam(), why_not) == nullptr) GTEST_SKIP() << why_not;
    options_.io = GetParam();
    options_.threads = workers_count;
    cache_options wanted;
    wanted.budget_bytes = std::size_t{16} << 20;
    wanted.shards = 4;
    items_ = cache::create(wanted);
    ASSERT_NE(items_, nullptr);
    state_ = std::make_unique<server_state>(*items_, options_);
    for (unsigned i = 0; i < workers_count; ++i) {
      workers_.push_back(std::make_unique<worker>(*state_, state_->counters[i]));
      ASSERT_EQ(workers_.back()->start(), "");
    }
  }
  void TearDown() override {
    for (const auto& one : workers_) one->stop();
  }

  std::unique_ptr<caller> call(unsigned which) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    state_->connections_now.fetch_add(1);
    workers_[which % workers_count]->hand_over(ends[0]);
    return std::make_unique<caller>(ends[1]);
  }

  static std::string value_of(const std::string& key, std::size_t bytes) {
    std::string value = key + '/';
    while (value.size() < bytes) value += value.substr(0, bytes - value.size());
    return value;
  }

  // One request and its answer, checked. False if the connection ended.
  bool ask(caller& with, std::mt19937& random) {
    const std::string key = "key" + std::to_string(random() % 3000);
    switch (random() % 8) {
      case 0:
      case 1:
      case 2: {
        constexpr std::size_t sizes[] = {10, 100, 900, 9000, 40000};
        const std::string value = value_of(key, sizes[random() % 5]);
        if (!with.say("set " + key + " 0 0 " + std::to_string(value.size()) + "\r\n" + value + "\r\n")) return false;
        return with.line() == "STORED";
      }
      case 3:
        return with.say("delete " + key + "\r\n") && !with.line().empty();
      case 4:
        return with.say("set n 0 0 1\r\n1\r\nincr n 5\r\n") && with.line() == "STORED" && !with.line().empty();
      default:
        return with.say("get " + key + " key1 key2\r\n") && check_values(with);
    }
  }

  bool check_values(caller& with) {
    for (;;) {
      const std::string line = with.line();
      if (line == "END") return true;
      const std::size_t key_end = line.find(' ', 6);
      if (line.compare(0, 6, "VALUE ") != 0 || key_end == std::string::npos) return false;
      const std::string key = line.substr(6, key_end - 6);
      const std::size_t size_at = line.rfind(' ') + 1;
      std::size_t size = 0;
      std::from_chars(line.data() + size_at, line.data() + line.size(), size);
      const std::string value = with.bytes(size + 2);
      ++values_;
      if (value != value_of(key, size) + "\r\n") {
        ADD_FAILURE() << key << " is " << value.substr(0, 100);
        return false;
      }
    }
  }

  void administer(const std::atomic<bool>& stop) {
    const std::unique_ptr<caller> with = call(0);
    for (unsigned i = 0; !stop; ++i) {
      EXPECT_TRUE(items_->set_budget(std::size_t{i % 2 == 0 ? 9U : 16U} << 20));
      if (i % 8 == 7) items_->flush();
      for (const char* which : {"", " heap", " moves", " settings", " items", " reset"}) {
        if (!with->say(std::string("stats") + which + "\r\n")) return;
        for (std::string line = with->line(); line != "END" && line != "RESET"; line = with->line()) {
          ASSERT_FALSE(line.empty());
        }
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  server_options options_;
  std::unique_ptr<cache> items_;
  std::unique_ptr<server_state> state_;
  std::vector<std::unique_ptr<worker>> workers_;
  std::atomic<std::uint64_t> values_{0};
};

TEST_P(load_test, workers_answer_rightly_while_everything_changes) {
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> answers{0};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < clients_count; ++i) {
    threads.emplace_back([&, i] {
      std::mt19937 random(i);
      for (unsigned round = 0; !stop; ++round) {
        const std::unique_ptr<caller> with = call(i + round);  // another connection now and then
        for (unsigned n = 0; n < 200 && !stop; ++n) {
          if (!ask(*with, random)) {
            ADD_FAILURE() << "a request was not answered as it should";
            return;
          }
          ++answers;
        }
      }
    });
  }
  threads.emplace_back([&] { administer(stop); });
  std::this_thread::sleep_for(how_long);
  stop = true;
  for (std::thread& one : threads) one.join();
  EXPECT_GT(answers.load(), 100u);
  EXPECT_GT(values_.load(), 10u);
  RecordProperty("answers", std::to_string(answers.load()));
}

INSTANTIATE_TEST_SUITE_P(io, load_test, ::testing::Values(io_kind::epoll, io_kind::uring),
                         [](const auto& kind) { return kind.param == io_kind::epoll ? "epoll" : "uring"; });

}  // namespace
}  // namespace scoot::server
