// How long does a rank take to share out the images of a step, their facts read anew? Arguments:
// encoder lanes, samples of a step, samples in a hundred that have images. `share` is what that is
// of the shortest step there can be: of the operations of the encoder on its lanes, or of the
// language model on the recipe's 256 ranks, whatever is longer, at the dense bf16 peak of an H200.

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "benchmark/benchmark.h"
#include "hetero/data/balance/share_out.h"
#include "hetero/trainer/testing/long_tailed_shares.h"

namespace hetero {
namespace {

constexpr double kPeakFlops = 989e12;
constexpr double kLanguageRanks = 256;

double SecondsOfLanguage(const Model& model, const StepShares& step) {
  double flops = 0;
  for (const MicrobatchShares& microbatch : step.microbatches) {
    for (const SampleFacts& sample : microbatch.samples) {
      flops += model.FlopsOf(model.graph().SampleOwner().name, sample).training;
    }
  }
  return flops / kLanguageRanks / kPeakFlops;
}

void BM_ShareOutAStep(benchmark::State& state) {
  const LongTailedSteps steps = {.encoder_lanes = state.range(0),
                                 .global_batch_size = state.range(1),
                                 .image_percent = state.range(2)};
  const LongTailedShares long_tailed = SharesOf(steps);
  const double language = SecondsOfLanguage(*long_tailed.model, **long_tailed.shares->Of(0));
  double work = 0;
  double shared = 0;
  double by_lane = 0;
  int64_t step = 1;
  for (auto _ : state) {
    const auto shares = long_tailed.shares->Of(step++).value();
    work += std::accumulate(shares->work.begin(), shares->work.end(), 0.0);
    shared += data::MaxOverMean(shares->work);
    by_lane += data::MaxOverMean(shares->work_by_lane);
  }
  const auto num_steps = static_cast<double>(step - 1);
  const double encoder = work / num_steps / static_cast<double>(steps.encoder_lanes) / kPeakFlops;
  state.counters["max_over_mean"] = shared / num_steps;
  state.counters["by_lane"] = by_lane / num_steps;
  state.counters["share"] =
      benchmark::Counter(std::max(encoder, language) * num_steps,
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  state.SetItemsProcessed((step - 1) * steps.global_batch_size);
}
BENCHMARK(BM_ShareOutAStep)
    ->Args({8, 768, 100})
    ->Args({32, 768, 30})
    ->Args({64, 1536, 30})
    ->Args({128, 3072, 100})
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace hetero
