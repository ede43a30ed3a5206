#include "hetero/optim/expert_bias.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/router/router.h"

namespace hetero {

ExpertBias::ExpertBias(std::string module, double rate, std::vector<Layer> layers,
                       Communicator* communicator)
    : name_(absl::StrCat(module, ".expert_counts")),
      rate_(rate),
      layers_(std::move(layers)),
      communicator_(communicator) {
  for (const Layer& layer : layers_) num_counts_ += layer.counts_E.num_elements();
}

absl::Status ExpertBias::SumCounts(Stream& stream) {
  const ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const TensorView packed,
                          stream.workspace().Allocate(DType::kI64, {num_counts_}));
  int64_t begin = 0;
  for (const Layer& layer : layers_) {
    const int64_t count = layer.counts_E.num_elements();
    HETERO_RETURN_IF_ERROR(Copy(layer.counts_E, packed.Rows(begin, count), stream));
    begin += count;
  }
  HETERO_RETURN_IF_ERROR(communicator_->AllReduce(packed, packed, ReduceOp::kSum, stream, name_));
  begin = 0;
  for (const Layer& layer : layers_) {
    const int64_t count = layer.counts_E.num_elements();
    HETERO_RETURN_IF_ERROR(Copy(packed.Rows(begin, count), layer.counts_E, stream));
    begin += count;
  }
  return absl::OkStatus();
}

absl::Status ExpertBias::Finish(bool applied, Stream& stream) {
  if (layers_.empty()) return absl::OkStatus();
  if (communicator_ != nullptr) {
    HETERO_RETURN_IF_ERROR(SumCounts(stream));
  }
  for (const Layer& layer : layers_) {
    HETERO_RETURN_IF_ERROR(applied ? UpdateExpertBias(rate_, layer.counts_E, layer.bias_E, stream)
                                   : Fill(0, layer.counts_E, stream));
  }
  return absl::OkStatus();
}

}  // namespace hetero
