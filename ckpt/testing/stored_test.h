#ifndef HETERO_CKPT_TESTING_STORED_TEST_H_
#define HETERO_CKPT_TESTING_STORED_TEST_H_

#include <cstdint>
#include <filesystem>
#include <string>

#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/checkpoint_tensor.h"
#include "hetero/ckpt/load.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/ckpt/storage/storage.h"
#include "hetero/ckpt/testing/pattern.h"
#include "hetero/ckpt/testing/world.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/memory.h"

namespace hetero {

// A checkpoint "/c" of w, w2, exp.weight and two objects.
class StoredTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const WholeTensor w("w", DType::kF32, {4, 8}), w2("w2", DType::kBF16, {5}),
        exp("exp.weight", DType::kF32, {2, 3, 2});
    CheckpointState state{.tensors = {w.tensor(), w2.tensor(), exp.tensor()}};
    state.objects = {{.name = "lin._extra_state/shard_0_1", .value = 1},
                     {.name = "language.rng_state/shard_0_1", .value = {{"seed", 5}}}};
    FillPattern(state.tensors);
    ASSERT_THAT(SaveAlone(storage_, "/c", state), absl_testing::IsOk());
  }

  absl::StatusOr<LoadReport> Load(CheckpointState& state, const LoadOptions& options = {}) {
    return LoadAlone(storage_, "/c", state, options);
  }

  // One byte of a file becomes another one.
  void Flip(const std::filesystem::path& path, int64_t at) {
    std::string bytes = ReadText(storage_, path).value();
    bytes.at(at) = static_cast<char>(bytes[at] ^ 4);
    ASSERT_THAT(WriteText(storage_, path, bytes), absl_testing::IsOk());
  }

  MemoryStorage storage_;
  MemoryLedger memory_;
};

}  // namespace hetero

#endif  // HETERO_CKPT_TESTING_STORED_TEST_H_
