#include <algorithm>
#include <cmath>

#include "hetero/tensor/ops/ssd/ssd_cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/ops/ssd/ssd_backward_cpu.cc"
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
        d_state(scratch.Allocate(e.heads * e.StateElements())),
        d_raw(scratch.Allocate(e.heads * e.padded_chunk)),
        d_dt_bias(scratch.Allocate(e.heads)),
        d_a(scratch.Allocate(e.heads)),
        d_skip(scratch.Allocate(e.heads)),
        b_room{scratch.Allocate(e.chunk * e.padded_state_size), e.padded_state_size},
        b_transposed{scratch.Allocate(e.state_size * e.padded_chunk), e.padded_chunk},
        c_transposed{scratch.Allocate(e.state_size * e.padded_chunk), e.padded_chunk},
        cb{scratch.Allocate(e.chunk * e.padded_chunk), e.padded_chunk},
        d_cb{scratch.Allocate(e.chunk * e.padded_chunk), e.padded_chunk},
        d_b_transposed{scratch.Allocate(e.state_size * e.padded_chunk), e.padded_chunk},
        d_c_transposed{scratch.Allocate(e.state_size * e.padded_chunk), e.padded_chunk},
        d_c{scratch.Allocate(e.chunk * e.padded_state_size), e.padded_state_size},
        between{scratch.Allocate(e.chunk * e.padded_chunk), e.padded_chunk},
        from_start(scratch.Allocate(e.padded_chunk)),
        x_room{scratch.Allocate(e.chunk * e.padded_head_dim), e.padded_head_dim},
        d_y_room{scratch.Allocate(e.chunk * e.padded_head_dim), e.padded_head_dim},
        x_transposed{scratch.Allocate(e.head_dim * e.padded_chunk), e.padded_chunk},
        d_y_transposed{scratch.Allocate(e.head_dim * e.padded_chunk), e.padded_chunk},
        dot{scratch.Allocate(e.chunk * e.padded_chunk), e.padded_chunk},
        mixing{scratch.Allocate(e.chunk * e.padded_chunk), e.padded_chunk},
        v{scratch.Allocate(e.chunk * e.padded_head_dim), e.padded_head_dim},
        scaled{scratch.Allocate(e.chunk * e.padded_state_size), e.padded_state_size},
        product{scratch.Allocate(e.state_size * e.padded_chunk), e.padded_chunk},
        d_dt(scratch.Allocate(e.padded_chunk)),
        later_rows(scratch.Allocate(e.padded_chunk)),
        kappa(scratch.Allocate(e.padded_chunk)),
        zeta(scratch.Allocate(e.padded_chunk)),
        d_decay(scratch.Allocate(e.padded_chunk)) {}

  SsdSteps<T> steps;
  T* d_state;  // [H, N, P]: of the state that leaves the chunk
  T* d_raw;    // [H, Q]
  T* d_dt_bias;
  T* d_a;
  T* d_skip;
  // Of one group.
  Matrix<T> b_room;                          // [Q, N]
  Matrix<T> b_transposed, c_transposed;      // [N, Q]
  Matrix<T> cb, d_cb;                        // [Q, Q]: C_m B_k
  Matrix<T> d_b_transposed, d_c_transposed;  // [N, Q]
  Matrix<T> d_c;                             // [Q, N]
  // Of one head.
  Matrix<T> between;                              // [Q, Q]
  T* from_start;                                  // [Q]
  Matrix<T> x_room, d_y_room;                     // [Q, P]
  Matrix<T> x_transposed, d_y_transposed;         // [P, Q]
  Matrix<T> dot;                                  // [Q, Q]: d_y_m x_k
  Matrix<T> mixing;                               // [Q, Q]: cb * between
  Matrix<T> v;                                    // [Q, P]: gradient of dt_k x_k
  Matrix<T> scaled;                               // [Q, N]: rows of B or C times factors
  Matrix<T> product;                              // [N, Q]
  T *d_dt, *later_rows, *kappa, *zeta, *d_decay;  // [Q]
};

// Gradients of one head of one chunk. Letters follow the derivation: with a_t = dt_t A inside the
// chunk, F_mk = (d_y_m x_k) (C_m B_k) between_mk is what d_y collects along the path k -> m, so
//   d a_t = delta + sum_{m >= t} kappa_m + sum_{k < t} dt_k zeta_k + sum_{k < t <= m} dt_k F_mk,
// delta for the path through the whole chunk, kappa_m from the entering state to m, zeta_k from k
// to the leaving state. The last sum runs over its rectangle; differences of row sums would cancel.
template <typename T>
struct HeadOfChunk {
  int64_t head, first, length;
  Matrix<const T> b, c;  // [Q, N] of the group
  const T* entering;     // state [N, P]; null: zero
  bool is_last;          // no state leaves
};

template <typename T>
HETERO_CPU_KERNEL void DiagonalPart(const SsdProblem<T>& p, const HeadOfChunk<T>& h,
                                    const Matrix<const T>& d_y, const Scratch<T>& s) {
  const T* dt = s.steps.dt + h.head * s.steps.stride;
  RegisterProduct<T>({h.length, p.padded_chunk, p.head_dim, d_y.data, d_y.stride, 1,
                      s.x_transposed.data, s.x_transposed.stride, s.dot.data, s.dot.stride});
  std::fill(s.d_dt, s.d_dt + p.padded_chunk, T(0));
  T skip_sum = T(0);
  for (int64_t m = h.length - 1; m >= 0; --m) {
    const T* cb = s.cb.row(m);
    const T* between = s.between.row(m);
    const T* dot = s.dot.row(m);
    T* mixing = s.mixing.row(m);
    T* d_cb = s.d_cb.row(m);
    T* d_dt = s.d_dt;
#pragma omp simd
    for (int64_t k = 0; k < p.padded_chunk; ++k) {
      const T weight = cb[k] * between[k];
      mixing[k] = weight;
      d_cb[k] += dot[k] * between[k] * dt[k];
      d_dt[k] += dot[k] * weight;
    }
    // d_dt[k] now sums F over rows m and later.
    T crossing = T(0);
#pragma omp simd reduction(+ : crossing)
    for (int64_t k = 0; k < m; ++k) crossing += d_dt[k] * dt[k];
    s.d_decay[m] = crossing;
    skip_sum += dot[m];
  }
  s.d_skip[h.head] += skip_sum;
}

// zeta_k and the parts of d_b and v that come from the leaving state's gradient.
template <typename T>
HETERO_CPU_KERNEL void LeavingPart(const SsdProblem<T>& p, const HeadOfChunk<T>& h,
                                   const T* d_state, const Scratch<T>& s) {
  const T* dt = s.steps.dt + h.head * s.steps.stride;
  const T* to_end = s.between.row(h.length - 1);
  ScaleRows(h.b, to_end, h.length, p.state_size, s.scaled);
  RegisterProduct<T>({h.length, p.padded_head_dim, p.state_size, s.scaled.data, s.scaled.stride, 1,
                      d_state, p.padded_head_dim, s.v.data, s.v.stride, /*accumulate=*/true});
  RegisterProduct<T>({p.state_size, p.padded_chunk, p.head_dim, d_state, p.padded_head_dim, 1,
                      s.x_transposed.data, s.x_transposed.stride, s.product.data,
                      s.product.stride});
  T* zeta = s.zeta;
  for (int64_t n = 0; n < p.state_size; ++n) {
    const T* product = s.product.row(n);
    const T* b = s.b_transposed.row(n);
    T* d_b = s.d_b_transposed.row(n);
#pragma omp simd
    for (int64_t k = 0; k < p.padded_chunk; ++k) {
      const T reached = to_end[k] * product[k];
      zeta[k] += b[k] * reached;
      d_b[k] += dt[k] * reached;
    }
  }
}

// kappa_m and the part of d_c that reads the entering state.
template <typename T>
HETERO_CPU_KERNEL void EnteringPart(const SsdProblem<T>& p, const HeadOfChunk<T>& h,
                                    const Scratch<T>& s) {
  RegisterProduct<T>({p.state_size, p.padded_chunk, p.head_dim, h.entering, p.padded_head_dim, 1,
                      s.d_y_transposed.data, s.d_y_transposed.stride, s.product.data,
                      s.product.stride});
  T* kappa = s.kappa;
  const T* from_start = s.from_start;
  for (int64_t n = 0; n < p.state_size; ++n) {
    const T* product = s.product.row(n);
    const T* c = s.c_transposed.row(n);
    T* d_c = s.d_c_transposed.row(n);
#pragma omp simd
    for (int64_t m = 0; m < p.padded_chunk; ++m) {
      const T read = from_start[m] * product[m];
      kappa[m] += c[m] * read;
      d_c[m] += read;
    }
  }
}

// Turns s.d_dt, s.d_decay, kappa and zeta into the gradients of dt_raw and of the head's scalars.
template <typename T>
HETERO_CPU_KERNEL void StepPart(const SsdProblem<T>& p, const HeadOfChunk<T>& h, T delta,
                                const Scratch<T>& s) {
  const T* dt = s.steps.dt + h.head * s.steps.stride;
  const T* r = s.steps.r + h.head * s.steps.stride;
  T* d_raw = s.d_raw + h.head * p.padded_chunk;
  const T a = s.steps.a[h.head];
  T later = delta;
  for (int64_t t = h.length - 1; t >= 0; --t) {
    later += s.kappa[t];
    s.d_decay[t] += later;
  }
  T earlier = T(0);
  for (int64_t t = 0; t < h.length; ++t) {
    s.d_decay[t] += earlier;
    earlier += dt[t] * s.zeta[t];
  }
  T bias_sum = T(0);
  T a_sum = T(0);
  const T* d_decay = s.d_decay;
  const T* d_dt = s.d_dt;
  const T* zeta = s.zeta;
  if (p.limits_steps) {
    for (int64_t t = 0; t < h.length; ++t) {
      a_sum += dt[t] * d_decay[t];
      const T step = cpu::Softplus(r[t]);
      const bool passes = !(step < p.min_step || step > p.max_step);
      d_raw[t] = passes ? (d_dt[t] + zeta[t] + a * d_decay[t]) * cpu::Sigmoid(r[t]) : T(0);
      bias_sum += d_raw[t];
    }
    s.d_dt_bias[h.head] += bias_sum;
    s.d_a[h.head] += a_sum;
    return;
  }
#pragma omp simd reduction(+ : bias_sum, a_sum)
  for (int64_t t = 0; t < h.length; ++t) {
    const T d_r = (d_dt[t] + zeta[t] + a * d_decay[t]) * cpu::Sigmoid(r[t]);
    d_raw[t] = d_r;
    bias_sum += d_r;
    a_sum += dt[t] * d_decay[t];
  }
  s.d_dt_bias[h.head] += bias_sum;
  s.d_a[h.head] += a_sum;
}

template <typename T>
HETERO_CPU_KERNEL void BackwardHead(const SsdProblem<T>& p, const HeadOfChunk<T>& h,
                                    const Matrix<const T>& d_y_view, const Matrix<T>& d_x,
                                    const Scratch<T>& s) {
  const int64_t state_elements = p.StateElements();
  const T* dt = s.steps.dt + h.head * s.steps.stride;
  const Matrix<const T> x_view{p.x.row(h.first) + h.head * p.head_dim, p.x.stride};
  const Matrix<const T> d_y = Padded(d_y_view, h.length, p.head_dim, s.d_y_room);
  T* d_state = s.d_state + h.head * state_elements;
  ProductsOfDecay(s.steps.decay + h.head * s.steps.stride, h.length, s.between, s.from_start);
  std::fill(s.from_start + h.length, s.from_start + p.padded_chunk, T(0));
  Transpose(x_view, h.length, p.head_dim, s.x_transposed);
  DiagonalPart(p, h, d_y, s);
  RegisterProduct<T>({h.length, p.padded_head_dim, h.length, s.mixing.data, 1, s.mixing.stride,
                      d_y.data, d_y.stride, s.v.data, s.v.stride, /*accumulate=*/false,
                      Triangle::kUpper});
  std::fill(s.kappa, s.kappa + p.padded_chunk, T(0));
  std::fill(s.zeta, s.zeta + p.padded_chunk, T(0));
  if (!h.is_last) LeavingPart(p, h, d_state, s);
  T delta = T(0);
  if (h.entering != nullptr) {
    Transpose(d_y_view, h.length, p.head_dim, s.d_y_transposed);
    EnteringPart(p, h, s);
    const T kept = s.from_start[h.length - 1];
    if (h.is_last) {
      std::fill(d_state, d_state + state_elements, T(0));
    } else {
      const T* state = h.entering;
#pragma omp simd reduction(+ : delta)
      for (int64_t i = 0; i < state_elements; ++i) {
        delta += state[i] * d_state[i];
        d_state[i] *= kept;
      }
      delta *= kept;
    }
    ScaleRows(h.c, s.from_start, h.length, p.state_size, s.scaled);
    RegisterProduct<T>({p.state_size, p.padded_head_dim, h.length, s.scaled.data, 1,
                        s.scaled.stride, d_y.data, d_y.stride, d_state, p.padded_head_dim,
                        /*accumulate=*/true});
  }
  for (int64_t k = 0; k < h.length; ++k) {
    const T* v = s.v.row(k);
    const T* dy = d_y_view.row(k);
    T* out = d_x.row(k);
    const T factor = dt[k];
    const T skip = p.skip[h.head];
#pragma omp simd
    for (int64_t i = 0; i < p.head_dim; ++i) out[i] = factor * v[i] + skip * dy[i];
  }
  StepPart(p, h, delta, s);
}

// Adds the path through C_m B_k to both and writes the group's columns.
template <typename T>
HETERO_CPU_KERNEL void WriteGroup(const SsdProblem<T>& p, const HeadOfChunk<T>& h,
                                  const Matrix<T>& d_b, const Matrix<T>& d_c, const Scratch<T>& s) {
  RegisterProduct<T>({p.state_size, p.padded_chunk, h.length, s.c_transposed.data,
                      s.c_transposed.stride, 1, s.d_cb.data, s.d_cb.stride, s.d_b_transposed.data,
                      s.d_b_transposed.stride,
                      /*accumulate=*/true});
  const Matrix<const T> b = Padded(h.b, h.length, p.state_size, s.b_room);
  RegisterProduct<T>({h.length, p.padded_state_size, h.length, s.d_cb.data, s.d_cb.stride, 1,
                      b.data, b.stride, s.d_c.data, s.d_c.stride, /*accumulate=*/false,
                      Triangle::kLower});
  for (int64_t t = 0; t < h.length; ++t) {
    T* b_out = d_b.row(t);
    T* c_out = d_c.row(t);
    const T* c_in = s.d_c.row(t);
    for (int64_t n = 0; n < p.state_size; ++n) {
      b_out[n] = s.d_b_transposed.row(n)[t];
      c_out[n] = c_in[n] + s.d_c_transposed.row(n)[t];
    }
  }
}

template <typename T>
void BackwardKernel(const SsdProblem<T>& p, const T* const states, const Matrix<const T>& d_y,
                    const Matrix<T>& d_x, const Matrix<T>& d_b, const Matrix<T>& d_c,
                    const Matrix<T>& d_dt_raw, const Scratch<T>& s) {
  const int64_t state_elements = p.StateElements();
  const int64_t heads_per_group = p.heads / p.groups;
  for (int64_t h = 0; h < p.heads; ++h) s.steps.a[h] = -std::exp(p.a_log[h]);
  for (T* sums : {s.d_dt_bias, s.d_a, s.d_skip}) std::fill(sums, sums + p.heads, T(0));
  const T* row_states = states;
  for (int64_t row_begin = 0; row_begin < p.tokens; row_begin += p.row_length) {
    for (int64_t chunk = p.chunks_per_row - 1; chunk >= 0; --chunk) {
      const int64_t first = row_begin + chunk * p.chunk;
      const int64_t length = std::min(p.chunk, p.row_length - chunk * p.chunk);
      ComputeSteps(p, first, length, s.steps);
      for (int64_t group = 0; group < p.groups; ++group) {
        const int64_t column = group * p.state_size;
        const Matrix<const T> b{p.b.row(first) + column, p.b.stride};
        const Matrix<const T> c{p.c.row(first) + column, p.c.stride};
        Transpose(b, length, p.state_size, s.b_transposed);
        Transpose(c, length, p.state_size, s.c_transposed);
        RegisterProduct<T>({length, p.padded_chunk, p.state_size, c.data, c.stride, 1,
                            s.b_transposed.data, s.b_transposed.stride, s.cb.data, s.cb.stride});
        for (const Matrix<T>& sum : {s.d_cb, s.d_b_transposed, s.d_c_transposed}) {
          const int64_t rows = sum.data == s.d_cb.data ? p.chunk : p.state_size;
          std::fill(sum.data, sum.data + rows * sum.stride, T(0));
        }
        HeadOfChunk<T> of{.head = 0,
                          .first = first,
                          .length = length,
                          .b = b,
                          .c = c,
                          .entering = nullptr,
                          .is_last = chunk + 1 == p.chunks_per_row};
        for (int64_t h = group * heads_per_group; h < (group + 1) * heads_per_group; ++h) {
          of.head = h;
          if (chunk > 0) of.entering = row_states + ((chunk - 1) * p.heads + h) * state_elements;
          BackwardHead(p, of, {d_y.row(first) + h * p.head_dim, d_y.stride},
                       {d_x.row(first) + h * p.head_dim, d_x.stride}, s);
        }
        WriteGroup(p, of, {d_b.row(first) + column, d_b.stride},
                   {d_c.row(first) + column, d_c.stride}, s);
      }
      for (int64_t t = 0; t < length; ++t) {
        T* out = d_dt_raw.row(first + t);
        for (int64_t h = 0; h < p.heads; ++h) out[h] = s.d_raw[h * p.padded_chunk + t];
      }
    }
    row_states += (p.chunks_per_row - 1) * p.heads * state_elements;
  }
  for (int64_t h = 0; h < p.heads; ++h) s.d_a[h] *= s.steps.a[h];
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

absl::Status RunBackward(const SsdInputs& inputs, ConstTensorView states, ConstTensorView d_y_TI,
                         const SsdGradients& gradients, TensorView scratch) {
  return VisitFloat(inputs.x_TI.dtype(), [&]<typename T>() {
    const SsdProblem<T> problem(inputs);
    ScratchAllocator<T> pieces(scratch.data<T>());
    const Scratch<T> s(problem, pieces);
    const auto write = [](const TensorView& view) -> Matrix<T> {
      return {view.data<T>(), view.stride(0)};
    };
    BackwardKernel<T>(problem, states.data<T>(), SsdProblem<T>::Read(d_y_TI),
                      write(gradients.d_x_TI), write(gradients.d_b_TS), write(gradients.d_c_TS),
                      write(gradients.d_dt_raw_TH), s);
    const auto put = [&](const TensorView& gradient, const T* sums) {
      if (gradient.is_null()) return;
      T* out = gradient.data<T>();
      for (int64_t h = 0; h < problem.heads; ++h) {
        out[h] = gradients.accumulate ? out[h] + sums[h] : sums[h];
      }
    };
    put(gradients.d_dt_bias_H, s.d_dt_bias);
    put(gradients.d_a_log_H, s.d_a);
    put(gradients.d_skip_H, s.d_skip);
  });
}

}  // namespace
}  // namespace hetero::internal::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hetero::internal {

HWY_EXPORT(ScratchElements);
HWY_EXPORT(RunBackward);

int64_t SsdBackwardScratchElements(const SsdShape& shape, DType dtype) {
  return HWY_DYNAMIC_DISPATCH(ScratchElements)(shape, dtype);
}

absl::Status SsdBackwardCpu(const SsdInputs& inputs, ConstTensorView states, ConstTensorView d_y_TI,
                            const SsdGradients& gradients, TensorView scratch) {
  return HWY_DYNAMIC_DISPATCH(RunBackward)(inputs, states, d_y_TI, gradients, scratch);
}

}  // namespace hetero::internal
#endif  // HWY_ONCE
