// SPDX-License-Identifier: MIT
//
// A session's administrators' commands: those about memcached's slabs and lists, answered by what is true here, and
// walks over all items (dumps, sizes), which are made in steps between which others have their turn.
#include <algorithm>
#include <new>
#include <utility>

#include "server/decimal.hpp"
#include "server/session.hpp"

namespace scoot::server {
namespace {

constexpr unsigned looks_per_step = 16;  // each up to some hundred items
constexpr unsigned classes_max = 63;     // memcached's
constexpr std::string_view reply_bad_class = "BADCLASS invalid class id\r\n";
constexpr std::size_t size_step = 32;

constexpr std::size_t dump_line_bytes_max = 3 * key_bytes_max + 160;

char* put(char* to, std::string_view text) noexcept { return std::copy(text.begin(), text.end(), to); }

char* put_metadump(char* to, const item_view& item, std::uint32_t now) noexcept {
  to = write_escaped(put(to, "key="), item.key);
  to = put(to, " exp=");
  to = item.expires_at == expires_never ? put(to, "-1") : write_decimal(to, item.expires_at);
  to = write_decimal(put(to, " la="), item.idle_known ? now - item.idle_s : 0);
  to = write_decimal(put(to, " cas="), item.cas);
  to = put(put(to, " fetch="), item.read ? "yes" : "no");
  to = write_decimal(put(to, " cls=1 size="), item.key.size() + item.value.size());
  return put(to, "\n");
}

char* put_mgdump(char* to, const item_view& item) noexcept {
  to = put(to, "mg ");
  if (item.binary_key) return put(encode_base64(to, item.key), " b\r\n");
  return put(put(to, item.key), "\r\n");
}

char* put_cachedump(char* to, const item_view& item) noexcept {
  to = put(put(to, "ITEM "), item.key);
  to = write_decimal(put(to, " ["), item.value.size());
  to = write_decimal(put(to, " b; "), item.expires_at);
  return put(to, " s]\r\n");
}

enum class classes : unsigned char { bad, others, ours };

// A list of classes, of which there is one here, number 1.
classes read_classes(std::string_view list) noexcept {
  if (list == "all" || list == "hash") return classes::ours;
  classes result = classes::others;
  do {
    const std::size_t comma = std::min(list.find(','), list.size());
    const auto number = read_unsigned(list.substr(0, comma));
    if (!number || *number == 0 || *number > classes_max) return classes::bad;
    if (*number == 1) result = classes::ours;
    list.remove_prefix(std::min(comma + 1, list.size()));
  } while (!list.empty());
  return result;
}

}  // namespace

// ---- walks --------------------------------------------------------------------------------------------------------

// The request stays in the input until the walk is over.
session::step session::begin_walk(const session_context& with, walk::kind what, std::uint64_t items_max,
                                  std::size_t request_bytes) noexcept {
  walk_.reset(new (std::nothrow) walk);
  if (walk_ == nullptr) {
    reply(with, reply_out_of_memory);
    return step::close;
  }
  walk_->what = what;
  walk_->items_left = items_max;
  walk_->request_bytes = request_bytes;
  phase_ = phase::walking;
  return step::turn_over;
}

session::step session::run_walk(const session_context& with, std::string_view& input) noexcept {
  walk& w = *walk_;
  response_buffer& out = with.out;
  const std::uint32_t now = with.state.items.now();
  const auto visit = [&](const item_view& item) noexcept {
    if (w.what == walk::kind::sizes) return w.count(item.key.size() + item.value.size());
    // Keys with bytes that would end a line are told as base64, or not at all.
    if (w.what == walk::kind::cachedump && (w.items_left == 0 || item.binary_key)) return;
    --w.items_left;
    char* to = out.room(dump_line_bytes_max);
    if (to == nullptr) return;
    out.finish(w.what == walk::kind::metadump ? put_metadump(to, item, now)
               : w.what == walk::kind::mgdump ? put_mgdump(to, item)
                                              : put_cachedump(to, item));
  };
  for (unsigned looks = 0; looks < looks_per_step && !out.full(); ++looks) {
    w.cursor = w.what == walk::kind::prefixes ? tell_prefixes(with) : with.state.items.visit_some(w.cursor, visit);
    const bool enough = w.what == walk::kind::cachedump && w.items_left == 0;
    if (w.cursor != 0 && !enough) continue;
    finish_walk(with, input.substr(0, w.request_bytes));
    input.remove_prefix(w.request_bytes);
    walk_.reset();
    phase_ = binary_ ? phase::binary : phase::command;
    return step::again;
  }
  return step::turn_over;
}

void session::walk::count(std::size_t bytes) noexcept {
  try {
    ++sizes[(bytes + size_step - 1) / size_step];
  } catch (const std::bad_alloc&) {
    // Without memory for so large a size it is not told.
  }
}

// Items of n different sizes have n * n / 2 steps of bytes at least, so of these there are few: 2,048 in 64 MiB, 65,536
// in 64 GiB.
std::size_t session::walk_bytes() const noexcept {
  constexpr std::size_t node_bytes = 64;
  return walk_ == nullptr ? 0 : sizeof(walk) + walk_->sizes.size() * node_bytes;
}

void session::finish_walk(const session_context& with, std::string_view request_text) noexcept {
  if (walk_->what != walk::kind::sizes)
    return with.out.append(walk_->what == walk::kind::mgdump ? "EN\r\n" : "END\r\n");
  binary_request request;
  if (binary_) (void)parse_binary(request_text, request);
  write_sizes(walk_->sizes, size_step, with.out, binary_ ? &request : nullptr);
}

// ---- commands -----------------------------------------------------------------------------------------------------

session::step session::run_stats(const session_context& with, std::string_view arguments,
                                 std::size_t line_bytes) noexcept {
  std::string_view rest = arguments;
  const std::string_view what = next_key(rest);
  if (what == "sizes") return begin_walk(with, walk::kind::sizes, 0, line_bytes);
  if (what == "detail") {
    return stats_detail(with, rest, line_bytes);
  }
  if (what != "cachedump") {
    if (!write_stats(with.state, arguments, with.out, id_)) reply(with, reply_error);
    return step::again;
  }
  const std::string_view class_word = next_key(rest), limit_word = next_key(rest);
  const auto number = read_unsigned(class_word), limit = read_unsigned(limit_word);
  if (!with.state.live.dump_enabled) {
    reply(with, "CLIENT_ERROR stats cachedump not allowed\r\n");
  } else if (limit_word.empty()) {
    reply(with, "CLIENT_ERROR bad command line\r\n");
  } else if (!number || !limit) {
    reply(with, reply_bad_format);
  } else if (*number > classes_max) {
    reply(with, "CLIENT_ERROR Illegal slab id\r\n");
  } else if (*number != 1) {
    reply(with, "END\r\n");
  } else {
    return begin_walk(with, walk::kind::cachedump, *limit == 0 ? ~std::uint64_t{0} : *limit, line_bytes);
  }
  return step::again;
}

// Expired items go by themselves within two seconds, and nothing crawls; what asks for that is granted.
session::step session::run_lru_crawler(const session_context& with, std::string_view arguments,
                                       std::size_t line_bytes) noexcept {
  const std::string_view word = next_key(arguments), value = next_key(arguments);
  const bool dumps = word == "metadump" || word == "mgdump";
  if (value.empty() && word == "enable") {
    reply(with, "OK\r\n");
  } else if (value.empty() && word == "disable") {
    reply(with, "ERROR failed to stop lru crawler thread\r\n");
  } else if (value.empty() || !next_key(arguments).empty()) {
    reply(with, reply_error);
  } else if (dumps && !with.state.live.dump_enabled) {
    reply(with, word == "metadump" ? "ERROR metadump not allowed\r\n" : "ERROR key dump not allowed\r\n");
  } else if (dumps || word == "crawl") {
    const classes which = read_classes(value);
    if (dumps && which == classes::ours) {
      return begin_walk(with, word == "metadump" ? walk::kind::metadump : walk::kind::mgdump, 0, line_bytes);
    }
    if (which == classes::bad) {
      reply(with, reply_bad_class);
    } else {
      reply(with, !dumps ? "OK\r\n" : word == "metadump" ? "END\r\n" : "EN\r\n");
    }
  } else if (word == "sleep" || word == "tocrawl") {
    const auto number = read_unsigned(value);
    reply(with, !number                                  ? reply_bad_format
                : word == "sleep" && *number > 1'000'000 ? "CLIENT_ERROR sleep must be one second or less\r\n"
                                                         : "OK\r\n");
  } else {
    reply(with, reply_error);
  }
  return step::again;
}

// Memory follows the sizes of the items by itself, and cannot be told not to.
void session::run_slabs(const session_context& with, std::string_view arguments) noexcept {
  const std::string_view word = next_key(arguments), first = next_key(arguments), second = next_key(arguments);
  if (word == "reassign" && !second.empty()) {
    const auto from = read_signed(first), to = read_signed(second);
    if (!from || !to) return reply(with, reply_bad_format);
    return reply(
        with, *from == *to ? "SAME src and dst class are identical\r\n" : "BADCLASS invalid src or dst class id\r\n");
  }
  if (word != "automove" || first.empty()) return reply(with, reply_error);
  const auto level = read_unsigned(first);
  if (first == "ratio") return reply(with, second.empty() ? reply_error : "OK\r\n");
  if (!level) return reply(with, reply_bad_format);
  if (*level == 0) return reply(with, "CLIENT_ERROR memory always follows the items here\r\n");
  reply(with, *level <= 2 ? "OK\r\n" : reply_error);
}

}  // namespace scoot::server
