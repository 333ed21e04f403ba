// SPDX-License-Identifier: MIT
//
// libscoot-record.so: preloaded into a program (LD_PRELOAD), records what the program asks of malloc to the new file
// that SCOOT_RECORD_FILE names. `scoot-bench record` sets both.
//
// - Programs that run on glibc's malloc: what is asked is passed on to it by its second names, __libc_malloc and so on,
//   which need no look-up and so work from the first instruction of the process on.
// - Records the process it was loaded into. A forked child goes on unrecorded; a program that the recorded one starts
//   finds that the file exists, and is not recorded either.
// - Threads: one lock over the file and the table of objects. The order recorded is one in which it can have happened:
//   a block is noted after malloc returned it and forgotten before free gets it.
// - The program never notices: errno is kept, nothing is allocated from its heap. If the file can't be written any
//   more, a message says so, the recording ends without its end record, and the program goes on.
// - Written when the process ends by exit, by _exit or by returning from main; not when a signal kills it.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>

#include "trace_format.hpp"

#define SCOOT_RECORD_EXPORT extern "C" __attribute__((visibility("default")))

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void __libc_free(void*);
}

namespace {

using bench::trace_format::operation;
namespace format = bench::trace_format;

constexpr size_t buffer_bytes = size_t{64} << 10;
constexpr size_t table_slots_first = size_t{1} << 16;
constexpr int file_number_least = 500;  // out of the way of what programs do with low ones

class keep_errno {
 public:
  keep_errno() noexcept : value_(errno) {}
  keep_errno(const keep_errno&) = delete;
  keep_errno& operator=(const keep_errno&) = delete;
  ~keep_errno() { errno = value_; }

 private:
  int value_;
};

// The objects by address: open addressing, linear probing, in memory of its own.
class object_table {
 public:
  // False if there is no memory.
  bool put(const void* address, uint64_t object) noexcept {
    if (4 * (used_ + 1) > 3 * capacity_ && !grow()) return false;
    const auto key = reinterpret_cast<uintptr_t>(address);
    size_t at = home(key);
    while (slots_[at].address != 0 && slots_[at].address != key) at = (at + 1) & (capacity_ - 1);
    if (slots_[at].address == 0) ++used_;
    slots_[at] = {key, object};
    return true;
  }

  // Takes an address out. False if it isn't there.
  bool take(const void* address, uint64_t& object) noexcept {
    if (capacity_ == 0) return false;
    const auto key = reinterpret_cast<uintptr_t>(address);
    size_t at = home(key);
    while (slots_[at].address != key) {
      if (slots_[at].address == 0) return false;
      at = (at + 1) & (capacity_ - 1);
    }
    object = slots_[at].object;
    --used_;
    // Close the gap: whatever probed past it moves up.
    size_t gap = at;
    for (size_t next = (at + 1) & (capacity_ - 1); slots_[next].address != 0; next = (next + 1) & (capacity_ - 1)) {
      if (((next - home(slots_[next].address)) & (capacity_ - 1)) < ((next - gap) & (capacity_ - 1))) continue;
      slots_[gap] = slots_[next];
      gap = next;
    }
    slots_[gap].address = 0;
    return true;
  }

 private:
  struct slot {
    uintptr_t address;
    uint64_t object;
  };

  [[nodiscard]] size_t home(uintptr_t key) const noexcept {
    return static_cast<size_t>(key * 0x9e3779b97f4a7c15U >> 20) & (capacity_ - 1);
  }

  bool grow() noexcept {
    const size_t capacity = capacity_ == 0 ? table_slots_first : 2 * capacity_;
    void* p = mmap(nullptr, capacity * sizeof(slot), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return false;
    slot* const old = slots_;
    const size_t old_capacity = capacity_;
    slots_ = static_cast<slot*>(p);
    capacity_ = capacity;
    used_ = 0;
    for (size_t i = 0; i < old_capacity; ++i)
      if (old[i].address != 0) put(reinterpret_cast<void*>(old[i].address), old[i].object);
    if (old != nullptr) munmap(old, old_capacity * sizeof(slot));
    return true;
  }

  slot* slots_ = nullptr;
  size_t capacity_ = 0;
  size_t used_ = 0;
};

// Early: before the constructors of this library ran, what is asked is kept in the buffer.
enum class state : unsigned char { early, on, off };

state now = state::early;
pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
int file = -1;
dev_t file_device;
ino_t file_inode;
pid_t process;
object_table objects;
uint64_t object_count = 0;
uint64_t record_count = 0;
unsigned char buffer[buffer_bytes];
size_t filled = 0;

class locked {
 public:
  locked() noexcept { pthread_mutex_lock(&lock); }
  locked(const locked&) = delete;
  locked& operator=(const locked&) = delete;
  ~locked() { pthread_mutex_unlock(&lock); }
};

void say(const char* text) noexcept { (void)!write(STDERR_FILENO, text, strlen(text)); }

void stop(const char* why) noexcept {
  now = state::off;
  if (why == nullptr) return;
  say("scoot-record: ");
  say(why);
  say("; the recording ends here\n");
}

// Opens the file. Off without a message if nobody asked, or if it exists: then another process is being recorded.
void start() noexcept {
  const char* name = getenv("SCOOT_RECORD_FILE");
  if (name == nullptr || *name == '\0') return stop(nullptr);
  const int low = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (low < 0) return stop(errno == EEXIST ? nullptr : "cannot create the file that SCOOT_RECORD_FILE names");
  file = fcntl(low, F_DUPFD_CLOEXEC, file_number_least);
  if (file < 0) {
    file = low;
  } else {
    close(low);
  }
  struct stat s {};
  fstat(file, &s);
  file_device = s.st_dev;
  file_inode = s.st_ino;
  process = getpid();
  now = state::on;
}

// Whether the file descriptor is still ours: programs close descriptors that they did not open.
bool still_ours() noexcept {
  struct stat s {};
  return fstat(file, &s) == 0 && s.st_dev == file_device && s.st_ino == file_inode;
}

void flush() noexcept {
  if (now == state::early) start();
  if (now != state::on) return;
  if (!still_ours()) return stop("the program closed the recorder's file");
  for (size_t done = 0; done < filled;) {
    const ssize_t n = write(file, buffer + done, filled - done);
    if (n > 0) {
      done += static_cast<size_t>(n);
    } else if (n == 0 || errno != EINTR) {
      return stop("cannot write to the file (is the disk full?)");
    }
  }
  filled = 0;
}

// With the lock held.
void write_record(operation what, uint64_t value, const unsigned char* rest, size_t rest_bytes) noexcept {
  if (filled + sizeof format::magic + 2 * format::record_bytes_max > buffer_bytes) flush();
  if (now == state::off) return;
  if (record_count == 0) {
    memcpy(buffer, format::magic, sizeof format::magic);
    filled = static_cast<size_t>(format::put_varint(buffer + sizeof format::magic, format::version) - buffer);
  }
  unsigned char* at = buffer + filled;
  at = format::put_varint(at, value << format::operation_bits | static_cast<unsigned>(what));
  memcpy(at, rest, rest_bytes);
  filled = static_cast<size_t>(at - buffer) + rest_bytes;
  ++record_count;
}

void note_allocation(operation what, const void* block, size_t size, unsigned char alignment_log2 = 0) noexcept {
  if (block == nullptr) return;
  const keep_errno keep;
  const locked guard;
  if (now == state::off) return;
  if (!objects.put(block, object_count)) return stop("no memory for the table of blocks");
  ++object_count;
  write_record(what, size, &alignment_log2, what == operation::aligned ? 1 : 0);
}

void note_free(const void* block) noexcept {
  const keep_errno keep;
  const locked guard;
  uint64_t object = 0;
  if (now == state::off || !objects.take(block, object)) return;
  write_record(operation::free, object_count - object, nullptr, 0);
}

// A child of vfork has our memory, and leaves by _exit: that is not our end.
void finish() noexcept {
  const keep_errno keep;
  const locked guard;
  if (now == state::early) start();
  if (now != state::on || getpid() != process) return;
  unsigned char rest[format::varint_bytes_max];
  const auto rest_bytes = static_cast<size_t>(format::put_varint(rest, object_count) - rest);
  write_record(operation::end, record_count, rest, rest_bytes);
  flush();
  now = state::off;
}

void before_fork() noexcept { pthread_mutex_lock(&lock); }
void after_fork_in_parent() noexcept { pthread_mutex_unlock(&lock); }
void after_fork_in_child() noexcept {
  if (now == state::on && still_ours()) close(file);
  now = state::off;
  pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) void begin() noexcept {
  pthread_atfork(&before_fork, &after_fork_in_parent, &after_fork_in_child);
  const keep_errno keep;
  const locked guard;
  if (now == state::early) start();
}

__attribute__((destructor)) void end() noexcept { finish(); }

void* aligned(size_t alignment, size_t size) noexcept {
  void* block = __libc_memalign(alignment, size);
  const size_t rounded = std::bit_ceil(alignment == 0 ? size_t{1} : alignment);
  note_allocation(operation::aligned, block, size, static_cast<unsigned char>(std::countr_zero(rounded)));
  return block;
}

[[noreturn]] void leave(int status) noexcept {
  finish();
  for (;;) syscall(SYS_exit_group, status);
}

}  // namespace

SCOOT_RECORD_EXPORT void* malloc(size_t size) {
  void* block = __libc_malloc(size);
  note_allocation(operation::allocate, block, size);
  return block;
}

SCOOT_RECORD_EXPORT void* calloc(size_t count, size_t size) {
  void* block = __libc_calloc(count, size);
  note_allocation(operation::zeroed, block, count * size);
  return block;
}

SCOOT_RECORD_EXPORT void free(void* block) {
  if (block == nullptr) return;
  note_free(block);
  __libc_free(block);
}

// While the block is with realloc it is in no table: its old address may be another thread's before this one is back.
SCOOT_RECORD_EXPORT void* realloc(void* block, size_t size) {
  if (block == nullptr) return malloc(size);
  if (size == 0) {
    free(block);
    return nullptr;
  }
  uint64_t object = 0;
  bool known = false;
  {
    const locked guard;
    known = now != state::off && objects.take(block, object);
  }
  void* moved = __libc_realloc(block, size);
  if (!known) {
    note_allocation(operation::allocate, moved, size);
    return moved;
  }
  const keep_errno keep;
  const locked guard;
  if (now == state::off) return moved;
  if (!objects.put(moved == nullptr ? block : moved, object)) {
    stop("no memory for the table of blocks");
  } else if (moved != nullptr) {
    unsigned char rest[format::varint_bytes_max];
    const auto rest_bytes = static_cast<size_t>(format::put_varint(rest, size) - rest);
    write_record(operation::reallocate, object_count - object, rest, rest_bytes);
  }
  return moved;
}

SCOOT_RECORD_EXPORT void* reallocarray(void* block, size_t count, size_t size) {
  size_t bytes = 0;
  if (__builtin_mul_overflow(count, size, &bytes)) {
    errno = ENOMEM;
    return nullptr;
  }
  return realloc(block, bytes);
}

SCOOT_RECORD_EXPORT int posix_memalign(void** result, size_t alignment, size_t size) {
  if (!std::has_single_bit(alignment) || alignment % sizeof(void*) != 0) return EINVAL;
  const keep_errno keep;
  void* block = aligned(alignment, size);
  if (block == nullptr) return ENOMEM;
  *result = block;
  return 0;
}

SCOOT_RECORD_EXPORT void* memalign(size_t alignment, size_t size) { return aligned(alignment, size); }

SCOOT_RECORD_EXPORT void* aligned_alloc(size_t alignment, size_t size) { return aligned(alignment, size); }

SCOOT_RECORD_EXPORT void* valloc(size_t size) { return aligned(static_cast<size_t>(sysconf(_SC_PAGESIZE)), size); }

SCOOT_RECORD_EXPORT void* pvalloc(size_t size) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return aligned(page, (size + page - 1) / page * page);
}

SCOOT_RECORD_EXPORT __attribute__((noreturn)) void _exit(int status) { leave(status); }
SCOOT_RECORD_EXPORT __attribute__((noreturn)) void _Exit(int status) { leave(status); }
