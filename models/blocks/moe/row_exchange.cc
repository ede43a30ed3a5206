#include "hetero/models/blocks/moe/row_exchange.h"

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/comm/all_to_all_rows.h"
#include "hetero/tensor/copy.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/event.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/exchange_rows/exchange_rows.h"
#include "hetero/tensor/ops/moe_permute/moe_permute.h"

namespace hetero {
namespace {

// When a stream's counts are on the host: those of one layer at a time.
struct CountsArrived {
  static absl::StatusOr<std::unique_ptr<CountsArrived>> Create(Stream& stream) {
    auto arrived = std::make_unique<CountsArrived>();
    HETERO_ASSIGN_OR_RETURN(arrived->event, Event::Create(stream.device()));
    return arrived;
  }

  Event event;
};

}  // namespace

absl::StatusOr<RowExchange> RowExchange::Create(Communicator* group, int64_t num_experts,
                                                int64_t experts_of_rank, std::string_view name,
                                                Device device, MemoryLedger& ledger) {
  RowExchange result;
  result.group_ = group;
  result.num_experts_ = num_experts;
  result.experts_of_rank_ = experts_of_rank;
  result.name_ = std::string(name);
  result.copies_ = result.size() * experts_of_rank / num_experts;
  if (result.copies_ < 1 || result.copies_ * num_experts != result.size() * experts_of_rank) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " has ", experts_of_rank, " of ", num_experts, " experts on each of ",
                     result.size(), " ranks; expected all of them, each on as many ranks"));
  }
  if (result.alone()) return result;
  const int64_t num_counts = result.size() * (num_experts + 1);
  HETERO_ASSIGN_OR_RETURN(result.counts_,
                          PinnedBuffer::Allocate(device, num_counts * SizeOf(DType::kI32), ledger));
  return result;
}

std::string RowExchange::Name(std::string_view what) const {
  return absl::StrCat(name_, ".", what);
}

absl::Status RowExchange::GatherCounts(TensorView counts_E1, int64_t bound, TensorView table_GE1,
                                       Stream& stream) const {
  HETERO_RETURN_IF_ERROR(Fill(static_cast<double>(bound), counts_E1.Rows(num_experts_, 1), stream));
  HETERO_RETURN_IF_ERROR(group_->AllGather(counts_E1, table_GE1, stream, Name("counts")));
  if (stream.shape_only()) return absl::OkStatus();
  HETERO_ASSIGN_OR_RETURN(CountsArrived* const arrived, stream.State<CountsArrived>());
  HETERO_RETURN_IF_ERROR(
      CopyToHost(table_GE1, counts_.View(DType::kI32, table_GE1.dims()), stream));
  return arrived->event.Record(stream);
}

absl::StatusOr<ExchangePlan> RowExchange::Plan(const ConstTensorView& table_GE1, int64_t own_rows,
                                               int64_t bound, Stream& stream) const {
  if (stream.shape_only()) return ExchangePlan::Even(size(), rank(), own_rows, bound);
  HETERO_ASSIGN_OR_RETURN(CountsArrived* const arrived, stream.State<CountsArrived>());
  HETERO_RETURN_IF_ERROR(arrived->event.Synchronize());
  const TensorView counts = counts_.View(DType::kI32, table_GE1.dims());
  return ExchangePlan::Make(counts.values<int32_t>(), size(), rank(), experts_of_rank_, copies_);
}

absl::Status RowExchange::Sort(const ExchangeRound& round, const ConstTensorView& table_GE1,
                               TensorView offsets_L1, TensorView received_R, TensorView sorted_R,
                               TensorView scratch_2GL, Stream& stream) const {
  const int64_t first_expert = rank() / copies_ * experts_of_rank_;
  return SortReceivedRows({.counts_GL = table_GE1.Columns(first_expert, experts_of_rank_),
                           .first = round.first_arrived,
                           .offsets_L1 = offsets_L1,
                           .received_R = received_R,
                           .sorted_R = sorted_R,
                           .scratch_2GL = scratch_2GL},
                          stream);
}

absl::StatusOr<TensorView> RowExchange::MakeScratch(Arena& arena) const {
  return arena.Allocate(DType::kI32, {2, size() * experts_of_rank_});
}

absl::Status RowExchange::GatherOwn(const ExchangeRound& round, const ConstTensorView& x_TH,
                                    const ConstTensorView& tokens_O, TensorView own_OH,
                                    Stream& stream) {
  // Neighbouring ranges at once: in a single round that is all of them.
  for (size_t g = 0; g < round.own.size();) {
    IndexRange range = round.own[g];
    for (++g; g < round.own.size() && round.own[g].first == range.first + range.count; ++g) {
      range.count += round.own[g].count;
    }
    HETERO_RETURN_IF_ERROR(GatherTokenRows(x_TH, tokens_O.Rows(range.first, range.count),
                                           own_OH.Rows(range.first, range.count), stream));
  }
  return absl::OkStatus();
}

absl::Status RowExchange::Send(const ExchangeRound& round, const ConstTensorView& own_O,
                               TensorView arrived_R, Stream& stream, std::string_view what) const {
  return AllToAllRows(*group_, own_O, round.own, arrived_R, round.arrived, stream, Name(what));
}

absl::Status RowExchange::Return(const ExchangeRound& round, const ConstTensorView& arrived_R,
                                 TensorView own_O, Stream& stream, std::string_view what) const {
  return AllToAllRows(*group_, arrived_R, round.arrived, own_O, round.own, stream, Name(what));
}

}  // namespace hetero
