// The audio encoder with its projector on tensor-parallel ranks.

#include <cstdint>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/audio/encoder.h"
#include "hetero/models/testing/encoder_rig.h"
#include "hetero/models/testing/parallel_rig.h"
#include "hetero/tensor/audio_batch.h"

namespace hetero {
namespace {

constexpr int64_t kHidden = 8, kMels = 3;

ProjectedEncoder<AudioEncoder>::Config Config(ProjectorConfig::Kind kind) {
  return {.encoder = {.num_layers = 2,
                      .layer = {.hidden_size = kHidden,
                                .num_heads = 4,
                                .head_dim = 2,
                                .ffn_size = 12,
                                .gelu = GeluForm::kErf,
                                .storage = DType::kF64},
                      .num_mels = kMels,
                      .max_frames = 20},
          .projector = {.kind = kind,
                        .rms_norm = kind == ProjectorConfig::Kind::kMlp,
                        .input_size = kHidden,
                        .ffn_size = 20,
                        .output_size = 8,
                        .storage = DType::kF64}};
}

EncoderMicrobatch Clips(const std::vector<int>& lengths) {
  EncoderMicrobatch batch;
  for (const int length : lengths) {
    batch.sizes.push_back({.height = length, .width = 1});
    batch.num_read += length;
    batch.num_hidden += AudioRows(length);
  }
  batch.num_outputs = batch.num_hidden;
  return batch;
}

// 11 rows; 3, of which one of four ranks has none; none.
std::vector<EncoderMicrobatch> Microbatches() { return {Clips({7, 1, 11}), Clips({5}), Clips({})}; }

void ExpectLikeOneRankOnAll(const ProjectedEncoder<AudioEncoder>::Config& config,
                            const EncoderRun& options,
                            const LikeOneRankOptions& like = LikeOneRankOptions()) {
  for (const int64_t tp : {2, 4}) {
    for (const EncoderMicrobatch& clips : Microbatches()) {
      SCOPED_TRACE(testing::Message() << clips.num_hidden << " rows");
      ExpectLikeOneRank(
          {.name = "encoder", .num_ranks = tp, .tp = tp},
          [&](ParallelRig& rig) {
            return RunEncoder<AudioEncoder>(rig, config, kMels, kHidden, clips, options);
          },
          like);
    }
  }
}

TEST(ParallelAudioTest, EqualsOneRank) {
  for (const auto kind : {ProjectorConfig::Kind::kMlp, ProjectorConfig::Kind::kAffine}) {
    ExpectLikeOneRankOnAll(Config(kind), {});
  }
}

TEST(ParallelAudioTest, StagesInARowEqualOneRank) {
  ExpectLikeOneRankOnAll(Config(ProjectorConfig::Kind::kMlp), {.num_stages = 2});
}

TEST(ParallelAudioTest, LaterWeightGradientsEqualOneRank) {
  ExpectLikeOneRankOnAll(Config(ProjectorConfig::Kind::kMlp), {}, {.weight_gradients_later = true});
}

TEST(ParallelAudioTest, EvaluationEqualsOneRank) {
  ExpectLikeOneRankOnAll(Config(ProjectorConfig::Kind::kMlp), {.num_stages = 2, .evaluate = true});
}

TEST(ParallelAudioTest, FrozenPartsEqualOneRank) {
  for (const bool encoder : {false, true}) {
    ProjectedEncoder<AudioEncoder>::Config config = Config(ProjectorConfig::Kind::kMlp);
    config.train_encoder = encoder;
    config.train_projector = !encoder;
    ExpectLikeOneRankOnAll(config, {});
  }
}

TEST(ParallelAudioTest, LanesAddUp) {
  const ProjectedEncoder<AudioEncoder>::Config config = Config(ProjectorConfig::Kind::kMlp);
  ExpectLikeOneRank({.name = "encoder", .num_ranks = 4, .tp = 2}, [&](ParallelRig& rig) {
    return RunEncoder<AudioEncoder>(rig, config, kMels, kHidden, Clips({7, 4}), {});
  });
}

}  // namespace
}  // namespace hetero
