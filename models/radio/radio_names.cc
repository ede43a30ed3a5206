#include "hetero/models/radio/radio_names.h"

#include <optional>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace hetero {
namespace {

constexpr Renaming kOutsideOfLayers[] = {{"class_token", "patch_generator.cls_token.token"},
                                         {"position_embeddings", "patch_generator.pos_embed"},
                                         {"embedder.weight", "patch_generator.embedder.weight"}};

// Behind "decoder.layers.12." and "blocks.12.".
constexpr Renaming kInLayers[] = {{"self_attention.linear_qkv.layer_norm_weight", "norm1.weight"},
                                  {"self_attention.linear_qkv.layer_norm_bias", "norm1.bias"},
                                  {"self_attention.linear_qkv.", "attn.qkv."},
                                  {"self_attention.linear_proj.", "attn.proj."},
                                  {"mlp.linear_fc1.layer_norm_weight", "norm2.weight"},
                                  {"mlp.linear_fc1.layer_norm_bias", "norm2.bias"},
                                  {"mlp.linear_fc1.", "mlp.fc1."},
                                  {"mlp.linear_fc2.", "mlp.fc2."},
                                  {"ls1", "layer_scale1.lambda1"},
                                  {"ls2", "layer_scale2.lambda1"}};

constexpr std::string_view kFinalNorm = "decoder.final_layernorm.";

// Of each head its query, key and value, against all queries, all keys and all values.
void AddQkv(const EncoderLayerConfig& config, const ParameterSpec& spec, const std::string& key,
            std::vector<BoxMap>& maps) {
  const int64_t rows = config.head_dim;
  for (int64_t head = 0; head < config.num_heads; ++head) {
    for (int64_t which = 0; which < 3; ++which) {
      maps.push_back(MovedRows(spec, (3 * head + which) * rows, rows, key, spec.shape[0],
                               (which * config.num_heads + head) * rows));
    }
  }
}

// Gates, and what they gate.
void AddGated(const EncoderLayerConfig& config, const ParameterSpec& spec, std::string_view network,
              std::string_view leaf, std::vector<BoxMap>& maps) {
  const int64_t rows = config.ffn_size;
  maps.push_back(MovedRows(spec, 0, rows, absl::StrCat(network, "gate_proj.", leaf), rows, 0));
  maps.push_back(MovedRows(spec, rows, rows, absl::StrCat(network, "up_proj.", leaf), rows, 0));
}

}  // namespace

absl::StatusOr<std::vector<BoxMap>> RadioNames(const RadioConfig& config, NameScheme scheme,
                                               const RadioPrefixes& prefixes) {
  std::vector<BoxMap> maps;
  for (const ParameterSpec& spec : RadioEncoder::Parameters(config, prefixes.name, 1)) {
    std::string_view own = spec.name;
    absl::ConsumePrefix(&own, prefixes.name);
    const std::optional<LayerName> name = ParseLayerName(own);
    if (IsMegatron(scheme)) {
      maps.push_back(name.has_value()
                         ? StackedTensor(spec,
                                         absl::StrCat(prefixes.key, "decoder.layers.", name->rest),
                                         name->layer, config.num_layers)
                         : WholeTensor(spec, absl::StrCat(prefixes.key, own)));
      continue;
    }
    std::string_view of_norm = own;
    if (absl::ConsumePrefix(&of_norm, kFinalNorm)) {
      maps.push_back(WholeTensor(spec, absl::StrCat(prefixes.final_norm_key, of_norm)));
      continue;
    }
    const std::optional<std::string> other =
        name.has_value() ? Rename(name->rest, kInLayers) : Rename(own, kOutsideOfLayers);
    if (!other.has_value()) return NoOtherName(spec, scheme);
    if (!name.has_value()) {
      maps.push_back(WholeTensor(spec, absl::StrCat(prefixes.key, *other)));
      continue;
    }
    const std::string block = absl::StrCat(prefixes.key, "blocks.", name->layer, ".");
    std::string_view leaf = *other;
    if (leaf.starts_with("attn.qkv.")) {
      AddQkv(config.layer, spec, absl::StrCat(block, leaf), maps);
    } else if (config.layer.swiglu && absl::ConsumePrefix(&leaf, "mlp.fc1.")) {
      AddGated(config.layer, spec, absl::StrCat(block, "mlp."), leaf, maps);
    } else if (config.layer.swiglu && absl::ConsumePrefix(&leaf, "mlp.fc2.")) {
      maps.push_back(WholeTensor(spec, absl::StrCat(block, "mlp.down_proj.", leaf)));
    } else {
      maps.push_back(WholeTensor(spec, absl::StrCat(block, leaf)));
    }
  }
  return maps;
}

}  // namespace hetero
