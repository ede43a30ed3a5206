#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/models/models.h"

namespace hetero {
namespace {

constexpr char kConfig[] = R"(
  [type.googleapis.com/hetero.proto.HybridLanguageModel] {
    pattern: "M*-"
    hidden_size: 32
    vocabulary_size: 128
    norm_epsilon: 1e-5
    init_std: 0.05
    output_init_std: 0.02
    attention { num_heads: 4 head_dim: 8 num_kv_groups: 2 }
    mamba { num_heads: 4 head_dim: 16 num_groups: 2 state_size: 8 conv_kernel: 4 chunk_size: 8 }
    mlp { ffn_size: 64 }
  })";

// Learns to count, and returns the mean loss of each step.
absl::StatusOr<std::vector<double>> LearnToCount(int num_steps) {
  google::protobuf::Any config;
  if (!google::protobuf::TextFormat::ParseFromString(kConfig, &config)) {
    return absl::InvalidArgumentError("not a model's message");
  }
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, BuiltInModels().Make(config));
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table, model->MakeTable("language", {}));

  const Device cpu;
  MemoryLedger memory;
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<ParameterStore> parameters,
                          ParameterStore::Create(table, {}, cpu, memory));
  HETERO_ASSIGN_OR_RETURN(
      const std::unique_ptr<Stage> stage,
      model->MakeStage("language", {},
                       {.parameters = *parameters, .device = cpu, .ledger = memory}));
  HETERO_ASSIGN_OR_RETURN(Arena activations,
                          Arena::Create(cpu, MemoryLabel::kActivations, 1 << 20, memory));
  HETERO_ASSIGN_OR_RETURN(Arena workspace,
                          Arena::Create(cpu, MemoryLabel::kWorkspace, 1 << 20, memory));
  Stream stream(cpu, workspace);
  HETERO_RETURN_IF_ERROR(parameters->Initialize(/*seed=*/1, stream));
  ModuleContext context{.stream = stream, .activations = activations};

  // One row of 16 tokens; the last has nothing behind it to predict.
  const std::vector<int32_t> rows = {0, 16};
  std::vector<int32_t> places(16), ids(16);
  std::iota(places.begin(), places.end(), 0);
  std::iota(ids.begin(), ids.end(), 40);
  const std::vector<float> weights(15, 1.0f);
  const TokenBatch tokens{.sequences = {.num_rows = 1, .row_length = 16, .cu_seqlens = rows},
                          .text_tokens = ConstTensorView(ids.data(), DType::kI32, {16}),
                          .text_positions = ConstTensorView(places.data(), DType::kI32, {16}),
                          .loss_positions = ConstTensorView(places.data(), DType::kI32, {15}),
                          .loss_targets = ConstTensorView(ids.data() + 1, DType::kI32, {15}),
                          .loss_weights = ConstTensorView(weights.data(), DType::kF32, {15})};

  std::vector<double> losses;
  for (int step = 0; step < num_steps; ++step) {
    activations.Release(0);
    HETERO_RETURN_IF_ERROR(stage->Forward(context, /*slot=*/0, {.tokens = &tokens}).status());
    HETERO_RETURN_IF_ERROR(stage->Backward(context, /*slot=*/0, {}, {}));
    HETERO_RETURN_IF_ERROR(parameters->FinishGradients(stream));
    HETERO_ASSIGN_OR_RETURN(const StageStatistics statistics, stage->TakeStatistics(stream));
    losses.push_back(statistics.loss_sum / statistics.loss_weight);
    for (FlatGroup& group : parameters->groups()) {
      const auto values = group.values.values<float>(), gradients = group.gradients.values<float>();
      for (size_t i = 0; i < values.size(); ++i) values[i] -= 0.02f * gradients[i];
    }
  }
  return losses;
}

TEST(Example, ALanguageModelLearnsToCount) {
  const std::vector<double> losses = LearnToCount(60).value();
  EXPECT_NEAR(losses.front(), std::log(128), 0.2);
  EXPECT_LT(losses.back(), 0.1);
}

}  // namespace
}  // namespace hetero
