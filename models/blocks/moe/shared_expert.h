#ifndef HETERO_MODELS_BLOCKS_MOE_SHARED_EXPERT_H_
#define HETERO_MODELS_BLOCKS_MOE_SHARED_EXPERT_H_

// The network of a layer of experts that every token goes through, y = relu(x W1ᵀ)² W2ᵀ, its width
// divided over tensor-parallel ranks. A layer without one has the default value, of which every
// step does nothing, and its y is zero.
//
// Forward and backward come in steps, so that what the ranks send each other travels beside the
// router and the other experts (side_stream.h).
//
// Shape letters: N tokens of the microbatch, T rows of this rank, H hidden, S this rank's share of
// the width.

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/models/blocks/context.h"
#include "hetero/models/blocks/parallel_linear.h"
#include "hetero/models/blocks/sequence_parallel.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/side_stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

class SharedExpert {
 public:
  using Gathered = SequenceParallel::Gathered;

  struct Saved {
    TensorView inner_NS;
    TensorView activated_NS;  // in context.brief()
  };

  SharedExpert() = default;
  // `alone`: no rank is sent anything beside the products. Then the activation is made behind the
  // product (linear_squared_relu.h), whose blocks hold a GPU until they are through: what
  // communicates would wait for them.
  SharedExpert(SequenceParallel sequence, bool alone, Parameter* fc1_SH, Parameter* fc2_HS)
      : present_(true),
        alone_(alone),
        sequence_(sequence),
        fc1_(sequence, fc1_SH),
        fc2_(sequence, fc2_HS) {}

  bool present() const { return present_; }

  // Gathers x beside what comes before Activate, in the stream's workspace.
  // Errors (here and below): those of the products, the arenas and the communicator.
  absl::StatusOr<Gathered> StartForward(ModuleContext& context, ConstTensorView x_TH,
                                        int64_t num_tokens) const;

  // Up to the activation; fills `saved`.
  absl::Status Activate(ModuleContext& context, Gathered x, Saved& saved) const;

  // What was activated once more, in context.recomputed(); null without a shared expert.
  absl::StatusOr<TensorView> ActivateAgain(ModuleContext& context, const Saved& saved) const;

  // y, one of three ways: added to `out_TH`; on its way to `y_TH` until the mark; with the residual
  // where the context wants a result, which is returned, or without a shared expert the residual.
  absl::Status AddTo(ModuleContext& context, const Saved& saved, TensorView out_TH) const;
  absl::StatusOr<SideStream::Mark> StartProduct(ModuleContext& context, const Saved& saved,
                                                TensorView y_TH) const;
  absl::StatusOr<ConstTensorView> Residual(ModuleContext& context, const Saved& saved,
                                           ConstTensorView residual_TH) const;

  // Gather the gradient of y, in the stream's workspace, and x beside what comes before the next
  // two.
  absl::StatusOr<Gathered> StartBackward(ModuleContext& context, const Saved& saved,
                                         ConstTensorView d_y_TH) const;
  absl::StatusOr<Gathered> StartInput(ModuleContext& context, const Saved& saved,
                                      ConstTensorView x_TH) const;

  // Adds the gradient of W2 and returns that of the inner product, in the stream's workspace.
  absl::StatusOr<TensorView> ActivationBackward(ModuleContext& context, const Saved& saved,
                                                Gathered d_y) const;

  // Adds the gradient of W1 and returns that of x, which is `d_x_TH`; null without a shared expert.
  absl::StatusOr<ConstTensorView> FinishBackward(ModuleContext& context, ConstTensorView d_inner_NS,
                                                 Gathered x, TensorView d_x_TH) const;

 private:
  bool present_ = false;
  bool alone_ = false;
  SequenceParallel sequence_;
  ColumnLinear fc1_;
  RowLinear fc2_;
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_MOE_SHARED_EXPERT_H_
