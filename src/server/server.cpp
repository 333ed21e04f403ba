// SPDX-License-Identifier: MIT
#include "server/server.hpp"

#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "scoot/cache.hpp"
#include "scoot/version.h"
#include "server/credentials.hpp"
#include "server/http_module.hpp"
#include "server/listener.hpp"
#include "server/log.hpp"
#include "server/process.hpp"
#include "server/reload.hpp"
#include "server/sandbox.hpp"
#include "server/tls.hpp"
#include "server/warm_restart.hpp"
#include "server/worker.hpp"

namespace scoot::server {
namespace {

constexpr double mebibyte = 1024.0 * 1024.0;

// SIGTERM, SIGINT, SIGHUP, and SIGUSR1, with which scripts end a memcached that is to keep its items, as something to
// read; blocked for all threads started later.
int end_signals() noexcept {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  sigaddset(&signals, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  return signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
}

int give_up(const std::string& error, int status) {
  spdlog::error("{}", error);
  return status;
}

void tell_start(const server_options& options, const listener& doors) {
  std::string where;
  for (const std::string& name : doors.names()) where += (where.empty() ? "" : ", ") + name;
  spdlog::info("scootd {} listens on {}{}; {:g} MiB for everything it holds, {} threads, items up to {:g} MiB",
               SCOOT_VERSION, where, doors.loopback_only() ? " (this machine only)" : "",
               static_cast<double>(options.memory_bytes) / mebibyte, options.threads,
               static_cast<double>(options.item_bytes_max) / mebibyte);
  if (geteuid() == 0) spdlog::warn("running as root; -u gives the name of a user to become");
}

// Accepts until a signal comes. Connections go to the workers in turn.
void accept_until_signalled(server_state& state, listener& doors, event_loop& loop, int signals,
                            std::vector<std::unique_ptr<worker>>& workers, reloader& settings) {
  std::size_t next = 0;
  for (;;) {
    loop.wait(doors.paused() ? listener::retry_ms : -1);
    while (const loop_event* event = loop.next()) {
      if (event->tag == &doors) {
        doors.accept(loop, state, [&](int descriptor, bool tls) {
          workers[next]->hand_over(descriptor, tls);
          next = (next + 1) % workers.size();
        });
        continue;
      }
      signalfd_siginfo which{};
      if (read(signals, &which, sizeof which) == static_cast<ssize_t>(sizeof which)) {
        if (which.ssi_signo == SIGHUP) {
          tell_starter_of_reload();
          settings.reload();
          for (const std::unique_ptr<worker>& one : workers) one->wake();
          notify_starter("READY=1");
          continue;
        }
        const bool asked = which.ssi_signo == SIGUSR1;
        spdlog::info("scootd ends on {}", asked ? "SIGUSR1" : which.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT");
        return;
      }
    }
    if (doors.paused()) doors.retry(loop, state);
  }
}

cache_options cache_wanted(const server_options& options) {
  cache_options wanted;
  wanted.budget_bytes = options.memory_bytes;
  wanted.item_bytes_max = options.item_bytes_max;
  wanted.evict = options.evict;
  wanted.purgeable_bytes = options.purgeable_bytes;
  wanted.follow_pressure = options.follow_pressure;
  wanted.pressure.sources = options.pressure_sources;
  wanted.pressure.fifo = options.pressure_fifo.empty() ? nullptr : options.pressure_fifo.c_str();
  if (!options.pressure_realtime) wanted.pressure.realtime_priority = 0;
  return wanted;
}

// Serves clients from the cache until a signal comes; nobody uses it afterwards.
int serve(cache& items, const parsed_options& parsed, const settings_reader& read_again, listener& doors,
          http_module& pages, background& parent, int signals) {
  const server_options& options = parsed.options;
  server_state state(items, options);
  credentials users;
  if (std::string error = load_users(options, users); !error.empty()) return give_up(error, status_usage);
  if (!options.auth_file.empty()) state.text_users = &users;
  if (options.sasl) state.sasl_users = &users;
  tls_context tls;
  if (options.tls.enabled) {
    if (const std::string error = tls.load(options.tls); !error.empty()) return give_up("-Z: " + error, status_usage);
    state.tls = &tls;
  }
  epoll_loop loop;
  std::vector<std::unique_ptr<worker>> workers;
  for (unsigned i = 0; i < options.threads; ++i) {
    workers.push_back(std::make_unique<worker>(state, state.counters[i]));
    if (const std::string error = workers.back()->start(); !error.empty()) {
      return give_up("cannot start the worker threads: " + error, status_os);
    }
  }
  for (const std::unique_ptr<worker>& one : workers) state.workers.push_back(one.get());
  state.listening = doors.sockets();
  if (!loop.valid() || loop.add(signals, nullptr, interest::read) == event_loop::none || !doors.watch(loop)) {
    return give_up("cannot watch the listening sockets", status_os);
  }
  std::unique_ptr<http_service> http;
  if (!options.http.host.empty()) {
    std::string error;
    http = pages.start(state, options.http, error);
    if (http == nullptr) return give_up(error, status_os);
  }
  tell_start(options, doors);
  if (options.purgeable_bytes != 0 && items.stats().cold.support == purge_support::refused) {
    spdlog::warn("--purgeable has no effect: this kernel takes no purgeable memory");
  }
  if (http != nullptr) spdlog::info("live page at {}", http->address());
  spdlog::debug("the workers wait with {}", workers.front()->uses_uring() ? "io_uring" : "epoll");
  if (options.daemonise) log_from_background(options);
  parent.report(status_ok);
  notify_starter("READY=1");
  reloader settings(state, users, parsed, read_again);
  state.serving = true;
  accept_until_signalled(state, doors, loop, signals, workers, settings);
  state.serving = false;
  notify_starter("STOPPING=1");
  for (const std::unique_ptr<worker>& one : workers) one->stop();
  return status_ok;
}

int start(const parsed_options& parsed, const settings_reader& read_again, background& parent) {
  const server_options& options = parsed.options;
  account who;
  listener doors;
  give_large_blocks_back();
  if (options.core_dumps) {
    if (std::string error = allow_core_dumps(); !error.empty()) return give_up(error, status_os);
  }
  if (std::string error = raise_descriptor_limit(descriptors_for(options.connections_max, options.threads));
      !error.empty()) {
    return give_up(error, status_os);
  }
  if (std::string error = find_account(options.user, who); !error.empty()) return give_up(error, status_usage);
  if (std::string error = doors.open(options, inherited_sockets()); !error.empty()) return give_up(error, status_os);
  if (options.daemonise) {
    if (std::string error = parent.enter(); !error.empty()) return give_up(error, status_os);
  }
  if (!who.name.empty() && !options.unix_socket.empty()) {
    if (chown(options.unix_socket.c_str(), who.user, who.group) != 0) {
      return give_up("cannot give the unix socket to user '" + who.name + "'", status_os);
    }
  }
  http_module pages;  // found as whoever starts us
  if (!options.http.host.empty()) {
    if (std::string error = pages.load(); !error.empty()) return give_up(error, status_os);
  }
  pid_file id;
  if (std::string error = id.write(options.pid_file); !error.empty()) return give_up(error, status_os);
  if (std::string error = become(who); !error.empty()) return give_up(error, status_os);
  if (std::string error = drop_capabilities(); !error.empty()) return give_up(error, status_os);
  if (std::string error = filter_system_calls(options); !error.empty()) return give_up(error, status_os);
  const int signals = end_signals();
  if (signals < 0) return give_up("cannot watch for signals", status_os);
  const std::unique_ptr<cache> items = make_cache(cache_wanted(options), options);
  if (items == nullptr) return give_up("cannot make a cache of that size (-m, --purgeable)", status_os);
  const int status = serve(*items, parsed, read_again, doors, pages, parent, signals);
  leave_cache(*items, options);
  close(signals);
  return status;
}

}  // namespace

int run_server(const parsed_options& parsed, const settings_reader& read_again) {
  start_log(parsed.options);
  background parent;
  const int status = start(parsed, read_again, parent);
  if (status != status_ok) parent.report(status);
  return status;
}

}  // namespace scoot::server
