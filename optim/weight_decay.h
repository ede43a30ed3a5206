#ifndef HETERO_OPTIM_WEIGHT_DECAY_H_
#define HETERO_OPTIM_WEIGHT_DECAY_H_

// Weight decay as a function of the samples that applied updates have consumed: a pure value, so
// resuming at n gives the decay of n.

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/base/violation.h"

namespace hetero {

// With r = n / samples in [0, 1]; start + (end - start) times
enum class WeightDecayStyle : uint8_t {
  kConstant,  // 0: start and end are equal
  kLinear,    // r
  kCosine,    // (1 - cos(pi r)) / 2
};

struct WeightDecayOptions {
  WeightDecayStyle style = WeightDecayStyle::kConstant;
  double start = 0;
  double end = 0;       // from `samples` on
  int64_t samples = 0;  // from the start of the run; of no meaning to kConstant
};

// Every rule that `options` break, by the names of the fields. `end` is what a configuration calls
// the end.
std::vector<Violation> Validate(const WeightDecayOptions& options, std::string_view end = "end");

class WeightDecaySchedule {
 public:
  // Errors: INVALID_ARGUMENT with every violation, one a line.
  static absl::StatusOr<WeightDecaySchedule> Make(const WeightDecayOptions& options);

  // Decay of the update that follows `samples` consumed samples. Precondition: samples >= 0.
  double At(int64_t samples) const;

  const WeightDecayOptions& options() const { return options_; }

 private:
  explicit WeightDecaySchedule(const WeightDecayOptions& options) : options_(options) {}

  WeightDecayOptions options_;
};

}  // namespace hetero

#endif  // HETERO_OPTIM_WEIGHT_DECAY_H_
