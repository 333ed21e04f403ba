// SPDX-License-Identifier: MIT
//
// Goal: after fork() parent and child each have the heap as it was, and neither sees what the other does with it.
// Method: a child that does everything a heap can do and says by its status whether all was well.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <vector>

#include "directory.hpp"
#include "scoot/heap.hpp"
#include "scoot/page_pool.hpp"

namespace scoot::testing {
namespace {

// What the child returned, or -1 if it did not end by itself.
int in_a_child(const std::function<int()>& work) {
  const pid_t child = fork();
  if (child == 0) std::_Exit(work());
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

class fork_test : public heap_fixture {
 protected:
  void SetUp() override {
    make(32 * mib);
    for (std::size_t size : {24U, 300U, 5000U, 12000U, 40000U, 300000U}) {
      for (std::size_t bytes = 0; bytes < 3 * mib; bytes += size) ASSERT_GE(blocks.allocate(*h, k, size), 0);
    }
    for (std::size_t i = 0; i < blocks.at.size(); ++i) {
      if (i % 3 != 0) blocks.free(*h, i);
    }
    for (std::size_t i = 0; i < blocks.at.size(); i += 300) {
      ASSERT_TRUE(h->pin(blocks.at[i]));
    }
  }

  // 0, or which step went wrong.
  int do_everything() {
    h->verify();
    if (!blocks.all_intact()) return 1;
    if (h->compact().bytes_moved == 0) return 2;
    if (h->move_everything() == 0) return 3;
    for (std::size_t i = 0; i < blocks.at.size(); i += 300) h->unpin(blocks.at[i]);
    for (std::size_t i = 0; i < blocks.at.size(); i += 6) blocks.free(*h, i);
    for (std::size_t size : {24U, 700U, 20000U, 200000U}) {
      for (int n = 0; n < 20; ++n) {
        if (blocks.allocate(*h, k, size) < 0) return 4;
      }
    }
    if (!pool->set_budget(64 * mib)) return 5;
    h->compact();
    pool->trim();
    h->verify();
    if (!blocks.all_intact()) return 6;
    blocks.free_all(*h);
    h.reset();
    return pool->stats().pages == 0 ? 0 : 7;
  }
};

TEST_F(fork_test, the_child_may_do_with_the_heap_what_it_likes_and_the_parent_sees_none_of_it) {
  const heap_stats before = h->stats();
  const std::vector<std::byte*> addresses = blocks.at;
  EXPECT_EQ(in_a_child([this] { return do_everything(); }), 0);
  const heap_stats after = h->stats();
  EXPECT_EQ(after.blocks, before.blocks);
  EXPECT_EQ(after.held_bytes, before.held_bytes);
  EXPECT_EQ(after.blocks_moved, before.blocks_moved);
  EXPECT_EQ(pool->stats().budget_bytes, 32 * mib);
  EXPECT_EQ(blocks.at, addresses);
  EXPECT_TRUE(blocks.all_intact());
  EXPECT_EQ(do_everything(), 0);
}

TEST_F(fork_test, what_the_parent_does_meanwhile_the_child_does_not_see) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    close(ready[1]);
    char byte = 0;
    (void)!read(ready[0], &byte, 1);  // until the parent is done
    std::_Exit(do_everything());
  }
  close(ready[0]);
  EXPECT_EQ(do_everything(), 0);
  close(ready[1]);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(fork_test, a_grandchild_has_the_heap_too) {
  EXPECT_EQ(in_a_child([this] {
              h->compact();
              return in_a_child([this] { return blocks.all_intact() ? 0 : 1; });
            }),
            0);
}

}  // namespace
}  // namespace scoot::testing
