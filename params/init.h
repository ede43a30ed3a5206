#ifndef HETERO_PARAMS_INIT_H_
#define HETERO_PARAMS_INIT_H_

// Layout-independent initialisation: the value of an element is a function of (seed, parameter
// name, its index in the logical tensor), so any rank of any layout fills its boxes with the bits a
// single rank would have.
//
// Words come from Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011), normals from the inverse normal distribution (Wichura, algorithm AS 241, PPND7). All
// arithmetic after the words is fused multiply-adds, divisions and square roots of doubles, which
// IEEE 754 fixes to the bit on every device; no math library is called.

#include <array>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "hetero/params/parameter_spec.h"
#include "hetero/params/shard.h"
#include "hetero/tensor/view.h"

namespace hetero {

// The four words of counter `counter` under `key`.
std::array<uint32_t, 4> Philox(uint64_t counter, uint64_t key);

// Key of a named stream of `seed`.
uint64_t StreamKey(uint64_t seed, std::string_view name);

// Standard normal for a word, relative error below 2e-7.
double NormalFromWord(uint32_t word);

// The value of element `index` of the logical tensor.
double InitialValue(const Init& init, uint64_t key, int64_t index);

// Fills the local tensor. `value` is host memory, of shape `shard.shape`: f64, f32, or bf16, which
// holds the f32 values rounded.
absl::Status Initialize(const ParameterSpec& spec, const Shard& shard, uint64_t seed,
                        TensorView value);

}  // namespace hetero

#endif  // HETERO_PARAMS_INIT_H_
