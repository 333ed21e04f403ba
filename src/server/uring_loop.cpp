// SPDX-License-Identifier: MIT
//
// uring_loop: an event loop over io_uring.
//
//     descriptor --multishot recv--> ring of provided buffers --event(received)--> whoever watches
//
// One recv request stays armed for each descriptor, so that a round of the loop is one system call (submit and wait)
// for any number of readable sockets. Completions are run when the loop waits, not by interrupts (DEFER_TASKRUN).
// Answers are sent by the connection itself, with send(2): as requests of the ring they cost more, and so did
// registered files (docs/design/server.md has the measurements). Other descriptors, and those with something to write,
// are polled.
//
// A watch is the index of a slot. A slot is used again only when nothing of it is under way in the kernel, so a late
// completion never meets a new owner.

#include <liburing.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "server/event_loop.hpp"

namespace scoot::server {
namespace {

constexpr unsigned queue_entries = 512;
constexpr unsigned completion_entries = 4096;
// The buffers of a worker go round, so all of them together should stay in the processor's cache; they should also be
// as many as sockets that become readable at once. 128 of 4 KiB cost less than 64 or 32 of 16 KiB, and than 256 of 4.
constexpr unsigned buffers = 128;
constexpr std::size_t buffer_bytes = std::size_t{4} << 10;
// Buffers do not begin at multiples of a power of two: their first lines would share few sets of the processor's
// caches.
constexpr std::size_t buffer_stride = buffer_bytes + 64;
constexpr std::uint16_t buffer_group = 0;

enum class operation : unsigned char { receive, poll, cancel };

std::uint64_t name_of(std::uint32_t slot, operation what) noexcept {
  return (std::uint64_t{slot} << 8) | static_cast<unsigned char>(what);
}

class uring_loop final : public event_loop {
 public:
  uring_loop() = default;
  ~uring_loop() override;

  // An empty text if all went well, else what could not be had.
  std::string open();

  [[nodiscard]] bool enter() noexcept override;
  [[nodiscard]] bool receives() const noexcept override { return true; }
  [[nodiscard]] watch add(int descriptor, void* tag, interest what) noexcept override;
  bool change(watch which, void* tag, interest what) noexcept override;
  void remove(watch which) noexcept override;
  void wait(int timeout_ms) noexcept override;
  [[nodiscard]] const loop_event* next() noexcept override;

 private:
  struct slot {
    void* tag = nullptr;
    int descriptor = -1;  // -1: not watched any more
    interest wanted = interest::none;
    bool receiving = false;  // a recv is under way
    bool polling = false;    // a poll is
    bool stopping = false;   // a cancellation of either is asked for
    bool listed = false;     // in again_
  };

  io_uring_sqe* entry() noexcept;
  void arm(std::uint32_t index) noexcept;
  void stop(std::uint32_t index) noexcept;
  void release(std::uint32_t index) noexcept;
  void ended(std::uint32_t index) noexcept;
  const loop_event* on_receive(std::uint32_t index, int result, unsigned flags) noexcept;
  const loop_event* on_poll(std::uint32_t index, int result) noexcept;

  io_uring ring_{};
  bool open_ = false;
  io_uring_buf_ring* provided_ = nullptr;
  std::unique_ptr<char[]> memory_;
  unsigned short used_[buffers] = {};  // to be given back at the next wait
  unsigned used_count_ = 0;
  std::vector<slot> slots_;
  std::vector<std::uint32_t> free_;
  std::vector<std::uint32_t> again_;  // to be armed at the next wait, unless something else is wanted by then
  loop_event event_;
};

uring_loop::~uring_loop() {
  if (open_) io_uring_queue_exit(&ring_);
  std::free(provided_);
}

std::string uring_loop::open() {
  const auto refused = [](const char* what, int error) {
    return std::string("io_uring: ") + what + ": " + std::strerror(error);
  };
  io_uring_params wanted{};
  // Disabled until enter(), since the thread that enables it is the only one that may use it.
  wanted.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_R_DISABLED;
  wanted.cq_entries = completion_entries;
  if (const int error = io_uring_queue_init_params(queue_entries, &ring_, &wanted); error < 0) {
    return refused("cannot be had", -error);
  }
  open_ = true;
  // The kernel wants it on OS pages of its own.
  constexpr std::size_t os_page = 4096;
  constexpr std::size_t ring_bytes = (buffers * sizeof(io_uring_buf) + os_page - 1) / os_page * os_page;
  provided_ = static_cast<io_uring_buf_ring*>(std::aligned_alloc(os_page, ring_bytes));
  if (provided_ == nullptr) return refused("no memory", ENOMEM);
  std::memset(static_cast<void*>(provided_), 0, ring_bytes);
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<std::uintptr_t>(provided_);
  registration.ring_entries = buffers;
  registration.bgid = buffer_group;
  if (const int error = io_uring_register_buf_ring(&ring_, &registration, 0); error < 0) {
    return refused("no buffer rings", -error);
  }
  memory_.reset(new (std::nothrow) char[buffers * buffer_stride]);
  if (memory_ == nullptr) return refused("no memory", ENOMEM);
  io_uring_buf_ring_init(provided_);
  for (; used_count_ < buffers; ++used_count_) used_[used_count_] = static_cast<unsigned short>(used_count_);
  return {};
}

// By the system call, since liburing 2.3 declares a function for it but does not export that.
bool uring_loop::enter() noexcept {
  return syscall(SYS_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) >= 0;
}

// The next entry of the submission queue.
io_uring_sqe* uring_loop::entry() noexcept {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  while (sqe == nullptr) {  // the queue is full: submitting empties it
    io_uring_submit(&ring_);
    sqe = io_uring_get_sqe(&ring_);
  }
  return sqe;
}

// Starts what the slot wants, unless that is under way.
void uring_loop::arm(std::uint32_t index) noexcept {
  slot& s = slots_[index];
  if (s.receiving || s.polling) return;  // its end comes back here
  if (s.wanted == interest::none) return;
  io_uring_sqe* const sqe = entry();
  if (s.wanted == interest::receive) {
    io_uring_prep_recv_multishot(sqe, s.descriptor, nullptr, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = buffer_group;
    io_uring_sqe_set_data64(sqe, name_of(index, operation::receive));
    s.receiving = true;
  } else {
    io_uring_prep_poll_add(sqe, s.descriptor, s.wanted == interest::write ? POLLOUT : POLLIN);
    io_uring_sqe_set_data64(sqe, name_of(index, operation::poll));
    s.polling = true;
  }
}

// Asks for the end of what is under way.
void uring_loop::stop(std::uint32_t index) noexcept {
  slot& s = slots_[index];
  if (s.stopping || !(s.receiving || s.polling)) return;
  io_uring_sqe* const sqe = entry();
  io_uring_prep_cancel64(sqe, name_of(index, s.receiving ? operation::receive : operation::poll), 0);
  io_uring_sqe_set_data64(sqe, name_of(index, operation::cancel));
  s.stopping = true;
}

event_loop::watch uring_loop::add(int descriptor, void* tag, interest what) noexcept {
  try {
    if (free_.empty()) {
      slots_.emplace_back();
      // So that giving back and arming again never fail.
      free_.reserve(slots_.capacity());
      again_.reserve(slots_.capacity());
      free_.push_back(static_cast<std::uint32_t>(slots_.size() - 1));
    }
  } catch (const std::bad_alloc&) {
    return none;
  }
  const std::uint32_t index = free_.back();
  free_.pop_back();
  slot& s = slots_[index];
  s.tag = tag;
  s.descriptor = descriptor;
  s.wanted = what;
  arm(index);
  return index;
}

bool uring_loop::change(watch which, void* tag, interest what) noexcept {
  slot& s = slots_[which];
  s.tag = tag;
  if (s.wanted == what) return true;
  s.wanted = what;
  stop(which);
  arm(which);
  return true;
}

void uring_loop::remove(watch which) noexcept {
  slot& s = slots_[which];
  s.tag = nullptr;
  s.wanted = interest::none;
  if (s.receiving || s.polling) {
    stop(which);
    // Requests that are not submitted yet name the descriptor by a number, which is about to be another's.
    io_uring_submit(&ring_);
  }
  s.descriptor = -1;
  release(which);
}

// Makes a slot free that is not watched any more, once nothing of it is under way.
void uring_loop::release(std::uint32_t index) noexcept {
  const slot& s = slots_[index];
  if (s.descriptor < 0 && !s.receiving && !s.polling) free_.push_back(index);
}

void uring_loop::wait(int timeout_ms) noexcept {
  for (unsigned i = 0; i < used_count_; ++i) {
    io_uring_buf_ring_add(provided_, memory_.get() + used_[i] * buffer_stride, buffer_bytes, used_[i],
                          io_uring_buf_ring_mask(buffers), static_cast<int>(i));
  }
  if (used_count_ > 0) io_uring_buf_ring_advance(provided_, static_cast<int>(used_count_));
  used_count_ = 0;
  for (const std::uint32_t index : again_) {
    slots_[index].listed = false;
    if (slots_[index].descriptor >= 0) arm(index);
  }
  again_.clear();
  if (timeout_ms < 0) {
    io_uring_submit_and_wait(&ring_, 1);
  } else if (timeout_ms == 0) {
    io_uring_submit_and_get_events(&ring_);
  } else {
    __kernel_timespec limit{};
    limit.tv_sec = timeout_ms / 1000;
    limit.tv_nsec = (timeout_ms % 1000) * 1'000'000LL;
    io_uring_cqe* first = nullptr;
    io_uring_submit_and_wait_timeout(&ring_, &first, 1, &limit, nullptr);
  }
}

const loop_event* uring_loop::next() noexcept {
  for (;;) {
    io_uring_cqe* done = nullptr;
    unsigned head = 0;
    io_uring_for_each_cqe(&ring_, head, done) break;
    if (done == nullptr) return nullptr;
    const auto index = static_cast<std::uint32_t>(done->user_data >> 8);
    const auto what = static_cast<operation>(done->user_data & 0xff);
    const int result = done->res;
    const unsigned flags = done->flags;
    io_uring_cq_advance(&ring_, 1);
    const loop_event* event = nullptr;
    if (what == operation::receive) event = on_receive(index, result, flags);
    if (what == operation::poll) event = on_poll(index, result);
    if (event != nullptr) return event;
  }
}

// What was under way for the slot is no more: it is armed anew at the next wait, for what is wanted by then.
void uring_loop::ended(std::uint32_t index) noexcept {
  slot& s = slots_[index];
  s.receiving = s.polling = s.stopping = false;
  if (s.descriptor < 0) return release(index);
  if (s.listed) return;
  s.listed = true;
  again_.push_back(index);
}

const loop_event* uring_loop::on_receive(std::uint32_t index, int result, unsigned flags) noexcept {
  slot& s = slots_[index];
  const char* bytes = nullptr;
  if ((flags & IORING_CQE_F_BUFFER) != 0) {
    const unsigned buffer = flags >> IORING_CQE_BUFFER_SHIFT;
    used_[used_count_++] = static_cast<unsigned short>(buffer);
    bytes = memory_.get() + buffer * buffer_stride;
  }
  if ((flags & IORING_CQE_F_MORE) == 0) ended(index);
  if (s.descriptor < 0) return nullptr;
  event_.tag = s.tag;
  if (result > 0) {
    event_.kind = event_kind::received;
    event_.bytes = {bytes, static_cast<std::size_t>(result)};
    return &event_;
  }
  if (result == -ENOBUFS || result == -ECANCELED || result == -EINTR || result == -EAGAIN) return nullptr;
  if (s.wanted == interest::receive) s.wanted = interest::none;
  event_.kind = event_kind::ended;
  event_.bytes = {};
  return &event_;
}

const loop_event* uring_loop::on_poll(std::uint32_t index, int result) noexcept {
  slot& s = slots_[index];
  ended(index);
  if (s.descriptor < 0 || result == -ECANCELED || s.wanted == interest::none || s.wanted == interest::receive)
    return nullptr;
  event_.tag = s.tag;
  event_.kind = event_kind::ready;
  event_.bytes = {};
  return &event_;
}

}  // namespace

std::unique_ptr<event_loop> make_uring_loop(std::string& why_not) {
  std::unique_ptr<uring_loop> loop(new (std::nothrow) uring_loop);
  why_not = loop == nullptr ? "no memory" : loop->open();
  if (!why_not.empty()) return nullptr;
  return loop;
}

}  // namespace scoot::server
