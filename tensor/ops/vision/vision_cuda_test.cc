#include <cstdint>
#include <ostream>
#include <random>
#include <tuple>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/testing.h"
#include "hetero/tensor/ops/vision/vision.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

struct Problem {
  std::vector<ImageSize> sizes;
  int64_t patch, class_tokens, grid_rows, grid_columns, channels;

  friend void PrintTo(const Problem& p, std::ostream* out) {
    *out << p.sizes.size() << "images" << p.grid_rows << "x" << p.grid_columns << "x" << p.channels;
  }
};

// The grid as it is, larger and smaller than the images, a row of it, more images than one launch
// takes, and none.
std::vector<Problem> Problems() {
  return {{{{4, 4}}, 1, 1, 4, 4, 5},
          {{{32, 32}, {32, 48}, {48, 32}, {8, 8}}, 4, 2, 8, 12, 64},
          {{{16, 64}, {64, 16}}, 2, 0, 3, 5, 37},
          {{{8, 16}, {16, 8}}, 2, 3, 16, 16, 24},
          {{{8, 8}, {8, 12}}, 2, 4, 1, 7, 520},
          {std::vector<ImageSize>(300, {4, 8}), 2, 2, 4, 4, 16},
          {{}, 2, 2, 4, 4, 16}};
}

class VisionCudaTest : public ::testing::TestWithParam<std::tuple<DType, Problem>> {
 protected:
  VisionCudaTest()
      : dtype_(std::get<0>(GetParam())),
        problem_(std::get<1>(GetParam())),
        layout_{problem_.sizes, problem_.patch, problem_.class_tokens},
        patches_(layout_.num_patches()),
        tokens_(layout_.num_tokens()) {}

  DType dtype_;
  Problem problem_;
  ImageLayout layout_;
  int64_t patches_, tokens_;
  std::mt19937_64 generator_ = FreshGenerator();
  StreamWithWorkspace cpu_;
  StreamWithWorkspace gpu_{DeviceKind::kCuda};
};

TEST_P(VisionCudaTest, PackingEqualsTheCpu) {
  const int64_t channels = problem_.channels;
  const auto embedding = NormalFor(dtype_, {patches_, channels}, generator_);
  const auto positions =
      NormalFor(dtype_, {problem_.grid_rows, problem_.grid_columns, channels}, generator_);
  const auto class_tokens = NormalFor(dtype_, {problem_.class_tokens, channels}, generator_);
  HostTensor<double> tokens({tokens_, channels});
  const DeviceTensor gpu_embedding(dtype_, embedding, *gpu_),
      gpu_positions(dtype_, positions, *gpu_), gpu_class_tokens(dtype_, class_tokens, *gpu_),
      gpu_tokens(dtype_, {tokens_, channels}, *gpu_);
  ASSERT_THAT(PackImageTokens(layout_, embedding.view(), positions.view(), class_tokens.view(), 0,
                              tokens.view(), *cpu_),
              IsOk());
  ASSERT_THAT(PackImageTokens(layout_, gpu_embedding.view(), gpu_positions.view(),
                              gpu_class_tokens.view(), 0, gpu_tokens.view(), *gpu_),
              IsOk());
  EXPECT_THAT(gpu_tokens.Values(), IsCloseTo(tokens.values(), {.absolute = 8 * Epsilon<float>(),
                                                               .relative = Epsilon(dtype_)}));
}

TEST_P(VisionCudaTest, GradientsEqualTheCpuAndThemselves) {
  const int64_t channels = problem_.channels;
  const auto d_tokens = NormalFor(dtype_, {tokens_, channels}, generator_);
  auto d_positions =
      NormalFor(DType::kF32, {problem_.grid_rows, problem_.grid_columns, channels}, generator_);
  auto d_class = NormalFor(DType::kF32, {problem_.class_tokens, channels}, generator_);
  HostTensor<double> d_embedding({patches_, channels});
  const DeviceTensor gpu_d_tokens(dtype_, d_tokens, *gpu_),
      gpu_d_embedding(dtype_, {patches_, channels}, *gpu_),
      gpu_d_positions(DType::kF32, d_positions, *gpu_), gpu_d_class(DType::kF32, d_class, *gpu_),
      again(DType::kF32, d_positions, *gpu_), class_again(DType::kF32, d_class, *gpu_);
  const ErrorSpec spec{.absolute = 16 * Epsilon<float>(), .relative_to_max = 64 * Epsilon<float>()};
  for (const bool accumulate : {true, false, true}) {
    PackImageTokensBackwardArgs args{.d_tokens_WC = d_tokens.view(),
                                     .d_embedding_NC = d_embedding.view(),
                                     .d_positions_YXC = d_positions.view(),
                                     .d_class_tokens_KC = d_class.view(),
                                     .accumulate_positions = accumulate,
                                     .accumulate_class_tokens = accumulate};
    ASSERT_THAT(PackImageTokensBackward(layout_, args, *cpu_), IsOk());
    args.d_tokens_WC = gpu_d_tokens.view();
    args.d_embedding_NC = gpu_d_embedding.view();
    args.d_positions_YXC = gpu_d_positions.view();
    args.d_class_tokens_KC = gpu_d_class.view();
    ASSERT_THAT(PackImageTokensBackward(layout_, args, *gpu_), IsOk());
    args.d_embedding_NC = {};
    args.d_positions_YXC = again.view();
    args.d_class_tokens_KC = class_again.view();
    ASSERT_THAT(PackImageTokensBackward(layout_, args, *gpu_), IsOk());
    EXPECT_THAT(gpu_d_positions.Values(), IsCloseTo(d_positions.values(), spec));
    EXPECT_THAT(gpu_d_class.Values(), IsCloseTo(d_class.values(), spec));
  }
  EXPECT_EQ(gpu_d_embedding.Values(), d_embedding.values());
  EXPECT_EQ(gpu_d_positions.Bits(), again.Bits());
  EXPECT_EQ(gpu_d_class.Bits(), class_again.Bits());
}

TEST_P(VisionCudaTest, ShuffleMovesEveryBitThereAndBack) {
  const int64_t channels = problem_.channels;
  auto tokens = NormalFor(dtype_, {tokens_, channels}, generator_);
  HostTensor<double> features({patches_ / 4, 4 * channels});
  const DeviceTensor gpu_tokens(dtype_, tokens, *gpu_),
      gpu_features(dtype_, {patches_ / 4, 4 * channels}, *gpu_),
      back(dtype_, {tokens_, channels}, *gpu_);
  ASSERT_THAT(ShufflePixels(layout_, tokens.view(), 0, features.view(), *cpu_), IsOk());
  ASSERT_THAT(ShufflePixels(layout_, gpu_tokens.view(), 0, gpu_features.view(), *gpu_), IsOk());
  EXPECT_EQ(gpu_features.Values(), features.values());
  ASSERT_THAT(ShufflePixelsBackward(layout_, features.view(), 0, tokens.view(), *cpu_), IsOk());
  ASSERT_THAT(ShufflePixelsBackward(layout_, gpu_features.view(), 0, back.view(), *gpu_), IsOk());
  EXPECT_EQ(back.Values(), tokens.values());
}

// The middle third of the tokens, and of the features.
TEST_P(VisionCudaTest, AWindowEqualsTheCpu) {
  const int64_t channels = problem_.channels;
  const int64_t first = tokens_ / 3, rows = tokens_ / 3, out_rows = patches_ / 12;
  const int64_t patches = layout_.PatchesBefore(first + rows) - layout_.PatchesBefore(first);
  const auto embedding = NormalFor(dtype_, {patches, channels}, generator_);
  const auto positions =
      NormalFor(dtype_, {problem_.grid_rows, problem_.grid_columns, channels}, generator_);
  const auto class_tokens = NormalFor(dtype_, {problem_.class_tokens, channels}, generator_);
  const auto all = NormalFor(dtype_, {tokens_, channels}, generator_);
  const auto d_features = NormalFor(dtype_, {patches_ / 4, 4 * channels}, generator_);
  HostTensor<double> tokens({rows, channels}), features({out_rows, 4 * channels}),
      back({rows, channels}), d_embedding({patches, channels}),
      d_positions({problem_.grid_rows, problem_.grid_columns, channels}),
      d_class({problem_.class_tokens, channels});
  const DeviceTensor gpu_embedding(dtype_, embedding, *gpu_),
      gpu_positions(dtype_, positions, *gpu_), gpu_class_tokens(dtype_, class_tokens, *gpu_),
      gpu_all(dtype_, all, *gpu_), gpu_d_features(dtype_, d_features, *gpu_),
      gpu_tokens(dtype_, {rows, channels}, *gpu_),
      gpu_features(dtype_, {out_rows, 4 * channels}, *gpu_),
      gpu_back(dtype_, {rows, channels}, *gpu_),
      gpu_d_embedding(dtype_, {patches, channels}, *gpu_),
      gpu_d_positions(DType::kF32, d_positions, *gpu_), gpu_d_class(DType::kF32, d_class, *gpu_);
  ASSERT_THAT(PackImageTokens(layout_, embedding.view(), positions.view(), class_tokens.view(),
                              first, tokens.view(), *cpu_),
              IsOk());
  ASSERT_THAT(PackImageTokens(layout_, gpu_embedding.view(), gpu_positions.view(),
                              gpu_class_tokens.view(), first, gpu_tokens.view(), *gpu_),
              IsOk());
  EXPECT_THAT(gpu_tokens.Values(), IsCloseTo(tokens.values(), {.absolute = 8 * Epsilon<float>(),
                                                               .relative = Epsilon(dtype_)}));
  ASSERT_THAT(ShufflePixels(layout_, all.view(), out_rows, features.view(), *cpu_), IsOk());
  ASSERT_THAT(ShufflePixels(layout_, gpu_all.view(), out_rows, gpu_features.view(), *gpu_), IsOk());
  EXPECT_EQ(gpu_features.Values(), features.values());
  ASSERT_THAT(ShufflePixelsBackward(layout_, d_features.view(), first, back.view(), *cpu_), IsOk());
  ASSERT_THAT(ShufflePixelsBackward(layout_, gpu_d_features.view(), first, gpu_back.view(), *gpu_),
              IsOk());
  EXPECT_EQ(gpu_back.Values(), back.values());
  PackImageTokensBackwardArgs args{.first_token = first,
                                   .d_tokens_WC = all.view().Rows(first, rows),
                                   .d_embedding_NC = d_embedding.view(),
                                   .d_positions_YXC = d_positions.view(),
                                   .d_class_tokens_KC = d_class.view()};
  ASSERT_THAT(PackImageTokensBackward(layout_, args, *cpu_), IsOk());
  args.d_tokens_WC = gpu_all.view().Rows(first, rows);
  args.d_embedding_NC = gpu_d_embedding.view();
  args.d_positions_YXC = gpu_d_positions.view();
  args.d_class_tokens_KC = gpu_d_class.view();
  ASSERT_THAT(PackImageTokensBackward(layout_, args, *gpu_), IsOk());
  const ErrorSpec spec{.absolute = 16 * Epsilon<float>(), .relative_to_max = 64 * Epsilon<float>()};
  EXPECT_EQ(gpu_d_embedding.Values(), d_embedding.values());
  EXPECT_THAT(gpu_d_positions.Values(), IsCloseTo(d_positions.values(), spec));
  EXPECT_THAT(gpu_d_class.Values(), IsCloseTo(d_class.values(), spec));
}

INSTANTIATE_TEST_SUITE_P(Problems, VisionCudaTest,
                         ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                                            ::testing::ValuesIn(Problems())));

}  // namespace
}  // namespace hetero
