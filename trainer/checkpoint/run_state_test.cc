#include "hetero/trainer/checkpoint/run_state.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/energon/lane_order.h"
#include "hetero/data/energon/loader_options.h"
#include "hetero/data/energon/loader_plan.h"
#include "hetero/data/energon/sample_reference.h"
#include "hetero/trainer/config/testing/changed_recipe.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

RunIdentity Identity(const std::vector<std::string_view>& assignments = {}) {
  return IdentityOf(ChangedRecipe("mock_tiny", assignments), /*num_samples=*/1000);
}

proto::LoadCheckpoint Finetune() {
  proto::LoadCheckpoint settings;
  settings.set_finetune(true);
  return settings;
}

// Beyond what a double holds exactly.
constexpr RunState kState = {.iteration = (int64_t{1} << 53) + 1,
                             .progress = {.applied_steps = 7,
                                          .consumed_samples = int64_t{1} << 40,
                                          .skipped_non_finite = 1,
                                          .skipped_no_tokens = 2,
                                          .skipped_faulty = 3},
                             .passed_over_samples = 48};

TEST(RunStateTest, WhatIsWrittenIsReadToTheLastDigit) {
  const RunIdentity identity = Identity();
  const nlohmann::json json = nlohmann::json::parse(ToJson(kState, identity).dump());
  EXPECT_THAT(ReadRunState(json, identity), IsOkAndHolds(kState));
}

TEST(RunStateTest, WithAnotherBatchTheSameSampleIsNext) {
  const nlohmann::json json = ToJson({.iteration = 6}, Identity({"global_batch_size=16"}));
  EXPECT_THAT(ReadRunState(json, Identity({"global_batch_size=32"})),
              IsOkAndHolds(RunState{.iteration = 3}));
  EXPECT_THAT(ReadRunState(json, Identity({"global_batch_size=40"})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("global_batch_size is 40"), HasSubstr("consumed 96 samples"),
                             HasSubstr("nearest: 16"))));
}

TEST(RunStateTest, WithAScheduleTheStepIsTheOneThatBeginsThere) {
  const RunIdentity grows = Identity({"batch_size_schedule=0:16 1K:32", "sequence_length=32"});
  const nlohmann::json json = ToJson({.iteration = 4}, grows);
  EXPECT_EQ(json["consumed_train_samples"], 16 + 16 + 32 + 32);
  EXPECT_THAT(ReadRunState(json, grows), IsOkAndHolds(RunState{.iteration = 4}));
  EXPECT_THAT(ReadRunState(json, Identity({"global_batch_size=48"})),
              IsOkAndHolds(RunState{.iteration = 2}));
  EXPECT_THAT(
      ReadRunState(json, Identity({"batch_size_schedule=0:32 2K:64", "sequence_length=32"})),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("consumed 96 samples"), HasSubstr("nearest: 64 or 128"))));
}

TEST(RunStateTest, ARunThatWouldGoOnWithOtherSamplesIsRefusedWithAllReasons) {
  const nlohmann::json json = ToJson({.iteration = 6}, Identity());
  RunIdentity other = Identity({"seed=7"});
  other.num_samples = 999;
  EXPECT_THAT(ReadRunState(json, other),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("seed is 7"), HasSubstr("samples of data is 999"),
                             HasSubstr("checkpoint.load.finetune=true"))));
  EXPECT_THAT(WantedRunState(Finetune(), json, other), IsOkAndHolds(RunState()));
  // Before the data is opened nobody knows how many samples it has.
  other.num_samples.reset();
  EXPECT_THAT(ReadRunState(json, other),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("seed is 7"), Not(HasSubstr("samples of data")))));
}

// A run of so many lanes of two workers, whose microbatches have 8 samples.
RunIdentity OfLoaders(int64_t num_lanes) {
  RunIdentity identity = Identity({"global_batch_size=16"});
  const data::SplitSamples samples = {.name = "set", .shard_borders = {0, 30, 50}};
  identity.has_lane_order = true;
  identity.lane_order = std::make_shared<data::LaneOrder>(
      data::LoaderPlan::Make({.splits = {{.samples = samples}},
                              .shape = {.num_ranks = num_lanes, .num_workers = 2},
                              .batch_size = 8 / num_lanes})
          .value(),
      [](const data::SampleReference& sample) { return sample.place; });
  return identity;
}

TEST(RunStateTest, AnOrderWithAStateGoesOnBehindWhatWasConsumed) {
  const RunIdentity before = OfLoaders(2);
  const RunState state = {.iteration = 5};
  nlohmann::json json = nlohmann::json::parse(ToJson(state, before).dump());
  const RunIdentity after = OfLoaders(2);
  EXPECT_THAT(ReadRunState(json, after), IsOkAndHolds(state));
  ASSERT_THAT(ContinueSamples(json, state, after), IsOk());
  for (int64_t place = 5 * 16; place < 20 * 16; ++place) {
    EXPECT_EQ(after.lane_order->IndexAt(place), before.lane_order->IndexAt(place));
  }
  EXPECT_EQ(ToJson(state, after), json);

  // One lane of two workers is another order.
  EXPECT_THAT(ContinueSamples(json, state, OfLoaders(1)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("data.energon_order"), HasSubstr("nearest: 4 workers"))));
  const RunIdentity own = Identity({"global_batch_size=16"});
  EXPECT_THAT(ReadRunState(json, own),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("data.energon_order is not set, the checkpoint's samples came in "
                                 "it: the run would go on with other samples")));
  EXPECT_THAT(ReadRunState(ToJson(state, own), after),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("data.energon_order is set, the checkpoint's samples came in our "
                                 "own order")));
  // Before the first sample there is no order.
  EXPECT_THAT(ReadRunState(ToJson({}, own), after), IsOkAndHolds(RunState()));
  EXPECT_THAT(ContinueSamples(ToJson({}, own), {}, after), IsOk());
  json["sample_workers"][1] = "%";
  EXPECT_THAT(ContinueSamples(json, state, OfLoaders(2)), StatusIs(absl::StatusCode::kDataLoss));
}

TEST(RunStateTest, AnotherModelIsNamedFieldByField) {
  const nlohmann::json json = ToJson({.iteration = 6}, Identity());
  const RunIdentity other = Identity({"model.hidden_size=64", "model.experts.top_k=1"});
  for (const absl::Status& status :
       {ReadRunState(json, other).status(), WantedRunState(Finetune(), json, other).status()}) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                                 AllOf(HasSubstr("model.hidden_size is 64"),
                                       HasSubstr("model.experts.top_k is 1"))));
  }
}

TEST(RunStateTest, WhatIsNoStateOfARunIsDamage) {
  const RunIdentity identity = Identity();
  const nlohmann::json whole = ToJson(kState, identity);
  EXPECT_THAT(ReadRunState({}, identity), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(ReadRunState(
                  [&] {
                    nlohmann::json json = whole;
                    json.erase("skipped_train_samples");
                    return json;
                  }(),
                  identity),
              IsOkAndHolds(RunState{.iteration = kState.iteration, .progress = kState.progress}));
  for (const char* name : {"consumed_train_samples", "optimizer", "run"}) {
    nlohmann::json json = whole;
    json.erase(name);
    EXPECT_THAT(ReadRunState(json, identity),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr(name)));
    json[name] = -1;
    EXPECT_THAT(ReadRunState(json, identity), StatusIs(absl::StatusCode::kDataLoss)) << name;
  }
}

}  // namespace
}  // namespace hetero
