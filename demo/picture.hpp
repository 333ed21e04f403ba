// SPDX-License-Identifier: MIT
//
// picture: what was measured, as a plot (SVG) and as figures (CSV).
#pragma once

#include <string>

#include "contest.hpp"

namespace demo {

// False, with a message on stderr, if the file cannot be written.
[[nodiscard]] bool write_picture(const contest& of, const std::string& path);
[[nodiscard]] bool write_figures(const contest& of, const std::string& path);

}  // namespace demo
