#ifndef HETERO_TENSOR_OPS_ADAMW_ADAMW_H_
#define HETERO_TENSOR_OPS_ADAMW_ADAMW_H_

// Adam with decoupled weight decay (Kingma and Ba, arXiv:1412.6980, algorithm 1; Loshchilov and
// Hutter, arXiv:1711.05101, algorithm 2) over a flat range of parameters, in one pass:
//
//   g' = scale g,  m = b1 m + (1 - b1) g',  v = b2 v + (1 - b2) g'^2
//   p = p - lr (c1 m / (sqrt(c2 v) + eps) + wd p),  c_i = 1 / (1 - b_i^t)
//
// Normalisation by tokens and clipping are in `scale`, so no pass of their own touches the
// gradients. It reads four and writes three values an element, or four with `rounded_N`.

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// A range of elements with one weight decay; elements outside of all segments are left alone.
struct AdamWSegment {
  int64_t begin = 0;
  int64_t count = 0;
  double weight_decay = 0;

  bool operator==(const AdamWSegment&) const = default;
};

// N elements, all of one type unless said otherwise, f32, on the CPU also f64, contiguous, not
// overlapping.
struct AdamWArgs {
  TensorView parameter_N;
  ConstTensorView gradient_N;
  TensorView first_moment_N;
  TensorView second_moment_N;
  // bf16: receives the new parameters, rounded, where they are masters; null: they are used as they
  // are.
  TensorView rounded_N;
  std::span<const AdamWSegment> segments;  // ascending, disjoint, inside [0, N)
  double beta1 = 0;
  double beta2 = 0;
  double epsilon = 0;
  double learning_rate = 0;
  double first_correction = 0;   // c1
  double second_correction = 0;  // c2
  ConstTensorView decisions;     // of DecideUpdate: scale, and whether anything is written
};

// Errors: INVALID_ARGUMENT naming the operand or the segment.
absl::Status AdamW(const AdamWArgs& args, Stream& stream);

namespace internal {

absl::Status AdamWCpu(const AdamWArgs& args);
absl::Status AdamWCuda(const AdamWArgs& args, Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_ADAMW_ADAMW_H_
