// SPDX-License-Identifier: MIT
//
// Goal: each source says what it should when it is prodded, and that it is lost when it is. Method: FIFOs, sockets and
// files of our own; the kernel's stall information where there is some; memory that is reclaimed on request.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "pressure/source.hpp"
#include "support.hpp"

namespace scoot::pressure {
namespace {

using testing::fake_root;

// What a source says if it is ready now.
alarm poll_once(source& from) {
  pollfd place = from.waits_for();
  if (os::wait({&place, 1}, 0) == 0) return {};
  return from.take(place.revents);
}

TEST(fifo_source, reads_numbers_and_takes_anything_else_for_some) {
  const fake_root root;
  const std::string path = root.path_of("/fifo");
  const made_source got = make_fifo(path.c_str());
  ASSERT_NE(got.made, nullptr) << strerror(got.error);
  EXPECT_EQ(poll_once(*got.made).level, severity::none);
  const os::descriptor writer(open(path.c_str(), O_WRONLY | O_NONBLOCK));
  ASSERT_EQ(os::write_all(writer, "100\n5000\n7\n"), 0);
  alarm a = poll_once(*got.made);
  EXPECT_EQ(a.bytes, 5000U) << "the most that was asked for";
  EXPECT_EQ(a.level, severity::none);
  ASSERT_EQ(os::write_all(writer, "12"), 0);
  EXPECT_EQ(poll_once(*got.made).bytes, 0U) << "no line yet";
  ASSERT_EQ(os::write_all(writer, "34\n"), 0);
  EXPECT_EQ(poll_once(*got.made).bytes, 1234U);
  for (const char* text : {"\n", "0\n", "some\n", "-5\n", "\xff\xfe\n"}) {
    ASSERT_EQ(os::write_all(writer, text), 0);
    a = poll_once(*got.made);
    EXPECT_EQ(a.level, severity::some) << text;
    EXPECT_EQ(a.bytes, 0U) << text;
  }
  // A line that is too long is one line of no number, however it is cut.
  ASSERT_EQ(os::write_all(writer, std::string(3000, '9') + "\n77\n"), 0);
  a = poll_once(*got.made);
  EXPECT_EQ(a.level, severity::some);
  EXPECT_EQ(a.bytes, 77U);
}

TEST(fifo_source, of_another_program_is_used_as_it_is) {
  const fake_root root;
  const std::string path = root.path_of("/fifo");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  const made_source got = make_fifo(path.c_str());
  ASSERT_NE(got.made, nullptr);
  const os::descriptor writer(open(path.c_str(), O_WRONLY | O_NONBLOCK));
  ASSERT_EQ(os::write_all(writer, "5\n"), 0);
  EXPECT_EQ(poll_once(*got.made).bytes, 5U);
}

TEST(fifo_source, outlives_its_writers) {
  const fake_root root;
  const std::string path = root.path_of("/fifo");
  const made_source got = make_fifo(path.c_str());
  ASSERT_NE(got.made, nullptr);
  for (int i = 0; i < 3; ++i) {
    const os::descriptor writer(open(path.c_str(), O_WRONLY | O_NONBLOCK));
    ASSERT_EQ(os::write_all(writer, "9\n"), 0);
  }
  EXPECT_EQ(poll_once(*got.made).bytes, 9U);
  const alarm after = poll_once(*got.made);
  EXPECT_EQ(after.lost, 0);
  EXPECT_EQ(after.level, severity::none);
}

TEST(fifo_source, is_not_made_of_what_is_no_fifo) {
  const fake_root root;
  root.write("/file", "x");
  EXPECT_EQ(make_fifo(root.path_of("/file").c_str()).error, ENOTSUP);
  EXPECT_EQ(make_fifo(root.path_of("/no/folder").c_str()).error, ENOENT);
  EXPECT_EQ(make_fifo(nullptr).error, ENOENT);
  EXPECT_EQ(make_fifo(std::string(3000, 'x').c_str()).error, ENAMETOOLONG);
}

TEST(service_manager_source, is_absent_unless_asked_for) {
  EXPECT_EQ(make_service_manager("", nullptr, nullptr).error, ENOENT);
  EXPECT_EQ(make_service_manager("", "", "").error, ENOENT);
  EXPECT_EQ(make_service_manager("", "/dev/null", nullptr).error, ENOENT) << "turned off by the service manager";
  EXPECT_EQ(make_service_manager("", "relative/path", nullptr).error, EBADMSG);
  EXPECT_EQ(make_service_manager("", "/nonexistent", nullptr).error, ENOENT);
  EXPECT_EQ(make_service_manager("", "/dev/zero", nullptr).error, EBADMSG);
}

TEST(service_manager_source, writes_what_it_is_told_into_a_file_of_the_kernel) {
  const fake_root root;
  root.write("/memory.pressure", "");
  const made_source got = make_service_manager(root.path(), "/memory.pressure", "c29tZSAyMDAwMDAgMjAwMDAwMAA=");
  ASSERT_NE(got.made, nullptr) << strerror(got.error);
  EXPECT_EQ(got.made->waits_for().events, POLLPRI);
  std::ifstream file(root.path_of("/memory.pressure"));
  const std::string written((std::istreambuf_iterator<char>(file)), {});
  EXPECT_EQ(written, std::string("some 200000 2000000\0", 20));
  EXPECT_EQ(make_service_manager(root.path(), "/memory.pressure", "not base64!").error, EBADMSG);
}

TEST(service_manager_source, a_fifo_alarms_by_any_bytes) {
  const fake_root root;
  const std::string path = root.path_of("/watch");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  const made_source got = make_service_manager(root.path(), "/watch", nullptr);
  ASSERT_NE(got.made, nullptr) << strerror(got.error);
  EXPECT_EQ(poll_once(*got.made).level, severity::none);
  const os::descriptor writer(open(path.c_str(), O_WRONLY | O_NONBLOCK));
  ASSERT_EQ(os::write_all(writer, "x"), 0);
  EXPECT_EQ(poll_once(*got.made).level, severity::some);
  EXPECT_EQ(poll_once(*got.made).level, severity::none) << "read to its end";
}

TEST(service_manager_source, a_socket_is_greeted_alarms_and_is_lost_with_its_peer) {
  const fake_root root;
  const std::string path = root.path_of("/s");
  os::descriptor server(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ASSERT_LT(path.size(), sizeof(address.sun_path));
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  ASSERT_EQ(bind(server.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(server.get(), 1), 0);

  const made_source got = make_service_manager(root.path(), "/s", "aGVsbG8=");
  ASSERT_NE(got.made, nullptr) << strerror(got.error);
  os::descriptor peer(accept(server.get(), nullptr, nullptr));
  char text[16];
  ASSERT_EQ(os::read_some(peer, text), 5);
  EXPECT_EQ(std::string(text, 5), "hello");
  EXPECT_EQ(poll_once(*got.made).level, severity::none);
  ASSERT_EQ(os::write_all(peer, "p"), 0);
  const alarm a = poll_once(*got.made);
  EXPECT_EQ(a.level, severity::some);
  EXPECT_EQ(a.lost, 0);
  peer = os::descriptor();
  EXPECT_EQ(poll_once(*got.made).lost, EPIPE);
  server = os::descriptor();
  EXPECT_EQ(make_service_manager(root.path(), "/s", nullptr).error, ECONNREFUSED);
}

TEST(psi_source, takes_a_trigger_of_the_kernel) {
  const made_source got = make_system_psi("");
  if (got.made == nullptr) GTEST_SKIP() << "no trigger on /proc/pressure/memory: " << strerror(got.error);
  EXPECT_EQ(got.made->waits_for().events, POLLPRI);
  (void)poll_once(*got.made);
}

TEST(psi_source, a_kernel_without_stall_information_has_none) {
  const fake_root root;
  EXPECT_EQ(make_system_psi(root.path()).error, ENOENT);
}

TEST(canary_source, is_quiet_while_nothing_is_reclaimed) {
  const made_source got = make_canary();
  if (got.made == nullptr) GTEST_SKIP() << "offers are refused here: " << strerror(got.error);
  EXPECT_EQ(got.made->waits_for().fd, -1);
  for (int i = 0; i < 3; ++i) {
    const alarm a = got.made->take(0);
    EXPECT_EQ(a.level, severity::none);
    EXPECT_EQ(a.lost, 0);
  }
}

}  // namespace
}  // namespace scoot::pressure
