// SPDX-License-Identifier: MIT
//
// The policy, and nothing else: from what is available to how much to give back, how much may be held, and when to look
// again. Pure: it knows no file, no thread and no clock but the times it is told.
//
//     swing     of what would be available if the program held nothing (available + held), over a window
//     needs     (4 swing + needs) / 5 at the end of each window: what others are likely to want at once
//     headroom  needs, within its bounds
//     deficit   headroom - available, or what an alarm asks for
//     target    falls to held - give_back with each notice; grows by at most a twentieth a step, after a cool-down
#pragma once

#include <cstddef>
#include <cstdint>

namespace scoot::pressure {

struct target_options {
  std::uint64_t held_min = 0;
  std::uint64_t held_max = ~std::uint64_t{0};
  std::uint64_t headroom_min = 0;  // 0: by the limit
  std::uint64_t headroom_max = 0;  // 0: by the limit
  std::uint64_t window_ns = 10'000'000'000;
  std::uint64_t cooldown_ns = 10'000'000'000;
  std::uint64_t step_ns = 1'000'000'000;
};

struct reading {
  std::uint64_t now_ns = 0;
  bool known = false;  // whether limit and available could be read
  std::uint64_t limit = 0;
  std::uint64_t available = 0;
  std::uint64_t over = 0;  // used above the limit
  bool held_known = false;
  std::uint64_t held = 0;
};

// How much an alarm that names no number says.
enum class severity : unsigned char {
  none,    //
  hint,    // look now; where there is nothing to look at, as much as "some"
  some,    // a 32nd of what is held, even if headroom seems to be there; of 8 headrooms if held is not known
  severe,  // an eighth
};

struct decision {
  std::uint64_t give_back = 0;  // now; 0: nothing, or not yet
  std::uint64_t deficit = 0;
  std::uint64_t target = 0;
  std::uint64_t headroom = 0;
  bool grown = false;  // the target is larger than before
};

class targets {
 public:
  explicit targets(const target_options& options) noexcept : options_(options), target_(options.held_max) {}

  // An alarm; taken into account by the next decision. `bytes`: what it asks for, 0 if it names no number.
  void alarm(severity level, std::uint64_t bytes, std::uint64_t now_ns) noexcept;

  // The kernel purged memory of ours: no growth for a cool-down.
  void purged(std::uint64_t now_ns) noexcept { last_pressure_ns_ = now_ns; }

  [[nodiscard]] decision decide(const reading& now) noexcept;

  // What the program gave back after a decision to give back.
  void gave(std::uint64_t bytes, std::uint64_t now_ns) noexcept;

  // The earliest time of the next notice: later and later as long as notices give nothing.
  [[nodiscard]] std::uint64_t next_notice_ns() const noexcept { return next_notice_ns_; }
  [[nodiscard]] std::uint64_t headroom() const noexcept { return headroom_; }
  [[nodiscard]] std::uint64_t cooldown_ns() const noexcept { return options_.cooldown_ns << cooldown_doublings_; }

 private:
  void observe(const reading& now) noexcept;
  [[nodiscard]] std::uint64_t demand(const reading& now) noexcept;
  void grow(const reading& now, decision& result) noexcept;

  target_options options_;
  std::uint64_t target_;
  // Headroom.
  std::uint64_t headroom_ = 0;
  std::uint64_t needs_ = 0;
  std::uint64_t window_end_ns_ = 0;
  std::uint64_t slack_min_ = 0;
  std::uint64_t slack_max_ = 0;
  std::uint64_t limit_ = 0;
  // What alarms ask for.
  severity level_ = severity::none;
  std::uint64_t demanded_ = 0;
  std::uint64_t demand_end_ns_ = 0;
  // Time.
  bool pressed_ = false;
  std::uint64_t last_pressure_ns_ = 0;
  std::uint64_t last_growth_ns_ = 0;
  std::uint64_t next_notice_ns_ = 0;
  std::uint64_t backoff_ns_ = 0;
  unsigned cooldown_doublings_ = 0;
};

// When to look again.
class pacing {
 public:
  static constexpr std::uint64_t interval_min_ns = 1'000'000;
  static constexpr std::uint64_t interval_max_ns = 1'000'000'000;

  struct view {
    std::uint64_t now_ns = 0;
    bool known = false;
    std::uint64_t available = 0;
    std::uint64_t headroom = 0;
    std::uint64_t cost_ns = 0;         // processor time of looking once
    std::uint64_t next_notice_ns = 0;  // if there is a deficit that the program was not told of yet, else 0
  };

  // `cost_max`: the part of a core that looking may take while nothing happens; above 0 and up to 1.
  explicit pacing(double cost_max = 0.0007) noexcept;

  // An alarm came: look often for a while.
  void alert(std::uint64_t now_ns) noexcept { alert_end_ns_ = now_ns + alert_ns; }

  [[nodiscard]] std::uint64_t interval_ns(const view& now) noexcept;

  // How long it takes at least until so much is used up, within the bounds of an interval.
  [[nodiscard]] static std::uint64_t time_to_use_ns(std::uint64_t bytes) noexcept;

 private:
  static constexpr std::uint64_t alert_ns = 50'000'000;

  std::uint64_t cost_factor_;
  bool seen_ = false;
  std::uint64_t last_available_ = 0;
  std::uint64_t alert_end_ns_ = 0;
};

}  // namespace scoot::pressure
