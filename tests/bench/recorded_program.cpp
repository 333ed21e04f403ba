// SPDX-License-Identifier: MIT
//
// The program that trace_test.cpp records. Its argument says what it does; the sizes are such as nothing else asks for.
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <new>
#include <string_view>
#include <thread>
#include <vector>

namespace {

void use(void* block, std::size_t size) { std::memset(block, 0x5a, size); }

int plain() {
  void* kept = std::malloc(10'111);
  use(kept, 10'111);
  auto* zeroed = static_cast<unsigned char*>(std::calloc(3, 3'371));
  if (zeroed[0] != 0 || zeroed[3 * 3'371 - 1] != 0) return 1;
  auto* grown = static_cast<unsigned char*>(std::malloc(10'222));
  use(grown, 10'222);
  grown = static_cast<unsigned char*>(std::realloc(grown, 200'333));
  if (grown[10'221] != 0x5a) return 1;
  void* aligned = nullptr;
  if (posix_memalign(&aligned, 256, 10'444) != 0 || reinterpret_cast<std::uintptr_t>(aligned) % 256 != 0) return 1;
  void* bad = nullptr;
  if (posix_memalign(&bad, 3, 10) == 0) return 1;
  if (std::malloc(std::size_t{1} << 60) != nullptr || std::realloc(grown, std::size_t{1} << 60) != nullptr) return 1;
  std::free(grown);
  std::free(zeroed);
  std::free(aligned);
  return 0;
}

// The ways that are seldom taken, with C++'s own for over-aligned types.
int seldom() {
  void* blocks[] = {memalign(64, 10'555), std::aligned_alloc(4096, 12'288), valloc(10'666), pvalloc(1),
                    ::operator new (11'136, std::align_val_t{128})};
  constexpr std::size_t alignments[] = {64, 4096, 4096, 4096, 128};
  for (std::size_t i = 0; i < std::size(blocks); ++i) {
    if (reinterpret_cast<std::uintptr_t>(blocks[i]) % alignments[i] != 0) return 1;
  }
  void* array = reallocarray(nullptr, 3, 3'741);  // 11,223
  array = reallocarray(array, 5, 3'741);          // 18,705
  void* fresh = std::realloc(nullptr, 11'333);
  if (array == nullptr || fresh == nullptr || std::realloc(fresh, 0) != nullptr) return 1;
  if (reallocarray(array, std::size_t{1} << 40, std::size_t{1} << 40) != nullptr) return 1;
  ::operator delete (blocks[4], std::align_val_t{128});
  for (int i = 0; i < 4; ++i) std::free(blocks[i]);
  std::free(array);
  return 0;
}

// Blocks go from thread to thread through a table; whoever finds one resizes or frees it.
int threads() {
  static std::atomic<void*> table[64];
  std::vector<std::thread> all;
  for (unsigned t = 0; t < 4; ++t) {
    all.emplace_back([t] {
      unsigned state = t + 1;
      for (int i = 0; i < 20'000; ++i) {
        state = state * 1664525 + 1013904223;
        std::atomic<void*>& place = table[(state >> 8) % 64];
        void* block = place.exchange(nullptr);
        if (block == nullptr) {
          block = std::malloc(1 + (state >> 16) % 300);
        } else if (state >> 31 != 0) {
          block = std::realloc(block, 1 + (state >> 16) % 3000);
        } else {
          std::free(block);
          continue;
        }
        std::free(place.exchange(block));
      }
    });
  }
  for (std::thread& t : all) t.join();
  return 0;
}

int forks() {
  const pid_t child = fork();
  if (child == 0) {
    for (int i = 0; i < 10'000; ++i) use(std::malloc(10'777), 1);
    std::exit(7);
  }
  int status = 0;
  waitpid(child, &status, 0);
  const pid_t other = vfork();
  if (other == 0) _exit(8);
  int other_status = 0;
  waitpid(other, &other_status, 0);
  void* after = std::malloc(10'888);
  use(after, 1);
  return WEXITSTATUS(status) == 7 && WEXITSTATUS(other_status) == 8 ? 0 : 1;
}

int many(int status) {
  for (int i = 0; i < 200'000; ++i) {
    void* block = std::malloc(10'999);
    use(block, 1);
    std::free(block);
  }
  return status;
}

// As daemons do. The file that is opened then gets the lowest free number.
int closes() {
  for (int fd = 3; fd < 1024; ++fd) close(fd);
  char name[] = "/tmp/scoot-recorded-XXXXXX";
  int mine = mkstemp(name);
  for (int fd = mine; fd < 600; ++fd) dup2(mine, fd);
  many(0);
  const off_t size = lseek(mine, 0, SEEK_END);
  unlink(name);
  return size == 0 ? 0 : 1;
}

int limited() {
  signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{10'000, 10'000};
  setrlimit(RLIMIT_FSIZE, &limit);
  return many(0);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "plain") return plain();
  if (what == "seldom") return seldom();
  if (what == "threads") return threads();
  if (what == "forks") return forks();
  if (what == "leaves") _exit(many(3));
  if (what == "closes") return closes();
  if (what == "limited") return limited();
  if (what == "killed") raise(SIGKILL);
  return 99;
}
