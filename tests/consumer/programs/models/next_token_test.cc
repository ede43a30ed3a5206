// Trains a small hybrid language model with a training loop of ten lines and an update of its own:
// the model library neither knows nor needs the trainer, the optimizer or the data library.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/text_format.h"
#include "hetero/base/status.h"
#include "hetero/models/nemotron/hybrid.pb.h"
#include "hetero/models/nemotron/hybrid_model.h"
#include "hetero/models/stage.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/stream.h"

namespace {

constexpr char kModel[] = R"pb(
  pattern: "M*E-"
  hidden_size: 32
  vocabulary_size: 64
  norm_epsilon: 1e-5
  init_std: 0.02
  output_init_std: 0.01
  attention { num_heads: 2 head_dim: 16 num_kv_groups: 1 }
  mamba { num_heads: 4 head_dim: 16 num_groups: 1 state_size: 16 conv_kernel: 4 chunk_size: 8 }
  experts {
    num_experts: 4
    top_k: 2
    ffn_size: 32
    shared_ffn_size: 32
    router_scaling: 1
    aux_loss_coefficient: 0.001
    expert_bias_rate: 0.001
  }
  mlp { ffn_size: 64 }
)pb";

constexpr std::int64_t kRows = 4;
constexpr std::int64_t kLength = 24;
constexpr std::int64_t kTokens = kRows * kLength;
constexpr std::int32_t kPeriod = 7;
constexpr int kNumSteps = 120;

hetero::ConstTensorView View(const std::vector<std::int32_t>& values) {
  return {std::span<const std::int32_t>(values), {static_cast<std::int64_t>(values.size())}};
}

// Rows that count round a circle of kPeriod tokens, each from a start of its own.
struct Text {
  Text() {
    for (std::int32_t t = 0; t < kTokens; ++t) {
      tokens.push_back((t / kLength + t % kLength) % kPeriod);
      targets.push_back((tokens.back() + 1) % kPeriod);
      positions.push_back(t);
    }
    for (std::int32_t row = 0; row <= kRows; ++row) borders.push_back(row * kLength);
  }

  hetero::TokenBatch Batch() const {
    return {.sequences = {.num_rows = kRows, .row_length = kLength, .cu_seqlens = borders},
            .text_tokens = View(tokens),
            .text_positions = View(positions),
            .loss_positions = View(positions),
            .loss_targets = View(targets),
            .loss_weights = {std::span<const float>(weights), {kTokens}}};
  }

  std::vector<std::int32_t> tokens;
  std::vector<std::int32_t> targets;
  std::vector<std::int32_t> positions;
  std::vector<std::int32_t> borders;
  std::vector<float> weights = std::vector<float>(kTokens, 1.0f);
};

// Every weight moves by the same small amount against its gradient's sign.
void Descend(hetero::ParameterStore& store, float amount) {
  for (hetero::FlatGroup& group : store.groups()) {
    const std::span<float> values = group.values.values<float>();
    const std::span<const float> gradients = group.gradients.values<float>();
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (gradients[i] != 0) values[i] -= std::copysign(amount, gradients[i]);
    }
  }
}

absl::StatusOr<double> Train() {
  hetero::proto::HybridLanguageModel config;
  if (!google::protobuf::TextFormat::ParseFromString(kModel, &config)) {
    return absl::InvalidArgumentError("the model's text does not parse");
  }
  HETERO_ASSIGN_OR_RETURN(const auto model, hetero::MakeHybridModel(config));
  const std::string module = model->graph().SampleOwner().name;

  const hetero::Device device;
  hetero::MemoryLedger memory;
  HETERO_ASSIGN_OR_RETURN(const hetero::ParameterTable table, model->MakeTable(module, {}));
  HETERO_ASSIGN_OR_RETURN(const auto store,
                          hetero::ParameterStore::Create(table, {}, device, memory));
  HETERO_ASSIGN_OR_RETURN(
      const auto stage,
      model->MakeStage(
          module, {},
          {.parameters = *store, .communicators = {}, .device = device, .ledger = memory}));
  HETERO_ASSIGN_OR_RETURN(
      hetero::Arena workspace,
      hetero::Arena::Create(device, hetero::MemoryLabel::kWorkspace, 16 << 20, memory));
  HETERO_ASSIGN_OR_RETURN(
      hetero::Arena activations,
      hetero::Arena::Create(device, hetero::MemoryLabel::kActivations, 16 << 20, memory));
  hetero::Stream stream(device, workspace);
  HETERO_RETURN_IF_ERROR(store->Initialize(/*seed=*/1, stream));
  std::printf("%lld parameters; %s\n", static_cast<long long>(table.num_parameters()),
              memory.ToString().c_str());

  const Text text;
  const hetero::TokenBatch batch = text.Batch();
  double loss = 0;
  for (int step = 0; step < kNumSteps; ++step) {
    const hetero::ArenaScope microbatch(activations);
    hetero::ModuleContext context{
        .stream = stream, .activations = activations, .needs_input_gradient = false};
    HETERO_RETURN_IF_ERROR(stage->Forward(context, /*slot=*/0, {.tokens = &batch}).status());
    HETERO_RETURN_IF_ERROR(stage->Backward(context, /*slot=*/0, {}, {}));
    HETERO_RETURN_IF_ERROR(store->FinishGradients(stream));
    Descend(*store, 2e-3f);
    HETERO_RETURN_IF_ERROR(stage->FinishStep(/*decisions=*/{}, stream));
    HETERO_ASSIGN_OR_RETURN(const hetero::StageStatistics statistics,
                            stage->TakeStatistics(stream));
    loss = statistics.loss_sum / statistics.loss_weight;
    if (step % 40 == 0) std::printf("step %3d: loss %.4f\n", step, loss);
  }
  return loss;
}

}  // namespace

int main() {
  const absl::StatusOr<double> loss = Train();
  if (!loss.ok()) {
    std::fprintf(stderr, "%s\n", loss.status().ToString().c_str());
    return EXIT_FAILURE;
  }
  std::printf("last loss %.4f\n", *loss);
  return *loss < 0.1 ? EXIT_SUCCESS : EXIT_FAILURE;
}
