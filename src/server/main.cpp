// SPDX-License-Identifier: MIT
//
// scootd: a memcached-compatible daemon on scoot::cache.
#include <cstdio>
#include <exception>

#include "server/options.hpp"
#include "server/server.hpp"

int main(int argc, char** argv) {
  try {
    const scoot::server::parsed_options parsed = scoot::server::parse_options(argc, argv);
    if (parsed.run) return scoot::server::run_server(parsed.options);
    std::fputs(parsed.text.c_str(), parsed.status == 0 ? stdout : stderr);
    return parsed.status;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "scootd: %s\n", error.what());
    return scoot::server::status_software;
  }
}
