#include "hetero/ckpt/format/key_style.h"

#include <string>
#include <utility>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;

TEST(KeyStyleTest, WrappersComeAndGo) {
  const std::pair<const char*, const char*> kKeys[] = {
      {"language_model.decoder.final_norm.weight",
       "language_model.module.module.decoder.final_norm.weight"},
      {"modality_submodules.radio_encoder.encoders.radio_encoder.radio_model.class_token",
       "modality_submodules.radio_encoder.module.module.encoders.radio_encoder.radio_model."
       "class_token"},
      {"mimo.language.optimizer.state.exp_avg.language_model.output_layer.weight",
       "mimo.language.optimizer.state.exp_avg.language_model.module.module.output_layer.weight"},
      {"mimo.radio_encoder.optimizer.state.param.modality_submodules.radio_encoder."
       "input_projections.0.encoder.weight",
       "mimo.radio_encoder.optimizer.state.param.modality_submodules.radio_encoder.module.module."
       "input_projections.0.encoder.weight"},
      {"language_model.decoder.layers.3.module_norm.weight",
       "language_model.module.module.decoder.layers.3.module_norm.weight"},
      // Nothing that is wrapped.
      {"decoder.layers.0.mlp.router.weight", "decoder.layers.0.mlp.router.weight"},
      {"mimo.language.rng_state", "mimo.language.rng_state"},
      {"language_model", "language_model"},
      {"modality_submodules.radio_encoder", "modality_submodules.radio_encoder"},
      {"", ""},
  };
  for (const auto& [canonical, mcore] : kKeys) {
    EXPECT_EQ(StyledKey(canonical, KeyStyle::kMcore), mcore);
    EXPECT_EQ(StyledKey(canonical, KeyStyle::kCanonical), canonical);
    EXPECT_EQ(CanonicalKey(mcore), canonical);
    EXPECT_EQ(CanonicalKey(canonical), canonical);
  }
  // However many wrappers there were.
  EXPECT_EQ(CanonicalKey("module.module.module.decoder.module.weight"), "decoder.weight");
  EXPECT_EQ(CanonicalKey("language_model.module"), "language_model.module");
}

TEST(KeyStyleTest, StylesHaveNames) {
  EXPECT_THAT(KeyStyleNamed("mcore"), IsOkAndHolds(KeyStyle::kMcore));
  EXPECT_THAT(KeyStyleNamed("canonical"), IsOkAndHolds(KeyStyle::kCanonical));
  EXPECT_THAT(KeyStyleNamed("megatron"), StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace hetero
