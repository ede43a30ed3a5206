#ifndef HETERO_PARAMS_TABLE_H_
#define HETERO_PARAMS_TABLE_H_

// The parameters of a module in registration order (that of forward), found by name.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "hetero/params/parameter_spec.h"

namespace hetero {

class ParameterTable {
 public:
  // Errors: INVALID_ARGUMENT naming the parameter, for a name given twice, a layer of a stage
  // behind a later one, sharding of other rank than the shape, an axis that divides two dims or is
  // not of the gradient group (tp of dense ones; ep and expt_tp of experts), parts of an expert's
  // gradient that nobody adds, a dim below 0 or above 2^48, or more than 2^48 elements up to there.
  static absl::StatusOr<ParameterTable> Make(std::vector<ParameterSpec> specs);

  std::span<const ParameterSpec> specs() const { return specs_; }

  // Errors: NOT_FOUND naming the parameter and the nearest name there is.
  absl::StatusOr<const ParameterSpec*> Find(std::string_view name) const;

  // Of parameters that train, in order.
  std::vector<std::string> TrainedNames() const;

  // Elements of parameters (not buffers) of the whole model.
  int64_t num_parameters() const;

  // What one pipeline stage owns.
  ParameterTable Stage(int stage) const;

 private:
  explicit ParameterTable(std::vector<ParameterSpec> specs);

  std::vector<ParameterSpec> specs_;
  absl::flat_hash_map<std::string, size_t> index_;
};

}  // namespace hetero

#endif  // HETERO_PARAMS_TABLE_H_
