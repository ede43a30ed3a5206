#include "hetero/base/violation.h"

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;

TEST(ViolationTest, ValuesOfItsOwnFieldStandAlone) {
  EXPECT_EQ(Refuse("a.b", " is 7, must be even", {"6", "8"}).ToString(),
            "a.b is 7, must be even; nearest: 6 or 8");
  EXPECT_EQ(Refuse("a.b", " is not set").ToString(), "a.b is not set");
}

TEST(ViolationTest, OtherFieldsAreNamed) {
  const Violation violation{.field = "a",
                            .message = "a is 7, must be twice b",
                            .corrections = {{{"a", "6"}}, {{"a", "10"}, {"b", "5"}}}};
  EXPECT_EQ(violation.ToString(), "a is 7, must be twice b; nearest: a 6 or a 10 with b 5");
}

TEST(ViolationTest, BelowNamesEveryPathFromFurtherUp) {
  const Violation violation = Below("m", Refuse("a", " is 7", {"6"}));
  EXPECT_EQ(violation.field, "m.a");
  EXPECT_EQ(violation.message, "m.a is 7");
  EXPECT_EQ(violation.corrections[0][0].path, "m.a");
}

TEST(ViolationsTest, AFieldIsSoundWithoutViolationAboveOrBelowIt) {
  Violations violations;
  violations.Add(Refuse("a.b", " is wrong"));
  violations.Add(Refuse("list[1].c", " is wrong"));
  EXPECT_FALSE(violations.Sound({"a.b"}));
  EXPECT_FALSE(violations.Sound({"x", "a"}));
  EXPECT_FALSE(violations.Sound({"a.b.c"}));
  EXPECT_FALSE(violations.Sound({"list"}));
  EXPECT_TRUE(violations.Sound({"a.bc", "a.c", "list[2].c"}));
}

TEST(ViolationsTest, AnErrorHasThemAll) {
  EXPECT_THAT(ViolationsError({}), IsOk());
  EXPECT_THAT(ViolationsError(std::vector{Refuse("a", " is 1", {"2"}), Refuse("b", " is 3")}),
              StatusIs(absl::StatusCode::kInvalidArgument, "a is 1; nearest: 2\nb is 3"));
}

}  // namespace
}  // namespace hetero
