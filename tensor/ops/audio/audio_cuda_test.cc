#include <cstdint>
#include <numeric>
#include <ostream>
#include <random>
#include <tuple>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/audio_batch.h"
#include "hetero/tensor/ops/audio/audio.h"
#include "hetero/tensor/ops/cuda_testing.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

struct Problem {
  std::vector<int32_t> lengths;
  int64_t stride, channels, outputs;

  friend void PrintTo(const Problem& p, std::ostream* out) {
    *out << p.lengths.size() << "clips" << p.stride << "x" << p.channels << "x" << p.outputs;
  }
};

// One row, borders of all kinds, widths with and without vectors, a long clip, more clips than one
// launch takes, and none.
std::vector<Problem> Problems() {
  std::vector<int32_t> many;
  for (int i = 0; i < 300; ++i) many.push_back(1 + i % 5);
  return {{{1}, 1, 4, 8},
          {{1}, 2, 4, 8},
          {{3, 1, 2, 6, 40}, 1, 80, 64},
          {{3, 1, 2, 6, 41}, 2, 64, 64},
          {{5, 17}, 2, 6, 37},
          {{3000}, 2, 8, 16},
          {many, 1, 16, 24},
          {many, 2, 10, 24},
          {{}, 2, 16, 24}};
}

class AudioCudaTest : public ::testing::TestWithParam<std::tuple<DType, Problem>> {
 protected:
  AudioCudaTest()
      : dtype_(std::get<0>(GetParam())),
        problem_(std::get<1>(GetParam())),
        shape_{.lengths = problem_.lengths, .stride = problem_.stride},
        rows_(std::accumulate(problem_.lengths.begin(), problem_.lengths.end(), int64_t{0})) {
    for (const int32_t length : problem_.lengths) {
      out_rows_ += ConvolvedRows(length, problem_.stride);
    }
  }

  DType dtype_;
  Problem problem_;
  TimeConvShape shape_;
  int64_t rows_;
  int64_t out_rows_ = 0;
  std::mt19937_64 generator_ = FreshGenerator();
  StreamWithWorkspace cpu_;
  StreamWithWorkspace gpu_{DeviceKind::kCuda};
};

TEST_P(AudioCudaTest, TheGatherMovesEveryBitAndItsTransposeRoundsOnce) {
  const int64_t channels = problem_.channels;
  const auto x = NormalFor(dtype_, {rows_, channels}, generator_);
  const auto columns = NormalFor(dtype_, {out_rows_, 3 * channels}, generator_);
  HostTensor<double> gathered({out_rows_, 3 * channels}), sum({rows_, channels});
  const DeviceTensor gpu_x(dtype_, x, *gpu_), gpu_columns(dtype_, columns, *gpu_),
      gpu_gathered(dtype_, {out_rows_, 3 * channels}, *gpu_),
      gpu_sum(dtype_, {rows_, channels}, *gpu_);
  ASSERT_THAT(internal::GatherTapsCpu(shape_, x.view(), gathered.view()), IsOk());
  ASSERT_THAT(internal::GatherTapsCuda(shape_, gpu_x.view(), gpu_gathered.view(), *gpu_), IsOk());
  EXPECT_EQ(gpu_gathered.Values(), gathered.values());
  ASSERT_THAT(internal::SumTapsCpu(shape_, columns.view(), sum.view()), IsOk());
  ASSERT_THAT(internal::SumTapsCuda(shape_, gpu_columns.view(), gpu_sum.view(), *gpu_), IsOk());
  EXPECT_THAT(gpu_sum.Values(), IsCloseTo(sum.values(), {.absolute = 4 * Epsilon<float>(),
                                                         .relative = Epsilon(dtype_)}));
}

TEST_P(AudioCudaTest, ConvolutionsEqualTheCpuAndThemselves) {
  const int64_t channels = problem_.channels, outputs = problem_.outputs;
  const auto x = NormalFor(dtype_, {rows_, channels}, generator_);
  const auto weight = NormalFor(dtype_, {outputs, 3 * channels}, generator_);
  const auto dy = NormalFor(dtype_, {out_rows_, outputs}, generator_);
  HostTensor<double> y({out_rows_, outputs}), d_x({rows_, channels});
  auto d_weight = NormalFor(DType::kF32, {outputs, 3 * channels}, generator_);
  const DeviceTensor gpu_x(dtype_, x, *gpu_), gpu_weight(dtype_, weight, *gpu_),
      gpu_dy(dtype_, dy, *gpu_), gpu_y(dtype_, {out_rows_, outputs}, *gpu_),
      gpu_d_x(dtype_, {rows_, channels}, *gpu_), again(dtype_, {rows_, channels}, *gpu_),
      gpu_d_weight(DType::kF32, d_weight, *gpu_), weight_again(DType::kF32, d_weight, *gpu_);
  ASSERT_THAT(TimeConvForward(shape_, x.view(), weight.view(), y.view(), *cpu_), IsOk());
  ASSERT_THAT(TimeConvForward(shape_, gpu_x.view(), gpu_weight.view(), gpu_y.view(), *gpu_),
              IsOk());
  // Roundings to storage, and a sum in f32 whose error gemm_cuda_test.cc derives.
  const auto sum_of = [&](int64_t terms) {
    return ErrorSpec{.absolute = 3 * static_cast<double>(terms) * Epsilon<float>(),
                     .relative_to_max = 4 * Epsilon(dtype_)};
  };
  EXPECT_THAT(gpu_y.Values(), IsCloseTo(y.values(), sum_of(3 * channels)));

  TimeConvBackwardArgs args{.dy_RN = dy.view(),
                            .x_TC = x.view(),
                            .weight_NK = weight.view(),
                            .d_x_TC = d_x.view(),
                            .d_weight_NK = d_weight.view(),
                            .accumulate = true};
  ASSERT_THAT(TimeConvBackward(shape_, args, *cpu_), IsOk());
  args = {.dy_RN = gpu_dy.view(),
          .x_TC = gpu_x.view(),
          .weight_NK = gpu_weight.view(),
          .d_x_TC = gpu_d_x.view(),
          .d_weight_NK = gpu_d_weight.view(),
          .accumulate = true};
  ASSERT_THAT(TimeConvBackward(shape_, args, *gpu_), IsOk());
  args.d_x_TC = again.view();
  args.d_weight_NK = weight_again.view();
  ASSERT_THAT(TimeConvBackward(shape_, args, *gpu_), IsOk());
  EXPECT_THAT(gpu_d_x.Values(), IsCloseTo(d_x.values(), sum_of(3 * outputs)));
  EXPECT_THAT(gpu_d_weight.Values(),
              IsCloseTo(d_weight.values(), {.relative_to_max = 64 * Epsilon<float>()}));
  EXPECT_EQ(gpu_d_x.Bits(), again.Bits());
  EXPECT_EQ(gpu_d_weight.Bits(), weight_again.Bits());
}

TEST_P(AudioCudaTest, SinusoidsEqualTheCpuInF64) {
  const int64_t channels = problem_.channels;
  const auto x = NormalFor(dtype_, {rows_, channels}, generator_);
  HostTensor<double> out({rows_, channels});
  const DeviceTensor gpu_x(dtype_, x, *gpu_), gpu_out(dtype_, {rows_, channels}, *gpu_);
  ASSERT_THAT(AddSinusoids(problem_.lengths, x.view(), out.view(), *cpu_), IsOk());
  ASSERT_THAT(AddSinusoids(problem_.lengths, gpu_x.view(), gpu_out.view(), *gpu_), IsOk());
  const ErrorSpec spec{.absolute = 8 * Epsilon<float>(), .relative = Epsilon(dtype_)};
  EXPECT_THAT(gpu_out.Values(), IsCloseTo(out.values(), spec));
  ASSERT_THAT(AddSinusoids(problem_.lengths, gpu_x.view(), gpu_x.view(), *gpu_), IsOk());
  EXPECT_EQ(gpu_x.Bits(), gpu_out.Bits());
}

INSTANTIATE_TEST_SUITE_P(Problems, AudioCudaTest,
                         ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16),
                                            ::testing::ValuesIn(Problems())));

}  // namespace
}  // namespace hetero
