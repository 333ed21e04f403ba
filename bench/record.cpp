// SPDX-License-Identifier: MIT
#include "record.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "replay_bench.hpp"
#include "trace.hpp"

namespace bench {
namespace {

// The recorder lies beside this program, or where it is installed: SCOOT_RECORDER_FOLDER, seen from this program's.
std::string recorder_path() {
  char self[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  if (n <= 0) return {};
  const std::string path(self, static_cast<std::size_t>(n));
  const std::string folder = path.substr(0, path.rfind('/') + 1);
  std::string beside = folder + "libscoot-record.so";
  if (access(beside.c_str(), R_OK) == 0) return beside;
  const std::string installed = folder + SCOOT_RECORDER_FOLDER + "/libscoot-record.so";
  std::error_code none;
  const std::string plain = std::filesystem::weakly_canonical(installed, none).string();
  return none ? installed : plain;
}

// In the child.
[[noreturn]] void become(const record_request& request, const std::string& recorder) {
  if (!request.input.empty()) {
    const int in = open(request.input.c_str(), O_RDONLY | O_CLOEXEC);
    if (in < 0 || dup2(in, STDIN_FILENO) < 0) _exit(126);
  }
  if (request.quiet) {
    const int out = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (out < 0 || dup2(out, STDOUT_FILENO) < 0) _exit(126);
  }
  std::vector<char*> argv;
  for (const std::string& s : request.program) argv.push_back(const_cast<char*>(s.c_str()));
  argv.push_back(nullptr);
  setenv("LD_PRELOAD", recorder.c_str(), 1);
  setenv("SCOOT_RECORD_FILE", request.file.c_str(), 1);
  setenv("PERL_HASH_SEED", "0", 0);  // the same trace every time
  execvp(argv[0], argv.data());
  _exit(127);
}

}  // namespace

int record_program(const record_request& request) {
  const std::string recorder = recorder_path();
  if (access(recorder.c_str(), R_OK) != 0) {
    std::fprintf(stderr, "scoot-bench: there is no %s\n", recorder.c_str());
    return -1;
  }
  if (access(request.file.c_str(), F_OK) == 0) {
    std::fprintf(stderr, "scoot-bench: %s exists; it is not written over\n", request.file.c_str());
    return -1;
  }
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) become(request, recorder);
  int status = 0;
  while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (child < 0) {
    std::fputs("scoot-bench: cannot fork\n", stderr);
    return -1;
  }
  if (WIFSIGNALED(status)) {
    std::fprintf(stderr, "scoot-bench: %s was killed: %s\n", request.program[0].c_str(), strsignal(WTERMSIG(status)));
    return 128 + WTERMSIG(status);
  }
  if (access(request.file.c_str(), F_OK) != 0) {
    std::fprintf(stderr, "scoot-bench: nothing was recorded of %s (is it a program, and not linked statically?)\n",
                 request.program[0].c_str());
    return -1;
  }
  return WEXITSTATUS(status);
}

int run_record(const record_options& options) {
  const int status = record_program({options.file, options.program, "", false});
  if (status < 0) return 1;
  trace t;
  std::string error;
  if (!t.load(options.file, error)) {
    std::fprintf(stderr, "scoot-bench: %s: %s\n", options.file.c_str(), error.c_str());
    return 1;
  }
  std::fprintf(stderr, "scoot-bench: %s: %zu operations on %llu blocks, at most %llu bytes live\n",
               options.file.c_str(), t.size(), static_cast<unsigned long long>(t.objects()),
               static_cast<unsigned long long>(t.live_bytes_peak()));
  return status;
}

}  // namespace bench
