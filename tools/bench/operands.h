#ifndef HETERO_TOOLS_BENCH_OPERANDS_H_
#define HETERO_TOOLS_BENCH_OPERANDS_H_

// Device memory that a benchmark case works on, filled with random values: zeros run faster than
// what training has.

#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero::bench {

// Owns what it hands out. Where memory or a copy fails, views point nowhere and status() says why:
// it is asked once, before the first use. On the shape-only device nothing is filled.
class Operands {
 public:
  // `seed` chooses the values. `stream` outlives the operands.
  Operands(Stream& stream, uint64_t seed) : stream_(stream), seed_(seed) {}
  Operands(const Operands&) = delete;
  Operands& operator=(const Operands&) = delete;

  // Type of weights and activations, bf16 on GPUs, and of statistics and main gradients.
  DType storage() const { return stream_.device().IsCuda() ? DType::kBF16 : DType::kF32; }
  DType compute() const { return ComputeDType(storage()); }

  // Zeros.
  TensorView Empty(DType dtype, std::initializer_list<int64_t> dims);

  // Values of N(0, stddev²), the same again after a million.
  TensorView Normal(DType dtype, std::initializer_list<int64_t> dims, double stddev = 1);
  TensorView Normal(std::initializer_list<int64_t> dims, double stddev = 1) {
    return Normal(storage(), dims, stddev);
  }

  // One dim.
  TensorView Values(DType dtype, std::span<const double> values);
  TensorView Indices(std::span<const int32_t> values);

  // Counts what is allocated for the case elsewhere.
  MemoryLedger& memory() { return memory_; }
  Stream& stream() { return stream_; }

  const absl::Status& status() const { return status_; }

 private:
  void FillNormal(const TensorView& view, double stddev);
  void Fill(const TensorView& view, absl::FunctionRef<double(int64_t)> value);
  void Upload(const ConstTensorView& host, const TensorView& view);

  Stream& stream_;
  uint64_t seed_;
  uint64_t num_filled_ = 0;
  MemoryLedger memory_;
  std::vector<Buffer> buffers_;
  absl::Status status_;
};

}  // namespace hetero::bench

#endif  // HETERO_TOOLS_BENCH_OPERANDS_H_
