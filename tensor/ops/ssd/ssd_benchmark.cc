// The scan at the sizes of the small hybrid preset (8 rows of 48 tokens) and of one tensor-parallel
// eighth of a large one.

#include <random>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "hetero/tensor/ops/ceiling.h"
#include "hetero/tensor/ops/ssd/ssd.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

constexpr SsdShape kSmall{8, 32, 2, 16, 16};
constexpr SsdShape kLarge{8, 64, 1, 128, 128};

struct Problem {
  Problem(const SsdShape& shape, int64_t tokens, int64_t row_length)
      : shape(shape), tokens(tokens), row_length(row_length) {
    const auto dims = SsdStatesDims(shape, tokens, row_length, DType::kF32);
    states = HostTensor<float>({dims[0], dims[1], dims[2], dims[3]});
  }
  int64_t inner() const { return shape.num_heads * shape.head_dim; }
  int64_t group_width() const { return shape.num_groups * shape.state_size; }
  int64_t wide() const { return inner() + 2 * group_width(); }

  SsdInputs Inputs() {
    return {.shape = shape,
            .sequences = {.num_rows = tokens / row_length, .row_length = row_length},
            .x_TI = xbc.view().Columns(0, inner()),
            .b_TS = xbc.view().Columns(inner(), group_width()),
            .c_TS = xbc.view().Columns(inner() + group_width(), group_width()),
            .dt_raw_TH = dt_raw.view(),
            .dt_bias_H = head_values.view(),
            .a_log_H = head_values.view(),
            .skip_H = head_values.view()};
  }
  SsdGradients Gradients() {
    return {.d_x_TI = d_xbc.view().Columns(0, inner()),
            .d_b_TS = d_xbc.view().Columns(inner(), group_width()),
            .d_c_TS = d_xbc.view().Columns(inner() + group_width(), group_width()),
            .d_dt_raw_TH = d_dt_raw.view(),
            .d_dt_bias_H = d_dt_bias.view(),
            .d_a_log_H = d_a_log.view(),
            .d_skip_H = d_skip.view()};
  }

  SsdShape shape;
  int64_t tokens, row_length;
  std::mt19937 random{1};
  HostTensor<float> xbc = HostTensor<float>::Normal({tokens, wide()}, random);
  HostTensor<float> dt_raw = HostTensor<float>::Normal({tokens, shape.num_heads}, random);
  HostTensor<float> head_values = HostTensor<float>::Normal({shape.num_heads}, random);
  HostTensor<float> y = HostTensor<float>::Normal({tokens, inner()}, random);
  HostTensor<float> d_xbc{tokens, wide()}, d_dt_raw{tokens, shape.num_heads},
      d_dt_bias{shape.num_heads}, d_a_log{shape.num_heads}, d_skip{shape.num_heads};
  HostTensor<float> states{0};
  StreamWithWorkspace stream;
};

double FlopsPerCall(Stream& stream, std::string_view name) {
  const OperationTotals& totals = stream.ledger().operations().at(name);
  return totals.flops / static_cast<double>(totals.calls);
}

void BM_SsdForward(benchmark::State& state, const SsdShape& shape, int64_t tokens,
                   int64_t row_length) {
  Problem p(shape, tokens, row_length);
  for (auto _ : state) {
    CHECK_OK(SsdForward(p.Inputs(), p.y.view(), p.states.view(), *p.stream));
  }
  ReportFlops(state, FlopsPerCall(*p.stream, "ssd.forward"));
}

void BM_SsdBackward(benchmark::State& state, const SsdShape& shape, int64_t tokens,
                    int64_t row_length) {
  Problem p(shape, tokens, row_length);
  HostTensor<float> d_y = p.y;
  CHECK_OK(SsdForward(p.Inputs(), p.y.view(), p.states.view(), *p.stream));
  for (auto _ : state) {
    CHECK_OK(SsdBackward(p.Inputs(), p.states.view(), d_y.view(), p.Gradients(), *p.stream));
  }
  ReportFlops(state, FlopsPerCall(*p.stream, "ssd.backward"));
}

BENCHMARK_CAPTURE(BM_SsdForward, small, kSmall, 384, 48);
BENCHMARK_CAPTURE(BM_SsdForward, large, kLarge, 2048, 2048);
BENCHMARK_CAPTURE(BM_SsdBackward, small, kSmall, 384, 48);
BENCHMARK_CAPTURE(BM_SsdBackward, large, kLarge, 2048, 2048);

}  // namespace
}  // namespace hetero
