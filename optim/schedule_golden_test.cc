// Both schedules against Megatron-LM's, whose values testdata/generate.py wrote: every style and
// every tail with the numbers of a production run, and around every edge.

#include <cmath>
#include <cstdint>
#include <fstream>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/log/log.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/optim/learning_rate.h"
#include "hetero/optim/weight_decay.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

struct Curve {
  std::string title;
  double largest = 0;  // value that it may have
  // Values by consumed samples, of a schedule of its own.
  std::function<std::function<double(int64_t)>()> make;
  std::vector<std::pair<int64_t, double>> points;
};

template <typename T>
T Number(std::string_view word) {
  T value = 0;
  if constexpr (std::is_same_v<T, double>) {
    CHECK(absl::SimpleAtod(word, &value)) << word;
  } else {
    CHECK(absl::SimpleAtoi(word, &value)) << word;
  }
  return value;
}

template <typename Enum>
Enum Named(std::string_view word, const std::vector<std::pair<std::string_view, Enum>>& names) {
  for (const auto& [name, value] : names) {
    if (name == word) return value;
  }
  LOG(FATAL) << word;
}

LearningRateOptions RateOptions(const std::vector<std::string_view>& words) {
  using Style = LearningRateStyle;
  LearningRateOptions options = {
      .style = Named<Style>(words[1], {{"CONSTANT", Style::kConstant},
                                       {"LINEAR", Style::kLinear},
                                       {"COSINE", Style::kCosine},
                                       {"INVERSE_SQUARE_ROOT", Style::kInverseSquareRoot},
                                       {"WARMUP_STABLE_DECAY", Style::kWarmupStableDecay}}),
      .peak = Number<double>(words[2]),
      .minimum = Number<double>(words[3]),
      .initial = Number<double>(words[4]),
      .warmup_samples = Number<int64_t>(words[5]),
      .decay_samples = Number<int64_t>(words[6])};
  if (words[7] == "-") return options;
  options.tail_samples = Number<int64_t>(words[7]);
  options.tail = Named<DecayTail>(words[8], {{"TAIL_LINEAR", DecayTail::kLinear},
                                             {"TAIL_COSINE", DecayTail::kCosine},
                                             {"TAIL_EXPONENTIAL", DecayTail::kExponential},
                                             {"TAIL_MINUS_SQRT", DecayTail::kMinusSqrt}});
  return options;
}

WeightDecayOptions DecayOptions(const std::vector<std::string_view>& words) {
  using Style = WeightDecayStyle;
  return {.style = Named<Style>(words[1], {{"CONSTANT", Style::kConstant},
                                           {"LINEAR", Style::kLinear},
                                           {"COSINE", Style::kCosine}}),
          .start = Number<double>(words[2]),
          .end = Number<double>(words[3]),
          .samples = Number<int64_t>(words[4])};
}

std::vector<Curve> GoldenCurves() {
  std::ifstream file("optim/testdata/schedules.txt");
  std::vector<Curve> curves;
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string_view> words = absl::StrSplit(line, ' ');
    if (words[0] == "rate") {
      const LearningRateOptions options = RateOptions(words);
      curves.push_back({line, options.peak, [options] {
                          return [schedule = LearningRateSchedule::Make(options).value()](
                                     int64_t n) { return schedule.At(n); };
                        }});
    } else if (words[0] == "decay") {
      const WeightDecayOptions options = DecayOptions(words);
      curves.push_back({line, options.end, [options] {
                          return [schedule = WeightDecaySchedule::Make(options).value()](
                                     int64_t n) { return schedule.At(n); };
                        }});
    } else {
      curves.back().points.emplace_back(Number<int64_t>(words[0]), Number<double>(words[1]));
    }
  }
  return curves;
}

TEST(ScheduleGoldenTest, ValuesAreThoseOfTheReference) {
  const std::vector<Curve> curves = GoldenCurves();
  EXPECT_EQ(curves.size(), 30);
  for (const Curve& curve : curves) {
    const auto at = curve.make();
    // Each is a sum of terms that are as large: a few roundings of the largest.
    const double tolerance = 4 * std::numeric_limits<double>::epsilon() * curve.largest;
    EXPECT_GE(curve.points.size(), 8) << curve.title;
    for (const auto& [samples, expected] : curve.points) {
      EXPECT_NEAR(at(samples), expected, tolerance) << curve.title << " at " << samples;
    }
  }
}

// A run that resumes knows its consumed samples and nothing else of what was before. The reference
// adds what it loads to what it has counted, so that a state loaded twice counts twice there.
TEST(ScheduleGoldenTest, AScheduleMadeHalfWayGoesOnWithTheSameBits) {
  for (const Curve& curve : GoldenCurves()) {
    const auto straight = curve.make();
    std::vector<double> expected;
    for (const auto& [samples, value] : curve.points) expected.push_back(straight(samples));
    for (size_t first = curve.points.size() / 2; first < curve.points.size(); ++first) {
      const auto resumed = curve.make();
      for (size_t i = first; i < curve.points.size(); ++i) {
        EXPECT_EQ(resumed(curve.points[i].first), expected[i]) << curve.title;
      }
    }
  }
}

// The reference takes each of these, as testdata/generate.py asserts.
TEST(ScheduleGoldenTest, RefusesWhatOnlyTheReferenceTakes) {
  const LearningRateOptions sound = {.style = LearningRateStyle::kWarmupStableDecay,
                                     .peak = 1,
                                     .warmup_samples = 100,
                                     .decay_samples = 1000,
                                     .tail_samples = 100,
                                     .tail = DecayTail::kLinear};
  const auto refused = [](const LearningRateOptions& options, std::string_view rule) {
    EXPECT_THAT(LearningRateSchedule::Make(options),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(rule)));
  };
  // There the rate leaps: from the peak at the end of warm-up to what the tail has left.
  LearningRateOptions options = sound;
  options.tail_samples = 950;
  refused(options, "tail_samples is 950, must be from 1 to 900");
  // There the run fails, once it reaches the tail.
  options = sound;
  options.tail = std::nullopt;
  refused(options, "tail is not set");
  // There warm-up begins with steps uphill.
  options = sound;
  options.initial = -1;
  refused(options, "initial is -1, must be finite and at least 0");
}

}  // namespace
}  // namespace hetero
