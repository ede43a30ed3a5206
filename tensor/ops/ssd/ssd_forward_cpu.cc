#include <algorithm>
#include <cmath>

#include "hetero/tensor/ops/ssd/ssd_cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/ops/ssd/ssd_forward_cpu.cc"
#include "hwy/foreach_target.h"  // includes this file once a target
//
#include "hetero/tensor/ops/register_product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hetero::internal::HWY_NAMESPACE {
namespace {

using cpu::Triangle;
using cpu::HWY_NAMESPACE::RegisterProduct;

template <typename T>
struct Scratch {
  Scratch(const SsdExtents<T>& e, ScratchAllocator<T>& scratch)
      : steps(e, scratch),
        state(scratch.Allocate(e.heads * e.StateElements())),
        b_transposed{scratch.Allocate(e.state_size * e.padded_chunk), e.padded_chunk},
        cb{scratch.Allocate(e.chunk * e.padded_chunk), e.padded_chunk},
        between{scratch.Allocate(e.chunk * e.padded_chunk), e.padded_chunk},
        from_start(scratch.Allocate(e.chunk)),
        b_factor(scratch.Allocate(e.padded_chunk)),
        weights{scratch.Allocate(e.chunk * e.padded_chunk), e.padded_chunk},
        scaled{scratch.Allocate(e.chunk * e.padded_state_size), e.padded_state_size},
        x{scratch.Allocate(e.chunk * e.padded_head_dim), e.padded_head_dim},
        y{scratch.Allocate(e.chunk * e.padded_head_dim), e.padded_head_dim} {}

  SsdSteps<T> steps;
  T* state;                // one a head, when the caller keeps none
  Matrix<T> b_transposed;  // [N, Q]
  Matrix<T> cb;            // [Q, Q]: C_m B_k
  Matrix<T> between;       // [Q, Q]
  T* from_start;           // [Q]
  T* b_factor;             // [Q]
  Matrix<T> weights;       // [Q, Q]
  Matrix<T> scaled;        // [Q, N]: rows of C or B times factors
  Matrix<T> x, y;          // [Q, P]
};

template <typename T>
void ForwardKernel(const SsdProblem<T>& p, const Matrix<T>& y_out, T* const states,
                   const Scratch<T>& s) {
  const int64_t state_elements = p.StateElements();
  const int64_t heads_per_group = p.heads / p.groups;
  for (int64_t h = 0; h < p.heads; ++h) s.steps.a[h] = -std::exp(p.a_log[h]);
  T* next_saved = states;
  for (int64_t row_begin = 0; row_begin < p.tokens; row_begin += p.row_length) {
    const T* entering = nullptr;  // states of all heads; null: zero
    for (int64_t chunk = 0; chunk < p.chunks_per_row; ++chunk) {
      const int64_t first = row_begin + chunk * p.chunk;
      const int64_t length = std::min(p.chunk, p.row_length - chunk * p.chunk);
      T* leaving = nullptr;
      if (chunk + 1 < p.chunks_per_row) {
        leaving = states == nullptr ? s.state : next_saved;
        if (states != nullptr) next_saved += p.heads * state_elements;
      }
      ComputeSteps(p, first, length, s.steps);
      for (int64_t group = 0; group < p.groups; ++group) {
        const Matrix<const T> b{p.b.row(first) + group * p.state_size, p.b.stride};
        const Matrix<const T> c{p.c.row(first) + group * p.state_size, p.c.stride};
        Transpose(b, length, p.state_size, s.b_transposed);
        RegisterProduct<T>({length, p.padded_chunk, p.state_size, c.data, c.stride, 1,
                            s.b_transposed.data, s.b_transposed.stride, s.cb.data, s.cb.stride});
        for (int64_t h = group * heads_per_group; h < (group + 1) * heads_per_group; ++h) {
          const Matrix<const T> x_view{p.x.row(first) + h * p.head_dim, p.x.stride};
          const Matrix<const T> x = Padded(x_view, length, p.head_dim, s.x);
          const T* dt = s.steps.dt + h * s.steps.stride;
          ProductsOfDecay(s.steps.decay + h * s.steps.stride, length, s.between, s.from_start);
          for (int64_t m = 0; m < length; ++m) {
            const T* cb = s.cb.row(m);
            const T* between = s.between.row(m);
            T* weights = s.weights.row(m);
#pragma omp simd
            for (int64_t k = 0; k < p.padded_chunk; ++k) weights[k] = cb[k] * between[k] * dt[k];
          }
          RegisterProduct<T>({length, p.padded_head_dim, length, s.weights.data, s.weights.stride,
                              1, x.data, x.stride, s.y.data, s.y.stride, /*accumulate=*/false,
                              Triangle::kLower});
          const T* state = entering == nullptr ? nullptr : entering + h * state_elements;
          if (state != nullptr) {
            ScaleRows(c, s.from_start, length, p.state_size, s.scaled);
            RegisterProduct<T>({length, p.padded_head_dim, p.state_size, s.scaled.data,
                                s.scaled.stride, 1, state, p.padded_head_dim, s.y.data, s.y.stride,
                                /*accumulate=*/true});
          }
          for (int64_t m = 0; m < length; ++m) {
            const T* y = s.y.row(m);
            const T* in = x_view.row(m);
            T* out = y_out.row(first + m) + h * p.head_dim;
            const T skip = p.skip[h];
#pragma omp simd
            for (int64_t i = 0; i < p.head_dim; ++i) out[i] = y[i] + skip * in[i];
          }
          if (leaving == nullptr) continue;
          T* next = leaving + h * state_elements;
          if (state == nullptr) {
            std::fill(next, next + state_elements, T(0));
          } else {
            const T kept = s.from_start[length - 1];
#pragma omp simd
            for (int64_t i = 0; i < state_elements; ++i) next[i] = kept * state[i];
          }
          const T* to_end = s.between.row(length - 1);
          for (int64_t k = 0; k < length; ++k) s.b_factor[k] = to_end[k] * dt[k];
          ScaleRows(b, s.b_factor, length, p.state_size, s.scaled);
          RegisterProduct<T>({p.state_size, p.padded_head_dim, length, s.scaled.data, 1,
                              s.scaled.stride, x.data, x.stride, next, p.padded_head_dim,
                              /*accumulate=*/true});
        }
      }
      entering = leaving;
    }
  }
}

int64_t ScratchElements(const SsdShape& shape, DType dtype) {
  const auto count = [&]<typename T>(T* base) {
    ScratchAllocator<T> pieces(base);
    Scratch<T>(SsdExtents<T>(shape), pieces);
    return pieces.used();
  };
  return dtype == DType::kF64 ? count(static_cast<double*>(nullptr))
                              : count(static_cast<float*>(nullptr));
}

absl::Status RunForward(const SsdInputs& inputs, TensorView y_TI, TensorView states,
                        TensorView scratch) {
  return VisitFloat(inputs.x_TI.dtype(), [&]<typename T>() {
    const SsdProblem<T> problem(inputs);
    ScratchAllocator<T> pieces(scratch.data<T>());
    ForwardKernel<T>(problem, {y_TI.data<T>(), y_TI.stride(0)},
                     states.is_null() ? nullptr : states.data<T>(), Scratch<T>(problem, pieces));
  });
}

}  // namespace
}  // namespace hetero::internal::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hetero::internal {

HWY_EXPORT(ScratchElements);
HWY_EXPORT(RunForward);

int64_t SsdForwardScratchElements(const SsdShape& shape, DType dtype) {
  return HWY_DYNAMIC_DISPATCH(ScratchElements)(shape, dtype);
}

absl::Status SsdForwardCpu(const SsdInputs& inputs, TensorView y_TI, TensorView states,
                           TensorView scratch) {
  return HWY_DYNAMIC_DISPATCH(RunForward)(inputs, y_TI, states, scratch);
}

}  // namespace hetero::internal
#endif  // HWY_ONCE
