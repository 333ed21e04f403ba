// SPDX-License-Identifier: MIT
//
// The reader of meta commands on any line: it must not read outside it, nor write outside its request, and its answer
// must be consistent in itself. The bytes are a line behind its `m`; base64 goes there and back.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "scoot/cache.hpp"
#include "server/meta_protocol.hpp"

namespace {

using namespace scoot::server;

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "meta_protocol_fuzz: not so: %s\n", what);
  std::abort();
}

bool within(std::string_view part, const char* first, std::size_t bytes) {
  return part.empty() || (part.data() >= first && part.data() + part.size() <= first + bytes);
}

void check_line(std::string_view line) {
  // A copy of just this size, so that a read behind it is caught.
  const std::unique_ptr<char[]> exact(new char[line.size()]);
  line.copy(exact.get(), line.size());
  meta_request r;
  const meta_result result = parse_meta({exact.get(), line.size()}, r);
  if (!result.error.empty()) {
    must(result.error.substr(result.error.size() - 2) == "\r\n", "an error is a line");
    return;
  }
  must(!r.key.empty() && r.key.size() <= scoot::key_bytes_max, "a key has 1 to 250 bytes");
  must(r.binary_key ? within(r.key, r.decoded.data(), r.decoded.size()) : within(r.key, exact.get(), line.size()),
       "a key is in the line, or was decoded");
  must(r.flag_count <= meta_flags_max, "there are no more flags than fit");
  for (std::size_t i = 0; i < r.flag_count; ++i) {
    must(within(r.flags[i], exact.get(), line.size()) && !r.flags[i].empty(), "flags are in the line");
    must(r.has(r.flags[i].front()), "a flag that is there is known to be");
    must(r.flags[i].front() != 'O' || r.flags[i].size() <= opaque_bytes_max, "an opaque is short");
    for (std::size_t j = 0; j < i; ++j) must(r.flags[i].front() != r.flags[j].front(), "a flag is there once");
  }
  if (r.binary_key) {
    std::string text((r.key.size() + 2) / 3 * 4, '\0');
    must(encode_base64(text.data(), r.key) == text.data() + text.size(), "base64 has the length it should");
    std::string back(r.key.size(), '\0');
    must(decode_base64(text, back.data(), back.size()) == r.key.size() && back == r.key, "base64 goes there and back");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view rest(reinterpret_cast<const char*>(data), size);
  check_line(std::string("m").append(rest.substr(0, rest.find_first_of(std::string_view("\0\n", 2)))));
  return 0;
}
