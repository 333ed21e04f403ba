// SPDX-License-Identifier: MIT
//
// scoot: looks at a running server (top), draws a heap (map), replays a cache trace (replay).
#include <CLI/CLI.hpp>
#include <exception>
#include <map>
#include <string>

#include "scoot/version.h"
#include "tools/heap_map.hpp"
#include "tools/replay.hpp"
#include "tools/top.hpp"

namespace {

void add_access_options(CLI::App& app, tools::access_options& o) {
  CLI::Option* const tls = app.add_flag("--tls", o.tls, "speak TLS");
  app.add_option("--cafile", o.ca_file,
                 "who may have signed the server's certificate, rather than whom the system trusts")
      ->needs(tls)
      ->type_name("FILE");
  CLI::Option* const cert = app.add_option("--cert", o.cert_file, "a certificate of our own, for servers that want one")
                                ->needs(tls)
                                ->type_name("FILE");
  app.add_option("--key", o.key_file, "its key, if that is in a file of its own")->needs(cert)->type_name("FILE");
  app.add_flag("--no-verify", o.no_verify, "take any certificate of the server");
  app.add_option("--auth-file", o.auth_file, "whose first line is name:password, for servers with -Y")
      ->type_name("FILE");
}

void add_top_options(CLI::App& app, tools::top_options& o) {
  app.add_option("ADDRESS", o.address, "the server: HOST, PORT, HOST:PORT or the path of a unix socket")
      ->capture_default_str();
  app.add_option("-i,--interval", o.interval_s, "seconds between two looks")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 3600.0));
  add_access_options(app, o.access);
  app.add_flag("-1,--once", o.once, "look for one interval, print that and end");
  app.add_flag("-j,--json", o.json, "an object of JSON for every look, in one line unless --once");
  app.add_flag("--no-sizes", o.no_sizes, "do not ask for the sizes of items, for which the server walks over them");
}

void add_map_options(CLI::App& app, tools::map_options& o) {
  app.add_option("SOURCE", o.source,
                 "a snapshot: a file, - for standard input, or HOST:PORT or URL of the HTTP port of a scootd")
      ->required();
  app.add_option("-o,--output", o.out, "the SVG file to write; - for standard output")
      ->capture_default_str()
      ->type_name("FILE");
  app.add_option("--token-file", o.token_file, "whose first line is the token that the HTTP port asks for")
      ->type_name("FILE");
}

void add_replay_options(CLI::App& app, tools::replay_options& o) {
  using format = tools::trace_format;
  app.add_option("TRACE", o.file, "the file to replay")->required();
  app.add_option("ADDRESS", o.address, "the server: HOST, PORT, HOST:PORT or the path of a unix socket")->required();
  add_access_options(app, o.access);
  app.add_option("-f,--format", o.reading.format, "auto, oracle (libCacheSim's oracleGeneral), csv or twitter")
      ->transform(CLI::CheckedTransformer(std::map<std::string, format>{{"auto", format::automatic},
                                                                        {"oracle", format::oracle},
                                                                        {"csv", format::csv},
                                                                        {"twitter", format::twitter}},
                                          CLI::ignore_case))
      ->option_text("NAME");
  app.add_option("--csv", o.reading.csv, "columns of a CSV trace: \"time-col=1, obj-id-col=2, obj-size-col=3\"");
  app.add_option("-n,--requests", o.reading.requests_max, "requests at most, 20 bytes of memory each")
      ->capture_default_str()
      ->check(CLI::Range(1, 200'000'000));
  app.add_option("-c,--connections", o.connections, "connections")
      ->capture_default_str()
      ->check(CLI::Range(1U, tools::replay_connections_max));
  app.add_option("-d,--depth", o.depth, "requests in flight on a connection")
      ->capture_default_str()
      ->check(CLI::Range(1U, tools::replay_depth_max));
  app.add_option("--value-max", o.value_bytes_max, "larger values are cut to so many bytes")
      ->capture_default_str()
      ->check(CLI::Range(1, 64 << 20));
  app.add_option("--prefix", o.prefix, "of all keys")
      ->capture_default_str()
      ->check(CLI::Validator(
          [](const std::string& text) -> std::string {
            for (const char c : text) {
              if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f) return "keys have no spaces and control bytes";
            }
            return text.size() <= tools::replay_prefix_max ? "" : "is longer than 100 bytes";
          },
          "TEXT"));
  app.add_flag("--ttl", o.ttl, "store with the trace's times to live, which pass in real time");
  app.add_option("--timeout", o.timeout_s, "seconds without any answer until the server counts as lost")
      ->capture_default_str()
      ->check(CLI::Range(1, 3600));
  app.add_flag("-q,--quiet", o.quiet, "no progress on standard error");
  app.add_flag("-j,--json", o.json, "the result as an object of JSON");
}

int run(int argc, char** argv) {
  CLI::App app{"Looks at scootd and its heap, and replays cache traces.", "scoot"};
  app.set_version_flag("-V,--version", "scoot " SCOOT_VERSION);
  app.require_subcommand(1);
  tools::top_options top;
  tools::map_options map;
  tools::replay_options replay;
  replay.reading.requests_max = 20'000'000;
  CLI::App* const top_command = app.add_subcommand("top", "what a running server does, in the terminal");
  CLI::App* const map_command = app.add_subcommand("map", "draws a heap snapshot as SVG");
  CLI::App* const replay_command = app.add_subcommand(
      "replay", "sends a cache trace to a memcached-compatible server and reports hits and latencies");
  add_top_options(*top_command, top);
  add_map_options(*map_command, map);
  add_replay_options(*replay_command, replay);
  CLI11_PARSE(app, argc, argv);
  if (top_command->parsed()) return tools::run_top(top);
  return map_command->parsed() ? tools::run_map(map) : tools::run_replay(replay);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "scoot: %s\n", error.what());
    return 70;
  }
}
