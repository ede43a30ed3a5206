#ifndef HETERO_OPTIM_LEARNING_RATE_H_
#define HETERO_OPTIM_LEARNING_RATE_H_

// The learning rate as a function of the samples that applied updates have consumed: a pure value,
// so resuming at n gives the rate of n.

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/base/violation.h"

namespace hetero {

enum class LearningRateStyle : uint8_t {
  kConstant,
  kLinear,
  kCosine,             // Loshchilov and Hutter, arXiv:1608.03983, one period
  kInverseSquareRoot,  // Vaswani et al., arXiv:1706.03762, section 5.3
  kWarmupStableDecay,  // Hu et al., arXiv:2404.06395, section 4
};

// Shape of the final decay of kWarmupStableDecay; with q in [0, 1] the part of it that is done:
enum class DecayTail : uint8_t {
  kLinear,       // 1 - q
  kCosine,       // (cos(pi q) + 1) / 2
  kExponential,  // 2 * 0.5^q - 1
  kMinusSqrt,    // 1 - sqrt(q); Haegele et al., arXiv:2405.18392
};

struct LearningRateOptions {
  LearningRateStyle style = LearningRateStyle::kConstant;
  double peak = 0;
  double minimum = 0;
  double initial = 0;          // at the start of warm-up
  int64_t warmup_samples = 0;  // linear from initial to peak
  int64_t decay_samples = 0;   // where the minimum is reached, from the start of the run
  std::optional<int64_t> tail_samples = std::nullopt;  // kWarmupStableDecay: length of the decay
  std::optional<DecayTail> tail = std::nullopt;
};

// Every rule that `options` break, by the names of a configuration: "peak", "warmup_samples". All
// rules hold for lengths of any one unit; `unit` is what those of `options` count and how their
// names end, "samples" or "steps".
std::vector<Violation> Validate(const LearningRateOptions& options,
                                std::string_view unit = "samples");

class LearningRateSchedule {
 public:
  // Errors: INVALID_ARGUMENT with every violation, one a line.
  static absl::StatusOr<LearningRateSchedule> Make(const LearningRateOptions& options);

  // Rate of the update that follows `samples` consumed samples.
  double At(int64_t samples) const;

  const LearningRateOptions& options() const { return options_; }

 private:
  explicit LearningRateSchedule(const LearningRateOptions& options) : options_(options) {}

  // The share of (peak - minimum) that is left, in [0, 1]. Precondition: after warm-up, before the
  // end of decay.
  double Remaining(double samples) const;

  LearningRateOptions options_;
};

}  // namespace hetero

#endif  // HETERO_OPTIM_LEARNING_RATE_H_
