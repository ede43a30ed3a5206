#include <algorithm>
#include <cstdint>
#include <limits>

#include "hetero/tensor/ops/cpu_kernel.h"
#include "hetero/tensor/ops/router/router.h"
#include "hetero/tensor/ops/update_decision/update_decision.h"

namespace hetero::internal {
namespace {

template <typename T>
constexpr T kTiny = T(kRouterTiny);

template <typename T>
HETERO_CPU_KERNEL void SigmoidRow(const T* logits, T* scores, int64_t n) {
#pragma omp simd
  for (int64_t e = 0; e < n; ++e) scores[e] = cpu::Sigmoid(logits[e]);
}

template <typename T>
HETERO_CPU_KERNEL T Sum(const T* x, int64_t n) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t e = 0; e < n; ++e) sum += x[e];
  return sum;
}

// The k distinct indices of the largest scores, ascending. Consumes `scores`. Scores that compare
// with nothing (NaN) are taken last, in index order, so that a diverged step stays in bounds.
template <typename T>
HETERO_CPU_KERNEL void SelectLargest(T* scores, int64_t n, int64_t k, int32_t* chosen) {
  constexpr T kLowest = -std::numeric_limits<T>::infinity();
  for (int64_t j = 0; j < k; ++j) {
    T largest = kLowest;
    int32_t best = -1;
    for (int32_t e = 0; e < n; ++e) {
      const bool larger = scores[e] > largest;
      largest = larger ? scores[e] : largest;
      best = larger ? e : best;
    }
    if (best < 0) {
      do {
        ++best;
      } while (std::find(chosen, chosen + j, best) != chosen + j);
    }
    scores[best] = kLowest;
    int64_t slot = j;
    for (; slot > 0 && chosen[slot - 1] > best; --slot) chosen[slot] = chosen[slot - 1];
    chosen[slot] = best;
  }
}

// Leaves the scores of the groups to choose from, and the others' below all that can be chosen.
// `group_scores` is scratch of as many.
template <typename T>
HETERO_CPU_KERNEL void LimitToGroups(T* scores, int64_t n, const RouterGroups& groups,
                                     T* group_scores) {
  constexpr T kLowest = -std::numeric_limits<T>::infinity();
  const int64_t size = n / groups.count;
  for (int64_t g = 0; g < groups.count; ++g) {
    T largest = kLowest, second = kLowest;
    for (int64_t e = g * size; e < (g + 1) * size; ++e) {
      if (scores[e] > largest) {
        second = largest;
        largest = scores[e];
      } else if (scores[e] > second) {
        second = scores[e];
      }
    }
    group_scores[g] = largest + second;
  }
  for (int64_t g = 0; g < groups.count; ++g) {
    int64_t better = 0;
    for (int64_t other = 0; other < groups.count; ++other) {
      better += group_scores[other] > group_scores[g] ||
                (other < g && group_scores[other] == group_scores[g]);
    }
    if (better >= groups.chosen) std::fill_n(scores + g * size, size, kLowest);
  }
}

// The tokens of consecutive sequences, padding behind them.
struct Sequences : RouterSequences {
  const int32_t* offsets;  // null: no padding

  // Tokens of the sequences before b.
  int64_t Before(int64_t b) const { return offsets == nullptr ? b * length : offsets[b]; }
};

template <typename T>
void ChooseNone(int64_t begin, int64_t end, int64_t top_k, int32_t* experts_TK, T* probs_TK) {
  std::fill_n(experts_TK + begin * top_k, (end - begin) * top_k, -1);
  std::fill_n(probs_TK + begin * top_k, (end - begin) * top_k, T(0));
}

template <typename T>
HETERO_CPU_KERNEL void Forward(const T* logits_TE, const T* bias, const Sequences& sequences,
                               int64_t num_rows, int64_t num_experts, int64_t top_k,
                               const RouterGroups& groups, T scale, bool normalizes, bool balanced,
                               T* scores, T* selectable, T* group_scores, int32_t* experts_TK,
                               T* probs_TK, int32_t* counts, int32_t* aux_counts_BE,
                               T* aux_prob_sums_BE) {
  const bool biased = std::any_of(bias, bias + num_experts, [](T value) { return value != T(0); });
  for (int64_t b = 0; b < sequences.count; ++b) {
    const int64_t first = b * sequences.length;
    const int64_t tokens = sequences.Before(b + 1) - sequences.Before(b);
    const int64_t begin = sequences.Row(first, num_rows);
    const int64_t end = sequences.Row(first + tokens, num_rows);
    ChooseNone(end, sequences.Row(first + sequences.length, num_rows), top_k, experts_TK, probs_TK);
    for (int64_t t = begin; t < end; ++t) {
      int32_t* chosen = experts_TK + t * top_k;
      T* probs = probs_TK + t * top_k;
      SigmoidRow(logits_TE + t * num_experts, scores, num_experts);

      if (aux_counts_BE != nullptr) {
        const T normalize = T(1) / (Sum(scores, num_experts) + kTiny<T>);
        T* prob_sums = aux_prob_sums_BE + b * num_experts;
#pragma omp simd
        for (int64_t e = 0; e < num_experts; ++e) prob_sums[e] += scores[e] * normalize;
        std::copy_n(scores, num_experts, selectable);
        SelectLargest(selectable, num_experts, top_k, chosen);
        for (int64_t j = 0; j < top_k; ++j) ++aux_counts_BE[b * num_experts + chosen[j]];
      }
      if (balanced) {
        const int64_t turn = (sequences.Before(b) + sequences.first + t - first) * top_k;
        for (int64_t j = 0; j < top_k; ++j) {
          chosen[j] = static_cast<int32_t>((turn + j) % num_experts);
        }
        std::sort(chosen, chosen + top_k);
      } else if (aux_counts_BE == nullptr || biased || groups.limit()) {
#pragma omp simd
        for (int64_t e = 0; e < num_experts; ++e) selectable[e] = scores[e] + bias[e];
        if (groups.limit()) LimitToGroups(selectable, num_experts, groups, group_scores);
        SelectLargest(selectable, num_experts, top_k, chosen);
      }

      T selected_sum = 0;
      for (int64_t j = 0; j < top_k; ++j) selected_sum += scores[chosen[j]];
      const T factor = normalizes ? scale / (selected_sum + kTiny<T>) : scale;
      for (int64_t j = 0; j < top_k; ++j) {
        probs[j] = factor * scores[chosen[j]];
        ++counts[chosen[j]];
      }
    }
  }
  ChooseNone(sequences.Row(sequences.count * sequences.length, num_rows), num_rows, top_k,
             experts_TK, probs_TK);
}

template <typename T>
HETERO_CPU_KERNEL void Backward(const T* logits_TE, const int32_t* experts_TK, const T* d_probs_TK,
                                const int32_t* aux_counts_BE, int64_t num_tokens,
                                int64_t num_experts, int64_t top_k,
                                const RouterSequences& sequences, T scale, bool normalizes,
                                T aux_coefficient, T* scores, T* d_scores, T* d_logits_TE) {
  for (int64_t t = 0; t < num_tokens; ++t) {
    const int32_t* chosen = experts_TK + t * top_k;
    const T* d_probs = d_probs_TK + t * top_k;
    T* d_logits = d_logits_TE + t * num_experts;
    if (chosen[0] < 0) {
      std::fill_n(d_logits, num_experts, T(0));
      continue;
    }
    SigmoidRow(logits_TE + t * num_experts, scores, num_experts);

    if (aux_counts_BE == nullptr) {
      std::fill_n(d_scores, num_experts, T(0));
    } else {
      const int32_t* aux_counts =
          aux_counts_BE + (sequences.first + t) / sequences.length * num_experts;
      T weighted = 0;
      int32_t counted = 0;
#pragma omp simd reduction(+ : weighted, counted)
      for (int64_t e = 0; e < num_experts; ++e) {
        weighted += static_cast<T>(aux_counts[e]) * scores[e];
        counted += aux_counts[e];
      }
      const T aux_scale = aux_coefficient * static_cast<T>(num_experts) / static_cast<T>(counted);
      const T normalize = T(1) / (Sum(scores, num_experts) + kTiny<T>);
      const T mean = weighted * normalize;
#pragma omp simd
      for (int64_t e = 0; e < num_experts; ++e) {
        d_scores[e] = aux_scale * (static_cast<T>(aux_counts[e]) - mean) * normalize;
      }
    }

    if (!normalizes) {
      for (int64_t j = 0; j < top_k; ++j) d_scores[chosen[j]] += scale * d_probs[j];
    } else {
      T selected_sum = kTiny<T>;
      T dot = 0;
      for (int64_t j = 0; j < top_k; ++j) {
        selected_sum += scores[chosen[j]];
        dot += d_probs[j] * scores[chosen[j]];
      }
      const T mean = dot / selected_sum;
      for (int64_t j = 0; j < top_k; ++j) {
        d_scores[chosen[j]] += scale * (d_probs[j] - mean) / selected_sum;
      }
    }
#pragma omp simd
    for (int64_t e = 0; e < num_experts; ++e) {
      d_logits[e] = d_scores[e] * scores[e] * (T(1) - scores[e]);
    }
  }
}

template <typename T>
T* DataOrNull(const TensorView& view) {
  return view.is_null() ? nullptr : view.data<T>();
}

}  // namespace

absl::Status RouterForwardCpu(const RouterForwardArgs& args, TensorView scratch_2E) {
  return VisitFloat(args.logits_TE.dtype(), [&]<typename T>() {
    const std::span<int32_t> counts = args.counts_E.values<int32_t>();
    std::ranges::fill(counts, 0);
    int32_t* aux_counts = DataOrNull<int32_t>(args.aux_counts_BE);
    T* aux_prob_sums = DataOrNull<T>(args.aux_prob_sums_BE);
    if (aux_counts != nullptr) {
      std::fill_n(aux_counts, args.aux_counts_BE.num_elements(), 0);
      std::fill_n(aux_prob_sums, args.aux_prob_sums_BE.num_elements(), T(0));
    }
    const int64_t num_rows = args.logits_TE.dim(0);
    const Sequences sequences = {
        SequencesOf(args.places, NumRouterSequences(args), num_rows),
        args.token_offsets_B1.is_null() ? nullptr : args.token_offsets_B1.data<int32_t>()};
    cpu::RunKernel<Forward<T>>(
        args.logits_TE.data<T>(), args.expert_bias_E.data<T>(), sequences, num_rows,
        args.logits_TE.dim(1), args.experts_TK.dim(1), args.groups, static_cast<T>(args.scale),
        NormalizesProbs(args.normalized, args.experts_TK.dim(1)), args.balanced,
        scratch_2E.At(0).data<T>(), scratch_2E.At(1).data<T>(),
        args.groups.limit() ? scratch_2E.At(2).data<T>() : nullptr, args.experts_TK.data<int32_t>(),
        args.probs_TK.data<T>(), counts.data(), aux_counts, aux_prob_sums);
    if (!args.total_counts_E.is_null()) {
      int64_t* total = args.total_counts_E.data<int64_t>();
      for (size_t e = 0; e < counts.size(); ++e) total[e] += counts[e];
    }
  });
}

absl::Status RouterBackwardCpu(const RouterBackwardArgs& args, TensorView scratch_2E) {
  return VisitFloat(args.logits_TE.dtype(), [&]<typename T>() {
    const int64_t num_tokens = args.logits_TE.dim(0);
    cpu::RunKernel<Backward<T>>(
        args.logits_TE.data<T>(), args.experts_TK.data<int32_t>(), args.d_probs_TK.data<T>(),
        args.aux_counts_BE.is_null() ? nullptr : args.aux_counts_BE.data<int32_t>(), num_tokens,
        args.logits_TE.dim(1), args.experts_TK.dim(1),
        SequencesOf(args.places, args.aux_counts_BE.is_null() ? 1 : args.aux_counts_BE.dim(0),
                    num_tokens),
        static_cast<T>(args.scale), NormalizesProbs(args.normalized, args.experts_TK.dim(1)),
        static_cast<T>(args.aux_coefficient), scratch_2E.At(0).data<T>(),
        scratch_2E.At(1).data<T>(), args.d_logits_TE.data<T>());
  });
}

absl::Status AddSequenceAuxLossCpu(double coefficient, ConstTensorView aux_counts_BE,
                                   ConstTensorView aux_prob_sums_BE, TensorView loss_1) {
  return VisitFloat(aux_prob_sums_BE.dtype(), [&]<typename T>() {
    const int64_t num_experts = aux_counts_BE.dim(1);
    double sum = 0;
    for (int64_t b = 0; b < aux_counts_BE.dim(0); ++b) {
      const int32_t* counts = aux_counts_BE.data<int32_t>() + b * num_experts;
      const T* prob_sums = aux_prob_sums_BE.data<T>() + b * num_experts;
      double weighted = 0;
      int64_t counted = 0;
      for (int64_t e = 0; e < num_experts; ++e) {
        weighted += static_cast<double>(counts[e]) * static_cast<double>(prob_sums[e]);
        counted += counts[e];
      }
      if (counted > 0) sum += weighted / static_cast<double>(counted);
    }
    *loss_1.data<T>() += static_cast<T>(coefficient * static_cast<double>(num_experts) * sum);
  });
}

absl::Status UpdateExpertBiasCpu(double rate, ConstTensorView decisions, TensorView counts_E,
                                 TensorView bias_E) {
  const bool moves = decisions.is_null() || decisions.data<double>()[kUpdateApply] != 0;
  return VisitFloat(bias_E.dtype(), [&]<typename T>() {
    const std::span<int64_t> counts = counts_E.values<int64_t>();
    T* bias = bias_E.data<T>();
    int64_t total = 0;
    for (const int64_t count : counts) total += count;
    const int64_t num_experts = static_cast<int64_t>(counts.size());
    for (int64_t e = 0; e < num_experts; ++e) {
      const int64_t above_mean = counts[e] * num_experts - total;
      if (moves && above_mean != 0) bias[e] += static_cast<T>(above_mean < 0 ? rate : -rate);
      counts[e] = 0;
    }
  });
}

}  // namespace hetero::internal
