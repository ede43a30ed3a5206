#include "hetero/trainer/config/load_config.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/vlm/vlm.pb.h"
#include "hetero/trainer/config/command_line.h"
#include "hetero/trainer/config/config_text.h"
#include "hetero/trainer/recipes/recipes.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

proto::RunConfig DefaultRecipe() {
  // Links the model that it names.
  proto::VisionLanguageModel::descriptor();
  return ParseRunConfig(*FindRecipe(kDefaultRecipe), kDefaultRecipe).value();
}

absl::StatusOr<std::vector<std::string>> Set(std::vector<std::string> assignments,
                                             proto::RunConfig& config) {
  std::vector<FieldFlag> flags;
  for (std::string& assignment : assignments) flags.push_back({"--set ", std::move(assignment)});
  return SetFields(flags, "the_recipe", config);
}

TEST(SetFieldsTest, TheLaterOfTwoForOneFieldCounts) {
  proto::RunConfig config = DefaultRecipe();
  EXPECT_THAT(Set({"seed=1", "train_steps=5", "seed=2"}, config), IsOkAndHolds(IsEmpty()));
  EXPECT_EQ(config.seed(), 2);
  EXPECT_EQ(config.train_steps(), 5);
}

TEST(SetFieldsTest, ErrorsNameTheFlagAsItWasTyped) {
  proto::RunConfig config = DefaultRecipe();
  for (const auto& [assignment, message] :
       {std::pair("=3", "--set =3: a field name is missing in ''"),
        {"grids[-1].x=1", "--set grids[-1].x=1: 'grids[-1]' is not a field or field[index]"},
        {"grids[-1]", "--set grids[-1]: 'grids[-1]' is not a field or field[index]"},
        {"seed", "--set seed: must be path=value"},
        {"seed=x", "--set seed=x: Expected integer, got: x"},
        {"seed.x=1", "--set seed.x=1: seed is a single value and has no field 'x'"}}) {
    EXPECT_THAT(Set({assignment}, config), StatusIs(absl::StatusCode::kInvalidArgument, message));
  }
  EXPECT_THAT(SetFields(std::vector<FieldFlag>{{"--", "device=foo"}}, "the_recipe", config),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "--device=foo: device is 'foo', must be one of CPU, CUDA"));
}

TEST(SetFieldsTest, AnAlternativeTakesThePlaceOfTheOneConfiguredAndSaysSo) {
  proto::RunConfig config = DefaultRecipe();
  EXPECT_THAT(Set({"train_samples=640", "schedule.warmup_samples=64"}, config),
              IsOkAndHolds(ElementsAre(
                  "--set train_samples=640 takes the place of train_steps of the_recipe",
                  "--set schedule.warmup_samples=64 takes the place of schedule.warmup_steps of "
                  "the_recipe")));
  EXPECT_TRUE(config.has_train_samples());
  EXPECT_THAT(Set({"data.mock.num_image_tokens=4", "data.mock.num_samples=9"}, config),
              IsOkAndHolds(ElementsAre("--set data.mock.num_image_tokens=4 takes the place of "
                                       "data.fashion_mnist of the_recipe")));
}

TEST(SetFieldsTest, TwoAlternativesAreOneTooMany) {
  const auto exclude = [](std::string_view one, std::string_view other) {
    return StatusIs(
        absl::StatusCode::kInvalidArgument,
        absl::StrCat("--set ", one, " and --set ", other, " exclude each other; give one of them"));
  };
  proto::RunConfig config = DefaultRecipe();
  EXPECT_THAT(Set({"train_steps=3", "train_samples=640"}, config),
              exclude("train_steps=3", "train_samples=640"));
  config = DefaultRecipe();
  EXPECT_THAT(Set({"train_samples=640", "train_steps=3"}, config),
              exclude("train_samples=640", "train_steps=3"));
  config = DefaultRecipe();
  EXPECT_THAT(Set({"schedule.tail_steps=3", "seed=1", "schedule.tail_samples=9"}, config),
              exclude("schedule.tail_steps=3", "schedule.tail_samples=9"));
  config = DefaultRecipe();
  EXPECT_THAT(Set({"schedule={warmup_steps: 3}", "schedule.warmup_samples=9"}, config),
              exclude("schedule={warmup_steps: 3}", "schedule.warmup_samples=9"));
  config = DefaultRecipe();
  EXPECT_THAT(Set({"data.fashion_mnist.cache=x", "data.mock={num_image_tokens: 4}"}, config),
              exclude("data.fashion_mnist.cache=x", "data.mock={num_image_tokens: 4}"));
  for (const std::string_view buckets : {"optimizer.buckets", "optimizer.per_module[0].buckets"}) {
    const std::string number = absl::StrCat(buckets, ".num_buckets=4");
    const std::string size = absl::StrCat(buckets, ".bucket_elements=0");
    config = DefaultRecipe();
    EXPECT_THAT(Set({number, size}, config), exclude(number, size));
  }
  config = DefaultRecipe();
  const std::string list = "optimizer.per_module={buckets {num_buckets: 4}}";
  EXPECT_THAT(Set({list, "optimizer.per_module[0].buckets.bucket_elements=0"}, config),
              exclude(list, "optimizer.per_module[0].buckets.bucket_elements=0"));
}

class ConfigFileTest : public ::testing::Test {
 protected:
  absl::Status Load(const std::string& file) {
    return LoadConfig({.config = file}, folder_).status();
  }

  std::string Write(const std::string& name, std::string_view bytes) {
    std::ofstream(folder_ / name) << bytes;
    return name;
  }

  const std::filesystem::path folder_ = ::testing::TempDir();
};

TEST_F(ConfigFileTest, IsReadFromTheWorkingFolder) {
  proto::RunConfig config = DefaultRecipe();
  Write("mine", absl::StrCat("\xef\xbb\xbf# written by an editor that marks the order of bytes\r\n",
                             ToText(config)));
  const auto loaded =
      LoadConfig({.config = "mine", .fields = {{"--set ", "train_samples=64"}}}, folder_);
  ASSERT_THAT(loaded, IsOk());
  EXPECT_EQ(loaded->config.train_samples(), 64);
  EXPECT_THAT(loaded->replaced,
              ElementsAre("--set train_samples=64 takes the place of train_steps of mine"));
}

TEST_F(ConfigFileTest, HoldsOneOfTwoAlternatives) {
  EXPECT_THAT(Load(Write("both", "optimizer { buckets { num_buckets: 4 bucket_elements: 9 } }")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("both:1:"), HasSubstr("num_buckets"),
                             HasSubstr("bucket_elements"))));
}

TEST_F(ConfigFileTest, MustHoldAConfiguration) {
  for (const std::string_view empty : {"", "\n \n", "# nothing but words\n"}) {
    EXPECT_THAT(Load(Write("empty", empty)),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("--config: empty is empty, it sets no field")));
  }
  EXPECT_THAT(Load(Write("binary", std::string_view("\177ELF\2\1\1\0\0\0seed: 1", 17))),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("--config: "), HasSubstr("binary is not text"))));
  EXPECT_THAT(Load(Write("long", std::string(5 << 20, '\n'))),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("--config: "), HasSubstr("has 5242880 bytes; at most "))));
  EXPECT_THAT(Load("missing"),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("--config: "), HasSubstr("missing: No such file"))));
}

TEST_F(ConfigFileTest, IsNoPipeFolderOrDevice) {
  ASSERT_EQ(mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  for (const auto& [file, kind] :
       {std::pair("pipe", "FIFO"), {"/dev/zero", "device"}, {".", "folder"}}) {
    EXPECT_THAT(
        Load(file),
        StatusIs(absl::StatusCode::kInvalidArgument,
                 AllOf(HasSubstr("--config: "), HasSubstr(file),
                       HasSubstr(absl::StrCat(" is a ", kind, "; it must be a regular file")))));
  }
}

TEST(LoadConfigTest, NamesTheRecipesThereAre) {
  EXPECT_THAT(LoadConfig({.recipe = "fashion"}, "."),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("--recipe=fashion does not exist; there are fashion_tiny, ")));
}

}  // namespace
}  // namespace hetero
