#include "hetero/tools/model_probe/inputs.h"

#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/safetensors/reader.h"

namespace hetero {
namespace {

absl::Status WrongTensor(const SafetensorsTensor& tensor, std::string_view rule) {
  return absl::InvalidArgumentError(absl::StrCat(tensor.name, " is ", Name(tensor.type), " [",
                                                 absl::StrJoin(tensor.shape, ","), "], must be ",
                                                 rule));
}

template <typename From, typename To>
absl::StatusOr<std::vector<To>> ReadAs(const SafetensorsReader& reader,
                                       const SafetensorsTensor& tensor) {
  std::vector<From> stored(tensor.bytes() / sizeof(From));
  HETERO_RETURN_IF_ERROR(
      reader.Read(tensor.name, 0, std::as_writable_bytes(std::span<From>(stored))));
  return std::vector<To>(stored.begin(), stored.end());
}

absl::StatusOr<std::vector<int32_t>> ReadIntegers(const SafetensorsReader& reader,
                                                  std::string_view name,
                                                  std::vector<int64_t>& shape) {
  HETERO_ASSIGN_OR_RETURN(const SafetensorsTensor* const tensor, reader.Find(name));
  if (shape.empty()) shape = tensor->shape;
  if (tensor->shape != shape || shape.size() != 2) {
    return WrongTensor(*tensor, "[rows, length], the same for ids and targets");
  }
  if (tensor->type == ElementType::kI32) return ReadAs<int32_t, int32_t>(reader, *tensor);
  if (tensor->type == ElementType::kI64) return ReadAs<int64_t, int32_t>(reader, *tensor);
  return WrongTensor(*tensor, "i32 or i64");
}

absl::StatusOr<std::vector<double>> ReadNumbers(const SafetensorsReader& reader,
                                                const SafetensorsTensor& tensor) {
  if (tensor.type == ElementType::kF32) return ReadAs<float, double>(reader, tensor);
  if (tensor.type == ElementType::kF64) return ReadAs<double, double>(reader, tensor);
  return WrongTensor(tensor, "f32 or f64");
}

}  // namespace

HostMatrix::HostMatrix(DType dtype, int64_t rows, int64_t columns)
    : dtype_(dtype), rows_(rows), columns_(columns), memory_(rows * columns + 1) {}

void HostMatrix::Set(int64_t row, int64_t column, double value) {
  const int64_t at = row * columns_ + column;
  if (dtype_ == DType::kF64) {
    memory_[at] = value;
  } else {
    view().data<float>()[at] = static_cast<float>(value);
  }
}

TensorView HostMatrix::view() { return {memory_.data(), dtype_, {rows_, columns_}}; }

absl::StatusOr<TokenInputs> ReadTokenInputs(Storage& storage, const std::filesystem::path& path) {
  HETERO_ASSIGN_OR_RETURN(const auto reader, SafetensorsReader::Open(storage, path));
  TokenInputs inputs;
  std::vector<int64_t> shape;
  HETERO_ASSIGN_OR_RETURN(inputs.ids, ReadIntegers(*reader, "input_ids", shape));
  HETERO_ASSIGN_OR_RETURN(inputs.targets, ReadIntegers(*reader, "targets", shape));
  inputs.num_rows = shape[0];
  inputs.row_length = shape[1];
  return inputs;
}

absl::StatusOr<ImageInputs> ReadImageInputs(Storage& storage, const std::filesystem::path& path,
                                            int64_t hidden_size, int64_t patch_size) {
  HETERO_ASSIGN_OR_RETURN(const auto reader, SafetensorsReader::Open(storage, path));
  ImageInputs inputs;
  int64_t num_patches = 0;
  while (true) {
    const std::string name = absl::StrCat("image.", inputs.sizes.size());
    if (!inputs.sizes.empty() && !reader->tensors().contains(name)) break;
    HETERO_ASSIGN_OR_RETURN(const SafetensorsTensor* const tensor, reader->Find(name));
    const std::vector<int64_t>& shape = tensor->shape;
    const int64_t unit = 2 * patch_size;
    if (shape.size() != 3 || shape[0] != 3 || shape[1] < unit || shape[1] % unit != 0 ||
        shape[2] < unit || shape[2] % unit != 0) {
      return WrongTensor(*tensor, absl::StrCat("[3, height, width], both multiples of ", unit));
    }
    HETERO_ASSIGN_OR_RETURN(inputs.pixels.emplace_back(), ReadNumbers(*reader, *tensor));
    inputs.sizes.push_back(
        {.height = static_cast<int32_t>(shape[1]), .width = static_cast<int32_t>(shape[2])});
    num_patches += shape[1] * shape[2] / (patch_size * patch_size);
  }
  HETERO_ASSIGN_OR_RETURN(const SafetensorsTensor* const d_features, reader->Find("d_features"));
  if (d_features->shape != std::vector<int64_t>{num_patches, hidden_size}) {
    return WrongTensor(
        *d_features, absl::StrCat("[", num_patches, ",", hidden_size, "], a row for every patch"));
  }
  HETERO_ASSIGN_OR_RETURN(inputs.d_features, ReadNumbers(*reader, *d_features));
  return inputs;
}

}  // namespace hetero
