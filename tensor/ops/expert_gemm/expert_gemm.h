#ifndef HETERO_TENSOR_OPS_EXPERT_GEMM_EXPERT_GEMM_H_
#define HETERO_TENSOR_OPS_EXPERT_GEMM_EXPERT_GEMM_H_

// The products of one linear layer per expert, over rows sorted by expert: expert e owns rows
// [offsets[e], offsets[e + 1]) of the row operands and matrix e of the weight operand.
//
// E experts, R rows, K input and N output features; all tensors dense and of one dtype, but for
// weight gradients, and factors of rows in ComputeDType; offsets i32[E + 1] ascending from 0 to R.
// An expert without rows is legal. A GPU reads the offsets where they are: the host never waits for
// them.
// Errors: INVALID_ARGUMENT naming the operand whose shape or dtype does not fit.

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// y = x w_eᵀ.
absl::Status ExpertLinearForward(const ConstTensorView& x_RK, const ConstTensorView& w_ENK,
                                 const ConstTensorView& offsets_E1, const TensorView& y_RN,
                                 Stream& stream);

// y = x w_eᵀ, and of y as it is stored a = max(y, 0)² p, what SquaredReluForward makes of it.
absl::Status ExpertLinearSquaredRelu(const ConstTensorView& x_RK, const ConstTensorView& w_ENK,
                                     const ConstTensorView& offsets_E1, const ConstTensorView& p_R,
                                     const TensorView& y_RN, const TensorView& a_RN,
                                     Stream& stream);

// dx = dy w_e.
absl::Status ExpertLinearBackwardInput(const ConstTensorView& dy_RN, const ConstTensorView& w_ENK,
                                       const ConstTensorView& offsets_E1, const TensorView& dx_RK,
                                       Stream& stream);

// With dx = dy w_e, rounded to its storage, what SquaredReluBackward makes of it: df = 2 max(f, 0)
// p dx and dp = Σ_k dx max(f, 0)². `scratch`: of AllocateExpertScratch for K and at least R rows.
absl::Status ExpertLinearSquaredReluBackward(
    const ConstTensorView& dy_RN, const ConstTensorView& w_ENK, const ConstTensorView& offsets_E1,
    const ConstTensorView& f_RK, const ConstTensorView& p_R, const TensorView& df_RK,
    const TensorView& dp_R, const TensorView& scratch, Stream& stream);

// From the stream's workspace: 4 bytes for every row and 192 features; null on devices that are no
// GPU and predict none.
absl::StatusOr<TensorView> AllocateExpertScratch(int64_t num_inputs, int64_t rows, Stream& stream);

// dw_e = dyᵀ x over the rows of e in ComputeDType, added to dw if `accumulate`. Without, an expert
// that has no rows gets zeros; with, its dw stays as it is.
absl::Status ExpertLinearBackwardWeight(const ConstTensorView& dy_RN, const ConstTensorView& x_RK,
                                        const ConstTensorView& offsets_E1, const TensorView& dw_ENK,
                                        bool accumulate, Stream& stream);

namespace internal {

// A squared ReLU behind a product.
struct ExpertSquaredRelu {
  ConstTensorView p_R;      // null: 1
  TensorView activated_RN;  // forward
  ConstTensorView f_RK;     // backward, this and what follows
  TensorView dp_R;          // null: not wanted
  TensorView dp_parts_XR;   // f32: sums over kExpertTileColumns features each

  bool present() const { return !activated_RN.is_null() || !f_RK.is_null(); }
};
inline constexpr int64_t kExpertTileColumns = 192;

// One of the three, as c = a b for every expert.
struct ExpertProduct {
  enum class Kind {
    kForward,         // a = x, b = w, c = y
    kBackwardInput,   // a = dy, b = w, c = dx
    kBackwardWeight,  // a = dy, b = x, c = dw
  };

  Kind kind = Kind::kForward;
  ConstTensorView a;
  ConstTensorView b;
  ConstTensorView offsets;
  TensorView c;
  ExpertSquaredRelu squared_relu;
  bool accumulate = false;  // of kBackwardWeight
  int64_t num_rows = 0;     // R
  int64_t num_inputs = 0;   // K
  int64_t num_outputs = 0;  // N
  int64_t num_experts = 0;  // E
};

absl::Status ExpertProductCpu(const ExpertProduct& product);
absl::Status ExpertProductCuda(const ExpertProduct& product, Stream& stream);

// On a GPU: whether tensor cores compute the product, one of bf16 with features in multiples of 8
// at addresses in multiples of 16, and not empty. All others are sums of f32 fused multiply-adds.
bool FitsTensorCores(const ExpertProduct& product);
// Null offsets: all rows are those of the only expert. Precondition: FitsTensorCores.
absl::Status ExpertProductOnTensorCores(const ExpertProduct& product, Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_EXPERT_GEMM_EXPERT_GEMM_H_
