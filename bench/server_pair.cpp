// SPDX-License-Identifier: MIT
#include "server_pair.hpp"

#include <netinet/in.h>
#include <pwd.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace bench {
namespace {

// A port of 127.0.0.1 that was free a moment ago; 0 if there is none.
std::uint16_t free_port() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  const bool found = fd >= 0 && bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0 &&
                     getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0;
  if (fd >= 0) close(fd);
  return found ? ntohs(address.sin_port) : std::uint16_t{0};
}

std::string user_name() {
  const passwd* user = getpwuid(geteuid());
  return user == nullptr ? "root" : user->pw_name;
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::vector<std::string> arguments(const server_setup& setup, const endpoint& address) {
  std::vector<std::string> a = {
      setup.program, "-m", std::to_string(setup.memory_mib), "-t", std::to_string(setup.threads), "-c", "1024",
      "-U",          "0"};
  if (address.path.empty()) {
    a.insert(a.end(), {"-l", "127.0.0.1", "-p", std::to_string(address.port)});
  } else {
    a.insert(a.end(), {"-s", address.path});
  }
  a.insert(a.end(), setup.more.begin(), setup.more.end());
  if (geteuid() == 0) a.insert(a.end(), {"-u", user_name()});  // memcached refuses to be root otherwise
  return a;
}

}  // namespace

bool start_server(const server_setup& setup, server& started, std::string& error) {
  const std::string log = setup.folder + "/" + setup.name + ".log";
  for (int attempt = 0; attempt < 3; ++attempt) {  // another process may have taken the port meanwhile
    if (setup.unix_socket) {
      started.address.path = setup.folder + "/" + setup.name + ".sock";
      unlink(started.address.path.c_str());
    } else {
      started.address.port = free_port();
    }
    if (!started.process.start(arguments(setup, started.address), setup.core, log, setup.prepare)) break;
    for (int i = 0; i < 50 && started.process.running(); ++i) {
      load_client client;
      if (client.connect(started.address, 1) && !client.statistic("pid").empty()) return true;
    }
    started.process.kill_now();
  }
  error = setup.program + " does not serve: " + first_line(log);
  return false;
}

scratch_folder::scratch_folder() {
  std::string name = (std::filesystem::temp_directory_path() / "scoot-bench-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) {
    std::fputs("scoot-bench: cannot make a folder for temporary files\n", stderr);
    std::exit(1);
  }
  path_ = name;
}

scratch_folder::~scratch_folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string scootd_beside_this() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path candidate = self.parent_path().parent_path() / "src" / "server" / "scootd";
  return !error && std::filesystem::exists(candidate, error) ? candidate.string() : "";
}

core_pair choose_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  core_pair cores;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) return cores;
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (!CPU_ISSET(static_cast<unsigned>(i), &allowed)) continue;
    (cores.server < 0 ? cores.server : cores.client) = i;
    if (cores.client >= 0) break;
  }
  return cores;
}

void pin_this_thread(int core) {
  if (core < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(core), &set);
  sched_setaffinity(0, sizeof set, &set);
}

}  // namespace bench
