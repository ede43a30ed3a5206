// Forward and backward of the small preset's encoder on 8 images of 64 and 96 patches.

#include <span>
#include <vector>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "hetero/models/radio/encoder.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/params/table.h"
#include "hetero/tensor/ops/ceiling.h"

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
  MemoryLedger memory;
  const auto store =
      ParameterStore::Create(ParameterTable::Make(RadioEncoder::Parameters(config, "", 1)).value(),
                             {}, {}, memory)
          .value();
  CHECK_OK(store->Initialize(1));
  const RadioEncoder encoder = RadioEncoder::Create(config, "", {}, *store, nullptr).value();
  TestContext context;
  RadioEncoder::Saved saved;
  std::vector<float> pixels(patches * 48), d_features(patches * 64);
  const TensorView pixels_NF(std::span<float>(pixels), {patches, 48});
  const TensorView d_features_NC(std::span<float>(d_features), {patches / 4, 256});
  FillRandom(pixels_NF, 1, 1);
  FillRandom(d_features_NC, 2, 1);
  for (auto _ : state) {
    context.Reset();
    CHECK_OK(encoder.Forward(*context, {.patches = pixels_NF, .sizes = sizes}, {}, saved).status());
    CHECK_OK(encoder.Backward(*context, saved, d_features_NC, {}));
  }
  ReportOperations(state, context->stream.ledger());
}
BENCHMARK(BM_RadioEncoderStep);

}  // namespace
}  // namespace hetero
