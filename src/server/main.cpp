// SPDX-License-Identifier: MIT
//
// scootd: a memcached-compatible daemon on scoot::cache.
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <system_error>

#include "server/options.hpp"
#include "server/server.hpp"

int main(int argc, char** argv) {
  try {
    std::error_code none;  // in a folder that is gone, paths stay as they are
    const std::string folder = std::filesystem::current_path(none).string();
    const auto read = [argc, argv, folder] { return scoot::server::parse_options(argc, argv, folder); };
    const scoot::server::parsed_options parsed = read();
    if (parsed.run) return scoot::server::run_server(parsed, read);
    std::fputs(parsed.text.c_str(), parsed.status == 0 ? stdout : stderr);
    return parsed.status;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "scootd: %s\n", error.what());
    return scoot::server::status_software;
  }
}
