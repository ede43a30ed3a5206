// Rows on their way through a step: what stages tag and send is what the owners of the tokens get.

#include "hetero/trainer/step/engine.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/comm/loopback/loopback.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/data/mock_source.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/grid/layout.h"
#include "hetero/trainer/feed/feed.h"
#include "hetero/trainer/feed/feed_options.h"
#include "hetero/trainer/feed/samples.h"
#include "hetero/trainer/step/plan.h"
#include "hetero/trainer/step/stage_feed.h"
#include "hetero/trainer/step/testing/tagging_model.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

absl::StatusOr<std::unique_ptr<Engine>> MakeEngine(const Layout& layout, const Model& model,
                                                   const StepPlan& plan, GlobalRank rank,
                                                   Device device, CommunicatorFactory& factory,
                                                   std::optional<EngineMemory> memory) {
  EngineOptions options{.layout = layout,
                        .model = model,
                        .train = plan,
                        .rank = rank,
                        .device = device,
                        .factory = factory,
                        .memory = std::move(memory)};
  options.make_feed = [&layout, &model, rank](const StepPlan& plan, int stage, Split, Device device,
                                              MemoryLedger& ledger) {
    BatchFeedOptions feed = StageFeed(layout, model, plan, stage, rank, kSequence);
    const ImageSize image = data::NearestSquareTile(kImageTokens, 2, true).value();
    feed.limits = {.modalities = {{.feature_width = 12,
                                   .sizes = std::vector(kNumImages, image),
                                   .max_features = 4 * kNumImages * kImageTokens,
                                   .max_tokens = kNumImages * kImageTokens}}};
    feed.device = device;
    if (device.kind != DeviceKind::kShapeOnly) {
      feed.samples = SampleSet{.order = data::SampleOrder::OnePass(int64_t{1} << 40).value(),
                               .open = []() -> absl::StatusOr<std::unique_ptr<data::SampleSource>> {
                                 return data::MockSource::Create(kMock);
                               }};
    }
    return BatchFeed::Create(feed, ledger);
  };
  return Engine::Create(std::move(options));
}

struct Case {
  std::string name;
  GridSpec vision;
  GridSpec language;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class EngineTest : public testing::TestWithParam<Case> {};

// Every row reaches the rank that owns its token, whichever lane has its image, its gradient comes
// back, padding gets none, and nothing is allocated that the run on shapes did not foresee.
TEST_P(EngineTest, RowsReachTheOwnersOfTheirTokensAndReturn) {
  GridSpec vision = GetParam().vision;
  GridSpec language = GetParam().language;
  vision.name = "vision";
  language.name = "language";
  const int64_t world_size = std::max(vision.num_ranks, language.rank_offset + language.num_ranks);
  const Layout layout = Layout::Make(std::vector{vision, language}, world_size).value();
  const TaggingModel model(layout, GlobalRank(0));
  for (const auto& [run_ahead, balance] : {std::pair(0, false), {0, true}, {2, false}, {2, true}}) {
    const ScheduleOptions schedule = {.encoder_run_ahead = run_ahead, .balance_images = balance};
    const StepPlan plan = MakePlan(layout, model, kMicrobatch / language.num_lanes(),
                                   kMicrobatch * kNumMicrobatches, schedule)
                              .value();
    const auto run = [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
      const TaggingModel own(layout, rank);
      const auto finish = [](const Op&) { return absl::OkStatus(); };
      const auto alone = LoopbackFactory(rank, world_size);
      HETERO_ASSIGN_OR_RETURN(
          const auto predicted,
          MakeEngine(layout, own, plan, rank, Device{.kind = DeviceKind::kShapeOnly}, *alone, {}));
      HETERO_RETURN_IF_ERROR(predicted->RunTraining(0, finish)).With("on shapes");
      HETERO_ASSIGN_OR_RETURN(const auto engine, MakeEngine(layout, own, plan, rank, Device{},
                                                            factory, predicted->PeakMemory()));
      if (engine->ledger() != predicted->PredictedMemory()) {
        return absl::InternalError(absl::StrCat("allocated ", engine->ledger().ToString(), ", not ",
                                                predicted->PredictedMemory().ToString()));
      }
      for (int64_t step = 0; step < 2; ++step) {
        HETERO_RETURN_IF_ERROR(engine->RunTraining(step, finish));
        if (step > 0) continue;
        if (engine->stream().ledger().collective_hash() !=
            predicted->stream().ledger().collective_hash()) {
          return absl::InternalError("other collectives than foreseen");
        }
      }
      return absl::OkStatus();
    };
    EXPECT_THAT(RunRanks(world_size, run), IsOk())
        << "run-ahead " << run_ahead << (balance ? ", balanced" : "");
  }
}

INSTANTIATE_TEST_SUITE_P(
    Grids, EngineTest,
    testing::Values(
        Case{"One", {.num_ranks = 1}, {.num_ranks = 1, .rank_offset = 1}},
        Case{"Lanes", {.num_ranks = 3}, {.num_ranks = 2, .rank_offset = 3}},
        Case{"Tp2Dp2ToTp4", {.num_ranks = 4, .tp = 2}, {.num_ranks = 4, .tp = 4, .rank_offset = 4}},
        Case{"Dp3ToTp2Dp2", {.num_ranks = 3}, {.num_ranks = 4, .tp = 2, .rank_offset = 3}},
        Case{"Tp3ToDp2", {.num_ranks = 3, .tp = 3}, {.num_ranks = 2, .rank_offset = 3}},
        Case{"Tp2Pp2ToTp3Pp2",
             {.num_ranks = 4, .tp = 2, .pp = 2},
             {.num_ranks = 6, .tp = 3, .pp = 2, .rank_offset = 4}},
        Case{"Dp4ToTp2Pp2", {.num_ranks = 4}, {.num_ranks = 4, .tp = 2, .pp = 2, .rank_offset = 4}},
        Case{"ColocatedSame", {.num_ranks = 4, .tp = 2}, {.num_ranks = 4, .tp = 2}},
        Case{"ColocatedDp4Tp4", {.num_ranks = 4}, {.num_ranks = 4, .tp = 4}},
        Case{"ColocatedTp4Tp2", {.num_ranks = 4, .tp = 4}, {.num_ranks = 4, .tp = 2}},
        Case{"ColocatedTp2Dp3Tp3Dp2", {.num_ranks = 6, .tp = 2}, {.num_ranks = 6, .tp = 3}},
        Case{
            "ColocatedTp2ToTp2Pp2", {.num_ranks = 4, .tp = 2}, {.num_ranks = 4, .tp = 2, .pp = 2}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace hetero
