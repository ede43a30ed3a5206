#include "hetero/tensor/ops/vision/vision.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Bilinear resize of grid [n, n, c] to [d, d, c], cropped to [rows, columns, c].
std::vector<double> Resized(const std::vector<double>& grid, int64_t n, int64_t c, int64_t rows,
                            int64_t columns) {
  const double scale = static_cast<double>(n) / static_cast<double>(std::max(rows, columns));
  std::vector<double> out;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t q = 0; q < columns; ++q) {
      const double y = std::max((static_cast<double>(r) + .5) * scale - .5, 0.0);
      const double x = std::max((static_cast<double>(q) + .5) * scale - .5, 0.0);
      const int64_t y0 = static_cast<int64_t>(y), x0 = static_cast<int64_t>(x);
      const int64_t y1 = std::min(y0 + 1, n - 1), x1 = std::min(x0 + 1, n - 1);
      const double v = y - static_cast<double>(y0), u = x - static_cast<double>(x0);
      for (int64_t k = 0; k < c; ++k) {
        const auto at = [&](int64_t i, int64_t j) { return grid[(i * n + j) * c + k]; };
        out.push_back((1 - v) * ((1 - u) * at(y0, x0) + u * at(y0, x1)) +
                      v * ((1 - u) * at(y1, x0) + u * at(y1, x1)));
      }
    }
  }
  return out;
}

// Positions alone: zero embeddings, patches of one pixel, no class token.
std::vector<float> Positions(int64_t n, int32_t rows, int32_t columns,
                             const std::vector<float>& grid) {
  StreamWithWorkspace stream;
  const std::vector<ImageSize> sizes = {{rows, columns}};
  const int64_t c = static_cast<int64_t>(grid.size()) / (n * n), patches = rows * columns;
  const HostTensor<float> embedding({patches, c}, std::vector<float>(patches * c));
  const HostTensor<float> positions({n, n, c}, grid), class_tokens({0, c});
  HostTensor<float> tokens({patches, c});
  EXPECT_THAT(PackImageTokens({.sizes = sizes, .patch_size = 1}, embedding.view(), positions.view(),
                              class_tokens.view(), 0, tokens.view(), *stream),
              IsOk());
  return tokens.values();
}

std::vector<float> Iota(int64_t n) {
  std::vector<float> values(n);
  std::iota(values.begin(), values.end(), 0.0f);
  return values;
}

TEST(PositionsTest, WorkedExamples) {
  const std::vector<float> up = Positions(4, 4, 6, Iota(16));
  EXPECT_THAT((std::vector<float>(up.begin(), up.begin() + 18)),
              IsCloseTo(std::vector{0., .5, 7. / 6, 11. / 6, 2.5, 3., 2., 2.5, 19. / 6, 23. / 6,
                                    4.5, 5., 14. / 3, 31. / 6, 35. / 6, 6.5, 43. / 6, 23. / 3},
                        {.absolute = 1e-6}));
  EXPECT_THAT(Positions(4, 2, 2, Iota(16)), ElementsAre(2.5f, 4.5f, 10.5f, 12.5f));
  EXPECT_EQ(Positions(4, 4, 4, Iota(16)), Iota(16));
}

class ResizeTest : public ::testing::TestWithParam<std::tuple<int64_t, int32_t, int32_t>> {};

TEST_P(ResizeTest, ForwardAndBackwardAreTheSameMatrix) {
  const auto [n, rows, columns] = GetParam();
  constexpr int64_t c = 3;
  std::mt19937_64 random = FreshGenerator();
  const auto grid = HostTensor<float>::Normal({n, n, c}, random);
  const std::vector<double> expected = Resized(grid.As<double>().values(), n, c, rows, columns);
  // A dozen roundings of numbers up to 5.
  EXPECT_THAT(Positions(n, rows, columns, grid.values()),
              IsCloseTo(expected, {.absolute = 16 * Epsilon<float>()}));

  // <J p, g> = <p, J' g> in f64.
  StreamWithWorkspace stream;
  const std::vector<ImageSize> sizes = {{rows, columns}};
  const auto d_tokens = HostTensor<double>::Normal({rows * columns, c}, random);
  HostTensor<double> d_positions({n, n, c}), d_class({0, c});
  ASSERT_THAT(PackImageTokensBackward({.sizes = sizes, .patch_size = 1},
                                      {.d_tokens_WC = d_tokens.view(),
                                       .d_embedding_NC = {},
                                       .d_positions_YXC = d_positions.view(),
                                       .d_class_tokens_KC = d_class.view()},
                                      *stream),
              IsOk());
  double forward = 0, backward = 0;
  for (size_t i = 0; i < expected.size(); ++i) forward += expected[i] * d_tokens[i];
  for (int64_t i = 0; i < n * n * c; ++i) backward += d_positions[i] * grid[i];
  EXPECT_NEAR(forward, backward, 1e-10 * static_cast<double>(rows * columns));
}

INSTANTIATE_TEST_SUITE_P(Sides, ResizeTest,
                         ::testing::Values(std::tuple{16, 8, 12}, std::tuple{16, 12, 8},
                                           std::tuple{128, 6, 8}, std::tuple{128, 40, 10},
                                           std::tuple{128, 16, 100}, std::tuple{20, 150, 14},
                                           std::tuple{1, 2, 4}, std::tuple{5, 2, 2}));

// Three images, one at the size of the grid, with class tokens.
struct Batch {
  static constexpr int64_t kPatch = 4, kClass = 2, kChannels = 5, kSide = 4;
  std::vector<ImageSize> sizes = {{16, 16}, {8, 24}, {24, 8}};
  ImageLayout layout{.sizes = sizes, .patch_size = kPatch, .num_class_tokens = kClass};
  std::mt19937_64 random = FreshGenerator();
  HostTensor<double> embedding = HostTensor<double>::Normal({40, kChannels}, random);
  HostTensor<double> positions = HostTensor<double>::Normal({kSide, kSide, kChannels}, random);
  HostTensor<double> class_tokens = HostTensor<double>::Normal({kClass, kChannels}, random);
  StreamWithWorkspace stream;

  HostTensor<double> Pack() {
    HostTensor<double> tokens({46, kChannels});
    EXPECT_THAT(PackImageTokens(layout, embedding.view(), positions.view(), class_tokens.view(), 0,
                                tokens.view(), *stream),
                IsOk());
    return tokens;
  }
};

TEST(PackImageTokensTest, InterleavesClassTokensAndAddsPositions) {
  Batch b;
  EXPECT_EQ(b.layout.num_patches(), 40);
  EXPECT_EQ(b.layout.num_tokens(), 46);
  const HostTensor<double> tokens = b.Pack();
  std::vector<double> expected;
  int64_t patch = 0;
  for (const auto& [rows, columns] : {std::pair{4, 4}, {2, 6}, {6, 2}}) {
    expected.insert(expected.end(), b.class_tokens.values().begin(), b.class_tokens.values().end());
    for (const double p :
         Resized(b.positions.values(), Batch::kSide, Batch::kChannels, rows, columns)) {
      expected.push_back(p + b.embedding[patch++]);
    }
  }
  // A dozen roundings of numbers up to 10, on each side.
  EXPECT_THAT(tokens.values(), IsCloseTo(expected, {.absolute = 128 * Epsilon<double>()}));
  EXPECT_EQ(b.Pack().values(), tokens.values());
}

TEST(PackImageTokensTest, GradientsMatchFiniteDifferences) {
  Batch b;
  const auto d_tokens = HostTensor<double>::Normal({46, Batch::kChannels}, b.random);
  HostTensor<double> d_embedding({40, Batch::kChannels});
  HostTensor<double> d_positions({Batch::kSide, Batch::kSide, Batch::kChannels});
  HostTensor<double> d_class({Batch::kClass, Batch::kChannels});
  PackImageTokensBackwardArgs args{.d_tokens_WC = d_tokens.view(),
                                   .d_embedding_NC = d_embedding.view(),
                                   .d_positions_YXC = d_positions.view(),
                                   .d_class_tokens_KC = d_class.view()};
  ASSERT_THAT(PackImageTokensBackward(b.layout, args, *b.stream), IsOk());
  const auto objective = [&] {
    const HostTensor<double> tokens = b.Pack();
    return std::inner_product(tokens.values().begin(), tokens.values().end(),
                              d_tokens.values().begin(), 0.0);
  };
  const auto check = [&](HostTensor<double>& input, const HostTensor<double>& gradient) {
    constexpr double kStep = 0.5;  // the operation is linear
    std::vector<double> expected;
    for (double& x : input.values()) {
      const double at = x;
      x = at + kStep;
      const double above = objective();
      x = at - kStep;
      expected.push_back((above - objective()) / (2 * kStep));
      x = at;
    }
    EXPECT_THAT(gradient.values(), IsCloseTo(expected, {.absolute = 1e-12}));
  };
  check(b.embedding, d_embedding);
  check(b.positions, d_positions);
  check(b.class_tokens, d_class);

  const std::vector<double> positions_once = d_positions.values(), class_once = d_class.values();
  args.accumulate_positions = args.accumulate_class_tokens = true;
  args.d_embedding_NC = {};
  ASSERT_THAT(PackImageTokensBackward(b.layout, args, *b.stream), IsOk());
  for (size_t i = 0; i < positions_once.size(); ++i) {
    EXPECT_NEAR(d_positions[i], 2 * positions_once[i], 1e-13);
  }
  for (size_t i = 0; i < class_once.size(); ++i) {
    EXPECT_NEAR(d_class[i], 2 * class_once[i], 1e-13);
  }
}

TEST(ShufflePixelsTest, FoldsTwoByTwo) {
  StreamWithWorkspace stream;
  const std::vector<ImageSize> sizes = {{4, 4}};
  const HostTensor<float> tokens({16, 1}, Iota(16));
  HostTensor<float> features({4, 4});
  ASSERT_THAT(
      ShufflePixels({.sizes = sizes, .patch_size = 1}, tokens.view(), 0, features.view(), *stream),
      IsOk());
  EXPECT_THAT(features.values(), ElementsAre(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
}

TEST(ShufflePixelsTest, NonSquareImagesFollowTheIndexFormulaAndBack) {
  StreamWithWorkspace stream;
  constexpr int64_t kClass = 2, c = 3;
  const std::vector<ImageSize> sizes = {{4, 12}, {12, 4}, {8, 8}};
  const ImageLayout layout{.sizes = sizes, .patch_size = 2, .num_class_tokens = kClass};
  const int64_t num_tokens = 3 * kClass + 12 + 12 + 16;
  const HostTensor<float> tokens({num_tokens, c}, Iota(num_tokens * c));
  HostTensor<float> features({10, 4 * c});
  ASSERT_THAT(ShufflePixels(layout, tokens.view(), 0, features.view(), *stream), IsOk());
  int64_t first = 0, out = 0;
  for (const auto& [rows, columns] : {std::pair{2, 6}, {6, 2}, {4, 4}}) {
    first += kClass;
    for (int64_t i = 0; i < rows / 2; ++i) {
      for (int64_t j = 0; j < columns / 2; ++j) {
        for (int64_t a = 0; a < 2; ++a) {
          for (int64_t b = 0; b < 2; ++b) {
            for (int64_t k = 0; k < c; ++k) {
              const int64_t token = first + (2 * i + a) * columns + 2 * j + b;
              ASSERT_EQ(features[out++], tokens[token * c + k]);
            }
          }
        }
      }
    }
    first += rows * columns;
  }

  HostTensor<float> back({num_tokens, c});
  ASSERT_THAT(ShufflePixelsBackward(layout, features.view(), 0, back.view(), *stream), IsOk());
  std::vector<float> expected = tokens.values();
  for (const int64_t image : {0, 14, 28}) {
    std::fill_n(expected.begin() + image * c, kClass * c, 0.0f);
  }
  EXPECT_EQ(back.values(), expected);
}

// Windows of any length that follow each other, also some that cut class tokens, image rows and
// 2 x 2 folds, make what all rows make.
TEST(WindowTest, WindowsInARowAreTheWhole) {
  Batch b;
  const int64_t c = Batch::kChannels, num_tokens = b.layout.num_tokens();
  const std::vector<double> tokens = b.Pack().values();
  const auto d_tokens = HostTensor<double>::Normal({num_tokens, c}, b.random);
  const auto d_features = HostTensor<double>::Normal({10, 4 * c}, b.random);
  HostTensor<double> d_positions({Batch::kSide, Batch::kSide, c}), d_class({Batch::kClass, c});
  HostTensor<double> d_embedding({40, c}), features({10, 4 * c}), d_shuffled({num_tokens, c});
  const PackImageTokensBackwardArgs whole{.d_tokens_WC = d_tokens.view(),
                                          .d_embedding_NC = d_embedding.view(),
                                          .d_positions_YXC = d_positions.view(),
                                          .d_class_tokens_KC = d_class.view()};
  ASSERT_THAT(PackImageTokensBackward(b.layout, whole, *b.stream), IsOk());
  ASSERT_THAT(ShufflePixels(b.layout, b.Pack().view(), 0, features.view(), *b.stream), IsOk());
  ASSERT_THAT(ShufflePixelsBackward(b.layout, d_features.view(), 0, d_shuffled.view(), *b.stream),
              IsOk());

  for (const int64_t length : {1, 5, 12, 17, 23, 46}) {
    SCOPED_TRACE(length);
    HostTensor<double> d_positions_parts({Batch::kSide, Batch::kSide, c});
    HostTensor<double> d_class_parts({Batch::kClass, c});
    int64_t patch = 0;
    for (int64_t first = 0; first < num_tokens; first += length) {
      const int64_t rows = std::min(length, num_tokens - first);
      const int64_t patches = b.layout.PatchesBefore(first + rows) - patch;
      const auto part = [&](const std::vector<double>& values) {
        return std::vector<double>(values.begin() + first * c, values.begin() + (first + rows) * c);
      };
      HostTensor<double> packed({rows, c}), unshuffled({rows, c}), d_patches({patches, c});
      ASSERT_THAT(
          PackImageTokens(b.layout, b.embedding.view().Rows(patch, patches), b.positions.view(),
                          b.class_tokens.view(), first, packed.view(), *b.stream),
          IsOk());
      EXPECT_EQ(packed.values(), part(tokens));
      ASSERT_THAT(
          ShufflePixelsBackward(b.layout, d_features.view(), first, unshuffled.view(), *b.stream),
          IsOk());
      EXPECT_EQ(unshuffled.values(), part(d_shuffled.values()));
      ASSERT_THAT(PackImageTokensBackward(b.layout,
                                          {.first_token = first,
                                           .d_tokens_WC = d_tokens.view().Rows(first, rows),
                                           .d_embedding_NC = d_patches.view(),
                                           .d_positions_YXC = d_positions_parts.view(),
                                           .d_class_tokens_KC = d_class_parts.view(),
                                           .accumulate_positions = first > 0,
                                           .accumulate_class_tokens = first > 0},
                                          *b.stream),
                  IsOk());
      EXPECT_TRUE(std::equal(d_patches.values().begin(), d_patches.values().end(),
                             d_embedding.values().begin() + patch * c));
      patch += patches;
    }
    EXPECT_THAT(d_positions_parts.values(), IsCloseTo(d_positions.values(), {.absolute = 1e-13}));
    EXPECT_THAT(d_class_parts.values(), IsCloseTo(d_class.values(), {.absolute = 1e-13}));
    for (int64_t first = 0; first < 10; first += length) {
      const int64_t rows = std::min(length, 10 - first);
      HostTensor<double> window({rows, 4 * c});
      ASSERT_THAT(ShufflePixels(b.layout, b.Pack().view(), first, window.view(), *b.stream),
                  IsOk());
      EXPECT_TRUE(std::equal(window.values().begin(), window.values().end(),
                             features.values().begin() + first * 4 * c));
    }
  }
}

TEST(WindowTest, NamesRowsThatAreNotThere) {
  Batch b;
  HostTensor<double> tokens({46, Batch::kChannels}), features({3, 4 * Batch::kChannels});
  EXPECT_THAT(ShufflePixels(b.layout, tokens.view(), 8, features.view(), *b.stream),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("from row 8; expected rows among 10")));
}

TEST(ImageLayoutTest, NamesTheImageThatDoesNotSplit) {
  const std::vector<ImageSize> sizes = {{32, 32}, {32, 40}};
  EXPECT_THAT((ImageLayout{.sizes = sizes, .patch_size = 8}.Validate()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("image 1 is 32x40"), HasSubstr("nearest is 32x48"))));
}

TEST(PackImageTokensTest, NoImagesAndShapeOnly) {
  StreamWithWorkspace real;
  HostTensor<float> none({0, 8}), positions({4, 4, 8}), class_tokens({2, 8}), features({0, 32});
  const ImageLayout empty{.sizes = {}, .patch_size = 4, .num_class_tokens = 2};
  EXPECT_THAT(PackImageTokens(empty, none.view(), positions.view(), class_tokens.view(), 0,
                              none.view(), *real),
              IsOk());
  EXPECT_THAT(ShufflePixels(empty, none.view(), 0, features.view(), *real), IsOk());

  StreamWithWorkspace stream(DeviceKind::kShapeOnly);
  Arena arena = Arena::Counting(MemoryLabel::kActivations);
  const std::vector<ImageSize> sizes = {{32, 48}};
  const ImageLayout layout{.sizes = sizes, .patch_size = 4, .num_class_tokens = 2};
  ASSERT_THAT(PackImageTokens(layout, arena.Allocate(DType::kF32, {96, 64}).value(),
                              arena.Allocate(DType::kF32, {16, 16, 64}).value(),
                              arena.Allocate(DType::kF32, {2, 64}).value(), 0,
                              arena.Allocate(DType::kF32, {98, 64}).value(), *stream),
              IsOk());
  EXPECT_GT(stream->ledger().total_flops(), 0);
}

}  // namespace
}  // namespace hetero
