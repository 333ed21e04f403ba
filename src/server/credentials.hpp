// SPDX-License-Identifier: MIT
//
// credentials: names and passwords from a file, of lines `name:password`, and whether a client's are among them.
//
// Comparing takes the same time wherever two texts differ. Threads: any may check while one loads or replaces; who is
// being checked meanwhile is so against the one or the other. Failure: a text that says what is wrong with the file,
// and what was there stays.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "server/options.hpp"

namespace scoot::server {

class credentials {
 public:
  static constexpr std::size_t file_bytes_max = std::size_t{1} << 20;

  // Empty if all is well, else the error.
  [[nodiscard]] std::string load(const std::string& path);
  void replace(credentials&& by) noexcept;
  [[nodiscard]] bool check(std::string_view name, std::string_view password) const noexcept;
  // A SASL PLAIN message: identity, NUL, name, NUL, password.
  [[nodiscard]] bool check_plain(std::string_view message) const noexcept;

 private:
  using line_list = std::vector<std::string>;  // name:password

  [[nodiscard]] std::shared_ptr<const line_list> lines() const noexcept;

  mutable std::mutex lock_;  // of the pointer
  std::shared_ptr<const line_list> lines_;
};

// The users that the options ask for: of -Y, or of -S and the environment; none without these.
[[nodiscard]] std::string load_users(const server_options& options, credentials& users);

}  // namespace scoot::server
