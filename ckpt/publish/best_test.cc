#include "hetero/ckpt/publish/best.h"

#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/publish/names.h"
#include "hetero/ckpt/storage/memory_storage.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

TEST(BestCheckpointTest, WhatIsWrittenIsReadToTheLastBit) {
  MemoryStorage storage;
  ASSERT_THAT(storage.MakeDirectory("/save"), IsOk());
  EXPECT_THAT(ReadBest(storage, "/save"), IsOkAndHolds(std::nullopt));
  for (const double loss : {0.1 + 0.2, 1e-300, -3.0}) {
    const BestCheckpoint best{.iteration = 400, .loss = loss};
    ASSERT_THAT(WriteBest(storage, "/save", best), IsOk());
    EXPECT_THAT(ReadBest(storage, "/save"), IsOkAndHolds(best));
  }
}

TEST(BestCheckpointTest, WhatNamesNoCheckpointIsSaid) {
  MemoryStorage storage;
  ASSERT_THAT(storage.MakeDirectory("/save"), IsOk());
  for (const std::string_view text :
       {"", "{", "[]", "{\"iteration\": 4}", "{\"iteration\": -4, \"loss\": 1}",
        "{\"iteration\": 4.5, \"loss\": 1}", "{\"iteration\": 4, \"loss\": \"1\"}"}) {
    ASSERT_THAT(ReplaceText(storage, "/save/best.json", text), IsOk());
    EXPECT_THAT(ReadBest(storage, "/save"),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("/save/best.json")))
        << text;
  }
}

}  // namespace
}  // namespace hetero
