// SPDX-License-Identifier: MIT
//
// Goal: owners follow their objects wherever the heap and the program move both, and nothing is leaked or destroyed
// twice. Method: after each step every block is moved, and the objects, which know their own addresses, are read again.
#include "scoot/owner.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/check.hpp"
#include "support.hpp"

namespace scoot::testing {
namespace {

class owner_test : public typed_fixture {};

struct point {
  int x;
  int y;
};

struct throwing_move {
  throwing_move(throwing_move&&) noexcept(false) {}
};

static_assert(relocatable<int> && relocatable<point> && relocatable<counted> && relocatable<std::string>);
static_assert(relocatable<owner<int>> && relocatable<owner<int[]>> && relocatable<std::unique_ptr<int>>);
static_assert(!relocatable<throwing_move> && !relocatable<const int> && !relocatable<int[3]> && !relocatable<int&>);
static_assert(!relocatable<std::array<throwing_move, 1>>);
static_assert(bytewise_relocatable<point> && !bytewise_relocatable<counted> && !bytewise_relocatable<owner<int>>);
static_assert(sizeof(owner<point>) == 8 && sizeof(owner<point[]>) == 8);
static_assert(std::is_nothrow_move_constructible_v<owner<point>> && !std::is_copy_constructible_v<owner<point>>);

TEST_F(owner_test, an_owner_follows_its_object) {
  owner<point> p = make<point>(*things, 3, 4);
  ASSERT_TRUE(p);
  const point* before = p.get();
  EXPECT_EQ(h->move_everything(), 1U);
  EXPECT_NE(p.get(), before);
  EXPECT_EQ(p->x, 3);
  EXPECT_EQ((*p).y, 4);
  EXPECT_EQ(&p.home(), &*things);
}

TEST_F(owner_test, an_object_that_knows_its_address_is_moved_by_its_constructor) {
  {
    owner<counted> c = make<counted>(*things, 77U);
    ASSERT_TRUE(c);
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(h->move_everything(), 1U);
      EXPECT_EQ(c->number(), 77U);
      EXPECT_EQ(counted::alive, 1);
    }
  }
  EXPECT_EQ(counted::alive, 0);
}

TEST_F(owner_test, a_block_costs_eight_bytes_besides_its_object) {
  std::vector<owner<std::array<char, 32>>> many;
  many.push_back(make<std::array<char, 32>>(*things));
  const std::size_t before = h->stats().live_bytes;
  for (int i = 0; i < 100; ++i) many.push_back(make<std::array<char, 32>>(*things));
  EXPECT_EQ(things->live(), 101U);
  EXPECT_EQ(h->stats().live_bytes - before, 100 * 40U);
}

TEST_F(owner_test, a_moved_owner_takes_the_object_along) {
  owner<counted> a = make<counted>(*things, 1U);
  owner<counted> b = std::move(a);
  EXPECT_FALSE(a);
  EXPECT_TRUE(a == nullptr);
  EXPECT_EQ(h->move_everything(), 1U);
  EXPECT_EQ(b->number(), 1U);
  owner<counted> c = make<counted>(*things, 2U);
  c = std::move(b);
  EXPECT_EQ(counted::alive, 1);
  EXPECT_EQ(h->move_everything(), 1U);
  EXPECT_EQ(c->number(), 1U);
  owner<counted>& same = c;
  c = std::move(same);
  EXPECT_EQ(c->number(), 1U);
  c = nullptr;
  EXPECT_EQ(counted::alive, 0);
}

TEST_F(owner_test, swapped_owners_keep_their_objects) {
  owner<counted> a = make<counted>(*things, 1U);
  owner<counted> b = make<counted>(*things, 2U);
  std::swap(a, b);
  EXPECT_EQ(h->move_everything(), 2U);
  EXPECT_EQ(a->number(), 2U);
  EXPECT_EQ(b->number(), 1U);
}

struct node {
  counted number;
  owner<node> left;
  owner<node> right;

  explicit node(std::uint64_t n) noexcept : number(n) {}
};

TEST_F(owner_test, kinds_go_with_their_typed_heap) {
  const std::size_t held = h->stats().metadata_bytes;
  for (int i = 0; i < 300; ++i) {
    typed_heap one_request(*h);
    const owner<counted> a = make<counted>(one_request, 1U);
    const owner<point> b = make<point>(one_request, 1, 2);
    ASSERT_TRUE(a && b);
  }
  EXPECT_LE(h->stats().metadata_bytes, held + 1024);
}

std::uint64_t sum(const owner<node>& n) { return n ? n->number.number() + sum(n->left) + sum(n->right) : 0; }

void add(typed_heap& things, owner<node>& root, std::uint64_t number) {
  owner<node> made = make<node>(things, number);  // before the walk, whose addresses it could invalidate
  ASSERT_TRUE(made);
  owner<node>* at = &root;
  while (*at) at = number < (*at)->number.number() ? &(*at)->left : &(*at)->right;
  *at = std::move(made);
}

TEST_F(owner_test, a_tree_of_owners_survives_moving_all_its_nodes_at_every_step) {
  {
    std::mt19937_64 random(seed());
    owner<node> root;
    std::uint64_t expected = 0;
    for (int i = 0; i < 300; ++i) {
      const std::uint64_t number = random() % 1'000'000;
      add(*things, root, number);
      expected += number;
      EXPECT_EQ(h->move_everything(), static_cast<std::size_t>(i) + 1);
      ASSERT_EQ(sum(root), expected);
    }
    owner<node> other = std::move(root->left);
    h->move_everything();
    EXPECT_EQ(sum(root) + sum(other), expected);
    root.reset();
    h->move_everything();
    EXPECT_EQ(counted::alive, static_cast<std::ptrdiff_t>(things->live()));
  }
  EXPECT_EQ(counted::alive, 0);
}

TEST_F(owner_test, a_list_can_be_eaten_from_its_head) {
  owner<node> head;
  for (unsigned i = 0; i < 100; ++i) {
    owner<node> made = make<node>(*things, i);
    made->right = std::move(head);
    head = std::move(made);
    h->move_everything();
  }
  for (unsigned left = 100; head; --left) {
    ASSERT_EQ(head->number.number(), left - 1);
    head = std::move(head->right);
    h->move_everything();
  }
  EXPECT_EQ(things->live(), 0U);
}

TEST_F(owner_test, owners_in_std_containers_are_found) {
  std::vector<owner<std::string>> texts;
  for (int i = 0; i < 200; ++i) {
    texts.push_back(make<std::string>(*things, static_cast<std::size_t>(i), 'x'));
    if (i % 10 == 0) h->move_everything();
  }
  std::reverse(texts.begin(), texts.end());
  texts.erase(texts.begin() + 50, texts.begin() + 150);
  EXPECT_EQ(h->move_everything(), 100U);
  for (std::size_t i = 0; i < 50; ++i) {
    EXPECT_EQ(*texts[i], std::string(199 - i, 'x'));
    EXPECT_EQ(*texts[50 + i], std::string(49 - i, 'x'));
  }
}

// Makes children while it is being made itself, in a heap that moves everything meanwhile.
struct parent {
  counted first;
  owner<counted> child;
  counted second;
  owner<parent> younger;

  parent(typed_heap& things, unsigned depth) : first(depth), child(make<counted>(things, depth)), second(depth) {
    things.blocks().move_everything();
    if (depth != 0) younger = make<parent>(things, things, depth - 1);
    things.blocks().move_everything();
  }
  parent(parent&&) noexcept = default;
};

TEST_F(owner_test, a_constructor_may_use_the_heap_and_its_block_stays_meanwhile) {
  {
    owner<parent> p = make<parent>(*things, *things, 20U);
    h->move_everything();
    EXPECT_EQ(things->live(), 42U);
    unsigned depth = 20;
    for (const parent* at = p.get(); at != nullptr; at = at->younger.get(), --depth) {
      EXPECT_EQ(at->first.number(), depth);
      EXPECT_EQ(at->second.number(), depth);
      EXPECT_EQ(at->child->number(), depth);
    }
  }
  EXPECT_EQ(counted::alive, 0);
}

// Moves as bytes, and notices if that happens too early.
struct early_bytes {
  const void* made_at;
  const void* stayed_at;
  explicit early_bytes(typed_heap& things) noexcept : made_at(this) {
    EXPECT_EQ(things.blocks().move_everything(), 0U);
    stayed_at = this;
  }
};
static_assert(bytewise_relocatable<early_bytes>);

TEST_F(owner_test, a_constructor_of_what_moves_as_bytes_may_use_the_heap_too) {
  const owner<early_bytes> e = make<early_bytes>(*things, *things);
  EXPECT_EQ(e->made_at, e.get());
  EXPECT_EQ(e->stayed_at, e.get());
  EXPECT_EQ(h->move_everything(), 1U);
  EXPECT_NE(e->made_at, e.get());
}

// Uses the heap while it is being destroyed.
struct busy_death {
  typed_heap* things;
  counted number;

  explicit busy_death(typed_heap& t) noexcept : things(&t), number(5) {}
  busy_death(busy_death&&) noexcept = default;
  ~busy_death() {
    if (number.number() != 5) return;  // moved from: the heap may not be used
    const owner<counted> last = make<counted>(*things, 9U);
    things->blocks().move_everything();
    EXPECT_EQ(number.number(), 5U);
    EXPECT_EQ(last->number(), 9U);
  }
};

TEST_F(owner_test, a_destructor_may_use_the_heap_and_its_block_stays_meanwhile) {
  owner<busy_death> b = make<busy_death>(*things, *things);
  owner<busy_death> c = make<busy_death>(*things, *things);
  h->move_everything();
  b.reset();
  b = std::move(c);
  b.reset();
  EXPECT_EQ(counted::alive, 0);
}

TEST_F(owner_test, a_constructor_that_throws_leaves_nothing_behind) {
  struct thrower {
    explicit thrower(int at) {
      if (at == 1) throw std::runtime_error("no");
    }
  };
  const owner<thrower> good = make<thrower>(*things, 0);
  const std::size_t blocks = h->stats().blocks;
  EXPECT_THROW((void)make<thrower>(*things, 1), std::runtime_error);
  EXPECT_EQ(things->live(), 1U);
  EXPECT_EQ(h->stats().blocks, blocks);

  static int made = 0;
  struct third_throws {
    counted c;
    third_throws() {
      if (++made == 3) throw std::runtime_error("no");
    }
  };
  EXPECT_THROW((void)make_array<third_throws>(*things, 10), std::runtime_error);
  EXPECT_EQ(counted::alive, 0);
  EXPECT_EQ(h->stats().blocks, blocks);
}

template <std::size_t alignment>
struct alignas(alignment) aligned {
  std::uint64_t number;
};
template <std::size_t alignment>
struct alignas(alignment) aligned_counted {
  counted c;
};

template <std::size_t alignment>
void check_alignment(typed_heap& things) {
  std::vector<owner<aligned<alignment>>> bytes;
  std::vector<owner<aligned_counted<alignment>>> objects;
  std::vector<owner<aligned<alignment>[]>> arrays;
  for (unsigned i = 0; i < 10; ++i) {
    bytes.push_back(make<aligned<alignment>>(things));
    bytes.back()->number = i;
    objects.push_back(make<aligned_counted<alignment>>(things));
    arrays.push_back(make_array<aligned<alignment>>(things, 3));
    arrays.back()[2].number = i;
  }
  EXPECT_EQ(things.blocks().move_everything(), 30U);
  for (unsigned i = 0; i < 10; ++i) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(bytes[i].get()) % alignment, 0U);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(objects[i].get()) % alignment, 0U);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(arrays[i].get()) % alignment, 0U);
    EXPECT_EQ(bytes[i]->number, i);
    EXPECT_EQ(objects[i]->c.number(), 0U);
    EXPECT_EQ(arrays[i][2].number, i);
    EXPECT_EQ(arrays[i][1].number, 0U);
  }
}

TEST_F(owner_test, over_aligned_objects_stay_aligned) {
  check_alignment<16>(*things);
  check_alignment<64>(*things);
  check_alignment<512>(*things);
  check_alignment<4096>(*things);
}

TEST_F(owner_test, types_that_move_as_bytes_share_a_kind) {
  const owner<int> a = make<int>(*things, 1);
  const std::size_t before = h->stats().shelves;
  const owner<float> b = make<float>(*things, 1.0F);
  const owner<point> c = make<point>(*things, 1, 2);
  EXPECT_EQ(things->kind_of<int>().index, things->kind_of<point>().index);
  EXPECT_EQ(h->stats().shelves, before);
  EXPECT_NE(things->kind_of<int>().index, things->kind_of<counted>().index);
  EXPECT_EQ(things->kind_of<counted>().index, things->kind_of<counted>().index);
}

template <std::size_t number>
struct numbered : counted {};

template <std::size_t... numbers>
std::size_t make_kinds(typed_heap& things, std::index_sequence<numbers...>) {
  const bool made[] = {static_cast<bool>(make<numbered<numbers>>(things))...};
  return static_cast<std::size_t>(std::count(std::begin(made), std::end(made), true));
}

TEST_F(owner_test, more_types_than_kinds_make_empty_owners) {
  const std::size_t made = make_kinds(*things, std::make_index_sequence<260>());
  EXPECT_EQ(made, heap::kinds_max - 1);  // one is that of the table of kinds
  EXPECT_EQ(make_kinds(*things, std::make_index_sequence<100>()), 100U);
  EXPECT_FALSE(make<int>(*things, 1));
  EXPECT_EQ(counted::alive, 0);
}

TEST_F(owner_test, arrays_know_their_length_and_move_with_all_elements) {
  {
    owner<counted[]> objects = make_array<counted>(*things, 100);
    owner<int[]> numbers = make_array<int>(*things, 5000);
    const owner<int[]> none = make_array<int>(*things, 0);
    ASSERT_TRUE(objects && numbers && none);
    EXPECT_EQ(counted::alive, 100);
    for (std::size_t i = 0; i < 100; ++i) objects[i] = counted(i);
    for (int& n : numbers) n = static_cast<int>(&n - numbers.get());
    EXPECT_EQ(h->move_everything(), 3U);
    EXPECT_EQ(objects.size(), 100U);
    EXPECT_EQ(numbers.span().size(), 5000U);
    EXPECT_EQ(none.size(), 0U);
    for (std::size_t i = 0; i < 100; ++i) ASSERT_EQ(objects[i].number(), i);
    for (int i = 0; i < 5000; ++i) ASSERT_EQ(numbers[static_cast<std::size_t>(i)], i);
    const owner<counted[]> other = std::move(objects);
    EXPECT_TRUE(objects == nullptr);
    h->move_everything();
    EXPECT_EQ(other[99].number(), 99U);
  }
  EXPECT_EQ(counted::alive, 0);
  EXPECT_FALSE(make_array<std::uint64_t>(*things, SIZE_MAX / 4));
  EXPECT_FALSE(make_array<std::uint64_t>(*things, SIZE_MAX));
}

TEST_F(owner_test, arrays_of_owners_move_with_their_objects) {
  owner<owner<counted>[]> many = make_array<owner<counted>>(*things, 50);
  for (std::size_t i = 0; i < 50; ++i) {
    owner<counted> made = make<counted>(*things, i);
    many[i] = std::move(made);
    EXPECT_EQ(h->move_everything(), i + 2);
  }
  for (std::size_t i = 0; i < 50; ++i) EXPECT_EQ(many[i]->number(), i);
}

// A text that is its own tail: with a destructor, so that its bytes alone won't do.
struct text {
  counted c;
  std::size_t length;

  explicit text(std::string_view from) noexcept : length(from.size()) { std::memcpy(bytes(), from.data(), length); }
  text(text&&) noexcept = default;
  [[nodiscard]] std::size_t tail_bytes() const noexcept { return length; }
  [[nodiscard]] char* bytes() noexcept { return reinterpret_cast<char*>(this + 1); }
};

struct plain_text {
  std::size_t length;
  [[nodiscard]] char* bytes() noexcept { return reinterpret_cast<char*>(this + 1); }
};

TEST_F(owner_test, tails_move_with_their_objects) {
  std::vector<owner<text>> texts;
  std::vector<owner<plain_text>> plain;
  for (std::size_t length = 0; length < 20'000; length = length * 3 / 2 + 1) {
    const std::string from(length, static_cast<char>('a' + length % 26));
    texts.push_back(make_with_tail<text>(*things, length, from));
    ASSERT_TRUE(texts.back());
    plain.push_back(make_with_tail<plain_text>(*things, length, length));
    ASSERT_TRUE(plain.back());
    std::memcpy(plain.back()->bytes(), from.data(), length);
    h->move_everything();
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const std::size_t n = texts[i]->length;
      ASSERT_EQ(std::string(texts[i]->bytes(), n), std::string(n, static_cast<char>('a' + n % 26)));
      ASSERT_EQ(std::string(plain[i]->bytes(), n), std::string(n, static_cast<char>('a' + n % 26)));
    }
  }
  EXPECT_FALSE(make_with_tail<plain_text>(*things, SIZE_MAX - 4, SIZE_MAX));
}

// Relocates itself: keeps a count of that, and a pointer into itself.
struct self_mover {
  int value;
  int moves = 0;
  int* inside = &value;

  explicit self_mover(int v) noexcept : value(v) {}
  self_mover(const self_mover&) = delete;
  void relocate_to(void* to) noexcept {
    auto* target = ::new (to) self_mover(value);
    target->moves = moves + 1;
  }
};

TEST_F(owner_test, a_type_may_relocate_itself) {
  const owner<self_mover> s = make<self_mover>(*things, 8);
  h->move_everything();
  h->move_everything();
  EXPECT_EQ(s->moves, 2);
  EXPECT_EQ(s->inside, &s->value);
  EXPECT_EQ(*s->inside, 8);
}

TEST_F(owner_test, a_pinned_object_keeps_its_address) {
  owner<counted> c = make<counted>(*things, 1U);
  const owner<counted[]> a = make_array<counted>(*things, 3);
  const counted* address = c.get();
  const counted* elements = a.get();
  {
    pin_guard first(c);
    ASSERT_TRUE(first);
    pin_guard second(c);
    pin_guard array(a);
    ASSERT_TRUE(second && array);
    EXPECT_EQ(h->move_everything(), 0U);
    first.reset();
    const pin_guard third = std::move(second);
    owner<counted> other = std::move(c);
    EXPECT_EQ(h->move_everything(), 0U);
    EXPECT_EQ(other.get(), address);
    EXPECT_EQ(a.get(), elements);
    c = std::move(other);
  }
  EXPECT_EQ(h->stats().pinned_blocks, 0U);
  EXPECT_EQ(h->move_everything(), 2U);
  EXPECT_NE(c.get(), address);
  EXPECT_FALSE(pin_guard(owner<counted>()));
}

TEST_F(owner_test, a_full_heap_makes_empty_owners_and_calls_no_constructor) {
  make_heap(2 * mib);
  {
    std::vector<owner<counted>> many;
    for (owner<counted> c = make<counted>(*things, 0U); c; c = make<counted>(*things, many.size())) {
      many.push_back(std::move(c));
    }
    EXPECT_EQ(counted::alive, static_cast<std::ptrdiff_t>(many.size()));
    EXPECT_GT(many.size(), 50'000U);
    EXPECT_FALSE(make_array<counted>(*things, 10'000));
    for (std::size_t i = 0; i < many.size(); ++i) ASSERT_EQ(many[i]->number(), i);
    std::mt19937_64 random(seed());
    std::shuffle(many.begin(), many.end(), random);
    many.resize(many.size() / 4);
    EXPECT_TRUE(make_array<counted>(*things, 10'000));
  }
  EXPECT_EQ(counted::alive, 0);
}

TEST_F(owner_test, freeing_and_compacting_gives_the_memory_back) {
  std::mt19937_64 random(seed());
  std::vector<owner<node>> many;
  for (std::size_t i = 0; i < 100'000; ++i) many.push_back(make<node>(*things, i));
  for (owner<node>& n : many) {
    if (random() % 10 != 0) n.reset();
  }
  const std::size_t held = h->stats().held_bytes;
  h->compact();
  EXPECT_LT(h->stats().held_bytes, held / 8);
  EXPECT_LT(h->stats().held_bytes, h->stats().live_bytes * 21 / 20);
  for (std::size_t i = 0; i < many.size(); ++i) {
    if (many[i]) {
      ASSERT_EQ(many[i]->number.number(), i);
    }
  }
}

TEST_F(owner_test, a_typed_heap_for_which_there_is_no_number_makes_empty_owners) {
  std::vector<std::unique_ptr<typed_heap>> many;
  while (many.size() < 65'534) {
    many.push_back(std::make_unique<typed_heap>(*h));
    ASSERT_TRUE(*many.back()) << many.size();
  }
  std::optional<typed_heap> excess(std::in_place, *h);
  EXPECT_FALSE(*excess);
  EXPECT_FALSE(make<int>(*excess, 1));
  EXPECT_FALSE(make_array<counted>(*excess, 1));
  const owner<int> last = make<int>(*many.back(), 3);
  EXPECT_EQ(*last, 3);
  EXPECT_EQ(&last.home(), many.back().get());
  many.erase(many.begin() + 1000);
  excess.emplace(*h);
  EXPECT_TRUE(*excess);
}

#if SCOOT_CHECK_LEVEL >= 1

using owner_death_test = owner_test;

TEST_F(owner_death_test, an_owner_that_was_overwritten) {
  EXPECT_DEATH(
      {
        owner<point> p = make<point>(*things, 1, 2);
        std::memset(static_cast<void*>(&p), 0, sizeof p);
        h->move_everything();
      },
      "scoot: .*does not point to it");
}

TEST_F(owner_death_test, an_owner_that_outlives_its_typed_heap) {
  EXPECT_DEATH(
      {
        owner<point> p = make<point>(*things, 1, 2);
        things.reset();
      },
      "scoot: .*while 1 blocks still have owners");
}

TEST_F(owner_death_test, an_object_destroyed_while_it_is_pinned) {
  EXPECT_DEATH(
      {
        owner<point> p = make<point>(*things, 1, 2);
        const pin_guard guard(p);
        p.reset();
      },
      "scoot: ");
}

TEST_F(owner_death_test, a_move_constructor_that_allocates) {
  struct careless {
    typed_heap* things;
    explicit careless(typed_heap& t) : things(&t) {}
    careless(careless&& other) noexcept : things(other.things) { (void)make<int>(*things, 1); }
  };
  EXPECT_DEATH(
      {
        const owner<careless> c = make<careless>(*things, *things);
        h->move_everything();
      },
      "scoot: ");
}

#endif

}  // namespace
}  // namespace scoot::testing
