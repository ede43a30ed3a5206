#include "hetero/models/nemotron/hybrid_model.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/config/field_rules.h"
#include "hetero/base/field_relations.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/models/nemotron/hybrid_flops.h"
#include "hetero/models/nemotron/hybrid_names.h"

namespace hetero {
namespace {

// A table of them is still made in a moment.
constexpr int64_t kMaxLayers = 4096;

class HybridModel : public Model {
 public:
  explicit HybridModel(HybridConfig config)
      : config_(std::move(config)),
        graph_{.vocabulary_size = config_.vocabulary_size,
               .modules = {LanguageModule(config_)},
               .metrics = LanguageMetrics(config_, /*has_captions=*/false),
               .num_totals = config_.num_totals()} {}

  const ModelGraph& graph() const override { return graph_; }
  int64_t RowsOnEdge(int, const SampleFacts&) const override { return 0; }
  int64_t RowsBetweenStages(std::string_view, const SampleFacts& sample) const override {
    return sample.row_length;
  }
  Flops FlopsOf(std::string_view, const SampleFacts& sample) const override {
    return HybridFlops(config_, sample.row_length, /*passes_gradient=*/false);
  }
  absl::StatusOr<ParameterTable> MakeTable(std::string_view,
                                           const ShardSpec& shard) const override {
    return MakeHybridTable(config_, shard);
  }
  absl::StatusOr<std::unique_ptr<Stage>> MakeStage(std::string_view, StagePlace place,
                                                   const StageResources& resources) const override {
    return HybridStage::Create(config_, place, resources);
  }
  absl::StatusOr<std::vector<BoxMap>> NamesIn(NameScheme scheme, std::string_view) const override {
    return HybridNames(config_, scheme, /*key_prefix=*/"");
  }

 private:
  HybridConfig config_;
  ModelGraph graph_;
};

std::string Path(std::string_view path, std::string_view field) {
  return path.empty() ? std::string(field) : absl::StrCat(path, ".", field);
}

int64_t NumGroups(const proto::MixtureOfExperts& experts) {
  return experts.has_num_groups() ? experts.num_groups() : 1;
}
int64_t TopKGroups(const proto::MixtureOfExperts& experts) {
  return experts.has_top_k_groups() ? experts.top_k_groups() : NumGroups(experts);
}

// The experts among which a token chooses.
void CheckExperts(const proto::MixtureOfExperts& experts, std::string_view path,
                  Violations& violations) {
  const NumberField all = {Path(path, "num_experts"), experts.num_experts()};
  const NumberField top_k = {Path(path, "top_k"), experts.top_k()};
  const NumberField groups = {Path(path, "num_groups"), NumGroups(experts)};
  const NumberField chosen = {Path(path, "top_k_groups"), TopKGroups(experts)};
  CheckAtMost(violations, top_k, all);
  CheckMultiple(violations, all, groups);
  CheckAtMost(violations, chosen, groups);
  if (!violations.Sound({all.path, top_k.path, groups.path, chosen.path}) || groups.value == 1) {
    return;
  }
  const int64_t of_group = all.value / groups.value;
  if (of_group == 1) {
    int64_t nearest = groups.value / 2;
    while (all.value % nearest != 0) --nearest;
    violations.Add(Refuse(groups.path,
                          absl::StrCat(" is ", groups.value, " for ", all.path, " ", all.value,
                                       ", a group must have two experts at least"),
                          {absl::StrCat(nearest)}));
    return;
  }
  if (top_k.value <= chosen.value * of_group) return;
  Violation violation =
      Refuse(top_k.path,
             absl::StrCat(" is ", top_k.value, ", must be at most ", chosen.value * of_group,
                          ", the experts of ", chosen.path, " ", chosen.value),
             {absl::StrCat(chosen.value * of_group)});
  violation.corrections.push_back({{chosen.path, absl::StrCat(CeilDiv(top_k.value, of_group))}});
  violations.Add(std::move(violation));
}

void CheckTimeSteps(const proto::MambaMixer& mamba, std::string_view path, Violations& violations) {
  const std::string min = Path(path, "min_time_step"), max = Path(path, "max_time_step");
  if (!mamba.has_max_time_step() || !violations.Sound({min, max}) ||
      mamba.min_time_step() <= mamba.max_time_step()) {
    return;
  }
  const std::string below = ShortestText(mamba.min_time_step());
  const std::string above = ShortestText(mamba.max_time_step());
  Violation violation =
      Refuse(min, absl::StrCat(" is ", below, ", must be at most ", max, " ", above), {above});
  violation.corrections.push_back({{max, below}});
  violations.Add(std::move(violation));
}

void CheckPattern(const proto::HybridLanguageModel& config, std::string_view model,
                  Violations& violations) {
  const std::string path = Path(model, "pattern");
  if (!violations.Sound({path})) return;
  const absl::StatusOr<LayerPattern> pattern = LayerPattern::Parse(config.pattern());
  if (!pattern.ok()) {
    violations.Add(Refuse(path, absl::StrCat(": ", pattern.status().message())));
    return;
  }
  if (pattern->size() > kMaxLayers) {
    violations.Add(Refuse(
        path, absl::StrCat(" has ", pattern->size(), " layers, must have at most ", kMaxLayers)));
  }
  const struct {
    LayerKind kind;
    bool present;
    std::string_view field;
  } needs[] = {{LayerKind::kMamba, config.has_mamba(), "mamba"},
               {LayerKind::kAttention, config.has_attention(), "attention"},
               {LayerKind::kExperts, config.has_experts(), "experts"},
               {LayerKind::kMlp, config.has_mlp(), "mlp"}};
  for (const auto& need : needs) {
    if (need.present || pattern->Count(need.kind) == 0) continue;
    violations.Add(Refuse(Path(model, need.field),
                          absl::StrCat(" is not set, the pattern \"", config.pattern(), "\" has '",
                                       std::string(1, static_cast<char>(need.kind)), "' layers")));
  }
}

}  // namespace

void CheckRelations(const proto::HybridLanguageModel& config, std::string_view path,
                    Violations& violations) {
  CheckPattern(config, path, violations);
  if (config.has_attention()) {
    CheckMultiple(violations, {Path(path, "attention.num_heads"), config.attention().num_heads()},
                  {Path(path, "attention.num_kv_groups"), config.attention().num_kv_groups()});
  }
  if (config.has_mamba()) {
    CheckMultiple(violations, {Path(path, "mamba.num_heads"), config.mamba().num_heads()},
                  {Path(path, "mamba.num_groups"), config.mamba().num_groups()});
    CheckTimeSteps(config.mamba(), Path(path, "mamba"), violations);
  }
  if (config.has_experts()) CheckExperts(config.experts(), Path(path, "experts"), violations);
}

std::vector<Metric> LanguageMetrics(const HybridConfig& config, bool has_captions) {
  std::vector<Metric> metrics = {{.name = "lm loss",
                                  .numerator = kStageLossSum,
                                  .denominator = kStageLossWeight,
                                  .in_training = true,
                                  .in_evaluation = true}};
  if (config.pattern.Count(LayerKind::kExperts) > 0) {
    metrics.push_back({.name = "seq_load_balancing_loss",
                       .numerator = kStageBalanceLoss,
                       .denominator = kStageBalanceTokens,
                       .in_training = true});
    // In Megatron-LM's words.
    for (int64_t layer = 0; layer < config.pattern.size(); ++layer) {
      if (config.pattern.layers()[layer] != LayerKind::kExperts) continue;
      metrics.push_back({.name = absl::StrCat("moe/seq_load_balancing_loss_layer_", layer),
                         .numerator = config.BalanceLossTotal(layer),
                         .denominator = config.BalanceTokensTotal(layer),
                         .in_training = true,
                         .of_layer = true});
    }
    // 1, but for rows beyond the bound.
    metrics.push_back({.name = "expert rounds",
                       .numerator = kStageExpertRounds,
                       .denominator = kStageExpertExchanges,
                       .in_training = true});
    for (int64_t layer = 0; layer < config.pattern.size(); ++layer) {
      if (config.pattern.layers()[layer] != LayerKind::kExperts) continue;
      metrics.push_back({.name = absl::StrCat("expert rounds layer ", layer),
                         .numerator = config.RoundsTotal(layer),
                         .denominator = config.ExchangesTotal(layer),
                         .in_training = true,
                         .only_above = 1});
    }
  }
  if (has_captions) {
    metrics.push_back({.name = "caption accuracy",
                       .numerator = kStageExactMatches,
                       .denominator = kStageSequences,
                       .in_evaluation = true});
  }
  return metrics;
}

GraphModule LanguageModule(const HybridConfig& config) {
  return {.name = std::string(kLanguageModule),
          .owns_samples = true,
          .storage = config.storage,
          .hidden_width = config.hidden_size};
}

HybridConfig HybridConfigFromProto(const proto::HybridLanguageModel& config, DType storage) {
  HybridConfig result;
  result.pattern = LayerPattern::Parse(config.pattern()).value();
  result.hidden_size = config.hidden_size();
  result.vocabulary_size = config.vocabulary_size();
  result.norm_epsilon = config.norm_epsilon();
  result.init_std = config.init_std();
  result.tie_embeddings = config.tie_embeddings();
  if (config.has_logits_chunk_rows()) result.logits_chunk_rows = config.logits_chunk_rows();
  result.storage = storage;
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
  result.attention.use_bias = config.attention().use_bias();
  common(result.mamba);
  result.mamba.num_heads = config.mamba().num_heads();
  result.mamba.head_dim = config.mamba().head_dim();
  result.mamba.num_groups = config.mamba().num_groups();
  result.mamba.state_size = config.mamba().state_size();
  result.mamba.conv_kernel = config.mamba().conv_kernel();
  result.mamba.chunk_size = config.mamba().chunk_size();
  if (config.mamba().has_conv_bias()) result.mamba.conv_bias = config.mamba().conv_bias();
  result.mamba.use_bias = config.mamba().use_bias();
  result.mamba.steps.min = config.mamba().min_time_step();
  if (config.mamba().has_max_time_step()) {
    result.mamba.steps.max = config.mamba().max_time_step();
  }
  common(result.experts);
  result.experts.num_experts = config.experts().num_experts();
  result.experts.top_k = config.experts().top_k();
  result.experts.ffn_size = config.experts().ffn_size();
  result.experts.shared_ffn_size = config.experts().shared_ffn_size();
  result.experts.groups = {.count = NumGroups(config.experts()),
                           .chosen = TopKGroups(config.experts())};
  if (config.experts().has_normalize_probabilities()) {
    result.experts.normalize_probabilities = config.experts().normalize_probabilities();
  }
  result.experts.router_scaling = config.experts().router_scaling();
  result.experts.aux_loss_coefficient = config.experts().aux_loss_coefficient();
  result.experts.expert_bias_rate = config.experts().expert_bias_rate();
  result.experts.force_load_balancing = config.experts().force_load_balancing();
  result.experts.expert_rows_bound = config.experts().expert_rows_bound();
  result.experts.update_bias_on_skip = config.experts().update_bias_on_skip();
  common(result.mlp);
  result.mlp.ffn_size = config.mlp().ffn_size();
  result.mlp.use_bias = config.mlp().use_bias();
  return result;
}

absl::StatusOr<std::unique_ptr<Model>> MakeHybridModel(const proto::HybridLanguageModel& config,
                                                       DType storage) {
  Violations violations;
  violations.Add(CheckFieldRules(config, ""));
  CheckRelations(config, "", violations);
  HETERO_RETURN_IF_ERROR(ViolationsError(violations.list()));
  return std::make_unique<HybridModel>(HybridConfigFromProto(config, storage));
}

}  // namespace hetero
