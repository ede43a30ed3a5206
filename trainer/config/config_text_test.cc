#include "hetero/trainer/config/config_text.h"

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"
#include "hetero/models/avlm/avlm.pb.h"
#include "hetero/models/nemotron/hybrid.pb.h"
#include "hetero/models/vlm/vlm.pb.h"
#include "hetero/trainer/recipes/recipes.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::google::protobuf::util::MessageDifferencer;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

proto::RunConfig Recipe(std::string_view name) {
  // Links the models that recipes name.
  proto::AudioVisionLanguageModel::descriptor();
  proto::VisionLanguageModel::descriptor();
  return ParseRunConfig(*FindRecipe(name), name).value();
}

proto::VisionLanguageModel ModelOf(const proto::RunConfig& config) {
  proto::VisionLanguageModel model;
  EXPECT_TRUE(config.model().UnpackTo(&model));
  return model;
}

TEST(ParseRunConfigTest, NamesLineColumnAndNearestFieldOfAnUnknownField) {
  EXPECT_THAT(
      ParseRunConfig("seed: 1\ngrids {\n  name: \"language\" num_rank: 2\n}\n", "run.textproto"),
      StatusIs(absl::StatusCode::kInvalidArgument,
               "run.textproto:3:20: GridSpec has no field 'num_rank'; nearest: "
               "'num_ranks'"));
}

TEST(ParseRunConfigTest, ChecksTheFieldsInsideTheModel) {
  proto::HybridLanguageModel::descriptor();
  EXPECT_THAT(
      ParseRunConfig("model {\n  [type.googleapis.com/hetero.proto.HybridLanguageModel] {\n"
                     "    hiden_size: 128\n  }\n}\n",
                     "run"),
      StatusIs(absl::StatusCode::kInvalidArgument,
               "run:3:5: HybridLanguageModel has no field 'hiden_size'; nearest: 'hidden_size'"));
  EXPECT_THAT(ParseRunConfig("model { [type.googleapis.com/hetero.proto.Nothing] {} }", "run"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("hetero.proto.Nothing")));
}

TEST(ParseRunConfigTest, NamesThePlaceOfAMalformedValue) {
  EXPECT_THAT(
      ParseRunConfig("seed: 1\n\ntrain_steps: many", "run"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("run:3:14: Expected integer")));
  EXPECT_THAT(ParseRunConfig("device: GPU", "run"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("device is 'GPU', must be one of CPU, CUDA; nearest: CPU")));
  EXPECT_THAT(ParseRunConfig("model { [type.googleapis.com/hetero.proto.VisionLanguageModel] {\n"
                             "projector { kind: LINEAR } } }",
                             "run"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       EndsWith("kind is 'LINEAR', must be one of AFFINE, MLP")));
  EXPECT_THAT(ParseRunConfig("seed: 1 seed: 2", "run"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("run:1:13:")));
}

class RecipeTest : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Embedded, RecipeTest, ::testing::ValuesIn([] {
                           std::vector<std::string> names;
                           for (std::string_view name : RecipeNames()) names.emplace_back(name);
                           return names;
                         }()),
                         [](const auto& info) { return info.param; });

TEST_P(RecipeTest, PrintsAsTextThatParsesBack) {
  const proto::RunConfig config = Recipe(GetParam());
  const absl::StatusOr<proto::RunConfig> again = ParseRunConfig(ToText(config), "printed");
  ASSERT_THAT(again, IsOk());
  EXPECT_TRUE(MessageDifferencer::Equals(config, *again));
}

TEST(SetFieldTest, ReachesScalarsListsModulesAndTheModel) {
  proto::RunConfig config = Recipe("fashion_tiny");
  for (const std::string_view assignment :
       {"train_steps=10", "grids[0].tp=2", "language.ep = 2", "schedule.peak=1e-2", "device=CUDA",
        "data.fashion_mnist.cache=/tmp/some where", "logging.folder=\"quoted\"",
        "data.fashion_mnist.sizes[1].rows=64", "data.fashion_mnist.sizes[3]={rows: 8 columns: 4}",
        "model.language.pattern=M*", "model.language.experts.top_k=1",
        "model.freeze_encoder=true"}) {
    EXPECT_THAT(SetField(assignment, config), IsOk()) << assignment;
  }
  EXPECT_EQ(config.train_steps(), 10);
  EXPECT_EQ(config.grids(0).tp(), 2);
  EXPECT_EQ(config.grids(1).ep(), 2);
  EXPECT_EQ(config.schedule().peak(), 1e-2);
  EXPECT_EQ(config.device(), proto::RunConfig::CUDA);
  EXPECT_EQ(config.data().fashion_mnist().cache(), "/tmp/some where");
  EXPECT_EQ(config.logging().folder(), "quoted");
  EXPECT_EQ(config.data().fashion_mnist().sizes(1).rows(), 64);
  EXPECT_EQ(config.data().fashion_mnist().sizes(1).columns(), 48);
  ASSERT_EQ(config.data().fashion_mnist().sizes_size(), 4);
  EXPECT_EQ(config.data().fashion_mnist().sizes(3).columns(), 4);
  EXPECT_EQ(ModelOf(config).language().pattern(), "M*");
  EXPECT_EQ(ModelOf(config).language().experts().top_k(), 1);
  EXPECT_TRUE(ModelOf(config).freeze_encoder());
}

TEST(SetFieldTest, ReplacesMessagesElementsAndTheOtherAlternative) {
  proto::RunConfig config = Recipe("fashion_tiny");
  EXPECT_THAT(SetField("train_samples=1000", config), IsOk());
  EXPECT_FALSE(config.has_train_steps());
  EXPECT_THAT(SetField("evaluation={num_batches: 2}", config), IsOk());
  EXPECT_FALSE(config.evaluation().has_global_batch_size());
  EXPECT_THAT(SetField("grids[0]={name: \"a\" num_ranks: 3}", config), IsOk());
  EXPECT_EQ(config.grids(0).num_ranks(), 3);
  EXPECT_FALSE(config.grids(0).has_rank_offset());
  EXPECT_EQ(config.grids(1).name(), "language");
  EXPECT_EQ(config.grids_size(), 2);
}

TEST(SetFieldTest, ListsOfTextAreGivenWholeOrByElement) {
  proto::RunConfig config = Recipe("fashion_tiny");
  EXPECT_THAT(SetField("selective_recompute=[\"radio_encoder\", 'language']", config), IsOk());
  EXPECT_THAT(config.selective_recompute(), ElementsAre("radio_encoder", "language"));
  EXPECT_THAT(SetField("selective_recompute=language", config), IsOk());
  EXPECT_THAT(config.selective_recompute(), ElementsAre("language"));
  EXPECT_THAT(SetField("selective_recompute[1]=radio_encoder", config), IsOk());
  EXPECT_THAT(config.selective_recompute(), ElementsAre("language", "radio_encoder"));
  EXPECT_THAT(SetField("selective_recompute=[]", config), IsOk());
  EXPECT_THAT(config.selective_recompute(), IsEmpty());
}

TEST(SetFieldTest, WordsOfEnumsAreTakenInAnyCaseAndByNumber) {
  proto::RunConfig config = Recipe("fashion_tiny");
  for (std::string_view value : {"cuda", "CUDA", "Cuda", "2"}) {
    config.set_device(proto::RunConfig::CPU);
    EXPECT_THAT(SetField(absl::StrCat("device=", value), config), IsOk()) << value;
    EXPECT_EQ(config.device(), proto::RunConfig::CUDA) << value;
  }
  EXPECT_THAT(SetField("model.projector.kind=mlp", config), IsOk());
  EXPECT_EQ(ModelOf(config).projector().kind(), proto::Projector::MLP);
}

TEST(SetFieldTest, NamesWhatFailsAndLeavesTheConfigurationAlone) {
  const proto::RunConfig original = Recipe("fashion_tiny");
  proto::RunConfig config = original;
  const auto fails = [&](std::string_view assignment, std::string_view message) {
    EXPECT_THAT(SetField(assignment, config),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)))
        << assignment;
  };
  fails("train_steps", "train_steps: must be path=value");
  fails("=3", "=3: a field name is missing in ''");
  fails("trian_steps=5",
        "trian_steps=5: RunConfig has no field 'trian_steps'; nearest: 'train_steps'");
  fails("data.foo=3", "Data has no field 'foo'; it has fashion_mnist, web_dataset, mock");
  fails("language.tpp=5", "GridSpec has no field 'tpp'; nearest: 'tp'");
  fails("model.langage.pattern=M", "no field 'langage'; nearest: 'language'");
  fails("train_steps=x", "train_steps=x: Expected integer");
  fails("grids.tp=2", "grids is a list; nearest: grids[0]");
  fails("grids[5].tp=2", "grids[5] is beyond its 2 elements; nearest: grids[2]");
  fails("seed[0]=2", "seed is a single field; nearest: seed");
  fails("seed.x=2", "seed is a single value and has no field 'x'");
  fails("grids[x].tp=2", "grids[x].tp=2: 'grids[x]' is not a field or field[index]");
  fails("schedule=5", "schedule is a message, its value must be in braces");
  fails("schedule..peak=5", "a field name is missing");
  fails("device=cpy", "device=cpy: device is 'cpy', must be one of CPU, CUDA; nearest: CPU");
  fails("device=99", "device is '99', must be one of CPU, CUDA");
  fails("device=0", "device is '0', must be one of CPU, CUDA");
  fails("schedule.style=9", "style is '9', must be one of CONSTANT, LINEAR, COSINE, ");
  fails("schedule.style=cosin", "nearest: COSINE");
  EXPECT_TRUE(MessageDifferencer::Equals(config, original));
}

}  // namespace
}  // namespace hetero
