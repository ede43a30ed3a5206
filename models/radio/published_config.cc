#include "hetero/models/radio/published_config.h"

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "hetero/base/rounding.h"

namespace hetero {
namespace {

// Of a network that says so of one that is not gated, and has as many parameters: two thirds, up to
// a multiple of 8.
int64_t GatedWidth(int64_t width) { return RoundUp(width * 2 / 3, 8); }

void ReadActivation(ConfigFields& fields, proto::RadioEncoder& encoder) {
  const std::string activation = fields.Text("hidden_act", "gelu");
  if (activation == "gelu") {
    encoder.set_gelu(proto::RadioEncoder::ERF);
  } else if (activation == "gelu_pytorch_tanh") {
    encoder.set_gelu(proto::RadioEncoder::TANH);
  } else {
    fields.Refuse("hidden_act", absl::StrCat(" is \"", activation,
                                             "\", must be \"gelu\" or \"gelu_pytorch_tanh\""));
  }
}

}  // namespace

proto::RadioEncoder ReadRadio(ConfigFields& fields) {
  proto::RadioEncoder encoder;
  fields.ExpectText("model_type", "radio", "the encoder is one of this kind");
  encoder.set_num_layers(fields.Integer("num_hidden_layers"));
  const int64_t hidden = fields.Integer("hidden_size"),
                heads = fields.Integer("num_attention_heads");
  encoder.set_hidden_size(hidden);
  encoder.set_num_heads(heads);
  if (heads < 1 || hidden % heads != 0) {
    fields.Refuse("num_attention_heads",
                  absl::StrCat(" is ", heads, ", must divide the hidden_size ", hidden));
  } else {
    encoder.set_head_dim(hidden / heads);
  }
  const double ffn = static_cast<double>(hidden) * fields.Number("mlp_ratio", 4);
  const auto width = static_cast<int64_t>(ffn);
  encoder.set_swiglu(fields.Flag("use_swiglu_ffn", false));
  if (encoder.swiglu()) {
    encoder.set_ffn_size(GatedWidth(width));
    fields.Ignore({"hidden_act"});
  } else {
    encoder.set_ffn_size(width);
    ReadActivation(fields, encoder);
  }
  encoder.set_qkv_bias(fields.Flag("qkv_bias", true));
  const double layer_scale = fields.Number("layerscale_value", 1);
  if (layer_scale <= 0) {
    fields.Refuse("layerscale_value", absl::StrCat(" is ", layer_scale, ", must be above 0"));
  }
  // What published encoders without factors say, and what transformers says of factors that begin
  // with 1: whether there are any is seen in the weights.
  if (layer_scale != 1) encoder.set_layer_scale_init(layer_scale);
  encoder.set_norm_epsilon(fields.Number("layer_norm_eps", 1e-6));
  encoder.set_patch_size(fields.Integer("patch_size"));
  encoder.set_max_image_side(fields.Integer("max_img_size"));
  encoder.set_num_class_tokens(fields.Integer("num_cls_tokens") + fields.Integer("num_registers"));
  const double init_std = fields.Number("initializer_range", 0.02);
  encoder.set_init_std(init_std);
  encoder.set_output_init_std(init_std);
  encoder.set_embedder_init_std(init_std);
  encoder.set_class_token_init_std(init_std);
  encoder.set_position_init_std(init_std);

  fields.ExpectNumber("num_channels", 3.0, "images have three channels");
  for (const char* dropout :
       {"attention_probs_dropout_prob", "hidden_dropout_prob", "drop_path_rate"}) {
    fields.ExpectNumber(dropout, 0.0, "there is no dropout");
  }
  // What it is made with, and the data's part.
  fields.Ignore({"image_size", "norm_mean", "norm_std", "patch_dim", "summary_idxs",
                 "video_patch_dim", "video_temporal_patch_size"});
  fields.IgnoreCommon();
  fields.RefuseRest();
  return encoder;
}

}  // namespace hetero
