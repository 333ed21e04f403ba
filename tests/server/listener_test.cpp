// SPDX-License-Identifier: MIT
//
// Goal: the listener opens what it is told to, says why it cannot, keeps to the limit of connections, survives a lack
// of descriptors and whatever else accept says, and leaves no file behind. Method: real sockets on free ports and in a
// folder of the test's own; an accept4() that fails so often as it is told, and then is the system's.
#include "server/listener.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "support.hpp"

namespace {

std::atomic<int> accepts_to_fail{0};
std::atomic<int> accept_error{0};
std::atomic<int> accepts_asked{0};

}  // namespace

// In place of the C library's.
extern "C" int accept4(int socket, sockaddr* address, socklen_t* bytes, int flags) {
  ++accepts_asked;
  if (accepts_to_fail > 0) {
    --accepts_to_fail;
    errno = accept_error;
    return -1;
  }
  return static_cast<int>(syscall(SYS_accept4, socket, address, bytes, flags));
}

namespace scoot::server {
namespace {

using testing::session_world;

class listener_test : public ::testing::Test {
 protected:
  listener_test() {
    char name[] = "/tmp/scoot-listener-XXXXXX";
    folder_ = mkdtemp(name);
    path_ = folder_ + "/socket";
  }
  ~listener_test() override {
    for (const int client : clients_) close(client);
    unlink(path_.c_str());
    rmdir(folder_.c_str());
  }
  int connect_unix() {
    const int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    clients_.push_back(client);
    return client;
  }
  std::size_t accept_waiting(listener& doors) {
    std::size_t accepted = 0;
    doors.accept(loop_, world_.state, [&](int descriptor, bool) {
      ++accepted;
      close(descriptor);
    });
    return accepted;
  }

  std::string folder_;
  std::string path_;
  std::vector<int> clients_;
  epoll_loop loop_;
  session_world world_;
};

TEST_F(listener_test, listens_on_a_free_port_and_names_it) {
  world_.options.listen = {{"127.0.0.1", "0"}};
  listener doors;
  ASSERT_EQ(doors.open(world_.options), "");
  EXPECT_TRUE(doors.loopback_only());
  ASSERT_EQ(doors.names().size(), 1u);
  const std::string port = doors.names()[0].substr(doors.names()[0].find(':') + 1);
  const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  clients_.push_back(client);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(std::stoi(port)));
  ASSERT_EQ(connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_TRUE(doors.watch(loop_));
  loop_.wait(5000);
  ASSERT_NE(loop_.next(), nullptr);
  EXPECT_EQ(accept_waiting(doors), 1u);
}

TEST_F(listener_test, says_why_it_cannot_listen) {
  world_.options.listen = {{"127.0.0.1", "0"}};
  listener first;
  ASSERT_EQ(first.open(world_.options), "");
  const std::string port = first.names()[0].substr(first.names()[0].find(':') + 1);
  world_.options.listen = {{"127.0.0.1", port}};
  listener second;
  EXPECT_NE(second.open(world_.options).find("in use"), std::string::npos);
  world_.options.listen.clear();
  world_.options.unix_socket = "/nonexistent/folder/socket";
  listener third;
  EXPECT_NE(third.open(world_.options).find("/nonexistent/folder/socket"), std::string::npos);
  world_.options.unix_socket = std::string(200, 'x');
  listener fourth;
  EXPECT_NE(fourth.open(world_.options).find("too long"), std::string::npos);
}

TEST_F(listener_test, makes_the_unix_socket_with_its_mask_and_removes_it) {
  world_.options.unix_socket = path_;
  world_.options.unix_mask = 0640;
  {
    listener doors;
    ASSERT_EQ(doors.open(world_.options), "");
    struct stat status {};
    ASSERT_EQ(stat(path_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0640u);
  }
  EXPECT_NE(access(path_.c_str(), F_OK), 0);
}

TEST_F(listener_test, takes_the_place_of_a_dead_socket_but_of_nothing_else) {
  world_.options.unix_socket = path_;
  const int dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path_.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(dead, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  close(dead);
  {
    listener doors;
    EXPECT_EQ(doors.open(world_.options), "");
  }
  std::ofstream(path_) << "precious";
  listener doors;
  EXPECT_NE(doors.open(world_.options), "");
  EXPECT_EQ(access(path_.c_str(), F_OK), 0);
}

TEST_F(listener_test, turns_away_connections_above_the_limit_with_a_word) {
  world_.options.unix_socket = path_;
  world_.state.live.connections_max = 2;
  listener doors;
  ASSERT_EQ(doors.open(world_.options), "");
  for (int i = 0; i < 3; ++i) connect_unix();
  EXPECT_EQ(accept_waiting(doors), 2u);
  EXPECT_EQ(world_.state.connections_rejected.load(), 1u);
  char text[64];
  const ssize_t got = recv(clients_.back(), text, sizeof text, 0);
  ASSERT_GT(got, 0);
  EXPECT_EQ(std::string(text, static_cast<std::size_t>(got)), "ERROR Too many open connections\r\n");
  EXPECT_EQ(recv(clients_.back(), text, sizeof text, 0), 0);
}

TEST_F(listener_test, pauses_when_descriptors_run_out_and_comes_back) {
  world_.options.unix_socket = path_;
  listener doors;
  ASSERT_EQ(doors.open(world_.options), "");
  ASSERT_TRUE(doors.watch(loop_));
  connect_unix();
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  const int next = dup(0);
  close(next);
  const rlimit none{static_cast<rlim_t>(next), before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  EXPECT_EQ(accept_waiting(doors), 0u);
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_TRUE(doors.paused());
  EXPECT_EQ(world_.state.accept_pauses.load(), 1u);
  EXPECT_FALSE(world_.state.accepting.load());
  loop_.wait(0);
  EXPECT_EQ(loop_.next(), nullptr);  // no spinning on the connection that waits
  doors.retry(loop_, world_.state);
  EXPECT_TRUE(doors.paused());
  std::this_thread::sleep_for(std::chrono::milliseconds(listener::retry_ms + 5));
  doors.retry(loop_, world_.state);
  EXPECT_FALSE(doors.paused());
  EXPECT_GE(world_.state.accept_paused_us.load(), 100'000u);
  loop_.wait(1000);
  EXPECT_NE(loop_.next(), nullptr);
  EXPECT_EQ(accept_waiting(doors), 1u);
}

TEST_F(listener_test, pauses_and_does_not_spin_when_accepting_fails_for_another_reason) {
  world_.options.listen = {{"127.0.0.1", "0"}};
  listener doors;
  ASSERT_EQ(doors.open(world_.options), "");
  ASSERT_TRUE(doors.watch(loop_));
  ASSERT_EQ(shutdown(doors.sockets()[0], SHUT_RDWR), 0);  // accept says EINVAL from now on, and epoll that it hung up
  loop_.wait(1000);
  ASSERT_NE(loop_.next(), nullptr);
  EXPECT_EQ(accept_waiting(doors), 0u);
  EXPECT_TRUE(doors.paused());
  EXPECT_EQ(world_.state.accept_pauses.load(), 1u);
  loop_.wait(0);
  EXPECT_EQ(loop_.next(), nullptr);
  std::this_thread::sleep_for(std::chrono::milliseconds(listener::retry_ms + 5));
  doors.retry(loop_, world_.state);
  loop_.wait(1000);
  EXPECT_NE(loop_.next(), nullptr);  // tried again
}

TEST_F(listener_test, connections_that_were_lost_before_they_were_taken_keep_no_others_waiting) {
  world_.options.unix_socket = path_;
  listener doors;
  ASSERT_EQ(doors.open(world_.options), "");
  ASSERT_TRUE(doors.watch(loop_));
  for (const int error : {EINTR, ECONNABORTED, EPROTO, ENETDOWN, EHOSTUNREACH}) {
    connect_unix();
    accept_error = error;
    accepts_to_fail = 5;
    EXPECT_EQ(accept_waiting(doors), 1u) << error;
    EXPECT_EQ(accepts_to_fail, 0);
    EXPECT_FALSE(doors.paused()) << error;
  }
  EXPECT_EQ(world_.state.accept_pauses.load(), 0u);
}

TEST_F(listener_test, waits_a_while_and_takes_them_all_after_whatever_else_accept_says) {
  world_.options.unix_socket = path_;
  listener doors;
  ASSERT_EQ(doors.open(world_.options), "");
  ASSERT_TRUE(doors.watch(loop_));
  unsigned pauses = 0;
  for (const int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM, EPROTO}) {
    connect_unix();
    connect_unix();
    accept_error = error;
    accepts_to_fail = 1000;
    accepts_asked = 0;
    EXPECT_EQ(accept_waiting(doors), 0u);
    EXPECT_LE(accepts_asked, 20) << error;
    EXPECT_TRUE(doors.paused()) << error;
    EXPECT_EQ(world_.state.accept_pauses.load(), ++pauses);
    loop_.wait(0);
    EXPECT_EQ(loop_.next(), nullptr);
    accepts_to_fail = 0;
    std::this_thread::sleep_for(std::chrono::milliseconds(listener::retry_ms + 5));
    doors.retry(loop_, world_.state);
    EXPECT_FALSE(doors.paused()) << error;
    EXPECT_EQ(accept_waiting(doors), 2u) << error;
  }
}

}  // namespace
}  // namespace scoot::server
