// SPDX-License-Identifier: MIT
#include "server/options.hpp"

#include <arpa/inet.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <limits>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "scoot/cache.hpp"
#include "scoot/version.h"
#include "server/option_values.hpp"
#include "server/protocol.hpp"
#include "server/settings_file.hpp"

namespace scoot::server {
namespace {

constexpr const char* help_text = R"(usage: scootd [options]

A cache server that speaks memcached's protocols and keeps its items in a heap that never fragments.

where to listen
  -p, --port=N              TCP port (default 11211; -1: any free one)
  -l, --listen=ADDR[,...]   addresses to listen on, each host or host:port ([address]:port for IPv6); may be repeated
                            (default 127.0.0.1: this machine only; 0.0.0.0: every interface)
  -s, --unix-socket=PATH    listen on a unix socket, and on no network
  -a, --unix-mask=MASK      access to the unix socket, octal (default 700)
  -U, --udp-port=N          0 only: there is no UDP
  -b, --listen-backlog=N    connections the kernel may queue (default 1024)

memory
  -m, --memory-limit=N      MiB for everything the cache holds, its bookkeeping included (default 64)
  -I, --max-item-size=N     largest item: bytes, or with a suffix k or m (default 1m; 1k to 1024m, half of -m at most)
      --purgeable=SIZE      a second, cold tier of up to so many MiB (or with a suffix k, m or g) beside -m, in memory
                            that the kernel takes back whenever it is short; auto: half of what nobody needs (default
                            off)
      --pressure=HOW        give memory back when the machine or the control group gets short of it: off (default), on,
                            or what to go by: headroom, cgroup_threshold, cgroup_level, cgroup_events, cgroup_psi,
                            system_psi, service_manager, canary, fifo:PATH; plain: without real-time priority
  -e, --restart-file=PATH   keep the items over a restart in this file, of a file system in memory (default: do not)
  -M, --disable-evictions   refuse to store when memory is full, instead of evicting

protocol
  -B, --protocol=NAME       ascii, binary or auto, which goes by a client's first byte (default auto)
  -C, --disable-cas         items have no cas unique
  -F, --disable-flush-all   flush_all is refused
  -X, --disable-dumping     dumps of keys are refused
  -W, --disable-watch       watch is refused
  -D, --stat-prefix=CHAR    count by the part of keys before this character (stats detail; default : and not to)
  -A, --enable-shutdown     the command shutdown ends the server
  -Y, --auth-file=PATH      text clients must say a name and password of this file's lines name:password
  -S, --enable-sasl         binary clients must, by SASL PLAIN, and no others are heard; the file's path is in the
                            environment as MEMCACHED_SASL_PWDB

TLS
  -Z, --enable-ssl          speak TLS on the network; needs -o ssl_chain_cert=PATH,ssl_key=PATH. An address of -l
                            that begins with notls: is without it. SIGHUP reads certificate and key again

looking at it
      --http=ADDR:PORT      serve a live page of the heap, /metrics, /heap.json, /healthz and /readyz by HTTP (default:
                            do not; PORT alone is on 127.0.0.1)
      --http-token-file=PATH
                            ask for the token in this file's first line (Authorization: Bearer TOKEN)

load
  -t, --threads=N           worker threads (default 4)
  -c, --conn-limit=N        connections at a time (default 1024)
  -R, --max-reqs-per-event=N
                            requests of one connection before others have their turn (default 100)
      --io=HOW              epoll, uring, or auto: io_uring where the kernel has it (default)

log
      --log-level=LEVEL     trace, debug, info, warn or error (default info)
      --log-format=FORM     text or json: a JSON object a line (default text)
      --log-to=WHERE        stderr, journal, syslog, or auto: the journal where standard error leads to it, syslog
                            with -d, else standard error (default auto)
  -v, --verbose             one level more (-v: connections turned away, -vv: all connections, commands and responses)

process
      --config=PATH         read options from this file too; the command line goes before it. SIGHUP reads it again
      --example-config      print such a file, with every option and its default, and end
  -d, --daemon              run in the background
  -u, --user=NAME           become this user (when started as root)
  -P, --pidfile=PATH        write the process id here
      --seccomp=MODE        on: system calls that are not needed fail; log: they are logged; off (default)
  -r, --enable-coredumps    let a crash leave a core file
  -o, --extended=LIST       memcached's extended options; docs/options.md has a table
  -h, --help                print this and end
  -V, --version             print the version and end
  -i, --license             print the licence and end
)";

constexpr std::string_view licence_text =
#include <licence_text.inc>
    ;

// host, host:port, [v6] or [v6]:port; a bare address with several colons is IPv6 without a port.
listen_address address(std::string_view text, const std::string& port) {
  const std::string given(text);
  listen_address result{given, port, false};
  std::optional<std::string> own_port;
  if (!text.empty() && text.front() == '[') {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) refuse("-l: '", given, "' lacks a ]");
    result.host = text.substr(1, close - 1);
    const std::string_view rest = text.substr(close + 1);
    if (!rest.empty() && rest.front() != ':') refuse("-l: '", given, "' is not an address");
    if (!rest.empty()) own_port = rest.substr(1);
  } else if (const std::size_t colon = text.find(':');
             colon != std::string_view::npos && text.find(':', colon + 1) == std::string_view::npos) {
    result.host = text.substr(0, colon);
    own_port = text.substr(colon + 1);
  }
  if (result.host.empty()) refuse("-l: '", given, "' is not an address");
  if (own_port) result.port = std::to_string(number(*own_port, "-l", 0, 65535));
  return result;
}

constexpr std::string_view no_tls = "notls:";

void add_addresses(std::string_view list, const std::string& port, server_options& options) {
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    std::string_view one = list.substr(0, comma);
    const bool plain = one.substr(0, no_tls.size()) == no_tls;
    if (plain) one.remove_prefix(no_tls.size());
    if (comma > 0) {
      options.listen.push_back(address(one, port));
      options.listen.back().tls = options.tls.enabled && !plain;
    }
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
}

// The arguments as texts, before they are looked at.
struct raw_options {
  std::string port = "11211", udp_port = "0", unix_mask = "700", memory = "64", item = "1m", purgeable = "off",
              pressure = "off";
  std::string connections = "1024", threads = "4", requests = "100", backlog = "1024", io = "auto";
  std::vector<std::string> listen;
  std::vector<std::string> extended;
  std::string http;
  std::string ignored;
  bool huge_pages = false, lock_memory = false;
  std::string protocol = "auto";
  std::string log_level = "info", log_form = "text", log_to = "auto", seccomp = "off";
  int verbose = 0;
  extended_list file_extended;
  bool help = false, version = false, licence = false, example = false, no_evictions = false, no_cas = false,
       no_flush = false, no_dump = false, no_watch = false;
  std::string prefix_delimiter;
  bool protocol_given = false;
};

void declare(CLI::App& app, raw_options& raw, server_options& options) {
  const auto last = CLI::MultiOptionPolicy::TakeLast;
  app.set_help_flag();
  app.option_defaults()->always_capture_default();
  app.add_flag("-h,--help", raw.help)->configurable(false);
  app.add_flag("-V,--version", raw.version)->configurable(false);
  app.add_flag("-i,--license", raw.licence)->configurable(false);
  app.add_flag("--example-config", raw.example)->configurable(false);
  app.add_option("-p,--port", raw.port)->multi_option_policy(last);
  app.add_option("-U,--udp-port", raw.udp_port)->multi_option_policy(last);
  app.add_option("-s,--unix-socket", options.unix_socket)->multi_option_policy(last);
  app.add_option("-a,--unix-mask", raw.unix_mask)->multi_option_policy(last);
  app.add_option("-l,--listen", raw.listen)->allow_extra_args(false);
  app.add_option("-b,--listen-backlog", raw.backlog)->multi_option_policy(last);
  app.add_option("-m,--memory-limit", raw.memory)->multi_option_policy(last);
  app.add_option("-I,--max-item-size", raw.item)->multi_option_policy(last);
  app.add_option("--purgeable", raw.purgeable)->multi_option_policy(last);
  app.add_option("--pressure", raw.pressure)->multi_option_policy(last);
  app.add_option("-e,--restart-file,--memory-file", options.restart_file)->multi_option_policy(last);
  app.add_flag("-M,--disable-evictions", raw.no_evictions);
  app.add_option("-B,--protocol", raw.protocol)->multi_option_policy(last);
  app.add_flag("-C,--disable-cas", raw.no_cas);
  app.add_flag("-F,--disable-flush-all", raw.no_flush);
  app.add_flag("-X,--disable-dumping", raw.no_dump);
  app.add_flag("-W,--disable-watch,--disable-watching", raw.no_watch);
  app.add_option("-D,--stat-prefix", raw.prefix_delimiter)->multi_option_policy(last);
  app.add_flag("-A,--enable-shutdown", options.shutdown_command);
  app.add_option("-Y,--auth-file", options.auth_file)->multi_option_policy(last);
  app.add_flag("-S,--enable-sasl", options.sasl);
  app.add_option("-t,--threads", raw.threads)->multi_option_policy(last);
  app.add_option("-c,--conn-limit", raw.connections)->multi_option_policy(last);
  app.add_option("-R,--max-reqs-per-event", raw.requests)->multi_option_policy(last);
  app.add_flag("-Z,--enable-ssl", options.tls.enabled);
  app.add_flag("-r,--enable-coredumps", options.core_dumps);
  app.add_flag("-k,--lock-memory", raw.lock_memory)->configurable(false);
  app.add_flag("-L,--enable-largepages", raw.huge_pages)->configurable(false);
  app.add_option("-f,--slab-growth-factor", raw.ignored)->multi_option_policy(last)->configurable(false);
  app.add_option("-n,--slab-min-size", raw.ignored)->multi_option_policy(last)->configurable(false);
  app.add_option("-N,--napi_ids", raw.ignored)->multi_option_policy(last)->configurable(false);
  app.add_option("-o,--extended", raw.extended)->allow_extra_args(false);
  app.add_option("--http", raw.http)->multi_option_policy(last);
  app.add_option("--http-token-file", options.http.token_file)->multi_option_policy(last);
  app.add_option("--io", raw.io)->multi_option_policy(last);
  app.add_flag("-d,--daemon", options.daemonise);
  app.add_option("-u,--user", options.user)->multi_option_policy(last);
  app.add_option("--seccomp", raw.seccomp)->multi_option_policy(last);
  app.add_option("-P,--pidfile", options.pid_file)->multi_option_policy(last);
  app.add_flag("-v,--verbose", raw.verbose);
  app.add_option("--log-level", raw.log_level)->multi_option_policy(last);
  app.add_option("--log-format", raw.log_form)->multi_option_policy(last);
  app.add_option("--log-to", raw.log_to)->multi_option_policy(last);
}

// ADDR:PORT or PORT, of a numeric address: where HTTP is served is not left to a resolver. IPv4, since Debian builds
// civetweb without the other.
void check_http(const std::string& given, http_options& http) {
  if (given.empty()) {
    if (!http.token_file.empty()) refuse("--http-token-file: there is nothing to guard without --http");
    return;
  }
  const std::size_t colon = given.rfind(':');
  http.host = colon != std::string::npos             ? given.substr(0, colon)
              : given.find('.') == std::string::npos ? "127.0.0.1"
                                                     : given;
  if (http.host == "localhost") http.host = "127.0.0.1";
  in_addr binary{};
  if (inet_pton(AF_INET, http.host.c_str(), &binary) != 1) {
    refuse("--http: '", given, "' is not ADDR:PORT with a numeric IPv4 address");
  }
  if (colon == std::string::npos && http.host == given) refuse("--http: '", given, "' lacks a port");
  http.port = std::to_string(number(given.substr(colon + 1), "--http", 0, 65535));
}

unsigned octal(const std::string& text) {
  unsigned value = 0;
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value, 8);
  if (error != std::errc{} || at != end || value > 0777) refuse("-a: '", text, "' is not an octal access mask");
  return value;
}

// The position of a word in a list of them.
template <std::size_t Count>
std::size_t one_of(const std::string& word, const char* option, const std::string_view (&words)[Count]) {
  const auto* const found = std::find(std::begin(words), std::end(words), word);
  if (found != std::end(words)) return static_cast<std::size_t>(found - std::begin(words));
  std::string list;
  for (const std::string_view one : words) list.append(list.empty() ? "" : ", ").append(one);
  refuse(option, ": '", word, "' is none of ", list);
}

void check_log(const raw_options& raw, server_options& options) {
  constexpr std::string_view levels[] = {"error", "warn", "info", "debug", "trace"};
  constexpr std::string_view forms[] = {"text", "json"};
  constexpr std::string_view targets[] = {"auto", "stderr", "journal", "syslog"};
  const auto level = static_cast<int>(one_of(raw.log_level, "--log-level", levels));
  options.verbosity = std::min(verbosity_least + level + std::max(raw.verbose, 0), verbosity_most);
  options.log_as = static_cast<log_form>(one_of(raw.log_form, "--log-format", forms));
  options.log_to = static_cast<log_target>(one_of(raw.log_to, "--log-to", targets));
}

// Files that are read again may be so from another working folder.
std::string absolute(const std::string& path, const std::string& folder) {
  if (path.empty() || path.front() == '/' || folder.empty()) return path;
  return folder + "/" + path;
}

// Names and passwords are asked for in one protocol, so the other must be switched off.
void check_protocol(const raw_options& raw, server_options& options) {
  options.cas = !raw.no_cas;
  options.flush_enabled = !raw.no_flush;
  options.dump_enabled = !raw.no_dump;
  options.watch_enabled = !raw.no_watch;
  if (!raw.prefix_delimiter.empty()) {
    if (raw.prefix_delimiter.size() != 1) refuse("-D: '", raw.prefix_delimiter, "' is not one character");
    options.prefix_delimiter = raw.prefix_delimiter.front();
    options.count_prefixes = true;
  }
  if (raw.protocol == "ascii") {
    options.protocol = protocol_choice::ascii;
  } else if (raw.protocol == "binary") {
    options.protocol = protocol_choice::binary;
  } else if (raw.protocol != "auto") {
    refuse("-B: '", raw.protocol, "' is not ascii, binary or auto");
  }
  const bool chosen = raw.protocol_given;
  if (options.sasl) {
    if (!options.auth_file.empty()) refuse("-S and -Y exclude each other: each is for one protocol");
    if (chosen && options.protocol != protocol_choice::binary) {
      refuse("-S: only binary clients can say who they are by SASL, so -B must be binary");
    }
    options.protocol = protocol_choice::binary;
  }
  if (!options.auth_file.empty()) {
    if (chosen && options.protocol != protocol_choice::ascii) {
      refuse("-Y: only text clients can say who they are so, so -B must be ascii");
    }
    options.protocol = protocol_choice::ascii;
  }
}

void check_purgeable(const raw_options& raw, server_options& options) {
  constexpr std::size_t mebibyte = std::size_t{1} << 20;
  if (raw.purgeable == "off") return;
  if (raw.no_evictions) refuse("--purgeable: with -M nothing is evicted, so nothing would go there");
  if (raw.purgeable == "auto") {
    options.purgeable_bytes = purgeable_auto;
    return;
  }
  options.purgeable_bytes = size(raw.purgeable, "--purgeable", mebibyte, mebibyte, std::size_t{1} << 46);
  if (options.purgeable_bytes < options.memory_bytes / 16) {
    refuse("--purgeable: less than a sixteenth of the memory (-m) is of no use");
  }
}

// A word of --pressure's list.
void add_pressure(const std::string& word, server_options& options) {
  constexpr std::string_view fifo = "fifo:";
  if (word == "plain") {
    options.pressure_realtime = false;
    return;
  }
  if (word == "on") {
    options.pressure_sources = pressure_sources_all;
    return;
  }
  if (word.rfind(fifo, 0) == 0 && word.size() > fifo.size()) {
    options.pressure_fifo = word.substr(fifo.size());
    options.pressure_sources |= pressure_source_bit(pressure_source::fifo);
    return;
  }
  for (std::size_t i = 0; i < pressure_source_count; ++i) {
    const auto source = static_cast<pressure_source>(i);
    if (source == pressure_source::fifo || source == pressure_source::program || word != to_string(source)) continue;
    options.pressure_sources |= pressure_source_bit(source);
    return;
  }
  refuse("--pressure: '", word, "' is none of off, on, plain and the sources that scootd -h lists");
}

void check_pressure(const raw_options& raw, server_options& options) {
  if (raw.pressure == "off") return;
  options.follow_pressure = true;
  options.pressure_sources = 0;
  std::string_view list = raw.pressure;
  while (!list.empty()) {
    const std::string word(list.substr(0, list.find(',')));
    list.remove_prefix(std::min(word.size() + 1, list.size()));
    add_pressure(word, options);
  }
  if (options.pressure_sources == 0) options.pressure_sources = pressure_sources_all;
}

void check(const raw_options& raw, server_options& options) {
  constexpr std::size_t mebibyte = std::size_t{1} << 20;
  std::int64_t port = number(raw.port, "-p", -1, 65535);
  if (number(raw.udp_port, "-U", 0, 65535) != 0) refuse("-U: there is no UDP here; only -U 0 is accepted");
  options.unix_mask = octal(raw.unix_mask);
  options.memory_bytes = size(raw.memory, "-m", mebibyte, mebibyte, std::size_t{1} << 46);
  options.item_bytes_max = size(raw.item, "-I", 1, std::size_t{1} << 10, std::size_t{1} << 30);
  if (options.item_bytes_max > options.memory_bytes / 2) {
    refuse("-I: an item may take half of the memory (-m) at most");
  }
  check_purgeable(raw, options);
  check_pressure(raw, options);
  options.threads = static_cast<unsigned>(number(raw.threads, "-t", 1, 256));
  options.connections_max = static_cast<unsigned>(number(raw.connections, "-c", 1, 10'000'000));
  options.requests_per_event = static_cast<unsigned>(number(raw.requests, "-R", 1, 1'000'000'000));
  options.backlog = static_cast<int>(number(raw.backlog, "-b", 1, std::numeric_limits<int>::max()));
  if (raw.io == "epoll") {
    options.io = io_kind::epoll;
  } else if (raw.io == "uring") {
    options.io = io_kind::uring;
  } else if (raw.io != "auto") {
    refuse("--io: '", raw.io, "' is none of auto, epoll, uring");
  }
  options.evict = !raw.no_evictions;
  check_protocol(raw, options);
  if (raw.lock_memory)
    refuse("-k: memory that is locked could not be given back, and giving it back is the point here");
  if (raw.huge_pages) refuse("-L: there are no huge pages here; transparent ones are the kernel's own choice");
  check_log(raw, options);
  constexpr std::string_view modes[] = {"off", "log", "on"};
  options.seccomp = static_cast<seccomp_mode>(one_of(raw.seccomp, "--seccomp", modes));
  for (const auto& [name, value] : raw.file_extended) parse_extended(name, value, options);
  for (const std::string& list : raw.extended) parse_extended(list, options);
  check_extended(options);
  check_http(raw.http, options.http);
  if (!options.unix_socket.empty()) {
    if (!raw.listen.empty()) refuse("-s and -l exclude each other: a unix socket means no network");
    return;
  }
  if (port == 0 && raw.listen.empty()) refuse("-p 0 without -s: there would be nothing to listen on");
  const std::string text = std::to_string(port == -1 ? 0 : port);
  for (const std::string& list : raw.listen) add_addresses(list, text, options);
  if (options.listen.empty()) add_addresses("127.0.0.1", text, options);
}

// Has the file of --config read.
void read_file(CLI::App& app, raw_options& raw, const std::string& folder) {
  app.config_formatter(std::make_shared<settings_file>(app, raw.file_extended));
  app.set_config("--config")->transform([folder](const std::string& path) { return absolute(path, folder); });
  app.get_config_ptr()->configurable(false);
  app.allow_config_extras(CLI::config_extras_mode::error);
}

void note_settings(const CLI::App& app, const raw_options& raw, std::map<std::string, std::string>& settings) {
  settings = settings_of(app);
  const auto note = [&settings](std::string_view name, const std::string& value) {
    if (is_extended(name)) settings[std::string(name)] = value.empty() ? "true" : value;
  };
  for (const auto& [name, value] : raw.file_extended) note(name, value);
  for (const std::string& list : raw.extended) each_extended(list, note);
}

}  // namespace

parsed_options parse_options(int argc, const char* const* argv, const std::string& folder) {
  parsed_options result;
  raw_options raw;
  CLI::App app;
  declare(app, raw, result.options);
  read_file(app, raw, folder);
  try {
    app.parse(argc, argv);
    if (raw.help) {
      result.text = help_text;
      return result;
    }
    if (raw.version) {
      result.text.append("scootd " SCOOT_VERSION " (memcached protocol ").append(protocol_version).append(")\n");
      return result;
    }
    if (raw.licence) {
      result.text = licence_text;
      return result;
    }
    if (raw.example) {
      result.text = example_settings(app, help_text);
      return result;
    }
    raw.protocol_given = app.count("--protocol") != 0;
    check(raw, result.options);
    server_options& read = result.options;
    for (std::string* path :
         {&read.restart_file, &read.auth_file, &read.tls.chain_cert, &read.tls.key, &read.tls.ca_cert}) {
      *path = absolute(*path, folder);
    }
    note_settings(app, raw, result.settings);
    result.run = true;
  } catch (const CLI::ParseError& error) {
    result.text = std::string("scootd: ") + error.what() + "\nscootd -h lists the options.\n";
  } catch (const usage_error& error) {
    result.text = "scootd: " + error.text + "\nscootd -h lists the options.\n";
  }
  if (!result.run) result.status = status_usage;
  return result;
}

}  // namespace scoot::server
