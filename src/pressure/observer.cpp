// SPDX-License-Identifier: MIT
#include "pressure/observer.hpp"

#include <errno.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

namespace scoot::pressure {

namespace {

constexpr std::uint64_t second = 1'000'000'000;
constexpr std::uint64_t find_every_ns = second;
constexpr std::uint64_t check_every_ns = 10 * second;
constexpr std::uint64_t look_every_ns = second / 10;
constexpr std::size_t all = std::numeric_limits<std::size_t>::max();

std::size_t to_size(std::uint64_t bytes) noexcept {
  return static_cast<std::size_t>(std::min<std::uint64_t>(bytes, all));
}

void set_number(published::number& n, std::uint64_t value) noexcept { n.store(value, std::memory_order_relaxed); }
void add_number(published::number& n, std::uint64_t value) noexcept { n.fetch_add(value, std::memory_order_relaxed); }

target_options options_of(const pressure_options& from) noexcept {
  target_options result;
  result.held_min = from.held_bytes_min;
  result.held_max = from.held_bytes_max != 0 ? from.held_bytes_max : all;
  result.headroom_min = from.headroom_bytes_min;
  result.headroom_max = from.headroom_bytes_max;
  result.window_ns = std::uint64_t{from.window_ms} * 1'000'000;
  result.cooldown_ns = std::uint64_t{from.cooldown_ms} * 1'000'000;
  result.step_ns = std::uint64_t{from.step_ms} * 1'000'000;
  return result;
}

pressure_source_state state_of(const made_source& made) noexcept {
  if (made.made != nullptr) return pressure_source_state::watching;
  return made.error == ENOENT || made.error == ENOTDIR ? pressure_source_state::absent : pressure_source_state::refused;
}

}  // namespace

observer::observer(const pressure_options& options, const surroundings& around) noexcept
    : options_(options),
      around_(around),
      targets_(options_of(options)),
      pacing_(options.watch_cost_max),
      levels_(options.root) {
  set_number(numbers_.target, options.held_bytes_max != 0 ? options.held_bytes_max : all);
  const std::uint64_t now = around_.clock();
  (void)levels_.find(now);
  next_find_ns_ = now + find_every_ns;
  next_check_ns_ = now + check_every_ns;
  note_headroom();
  watch_cgroup();
  using kind = pressure_source;
  if (wanted(kind::system_psi)) set(kind::system_psi, make_system_psi(options_.root));
  if (wanted(kind::service_manager)) {
    set(kind::service_manager, make_service_manager(options_.root, around_.watch, around_.write));
  }
  if (wanted(kind::canary)) set(kind::canary, make_canary());
  if (wanted(kind::fifo)) set(kind::fifo, make_fifo(options_.fifo));
  slot_of(kind::program).state = wanted(kind::program) ? pressure_source_state::watching : pressure_source_state::off;
}

bool observer::wanted(pressure_source kind) const noexcept {
  return (options_.sources & pressure_source_bit(kind)) != 0;
}

void observer::set(pressure_source kind, made_source made) noexcept {
  slot& s = slot_of(kind);
  const std::lock_guard lock(slots_lock_);
  s.state = state_of(made);
  s.error = made.error;
  s.where = made.where;
  s.made = std::move(made.made);
}

void observer::lose(slot& of, int error) noexcept {
  const std::lock_guard lock(slots_lock_);
  of.state = pressure_source_state::lost;
  of.error = error;
  of.made.reset();
}

std::size_t observer::places(std::span<pollfd, places_max> into) const noexcept {
  std::size_t count = 0;
  for (const slot& s : slots_) {
    if (s.made == nullptr) continue;
    const pollfd place = s.made->waits_for();
    if (place.fd >= 0) into[count++] = place;
  }
  return count;
}

void observer::take(std::span<const pollfd> ready) noexcept {
  for (const pollfd& place : ready) {
    if (place.revents == 0) continue;
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].made != nullptr && slots_[i].made->waits_for().fd == place.fd) {
        take_from(i, place.revents);
        break;
      }
    }
  }
}

void observer::take_from(std::size_t index, short revents) noexcept {
  slot& s = slots_[index];
  const alarm got = s.made->take(revents);
  const severity felt = got.bytes != 0 ? severity::severe : got.level;
  if (felt != severity::none) {
    add_number(s.alarms, 1);
    add_number(numbers_.alarms, 1);
    const std::uint64_t now = around_.clock();
    if (got.bytes != 0) targets_.alarm(severity::none, got.bytes, now);
    targets_.alarm(got.level, 0, now);
    if (got.purged) targets_.purged(now);
    if (felt > cause_level_) {
      cause_level_ = felt;
      cause_ = static_cast<pressure_source>(index);
    }
    pacing_.alert(now);
  }
  if (got.lost != 0) {
    const auto kind = static_cast<pressure_source>(index);
    cgroup_lost_ = cgroup_lost_ || (kind >= pressure_source::cgroup_threshold && kind <= pressure_source::cgroup_psi);
    lose(s, got.lost);
  }
}

// Finds everything anew if files vanished or the process was moved; watches another cgroup if that limits us now.
void observer::refresh(std::uint64_t now_ns) noexcept {
  if (now_ns >= next_check_ns_) {
    next_check_ns_ = now_ns + check_every_ns;
    levels_.check();
    watch_cgroup();
  }
  if ((levels_.stale() || cgroup_lost_) && now_ns >= next_find_ns_) {
    next_find_ns_ = now_ns + find_every_ns;
    (void)levels_.find(now_ns);
    note_headroom();
    watch_cgroup();
  }
}

// The sources of the cgroup that limits us, if they are not those already.
void observer::watch_cgroup() noexcept {
  const level* cgroup = levels_.limiting_cgroup();
  const path_text folder = cgroup != nullptr ? cgroup->folder : path_text();
  const bool limited = cgroup != nullptr && cgroup->limit != no_limit;
  const bool same = !watched_cgroup_.view().empty() && folder == watched_cgroup_ && limited == watched_limited_;
  if (same && !cgroup_lost_) return;
  watched_cgroup_ = folder;
  watched_limited_ = limited;
  cgroup_lost_ = false;
  using kind = pressure_source;
  constexpr std::pair<kind, made_source (*)(const level&) noexcept> makers[] = {
      {kind::cgroup_threshold, make_cgroup_threshold},
      {kind::cgroup_level, make_cgroup_level},
      {kind::cgroup_events, make_cgroup_events},
      {kind::cgroup_psi, make_cgroup_psi}};
  for (const auto& maker : makers) {
    if (!wanted(maker.first)) continue;
    set(maker.first, cgroup != nullptr ? maker.second(*cgroup) : made_source{nullptr, ENOENT, path_text()});
  }
}

// How the reading of levels itself is listed.
void observer::note_headroom() noexcept {
  if (!wanted(pressure_source::headroom)) return;
  slot& s = slot_of(pressure_source::headroom);
  const level* tightest = levels_.tightest();
  const std::lock_guard lock(slots_lock_);
  s.state = tightest != nullptr ? pressure_source_state::watching : pressure_source_state::absent;
  s.error = tightest != nullptr ? 0 : ENOENT;
  s.where = tightest != nullptr ? tightest->folder : path_text();
}

void observer::take_reports(std::uint64_t now_ns) noexcept {
  if (const std::uint64_t purged = numbers_.purged_pending.exchange(0, std::memory_order_relaxed); purged != 0) {
    targets_.purged(now_ns);
    add_number(numbers_.purged, purged);
  }
  const std::uint64_t shortage = numbers_.shortage_pending.exchange(0, std::memory_order_relaxed);
  if (shortage == 0 || !wanted(pressure_source::program)) return;
  // One more than the bytes, so that a report without a number is not lost.
  targets_.alarm(severity::some, shortage - 1, now_ns);
  add_number(slot_of(pressure_source::program).alarms, 1);
  add_number(numbers_.alarms, 1);
  cause_ = pressure_source::program;
  cause_level_ = severity::severe;
}

std::uint64_t observer::step(std::uint64_t woken_ns) noexcept {
  // All that looking costs, from one time to the next, but callbacks.
  const std::uint64_t cpu = around_.cpu_clock();
  if (cpu_before_ != 0 && cpu >= cpu_before_) cost_ns_ = (7 * cost_ns_ + (cpu - cpu_before_)) / 8;
  cpu_before_ = cpu;
  const std::uint64_t now = around_.clock();
  refresh(now);
  reading r;
  r.now_ns = now;
  if (wanted(pressure_source::headroom)) {
    levels_.read(now, targets_.headroom());
    if (const level* tightest = levels_.tightest(); tightest != nullptr) {
      r.known = true;
      r.limit = tightest->limit;
      r.available = tightest->available;
      r.over = tightest->over;
      set_number(numbers_.used, tightest->used);
    }
  }
  if (options_.held != nullptr) {
    r.held_known = true;
    r.held = options_.held(options_.context);
  }
  if (now >= next_look_ns_) {
    next_look_ns_ = now + look_every_ns;
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].made != nullptr && slots_[i].made->waits_for().fd < 0) take_from(i, 0);
    }
  }
  take_reports(now);
  const decision d = targets_.decide(r);
  if (slot& s = slot_of(pressure_source::cgroup_threshold); s.made != nullptr) {
    if (const level* cgroup = levels_.limiting_cgroup(); cgroup != nullptr) s.made->follow(*cgroup, d.headroom);
  }
  publish(r, d);

  if (d.give_back != 0 && options_.give_back != nullptr) notice(d, woken_ns);
  if (d.grown && options_.may_grow != nullptr) options_.may_grow(options_.context, to_size(d.target));
  if (d.give_back != 0 || d.grown) cpu_before_ = 0;
  if (d.deficit == 0) {
    cause_ = pressure_source::headroom;
    cause_level_ = severity::none;
  }

  pacing::view view{now, r.known, r.available, d.headroom, cost_ns_, 0};
  if (d.deficit != 0 && options_.give_back != nullptr) view.next_notice_ns = targets_.next_notice_ns();
  const std::uint64_t interval = pacing_.interval_ns(view);
  set_number(numbers_.interval_ns, interval);
  return interval;
}

void observer::notice(const decision& d, std::uint64_t woken_ns) noexcept {
  pressure_notice n;
  n.give_back_bytes = to_size(d.give_back);
  n.deficit_bytes = to_size(d.deficit);
  n.target_bytes = to_size(d.target);
  n.noticed_ns = woken_ns;
  n.source = cause_;
  const std::uint64_t begin = around_.clock();
  const std::size_t given = options_.give_back(options_.context, n);
  const std::uint64_t end = around_.clock();
  targets_.gave(given, end);
  if (given != 0) pacing_.alert(end);
  add_number(numbers_.notices, 1);
  if (given == 0) add_number(numbers_.fruitless, 1);
  add_number(numbers_.asked, d.give_back);
  add_number(numbers_.given, given);
  if (end - begin > numbers_.give_back_ns_max.load(std::memory_order_relaxed)) {
    set_number(numbers_.give_back_ns_max, end - begin);
  }
}

void observer::publish(const reading& r, const decision& d) noexcept {
  set_number(numbers_.limit, r.limit);
  set_number(numbers_.available, r.available);
  set_number(numbers_.held, r.held);
  set_number(numbers_.headroom, d.headroom);
  set_number(numbers_.deficit, d.deficit);
  set_number(numbers_.target, d.target);
  add_number(numbers_.readings, 1);
  if (d.grown) add_number(numbers_.growths, 1);
}

std::size_t observer::list(pressure_source_info* infos, std::size_t room) const noexcept {
  const std::lock_guard lock(slots_lock_);
  for (std::size_t i = 0; i < std::min(room, slots_.size()); ++i) {
    pressure_source_info& info = infos[i];
    info = {};
    info.source = static_cast<pressure_source>(i);
    info.state = slots_[i].state;
    info.error = slots_[i].error;
    info.alarms = slots_[i].alarms.load(std::memory_order_relaxed);
    const std::string_view where = slots_[i].where.view();
    std::memcpy(info.where, where.data(), std::min(where.size(), sizeof(info.where) - 1));
  }
  return slots_.size();
}

}  // namespace scoot::pressure
