#ifndef HETERO_MODELS_BLOCKS_MOE_MOE_H_
#define HETERO_MODELS_BLOCKS_MOE_MOE_H_

// Residual block of routed experts and, where it has a width, one shared expert, squared ReLU, no
// biases, dropless:
//   x = RMSNorm(hidden),
//   hidden' = hidden + sum over the chosen experts of (relu(x W1_eᵀ)² p_e) W2_eᵀ
//                    + relu(x Ws1ᵀ)² Ws2ᵀ.
// The probability weighs the activation, so the sum over experts is plain. Router, probabilities
// and balance loss: tensor/ops/router/router.h.
//
// A rank routes its own rows (token_shard.h) and gives them to the ranks that have the experts,
// which row_exchange.h describes. How many rows a rank takes at once is bounded; a layer with more
// for a rank goes in rounds. Nothing is kept of a round, its backward sends the rows again.
//
// What the shared expert gathers and sums over tensor-parallel ranks travels beside the router and
// the experts. Rows travel beside the shared expert (side_stream.h): to their experts beside its
// first product, back beside its second, and their gradients alike; so those of a single round and
// the last return of several.
//
// Padding is not routed: it has no rows, takes no part in the balance loss and is counted nowhere.
//
// Shape letters: N tokens of the microbatch, T rows of this rank, H hidden, E experts of the layer,
// K chosen a token, P ranks that share an expert, O rows of choices of this rank, K P times its
// tokens that are no padding, R rows that this rank computes, F expert width, S shared width, both
// this rank's share, B rows of the batch, G ranks that exchange rows.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/communicator.h"
#include "hetero/models/blocks/context.h"
#include "hetero/models/blocks/moe/exchange_plan.h"
#include "hetero/models/blocks/moe/experts.h"
#include "hetero/models/blocks/moe/row_exchange.h"
#include "hetero/models/blocks/moe/shared_expert.h"
#include "hetero/models/blocks/sequence_parallel.h"
#include "hetero/params/parameter_spec.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/ops/router/router.h"
#include "hetero/tensor/sequence_batch.h"
#include "hetero/tensor/side_stream.h"

namespace hetero {

struct MoeConfig {
  int64_t hidden_size = 0;
  int64_t num_experts = 0;
  int64_t top_k = 0;
  int64_t ffn_size = 0;
  int64_t shared_ffn_size = 0;  // 0: no shared expert
  RouterGroups groups;
  std::optional<bool> normalize_probabilities;  // by the sum of the chosen; unset: where top_k > 1
  double router_scaling = 1;
  double aux_loss_coefficient = 0;
  double expert_bias_rate = 0;
  bool force_load_balancing = false;  // experts in turn instead of the router's choice
  // Rows that a rank of several takes at once, over their mean. 0: by device, 2 on a GPU, on the
  // CPU as many as there can be.
  double expert_rows_bound = 0;
  bool update_bias_on_skip = false;  // the expert bias moves also where no parameter does
  double norm_epsilon = 1e-5;
  double init_std = 0.02;
  double output_init_std = 0.02;
  DType storage = DType::kF32;
};

// Exchanges of rows between ranks, and the rounds that they took: as many but for excess.
struct ExchangeCounts {
  int64_t exchanges = 0;
  int64_t rounds = 0;
};

// Where a block counts, over the microbatches of a step; owned by the caller, zero at a step's
// start. Training forwards add, evaluation and recomputation do not. All are of this rank's tokens.
struct MoeStatistics {
  TensorView tokens_per_expert_E;  // i64
  // Compute type: sum over sequences of tokens times loss / coefficient, which is 1 for an even
  // load. Of a sequence on several ranks each has a part.
  TensorView balance_loss_1;
  ExchangeCounts* exchanges = nullptr;  // the same on all ranks of a group; null: not counted
};

class MoeBlock {
 public:
  // Null after a forward with selective_recompute: normed_TH, what is activated, and where this
  // rank has all experts their inputs.
  struct Saved {
    ConstTensorView hidden_TH;
    TensorView rstd_T;
    TensorView normed_TH;
    RouterPlaces places;
    TensorView logits_TE;
    TensorView experts_TK;     // i32, ascending; -1 for padding
    TensorView aux_counts_BE;  // i32, of whole sequences; null without balance loss
    TensorView rows_TKP;       // i32: where a choice lies among the O rows; -1 for padding
    TensorView tokens_O;       // i32
    ExpertRows experts;        // room for R rows
    SharedExpert::Saved shared;
    // Only with ranks that exchange rows.
    TensorView probs_O;
    TensorView table_GE1;   // i32: of each rank, its rows for each expert and its bound
    TensorView received_R;  // i32, of the last round: see SortReceivedRows
    TensorView sorted_R;
    ExchangePlan plan;
  };

  // The block's rows of the table; `prefix` is "decoder.layers.3.". Experts are one [E, F, H] and
  // one [E, H, F] tensor, the expert bias a buffer.
  static std::vector<ParameterSpec> Parameters(const MoeConfig& config, std::string_view prefix);

  // `parameters` and `ledger` outlive the block. Communicators are null where the group has one
  // rank: those of the families kTp and kTpEp. Errors: INVALID_ARGUMENT when top_k is not in [1,
  // num_experts] or the group is not the one that the experts are divided among; NOT_FOUND for
  // parameters outside the store; those of PinnedBuffer.
  static absl::StatusOr<MoeBlock> Create(const MoeConfig& config, std::string_view prefix,
                                         ParameterStore& parameters, MoeStatistics statistics,
                                         Communicator* tensor_parallel,
                                         Communicator* expert_parallel, Device device,
                                         MemoryLedger& ledger);

  // Returns hidden', in the activation arena. `hidden_TH` stays as it is until Backward. Evaluation
  // leaves only the result in the arena. The host waits once for the device where rows are
  // exchanged.
  absl::StatusOr<TensorView> Forward(ModuleContext& context, ConstTensorView hidden_TH,
                                     const SequenceBatch& batch, Saved& saved) const;

  // Turns the gradient of hidden' into that of hidden, in place. The gradient includes that of the
  // balance loss, each sequence's weighted with its tokens: one division of all gradients by the
  // number of loss tokens follows. Block and `saved` stay until the context's queue has run.
  absl::Status Backward(ModuleContext& context, const Saved& kept, TensorView d_hidden_TH) const;

  // Once a step, after the counts are summed over the ranks that share the bias: moves the bias
  // towards an even load if the step applies, which `decisions` of DecideUpdate tells (null: it
  // does), and zeroes the counts.
  absl::Status UpdateExpertBias(ConstTensorView decisions, Stream& stream) const;

 private:
  // `kept` with what selective_recompute left out.
  absl::StatusOr<Saved> Complete(ModuleContext& context, const Saved& kept) const;

  // moe_routing.cc
  absl::Status Route(ModuleContext& context, const SequenceBatch& batch, Saved& saved) const;
  absl::Status AssignRows(const ConstTensorView& probs_TK, const ConstTensorView& counts_E,
                          const TensorView& offsets_E1, const TensorView& probs_O,
                          const Saved& saved, Stream& stream) const;
  absl::Status RouteBackward(ModuleContext& context, const Saved& saved, ConstTensorView d_probs_O,
                             TensorView d_normed_TH) const;

  // moe_exchange.cc: the experts' part where other ranks have experts.
  int64_t Bound(int64_t rows, const Device& device) const;
  absl::Status ExchangeForward(ModuleContext& context, SequenceParallel::Gathered all_normed,
                               Saved& saved, TensorView out_TH) const;
  absl::Status ExchangeBackward(ModuleContext& context, const Saved& saved,
                                ConstTensorView d_out_TH, TensorView d_probs_O,
                                TensorView d_normed_TH) const;
  struct Buffers;
  absl::StatusOr<Buffers> MakeBuffers(const Saved& saved, Arena& arena) const;
  absl::Status SendRows(const Saved& saved, const ExchangeRound& round, const Buffers& buffers,
                        Stream& stream) const;
  absl::Status SortRows(const Saved& saved, const ExchangeRound& round, const Buffers& buffers,
                        Stream& stream) const;
  absl::Status SendGradients(const Saved& saved, const ExchangeRound& round,
                             ConstTensorView d_out_TH, const Buffers& buffers,
                             Stream& stream) const;
  // The mark is the end of the last return, into buffers.own_OH and `d_probs_O`. A single round
  // finds the gradients arrived.
  absl::StatusOr<SideStream::Mark> RoundsBackward(ModuleContext& context, const Saved& saved,
                                                  ConstTensorView d_out_TH,
                                                  ExpertGradients gradients, const Buffers& buffers,
                                                  TensorView d_probs_O) const;

  // moe.cc: where this rank has all experts.
  absl::Status LocalForward(ModuleContext& context, SequenceParallel::Gathered all_normed,
                            Saved& saved, TensorView out_TH) const;
  absl::Status RoutedForward(ModuleContext& context, const Saved& saved, TensorView out_TH) const;
  absl::Status LocalBackward(ModuleContext& context, const Saved& saved, ConstTensorView d_out_TH,
                             TensorView d_probs_O, TensorView d_normed_TH) const;

  MoeConfig config_;
  MoeStatistics statistics_;
  SequenceParallel sequence_;
  RowExchange exchange_;
  Parameter* norm_weight_H_ = nullptr;
  Parameter* router_EH_ = nullptr;
  Parameter* expert_bias_E_ = nullptr;
  Experts experts_;
  SharedExpert shared_;
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_MOE_MOE_H_
