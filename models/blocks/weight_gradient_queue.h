#ifndef HETERO_MODELS_BLOCKS_WEIGHT_GRADIENT_QUEUE_H_
#define HETERO_MODELS_BLOCKS_WEIGHT_GRADIENT_QUEUE_H_

// Weight gradients of linear layers that a backward pass leaves for later, so that the gradient of
// its input leaves first (Qi et al., "Zero bubble pipeline parallelism", ICLR 2024).

#include <functional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "hetero/base/status.h"
#include "hetero/tensor/stream.h"

namespace hetero {

// Of one microbatch in flight. What its products read lies in the microbatch's activation arena.
// Queues of a step run in the order in which backward passes filled them: the first gradient of a
// parameter overwrites, the others add.
class WeightGradientQueue {
 public:
  using Product = std::function<absl::Status(Stream&)>;

  void Add(Product product) { products_.push_back(std::move(product)); }

  // Runs all products in the order in which they came and forgets them.
  // Errors: the first product's that fails.
  absl::Status Run(Stream& stream) {
    for (const Product& product : std::exchange(products_, {})) {
      HETERO_RETURN_IF_ERROR(product(stream));
    }
    return absl::OkStatus();
  }

 private:
  std::vector<Product> products_;
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_WEIGHT_GRADIENT_QUEUE_H_
