#ifndef HETERO_TENSOR_OPS_INITIAL_VALUES_INITIAL_VALUES_H_
#define HETERO_TENSOR_OPS_INITIAL_VALUES_INITIAL_VALUES_H_

// Layout-independent initialisation: the value of an element is a function of a key and its index
// in the logical tensor, so whoever holds the element, on whatever device, draws the same bits.
//
// initial_value.h is how: words come from Philox4x32-10 (Salmon et al., "Parallel random numbers:
// as easy as 1, 2, 3", SC 2011), normals from the inverse normal distribution (Wichura, algorithm
// AS 241, PPND7).

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

struct Init {
  enum class Kind : uint8_t {
    kConstant,        // a
    kNormal,          // mean 0, standard deviation a
    kUniform,         // on (a, b)
    kLogOfUniform,    // log of uniform on (a, b): the A_log of Mamba-2
    kInverseSoftplus  // of exp(uniform on (log a, log b)) and at least 1e-4: the dt_bias of Mamba-2
  };
  Kind kind = Kind::kConstant;
  double a = 0;
  double b = 0;

  static Init Constant(double value) { return {Kind::kConstant, value, 0}; }
  static Init Normal(double standard_deviation) { return {Kind::kNormal, standard_deviation, 0}; }
  static Init Uniform(double low, double high) { return {Kind::kUniform, low, high}; }
  static Init LogOfUniform(double low, double high) { return {Kind::kLogOfUniform, low, high}; }
  static Init InverseSoftplus(double low, double high) {
    return {Kind::kInverseSoftplus, low, high};
  }
};

// The four words of counter `counter` under `key`.
std::array<uint32_t, 4> Philox(uint64_t counter, uint64_t key);

// Key of a named stream of `seed`.
uint64_t StreamKey(uint64_t seed, std::string_view name);

// Standard normal for a word, relative error below 2e-7.
double NormalFromWord(uint32_t word);

// The value of element `index` of the logical tensor.
double InitialValue(const Init& init, uint64_t key, int64_t index);

// Fills `box`, which begins at entry `begin` of a logical tensor of shape `shape`; one number a dim
// in all three. Any strides; f32 and f64 on the CPU, f32 and bf16, rounded from f32, on a GPU.
// Errors: INVALID_ARGUMENT another dtype.
absl::Status FillInitialValues(const Init& init, uint64_t key, std::span<const int64_t> shape,
                               std::span<const int64_t> begin, const TensorView& box,
                               Stream& stream);

namespace internal {

// From the elements of a box to the logical tensor: an element's index there is `first` and, for
// every dim, its place times the stride.
struct LogicalPlace {
  int64_t first = 0;
  std::array<int64_t, kMaxRank> strides = {};
};

absl::Status FillInitialValuesCpu(const Init& init, uint64_t key, const LogicalPlace& place,
                                  const TensorView& box);
absl::Status FillInitialValuesCuda(const Init& init, uint64_t key, const LogicalPlace& place,
                                   const TensorView& box, Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_INITIAL_VALUES_INITIAL_VALUES_H_
