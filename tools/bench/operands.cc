#include "hetero/tools/bench/operands.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/log/check.h"
#include "absl/status/statusor.h"
#include "hetero/tensor/copy.h"

namespace hetero::bench {
namespace {

// Not a power of two: rows of a matrix are not copies of each other.
constexpr int64_t kPeriod = 1'000'003;

const std::vector<float>& StandardNormal() {
  static const std::vector<float>* const values = [] {
    auto* draws = new std::vector<float>(kPeriod);
    std::mt19937_64 generator(1);
    std::normal_distribution<float> distribution;
    for (float& draw : *draws) draw = distribution(generator);
    return draws;
  }();
  return *values;
}

// `value(i)` for i < count in host memory, as elements of `dtype`.
class HostElements {
 public:
  HostElements(DType dtype, int64_t count, absl::FunctionRef<double(int64_t)> value)
      : bytes_(count * SizeOf(dtype)), view_(bytes_.data(), dtype, {count}) {
    for (int64_t i = 0; i < count; ++i) Set(i, value(i));
  }

  ConstTensorView view() const { return view_; }

 private:
  void Set(int64_t i, double value) {
    switch (view_.dtype()) {
      case DType::kF64:
        view_.data<double>()[i] = value;
        break;
      case DType::kF32:
        view_.data<float>()[i] = static_cast<float>(value);
        break;
      case DType::kBF16:
        view_.data<BFloat16>()[i] = BFloat16(static_cast<float>(value));
        break;
      case DType::kI32:
        view_.data<int32_t>()[i] = static_cast<int32_t>(value);
        break;
      case DType::kI64:
        view_.data<int64_t>()[i] = static_cast<int64_t>(value);
        break;
    }
  }

  std::vector<char> bytes_;
  TensorView view_;
};

}  // namespace

TensorView Operands::Empty(DType dtype, std::initializer_list<int64_t> dims) {
  const TensorView nowhere(reinterpret_cast<void*>(kShapeOnlyAddress), dtype, dims);
  if (!status_.ok()) return nowhere;
  absl::StatusOr<Buffer> buffer =
      Buffer::Allocate(stream_.device(), MemoryLabel::kData, nowhere.num_bytes(), memory_);
  if (!buffer.ok()) {
    status_ = buffer.status();
    return nowhere;
  }
  buffers_.push_back(*std::move(buffer));
  return buffers_.back().View(dtype, dims);
}

TensorView Operands::Normal(DType dtype, std::initializer_list<int64_t> dims, double stddev) {
  const TensorView view = Empty(dtype, dims);
  FillNormal(view, stddev);
  return view;
}

TensorView Operands::Values(DType dtype, std::span<const double> values) {
  const TensorView view = Empty(dtype, {std::ssize(values)});
  Fill(view, [&](int64_t i) { return values[i]; });
  return view;
}

TensorView Operands::Indices(std::span<const int32_t> values) {
  const TensorView view = Empty(DType::kI32, {std::ssize(values)});
  Upload(ConstTensorView(values, {std::ssize(values)}), view);
  return view;
}

void Operands::FillNormal(const TensorView& view, double stddev) {
  if (!status_.ok() || stream_.shape_only()) return;
  const std::vector<float>& draws = StandardNormal();
  const uint64_t first = (seed_ * 7919 + ++num_filled_) * 104'729;
  const int64_t n = view.num_elements();
  const HostElements period(view.dtype(), std::min(n, kPeriod),
                            [&](int64_t i) { return stddev * draws[(first + i) % draws.size()]; });
  const TensorView flat = view.Reshape({n});
  for (int64_t begin = 0; begin < n; begin += kPeriod) {
    const int64_t count = std::min(kPeriod, n - begin);
    Upload(period.view().Rows(0, count), flat.Rows(begin, count));
  }
}

void Operands::Fill(const TensorView& view, absl::FunctionRef<double(int64_t)> value) {
  if (!status_.ok() || stream_.shape_only()) return;
  const int64_t n = view.num_elements();
  Upload(HostElements(view.dtype(), n, value).view(), view.Reshape({n}));
}

void Operands::Upload(const ConstTensorView& host, const TensorView& view) {
  if (!status_.ok() || stream_.shape_only()) return;
  status_ = CopyToDevice(host, view, stream_);
}

}  // namespace hetero::bench
