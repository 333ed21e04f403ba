// SPDX-License-Identifier: MIT
//
// Bytes as a restart file whose sums are right, whatever is in it: so the reader's own checks are all there is. The
// cache that is made of it must keep its invariants, and serve, evict and move what it took. Then the bytes as a file
// of their own, which must be refused.
//
//     |cache: shards, cold tier, budget (1 byte)|file: shards (1)| {part and shard (1), length (2), bytes} ...
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "cache/restart_file.hpp"
#include "support.hpp"

namespace {

using scoot::caching::restart_head;
using scoot::caching::restart_part;
using scoot::caching::restart_writer;

constexpr std::size_t settings_bytes = 2, header_bytes = 3;
constexpr std::uint32_t now = 1000;

std::string path() {
  const char* const folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
  return std::string(folder) + "/scoot-restart-fuzz-" + std::to_string(getpid());
}

void demand(bool condition) {
  if (!condition) std::abort();
}

void write_file(const std::string& to, const std::uint8_t* data, std::size_t size, unsigned shards) {
  restart_writer file;
  demand(file.open(to.c_str(), 4711, 0));
  restart_head head;
  head.hash_seed = 1;
  head.shards = shards;
  head.saved_at = now;
  head.held_bytes = (data[0] & 8) == 0 ? 0 : std::uint64_t{1} << 40;  // more than there is room for
  while (size > header_bytes) {
    const auto part = static_cast<restart_part>(1 + data[0] % 3);
    const std::uint32_t shard = data[0] / 4 % shards;
    const std::size_t bytes = std::min<std::size_t>(1 + data[1] + 256U * data[2], size - header_bytes);
    demand(file.append(part, shard, data + header_bytes, bytes));
    ++head.items;
    ++head.hot_items;
    head.bytes_by_uses[bytes % 4] += bytes;
    data += header_bytes + bytes;
    size -= header_bytes + bytes;
  }
  demand(file.publish(head));
}

void use(scoot::cache& c) {
  scoot::testing::verify(c);
  std::size_t items = 0, bytes = 0;
  c.for_each([&](const scoot::item_view& view) { ++items, bytes += view.key.size() + view.value.size(); });
  demand(items <= c.stats().items && bytes <= c.stats().item_bytes);
  scoot::testing::move_everything(c);
  for (int i = 0; i < 300; ++i) {
    const std::string key = "key" + std::to_string(i);
    demand(c.store(key, std::string(1 + static_cast<std::size_t>(i) * 37 % 9000, 'v')) == scoot::cache_status::ok);
    (void)c.maintain();
  }
  scoot::testing::verify(c);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size <= settings_bytes) return 0;
  static const std::string file = path();
  scoot::testing::fake_clock clock;
  clock.seconds = now;
  scoot::cache_options options = scoot::testing::options_on(clock, std::size_t{2} << 20, 1U << (data[0] & 1));
  if ((data[0] & 2) != 0) options.purgeable_bytes = std::size_t{2} << 20;
  options.purgeable_keep_refused = true;
  options.item_bytes_max = 60000;
  options.restart_file = file.c_str();
  write_file(file, data + settings_bytes, size - settings_bytes, 1U << (data[1] & 3));
  const std::unique_ptr<scoot::cache> made = scoot::cache::create(options);
  demand(made != nullptr && made->restarted().outcome == scoot::restart_outcome::done);
  use(*made);

  const int raw = open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  demand(raw >= 0);
  const restart_head ours;
  demand(write(raw, &ours.magic, sizeof ours.magic) == static_cast<ssize_t>(sizeof ours.magic));
  demand(write(raw, data, size) == static_cast<ssize_t>(size));
  close(raw);
  const std::unique_ptr<scoot::cache> empty = scoot::cache::create(options);
  demand(empty != nullptr && empty->restarted().outcome == scoot::restart_outcome::refused);
  demand(empty->stats().items == 0 && access(file.c_str(), F_OK) != 0);
  return 0;
}
