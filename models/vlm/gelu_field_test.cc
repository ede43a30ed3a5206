// The form of GELU that the configuration names is the one that the encoder runs.

#include <array>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "hetero/base/matchers.h"
#include "hetero/models/stage.h"
#include "hetero/models/testing/module_rig.h"
#include "hetero/models/vlm/vlm.h"
#include "hetero/models/vlm/vlm.pb.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

constexpr std::string_view kModel = R"(
  projector { kind: AFFINE norm: NONE init_std: 0.05 }
  language {
    pattern: "-" hidden_size: 8 vocabulary_size: 40 norm_epsilon: 1e-5
    init_std: 0.05 output_init_std: 0.02 mlp { ffn_size: 8 }
  }
  image_token_id: 39
  encoder {
    num_layers: 1 hidden_size: 8 num_heads: 2 head_dim: 4 ffn_size: 12 patch_size: 2
    max_image_side: 8 num_class_tokens: 1 norm_epsilon: 1e-6 final_norm: true init_std: 0.05
    output_init_std: 0.02 embedder_init_std: 0.1 class_token_init_std: 1 position_init_std: 0.1
)";

std::vector<double> RowsWith(std::string_view gelu) {
  proto::VisionLanguageModel config;
  EXPECT_TRUE(
      google::protobuf::TextFormat::ParseFromString(absl::StrCat(kModel, gelu, "}"), &config));
  ModuleRig rig({}, DType::kF64, DType::kF64);
  const auto model = MakeVisionLanguageModel(config, DType::kF64).value();
  ParameterStore& parameters =
      rig.MakeParameters(model->MakeTable(kRadioEncoderModule, {}).value());
  const auto stage = model
                         ->MakeStage(kRadioEncoderModule, {},
                                     {.parameters = parameters,
                                      .communicators = {},
                                      .device = rig.device(),
                                      .ledger = rig.memory()})
                         .value();
  const std::array<ImageSize, 1> sizes = {ImageSize{8, 8}};
  const ModalityBatch images = {.features = rig.Normal(16, 12), .sizes = sizes};
  const absl::StatusOr<TensorView> rows =
      stage->Forward(rig.context(), 0, {.modalities = {&images, 1}});
  EXPECT_THAT(rows, IsOk());
  return rig.Download(*rows);
}

TEST(GeluFieldTest, ChoosesTheForm) {
  const std::vector<double> tanh = RowsWith("gelu: TANH"), erf = RowsWith("gelu: ERF");
  EXPECT_EQ(RowsWith(""), tanh);
  EXPECT_NE(erf, tanh);
  // The two forms are at most 4.7e-4 apart.
  EXPECT_THAT(erf, IsCloseTo(tanh, {.absolute = 0.02}));
}

}  // namespace
}  // namespace hetero
