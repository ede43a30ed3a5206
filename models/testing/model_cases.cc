#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "hetero/base/status.h"
#include "hetero/models/avlm/avlm.h"
#include "hetero/models/avlm/avlm.pb.h"
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

// What is off by default. No step comes near the limits.
constexpr std::string_view kOthersText = R"(
    tie_embeddings: true
    attention { use_bias: true }
    mamba { conv_bias: false use_bias: true min_time_step: 1e-4 max_time_step: 50 }
    mlp { use_bias: true }
    experts { num_groups: 4 top_k_groups: 2 normalize_probabilities: false }
)";

// `experts`: further fields of the MoE layers.
std::string LanguageText(std::string_view pattern, std::string_view experts) {
  return absl::StrCat("pattern: \"", pattern, "\"", kLanguageText, experts, "}");
}

constexpr std::string_view kImageEncoderText = R"(
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
)";

constexpr std::string_view kAudioEncoderText = R"(
  encoder {
    num_layers: 2
    hidden_size: 64
    num_heads: 4
    head_dim: 16
    ffn_size: 96
    num_mels: 16
    max_frames: 32
    norm_epsilon: 1e-5
    init_std: 0.05
    output_init_std: 0.02
    convolution_init_std: 0.1
  }
  projector { kind: AFFINE norm: NONE init_std: 0.05 }
)";

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  CHECK(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

// 64 and 24 patches of 4 x 4 pixels: 16 and 6 rows of the language model. Frames of 16 mels: 3
// and 7.
constexpr std::array<MediaSize, 2> kImages = {MediaSize{32, 32}, MediaSize{16, 24}};
constexpr std::array<MediaSize, 2> kClips = {MediaSize{6, 1}, MediaSize{13, 1}};
constexpr int64_t kPatches = 64 + 24, kPatchFeatures = 48, kFrames = 6 + 13, kMels = 16;

// Two rows of 24 tokens, each beginning with an image and a clip, as far as there are edges, the
// second ending with padding.
TestTokens Tokens(size_t num_edges) {
  TestTokens tokens = {.num_rows = 2,
                       .row_length = 24,
                       .num_edges = static_cast<int>(num_edges),
                       .lengths = {24, 19}};
  constexpr int kMedia[2][2] = {{16, 3}, {6, 7}};
  for (int32_t t = 0; t < tokens.num_tokens(); ++t) {
    int position = t % 24, edge = 0;
    while (edge < tokens.num_edges && position >= kMedia[t / 24][edge]) {
      position -= kMedia[t / 24][edge++];
    }
    const bool of_media = edge < tokens.num_edges;
    tokens.ids.push_back(of_media ? TestTokens::Placeholder(edge) : (t * 37 + 5) % 88);
    tokens.targets.push_back(of_media || t % 5 == 0 || t >= 24 + 19 ? TestTokens::kMasked
                                                                    : (t * 53 + 1) % 90);
  }
  return tokens;
}

ModalityBatch MediaOf(ModuleRig& rig, const Modality& modality) {
  if (std::holds_alternative<ImageForm>(modality.form)) {
    return {.features = rig.Normal(kPatches, kPatchFeatures), .sizes = kImages};
  }
  return {.features = rig.Normal(kFrames, kMels), .sizes = kClips};
}

// A microbatch through all modules of a model, each a stage on this rank.
template <typename Compute>
absl::Status RunModel(ModuleRig& rig, const Model& model) {
  const ModelGraph& graph = model.graph();
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
  std::vector<Module> encoders;
  std::vector<ModalityBatch> media;
  std::vector<ConstTensorView> rows;  // of each edge
  std::vector<TensorView> d_rows;     // overwritten
  media.reserve(graph.edges.size());
  for (const GraphEdge& edge : graph.edges) {
    const ModalityBatch& batch = media.emplace_back(MediaOf(rig, graph.modalities[edge.modality]));
    HETERO_ASSIGN_OR_RETURN(Module encoder, make(edge.source));
    HETERO_ASSIGN_OR_RETURN(const TensorView out,
                            encoder.stage->Forward(rig.context(), 0, {.modalities = {&batch, 1}}));
    encoders.push_back(std::move(encoder));
    rows.push_back(out);
    rig.Keep(absl::StrCat(edge.source, " rows"), out);
    d_rows.push_back(rig.Normal(out.dim(0), out.dim(1)));
  }

  HETERO_ASSIGN_OR_RETURN(const Module language, make(graph.SampleOwner().name));
  const TestTokenBatch<Compute> host(Tokens(graph.edges.size()));
  TokenBatch batch = *host;
  for (ConstTensorView* const view :
       {&batch.text_tokens, &batch.text_positions, &batch.loss_positions, &batch.loss_targets,
        &batch.loss_weights, &batch.sequences.device_token_offsets}) {
    *view = rig.Upload(*view);
  }
  std::vector<ConstTensorView> positions;
  for (const ConstTensorView& of_edge : batch.modality_positions) {
    positions.push_back(rig.Upload(of_edge));
  }
  batch.modality_positions = positions;
  HETERO_RETURN_IF_ERROR(
      language.stage->Forward(rig.context(), 0, {.tokens = &batch, .edges = rows}).status());
  HETERO_RETURN_IF_ERROR(
      language.stage->Backward(rig.context(), 0, TensorView(), {.edges = d_rows}));
  for (size_t e = 0; e < encoders.size(); ++e) {
    rig.Keep(absl::StrCat("d ", graph.edges[e].source, " rows"), d_rows[e]);
    HETERO_RETURN_IF_ERROR(encoders[e].stage->Backward(rig.context(), 0, d_rows[e], {}));
    // Encoders have parameters of the same names.
    HETERO_RETURN_IF_ERROR(
        rig.KeepGradients(*encoders[e].parameters, absl::StrCat(graph.edges[e].source, ".")));
  }
  HETERO_RETURN_IF_ERROR(rig.KeepGradients(*language.parameters));
  const TensorView totals = rig.Zeros(DType::kF64, language.stage->num_totals());
  HETERO_RETURN_IF_ERROR(language.stage->TakeTotals(totals, rig.context().stream));
  rig.Keep("loss", totals.Rows(kStageLossSum, 1));
  rig.Keep("loss weight", totals.Rows(kStageLossWeight, 1));
  rig.Keep("balance loss", totals.Rows(kStageBalanceLoss, 1));
  return absl::OkStatus();
}

absl::Status RunModel(ModuleRig& rig, const Model& model) {
  return rig.is_reference() ? RunModel<double>(rig, model) : RunModel<float>(rig, model);
}

// `others` go over what the language model says otherwise.
absl::Status RunHybrid(ModuleRig& rig, std::string_view experts, std::string_view others) {
  auto message = Parse<proto::HybridLanguageModel>(LanguageText("ME*-", experts));
  CHECK(google::protobuf::TextFormat::MergeFromString(std::string(others), &message)) << others;
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                          MakeHybridModel(message, rig.storage()));
  return RunModel(rig, *model);
}

absl::Status RunVisionLanguage(ModuleRig& rig, std::string_view experts) {
  HETERO_ASSIGN_OR_RETURN(
      const std::unique_ptr<Model> model,
      MakeVisionLanguageModel(Parse<proto::VisionLanguageModel>(
                                  absl::StrCat(kImageEncoderText, "image_token_id: 89 language {",
                                               LanguageText("ME*-", experts), "}")),
                              rig.storage()));
  return RunModel(rig, *model);
}

absl::Status RunAudioVisionLanguage(ModuleRig& rig, std::string_view experts) {
  HETERO_ASSIGN_OR_RETURN(
      const std::unique_ptr<Model> model,
      MakeAudioVisionLanguageModel(
          Parse<proto::AudioVisionLanguageModel>(absl::StrCat(
              "image {", kImageEncoderText, "token_id: 89 } audio {", kAudioEncoderText,
              "token_id: 88 } language {", LanguageText("ME*-", experts), "}")),
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
       .run = [experts](ModuleRig& rig) { return RunHybrid(rig, experts, ""); }},
      {.name = "TiedLanguageModel",
       .roundings = 72,
       .longest_sum = 48 * 16,
       .run = [experts](ModuleRig& rig) { return RunHybrid(rig, experts, kOthersText); }},
      {.name = "VisionLanguageModel",
       .roundings = 128,
       .longest_sum = 48 * 16,
       .run = [experts](ModuleRig& rig) { return RunVisionLanguage(rig, experts); }},
      {.name = "AudioVisionLanguageModel",
       .roundings = 128,
       .longest_sum = 48 * 16,
       .run = [experts](ModuleRig& rig) { return RunAudioVisionLanguage(rig, experts); }},
  };
}

}  // namespace hetero
