#include "hetero/models/nemotron/published_config.h"

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace hetero {
namespace {

struct LayerType {
  std::string_view name;
  char symbol;
};
constexpr LayerType kLayerTypes[] = {
    {"linear_attention", 'M'}, {"mamba", 'M'}, {"full_attention", '*'},
    {"attention", '*'},        {"moe", 'E'},   {"mlp", '-'}};

// The pattern of a list of layer types.
std::string PatternOf(ConfigFields& fields, std::string_view name) {
  std::string pattern;
  const google::protobuf::ListValue* const types = fields.List(name);
  if (types == nullptr) return pattern;
  for (const google::protobuf::Value& type : types->values()) {
    char symbol = 0;
    for (const LayerType& known : kLayerTypes) {
      if (type.string_value() == known.name) symbol = known.symbol;
    }
    if (symbol == 0) {
      fields.Refuse(name, absl::StrCat("[", pattern.size(), "] is \"", type.string_value(),
                                       "\", must be linear_attention, full_attention, moe or mlp"));
      return pattern;
    }
    pattern.push_back(symbol);
  }
  return pattern;
}

std::string ReadPattern(ConfigFields& fields) {
  std::string pattern;
  if (fields.Has("hybrid_override_pattern")) {
    fields.Ignore({"layers_block_type", "layer_types"});
    pattern = fields.Text("hybrid_override_pattern");
  } else if (fields.Has("layer_types")) {
    fields.Ignore({"layers_block_type"});
    pattern = PatternOf(fields, "layer_types");
  } else if (fields.Has("layers_block_type")) {
    pattern = PatternOf(fields, "layers_block_type");
  } else {
    fields.Refuse("hybrid_override_pattern", " is not there, nor is layers_block_type");
  }
  fields.ExpectNumber("num_hidden_layers", static_cast<double>(pattern.size()),
                      "the layers are those of the pattern");
  return pattern;
}

void ReadMamba(ConfigFields& fields, proto::MambaMixer& mamba) {
  mamba.set_num_heads(fields.Integer("mamba_num_heads"));
  mamba.set_head_dim(fields.Integer("mamba_head_dim"));
  mamba.set_num_groups(fields.Integer("n_groups"));
  mamba.set_state_size(fields.Integer("ssm_state_size"));
  mamba.set_conv_kernel(fields.Integer("conv_kernel"));
  mamba.set_chunk_size(fields.Integer("chunk_size"));
  fields.ExpectText("mamba_hidden_act", "silu", "the scan's input goes through SiLU");
  mamba.set_conv_bias(fields.Flag("use_conv_bias", true));
  mamba.set_use_bias(fields.Flag("use_bias", false));
  // Published models go by use_bias alone.
  if (!mamba.use_bias()) {
    fields.ExpectFlag("mamba_proj_bias", false, "use_bias is what projections have a bias by");
  }
  if (const auto limit = fields.NumberPair("time_step_limit"); limit.has_value()) {
    if (limit->first > 0) mamba.set_min_time_step(limit->first);
    if (std::isfinite(limit->second)) mamba.set_max_time_step(limit->second);
  }
}

void ReadExperts(ConfigFields& fields, proto::MixtureOfExperts& experts) {
  experts.set_num_experts(fields.Integer("n_routed_experts"));
  experts.set_top_k(fields.Integer("num_experts_per_tok"));
  experts.set_ffn_size(fields.Integer("moe_intermediate_size"));
  // One network of this width, however many experts it is said to be.
  experts.set_shared_ffn_size(fields.Integer("n_shared_experts", 1) == 0
                                  ? 0
                                  : fields.Integer("moe_shared_expert_intermediate_size"));
  experts.set_router_scaling(fields.Number("routed_scaling_factor", 1));
  experts.set_aux_loss_coefficient(0);
  experts.set_expert_bias_rate(0);
  const int64_t groups = fields.Integer("n_group", 1), chosen = fields.Integer("topk_group", 1);
  if (chosen > groups) {
    fields.Refuse("topk_group",
                  absl::StrCat(" is ", chosen, ", must be at most the n_group ", groups));
  }
  if (groups != 1) {
    experts.set_num_groups(groups);
    experts.set_top_k_groups(chosen);
  }
  experts.set_normalize_probabilities(fields.Flag("norm_topk_prob", true));
  fields.ExpectFlag("mlp_bias", false, "experts have no bias");
  fields.ExpectNone("moe_latent_size", "experts work in the width of the residual stream");
  for (const std::string_view name : {"scoring_func", "moe_router_score_function"}) {
    fields.ExpectText(name, "sigmoid", "the router has no softmax");
  }
}

}  // namespace

proto::HybridLanguageModel ReadNemotronH(ConfigFields& fields) {
  proto::HybridLanguageModel model;
  fields.ExpectText("model_type", "nemotron_h", "the model is a hybrid of this kind");
  const std::string pattern = ReadPattern(fields);
  model.set_pattern(pattern);
  model.set_hidden_size(fields.Integer("hidden_size"));
  model.set_vocabulary_size(fields.Integer("vocab_size"));
  model.set_norm_epsilon(fields.Number("layer_norm_epsilon", 1e-5));
  const double init_std = fields.Number("initializer_range", 0.02);
  model.set_init_std(init_std);
  model.set_output_init_std(fields.Flag("rescale_prenorm_residual", true) && !pattern.empty()
                                ? init_std / std::sqrt(static_cast<double>(pattern.size()))
                                : init_std);
  if (absl::StrContains(pattern, '*')) {
    proto::SelfAttention& attention = *model.mutable_attention();
    attention.set_num_heads(fields.Integer("num_attention_heads"));
    attention.set_head_dim(
        fields.Integer(fields.Has("head_dim") ? "head_dim" : "attention_head_dim"));
    attention.set_num_kv_groups(fields.Integer("num_key_value_heads", attention.num_heads()));
    attention.set_use_bias(fields.Flag("attention_bias", false));
  }
  if (absl::StrContains(pattern, 'M')) ReadMamba(fields, *model.mutable_mamba());
  if (absl::StrContains(pattern, 'E')) ReadExperts(fields, *model.mutable_experts());
  if (absl::StrContains(pattern, '-')) {
    model.mutable_mlp()->set_ffn_size(fields.Integer("intermediate_size"));
    model.mutable_mlp()->set_use_bias(fields.Flag("mlp_bias", false));
  }
  model.set_tie_embeddings(fields.Flag("tie_word_embeddings", false));
  fields.ExpectText("mlp_hidden_act", "relu2", "networks are squared ReLU");
  fields.ExpectNumber("attention_dropout", 0.0, "there is no dropout");
  fields.ExpectNumber("hidden_dropout", 0.0, "there is no dropout");
  fields.ExpectNone("sliding_window", "attention sees all earlier tokens");
  fields.ExpectFlag("residual_in_fp32", false, "the residual stream has the parameters' type");
  fields.ExpectNumber("num_nextn_predict_layers", 0.0, "there is no multi-token prediction");
  // Of kinds of layers that the pattern does not have, of generation, and of what does not change
  // the numbers.
  fields.Ignore({"attention_bias",
                 "attention_head_dim",
                 "chunk_size",
                 "conv_kernel",
                 "expand",
                 "head_dim",
                 "intermediate_size",
                 "mamba_head_dim",
                 "mamba_hidden_act",
                 "mamba_num_heads",
                 "mamba_proj_bias",
                 "mamba_ssm_cache_dtype",
                 "mlp_bias",
                 "moe_intermediate_size",
                 "moe_shared_expert_intermediate_size",
                 "moe_shared_expert_overlap",
                 "mtp_hybrid_override_pattern",
                 "mtp_layers_block_type",
                 "n_group",
                 "n_groups",
                 "n_routed_experts",
                 "n_shared_experts",
                 "norm_eps",
                 "norm_topk_prob",
                 "num_attention_heads",
                 "num_experts_per_tok",
                 "num_key_value_heads",
                 "num_logits_to_keep",
                 "output_router_logits",
                 "partial_rotary_factor",
                 "rope_parameters",
                 "rope_theta",
                 "routed_scaling_factor",
                 "ssm_state_size",
                 "time_step_floor",
                 "time_step_limit",
                 "time_step_max",
                 "time_step_min",
                 "topk_group",
                 "use_bias",
                 "use_conv_bias",
                 "use_mamba_kernels"});
  fields.IgnoreCommon();
  fields.RefuseRest();
  return model;
}

}  // namespace hetero
