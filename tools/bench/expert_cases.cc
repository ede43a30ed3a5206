// Operations of a mixture-of-experts layer: routing at the whole model's number of experts, rows
// and products at that of one expert-parallel rank.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "hetero/tensor/ops/activation/activation.h"
#include "hetero/tensor/ops/expert_gemm/expert_gemm.h"
#include "hetero/tensor/ops/linear_squared_relu/linear_squared_relu.h"
#include "hetero/tensor/ops/moe_permute/moe_permute.h"
#include "hetero/tensor/ops/router/router.h"
#include "hetero/tools/bench/cases.h"

namespace hetero::bench {
namespace {

Work RouterWork(const Sizes& sizes, Operands& operands) {
  const int64_t t = sizes.tokens, e = sizes.num_routed_experts, k = sizes.experts.top_k;
  const DType compute = operands.compute();
  const RouterForwardArgs forward = {.logits_TE = operands.Normal(compute, {t, e}),
                                     .expert_bias_E = operands.Normal(compute, {e}, 0.01),
                                     .scale = sizes.experts.router_scaling,
                                     .experts_TK = operands.Empty(DType::kI32, {t, k}),
                                     .probs_TK = operands.Empty(compute, {t, k}),
                                     .counts_E = operands.Empty(DType::kI32, {e}),
                                     .total_counts_E = operands.Empty(DType::kI64, {e}),
                                     .aux_counts_BE = operands.Empty(DType::kI32, {1, e}),
                                     .aux_prob_sums_BE = operands.Empty(compute, {1, e})};
  const RouterBackwardArgs backward = {.logits_TE = forward.logits_TE,
                                       .experts_TK = forward.experts_TK,
                                       .d_probs_TK = operands.Normal(compute, {t, k}),
                                       .scale = forward.scale,
                                       .aux_counts_BE = forward.aux_counts_BE,
                                       .aux_coefficient = sizes.experts.aux_loss_coefficient,
                                       .d_logits_TE = operands.Empty(compute, {t, e})};
  return ForwardBackward(
      [=](ModuleContext& context) { return RouterForward(forward, context.stream); },
      [=](ModuleContext& context) { return RouterBackward(backward, context.stream); });
}

// Where the choices of a layer lie, the experts of a token drawn without preference.
struct Rows {
  AssignExpertRowsArgs assign;

  Rows(const Sizes& sizes, Operands& operands) {
    const int64_t t = sizes.tokens, e = sizes.experts.num_experts, k = sizes.experts.top_k;
    std::mt19937_64 generator(1);
    std::vector<int32_t> all(e), experts, counts(e);
    std::iota(all.begin(), all.end(), 0);
    for (int64_t token = 0; token < t; ++token) {
      std::ranges::sample(all, std::back_inserter(experts), k, generator);
    }
    for (const int32_t expert : experts) ++counts[expert];
    assign = {.experts_TK = operands.Indices(experts).Reshape({t, k}),
              .counts_E = operands.Indices(counts),
              .offsets_E1 = operands.Empty(DType::kI32, {e + 1}),
              .rows_TK = operands.Empty(DType::kI32, {t, k}),
              .tokens_R = operands.Empty(DType::kI32, {t * k})};
  }
};

Work AssignWork(const Sizes& sizes, Operands& operands) {
  const Rows rows(sizes, operands);
  return {.forward = [=](ModuleContext& context) {
    return AssignExpertRows(rows.assign, context.stream);
  }};
}

// Tokens to rows; backward, the sum of their rows onto tokens.
absl::StatusOr<Work> PermuteWork(const Sizes& sizes, Operands& operands) {
  const Rows rows(sizes, operands);
  HETERO_RETURN_IF_ERROR(operands.status());
  HETERO_RETURN_IF_ERROR(AssignExpertRows(rows.assign, operands.stream()));
  const int64_t h = sizes.hidden_size();
  const TensorView x = operands.Normal({sizes.tokens, h});
  const TensorView rows_RH = operands.Normal({sizes.expert_rows(), h});
  const TensorView sum = operands.Empty(operands.storage(), {sizes.tokens, h});
  return ForwardBackward(
      [=](ModuleContext& context) {
        return ScatterTokenRows(x, rows.assign.rows_TK, rows_RH, context.stream);
      },
      [=](ModuleContext& context) {
        return SumTokenRows(rows_RH, rows.assign.rows_TK, x, sum, context.stream);
      });
}

absl::StatusOr<Work> GatherWork(const Sizes& sizes, Operands& operands) {
  const Rows rows(sizes, operands);
  HETERO_RETURN_IF_ERROR(operands.status());
  HETERO_RETURN_IF_ERROR(AssignExpertRows(rows.assign, operands.stream()));
  const TensorView x = operands.Normal({sizes.tokens, sizes.hidden_size()});
  const TensorView rows_RH = operands.Normal({sizes.expert_rows(), sizes.hidden_size()});
  return Work{.forward = [=](ModuleContext& context) {
    return GatherTokenRows(x, rows.assign.tokens_R, rows_RH, context.stream);
  }};
}

absl::StatusOr<Work> ProbabilityWork(const Sizes& sizes, Operands& operands) {
  const Rows rows(sizes, operands);
  HETERO_RETURN_IF_ERROR(operands.status());
  HETERO_RETURN_IF_ERROR(AssignExpertRows(rows.assign, operands.stream()));
  const DType compute = operands.compute();
  const TensorView probs_TK = operands.Normal(compute, {sizes.tokens, sizes.experts.top_k});
  const TensorView probs_R = operands.Empty(compute, {sizes.expert_rows()});
  return ForwardBackward(
      [=](ModuleContext& context) {
        return ScatterToRows(probs_TK, rows.assign.rows_TK, probs_R, context.stream);
      },
      [=](ModuleContext& context) {
        return GatherFromRows(probs_R, rows.assign.rows_TK, probs_TK, context.stream);
      });
}

Work SquaredReluWork(int64_t rows, int64_t features, bool weighted, Operands& operands) {
  const DType storage = operands.storage(), compute = operands.compute();
  const TensorView f = operands.Normal({rows, features});
  const TensorView p = weighted ? operands.Normal(compute, {rows}) : TensorView();
  const TensorView a = operands.Empty(storage, {rows, features});
  const SquaredReluBackwardArgs backward = {
      .da_TF = operands.Normal({rows, features}),
      .f_TF = f,
      .p_T = p,
      .df_TF = operands.Empty(storage, {rows, features}),
      .dp_T = weighted ? operands.Empty(compute, {rows}) : TensorView()};
  return ForwardBackward(
      [=](ModuleContext& context) { return SquaredReluForward(f, p, a, context.stream); },
      [=](ModuleContext& context) { return SquaredReluBackward(backward, context.stream); });
}

// The shared expert's first product with its activation; backward, the gradient of that from the
// second product's.
Work SharedSquaredReluWork(const Sizes& sizes, Operands& operands) {
  const int64_t t = sizes.tokens, h = sizes.hidden_size(), s = sizes.experts.shared_ffn_size;
  const TensorView x = operands.Normal({t, h}), d_out = operands.Normal({t, h});
  const TensorView fc1 = operands.Normal({s, h}, 0.02), fc2 = operands.Normal({h, s}, 0.02);
  const TensorView inner = operands.Normal({t, s});
  const TensorView activated = operands.Empty(operands.storage(), {t, s});
  const TensorView d_inner = operands.Empty(operands.storage(), {t, s});
  return ForwardBackward(
      [=](ModuleContext& context) {
        return LinearSquaredRelu(x, fc1, inner, activated, context.stream);
      },
      [=](ModuleContext& context) {
        return LinearSquaredReluBackward(d_out, fc2, inner, d_inner, context.stream);
      });
}

// Borders of the experts' rows: equal shares, or shares as of a symmetric Dirichlet distribution
// with parameter 1.
std::vector<int32_t> ExpertOffsets(int64_t experts, int64_t rows, bool even) {
  std::mt19937_64 generator(1);
  std::exponential_distribution<double> draw;
  std::vector<double> ends;
  double total = 0;
  for (int64_t e = 0; e < experts; ++e) ends.push_back(total += even ? 1.0 : draw(generator));
  std::vector<int32_t> offsets = {0};
  for (const double end : ends) {
    offsets.push_back(static_cast<int32_t>(std::lround(end / total * static_cast<double>(rows))));
  }
  return offsets;
}

// The products of one layer of all experts: y = x wᵀ, dx = dy w, dw += dyᵀ x.
enum class Product { kForward, kBackwardInput, kBackwardWeight };

Work ExpertLinearWork(const Sizes& sizes, Product product, int64_t inputs, int64_t outputs,
                      bool even, Operands& operands) {
  const int64_t e = sizes.experts.num_experts, r = sizes.expert_rows();
  const TensorView offsets = operands.Indices(ExpertOffsets(e, r, even));
  const TensorView x = operands.Normal({r, inputs});
  const TensorView y = operands.Normal({r, outputs});
  if (product == Product::kBackwardWeight) {
    const TensorView dw = operands.Empty(operands.compute(), {e, outputs, inputs});
    return {.forward = [=](ModuleContext& context) {
      return ExpertLinearBackwardWeight(y, x, offsets, dw, true, context.stream);
    }};
  }
  const TensorView w = operands.Normal({e, outputs, inputs}, 0.02);
  if (product == Product::kForward) {
    return {.forward = [=](ModuleContext& context) {
      return ExpertLinearForward(x, w, offsets, y, context.stream);
    }};
  }
  return {.forward = [=](ModuleContext& context) {
    return ExpertLinearBackwardInput(y, w, offsets, x, context.stream);
  }};
}

}  // namespace

std::vector<Case> ExpertCases(const Sizes& sizes) {
  const MoeConfig& config = sizes.experts;
  const int64_t h = config.hidden_size, f = config.ffn_size, s = config.shared_ffn_size;
  std::vector<Case> cases = {
      {"router", [=](Operands& operands) { return RouterWork(sizes, operands); }},
      {"moe.assign_rows", [=](Operands& operands) { return AssignWork(sizes, operands); }},
      {"moe.permute", [=](Operands& operands) { return PermuteWork(sizes, operands); }},
      {"moe.gather", [=](Operands& operands) { return GatherWork(sizes, operands); }},
      {"moe.probabilities", [=](Operands& operands) { return ProbabilityWork(sizes, operands); }},
      {"squared_relu.experts",
       [=](Operands& operands) { return SquaredReluWork(sizes.expert_rows(), f, true, operands); }},
      {"linear.shared_squared_relu",
       [=](Operands& operands) { return SharedSquaredReluWork(sizes, operands); }},
      {"squared_relu.shared",
       [=](Operands& operands) { return SquaredReluWork(sizes.tokens, s, false, operands); }}};
  struct Named {
    std::string name;
    Product product;
    int64_t inputs;
    int64_t outputs;
  };
  const std::vector<Named> products = {{"expert.fc1", Product::kForward, h, f},
                                       {"expert.fc2", Product::kForward, f, h},
                                       {"expert.fc1_input", Product::kBackwardInput, h, f},
                                       {"expert.fc2_input", Product::kBackwardInput, f, h},
                                       {"expert.fc1_weight", Product::kBackwardWeight, h, f},
                                       {"expert.fc2_weight", Product::kBackwardWeight, f, h}};
  for (const bool even : {true, false}) {
    for (const Named& one : products) {
      cases.push_back({one.name + (even ? ".even" : ".skewed"), [=](Operands& operands) {
                         return ExpertLinearWork(sizes, one.product, one.inputs, one.outputs, even,
                                                 operands);
                       }});
    }
  }
  return cases;
}

}  // namespace hetero::bench
