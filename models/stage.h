#ifndef HETERO_MODELS_STAGE_H_
#define HETERO_MODELS_STAGE_H_

// The face a model shows to whatever runs it: parts that live on grids, edges between them, and for
// each rank a stage that turns a microbatch's inputs into rows and back. Nothing here knows ranks,
// schedules or files.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/communicator.h"
#include "hetero/grid/module_grid.h"
#include "hetero/models/blocks/context.h"
#include "hetero/models/blocks/flops.h"
#include "hetero/models/names/names.h"
#include "hetero/params/box_map.h"
#include "hetero/params/parameter_store.h"
#include "hetero/params/table.h"
#include "hetero/tensor/sample_facts.h"
#include "hetero/tensor/sequence_batch.h"

namespace hetero {

// What a language stage reads of a microbatch, computed where the batch is built. Positions are
// token numbers t of the whole microbatch, the same on every tensor-parallel rank, but for those of
// rows that arrive, which go to the rank that owns their token: together they name every token
// once.
struct TokenBatch {
  SequenceBatch sequences;
  ConstTensorView text_tokens;     // i32[number of tokens to embed]
  ConstTensorView text_positions;  // i32, of each of them, ascending
  // Per incoming edge, i32[rows that arrive over it here], ascending: which of this rank's own rows
  // (TokenShard) each of them is. On one tensor-parallel rank that is its token number.
  std::span<const ConstTensorView> modality_positions;
  // The N tokens that count in the loss, ascending, and for each what follows it and its weight.
  ConstTensorView loss_positions;  // i32[N]
  ConstTensorView loss_targets;    // i32[N]
  ConstTensorView loss_weights;    // compute type of the model [N]; 1 as a rule
};

// What a stage reads of one modality: the images or clips of all samples, one after another.
struct ModalityBatch {
  // [N, width]: patches of the images or frames of the clips, on a module's first stage; null on
  // the others.
  ConstTensorView features;
  std::span<const MediaSize> sizes;
};

// A microbatch as far as a stage needs it; null where there is nothing for this stage.
struct StageInput {
  const TokenBatch* tokens = nullptr;
  std::span<const ModalityBatch> modalities;  // by GraphModule::modalities
  // What the stage before of the same module returned on this tensor-parallel rank, [rows, hidden
  // width]; null on the first.
  ConstTensorView previous_stage;
  // First stage: [rows, width] of each edge into the module, in the order of ModelGraph::edges.
  std::span<const ConstTensorView> edges;
};

// Gradients of the rows in StageInput, same shapes. Null where nobody wants it.
struct StageInputGradients {
  TensorView previous_stage;
  std::span<const TensorView> edges;
};

// What a rank sums over the microbatches of a step or an evaluation, f64 in its device's memory. A
// model may have more totals behind these.
enum StageTotal : int {
  kStageLossSum,        // weighted, over the tokens that count
  kStageLossWeight,     // the sum of their weights
  kStageSequences,      // evaluation: rows with at least one such token
  kStageExactMatches,   // evaluation: of these, where all of them have the largest logit
  kStageBalanceLoss,    // training: of the MoE layers, over their coefficient; that of a sequence,
                        // 1 when even, counts with its tokens
  kStageBalanceTokens,  // training: tokens times MoE layers in that sum
  kStageInvalidIds,     // ids outside the vocabulary, where the host cannot refuse them
  kStageExpertExchanges,  // training: of rows between the ranks of an MoE layer,
  kStageExpertRounds,     // and the rounds that these took: as many, but for excess on a rank
  kNumStageTotals
};

// All of them, on the host.
struct StageStatistics {
  double loss_sum = 0;
  double loss_weight = 0;
  int64_t sequences = 0;
  int64_t exact_matches = 0;
  double balance_loss = 0;
  int64_t balance_tokens = 0;
  int64_t invalid_ids = 0;
  int64_t expert_exchanges = 0;
  int64_t expert_rounds = 0;
};

// One pipeline stage of one module on one rank. Slots number the microbatches in flight: what
// Forward keeps for a slot, Backward of the slot uses, once.
class Stage {
 public:
  virtual ~Stage() = default;

  // Returns what goes downstream, [rows, width] in the context's activation arena, or a null view
  // from the last stage of a sink, which adds to its statistics instead.
  // Errors: INVALID_ARGUMENT when the input does not fit the model (rows against placeholders,
  // sizes against patches), naming both numbers, or, on the CPU, an id is outside the vocabulary; a
  // GPU counts these in kStageInvalidIds.
  virtual absl::StatusOr<TensorView> Forward(ModuleContext& context, int slot,
                                             const StageInput& input) = 0;

  // `d_output` is the gradient of what Forward returned, null at a sink; it may be overwritten.
  // `d_input` is written.
  virtual absl::Status Backward(ModuleContext& context, int slot, TensorView d_output,
                                const StageInputGradients& d_input) = 0;

  // Once a step, after the update was decided: what is not a gradient but follows from the step's
  // statistics (expert bias). It moves with the parameters, as `decisions` of DecideUpdate tells;
  // null: the step applies. The statistics are summed over the ranks of kTpDpCp.
  virtual absl::Status FinishStep(ConstTensorView decisions, Stream& stream) = 0;

  // ModelGraph::num_totals of the stage's model.
  virtual int num_totals() const { return kNumStageTotals; }

  // Adds the sums since the last call to `totals`, f64 [num_totals()], and starts them anew. Queued
  // like any operation: nothing waits.
  virtual absl::Status TakeTotals(const TensorView& totals, Stream& stream) = 0;

  // Whether collectives were called, in the steps whose totals were taken, that only the numbers in
  // a batch made necessary: those of a dry run are then not all.
  virtual bool exceeded_prediction() const { return false; }

  // The same on the host, once the device has come here; zeros on a shape-only stream.
  absl::StatusOr<StageStatistics> TakeStatistics(Stream& stream);
};

// Communicators of a module's own axes on this rank, by the family of their groups. All outlive
// what is made with them.
class ModuleCommunicators {
 public:
  // Null where the group has one rank.
  Communicator* Of(Family family) const { return of_[static_cast<size_t>(family)]; }
  void Set(Family family, Communicator* communicator) {
    of_[static_cast<size_t>(family)] = communicator;
  }

 private:
  std::array<Communicator*, kNumFamilies> of_ = {};
};

// Which pipeline stage of a module.
struct StagePlace {
  int stage = 0;
  int num_stages = 1;

  bool first() const { return stage == 0; }
  bool last() const { return stage == num_stages - 1; }
};

// What a stage is made with. All of it outlives the stage.
struct StageResources {
  ParameterStore& parameters;  // the stage's part of the module's table
  ModuleCommunicators communicators;
  Device device;
  MemoryLedger& ledger;
  int num_slots = 1;  // microbatches in flight
};

struct GraphModule {
  std::string name;
  // Its lanes, of micro_batch_size samples each, make a microbatch of the run. True of one module.
  bool owns_samples = false;
  std::vector<int> modalities = {};  // that it reads: indices into ModelGraph::modalities
  DType storage = DType::kF32;       // of parameters, activations and the rows between its stages
  int64_t hidden_width = 0;          // of those rows
};

// Rows of `source`'s last stage feed `destination`'s first stage, in the destination's storage.
struct GraphEdge {
  std::string source;
  std::string destination;
  int64_t width = 0;  // of a row
  int modality = 0;   // whose placeholders the rows stand for, of ModelGraph::modalities
};

// What data must look like for an encoder to read it.
struct ImageForm {
  int64_t patch_size = 0;         // pixels
  int64_t max_image_side = 0;     // pixels
  int64_t patches_per_token = 1;  // 4 with pixel shuffle
};
struct AudioForm {
  int64_t num_mels = 0;
  int64_t max_frames = 0;  // of a clip
};

struct Modality {
  std::string name;            // "image"
  int64_t placeholder_id = 0;  // of the token that stands for a row
  std::variant<ImageForm, AudioForm> form;
};

// What a run tells of its steps: a sum of all ranks over another. Without a value where the second
// is 0.
struct Metric {
  std::string name;               // "lm loss": Megatron-LM's, where it has one
  int numerator = kStageLossSum;  // which total
  int denominator = kStageLossWeight;
  bool in_training = false;
  bool in_evaluation = false;
  // Of a single layer: in training only among the events, where the run asks for it.
  bool of_layer = false;
  // Told on the console and in the RESULT line only above this; unset: always as the others.
  std::optional<double> only_above = std::nullopt;
};

// What a model is made of, as a value: plans, checks, feeds and reports ask it for nothing else.
// Invariant: edges name modules and make no cycle; one module owns the samples and is where all
// edges end; every modality has an edge, and no two share a placeholder.
struct ModelGraph {
  int64_t vocabulary_size = 0;
  std::vector<Modality> modalities = {};
  std::vector<GraphModule> modules = {};
  std::vector<GraphEdge> edges = {};
  std::vector<Metric> metrics = {};  // the first is what training minimizes
  int num_totals = kNumStageTotals;  // that metrics are made of

  // Precondition: there is one of that name.
  const GraphModule& Module(std::string_view name) const;
  const GraphModule& SampleOwner() const;
  std::vector<std::string> ModuleNames() const;
};

// A model: pure description plus a maker of stages.
class Model {
 public:
  virtual ~Model() = default;

  virtual const ModelGraph& graph() const = 0;

  // Rows that a sample sends over edge `edge` of the graph, and between two stages of `module`:
  // both ends of a transfer know them before anything is computed.
  virtual int64_t RowsOnEdge(int edge, const SampleFacts& sample) const = 0;
  virtual int64_t RowsBetweenStages(std::string_view module, const SampleFacts& sample) const = 0;

  // Of `module` over a sample.
  virtual Flops FlopsOf(std::string_view module, const SampleFacts& sample) const = 0;

  // Pure: for any rank, without weights, communicators or device.
  // Errors: INVALID_ARGUMENT when the sizes do not divide by the shards or stages.
  virtual absl::StatusOr<ParameterTable> MakeTable(std::string_view module,
                                                   const ShardSpec& shard) const = 0;

  virtual absl::StatusOr<std::unique_ptr<Stage>> MakeStage(
      std::string_view module, StagePlace place, const StageResources& resources) const = 0;

  // How the module's parameters and buffers lie in checkpoints of others. By default each is a
  // tensor of its own, its name behind the module's.
  virtual absl::StatusOr<std::vector<BoxMap>> NamesIn(NameScheme scheme,
                                                      std::string_view module) const;
};

}  // namespace hetero

#endif  // HETERO_MODELS_STAGE_H_
