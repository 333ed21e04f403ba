// SPDX-License-Identifier: MIT
//
// Goal: a trace says what the program did, whatever it does with threads, processes and files; a damaged one is refused
// with a reason. Method: a program of ours (recorded_program.cpp) under the recorder, and traces written by hand, cut
// at every byte and with every bit turned.
#include "trace.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "recorder/trace_format.hpp"

namespace bench {
namespace {

using trace_format::operation;
using what = trace_operation::what;

class temporary_folder {
 public:
  temporary_folder() {
    char name[] = "/tmp/scoot-trace-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~temporary_folder() {
    for (const char* f : {"/trace", "/errors"}) unlink((path_ + f).c_str());
    rmdir(path_.c_str());
  }
  [[nodiscard]] std::string file(const char* name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// --- the recorder

class recorder : public ::testing::Test {
 protected:
  // Runs recorded_program with this argument under the recorder. Its wait status.
  int record(const char* argument) {
    const pid_t child = fork();
    if (child == 0) {
      setenv("LD_PRELOAD", SCOOT_RECORDER, 1);
      setenv("SCOOT_RECORD_FILE", folder.file("trace").c_str(), 1);
      const int errors = open(folder.file("errors").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
      dup2(errors, STDERR_FILENO);
      execl(SCOOT_RECORDED_PROGRAM, SCOOT_RECORDED_PROGRAM, argument, nullptr);
      _exit(127);
    }
    int status = -1;
    waitpid(child, &status, 0);
    return status;
  }

  // Records, with the exit status expected, and reads the trace.
  void read_trace_of(const char* argument, int exit_status) {
    const int status = record(argument);
    ASSERT_TRUE(WIFEXITED(status));
    ASSERT_EQ(WEXITSTATUS(status), exit_status);
    std::string error;
    ASSERT_TRUE(t.load(folder.file("trace"), error)) << error;
    EXPECT_EQ(errors(), "");
  }

  std::string errors() {
    std::ifstream file(folder.file("errors"));
    return {std::istreambuf_iterator<char>(file), {}};
  }

  [[nodiscard]] std::size_t count(what kind, std::uint64_t size) const {
    return static_cast<std::size_t>(
        std::count_if(t.begin(), t.end(), [&](const trace_operation& o) { return o.kind == kind && o.size == size; }));
  }

  temporary_folder folder;
  trace t;
};

TEST_F(recorder, notes_every_way_to_allocate_resize_and_free) {
  read_trace_of("plain", 0);
  EXPECT_EQ(count(what::allocate, 10'111), 1U);
  EXPECT_EQ(count(what::allocate, 3 * 3'371), 1U);
  EXPECT_EQ(count(what::allocate, 10'222), 1U);
  EXPECT_EQ(count(what::reallocate, 200'333), 1U);
  EXPECT_EQ(count(what::allocate, 10'444), 1U);
  EXPECT_EQ(count(what::allocate, std::uint64_t{1} << 60), 0U);
  EXPECT_EQ(count(what::reallocate, std::uint64_t{1} << 60), 0U);
  const auto* aligned = std::find_if(t.begin(), t.end(), [](const trace_operation& o) { return o.size == 10'444; });
  EXPECT_EQ(aligned->alignment_log2, 8);
  // Freed were the resized, the zeroed and the aligned block, and not the one that was kept.
  const auto* kept = std::find_if(t.begin(), t.end(), [](const trace_operation& o) { return o.size == 10'111; });
  EXPECT_TRUE(std::none_of(kept + 1, t.end(), [&](const trace_operation& o) { return o.slot == kept->slot; }));
  EXPECT_TRUE(std::any_of(aligned + 1, t.end(),
                          [&](const trace_operation& o) { return o.slot == aligned->slot && o.kind == what::free; }));
  EXPECT_GE(t.live_bytes_peak(), 10'111 + 3 * 3'371 + 200'333 + 10'444U);
}

TEST_F(recorder, notes_the_ways_that_are_seldom_taken) {
  read_trace_of("seldom", 0);
  const auto find = [&](std::uint64_t size) {
    return std::find_if(t.begin(), t.end(), [&](const trace_operation& o) { return o.size == size; });
  };
  constexpr struct {
    std::uint64_t size;
    unsigned alignment_log2;
  } aligned[] = {{10'555, 6}, {12'288, 12}, {10'666, 12}, {4096, 12}, {11'136, 7}};
  for (const auto& each : aligned) {
    ASSERT_EQ(count(what::allocate, each.size), 1U) << each.size;
    EXPECT_EQ(find(each.size)->alignment_log2, each.alignment_log2) << each.size;
  }
  EXPECT_EQ(count(what::allocate, 11'223), 1U);
  EXPECT_EQ(count(what::reallocate, 18'705), 1U);
  EXPECT_EQ(count(what::allocate, 11'333), 1U);
  for (const std::uint64_t size : {10'555, 12'288, 10'666, 11'136, 11'223, 11'333}) {  // all freed, by realloc to 0 too
    const auto* made = find(size);
    EXPECT_TRUE(std::any_of(made + 1, t.end(), [&](const trace_operation& o) {
      return o.slot == made->slot && o.kind == what::free;
    })) << size;
  }
}

// Reading checks that nothing is freed twice or resized when it is gone, so the order of the threads' calls was right.
TEST_F(recorder, orders_the_calls_of_threads_that_share_blocks) {
  read_trace_of("threads", 0);
  EXPECT_GT(t.size(), 50'000U);
}

TEST_F(recorder, leaves_children_alone_and_goes_on_after_them) {
  read_trace_of("forks", 0);
  EXPECT_EQ(count(what::allocate, 10'777), 0U);
  EXPECT_EQ(count(what::allocate, 10'888), 1U);
}

TEST_F(recorder, is_done_when_the_program_leaves_by_exit_without_cleaning_up) {
  read_trace_of("leaves", 3);
  EXPECT_EQ(count(what::allocate, 10'999), 200'000U);
}

TEST_F(recorder, never_writes_to_a_file_that_took_its_number) {
  EXPECT_EQ(record("closes"), 0);
  std::string error;
  EXPECT_FALSE(t.load(folder.file("trace"), error));
  EXPECT_NE(errors().find("closed the recorder's file"), std::string::npos) << errors();
}

TEST_F(recorder, lets_the_program_go_on_when_the_disk_is_full) {
  EXPECT_EQ(record("limited"), 0);
  std::string error;
  EXPECT_FALSE(t.load(folder.file("trace"), error));
  EXPECT_NE(error.find("cut off"), std::string::npos) << error;
  EXPECT_NE(errors().find("cannot write"), std::string::npos) << errors();
}

TEST_F(recorder, leaves_no_whole_trace_of_a_program_that_was_killed) {
  EXPECT_TRUE(WIFSIGNALED(record("killed")));
  std::string error;
  EXPECT_FALSE(t.load(folder.file("trace"), error));
}

TEST_F(recorder, never_overwrites_a_file) {
  std::ofstream(folder.file("trace")) << "mine";
  EXPECT_EQ(record("plain"), 0);
  std::ifstream file(folder.file("trace"));
  std::string content;
  file >> content;
  EXPECT_EQ(content, "mine");
}

TEST_F(recorder, replays_what_it_recorded_and_refuses_what_is_cut) {
  const int status = record("threads");
  ASSERT_EQ(status, 0);
  const std::string bench = std::string(SCOOT_BENCH) + " --smoke replay --allocators scoot,glibc --copies 3 " +
                            folder.file("trace") + " > /dev/null 2> " + folder.file("errors");
  EXPECT_EQ(std::system(bench.c_str()), 0) << errors();
  ASSERT_EQ(truncate(folder.file("trace").c_str(), 5'000), 0);
  EXPECT_EQ(WEXITSTATUS(std::system(bench.c_str())), 1);
  EXPECT_NE(errors().find("cut off"), std::string::npos) << errors();
}

// --- the reader

class trace_bytes {
 public:
  explicit trace_bytes(std::uint64_t version = trace_format::version) {
    bytes.assign(std::begin(trace_format::magic), std::end(trace_format::magic));
    number(version);
  }
  trace_bytes& add(operation o, std::uint64_t value) {
    number(value << trace_format::operation_bits | static_cast<unsigned>(o));
    return *this;
  }
  trace_bytes& add(operation o, std::uint64_t value, std::uint64_t rest) {
    add(o, value);
    number(rest);
    return *this;
  }
  void number(std::uint64_t value) {
    unsigned char text[trace_format::varint_bytes_max];
    bytes.insert(bytes.end(), text, trace_format::put_varint(text, value));
  }
  std::vector<unsigned char> bytes;
};

std::string error_of(const std::vector<unsigned char>& bytes) {
  trace t;
  std::string error;
  return t.parse(bytes.data(), bytes.size(), error) ? "" : error;
}

trace_bytes small_trace() {
  trace_bytes b;
  b.add(operation::allocate, 100).add(operation::zeroed, 200).add(operation::free, 2);
  b.add(operation::aligned, 300, 6).add(operation::reallocate, 2, 5'000).add(operation::free, 1);
  b.add(operation::end, 6, 3);
  return b;
}

TEST(trace_reader, gives_the_slots_of_freed_blocks_to_later_ones) {
  trace t;
  std::string error;
  const trace_bytes b = small_trace();
  ASSERT_TRUE(t.parse(b.bytes.data(), b.bytes.size(), error)) << error;
  ASSERT_EQ(t.size(), 6U);
  EXPECT_EQ(t.objects(), 3U);
  EXPECT_EQ(t.slots(), 2U);
  const trace_operation* o = t.begin();
  EXPECT_EQ(o[2].slot, o[0].slot);
  EXPECT_EQ(o[3].slot, o[0].slot);
  EXPECT_EQ(o[3].alignment_log2, 6);
  EXPECT_EQ(o[4].slot, o[1].slot);
  EXPECT_EQ(o[4].kind, what::reallocate);
  EXPECT_EQ(o[4].size, 5'000U);
  EXPECT_EQ(t.live_bytes_peak(), 5'300U);
}

TEST(trace_reader, refuses_a_trace_cut_at_any_byte) {
  const trace_bytes b = small_trace();
  for (std::size_t n = 0; n < b.bytes.size(); ++n)
    EXPECT_NE(error_of({b.bytes.begin(), b.bytes.begin() + static_cast<std::ptrdiff_t>(n)}), "") << n;
}

TEST(trace_reader, survives_any_bit_turned) {
  const trace_bytes b = small_trace();
  std::size_t refused = 0;
  for (std::size_t bit = 0; bit < 8 * b.bytes.size(); ++bit) {
    std::vector<unsigned char> damaged = b.bytes;
    damaged[bit / 8] ^= static_cast<unsigned char>(1U << bit % 8);
    trace t;
    std::string error;
    if (!t.parse(damaged.data(), damaged.size(), error)) {
      EXPECT_NE(error, "");
      ++refused;
      continue;
    }
    for (const trace_operation& o : t) EXPECT_LT(o.slot, t.slots());
  }
  EXPECT_GT(refused, 4 * b.bytes.size());
}

TEST(trace_reader, says_what_is_wrong) {
  EXPECT_EQ(error_of({'S', 'C', 'O', 'O', 'T', 'R', 'E', 'K', 1}), "this is no recorded trace");
  EXPECT_NE(error_of(trace_bytes(2).bytes).find("version"), std::string::npos);
  EXPECT_NE(error_of(trace_bytes().add(operation::allocate, 1).bytes).find("no end record"), std::string::npos);
  EXPECT_NE(error_of(trace_bytes().add(operation::free, 1).add(operation::end, 1, 0).bytes).find("never allocated"),
            std::string::npos);
  trace_bytes twice;
  twice.add(operation::allocate, 1).add(operation::free, 1).add(operation::free, 1).add(operation::end, 3, 1);
  EXPECT_NE(error_of(twice.bytes).find("freed before, at byte 11"), std::string::npos) << error_of(twice.bytes);
  EXPECT_NE(error_of(trace_bytes().add(operation::allocate, 1).add(operation::end, 2, 1).bytes).find("does not count"),
            std::string::npos);
  trace_bytes more = small_trace();
  more.bytes.push_back(0);
  EXPECT_NE(error_of(more.bytes).find("follows the end"), std::string::npos);
  EXPECT_NE(error_of(trace_bytes().add(operation::aligned, 8, 99).bytes).find("alignment"), std::string::npos);
  EXPECT_NE(error_of(trace_bytes().add(operation::allocate, std::uint64_t{1} << 60).bytes).find("a size"),
            std::string::npos);
  EXPECT_NE(error_of(trace_bytes().add(static_cast<operation>(7), 1).bytes).find("does not exist"), std::string::npos);
}

}  // namespace
}  // namespace bench
