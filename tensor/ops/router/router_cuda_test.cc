#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <optional>
#include <ostream>
#include <random>
#include <span>
#include <tuple>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/router/router.h"
#include "hetero/tensor/ops/router/scores_apart.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;

struct Extents {
  int64_t sequences, length, experts, top_k;
  RouterGroups groups = {};
  std::optional<bool> normalized = {};

  friend void PrintTo(const Extents& e, std::ostream* out) {
    *out << e.sequences << "x" << e.length << "of" << e.experts << "k" << e.top_k << "g"
         << e.groups.chosen << "of" << e.groups.count
         << (!e.normalized.has_value() ? ""
             : *e.normalized           ? "normalized"
                                       : "raw");
  }
};
constexpr Extents kExtents[] = {{1, 1, 1, 1},
                                {3, 7, 5, 2},
                                {8, 48, 8, 2},
                                {2, 333, 128, 6},
                                {1, 70, 520, 22},
                                {5, 33, 37, 37},
                                {2, 9, 64, 1},
                                {2, 0, 4, 2},
                                {2, 333, 128, 6, {8, 4}, {}},
                                {3, 40, 96, 5, {48, 7}, false},
                                {2, 9, 64, 1, {2, 1}, true}};

class RouterCudaTest : public ::testing::TestWithParam<Extents> {
 protected:
  RouterCudaTest()
      : e_(GetParam()),
        tokens_(e_.sequences * e_.length),
        bias_(NormalFor(DType::kF32, {e_.experts}, generator_, 0.1)),
        logits_(DrawLogits(tokens_)),
        offsets_({e_.sequences + 1}) {
    // Whole sequences, parts of them and empty ones.
    offsets_[0] = 0;
    for (int64_t b = 0; b < e_.sequences; ++b) {
      const int64_t drawn = generator_() % 3 == 0 ? e_.length : generator_() % (e_.length + 1);
      offsets_[b + 1] = offsets_[b] + static_cast<int32_t>(drawn);
    }
  }

  // Rows whose experts do not depend on how scores are rounded.
  HostTensor<double> DrawLogits(int64_t rows) {
    HostTensor<double> logits({rows, e_.experts});
    for (int64_t t = 0; t < rows; ++t) {
      const auto row = std::span(logits.values()).subspan(t * e_.experts, e_.experts);
      do {
        std::ranges::copy(NormalFor(DType::kF32, {e_.experts}, generator_).values(), row.begin());
      } while (!ScoresAreApart<double>(row, bias_.values(), e_.groups.count));
    }
    return logits;
  }

  struct Outputs {
    TensorView experts, probs, counts, total, aux_counts, aux_sums;
  };
  absl::Status Forward(const ConstTensorView& logits, const ConstTensorView& bias,
                       const ConstTensorView& offsets, const Outputs& outputs, bool balanced,
                       bool aux, Stream& stream) const {
    return RouterForward({.logits_TE = logits,
                          .expert_bias_E = bias,
                          .token_offsets_B1 = offsets,
                          .groups = e_.groups,
                          .scale = 2.5,
                          .normalized = e_.normalized,
                          .balanced = balanced,
                          .experts_TK = outputs.experts,
                          .probs_TK = outputs.probs,
                          .counts_E = outputs.counts,
                          .total_counts_E = outputs.total,
                          .aux_counts_BE = aux ? outputs.aux_counts : TensorView(),
                          .aux_prob_sums_BE = aux ? outputs.aux_sums : TensorView()},
                         stream);
  }
  template <typename T>
  static std::vector<double> Doubles(const HostTensor<T>& tensor) {
    return {tensor.values().begin(), tensor.values().end()};
  }

  Extents e_;
  int64_t tokens_;
  std::mt19937_64 generator_ = FreshGenerator();
  HostTensor<double> bias_, logits_;
  HostTensor<int32_t> offsets_;
  StreamWithWorkspace cpu_;
  StreamWithWorkspace gpu_{DeviceKind::kCuda};
};

TEST_P(RouterCudaTest, EqualsTheCpuAndItself) {
  const int64_t b = e_.sequences, k = e_.top_k, num_experts = e_.experts;
  HostTensor<int32_t> experts({tokens_, k}), counts({num_experts}), aux_counts({b, num_experts});
  HostTensor<int64_t> total({num_experts});
  HostTensor<double> probs({tokens_, k}), aux_sums({b, num_experts});
  std::iota(total.values().begin(), total.values().end(), 100);
  const DeviceTensor gpu_logits(DType::kF32, logits_, *gpu_), gpu_bias(DType::kF32, bias_, *gpu_),
      gpu_offsets(DType::kI32, offsets_, *gpu_), gpu_experts(DType::kI32, {tokens_, k}, *gpu_),
      gpu_probs(DType::kF32, {tokens_, k}, *gpu_), gpu_counts(DType::kI32, {num_experts}, *gpu_),
      gpu_total(DType::kI64, total, *gpu_), gpu_aux_counts(DType::kI32, {b, num_experts}, *gpu_),
      gpu_aux_sums(DType::kF32, {b, num_experts}, *gpu_),
      again_probs(DType::kF32, {tokens_, k}, *gpu_),
      again_sums(DType::kF32, {b, num_experts}, *gpu_);
  const ErrorSpec spec{.absolute = 8 * Epsilon<float>(), .relative = 32 * Epsilon<float>()};
  for (const auto& [balanced, aux, padded] :
       {std::tuple(true, false, false), std::tuple(false, false, false),
        std::tuple(false, true, false), std::tuple(true, true, true),
        std::tuple(false, false, true), std::tuple(false, true, true)}) {
    const auto offsets = [&](const auto& tensor) {
      return padded ? ConstTensorView(tensor.view()) : ConstTensorView();
    };
    ASSERT_THAT(Forward(logits_.view(), bias_.view(), offsets(offsets_),
                        {experts.view(), probs.view(), counts.view(), total.view(),
                         aux_counts.view(), aux_sums.view()},
                        balanced, aux, *cpu_),
                IsOk());
    ASSERT_THAT(Forward(gpu_logits.view(), gpu_bias.view(), offsets(gpu_offsets),
                        {gpu_experts.view(), gpu_probs.view(), gpu_counts.view(), gpu_total.view(),
                         gpu_aux_counts.view(), gpu_aux_sums.view()},
                        balanced, aux, *gpu_),
                IsOk());
    ASSERT_EQ(gpu_experts.Values(), Doubles(experts));
    EXPECT_EQ(gpu_counts.Values(), Doubles(counts));
    EXPECT_EQ(gpu_total.Values(), Doubles(total));
    EXPECT_THAT(gpu_probs.Values(), IsCloseTo(probs.values(), spec));
  }
  EXPECT_EQ(gpu_aux_counts.Values(), Doubles(aux_counts));
  EXPECT_THAT(gpu_aux_sums.Values(), IsCloseTo(aux_sums.values(), spec));
  ASSERT_THAT(Forward(gpu_logits.view(), gpu_bias.view(), gpu_offsets.view(),
                      {gpu_experts.view(), again_probs.view(), gpu_counts.view(), TensorView(),
                       gpu_aux_counts.view(), again_sums.view()},
                      false, true, *gpu_),
              IsOk());
  EXPECT_EQ(gpu_probs.Bits(), again_probs.Bits());
  EXPECT_EQ(gpu_aux_sums.Bits(), again_sums.Bits());
  EXPECT_EQ(gpu_total.Values(), Doubles(total));

  const auto d_probs = NormalFor(DType::kF32, {tokens_, k}, generator_);
  const DeviceTensor gpu_d_probs(DType::kF32, d_probs, *gpu_),
      gpu_d_logits(DType::kF32, {tokens_, num_experts}, *gpu_);
  HostTensor<double> d_logits({tokens_, num_experts});
  for (const bool aux : {false, true}) {
    const auto backward = [&](const ConstTensorView& logits, const ConstTensorView& chosen,
                              const ConstTensorView& d_probs_view, const ConstTensorView& aux_view,
                              const TensorView& d_logits_view, Stream& stream) {
      return RouterBackward({.logits_TE = logits,
                             .experts_TK = chosen,
                             .d_probs_TK = d_probs_view,
                             .scale = 2.5,
                             .normalized = e_.normalized,
                             .aux_counts_BE = aux ? aux_view : ConstTensorView(),
                             .aux_coefficient = 0.01,
                             .d_logits_TE = d_logits_view},
                            stream);
    };
    ASSERT_THAT(backward(logits_.view(), experts.view(), d_probs.view(), aux_counts.view(),
                         d_logits.view(), *cpu_),
                IsOk());
    ASSERT_THAT(backward(gpu_logits.view(), gpu_experts.view(), gpu_d_probs.view(),
                         gpu_aux_counts.view(), gpu_d_logits.view(), *gpu_),
                IsOk());
    EXPECT_THAT(gpu_d_logits.Values(),
                IsCloseTo(d_logits.values(),
                          {.absolute = 16 * Epsilon<float>(), .relative = 64 * Epsilon<float>()}));
  }

  HostTensor<double> loss({1}, {0.5});
  const DeviceTensor gpu_loss(DType::kF32, loss, *gpu_);
  ASSERT_THAT(AddSequenceAuxLoss(0.1, aux_counts.view(), aux_sums.view(), loss.view(), *cpu_),
              IsOk());
  ASSERT_THAT(
      AddSequenceAuxLoss(0.1, gpu_aux_counts.view(), gpu_aux_sums.view(), gpu_loss.view(), *gpu_),
      IsOk());
  EXPECT_THAT(gpu_loss.Values(), IsCloseTo(loss.values(), {.relative = 32 * Epsilon<float>()}));

  ASSERT_THAT(UpdateExpertBias(0.001, {}, total.view(), bias_.view(), *cpu_), IsOk());
  ASSERT_THAT(UpdateExpertBias(0.001, {}, gpu_total.view(), gpu_bias.view(), *gpu_), IsOk());
  EXPECT_EQ(gpu_total.Values(), Doubles(total));
  EXPECT_THAT(gpu_bias.Values(), IsCloseTo(bias_.values(), {.absolute = Epsilon<float>()}));
}

// The rows of a rank begin in one sequence, end in another, and have padding behind the last.
TEST_P(RouterCudaTest, RowsOfARankAreRoutedAsOnTheCpu) {
  const int64_t b = e_.sequences, k = e_.top_k, num_experts = e_.experts;
  for (const int64_t rank : {0, 1, 2}) {
    const int64_t rows = (tokens_ + 2) / 3;
    const auto part = DrawLogits(rows);
    const auto d_probs = NormalFor(DType::kF32, {rows, k}, generator_);
    HostTensor<int32_t> experts({rows, k}), counts({num_experts}), aux_counts({b, num_experts});
    HostTensor<double> probs({rows, k}), aux_sums({b, num_experts}), d_logits({rows, num_experts});
    const DeviceTensor gpu_part(DType::kF32, part, *gpu_), gpu_bias(DType::kF32, bias_, *gpu_),
        gpu_offsets(DType::kI32, offsets_, *gpu_), gpu_d_probs(DType::kF32, d_probs, *gpu_),
        gpu_experts(DType::kI32, {rows, k}, *gpu_), gpu_probs(DType::kF32, {rows, k}, *gpu_),
        gpu_counts(DType::kI32, {num_experts}, *gpu_),
        gpu_aux_counts(DType::kI32, {b, num_experts}, *gpu_),
        gpu_aux_sums(DType::kF32, {b, num_experts}, *gpu_),
        gpu_d_logits(DType::kF32, {rows, num_experts}, *gpu_);
    const RouterPlaces places = {.first = rank * rows, .num_all = tokens_};
    const auto route = [&](const ConstTensorView& logits, const ConstTensorView& bias,
                           const ConstTensorView& offsets, const ConstTensorView& of_probs,
                           const Outputs& outputs, const TensorView& of_logits, Stream& stream) {
      const absl::Status status = RouterForward({.logits_TE = logits,
                                                 .expert_bias_E = bias,
                                                 .token_offsets_B1 = offsets,
                                                 .places = places,
                                                 .groups = e_.groups,
                                                 .scale = 2.5,
                                                 .normalized = e_.normalized,
                                                 .experts_TK = outputs.experts,
                                                 .probs_TK = outputs.probs,
                                                 .counts_E = outputs.counts,
                                                 .aux_counts_BE = outputs.aux_counts,
                                                 .aux_prob_sums_BE = outputs.aux_sums},
                                                stream);
      if (!status.ok()) return status;
      return RouterBackward({.logits_TE = logits,
                             .experts_TK = outputs.experts,
                             .d_probs_TK = of_probs,
                             .places = places,
                             .scale = 2.5,
                             .normalized = e_.normalized,
                             .aux_counts_BE = outputs.aux_counts,
                             .aux_coefficient = 0.01,
                             .d_logits_TE = of_logits},
                            stream);
    };
    ASSERT_THAT(
        route(part.view(), bias_.view(), offsets_.view(), d_probs.view(),
              {experts.view(), probs.view(), counts.view(), {}, aux_counts.view(), aux_sums.view()},
              d_logits.view(), *cpu_),
        IsOk());
    ASSERT_THAT(route(gpu_part.view(), gpu_bias.view(), gpu_offsets.view(), gpu_d_probs.view(),
                      {gpu_experts.view(),
                       gpu_probs.view(),
                       gpu_counts.view(),
                       {},
                       gpu_aux_counts.view(),
                       gpu_aux_sums.view()},
                      gpu_d_logits.view(), *gpu_),
                IsOk());
    const ErrorSpec spec{.absolute = 16 * Epsilon<float>(), .relative = 64 * Epsilon<float>()};
    ASSERT_EQ(gpu_experts.Values(), Doubles(experts));
    EXPECT_EQ(gpu_counts.Values(), Doubles(counts));
    EXPECT_EQ(gpu_aux_counts.Values(), Doubles(aux_counts));
    EXPECT_THAT(gpu_probs.Values(), IsCloseTo(probs.values(), spec));
    EXPECT_THAT(gpu_aux_sums.Values(), IsCloseTo(aux_sums.values(), spec));
    EXPECT_THAT(gpu_d_logits.Values(), IsCloseTo(d_logits.values(), spec));
  }
}

// Equal scores, and scores that compare with nothing, choose what the CPU chooses.
TEST_P(RouterCudaTest, TiesAndNaNChooseAsTheCpu) {
  if (tokens_ == 0) return;
  const int64_t k = e_.top_k, num_experts = e_.experts;
  for (int64_t i = 0; i < tokens_ * num_experts; ++i) {
    const uint64_t draw = generator_() % 4;
    logits_[i] = draw == 3 ? std::nan("") : static_cast<double>(draw) - 1;
  }
  for (double& value : bias_.values()) value = 0;
  HostTensor<int32_t> experts({tokens_, k}), counts({num_experts});
  HostTensor<double> probs({tokens_, k});
  const DeviceTensor gpu_logits(DType::kF32, logits_, *gpu_), gpu_bias(DType::kF32, bias_, *gpu_),
      gpu_experts(DType::kI32, {tokens_, k}, *gpu_), gpu_probs(DType::kF32, {tokens_, k}, *gpu_),
      gpu_counts(DType::kI32, {num_experts}, *gpu_);
  ASSERT_THAT(Forward(logits_.view(), bias_.view(), {},
                      {.experts = experts.view(), .probs = probs.view(), .counts = counts.view()},
                      false, false, *cpu_),
              IsOk());
  ASSERT_THAT(
      Forward(
          gpu_logits.view(), gpu_bias.view(), {},
          {.experts = gpu_experts.view(), .probs = gpu_probs.view(), .counts = gpu_counts.view()},
          false, false, *gpu_),
      IsOk());
  EXPECT_EQ(gpu_experts.Values(), Doubles(experts));
  EXPECT_EQ(gpu_counts.Values(), Doubles(counts));
}

INSTANTIATE_TEST_SUITE_P(Extents, RouterCudaTest, ::testing::ValuesIn(kExtents));

TEST(RouterCudaTest, LogitsAreF32) {
  StreamWithWorkspace gpu(DeviceKind::kCuda);
  const DeviceTensor logits(DType::kBF16, {2, 4}, *gpu), bias(DType::kBF16, {4}, *gpu),
      probs(DType::kBF16, {2, 2}, *gpu), experts(DType::kI32, {2, 2}, *gpu),
      counts(DType::kI32, {4}, *gpu);
  EXPECT_THAT(RouterForward({.logits_TE = logits.view(),
                             .expert_bias_E = bias.view(),
                             .experts_TK = experts.view(),
                             .probs_TK = probs.view(),
                             .counts_E = counts.view()},
                            *gpu),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("expected f32")));
}

}  // namespace
}  // namespace hetero
