// SPDX-License-Identifier: MIT
//
// Goal: traces are read as they are, and damage is told of with its place. Method: files made here, cut at every byte.
#include "tools/request_trace.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

namespace tools::testing {
namespace {

class trace_file {
 public:
  explicit trace_file(const std::string& bytes) {
    int fd = mkstemp(name_);
    EXPECT_GE(fd, 0);
    EXPECT_EQ(write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    close(fd);
  }
  ~trace_file() { unlink(name_); }
  trace_file(const trace_file&) = delete;
  trace_file& operator=(const trace_file&) = delete;
  [[nodiscard]] std::string path() const { return name_; }

 private:
  char name_[32] = "/tmp/scoot-trace-XXXXXX";
};

std::string record(std::uint32_t time, std::uint64_t object, std::uint32_t bytes, std::int64_t next) {
  std::string r(24, '\0');
  std::memcpy(r.data(), &time, 4);
  std::memcpy(r.data() + 4, &object, 8);
  std::memcpy(r.data() + 12, &bytes, 4);
  std::memcpy(r.data() + 16, &next, 8);
  return r;
}

bool read(const std::string& bytes, request_trace& out, std::string& error, request_trace_options options = {}) {
  const trace_file file(bytes);
  return read_request_trace(file.path(), options, out, error);
}

TEST(request_trace, an_oracle_trace_is_read_as_it_is) {
  request_trace t;
  std::string error;
  const std::string bytes = record(5, 1ULL << 60, 100, 2) + record(5, 3, 0, -1) + record(9, 1ULL << 60, 100, -1);
  ASSERT_TRUE(read(bytes, t, error)) << error;
  ASSERT_EQ(t.requests.size(), 2U);
  EXPECT_EQ(t.objects, 1U);
  EXPECT_EQ(t.skipped, 1U) << "without a size";
  EXPECT_EQ(t.requests[1].time, 4U);
  EXPECT_EQ(t.requests[1].value_bytes, 100U);
  EXPECT_FALSE(t.cut);
}

TEST(request_trace, an_oracle_trace_cut_at_any_byte_is_refused_or_shorter) {
  const std::string whole = record(1, 1, 10, -1) + record(2, 2, 20, -1) + record(3, 3, 30, -1);
  for (std::size_t length = 24; length <= whole.size(); ++length) {
    request_trace t;
    std::string error;
    const bool good = read(whole.substr(0, length), t, error, {trace_format::oracle, "", 1000});
    EXPECT_EQ(good, length % 24 == 0) << length;
    if (good) {
      EXPECT_EQ(t.requests.size(), length / 24);
    } else {
      EXPECT_NE(error.find("bytes of a record of 24"), std::string::npos) << error;
    }
  }
}

TEST(request_trace, what_cannot_be_is_refused_with_its_place) {
  const struct {
    std::string bytes;
    const char* complaint;
    request_trace_options options;
  } table[] = {{record(5, 1, 1, -1) + record(4, 1, 1, -1), "record 1: time goes back", {}},
               {record(5, 1, 1, 0), "record 0: its next access, 0, is not after it", {}},
               {"1,k,1,1,1,get\n", "line 1: has 6 columns, not 7", {trace_format::twitter, "", 1000}},
               {"1,k,1,1,1,get,0\n0,k,1,1,1,get,0\n", "line 2: time goes back", {trace_format::twitter, "", 1000}},
               {"1,k,x,1,1,get,0\n", "column 1 is no number: x", {trace_format::twitter, "", 1000}},
               {"1;2;3\n4;5\n", "line 2: ", {trace_format::csv, "obj-id-col=3,delimiter=;", 1000}},
               {"1,2\n", "obj-id-col is missing", {trace_format::csv, "time-col=1", 1000}},
               {"a,b\n", "is no trace of a known format", {}}};
  for (const auto& one : table) {
    request_trace t;
    std::string error;
    EXPECT_FALSE(read(one.bytes, t, error, one.options)) << one.complaint;
    EXPECT_NE(error.find(one.complaint), std::string::npos) << error;
  }
}

TEST(request_trace, no_more_is_read_than_was_wanted) {
  request_trace t;
  std::string error;
  ASSERT_TRUE(read(record(1, 1, 1, -1) + record(1, 2, 1, -1), t, error, {trace_format::oracle, "", 1}));
  EXPECT_EQ(t.requests.size(), 1U);
  EXPECT_TRUE(t.cut);
}

TEST(request_trace, a_twitter_trace_keeps_operations_sizes_and_commas_in_keys) {
  request_trace t;
  std::string error;
  ASSERT_TRUE(read("0,a,b,3,10,1,set,60\n1,a,b,3,0,1,get,0\n2,c,1,5,1,delete,0\n", t, error)) << error;
  ASSERT_EQ(t.requests.size(), 3U);
  EXPECT_EQ(t.objects, 2U);
  EXPECT_EQ(t.requests[0].operation, cache_operation::set);
  EXPECT_EQ(t.requests[1].value_bytes, 10U);
  EXPECT_EQ(t.requests[1].ttl, 60U);
  EXPECT_EQ(t.requests[2].operation, cache_operation::remove);
}

}  // namespace
}  // namespace tools::testing
