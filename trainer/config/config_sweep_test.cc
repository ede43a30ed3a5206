// Sets one number of a configuration after the other to values at and far beyond every edge. Each
// is refused with advice that passes, or has a plan and a prediction within bounds: nothing wraps,
// divides by zero, allocates or runs on.

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "gtest/gtest.h"
#include "hetero/base/config/field_rule.pb.h"
#include "hetero/base/violation.h"
#include "hetero/grid/config/grid.pb.h"
#include "hetero/models/registry.h"
#include "hetero/trainer/config/config.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/config/testing/swept_numbers.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::google::protobuf::FieldDescriptor;
using ::testing::IsEmpty;

const ModelRegistry& Models() {
  static const auto& models = *new ModelRegistry(BuiltInModels());
  return models;
}

std::vector<std::string> ValuesFor(const FieldDescriptor& field) {
  const proto::FieldRule& rule = field.options().GetExtension(proto::rule);
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE) {
    return {"nan",
            "inf",
            "-inf",
            "-1",
            "0",
            "1e308",
            absl::StrCat(rule.at_least()),
            absl::StrCat(rule.at_most())};
  }
  std::vector<std::string> values = {"-9223372036854775808",
                                     "-2147483648",
                                     "-1",
                                     "0",
                                     "1",
                                     "2",
                                     "3",
                                     "7",
                                     "2147483647",
                                     "2147483648",
                                     "4294967296",
                                     "4611686018427387904",
                                     "9223372036854775807"};
  if (rule.has_at_most() && rule.at_most() < 0x1p62) {
    for (const int64_t offset : {0, 1}) {
      values.push_back(absl::StrCat(static_cast<int64_t>(rule.at_most()) + offset));
    }
  }
  return values;
}

proto::RunConfig Set(proto::RunConfig config, const Correction& assignments) {
  for (const Assignment& assignment : assignments) {
    const absl::Status set = SetField(absl::StrCat(assignment.path, "=", assignment.value), config);
    EXPECT_TRUE(set.ok()) << set;
  }
  return config;
}

std::string Text(const std::vector<Violation>& violations) {
  return std::string(ViolationsError(violations).message());
}

// Every correction mends its violation.
void ExpectCorrectionsPass(const proto::RunConfig& config,
                           const std::vector<Violation>& violations) {
  for (const Violation& violation : violations) {
    for (const Correction& correction : violation.corrections) {
      for (const Violation& left : Validate(Set(config, correction), Models())) {
        const bool same_rule = left.field == violation.field &&
                               left.corrections == violation.corrections &&
                               correction[0].path == violation.field;
        EXPECT_FALSE(left.message == violation.message || same_rule)
            << violation.ToString() << "\n  after " << correction[0].path << "="
            << correction[0].value << ": " << left.ToString();
      }
    }
  }
}

// Whoever takes the first advice there is, again and again, ends with a configuration that runs or
// with one that lacks what no advice can give.
void ExpectAdviceEnds(proto::RunConfig config) {
  std::string story;
  for (int round = 0; round < 12; ++round) {
    const std::vector<Violation> violations = Validate(config, Models());
    const auto advised =
        std::find_if(violations.begin(), violations.end(),
                     [](const Violation& violation) { return !violation.corrections.empty(); });
    if (advised == violations.end()) return;
    absl::StrAppend(&story, "\n", advised->ToString());
    config = Set(std::move(config), advised->corrections[0]);
  }
  ADD_FAILURE() << "advice without end:" << story;
}

void ExpectRefusedOrPredicted(const proto::RunConfig& config) {
  const std::vector<Violation> violations = Validate(config, Models());
  if (!violations.empty()) {
    ExpectCorrectionsPass(config, violations);
    ExpectAdviceEnds(config);
    return;
  }
  const absl::Status status = RunConfigured(config, {.dry_run = true}).status;
  EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status)) << status;
}

TEST(ConfigSweepTest, TheBasesRunAndSetEveryNumber) {
  std::set<const FieldDescriptor*> left = DeclaredNumbers();
  for (const proto::RunConfig& base : SweptConfigs()) {
    EXPECT_EQ(Text(Validate(base, Models())), "");
    for (const ConfigNumber& number : NumbersOf(base)) left.erase(number.field);
  }
  for (const FieldDescriptor* field : left) ADD_FAILURE() << field->full_name() << " is not swept";
}

// A grid's numbers are bounded by the grid library itself.
TEST(ConfigSweepTest, EveryNumberHasBothBounds) {
  for (const FieldDescriptor* field : DeclaredNumbers()) {
    if (field->containing_type() == proto::GridSpec::descriptor()) continue;
    const proto::FieldRule& rule = field->options().GetExtension(proto::rule);
    EXPECT_TRUE(rule.has_at_least() && rule.has_at_most()) << field->full_name();
  }
}

struct Probe {
  int base = 0;
  ConfigNumber number;
};

// One test a number, so that they can be run side by side.
std::vector<Probe> Probes() {
  std::vector<Probe> probes;
  std::set<std::string> taken;
  const std::vector<proto::RunConfig> bases = SweptConfigs();
  for (size_t base = 0; base < bases.size(); ++base) {
    for (const ConfigNumber& number : NumbersOf(bases[base])) {
      if (taken.insert(number.path).second) probes.push_back({static_cast<int>(base), number});
    }
  }
  return probes;
}

class NumberTest : public ::testing::TestWithParam<Probe> {};

INSTANTIATE_TEST_SUITE_P(Numbers, NumberTest, ::testing::ValuesIn(Probes()), [](const auto& info) {
  return absl::StrReplaceAll(info.param.number.path, {{".", "__"}, {"[", "_"}, {"]", "_"}});
});

TEST_P(NumberTest, IsRefusedOrPredictedWhateverItIs) {
  const proto::RunConfig base = SweptConfigs()[GetParam().base];
  for (const std::string& value : ValuesFor(*GetParam().number.field)) {
    const std::string assignment = absl::StrCat(GetParam().number.path, "=", value);
    SCOPED_TRACE(assignment);
    proto::RunConfig config = base;
    ASSERT_TRUE(SetField(assignment, config).ok());
    ExpectRefusedOrPredicted(config);
  }
}

// The largest sizes that the rules let onto a GPU are sizes that its kernels take.
TEST(ConfigSweepTest, SizesForAGpuPassItsKernels) {
  proto::RunConfig config = SweptConfigs()[0];
  ASSERT_TRUE(SetField("device=cuda", config).ok());
  for (const ConfigNumber& number : NumbersOf(config)) {
    const proto::FieldRule& rule = number.field->options().GetExtension(proto::rule);
    if (!rule.has_at_most_on_gpu()) continue;
    const auto largest = static_cast<int64_t>(rule.at_most_on_gpu());
    const proto::RunConfig fits = Set(config, {{number.path, absl::StrCat(largest)}});
    EXPECT_EQ(RunConfigured(fits, {.dry_run = true}).status, absl::OkStatus()) << number.path;
    const proto::RunConfig beyond = Set(config, {{number.path, absl::StrCat(largest + 1)}});
    EXPECT_EQ(Validate(beyond, Models()).size(), 1u) << number.path;
  }
}

TEST(ConfigSweepTest, AdviceAboutSeveralFieldsTogetherPasses) {
  const std::vector<std::vector<std::string>> broken = {
      {"radio_encoder.num_ranks=3", "language.num_ranks=1", "language.rank_offset=3"},
      {"radio_encoder.num_ranks=4", "radio_encoder.tp=2", "language.rank_offset=4",
       "language.num_ranks=6", "language.tp=2", "launch=threads:11"},
      {"language.rank_offset=1"},
      {"launch=threads:5", "language.rank_offset=3"},
      {"train_steps=10", "schedule.decay_steps=8"},
      {"micro_batch_size=5", "evaluation.micro_batch_size=3"},
      {"grids[0].name=encoder"},
      {"grids[1].name=audio"},
      {"model.language.attention.num_heads=7", "model.language.experts.top_k=9"},
      {"model.encoder.max_image_side=30"},
      {"model.image_token_id=512"},
      {"precision=BF16"}};
  for (const std::vector<std::string>& assignments : broken) {
    const proto::RunConfig config = RecipeConfig("fashion_tiny", assignments);
    SCOPED_TRACE(assignments[0]);
    const std::vector<Violation> violations = Validate(config, Models());
    EXPECT_THAT(violations, testing::Not(IsEmpty()));
    ExpectCorrectionsPass(config, violations);
    ExpectAdviceEnds(config);
  }
}

}  // namespace
}  // namespace hetero
