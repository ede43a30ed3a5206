#ifndef HETERO_TRAINER_REPLAY_STEP_WALK_H_
#define HETERO_TRAINER_REPLAY_STEP_WALK_H_

// A step looked at from inside: the sums of each microbatch, and the first layer whose output or
// gradient is infinite or NaN. Everything is brought to the host, and the step's own sums are taken
// from it, so that nothing is updated: for debugging.

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "hetero/tensor/memory.h"
#include "hetero/trainer/step/step_watch.h"

namespace hetero {

// Where a number that is not finite was met first.
struct NonFinitePlace {
  bool backward = false;
  int stage = 0;  // of the plan
  int microbatch = 0;
  // ParameterSpec::layer; kLastLayer: what the stage returned.
  int layer = 0;

  bool operator==(const NonFinitePlace&) const = default;
};

// One thread, the rank's, uses it.
class StepWalk : public StepWatch {
 public:
  // From now on the rank's steps are looked at, whose stages have so many totals.
  void Start(int64_t num_totals) { num_totals_ = num_totals; }

  // The model's totals of this rank, by microbatch.
  const std::map<int, std::vector<double>>& totals() const { return totals_; }
  // In the order in which this rank worked; unset: everything was finite.
  const std::optional<NonFinitePlace>& first() const { return first_; }

  bool Looks() const override { return num_totals_ > 0; }
  void Before(const Op& op) override { op_ = op; }
  absl::Status After(const Op& op, Stage& stage, ConstTensorView output, Stream& stream) override;
  void Begin(int layer) override { layer_ = layer; }
  absl::Status Output(ConstTensorView output, Stream& stream) override;
  absl::Status Gradient(int layer, ConstTensorView gradient, Stream& stream) override;

 private:
  absl::Status Look(bool backward, int layer, const ConstTensorView& values, Stream& stream);
  absl::Status TakeTotals(int microbatch, Stage& stage, Stream& stream);

  int64_t num_totals_ = 0;
  Op op_;
  int layer_ = 0;
  std::map<int, std::vector<double>> totals_;
  std::optional<NonFinitePlace> first_;
  MemoryLedger ledger_;  // of what the walk itself allocates
};

}  // namespace hetero

#endif  // HETERO_TRAINER_REPLAY_STEP_WALK_H_
