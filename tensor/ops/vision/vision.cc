#include "hetero/tensor/ops/vision/vision.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

// Scratch for the interpolation of one image, both axes: rows of D entries, D at least the longest
// side. Any images of N patches have room in it, so that the number of patches alone says what
// memory a batch takes. A GPU computes them where it needs them.
struct AxisScratch {
  TensorView cells;    // i32[4, D]: lower and upper cell of the row axis, then of the column axis
  TensorView weights;  // [2, D]: of the upper cell
};

absl::StatusOr<AxisScratch> AllocateAxes(const ImageLayout& layout, DType dtype, Stream& stream) {
  if (stream.device().IsCuda()) return AxisScratch();
  const int64_t longest = layout.num_patches() / 2;  // no side is shorter than two
  HETERO_ASSIGN_OR_RETURN(const TensorView cells,
                          stream.workspace().Allocate(DType::kI32, {4, longest}));
  HETERO_ASSIGN_OR_RETURN(const TensorView weights,
                          stream.workspace().Allocate(dtype, {2, longest}));
  return AxisScratch{cells, weights};
}

absl::Status ExpectParameters(const ImageLayout& layout, std::string_view positions_name,
                              const ConstTensorView& positions_YXC,
                              std::string_view class_tokens_name,
                              const ConstTensorView& class_tokens_KC, DType dtype,
                              int64_t channels) {
  HETERO_RETURN_IF_ERROR(
      ExpectDense(positions_name, positions_YXC, dtype, {kAnyDim, kAnyDim, channels}));
  return ExpectDense(class_tokens_name, class_tokens_KC, dtype,
                     {layout.num_class_tokens, channels});
}

absl::Status ExpectWindow(std::string_view operand, int64_t first, const ConstTensorView& view,
                          int64_t num_rows) {
  HETERO_RETURN_IF_ERROR(ExpectDense(operand, view, view.dtype(), {kAnyDim, kAnyDim}));
  if (first >= 0 && first + view.dim(0) <= num_rows) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(operand, " is ", view.ToString(), " from row ",
                                                 first, "; expected rows among ", num_rows));
}

int64_t PatchesOf(const ImageLayout& layout, int64_t first_token, const ConstTensorView& tokens) {
  return layout.PatchesBefore(first_token + tokens.dim(0)) - layout.PatchesBefore(first_token);
}

}  // namespace

int64_t ImageLayout::num_patches() const {
  int64_t count = 0;
  for (int64_t i = 0; i < num_images(); ++i) count += rows(i) * columns(i);
  return count;
}

int64_t ImageLayout::PatchesBefore(int64_t tokens) const {
  int64_t patches = 0;
  for (int64_t i = 0; i < num_images() && tokens > num_class_tokens; ++i) {
    const int64_t of_image = rows(i) * columns(i);
    patches += std::min(tokens - num_class_tokens, of_image);
    tokens -= num_class_tokens + of_image;
  }
  return patches;
}

int64_t ImageLayout::num_tokens() const { return num_patches() + num_images() * num_class_tokens; }

absl::Status ImageLayout::Validate() const {
  const int64_t unit = 2 * patch_size;
  for (int64_t i = 0; i < num_images(); ++i) {
    const auto& [height, width] = sizes[i];
    if (height > 0 && width > 0 && height % unit == 0 && width % unit == 0) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "image ", i, " is ", height, "x", width,
        " pixels; both sides must be positive multiples of ", unit, ", two patches; nearest is ",
        std::max(unit, (height + unit / 2) / unit * unit), "x",
        std::max(unit, (width + unit / 2) / unit * unit)));
  }
  return absl::OkStatus();
}

absl::Status PackImageTokens(const ImageLayout& layout, const ConstTensorView& embedding_NC,
                             const ConstTensorView& positions_YXC,
                             const ConstTensorView& class_tokens_KC, int64_t first_token,
                             const TensorView& tokens_WC, Stream& stream) {
  HETERO_RETURN_IF_ERROR(layout.Validate());
  const DType dtype = embedding_NC.dtype();
  HETERO_RETURN_IF_ERROR(ExpectWindow("tokens_WC", first_token, tokens_WC, layout.num_tokens()));
  HETERO_RETURN_IF_ERROR(ExpectDense("embedding_NC", embedding_NC, dtype,
                                     {PatchesOf(layout, first_token, tokens_WC), kAnyDim}));
  const int64_t channels = embedding_NC.dim(1);
  HETERO_RETURN_IF_ERROR(ExpectParameters(layout, "positions_YXC", positions_YXC, "class_tokens_KC",
                                          class_tokens_KC, dtype, channels));
  HETERO_RETURN_IF_ERROR(ExpectDense("tokens_WC", tokens_WC, dtype, {kAnyDim, channels}));
  ArenaScope scratch_scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const AxisScratch axes, AllocateAxes(layout, dtype, stream));
  OperationScope scope(stream,
                       {"vision.pack", 8.0 * embedding_NC.num_elements(),
                        static_cast<double>(embedding_NC.num_bytes() + positions_YXC.num_bytes() +
                                            tokens_WC.num_bytes())});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(
      stream,
      internal::PackImageTokensCpu(layout, embedding_NC, positions_YXC, class_tokens_KC,
                                   first_token, tokens_WC, axes.cells, axes.weights),
      internal::PackImageTokensCuda(layout, embedding_NC, positions_YXC, class_tokens_KC,
                                    first_token, tokens_WC, stream));
}

absl::Status PackImageTokensBackward(const ImageLayout& layout,
                                     const PackImageTokensBackwardArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(layout.Validate());
  const DType dtype = args.d_tokens_WC.dtype();
  HETERO_RETURN_IF_ERROR(
      ExpectWindow("d_tokens_WC", args.first_token, args.d_tokens_WC, layout.num_tokens()));
  const int64_t channels = args.d_tokens_WC.dim(1);
  const int64_t patches = PatchesOf(layout, args.first_token, args.d_tokens_WC);
  double bytes = static_cast<double>(args.d_tokens_WC.num_bytes());
  double flops = 0;
  if (!args.d_embedding_NC.is_null()) {
    HETERO_RETURN_IF_ERROR(
        ExpectDense("d_embedding_NC", args.d_embedding_NC, dtype, {patches, channels}));
    bytes += static_cast<double>(args.d_embedding_NC.num_bytes());
  }
  if (args.d_positions_YXC.is_null() != args.d_class_tokens_KC.is_null()) {
    return absl::InvalidArgumentError("d_positions_YXC and d_class_tokens_KC come together");
  }
  if (!args.d_positions_YXC.is_null()) {
    HETERO_RETURN_IF_ERROR(ExpectParameters(layout, "d_positions_YXC", args.d_positions_YXC,
                                            "d_class_tokens_KC", args.d_class_tokens_KC,
                                            ComputeDType(dtype), channels));
    bytes += static_cast<double>(args.d_positions_YXC.num_bytes());
    flops = 8.0 * static_cast<double>(patches * channels);
  }
  ArenaScope scratch_scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const AxisScratch axes, AllocateAxes(layout, dtype, stream));
  OperationScope scope(stream, {"vision.pack_backward", flops, bytes});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(
      stream, internal::PackImageTokensBackwardCpu(layout, args, axes.cells, axes.weights),
      internal::PackImageTokensBackwardCuda(layout, args, stream));
}

absl::Status ShufflePixels(const ImageLayout& layout, const ConstTensorView& tokens_SC,
                           int64_t first_feature, const TensorView& features_WC, Stream& stream) {
  HETERO_RETURN_IF_ERROR(layout.Validate());
  const DType dtype = tokens_SC.dtype();
  HETERO_RETURN_IF_ERROR(
      ExpectDense("tokens_SC", tokens_SC, dtype, {layout.num_tokens(), kAnyDim}));
  HETERO_RETURN_IF_ERROR(
      ExpectDense("features_WC", features_WC, dtype, {kAnyDim, 4 * tokens_SC.dim(1)}));
  HETERO_RETURN_IF_ERROR(
      ExpectWindow("features_WC", first_feature, features_WC, layout.num_patches() / 4));
  OperationScope scope(stream,
                       {"vision.shuffle", 0, 2.0 * static_cast<double>(features_WC.num_bytes())});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(
      stream, internal::ShufflePixelsCpu(layout, tokens_SC, first_feature, features_WC),
      internal::ShufflePixelsCuda(layout, tokens_SC, first_feature, features_WC, stream));
}

absl::Status ShufflePixelsBackward(const ImageLayout& layout, const ConstTensorView& d_features_NC,
                                   int64_t first_token, const TensorView& d_tokens_WC,
                                   Stream& stream) {
  HETERO_RETURN_IF_ERROR(layout.Validate());
  const DType dtype = d_tokens_WC.dtype();
  HETERO_RETURN_IF_ERROR(
      ExpectWindow("d_tokens_WC", first_token, d_tokens_WC, layout.num_tokens()));
  HETERO_RETURN_IF_ERROR(ExpectDense("d_features_NC", d_features_NC, dtype,
                                     {layout.num_patches() / 4, 4 * d_tokens_WC.dim(1)}));
  OperationScope scope(
      stream, {"vision.shuffle_backward", 0, 2.0 * static_cast<double>(d_tokens_WC.num_bytes())});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(
      stream, internal::ShufflePixelsBackwardCpu(layout, d_features_NC, first_token, d_tokens_WC),
      internal::ShufflePixelsBackwardCuda(layout, d_features_NC, first_token, d_tokens_WC, stream));
}

}  // namespace hetero
