// SPDX-License-Identifier: MIT
//
// restart_file: the file in which a cache waits for the next process; docs/design/restart.md says why it is as it is.
//
//     0            4096                                            at the end
//    +------------+---------+---------+- - - - - - - - - +--------+-----------+
//    | head       | chunk   | chunk   |                  | chunk  | directory |     head and chunks begin at OS pages
//    +------------+---------+---------+- - - - - - - - - +--------+-----------+
//
//    hot, cold    items as item.hpp draws them, one after the other
//    order        names of 6 bytes: 40 bits of hash, the item's mark; those of the small queue first, oldest first
//    directory    a restart_chunk for each
//
// Each chunk's sum is over its bytes and depends on its place and on the file's number, so that nothing is taken for
// what it is not. The head comes last, and has a sum too. Numbers are in the machine's byte order.
//
// A writer writes PATH.new, which becomes PATH when all is in it; until then PATH is as it was. A reader takes PATH
// away before it gives anything of it, so that nothing can be had twice: what is read a second time may have been
// deleted since. Threads: append, read and drop may be called from several. Failure: false, and reason() says why.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace scoot::caching {

enum class restart_part : std::uint32_t { hot = 1, cold = 2, order = 3 };

struct restart_chunk {
  std::uint64_t at = 0;
  std::uint64_t bytes = 0;
  std::uint64_t sum = 0;
  std::uint32_t shard = 0;
  restart_part part = restart_part::hot;
};

struct restart_head {
  static constexpr std::uint32_t version_now = 1;
  static constexpr std::array<char, 8> magic_now = {'s', 'c', 'o', 'o', 't', 'r', 's', '\n'};

  std::array<char, 8> magic = magic_now;
  std::uint32_t version = version_now;
  std::uint32_t byte_order = 0x01020304;
  std::uint64_t number = 0;      // of this file, at random
  std::uint64_t file_bytes = 0;  // that were written
  std::uint64_t hash_seed = 0;   // of the cache: what its names depend on
  std::uint64_t cas = 0;         // the last unique given
  std::uint64_t boot_ns = 0;     // since the machine's start, when the file was written
  std::uint64_t boot_id = 0;     // which start that was; 0: not known
  std::uint32_t saved_at = 0;    // by the cache's clock, as is what follows
  std::uint32_t flush_at = 0;    // 0: no flush is planned
  std::uint32_t shards = 0;
  std::uint32_t word_bytes = sizeof(void*);
  std::uint64_t items = 0;  // of both tiers
  std::uint64_t hot_items = 0;
  std::uint64_t held_bytes = 0;         // by the cache, all of its bookkeeping included
  std::uint64_t bytes_by_uses[4] = {};  // of the hot items, as they are in the file
  std::uint64_t directory_at = 0;
  std::uint64_t directory_bytes = 0;
  std::uint64_t directory_sum = 0;
  std::uint64_t sum = 0;  // of all before
};
static_assert(sizeof(restart_head) == 168 && sizeof(restart_chunk) == 32, "there are no bytes between the fields");

// Of what one shard wrote.
struct restart_totals {
  std::uint64_t items = 0, item_bytes = 0, cold_items = 0, expired_items = 0;
  std::uint64_t bytes_by_uses[4] = {};
};

// Why something failed, for people.
class restart_reason {
 public:
  // With the system's reason (errno) behind a colon. Returns false.
  bool fail(const char* what) noexcept;
  bool refuse(const char* what) noexcept;
  [[nodiscard]] const char* text() const noexcept { return text_; }

 private:
  char text_[160] = "";
};

class restart_writer {
 public:
  restart_writer() = default;
  ~restart_writer();
  restart_writer(const restart_writer&) = delete;
  restart_writer& operator=(const restart_writer&) = delete;

  // Begins a file for about so many bytes. False: it cannot be written there, or there is no room for it.
  [[nodiscard]] bool open(const char* path, std::uint64_t number, std::uint64_t bytes_expected) noexcept;
  [[nodiscard]] bool append(restart_part part, std::uint32_t shard, const void* data, std::size_t bytes) noexcept;
  // Makes it the file of that path. The head's last fields are filled in here.
  [[nodiscard]] bool publish(restart_head& head) noexcept;
  [[nodiscard]] bool failed() const noexcept { return failed_.load(std::memory_order_relaxed); }
  [[nodiscard]] const char* reason() const noexcept { return reason_.text(); }

 private:
  [[nodiscard]] bool write_at(std::uint64_t at, const void* data, std::size_t bytes) noexcept;
  bool fail(const char* what) noexcept;

  std::string path_, path_new_;
  std::uint64_t number_ = 0;
  std::atomic<std::uint64_t> end_{0};
  std::atomic<bool> failed_{false};
  std::mutex lock_;
  std::vector<restart_chunk> chunks_;
  restart_reason reason_;
  int file_ = -1;
};

class restart_reader {
 public:
  restart_reader() = default;
  ~restart_reader();
  restart_reader(const restart_reader&) = delete;
  restart_reader& operator=(const restart_reader&) = delete;

  enum class found : unsigned char { nothing, refused, taken };
  // Takes the file away. What is one of ours but does not fit is away too; anything else stays where it is.
  [[nodiscard]] found take(const char* path) noexcept;

  [[nodiscard]] const restart_head& head() const noexcept { return head_; }
  [[nodiscard]] const std::vector<restart_chunk>& chunks() const noexcept { return chunks_; }

  // Reads a chunk to where there is room for it. False: it is not what was written.
  [[nodiscard]] bool read(const restart_chunk& chunk, void* to) noexcept;
  void drop(const restart_chunk& chunk) noexcept;  // gives its memory back

  [[nodiscard]] const char* reason() const noexcept { return reason_.text(); }

 private:
  [[nodiscard]] bool open(const char* path, bool& missing) noexcept;
  [[nodiscard]] bool remove(const char* path) noexcept;
  [[nodiscard]] bool check_head() noexcept;
  [[nodiscard]] bool read_directory() noexcept;
  [[nodiscard]] bool read_at(std::uint64_t at, void* to, std::size_t bytes) noexcept;

  restart_head head_;
  std::vector<restart_chunk> chunks_;
  std::uint64_t file_bytes_ = 0;
  bool head_is_whole_ = false;
  restart_reason reason_;
  int file_ = -1;
};

// By how many seconds times that were noted then have to be put off: what the clocks differ by, beyond the time that
// passed. On the same run of the machine that is known whatever became of the date; else the date is believed.
[[nodiscard]] std::int64_t restart_shift(const restart_head& then, std::uint32_t now, std::uint64_t boot_ns,
                                         std::uint64_t boot_id) noexcept;
[[nodiscard]] std::uint64_t boot_time_ns() noexcept;
[[nodiscard]] std::uint64_t boot_identity() noexcept;

}  // namespace scoot::caching
