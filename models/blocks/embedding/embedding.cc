#include "hetero/models/blocks/embedding/embedding.h"

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/weight_gradient.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/embedding/embedding.h"

namespace hetero {
namespace {

// Whether there is a row for every token: of several ranks each knows its own placeholders only.
absl::Status CheckRows(const TokenBatch& batch, std::span<const ConstTensorView> edges,
                       bool knows_all) {
  const int64_t tokens = batch.sequences.num_tokens();
  int64_t named = batch.text_positions.num_elements();
  if (batch.modality_positions.size() != edges.size()) {
    return absl::InvalidArgumentError(absl::StrCat(edges.size(), " modalities arrive for ",
                                                   batch.modality_positions.size(),
                                                   " kinds of placeholders"));
  }
  for (size_t i = 0; i < edges.size(); ++i) {
    const int64_t placeholders = batch.modality_positions[i].num_elements();
    if (edges[i].dim(0) != placeholders) {
      return absl::InvalidArgumentError(absl::StrCat("encoder ", i, " emitted ", edges[i].dim(0),
                                                     " rows for ", placeholders, " placeholders"));
    }
    named += placeholders;
  }
  if (knows_all ? named == tokens : named <= tokens) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("text and placeholders name ", named, " of ",
                                                 tokens, " tokens; every token needs a row"));
}

}  // namespace

std::vector<ParameterSpec> EmbeddingBlock::Parameters(const VocabularyConfig& config) {
  return {VocabularyMatrix(config, kEmbeddingTable)};
}

absl::StatusOr<EmbeddingBlock> EmbeddingBlock::Create(ParameterStore& parameters,
                                                      TensorView invalid_ids_1,
                                                      Communicator* tensor_parallel) {
  EmbeddingBlock block;
  block.sequence_ = tensor_parallel;
  HETERO_ASSIGN_OR_RETURN(block.table_,
                          FindVocabularyRows(parameters, kEmbeddingTable, block.sequence_));
  if (block.sequence_.rank() == 0) block.invalid_ids_1_ = invalid_ids_1;
  return block;
}

absl::Status EmbeddingBlock::LookUp(const TokenBatch& batch, TensorView out_TH,
                                    Stream& stream) const {
  return EmbeddingForward({.weight_VH = table_.parameter->value,
                           .first_row = table_.first_row,
                           .vocabulary_size = table_.vocabulary_size(),
                           .ids_N = batch.text_tokens,
                           .positions_N = batch.text_positions,
                           .out_TH = out_TH,
                           .invalid_ids_1 = invalid_ids_1_},
                          stream);
}

absl::StatusOr<TensorView> EmbeddingBlock::Forward(ModuleContext& context, const TokenBatch& batch,
                                                   std::span<const ConstTensorView> edges) const {
  Stream& stream = context.stream;
  HETERO_RETURN_IF_ERROR(CheckRows(batch, edges, sequence_.alone()));
  const int64_t tokens = batch.sequences.num_tokens();
  const DType dtype = table_.parameter->value.dtype();
  const int64_t hidden_size = table_.parameter->value.dim(1);
  HETERO_ASSIGN_OR_RETURN(
      const TensorView hidden_RH,
      context.activations.Allocate(dtype, {sequence_.Shard(tokens).rows(), hidden_size}));
  if (sequence_.alone()) {
    HETERO_RETURN_IF_ERROR(LookUp(batch, hidden_RH, stream));
  } else {
    ArenaScope scope(stream.workspace());
    HETERO_ASSIGN_OR_RETURN(
        const TensorView part_TH,
        sequence_.AllocatePart(dtype, tokens, hidden_size, stream.workspace(), stream));
    // The lookup leaves placeholders alone.
    HETERO_RETURN_IF_ERROR(Fill(0, part_TH, stream));
    HETERO_RETURN_IF_ERROR(LookUp(batch, part_TH, stream));
    HETERO_RETURN_IF_ERROR(sequence_.ReduceScatter(part_TH, hidden_RH, stream, kEmbeddingTable));
  }
  for (size_t i = 0; i < edges.size(); ++i) {
    HETERO_RETURN_IF_ERROR(ScatterRows(edges[i], batch.modality_positions[i], hidden_RH, stream));
  }
  return hidden_RH;
}

absl::Status EmbeddingBlock::Backward(ModuleContext& context, const TokenBatch& batch,
                                      ConstTensorView d_hidden_RH,
                                      std::span<const TensorView> d_edges) const {
  Stream& stream = context.stream;
  for (size_t i = 0; i < d_edges.size(); ++i) {
    if (d_edges[i].is_null()) continue;
    HETERO_RETURN_IF_ERROR(
        GatherRows(d_hidden_RH, batch.modality_positions[i], d_edges[i], stream));
  }
  const WeightGradient d_table = WeightGradientOf(context, *table_.parameter);
  if (!d_table.wanted()) return absl::OkStatus();
  ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const ConstTensorView d_hidden_TH,
                          sequence_.Gather(d_hidden_RH, batch.sequences.num_tokens(),
                                           stream.workspace(), stream, kEmbeddingTable));
  return EmbeddingBackward({.d_out_TH = d_hidden_TH,
                            .first_row = table_.first_row,
                            .ids_N = batch.text_tokens,
                            .positions_N = batch.text_positions,
                            .dweight_VH = d_table.view,
                            .accumulate = d_table.accumulate},
                           stream);
}

}  // namespace hetero
