#include "hetero/models/blocks/head/linear_cross_entropy.h"

#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/base/status.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::Each;
using ::testing::HasSubstr;

constexpr int64_t kT = 7, kV = 9, kH = 5;

// Of one seed, the same numbers.
struct Problem {
  explicit Problem(uint64_t seed = FreshSeed()) : generator(seed) {}

  LinearCrossEntropyArgs Args() {
    return {.hidden_TH = hidden.view(),
            .weight_VH = weight.view(),
            .targets_N = targets.view(),
            .loss_weight_N = loss_weight.view(),
            .loss_N = loss.view(),
            .d_hidden_TH = d_hidden.view(),
            .dweight_VH = dweight.view(),
            .accumulate = false};
  }

  // Σ w loss by the definition.
  double Loss() const {
    double total = 0;
    for (int64_t t = 0; t < kT; ++t) {
      double sum = 0, target = 0;
      for (int64_t v = 0; v < kV; ++v) {
        double logit = 0;
        for (int64_t h = 0; h < kH; ++h) logit += hidden[t * kH + h] * weight[v * kH + h];
        sum += std::exp(logit);
        if (v == targets[t]) target = logit;
      }
      total += loss_weight[t] * (std::log(sum) - target);
    }
    return total;
  }

  std::mt19937_64 generator;
  HostTensor<double> hidden = HostTensor<double>::Normal({kT, kH}, generator);
  HostTensor<double> weight = HostTensor<double>::Normal({kV, kH}, generator);
  HostTensor<int32_t> targets{{kT}, {0, 8, 3, 3, -100, 5, 1}};
  HostTensor<double> loss_weight{{kT}, {1, 0.5, 1, 0, 0, 1, 2}};
  HostTensor<double> loss{{kT}}, d_hidden{{kT, kH}}, dweight{{kV, kH}};
  StreamWithWorkspace stream;
};

class LinearCrossEntropyTest : public ::testing::TestWithParam<int64_t> {};

TEST_P(LinearCrossEntropyTest, GradientsAreTheDerivativesOfTheDefinition) {
  Problem problem;
  const auto numeric = [&](HostTensor<double>& parameter) {
    std::vector<double> gradient;
    for (double& value : parameter.values()) {
      const double kept = value;
      value = kept + 1e-5;
      const double above = problem.Loss();
      value = kept - 1e-5;
      gradient.push_back((above - problem.Loss()) / 2e-5);
      value = kept;
    }
    return gradient;
  };
  LinearCrossEntropyArgs args = problem.Args();
  args.chunk_rows = GetParam();
  ASSERT_THAT(LinearCrossEntropy(args, *problem.stream), IsOk());
  double total = 0;
  for (int64_t t = 0; t < kT; ++t) total += problem.loss[t] * problem.loss_weight[t];
  EXPECT_NEAR(total, problem.Loss(), 1e-12);
  const ErrorSpec spec{.absolute = 1e-8};
  EXPECT_THAT(problem.d_hidden.values(), IsCloseTo(numeric(problem.hidden), spec));
  EXPECT_THAT(problem.dweight.values(), IsCloseTo(numeric(problem.weight), spec));
}

TEST_P(LinearCrossEntropyTest, RowsThatDoNotCountChangeNothing) {
  const uint64_t seed = FreshSeed();
  Problem all(seed), compact(seed);
  ASSERT_THAT(LinearCrossEntropy(all.Args(), *all.stream), IsOk());

  const HostTensor<int32_t> rows({5}, {6, 0, 1, 2, 5}), targets({5}, {1, 0, 8, 3, 5});
  const HostTensor<double> loss_weight({5}, {2, 1, 0.5, 1, 1});
  HostTensor<double> loss({5});
  LinearCrossEntropyArgs args = compact.Args();
  args.rows_N = rows.view();
  args.targets_N = targets.view();
  args.loss_weight_N = loss_weight.view();
  args.loss_N = loss.view();
  args.chunk_rows = GetParam();
  ASSERT_THAT(LinearCrossEntropy(args, *compact.stream), IsOk());
  const ErrorSpec spec{.absolute = 1e-13};
  for (int64_t n = 0; n < 5; ++n) EXPECT_NEAR(loss[n], all.loss[rows[n]], 1e-13);
  EXPECT_THAT(compact.d_hidden.values(), IsCloseTo(all.d_hidden.values(), spec));
  EXPECT_THAT(compact.dweight.values(), IsCloseTo(all.dweight.values(), spec));
  for (const int64_t masked : {3, 4}) {
    for (Problem* problem : {&all, &compact}) {
      const auto begin = problem->d_hidden.values().begin() + masked * kH;
      EXPECT_THAT(std::vector<double>(begin, begin + kH), Each(0.0));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(ChunkRows, LinearCrossEntropyTest, ::testing::Values(1, 3, 256));

TEST(LinearCrossEntropyCallTest, AccumulatesAndEvaluatesAlone) {
  const uint64_t seed = FreshSeed();
  Problem once(seed), twice(seed);
  ASSERT_THAT(LinearCrossEntropy(once.Args(), *once.stream), IsOk());
  LinearCrossEntropyArgs args = twice.Args();
  ASSERT_THAT(LinearCrossEntropy(args, *twice.stream), IsOk());
  args.accumulate = true;
  args.d_hidden_TH = {};
  ASSERT_THAT(LinearCrossEntropy(args, *twice.stream), IsOk());
  std::vector<double> doubled = once.dweight.values();
  for (double& value : doubled) value *= 2;
  EXPECT_THAT(twice.dweight.values(), IsCloseTo(doubled, {.absolute = 1e-13}));

  HostTensor<int32_t> argmax({kT});
  args.dweight_VH = {};
  args.argmax_N = argmax.view();
  ASSERT_THAT(LinearCrossEntropy(args, *twice.stream), IsOk());
  EXPECT_THAT(twice.loss.values(), IsCloseTo(once.loss.values(), {.absolute = 1e-14}));
  for (int64_t t = 0; t < kT; ++t) {
    const auto logit = [&](int64_t v) {
      double sum = 0;
      for (int64_t h = 0; h < kH; ++h) sum += once.hidden[t * kH + h] * once.weight[v * kH + h];
      return sum;
    };
    for (int64_t v = 0; v < kV; ++v) EXPECT_LE(logit(v), logit(argmax[t]));
  }
}

// Numbers whose products are exact, with equal largest logits of token 0 at rows 1, 4 and 7.
struct TiedProblem : Problem {
  explicit TiedProblem(uint64_t seed) : Problem(seed) {
    for (HostTensor<double>* tensor : {&hidden, &weight}) {
      for (double& value : tensor->values()) value = std::round(2 * value);
    }
    hidden[0] = 1;  // all its numbers might be zero, and with them all of its logits
    for (const int64_t row : {1, 4, 7}) {
      for (int64_t h = 0; h < kH; ++h) weight[row * kH + h] = 16 * hidden[h];
    }
  }

  HostTensor<int32_t> argmax{{kT}};
};

// Of three ranks with two, seven and none of the rows of the vocabulary.
TEST(LinearCrossEntropyRanksTest, PartsOfTheVocabularyAreTheWhole) {
  constexpr int64_t kBegin[] = {0, 2, 9}, kCount[] = {2, 7, 0};
  const uint64_t seed = FreshSeed();
  TiedProblem whole(seed);
  ASSERT_THAT(LinearCrossEntropy(whole.Args(), *whole.stream), IsOk());
  LinearCrossEntropyArgs evaluation = whole.Args();
  evaluation.d_hidden_TH = evaluation.dweight_VH = {};
  evaluation.argmax_N = whole.argmax.view();
  ASSERT_THAT(LinearCrossEntropy(evaluation, *whole.stream), IsOk());
  EXPECT_EQ(whole.argmax[0], 1);

  TiedProblem parts[] = {TiedProblem(seed), TiedProblem(seed), TiedProblem(seed)};
  ASSERT_THAT(
      RunRanks(3,
               [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
                 HETERO_ASSIGN_OR_RETURN(
                     const std::unique_ptr<Communicator> communicator,
                     factory.Create({.channel = "model",
                                     .members = {GlobalRank(0), GlobalRank(1), GlobalRank(2)}}));
                 const int64_t p = rank.value();
                 TiedProblem& part = parts[p];
                 LinearCrossEntropyArgs args = part.Args();
                 args.weight_VH = args.weight_VH.Rows(kBegin[p], kCount[p]);
                 args.dweight_VH = args.dweight_VH.Rows(kBegin[p], kCount[p]);
                 args.first_row = kBegin[p];
                 args.vocabulary_size = kV;
                 args.tensor_parallel = communicator.get();
                 args.chunk_rows = 3;
                 HETERO_RETURN_IF_ERROR(LinearCrossEntropy(args, *part.stream));
                 args.d_hidden_TH = args.dweight_VH = {};
                 args.argmax_N = part.argmax.view();
                 return LinearCrossEntropy(args, *part.stream);
               }),
      IsOk());
  const ErrorSpec rounding{.relative_to_max = 1e-14};
  std::vector<double> d_hidden(kT * kH), dweight;
  for (int64_t p = 0; p < 3; ++p) {
    EXPECT_THAT(parts[p].loss.values(), IsCloseTo(whole.loss.values(), rounding));
    EXPECT_EQ(parts[p].argmax.values(), whole.argmax.values());
    for (int64_t i = 0; i < kT * kH; ++i) d_hidden[i] += parts[p].d_hidden[i];
    const auto begin = parts[p].dweight.values().begin() + kBegin[p] * kH;
    dweight.insert(dweight.end(), begin, begin + kCount[p] * kH);
  }
  EXPECT_THAT(d_hidden, IsCloseTo(whole.d_hidden.values(), rounding));
  EXPECT_THAT(dweight, IsCloseTo(whole.dweight.values(), rounding));
}

TEST(LinearCrossEntropyCallTest, NoRowsLeaveZeroGradients) {
  Problem problem;
  HostTensor<int32_t> none({0});
  HostTensor<double> nothing({0});
  LinearCrossEntropyArgs args = problem.Args();
  args.rows_N = none.view();
  args.targets_N = none.view();
  args.loss_weight_N = nothing.view();
  args.loss_N = nothing.view();
  ASSERT_THAT(LinearCrossEntropy(args, *problem.stream), IsOk());
  EXPECT_THAT(problem.d_hidden.values(), Each(0.0));
  EXPECT_THAT(problem.dweight.values(), Each(0.0));
}

TEST(LinearCrossEntropyCallTest, ATargetOutsideTheVocabularyNeedsWeightZero) {
  Problem problem;
  problem.targets[4] = kV;
  EXPECT_THAT(LinearCrossEntropy(problem.Args(), *problem.stream), IsOk());
  problem.loss_weight[4] = 0.5;
  EXPECT_THAT(
      LinearCrossEntropy(problem.Args(), *problem.stream),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("target 9 at 4; expected 0 to 8")));
}

TEST(LinearCrossEntropyCallTest, ErrorsNameTheOperand) {
  Problem problem;
  HostTensor<double> narrow({kV, kH - 1});
  LinearCrossEntropyArgs args = problem.Args();
  args.weight_VH = narrow.view();
  EXPECT_THAT(LinearCrossEntropy(args, *problem.stream),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("linear_cross_entropy: weight is f64[9,4]")));
}

TEST(LinearCrossEntropyCallTest, ShapeOnlyAllocatesAndCountsAsTheRunDoes) {
  Problem real;
  LinearCrossEntropyArgs args = real.Args();
  args.chunk_rows = 4;
  ASSERT_THAT(LinearCrossEntropy(args, *real.stream), IsOk());
  StreamWithWorkspace stream(DeviceKind::kShapeOnly);
  const auto nowhere = [](const ConstTensorView& like) {
    return TensorView(reinterpret_cast<void*>(kShapeOnlyAddress), like.dtype(), like.dims());
  };
  ASSERT_THAT(LinearCrossEntropy({.hidden_TH = nowhere(args.hidden_TH),
                                  .weight_VH = nowhere(args.weight_VH),
                                  .targets_N = nowhere(args.targets_N),
                                  .loss_weight_N = nowhere(args.loss_weight_N),
                                  .loss_N = nowhere(args.loss_N),
                                  .d_hidden_TH = nowhere(args.d_hidden_TH),
                                  .dweight_VH = nowhere(args.dweight_VH),
                                  .accumulate = false,
                                  .chunk_rows = 4},
                                 *stream),
              IsOk());
  EXPECT_EQ(stream->workspace().peak_bytes(), real.stream->workspace().peak_bytes());
  EXPECT_EQ(stream->ledger().total_flops(), real.stream->ledger().total_flops());
}

}  // namespace
}  // namespace hetero
