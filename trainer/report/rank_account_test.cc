#include "hetero/trainer/report/rank_account.h"

#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;

RankAccount Account() {
  RankAccount account = {.profile = {.num_steps = 7,
                                     .time = absl::Milliseconds(70),
                                     .thread_time = absl::Milliseconds(50),
                                     .num_untimed = 3}};
  account.profile.operations["gemm"] = {
      .calls = 14, .flops = 1e9 / 3, .bytes = 12, .time = absl::Microseconds(123)};
  account.profile.beside["all_reduce"] = {.calls = 7, .time = absl::Milliseconds(1)};
  account.waits = RankWaits{.module = "encoder+language",
                            .num_steps = 7,
                            .time = absl::Milliseconds(70),
                            .waits = {{"data", absl::Milliseconds(4)}, {"other ranks", {}}}};
  return account;
}

// What is printed of it says all that is sent.
TEST(RankAccountTest, AProcessReadsWhatAnotherWrote) {
  const RankAccount account = Account();
  std::set<std::string> names;
  const RankAccount read = ParseRankAccount(ToText(account), names).value();
  EXPECT_EQ(DescribeProfile(std::vector<RankProfile>{read.profile}),
            DescribeProfile(std::vector<RankProfile>{account.profile}));
  EXPECT_EQ(DescribeWaits(std::vector<RankWaits>{*read.waits}, "language"),
            DescribeWaits(std::vector<RankWaits>{*account.waits}, "language"));
  EXPECT_EQ(ToText(read), ToText(account));
}

TEST(RankAccountTest, AGpuHasNoWaitsAndNoTimeOfAThread) {
  RankAccount account = Account();
  account.profile.thread_time.reset();
  account.waits.reset();
  std::set<std::string> names;
  const RankAccount read = ParseRankAccount(ToText(account), names).value();
  EXPECT_FALSE(read.profile.thread_time.has_value());
  EXPECT_FALSE(read.waits.has_value());
}

TEST(RankAccountTest, WhatIsNoAccountIsRefused) {
  std::set<std::string> names;
  const std::string text = ToText(Account());
  for (const std::string& wrong : {std::string(), text.substr(1), std::string("{\"steps\": 7}")}) {
    EXPECT_THAT(ParseRankAccount(wrong, names), StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

}  // namespace
}  // namespace hetero
