// SPDX-License-Identifier: MIT
#include "policy_memcached.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "server_pair.hpp"

namespace bench {
namespace {

constexpr std::size_t sent_at_once = std::size_t{64} << 10;

class real_memcached final : public replayed_cache {
 public:
  ~real_memcached() override {
    if (socket_ >= 0) close(socket_);
  }

  bool start(const std::string& program, std::size_t memory_mib, std::string& error) {
    server_setup setup;
    setup.program = program;
    setup.name = "memcached";
    setup.memory_mib = memory_mib;
    setup.unix_socket = true;
    setup.folder = folder_.path();
    if (!start_server(setup, server_, error)) return false;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (server_.address.path.size() >= sizeof address.sun_path) return error = "its socket's path is too long", false;
    std::memcpy(address.sun_path, server_.address.path.c_str(), server_.address.path.size() + 1);
    socket_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socket_ >= 0 && connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return true;
    return error = "cannot connect to it", false;
  }

  void pass_time(std::uint32_t) override {}  // it has its own clock

  bool get(const trace_request& q) override {
    out_ += "get " + key_of(q) + "\r\n";
    const std::string header = line();
    if (header.rfind("VALUE ", 0) != 0) {
      if (header != "END") fail("answers " + header);
      return false;
    }
    std::size_t bytes = 0;
    const char* const number = header.data() + header.rfind(' ') + 1;
    (void)std::from_chars(number, header.data() + header.size(), bytes);
    skip(bytes + 2);
    if (line() != "END") fail("does not end a value");
    return true;
  }
  bool store(const trace_request& q, when condition) override {
    const char* const verb = condition == when::absent ? "add " : condition == when::present ? "replace " : "set ";
    out_ += verb + key_of(q) + " 0 0 " + std::to_string(q.value_bytes) + " noreply\r\n";
    out_.append(q.value_bytes, 'v');
    out_ += "\r\n";
    if (out_.size() > sent_at_once) flush();
    return true;
  }
  void remove(const trace_request& q) override { out_ += "delete " + key_of(q) + " noreply\r\n"; }

  [[nodiscard]] std::uint64_t evictions() const override { return 1; }    // not asked for
  [[nodiscard]] std::size_t payload_bytes() const override { return 0; }  // likewise
  [[nodiscard]] std::size_t items() const override { return 0; }
  [[nodiscard]] std::string damage() const override { return failure_; }

 private:
  static std::string key_of(const trace_request& q) {
    const std::string number = std::to_string(q.object);
    return std::string(q.key_bytes - std::min<std::size_t>(q.key_bytes, number.size()), 'k') + number;
  }

  void fail(const std::string& what) {
    if (failure_.empty()) failure_ = "memcached " + what;
  }
  void flush() {
    for (std::size_t done = 0; done < out_.size() && failure_.empty();) {
      const ssize_t sent = send(socket_, out_.data() + done, out_.size() - done, MSG_NOSIGNAL);
      if (sent <= 0) return fail("hangs up");
      done += static_cast<std::size_t>(sent);
    }
    out_.clear();
  }
  bool receive() {
    flush();
    const ssize_t got = failure_.empty() ? recv(socket_, buffer_, sizeof buffer_, 0) : 0;
    if (got <= 0) {
      fail("hangs up");
      return false;
    }
    at_ = 0, end_ = static_cast<std::size_t>(got);
    return true;
  }
  std::string line() {
    std::string text;
    for (;;) {
      if (at_ == end_ && !receive()) return text;
      const char c = buffer_[at_++];
      if (c == '\n') return text;
      if (c != '\r') text += c;
    }
  }
  void skip(std::size_t bytes) {
    while (bytes != 0) {
      if (at_ == end_ && !receive()) return;
      const std::size_t part = std::min(bytes, end_ - at_);
      at_ += part, bytes -= part;
    }
  }

  scratch_folder folder_;
  server server_;
  int socket_ = -1;
  std::string out_;
  char buffer_[16384];
  std::size_t at_ = 0, end_ = 0;
  std::string failure_;
};

}  // namespace

std::unique_ptr<replayed_cache> make_real_memcached(const std::string& program, std::size_t memory_mib,
                                                    std::string& error) {
  auto made = std::make_unique<real_memcached>();
  return made->start(program, memory_mib, error) ? std::move(made) : nullptr;
}

}  // namespace bench
