#ifndef HETERO_MODELS_BLOCKS_HEAD_HEAD_H_
#define HETERO_MODELS_BLOCKS_HEAD_HEAD_H_

// Where the residual stream ends: final norm, output layer and loss. Forward of a training step
// computes the gradient of what the norm writes along with the loss, chunk by chunk, and Backward
// is the norm's. Tensor-parallel ranks norm their own rows and work on all tokens with their part
// of the vocabulary.
//
// Shape letters: R rows of a rank (TokenShard), N tokens that count in the loss, H hidden.

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/communicator.h"
#include "hetero/models/blocks/context.h"
#include "hetero/models/blocks/sequence_parallel.h"
#include "hetero/models/blocks/vocabulary.h"
#include "hetero/models/stage.h"
#include "hetero/params/parameter_spec.h"
#include "hetero/params/parameter_store.h"

namespace hetero {

inline constexpr std::string_view kOutputLayer = "output_layer.weight";

struct HeadConfig {
  VocabularyConfig vocabulary;
  double norm_epsilon = 1e-5;
  // A parameter of the same stage that the output layer is; empty: it has its own.
  std::string_view tied_to;
  std::optional<int64_t> logits_chunk_rows = {};  // of LinearCrossEntropyArgs
};

// Device memory that a head adds to. Of ranks that share a vocabulary all have the same loss, and
// the first one adds it.
struct HeadTotals {
  TensorView loss_2;     // f64: weighted, and the sum of weights
  TensorView matches_2;  // i64, evaluation: rows judged, rows with all targets the largest logit
  TensorView invalid_ids_1;  // i64: targets outside the vocabulary, on a GPU
};

class HeadBlock {
 public:
  struct Saved {
    ConstTensorView hidden_RH;  // what the norm reads
    TensorView rstd_R;
    TensorView d_normed_RH;  // the gradient of what it writes; null in evaluation
  };

  // The block's rows of the table: the norm, then the output layer, if it is not tied.
  static std::vector<ParameterSpec> Parameters(const HeadConfig& config);

  // `parameters` and `totals` outlive the block. `tensor_parallel`: null where the group has one
  // rank. Errors: NOT_FOUND for parameters outside the store.
  static absl::StatusOr<HeadBlock> Create(const HeadConfig& config, ParameterStore& parameters,
                                          const HeadTotals& totals, Communicator* tensor_parallel);

  // Adds to the totals and, in training, to the output layer's gradient. `hidden_RH` stays as it is
  // until Backward. Errors: INVALID_ARGUMENT, on the CPU, for targets outside the vocabulary.
  absl::Status Forward(ModuleContext& context, ConstTensorView hidden_RH, const TokenBatch& batch,
                       Saved& saved) const;

  // What the softmax of Forward is of: of all T tokens of the microbatch the scores of this rank's
  // rows of the vocabulary, [T, rows], in the activation arena; they begin at `first_row`.
  absl::StatusOr<TensorView> Logits(ModuleContext& context, ConstTensorView hidden_RH,
                                    int64_t num_tokens) const;
  int64_t first_row() const { return output_.first_row; }

  // The gradient of Forward's `hidden_RH`, in the stream's workspace.
  absl::StatusOr<TensorView> Backward(ModuleContext& context, const Saved& saved) const;

 private:
  // The norm's output of all tokens, in the stream's workspace. `rstd_R` is written.
  absl::StatusOr<ConstTensorView> Norm(ConstTensorView hidden_RH, int64_t num_tokens,
                                       TensorView rstd_R, Stream& stream) const;

  double norm_epsilon_ = 0;
  std::optional<int64_t> logits_chunk_rows_;
  SequenceParallel sequence_;
  Parameter* norm_weight_H_ = nullptr;
  VocabularyRows output_;
  HeadTotals totals_;
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_HEAD_HEAD_H_
