#include "hetero/models/blocks/sequence_parallel.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"

namespace hetero {
namespace {

absl::Status CheckRows(const ConstTensorView& own_RC, const TokenShard& shard) {
  if (own_RC.dim(0) == shard.rows()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a rank of ", shard.size, " has ", own_RC.dim(0),
                                                 " rows of ", shard.num_tokens,
                                                 " tokens; expected ", shard.rows()));
}

}  // namespace

absl::StatusOr<TensorView> SequenceParallel::AllocatePadded(const ConstTensorView& own_RC,
                                                            int64_t num_tokens,
                                                            Arena& arena) const {
  return arena.Allocate(own_RC.dtype(), {Shard(num_tokens).padded_tokens(), own_RC.dim(1)});
}

absl::StatusOr<ConstTensorView> SequenceParallel::Gather(ConstTensorView own_RC, int64_t num_tokens,
                                                         Arena& arena, Stream& stream,
                                                         std::string_view name) const {
  HETERO_RETURN_IF_ERROR(CheckRows(own_RC, Shard(num_tokens))).With(name);
  if (alone()) return own_RC;
  HETERO_ASSIGN_OR_RETURN(const TensorView all, AllocatePadded(own_RC, num_tokens, arena));
  HETERO_RETURN_IF_ERROR(communicator_->AllGather(own_RC, all, stream, name));
  return all.Rows(0, num_tokens);
}

absl::StatusOr<SequenceParallel::Gathered> SequenceParallel::StartGather(
    ConstTensorView own_RC, int64_t num_tokens, Arena& arena, Stream& stream,
    std::string_view name) const {
  HETERO_RETURN_IF_ERROR(CheckRows(own_RC, Shard(num_tokens))).With(name);
  if (alone()) return Gathered{.all_TC = own_RC};
  HETERO_ASSIGN_OR_RETURN(const TensorView all, AllocatePadded(own_RC, num_tokens, arena));
  HETERO_ASSIGN_OR_RETURN(SideStream* const side, stream.State<SideStream>());
  HETERO_ASSIGN_OR_RETURN(SideStream::Mark mark, side->Run([&](Stream& beside) {
    return communicator_->AllGather(own_RC, all, beside, name);
  }));
  return Gathered{.all_TC = all.Rows(0, num_tokens), .mark = std::move(mark)};
}

absl::StatusOr<TensorView> SequenceParallel::AllocatePart(DType dtype, int64_t num_tokens,
                                                          int64_t width, Arena& arena,
                                                          Stream& stream) const {
  const int64_t padded = Shard(num_tokens).padded_tokens();
  HETERO_ASSIGN_OR_RETURN(const TensorView all, arena.Allocate(dtype, {padded, width}));
  if (padded > num_tokens) {
    HETERO_RETURN_IF_ERROR(Fill(0, all.Rows(num_tokens, padded - num_tokens), stream));
  }
  return all.Rows(0, num_tokens);
}

TensorView SequenceParallel::OwnRows(const TensorView& all_TC) const {
  const TokenShard shard = Shard(all_TC.dim(0));
  // AllocatePart has the padding behind the tokens.
  const TensorView padded(all_TC.address(), all_TC.dtype(), {shard.padded_tokens(), all_TC.dim(1)});
  return padded.Rows(shard.rank * shard.rows(), shard.rows());
}

absl::Status SequenceParallel::CheckDivides(std::string_view field, int64_t value) const {
  if (value % size() == 0) return absl::OkStatus();
  const int64_t below = value / size() * size();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", value, "; expected a multiple of the ", size(),
                   " tensor-parallel ranks; nearest: ",
                   below > 0 && value - below <= below + size() - value ? below : below + size()));
}

absl::Status SequenceParallel::ReduceScatter(ConstTensorView part_TC, TensorView own_RC,
                                             Stream& stream, std::string_view name) const {
  const TokenShard shard = Shard(part_TC.dim(0));
  HETERO_RETURN_IF_ERROR(CheckRows(own_RC, shard)).With(name);
  if (alone()) {
    return part_TC.address() == own_RC.address() ? absl::OkStatus() : Copy(part_TC, own_RC, stream);
  }
  // AllocatePart has the padding behind the tokens.
  const ConstTensorView padded(part_TC.address(), part_TC.dtype(),
                               {shard.padded_tokens(), part_TC.dim(1)});
  return communicator_->ReduceScatter(padded, own_RC, stream, name);
}

absl::StatusOr<SideStream::Mark> SequenceParallel::StartReduceScatter(ConstTensorView part_TC,
                                                                      TensorView own_RC,
                                                                      Stream& stream,
                                                                      std::string_view name) const {
  if (alone()) {
    HETERO_RETURN_IF_ERROR(ReduceScatter(part_TC, own_RC, stream, name));
    return SideStream::Mark();
  }
  HETERO_ASSIGN_OR_RETURN(SideStream* const side, stream.State<SideStream>());
  return side->Run([&](Stream& beside) { return ReduceScatter(part_TC, own_RC, beside, name); });
}

absl::Status SequenceParallel::Join(SideStream::Mark mark, Stream& stream) const {
  if (alone()) return absl::OkStatus();
  HETERO_ASSIGN_OR_RETURN(SideStream* const side, stream.State<SideStream>());
  return side->Join(std::move(mark), "wait for tensor parallel");
}

}  // namespace hetero
