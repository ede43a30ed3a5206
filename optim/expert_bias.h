#ifndef HETERO_OPTIM_EXPERT_BIAS_H_
#define HETERO_OPTIM_EXPERT_BIAS_H_

// Balances experts without a loss (Wang et al., arXiv:2408.15664): after an applied step every
// expert's selection bias moves by a fixed rate towards the mean load.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/communicator.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

class ExpertBias {
 public:
  // One mixture-of-experts layer: its bias (f32 or f64 [E]) and the tokens its router sent to each
  // expert since the last step (i64 [E]).
  struct Layer {
    TensorView bias_E;
    TensorView counts_E;
  };

  // `communicator` joins the ranks whose routers see different tokens (tp x dp x cp), null when
  // there is one; it outlives this. `module` begins the name of the call.
  ExpertBias(std::string module, double rate, std::vector<Layer> layers,
             Communicator* communicator);

  // Ends a step: sums the counts of all layers over the ranks in one call and moves the biases,
  // bias += rate * sign(mean(counts) - counts), if the optimizer applied the step; then the counts
  // are zero. Called by every rank of the module.
  // Errors: those of Communicator::AllReduce and of UpdateExpertBias.
  absl::Status Finish(bool applied, Stream& stream);

 private:
  absl::Status SumCounts(Stream& stream);

  std::string name_;
  double rate_;
  std::vector<Layer> layers_;
  Communicator* communicator_;
  int64_t num_counts_ = 0;
};

}  // namespace hetero

#endif  // HETERO_OPTIM_EXPERT_BIAS_H_
