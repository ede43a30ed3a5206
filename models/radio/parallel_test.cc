// RADIO with its projector on tensor-parallel ranks.

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/comm/loopback/loopback.h"
#include "hetero/models/radio/encoder.h"
#include "hetero/models/testing/encoder_rig.h"
#include "hetero/models/testing/parallel_rig.h"
#include "hetero/params/table.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

constexpr int64_t kHidden = 8;

ProjectedEncoder<RadioEncoder>::Config Config(ProjectorConfig::Kind kind) {
  return {.encoder = {.num_layers = 2,
                      .layer = {.hidden_size = kHidden,
                                .num_heads = 4,
                                .head_dim = 4,
                                .ffn_size = 12,
                                .storage = DType::kF64},
                      .patch_size = 2,
                      .max_image_side = 8,
                      .num_class_tokens = 3},
          .projector = {.kind = kind,
                        .rms_norm = kind == ProjectorConfig::Kind::kMlp,
                        .input_size = 4 * kHidden,
                        .ffn_size = 20,
                        .output_size = 8,
                        .storage = DType::kF64}};
}

EncoderMicrobatch Images(std::vector<ImageSize> sizes) {
  const int64_t patches = ImageLayout{.sizes = sizes, .patch_size = 2}.num_patches();
  const int64_t classes = 3 * static_cast<int64_t>(sizes.size());
  return {.sizes = std::move(sizes),
          .num_read = patches,
          .num_hidden = patches + classes,
          .num_outputs = patches / 4};
}

// 41 tokens and 8 features; 15 and 3, of which one of four ranks has none; none.
std::vector<EncoderMicrobatch> Microbatches() {
  return {Images({{8, 8}, {4, 12}, {4, 4}}), Images({{4, 12}}), Images({})};
}

void ExpectLikeOneRankOnAll(const ProjectedEncoder<RadioEncoder>::Config& config,
                            const EncoderRun& options,
                            const LikeOneRankOptions& like = LikeOneRankOptions()) {
  for (const int64_t tp : {2, 4}) {
    for (const EncoderMicrobatch& images : Microbatches()) {
      SCOPED_TRACE(testing::Message() << images.num_hidden << " tokens");
      ExpectLikeOneRank(
          {.name = "encoder", .num_ranks = tp, .tp = tp},
          [&](ParallelRig& rig) {
            return RunEncoder<RadioEncoder>(rig, config, config.encoder.patch_features(), kHidden,
                                            images, options);
          },
          like);
    }
  }
}

TEST(ParallelRadioTest, EqualsOneRank) {
  for (const auto kind : {ProjectorConfig::Kind::kMlp, ProjectorConfig::Kind::kAffine}) {
    ExpectLikeOneRankOnAll(Config(kind), {});
  }
}

TEST(ParallelRadioTest, ScaledGatedLayersEqualOneRank) {
  ProjectedEncoder<RadioEncoder>::Config config = Config(ProjectorConfig::Kind::kAffine);
  config.encoder.layer.swiglu = true;
  config.encoder.layer.qkv_bias = false;
  config.encoder.layer.layer_scale_init = 0.5;
  ExpectLikeOneRankOnAll(config, {.num_stages = 2});
  ExpectLikeOneRankOnAll(config, {}, {.weight_gradients_later = true});
  ExpectLikeOneRankOnAll(config, {.evaluate = true});
}

TEST(ParallelRadioTest, StagesInARowEqualOneRank) {
  ExpectLikeOneRankOnAll(Config(ProjectorConfig::Kind::kMlp), {.num_stages = 2});
}

TEST(ParallelRadioTest, SelectiveRecomputeEqualsOneRank) {
  for (const bool later : {false, true}) {
    ExpectLikeOneRankOnAll(Config(ProjectorConfig::Kind::kMlp), {.num_stages = 2},
                           {.weight_gradients_later = later, .selective_recompute = true});
  }
}

TEST(ParallelRadioTest, LaterWeightGradientsEqualOneRank) {
  for (const auto kind : {ProjectorConfig::Kind::kMlp, ProjectorConfig::Kind::kAffine}) {
    ExpectLikeOneRankOnAll(Config(kind), {.num_stages = 2}, {.weight_gradients_later = true});
  }
}

TEST(ParallelRadioTest, EvaluationEqualsOneRank) {
  for (const int num_stages : {1, 2}) {
    ExpectLikeOneRankOnAll(Config(ProjectorConfig::Kind::kAffine),
                           {.num_stages = num_stages, .evaluate = true});
  }
}

TEST(ParallelRadioTest, FrozenPartsEqualOneRank) {
  for (const bool encoder : {false, true}) {
    for (const auto kind : {ProjectorConfig::Kind::kMlp, ProjectorConfig::Kind::kAffine}) {
      ProjectedEncoder<RadioEncoder>::Config config = Config(kind);
      config.train_encoder = encoder;
      config.train_projector = !encoder;
      ExpectLikeOneRankOnAll(config, {.num_stages = 2});
    }
  }
}

TEST(ParallelRadioTest, LanesAddUp) {
  for (const auto kind : {ProjectorConfig::Kind::kMlp, ProjectorConfig::Kind::kAffine}) {
    const ProjectedEncoder<RadioEncoder>::Config config = Config(kind);
    ExpectLikeOneRank({.name = "encoder", .num_ranks = 4, .tp = 2}, [&](ParallelRig& rig) {
      return RunEncoder<RadioEncoder>(rig, config, config.encoder.patch_features(), kHidden,
                                      Images({{8, 4}, {4, 4}}), {.num_stages = 2});
    });
  }
}

// Rank 1 of `tp` ranks, of which there are no others.
absl::Status CreateOn(int64_t tp, const ProjectedEncoder<RadioEncoder>::Config& config) {
  const std::unique_ptr<CommunicatorFactory> factory = LoopbackFactory(GlobalRank(1), tp);
  std::vector<GlobalRank> members;
  for (int64_t rank = 0; rank < tp; ++rank) members.push_back(GlobalRank(rank));
  const std::unique_ptr<Communicator> communicator =
      factory->Create({.channel = "tp", .members = members}).value();
  MemoryLedger memory;
  // Of one rank: what does not divide has no shards.
  const auto parameters =
      ParameterStore::Create(MakeEncoderTable<RadioEncoder>(config, 1).value(), {}, {}, memory)
          .value();
  return ProjectedEncoder<RadioEncoder>::Create(config, {}, *parameters, communicator.get())
      .status();
}

TEST(ParallelRadioTest, NamesWhatDoesNotDivide) {
  const auto refuses = [](const char* text) {
    return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text));
  };
  ProjectedEncoder<RadioEncoder>::Config config = Config(ProjectorConfig::Kind::kMlp);
  EXPECT_THAT(CreateOn(3, config),
              refuses("num_heads is 4; expected a multiple of the 3 tensor-parallel ranks; "
                      "nearest: 3"));
  config.encoder.layer.num_heads = 8;
  EXPECT_THAT(CreateOn(8, config), refuses("ffn_size is 12; expected a multiple of the 8"));
  config.encoder.layer.ffn_size = 16;
  EXPECT_THAT(CreateOn(8, config), refuses("projector.: ffn_size is 20"));
  config = Config(ProjectorConfig::Kind::kAffine);
  config.projector.output_size = 6;
  EXPECT_THAT(CreateOn(4, config), refuses("output_size is 6; expected a multiple of the 4 "
                                           "tensor-parallel ranks; nearest: 4"));
}

}  // namespace
}  // namespace hetero
