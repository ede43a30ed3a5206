#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include "hetero/base/status.h"
#include "hetero/models/blocks/moe/moe.h"
#include "hetero/models/blocks/residual.h"
#include "hetero/tensor/ops/moe_permute/moe_permute.h"

namespace hetero {
namespace {

constexpr double kDefaultBoundOnGpus = 2;
constexpr std::string_view kWait = "wait for expert parallel";

TensorView Column(const TensorView& values) { return values.Reshape({values.dim(0), 1}); }

}  // namespace

// Temporaries of an exchange, for the rows of any round.
struct MoeBlock::Buffers {
  TensorView own_OH;
  TensorView arrived_RH;  // in the order of arrival
  TensorView arrived_R;
  TensorView rows_RH;  // sorted by expert
  TensorView scratch_2GL;
};

absl::StatusOr<MoeBlock::Buffers> MoeBlock::MakeBuffers(const Saved& saved, Arena& arena) const {
  const TensorView& inputs_RH = saved.experts.inputs_RH;
  Buffers buffers;
  HETERO_ASSIGN_OR_RETURN(
      buffers.own_OH, arena.Allocate(inputs_RH.dtype(), {saved.tokens_O.dim(0), inputs_RH.dim(1)}));
  HETERO_ASSIGN_OR_RETURN(buffers.arrived_RH, arena.Allocate(inputs_RH.dtype(), inputs_RH.dims()));
  HETERO_ASSIGN_OR_RETURN(buffers.arrived_R, arena.Allocate(saved.experts.probs_R.dtype(),
                                                            saved.experts.probs_R.dims()));
  HETERO_ASSIGN_OR_RETURN(buffers.rows_RH, arena.Allocate(inputs_RH.dtype(), inputs_RH.dims()));
  HETERO_ASSIGN_OR_RETURN(buffers.scratch_2GL, exchange_.MakeScratch(arena));
  return buffers;
}

// Rows that a rank with `rows` rows of its own takes at once; on the mean it gets K P of each.
int64_t MoeBlock::Bound(int64_t rows, const Device& device) const {
  // All tokens of the group choose as many experts of this rank as they can.
  const int64_t most = std::min(config_.top_k, experts_.count()) * exchange_.size() * rows;
  double over_mean = config_.expert_rows_bound;
  if (over_mean == 0 && device.IsCuda()) over_mean = kDefaultBoundOnGpus;
  if (over_mean == 0) return std::max<int64_t>(most, 1);
  const double mean = static_cast<double>(config_.top_k * exchange_.copies() * rows);
  return std::clamp(static_cast<int64_t>(std::ceil(std::min(over_mean * mean, 1e15))), int64_t{1},
                    std::max<int64_t>(most, 1));
}

// Tokens' rows and their probabilities to their experts.
absl::Status MoeBlock::SendRows(const Saved& saved, const ExchangeRound& round,
                                const Buffers& buffers, Stream& stream) const {
  const int64_t n = round.num_arrived;
  HETERO_RETURN_IF_ERROR(
      RowExchange::GatherOwn(round, saved.normed_TH, saved.tokens_O, buffers.own_OH, stream));
  HETERO_RETURN_IF_ERROR(
      exchange_.Send(round, buffers.own_OH, buffers.arrived_RH.Rows(0, n), stream, "dispatch"));
  return exchange_.Send(round, saved.probs_O, buffers.arrived_R.Rows(0, n), stream,
                        "probabilities");
}

// What arrived becomes the experts' inputs with their probabilities.
absl::Status MoeBlock::SortRows(const Saved& saved, const ExchangeRound& round,
                                const Buffers& buffers, Stream& stream) const {
  const int64_t n = round.num_arrived;
  const ExpertRows rows = saved.experts.First(n);
  const TensorView received_R = saved.received_R.Rows(0, n);
  HETERO_RETURN_IF_ERROR(exchange_.Sort(round, saved.table_GE1, rows.offsets_E1, received_R,
                                        saved.sorted_R.Rows(0, n), buffers.scratch_2GL, stream));
  HETERO_RETURN_IF_ERROR(
      GatherTokenRows(buffers.arrived_RH.Rows(0, n), received_R, rows.inputs_RH, stream));
  return GatherFromRows(buffers.arrived_R.Rows(0, n), Column(received_R), Column(rows.probs_R),
                        stream);
}

absl::Status MoeBlock::ExchangeForward(ModuleContext& context,
                                       SequenceParallel::Gathered all_normed, Saved& saved,
                                       TensorView out_TH) const {
  Stream& stream = context.stream;
  HETERO_ASSIGN_OR_RETURN(SideStream* const side, stream.State<SideStream>());
  const int64_t bound = Bound(saved.normed_TH.dim(0), stream.device());
  HETERO_ASSIGN_OR_RETURN(saved.experts, experts_.Allocate(context, context.activations, bound));
  HETERO_ASSIGN_OR_RETURN(saved.received_R, context.activations.Allocate(DType::kI32, {bound}));
  HETERO_ASSIGN_OR_RETURN(saved.sorted_R, context.activations.Allocate(DType::kI32, {bound}));
  ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const Buffers buffers, MakeBuffers(saved, stream.workspace()));
  HETERO_ASSIGN_OR_RETURN(SideStream::Mark routed, side->Here());

  // Meanwhile the counts come to the host, and the rows of the first round to their experts.
  HETERO_RETURN_IF_ERROR(shared_.Activate(context, std::move(all_normed), saved.shared));
  HETERO_ASSIGN_OR_RETURN(saved.plan,
                          exchange_.Plan(saved.table_GE1, saved.tokens_O.dim(0), bound, stream));
  if (context.counts_statistics() && statistics_.exchanges != nullptr) {
    ++statistics_.exchanges->exchanges;
    statistics_.exchanges->rounds += saved.plan.num_rounds();
  }
  HETERO_ASSIGN_OR_RETURN(SideStream::Mark sent,
                          side->RunAfter(std::move(routed), [&](Stream& beside) {
                            return SendRows(saved, saved.plan.Round(0), buffers, beside);
                          }));
  SideStream::Mark returned;
  for (int64_t i = 0; i < saved.plan.num_rounds(); ++i) {
    const ExchangeRound round = saved.plan.Round(i);
    const int64_t n = round.num_arrived;
    HETERO_RETURN_IF_ERROR(side->Join(std::move(i == 0 ? sent : returned), kWait));
    if (i > 0) {
      HETERO_RETURN_IF_ERROR(SendRows(saved, round, buffers, stream));
    }
    HETERO_RETURN_IF_ERROR(SortRows(saved, round, buffers, stream));
    const TensorView outputs_RH = buffers.rows_RH.Rows(0, n);
    HETERO_RETURN_IF_ERROR(experts_.Forward(saved.experts.First(n), outputs_RH, stream));
    const TensorView leaving_RH = buffers.arrived_RH.Rows(0, n);
    HETERO_RETURN_IF_ERROR(
        GatherTokenRows(outputs_RH, saved.sorted_R.Rows(0, n), leaving_RH, stream));
    HETERO_ASSIGN_OR_RETURN(returned, side->Run([&](Stream& beside) {
      return exchange_.Return(round, leaving_RH, buffers.own_OH, beside, "combine");
    }));
  }
  ModuleContext into_out = context;
  into_out.result = out_TH;
  HETERO_ASSIGN_OR_RETURN(const ConstTensorView residual_TH,
                          shared_.Residual(into_out, saved.shared, saved.hidden_TH));
  HETERO_RETURN_IF_ERROR(side->Join(std::move(returned), kWait));
  return SumTokenRows(buffers.own_OH, saved.rows_TKP, residual_TH, out_TH, stream);
}

absl::Status MoeBlock::SendGradients(const Saved& saved, const ExchangeRound& round,
                                     ConstTensorView d_out_TH, const Buffers& buffers,
                                     Stream& stream) const {
  HETERO_RETURN_IF_ERROR(
      RowExchange::GatherOwn(round, d_out_TH, saved.tokens_O, buffers.own_OH, stream));
  return exchange_.Send(round, buffers.own_OH, buffers.arrived_RH.Rows(0, round.num_arrived),
                        stream, "combine.backward");
}

absl::StatusOr<SideStream::Mark> MoeBlock::RoundsBackward(
    ModuleContext& context, const Saved& saved, ConstTensorView d_out_TH, ExpertGradients gradients,
    const Buffers& buffers, TensorView d_probs_O) const {
  Stream& stream = context.stream;
  HETERO_ASSIGN_OR_RETURN(SideStream* const side, stream.State<SideStream>());
  ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(
      const TensorView all_d_inner_RF,
      stream.workspace().Allocate(d_out_TH.dtype(), saved.experts.inner_RF.dims()));
  HETERO_ASSIGN_OR_RETURN(
      const TensorView all_d_probs_R,
      stream.workspace().Allocate(d_probs_O.dtype(), saved.experts.probs_R.dims()));
  const int64_t kept_rows = std::max(saved.experts.count(), d_out_TH.dim(0));
  SideStream::Mark returned;
  for (int64_t i = 0; i < saved.plan.num_rounds(); ++i) {
    const ExchangeRound round = saved.plan.Round(i);
    const int64_t n = round.num_arrived;
    const ExpertRows rows = saved.experts.First(n);
    if (saved.plan.num_rounds() > 1) {
      HETERO_RETURN_IF_ERROR(side->Join(std::move(returned), kWait));
      HETERO_RETURN_IF_ERROR(SendRows(saved, round, buffers, stream));
      HETERO_RETURN_IF_ERROR(SortRows(saved, round, buffers, stream));
      HETERO_RETURN_IF_ERROR(experts_.Activate(rows, stream));
      HETERO_RETURN_IF_ERROR(SendGradients(saved, round, d_out_TH, buffers, stream));
    }
    const TensorView received_R = saved.received_R.Rows(0, n);
    const TensorView sorted_R = saved.sorted_R.Rows(0, n);
    const TensorView arrived_RH = buffers.arrived_RH.Rows(0, n);
    const TensorView arrived_R = buffers.arrived_R.Rows(0, n);
    const TensorView d_rows_RH = buffers.rows_RH.Rows(0, n);
    const TensorView d_probs_R = all_d_probs_R.Rows(0, n);
    HETERO_RETURN_IF_ERROR(GatherTokenRows(arrived_RH, received_R, d_rows_RH, stream));
    HETERO_RETURN_IF_ERROR(experts_.Backward(context, rows, gradients, kept_rows, d_rows_RH,
                                             all_d_inner_RF.Rows(0, n), d_probs_R));
    HETERO_RETURN_IF_ERROR(GatherTokenRows(d_rows_RH, sorted_R, arrived_RH, stream));
    HETERO_RETURN_IF_ERROR(GatherFromRows(d_probs_R, Column(sorted_R), Column(arrived_R), stream));
    HETERO_ASSIGN_OR_RETURN(returned, side->Run([&](Stream& beside) -> absl::Status {
      HETERO_RETURN_IF_ERROR(
          exchange_.Return(round, arrived_RH, buffers.own_OH, beside, "dispatch.backward"));
      return exchange_.Return(round, arrived_R, d_probs_O, beside, "probabilities.backward");
    }));
    gradients = gradients.Accumulating();
  }
  return returned;
}

absl::Status MoeBlock::ExchangeBackward(ModuleContext& context, const Saved& saved,
                                        ConstTensorView d_out_TH, TensorView d_probs_O,
                                        TensorView d_normed_TH) const {
  Stream& stream = context.stream;
  HETERO_ASSIGN_OR_RETURN(SideStream* const side, stream.State<SideStream>());
  ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const Buffers buffers, MakeBuffers(saved, stream.workspace()));
  HETERO_ASSIGN_OR_RETURN(SequenceParallel::Gathered all_d_out,
                          shared_.StartBackward(context, saved.shared, d_out_TH));
  SideStream::Mark sent;
  if (saved.plan.num_rounds() == 1) {
    HETERO_ASSIGN_OR_RETURN(sent, side->Run([&](Stream& beside) {
      return SendGradients(saved, saved.plan.Round(0), d_out_TH, buffers, beside);
    }));
  }
  HETERO_ASSIGN_OR_RETURN(SequenceParallel::Gathered all_normed,
                          shared_.StartInput(context, saved.shared, saved.normed_TH));
  HETERO_ASSIGN_OR_RETURN(const TensorView d_inner_NS,
                          shared_.ActivationBackward(context, saved.shared, std::move(all_d_out)));
  HETERO_RETURN_IF_ERROR(side->Join(std::move(sent), kWait));

  ExpertGradients gradients = experts_.GradientsOf(context);
  if (saved.plan.num_rounds() > 1 && context.weight_gradients != nullptr && gradients.wanted()) {
    // Rounds use the same memory one after another, so that nothing of them can wait: the queue
    // makes them again.
    HETERO_RETURN_IF_ERROR(NowOrLater(
        context, d_out_TH,
        [this, saved, gradients](ConstTensorView kept_d_out_TH, Stream& later) -> absl::Status {
          Arena& workspace = later.workspace();
          ArenaScope scope_of_rounds(workspace);
          HETERO_ASSIGN_OR_RETURN(const Buffers own, MakeBuffers(saved, workspace));
          HETERO_ASSIGN_OR_RETURN(const TensorView nobody_wants,
                                  workspace.Allocate(saved.probs_O.dtype(), saved.probs_O.dims()));
          ModuleContext at_once{.stream = later, .activations = workspace};
          HETERO_ASSIGN_OR_RETURN(
              SideStream::Mark returned,
              RoundsBackward(at_once, saved, kept_d_out_TH, gradients, own, nobody_wants));
          HETERO_ASSIGN_OR_RETURN(SideStream* const side_of_later, later.State<SideStream>());
          return side_of_later->Join(std::move(returned), kWait);
        }));
    gradients = {};
  }
  HETERO_ASSIGN_OR_RETURN(SideStream::Mark returned,
                          RoundsBackward(context, saved, d_out_TH, gradients, buffers, d_probs_O));
  HETERO_ASSIGN_OR_RETURN(
      const ConstTensorView d_shared_TH,
      shared_.FinishBackward(context, d_inner_NS, std::move(all_normed), d_normed_TH));
  HETERO_RETURN_IF_ERROR(side->Join(std::move(returned), kWait));
  return SumTokenRows(buffers.own_OH, saved.rows_TKP, d_shared_TH, d_normed_TH, stream);
}

}  // namespace hetero
