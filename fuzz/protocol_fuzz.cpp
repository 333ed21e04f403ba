// SPDX-License-Identifier: MIT
//
// The parser on any bytes: it must not read outside them, its answer must be consistent in itself, and a line must be
// read the same when more follows and be incomplete when cut. The bytes are the input as a client would send it.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "scoot/cache.hpp"
#include "server/protocol.hpp"

namespace {

using scoot::server::next_key;
using scoot::server::parse_request;
using scoot::server::parse_result;
using scoot::server::parse_status;
using scoot::server::request;

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "protocol_fuzz: not so: %s\n", what);
  std::abort();
}

bool within(std::string_view part, std::string_view all) {
  return part.empty() || (part.data() >= all.data() && part.data() + part.size() <= all.data() + all.size());
}

void check_request(const request& r, std::string_view line) {
  must(within(r.key, line) && within(r.arguments, line), "views are in the line");
  must(r.key.size() <= scoot::key_bytes_max, "a key is at most 250 bytes");
  must(r.key.find(' ') == std::string_view::npos && r.key.find('\n') == std::string_view::npos, "a key is one word");
  if (is_store(r.command)) {
    must(!r.key.empty(), "a store has a key");
    must(r.value_bytes <= 0x7ffffffdU, "a length cannot wrap");
  }
  std::string_view keys = r.arguments;
  std::size_t total = 0;
  for (std::string_view key = next_key(keys); !key.empty(); key = next_key(keys)) {
    must(within(key, line), "keys are in the line");
    total += key.size();
  }
  must(total <= line.size(), "keys are no more than there is");
}

// Returns the bytes used, 0 to stop.
std::size_t check_one(std::string_view input) {
  // A copy of just this size, so that a read behind it is caught.
  const std::unique_ptr<char[]> exact(new char[input.size()]);
  input.copy(exact.get(), input.size());
  const std::string_view all(exact.get(), input.size());
  request r;
  const parse_result result = parse_request(all, r);
  must(result.line_bytes <= all.size(), "a line is no longer than the input");
  switch (result.status) {
    case parse_status::incomplete:
    case parse_status::hopeless:
      return 0;
    case parse_status::invalid:
      must(result.error.size() > 2 && result.error.substr(result.error.size() - 2) == "\r\n", "an error is a line");
      break;
    case parse_status::request:
      must(result.error.empty(), "a command is no error");
      check_request(r, all.substr(0, result.line_bytes));
      break;
  }
  must(all[result.line_bytes - 1] == '\n', "a line ends with its end");
  request alone;
  const parse_result again = parse_request(all.substr(0, result.line_bytes), alone);
  must(again.status == result.status && again.line_bytes == result.line_bytes && again.error == result.error &&
           again.block_bytes == result.block_bytes && alone.command == r.command && alone.noreply == r.noreply &&
           alone.key == r.key && alone.arguments == r.arguments && alone.flags == r.flags &&
           alone.exptime == r.exptime && alone.value_bytes == r.value_bytes && alone.number == r.number,
       "what follows a line does not change it");
  if (result.line_bytes > 1) {
    const parse_status cut = parse_request(all.substr(0, result.line_bytes - 1), alone).status;
    must(cut == parse_status::incomplete || cut == parse_status::hopeless, "half a line is none");
  }
  return result.line_bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  while (!input.empty()) {
    const std::size_t used = check_one(input);
    if (used == 0) break;
    input.remove_prefix(used);
  }
  return 0;
}
