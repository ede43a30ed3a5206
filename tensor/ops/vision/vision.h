#ifndef HETERO_TENSOR_OPS_VISION_VISION_H_
#define HETERO_TENSOR_OPS_VISION_VISION_H_

// The two ends of a vision transformer over images of any size: patch embeddings become packed
// token rows with positions and class tokens, and token rows become shuffled features.
//
// I images; image i has R_i x Q_i patches of P x P pixels. N = sum of R_i Q_i, S = sum of
// (K + R_i Q_i) with K class tokens, C channels. All tensors are dense and of one dtype, gradients
// of the parameters of its compute type. Images lie one after another, patches row-major.
//
// A rank may work on a window of the rows alone, [first, first + rows of the operand): of the
// tokens, with the patches among them, or of the features.
// Errors: INVALID_ARGUMENT naming the operand, or the image whose size is not a positive multiple
// of 2 P on both sides.

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "hetero/tensor/sequence_batch.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// Images of a batch as token rows. Does not own `sizes`.
struct ImageLayout {
  std::span<const ImageSize> sizes;
  int64_t patch_size = 0;        // P
  int64_t num_class_tokens = 0;  // K

  int64_t rows(int64_t image) const { return sizes[image].height / patch_size; }
  int64_t columns(int64_t image) const { return sizes[image].width / patch_size; }
  int64_t num_images() const { return static_cast<int64_t>(sizes.size()); }
  int64_t num_patches() const;  // N
  int64_t num_tokens() const;   // S

  // Patches among the first `tokens` rows. Precondition: at most S.
  int64_t PatchesBefore(int64_t tokens) const;

  absl::Status Validate() const;
};

// Per image, its K class tokens and then embedding + position of every patch: token rows
// [first_token, first_token + rows of tokens_WC), of which embedding_NC has the patches. Positions
// are the Y x X grid resized to D x D with D = max(R, Q), of which the top left R x Q is used;
// bilinear, half-pixel centres, no antialiasing (the align_corners=false rule), coefficients formed
// in double. A Y x X image takes the grid as it is. Moves: embeddings, positions and tokens once.
absl::Status PackImageTokens(const ImageLayout& layout, const ConstTensorView& embedding_NC,
                             const ConstTensorView& positions_YXC,
                             const ConstTensorView& class_tokens_KC, int64_t first_token,
                             const TensorView& tokens_WC, Stream& stream);

// Of the same rows; the gradients of the parameters are what these rows give. Sums run over images,
// rows and columns in order. Null d_embedding_NC: not wanted; null d_positions_YXC and
// d_class_tokens_KC: not wanted, both or none. `accumulate` adds to the latter two.
struct PackImageTokensBackwardArgs {
  int64_t first_token = 0;
  ConstTensorView d_tokens_WC;
  TensorView d_embedding_NC;
  TensorView d_positions_YXC;
  TensorView d_class_tokens_KC;
  bool accumulate_positions = false;
  bool accumulate_class_tokens = false;
};
absl::Status PackImageTokensBackward(const ImageLayout& layout,
                                     const PackImageTokensBackwardArgs& args, Stream& stream);

// Drops class tokens and folds 2 x 2 patches into one row of 4 C features:
// features[i, j, (2 a + b) C + c] = patch[2 i + a, 2 j + b, c]. Of all N / 4 rows, features_WC has
// those from `first_feature`.
absl::Status ShufflePixels(const ImageLayout& layout, const ConstTensorView& tokens_SC,
                           int64_t first_feature, const TensorView& features_WC, Stream& stream);

// The inverse, from all features to the token rows from `first_token`; those of class tokens become
// zero.
absl::Status ShufflePixelsBackward(const ImageLayout& layout, const ConstTensorView& d_features_NC,
                                   int64_t first_token, const TensorView& d_tokens_WC,
                                   Stream& stream);

namespace internal {

// `axis_cells` i32[4, D] and `axis_weights` [2, D] are scratch; D is at least the longest side in
// patches.
absl::Status PackImageTokensCpu(const ImageLayout& layout, const ConstTensorView& embedding_NC,
                                const ConstTensorView& positions_YXC,
                                const ConstTensorView& class_tokens_KC, int64_t first_token,
                                const TensorView& tokens_WC, const TensorView& axis_cells,
                                const TensorView& axis_weights);
absl::Status PackImageTokensBackwardCpu(const ImageLayout& layout,
                                        const PackImageTokensBackwardArgs& args,
                                        const TensorView& axis_cells,
                                        const TensorView& axis_weights);
absl::Status ShufflePixelsCpu(const ImageLayout& layout, const ConstTensorView& tokens_SC,
                              int64_t first_feature, const TensorView& features_WC);
absl::Status ShufflePixelsBackwardCpu(const ImageLayout& layout,
                                      const ConstTensorView& d_features_NC, int64_t first_token,
                                      const TensorView& d_tokens_WC);

absl::Status PackImageTokensCuda(const ImageLayout& layout, const ConstTensorView& embedding_NC,
                                 const ConstTensorView& positions_YXC,
                                 const ConstTensorView& class_tokens_KC, int64_t first_token,
                                 const TensorView& tokens_WC, Stream& stream);
absl::Status PackImageTokensBackwardCuda(const ImageLayout& layout,
                                         const PackImageTokensBackwardArgs& args, Stream& stream);
absl::Status ShufflePixelsCuda(const ImageLayout& layout, const ConstTensorView& tokens_SC,
                               int64_t first_feature, const TensorView& features_WC,
                               Stream& stream);
absl::Status ShufflePixelsBackwardCuda(const ImageLayout& layout,
                                       const ConstTensorView& d_features_NC, int64_t first_token,
                                       const TensorView& d_tokens_WC, Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_VISION_VISION_H_
