#include "hetero/models/nemotron/hybrid.h"

#include <algorithm>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/run_layers.h"
#include "hetero/models/blocks/weight_gradient.h"
#include "hetero/tensor/ops/cross_entropy/cross_entropy.h"
#include "hetero/tensor/ops/cross_entropy/linear_cross_entropy.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/embedding/embedding.h"
#include "hetero/tensor/ops/exact_match/exact_match.h"
#include "hetero/tensor/ops/norm/norm.h"

namespace hetero {
namespace {

constexpr std::string_view kEmbedding = "embedding.word_embeddings.weight";
constexpr std::string_view kFinalNorm = "decoder.final_norm.weight";
constexpr std::string_view kHead = "output_layer.weight";

std::string LayerPrefix(int64_t layer) { return absl::StrCat("decoder.layers.", layer, "."); }

std::vector<ParameterSpec> LayerParameters(const HybridConfig& config, int64_t layer) {
  const std::string prefix = LayerPrefix(layer);
  switch (config.pattern.layers()[layer]) {
    case LayerKind::kMamba:
      return MambaBlock::Parameters(config.mamba, prefix);
    case LayerKind::kAttention:
      return AttentionBlock::Parameters(config.attention, prefix);
    case LayerKind::kExperts:
      return MoeBlock::Parameters(config.experts, prefix);
    case LayerKind::kMlp:
      return MlpBlock::Parameters(config.mlp, prefix);
  }
  return {};
}

// Ranks of tensor parallelism hold whole tiles of rows, but for what the vocabulary lacks at its
// end.
constexpr int64_t kVocabularyTile = 128;

ParameterSpec VocabularyMatrix(const HybridConfig& config, std::string_view name) {
  return {.name = std::string(name),
          .shape = {config.vocabulary_size, config.hidden_size},
          .storage = config.storage,
          .init = Init::Normal(config.init_std),
          .dims = {{.axis = ShardAxis::kTp, .blocks = {}, .tile = kVocabularyTile}, {}}};
}

}  // namespace

absl::StatusOr<ParameterTable> MakeHybridTable(const HybridConfig& config, const ShardSpec& shard) {
  const int num_stages = static_cast<int>(shard.pp.size);
  std::vector<ParameterSpec> specs;
  const auto add = [&](int stage, ParameterSpec spec) {
    spec.stage = stage;
    spec.trainable = config.trainable;
    specs.push_back(std::move(spec));
  };
  add(0, VocabularyMatrix(config, kEmbedding));
  for (int stage = 0; stage < num_stages; ++stage) {
    HETERO_ASSIGN_OR_RETURN(const LayerRange range, config.pattern.Stage(stage, num_stages));
    for (int64_t layer = range.first; layer < range.first + range.count; ++layer) {
      for (ParameterSpec& spec : LayerParameters(config, layer)) add(stage, std::move(spec));
    }
  }
  add(num_stages - 1, {.name = std::string(kFinalNorm),
                       .shape = {config.hidden_size},
                       .storage = config.storage,
                       .init = Init::Constant(1),
                       .partial_over_tp = true,
                       .decay = false});
  add(num_stages - 1, VocabularyMatrix(config, kHead));
  return ParameterTable::Make(std::move(specs));
}

absl::StatusOr<std::unique_ptr<HybridStage>> HybridStage::Create(const HybridConfig& config,
                                                                 StagePlace place,
                                                                 const StageResources& resources) {
  auto stage = std::unique_ptr<HybridStage>(new HybridStage(config, place));
  if (place.first()) {
    HETERO_ASSIGN_OR_RETURN(stage->embedding_VH_, resources.parameters.Find(kEmbedding));
  }
  HETERO_RETURN_IF_ERROR(stage->MakeBlocks(resources));
  if (place.last()) {
    HETERO_ASSIGN_OR_RETURN(stage->final_norm_H_, resources.parameters.Find(kFinalNorm));
    HETERO_ASSIGN_OR_RETURN(stage->head_VH_, resources.parameters.Find(kHead));
  }
  stage->slots_.resize(resources.num_slots);
  return stage;
}

absl::Status HybridStage::MakeBlocks(const StageResources& resources) {
  HETERO_ASSIGN_OR_RETURN(const LayerRange range,
                          config_.pattern.Stage(place_.stage, place_.num_stages));
  const std::span<const LayerKind> kinds =
      std::span(config_.pattern.layers()).subspan(range.first, range.count);
  const int64_t num_moe = std::count(kinds.begin(), kinds.end(), LayerKind::kExperts);
  const int64_t num_experts = std::max<int64_t>(config_.experts.num_experts, 1);

  // One allocation: i64 counts of every MoE layer, then the sums, which are all at most 8 bytes.
  const int64_t num_numbers = num_moe * num_experts + num_moe + 5;
  HETERO_ASSIGN_OR_RETURN(statistics_, Buffer::Allocate(resources.device, MemoryLabel::kActivations,
                                                        8 * num_numbers, resources.ledger));
  const TensorView all = statistics_.View(DType::kI64, {num_numbers});
  const auto part = [&](DType dtype, int64_t begin, std::initializer_list<int64_t> dims) {
    return TensorView(all.Rows(begin, all.dim(0) - begin).address(), dtype, dims);
  };
  tokens_per_expert_LE_ = part(DType::kI64, 0, {num_moe, num_experts});
  balance_loss_L_ = part(ComputeDType(config_.storage), num_moe * num_experts, {num_moe});
  loss_2_ = part(DType::kF64, num_moe * num_experts + num_moe, {2});
  matches_2_ = part(DType::kI64, num_moe * num_experts + num_moe + 2, {2});
  invalid_ids_1_ = part(DType::kI64, num_moe * num_experts + num_moe + 4, {1});

  Communicator* tensor_parallel = resources.communicators.Of(Family::kTp);
  Communicator* expert_parallel = resources.communicators.Of(Family::kTpEp);
  statistics_ranks_ = resources.communicators.Of(Family::kTpDpCp);
  exchanges_.resize(num_moe);
  tells_exchanges_ = expert_parallel == nullptr || expert_parallel->rank() == GroupRank(0);
  ParameterStore& parameters = resources.parameters;
  int64_t moe = 0;
  for (int64_t layer = range.first; layer < range.first + range.count; ++layer) {
    const std::string prefix = LayerPrefix(layer);
    switch (config_.pattern.layers()[layer]) {
      case LayerKind::kMamba: {
        HETERO_ASSIGN_OR_RETURN(MambaBlock block, MambaBlock::Create(config_.mamba, prefix,
                                                                     parameters, tensor_parallel));
        blocks_.push_back(std::move(block));
        break;
      }
      case LayerKind::kAttention: {
        HETERO_ASSIGN_OR_RETURN(
            AttentionBlock block,
            AttentionBlock::Create(config_.attention, prefix, parameters, tensor_parallel));
        blocks_.push_back(std::move(block));
        break;
      }
      case LayerKind::kExperts: {
        HETERO_ASSIGN_OR_RETURN(
            MoeBlock block, MoeBlock::Create(config_.experts, prefix, parameters,
                                             {.tokens_per_expert_E = tokens_per_expert_LE_.At(moe),
                                              .balance_loss_1 = balance_loss_L_.Rows(moe, 1),
                                              .exchanges = &exchanges_[moe]},
                                             tensor_parallel, expert_parallel));
        blocks_.push_back(std::move(block));
        ++moe;
        break;
      }
      case LayerKind::kMlp: {
        HETERO_ASSIGN_OR_RETURN(MlpBlock block,
                                MlpBlock::Create(config_.mlp, prefix, parameters, tensor_parallel));
        blocks_.push_back(std::move(block));
        break;
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<TensorView> HybridStage::Forward(ModuleContext& context, int slot_index,
                                                const StageInput& input) {
  Slot& slot = slots_[slot_index];
  slot.batch = *input.tokens;
  slot.blocks.clear();
  slot.blocks.reserve(blocks_.size());
  if (context.counts_statistics() && config_.experts.aux_loss_coefficient > 0) {
    balance_tokens_ += tokens_per_expert_LE_.dim(0) * slot.batch.sequences.num_unpadded_tokens();
  }
  TensorView hidden_TH;
  if (place_.first()) {
    HETERO_ASSIGN_OR_RETURN(hidden_TH, Embed(context, input));
  } else {
    // Blocks only read what they are given.
    const ConstTensorView& previous = input.previous_stage;
    hidden_TH =
        TensorView(const_cast<void*>(previous.address()), previous.dtype(), previous.dims());
  }
  HETERO_ASSIGN_OR_RETURN(
      hidden_TH, RunLayers(context, hidden_TH, std::ssize(blocks_),
                           [&](ModuleContext& of_layer, int64_t layer, ConstTensorView input_TH) {
                             return std::visit(
                                 [&](const auto& typed) {
                                   using Saved = typename std::decay_t<decltype(typed)>::Saved;
                                   slot.blocks.emplace_back(std::in_place_type<Saved>);
                                   return typed.Forward(of_layer, input_TH, slot.batch.sequences,
                                                        std::get<Saved>(slot.blocks.back()));
                                 },
                                 blocks_[layer]);
                           }));
  if (!place_.last()) return hidden_TH;
  HETERO_RETURN_IF_ERROR(Head(context, hidden_TH, slot));
  return TensorView();
}

absl::Status HybridStage::Backward(ModuleContext& context, int slot_index, TensorView d_output,
                                   const StageInputGradients& d_input) {
  Slot& slot = slots_[slot_index];
  Arena& workspace = context.stream.workspace();
  ArenaScope scope(workspace);
  TensorView d_hidden_TH = d_output;
  if (place_.last()) {
    HETERO_ASSIGN_OR_RETURN(
        d_hidden_TH, workspace.Allocate(slot.final_hidden_TH.dtype(), slot.final_hidden_TH.dims()));
    const WeightGradient d_norm = WeightGradientOf(context, *final_norm_H_);
    HETERO_RETURN_IF_ERROR(RmsNormBackward({.dy_TC = slot.d_normed_TH,
                                            .x_TC = slot.final_hidden_TH,
                                            .weight_C = final_norm_H_->value,
                                            .rstd_T = slot.final_rstd_T,
                                            .dx_TC = d_hidden_TH,
                                            .dweight_C = d_norm.view,
                                            .accumulate = d_norm.accumulate},
                                           context.stream));
  }
  for (size_t i = blocks_.size(); i-- > 0;) {
    HETERO_RETURN_IF_ERROR(std::visit(
        [&](const auto& typed) {
          using Saved = typename std::decay_t<decltype(typed)>::Saved;
          return typed.Backward(context, std::get<Saved>(slot.blocks[i]), d_hidden_TH);
        },
        blocks_[i]));
  }
  if (place_.first()) return EmbedBackward(context, slot, d_hidden_TH, d_input.edges);
  if (d_input.previous_stage.is_null()) return absl::OkStatus();
  return Copy(d_hidden_TH, d_input.previous_stage, context.stream);
}

absl::StatusOr<TensorView> HybridStage::Embed(ModuleContext& context, const StageInput& input) {
  const TokenBatch& batch = *input.tokens;
  const int64_t tokens = batch.sequences.num_tokens();
  int64_t named = batch.text_positions.num_elements();
  if (batch.modality_positions.size() != input.edges.size()) {
    return absl::InvalidArgumentError(absl::StrCat(input.edges.size(), " modalities arrive for ",
                                                   batch.modality_positions.size(),
                                                   " kinds of placeholders"));
  }
  for (size_t i = 0; i < input.edges.size(); ++i) {
    const int64_t placeholders = batch.modality_positions[i].num_elements();
    if (input.edges[i].dim(0) != placeholders) {
      return absl::InvalidArgumentError(absl::StrCat("encoder ", i, " emitted ",
                                                     input.edges[i].dim(0), " rows for ",
                                                     placeholders, " placeholders"));
    }
    named += placeholders;
  }
  if (named != tokens) {
    return absl::InvalidArgumentError(absl::StrCat("text and placeholders name ", named, " of ",
                                                   tokens, " tokens; every token needs a row"));
  }
  HETERO_ASSIGN_OR_RETURN(
      const TensorView hidden_TH,
      context.activations.Allocate(config_.storage, {tokens, config_.hidden_size}));
  HETERO_RETURN_IF_ERROR(EmbeddingForward({.weight_VH = embedding_VH_->value,
                                           .ids_N = batch.text_tokens,
                                           .positions_N = batch.text_positions,
                                           .out_TH = hidden_TH,
                                           .invalid_ids_1 = invalid_ids_1_},
                                          context.stream));
  for (size_t i = 0; i < input.edges.size(); ++i) {
    HETERO_RETURN_IF_ERROR(
        ScatterRows(input.edges[i], batch.modality_positions[i], hidden_TH, context.stream));
  }
  return hidden_TH;
}

absl::Status HybridStage::EmbedBackward(ModuleContext& context, const Slot& slot,
                                        TensorView d_hidden_TH,
                                        std::span<const TensorView> d_edges) {
  for (size_t i = 0; i < d_edges.size(); ++i) {
    if (d_edges[i].is_null()) continue;
    HETERO_RETURN_IF_ERROR(
        GatherRows(d_hidden_TH, slot.batch.modality_positions[i], d_edges[i], context.stream));
  }
  const WeightGradient d_embedding = WeightGradientOf(context, *embedding_VH_);
  if (!d_embedding.wanted()) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(EmbeddingBackward({.d_out_TH = d_hidden_TH,
                                            .ids_N = slot.batch.text_tokens,
                                            .positions_N = slot.batch.text_positions,
                                            .dweight_VH = d_embedding.view,
                                            .accumulate = d_embedding.accumulate},
                                           context.stream));
  return absl::OkStatus();
}

absl::Status HybridStage::Head(ModuleContext& context, TensorView hidden_TH, Slot& slot) {
  const bool training = context.mode != Mode::kEval;
  Arena& workspace = context.stream.workspace();
  ArenaScope scope(workspace);
  HETERO_ASSIGN_OR_RETURN(const TensorView normed_TH,
                          workspace.Allocate(hidden_TH.dtype(), hidden_TH.dims()));
  slot.final_hidden_TH = hidden_TH;
  const DType compute = ComputeDType(config_.storage);
  HETERO_ASSIGN_OR_RETURN(slot.final_rstd_T,
                          context.activations.Allocate(compute, {hidden_TH.dim(0)}));
  HETERO_RETURN_IF_ERROR(RmsNormForward({.x_TC = hidden_TH,
                                         .weight_C = final_norm_H_->value,
                                         .y_TC = normed_TH,
                                         .rstd_T = slot.final_rstd_T,
                                         .epsilon = config_.norm_epsilon},
                                        context.stream));

  const TokenBatch& batch = slot.batch;
  const int64_t counted = batch.loss_positions.num_elements();
  HETERO_ASSIGN_OR_RETURN(const TensorView loss_N, workspace.Allocate(compute, {counted}));
  TensorView argmax_N;
  slot.d_normed_TH = TensorView();
  if (training) {
    HETERO_ASSIGN_OR_RETURN(slot.d_normed_TH,
                            context.activations.Allocate(hidden_TH.dtype(), hidden_TH.dims()));
  } else {
    HETERO_ASSIGN_OR_RETURN(argmax_N, workspace.Allocate(DType::kI32, {counted}));
  }
  const WeightGradient d_head = training ? WeightGradientOf(context, *head_VH_) : WeightGradient();
  HETERO_RETURN_IF_ERROR(LinearCrossEntropy({.hidden_TH = normed_TH,
                                             .weight_VH = head_VH_->value,
                                             .rows_N = batch.loss_positions,
                                             .targets_N = batch.loss_targets,
                                             .loss_weight_N = batch.loss_weights,
                                             .loss_N = loss_N,
                                             .invalid_targets_1 = invalid_ids_1_,
                                             .argmax_N = argmax_N,
                                             .d_hidden_TH = slot.d_normed_TH,
                                             .dweight_VH = d_head.view,
                                             .accumulate = d_head.accumulate},
                                            context.stream));
  HETERO_RETURN_IF_ERROR(AddWeightedLoss(loss_N, batch.loss_weights, loss_2_, context.stream));
  if (training) return absl::OkStatus();
  return CountExactMatches({.predicted_N = argmax_N,
                            .targets_N = batch.loss_targets,
                            .positions_N = batch.loss_positions,
                            .row_length = batch.sequences.row_length,
                            .counts_2 = matches_2_},
                           context.stream);
}

absl::Status HybridStage::FinishStep(ConstTensorView decisions, Stream& stream) {
  if (tokens_per_expert_LE_.dim(0) == 0) return absl::OkStatus();
  if (!config_.trainable) return Fill(0, tokens_per_expert_LE_, stream);
  if (statistics_ranks_ != nullptr) {
    HETERO_RETURN_IF_ERROR(statistics_ranks_->AllReduce(tokens_per_expert_LE_,
                                                        tokens_per_expert_LE_, ReduceOp::kSum,
                                                        stream, "language.tokens_per_expert"));
  }
  for (const Block& block : blocks_) {
    if (const MoeBlock* moe = std::get_if<MoeBlock>(&block)) {
      HETERO_RETURN_IF_ERROR(moe->UpdateExpertBias(decisions, stream));
    }
  }
  return absl::OkStatus();
}

absl::Status HybridStage::TakeTotals(const TensorView& totals, Stream& stream) {
  ArenaScope scope(stream.workspace());
  const auto add = [&](StageTotal first, const ConstTensorView& sums) -> absl::Status {
    const int64_t count = sums.dim(0);
    HETERO_ASSIGN_OR_RETURN(const TensorView converted,
                            stream.workspace().Allocate(DType::kF64, {count}));
    HETERO_RETURN_IF_ERROR(Copy(sums, converted, stream));
    const TensorView to = totals.Rows(first, count);
    return Add(to, converted, to, stream);
  };
  HETERO_RETURN_IF_ERROR(add(kStageLossSum, loss_2_));
  HETERO_RETURN_IF_ERROR(add(kStageSequences, matches_2_));
  HETERO_RETURN_IF_ERROR(add(kStageInvalidIds, invalid_ids_1_));
  for (int64_t layer = 0; layer < balance_loss_L_.dim(0); ++layer) {
    HETERO_RETURN_IF_ERROR(add(kStageBalanceLoss, balance_loss_L_.Rows(layer, 1)));
  }
  for (const TensorView& sums : {loss_2_, matches_2_, invalid_ids_1_, balance_loss_L_}) {
    HETERO_RETURN_IF_ERROR(Fill(0, sums, stream));
  }
  HETERO_ASSIGN_OR_RETURN(const TensorView counted, stream.workspace().Allocate(DType::kF64, {1}));
  const auto add_counted = [&](StageTotal total, int64_t count) -> absl::Status {
    HETERO_RETURN_IF_ERROR(Fill(static_cast<double>(count), counted, stream));
    const TensorView to = totals.Rows(total, 1);
    return Add(to, counted, to, stream);
  };
  HETERO_RETURN_IF_ERROR(add_counted(kStageBalanceTokens, std::exchange(balance_tokens_, 0)));
  ExchangeCounts all;
  for (ExchangeCounts& of_layer : exchanges_) {
    const ExchangeCounts taken = std::exchange(of_layer, {});
    all.exchanges += taken.exchanges;
    all.rounds += taken.rounds;
  }
  exceeded_prediction_ |= all.rounds > all.exchanges;
  if (!tells_exchanges_ || all.exchanges == 0) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(add_counted(kStageExpertExchanges, all.exchanges));
  return add_counted(kStageExpertRounds, all.rounds);
}

}  // namespace hetero
