#include "hetero/trainer/config/command_line.h"

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<CommandLine> Parse(std::vector<std::string> words) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  return ParseCommandLine(arguments);
}

std::string Error(std::vector<std::string> words) {
  const absl::StatusOr<CommandLine> line = Parse(std::move(words));
  EXPECT_THAT(line, StatusIs(absl::StatusCode::kInvalidArgument));
  return std::string(line.status().message());
}

TEST(CommandLineTest, ValuesFollowTheirFlagAfterAnEqualsSignOrABlank) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"--config=a b", "--set=seed=7", "--trace", "t", "--dry_run"},
        {"--config", "a b", "--set", "seed=7", "--trace=t", "--dry_run=true"}}) {
    const absl::StatusOr<CommandLine> line = Parse(words);
    ASSERT_THAT(line, IsOk());
    EXPECT_EQ(line->config, "a b");
    EXPECT_EQ(line->trace, "t");
    EXPECT_TRUE(line->dry_run);
    EXPECT_FALSE(line->profile);
    EXPECT_THAT(line->fields, ElementsAre(FieldFlag{"--set ", "seed=7"}));
  }
  EXPECT_FALSE(Parse({"--dry_run=false"})->dry_run);
  EXPECT_TRUE(Parse({"-h"})->help);
}

TEST(CommandLineTest, FieldsKeepTheirOrder) {
  const absl::StatusOr<CommandLine> line =
      Parse({"--set", "seed=1", "--launch=threads:2", "--set", "seed=2", "--device=cuda"});
  ASSERT_THAT(line, IsOk());
  EXPECT_THAT(line->fields,
              ElementsAre(FieldFlag{"--set ", "seed=1"}, FieldFlag{"--", "launch=threads:2"},
                          FieldFlag{"--set ", "seed=2"}, FieldFlag{"--", "device=cuda"}));
}

TEST(CommandLineTest, AFlagWithoutAValueIsNotTakenForOneThatIsNotThere) {
  EXPECT_EQ(Error({"--config="}), "--config is empty; write --config=FILE");
  EXPECT_EQ(Error({"--config", ""}), "--config is empty; write --config=FILE");
  EXPECT_EQ(Error({"--recipe="}), "--recipe is empty; write --recipe=NAME");
  EXPECT_EQ(Error({"--device="}), "--device is empty; write --device=cpu|cuda");
  EXPECT_EQ(Error({"--launch= "}), "--launch is empty; write --launch=threads:N|processes:N");
  EXPECT_EQ(Error({"--cpu_target="}), "--cpu_target is empty; write --cpu_target=avx2|avx512");
  EXPECT_EQ(Error({"--trace="}), "--trace is empty; write --trace=FILE");
  EXPECT_EQ(Error({"--set="}), "--set is empty; write --set PATH=VALUE");
  EXPECT_EQ(Error({"--dry_run="}),
            "--dry_run is ''; write --dry_run, --dry_run=true or --dry_run=false");
  EXPECT_EQ(Error({"--trace"}), "--trace has no value; write --trace=FILE");
  EXPECT_EQ(Error({"--trace", "--dry_run"}), "--trace has no value; write --trace=FILE");
}

TEST(CommandLineTest, OfTwoValuesNoneIsDropped) {
  EXPECT_EQ(Error({"--recipe=a", "--recipe", "b"}),
            "--recipe=a and --recipe=b are both given; give one of them");
  EXPECT_EQ(Error({"--device=cpu", "--device=cuda"}),
            "--device=cpu and --device=cuda are both given; give one of them");
  EXPECT_EQ(Error({"--profile", "--profile=false"}),
            "--profile=true and --profile=false are both given; give one of them");
  EXPECT_EQ(Error({"--save=here", "--set", "checkpoint.save.folder=there"}),
            "--save=here and --set checkpoint.save.folder=there set the same field; give one of "
            "them");
  EXPECT_EQ(Error({"--set", "device = cpu", "--device=cuda"}),
            "--set device = cpu and --device=cuda set the same field; give one of them");
  EXPECT_EQ(Error({"--launch=threads:2", "--set", "launch=threads:3"}),
            "--launch=threads:2 and --set launch=threads:3 set the same field; give one of them");
  EXPECT_THAT(Error({"--config=mine", "--recipe=mock_tiny"}),
              HasSubstr("--config=mine and --recipe=mock_tiny are both whole configurations"));
}

TEST(CommandLineTest, UnknownFlagsAreAnsweredWithWhatWasMeantOrNothing) {
  EXPECT_EQ(Error({"--dry-run"}), "unknown flag --dry-run; nearest: --dry_run");
  EXPECT_EQ(Error({"--frobnicate"}), "unknown flag --frobnicate; --help lists them");
  EXPECT_EQ(Error({"--train_steps=3"}),
            "unknown flag --train_steps; fields are set with --set path=value; nearest: --set "
            "train_steps=3");
  EXPECT_THAT(Error({"train_steps=3"}), HasSubstr("fields are set with --set path=value"));
}

// What is written as the table says is understood.
TEST(CommandLineTest, EveryFlagIsTakenAsItIsDescribed) {
  for (const FlagDescription& flag : FlagTable()) {
    EXPECT_THAT(Parse({flag.form == "--set PATH=VALUE" ? "--set=PATH=VALUE" : flag.form}), IsOk())
        << flag.form;
  }
}

}  // namespace
}  // namespace hetero
