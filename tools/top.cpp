// SPDX-License-Identifier: MIT
#include "tools/top.hpp"

#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tools/top_screen.hpp"

namespace tools {
namespace {

using clock = std::chrono::steady_clock;

constexpr double sizes_every_s = 30;

volatile std::sig_atomic_t ended = 0;
volatile std::sig_atomic_t resized = 0;

extern "C" void note_end(int) { ended = 1; }
extern "C" void note_resize(int) { resized = 1; }

void handle(int signal, void (*with)(int)) {
  struct sigaction action {};
  action.sa_handler = with;  // without SA_RESTART: poll() is to return
  sigaction(signal, &action, nullptr);
}

// The whole screen, if the terminal has one and keys come one by one; put back at the end.
class terminal {
 public:
  explicit terminal(bool wanted) {
    const char* const name = std::getenv("TERM");
    const bool dumb = name == nullptr || *name == '\0' || std::strcmp(name, "dumb") == 0;
    if (!wanted || dumb || isatty(STDOUT_FILENO) == 0) return;
    screen_ = true;
    if (isatty(STDIN_FILENO) != 0 && tcgetattr(STDIN_FILENO, &before_) == 0) {
      termios keys = before_;
      keys.c_lflag &= static_cast<tcflag_t>(~(ICANON | ECHO));
      keys.c_cc[VMIN] = 0;
      keys.c_cc[VTIME] = 0;
      keys_ = tcsetattr(STDIN_FILENO, TCSANOW, &keys) == 0;
    }
    handle(SIGWINCH, note_resize);
    put("\x1b[?1049h\x1b[?25l");  // the alternate screen, no cursor
  }
  ~terminal() {
    if (screen_) put("\x1b[?25h\x1b[?1049l");
    if (keys_) tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  terminal(const terminal&) = delete;
  terminal& operator=(const terminal&) = delete;

  [[nodiscard]] bool has_screen() const noexcept { return screen_; }
  [[nodiscard]] bool has_keys() const noexcept { return keys_; }

  [[nodiscard]] screen_size size() const {
    screen_size result;
    winsize window{};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0 && window.ws_row > 0) {
      result = {window.ws_col, window.ws_row};
    } else if (!screen_) {
      result = {200, 60};  // no terminal: nothing to fit into
    }
    return result;
  }

  void draw(const std::vector<std::string>& lines) {
    std::string text;
    if (screen_) text = "\x1b[H";
    for (std::size_t i = 0; i < lines.size(); ++i) {
      text += lines[i];
      if (screen_) text += "\x1b[K";
      if (!screen_ || i + 1 < lines.size()) text += '\n';
    }
    text += screen_ ? "\x1b[J" : "\n";
    put(text);
  }

 private:
  static void put(const std::string& text) {
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
  }

  bool screen_ = false, keys_ = false;
  termios before_{};
};

// Waits for the next moment, a key or a change of size. False: q was pressed, or a signal came.
bool pause(const terminal& screen, clock::time_point until) {
  while (ended == 0 && resized == 0) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - clock::now()).count();
    if (left <= 0) return true;
    pollfd keys{screen.has_keys() ? STDIN_FILENO : -1, POLLIN, 0};
    if (poll(&keys, 1, static_cast<int>(std::min<long long>(left, 1000))) <= 0) continue;
    char key = 0;
    if (read(STDIN_FILENO, &key, 1) <= 0 || key == 'q' || key == 'Q' || key == '\x03') return false;
    if (key == ' ') return true;
  }
  return ended == 0;
}

class viewer {
 public:
  explicit viewer(const top_options& options, address to)
      : options_(options), where_(to.text()), client_(std::move(to), options.access) {}

  // Takes a sample and makes a view of it and the one before. False, with the reason.
  bool look(std::string& error) {
    server_sample now;
    if (!client_.take(now, error)) return false;
    std::vector<size_class> sizes;
    if (!options_.no_sizes && (!sized_ || now.seconds - sized_at_ >= sizes_every_s)) {
      if (!client_.take_sizes(sizes, error)) return false;
      sizes_ = std::move(sizes);
      sized_at_ = now.seconds;
      sized_ = true;
    }
    view_ = view_of(seen_ ? &before_ : nullptr, now);
    view_.sizes = sizes_;
    before_ = std::move(now);
    seen_ = true;
    return true;
  }

  void show(terminal& screen, const std::string& notice) const {
    if (options_.json) {
      std::printf("%s\n", json_of(view_).dump(options_.once ? 2 : -1).c_str());
      std::fflush(stdout);
    } else {
      screen.draw(screen_of(view_, where_, screen.size(), notice));
    }
  }

  int run() {
    std::string error;
    const auto interval =
        std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(options_.interval_s));
    if (!look(error)) return complain(error);
    handle(SIGINT, note_end);
    handle(SIGTERM, note_end);
    terminal screen(!options_.once && !options_.json);
    const std::string help = screen.has_screen() ? "q quits, space looks at once" : "";
    if (screen.has_screen()) show(screen, help);
    auto next = clock::now() + interval;
    while (pause(screen, next)) {
      if (resized != 0) {  // draw what there is in its new size
        resized = 0;
        show(screen, help);
        continue;
      }
      const bool good = look(error);
      if (!good && options_.once) return complain(error);
      if (good || screen.has_screen()) {
        show(screen, good ? help : "no answer, trying again: " + error);
      } else {
        complain(error);
      }
      if (options_.once) return 0;
      next = std::max(next + interval, clock::now());
    }
    return options_.once ? 1 : 0;
  }

 private:
  static int complain(const std::string& what) {
    std::fprintf(stderr, "scoot top: %s\n", what.c_str());
    return 1;
  }

  const top_options& options_;
  std::string where_;
  stats_client client_;
  server_sample before_;
  server_view view_;
  std::vector<size_class> sizes_;
  bool seen_ = false, sized_ = false;
  double sized_at_ = 0;
};

}  // namespace

int run_top(const top_options& options) {
  address to;
  std::string error;
  if (!parse_address(options.address, 11211, to, error)) {
    std::fprintf(stderr, "scoot top: %s\n", error.c_str());
    return 1;
  }
  ended = 0;
  resized = 0;
  return viewer(options, std::move(to)).run();
}

}  // namespace tools
