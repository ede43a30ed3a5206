#ifndef HETERO_MODELS_BLOCKS_EMBEDDING_EMBEDDING_H_
#define HETERO_MODELS_BLOCKS_EMBEDDING_EMBEDDING_H_

// Where the residual stream begins: text tokens are looked up, and rows that arrive over edges take
// the place of their placeholders. Of a vocabulary that tensor-parallel ranks divide each looks up
// the ids that it has, and the parts are summed at the owners of the tokens.
//
// Shape letters: T tokens of the microbatch, R rows of a rank (TokenShard), V rows of the
// vocabulary held here, H hidden.

#include <cstdint>
#include <span>
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

// Its parameter.
inline constexpr std::string_view kEmbeddingTable = "embedding.word_embeddings.weight";

class EmbeddingBlock {
 public:
  static std::vector<ParameterSpec> Parameters(const VocabularyConfig& config);

  // `parameters` outlives the block. On a GPU `invalid_ids_1`, i64, counts ids outside the
  // vocabulary, each once among the ranks. `tensor_parallel`: null where the group has one rank.
  // Errors: NOT_FOUND for parameters outside the store.
  static absl::StatusOr<EmbeddingBlock> Create(ParameterStore& parameters, TensorView invalid_ids_1,
                                               Communicator* tensor_parallel);

  // Returns [R, H] in the activation arena. `edges`: as StageInput::edges.
  // Errors: INVALID_ARGUMENT for rows that are not those of the placeholders, for tokens without a
  // row, and on the CPU for ids outside the vocabulary.
  absl::StatusOr<TensorView> Forward(ModuleContext& context, const TokenBatch& batch,
                                     std::span<const ConstTensorView> edges) const;

  // Adds the gradient of the table and writes those of the edges' rows, null where not wanted.
  absl::Status Backward(ModuleContext& context, const TokenBatch& batch,
                        ConstTensorView d_hidden_RH, std::span<const TensorView> d_edges) const;

 private:
  absl::Status LookUp(const TokenBatch& batch, TensorView out_TH, Stream& stream) const;

  SequenceParallel sequence_;
  VocabularyRows table_;
  TensorView invalid_ids_1_;  // null on all ranks but the first
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_EMBEDDING_EMBEDDING_H_
