// Forward and backward of a small encoder on 4 clips of one to two seconds.

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "benchmark/benchmark.h"
#include "hetero/base/status.h"
#include "hetero/models/audio/encoder.h"
#include "hetero/models/testing/module_benchmark.h"
#include "hetero/tensor/audio_batch.h"

namespace hetero {
namespace {

void BM_AudioEncoderStep(benchmark::State& state) {
  const AudioConfig config{
      .num_layers = 2,
      .layer = {.hidden_size = 64, .num_heads = 4, .head_dim = 16, .ffn_size = 128},
      .num_mels = 80,
      .max_frames = 200};
  const std::vector<int32_t> lengths = {100, 200, 150, 101};
  ModuleBenchmark module(AudioEncoder::Parameters(config, "", 1));
  const AudioEncoder encoder =
      AudioEncoder::Create(config, "", {}, module.parameters(), nullptr).value();
  const TensorView frames_NM = module.Random(551, config.num_mels);
  AudioEncoder::Saved saved;
  module.Run(state, [&](ModuleContext& context) -> absl::Status {
    HETERO_ASSIGN_OR_RETURN(
        const TensorView features,
        encoder.Forward(context, {.frames = frames_NM, .lengths = lengths}, {}, saved));
    return encoder.Backward(context, saved, features, {});
  });
}
BENCHMARK(BM_AudioEncoderStep);

}  // namespace
}  // namespace hetero
