#include "hetero/trainer/checkpoint/architecture.h"

#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/config/testing/changed_recipe.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

nlohmann::json Of(const std::vector<std::string_view>& assignments,
                  std::string_view recipe = "mock_vlm_tiny") {
  return ArchitectureOf(ChangedRecipe(recipe, assignments).model());
}

TEST(ArchitectureTest, WhatWeightsDoNotDependOnMayChange) {
  EXPECT_THAT(Differences(Of({}), Of({})), IsEmpty());
  EXPECT_THAT(Differences(Of({"model.freeze_encoder=true", "model.language.init_std=1",
                              "model.language.experts.aux_loss_coefficient=0.5",
                              "model.language.mamba.chunk_size=8"}),
                          Of({})),
              IsEmpty());
}

// Four heads of 32 and eight of 16 have weights of the same shapes.
TEST(ArchitectureTest, EveryDifferenceIsNamedByItsField) {
  EXPECT_THAT(
      Differences(
          Of({"model.language.attention.num_heads=8", "model.language.attention.head_dim=16",
              "model.language.pattern=ME*ME", "model.encoder.gelu=ERF"}),
          Of({"model.language.attention.num_heads=4", "model.language.attention.head_dim=32",
              "model.language.pattern=MEM*E"})),
      ElementsAre("model.encoder.gelu is \"ERF\", the checkpoint has not set",
                  "model.language.attention.head_dim is 16, the checkpoint has 32",
                  "model.language.attention.num_heads is 8, the checkpoint has 4",
                  "model.language.pattern is \"ME*ME\", the checkpoint has \"MEM*E\""));
}

TEST(ArchitectureTest, AnotherArchitectureHasAnotherId) {
  EXPECT_EQ(ArchitectureId(Of({})), ArchitectureId(Of({"model.freeze_language=true"})));
  EXPECT_NE(ArchitectureId(Of({})), ArchitectureId(Of({"model.language.hidden_size=64"})));
  EXPECT_THAT(ArchitectureId(Of({})), testing::StartsWith("VisionLanguageModel "));
  EXPECT_NE(ArchitectureId(Of({})), ArchitectureId(Of({}, "mock_tiny")));
}

TEST(ArchitectureTest, OfDifferentMessagesTheTypesAreNamed) {
  EXPECT_THAT(Differences(Of({}, "mock_tiny"), Of({})),
              ElementsAre("model is \"hetero.proto.HybridLanguageModel\", the checkpoint has "
                          "\"hetero.proto.VisionLanguageModel\""));
}

TEST(ArchitectureTest, OfATypeThatIsNotLinkedTheNameIsKnown) {
  google::protobuf::Any unknown;
  unknown.set_type_url("type.googleapis.com/other.Model");
  EXPECT_THAT(Differences(ArchitectureOf(unknown), {{"model", "other.Model"}}), IsEmpty());
}

}  // namespace
}  // namespace hetero
