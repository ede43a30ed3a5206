#include "hetero/trainer/report/waits.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::testing::ContainsRegex;
using ::testing::Eq;
using ::testing::StartsWith;

// Ten steps of 100 ms. Waits in milliseconds a step.
RankWaits Rank(std::string module, const std::vector<std::pair<std::string_view, double>>& waits) {
  RankWaits rank{.module = std::move(module), .num_steps = 10, .time = absl::Milliseconds(1000)};
  for (const auto& [cause, ms] : waits) {
    rank.waits[std::string(cause)] = absl::Milliseconds(10 * ms);
  }
  return rank;
}

std::string VerdictOf(const std::vector<RankWaits>& ranks) {
  const std::string text = DescribeWaits(ranks, "language");
  return text.substr(text.rfind("verdict: ") + 9);
}

TEST(WaitsTest, ARowAModuleAndTheRankThatWaitsMost) {
  const std::string text =
      DescribeWaits(std::vector<RankWaits>{Rank("encoder", {{kRanks, 1}}),
                                           Rank("language", {{"encoder", 10}, {kRanks, 2}}),
                                           Rank("language", {{"encoder", 20}, {kData, 4}})},
                    "language");
  EXPECT_THAT(text, ContainsRegex("busy ms +data +encoder +other ranks +all +most\n"));
  EXPECT_THAT(text, ContainsRegex("encoder, 1 rank +99.000 +0.0 +0.0 +1.0 +1.0 +1.0 of rank 0\n"));
  EXPECT_THAT(text,
              ContainsRegex("language, 2 ranks +82.000 +2.0 +15.0 +1.0 +18.0 +24.0 of rank 2\n"));
}

TEST(WaitsTest, AnEncoderThatIsWaitedForIsTooSmallByHowMuchLongerItIsBusy) {
  // 96.76 ms and 82 ms: 18 % more. Three ranks would be four.
  const RankWaits encoder = Rank("encoder", {{kRanks, 3.24}});
  const RankWaits language = Rank("language", {{"encoder", 17}, {kRanks, 1}});
  EXPECT_THAT(VerdictOf({encoder, encoder, encoder, language, language}),
              Eq("the encoder grid is 18 % too small: its ranks are busy 96.8 ms of a step, those "
                 "of language 82.0 ms, which wait 18.0 %; 4 ranks instead of 3 would be as fast"));
}

TEST(WaitsTest, TheOwnerIsComparedWithTheSlowestOfTheOthers) {
  EXPECT_THAT(VerdictOf({Rank("vision", {{"language", 60}}), Rank("audio", {{"language", 20}}),
                         Rank("language", {})}),
              StartsWith("the language grid is 25 % too small: its ranks are busy 100.0 ms of a "
                         "step, those of audio 80.0 ms"));
  // And another with the owner.
  EXPECT_THAT(VerdictOf({Rank("vision", {}), Rank("audio", {{"language", 5}}),
                         Rank("language", {{"vision", 50}})}),
              StartsWith("the vision grid is 100 % too small"));
}

TEST(WaitsTest, WhoWaitsForDataOrCheckpointsIsNotTooSmall) {
  // The language model waits for an encoder that waits for its images.
  EXPECT_THAT(VerdictOf({Rank("encoder", {{kData, 15}}), Rank("language", {{"encoder", 30}})}),
              Eq("data is too slow: the ranks of encoder wait 15.0 % of a step for it"));
  EXPECT_THAT(VerdictOf({Rank("encoder", {{"language", 30}}),
                         Rank("language", {{kCheckpoints, 8}, {kData, 3}})}),
              Eq("checkpoints hold the steps up: the ranks of language wait 8.0 % of their time "
                 "for them"));
  // Data is waited for, but not by those that all wait for.
  EXPECT_THAT(VerdictOf({Rank("encoder", {}), Rank("language", {{kData, 3}, {"encoder", 30}})}),
              StartsWith("the encoder grid is 49 % too small"));
}

TEST(WaitsTest, GridsThatAreAsBusyAreNotTooSmall) {
  EXPECT_THAT(VerdictOf({Rank("encoder", {{kRanks, 20}}), Rank("language", {{kRanks, 22}})}),
              Eq("no grid is too small; the longest wait is that of language for other ranks, "
                 "22.0 % of a step"));
  EXPECT_THAT(VerdictOf({Rank("encoder", {{"language", 1}}), Rank("language", {})}),
              Eq("nothing is waited for"));
  // Modules that share their ranks cannot be weighed against each other.
  EXPECT_THAT(VerdictOf({Rank("encoder+language", {{kRanks, 1}})}), Eq("nothing is waited for"));
}

}  // namespace
}  // namespace hetero
