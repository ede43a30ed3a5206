#include "hetero/tools/bench/exposed.h"

#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero::bench {
namespace {

using ::absl_testing::IsOk;
using ::testing::HasSubstr;

TEST(ExposedTest, EveryLayerThatRanksShareIsMeasured) {
  const absl::StatusOr<std::vector<ExposedRow>> rows =
      MeasureExposed(Tiny(), {.on_gpus = false, .num_ranks = 2, .samples = 3, .calls = 1});
  ASSERT_THAT(rows, IsOk());
  EXPECT_EQ(rows->size(), 7);
  for (const ExposedRow& row : *rows) {
    EXPECT_GT(row.with_us, 0) << row.name;
    EXPECT_GT(row.serial_us, 0) << row.name;
    EXPECT_GT(row.without_us, 0) << row.name;
    EXPECT_GT(row.alone_us, 0) << row.name;
  }
  EXPECT_THAT(ToText(*rows), HasSubstr("tp 2 layer.attention"));
  EXPECT_THAT(ToText(*rows), HasSubstr("ep 2 layer.moe"));
  EXPECT_THAT(ToText(*rows), HasSubstr("dp 2 gradients of 4 mlp"));
  EXPECT_THAT(ToText(*rows), HasSubstr("dp 2 parameters of 4 mlp"));
}

TEST(ExposedTest, WhatProductsHideIsNotExposed) {
  const ExposedRow row = {.with_us = 120, .without_us = 100, .alone_us = 50};
  EXPECT_EQ(row.exposed_us(), 20);
  EXPECT_EQ(row.hidden_us(), 30);
}

}  // namespace
}  // namespace hetero::bench
