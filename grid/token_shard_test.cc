#include "hetero/grid/token_shard.h"

#include <cstdint>

#include "gtest/gtest.h"

namespace hetero {
namespace {

TEST(TokenShardTest, RanksOwnEveryTokenOnceInTheirOrder) {
  for (int64_t size = 1; size <= 5; ++size) {
    for (int64_t tokens = 0; tokens <= 17; ++tokens) {
      SCOPED_TRACE(testing::Message() << tokens << " tokens on " << size << " ranks");
      int64_t next = 0;
      for (int64_t rank = 0; rank < size; ++rank) {
        const TokenShard shard = {.num_tokens = tokens, .size = size, .rank = rank};
        EXPECT_EQ(shard.begin(), next);
        EXPECT_LE(shard.num_owned(), shard.rows());
        for (int64_t i = 0; i < shard.num_owned(); ++i) EXPECT_EQ(shard.OwnerOf(next++), rank);
      }
      EXPECT_EQ(next, tokens);
    }
  }
}

TEST(TokenShardTest, PaddingIsLessThanARowARank) {
  const TokenShard shard = {.num_tokens = 21, .size = 4, .rank = 3};
  EXPECT_EQ(shard.rows(), 6);
  EXPECT_EQ(shard.padded_tokens(), 24);
  EXPECT_EQ(shard.num_owned(), 3);
}

}  // namespace
}  // namespace hetero
