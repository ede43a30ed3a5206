#include "hetero/ckpt/rounding_check.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/dense_copy.h"
#include "hetero/ckpt/plan/box.h"
#include "hetero/ckpt/plan/distribution.h"
#include "hetero/ckpt/plan/runs.h"
#include "hetero/tensor/dtype.h"

namespace hetero {
namespace {

constexpr int64_t kWindowBytes = int64_t{16} << 20;

struct Comparison {
  int64_t elements = 0;
  int64_t unlike = 0;
  std::string first;  // in words
};

class Comparer {
 public:
  explicit Comparer(Stream& stream) : stream_(stream) {}

  absl::Status Compare(const CheckpointTensor::Piece& precise,
                       const CheckpointTensor::Piece& rounded, Comparison& result) {
    const std::optional<Box> common = Intersect(precise.box, rounded.box);
    if (!common.has_value()) return absl::OkStatus();
    for (const Box& window : CutToSize(*common, sizeof(float), kWindowBytes)) {
      HETERO_RETURN_IF_ERROR(Fetch(window, precise, masters_));
      HETERO_RETURN_IF_ERROR(Fetch(window, rounded, weights_));
      HETERO_RETURN_IF_ERROR(stream_.Synchronize());
      for (size_t i = 0; i < masters_.size(); ++i) {
        if (BFloat16(masters_[i]).bits() == weights_[i].bits()) continue;
        // Devices differ in the bits of what is no number.
        if (std::isnan(masters_[i]) && std::isnan(static_cast<float>(weights_[i]))) continue;
        if (result.unlike++ == 0) {
          result.first = absl::StrCat(masters_[i], " and ", static_cast<float>(weights_[i]),
                                      ", element ", i, " of ", ToString(window));
        }
      }
      result.elements += std::ssize(masters_);
    }
    return absl::OkStatus();
  }

 private:
  template <typename T>
  absl::Status Fetch(const Box& window, const CheckpointTensor::Piece& piece,
                     std::vector<T>& elements) {
    elements.resize(NumElements(window));
    int64_t copied = 0;
    return CopyToDense(piece.local, RunsOf(window, window, piece.box, piece.local),
                       {0, std::ssize(elements)}, elements.data(), stream_, copied);
  }

  Stream& stream_;
  std::vector<float> masters_;
  std::vector<BFloat16> weights_;
};

}  // namespace

absl::Status CheckRoundings(const CheckpointState& state, std::string_view prefix,
                            const std::vector<std::string>& left_out, Stream& stream) {
  std::multimap<std::string_view, const CheckpointTensor*> rounded;
  const auto is_left_out = [&](const std::string& key) {
    return std::ranges::find(left_out, key) != left_out.end();
  };
  for (const CheckpointTensor& tensor : state.tensors) {
    if (tensor.dtype == DType::kBF16 && !is_left_out(tensor.key)) {
      rounded.emplace(tensor.key, &tensor);
    }
  }
  Comparer comparer(stream);
  for (const CheckpointTensor& precise : state.tensors) {
    std::string_view key = precise.key;
    if (precise.dtype != DType::kF32 || !absl::ConsumePrefix(&key, prefix) ||
        is_left_out(precise.key)) {
      continue;
    }
    Comparison result;
    const auto [begin, end] = rounded.equal_range(key);
    for (auto at = begin; at != end; ++at) {
      for (const CheckpointTensor::Piece& master : precise.pieces) {
        for (const CheckpointTensor::Piece& weight : at->second->pieces) {
          HETERO_RETURN_IF_ERROR(comparer.Compare(master, weight, result));
        }
      }
    }
    if (result.unlike == 0) continue;
    return absl::DataLossError(absl::StrCat(precise.key, " does not round to ", key, ": ",
                                            result.unlike, " of ", result.elements,
                                            " elements are others, the first ", result.first));
  }
  return absl::OkStatus();
}

}  // namespace hetero
