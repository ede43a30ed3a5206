#include "hetero/models/audio/audio_config.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "hetero/base/config/field_rules.h"
#include "hetero/base/violation.h"
#include "hetero/params/table.h"

namespace hetero {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

proto::AudioEncoder Whisper(const std::string& more = "") {
  proto::AudioEncoder config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"(num_layers: 4 hidden_size: 384 num_heads: 6 head_dim: 64 ffn_size: 1536 num_mels: 80
         max_frames: 3000 norm_epsilon: 1e-5 init_std: 0.02 output_init_std: 0.01
         convolution_init_std: 0.03 )" +
          more,
      &config));
  return config;
}

std::vector<std::string> ViolationsOf(const proto::AudioEncoder& config) {
  Violations violations;
  violations.Add(CheckFieldRules(config, ""));
  CheckRelations(config, "", violations);
  std::vector<std::string> texts;
  for (const Violation& violation : violations.list()) texts.push_back(violation.ToString());
  return texts;
}

TEST(AudioConfigTest, EveryFieldArrives) {
  EXPECT_THAT(ViolationsOf(Whisper()), IsEmpty());
  const AudioConfig config = AudioConfigFromProto(Whisper(), DType::kBF16);
  EXPECT_EQ(config.num_layers, 4);
  EXPECT_EQ(config.layer.hidden_size, 384);
  EXPECT_EQ(config.layer.attention_width(), 6 * 64);
  EXPECT_EQ(config.layer.num_heads, 6);
  EXPECT_EQ(config.layer.ffn_size, 1536);
  EXPECT_EQ(config.num_mels, 80);
  EXPECT_EQ(config.max_frames, 3000);
  EXPECT_EQ(config.layer.norm_epsilon, 1e-5);
  EXPECT_EQ(config.layer.init_std, 0.02);
  EXPECT_EQ(config.layer.output_init_std, 0.01);
  EXPECT_EQ(config.convolution_init_std, 0.03);
  EXPECT_EQ(config.layer.storage, DType::kBF16);
}

TEST(AudioConfigTest, GeluIsErfUnlessSaidOtherwise) {
  const auto form = [](const std::string& gelu) {
    return AudioConfigFromProto(Whisper(gelu), DType::kF32).layer.gelu;
  };
  EXPECT_EQ(form(""), GeluForm::kErf);
  EXPECT_EQ(form("gelu: ERF"), GeluForm::kErf);
  EXPECT_EQ(form("gelu: TANH"), GeluForm::kTanh);
}

TEST(AudioConfigTest, AWidthIsEvenAndTheAdvicePasses) {
  proto::AudioEncoder config = Whisper();
  config.set_hidden_size(7);
  EXPECT_THAT(ViolationsOf(config), ElementsAre(HasSubstr("hidden_size is 7, must be even")));
  Violations violations;
  CheckRelations(config, "model.audio", violations);
  ASSERT_EQ(violations.list().size(), 1u);
  EXPECT_EQ(violations.list()[0].field, "model.audio.hidden_size");
  for (const Correction& correction : violations.list()[0].corrections) {
    config.set_hidden_size(std::stoll(correction[0].value));
    EXPECT_THAT(ViolationsOf(config), IsEmpty()) << correction[0].value;
  }
  config.set_hidden_size(3);
  EXPECT_THAT(ViolationsOf(config), ElementsAre(HasSubstr("hidden_size is 3")));
}

TEST(AudioConfigTest, EveryNumberHasItsBounds) {
  proto::AudioEncoder config = Whisper();
  config.set_max_frames(0);
  config.set_num_mels(1 << 20);
  config.clear_num_layers();
  EXPECT_THAT(ViolationsOf(config),
              ElementsAre(HasSubstr("num_layers"), HasSubstr("num_mels is 1048576"),
                          HasSubstr("max_frames is 0")));
}

}  // namespace
}  // namespace hetero
