#ifndef HETERO_MODELS_BLOCKS_HEAD_LINEAR_CROSS_ENTROPY_H_
#define HETERO_MODELS_BLOCKS_HEAD_LINEAR_CROSS_ENTROPY_H_

// The output layer and its loss as one operation: a chunk of logits is computed, turned into loss
// and gradient, multiplied into the gradients of hidden rows and weight, and forgotten. The logits
// of a batch never exist at once and nothing is computed twice, because the weight of every token
// in the loss is known before. Ranks may hold a part of the vocabulary each: all call with the same
// rows, and of a chunk they exchange the largest logit, the sum of exponentials and the target's
// logit of each row, never the logits (Shoeybi et al., arXiv:1909.08053, section 3).
//
// Shape letters: T rows of the batch, N rows that count in the loss, V rows of the vocabulary held
// here, which may be none, H hidden.

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "hetero/comm/communicator.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

struct LinearCrossEntropyArgs {
  ConstTensorView hidden_TH;
  ConstTensorView weight_VH;  // rows [first_row, first_row + V) of the vocabulary
  int64_t first_row = 0;
  std::optional<int64_t> vocabulary_size;   // of all ranks; unset: it ends here
  Communicator* tensor_parallel = nullptr;  // joins the ranks of a vocabulary; null: this is all
  ConstTensorView rows_N;                   // i32, distinct: which rows count; null: all, N = T
  ConstTensorView targets_N;                // i32, of the vocabulary where the weight is not 0
  ConstTensorView loss_weight_N;            // compute dtype; w of cross_entropy.h
  TensorView loss_N;                        // compute dtype, before its weight; on every rank
  TensorView invalid_targets_1;             // i64: a GPU adds the number of others; null: trusted
  TensorView argmax_N;  // i32, the lowest of equals, on every rank; null: not wanted
  // Null: not wanted; zero in rows that do not count. Of several ranks each has a part of the sum.
  TensorView d_hidden_TH;
  TensorView dweight_VH;   // compute dtype; null: not wanted
  bool accumulate = true;  // add to dweight instead of overwriting it
  // Rows of logits alive at once. More rows read and write dweight less often; fewer take less
  // memory. Unset: 256 on the CPU, where half a megabyte of the tiny vocabulary's logits stays in
  // cache, and 8192 on a GPU: the batch of 8192 rows and 131072 columns of tools/bench takes 33 ms
  // on an H200 in chunks of 1024 rows, 29 in chunks of 4096 and 28 as one.
  std::optional<int64_t> chunk_rows;
};

// Without either gradient the loss is only evaluated, and every rank wants the same of them and of
// argmax. The ledger shows the products, and traces the collectives, as "head.*".
// Errors: INVALID_ARGUMENT naming the operand, and on the CPU "target 600 at 17; expected 0 to
// 511"; RESOURCE_EXHAUSTED for the workspace, which holds (V + H) elements for each row of a chunk,
// twice H with rows and d_hidden both given; those of the communicator.
absl::Status LinearCrossEntropy(const LinearCrossEntropyArgs& args, Stream& stream);

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_HEAD_LINEAR_CROSS_ENTROPY_H_
