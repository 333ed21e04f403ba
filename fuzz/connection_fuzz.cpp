// SPDX-License-Identifier: MIT
//
// Whole connections: a worker with its real event loop and sockets, and a client that cuts what it says into pieces,
// reads late or never, closes its half or resets, beside others that do the same. What it receives is what a session
// answers to the same bytes in one piece, or, if it leaves early, the beginning of that.
//
// Input: byte 0 is the loop, the socket's buffer and how it ends, byte 1 the commands a turn allows, byte 2 how many
// bytes of steps follow; they are gone through again and again. The rest is what the client says.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "conversations.hpp"
#include "served.hpp"
#include "server/log.hpp"

namespace {

using scoot::testing::served_client;
using scoot::testing::served_world;
using scoot::testing::session_world;

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "connection_fuzz: not so: %s\n", what);
  std::abort();
}

// Of the others' own, so that they change nothing for the client.
constexpr std::string_view others_key = "what-only-the-others-ask-for";

// Values that are sent from where they lie, which a client's few bytes could not store.
void prepare(session_world& world) {
  for (const auto& [key, bytes] : {std::pair<std::string_view, std::size_t>{"big", 20000}, {"bigger", 90000}}) {
    must(world.items->store(key, std::string(bytes, key.back())) == scoot::cache_status::ok, "there is room");
  }
  must(world.items->store(others_key, std::string(70000, 'o')) == scoot::cache_status::ok, "there is room");
  world.state.clients.set_budget(std::size_t{400} << 10);  // pins are short from 100 KiB on
}

// Without items that have expired.
scoot::cache_stats settled(scoot::cache& items) {
  for (int i = 0; i < 1000 && items.maintain(); ++i) {
  }
  return items.stats();
}

enum class ending : unsigned char { stays, ends_sending, leaves, ends_sending_early };

struct script {
  explicit script(const std::uint8_t* head) noexcept
      : io(head[0] % 2 != 0 ? scoot::server::io_kind::uring : scoot::server::io_kind::epoll),
        send_buffer_bytes(std::initializer_list<int>{0, 16384, 4608, 1}.begin()[head[0] / 4 % 4]),
        how(static_cast<ending>(head[0] / 16 % 4)),
        reads_at_once(head[0] / 64 % 2 != 0),
        commands_per_turn(head[1] >= 240 ? 1000U : 1U + head[1] % 16) {}

  scoot::server::io_kind io;
  int send_buffer_bytes;
  ending how;
  bool reads_at_once;
  unsigned commands_per_turn;
};

class play {
 public:
  play(const script& by, std::string_view steps, std::string_view said)
      : by_(by), steps_(steps), said_(said), at_(by.io, by.commands_per_turn), client_(connect()) {
    if (at_.why_not().empty()) prepare(at_.world);
  }
  [[nodiscard]] bool possible() const { return at_.why_not().empty(); }

  void go() {
    // Whoever leaves does so in the middle of it.
    const std::size_t until = by_.how < ending::leaves ? 0 : said_.size() / 2;
    for (std::size_t i = 0; said_.size() > until && !client_.refused(); ++i) {
      step(steps_.empty() ? 0U : static_cast<unsigned char>(steps_[i % steps_.size()]));
      if (!steps_.empty() && i % steps_.size() == 0) say(1 + said_.size() / 64);  // or there might be no end
      if (by_.reads_at_once) client_.receive();
    }
    if (by_.how == ending::leaves) client_.leave();
    if (by_.how == ending::ends_sending || by_.how == ending::ends_sending_early) client_.end_sending();
    for (auto& other : others_) other.reset();
    at_.serve_all(client_);
  }
  [[nodiscard]] std::size_t unsaid() const { return said_.size(); }
  [[nodiscard]] served_client& client() { return client_; }
  [[nodiscard]] scoot::cache_stats settled() { return ::settled(*at_.world.items); }

  void finish() {
    client_.leave();
    at_.serve_all(client_);
    must(at_.world.state.connections_now.load() == 0, "a connection ends with its client");
    must(at_.world.items->stats().pinned_items == 0, "nothing is pinned when the client is gone");
    must(at_.world.state.clients.bytes() + at_.world.state.clients.pinned_bytes() == 0, "nothing is counted then");
    must(at_.world.state.clients.waiting.load() == 0, "nobody waits then");
  }

 private:
  int connect() { return at_.why_not().empty() ? at_.connect(by_.send_buffer_bytes) : -1; }

  void step(unsigned what) {
    const unsigned amount = what % 32;
    switch (what / 32) {
      case 0:  // so that no steps at all are one byte at a time
      case 1:
        say(1 + amount);
        return at_.serve();
      case 2:  // so that more than one read of it is there at once
        return say(std::size_t{256} * (1 + amount));
      case 3:
        say(std::size_t{64} * (1 + amount));
        return at_.serve();
      case 4:
        client_.receive(std::size_t{256} << amount % 8);
        return at_.serve();
      case 5:
        return at_.serve(1 + amount % 4);
      default:
        disturb(others_[amount / 4 % 2], amount % 4);
    }
  }

  void say(std::size_t bytes) {
    const std::string_view piece = said_.substr(0, bytes);
    std::size_t sent = client_.send(piece);
    // Who sends on and on has to read in the end.
    if (sent == 0 && !piece.empty() && !client_.refused()) at_.serve_all(client_);
    said_.remove_prefix(sent);
  }

  void disturb(std::unique_ptr<served_client>& other, unsigned what) {
    if (other == nullptr) other = std::make_unique<served_client>(at_.connect(4608));
    if (what == 0) other->send("get " + std::string(others_key) + ' ' + std::string(others_key) + "\r\n");
    if (what == 1) other->send("set others-own 0 0 9000\r\nabc");
    if (what == 2) other->end_sending();
    if (what == 3) other.reset();
    at_.serve();
  }

  const script by_;
  std::string_view steps_;
  std::string_view said_;
  served_world at_;
  served_client client_;
  std::unique_ptr<served_client> others_[2];
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool muted = (scoot::server::mute_log(), true);  // a client may turn messages on
  if (size < 3 || !muted) return 0;
  const script by(data);
  const std::string_view rest(reinterpret_cast<const char*>(data) + 3, size - 3);
  const std::string_view steps = rest.substr(0, data[2] % 64);
  const std::string_view said = rest.substr(steps.size());

  play played(by, steps, said);
  if (!played.possible()) return 0;
  played.go();
  const std::string_view heard = said.substr(0, said.size() - played.unsaid());
  if (scoot::fuzz::comparable(heard) && scoot::fuzz::has_no_endless_line(heard) &&
      heard.find(others_key) == std::string_view::npos) {
    session_world alone;
    alone.options.watch_enabled = false;
    prepare(alone);
    scoot::testing::dialogue told(alone);
    const std::string answer = told.say(heard);
    const std::string& received = played.client().received;
    if (by.how == ending::leaves) {
      must(answer.compare(0, received.size(), received) == 0, "who leaves has received the beginning of the answer");
    } else {
      must(received == answer, "a client receives the answer to all that it said");
      must(played.client().ended() == (told.closed() || by.how != ending::stays), "the server ends it when it should");
      const scoot::cache_stats one = played.settled();
      const scoot::cache_stats other = settled(*alone.items);
      must(one.items == other.items && one.sets == other.sets && one.deletes == other.deletes, "the same was done");
    }
  }
  played.finish();
  return 0;
}
