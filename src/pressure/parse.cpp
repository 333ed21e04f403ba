// SPDX-License-Identifier: MIT
#include "pressure/parse.hpp"

#include <algorithm>
#include <cstring>

namespace scoot::pressure {

namespace {

constexpr std::string_view blanks = " \t\r\n";

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

std::string_view trimmed(std::string_view text) noexcept {
  const std::size_t first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

int base64_value(char c) noexcept {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (is_digit(c)) return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

}  // namespace

path_text& path_text::append(std::string_view text) noexcept {
  // The kernel's paths end at the first NUL, so a text with one is none.
  if (overflown_ || text.size() >= bytes_max - size_ || text.find('\0') != std::string_view::npos) {
    overflown_ = true;
    shorten(0);
    return *this;
  }
  std::memcpy(bytes_ + size_, text.data(), text.size());
  size_ += text.size();
  bytes_[size_] = '\0';
  return *this;
}

void path_text::shorten(std::size_t size) noexcept {
  size_ = std::min(size, size_);
  bytes_[size_] = '\0';
}

path_text in_folder(const path_text& folder, std::string_view name) noexcept {
  path_text path(folder);
  return path.append("/").append(name);
}

std::string_view next_line(std::string_view& text) noexcept {
  const std::size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

std::string_view next_word(std::string_view& text) noexcept {
  const std::size_t first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) {
    text = {};
    return {};
  }
  text.remove_prefix(first);
  const std::string_view word = text.substr(0, text.find_first_of(blanks));
  text.remove_prefix(word.size());
  return word;
}

std::optional<std::uint64_t> parse_bytes(std::string_view text) noexcept {
  text = trimmed(text);
  if (text == "max") return no_limit;
  if (text.empty()) return std::nullopt;
  std::uint64_t value = 0;
  for (const char c : text) {
    if (!is_digit(c)) return std::nullopt;
    const auto digit = static_cast<std::uint64_t>(c - '0');
    value = value > (no_limit - digit) / 10 ? no_limit : value * 10 + digit;
  }
  return value;
}

std::optional<std::uint64_t> find_field(std::string_view text, std::string_view name) noexcept {
  while (!text.empty()) {
    std::string_view line = next_line(text);
    if (next_word(line) == name) return parse_bytes(line);
  }
  return std::nullopt;
}

std::optional<std::uint64_t> find_meminfo(std::string_view text, std::string_view name) noexcept {
  while (!text.empty()) {
    std::string_view line = next_line(text);
    if (!line.starts_with(name) || line.substr(name.size(), 1) != ":") continue;
    line.remove_prefix(name.size() + 1);
    const std::optional<std::uint64_t> value = parse_bytes(next_word(line));
    if (!value || trimmed(line) != "kB") return std::nullopt;
    return *value > no_limit / 1024 ? no_limit : *value * 1024;
  }
  return std::nullopt;
}

std::optional<cgroup_line> parse_cgroup_line(std::string_view line) noexcept {
  const std::size_t first = line.find(':');
  if (first == std::string_view::npos) return std::nullopt;
  const std::size_t second = line.find(':', first + 1);
  if (second == std::string_view::npos) return std::nullopt;
  cgroup_line found{line.substr(first + 1, second - first - 1), line.substr(second + 1)};
  if (!found.path.starts_with('/')) return std::nullopt;
  return found;
}

bool lists(std::string_view list, std::string_view word) noexcept {
  while (!list.empty()) {
    const std::size_t end = list.find(',');
    if (list.substr(0, end) == word) return true;
    if (end == std::string_view::npos) break;
    list.remove_prefix(end + 1);
  }
  return false;
}

std::optional<mount_line> parse_mount_line(std::string_view line) noexcept {
  mount_line found;
  for (int skipped = 0; skipped < 3; ++skipped) (void)next_word(line);
  found.root = next_word(line);
  found.point = next_word(line);
  // Optional fields follow, up to a dash.
  std::string_view word;
  do {
    word = next_word(line);
  } while (!word.empty() && word != "-");
  found.type = next_word(line);
  (void)next_word(line);
  found.options = next_word(line);
  if (found.type.empty() || !found.root.starts_with('/') || !found.point.starts_with('/')) return std::nullopt;
  return found;
}

void append_unescaped(path_text& path, std::string_view escaped) noexcept {
  while (!escaped.empty()) {
    const std::size_t plain = std::min(escaped.find('\\'), escaped.size());
    path.append(escaped.substr(0, plain));
    escaped.remove_prefix(plain);
    if (escaped.empty()) return;
    const auto octal = [&](std::size_t i) { return escaped.size() > i && escaped[i] >= '0' && escaped[i] <= '7'; };
    if (octal(1) && octal(2) && octal(3)) {
      const int value = (escaped[1] - '0') * 64 + (escaped[2] - '0') * 8 + (escaped[3] - '0');
      const char byte = static_cast<char>(value & 0xff);
      path.append({&byte, 1});
      escaped.remove_prefix(4);
    } else {
      path.append(escaped.substr(0, 1));
      escaped.remove_prefix(1);
    }
  }
}

void append_cgroup_folder(path_text& folder, const mount_line& mount, std::string_view cgroup) noexcept {
  append_unescaped(folder, mount.point);
  path_text root;
  append_unescaped(root, mount.root);
  const std::string_view top = root.view() == "/" ? std::string_view() : root.view();
  if (cgroup.starts_with("/..") || top.starts_with("/..") || !cgroup.starts_with(top)) return;
  std::string_view rest = cgroup.substr(top.size());
  if (!rest.empty() && !rest.starts_with('/')) return;  // "/a" is not above "/ab"
  while (rest.ends_with('/')) rest.remove_suffix(1);
  folder.append(rest);
}

std::optional<std::size_t> decode_base64(std::string_view text, std::span<char> bytes) noexcept {
  text = trimmed(text);
  if (text.size() % 4 != 0) return std::nullopt;
  std::size_t padding = 0;
  while (padding < 2 && text.ends_with('=')) {
    text.remove_suffix(1);
    ++padding;
  }
  std::size_t written = 0;
  std::uint32_t bits = 0;
  unsigned held = 0;
  for (const char c : text) {
    const int value = base64_value(c);
    if (value < 0) return std::nullopt;
    bits = (bits << 6 | static_cast<std::uint32_t>(value)) & 0xffffff;
    held += 6;
    if (held < 8) continue;
    held -= 8;
    if (written == bytes.size()) return std::nullopt;
    bytes[written++] = static_cast<char>(bits >> held & 0xff);
  }
  return written;
}

}  // namespace scoot::pressure
