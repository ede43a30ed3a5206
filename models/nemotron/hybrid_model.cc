#include "hetero/models/nemotron/hybrid_model.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/grid/module_grid.h"

namespace hetero {
namespace {

class HybridModel : public Model {
 public:
  explicit HybridModel(HybridConfig config) : config_(std::move(config)) {}

  std::vector<std::string> modules() const override { return {std::string(kLanguageModule)}; }
  std::vector<ModelEdge> edges() const override { return {}; }
  DType storage() const override { return config_.storage; }
  int64_t hidden_width(std::string_view) const override { return config_.hidden_size; }
  InputContract input_contract() const override {
    return {.vocabulary_size = config_.vocabulary_size};
  }
  absl::StatusOr<ParameterTable> MakeTable(std::string_view,
                                           const ShardSpec& shard) const override {
    return MakeHybridTable(config_, shard);
  }
  absl::StatusOr<std::unique_ptr<Stage>> MakeStage(std::string_view, StagePlace place,
                                                   const StageResources& resources) const override {
    return HybridStage::Create(config_, place, resources);
  }

 private:
  HybridConfig config_;
};

}  // namespace

absl::StatusOr<HybridConfig> HybridConfigFromProto(const proto::HybridLanguageModel& config,
                                                   DType storage) {
  HybridConfig result;
  HETERO_ASSIGN_OR_RETURN(result.pattern, LayerPattern::Parse(config.pattern()));
  result.hidden_size = config.hidden_size();
  result.vocabulary_size = config.vocabulary_size();
  result.norm_epsilon = config.norm_epsilon();
  result.init_std = config.init_std();
  result.storage = storage;
  const struct {
    LayerKind kind;
    bool present;
    std::string_view field;
  } needs[] = {{LayerKind::kMamba, config.has_mamba(), "mamba"},
               {LayerKind::kAttention, config.has_attention(), "attention"},
               {LayerKind::kExperts, config.has_experts(), "experts"},
               {LayerKind::kMlp, config.has_mlp(), "mlp"}};
  for (const auto& need : needs) {
    if (result.pattern.Count(need.kind) > 0 && !need.present) {
      return absl::InvalidArgumentError(
          absl::StrCat(need.field, " is unset but pattern \"", config.pattern(), "\" has '",
                       std::string(1, static_cast<char>(need.kind)), "' layers; give its sizes"));
    }
  }
  const auto common = [&](auto& block) {
    block.hidden_size = config.hidden_size();
    block.norm_epsilon = config.norm_epsilon();
    block.init_std = config.init_std();
    block.output_init_std = config.output_init_std();
    block.storage = storage;
  };
  common(result.attention);
  result.attention.num_heads = config.attention().num_heads();
  result.attention.num_kv_groups = config.attention().num_kv_groups();
  result.attention.head_dim = config.attention().head_dim();
  common(result.mamba);
  result.mamba.num_heads = config.mamba().num_heads();
  result.mamba.head_dim = config.mamba().head_dim();
  result.mamba.num_groups = config.mamba().num_groups();
  result.mamba.state_size = config.mamba().state_size();
  result.mamba.conv_kernel = config.mamba().conv_kernel();
  result.mamba.chunk_size = config.mamba().chunk_size();
  common(result.experts);
  result.experts.num_experts = config.experts().num_experts();
  result.experts.top_k = config.experts().top_k();
  result.experts.ffn_size = config.experts().ffn_size();
  result.experts.shared_ffn_size = config.experts().shared_ffn_size();
  result.experts.router_scaling = config.experts().router_scaling();
  result.experts.aux_loss_coefficient = config.experts().aux_loss_coefficient();
  result.experts.expert_bias_rate = config.experts().expert_bias_rate();
  result.experts.force_load_balancing = config.experts().force_load_balancing();
  common(result.mlp);
  result.mlp.ffn_size = config.mlp().ffn_size();
  return result;
}

absl::StatusOr<std::unique_ptr<Model>> MakeHybridModel(const proto::HybridLanguageModel& config,
                                                       DType storage) {
  HETERO_ASSIGN_OR_RETURN(HybridConfig hybrid, HybridConfigFromProto(config, storage));
  return std::make_unique<HybridModel>(std::move(hybrid));
}

}  // namespace hetero
