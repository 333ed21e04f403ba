// SPDX-License-Identifier: MIT
//
// The public face of purgeable memory, where arguments are checked.
#include "scoot/purgeable.hpp"

#include <new>

#include "base/bits.hpp"
#include "base/check.hpp"
#include "os/os.hpp"
#include "purgeable/region.hpp"
#include "purgeable/trial.hpp"

namespace scoot {

namespace {

using purging::region;

region& self(purgeable* p) noexcept { return static_cast<region&>(*p); }
const region& self(const purgeable* p) noexcept { return static_cast<const region&>(*p); }

void check_range([[maybe_unused]] const region& r, [[maybe_unused]] std::uint32_t chunk,
                 [[maybe_unused]] std::size_t offset, [[maybe_unused]] std::size_t bytes) noexcept {
  SCOOT_CHECK(1, offset <= r.chunk_size() && bytes <= r.chunk_size() - offset,
              "%zu bytes from %zu on are not within chunk %u", bytes, offset, chunk);
}

}  // namespace

purge_support purgeable::support() noexcept {
  static const purge_support found = purging::try_out_kernel();
  return found;
}

std::unique_ptr<purgeable> purgeable::create(const purgeable_options& options) noexcept {
  const std::size_t chunk = options.chunk_bytes;
  if (chunk < chunk_bytes_min || chunk < os::page_bytes() || chunk > chunk_bytes_max || (chunk & (chunk - 1)) != 0) {
    return nullptr;
  }
  if (options.bytes_max == 0 || options.bytes_max > SIZE_MAX - chunk) return nullptr;
  const std::size_t chunks = base::round_up(options.bytes_max, chunk) / chunk;
  if (chunks >= no_chunk) return nullptr;
  std::unique_ptr<region> made(new (std::nothrow) region(chunk, static_cast<std::uint32_t>(chunks), support()));
  if (made == nullptr || !made->reserve(options.guarded)) return nullptr;
  return std::unique_ptr<purgeable>(made.release());
}

void purgeable::operator delete(purgeable* p, std::destroying_delete_t) noexcept {
  region* const made = &self(p);
  made->~region();
  ::operator delete(static_cast<void*>(made));
}

std::uint32_t purgeable::allocate() noexcept { return self(this).take(); }

void purgeable::free(std::uint32_t chunk) noexcept {
  region& r = self(this);
  if (!r.knows(chunk)) {
    SCOOT_CHECK(1, false, "there is no chunk %u to free", chunk);
    return;
  }
  r.give(chunk);
}

char* purgeable::data(std::uint32_t chunk) const noexcept {
  const region& r = self(this);
  SCOOT_CHECK(1, r.knows(chunk), "there is no chunk %u", chunk);
  return r.address(chunk);
}

std::uint32_t purgeable::chunk_of(const void* address) const noexcept {
  const region& r = self(this);
  const auto at = reinterpret_cast<std::uintptr_t>(address) - reinterpret_cast<std::uintptr_t>(r.address(0));
  return at / r.chunk_size() < r.chunks_max() ? static_cast<std::uint32_t>(at / r.chunk_size()) : no_chunk;
}

offer_status purgeable::offer(std::uint32_t chunk, std::size_t bytes) noexcept {
  region& r = self(this);
  if (!r.knows(chunk)) return offer_status::absent;
  check_range(r, chunk, 0, bytes);
  return r.offer_chunk(chunk, bytes);
}

presence purgeable::pin(std::uint32_t chunk, std::size_t offset, std::size_t bytes) noexcept {
  region& r = self(this);
  if (!r.knows(chunk)) [[unlikely]]
    return presence::absent;
  check_range(r, chunk, offset, bytes);
  return r.add_pin(chunk, offset, bytes);
}

void purgeable::unpin(std::uint32_t chunk) noexcept {
  region& r = self(this);
  SCOOT_CHECK(1, r.knows(chunk) && r.pins_of(chunk) != 0, "chunk %u has no pin to take away", chunk);
  r.remove_pin(chunk);
}

presence purgeable::read_if_present(std::uint32_t chunk, std::size_t offset, std::size_t bytes, void* to) noexcept {
  region& r = self(this);
  if (!r.knows(chunk)) return presence::absent;
  check_range(r, chunk, offset, bytes);
  return r.copy_out(chunk, offset, bytes, to);
}

chunk_info purgeable::state(std::uint32_t chunk) const noexcept {
  const region& r = self(this);
  return r.knows(chunk) ? r.info(chunk) : chunk_info{};
}

sweep_result purgeable::sweep(std::span<lost_range> lost, std::size_t bytes_max) noexcept {
  return self(this).sweep_chunks(lost, bytes_max);
}

purgeable_stats purgeable::stats() const noexcept { return self(this).collect(); }

}  // namespace scoot
