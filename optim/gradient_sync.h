#ifndef HETERO_OPTIM_GRADIENT_SYNC_H_
#define HETERO_OPTIM_GRADIENT_SYNC_H_

// Completes the gradients of one module at a step's end: plain sums, never divided. Every sample's
// gradient reaches exactly one data-parallel rank, so the sum over ranks divided by the run's
// tokens, which the optimizer does, is the gradient of the mean in any layout.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "hetero/comm/communicator.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/stream.h"

namespace hetero {

// Communicators of the module, null where the group has one rank. All outlive the GradientSync.
struct GradientGroups {
  Communicator* dense = nullptr;              // of the ranks that share dense parameters: dp x cp
  Communicator* expert = nullptr;             // of those that share expert parameters
  Communicator* sequence_parallel = nullptr;  // of tp, when its ranks hold parts of some gradients
};

class GradientSync {
 public:
  // Sums run bucket by bucket; a bucket ends at the first parameter border at or above
  // `bucket_elements`, seen from the last parameter. `module` begins the names of the calls:
  // "language.grad.dense0.bucket3". Precondition: bucket_elements > 0.
  GradientSync(std::string module, ParameterStore& store, const GradientGroups& groups,
               int64_t bucket_elements = 40'000'000);

  // Sums the main gradients over the data-parallel ranks, then the partial ones over tp, packed
  // into one call. Called by every rank of the module after FinishGradients of the store.
  // Errors: those of Communicator::AllReduce and of the stream's workspace.
  absl::Status Run(Stream& stream);

 private:
  struct Bucket {
    std::string name;
    TensorView gradients;
    Communicator* communicator;
  };

  absl::Status SumPartial(Stream& stream);

  std::vector<Bucket> buckets_;
  std::string partial_name_;
  std::vector<TensorView> partial_;  // gradients to sum over tp
  DType partial_dtype_ = DType::kF32;
  int64_t partial_elements_ = 0;
  Communicator* sequence_parallel_;
};

}  // namespace hetero

#endif  // HETERO_OPTIM_GRADIENT_SYNC_H_
