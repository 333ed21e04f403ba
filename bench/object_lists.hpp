// SPDX-License-Identifier: MIT
//
// Doubly linked lists of numbered objects, each in one list at most: the queues of the policy models.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace bench {

class object_lists {
 public:
  static constexpr std::uint32_t nobody = ~std::uint32_t{0};

  object_lists(std::size_t objects, std::size_t lists) : links_(objects), ends_(lists) {}

  // The object must be in no list.
  void push_front(unsigned list, std::uint32_t object) {
    list_ends& e = ends_[list];
    links_[object] = {nobody, e.front};
    (e.front == nobody ? e.back : links_[e.front].before) = object;
    e.front = object;
  }
  // The object must be in this list.
  void remove(unsigned list, std::uint32_t object) {
    const links l = links_[object];
    (l.before == nobody ? ends_[list].front : links_[l.before].after) = l.after;
    (l.after == nobody ? ends_[list].back : links_[l.after].before) = l.before;
  }
  [[nodiscard]] std::uint32_t back(unsigned list) const { return ends_[list].back; }
  [[nodiscard]] std::uint32_t before(std::uint32_t object) const { return links_[object].before; }

 private:
  struct links {
    std::uint32_t before = nobody;
    std::uint32_t after = nobody;
  };
  struct list_ends {
    std::uint32_t front = nobody;
    std::uint32_t back = nobody;
  };
  std::vector<links> links_;
  std::vector<list_ends> ends_;
};

}  // namespace bench
