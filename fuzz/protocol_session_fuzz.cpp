// SPDX-License-Identifier: MIT
//
// A whole conversation without sockets: the same bytes said at once and in pieces, to two equal caches with a clock
// that stands still, must get the same answers and leave nothing pinned.
//
// Input: byte 0 seeds the sizes of the pieces, byte 1 the commands a turn allows, the rest is what the client says.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "conversations.hpp"
#include "server/log.hpp"
#include "support.hpp"

namespace {

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "protocol_session_fuzz: not so: %s\n", what);
  std::abort();
}

struct conversation {
  std::string answer;
  bool closed = false;
};

conversation hold(std::string_view said, std::uint32_t piece_seed, unsigned commands_per_turn) {
  scoot::testing::session_world world(std::size_t{1} << 20, std::size_t{32} << 10);
  conversation result;
  {
    scoot::testing::dialogue client(world);
    client.commands_per_turn = commands_per_turn;
    std::uint32_t random = piece_seed;
    while (!said.empty() && !client.closed()) {
      std::size_t bytes = said.size();
      if (piece_seed != 0) {
        random = random * 1664525 + 1013904223;
        bytes = std::min<std::size_t>(bytes, 1 + (random >> 16) % (random >> 30 == 0 ? 2000 : 7));
      }
      result.answer += client.say(said.substr(0, bytes));
      said.remove_prefix(bytes);
    }
    result.closed = client.closed();
  }
  must(world.items->stats().pinned_items == 0, "nothing is pinned when the client is gone");
  return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool muted = (scoot::server::mute_log(), true);  // a client may turn messages on
  if (size < 2 || !muted) return 0;
  const std::string_view said(reinterpret_cast<const char*>(data) + 2, size - 2);
  const conversation at_once = hold(said, 0, 1000);
  const conversation in_pieces = hold(said, 1U + data[0], 1U + data[1] % 8);
  if (scoot::fuzz::comparable(said) && scoot::fuzz::has_no_endless_line(said)) {
    must(at_once.closed == in_pieces.closed, "the end does not depend on the pieces");
    must(at_once.answer == in_pieces.answer, "the answers do not depend on the pieces");
  }
  return 0;
}
