// SPDX-License-Identifier: MIT
//
// credentials: names and passwords from a file, of lines `name:password`, and whether a client's are among them.
//
// Comparing takes the same time wherever two texts differ. Threads: any may check; load before they do. Failure: a text
// that says what is wrong with the file. The file is read once.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace scoot::server {

class credentials {
 public:
  static constexpr std::size_t file_bytes_max = std::size_t{1} << 20;

  // Empty if all is well, else the error.
  [[nodiscard]] std::string load(const std::string& path);
  [[nodiscard]] bool check(std::string_view name, std::string_view password) const noexcept;
  // A SASL PLAIN message: identity, NUL, name, NUL, password.
  [[nodiscard]] bool check_plain(std::string_view message) const noexcept;

 private:
  std::vector<std::string> lines_;  // name:password
};

}  // namespace scoot::server
