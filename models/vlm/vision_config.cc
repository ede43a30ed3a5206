#include "hetero/models/vlm/vision_config.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/field_relations.h"

namespace hetero {

RadioConfig RadioConfigFromProto(const proto::RadioEncoder& encoder, DType storage) {
  return {.num_layers = encoder.num_layers(),
          .layer = {.hidden_size = encoder.hidden_size(),
                    .num_heads = encoder.num_heads(),
                    .head_dim = encoder.head_dim(),
                    .ffn_size = encoder.ffn_size(),
                    .gelu = encoder.gelu() == proto::RadioEncoder::ERF ? GeluForm::kErf
                                                                       : GeluForm::kTanh,
                    .swiglu = encoder.swiglu(),
                    .qkv_bias = !encoder.has_qkv_bias() || encoder.qkv_bias(),
                    .layer_scale_init = encoder.layer_scale_init(),
                    .norm_epsilon = encoder.norm_epsilon(),
                    .init_std = encoder.init_std(),
                    .output_init_std = encoder.output_init_std(),
                    .storage = storage},
          .patch_size = encoder.patch_size(),
          .max_image_side = encoder.max_image_side(),
          .num_class_tokens = encoder.num_class_tokens(),
          .final_norm = encoder.final_norm(),
          .embedder_init_std = encoder.embedder_init_std(),
          .class_token_init_std = encoder.class_token_init_std(),
          .position_init_std = encoder.position_init_std()};
}

ProjectorConfig ProjectorConfigFromProto(const proto::Projector& projector, int64_t input_size,
                                         int64_t output_size, DType storage) {
  return {.kind = projector.kind() == proto::Projector::MLP ? ProjectorConfig::Kind::kMlp
                                                            : ProjectorConfig::Kind::kAffine,
          .rms_norm = projector.norm() == proto::Projector::RMS,
          .input_size = input_size,
          .ffn_size = projector.ffn_size(),
          .output_size = output_size,
          .norm_epsilon = projector.norm_epsilon(),
          .init_std = projector.init_std(),
          .output_init_std = projector.output_init_std(),
          .storage = storage};
}

void CheckRelations(const proto::Projector& projector, std::string_view path,
                    Violations& violations) {
  if (!violations.Sound({absl::StrCat(path, ".kind"), absl::StrCat(path, ".norm")})) return;
  const bool has_norm = projector.norm() == proto::Projector::RMS;
  if (projector.kind() == proto::Projector::AFFINE) {
    if (!has_norm) return;
    Violation violation =
        Refuse(absl::StrCat(path, ".norm"), " is RMS, an AFFINE projector has no norm", {"NONE"});
    violation.corrections.push_back({{absl::StrCat(path, ".kind"), "MLP"}});
    violations.Add(std::move(violation));
    return;
  }
  for (const auto& [present, field] :
       {std::pair(projector.has_ffn_size(), ".ffn_size"),
        std::pair(projector.has_output_init_std(), ".output_init_std"),
        std::pair(!has_norm || projector.has_norm_epsilon(), ".norm_epsilon")}) {
    if (present) continue;
    violations.Add(Refuse(absl::StrCat(path, field), " is not set, an MLP projector needs it"));
  }
}

void CheckRelations(const proto::RadioEncoder& encoder, std::string_view path,
                    Violations& violations) {
  const std::string gelu = absl::StrCat(path, ".gelu");
  if (encoder.swiglu() && encoder.has_gelu() && violations.Sound({gelu})) {
    Violation violation = Refuse(
        gelu, absl::StrCat(" is set with ", path, ".swiglu true, a gated network has no gelu"));
    violation.corrections.push_back({{absl::StrCat(path, ".swiglu"), "false"}});
    violations.Add(std::move(violation));
  }
  const std::string side = absl::StrCat(path, ".max_image_side");
  const std::string patch = absl::StrCat(path, ".patch_size");
  CheckMultiple(violations, {side, encoder.max_image_side()}, {patch, encoder.patch_size()});
  if (!violations.Sound({side, patch}) || encoder.max_image_side() >= 2 * encoder.patch_size()) {
    return;
  }
  Violation violation = Refuse(
      side,
      absl::StrCat(" is ", encoder.max_image_side(), ", must hold the 2 x 2 patches of a token, ",
                   patch, " ", encoder.patch_size(), " each"),
      {absl::StrCat(2 * encoder.patch_size())});
  violations.Add(std::move(violation));
}

void CheckPlaceholder(const NumberField& token, const NumberField& vocabulary,
                      Violations& violations) {
  if (!violations.Sound({token.path, vocabulary.path}) || token.value < vocabulary.value) return;
  Violation violation = Refuse(
      token.path,
      absl::StrCat(" is ", token.value, ", must be below ", vocabulary.path, " ", vocabulary.value),
      {absl::StrCat(vocabulary.value - 1)});
  violation.corrections.push_back({{vocabulary.path, absl::StrCat(token.value + 1)}});
  violations.Add(std::move(violation));
}

}  // namespace hetero
