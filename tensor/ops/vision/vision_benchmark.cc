#include <cstdint>
#include <random>
#include <vector>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "hetero/tensor/ops/ceiling.h"
#include "hetero/tensor/ops/testing.h"
#include "hetero/tensor/ops/vision/vision.h"

namespace hetero {
namespace {

// Eight images of three sizes with patches of 4 pixels on a 16 x 16 grid; argument: channels.
struct Batch {
  explicit Batch(int64_t channels)
      : c(channels), embedding(HostTensor<float>::Normal({layout.num_patches(), c}, random)) {}

  std::vector<ImageSize> sizes = {{32, 32}, {32, 48}, {48, 32}, {32, 32},
                                  {32, 48}, {48, 32}, {32, 32}, {32, 48}};
  ImageLayout layout{.sizes = sizes, .patch_size = 4, .num_class_tokens = 2};
  std::mt19937 random{1};
  int64_t c;
  HostTensor<float> embedding;
  HostTensor<float> positions = HostTensor<float>::Normal({16, 16, c}, random);
  HostTensor<float> class_tokens = HostTensor<float>::Normal({2, c}, random);
  HostTensor<float> tokens = HostTensor<float>::Normal({layout.num_tokens(), c}, random);
  HostTensor<float> features{layout.num_patches() / 4, 4 * c};
  StreamWithWorkspace stream;
};

void BM_PackImageTokens(benchmark::State& state) {
  Batch b(state.range(0));
  for (auto _ : state) {
    CHECK_OK(PackImageTokens(b.layout, b.embedding.view(), b.positions.view(),
                             b.class_tokens.view(), 0, b.tokens.view(), *b.stream));
  }
  ReportBytes(state,
              static_cast<double>(b.embedding.view().num_bytes() + b.tokens.view().num_bytes() +
                                  b.positions.view().num_bytes()));
}
BENCHMARK(BM_PackImageTokens)->Arg(64)->Arg(1280);

void BM_PackImageTokensBackward(benchmark::State& state) {
  Batch b(state.range(0));
  for (auto _ : state) {
    CHECK_OK(PackImageTokensBackward(b.layout,
                                     {.d_tokens_WC = b.tokens.view(),
                                      .d_embedding_NC = b.embedding.view(),
                                      .d_positions_YXC = b.positions.view(),
                                      .d_class_tokens_KC = b.class_tokens.view()},
                                     *b.stream));
  }
  ReportBytes(state,
              static_cast<double>(b.embedding.view().num_bytes() + b.tokens.view().num_bytes() +
                                  b.positions.view().num_bytes()));
}
BENCHMARK(BM_PackImageTokensBackward)->Arg(64)->Arg(1280);

void BM_ShufflePixels(benchmark::State& state) {
  Batch b(state.range(0));
  for (auto _ : state) {
    CHECK_OK(ShufflePixels(b.layout, b.tokens.view(), 0, b.features.view(), *b.stream));
    CHECK_OK(ShufflePixelsBackward(b.layout, b.features.view(), 0, b.tokens.view(), *b.stream));
  }
  ReportBytes(state, 4.0 * static_cast<double>(b.features.view().num_bytes()));
}
BENCHMARK(BM_ShufflePixels)->Arg(64)->Arg(1280);

}  // namespace
}  // namespace hetero
