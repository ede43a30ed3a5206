#include <algorithm>
#include <cmath>
#include <cstdint>

#include "hetero/tensor/ops/cpu_kernel.h"
#include "hetero/tensor/ops/vision/vision.h"

namespace hetero::internal {
namespace {

// One axis of the resize: output cell i mixes cells lower[i] and upper[i], the latter by weight[i].
template <typename T>
struct Axis {
  int32_t* lower;
  int32_t* upper;
  T* weight;

  // From `source` cells to `target`; only the first `used` are wanted.
  void Resize(int64_t source, int64_t target, int64_t used) const {
    for (int64_t i = 0; i < used; ++i) {
      const double centre = std::max(
          static_cast<double>((2 * i + 1) * source - target) / static_cast<double>(2 * target),
          0.0);
      lower[i] = static_cast<int32_t>(centre);
      upper[i] = std::min(lower[i] + 1, static_cast<int32_t>(source) - 1);
      weight[i] = static_cast<T>(centre - lower[i]);
    }
  }
};

template <typename T>
struct Axes {
  Axes(const TensorView& cells, const TensorView& weights)
      : row{cells.At(0).data<int32_t>(), cells.At(1).data<int32_t>(), weights.At(0).data<T>()},
        column{cells.At(2).data<int32_t>(), cells.At(3).data<int32_t>(), weights.At(1).data<T>()} {}

  // For an image of `rows` x `columns` patches on a grid of Y x X positions.
  void Resize(int64_t grid_rows, int64_t grid_columns, int64_t rows, int64_t columns) const {
    const bool as_is = rows == grid_rows && columns == grid_columns;
    const int64_t side = std::max(rows, columns);
    row.Resize(grid_rows, as_is ? rows : side, rows);
    column.Resize(grid_columns, as_is ? columns : side, columns);
  }

  Axis<T> row, column;
};

template <typename T>
HETERO_CPU_KERNEL void AddPositions(const T* embedding, const T* positions_YXC,
                                    int64_t grid_columns, int64_t channels, int64_t rows,
                                    int64_t columns, const Axes<T>& axes, T* tokens) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* above = positions_YXC + axes.row.lower[r] * grid_columns * channels;
    const T* below = positions_YXC + axes.row.upper[r] * grid_columns * channels;
    const T v = axes.row.weight[r];
    for (int64_t q = 0; q < columns; ++q) {
      const int64_t left = axes.column.lower[q] * channels;
      const int64_t right = axes.column.upper[q] * channels;
      const T u = axes.column.weight[q];
#pragma omp simd
      for (int64_t c = 0; c < channels; ++c) {
        const T upper = above[left + c] + u * (above[right + c] - above[left + c]);
        const T lower = below[left + c] + u * (below[right + c] - below[left + c]);
        tokens[c] = embedding[c] + (upper + v * (lower - upper));
      }
      embedding += channels;
      tokens += channels;
    }
  }
}

template <typename T>
HETERO_CPU_KERNEL void AddPositionGradients(const T* d_tokens, int64_t grid_columns,
                                            int64_t channels, int64_t rows, int64_t columns,
                                            const Axes<T>& axes, T* d_positions_YXC) {
  for (int64_t r = 0; r < rows; ++r) {
    T* above = d_positions_YXC + axes.row.lower[r] * grid_columns * channels;
    T* below = d_positions_YXC + axes.row.upper[r] * grid_columns * channels;
    const T v = axes.row.weight[r];
    for (int64_t q = 0; q < columns; ++q) {
      const T u = axes.column.weight[q];
      // Cells may coincide at the border of the grid, so they are added one after another.
      const auto add = [&](T * cell, T weight) __attribute__((always_inline)) {
        if (weight == T(0)) return;
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c) cell[c] += weight * d_tokens[c];
      };
      add(above + axes.column.lower[q] * channels, (T(1) - v) * (T(1) - u));
      add(above + axes.column.upper[q] * channels, (T(1) - v) * u);
      add(below + axes.column.lower[q] * channels, v * (T(1) - u));
      add(below + axes.column.upper[q] * channels, v * u);
      d_tokens += channels;
    }
  }
}

template <typename T>
HETERO_CPU_KERNEL void AddTo(const T* x, int64_t n, T* sum) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) sum[i] += x[i];
}

// Calls visit(token rows of two neighbouring patches, their place in the features), both of 2 C
// elements, for every pair (2j, 2j + 1) of an image row.
template <typename T, typename Features, typename Visit>
void ForEachPatchPair(const ImageLayout& layout, int64_t channels, T* tokens, Features* features,
                      Visit&& visit) {
  for (int64_t i = 0; i < layout.num_images(); ++i) {
    tokens += layout.num_class_tokens * channels;
    const int64_t rows = layout.rows(i), columns = layout.columns(i);
    for (int64_t r = 0; r < rows; ++r) {
      Features* out = features + (r / 2) * columns / 2 * 4 * channels + r % 2 * 2 * channels;
      for (int64_t q = 0; q < columns; q += 2) {
        visit(tokens, out);
        tokens += 2 * channels;
        out += 4 * channels;
      }
    }
    features += rows * columns * channels;
  }
}

}  // namespace

absl::Status PackImageTokensCpu(const ImageLayout& layout, const ConstTensorView& embedding_NC,
                                const ConstTensorView& positions_YXC,
                                const ConstTensorView& class_tokens_KC, const TensorView& tokens_SC,
                                const TensorView& axis_cells, const TensorView& axis_weights) {
  return VisitFloat(tokens_SC.dtype(), [&]<typename T>() {
    const Axes<T> axes(axis_cells, axis_weights);
    const int64_t channels = tokens_SC.dim(1);
    const T* embedding = embedding_NC.data<T>();
    T* tokens = tokens_SC.data<T>();
    for (int64_t i = 0; i < layout.num_images(); ++i) {
      const int64_t rows = layout.rows(i), columns = layout.columns(i);
      axes.Resize(positions_YXC.dim(0), positions_YXC.dim(1), rows, columns);
      tokens = std::copy_n(class_tokens_KC.data<T>(), class_tokens_KC.num_elements(), tokens);
      cpu::RunKernel<AddPositions<T>>(embedding, positions_YXC.data<T>(), positions_YXC.dim(1),
                                      channels, rows, columns, axes, tokens);
      embedding += rows * columns * channels;
      tokens += rows * columns * channels;
    }
  });
}

absl::Status PackImageTokensBackwardCpu(const ImageLayout& layout,
                                        const PackImageTokensBackwardArgs& args,
                                        const TensorView& axis_cells,
                                        const TensorView& axis_weights) {
  return VisitFloat(args.d_tokens_SC.dtype(), [&]<typename T>() {
    const Axes<T> axes(axis_cells, axis_weights);
    const int64_t channels = args.d_tokens_SC.dim(1);
    const int64_t class_elements = layout.num_class_tokens * channels;
    const T* d_tokens = args.d_tokens_SC.data<T>();
    T* d_embedding = args.d_embedding_NC.is_null() ? nullptr : args.d_embedding_NC.data<T>();
    T* d_positions = args.d_positions_YXC.is_null() ? nullptr : args.d_positions_YXC.data<T>();
    T* d_class = d_positions == nullptr ? nullptr : args.d_class_tokens_KC.data<T>();
    if (d_positions != nullptr && !args.accumulate_positions) {
      std::fill_n(d_positions, args.d_positions_YXC.num_elements(), T(0));
    }
    if (d_class != nullptr && !args.accumulate_class_tokens) {
      std::fill_n(d_class, class_elements, T(0));
    }
    for (int64_t i = 0; i < layout.num_images(); ++i) {
      const int64_t rows = layout.rows(i), columns = layout.columns(i);
      const int64_t elements = rows * columns * channels;
      if (d_positions != nullptr) {
        axes.Resize(args.d_positions_YXC.dim(0), args.d_positions_YXC.dim(1), rows, columns);
        cpu::RunKernel<AddTo<T>>(d_tokens, class_elements, d_class);
        cpu::RunKernel<AddPositionGradients<T>>(d_tokens + class_elements,
                                                args.d_positions_YXC.dim(1), channels, rows,
                                                columns, axes, d_positions);
      }
      if (d_embedding != nullptr) {
        d_embedding = std::copy_n(d_tokens + class_elements, elements, d_embedding);
      }
      d_tokens += class_elements + elements;
    }
  });
}

absl::Status ShufflePixelsCpu(const ImageLayout& layout, const ConstTensorView& tokens_SC,
                              const TensorView& features_NC) {
  return VisitFloat(tokens_SC.dtype(), [&]<typename T>() {
    const int64_t channels = tokens_SC.dim(1);
    ForEachPatchPair(
        layout, channels, tokens_SC.data<T>(), features_NC.data<T>(),
        [&](const T* patches, T* features) { std::copy_n(patches, 2 * channels, features); });
  });
}

absl::Status ShufflePixelsBackwardCpu(const ImageLayout& layout,
                                      const ConstTensorView& d_features_NC,
                                      const TensorView& d_tokens_SC) {
  return VisitFloat(d_tokens_SC.dtype(), [&]<typename T>() {
    const int64_t channels = d_tokens_SC.dim(1);
    T* image = d_tokens_SC.data<T>();
    for (int64_t i = 0; i < layout.num_images(); ++i) {
      std::fill_n(image, layout.num_class_tokens * channels, T(0));
      image += (layout.num_class_tokens + layout.rows(i) * layout.columns(i)) * channels;
    }
    ForEachPatchPair(
        layout, channels, d_tokens_SC.data<T>(), d_features_NC.data<T>(),
        [&](T* patches, const T* features) { std::copy_n(features, 2 * channels, patches); });
  });
}

}  // namespace hetero::internal
