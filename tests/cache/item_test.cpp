// SPDX-License-Identifier: MIT
//
// Goal: an item gives back what was put into it, in every combination of fields and at every width of the value length,
// and costs no byte more than its layout says. Method: all of them, with guard bytes behind the block.
#include "cache/item.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "support.hpp"

namespace scoot::caching {
namespace {

TEST(item, keeps_everything_when_it_gets_more_fields) {
  for (const std::size_t value_bytes : {0u, 1u, 255u, 256u, 65535u, 65536u}) {
    for (unsigned bits = 0; bits < 256; ++bits) {
      const item_fields had{(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0};
      const item_fields more{(bits & 16) != 0, (bits & 32) != 0, (bits & 64) != 0, (bits & 128) != 0};
      const item_fields all{had.flags || more.flags, had.expiry || more.expiry, had.cas || more.cas,
                            had.notes || more.notes};
      const std::size_t bytes = item::bytes_for(32, value_bytes, all);
      std::vector<unsigned char> memory(bytes + 8, 0xee);
      item it(memory.data());
      const std::string key = testing::patterned(32, 32), value = testing::patterned(value_bytes + 7, value_bytes);
      it.format(key, value_bytes, had);
      std::memcpy(it.value(), value.data(), value.size());
      if (had.flags) it.set_flags(0xdeadbeef);
      if (had.expiry) it.set_expires_at(0xcafe0001), it.set_wheel_mark(0x5a);
      if (had.cas) it.set_cas(0x123456789abcdef0);
      if (had.notes) it.set_notes(item::note_won), it.set_used_at(0x87654321);
      it.set_mark(0xa5);
      it.set_uses(2);
      it.add_fields(more);
      ASSERT_EQ(it.bytes(), bytes);
      ASSERT_TRUE(it.has_shape(value_bytes, all));
      ASSERT_EQ(it.key(), key);
      ASSERT_EQ(std::string_view(it.value(), it.value_bytes()), value);
      ASSERT_EQ(it.flags(), had.flags ? 0xdeadbeef : 0);
      ASSERT_EQ(it.cas(), had.cas ? 0x123456789abcdef0 : 0);
      if (had.expiry) {
        ASSERT_EQ(it.expires_at(), 0xcafe0001);
        ASSERT_EQ(it.wheel_mark(), 0x5a);
      }
      ASSERT_EQ(it.notes(), had.notes ? item::note_won : 0u);
      if (had.notes) {
        ASSERT_EQ(it.used_at(), 0x87654321u);
      }
      ASSERT_EQ(it.mark(), 0xa5);
      ASSERT_EQ(it.uses(), 2u);
      for (std::size_t i = 0; i < 8; ++i) ASSERT_EQ(memory[bytes + i], 0xee);
    }
  }
}

TEST(item, gives_back_what_was_put_in_for_every_shape) {
  for (const std::size_t value_bytes : {0u, 1u, 255u, 256u, 65535u, 65536u, 16777215u, 16777216u}) {
    for (const std::size_t key_bytes : {1u, 32u, 250u}) {
      for (unsigned bits = 0; bits < 16; ++bits) {
        if (value_bytes > 1000000 && (key_bytes != 32 || bits % 15 != 0)) continue;  // the same, slowly
        const item_fields fields{(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0};
        const std::size_t bytes = item::bytes_for(key_bytes, value_bytes, fields);
        std::vector<unsigned char> memory(bytes + 8, 0xee);
        item it(memory.data());
        const std::string key = testing::patterned(key_bytes, key_bytes);
        const std::string value = testing::patterned(value_bytes + 7, value_bytes);
        it.format(key, value_bytes, fields);
        std::memcpy(it.value(), value.data(), value.size());
        if (fields.flags) it.set_flags(0xdeadbeef);
        if (fields.expiry) it.set_expires_at(0xcafe0001), it.set_wheel_mark(0x5a);
        if (fields.cas) it.set_cas(0x123456789abcdef0);
        if (fields.notes) it.set_notes(item::note_stale | item::note_binary_key), it.set_used_at(0x87654321);
        it.set_mark(0xa5);
        it.set_uses(2);
        it.note_read();
        ASSERT_EQ(it.bytes(), bytes);
        ASSERT_EQ(it.key(), key);
        ASSERT_EQ(std::string_view(it.value(), it.value_bytes()), value);
        ASSERT_EQ(it.flags(), fields.flags ? 0xdeadbeef : 0);
        ASSERT_EQ(it.expires_at(), fields.expiry ? 0xcafe0001 : 0);
        ASSERT_EQ(it.cas(), fields.cas ? 0x123456789abcdef0 : 0);
        if (fields.expiry) {
          ASSERT_EQ(it.wheel_mark(), 0x5a);
        }
        ASSERT_EQ(it.notes(), fields.notes ? item::note_stale | item::note_binary_key : 0);
        if (fields.notes) {
          ASSERT_EQ(it.used_at(), 0x87654321u);
        }
        ASSERT_EQ(it.has_notes_field(), fields.notes);
        ASSERT_TRUE(it.has_shape(value_bytes, fields));
        ASSERT_EQ(it.mark(), 0xa5);
        ASSERT_EQ(it.uses(), 3u);
        ASSERT_TRUE(it.was_read());
        for (std::size_t i = 0; i < 8; ++i) ASSERT_EQ(memory[bytes + i], 0xee);
      }
    }
  }
}

TEST(item, costs_four_bytes_besides_key_and_short_value) {
  EXPECT_EQ(item::bytes_for(32, 100, {}), 32u + 100 + 4);
  EXPECT_EQ(item::bytes_for(32, 1024, {}), 32u + 1024 + 5);
}

TEST(item, counts_uses_up_to_three) {
  unsigned char memory[64];
  item it(memory);
  it.format("key", 1, {});
  EXPECT_FALSE(it.was_read());
  for (int i = 0; i < 5; ++i) it.note_read();
  EXPECT_EQ(it.uses(), 3u);
  EXPECT_TRUE(it.was_read());
}

}  // namespace
}  // namespace scoot::caching
