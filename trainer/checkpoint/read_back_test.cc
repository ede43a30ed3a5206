#include "hetero/trainer/checkpoint/read_back.h"

#include <cstdint>
#include <string>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/ckpt/storage/storage.h"
#include "hetero/ckpt/testing/world.h"

namespace hetero {
namespace {

using absl_testing::IsOk;
using absl_testing::StatusIs;
using testing::AllOf;
using testing::HasSubstr;

class ReadBackTest : public testing::Test {
 protected:
  void SetUp() override {
    const WholeTensor a("a", DType::kF32, {4, 8}), b("b", DType::kF32, {4, 8});
    ASSERT_THAT(SaveAlone(storage_, "/c", {.tensors = {a.tensor(), b.tensor()}}), IsOk());
  }

  absl::Status Join(int64_t part, int64_t parts) {
    const auto read_back = ReadBack::Start(storage_, "/c", part, parts);
    if (!read_back.ok()) return read_back.status();
    const absl::Status status = (*read_back)->Join();
    EXPECT_TRUE((*read_back)->IsDone());
    return status;
  }

  // In the first element of the tensor that `file` has.
  void FlipBit(const std::string& file) {
    std::string bytes = ReadText(storage_, file).value();
    bytes[4096] = static_cast<char>(bytes[4096] ^ 1);
    ASSERT_THAT(WriteText(storage_, file, bytes), IsOk());
  }

  MemoryStorage storage_;
};

TEST_F(ReadBackTest, WhatWasWrittenIsFoundAsItWas) {
  EXPECT_THAT(Join(0, 1), IsOk());
  for (const int64_t part : {0, 1, 2}) EXPECT_THAT(Join(part, 3), IsOk());
}

TEST_F(ReadBackTest, DamageIsFoundByThePartThatItIsIn) {
  FlipBit("/c/__0_1.distcp");
  EXPECT_THAT(Join(0, 1), StatusIs(absl::StatusCode::kDataLoss,
                                   AllOf(HasSubstr("__0_1.distcp"),
                                         HasSubstr("tensor \"b\": chunk 0, 128 bytes at 4096"))));
  int found = 0;
  for (const int64_t part : {0, 1}) found += Join(part, 2).ok() ? 0 : 1;
  EXPECT_EQ(found, 1);
}

TEST_F(ReadBackTest, AFileThatIsGoneIsTold) {
  ASSERT_THAT(storage_.Remove("/c/__0_0.distcp"), IsOk());
  EXPECT_THAT(Join(0, 1), testing::Not(IsOk()));
}

// Nobody has to ask for the result.
TEST_F(ReadBackTest, OneThatGoesWaitsForItsThread) {
  EXPECT_THAT(ReadBack::Start(storage_, "/c", 0, 1), IsOk());
}

}  // namespace
}  // namespace hetero
