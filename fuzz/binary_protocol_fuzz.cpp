// SPDX-License-Identifier: MIT
//
// The reader of binary frames on any bytes: it must not read outside them, its answer must be consistent in itself, and
// a frame must be read the same when more follows, and be asked for when cut.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "scoot/cache.hpp"
#include "server/binary_protocol.hpp"

namespace {

using namespace scoot::server;

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "binary_protocol_fuzz: not so: %s\n", what);
  std::abort();
}

bool within(std::string_view part, std::string_view all) {
  return part.empty() || (part.data() >= all.data() && part.data() + part.size() <= all.data() + all.size());
}

void check_request(const binary_request& r, const binary_result& result, std::string_view all) {
  must(within(r.key, all) && within(r.value, all), "views are in the input");
  must(r.key.size() <= scoot::key_bytes_max, "a key is at most 250 bytes");
  must(result.head_bytes <= all.size() && result.head_bytes + r.value_bytes == result.frame_bytes,
       "parts make the whole");
  must(r.value.size() <= r.value_bytes && r.value_bytes <= 0x7ffffffd, "a length cannot wrap");
  if (is_store(r.command)) {
    must(!r.key.empty(), "a store has a key");
  } else {
    must(result.frame_bytes <= all.size(), "all but stores are whole");
  }
}

// Returns the bytes used, 0 to stop.
std::size_t check_one(std::string_view input) {
  const std::unique_ptr<char[]> exact(new char[input.size()]);
  input.copy(exact.get(), input.size());
  const std::string_view all(exact.get(), input.size());
  binary_request r;
  const binary_result result = parse_binary(all, r);
  if (result.status == binary_parse::incomplete || result.status == binary_parse::hopeless) return 0;
  char header[binary_header_bytes];
  must(write_binary_header(header, r, {}) == header + sizeof header, "a header has its size");
  if (result.status == binary_parse::invalid) return 0;
  must(result.frame_bytes >= binary_header_bytes, "a frame has a header");
  if (result.status == binary_parse::request) {
    check_request(r, result, all);
    const std::string_view head = all.substr(0, is_store(r.command) ? result.head_bytes : result.frame_bytes);
    binary_request again;
    must(parse_binary(head, again).status == binary_parse::request && again.key == r.key && again.cas == r.cas &&
             again.flags == r.flags && again.exptime == r.exptime && again.value_bytes == r.value_bytes,
         "what follows a frame's head does not change it");
    must(parse_binary(head.substr(0, head.size() - 1), again).status == binary_parse::incomplete,
         "half a frame is none");
  }
  return std::min(result.frame_bytes, all.size());
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
