// Every rule that a configuration can break is told in words that say what would pass.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/vlm/vlm.pb.h"
#include "hetero/trainer/config/config.h"
#include "hetero/trainer/config/testing/changed_recipe.h"
#include "hetero/trainer/recipes/recipes.h"

namespace hetero {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;

std::vector<std::string> Messages(const std::vector<std::string_view>& assignments) {
  return ViolationTexts(ChangedRecipe("fashion_tiny", assignments));
}

TEST(ValidateTest, EveryRecipeIsValid) {
  for (std::string_view name : RecipeNames()) {
    EXPECT_THAT(ViolationTexts(ChangedRecipe(name, {})), IsEmpty()) << name;
  }
}

TEST(ValidateTest, NamesOverlapAndGap) {
  EXPECT_THAT(Messages({"language.rank_offset=1"}),
              ElementsAre("language.rank_offset is 1: language on ranks [1, 3) overlaps "
                          "radio_encoder on ranks [0, 2) at ranks [1, 2); spans must be all equal "
                          "or disjoint; nearest: 2"));
  EXPECT_THAT(Messages({"launch=threads:5", "language.rank_offset=3"}),
              ElementsAre("no grid covers ranks [2, 3), but language.rank_offset is 3; grids must "
                          "cover every rank; nearest: 2",
                          "the grids have 4 ranks in all, the world has 5; nearest: "
                          "language.num_ranks 3 with global_batch_size 72 with "
                          "evaluation.global_batch_size 72 or launch threads:4"));
}

TEST(ValidateTest, LanesNeedNotDivideEachOtherButMustDivideTheSamples) {
  EXPECT_THAT(
      Messages({"launch=threads:5", "radio_encoder.num_ranks=3", "language.rank_offset=3",
                "micro_batch_size=6", "global_batch_size=60", "evaluation.global_batch_size=60"}),
      IsEmpty());
  EXPECT_THAT(
      Messages({"launch=threads:5", "radio_encoder.num_ranks=3", "language.rank_offset=3"}),
      ElementsAre("radio_encoder has 3 data lanes, which do not divide the 16 samples of "
                  "one microbatch (micro_batch_size 8 * 2 language lanes); nearest: "
                  "micro_batch_size 9 with global_batch_size 72 with evaluation.global_batch_size "
                  "72 or micro_batch_size 6 with global_batch_size 60 with "
                  "evaluation.global_batch_size 72 or radio_encoder.num_ranks 2 with "
                  "language.rank_offset 2 with launch threads:4"));
}

TEST(ValidateTest, ARunRefusesTheShardsItDoesNotTrainWith) {
  EXPECT_THAT(Messages({"language.cp=2", "language.num_ranks=4", "launch=threads:6"}),
              ElementsAre("language.cp is 2; a run supports 1 only; nearest: 1",
                          "evaluation.global_batch_size is 80, must be a multiple of 32 "
                          "(micro_batch_size 8 * 4 language lanes); nearest: 64 or 96"));
  EXPECT_THAT(Messages({"language.gtp_remat=2"}),
              ElementsAre("language.gtp_remat is 2; a run supports 1 only; nearest: 1"));
}

// What does not divide is refused with the nearest size that both the ranks and the model bear.
TEST(ValidateTest, AModelDividesByTheAxesOfItsGrid) {
  const auto messages = [&](std::string_view axis) {
    return Messages({"language.num_ranks=6", "launch=threads:8", "micro_batch_size=4",
                     "global_batch_size=96", "evaluation.global_batch_size=96", axis});
  };
  const auto refused = [](std::string_view axis, int64_t size, int64_t nearest) {
    return ElementsAre(MatchesRegex(absl::StrCat("language.", axis, " is ", size, ": .* for ", size,
                                                 " .*; nearest: ", nearest)));
  };
  EXPECT_THAT(messages("language.tp=2"), IsEmpty());
  EXPECT_THAT(messages("language.tp=3"), refused("tp", 3, 2));
  EXPECT_THAT(messages("language.ep=2"), IsEmpty());
  EXPECT_THAT(messages("language.ep=3"), refused("ep", 3, 2));
  EXPECT_THAT(messages("language.expt_tp=3"), IsEmpty());
  EXPECT_THAT(
      Messages({"language.num_ranks=5", "launch=threads:7", "micro_batch_size=4",
                "global_batch_size=100", "evaluation.global_batch_size=100", "language.expt_tp=5"}),
      refused("expt_tp", 5, 1));
}

TEST(ValidateTest, BoundsHoldForEveryElementOfAList) {
  EXPECT_THAT(Messages({"skip_steps=[3, 0]"}),
              ElementsAre("skip_steps[1] is 0, must be at least 1; nearest: 1"));
}

TEST(ValidateTest, WhatIsRecomputedIsAModuleAndNotLeftForLater) {
  EXPECT_THAT(Messages({"selective_recompute=[\"langauge\"]"}),
              ElementsAre("selective_recompute[0] is 'langauge', must be one of radio_encoder, "
                          "language; nearest: language"));
  EXPECT_THAT(Messages({"selective_recompute=[\"language\"]", "split_backward=true"}),
              ElementsAre("split_backward is true, and what selective_recompute leaves out would "
                          "be kept from a backward pass to its weight gradients; nearest: false"));
}

TEST(ValidateTest, TiedEmbeddingsNeedOneStage) {
  const auto messages = [](std::string_view stages) {
    return Messages({"model.language.pattern=MEM*", "model.language.tie_embeddings=true", stages});
  };
  EXPECT_THAT(messages("language.pp=1"), IsEmpty());
  EXPECT_THAT(messages("language.pp=2"),
              ElementsAre("language.pp is 2: tie_embeddings is true with pp 2, must be on the one "
                          "stage that embeds and predicts; nearest is 1"));
}

TEST(ValidateTest, NamesMissingNumbersByModuleAndPath) {
  proto::RunConfig config = ChangedRecipe("fashion_tiny", {});
  config.mutable_grids(1)->clear_num_ranks();
  config.clear_micro_batch_size();
  config.mutable_optimizer()->mutable_adamw()->clear_beta2();
  config.clear_duration();
  config.mutable_data()->clear_source();
  proto::VisionLanguageModel model;
  ASSERT_TRUE(config.model().UnpackTo(&model));
  model.mutable_language()->mutable_mamba()->clear_state_size();
  model.mutable_encoder()->clear_final_norm();
  config.mutable_model()->PackFrom(model);
  EXPECT_THAT(ViolationTexts(config),
              ElementsAre("model.encoder.final_norm is not set; it has no default",
                          "model.language.mamba.state_size is not set; it has no default",
                          "language.num_ranks is not set; it has no default",
                          "micro_batch_size is not set; it has no default",
                          "optimizer.adamw.beta2 is not set; it has no default",
                          "neither train_steps nor train_samples is set; give one of them",
                          "data names no source; give one of fashion_mnist, web_dataset, mock"));
  EXPECT_THAT(ViolationTexts(proto::RunConfig()),
              testing::Contains("model is not set; it has no default"));
}

TEST(ValidateTest, NamesNumbersBeyondTheirBounds) {
  EXPECT_THAT(
      Messages({"optimizer.adamw.beta1=1", "optimizer.clip_gradient_norm=0", "schedule.peak=nan",
                "data.fashion_mnist.sizes[1].rows=0", "encoder_run_ahead=-1"}),
      ElementsAre("data.fashion_mnist.sizes[1].rows is 0, must be at least 1; nearest: 32",
                  "optimizer.adamw.beta1 is 1, must be at most 0.9999999; nearest: 0.9999999",
                  "optimizer.clip_gradient_norm is 0, must be at least 1e-30; nearest: 1e-30",
                  "schedule.peak is nan, must be at least 1e-30; nearest: schedule.peak 1e-30 with "
                  "schedule.initial 1e-30",
                  "encoder_run_ahead is -1, must be at least 0; nearest: 0"));
}

TEST(ValidateTest, NamesALaunchThatIsNone) {
  EXPECT_THAT(
      Messages({"launch=thread:4"}),
      ElementsAre(
          "launch is 'thread:4', must be threads:N or processes:N with N from 1 to 1048576; "
          "nearest: threads:4"));
}

TEST(ValidateTest, RanksAreThreadsOrProcessesOnEitherDevice) {
  EXPECT_THAT(Messages({"launch=processes:4"}), IsEmpty());
  EXPECT_THAT(Messages({"launch=processes:4", "device=CUDA"}), IsEmpty());
  EXPECT_THAT(Messages({"launch=processes:5", "language.rank_offset=3"}),
              Contains(HasSubstr("or launch processes:4")));
}

TEST(ValidateTest, BatchesAreWholeMicrobatches) {
  EXPECT_THAT(Messages({"global_batch_size=72", "evaluation.global_batch_size=8"}),
              ElementsAre("global_batch_size is 72, must be a multiple of 16 (micro_batch_size 8 * "
                          "2 language lanes); nearest: 64 or 80",
                          "evaluation.global_batch_size is 8, must be a multiple of 16 "
                          "(micro_batch_size 8 * 2 language lanes); nearest: 16"));
}

TEST(ValidateTest, ChunksNeedAPipelineAndWholeGroupsOfMicrobatches) {
  EXPECT_THAT(Messages({"pipeline_chunks=2"}),
              ElementsAre("pipeline_chunks is 2, which needs language.pp above 1; nearest: 1"));
  const auto chunked = [](std::vector<std::string_view> more) {
    std::vector<std::string_view> all = {"model.language.pattern=MEM*", "language.pp=2",
                                         "pipeline_chunks=2"};
    all.insert(all.end(), more.begin(), more.end());
    return Messages(all);
  };
  EXPECT_THAT(chunked({}), IsEmpty());
  EXPECT_THAT(chunked({"language.rank_offset=0", "launch=threads:2"}),
              ElementsAre("pipeline_chunks is 2, which needs modules on ranks of their own; "
                          "nearest: 1"));
  EXPECT_THAT(chunked({"global_batch_size=72", "evaluation.global_batch_size=40"}),
              ElementsAre("pipeline_chunks is 2, which needs a multiple of language.pp 2 "
                          "microbatches a step, not 9; nearest: global_batch_size 80 or "
                          "pipeline_chunks 1",
                          "evaluation: pipeline_chunks is 2, which needs a multiple of language.pp "
                          "2 microbatches a step, not 5; nearest: evaluation.global_batch_size 48 "
                          "or pipeline_chunks 1"));
  EXPECT_THAT(chunked({"pipeline_chunks=3"}),
              ElementsAre("pipeline_chunks is 3: language.pp 2 x pipeline_chunks 3: pp 6 does not "
                          "divide the 4 layers of the layer pattern; nearest is 4; nearest: 1"));
}

TEST(ValidateTest, RoundedNumbersNeedAGpu) {
  EXPECT_THAT(Messages({"precision=BF16"}),
              ElementsAre("precision is BF16, which needs device CUDA; device is CPU; nearest: "
                          "precision F32 or device CUDA"));
  EXPECT_THAT(Messages({"precision=BF16", "device=CUDA"}), IsEmpty());
}

TEST(ValidateTest, SchedulesAreConsistent) {
  EXPECT_THAT(
      Messages({"schedule.warmup_samples=100"}),
      ElementsAre("train_steps is set beside schedule.warmup_samples; give all lengths in steps "
                  "or all in samples; nearest: schedule.warmup_steps 2 or train_samples 38400"));
  EXPECT_THAT(
      Messages({"train_samples=640"}),
      ElementsAre("train_samples is set beside schedule.warmup_steps; give all lengths in steps "
                  "or all in samples; nearest: schedule.warmup_samples 1920 or train_steps 10"));
  EXPECT_THAT(Messages({"schedule.minimum=1"}),
              ElementsAre("schedule.minimum is 1, must be at most peak 0.003; nearest: 0.003"));
  EXPECT_THAT(Messages({"schedule.minimum=-1"}),
              ElementsAre("schedule.minimum is -1, must be at least 0; nearest: 0"));
  EXPECT_THAT(Messages({"schedule.decay_steps=600", "schedule.warmup_steps=600"}),
              ElementsAre("schedule.warmup_steps is 600, must be below decay_steps 600, the end of "
                          "the decay; nearest: 599"));
  EXPECT_THAT(Messages({"schedule.style=WARMUP_STABLE_DECAY", "schedule.tail_steps=10"}),
              ElementsAre("schedule.tail is not set, style WARMUP_STABLE_DECAY needs the shape of "
                          "its decay; nearest: TAIL_LINEAR"));
  EXPECT_THAT(
      Messages({"schedule.tail=TAIL_LINEAR"}),
      ElementsAre(
          "schedule.tail or tail_steps is set, only style WARMUP_STABLE_DECAY has a "
          "tail; nearest: schedule.style WARMUP_STABLE_DECAY with schedule.tail_steps 570"));
}

TEST(ValidateTest, ATailNeedsItsLengthAndItsShape) {
  EXPECT_THAT(
      Messages({"schedule.style=WARMUP_STABLE_DECAY"}),
      ElementsAre("schedule.tail is not set, style WARMUP_STABLE_DECAY needs the shape of its "
                  "decay; nearest: TAIL_LINEAR",
                  "schedule.tail_steps is not set, style WARMUP_STABLE_DECAY needs the length of "
                  "its decay; nearest: 570"));
}

TEST(ValidateTest, LengthsAreAnsweredInTheUnitTheyWereGivenIn) {
  EXPECT_THAT(
      Messages({"schedule.style=WARMUP_STABLE_DECAY", "schedule.tail=TAIL_LINEAR",
                "schedule.warmup_steps=2", "schedule.decay_steps=6", "schedule.tail_steps=8"}),
      ElementsAre("schedule.tail_steps is 8, must be from 1 to 4, what lies between warm-up "
                  "and the end of the decay; nearest: 4"));
}

TEST(ValidateTest, EnumsHaveTheValuesTheyHave) {
  proto::RunConfig config = ChangedRecipe("fashion_tiny", {});
  config.set_device(static_cast<proto::RunConfig::Device>(99));
  config.set_precision(proto::RunConfig::PRECISION_UNSPECIFIED);
  config.mutable_schedule()->set_style(static_cast<proto::LearningRateSchedule::Style>(9));
  proto::VisionLanguageModel model;
  ASSERT_TRUE(config.model().UnpackTo(&model));
  model.mutable_projector()->set_kind(static_cast<proto::Projector::Kind>(7));
  config.mutable_model()->PackFrom(model);
  EXPECT_THAT(
      ViolationTexts(config),
      ElementsAre("model.projector.kind is 7, must be one of AFFINE, MLP; nearest: AFFINE",
                  "device is 99, must be one of CPU, CUDA; nearest: CPU or CUDA",
                  "precision is PRECISION_UNSPECIFIED, must be one of F32, BF16; nearest: F32 or "
                  "BF16",
                  "schedule.style is 9, must be one of CONSTANT, LINEAR, COSINE, "
                  "INVERSE_SQUARE_ROOT, WARMUP_STABLE_DECAY; nearest: schedule.style CONSTANT or "
                  "schedule.style LINEAR or schedule.style COSINE or schedule.style "
                  "INVERSE_SQUARE_ROOT or schedule.style WARMUP_STABLE_DECAY with schedule.tail "
                  "TAIL_LINEAR with schedule.tail_steps 570"));
}

TEST(ValidateTest, TheModelIsJudgedWithTheRest) {
  EXPECT_THAT(
      Messages({"model.language.attention.num_heads=7", "model.language.experts.top_k=9",
                "model.language.mamba.conv_kernel=5", "model.encoder.max_image_side=30",
                "launch=threads:0"}),
      ElementsAre(
          "launch is 'threads:0', must be threads:N or processes:N with N from 1 to 1048576; "
          "nearest: "
          "threads:4",
          "model.language.mamba.conv_kernel is 5, must be at most 4; nearest: 4",
          "model.encoder.max_image_side is 30, must be a multiple of "
          "model.encoder.patch_size 4; nearest: model.encoder.max_image_side 28 or "
          "model.encoder.max_image_side 32 or model.encoder.patch_size 3",
          "model.language.attention.num_heads is 7, must be a multiple of "
          "model.language.attention.num_kv_groups 2; nearest: "
          "model.language.attention.num_heads 6 or model.language.attention.num_heads 8 or "
          "model.language.attention.num_kv_groups 1",
          "model.language.experts.top_k is 9, must be at most "
          "model.language.experts.num_experts 8; nearest: model.language.experts.top_k 8 or "
          "model.language.experts.num_experts 9"));
}

TEST(ValidateTest, WhatAGpuDoesNotTakeIsRefusedWhereItIsMeantToRun) {
  EXPECT_THAT(Messages({"model.language.mamba.chunk_size=256"}), IsEmpty());
  EXPECT_THAT(Messages({"model.language.mamba.chunk_size=256", "device=cuda"}),
              ElementsAre("model.language.mamba.chunk_size is 256, must be at most 128 on a "
                          "GPU; nearest: 128"));
}

TEST(ValidateTest, GridsAreThoseOfTheModelsModules) {
  EXPECT_THAT(
      Messages({"grids[2]={name: \"audio\" num_ranks: 1 rank_offset: 4}", "launch=threads:5"}),
      ElementsAre("grids[2].name is 'audio', the model has no such module, it has "
                  "radio_encoder, language, each with a grid; remove this grid"));
  EXPECT_THAT(Messages({"grids[0].name=encoder"}),
              ElementsAre("grids[0].name is 'encoder', the model has no such module, it has "
                          "radio_encoder, language; nearest: radio_encoder"));
}

TEST(ValidateTest, EmptyTextIsNoValue) {
  EXPECT_THAT(Messages({"logging.folder="}),
              ElementsAre("logging.folder is empty; it has no default"));
  EXPECT_THAT(Messages({"data.fashion_mnist.cache="}),
              ElementsAre("data.fashion_mnist.cache is empty; give it a value or leave it out"));
}

}  // namespace
}  // namespace hetero
