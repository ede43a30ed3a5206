#ifndef HETERO_TENSOR_OPS_AUDIO_AUDIO_H_
#define HETERO_TENSOR_OPS_AUDIO_AUDIO_H_

// The stem of an audio encoder over clips of any length: convolutions over time and positions.
//
// Clips lie one after another and do not see each other. T = sum of their `lengths`, each at least
// 1; R = sum of ConvolvedRows(length, stride); C channels in, N channels out. All tensors are dense
// and of one dtype, gradients of parameters of its compute type.
// Errors: INVALID_ARGUMENT naming the operand, or the clip without rows.

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// Three taps, zeros on both sides of every clip, as torch.nn.Conv1d(kernel_size=3, padding=1):
//   y[o] = sum_k W_k x[stride o + k - 1],  W_k = weight_NK[:, k C : (k + 1) C],  K = 3 C.
// `stride` is 1 or 2.
//
// A product over gathered rows [R, 3 C] in the stream's workspace: 6 C N operations a row. To
// gather costs one more write and read of 3 C elements, in bf16 a byte for N / 2 operations: with N
// = 1280 at most a third of the product's time at the peak rates of an H200, and less where the
// rows stay in its L2 cache. Three products over shifted views would read or write y five times
// instead, 5 N elements a row to 6 C, and mix what lies on both sides of a clip's border.
struct TimeConvShape {
  std::span<const int32_t> lengths;
  int64_t stride = 1;
};
absl::Status TimeConvForward(const TimeConvShape& shape, const ConstTensorView& x_TC,
                             const ConstTensorView& weight_NK, const TensorView& y_RN,
                             Stream& stream);

// Gathers again instead of keeping the rows. The taps of a row of d_x are summed in their order.
struct TimeConvBackwardArgs {
  ConstTensorView dy_RN;
  ConstTensorView x_TC;
  ConstTensorView weight_NK;
  TensorView d_x_TC;        // null: not wanted; must not overlap an input
  TensorView d_weight_NK;   // null: not wanted
  bool accumulate = false;  // add to d_weight instead of overwriting it
};
absl::Status TimeConvBackward(const TimeConvShape& shape, const TimeConvBackwardArgs& args,
                              Stream& stream);

// out = x + positions that start again with every clip; out may be x. C = 2 h, h at least 2:
//   p[t, i] = sin(t w_i),  p[t, h + i] = cos(t w_i),  w_i = 10000^(-i / (h - 1)),  i < h
// Vaswani et al. 2017 (arXiv:1706.03762, section 3.5) in the order and with the frequencies of
// Whisper's encoder (Radford et al. 2022, arXiv:2212.04356, section 2.2). Angles are exact to the
// storage type at any t: they are reduced to one turn in f64. Its gradient is the identity.
absl::Status AddSinusoids(std::span<const int32_t> lengths, const ConstTensorView& x_TC,
                          const TensorView& out_TC, Stream& stream);

namespace internal {

// Row o of columns_RK = rows stride o - 1, stride o and stride o + 1 of its clip.
absl::Status GatherTapsCpu(const TimeConvShape& shape, const ConstTensorView& x_TC,
                           const TensorView& columns_RK);
// Its transpose.
absl::Status SumTapsCpu(const TimeConvShape& shape, const ConstTensorView& columns_RK,
                        const TensorView& x_TC);
// `turns_per_row` f64 [C / 2]: scratch.
absl::Status AddSinusoidsCpu(std::span<const int32_t> lengths, const ConstTensorView& x_TC,
                             const TensorView& turns_per_row, const TensorView& out_TC);

absl::Status GatherTapsCuda(const TimeConvShape& shape, const ConstTensorView& x_TC,
                            const TensorView& columns_RK, Stream& stream);
absl::Status SumTapsCuda(const TimeConvShape& shape, const ConstTensorView& columns_RK,
                         const TensorView& x_TC, Stream& stream);
absl::Status AddSinusoidsCuda(std::span<const int32_t> lengths, const ConstTensorView& x_TC,
                              const TensorView& out_TC, Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_AUDIO_AUDIO_H_
