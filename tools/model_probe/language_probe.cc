#include <cstddef>
#include <numeric>
#include <span>
#include <string>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/embedding/embedding.h"
#include "hetero/models/blocks/head/head.h"
#include "hetero/models/nemotron/hybrid.h"
#include "hetero/models/nemotron/hybrid_model.h"
#include "hetero/models/stage.h"
#include "hetero/tools/model_probe/probed_module.h"
#include "hetero/trainer/step/communicators.h"

namespace hetero {
namespace {

// Every layer a stage, and one behind them for what follows the last. A table that is the output
// layer too has a twin there.
proto::HybridLanguageModel InStages(const proto::HybridLanguageModel& model) {
  proto::HybridLanguageModel staged = model;
  staged.clear_tie_embeddings();
  staged.clear_pattern();
  for (const char symbol : model.pattern())
    absl::StrAppend(staged.mutable_pattern(), std::string(1, symbol), "|");
  return staged;
}

class LanguageProbe : public ProbedModule {
 public:
  static absl::StatusOr<std::unique_ptr<ProbedModule>> Create(
      const proto::HybridLanguageModel& message, const TokenInputs& inputs,
      const ModulePlace& place) {
    std::unique_ptr<LanguageProbe> probe(new LanguageProbe(inputs, place));
    const proto::HybridLanguageModel staged = InStages(message);
    HETERO_ASSIGN_OR_RETURN(probe->model_, MakeHybridModel(staged, place.storage));
    const HybridConfig config = HybridConfigFromProto(staged, place.storage);
    const Model& model = *probe->model_;
    HETERO_ASSIGN_OR_RETURN(probe->names_,
                            model.NamesIn(NameScheme::kHuggingFace, kLanguageModule));
    const int num_stages = static_cast<int>(config.pattern.size()) + 1;
    const ShardSpec all_stages{.tp = {.rank = 0, .size = place.grid.Size(Axis::kTp)},
                               .pp = {.rank = 0, .size = num_stages}};
    HETERO_ASSIGN_OR_RETURN(const ParameterTable table,
                            model.MakeTable(kLanguageModule, all_stages));
    HETERO_ASSIGN_OR_RETURN(probe->communicators_,
                            MakeLayerCommunicators(place.grid, table, place.rank, place.factory));
    for (int s = 0; s < num_stages; ++s) {
      HETERO_ASSIGN_OR_RETURN(ParameterStore* const parameters,
                              probe->AddStage(table, place, s, num_stages));
      HETERO_ASSIGN_OR_RETURN(
          probe->stages_.emplace_back(),
          model.MakeStage(kLanguageModule, {.stage = s, .num_stages = num_stages},
                          {.parameters = *parameters,
                           .communicators = probe->communicators_.by_family,
                           .device = place.device,
                           .ledger = place.ledger}));
    }
    HETERO_ASSIGN_OR_RETURN(
        probe->head_, HeadBlock::Create({.vocabulary = {.vocabulary_size = config.vocabulary_size,
                                                        .hidden_size = config.hidden_size,
                                                        .init_std = config.init_std,
                                                        .storage = config.storage},
                                         .norm_epsilon = config.norm_epsilon},
                                        *probe->stores().back(), {},
                                        probe->communicators_.by_family.Of(Family::kTp)));
    probe->vocabulary_size_ = config.vocabulary_size;
    if (message.tie_embeddings()) {
      HETERO_RETURN_IF_ERROR(probe->TieTable());
    }
    return probe;
  }

  absl::Status Forward(ModuleContext& context) override {
    for (size_t s = 0; s < stages_.size(); ++s) {
      StageInput input{.tokens = &batch_};
      if (s > 0) input.previous_stage = streams_.back();
      HETERO_ASSIGN_OR_RETURN(const TensorView stream,
                              stages_[s]->Forward(context, /*slot=*/0, input));
      if (s + 1 == stages_.size()) break;
      streams_.push_back(stream);
      AddLayer(stream, inputs_.num_tokens(), place_.grid, place_.rank);
    }
    HETERO_ASSIGN_OR_RETURN(const TensorView logits,
                            head_.Logits(context, streams_.back(), inputs_.num_tokens()));
    CheckpointTensor output{.key = "logits",
                            .dtype = logits.dtype(),
                            .shape = {inputs_.num_tokens(), vocabulary_size_}};
    if (logits.num_elements() > 0) {
      output.pieces.push_back(
          {.box = {{0, head_.first_row()}, {logits.dim(0), logits.dim(1)}}, .local = logits});
    }
    AddOutput(std::move(output));
    HETERO_ASSIGN_OR_RETURN(const StageStatistics statistics,
                            stages_.back()->TakeStatistics(context.stream));
    AddLoss(statistics.loss_sum, place_.grid.Coord(place_.rank, Axis::kTp) == 0);
    return absl::OkStatus();
  }

  absl::Status Backward(ModuleContext& context) override {
    TensorView gradient;
    for (size_t s = stages_.size(); s-- > 0;) {
      StageInputGradients d_input;
      if (s > 0) {
        const TensorView& stream = streams_[s - 1];
        HETERO_ASSIGN_OR_RETURN(d_input.previous_stage,
                                context.activations.Allocate(stream.dtype(), stream.dims()));
      }
      HETERO_RETURN_IF_ERROR(stages_[s]->Backward(context, /*slot=*/0, gradient, d_input));
      gradient = d_input.previous_stage;
    }
    return absl::OkStatus();
  }

 private:
  LanguageProbe(const TokenInputs& inputs, const ModulePlace& place)
      : inputs_(inputs), place_(place) {
    for (int64_t row = 0; row <= inputs.num_rows; ++row) {
      cu_seqlens_.push_back(static_cast<int32_t>(row * inputs.row_length));
    }
    positions_.resize(inputs.num_tokens());
    std::iota(positions_.begin(), positions_.end(), 0);
    for (int64_t t = 0; t < inputs.num_tokens(); ++t) {
      if (inputs.targets[t] < 0) continue;
      loss_positions_.push_back(static_cast<int32_t>(t));
      loss_targets_.push_back(inputs.targets[t]);
    }
    const int64_t counted = std::ssize(loss_positions_);
    loss_weights_ = HostMatrix(ComputeDType(place.storage), counted, 1);
    for (int64_t i = 0; i < counted; ++i) {
      loss_weights_.Set(i, 0, 1 / static_cast<double>(counted));
    }
    batch_ = {.sequences = {.num_rows = inputs.num_rows,
                            .row_length = inputs.row_length,
                            .cu_seqlens = cu_seqlens_},
              .text_tokens = View(inputs.ids),
              .text_positions = View(positions_),
              .loss_positions = View(loss_positions_),
              .loss_targets = View(loss_targets_),
              .loss_weights = loss_weights_.view().Reshape({counted})};
  }

  absl::Status TieTable() {
    HETERO_ASSIGN_OR_RETURN(Parameter* const table, stores().front()->Find(kEmbeddingTable));
    HETERO_ASSIGN_OR_RETURN(Parameter* const output, stores().back()->Find(kOutputLayer));
    SetTwin(*table, *output);
    std::erase_if(names_, [](const BoxMap& map) { return map.name == kOutputLayer; });
    return absl::OkStatus();
  }

  static ConstTensorView View(const std::vector<int32_t>& values) {
    return ConstTensorView(values.data(), DType::kI32, {std::ssize(values)});
  }

  const TokenInputs& inputs_;
  ModulePlace place_;
  std::unique_ptr<Model> model_;
  LayerCommunicators communicators_;
  std::vector<std::unique_ptr<Stage>> stages_;
  HeadBlock head_;
  int64_t vocabulary_size_ = 0;

  std::vector<int32_t> cu_seqlens_, positions_, loss_positions_, loss_targets_;
  HostMatrix loss_weights_;
  TokenBatch batch_;
  std::vector<TensorView> streams_;  // what each stage but the last returned
};

}  // namespace

absl::StatusOr<std::unique_ptr<ProbedModule>> MakeLanguageProbe(
    const proto::HybridLanguageModel& model, const TokenInputs& inputs, const ModulePlace& place) {
  return LanguageProbe::Create(model, inputs, place);
}

}  // namespace hetero
