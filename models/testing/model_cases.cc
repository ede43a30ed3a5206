#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "hetero/base/status.h"
#include "hetero/models/nemotron/hybrid.pb.h"
#include "hetero/models/nemotron/hybrid_model.h"
#include "hetero/models/stage.h"
#include "hetero/models/testing/module_cases.h"
#include "hetero/models/testing/token_batch.h"
#include "hetero/models/vlm/vlm.h"
#include "hetero/models/vlm/vlm.pb.h"

namespace hetero {
namespace {

constexpr std::string_view kLanguageText = R"(
    hidden_size: 64
    vocabulary_size: 90
    norm_epsilon: 1e-5
    init_std: 0.05
    output_init_std: 0.02
    attention { num_heads: 4 head_dim: 16 num_kv_groups: 2 }
    mamba { num_heads: 4 head_dim: 16 num_groups: 2 state_size: 16 conv_kernel: 4 chunk_size: 16 }
    mlp { ffn_size: 96 }
    experts {
      num_experts: 8
      top_k: 2
      ffn_size: 48
      shared_ffn_size: 40
      router_scaling: 2.5
      aux_loss_coefficient: 0.05
      expert_bias_rate: 1e-3
)";

// `experts`: further fields of the MoE layers.
std::string LanguageText(std::string_view pattern, std::string_view experts) {
  return absl::StrCat("pattern: \"", pattern, "\"", kLanguageText, experts, "}");
}

constexpr std::string_view kVisionText = R"(
  encoder {
    num_layers: 2
    hidden_size: 64
    num_heads: 4
    head_dim: 16
    ffn_size: 96
    patch_size: 4
    max_image_side: 32
    num_class_tokens: 2
    norm_epsilon: 1e-6
    final_norm: true
    init_std: 0.05
    output_init_std: 0.02
    embedder_init_std: 0.1
    class_token_init_std: 1
    position_init_std: 0.125
  }
  projector { kind: MLP norm: RMS ffn_size: 96 norm_epsilon: 1e-5 init_std: 0.05 output_init_std: 0.05 }
  image_token_id: 89
)";

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  CHECK(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

// 64 and 24 patches of 4 x 4 pixels: 16 and 6 rows of the language model.
constexpr std::array<ImageSize, 2> kImages = {ImageSize{32, 32}, ImageSize{16, 24}};
constexpr int64_t kPatches = 64 + 24, kPatchFeatures = 48;

// Two rows of 24 tokens, each beginning with an image where there are images, the second ending
// with padding.
TestTokens Tokens(bool has_images) {
  TestTokens tokens = {
      .num_rows = 2, .row_length = 24, .has_edge = has_images, .lengths = {24, 19}};
  for (int32_t t = 0; t < tokens.num_tokens(); ++t) {
    const bool of_image = has_images && t % 24 < (t < 24 ? 16 : 6);
    tokens.ids.push_back(of_image ? TestTokens::kPlaceholder : (t * 37 + 5) % 89);
    tokens.targets.push_back(of_image || t % 5 == 0 || t >= 24 + 19 ? TestTokens::kMasked
                                                                    : (t * 53 + 1) % 90);
  }
  return tokens;
}

// A microbatch through all modules of a model, each a stage on this rank.
template <typename Compute>
absl::Status RunModel(ModuleRig& rig, const Model& model) {
  const bool has_images = !model.graph().edges.empty();
  struct Module {
    ParameterStore* parameters;
    std::unique_ptr<Stage> stage;
  };
  const auto make = [&](std::string_view name) -> absl::StatusOr<Module> {
    HETERO_ASSIGN_OR_RETURN(const ParameterTable table, model.MakeTable(name, {}));
    Module module = {.parameters = &rig.MakeParameters(table)};
    HETERO_ASSIGN_OR_RETURN(module.stage, model.MakeStage(name, {},
                                                          {.parameters = *module.parameters,
                                                           .communicators = {},
                                                           .device = rig.device(),
                                                           .ledger = rig.memory()}));
    return module;
  };
  std::optional<Module> vision;
  const ModalityBatch images = {.features = rig.Normal(kPatches, kPatchFeatures), .sizes = kImages};
  TensorView rows, d_rows;
  if (has_images) {
    HETERO_ASSIGN_OR_RETURN(vision, make(kRadioEncoderModule));
    HETERO_ASSIGN_OR_RETURN(rows,
                            vision->stage->Forward(rig.context(), 0, {.modalities = {&images, 1}}));
    rig.Keep("rows", rows);
    d_rows = rig.Normal(rows.dim(0), rows.dim(1));  // overwritten
  }

  HETERO_ASSIGN_OR_RETURN(const Module language, make("language"));
  const TestTokenBatch<Compute> host(Tokens(has_images));
  TokenBatch batch = *host;
  for (ConstTensorView* const view :
       {&batch.text_tokens, &batch.text_positions, &batch.loss_positions, &batch.loss_targets,
        &batch.loss_weights, &batch.sequences.device_token_offsets}) {
    *view = rig.Upload(*view);
  }
  ConstTensorView positions;
  if (has_images) {
    positions = rig.Upload(batch.modality_positions[0]);
    batch.modality_positions = {&positions, 1};
  }
  const ConstTensorView upstream = rows;
  const size_t num_edges = has_images ? 1 : 0;
  HETERO_RETURN_IF_ERROR(
      language.stage->Forward(rig.context(), 0, {.tokens = &batch, .edges = {&upstream, num_edges}})
          .status());
  HETERO_RETURN_IF_ERROR(
      language.stage->Backward(rig.context(), 0, TensorView(), {.edges = {&d_rows, num_edges}}));
  if (has_images) {
    rig.Keep("d rows", d_rows);
    HETERO_RETURN_IF_ERROR(vision->stage->Backward(rig.context(), 0, d_rows, {}));
    HETERO_RETURN_IF_ERROR(rig.KeepGradients(*vision->parameters));
  }
  HETERO_RETURN_IF_ERROR(rig.KeepGradients(*language.parameters));
  const TensorView totals = rig.Zeros(DType::kF64, kNumStageTotals);
  HETERO_RETURN_IF_ERROR(language.stage->TakeTotals(totals, rig.context().stream));
  rig.Keep("loss", totals.Rows(kStageLossSum, 1));
  rig.Keep("loss weight", totals.Rows(kStageLossWeight, 1));
  rig.Keep("balance loss", totals.Rows(kStageBalanceLoss, 1));
  return absl::OkStatus();
}

absl::Status RunModel(ModuleRig& rig, const Model& model) {
  return rig.is_reference() ? RunModel<double>(rig, model) : RunModel<float>(rig, model);
}

absl::Status RunHybrid(ModuleRig& rig, std::string_view experts) {
  HETERO_ASSIGN_OR_RETURN(
      const std::unique_ptr<Model> model,
      MakeHybridModel(Parse<proto::HybridLanguageModel>(LanguageText("ME*-", experts)),
                      rig.storage()));
  return RunModel(rig, *model);
}

absl::Status RunVisionLanguage(ModuleRig& rig, std::string_view experts) {
  HETERO_ASSIGN_OR_RETURN(
      const std::unique_ptr<Model> model,
      MakeVisionLanguageModel(Parse<proto::VisionLanguageModel>(absl::StrCat(
                                  kVisionText, "language {", LanguageText("ME*-", experts), "}")),
                              rig.storage()));
  return RunModel(rig, *model);
}

constexpr std::string_view kInTurn = "force_load_balancing: true";

}  // namespace

// Roundings: those of the blocks, of the stream between them, of the last norm, the logits and
// their gradient. In bf16 a token may sit closer to a tie than what the layers below round away:
// there experts come in turn, and the choice is compared in the block's own case.
std::vector<ModuleCase> ModelCases(DType storage) {
  const std::string_view experts = storage == DType::kBF16 ? kInTurn : "";
  return {
      {.name = "LanguageModel",
       .roundings = 72,
       .longest_sum = 48 * 16,
       .run = [experts](ModuleRig& rig) { return RunHybrid(rig, experts); }},
      {.name = "VisionLanguageModel",
       .roundings = 128,
       .longest_sum = 48 * 16,
       .run = [experts](ModuleRig& rig) { return RunVisionLanguage(rig, experts); }},
  };
}

}  // namespace hetero
