#include "hetero/tensor/ops/initial_values/initial_values.h"

#include "absl/log/check.h"
#include "hetero/base/fnv.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/ops/initial_values/initial_value.h"

namespace hetero {

std::array<uint32_t, 4> Philox(uint64_t counter, uint64_t key) {
  return std::to_array(internal::PhiloxOf(counter, key).words);
}

uint64_t StreamKey(uint64_t seed, std::string_view name) {
  const std::array<uint32_t, 4> mixed = Philox(Fnv1a(name), seed);
  return (uint64_t{mixed[1]} << 32) | mixed[0];
}

double NormalFromWord(uint32_t word) { return internal::NormalOf(word); }

double InitialValue(const Init& init, uint64_t key, int64_t index) {
  return internal::InitialValueOf(init, key, index);
}

absl::Status FillInitialValues(const Init& init, uint64_t key, std::span<const int64_t> shape,
                               std::span<const int64_t> begin, const TensorView& box,
                               Stream& stream) {
  const int rank = box.rank();
  CHECK_EQ(static_cast<int>(shape.size()), rank);
  CHECK_EQ(static_cast<int>(begin.size()), rank);
  internal::LogicalPlace place;
  int64_t stride = 1;
  for (int d = rank - 1; d >= 0; --d) {
    CHECK_LE(begin[d] + box.dim(d), shape[d]);
    place.first += begin[d] * stride;
    place.strides[d] = stride;
    stride *= shape[d];
  }
  OperationScope scope(stream, {"initial_values", 0, 1.0 * box.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::FillInitialValuesCpu(init, key, place, box),
                         internal::FillInitialValuesCuda(init, key, place, box, stream));
}

}  // namespace hetero
