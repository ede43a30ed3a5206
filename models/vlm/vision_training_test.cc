// Gradients from the loss of a text to the patches of an image, whatever of the model trains.

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/matchers.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/models/testing/token_batch.h"
#include "hetero/models/vlm/vision_harness.h"

namespace hetero {
namespace {

using namespace vision_harness;  // NOLINT: made for these tests
using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::Each;
using ::testing::HasSubstr;

class ProjectorKindTest : public ::testing::TestWithParam<ProjectorConfig::Kind> {};

TEST_P(ProjectorKindTest, GradientsMatchDifferencesFromLossToPatches) {
  Harness m(SmallVision(GetParam()), SmallLanguage());
  const Batch batch = Together(kFirst, kSecond);
  std::vector<double> pixels = Pixels(batch, 70);
  m.Train(batch, pixels);
  ASSERT_THAT(m.language->TakeStatistics(m.context->stream), IsOk());
  CheckGradients([&] { return m.Loss(batch, pixels); }, AllGradients(m));
}

TEST_P(ProjectorKindTest, TwoImagesInOneBatchEqualOneAfterTheOther) {
  Harness together(SmallVision(GetParam()), SmallLanguage());
  Harness apart(SmallVision(GetParam()), SmallLanguage());
  std::vector<double> first = Pixels(kFirst, 71), second = Pixels(kSecond, 72);
  apart.Train(kFirst, first);
  apart.Train(kSecond, second);
  first.insert(first.end(), second.begin(), second.end());
  together.Train(Together(kFirst, kSecond), first);
  const std::vector<CheckedTensor> expected = AllGradients(together), actual = AllGradients(apart);
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_THAT(actual[i].gradient.values<double>(),
                IsCloseTo(expected[i].gradient.values<double>(), {.relative_to_max = 1e-12}))
        << actual[i].name;
  }
}

TEST_P(ProjectorKindTest, EncoderStagesInARowAreTheWhole) {
  Harness whole(SmallVision(GetParam()), SmallLanguage());
  Harness split(SmallVision(GetParam()), SmallLanguage(), /*encoder_stages=*/2);
  whole.Train(kFirst, Pixels(kFirst, 73));
  split.Train(kFirst, Pixels(kFirst, 73));
  const std::vector<CheckedTensor> expected = AllGradients(whole), actual = AllGradients(split);
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(actual[i].name, expected[i].name);
    EXPECT_TRUE(std::ranges::equal(actual[i].gradient.values<double>(),
                                   expected[i].gradient.values<double>()))
        << actual[i].name;
  }
}

TEST_P(ProjectorKindTest, TextAloneGivesTheEncoderExactlyZero) {
  Harness m(SmallVision(GetParam()), SmallLanguage());
  m.Train(kTextOnly, Pixels(kTextOnly, 1));
  for (const CheckedTensor& tensor : CheckedParameters(*m.stores[0])) {
    EXPECT_THAT(tensor.gradient.values<double>(), Each(0.0)) << tensor.name;
  }
  for (const CheckedTensor& tensor : CheckedParameters(*m.stores[1])) {
    EXPECT_THAT(tensor.gradient.values<double>(), testing::Contains(testing::Ne(0.0)))
        << tensor.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, ProjectorKindTest,
                         ::testing::Values(ProjectorConfig::Kind::kAffine,
                                           ProjectorConfig::Kind::kMlp));

class FreezeTest
    : public ::testing::TestWithParam<std::tuple<bool, bool, bool, ProjectorConfig::Kind>> {};

// What trains gets the gradients it would get if everything did; the rest has none.
TEST_P(FreezeTest, TrainsTheRestAsIfNothingWereFrozen) {
  const auto& [encoder, projector, language, kind] = GetParam();
  const Trains trains{.encoder = encoder, .projector = projector, .language = language};
  Harness all(SmallVision(kind), SmallLanguage());
  Harness some(SmallVision(kind, trains), SmallLanguage(trains));
  all.Train(kFirst, Pixels(kFirst, 74));
  some.Train(kFirst, Pixels(kFirst, 74));
  for (size_t s = 0; s < all.stores.size(); ++s) {
    for (size_t i = 0; i < all.stores[s]->parameters().size(); ++i) {
      const Parameter& free = *all.stores[s]->parameters()[i];
      const Parameter& maybe_frozen = *some.stores[s]->parameters()[i];
      const std::string& name = free.spec->name;
      const bool trains_this = s == 1                         ? language
                               : name.starts_with("encoder.") ? encoder
                                                              : projector;
      EXPECT_EQ(maybe_frozen.gradient.is_null(), !trains_this) << name;
      if (!trains_this) continue;
      EXPECT_TRUE(std::ranges::equal(maybe_frozen.gradient.values<double>(),
                                     free.gradient.values<double>()))
          << name;
    }
  }
  EXPECT_EQ(some.memory.bytes(MemoryLabel::kMainGradients) > 0, encoder || projector || language);
}

INSTANTIATE_TEST_SUITE_P(Parts, FreezeTest,
                         ::testing::Combine(::testing::Bool(), ::testing::Bool(), ::testing::Bool(),
                                            ::testing::Values(ProjectorConfig::Kind::kAffine,
                                                              ProjectorConfig::Kind::kMlp)));

TEST(VisionStageTest, AFrozenEncoderKeepsOnlyItsFeatures) {
  const int64_t features = 4 * 32 * 8, rows = 4 * 8 * 8;
  for (const bool projector : {false, true}) {
    Harness m(
        SmallVision(ProjectorConfig::Kind::kAffine, {.encoder = false, .projector = projector}),
        SmallLanguage());
    std::vector<double> pixels = Pixels(kFirst, 75);
    m.Forward(kFirst, pixels);
    EXPECT_LE(m.kept_by_encoder, features + rows + 2 * Buffer::kAlignment);
  }
}

TEST(VisionStageTest, RowsThatDoNotMatchThePlaceholdersAreAnError) {
  Harness m(SmallVision(ProjectorConfig::Kind::kAffine), SmallLanguage());
  std::vector<double> pixels = Pixels(kFirst, 76);
  m.Forward(kFirst, pixels);
  const TestTokenBatch<double> three_placeholders(kSecond.tokens);
  EXPECT_THAT(
      m.language->Forward(*m.context, 0,
                          {.tokens = &*three_placeholders, .edges = std::span(&m.rows.back(), 1)}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("emitted 4 rows for 3 placeholders")));
}

}  // namespace
}  // namespace hetero
