#ifndef HETERO_MODELS_BLOCKS_SEQUENCE_PARALLEL_H_
#define HETERO_MODELS_BLOCKS_SEQUENCE_PARALLEL_H_

// How tensor-parallel ranks pass tokens around a layer: a column-parallel product reads all tokens,
// gathered from their owners, and a row-parallel one leaves a part of every token's result, which
// is summed at its owner (Korthikanti et al., arXiv:2205.05198). One rank alone calls nothing and
// copies nothing.
//
// A collective that is started runs on the stream's side (side_stream.h), beside what the stream is
// given before the Join: products that do not need it.
//
// Shape letters: T tokens of the microbatch, R rows of a rank (TokenShard), C any width.

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/communicator.h"
#include "hetero/grid/token_shard.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/side_stream.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

class SequenceParallel {
 public:
  // `tensor_parallel`: null for one rank; outlives the result. Not explicit: where a layer takes
  // one, a communicator is all that it is made of.
  SequenceParallel(Communicator* tensor_parallel = nullptr)  // NOLINT
      : communicator_(tensor_parallel) {}

  bool alone() const { return communicator_ == nullptr; }
  Communicator* communicator() const { return communicator_; }
  int64_t size() const { return alone() ? 1 : communicator_->size(); }
  int64_t rank() const { return alone() ? 0 : communicator_->rank().value(); }

  TokenShard Shard(int64_t num_tokens) const {
    return {.num_tokens = num_tokens, .size = size(), .rank = rank()};
  }

  // [T, C] of all ranks' rows, in `arena`; alone, `own_RC` itself.
  // Errors (here and below): those of the arena and of the communicator; INVALID_ARGUMENT when the
  // rows are not those of T tokens.
  absl::StatusOr<ConstTensorView> Gather(ConstTensorView own_RC, int64_t num_tokens, Arena& arena,
                                         Stream& stream, std::string_view name) const;

  struct Gathered {
    ConstTensorView all_TC;  // to be read behind the join of `mark`
    SideStream::Mark mark;
  };
  absl::StatusOr<Gathered> StartGather(ConstTensorView own_RC, int64_t num_tokens, Arena& arena,
                                       Stream& stream, std::string_view name) const;

  // Memory for this rank's part of [T, C], in `arena`, to be written whole.
  absl::StatusOr<TensorView> AllocatePart(DType dtype, int64_t num_tokens, int64_t width,
                                          Arena& arena, Stream& stream) const;

  // The rows of [T, C] that this rank owns, with the padding. `all_TC` is from AllocatePart; alone
  // it is what is returned.
  TensorView OwnRows(const TensorView& all_TC) const;

  // Errors: INVALID_ARGUMENT unless the ranks can have equal shares of `value`; `field` is its
  // name.
  absl::Status CheckDivides(std::string_view field, int64_t value) const;

  // own_RC = the sum over ranks of the rows that this one owns. `part_TC` is from AllocatePart;
  // alone it may be `own_RC` itself, which then stays as it is.
  absl::Status ReduceScatter(ConstTensorView part_TC, TensorView own_RC, Stream& stream,
                             std::string_view name) const;
  absl::StatusOr<SideStream::Mark> StartReduceScatter(ConstTensorView part_TC, TensorView own_RC,
                                                      Stream& stream, std::string_view name) const;

  // What follows on `stream` runs behind what was started until `mark`.
  absl::Status Join(SideStream::Mark mark, Stream& stream) const;

 private:
  // For all rows like `own_RC`, with the padding.
  absl::StatusOr<TensorView> AllocatePadded(const ConstTensorView& own_RC, int64_t num_tokens,
                                            Arena& arena) const;

  Communicator* communicator_;
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_SEQUENCE_PARALLEL_H_
