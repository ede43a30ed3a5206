#ifndef HETERO_TENSOR_OPS_SSD_SSD_CPU_H_
#define HETERO_TENSOR_OPS_SSD_SSD_CPU_H_

// What the forward and backward CPU kernels of the scan share.
//
// Decays are kept as factors instead of cumulative logarithms: decay[t] = exp(dt_t A), and 0 where
// a sequence starts. Products of consecutive factors then are exp(a_m - a_k) with every mask of
// packed sequences already in them, they never overflow, and a state read across a break is
// multiplied by an exact zero.

#include <algorithm>
#include <cstdint>

#include "absl/status/status.h"
#include "hetero/base/rounding.h"
#include "hetero/tensor/ops/cpu_kernel.h"
#include "hetero/tensor/ops/register_product.h"
#include "hetero/tensor/ops/ssd/ssd.h"

namespace hetero::internal {

// Preconditions: validated operands; `scratch` is of the compute type with the stated size.
int64_t SsdForwardScratchElements(const SsdShape& shape, DType dtype);
int64_t SsdBackwardScratchElements(const SsdShape& shape, DType dtype);
absl::Status SsdForwardCpu(const SsdInputs& inputs, TensorView y_TI, TensorView states,
                           TensorView scratch);
absl::Status SsdBackwardCpu(const SsdInputs& inputs, ConstTensorView states, ConstTensorView d_y_TI,
                            const SsdGradients& gradients, TensorView scratch);

// Hands out consecutive pieces of one allocation; with a null base it only counts.
template <typename T>
class ScratchAllocator {
 public:
  explicit ScratchAllocator(T* base) : base_(base) {}
  T* Allocate(int64_t count) {
    T* piece = base_ == nullptr ? nullptr : base_ + used_;
    used_ += cpu::PadToVector<T>(count);
    return piece;
  }
  int64_t used() const { return used_; }

 private:
  T* base_;
  int64_t used_ = 0;
};

// SsdShape with the row lengths of scratch matrices.
template <typename T>
struct SsdExtents {
  explicit SsdExtents(const SsdShape& shape)
      : heads(shape.num_heads),
        head_dim(shape.head_dim),
        groups(shape.num_groups),
        state_size(shape.state_size),
        chunk(shape.chunk_length),
        padded_head_dim(cpu::PadToVector<T>(head_dim)),
        padded_state_size(cpu::PadToVector<T>(state_size)),
        padded_chunk(cpu::PadToVector<T>(chunk)) {}

  int64_t StateElements() const { return state_size * padded_head_dim; }

  int64_t heads, head_dim, groups, state_size, chunk;
  int64_t padded_head_dim, padded_state_size, padded_chunk;
};

template <typename T>
struct Matrix {
  T* data;
  int64_t stride;  // elements between rows
  T* row(int64_t i) const { return data + i * stride; }
};

template <typename T>
struct SsdProblem : SsdExtents<T> {
  explicit SsdProblem(const SsdInputs& inputs)
      : SsdExtents<T>(inputs.shape),
        tokens(inputs.x_TI.dim(0)),
        row_length(inputs.sequences.row_length),
        chunks_per_row(CeilDiv(row_length, this->chunk)),
        x(Read(inputs.x_TI)),
        b(Read(inputs.b_TS)),
        c(Read(inputs.c_TS)),
        dt_raw(Read(inputs.dt_raw_TH)),
        dt_bias(inputs.dt_bias_H.data<T>()),
        a_log(inputs.a_log_H.data<T>()),
        skip(inputs.skip_H.data<T>()),
        starts(inputs.sequences),
        limits_steps(inputs.steps.limit()),
        min_step(static_cast<T>(inputs.steps.min)),
        max_step(static_cast<T>(inputs.steps.max)) {}

  static Matrix<const T> Read(const ConstTensorView& view) {
    return {view.data<T>(), view.stride(0)};
  }

  int64_t tokens, row_length, chunks_per_row;
  Matrix<const T> x, b, c, dt_raw;
  const T* dt_bias;
  const T* a_log;
  const T* skip;
  SequenceStarts starts;
  bool limits_steps;
  T min_step, max_step;
};

// Step sizes of one chunk, [heads, padded chunk], zero beyond the chunk's tokens.
template <typename T>
struct SsdSteps {
  SsdSteps(const SsdExtents<T>& extents, ScratchAllocator<T>& scratch)
      : stride(extents.padded_chunk),
        a(scratch.Allocate(extents.heads)),
        r(scratch.Allocate(extents.heads * stride)),
        dt(scratch.Allocate(extents.heads * stride)),
        decay(scratch.Allocate(extents.heads * stride)) {}

  int64_t stride;
  T* a;      // -exp(a_log)
  T* r;      // dt_raw + dt_bias
  T* dt;     // softplus(r) between the limits
  T* decay;  // exp(dt a), 0 where a sequence starts
};

template <typename T>
HETERO_CPU_KERNEL void ComputeSteps(const SsdProblem<T>& p, int64_t first, int64_t length,
                                    const SsdSteps<T>& steps) {
  for (int64_t k = 0; k < length; ++k) {
    const T* raw = p.dt_raw.row(first + k);
    for (int64_t h = 0; h < p.heads; ++h) steps.r[h * steps.stride + k] = raw[h] + p.dt_bias[h];
  }
  for (int64_t h = 0; h < p.heads; ++h) {
    const T* r = steps.r + h * steps.stride;
    T* dt = steps.dt + h * steps.stride;
    T* decay = steps.decay + h * steps.stride;
    const T a = steps.a[h];
    if (p.limits_steps) {
      for (int64_t k = 0; k < length; ++k) {
        dt[k] = std::clamp(cpu::Softplus(r[k]), p.min_step, p.max_step);
        decay[k] = cpu::Exp(dt[k] * a);
      }
    } else {
#pragma omp simd
      for (int64_t k = 0; k < length; ++k) {
        dt[k] = cpu::Softplus(r[k]);
        decay[k] = cpu::Exp(dt[k] * a);
      }
    }
    std::fill(dt + length, dt + steps.stride, T(0));
  }
  for (int64_t k = 0; k < length; ++k) {
    if (!p.starts(first + k)) continue;
    for (int64_t h = 0; h < p.heads; ++h) steps.decay[h * steps.stride + k] = T(0);
  }
}

// to[j, i] = from[i, j] for i < rows; columns rows.. of `to` up to its stride become zero.
template <typename T>
HETERO_CPU_KERNEL void Transpose(const Matrix<const T>& from, int64_t rows, int64_t columns,
                                 const Matrix<T>& to) {
  for (int64_t j = 0; j < columns; ++j) {
    T* out = to.row(j);
    for (int64_t i = 0; i < rows; ++i) out[i] = from.data[i * from.stride + j];
    std::fill(out + rows, out + to.stride, T(0));
  }
}

// `from` itself when its rows are whole vectors, else a copy in `room` with zeros beyond `columns`.
template <typename T>
HETERO_CPU_KERNEL Matrix<const T> Padded(const Matrix<const T>& from, int64_t rows, int64_t columns,
                                         const Matrix<T>& room) {
  if (columns == room.stride) return from;
  for (int64_t i = 0; i < rows; ++i) {
    std::copy(from.row(i), from.row(i) + columns, room.row(i));
    std::fill(room.row(i) + columns, room.row(i) + room.stride, T(0));
  }
  return {room.data, room.stride};
}

// between[m, k] = decay[k+1] ... decay[m] for k <= m < length, 0 elsewhere; from_start[m] =
// decay[0] ... decay[m].
template <typename T>
HETERO_CPU_KERNEL void ProductsOfDecay(const T* decay, int64_t length, const Matrix<T>& between,
                                       T* from_start) {
  T product = T(1);
  for (int64_t m = 0; m < length; ++m) {
    T* row = between.row(m);
    const T* above = row - between.stride;
    const T factor = decay[m];
    product *= factor;
    from_start[m] = product;
    if (m == 0) {
      std::fill(row, row + between.stride, T(0));
    } else {
#pragma omp simd
      for (int64_t k = 0; k < between.stride; ++k) row[k] = above[k] * factor;
    }
    row[m] = T(1);
  }
}

// out[i, j] = factors[i] from[i, j], zero for j >= columns up to the stride of `out`.
template <typename T>
HETERO_CPU_KERNEL void ScaleRows(const Matrix<const T>& from, const T* factors, int64_t rows,
                                 int64_t columns, const Matrix<T>& out) {
  for (int64_t i = 0; i < rows; ++i) {
    const T* in = from.row(i);
    T* row = out.row(i);
    const T factor = factors[i];
#pragma omp simd
    for (int64_t j = 0; j < columns; ++j) row[j] = factor * in[j];
    std::fill(row + columns, row + out.stride, T(0));
  }
}

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_SSD_SSD_CPU_H_
