#include "hetero/models/names/config_fields.h"

#include <limits>
#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> Texts(const Violations& violations) {
  std::vector<std::string> texts;
  for (const Violation& violation : violations.list()) texts.push_back(violation.ToString());
  return texts;
}

TEST(ConfigFieldsTest, NumbersThatJsonHasNoWordForAreRead) {
  const auto json = ParseConfigJson(
      R"({"a": Infinity, "b": -Infinity, "c": {"__float__": "Infinity"}, "d": "say \"Infinity, x"})");
  ASSERT_THAT(json, ::absl_testing::IsOk());
  Violations violations;
  ConfigFields fields(*json, "", violations);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(fields.Number("a"), kInfinity);
  EXPECT_EQ(fields.Number("b"), -kInfinity);
  EXPECT_EQ(fields.Number("c"), kInfinity);
  EXPECT_EQ(fields.Text("d"), "say \"Infinity, x");
  fields.RefuseRest();
  EXPECT_THAT(violations.list(), IsEmpty());
}

TEST(ConfigFieldsTest, TwoNumbersMayStandInAList) {
  const auto json = ParseConfigJson(
      R"({"limit": [0.5, Infinity], "one": [1], "text": [1, "a"], "number": 2, "none": null})");
  ASSERT_THAT(json, ::absl_testing::IsOk());
  Violations violations;
  ConfigFields fields(*json, "", violations);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(fields.NumberPair("limit"), std::pair(0.5, kInfinity));
  for (const char* name : {"one", "text", "number", "none", "absent"}) {
    EXPECT_EQ(fields.NumberPair(name), std::nullopt) << name;
  }
  EXPECT_THAT(Texts(violations), ElementsAre("one is [1], must be a list of two numbers",
                                             "text is [1,\"a\"], must be a list of two numbers",
                                             "number is 2, must be a list of two numbers"));
}

TEST(ConfigFieldsTest, EveryFieldThatIsWrongOrUnknownIsNamed) {
  const auto json = ParseConfigJson(
      R"({"size": 2.5, "flag": 1, "act": "gelu", "rate": 0.5, "more": [1], "none": null})");
  ASSERT_THAT(json, ::absl_testing::IsOk());
  Violations violations;
  ConfigFields fields(*json, "text_config.", violations);
  fields.Integer("size");
  fields.Flag("flag");
  fields.ExpectText("act", "relu2", "squared ReLU is the one activation");
  fields.ExpectNumber("rate", 0.0, "there is no dropout");
  fields.Integer("absent");
  EXPECT_EQ(fields.Integer("optional", 7), 7);
  fields.RefuseRest();
  EXPECT_THAT(
      Texts(violations),
      ElementsAre(
          "text_config.size is 2.5, must be a whole number",
          "text_config.flag is 1, must be true or false",
          "text_config.act is \"gelu\", must be \"relu2\": squared ReLU is the one activation",
          "text_config.rate is 0.5, must be 0: there is no dropout",
          "text_config.absent is not there",
          "text_config.more is [1]: not known, so what it changes is not either"));
}

TEST(ConfigFieldsTest, WhatIsNoJsonIsRefused) {
  EXPECT_THAT(ParseConfigJson("{\"a\": "), StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace hetero
