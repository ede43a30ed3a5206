#include "hetero/models/nemotron/hybrid_names.h"

#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "hetero/base/status.h"

namespace hetero {
namespace {

void Append(std::vector<BoxMap> more, std::vector<BoxMap>& maps) {
  maps.insert(maps.end(), std::make_move_iterator(more.begin()),
              std::make_move_iterator(more.end()));
}

bool IsOf(std::string_view name, std::string_view module) {
  return absl::ConsumePrefix(&name, module) && (name == ".weight" || name == ".bias");
}

std::vector<BoxMap> InMegatron(const HybridConfig& config, const ParameterSpec& spec,
                               std::string_view key_prefix) {
  std::string key = absl::StrCat(key_prefix, spec.name);
  const std::optional<LayerName> name = ParseLayerName(spec.name);
  if (!name.has_value()) {
    BoxMap map = WholeTensor(spec, std::move(key));
    // Megatron-LM's vocabulary ends at a multiple of 128 rows a tensor-parallel rank.
    map.padded_rows = spec.shape.size() == 2;
    return {map};
  }
  const int64_t inner = config.mamba.inner_width(), group = config.mamba.group_width();
  if (IsOf(name->rest, "mixer.in_proj")) {
    return DividedRows(spec, key,
                       {{{".z", inner},
                         {".x", inner},
                         {".B", group},
                         {".C", group},
                         {".dt", config.mamba.num_heads}}});
  }
  if (IsOf(name->rest, "mixer.conv1d")) {
    return DividedRows(spec, key, {{{".x", inner}, {".B", group}, {".C", group}}});
  }
  // The module of a rank's experts is in the one that sends them their tokens.
  std::string_view of_experts = name->rest;
  if (absl::ConsumePrefix(&of_experts, "mlp.experts.")) {
    key = absl::StrCat(key_prefix, "decoder.layers.", name->layer, ".mlp.experts.experts.",
                       of_experts);
  }
  return {WholeTensor(spec, std::move(key))};
}

constexpr Renaming kOutsideOfLayers[] = {
    {"embedding.word_embeddings.weight", "backbone.embeddings.weight"},
    {"decoder.final_norm.weight", "backbone.norm_f.weight"},
    {"output_layer.weight", "lm_head.weight"}};

// Behind "decoder.layers.12." and "backbone.layers.12.".
constexpr Renaming kInLayers[] = {
    {"mixer.in_proj.layer_norm_weight", "norm.weight"},
    {"self_attention.linear_qkv.layer_norm_weight", "norm.weight"},
    {"pre_mlp_layernorm.weight", "norm.weight"},
    {"mlp.linear_fc1.layer_norm_weight", "norm.weight"},
    {"mixer.", "mixer."},
    {"self_attention.linear_proj.", "mixer.o_proj."},
    {"mlp.router.weight", "mixer.gate.weight"},
    {"mlp.router.expert_bias", "mixer.gate.e_score_correction_bias"},
    {"mlp.shared_experts.linear_fc1.", "mixer.shared_experts.up_proj."},
    {"mlp.shared_experts.linear_fc2.", "mixer.shared_experts.down_proj."},
    {"mlp.linear_fc1.", "mixer.up_proj."},
    {"mlp.linear_fc2.", "mixer.down_proj."}};

// Of each group the queries of its heads, its key and its value, against all queries, all keys and
// all values.
std::vector<BoxMap> ApartQkv(const AttentionConfig& config, const ParameterSpec& spec,
                             std::string_view mixer, std::string_view leaf) {
  const int64_t queries = config.heads_per_group() * config.head_dim, key = config.head_dim;
  std::vector<BoxMap> maps;
  const auto add = [&](std::string_view projection, int64_t rows, int64_t in_group) {
    for (int64_t group = 0; group < config.num_kv_groups; ++group) {
      maps.push_back(MovedRows(spec, group * (queries + 2 * key) + in_group, rows,
                               absl::StrCat(mixer, projection, leaf), config.num_kv_groups * rows,
                               group * rows));
    }
  };
  add("q_proj.", queries, 0);
  add("k_proj.", key, queries);
  add("v_proj.", key, queries + key);
  return maps;
}

absl::StatusOr<std::vector<BoxMap>> InHuggingFace(const HybridConfig& config,
                                                  const ParameterSpec& spec,
                                                  std::string_view key_prefix) {
  const std::optional<LayerName> name = ParseLayerName(spec.name);
  if (!name.has_value()) {
    const std::optional<std::string> other = Rename(spec.name, kOutsideOfLayers);
    if (!other.has_value()) return NoOtherName(spec, NameScheme::kHuggingFace);
    return std::vector{WholeTensor(spec, absl::StrCat(key_prefix, *other))};
  }
  const std::string layer = absl::StrCat(key_prefix, "backbone.layers.", name->layer, ".");
  std::string_view leaf = name->rest;
  if (IsOf(leaf, "self_attention.linear_qkv")) {
    absl::ConsumePrefix(&leaf, "self_attention.linear_qkv.");
    return ApartQkv(config.attention, spec, absl::StrCat(layer, "mixer."), leaf);
  }
  for (const auto& [own, other] :
       {std::pair<std::string_view, std::string_view>("mlp.experts.linear_fc1.", ".up_proj."),
        {"mlp.experts.linear_fc2.", ".down_proj."}}) {
    if (!absl::ConsumePrefix(&leaf, own)) continue;
    return DividedEntries(spec, [&, other = other](int64_t expert) {
      return absl::StrCat(layer, "mixer.experts.", expert, other, leaf);
    });
  }
  const std::optional<std::string> other = Rename(name->rest, kInLayers);
  if (!other.has_value()) return NoOtherName(spec, NameScheme::kHuggingFace);
  return std::vector{WholeTensor(spec, absl::StrCat(layer, *other))};
}

}  // namespace

absl::StatusOr<std::vector<BoxMap>> HybridNames(const HybridConfig& config, NameScheme scheme,
                                                std::string_view key_prefix) {
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table, MakeHybridTable(config, {}));
  std::vector<BoxMap> maps;
  for (const ParameterSpec& spec : table.specs()) {
    if (IsMegatron(scheme)) {
      Append(InMegatron(config, spec, key_prefix), maps);
      continue;
    }
    HETERO_ASSIGN_OR_RETURN(std::vector<BoxMap> of_spec, InHuggingFace(config, spec, key_prefix));
    Append(std::move(of_spec), maps);
  }
  return maps;
}

}  // namespace hetero
