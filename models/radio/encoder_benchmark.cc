// Forward and backward of the small preset's encoder on 8 images of 64 and 96 patches.

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "benchmark/benchmark.h"
#include "hetero/base/status.h"
#include "hetero/models/radio/encoder.h"
#include "hetero/models/testing/module_benchmark.h"

namespace hetero {
namespace {

void BM_RadioEncoderStep(benchmark::State& state) {
  const RadioConfig config{
      .num_layers = 2,
      .layer = {.hidden_size = 64, .num_heads = 4, .head_dim = 16, .ffn_size = 128},
      .patch_size = 4,
      .max_image_side = 64,
      .num_class_tokens = 2};
  const std::vector<ImageSize> sizes = {{32, 32}, {32, 48}, {48, 32}, {32, 32},
                                        {32, 48}, {48, 32}, {32, 32}, {32, 48}};
  const int64_t patches = ImageLayout{.sizes = sizes, .patch_size = 4}.num_patches();
  ModuleBenchmark module(RadioEncoder::Parameters(config, "", 1));
  const RadioEncoder encoder =
      RadioEncoder::Create(config, "", {}, module.parameters(), nullptr).value();
  const TensorView pixels_NF = module.Random(patches, config.patch_features());
  RadioEncoder::Saved saved;
  module.Run(state, [&](ModuleContext& context) -> absl::Status {
    HETERO_ASSIGN_OR_RETURN(
        const TensorView features,
        encoder.Forward(context, {.patches = pixels_NF, .sizes = sizes}, {}, saved));
    return encoder.Backward(context, saved, features, {});
  });
}
BENCHMARK(BM_RadioEncoderStep);

}  // namespace
}  // namespace hetero
