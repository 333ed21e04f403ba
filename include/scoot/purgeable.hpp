// SPDX-License-Identifier: MIT
//
// purgeable: memory that the kernel may take back at any time, without asking, when somebody needs it.
//
//     address space reserved once
//     |chunk 0|chunk 1|chunk 2|....|     free -> kept -> offered -> partly purged -> purged
//       `- OS pages, each with a witness   ^________|_________|____________|____________|   (free)
//
// A region holds chunks of one size. The owner allocates a chunk (fresh memory, "kept": ours, as any other), fills it,
// and offers it: from then on the kernel may purge it, OS page by OS page, and what is purged is lost. Nothing is
// purged while nobody is short of memory. Whoever wants to use an offered chunk pins the bytes it wants, which neither
// calls the system nor waits for the owner, or has them copied out (read_if_present); both say whether the bytes are
// still there. A sweep tells the owner afterwards what is gone. What was offered is not written any more.
//
// How it is known that a page is still there: when it is offered, a word of it that is not zero is noted, its witness.
// A purged page reads as zeros, so its witness does. docs/design/purgeable.md has the protocol and its proof.
//
// Ownership: you destroy what you create, when no pins are left. Threads: every function may be called from any thread.
// A chunk's number is all that names it: whoever pins one must be sure that it still is the chunk that was meant, by a
// lock under which it is looked up and freed, or by looking again once it is pinned.
// fork(): the child has no region; in it every chunk is free, nothing can be allocated, and destroying it is allowed.
// Failure: exhaustion is no_chunk or null, the rest an enum; nothing throws. Where the kernel refuses to purge (see
// support) every offer is refused, and the memory is simply kept. mlock and mlockall forbid offers.
// Cost: a pin is an atomic addition, and for an offered page once an atomic addition to its witness besides. An offer
// or free is one call of the system. Metadata: 64 bytes a chunk and 2 bytes an OS page.
// Guarded access: who touches a purged page without asking finds zeros there. In a guarded region he gets SIGBUS, with
// the address in si_addr (chunk_of tells the chunk), and so does who touches a chunk that is free; a system call that
// is given such memory fails with EFAULT. Pins and reads of offered chunks cost system calls then. Needs userfaultfd as
// of Linux 5.14; without it the region is made unguarded. Non-goals: chunks of several sizes, writing after an offer,
// pages shared between processes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>

#include "scoot/export.h"

namespace scoot {

// What a region is made with.
struct purgeable_options {
  std::size_t chunk_bytes = std::size_t{64} << 10;  // a power of two, from an OS page or 16 KiB up to 16 MiB
  std::size_t bytes_max = 0;  // of all chunks together, rounded up to whole ones; this much address space is reserved
  bool guarded = false;       // for finding bugs: see "Guarded access" above; stats() says whether it could be had
};

// What this machine does with memory that is offered.
enum class purge_support : unsigned char {
  refused,   // it takes no offers, or does not keep what it promises about them: every offer is refused
  accepted,  // it takes offers; whether it purges could not be tried out
  seen,      // it takes offers, purges what was offered and leaves what was written to since
};

// What a chunk is.
enum class chunk_state : unsigned char {
  free,           // not allocated
  kept,           // allocated, and ours
  offered,        // nothing of it is known to be purged
  partly_purged,  // some of its pages are known to be purged
  purged,         // all of its pages are
};

// How an offer ended.
enum class offer_status : unsigned char {
  offered,  // the kernel may purge it
  pinned,   // somebody holds a pin, or reads: try again later
  refused,  // by the kernel (see purge_support; also memory locked by mlockall): nothing has changed
  absent,   // the chunk is not allocated
};

// Whether the bytes are there.
enum class presence : unsigned char {
  present,        // the bytes are there, as they were offered
  lost,           // some of them were purged
  absent,         // the chunk is not allocated
  too_many_pins,  // the chunk has pins_max pins
};

// A chunk as it is now.
struct chunk_info {
  chunk_state state = chunk_state::free;
  std::uint32_t pins = 0;         // in force
  std::size_t offered_bytes = 0;  // in OS pages
  std::size_t touched_bytes = 0;  // of these, what pins made ours again, until the chunk is offered again
  std::size_t purged_bytes = 0;   // of these, known to be purged
  std::size_t lost_bytes = 0;     // of these, what did not consist of zeros
};

// Bytes of a chunk that were lost, in whole OS pages.
struct lost_range {
  std::uint32_t chunk = 0;
  std::uint32_t offset = 0;
  std::uint32_t bytes = 0;
};

// What a sweep found.
struct sweep_result {
  std::size_t ranges = 0;          // written
  std::size_t bytes_examined = 0;  // of offered chunks
  std::size_t bytes_purged = 0;    // found to be purged by this sweep
  bool complete = false;           // it came to the last chunk, and the next one begins with the first
};

// What a region holds and did.
struct purgeable_stats {
  std::size_t chunk_bytes = 0;
  std::size_t chunks_max = 0;
  std::size_t chunks = 0;                  // allocated
  std::size_t offered_chunks = 0;          // of these, offered, purged ones included
  std::size_t kept_bytes = 0;              // in chunks that are not offered
  std::size_t offered_bytes = 0;           // offered, in OS pages
  std::size_t touched_bytes = 0;           // of these, what pins made ours again
  std::size_t purged_bytes = 0;            // of these, known to be purged
  std::size_t resident_offered_bytes = 0;  // the rest: the kernel's to take, as of the last sweep
  std::size_t pins = 0;                    // in force
  std::uint64_t pins_ever = 0;             // and reads; modulo 2^40 a chunk
  std::uint64_t offers = 0;                // ever
  std::uint64_t offers_refused = 0;        // by the kernel, ever
  std::uint64_t purged_pages = 0;          // OS pages found purged, ever
  std::uint64_t lost_pages = 0;            // of these, what did not consist of zeros
  std::uint64_t lost_accesses = 0;         // pins and reads that were answered "lost", ever
  std::size_t metadata_bytes = 0;          // not purgeable; resident only where chunks were allocated
  std::size_t page_bytes = 0;              // the size of an OS page
  bool guarded = false;                    // purged pages cannot be touched unnoticed
};

// A region of chunks; see the top of this file.
class SCOOT_EXPORT purgeable {
 public:
  static constexpr std::uint32_t no_chunk = 0xffffffff;
  static constexpr std::uint32_t pins_max = std::uint32_t{1} << 17;
  static constexpr std::size_t chunk_bytes_min = std::size_t{16} << 10;
  static constexpr std::size_t chunk_bytes_max = std::size_t{16} << 20;

  // What the kernel does, tried out once in each process (some 100 us).
  [[nodiscard]] static purge_support support() noexcept;

  // A region. Null if the options are out of range or the OS refuses the address space.
  [[nodiscard]] static std::unique_ptr<purgeable> create(const purgeable_options& options) noexcept;

  purgeable(const purgeable&) = delete;
  purgeable& operator=(const purgeable&) = delete;
  static void operator delete(purgeable* self, std::destroying_delete_t) noexcept;  // gives everything back to the OS

  // A chunk, kept and zero-filled, of memory that was not offered before; no_chunk if all are in use or the OS refuses.
  [[nodiscard]] std::uint32_t allocate() noexcept;

  // Gives an allocated chunk's memory back to the OS at once or, if it is pinned, with its last pin; until then pins
  // stay valid, and there are no new ones.
  void free(std::uint32_t chunk) noexcept;

  // Where a chunk begins: constant. The owner may write to it while it is kept. To read what is offered takes a pin.
  [[nodiscard]] char* data(std::uint32_t chunk) const noexcept;

  // The chunk that an address lies in, or no_chunk. May be called from a signal handler.
  [[nodiscard]] std::uint32_t chunk_of(const void* address) const noexcept;

  // Offers the first `bytes` of a chunk, rounded up to OS pages and at least one, to the kernel. Its content must not
  // change any more. Offered again, with the same bytes, what pins touched may be purged again; what is lost stays
  // lost. An offered page that is offered again keeps its place among those to be purged, so data that is warm again
  // belongs in a new chunk.
  [[nodiscard]] offer_status offer(std::uint32_t chunk, std::size_t bytes) noexcept;

  // If the bytes are there, they stay where and as they are until unpin; to be read only, if the chunk is offered. If
  // not, no pin is left behind. Pins count. Waits for an offer of that chunk that is under way.
  [[nodiscard]] presence pin(std::uint32_t chunk, std::size_t offset, std::size_t bytes) noexcept;
  void unpin(std::uint32_t chunk) noexcept;

  // Copies bytes out of a chunk. If not all of them were there, what was copied is undefined. Takes no page away from
  // the kernel, and leaves no pin behind. Waits as pin does.
  [[nodiscard]] presence read_if_present(std::uint32_t chunk, std::size_t offset, std::size_t bytes, void* to) noexcept;

  [[nodiscard]] chunk_info state(std::uint32_t chunk) const noexcept;  // of a chunk, now

  // Looks for purged pages in the next chunks, at most bytes_max of offered memory (and at least one chunk), and writes
  // what was lost. Every range is reported once, also what a pin or read found lost; stops when `lost` is full. Chunks
  // with nothing left, as state tells, are the owner's to free. One sweep at a time, others wait.
  sweep_result sweep(std::span<lost_range> lost, std::size_t bytes_max) noexcept;

  // Walks over the chunks to count pins.
  [[nodiscard]] purgeable_stats stats() const noexcept;  // what it holds and did

  ~purgeable() = default;  // does nothing: delete is the operator above

 protected:
  purgeable() = default;
};

}  // namespace scoot
