// SPDX-License-Identifier: MIT
//
// screen: the contest as text: on a terminal a table that is drawn anew in place, with a bar each; else a line for each
// contestant now and then.
#pragma once

#include "contest.hpp"

namespace demo {

class screen {
 public:
  explicit screen(const contest& of);

  // What is about to happen.
  void introduce() const;
  // After a step.
  void draw();
  // What came of it, once all ended.
  void conclude();

 private:
  void draw_table();

  const contest& of_;
  bool terminal_;
  bool colours_;
  std::size_t lines_ = 0;  // drawn, and to be drawn over
  unsigned told_ = 0;      // tenths of the load, without a terminal
};

}  // namespace demo
