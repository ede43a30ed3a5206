#include <algorithm>
#include <cstdint>

#include "hetero/tensor/ops/cpu_kernel.h"
#include "hetero/tensor/ops/initial_values/initial_value.h"
#include "hetero/tensor/ops/initial_values/initial_values.h"

namespace hetero::internal {

absl::Status FillInitialValuesCpu(const Init& init, uint64_t key, const LogicalPlace& place,
                                  const TensorView& box) {
  return VisitFloat(box.dtype(), [&]<typename T>() {
    const int last = box.rank() - 1;
    const int64_t columns = last < 0 ? 1 : box.dim(last);
    const int64_t rows = columns == 0 ? 0 : box.num_elements() / columns;
    for (int64_t row = 0; row < rows; ++row) {
      int64_t rest = row;
      int64_t index = place.first;
      T* values = box.data<T>();
      for (int d = last - 1; d >= 0; --d) {
        index += rest % box.dim(d) * place.strides[d];
        values += rest % box.dim(d) * box.stride(d);
        rest /= box.dim(d);
      }
      for (int64_t c = 0; c < columns; ++c) {
        values[c] = static_cast<T>(InitialValueOf(init, key, index + c));
      }
    }
  });
}

}  // namespace hetero::internal
