#ifndef HETERO_MODELS_NEMOTRON_HYBRID_H_
#define HETERO_MODELS_NEMOTRON_HYBRID_H_

// A hybrid language model: one residual block per symbol of a pattern, no position embedding; rows
// that arrive over edges take the place of placeholder tokens.
//
// Shape letters: T tokens, R rows of a rank (TokenShard): all T on one tensor-parallel rank; H
// hidden.

#include <cstdint>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/models/blocks/attention/attention.h"
#include "hetero/models/blocks/embedding/embedding.h"
#include "hetero/models/blocks/head/head.h"
#include "hetero/models/blocks/mamba/mamba.h"
#include "hetero/models/blocks/mlp/mlp.h"
#include "hetero/models/blocks/moe/moe.h"
#include "hetero/models/nemotron/pattern.h"
#include "hetero/models/stage.h"
#include "hetero/params/parameter_store.h"
#include "hetero/params/table.h"

namespace hetero {

struct HybridConfig {
  LayerPattern pattern;
  int64_t hidden_size = 0;
  int64_t vocabulary_size = 0;
  double norm_epsilon = 1e-5;
  double init_std = 0.02;
  bool tie_embeddings = false;                    // the output layer is the embedding's table
  std::optional<int64_t> logits_chunk_rows = {};  // of LinearCrossEntropyArgs
  DType storage = DType::kF32;
  bool trainable = true;
  // Of the kinds that the pattern contains, complete.
  AttentionConfig attention;
  MambaConfig mamba;
  MoeConfig experts;
  MlpConfig mlp;

  // Behind the totals of every stage come those of each MoE layer: exchanges and rounds, then the
  // balance losses of all, then the tokens that count in these.
  int num_totals() const;
  int ExchangesTotal(int64_t layer) const;
  int RoundsTotal(int64_t layer) const { return ExchangesTotal(layer) + 1; }
  int BalanceLossTotal(int64_t layer) const;
  int BalanceTokensTotal(int64_t layer) const;
};

// Names follow Megatron-LM: "decoder.layers.3.mixer.in_proj.weight".
// Errors: INVALID_ARGUMENT when the layers do not divide into pipeline stages, for tied embeddings
// on several, or when heads or groups do not divide over the tensor-parallel ranks.
absl::StatusOr<ParameterTable> MakeHybridTable(const HybridConfig& config, const ShardSpec& shard);

class HybridStage : public Stage {
 public:
  static absl::StatusOr<std::unique_ptr<HybridStage>> Create(const HybridConfig& config,
                                                             StagePlace place,
                                                             const StageResources& resources);

  absl::StatusOr<TensorView> Forward(ModuleContext& context, int slot,
                                     const StageInput& input) override;
  absl::Status Backward(ModuleContext& context, int slot, TensorView d_output,
                        const StageInputGradients& d_input) override;
  absl::Status FinishStep(ConstTensorView decisions, Stream& stream) override;
  int num_totals() const override { return config_.num_totals(); }
  absl::Status TakeTotals(const TensorView& totals, Stream& stream) override;
  bool exceeded_prediction() const override { return exceeded_prediction_; }

 private:
  using Block = std::variant<MambaBlock, MoeBlock, AttentionBlock, MlpBlock>;
  using BlockSaved =
      std::variant<MambaBlock::Saved, MoeBlock::Saved, AttentionBlock::Saved, MlpBlock::Saved>;

  // One microbatch in flight. Views of the batch stay valid until its backward.
  struct Slot {
    TokenBatch batch;
    std::vector<BlockSaved> blocks;
    HeadBlock::Saved head;
  };

  HybridStage(const HybridConfig& config, StagePlace place) : config_(config), place_(place) {}

  absl::Status MakeBlocks(const StageResources& resources);
  // Adds what the host has counted of the exchanges of rows to `totals`.
  absl::Status TakeExchanges(const TensorView& totals, Stream& stream);

  HybridConfig config_;
  StagePlace place_;
  int64_t first_layer_ = 0;  // of the pattern's, that of blocks_
  std::vector<Block> blocks_;
  std::vector<Slot> slots_;
  std::optional<EmbeddingBlock> embedding_;  // first stage
  std::optional<HeadBlock> head_;            // last stage
  // Of tensor-parallel ranks, which have the same batch, the first adds what the host counts.
  bool counts_on_host_ = true;

  // Device memory of the statistics, by MoE layer of this stage, and of the loss.
  Buffer statistics_;
  TensorView tokens_per_expert_LE_;  // i64
  TensorView balance_loss_L_;        // compute type
  HeadTotals totals_;                // with the embedding's invalid ids
  int64_t balance_tokens_ = 0;       // that the host has counted

  // What the host counts of the exchanges of rows, by MoE layer of this stage; equal on the ranks
  // that exchange them, of which the first tells it.
  std::vector<ExchangeCounts> exchanges_;
  int exchanges_total_ = kNumStageTotals;  // of the first of these layers
  int balance_loss_total_ = kNumStageTotals;
  int balance_tokens_total_ = kNumStageTotals;
  bool tells_exchanges_ = true;
  bool exceeded_prediction_ = false;

  Communicator* statistics_ranks_ = nullptr;  // kTpDpCp
};

}  // namespace hetero

#endif  // HETERO_MODELS_NEMOTRON_HYBRID_H_
