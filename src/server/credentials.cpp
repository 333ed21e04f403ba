// SPDX-License-Identifier: MIT
#include "server/credentials.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

namespace scoot::server {
namespace {

// True if `line` is name, a colon and password; looks at every byte of the longer text whatever it finds.
bool is_line(std::string_view line, std::string_view name, std::string_view password) noexcept {
  const std::size_t bytes = name.size() + 1 + password.size();
  unsigned different = bytes == line.size() ? 0 : 1;
  for (std::size_t i = 0; i < bytes; ++i) {
    const char wanted = i < name.size() ? name[i] : i == name.size() ? ':' : password[i - name.size() - 1];
    const char have = line.empty() ? '\0' : line[i % line.size()];
    different |= static_cast<unsigned>(static_cast<unsigned char>(wanted ^ have));
  }
  return different == 0;
}

}  // namespace

std::string credentials::load(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), &std::fclose);
  if (file == nullptr) return "cannot read '" + path + "'";
  std::string text(file_bytes_max + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get()) != 0) return "cannot read '" + path + "'";
  if (text.size() > file_bytes_max) return "'" + path + "' is larger than 1 MiB";
  auto read = std::make_shared<line_list>();
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty()) continue;
    if (line.find(':') == std::string_view::npos) return "'" + path + "' has a line without a colon";
    read->emplace_back(line);
  }
  if (read->empty()) return "'" + path + "' names nobody";
  const std::lock_guard hold(lock_);
  lines_ = std::move(read);
  return {};
}

void credentials::replace(credentials&& by) noexcept {
  std::shared_ptr<const line_list> taken = by.lines();
  const std::lock_guard hold(lock_);
  lines_.swap(taken);
}

std::shared_ptr<const credentials::line_list> credentials::lines() const noexcept {
  const std::lock_guard hold(lock_);
  return lines_;
}

bool credentials::check(std::string_view name, std::string_view password) const noexcept {
  if (name.empty() || name.find(':') != std::string_view::npos) return false;
  const std::shared_ptr<const line_list> known = lines();
  if (known == nullptr) return false;
  bool found = false;
  for (const std::string& line : *known) found |= is_line(line, name, password);
  return found;
}

bool credentials::check_plain(std::string_view message) const noexcept {
  const std::size_t first = message.find('\0');
  if (first == std::string_view::npos) return false;
  const std::string_view rest = message.substr(first + 1);
  const std::size_t second = rest.find('\0');
  if (second == std::string_view::npos) return false;
  std::string_view password = rest.substr(second + 1);
  if (!password.empty() && password.back() == '\0') password.remove_suffix(1);
  return check(rest.substr(0, second), password);
}

std::string load_users(const server_options& options, credentials& users) {
  if (!options.auth_file.empty()) {
    const std::string error = users.load(options.auth_file);
    return error.empty() ? error : "-Y: " + error;
  }
  if (!options.sasl) return {};
  const char* const path = std::getenv("MEMCACHED_SASL_PWDB");
  if (path == nullptr) return "-S: MEMCACHED_SASL_PWDB must name a file of lines name:password";
  const std::string error = users.load(path);
  return error.empty() ? error : "-S: " + error;
}

}  // namespace scoot::server
