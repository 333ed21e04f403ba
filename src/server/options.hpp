// SPDX-License-Identifier: MIT
//
// server_options: the command line of scootd, which is memcached's as far as it makes sense here.
//
// parse_options() turns arguments, and the file that --config names, into checked options, or into the text and status
// to end with. It prints nothing and changes nothing outside. Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "scoot/pressure.hpp"
#include "server/event_loop.hpp"

namespace scoot::server {

inline constexpr std::uint16_t default_port = 11211;

// Exit statuses, of sysexits.h.
inline constexpr int status_ok = 0;
inline constexpr int status_usage = 64;
inline constexpr int status_software = 70;
inline constexpr int status_os = 71;

struct listen_address {
  std::string host;  // a name or a numeric address, without brackets
  std::string port;  // decimal; "0": any free one
  bool tls = false;
};

// -Z and the ssl_ options of -o.
struct tls_options {
  bool enabled = false;
  std::string chain_cert;  // paths; PEM
  std::string key;
  std::string ca_cert;  // whose clients' certificates are believed; empty: none
  bool key_is_der = false;
  std::string ciphers;       // in OpenSSL's words, for TLS 1.2 and older; empty: OpenSSL's choice
  unsigned verify_mode = 0;  // 0: clients need no certificate, 1: one is asked for, 2 and 3: one is required
  unsigned version_min = 2;  // TLS 1.x
  bool session_cache = false;
};

// --http and its kin.
struct http_options {
  std::string host;        // a numeric IPv4 address; empty: HTTP is off
  std::string port;        // decimal; "0": any free one
  std::string token_file;  // a path; empty: no token is asked for
};

enum class protocol_choice : unsigned char { both, ascii, binary };

enum class log_target : unsigned char {
  automatic,  // the journal if standard error leads there, syslog once in the background, else standard error
  standard_error,
  journal,  // standard error, with the levels as systemd takes them
  syslog,
};
// What becomes of system calls that the daemon does not need.
enum class seccomp_mode : unsigned char { off, log, on };

enum class log_form : unsigned char { text, json };
inline constexpr int verbosity_most = 2;    // every command and response
inline constexpr int verbosity_least = -2;  // errors only

struct server_options {
  std::vector<listen_address> listen;  // empty: none
  std::string unix_socket;             // a path; empty: none
  unsigned unix_mask = 0700;           // access to it
  std::size_t memory_bytes = std::size_t{64} << 20;
  std::size_t item_bytes_max = std::size_t{1} << 20;
  bool follow_pressure = false;  // give memory back when it gets short
  std::uint32_t pressure_sources = pressure_sources_all;
  bool pressure_realtime = true;    // with real-time priority where that is permitted
  std::string pressure_fifo;        // of that source; empty: none
  std::size_t purgeable_bytes = 0;  // 0: none; purgeable_auto: as much as the machine can spare
  std::string restart_file;         // where the items wait for the next start; empty: they do not
  unsigned connections_max = 1024;
  unsigned threads = 4;
  unsigned requests_per_event = 100;
  int backlog = 1024;
  io_kind io = io_kind::automatic;
  bool evict = true;
  bool cas = true;              // items have uniques
  bool dump_enabled = true;     // dumps of keys are
  bool flush_enabled = true;    // flush_all is allowed
  bool watch_enabled = true;    // watch is allowed
  bool count_prefixes = false;  // stats detail is on from the start
  char prefix_delimiter = ':';
  std::size_t watcher_buffer_bytes = std::size_t{256} << 10;  // of lines to one that watches
  bool shutdown_command = false;                              // shutdown is
  protocol_choice protocol = protocol_choice::both;
  std::string auth_file;        // text clients say who they are, and are looked up here; empty: they need not
  bool sasl = false;            // binary clients do, by SASL PLAIN
  unsigned idle_timeout_s = 0;  // connections that are idle for so long are closed; 0: none
  bool reject_at_limit = true;  // connections beyond the limit are turned away; else they wait
  tls_options tls;
  http_options http;
  bool core_dumps = false;
  bool daemonise = false;
  log_target log_to = log_target::automatic;
  log_form log_as = log_form::text;
  int verbosity = 0;  // verbosity_least to verbosity_most
  std::string user;
  seccomp_mode seccomp = seccomp_mode::off;
  std::string pid_file;
};

struct parsed_options {
  bool run = false;  // start the server with these options; else end with this status after printing this text
  int status = status_ok;
  std::string text;  // help or version (status 0, for standard output), or an error (for standard error)
  server_options options;
  // What was asked for, by the options' long names and the names of -o, as texts: to compare two readings.
  std::map<std::string, std::string> settings;
};

// Relative paths of files that may be read again later are made absolute, from this folder if one is given.
[[nodiscard]] parsed_options parse_options(int argc, const char* const* argv, const std::string& folder = {});

}  // namespace scoot::server
