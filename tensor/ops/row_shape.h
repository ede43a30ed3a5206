#ifndef HETERO_TENSOR_OPS_ROW_SHAPE_H_
#define HETERO_TENSOR_OPS_ROW_SHAPE_H_

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "hetero/tensor/view.h"

namespace hetero {

// Tensors of equal dims, gaps in dim 0 only, as rows of contiguous elements: one row where none has
// gaps, no rows where there are no elements.
struct RowShape {
  explicit RowShape(std::initializer_list<ConstTensorView> views) {
    const ConstTensorView& view = *views.begin();
    if (std::ranges::all_of(views, [](const auto& v) { return v.is_contiguous(); })) {
      columns = view.num_elements();
      rows = columns > 0 ? 1 : 0;
    } else {
      rows = view.dim(0);
      columns = rows > 0 ? view.num_elements() / rows : 0;
    }
  }

  int64_t num_elements() const { return rows * columns; }

  int64_t rows, columns;
};

}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_ROW_SHAPE_H_
