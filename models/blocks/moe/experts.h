#ifndef HETERO_MODELS_BLOCKS_MOE_EXPERTS_H_
#define HETERO_MODELS_BLOCKS_MOE_EXPERTS_H_

// The experts that a rank has, or its share of their width, on rows sorted by expert:
//   y = (relu(x W1_eᵀ)² p) W2_eᵀ.
//
// Shape letters: E experts of this rank, R rows, H hidden, F this rank's share of the width.

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/models/blocks/context.h"
#include "hetero/models/blocks/weight_gradient.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/view.h"

namespace hetero {

// Rows and what is kept of them for backward: with selective_recompute not what is activated, and
// not the inputs where they can be gathered again.
struct ExpertRows {
  TensorView offsets_E1;  // i32
  TensorView probs_R;     // compute type
  TensorView inputs_RH;
  TensorView inner_RF;
  TensorView activated_RF;

  int64_t count() const { return inner_RF.dim(0); }
  ExpertRows First(int64_t rows) const;
};

// Where a backward's weight gradients go.
struct ExpertGradients {
  WeightGradient fc1;
  WeightGradient fc2;

  bool wanted() const { return fc1.wanted() || fc2.wanted(); }
  ExpertGradients Accumulating() const;
};

class Experts {
 public:
  Experts() = default;
  Experts(Parameter* fc1_EFH, Parameter* fc2_EHF) : fc1_EFH_(fc1_EFH), fc2_EHF_(fc2_EHF) {}

  int64_t count() const { return fc1_EFH_->value.dim(0); }
  int64_t width() const { return fc1_EFH_->value.dim(1); }

  // In the activation arena, but for the inputs, in `inputs`, and what is activated, in
  // context.brief().
  absl::StatusOr<ExpertRows> Allocate(ModuleContext& context, Arena& inputs, int64_t rows) const;

  // Fills inner and activated; the other fields are given.
  absl::Status Activate(const ExpertRows& rows, Stream& stream) const;
  // Fills activated alone, as Activate has.
  static absl::Status ActivateAgain(const ExpertRows& rows, Stream& stream);
  absl::Status Forward(const ExpertRows& rows, TensorView y_RH, Stream& stream) const;

  ExpertGradients GradientsOf(const ModuleContext& context) const;

  // Turns the gradient of y into that of the inputs, in place, and overwrites that of the
  // probabilities. What the context's queue is left with lies in memory for `kept_rows` rows in the
  // activation arena, whatever the rows are.
  absl::Status Backward(ModuleContext& context, const ExpertRows& rows,
                        const ExpertGradients& gradients, int64_t kept_rows, TensorView d_rows_RH,
                        TensorView d_inner_RF, TensorView d_probs_R) const;

 private:
  Parameter* fc1_EFH_ = nullptr;
  Parameter* fc2_EHF_ = nullptr;
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_MOE_EXPERTS_H_
