#include "hetero/models/nemotron/hybrid.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/run_layers.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"

namespace hetero {
namespace {

std::string LayerPrefix(int64_t layer) { return absl::StrCat("decoder.layers.", layer, "."); }

// ParameterSpec::layer: 0 is the embedding, kLastLayer the head.
int NumberOf(int64_t layer) { return 1 + static_cast<int>(layer); }

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

VocabularyConfig VocabularyOf(const HybridConfig& config) {
  return {.vocabulary_size = config.vocabulary_size,
          .hidden_size = config.hidden_size,
          .init_std = config.init_std,
          .storage = config.storage};
}

HeadConfig HeadOf(const HybridConfig& config) {
  return {.vocabulary = VocabularyOf(config),
          .norm_epsilon = config.norm_epsilon,
          .tied_to = config.tie_embeddings ? kEmbeddingTable : std::string_view(),
          .logits_chunk_rows = config.logits_chunk_rows};
}

// What the sizes of its parameters do not tell: heads and groups stay whole.
absl::Status CheckRanks(const HybridConfig& config, int64_t layer, int64_t tensor_parallel_ranks) {
  switch (config.pattern.layers()[layer]) {
    case LayerKind::kMamba:
      return MambaBlock::CheckRanks(config.mamba, LayerPrefix(layer), tensor_parallel_ranks);
    case LayerKind::kAttention:
      return AttentionBlock::CheckRanks(config.attention, LayerPrefix(layer),
                                        tensor_parallel_ranks);
    case LayerKind::kExperts:
    case LayerKind::kMlp:
      return absl::OkStatus();
  }
  return absl::OkStatus();
}

int MoeLayersBefore(const LayerPattern& pattern, int64_t layer) {
  const std::vector<LayerKind>& kinds = pattern.layers();
  return static_cast<int>(std::count(kinds.begin(), kinds.begin() + layer, LayerKind::kExperts));
}

}  // namespace

int HybridConfig::num_totals() const {
  return kNumStageTotals + 4 * static_cast<int>(pattern.Count(LayerKind::kExperts));
}

int HybridConfig::ExchangesTotal(int64_t layer) const {
  return kNumStageTotals + 2 * MoeLayersBefore(pattern, layer);
}

int HybridConfig::BalanceLossTotal(int64_t layer) const {
  const int num_moe = static_cast<int>(pattern.Count(LayerKind::kExperts));
  return kNumStageTotals + 2 * num_moe + MoeLayersBefore(pattern, layer);
}

int HybridConfig::BalanceTokensTotal(int64_t layer) const {
  const int num_moe = static_cast<int>(pattern.Count(LayerKind::kExperts));
  return BalanceLossTotal(layer) + num_moe;
}

absl::StatusOr<ParameterTable> MakeHybridTable(const HybridConfig& config, const ShardSpec& shard) {
  const int num_stages = static_cast<int>(shard.pp.size);
  if (config.tie_embeddings && num_stages > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("tie_embeddings is true with pp ", num_stages,
                     ", must be on the one stage that embeds and predicts; nearest is 1"));
  }
  std::vector<ParameterSpec> specs;
  const auto add = [&](int stage, int number, std::vector<ParameterSpec> of_block) {
    for (ParameterSpec& spec : of_block) {
      spec.stage = stage;
      spec.layer = number;
      spec.trainable = config.trainable;
      specs.push_back(std::move(spec));
    }
  };
  add(0, 0, EmbeddingBlock::Parameters(VocabularyOf(config)));
  for (int stage = 0; stage < num_stages; ++stage) {
    HETERO_ASSIGN_OR_RETURN(const LayerRange range, config.pattern.Stage(stage, num_stages));
    for (int64_t layer = range.first; layer < range.first + range.count; ++layer) {
      HETERO_RETURN_IF_ERROR(CheckRanks(config, layer, shard.tp.size));
      add(stage, NumberOf(layer), LayerParameters(config, layer));
    }
  }
  add(num_stages - 1, kLastLayer, HeadBlock::Parameters(HeadOf(config)));
  return ParameterTable::Make(std::move(specs));
}

absl::StatusOr<std::unique_ptr<HybridStage>> HybridStage::Create(const HybridConfig& config,
                                                                 StagePlace place,
                                                                 const StageResources& resources) {
  auto stage = std::unique_ptr<HybridStage>(new HybridStage(config, place));
  HETERO_RETURN_IF_ERROR(stage->MakeBlocks(resources));
  Communicator* const tensor_parallel = resources.communicators.Of(Family::kTp);
  if (place.first()) {
    HETERO_ASSIGN_OR_RETURN(stage->embedding_,
                            EmbeddingBlock::Create(resources.parameters,
                                                   stage->totals_.invalid_ids_1, tensor_parallel));
  }
  if (place.last()) {
    HETERO_ASSIGN_OR_RETURN(stage->head_, HeadBlock::Create(HeadOf(config), resources.parameters,
                                                            stage->totals_, tensor_parallel));
  }
  stage->counts_on_host_ = SequenceParallel(tensor_parallel).rank() == 0;
  stage->slots_.resize(resources.num_slots);
  return stage;
}

absl::Status HybridStage::MakeBlocks(const StageResources& resources) {
  HETERO_ASSIGN_OR_RETURN(const LayerRange range,
                          config_.pattern.Stage(place_.stage, place_.num_stages));
  first_layer_ = range.first;
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
  totals_.loss_2 = part(DType::kF64, num_moe * num_experts + num_moe, {2});
  totals_.matches_2 = part(DType::kI64, num_moe * num_experts + num_moe + 2, {2});
  totals_.invalid_ids_1 = part(DType::kI64, num_moe * num_experts + num_moe + 4, {1});

  Communicator* tensor_parallel = resources.communicators.Of(Family::kTp);
  Communicator* expert_parallel = resources.communicators.Of(Family::kTpEp);
  statistics_ranks_ = resources.communicators.Of(Family::kTpDpCp);
  exchanges_.resize(num_moe);
  exchanges_total_ = config_.ExchangesTotal(range.first);
  balance_loss_total_ = config_.BalanceLossTotal(range.first);
  balance_tokens_total_ = config_.BalanceTokensTotal(range.first);
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
            MoeBlock block,
            MoeBlock::Create(config_.experts, prefix, parameters,
                             {.tokens_per_expert_E = tokens_per_expert_LE_.At(moe),
                              .balance_loss_1 = balance_loss_L_.Rows(moe, 1),
                              .exchanges = &exchanges_[moe]},
                             tensor_parallel, expert_parallel, resources.device, resources.ledger));
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
  if (context.counts_statistics() && counts_on_host_ && config_.experts.aux_loss_coefficient > 0) {
    balance_tokens_ += tokens_per_expert_LE_.dim(0) * slot.batch.sequences.num_unpadded_tokens();
  }
  TensorView hidden_RH;
  if (place_.first()) {
    HETERO_RETURN_IF_ERROR(context.BeginLayer(0));
    HETERO_ASSIGN_OR_RETURN(hidden_RH, embedding_->Forward(context, slot.batch, input.edges));
  } else {
    // Blocks only read what they are given.
    const ConstTensorView& previous = input.previous_stage;
    hidden_RH =
        TensorView(const_cast<void*>(previous.address()), previous.dtype(), previous.dims());
  }
  HETERO_ASSIGN_OR_RETURN(
      hidden_RH,
      RunLayers(context, hidden_RH, std::ssize(blocks_),
                [&](ModuleContext& of_layer, int64_t layer,
                    ConstTensorView input_RH) -> absl::StatusOr<TensorView> {
                  HETERO_RETURN_IF_ERROR(of_layer.BeginLayer(NumberOf(first_layer_ + layer)));
                  return std::visit(
                      [&](const auto& typed) {
                        using Saved = typename std::decay_t<decltype(typed)>::Saved;
                        slot.blocks.emplace_back(std::in_place_type<Saved>);
                        return typed.Forward(of_layer, input_RH, slot.batch.sequences,
                                             std::get<Saved>(slot.blocks.back()));
                      },
                      blocks_[layer]);
                }));
  if (!place_.last()) return hidden_RH;
  HETERO_RETURN_IF_ERROR(context.BeginLayer(kLastLayer));
  HETERO_RETURN_IF_ERROR(head_->Forward(context, hidden_RH, slot.batch, slot.head));
  return TensorView();
}

absl::Status HybridStage::Backward(ModuleContext& context, int slot_index, TensorView d_output,
                                   const StageInputGradients& d_input) {
  Slot& slot = slots_[slot_index];
  ArenaScope scope(context.stream.workspace());
  TensorView d_hidden_RH = d_output;
  if (place_.last()) {
    HETERO_ASSIGN_OR_RETURN(d_hidden_RH, head_->Backward(context, slot.head));
    HETERO_RETURN_IF_ERROR(context.EndLayer(kLastLayer));
  }
  for (size_t i = blocks_.size(); i-- > 0;) {
    HETERO_RETURN_IF_ERROR(std::visit(
        [&](const auto& typed) {
          using Saved = typename std::decay_t<decltype(typed)>::Saved;
          return typed.Backward(context, std::get<Saved>(slot.blocks[i]), d_hidden_RH);
        },
        blocks_[i]));
    const int number = NumberOf(first_layer_ + static_cast<int64_t>(i));
    HETERO_RETURN_IF_ERROR(context.LayerReadGradient(number, d_hidden_RH));
    HETERO_RETURN_IF_ERROR(context.EndLayer(number));
  }
  if (place_.first()) {
    return embedding_->Backward(context, slot.batch, d_hidden_RH, d_input.edges);
  }
  if (d_input.previous_stage.is_null()) return absl::OkStatus();
  return Copy(d_hidden_RH, d_input.previous_stage, context.stream);
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

}  // namespace hetero
