// SPDX-License-Identifier: MIT
#include "server/sandbox.hpp"

#include <linux/capability.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>

#include "server/process.hpp"

namespace scoot::server {
namespace {

// Those of the daemon, of the C library and of OpenSSL. Whatever starts programs or processes, changes whose they are,
// looks into others or administers the system is not here.
constexpr const char* allowed[] = {
    // memory
    "brk",
    "madvise",
    "mincore",
    "mlock",
    "mlock2",
    "mmap",
    "mprotect",
    "mremap",
    "munlock",
    "munmap",
    "process_madvise",
    // threads and time
    "clock_getres",
    "clock_gettime",
    "clock_nanosleep",
    "exit",
    "exit_group",
    "futex",
    "futex_waitv",
    "get_robust_list",
    "getcpu",
    "getitimer",
    "gettid",
    "gettimeofday",
    "membarrier",
    "nanosleep",
    "restart_syscall",
    "rseq",
    "sched_get_priority_max",
    "sched_get_priority_min",
    "sched_getaffinity",
    "sched_getparam",
    "sched_getscheduler",
    "sched_setattr",
    "sched_setscheduler",
    "sched_yield",
    "set_robust_list",
    "set_tid_address",
    "setpriority",
    "time",
    "timer_create",
    "timer_delete",
    "timer_settime",
    "timerfd_create",
    "timerfd_gettime",
    "timerfd_settime",
    "times",
    // signals
    "kill",
    "pause",
    "rt_sigaction",
    "rt_sigpending",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigtimedwait",
    "sigaltstack",
    "signalfd4",
    "tgkill",
    "tkill",
    // waiting
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "eventfd2",
    "poll",
    "ppoll",
    "pselect6",
    "select",
    "inotify_init1",
    "inotify_add_watch",
    "inotify_rm_watch",
    // sockets
    "accept",
    "accept4",
    "bind",
    "connect",
    "getpeername",
    "getsockname",
    "getsockopt",
    "listen",
    "recvfrom",
    "recvmmsg",
    "recvmsg",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shutdown",
    "socketpair",
    // files
    "access",
    "chdir",
    "close",
    "close_range",
    "copy_file_range",
    "creat",
    "dup",
    "dup2",
    "dup3",
    "faccessat",
    "faccessat2",
    "fadvise64",
    "fallocate",
    "fcntl",
    "fdatasync",
    "flock",
    "fstat",
    "fstatfs",
    "fsync",
    "ftruncate",
    "getcwd",
    "getdents64",
    "lseek",
    "lstat",
    "msync",
    "newfstatat",
    "open",
    "openat",
    "pipe2",
    "pread64",
    "preadv",
    "pwrite64",
    "pwritev",
    "read",
    "readlink",
    "readlinkat",
    "readv",
    "rename",
    "renameat",
    "renameat2",
    "sendfile",
    "splice",
    "stat",
    "statfs",
    "statx",
    "sync_file_range",
    "umask",
    "unlink",
    "unlinkat",
    "write",
    "writev",
    // about ourselves
    "capget",
    "getegid",
    "geteuid",
    "getgid",
    "getgroups",
    "getpgrp",
    "getpid",
    "getppid",
    "getpriority",
    "getrandom",
    "getresgid",
    "getresuid",
    "getrlimit",
    "getrusage",
    "getsid",
    "getuid",
    "prlimit64",
    "setrlimit",
    "sysinfo",
    "uname",
};

constexpr const char* allowed_for_uring[] = {"io_uring_setup", "io_uring_enter", "io_uring_register"};

class filter {
 public:
  explicit filter(std::uint32_t otherwise) : context_(seccomp_init(otherwise), seccomp_release) {}

  // An architecture that does not have the call is no error.
  void allow(const char* name) {
    const int number = seccomp_syscall_resolve_name(name);
    if (number != __NR_SCMP_ERROR) note(seccomp_rule_add(context_.get(), SCMP_ACT_ALLOW, number, 0));
  }
  void allow_if(int number, const scmp_arg_cmp& argument) {
    note(seccomp_rule_add_array(context_.get(), SCMP_ACT_ALLOW, number, 1, &argument));
  }
  void fail(int number, int error) {
    note(seccomp_rule_add(context_.get(), SCMP_ACT_ERRNO(static_cast<std::uint32_t>(error)), number, 0));
  }
  void set(scmp_filter_attr attribute, std::uint32_t value) {
    note(seccomp_attr_set(context_.get(), attribute, value));
  }
  // Zero, or a negative errno.
  [[nodiscard]] int load() {
    if (error_ == 0) note(seccomp_load(context_.get()));
    return error_;
  }
  [[nodiscard]] bool valid() const noexcept { return context_ != nullptr; }

 private:
  void note(int result) {
    if (result < 0 && error_ == 0) error_ = result;
  }

  std::unique_ptr<void, void (*)(scmp_filter_ctx)> context_;
  int error_ = 0;
};

// Calls of which the arguments count.
// An argument's number, what it is compared by and with; the macros of seccomp.h leave a field out, which clang minds.
scmp_arg_cmp argument(unsigned number, scmp_compare by, scmp_datum_t a, scmp_datum_t b = 0) noexcept {
  return {number, by, a, b};
}

void allow_some(filter& calls, bool enforced) {
  // Threads only. Of clone3 the flags cannot be seen; without it the C library takes clone.
  calls.allow_if(SCMP_SYS(clone), argument(0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
  if (enforced) {
    calls.fail(SCMP_SYS(clone3), ENOSYS);
  } else {
    calls.allow("clone3");
  }
  for (const int family : {AF_UNIX, AF_INET, AF_INET6}) {
    calls.allow_if(SCMP_SYS(socket), argument(0, SCMP_CMP_EQ, static_cast<scmp_datum_t>(family)));
  }
  constexpr unsigned long pagemap_scan = 0xc0606610;  // of our own memory: what was purged of it
  for (const unsigned long request : {FIONBIO + 0UL, FIONREAD + 0UL, TIOCOUTQ + 0UL, TCGETS + 0UL, pagemap_scan}) {
    calls.allow_if(SCMP_SYS(ioctl), argument(1, SCMP_CMP_EQ, request));
  }
  // FIFOs, of --pressure=fifo:PATH.
  calls.allow_if(SCMP_SYS(mknod), argument(1, SCMP_CMP_MASKED_EQ, S_IFMT, S_IFIFO));
  calls.allow_if(SCMP_SYS(mknodat), argument(2, SCMP_CMP_MASKED_EQ, S_IFMT, S_IFIFO));
  constexpr int pr_set_vma = 0x53564d41;  // names of mappings, by the C library
  for (const int what : {PR_SET_NAME, PR_GET_NAME, PR_SET_TIMERSLACK, PR_GET_DUMPABLE, pr_set_vma}) {
    calls.allow_if(SCMP_SYS(prctl), argument(0, SCMP_CMP_EQ, static_cast<scmp_datum_t>(what)));
  }
}

}  // namespace

std::string drop_capabilities() {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return os_failure("cannot give up privileges");
  if (geteuid() == 0) return {};
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2]{};
  if (syscall(SYS_capget, &header, sets) != 0) return os_failure("cannot give up privileges");
  const __u32 kept = sets[0].permitted & (1U << CAP_SYS_NICE);
  sets[0] = {kept, kept, 0};
  sets[1] = {};
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);  // a kernel without them has none to clear
  if (syscall(SYS_capset, &header, sets) != 0) return os_failure("cannot give up privileges");
  return {};
}

std::string filter_system_calls(const server_options& options) {
  if (options.seccomp == seccomp_mode::off) return {};
  const bool enforced = options.seccomp == seccomp_mode::on;
  const std::uint32_t otherwise = enforced ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_LOG;
  filter calls(otherwise);
  if (!calls.valid()) return "--seccomp: no filter can be made";
  for (const char* const name : allowed) calls.allow(name);
  if (options.io != io_kind::epoll) {
    for (const char* const name : allowed_for_uring) calls.allow(name);
  }
  allow_some(calls, enforced);
  calls.set(SCMP_FLTATR_ACT_BADARCH, otherwise);
  calls.set(SCMP_FLTATR_CTL_LOG, 1);
  calls.set(SCMP_FLTATR_CTL_OPTIMIZE, 2);  // a tree instead of a list
  if (const int error = calls.load(); error != 0) {
    return std::string("--seccomp: the system refuses a filter of system calls: ") + std::strerror(-error);
  }
  spdlog::debug("system calls besides those needed {}", enforced ? "fail" : "are logged");
  return {};
}

}  // namespace scoot::server
