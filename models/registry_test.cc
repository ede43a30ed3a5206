#include "hetero/models/registry.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "hetero/models/nemotron/hybrid.pb.h"
#include "hetero/models/stage.h"
#include "hetero/models/vlm/vlm.pb.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

google::protobuf::Any Packed(std::string_view text) {
  google::protobuf::Any any;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(std::string(text), &any));
  return any;
}

constexpr std::string_view kLanguageModel =
    R"([type.googleapis.com/hetero.proto.HybridLanguageModel] {
  pattern: "*" hidden_size: 8 vocabulary_size: 32 norm_epsilon: 1e-5 init_std: 0.1
  output_init_std: 0.1 attention { num_heads: 2 head_dim: 4 num_kv_groups: 1 }
})";

TEST(ModelRegistryTest, MakesTheModelOfAMessage) {
  const auto model = BuiltInModels().Make(Packed(kLanguageModel)).value();
  EXPECT_THAT(model->graph().ModuleNames(), ElementsAre("language"));
  EXPECT_TRUE(model->graph().edges.empty());
  EXPECT_EQ(model->graph().vocabulary_size, 32);
  EXPECT_EQ(model->graph().Module("language").hidden_width, 8);
}

TEST(ModelRegistryTest, AModelReportsWhatItHas) {
  const auto metrics = [](std::string_view text) {
    std::vector<std::string> names;
    const auto model = BuiltInModels().Make(Packed(text)).value();
    for (const Metric& metric : model->graph().metrics) names.push_back(metric.name);
    return names;
  };
  EXPECT_THAT(metrics(kLanguageModel), ElementsAre("lm loss"));
  std::string experts(kLanguageModel);
  experts.replace(experts.find("\"*\""), 3, "\"*E\"");
  experts.replace(
      experts.rfind('}'), 1,
      "experts { num_experts: 4 top_k: 2 ffn_size: 8 shared_ffn_size: 8 router_scaling: 1 "
      "aux_loss_coefficient: 0.01 expert_bias_rate: 0.001 } }");
  EXPECT_THAT(metrics(experts), ElementsAre("lm loss", "seq_load_balancing_loss",
                                            "moe/seq_load_balancing_loss_layer_1", "expert rounds",
                                            "expert rounds layer 1"));
}

TEST(ModelRegistryTest, AnUnknownTypeNamesThoseThereAre) {
  google::protobuf::Any any;
  any.PackFrom(google::protobuf::Duration());
  EXPECT_THAT(BuiltInModels().Make(any),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("no model of type \"google.protobuf.Duration\""),
                             HasSubstr("hetero.proto.HybridLanguageModel, "
                                       "hetero.proto.VisionLanguageModel"))));
}

TEST(ModelRegistryTest, DamagedBytesAreAnError) {
  google::protobuf::Any any = Packed(kLanguageModel);
  any.mutable_value()->pop_back();
  EXPECT_THAT(BuiltInModels().Make(any),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("damaged")));
}

TEST(ModelRegistryTest, ALaterMakerReplacesTheEarlier) {
  ModelRegistry registry = BuiltInModels();
  registry.Register<proto::HybridLanguageModel>(
      "language",
      [](const proto::HybridLanguageModel& config,
         DType) -> absl::StatusOr<std::unique_ptr<Model>> {
        return absl::UnimplementedError(config.pattern());
      });
  EXPECT_THAT(registry.Make(Packed(kLanguageModel)),
              StatusIs(absl::StatusCode::kUnimplemented, "*"));
}

}  // namespace
}  // namespace hetero
