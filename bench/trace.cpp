// SPDX-License-Identifier: MIT
#include "trace.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "recorder/trace_format.hpp"

namespace bench {
namespace {

using trace_format::operation;

constexpr std::uint32_t no_slot = std::numeric_limits<std::uint32_t>::max();
// More than that no trace can be recorded of, and sums stay far from overflow.
constexpr std::uint64_t block_bytes_max = std::uint64_t{1} << 47;

template <class T>
T* map_array(std::size_t count) noexcept {
  void* p = mmap(nullptr, std::max<std::size_t>(count, 1) * sizeof(T), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return p == MAP_FAILED ? nullptr : static_cast<T*>(p);
}

template <class T>
class mapped_array {
 public:
  explicit mapped_array(std::size_t count) noexcept : data_(map_array<T>(count)), count_(count) {}
  mapped_array(const mapped_array&) = delete;
  mapped_array& operator=(const mapped_array&) = delete;
  ~mapped_array() {
    if (data_ != nullptr) munmap(data_, std::max<std::size_t>(count_, 1) * sizeof(T));
  }
  [[nodiscard]] T* get() const noexcept { return data_; }
  T& operator[](std::size_t i) noexcept { return data_[i]; }

 private:
  T* data_;
  std::size_t count_;
};

struct record {
  operation what;
  std::uint64_t value;
  std::uint64_t rest;  // new size, log2 of the alignment, objects
};

// Reads record after record, and checks what can be checked of one by itself.
class record_reader {
 public:
  record_reader(const unsigned char* data, std::size_t bytes) noexcept : begin_(data), at_(data), end_(data + bytes) {}

  // Before the first record. Null, or what is wrong.
  const char* header() noexcept {
    if (end_ - at_ < static_cast<std::ptrdiff_t>(sizeof trace_format::magic) ||
        std::memcmp(at_, trace_format::magic, sizeof trace_format::magic) != 0)
      return "this is no recorded trace";
    at_ += sizeof trace_format::magic;
    std::uint64_t version = 0;
    at_ = trace_format::get_varint(at_, end_, version);
    if (at_ == nullptr) return "the trace is cut off in its header";
    return version == trace_format::version ? nullptr : "the trace is of a version that this program does not know";
  }

  const char* next(record& r) noexcept {
    record_begin_ = at_;
    if (at_ == end_) return "the trace is cut off: it has no end record (was the program killed, or the disk full?)";
    std::uint64_t head = 0;
    const unsigned char* after = trace_format::get_varint(at_, end_, head);
    if (after == nullptr) return damaged_number();
    r.what = static_cast<operation>(head & ((1U << trace_format::operation_bits) - 1));
    r.value = head >> trace_format::operation_bits;
    r.rest = 0;
    switch (r.what) {
      case operation::allocate:
      case operation::zeroed:
      case operation::free:
        break;
      case operation::aligned:
        if (after == end_) return damaged_number();
        r.rest = *after++;
        if (r.rest > trace_format::alignment_log2_max) return "an alignment that cannot be";
        break;
      case operation::reallocate:
      case operation::end:
        after = trace_format::get_varint(after, end_, r.rest);
        if (after == nullptr) return damaged_number();
        break;
      default:
        return "an operation that does not exist";
    }
    const std::uint64_t size = r.what == operation::reallocate ? r.rest : r.value;
    if (r.what != operation::end && size > block_bytes_max) return "a size that cannot be";
    at_ = after;
    if (r.what == operation::end && at_ != end_) return "something follows the end record";
    return nullptr;
  }

  // Where the record that was read last begins.
  [[nodiscard]] std::size_t offset() const noexcept { return static_cast<std::size_t>(record_begin_ - begin_); }

 private:
  const char* damaged_number() const noexcept {
    return end_ - at_ < static_cast<std::ptrdiff_t>(trace_format::record_bytes_max)
               ? "the trace is cut off in the midst of a record"
               : "a number that cannot be";
  }

  const unsigned char* begin_;
  const unsigned char* at_;
  const unsigned char* end_;
  const unsigned char* record_begin_ = nullptr;
};

// What is known of the objects while the trace is walked through.
struct object_state {
  std::uint64_t size;
  std::uint32_t slot;
};

class walk {
 public:
  walk(std::uint64_t objects, trace_operation* operations) noexcept
      : states_(static_cast<std::size_t>(objects)),
        spare_(static_cast<std::size_t>(objects)),
        objects_(objects),
        operations_(operations) {}

  [[nodiscard]] bool ready() const noexcept { return states_.get() != nullptr && spare_.get() != nullptr; }

  // Null, or what is wrong.
  const char* step(const record& r) noexcept {
    trace_operation& o = operations_[count_++];
    o = {r.value, 0, trace_operation::what::allocate, 0};
    if (r.what == operation::reallocate || r.what == operation::free) {
      if (r.value == 0 || r.value > next_) return "an object that was never allocated";
      object_state& object = states_[static_cast<std::size_t>(next_ - r.value)];
      if (object.slot == no_slot) return "an object that was freed before";
      o.slot = object.slot;
      live_ -= object.size;
      if (r.what == operation::free) {
        o.kind = trace_operation::what::free;
        o.size = 0;
        spare_[spares_++] = object.slot;
        object.slot = no_slot;
      } else {
        o.kind = trace_operation::what::reallocate;
        o.size = object.size = r.rest;
        live_ += object.size;
      }
    } else {
      if (next_ == objects_) return "more objects than the end record says";
      o.alignment_log2 = static_cast<unsigned char>(r.rest);
      o.slot = spares_ != 0 ? spare_[--spares_] : slots_++;
      states_[static_cast<std::size_t>(next_++)] = {o.size, o.slot};
      live_ += o.size;
    }
    live_peak_ = std::max(live_peak_, live_);
    live_sum_ += static_cast<double>(live_);
    return nullptr;
  }

  [[nodiscard]] std::uint64_t objects() const noexcept { return next_; }
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] std::uint32_t slots() const noexcept { return slots_; }
  [[nodiscard]] std::uint64_t live_peak() const noexcept { return live_peak_; }
  [[nodiscard]] double live_mean() const noexcept { return count_ == 0 ? 0 : live_sum_ / static_cast<double>(count_); }

 private:
  mapped_array<object_state> states_;
  mapped_array<std::uint32_t> spare_;
  std::uint64_t objects_;
  trace_operation* operations_;
  std::size_t count_ = 0;
  std::size_t spares_ = 0;
  std::uint32_t slots_ = 0;
  std::uint64_t next_ = 0;
  std::uint64_t live_ = 0;
  std::uint64_t live_peak_ = 0;
  double live_sum_ = 0;
};

}  // namespace

trace::~trace() { clear(); }

void trace::clear() noexcept {
  if (operations_ != nullptr) munmap(operations_, mapped_bytes_);
  operations_ = nullptr;
  count_ = 0;
}

bool trace::parse(const unsigned char* data, std::size_t bytes, std::string& error) {
  clear();
  record_reader reader(data, bytes);
  const auto fail = [&](const char* what) {
    clear();
    error = what;
    if (reader.offset() != 0) error += ", at byte " + std::to_string(reader.offset());
    return false;
  };
  // Once for the numbers in the end record, by which memory is had, and once more for the operations.
  record_reader counting(data, bytes);
  if (const char* what = counting.header()) {
    error = what;
    return false;
  }
  record r{};
  std::size_t records = 0;
  std::uint64_t objects = 0;
  do {
    if (const char* what = counting.next(r)) {
      reader = counting;
      return fail(what);
    }
    ++records;
    if (r.what == operation::allocate || r.what == operation::zeroed || r.what == operation::aligned) ++objects;
  } while (r.what != operation::end);
  reader = counting;
  if (r.value != records - 1 || r.rest != objects) return fail("the end record does not count what is there");
  if (objects >= no_slot) return fail("more objects than can be replayed");
  mapped_bytes_ = records * sizeof(trace_operation);
  operations_ = map_array<trace_operation>(records);
  walk w(objects, operations_);
  if (operations_ == nullptr || !w.ready()) return fail("no memory for the trace");
  reader = record_reader(data, bytes);
  (void)reader.header();
  while (reader.next(r) == nullptr && r.what != operation::end)
    if (const char* what = w.step(r)) return fail(what);
  count_ = w.count();
  slots_ = w.slots();
  objects_ = w.objects();
  live_peak_ = w.live_peak();
  live_mean_ = w.live_mean();
  return true;
}

bool trace::load(const std::string& path, std::string& error) {
  clear();
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat s {};
  if (fd < 0 || fstat(fd, &s) != 0) {
    error = "cannot open it: " + std::string(std::strerror(errno));
    if (fd >= 0) close(fd);
    return false;
  }
  const auto bytes = static_cast<std::size_t>(s.st_size);
  if (!S_ISREG(s.st_mode) || bytes == 0) {
    close(fd);
    error = S_ISREG(s.st_mode) ? "the file is empty" : "this is no file";
    return false;
  }
  void* data = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
  close(fd);
  if (data == MAP_FAILED) {
    error = "cannot read it: " + std::string(std::strerror(errno));
    return false;
  }
  const bool ok = parse(static_cast<const unsigned char*>(data), bytes, error);
  munmap(data, bytes);
  return ok;
}

}  // namespace bench
