#include "hetero/models/nemotron/pattern.h"

#include <string>
#include <tuple>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

class PresetTest : public testing::TestWithParam<std::tuple<std::string, int, int, int>> {};

TEST_P(PresetTest, CountsComeFromTheText) {
  const auto& [text, mamba, experts, attention] = GetParam();
  const LayerPattern pattern = LayerPattern::Parse(text).value();
  EXPECT_EQ(pattern.Count(LayerKind::kMamba), mamba);
  EXPECT_EQ(pattern.Count(LayerKind::kExperts), experts);
  EXPECT_EQ(pattern.Count(LayerKind::kAttention), attention);
}

INSTANTIATE_TEST_SUITE_P(
    Presets, PresetTest,
    testing::Values(std::tuple("MEMEM*EMEMEM*EMEMEM*", 9, 8, 3),
                    std::tuple("MEMEM*EMEM*EMEM*EMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEME", 23, 23, 8),
                    std::tuple("MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME", 23, 23, 6),
                    std::tuple("MEM*E", 2, 2, 1)));

TEST(LayerPatternTest, StagesDivideEvenlyOrAsWritten) {
  const LayerPattern even = LayerPattern::Parse("MEM*").value();
  EXPECT_THAT(even.Stage(1, 2), IsOkAndHolds(LayerRange{2, 2}));
  EXPECT_THAT(even.Stage(0, 3), StatusIs(absl::StatusCode::kInvalidArgument,
                                         HasSubstr("pp 3 does not divide the 4 layers of the "
                                                   "layer pattern; nearest is 2")));
  const LayerPattern written = LayerPattern::Parse("ME||M*-|E").value();
  EXPECT_THAT(written.Stage(1, 4), IsOkAndHolds(LayerRange{2, 0}));
  EXPECT_THAT(written.Stage(0, 2), IsOkAndHolds(LayerRange{0, 2}));
  EXPECT_THAT(written.Stage(1, 2), IsOkAndHolds(LayerRange{2, 4}));
}

TEST(LayerPatternTest, BadSymbolsNameTheirPosition) {
  EXPECT_THAT(LayerPattern::Parse("MEG"),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("position 2: 'G'")));
  EXPECT_THAT(LayerPattern::Parse("ME/M"), StatusIs(absl::StatusCode::kUnimplemented));
  EXPECT_THAT(LayerPattern::Parse("MxE"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("position 1")));
  EXPECT_THAT(LayerPattern::Parse(""), StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace hetero
