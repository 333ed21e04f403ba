// SPDX-License-Identifier: MIT
//
// A recorded trace (recorder/trace_format.hpp), read and checked whole, as a flat array of operations on slots.
//
// A slot stands for a live block; it is used again once its block is freed, so there are no more slots than blocks were
// live at once. Everything is in mapped memory: reading a trace leaves no trace in the allocator under test.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace bench {

struct trace_operation {
  enum class what : unsigned char { allocate, reallocate, free };
  std::uint64_t size;  // new size; of free: none
  std::uint32_t slot;
  what kind;
  unsigned char alignment_log2;  // 0: as malloc likes
};

class trace {
 public:
  trace() = default;
  trace(const trace&) = delete;
  trace& operator=(const trace&) = delete;
  ~trace();

  // Reads the file. False, with a sentence that says what is wrong and where, if it is not a whole trace.
  bool load(const std::string& path, std::string& error);

  // The same from memory.
  bool parse(const unsigned char* data, std::size_t bytes, std::string& error);

  [[nodiscard]] const trace_operation* begin() const noexcept { return operations_; }
  [[nodiscard]] const trace_operation* end() const noexcept { return operations_ + count_; }
  [[nodiscard]] std::size_t size() const noexcept { return count_; }
  [[nodiscard]] std::uint32_t slots() const noexcept { return slots_; }
  [[nodiscard]] std::uint64_t objects() const noexcept { return objects_; }
  [[nodiscard]] std::uint64_t live_bytes_peak() const noexcept { return live_peak_; }
  [[nodiscard]] double live_bytes_mean() const noexcept { return live_mean_; }  // over the operations

 private:
  void clear() noexcept;

  trace_operation* operations_ = nullptr;
  std::size_t count_ = 0;
  std::size_t mapped_bytes_ = 0;
  std::uint32_t slots_ = 0;
  std::uint64_t objects_ = 0;
  std::uint64_t live_peak_ = 0;
  double live_mean_ = 0;
};

}  // namespace bench
