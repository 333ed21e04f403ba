// SPDX-License-Identifier: MIT
#include "cache/restart_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "cache/name.hpp"  // for xxHash

namespace scoot::caching {

namespace {

constexpr std::uint64_t page = 4096;  // where chunks begin; memory is given back by OS pages
constexpr std::uint64_t chunk_bytes_max = std::uint64_t{1} << 31;

std::uint64_t round_up(std::uint64_t bytes) noexcept { return (bytes + page - 1) / page * page; }

std::uint64_t sum_of(const void* data, std::size_t bytes, std::uint64_t seed) noexcept {
  return XXH3_64bits_withSeed(data, bytes, seed);
}

std::uint64_t sum_of(const restart_head& head) noexcept {
  return sum_of(&head, offsetof(restart_head, sum), head.number);
}

}  // namespace

// ---- reasons ------------------------------------------------------------------------------------------------------

bool restart_reason::fail(const char* what) noexcept {
  const int error = errno;
  std::snprintf(text_, sizeof text_, "%s: %s", what, std::strerror(error));
  return false;
}

bool restart_reason::refuse(const char* what) noexcept {
  std::snprintf(text_, sizeof text_, "%s", what);
  return false;
}

// ---- writing ------------------------------------------------------------------------------------------------------

restart_writer::~restart_writer() {
  if (file_ < 0) return;
  close(file_);
  unlink(path_new_.c_str());
}

// The first failure is the one to be told.
bool restart_writer::fail(const char* what) noexcept {
  const std::lock_guard guard(lock_);
  if (!failed_.exchange(true)) reason_.fail(what);
  return false;
}

bool restart_writer::open(const char* path, std::uint64_t number, std::uint64_t bytes_expected) noexcept try {
  path_ = path;
  path_new_ = path_ + ".new";
  number_ = number;
  struct stat there {};
  if (lstat(path, &there) == 0) {
    // Whoever named the wrong file keeps it.
    std::array<char, 8> magic{};
    const int old = S_ISREG(there.st_mode) ? ::open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
    const bool ours = old >= 0 && (there.st_size == 0 ||
                                   (pread(old, magic.data(), magic.size(), 0) == static_cast<ssize_t>(magic.size()) &&
                                    magic == restart_head::magic_now));
    if (old >= 0) close(old);
    if (!ours) return reason_.refuse("what is there is no restart file, and stays");
  }
  unlink(path_new_.c_str());  // of a process that was killed while it wrote
  file_ = ::open(path_new_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (file_ < 0) return reason_.fail("cannot create the file");
  struct statvfs room {};
  if (fstatvfs(file_, &room) == 0 && room.f_blocks != 0 &&
      std::uint64_t{room.f_bavail} * room.f_frsize < bytes_expected) {
    errno = ENOSPC;
    return reason_.fail("cannot write the file");
  }
  end_ = page;
  return true;
} catch (...) {
  return reason_.refuse("there is no memory");
}

bool restart_writer::write_at(std::uint64_t at, const void* data, std::size_t bytes) noexcept {
  const auto* from = static_cast<const char*>(data);
  while (bytes != 0) {
    const ssize_t written = pwrite(file_, from, bytes, static_cast<off_t>(at));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return fail("cannot write the file");
    from += written;
    at += static_cast<std::uint64_t>(written);
    bytes -= static_cast<std::size_t>(written);
  }
  return true;
}

bool restart_writer::append(restart_part part, std::uint32_t shard, const void* data, std::size_t bytes) noexcept {
  if (failed()) return false;
  const std::uint64_t at = end_.fetch_add(round_up(bytes), std::memory_order_relaxed);
  const restart_chunk chunk{at, bytes, sum_of(data, bytes, number_ ^ at), shard, part};
  if (!write_at(at, data, bytes)) return false;
  try {
    const std::lock_guard guard(lock_);
    chunks_.push_back(chunk);
    return true;
  } catch (...) {
    errno = ENOMEM;
    return fail("cannot write the file");
  }
}

bool restart_writer::publish(restart_head& head) noexcept {
  if (failed()) return false;
  head.number = number_;
  head.directory_at = end_;
  const std::size_t directory_bytes = chunks_.size() * sizeof(restart_chunk);
  head.directory_bytes = directory_bytes;
  head.directory_sum = sum_of(chunks_.data(), directory_bytes, number_ ^ head.directory_at);
  head.file_bytes = head.directory_at + head.directory_bytes;
  head.sum = sum_of(head);
  if (!write_at(head.directory_at, chunks_.data(), directory_bytes)) return false;
  if (ftruncate(file_, static_cast<off_t>(std::max(head.file_bytes, page))) != 0) return fail("cannot write the file");
  if (!write_at(0, &head, sizeof head)) return false;
  if (std::rename(path_new_.c_str(), path_.c_str()) != 0) return fail("cannot give the file its name");
  close(file_);
  file_ = -1;
  return true;
}

// ---- reading ------------------------------------------------------------------------------------------------------

restart_reader::~restart_reader() {
  if (file_ >= 0) close(file_);
}

bool restart_reader::read_at(std::uint64_t at, void* to, std::size_t bytes) noexcept {
  auto* into = static_cast<char*>(to);
  while (bytes != 0) {
    const ssize_t got = pread(file_, into, bytes, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    into += got;
    at += static_cast<std::uint64_t>(got);
    bytes -= static_cast<std::size_t>(got);
  }
  return true;
}

// Opens what is there, if it is one of ours.
bool restart_reader::open(const char* path, bool& missing) noexcept {
  file_ = ::open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
  if (file_ < 0) {
    missing = errno == ENOENT;
    return reason_.fail("cannot open the file");
  }
  struct stat there {};
  if (fstat(file_, &there) != 0 || !S_ISREG(there.st_mode)) return reason_.refuse("it is no file");
  if (there.st_size == 0) return !(missing = true);  // a name that somebody made ready
  file_bytes_ = static_cast<std::uint64_t>(there.st_size);
  if (!read_at(0, &head_.magic, sizeof head_.magic) || head_.magic != restart_head::magic_now) {
    return reason_.refuse("it is no restart file, and stays");
  }
  head_is_whole_ = read_at(0, &head_, sizeof head_);
  if (there.st_uid != geteuid() || (there.st_mode & 0022) != 0) {
    return reason_.refuse("others may have written to it, so it stays");
  }
  if (flock(file_, LOCK_EX | LOCK_NB) != 0) return reason_.refuse("another process is reading it");
  return true;
}

// So that nobody reads it again. Where its name cannot be taken away, its head is.
bool restart_reader::remove(const char* path) noexcept {
  if (unlink(path) == 0) return true;
  if (errno == ENOENT) return reason_.refuse("another process took it");
  const char none[sizeof head_] = {};
  if (pwrite(file_, none, sizeof none, 0) == static_cast<ssize_t>(sizeof none)) return true;
  return reason_.fail("it cannot be removed, so it could be read again");
}

bool restart_reader::check_head() noexcept {
  if (!head_is_whole_) return reason_.refuse("its head is not whole");
  const restart_head mine;
  if (head_.byte_order != mine.byte_order || head_.word_bytes != mine.word_bytes) {
    return reason_.refuse("it was written on another sort of machine");
  }
  if (head_.version != mine.version) {
    char text[80];
    std::snprintf(text, sizeof text, "it has version %u, and %u is what is understood here", head_.version,
                  mine.version);
    return reason_.refuse(text);
  }
  if (head_.sum != sum_of(head_)) return reason_.refuse("its head is damaged");
  if (head_.file_bytes > file_bytes_) return reason_.refuse("its end is missing");
  return true;
}

bool restart_reader::read_directory() noexcept try {
  const std::uint64_t at = head_.directory_at, bytes = head_.directory_bytes;
  const bool fits = at >= page && at <= head_.file_bytes && bytes <= head_.file_bytes - at;
  if (!fits || bytes % sizeof(restart_chunk) != 0 || head_.shards == 0)
    return reason_.refuse("its head makes no sense");
  chunks_.resize(static_cast<std::size_t>(bytes / sizeof(restart_chunk)));
  if (!read_at(at, chunks_.data(), static_cast<std::size_t>(bytes)) ||
      sum_of(chunks_.data(), static_cast<std::size_t>(bytes), head_.number ^ at) != head_.directory_sum) {
    return reason_.refuse("its directory is damaged");
  }
  for (const restart_chunk& c : chunks_) {
    if (c.at < page || c.bytes == 0 || c.bytes > chunk_bytes_max || c.at > at || c.bytes > at - c.at ||
        c.shard >= head_.shards) {
      return reason_.refuse("its directory makes no sense");
    }
  }
  return true;
} catch (...) {
  return reason_.refuse("there is no memory for its directory");
}

restart_reader::found restart_reader::take(const char* path) noexcept {
  bool missing = false;
  if (!open(path, missing)) return missing ? found::nothing : found::refused;
  return remove(path) && check_head() && read_directory() ? found::taken : found::refused;
}

bool restart_reader::read(const restart_chunk& chunk, void* to) noexcept {
  return read_at(chunk.at, to, static_cast<std::size_t>(chunk.bytes)) &&
         sum_of(to, static_cast<std::size_t>(chunk.bytes), head_.number ^ chunk.at) == chunk.sum;
}

void restart_reader::drop(const restart_chunk& chunk) noexcept {
  // Where a file system cannot do that, the memory is given back at the end.
  (void)fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(chunk.at),
                  static_cast<off_t>(round_up(chunk.bytes)));
}

// ---- clocks -------------------------------------------------------------------------------------------------------

std::uint64_t boot_time_ns() noexcept {
  timespec t{};
  if (clock_gettime(CLOCK_BOOTTIME, &t) != 0) return 0;
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_nsec);
}

std::uint64_t boot_identity() noexcept {
  char text[64];
  const int file = ::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  const ssize_t got = ::read(file, text, sizeof text);
  close(file);
  return got <= 0 ? 0 : sum_of(text, static_cast<std::size_t>(got), 0) | 1;
}

std::int64_t restart_shift(const restart_head& then, std::uint32_t now, std::uint64_t boot_ns,
                           std::uint64_t boot_id) noexcept {
  if (boot_id == 0 || boot_id != then.boot_id || boot_ns < then.boot_ns) return 0;
  const auto passed = static_cast<std::int64_t>((boot_ns - then.boot_ns) / 1'000'000'000);
  const std::int64_t shift = std::int64_t{now} - std::int64_t{then.saved_at} - passed;
  return shift >= -2 && shift <= 2 ? 0 : shift;  // clocks that are read to the second
}

}  // namespace scoot::caching
