#include <algorithm>
#include <cmath>
#include <cstdint>

#include "hetero/base/rounding.h"
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

// Patches [begin, end) of an image `columns` wide, row-major.
struct Patches {
  int64_t begin;
  int64_t end;
  int64_t columns;

  int64_t count() const { return end - begin; }
  int64_t first_row() const { return begin / columns; }
  int64_t end_row() const { return CeilDiv(end, columns); }
  // Of a row of these, the columns.
  int64_t first_column(int64_t row) const { return std::max(begin - row * columns, int64_t{0}); }
  int64_t end_column(int64_t row) const { return std::min(end - row * columns, columns); }
};

template <typename T>
HETERO_CPU_KERNEL void AddPositions(const T* embedding, const T* positions_YXC,
                                    int64_t grid_columns, int64_t channels, const Patches& patches,
                                    const Axes<T>& axes, T* tokens) {
  for (int64_t r = patches.first_row(); r < patches.end_row(); ++r) {
    const T* above = positions_YXC + axes.row.lower[r] * grid_columns * channels;
    const T* below = positions_YXC + axes.row.upper[r] * grid_columns * channels;
    const T v = axes.row.weight[r];
    for (int64_t q = patches.first_column(r); q < patches.end_column(r); ++q) {
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
                                            int64_t channels, const Patches& patches,
                                            const Axes<T>& axes, T* d_positions_YXC) {
  for (int64_t r = patches.first_row(); r < patches.end_row(); ++r) {
    T* above = d_positions_YXC + axes.row.lower[r] * grid_columns * channels;
    T* below = d_positions_YXC + axes.row.upper[r] * grid_columns * channels;
    const T v = axes.row.weight[r];
    for (int64_t q = patches.first_column(r); q < patches.end_column(r); ++q) {
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

// What of image `index` lies in a window of token rows: class tokens [class_begin, class_end), then
// patches.
struct ImagePart {
  int64_t index;
  int64_t class_begin;
  int64_t class_end;
  Patches patches;
  int64_t first_patch;  // of the image, in the batch
};

// Calls visit(part) for every image that has rows in [first_token, first_token + num_tokens), in
// order.
template <typename Visit>
void ForEachPart(const ImageLayout& layout, int64_t first_token, int64_t num_tokens,
                 Visit&& visit) {
  const int64_t end_token = first_token + num_tokens, classes = layout.num_class_tokens;
  int64_t token = 0, first_patch = 0;
  for (int64_t i = 0; i < layout.num_images() && token < end_token; ++i) {
    const int64_t columns = layout.columns(i), patches = layout.rows(i) * columns;
    const int64_t begin = std::max(first_token - token, int64_t{0});
    const int64_t end = std::min(end_token - token, classes + patches);
    if (begin < end) {
      visit(ImagePart{.index = i,
                      .class_begin = std::min(begin, classes),
                      .class_end = std::min(end, classes),
                      .patches = {.begin = std::max(begin - classes, int64_t{0}),
                                  .end = std::max(end - classes, int64_t{0}),
                                  .columns = columns},
                      .first_patch = first_patch});
    }
    token += classes + patches;
    first_patch += patches;
  }
}

}  // namespace

absl::Status PackImageTokensCpu(const ImageLayout& layout, const ConstTensorView& embedding_NC,
                                const ConstTensorView& positions_YXC,
                                const ConstTensorView& class_tokens_KC, int64_t first_token,
                                const TensorView& tokens_WC, const TensorView& axis_cells,
                                const TensorView& axis_weights) {
  return VisitFloat(tokens_WC.dtype(), [&]<typename T>() {
    const Axes<T> axes(axis_cells, axis_weights);
    const int64_t channels = tokens_WC.dim(1);
    const T* embedding = embedding_NC.data<T>();
    const T* classes = class_tokens_KC.data<T>();
    T* tokens = tokens_WC.data<T>();
    ForEachPart(layout, first_token, tokens_WC.dim(0), [&](const ImagePart& part) {
      const int64_t elements = part.patches.count() * channels;
      axes.Resize(positions_YXC.dim(0), positions_YXC.dim(1), layout.rows(part.index),
                  layout.columns(part.index));
      tokens = std::copy(classes + part.class_begin * channels, classes + part.class_end * channels,
                         tokens);
      cpu::RunKernel<AddPositions<T>>(embedding, positions_YXC.data<T>(), positions_YXC.dim(1),
                                      channels, part.patches, axes, tokens);
      embedding += elements;
      tokens += elements;
    });
  });
}

absl::Status PackImageTokensBackwardCpu(const ImageLayout& layout,
                                        const PackImageTokensBackwardArgs& args,
                                        const TensorView& axis_cells,
                                        const TensorView& axis_weights) {
  return VisitFloat(args.d_tokens_WC.dtype(), [&]<typename T>() {
    const Axes<T> axes(axis_cells, axis_weights);
    const int64_t channels = args.d_tokens_WC.dim(1);
    const T* d_tokens = args.d_tokens_WC.data<T>();
    T* d_embedding = args.d_embedding_NC.is_null() ? nullptr : args.d_embedding_NC.data<T>();
    T* d_positions = args.d_positions_YXC.is_null() ? nullptr : args.d_positions_YXC.data<T>();
    T* d_class = d_positions == nullptr ? nullptr : args.d_class_tokens_KC.data<T>();
    if (d_positions != nullptr && !args.accumulate_positions) {
      std::fill_n(d_positions, args.d_positions_YXC.num_elements(), T(0));
    }
    if (d_class != nullptr && !args.accumulate_class_tokens) {
      std::fill_n(d_class, args.d_class_tokens_KC.num_elements(), T(0));
    }
    ForEachPart(layout, args.first_token, args.d_tokens_WC.dim(0), [&](const ImagePart& part) {
      const int64_t class_elements = (part.class_end - part.class_begin) * channels;
      const int64_t elements = part.patches.count() * channels;
      if (d_positions != nullptr) {
        axes.Resize(args.d_positions_YXC.dim(0), args.d_positions_YXC.dim(1),
                    layout.rows(part.index), layout.columns(part.index));
        cpu::RunKernel<AddTo<T>>(d_tokens, class_elements, d_class + part.class_begin * channels);
        cpu::RunKernel<AddPositionGradients<T>>(d_tokens + class_elements,
                                                args.d_positions_YXC.dim(1), channels, part.patches,
                                                axes, d_positions);
      }
      if (d_embedding != nullptr) {
        d_embedding = std::copy_n(d_tokens + class_elements, elements, d_embedding);
      }
      d_tokens += class_elements + elements;
    });
  });
}

absl::Status ShufflePixelsCpu(const ImageLayout& layout, const ConstTensorView& tokens_SC,
                              int64_t first_feature, const TensorView& features_WC) {
  return VisitFloat(tokens_SC.dtype(), [&]<typename T>() {
    const int64_t channels = tokens_SC.dim(1);
    const int64_t end_feature = first_feature + features_WC.dim(0);
    const T* image = tokens_SC.data<T>();
    T* out = features_WC.data<T>();
    int64_t before = 0;  // features of the images before
    for (int64_t i = 0; i < layout.num_images() && before < end_feature; ++i) {
      const int64_t columns = layout.columns(i), features = layout.rows(i) * columns / 4;
      const T* const patches = image + layout.num_class_tokens * channels;
      const int64_t begin = std::max(first_feature - before, int64_t{0});
      const int64_t end = std::min(end_feature - before, features);
      for (int64_t f = begin; f < end; ++f) {
        const int64_t r = f / (columns / 2) * 2, q = f % (columns / 2) * 2;
        const T* const upper = patches + (r * columns + q) * channels;
        out = std::copy_n(upper, 2 * channels, out);
        out = std::copy_n(upper + columns * channels, 2 * channels, out);
      }
      image = patches + 4 * features * channels;
      before += features;
    }
  });
}

absl::Status ShufflePixelsBackwardCpu(const ImageLayout& layout,
                                      const ConstTensorView& d_features_NC, int64_t first_token,
                                      const TensorView& d_tokens_WC) {
  return VisitFloat(d_tokens_WC.dtype(), [&]<typename T>() {
    const int64_t channels = d_tokens_WC.dim(1);
    T* tokens = d_tokens_WC.data<T>();
    ForEachPart(layout, first_token, d_tokens_WC.dim(0), [&](const ImagePart& part) {
      const Patches& patches = part.patches;
      const T* const features = d_features_NC.data<T>() + part.first_patch * channels;
      tokens = std::fill_n(tokens, (part.class_end - part.class_begin) * channels, T(0));
      for (int64_t r = patches.first_row(); r < patches.end_row(); ++r) {
        const T* const row = features + (r / 2 * patches.columns * 2 + r % 2 * 2) * channels;
        const int64_t end = patches.end_column(r);
        for (int64_t q = patches.first_column(r), count = 0; q < end; q += count) {
          // Both patches of a pair lie side by side in the features too.
          count = q % 2 == 0 && q + 1 < end ? 2 : 1;
          tokens = std::copy_n(row + (q / 2 * 4 + q % 2) * channels, count * channels, tokens);
        }
      }
    });
  });
}

}  // namespace hetero::internal
