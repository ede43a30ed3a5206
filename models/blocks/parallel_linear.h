#ifndef HETERO_MODELS_BLOCKS_PARALLEL_LINEAR_H_
#define HETERO_MODELS_BLOCKS_PARALLEL_LINEAR_H_

// The two products of a tensor-parallel layer (Shoeybi et al., arXiv:1909.08053), with the tokens
// going around them as sequence_parallel.h says. In between every rank has all tokens and its share
// of the layer's width.
//
// Shape letters: T tokens of the microbatch, R rows of a rank, H hidden, N and K this rank's
// widths.
//
// Backward hides communication (side_stream.h). A column-parallel product gathers its tokens again
// beside what the layer does between its two products, or at least beside the product that makes
// the input's gradient; the sum of that goes to the owners beside the product that makes the
// weight's. A row-parallel product needs the gathered gradient in both: a layer with other work
// starts the gathering before that.

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/models/blocks/context.h"
#include "hetero/models/blocks/sequence_parallel.h"
#include "hetero/params/parameter_spec.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/side_stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// A bias's row of the table; `dim` is that of the weight's rows. A bias that all ranks have, of a
// RowLinear, has parts of its gradient on them.
ParameterSpec BiasOf(std::string name, int64_t width, const DimSharding& dim, DType storage);

// y = x wᵀ + b, w divided by rows and b with them.
class ColumnLinear {
 public:
  ColumnLinear() = default;
  // `bias_N` null: none.
  ColumnLinear(SequenceParallel sequence, Parameter* weight_NH, Parameter* bias_N = nullptr)
      : sequence_(sequence), weight_NH_(weight_NH), bias_N_(bias_N) {}

  int64_t width() const { return weight_NH_->value.dim(0); }
  Parameter& weight() const { return *weight_NH_; }

  // Errors (here and below): those of the products, the arenas and the communicator.
  absl::Status Forward(ModuleContext& context, ConstTensorView x_RH, TensorView y_TN) const;

  // The same of tokens that the caller has gathered.
  absl::Status Product(ModuleContext& context, ConstTensorView x_TH, TensorView y_TN) const;

  // Adds the gradients of w and b and returns that of x, in the stream's workspace. `x_RH` is
  // Forward's and stays as it is until the context's queue has run.
  absl::StatusOr<TensorView> Backward(ModuleContext& context, ConstTensorView d_y_TN,
                                      ConstTensorView x_RH) const;

  // The same with the gradient of x in the caller's memory, apart from that of the other operands;
  // null: not wanted.
  absl::Status BackwardTo(ModuleContext& context, ConstTensorView d_y_TN, ConstTensorView x_RH,
                          TensorView d_x_RH) const;

  // Both in two parts: the tokens, `num_tokens` of them, are gathered again beside what comes
  // between. They lie in the stream's workspace, or, for a context with a queue, in its activation
  // arena; null where no gradient of w is wanted.
  absl::StatusOr<SequenceParallel::Gathered> StartBackward(ModuleContext& context,
                                                           ConstTensorView x_RH,
                                                           int64_t num_tokens) const;
  absl::StatusOr<TensorView> FinishBackward(ModuleContext& context, ConstTensorView d_y_TN,
                                            SequenceParallel::Gathered x) const;
  absl::Status FinishBackwardTo(ModuleContext& context, ConstTensorView d_y_TN,
                                SequenceParallel::Gathered x, TensorView d_x_RH) const;

 private:
  // Leaves the gradient of x behind the mark; what it is the sum of lies in the stream's workspace.
  absl::StatusOr<SideStream::Mark> StartBackwardInput(ModuleContext& context,
                                                      ConstTensorView d_y_TN,
                                                      TensorView d_x_RH) const;

  SequenceParallel sequence_;
  Parameter* weight_NH_ = nullptr;
  Parameter* bias_N_ = nullptr;
};

// residual + x wᵀ + b, w divided by columns: the residual is added once, after the sum over ranks.
// Every rank has all of b; it enters the sum with the first rank's product, which adds it on the
// way. A rank's gradient of b is that of its own rows: parts to be summed over the ranks.
class RowLinear {
 public:
  RowLinear() = default;
  // `bias_H` null: none.
  RowLinear(SequenceParallel sequence, Parameter* weight_HK, Parameter* bias_H = nullptr)
      : sequence_(sequence), weight_HK_(weight_HK), bias_H_(bias_H) {}

  Parameter& weight() const { return *weight_HK_; }

  // Where the context wants a block's result.
  absl::StatusOr<TensorView> Forward(ModuleContext& context, ConstTensorView x_TK,
                                     ConstTensorView residual_RH) const;

  // The same without a residual; `out_RH` is overwritten.
  absl::Status Product(ModuleContext& context, ConstTensorView x_TK, TensorView out_RH) const;

  // The same, with the sum over ranks beside what the stream is given before the join. What it is
  // the sum of lies in the stream's workspace.
  absl::StatusOr<SideStream::Mark> StartProduct(ModuleContext& context, ConstTensorView x_TK,
                                                TensorView out_RH) const;

  // out += x wᵀ + b.
  absl::Status AddTo(ModuleContext& context, ConstTensorView x_TK, TensorView out_RH) const;

  // Adds the gradients of w and b and returns that of x, in the stream's workspace; that of the
  // residual is `d_out_RH`. `x_TK` stays as it is until the context's queue has run.
  absl::StatusOr<TensorView> Backward(ModuleContext& context, ConstTensorView d_out_RH,
                                      ConstTensorView x_TK) const;

  // The same in two parts, with the gradient gathered beside what comes between them. `arena` keeps
  // it until the second, which joins it.
  absl::StatusOr<SequenceParallel::Gathered> StartBackward(ModuleContext& context,
                                                           ConstTensorView d_out_RH,
                                                           int64_t num_tokens, Arena& arena) const;
  absl::StatusOr<TensorView> FinishBackward(ModuleContext& context,
                                            SequenceParallel::Gathered d_out,
                                            ConstTensorView x_TK) const;
  // The second part where x is the squared ReLU of `f_TK`: returns the gradient of that.
  absl::StatusOr<TensorView> FinishBackwardOfSquaredRelu(ModuleContext& context,
                                                         SequenceParallel::Gathered d_out,
                                                         ConstTensorView x_TK,
                                                         ConstTensorView f_TK) const;

 private:
  // This rank's part of Product, in the stream's workspace; alone, `out_RH`.
  absl::StatusOr<TensorView> ProductPart(ModuleContext& context, ConstTensorView x_TK,
                                         TensorView out_RH) const;
  // out = to + x wᵀ + b, of a rank that is alone.
  absl::Status AddProduct(Stream& stream, ConstTensorView x_TK, ConstTensorView to_TH,
                          TensorView out_TH) const;
  absl::Status BackwardProducts(ModuleContext& context, ConstTensorView d_out_TH,
                                ConstTensorView x_TK, TensorView d_x_TK) const;

  SequenceParallel sequence_;
  Parameter* weight_HK_ = nullptr;
  Parameter* bias_H_ = nullptr;
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_PARALLEL_LINEAR_H_
