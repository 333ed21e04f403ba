// SPDX-License-Identifier: MIT
//
// Is the model of memcached right? The same trace through a real memcached, and through the model with the clock that
// the replay took, and what each misses.
#pragma once

#include <cstddef>
#include <string>

#include "policy_models.hpp"

namespace bench {

// A memcached of that program and -m, started for this, over a unix socket; one request at a time. Nothing expires in
// it. Null, with the reason, if it does not serve.
std::unique_ptr<replayed_cache> make_real_memcached(const std::string& program, std::size_t memory_mib,
                                                    std::string& error);

}  // namespace bench
