#ifndef HETERO_COMM_CUDA_TESTING_TURNS_H_
#define HETERO_COMM_CUDA_TESTING_TURNS_H_

// What the laws of cuda_testing.h are checked with: values that every rank knows of every other,
// brought anew in each of several turns.

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/grid/rank.h"
#include "hetero/tensor/copy.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/stream.h"

namespace hetero::internal {

inline constexpr int64_t kTurns = 6;

// A rank on each device.
Group World(const RunRanksOptions& options);

// What `rank` brings to its call `turn`: integers, or numbers whose sum depends on the order.
std::vector<double> Values(DType dtype, int64_t rank, int64_t turn, int64_t count);

// Errors: INTERNAL naming the first element that differs.
absl::Status Expect(std::span<const double> actual, std::span<const double> expected,
                    std::string_view what, int64_t turn);

// The tensors of one turn: `work` is written from `source` in stream order.
struct Turn {
  Turn(DType dtype, int64_t count, const std::vector<double>& values, Stream& stream)
      : source(dtype, {count}, stream),
        work(dtype, {count}, stream),
        poison(dtype, {count}, stream) {
    source.Set(values);
  }

  absl::Status Write(Stream& stream) { return CopyToDevice(source.view(), work.view(), stream); }
  absl::Status Spoil(Stream& stream) { return CopyToDevice(poison.view(), work.view(), stream); }

  DeviceTensor source, work, poison;
};

}  // namespace hetero::internal

#endif  // HETERO_COMM_CUDA_TESTING_TURNS_H_
