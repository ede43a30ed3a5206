#include "hetero/ckpt/testing/pattern.h"

#include <cstddef>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "hetero/ckpt/format/crc32.h"
#include "hetero/ckpt/plan/box.h"
#include "hetero/ckpt/storage/storage.h"
#include "hetero/tensor/dtype.h"

namespace hetero {
namespace {

int PatternOf(uint32_t hash, int64_t index) {
  const auto product = static_cast<uint32_t>(static_cast<uint64_t>(index) * 2654435761u);
  return static_cast<int>((hash + product) >> 24) - 128;
}

// Calls visit(address, index in the whole tensor) for every element of a piece.
template <typename Visit>
void ForEachElement(const CheckpointTensor& tensor, const CheckpointTensor::Piece& piece,
                    Visit visit) {
  const int64_t count = NumElements(piece.box);
  CHECK_EQ(count, piece.local.num_elements());
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, index = 0, stride = 1;
    for (size_t d = tensor.shape.size(); d-- > 0;) {
      index += (piece.box.offset[d] + rest % piece.box.size[d]) * stride;
      rest /= piece.box.size[d];
      stride *= tensor.shape[d];
    }
    rest = i;
    int64_t local = 0;
    for (int d = piece.local.rank(); d-- > 0;) {
      local += rest % piece.local.dim(d) * piece.local.stride(d);
      rest /= piece.local.dim(d);
    }
    visit(static_cast<char*>(piece.local.address()) + local * SizeOf(tensor.dtype), index);
  }
}

template <typename Visit>
void ForEachElement(std::span<const CheckpointTensor> tensors, Visit visit) {
  for (const CheckpointTensor& tensor : tensors) {
    const uint32_t hash = Crc32(AsBytes(tensor.key));
    for (const CheckpointTensor::Piece& piece : tensor.pieces) {
      ForEachElement(tensor, piece, [&](char* address, int64_t index) {
        visit(tensor, piece, address, index, PatternOf(hash, index));
      });
    }
  }
}

void Store(DType dtype, char* address, int value) {
  switch (dtype) {
    case DType::kF64:
      *reinterpret_cast<double*>(address) = value;
      return;
    case DType::kF32:
      *reinterpret_cast<float*>(address) = static_cast<float>(value);
      return;
    case DType::kBF16:
      *reinterpret_cast<BFloat16*>(address) = BFloat16(static_cast<float>(value));
      return;
    case DType::kI32:
      *reinterpret_cast<int32_t*>(address) = value;
      return;
    case DType::kI64:
      *reinterpret_cast<int64_t*>(address) = value;
      return;
  }
}

double Fetch(DType dtype, const char* address) {
  switch (dtype) {
    case DType::kF64:
      return *reinterpret_cast<const double*>(address);
    case DType::kF32:
      return *reinterpret_cast<const float*>(address);
    case DType::kBF16:
      return static_cast<float>(*reinterpret_cast<const BFloat16*>(address));
    case DType::kI32:
      return *reinterpret_cast<const int32_t*>(address);
    case DType::kI64:
      return static_cast<double>(*reinterpret_cast<const int64_t*>(address));
  }
  return 0;
}

}  // namespace

int PatternValue(std::string_view key, int64_t index) {
  return PatternOf(Crc32(AsBytes(key)), index);
}

void FillPattern(std::span<const CheckpointTensor> tensors, int shift) {
  ForEachElement(tensors,
                 [&](const CheckpointTensor& tensor, const CheckpointTensor::Piece&, char* address,
                     int64_t, int pattern) { Store(tensor.dtype, address, pattern + shift); });
}

void FillValue(std::span<const CheckpointTensor> tensors, int value) {
  ForEachElement(tensors,
                 [&](const CheckpointTensor& tensor, const CheckpointTensor::Piece&, char* address,
                     int64_t, int) { Store(tensor.dtype, address, value); });
}

std::string PatternDifference(std::span<const CheckpointTensor> tensors, int shift) {
  std::string difference;
  ForEachElement(tensors, [&](const CheckpointTensor& tensor, const CheckpointTensor::Piece& piece,
                              const char* address, int64_t index, int pattern) {
    const double actual = Fetch(tensor.dtype, address);
    if (!difference.empty() || actual == pattern + shift) return;
    difference = absl::StrCat(tensor.key, " ", ToString(piece.box), ": element ", index, " is ",
                              actual, "; expected ", pattern + shift);
  });
  return difference;
}

}  // namespace hetero
