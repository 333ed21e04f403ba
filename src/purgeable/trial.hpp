// SPDX-License-Identifier: MIT
//
// trial: what the kernel, or whatever stands in for one, does with memory that is offered. Offers memory of its own,
// writes to a part of it, asks for reclaim, and looks at what is left. Some 100 us.
#pragma once

#include "scoot/purgeable.hpp"

namespace scoot::purging {

[[nodiscard]] purge_support try_out_kernel() noexcept;

}  // namespace scoot::purging
