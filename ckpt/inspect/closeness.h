#ifndef HETERO_CKPT_INSPECT_CLOSENESS_H_
#define HETERO_CKPT_INSPECT_CLOSENESS_H_

// How near the numbers of one run are to those of another, tensor by tensor.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/inspect/tensors.h"

namespace hetero {

struct TensorCloseness {
  std::string key;
  double relative = 0;  // |a - b| / |b| in the Euclidean norm; infinite where only b is zero
  double cosine = 1;    // of the angle between a and b; 1 where both are zero
  double max_abs = 0;   // max |a - b|

  // "w: relative 1.2e-07, cosine 1, max abs 3e-06".
  std::string ToString() const;

  // False for NaN.
  bool IsWithin(double tolerance) const { return relative <= tolerance; }
};

struct ClosenessOptions {
  std::string_view prefix = "";  // tensors whose names begin with it
  // Called with a key before it is read; its error ends it.
  std::function<absl::Status(std::string_view key)> before_each = {};
};

struct ClosenessReport {
  std::vector<std::string> only_first;
  std::vector<std::string> only_second;
  std::vector<std::string> unlike;       // "w: f32 [4] and f32 [2,2]": shapes differ, or no numbers
  std::vector<TensorCloseness> tensors;  // in the order of the model

  // The first in the order of the model that is not within the tolerance; null: none.
  const TensorCloseness* FirstBeyond(double tolerance) const;
};

// Compares floating-point tensors of the same name and shape, in whatever type each has, one in
// memory at a time of each side. The order is that of StoredTensors::order() of the first, else of
// the second; names that it does not have come behind in the order of names, where numbers in them
// count as numbers. Errors: those of reading, and of `before_each`.
absl::StatusOr<ClosenessReport> CompareNumbers(const StoredTensors& first,
                                               const StoredTensors& second,
                                               const ClosenessOptions& options = {});

}  // namespace hetero

#endif  // HETERO_CKPT_INSPECT_CLOSENESS_H_
