#ifndef HETERO_TOOLS_MODEL_PROBE_INPUTS_H_
#define HETERO_TOOLS_MODEL_PROBE_INPUTS_H_

// What goes into a model that is probed, from a safetensors file.

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/ckpt/storage/storage.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/sample_facts.h"
#include "hetero/tensor/view.h"

namespace hetero {

// Numbers in memory of the type that a module reads, f32 or f64.
class HostMatrix {
 public:
  HostMatrix() = default;
  // All zero.
  HostMatrix(DType dtype, int64_t rows, int64_t columns);

  void Set(int64_t row, int64_t column, double value);
  TensorView view();

 private:
  DType dtype_ = DType::kF32;
  int64_t rows_ = 0;
  int64_t columns_ = 0;
  std::vector<double> memory_;
};

// Rows of equal length, each one sequence.
struct TokenInputs {
  int64_t num_rows = 0;
  int64_t row_length = 0;
  std::vector<int32_t> ids;      // "input_ids" [rows, length], i32 or i64
  std::vector<int32_t> targets;  // "targets" [rows, length]: what follows; negative: does not count

  int64_t num_tokens() const { return num_rows * row_length; }
};

// Images of any size, normalised.
struct ImageInputs {
  std::vector<ImageSize> sizes;
  // "image.0", "image.1" and on, [3, height, width]: pixels of each.
  std::vector<std::vector<double>> pixels;
  // "d_features" [patches, hidden]: the loss is the sum of its products with the features.
  std::vector<double> d_features;
};

// Errors: those of reading; NOT_FOUND a tensor that is missing; INVALID_ARGUMENT naming one of
// another type or shape.
absl::StatusOr<TokenInputs> ReadTokenInputs(Storage& storage, const std::filesystem::path& path);

// `hidden_size` and `patch_size`: of the model. Errors: likewise, also sizes that are not multiples
// of two patches.
absl::StatusOr<ImageInputs> ReadImageInputs(Storage& storage, const std::filesystem::path& path,
                                            int64_t hidden_size, int64_t patch_size);

}  // namespace hetero

#endif  // HETERO_TOOLS_MODEL_PROBE_INPUTS_H_
