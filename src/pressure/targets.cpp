// SPDX-License-Identifier: MIT
#include "pressure/targets.hpp"

#include <algorithm>

namespace scoot::pressure {

namespace {

constexpr std::uint64_t mib = std::uint64_t{1} << 20;
constexpr std::uint64_t ms = 1'000'000;

// Notices of less are not halved, and the target grows by at least this.
constexpr std::uint64_t step_bytes_min = mib;
constexpr std::uint64_t backoff_ns_min = 10 * ms;
constexpr std::uint64_t backoff_ns_max = 1000 * ms;
constexpr unsigned cooldown_doublings_max = 4;

// The fastest that memory is assumed to be used up: 4 GiB/s, some four times what one core can fault in.
constexpr std::uint64_t use_bytes_per_ms = 4 * 1024 * mib / 1000;

constexpr std::uint64_t idle_interval_max_ns = 200 * ms;

std::uint64_t subtract(std::uint64_t a, std::uint64_t b) noexcept { return a > b ? a - b : 0; }
std::uint64_t add(std::uint64_t a, std::uint64_t b) noexcept { return a > ~b ? ~std::uint64_t{0} : a + b; }

}  // namespace

void targets::alarm(severity level, std::uint64_t bytes, std::uint64_t now_ns) noexcept {
  if (bytes == 0) {
    level_ = std::max(level_, level);
    return;
  }
  demanded_ = std::max(demanded_, bytes);
  demand_end_ns_ = now_ns + options_.cooldown_ns;
  next_notice_ns_ = now_ns;
  backoff_ns_ = 0;
}

// Follows the needs of others: the swing of what would be available without us.
void targets::observe(const reading& now) noexcept {
  if (!now.known) return;
  const std::uint64_t slack = std::min(subtract(add(now.available, now.held), now.over), std::uint64_t{1} << 60);
  if (limit_ != now.limit || window_end_ns_ == 0) {
    // Another limit is no need of others: only the window begins anew.
    limit_ = now.limit;
    slack_min_ = slack_max_ = slack;
    window_end_ns_ = now.now_ns + options_.window_ns;
  }
  slack_min_ = std::min(slack_min_, slack);
  slack_max_ = std::max(slack_max_, slack);
  // Several windows may have passed since the last reading. After some 28 of them nothing is left of the needs.
  for (int passed = 0; now.now_ns >= window_end_ns_ && passed < 32; ++passed) {
    needs_ = (4 * (slack_max_ - slack_min_) + needs_) / 5;
    slack_min_ = slack_max_ = slack;
    window_end_ns_ += options_.window_ns;
  }
  if (now.now_ns >= window_end_ns_) window_end_ns_ = now.now_ns + options_.window_ns;

  const std::uint64_t least =
      options_.headroom_min != 0 ? options_.headroom_min : std::clamp(now.limit / 32, 8 * mib, 256 * mib);
  const std::uint64_t most = options_.headroom_max != 0 ? options_.headroom_max : now.limit / 4;
  headroom_ = std::clamp(needs_, std::min(least, most), std::max(least, most));
}

// What alarms ask for, beside what is missing of the headroom.
std::uint64_t targets::demand(const reading& now) noexcept {
  if (level_ >= severity::some || (level_ == severity::hint && !now.known)) {
    const std::uint64_t whole = now.held_known ? now.held : 8 * std::max(headroom_, 8 * mib);
    const std::uint64_t part = whole / (level_ == severity::severe ? 8 : 32);
    if (part > demanded_) {
      demanded_ = part;
      demand_end_ns_ = now.now_ns + options_.cooldown_ns;
    }
  }
  level_ = severity::none;
  if (now.now_ns >= demand_end_ns_) demanded_ = 0;
  return demanded_;
}

decision targets::decide(const reading& now) noexcept {
  observe(now);
  decision result;
  result.headroom = headroom_;
  result.deficit = std::max(demand(now), now.known ? subtract(add(headroom_, now.over), now.available) : 0);
  if (now.held_known) result.deficit = std::min(result.deficit, subtract(now.held, options_.held_min));

  if (result.deficit == 0) {
    pressed_ = false;
    backoff_ns_ = 0;
    next_notice_ns_ = 0;
    demanded_ = 0;
    grow(now, result);
  } else {
    if (!pressed_) {
      // Pressure soon after growth: we go to and fro, so wait longer from now on; else less long again.
      const bool soon = last_growth_ns_ != 0 && now.now_ns - last_growth_ns_ < cooldown_ns();
      if (soon && cooldown_doublings_ < cooldown_doublings_max) ++cooldown_doublings_;
      if (!soon && cooldown_doublings_ > 0) --cooldown_doublings_;
    }
    pressed_ = true;
    last_pressure_ns_ = now.now_ns;
    if (now.now_ns >= next_notice_ns_) {
      result.give_back = result.deficit <= step_bytes_min ? result.deficit : result.deficit / 2;
      if (now.held_known) target_ = std::min(target_, std::max(options_.held_min, now.held - result.give_back));
    }
  }
  result.target = target_;
  return result;
}

void targets::grow(const reading& now, decision& result) noexcept {
  if (target_ >= options_.held_max || !now.held_known) return;
  if (now.now_ns - last_pressure_ns_ < cooldown_ns() || now.now_ns - last_growth_ns_ < options_.step_ns) return;
  std::uint64_t wanted = std::min(add(target_, std::max(target_ / 20, step_bytes_min)), options_.held_max);
  if (now.known) wanted = std::min(wanted, add(now.held, subtract(now.available, headroom_)));
  if (wanted <= target_) return;
  target_ = wanted;
  last_growth_ns_ = now.now_ns;
  result.grown = true;
}

void targets::gave(std::uint64_t bytes, std::uint64_t now_ns) noexcept {
  demanded_ = subtract(demanded_, bytes);
  if (bytes != 0) {
    backoff_ns_ = 0;
    next_notice_ns_ = 0;
    return;
  }
  backoff_ns_ = std::clamp(backoff_ns_ * 2, backoff_ns_min, backoff_ns_max);
  next_notice_ns_ = now_ns + backoff_ns_;
}

pacing::pacing(double cost_max) noexcept
    : cost_factor_(static_cast<std::uint64_t>(1 / std::max(cost_max, 1e-6) + 0.5)) {}

std::uint64_t pacing::time_to_use_ns(std::uint64_t bytes) noexcept {
  const std::uint64_t time_ms = bytes / use_bytes_per_ms;
  return std::clamp(std::min(time_ms, interval_max_ns / ms) * ms, interval_min_ns, interval_max_ns);
}

std::uint64_t pacing::interval_ns(const view& now) noexcept {
  if (now.next_notice_ns != 0) {
    return std::clamp(subtract(now.next_notice_ns, now.now_ns), interval_min_ns, interval_max_ns);
  }
  if (!now.known) return interval_max_ns;
  // The kernel charges in batches of 256 KiB a processor, so that what is left jumps to and fro by that.
  const std::uint64_t noise = std::max(now.headroom / 16, mib / 2);
  if (seen_ && now.available + noise < last_available_) alert(now.now_ns);
  // The mark follows upwards at once, and downwards only with an alert, so that a slow fall is noticed too.
  if (!seen_ || now.available + noise < last_available_ || now.available > last_available_) {
    last_available_ = now.available;
  }
  seen_ = true;
  const std::uint64_t quiet = std::clamp(now.cost_ns * cost_factor_, interval_min_ns, idle_interval_max_ns);
  const std::uint64_t least = now.now_ns < alert_end_ns_ ? interval_min_ns : quiet;
  return std::max(least, time_to_use_ns(subtract(now.available, now.headroom)));
}

}  // namespace scoot::pressure
